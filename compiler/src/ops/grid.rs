//! GridSample, which reads an input at coordinates, and AffineGrid, which makes them.

use super::axes::{fold, origin};
use super::util::{accept, bad, float, number, since, unravel};
use crate::base::attr::Attr;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::build::Builder;
use crate::loops::ir::{ExprId, LoopKind, Ty, UnOp};
use crate::op::{BASE, InferCx, Lower, OpDef, ReadCx};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&GRID_SAMPLE, &AFFINE_GRID];

/// Inputs X `[N, C, spatial..]` and grid `[N, out.., D]`, whose coordinates in -1..1 stand last axis first.
pub static GRID_SAMPLE: OpDef = OpDef {
    name: "GridSample",
    onnx: &[since("GridSample", 16, read)],
    inputs: (2, 2),
    infer,
    lower: Lower::Loops(lower),
    tails: true,
    ..BASE
};

/// Coordinates of a sampling grid after an affine map.
pub static AFFINE_GRID: OpDef = OpDef {
    name: "AffineGrid",
    onnx: &[since("AffineGrid", 20, |cx| {
        cx.keep_int("align_corners", 0)
    })],
    inputs: (2, 2),
    infer: infer_affine,
    lower: Lower::Loops(affine),
    tails: true,
    ..BASE
};

fn read(cx: &mut ReadCx) -> Result<()> {
    let mode = cx.str("mode", "linear")?;
    let mode = match mode.as_str() {
        "bilinear" | "linear" => "linear",
        "bicubic" | "cubic" => "cubic",
        "nearest" => "nearest",
        m => return bad(format!("`mode` = {m} is not known")),
    };
    cx.set("mode", Attr::Str(mode.into()));
    cx.keep_str("padding_mode", "zeros")?;
    if !["zeros", "border", "reflection"].contains(&cx.out.str("padding_mode", "")) {
        return bad("`padding_mode` is not known");
    }
    cx.keep_int("align_corners", 0)
}

fn infer(cx: &mut InferCx) -> Result<()> {
    let d = accept(cx, 0, number)?;
    accept(cx, 1, float)?;
    let (x, g) = (cx.shape(0)?, cx.shape(1)?);
    if x.len() < 3
        || g.len() != x.len()
        || g.last().and_then(Dim::fixed) != Some(x.len() as i64 - 2)
    {
        return bad("the grid does not fit the input");
    }
    if !d.is_float() && cx.attrs.str("mode", "linear") != "nearest" {
        return Err(Diagnostic::unsupported(
            "ONNX008",
            "interpolation over integers",
        ));
    }
    let mut out = x[..2].to_vec();
    out.extend_from_slice(&g[1..g.len() - 1]);
    cx.out(0, d, out);
    Ok(())
}

/// Brings a coordinate back between two borders by mirroring.
fn reflect(b: &mut Builder, x: ExprId, lo: ExprId, hi: ExprId) -> ExprId {
    let range = b.sub(hi, lo);
    let below = b.lt(x, lo);
    let under = b.sub(lo, x);
    let above = b.sub(x, hi);
    let d = b.select(below, under, above);
    let n = b.div(d, range);
    let n = b.un(UnOp::Trunc, n);
    let r = ex!(b; d - (n * range));
    let half = ex!(b; n * 0.5);
    let even = b.un(UnOp::Trunc, half);
    let even = b.eq(even, half);
    let (up, down) = (b.add(lo, r), b.sub(hi, r));
    // Below the border an even number of turns ends above `lo`, above it below `hi`.
    let differ = b.xor(even, below);
    let y = b.select(differ, down, up);
    let inside = ex!(b; (lo <= x) & (x <= hi));
    b.select(inside, x, y)
}

fn lower(cx: &mut LowerCx) -> Result<()> {
    let (x, out) = (cx.in_shape(0)?, cx.out_shape()?);
    let n = x.len() - 2;
    let ty = Ty::of(cx.input(1)?.ty.dtype);
    let vty = cx.in_ty(0)?;
    let mode = cx.attrs.str("mode", "linear").to_string();
    let padding = cx.attrs.str("padding_mode", "zeros").to_string();
    let corners = cx.attrs.flag("align_corners");
    let taps = match mode.as_str() {
        "nearest" => 1,
        "linear" => 2,
        _ => 4,
    };
    // Where a position looks, and with which weights, is found once for all channels.
    let mut positions = vec![out[0].clone()];
    positions.extend_from_slice(&out[2..]);
    cx.each(&positions, LoopKind::Seq, |cx, o| {
        let mut first = vec![];
        let mut ratio = vec![];
        for i in 0..n {
            let mut gi = o.to_vec();
            gi.push(cx.b.i((n - 1 - i) as i64));
            let g = cx.load(1, &gi)?;
            let size = cx.b.dim(&x[2 + i]);
            let size = cx.b.cast(ty, size);
            let at = if corners {
                ex!(cx.b; ((g + 1.0) * 0.5) * (size - 1.0))
            } else {
                ex!(cx.b; (((g + 1.0) * size) - 1.0) * 0.5)
            };
            let at = if mode == "nearest" {
                cx.b.un(UnOp::Round, at)
            } else {
                at
            };
            let at = cx.b.let_(at);
            let low = cx.b.un(UnOp::Floor, at);
            let low = cx.b.let_(low);
            let r = cx.b.sub(at, low);
            ratio.push(cx.b.let_(r));
            let low = cx.b.cast(Ty::I64, low);
            let back = if taps == 4 { 1 } else { 0 };
            let low = ex!(cx.b; low - {cx.b.i(back)});
            first.push(cx.b.let_(low));
        }
        let zero = cx.b.num(vty, 0.0);
        let tap = |b: &mut Builder, k: &[ExprId]| {
            let mut ok = b.bool(true);
            let mut place = b.i(0);
            let mut weight = b.num(ty, 1.0);
            for i in 0..n {
                let at = b.add(first[i], k[i]);
                let size = b.dim(&x[2 + i]);
                let none = b.i(0);
                let last = ex!(b; size - 1);
                let at = match padding.as_str() {
                    "zeros" => {
                        let c = b.in_range(at, none, size);
                        ok = b.and(ok, c);
                        at
                    }
                    "border" => b.clamp(at, none, last),
                    _ => {
                        let f = b.cast(ty, at);
                        let sf = b.cast(ty, size);
                        let (lo, hi) = if corners {
                            (b.num(ty, 0.0), ex!(b; sf - 1.0))
                        } else {
                            (b.num(ty, -0.5), ex!(b; sf - 0.5))
                        };
                        let f = reflect(b, f, lo, hi);
                        let at = b.cast(Ty::I64, f);
                        b.clamp(at, none, last)
                    }
                };
                place = ex!(b; (place * size) + at);
                let w = tap_weight(b, taps, ratio[i], k[i]);
                weight = b.mul(weight, w);
                // An axis without elements has nothing to read, wherever it is looked at.
                let some = b.lt(none, size);
                ok = b.and(ok, some);
            }
            let weight = b.cast(vty, weight);
            Tap { ok, place, weight }
        };
        let sizes = vec![taps; n];
        let count = sizes.iter().product::<i64>();
        let all: Vec<Tap> = (0..if count <= WRITTEN_OUT { count } else { 0 })
            .map(|number| {
                let k: Vec<ExprId> = unravel(&sizes, number)
                    .into_iter()
                    .map(|k| cx.b.i(k))
                    .collect();
                let t = tap(&mut cx.b, &k);
                Tap {
                    ok: cx.b.let_(t.ok),
                    place: cx.b.let_(t.place),
                    weight: cx.b.let_(t.weight),
                }
            })
            .collect();
        // Whether all of them are there.
        let inside = (padding == "zeros" && taps > 1 && !all.is_empty()).then(|| {
            let b = &mut cx.b;
            let yes = b.bool(true);
            let ok = all.iter().fold(yes, |ok, t| b.and(ok, t.ok));
            b.let_(ok)
        });
        let buf = cx.input(0)?.buf;
        let channels = cx.b.dim(&x[1]);
        cx.for_(channels, LoopKind::Seq, |cx, c| {
            let mut plane = ex!(cx.b; ({o[0]} * channels) + c);
            for d in &x[2..] {
                let size = cx.b.dim(d);
                plane = cx.b.mul(plane, size);
            }
            let plane = cx.b.let_(plane);
            let added = |b: &mut Builder, t: &Tap, sum: ExprId| {
                let at = b.add(plane, t.place);
                let v = b.load_if(buf, t.ok, at, zero);
                match taps {
                    1 => v,
                    _ => b.fma(t.weight, v, sum),
                }
            };
            let sum = if let Some(inside) = inside {
                // Few positions are at the border.
                let sum = cx.b.var(zero);
                cx.if_(
                    inside,
                    |cx| {
                        let v = all.iter().fold(zero, |sum, t| {
                            let at = cx.b.add(plane, t.place);
                            let v = cx.b.load(buf, at);
                            cx.b.fma(t.weight, v, sum)
                        });
                        cx.b.set(sum, v);
                        Ok(())
                    },
                    |cx| {
                        let v = all.iter().fold(zero, |sum, t| added(&mut cx.b, t, sum));
                        cx.b.set(sum, v);
                        Ok(())
                    },
                )?;
                cx.b.get(sum)
            } else if count <= WRITTEN_OUT {
                let b = &mut cx.b;
                all.iter().fold(zero, |sum, t| added(b, t, sum))
            } else {
                let sizes: Vec<Dim> = sizes.iter().map(|&n| Dim::Fixed(n)).collect();
                let axes: Vec<usize> = (0..n).collect();
                let start = origin(cx, n);
                fold(cx, &sizes, &axes, &start, zero, |cx, k, sum| {
                    let t = tap(&mut cx.b, k);
                    Ok(added(&mut cx.b, &t, sum))
                })?
            };
            let mut at = vec![o[0], c];
            at.extend_from_slice(&o[1..]);
            cx.store(0, &at, sum);
            Ok(())
        })
    })
}

/// Taps of a position that are written out, at most.
const WRITTEN_OUT: i64 = 16;

/// One element that a position reads: whether it is there, where in its channel, and its weight.
struct Tap {
    ok: ExprId,
    place: ExprId,
    weight: ExprId,
}

/// Weight of neighbour `k` at distance `r` behind the first inner one.
fn tap_weight(b: &mut Builder, taps: i64, r: ExprId, k: ExprId) -> ExprId {
    let ty = b.ty(r);
    match taps {
        1 => b.num(ty, 1.0),
        2 => ex!(b; select((k == 0), (1.0 - r), r)),
        _ => {
            // Distance from the coordinate: r + 1, r, 1 - r, 2 - r.
            let kf = b.cast(ty, k);
            let d = ex!(b; (r + 1.0) - kf);
            let t = b.un(UnOp::Abs, d);
            let near = ex!(b; ((((t * 1.25) - 2.25) * t) * t) + 1.0);
            let far = ex!(b; (((((t * {b.num(ty, -0.75)}) + 3.75) * t) - 6.0) * t) + 3.0);
            ex!(b; select((t <= 1.0), near, far))
        }
    }
}

fn infer_affine(cx: &mut InferCx) -> Result<()> {
    let d = accept(cx, 0, float)?;
    let theta = cx.shape(0)?;
    let size = match cx.dims(1) {
        Some(s) => s,
        None => cx
            .const_ints(1, "size")?
            .into_iter()
            .map(Dim::Fixed)
            .collect(),
    };
    let n = size.len() as i64 - 2;
    if !(2..=3).contains(&n) || theta.len() != 3 || !theta[1].is(n) || !theta[2].is(n + 1) {
        return bad("`theta` and `size` must be of two or three spatial axes");
    }
    let mut out = vec![theta[0].clone()];
    out.extend_from_slice(&size[2..]);
    out.push(Dim::Fixed(n));
    cx.out(0, d, out);
    Ok(())
}

fn affine(cx: &mut LowerCx) -> Result<()> {
    let out = cx.out_shape()?;
    let n = out.len() - 2;
    let ty = cx.in_ty(0)?;
    let corners = cx.attrs.flag("align_corners");
    cx.each(&out, LoopKind::Seq, |cx, o| {
        let row = o[n + 1];
        let mut coordinates = vec![];
        for i in (0..n).rev() {
            let b = &mut cx.b;
            let size = b.dim(&out[1 + i]);
            let size = b.cast(ty, size);
            let at = b.cast(ty, o[1 + i]);
            let v = if corners {
                let last = ex!(b; size - 1.0);
                let none = b.num(ty, 0.0);
                let single = b.le(last, none);
                let one = b.num(ty, 1.0);
                let last = b.select(single, one, last);
                ex!(b; ((at * 2.0) / last) - 1.0)
            } else {
                ex!(b; (((at * 2.0) + 1.0) / size) - 1.0)
            };
            coordinates.push(v);
        }
        coordinates.push(cx.b.num(ty, 1.0));
        let mut sum = cx.b.num(ty, 0.0);
        for (k, &c) in coordinates.iter().enumerate() {
            let k = cx.b.i(k as i64);
            let t = cx.load(0, &[o[0], row, k])?;
            sum = cx.b.fma(t, c, sum);
        }
        cx.store(0, o, sum);
        Ok(())
    })
}
