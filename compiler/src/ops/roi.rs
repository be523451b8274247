//! RoiAlign and MaxRoiPool: regions of an image brought to one size.

use super::axes::fold_n;
use super::roi_tables::Tables;
use super::util::{accept, accept_same, bad, float, index, since, wrap_index};
use crate::base::attr::Attr;
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::build::Builder;
use crate::loops::ir::{ExprId, LoopKind, Ty, UnOp};
use crate::op::{BASE, InferCx, LATEST, Lower, OpDef, ReadCx, onnx};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&ROI_ALIGN, &MAX_ROI_POOL];

/// Inputs: X `[N, C, H, W]`, regions `[R, 4]` as x1, y1, x2, y2, the image of each.
pub static ROI_ALIGN: OpDef = OpDef {
    name: "RoiAlign",
    onnx: &[
        onnx("RoiAlign", 10, 15, |cx| {
            cx.set(
                "coordinate_transformation_mode",
                Attr::Str("output_half_pixel".into()),
            );
            read(cx)
        }),
        onnx("RoiAlign", 16, LATEST, |cx| {
            cx.keep_str("coordinate_transformation_mode", "half_pixel")?;
            read(cx)
        }),
    ],
    inputs: (3, 3),
    infer,
    lower: Lower::Loops(lower),
    tails: true,
    ..BASE
};

/// Inputs: X `[N, C, H, W]`, regions `[R, 5]` as image, x1, y1, x2, y2.
pub static MAX_ROI_POOL: OpDef = OpDef {
    name: "MaxRoiPool",
    onnx: &[since("MaxRoiPool", 1, |cx| {
        cx.keep_ints("pooled_shape")?;
        cx.keep_float("spatial_scale", 1.0)
    })],
    inputs: (2, 2),
    infer: infer_max,
    lower: Lower::Loops(max_pool),
    tails: true,
    ..BASE
};

/// A region from hostile data must not make a loop endless: no bin is sampled finer than this.
const MAX_SAMPLES: i64 = 4096;

fn read(cx: &mut ReadCx) -> Result<()> {
    cx.keep_str("mode", "avg")?;
    for (name, default) in [
        ("output_height", 1),
        ("output_width", 1),
        ("sampling_ratio", 0),
    ] {
        cx.keep_int(name, default)?;
    }
    cx.keep_float("spatial_scale", 1.0)
}

fn size(cx: &InferCx, name: &str) -> Result<Dim> {
    match cx.attrs.int(name, 1) {
        n @ 1..=0x7fff_ffff => Ok(Dim::Fixed(n)),
        n => bad(format!("`{name}` = {n}")),
    }
}

fn infer(cx: &mut InferCx) -> Result<()> {
    let d = accept(cx, 0, float)?;
    accept(cx, 2, index)?;
    let (x, r) = (cx.shape(0)?, cx.shape(1)?);
    if x.len() != 4 || r.len() != 2 || !r[1].is(4) || cx.shape(2)?.len() != 1 || cx.dtype(1)? != d {
        return bad("regions do not fit the input");
    }
    let (h, w) = (size(cx, "output_height")?, size(cx, "output_width")?);
    cx.out(0, d, vec![r[0].clone(), x[1].clone(), h, w]);
    Ok(())
}

/// One axis of a region.
#[derive(Clone, Copy)]
struct Span {
    start: ExprId,
    bin: ExprId,
    samples: ExprId,
}

/// Neighbours and weights of a sampling position along an axis.
pub(super) struct Ends {
    pub ok: ExprId,
    pub low: ExprId,
    pub high: ExprId,
    pub far: ExprId,
}

fn ends(b: &mut Builder, at: ExprId, size: ExprId) -> Ends {
    let ty = b.ty(at);
    let sf = b.cast(ty, size);
    let least = b.num(ty, -1.0);
    let ok = ex!(b; (least <= at) & (at <= sf));
    let zero = b.num(ty, 0.0);
    let at = b.max(at, zero);
    let at = b.let_(at);
    let low = b.cast(Ty::I64, at);
    let last = ex!(b; size - 1);
    let edge = b.le(last, low);
    let (none, next) = (b.i(0), ex!(b; low + 1));
    let low = b.clamp(low, none, last);
    let high = b.clamp(next, none, last);
    let lf = b.cast(ty, low);
    let far = b.sub(at, lf);
    let far = b.select(edge, zero, far);
    Ends {
        ok,
        low: b.let_(low),
        high: b.let_(high),
        far: b.let_(far),
    }
}

fn lower(cx: &mut LowerCx) -> Result<()> {
    let (x, out) = (cx.in_shape(0)?, cx.out_shape()?);
    let ty = cx.in_ty(0)?;
    let half = cx.attrs.str("coordinate_transformation_mode", "half_pixel") == "half_pixel";
    let ratio = cx.attrs.int("sampling_ratio", 0);
    let scale = f64::from(cx.attrs.float("spatial_scale", 1.0));
    let largest = cx.attrs.str("mode", "avg") == "max";
    let tables = match (x[2].fixed(), x[3].fixed()) {
        (Some(h @ 1..=LARGEST), Some(w @ 1..=LARGEST)) if !largest && ratio <= WRITTEN_OUT => {
            Some(Tables::new(cx, &out, ty, ratio.max(0), [h, w]))
        }
        _ => None,
    };
    cx.each(&out[..1], LoopKind::Seq, |cx, at| {
        let r = at[0];
        let image = cx.load(2, &[r])?;
        let image = cx.b.cast(Ty::I64, image);
        let images = cx.b.dim(&x[0]);
        let (image, outside) = wrap_index(&mut cx.b, image, images);
        cx.b.fail_if(outside, super::util::DATA_OUT_OF_RANGE);
        let image = cx.b.let_(image);
        let mut spans = vec![];
        for (axis, first) in [(2, 1), (3, 0)] {
            let edge = |cx: &mut LowerCx, k: i64| -> Result<ExprId> {
                let k = cx.b.i(k);
                let v = cx.load(1, &[r, k])?;
                let (s, o) = (
                    cx.b.num(ty, scale),
                    cx.b.num(ty, if half { 0.5 } else { 0.0 }),
                );
                Ok(ex!(cx.b; (v * s) - o))
            };
            let start = edge(cx, first)?;
            let end = edge(cx, first + 2)?;
            let start = cx.b.let_(start);
            let mut length = cx.b.sub(end, start);
            if !half {
                length = ex!(cx.b; max(length, 1.0));
            }
            let bins = cx.b.dim(&out[axis]);
            let bins = cx.b.cast(ty, bins);
            let bin = cx.b.div(length, bins);
            let bin = cx.b.let_(bin);
            let samples = if ratio > 0 {
                cx.b.i(ratio.min(MAX_SAMPLES))
            } else {
                let up = cx.b.un(UnOp::Ceil, bin);
                let n = cx.b.cast(Ty::I64, up);
                let (lo, hi) = (cx.b.i(0), cx.b.i(MAX_SAMPLES));
                let n = cx.b.clamp(n, lo, hi);
                cx.b.let_(n)
            };
            spans.push(Span {
                start,
                bin,
                samples,
            });
        }
        let (sy, sx) = (spans[0], spans[1]);
        let (height, width) = (cx.b.dim(&x[2]), cx.b.dim(&x[3]));
        let zero = cx.b.num(ty, 0.0);
        let low = cx.b.num(ty, f64::NEG_INFINITY);
        let init = if largest { low } else { zero };
        // Sample `i` of place `p` along an axis.
        let along = |b: &mut Builder, s: Span, p: ExprId, i: ExprId, size: ExprId| {
            let (p, i, n) = (b.cast(ty, p), b.cast(ty, i), b.cast(ty, s.samples));
            let at = ex!(b; ({s.start} + (p * {s.bin})) + (((i + 0.5) * {s.bin}) / n));
            ends(b, at, size)
        };
        let sample = |b: &mut Builder, y: &Ends, e: &Ends| {
            let ok = b.and(y.ok, e.ok);
            let some = ex!(b; (height > 0) & (width > 0));
            let ok = b.and(ok, some);
            let ok = b.let_(ok);
            let mut parts = vec![];
            for (row, wy) in [(y.low, ex!(b; 1.0 - {y.far})), (y.high, y.far)] {
                for (col, wx) in [(e.low, ex!(b; 1.0 - {e.far})), (e.high, e.far)] {
                    parts.push((ex!(b; (row * width) + col), b.mul(wy, wx)));
                }
            }
            Sample { ok, parts }
        };
        let buf = cx.input(0)?.buf;
        let with = |b: &mut Builder, plane: ExprId, s: &Sample, total: ExprId| {
            let mut parts = vec![];
            for &(place, weight) in &s.parts {
                let at = b.add(plane, place);
                let v = b.load_if(buf, s.ok, at, zero);
                parts.push(b.mul(v, weight));
            }
            let join = |b: &mut Builder, a, p| match largest {
                true => b.max(a, p),
                false => b.add(a, p),
            };
            match largest {
                true => {
                    let best = parts.into_iter().reduce(|a, p| join(b, a, p));
                    best.map_or(total, |best| b.max(total, best))
                }
                false => parts.into_iter().fold(total, |a, p| join(b, a, p)),
            }
        };
        let finished = |b: &mut Builder, total: ExprId| {
            let none = ex!(b; ({sy.samples} * {sx.samples}) <= 0);
            let v = if largest {
                total
            } else {
                let n = ex!(b; max(({sy.samples} * {sx.samples}), 1));
                let n = b.cast(ty, n);
                b.div(total, n)
            };
            b.select(none, zero, v)
        };
        let plane = |b: &mut Builder, c: ExprId| {
            let channels = b.dim(&x[1]);
            let plane = ex!(b; ((image * channels) + c) * (height * width));
            b.let_(plane)
        };
        if let Some(tables) = &tables {
            cx.b.store(tables.images, r, image);
            let n = ex!(cx.b; max(({sy.samples} * {sx.samples}), 1));
            let n = cx.b.cast(ty, n);
            cx.b.store(tables.counts, r, n);
            for (side, span, size) in [(&tables.rows, sy, height), (&tables.columns, sx, width)] {
                side.fill(cx, r, span.samples, &|b, p, i| along(b, span, p, i, size))?;
            }
            return Ok(());
        }
        if (1..=WRITTEN_OUT).contains(&ratio) {
            // Where a place looks is found once for all channels.
            return cx.each(&out[2..], LoopKind::Seq, |cx, p| {
                let mut samples = vec![];
                for iy in 0..ratio {
                    let b = &mut cx.b;
                    let iy = b.i(iy);
                    let y = along(b, sy, p[0], iy, height);
                    for ix in 0..ratio {
                        let ix = b.i(ix);
                        let e = along(b, sx, p[1], ix, width);
                        let mut s = sample(b, &y, &e);
                        for (place, weight) in &mut s.parts {
                            (*place, *weight) = (b.let_(*place), b.let_(*weight));
                        }
                        samples.push(s);
                    }
                }
                let channels = cx.b.dim(&x[1]);
                cx.for_(channels, LoopKind::Seq, |cx, c| {
                    let b = &mut cx.b;
                    let plane = plane(b, c);
                    let total = samples.iter().fold(init, |t, s| with(b, plane, s, t));
                    let v = finished(b, total);
                    cx.store(0, &[r, c, p[0], p[1]], v);
                    Ok(())
                })
            });
        }
        cx.each(&out[1..], LoopKind::Seq, |cx, o| {
            let plane = plane(&mut cx.b, o[0]);
            let total = fold_n(cx, sy.samples, init, |cx, iy, total| {
                let y = along(&mut cx.b, sy, o[1], iy, height);
                fold_n(cx, sx.samples, total, |cx, ix, total| {
                    let e = along(&mut cx.b, sx, o[2], ix, width);
                    let s = sample(&mut cx.b, &y, &e);
                    Ok(with(&mut cx.b, plane, &s, total))
                })
            })?;
            let v = finished(&mut cx.b, total);
            cx.store(0, &[&[r], o].concat(), v);
            Ok(())
        })
    })?;
    match tables {
        Some(tables) => tables.read(cx, &x, &out),
        None => Ok(()),
    }
}

/// Rows and columns of an image up to which there are tables of what bins read.
const LARGEST: i64 = 1 << 20;
/// Samples along an axis that are written out, at most.
const WRITTEN_OUT: i64 = 2;

/// A sample: whether it is within the image, and places in a channel with their weights.
struct Sample {
    ok: ExprId,
    parts: Vec<(ExprId, ExprId)>,
}

fn infer_max(cx: &mut InferCx) -> Result<()> {
    let d = accept_same(cx, 0, float)?;
    let (x, r) = (cx.shape(0)?, cx.shape(1)?);
    let pooled = cx.attrs.ints("pooled_shape").unwrap_or(&[]);
    if x.len() != 4
        || r.len() != 2
        || !r[1].is(5)
        || pooled.len() != 2
        || pooled.iter().any(|&p| p < 1)
    {
        return bad("regions do not fit the input");
    }
    cx.out(
        0,
        d,
        vec![
            r[0].clone(),
            x[1].clone(),
            Dim::Fixed(pooled[0]),
            Dim::Fixed(pooled[1]),
        ],
    );
    Ok(())
}

fn max_pool(cx: &mut LowerCx) -> Result<()> {
    let (x, out) = (cx.in_shape(0)?, cx.out_shape()?);
    let ty = cx.in_ty(0)?;
    let scale = f64::from(cx.attrs.float("spatial_scale", 1.0));
    cx.each(&out[..1], LoopKind::Seq, |cx, at| {
        let r = at[0];
        let whole = |cx: &mut LowerCx, k: i64, scaled: bool| -> Result<ExprId> {
            let k = cx.b.i(k);
            let mut v = cx.load(1, &[r, k])?;
            if scaled {
                // Half away from 0, as std::round.
                let s = cx.b.num(ty, scale);
                v = ex!(cx.b; (v * s) + 0.5);
                v = cx.b.un(UnOp::Floor, v);
            }
            let v = cx.b.cast(Ty::I64, v);
            Ok(cx.b.let_(v))
        };
        let image = whole(cx, 0, false)?;
        let images = cx.b.dim(&x[0]);
        let (image, outside) = wrap_index(&mut cx.b, image, images);
        cx.b.fail_if(outside, super::util::DATA_OUT_OF_RANGE);
        let image = cx.b.let_(image);
        let mut edges = vec![];
        for first in [2, 1] {
            let (lo, hi) = (whole(cx, first, true)?, whole(cx, first + 2, true)?);
            let length = ex!(cx.b; max(((hi - lo) + 1), 1));
            edges.push((lo, cx.b.let_(length)));
        }
        cx.each(&out[1..], LoopKind::Seq, |cx, o| {
            let range = |cx: &mut LowerCx, axis: usize, p: ExprId| {
                let (lo, length) = edges[axis];
                let b = &mut cx.b;
                let (bins, size, none) = (b.dim(&out[2 + axis]), b.dim(&x[2 + axis]), b.i(0));
                let from = ex!(b; (p * length) / bins);
                let to = ex!(b; ((((p + 1) * length) + bins) - 1) / bins);
                let (from, to) = (b.add(from, lo), b.add(to, lo));
                let from = b.clamp(from, none, size);
                let to = b.clamp(to, none, size);
                let from = b.let_(from);
                let n = b.sub(to, from);
                (from, b.let_(n))
            };
            let (y0, ny) = range(cx, 0, o[1]);
            let (x0, nx) = range(cx, 1, o[2]);
            let low = cx.b.num(ty, f64::NEG_INFINITY);
            let best = fold_n(cx, ny, low, |cx, i, best| {
                fold_n(cx, nx, best, |cx, j, best| {
                    let (y, xx) = (cx.b.add(y0, i), cx.b.add(x0, j));
                    let v = cx.load(0, &[image, o[0], y, xx])?;
                    Ok(cx.b.max(v, best))
                })
            })?;
            let empty = ex!(cx.b; (ny <= 0) | (nx <= 0));
            let zero = cx.b.num(ty, 0.0);
            let v = cx.b.select(empty, zero, best);
            cx.store(0, &[&[r], o].concat(), v);
            Ok(())
        })
    })
}
