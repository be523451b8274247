//! Resize and Upsample: every output element is a weighted sum of few input elements, axis by axis.

use super::resize_free::{refused, scaled, tables};
use super::resize_table::{How, Taps, taps};
use super::util::{accept, any, bad, unravel};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{BufId, ExprId, LoopKind, Ty, UnOp};
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

/// What is done along one axis.
enum Axis {
    /// Nothing.
    Same,
    /// Every element this many times.
    Repeat(i64),
    /// A table.
    Table {
        n: i64,
        index: BufId,
        weight: Option<BufId>,
        outside: Option<BufId>,
    },
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

fn table(cx: &mut LowerCx, t: &Taps, out: i64, ty: Ty, nearest: bool) -> Axis {
    let n = t.n as i64;
    let floats = if ty == Ty::F64 {
        DType::F64
    } else {
        DType::F32
    };
    let index = cx.constant("positions", Tensor::i64(&[out * n], &t.index));
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

/// Weights of bytes are multiples of 2^-22, or of a larger power where they are so large that their sums with bytes would not fit an i32.
const UNITS: f64 = (1 << 22) as f64;

/// Taps of an element that are written out, at most: along several axes, and along a single one, where they are what an image shrinks by.
const WRITTEN_OUT: i64 = 16;
const WRITTEN_OUT_ALONG: i64 = 96;

fn emit(
    cx: &mut LowerCx,
    out: &[Dim],
    plan: &[Axis],
    how: &How,
    dtype: DType,
    ty: Ty,
    units: i64,
) -> Result<()> {
    let sizes: Vec<i64> = plan
        .iter()
        .map(|a| match a {
            Axis::Table { n, .. } if how.mode != "nearest" => *n,
            _ => 1,
        })
        .collect();
    let element = Element {
        plan,
        nearest: how.mode == "nearest",
        dtype,
        ty,
        units,
    };
    let most = match sizes.iter().filter(|&&n| n > 1).count() {
        1 => WRITTEN_OUT_ALONG,
        _ => WRITTEN_OUT,
    };
    let few = sizes.iter().product::<i64>() <= most;
    if let Some((Axis::Same, rest)) = plan.split_last()
        && !rest.is_empty()
        && few
    {
        return element.rows(cx, out, &sizes);
    }
    if let Some((Axis::Table { n, index, weight: Some(weight), .. }, rest)) = plan.split_last()
        && !rest.is_empty()
        && few
        && !element.whole()
    {
        return element.across(cx, out, &sizes[..rest.len()], (*n, *index, *weight));
    }
    cx.each(out, LoopKind::Lanes, |cx, o| {
        let beyond = element.beyond(cx, o);
        if element.nearest {
            let none = vec![cx.b.i(0); o.len()];
            let (index, _) = element.tap(cx, o, &none);
            let v = cx.load(0, &index)?;
            return element.store(cx, o, v, beyond);
        }
        let zero = element.nothing(cx);
        let sum = cx.b.var(zero);
        crate::contracts::conv::seq(cx, &sizes, |cx, k| {
            let (at, w) = element.tap(cx, o, k);
            let v = cx.load(0, &at)?;
            let old = cx.b.get(sum);
            let new = element.added(cx, w, v, old);
            cx.b.set(sum, new);
            Ok(())
        })?;
        let v = cx.b.get(sum);
        element.store(cx, o, v, beyond)
    })
}

/// The taps of an element, one number for each axis.
fn written_out(sizes: &[i64]) -> impl Iterator<Item = Vec<i64>> {
    (0..sizes.iter().product::<i64>()).map(|number| unravel(sizes, number))
}

/// How an element of the output is made.
struct Element<'a> {
    plan: &'a [Axis],
    nearest: bool,
    dtype: DType,
    ty: Ty,
    /// Weights of bytes are multiples of 2 to the power of minus this.
    units: i64,
}

impl Element<'_> {
    /// Whether it lies outside of what is resized.
    fn beyond(&self, cx: &mut LowerCx, o: &[ExprId]) -> ExprId {
        let mut beyond = cx.b.bool(false);
        for (a, &o) in self.plan.iter().zip(o) {
            if let Axis::Table {
                outside: Some(buf), ..
            } = a
            {
                let c = cx.b.load(*buf, o);
                beyond = cx.b.or(beyond, c);
            }
        }
        beyond
    }
    /// Index and weight of tap `k` (one number for each axis).
    fn tap(&self, cx: &mut LowerCx, o: &[ExprId], k: &[ExprId]) -> (Vec<ExprId>, ExprId) {
        let mut at = vec![];
        let mut w = cx.b.num(self.ty, 1.0);
        for ((a, &o), &k) in self.plan.iter().zip(o).zip(k) {
            at.push(match a {
                Axis::Same => o,
                Axis::Repeat(k) => ex!(cx.b; o / {cx.b.i(*k)}),
                Axis::Table { index, .. } if self.nearest => cx.b.load(*index, o),
                Axis::Table {
                    n, index, weight, ..
                } => {
                    let row = ex!(cx.b; (o * {cx.b.i(*n)}) + k);
                    if let Some(weight) = weight {
                        let f = cx.b.load(*weight, row);
                        w = cx.b.mul(w, f);
                    }
                    cx.b.load(*index, row)
                }
            });
        }
        if self.whole() {
            let unit = cx.b.num(self.ty, (1i64 << self.units) as f64);
            w = cx.b.mul(w, unit);
            w = cx.b.un(UnOp::Near, w);
            w = cx.b.cast(Ty::I32, w);
        }
        (at, w)
    }
    /// Whether weights are whole numbers of units: those of bytes, whose sums are then the same on every machine.
    fn whole(&self) -> bool {
        !self.nearest && matches!(self.dtype, DType::I8 | DType::U8)
    }
    /// A sum of nothing.
    fn nothing(&self, cx: &mut LowerCx) -> ExprId {
        match self.whole() {
            true => cx.b.int(Ty::I32, 0),
            false => cx.b.num(self.ty, 0.0),
        }
    }
    /// A sum and an element times its weight.
    fn added(&self, cx: &mut LowerCx, w: ExprId, v: ExprId, sum: ExprId) -> ExprId {
        if self.whole() {
            return ex!(cx.b; sum + (w * v));
        }
        let v = cx.b.cast(self.ty, v);
        cx.b.fma(w, v, sum)
    }
    /// The nearest byte of a sum of units; halves go to what is even above the attribute `zero`, which stands for 0.
    fn rounded(&self, cx: &mut LowerCx, sum: ExprId) -> ExprId {
        let units = self.units;
        let mut int = |v: i64| cx.b.int(Ty::I32, v);
        let (by, one, half) = (int(units), int(1), int((1 << (units - 1)) - 1));
        let below = cx.b.shr(sum, by);
        let below = match cx.attrs.int("zero", 0) % 2 {
            0 => below,
            _ => cx.b.add(below, one),
        };
        let odd = cx.b.and(below, one);
        let up = ex!(cx.b; (sum + half) + odd);
        let v = cx.b.shr(up, by);
        let (lo, hi) = self.dtype.int_range().unwrap_or((0, 255));
        let (lo, hi) = (
            cx.b.int(Ty::I32, lo as i64),
            cx.b.int(Ty::I32, hi as i64),
        );
        cx.b.clamp(v, lo, hi)
    }
    fn store(
        &self,
        cx: &mut LowerCx,
        o: &[ExprId],
        value: ExprId,
        beyond: ExprId,
    ) -> Result<()> {
        let own = Ty::of(self.dtype);
        let extra = f64::from(cx.attrs.float("extrapolation_value", 0.0));
        if self.nearest {
            let e = cx.b.num(own, extra);
            let v = cx.b.select(beyond, e, value);
            cx.store(0, o, v);
            return Ok(());
        }
        if self.whole() {
            let (e, v) = (cx.b.num(own, extra), self.rounded(cx, value));
            let v = cx.b.select(beyond, e, v);
            cx.store(0, o, v);
            return Ok(());
        }
        let e = cx.b.num(self.ty, extra);
        let mut v = cx.b.select(beyond, e, value);
        if let Some((lo, hi)) = self.dtype.int_range() {
            v = cx.b.un(UnOp::Round, v);
            let (lo, hi) = (cx.b.num(self.ty, lo as f64), cx.b.num(self.ty, hi as f64));
            v = cx.b.clamp(v, lo, hi);
            v = cx.b.cast(own, v);
        }
        cx.store(0, o, v);
        Ok(())
    }
    /// Rows by the other axes' taps, found once for a row, then along the last axis. `last`: its taps for an element, their positions and weights.
    fn across(
        &self,
        cx: &mut LowerCx,
        out: &[Dim],
        sizes: &[i64],
        (n, index, weight): (i64, BufId, BufId),
    ) -> Result<()> {
        let last = sizes.len();
        cx.each(&out[..last], LoopKind::Seq, |cx, o| {
            let taps: Vec<(Vec<ExprId>, ExprId)> = written_out(sizes)
                .map(|k| {
                    let k: Vec<ExprId> = k.into_iter().map(|k| cx.b.i(k)).collect();
                    let (at, w) = self.tap(cx, o, &k);
                    let at = at.into_iter().map(|i| cx.b.let_(i)).collect();
                    (at, cx.b.let_(w))
                })
                .collect();
            let columns = cx.b.dim(&out[last]);
            cx.for_(columns, LoopKind::Lanes, |cx, c| {
                let mut sum = self.nothing(cx);
                for k in 0..n {
                    let row = ex!(cx.b; (c * {cx.b.i(n)}) + {cx.b.i(k)});
                    let (at_last, w_last) = (cx.b.load(index, row), cx.b.load(weight, row));
                    let at_last = cx.b.let_(at_last);
                    let mut part = self.nothing(cx);
                    for (at, w) in &taps {
                        let mut at = at.clone();
                        at.push(at_last);
                        let v = cx.load(0, &at)?;
                        part = self.added(cx, *w, v, part);
                    }
                    sum = cx.b.fma(w_last, part, sum);
                }
                let mut o = o.to_vec();
                o.push(c);
                let beyond = self.beyond(cx, &o);
                self.store(cx, &o, sum, beyond)
            })
        })
    }
    /// The last axis stays as it is: what its elements share is found once for all of them.
    fn rows(&self, cx: &mut LowerCx, out: &[Dim], sizes: &[i64]) -> Result<()> {
        let last = out.len() - 1;
        cx.each(&out[..last], LoopKind::Seq, |cx, o| {
            let mut o = o.to_vec();
            let none = cx.b.i(0);
            o.push(none);
            let beyond = self.beyond(cx, &o);
            let beyond = cx.b.let_(beyond);
            let mut taps = vec![];
            for k in written_out(sizes) {
                let k: Vec<ExprId> = k.into_iter().map(|k| cx.b.i(k)).collect();
                let (at, w) = self.tap(cx, &o, &k);
                let at: Vec<ExprId> = at.into_iter().map(|i| cx.b.let_(i)).collect();
                taps.push((at, cx.b.let_(w)));
            }
            let n = cx.b.dim(&out[last]);
            cx.for_(n, LoopKind::Lanes, |cx, c| {
                let mut o = o.clone();
                o[last] = c;
                let mut sum = self.nothing(cx);
                for (at, w) in &taps {
                    let mut at = at.clone();
                    at[last] = c;
                    let v = cx.load(0, &at)?;
                    if self.nearest {
                        sum = v;
                        break;
                    }
                    sum = self.added(cx, *w, v, sum);
                }
                self.store(cx, &o, sum, beyond)
            })
        })
    }
}
