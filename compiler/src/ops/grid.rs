//! GridSample, which reads an input at coordinates, and AffineGrid, which makes them.

use super::axes::{fold, origin};
use super::util::{accept, bad, float, number, since, unravel};
use crate::base::attr::Attr;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::build::Builder;
use crate::loops::ir::{Const, ExprId, LoopKind, Ty, UnOp};
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
    let find = |cx: &mut LowerCx, o: &[ExprId]| -> Result<(Vec<ExprId>, Vec<ExprId>)> {
        let (mut first, mut ratio) = (vec![], vec![]);
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
        Ok((first, ratio))
    };
    let tap = |b: &mut Builder, (first, ratio): &(Vec<ExprId>, Vec<ExprId>), k: &[ExprId]| {
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
            if x[2 + i].fixed().is_none_or(|n| n <= 0) {
                let some = b.lt(none, size);
                ok = b.and(ok, some);
            }
        }
        let weight = b.cast(vty, weight);
        Tap { ok, place, weight }
    };
    let sizes = vec![taps; n];
    let count = sizes.iter().product::<i64>();
    let buf = cx.input(0)?.buf;
    let channels = cx.b.dim(&x[1]);
    let plane = |cx: &mut LowerCx, image: ExprId, c: ExprId| {
        let mut plane = ex!(cx.b; (image * channels) + c);
        for d in &x[2..] {
            let size = cx.b.dim(d);
            plane = cx.b.mul(plane, size);
        }
        cx.b.let_(plane)
    };
    let zero = cx.b.num(vty, 0.0);
    let added = |b: &mut Builder, plane: ExprId, t: &Tap, sum: ExprId| {
        let at = b.add(plane, t.place);
        let v = match b.as_const(t.ok) {
            Some(Const::Bool(true)) => b.load(buf, at),
            _ => b.load_if(buf, t.ok, at, zero),
        };
        match taps {
            1 => v,
            _ => b.fma(t.weight, v, sum),
        }
    };
    if count > WRITTEN_OUT {
        return cx.each(&positions, LoopKind::Seq, |cx, o| {
            let looks = find(cx, o)?;
            cx.for_(channels, LoopKind::Seq, |cx, c| {
                let plane = plane(cx, o[0], c);
                let sizes: Vec<Dim> = sizes.iter().map(|&n| Dim::Fixed(n)).collect();
                let axes: Vec<usize> = (0..n).collect();
                let start = origin(cx, n);
                let sum = fold(cx, &sizes, &axes, &start, zero, |cx, k, sum| {
                    let t = tap(&mut cx.b, &looks, k);
                    Ok(added(&mut cx.b, plane, &t, sum))
                })?;
                let mut at = vec![o[0], c];
                at.extend_from_slice(&o[1..]);
                cx.store(0, &at, sum);
                Ok(())
            })
        });
    }
    // A row of positions is found at a time, then read channel by channel: neighbours lie near each other.
    let (rows, own) = positions.split_at(positions.len() - axes_of_a_row(cx, &positions));
    let width = &own.iter().cloned().product::<Dim>();
    let all = width.clone() * Dim::Fixed(count);
    let real = if vty == Ty::F64 { DType::F64 } else { DType::F32 };
    let places = cx.scratch_per_thread("places", DType::I64, all.clone());
    let weights = (taps > 1).then(|| cx.scratch_per_thread("weights", real, all.clone()));
    // Whether what is read is there, for each tap and for all of a position.
    let sure = padding != "zeros" && x[2..].iter().all(|d| d.fixed().is_some_and(|n| n > 0));
    let there = (!sure).then(|| cx.scratch_per_thread("there", DType::Bool, all));
    let inside = (!sure && taps > 1)
        .then(|| cx.scratch_per_thread("inside", DType::Bool, width.clone()));
    let (wide, yes) = (cx.b.dim(width), cx.b.bool(true));
    // Nothing is brought back to the border: taps of a position within lie as far apart as the image says.
    let side_by_side = padding == "zeros" && x[2..].iter().all(|d| d.fixed().is_some());
    cx.each(rows, LoopKind::Seq, |cx, o| {
        cx.for_(wide, LoopKind::Seq, |cx, i| {
            let within = match own.len() {
                1 => vec![i],
                _ => cx.b.unoffset(own, i),
            };
            let looks = find(cx, &[o, &within[..]].concat())?;
            let base = ex!(cx.b; i * {cx.b.i(count)});
            let base = cx.b.let_(base);
            let mut ok = yes;
            for number in 0..count {
                let k = unravel(&sizes, number);
                let k: Vec<ExprId> = k.into_iter().map(|k| cx.b.i(k)).collect();
                let t = tap(&mut cx.b, &looks, &k);
                let to = ex!(cx.b; base + {cx.b.i(number)});
                cx.b.store(places, to, t.place);
                if let Some(weights) = weights {
                    cx.b.store(weights, to, t.weight);
                }
                if let Some(there) = there {
                    let own = cx.b.let_(t.ok);
                    cx.b.store(there, to, own);
                    ok = cx.b.and(ok, own);
                }
            }
            if let Some(inside) = inside {
                cx.b.store(inside, i, ok);
            }
            Ok(())
        })?;
        cx.for_(channels, LoopKind::Seq, |cx, c| {
            let plane = plane(cx, o[0], c);
            // Where a row of several axes is stored.
            let start = (own.len() > 1).then(|| {
                let mut at = [&[o[0], c], &o[1..]].concat();
                at.resize(out.len(), cx.b.i(0));
                let at = cx.b.offset(&out, &at);
                cx.b.let_(at)
            });
            cx.for_(wide, LoopKind::Seq, |cx, i| {
                let base = ex!(cx.b; i * {cx.b.i(count)});
                let base = cx.b.let_(base);
                let read = |b: &mut Builder, checked: bool| {
                    let first = (!checked && side_by_side).then(|| {
                        let first = b.load(places, base);
                        b.let_(first)
                    });
                    (0..count).fold(zero, |sum, number| {
                        let from = ex!(b; base + {b.i(number)});
                        let t = Tap {
                            ok: there
                                .filter(|_| checked)
                                .map_or(yes, |there| b.load(there, from)),
                            place: match first {
                                Some(first) => {
                                    let k = unravel(&sizes, number);
                                    let on = (k.iter().zip(&x[2..])).fold(0, |at, (k, d)| {
                                        at * d.fixed().unwrap_or(0) + k
                                    });
                                    ex!(b; first + {b.i(on)})
                                }
                                None => b.load(places, from),
                            },
                            weight: weights.map_or(zero, |w| b.load(w, from)),
                        };
                        added(b, plane, &t, sum)
                    })
                };
                let sum = match inside {
                    // Few positions are at the border.
                    Some(inside) => {
                        let sum = cx.b.var(zero);
                        let inside = cx.b.load(inside, i);
                        cx.b.if_(
                            inside,
                            |b| {
                                let v = read(b, false);
                                b.set(sum, v);
                            },
                            |b| {
                                let v = read(b, true);
                                b.set(sum, v);
                            },
                        );
                        cx.b.get(sum)
                    }
                    None => read(&mut cx.b, true),
                };
                if let Some(start) = start {
                    let at = cx.b.add(start, i);
                    cx.store_flat(0, at, sum);
                    return Ok(());
                }
                let at = [&[o[0], c], &o[1..], &[i]].concat();
                cx.store(0, &at, sum);
                Ok(())
            })
        })
    })
}

/// Positions of a last axis below which axes before it are taken with it, and how many there are then at most: what is known of them has to
/// stay near.
const SHORT_ROW: i64 = 32;
const LONG_ROW: i64 = 2048;

/// How many axes of the positions, the last ones, are a row: those of one channel lie in one piece. Behind what is stored elementwise it is one.
fn axes_of_a_row(cx: &LowerCx, positions: &[Dim]) -> usize {
    let (mut axes, mut row) = (0, 1);
    // The first axis is that of images.
    for d in positions.iter().skip(1).rev() {
        let longer = d.fixed().and_then(|n| n.checked_mul(row));
        match longer {
            Some(n) if axes == 0 || (row < SHORT_ROW && n <= LONG_ROW) => row = n,
            _ => break,
        }
        axes += 1;
    }
    match cx.store_hook {
        Some(_) => 1,
        None => axes.max(1),
    }
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
