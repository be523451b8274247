//! Resize and Upsample: every output element is a weighted sum of few input elements, axis by axis.

use super::resize_free::{refused, scaled, tables};
use super::resize_loops::{Axis, UNITS, emit};
use super::resize_table::{How, Taps, taps};
use super::util::{accept, any, bad};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::kernel::LowerCx;
use crate::loops::ir::Ty;
use crate::op::{BASE, InferCx, LATEST, Lower, OpDef, ReadCx, onnx};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&RESIZE];

/// Inputs: X, region of interest, scales, sizes; before opset 11: X, scales.
pub static RESIZE: OpDef = OpDef {
    name: "Resize",
    onnx: &[
        onnx("Resize", 10, 10, read_10),
        onnx("Resize", 11, LATEST, read),
        onnx("Upsample", 7, 8, read_upsample_7),
        onnx("Upsample", 9, LATEST, read_10),
    ],
    inputs: (1, 4),
    infer,
    lower: Lower::Loops(lower),
    tails: true,
    ..BASE
};

fn read_10(cx: &mut ReadCx) -> Result<()> {
    let mode = cx.str("mode", "nearest")?;
    let mode = if mode == "bilinear" {
        "linear".to_string()
    } else {
        mode
    };
    cx.set("mode", Attr::Str(mode));
    for name in ["coordinate_transformation_mode", "nearest_mode"] {
        cx.set(name, Attr::Str("simple".into()));
    }
    cx.set("scales_at", Attr::Int(1));
    Ok(())
}

fn read_upsample_7(cx: &mut ReadCx) -> Result<()> {
    read_10(cx)?;
    let scales = cx.floats("scales")?.unwrap_or_default();
    cx.input(1, Tensor::f32(&[scales.len() as i64], &scales));
    Ok(())
}

fn read(cx: &mut ReadCx) -> Result<()> {
    cx.keep_str("mode", "nearest")?;
    cx.keep_str("coordinate_transformation_mode", "half_pixel")?;
    cx.keep_str("nearest_mode", "round_prefer_floor")?;
    cx.keep_str("keep_aspect_ratio_policy", "stretch")?;
    cx.keep_float("cubic_coeff_a", -0.75)?;
    cx.keep_float("extrapolation_value", 0.0)?;
    cx.keep_int("exclude_outside", 0)?;
    cx.keep_int("antialias", 0)?;
    cx.keep_ints("axes")?;
    cx.set("scales_at", Attr::Int(2));
    Ok(())
}

fn axes(attrs: &Attrs, rank: usize) -> Result<Vec<usize>> {
    match attrs.ints("axes") {
        Some(a) if !a.is_empty() => super::util::resolve_axes(a, rank),
        _ => Ok((0..rank).collect()),
    }
}

/// A list over `axes` spread over all axes.
fn spread<T: Clone>(v: &[T], axes: &[usize], rank: usize, default: T) -> Result<Vec<T>> {
    if v.len() != axes.len() {
        return bad(format!(
            "{} numbers for {} resized axes",
            v.len(),
            axes.len()
        ));
    }
    let mut out = vec![default; rank];
    for (&a, x) in axes.iter().zip(v) {
        out[a] = x.clone();
    }
    Ok(out)
}

/// The constant scales, one per axis, if there are any.
fn scales(attrs: &Attrs, t: Option<&Tensor>, rank: usize) -> Result<Option<Vec<f64>>> {
    let Some(v) = t.filter(|t| !t.is_empty()).and_then(Tensor::to_f64s) else {
        return Ok(None);
    };
    if v.iter().any(|s| !s.is_finite() || *s <= 0.0) {
        return bad("`scales` must be positive");
    }
    spread(&v, &axes(attrs, rank)?, rank, 1.0).map(Some)
}

/// Sizes by a policy that keeps the aspect ratio: one scale, and every size rounded from it.
fn kept(policy: &str, x: &[i64], sizes: &[i64], axes: &[usize]) -> Option<(f64, Vec<i64>)> {
    let ratios = axes.iter().map(|&a| sizes[a] as f64 / x[a] as f64);
    let scale = match policy {
        "not_larger" => ratios.fold(f64::INFINITY, f64::min),
        "not_smaller" => ratios.fold(0.0, f64::max),
        _ => return None,
    };
    let out = (0..x.len())
        .map(|i| {
            if axes.contains(&i) {
                libm::floor(scale * x[i] as f64 + 0.5) as i64
            } else {
                x[i]
            }
        })
        .collect();
    Some((scale, out))
}

fn infer(cx: &mut InferCx) -> Result<()> {
    let mode = cx.attrs.str("mode", "nearest").to_string();
    let ok = if mode == "nearest" {
        any
    } else {
        super::util::number
    };
    let d = accept(cx, 0, ok)?;
    let x = cx.shape(0)?;
    let rank = x.len();
    let at = cx.attrs.int("scales_at", 2) as usize;
    let policy = cx
        .attrs
        .str("keep_aspect_ratio_policy", "stretch")
        .to_string();
    if let Some(s) = scales(cx.attrs, cx.opt(at).and_then(|v| v.konst.as_ref()), rank)? {
        let mut out = vec![];
        for (d, s) in x.iter().zip(s) {
            out.push(match d {
                _ if s == 1.0 => d.clone(),
                Dim::Fixed(n) => Dim::Fixed(libm::floorf(*n as f32 * s as f32) as i64),
                d => scaled(d, s)?,
            });
        }
        cx.out(0, d, out);
        return Ok(());
    }
    if at == 1 || cx.opt(3).is_none() {
        return Err(Diagnostic::unsupported(
            "ONNX012",
            "`scales` is not a constant, so the output's shape is not known at compile time",
        ));
    }
    let axes = axes(cx.attrs, rank)?;
    let sizes = match cx.dims(3) {
        Some(v) => v,
        None => cx
            .const_ints(3, "sizes")?
            .into_iter()
            .map(Dim::Fixed)
            .collect(),
    };
    let mut out = x.clone();
    for (&a, s) in axes.iter().zip(&sizes) {
        out[a] = s.clone();
    }
    if sizes.len() != axes.len() || out.iter().any(|d| d.fixed().is_some_and(|d| d < 0)) {
        return bad(format!("`sizes` does not fit {} axes", axes.len()));
    }
    if policy != "stretch" {
        let fixed = (
            crate::base::dim::fixed_shape(&x),
            crate::base::dim::fixed_shape(&out),
        );
        let (Some(xs), Some(sizes)) = fixed else {
            return Err(free());
        };
        let Some((_, sizes)) = kept(&policy, &xs, &sizes, &axes) else {
            return bad(format!(
                "`keep_aspect_ratio_policy` = {policy} is not known"
            ));
        };
        out = sizes.into_iter().map(Dim::Fixed).collect();
    }
    cx.out(0, d, out);
    Ok(())
}

fn free() -> Box<Diagnostic> {
    refused("`keep_aspect_ratio_policy` needs sizes that are known at compile time")
}

fn how(a: &Attrs) -> How {
    How {
        mode: a.str("mode", "nearest").to_string(),
        coordinates: a
            .str("coordinate_transformation_mode", "half_pixel")
            .to_string(),
        nearest: a.str("nearest_mode", "round_prefer_floor").to_string(),
        cubic_a: f64::from(a.float("cubic_coeff_a", -0.75)),
        exclude_outside: a.flag("exclude_outside"),
        antialias: a.flag("antialias"),
    }
}

/// Elements along an axis that one of the output is a sum of; `None` where the axis can't be resized like that.
pub fn taps_along(attrs: &Attrs, size: i64, to: i64, scale: f64) -> Option<i64> {
    if size < 1 || to < 1 {
        return None;
    }
    let taps = taps(&how(attrs), size, to.min(1), scale, (0.0, 1.0)).ok()?;
    Some(taps.n as i64)
}

fn lower(cx: &mut LowerCx) -> Result<()> {
    let (x, out) = (cx.in_shape(0)?, cx.out_shape()?);
    let rank = x.len();
    let at = cx.attrs.int("scales_at", 2) as usize;
    let konst = |i: usize| cx.opt(i).and_then(|o| o.konst.clone());
    let given = scales(cx.attrs, konst(at).as_ref(), rank)?;
    let resized = axes(cx.attrs, rank)?;
    let policy = cx
        .attrs
        .str("keep_aspect_ratio_policy", "stretch")
        .to_string();
    let one = match (&given, policy.as_str(), konst(3).and_then(|t| t.to_i64s())) {
        (None, "not_larger" | "not_smaller", Some(s)) => {
            let xs = crate::base::dim::fixed_shape(&x).ok_or_else(free)?;
            let sizes = spread(&s, &resized, rank, 0)?;
            kept(&policy, &xs, &sizes, &resized).map(|k| k.0)
        }
        (None, "not_larger" | "not_smaller", None) => {
            return Err(Diagnostic::unsupported(
                "ONNX012",
                "`sizes` is not a constant",
            ));
        }
        _ => None,
    };
    let how = how(cx.attrs);
    let crop = how.coordinates == "tf_crop_and_resize";
    let roi = match konst(1)
        .filter(|t| at == 2 && crop && !t.is_empty())
        .and_then(|t| t.to_f64s())
    {
        Some(r) if r.len() == 2 * resized.len() => {
            let (lo, hi) = r.split_at(resized.len());
            let (lo, hi) = (
                spread(lo, &resized, rank, 0.0)?,
                spread(hi, &resized, rank, 1.0)?,
            );
            lo.into_iter().zip(hi).collect()
        }
        Some(_) => return bad("`roi` does not fit the resized axes"),
        None if crop => {
            return Err(Diagnostic::unsupported(
                "ONNX012",
                "`roi` is not a constant",
            ));
        }
        None => vec![(0.0, 1.0); rank],
    };
    let dtype = cx.input(0)?.ty.dtype;
    let ty = match dtype {
        d if d.is_float() => Ty::of(d),
        DType::I32 | DType::I64 | DType::U32 | DType::U64 | DType::I8 | DType::U8 => Ty::F64,
        _ => Ty::F32,
    };
    let mut plan = vec![];
    // What sizes of weights add up to.
    let mut most = 1.0;
    for i in 0..rank {
        let (Some(size), Some(to)) = (x[i].fixed(), out[i].fixed()) else {
            if let Some(axis) = symbolic(&how, &x[i], &out[i]) {
                plan.push(axis);
                continue;
            }
            if one.is_some() {
                return Err(free());
            }
            let scale = given.as_ref().map(|s| s[i]);
            let made = tables(cx, &how, &x[i], &out[i], scale, ty)?;
            most *= made.largest;
            plan.push(Axis::Table {
                n: made.n,
                index: made.index,
                weight: made.weight,
                outside: None,
            });
            continue;
        };
        let scale = match (&given, one) {
            (Some(s), _) => s[i],
            (None, Some(s)) if resized.contains(&i) => s,
            _ => to as f64 / size.max(1) as f64,
        };
        if size == to && (scale - 1.0).abs() < 1e-9 && roi[i] == (0.0, 1.0) {
            plan.push(Axis::Same);
            continue;
        }
        if size == 0 && to > 0 {
            return bad("an empty axis can't be resized");
        }
        let t = taps(&how, size, to, scale, roi[i])?;
        if how.mode == "nearest"
            && let Some(times) = repeated(&t, size, to)
        {
            plan.push(Axis::Repeat(times));
            continue;
        }
        most *= t.largest();
        plan.push(table(cx, &t, to, ty, how.mode == "nearest"));
    }
    let units = (f64::from(i32::MAX) / (256.0 * most)).clamp(1.0, UNITS);
    let units = i64::from(units as i32).ilog2();
    emit(cx, &out, &plan, &how, dtype, ty, i64::from(units))
}

/// What is done along an axis of unknown size, where it needs no table.
fn symbolic(how: &How, x: &Dim, out: &Dim) -> Option<Axis> {
    let crop = how.coordinates == "tf_crop_and_resize";
    if x == out && !crop {
        return Some(Axis::Same);
    }
    let whole = out.exact_div(x)?.fixed().filter(|&k| k >= 1)?;
    let coordinates = how.coordinates.as_str();
    let repeats = how.mode == "nearest"
        && match how.nearest.as_str() {
            "floor" | "simple" => matches!(coordinates, "asymmetric" | "simple"),
            "round_prefer_floor" | "round_prefer_ceil" => {
                matches!(
                    coordinates,
                    "half_pixel" | "pytorch_half_pixel" | "half_pixel_symmetric"
                )
            }
            _ => false,
        };
    repeats.then_some(Axis::Repeat(whole))
}

/// How often each element stands, where that is all.
fn repeated(t: &Taps, size: i64, to: i64) -> Option<i64> {
    let times = to.checked_div(size).filter(|k| *k > 0 && size * k == to)?;
    let plain = t.n == 1 && !t.outside.contains(&true);
    let mut all = t.index.iter().zip(0..);
    (plain && all.all(|(from, o)| *from == o / times)).then_some(times)
}

fn table(cx: &mut LowerCx, t: &Taps, out: i64, ty: Ty, nearest: bool) -> Axis {
    let n = t.n as i64;
    let floats = if ty == Ty::F64 {
        DType::F64
    } else {
        DType::F32
    };
    let last = t.index.iter().max().copied().unwrap_or(0);
    let sizes = [(DType::U8, 0xff), (DType::U16, 0xffff), (DType::I32, i64::from(i32::MAX))];
    let size = sizes.iter().find(|s| last <= s.1).map_or(DType::I64, |s| s.0);
    let positions: Vec<f64> = t.index.iter().map(|i| *i as f64).collect();
    let index = cx.constant("positions", Tensor::from_f64s(size, &[out * n], &positions));
    let weight = (!nearest)
        .then(|| cx.constant("weights", Tensor::from_f64s(floats, &[out * n], &t.weight)));
    let outside = t.outside.contains(&true).then(|| {
        let v: Vec<f64> = t.outside.iter().map(|&o| f64::from(u8::from(o))).collect();
        cx.constant("outside", Tensor::from_f64s(DType::Bool, &[out], &v))
    });
    Axis::Table {
        n,
        index,
        weight,
        outside,
    }
}
