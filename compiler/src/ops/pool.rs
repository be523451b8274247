//! AveragePool, LpPool: a window slides, a mean or a norm leaves.

use super::pool_planes::{Fold, Planes};
use super::spatial::{pool_window, read_window, spatial_of, with_spatial};
use super::util::{accept, float, since};
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::contracts::conv::{can_leave, cut, inside, seq, seq_of, tap};
use crate::contracts::window::Window;
use crate::kernel::LowerCx;
use crate::loops::ir::{ExprId, LoopKind, UnOp};
use crate::op::{BASE, InferCx, Lower, OpDef, ReadCx};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&AVERAGE_POOL, &LP_POOL];

/// The mean of a window.
pub static AVERAGE_POOL: OpDef = OpDef {
    name: "AveragePool",
    onnx: &[since("AveragePool", 7, read_average)],
    infer,
    lower: Lower::Loops(average),
    tails: true,
    ..BASE
};

/// The p-norm of a window.
pub static LP_POOL: OpDef = OpDef {
    name: "LpPool",
    onnx: &[since("LpPool", 2, read_lp)],
    infer,
    lower: Lower::Loops(lp),
    tails: true,
    ..BASE
};

fn read_average(cx: &mut ReadCx) -> Result<()> {
    read_window(cx)?;
    cx.keep_int("ceil_mode", 0)?;
    cx.keep_int("count_include_pad", 0)
}

fn read_lp(cx: &mut ReadCx) -> Result<()> {
    read_window(cx)?;
    cx.keep_int("ceil_mode", 0)?;
    cx.keep_int("p", 2)?;
    if cx.out.int("p", 2) < 1 {
        return super::util::bad("`p` must be positive");
    }
    Ok(())
}

fn infer(cx: &mut InferCx) -> Result<()> {
    let d = accept(cx, 0, float)?;
    let x = cx.shape(0)?;
    let w = pool_window(cx.attrs, &x)?;
    let shape = with_spatial(cx.attrs, &x, w.out);
    cx.out(0, d, shape);
    Ok(())
}

/// Loops over the outputs (lanes innermost), then over the window; `f` gets the input index and whether it is inside.
/// `begin` gives what lives in the loop over outputs, `finish` its result.
pub fn windows<T: Copy>(
    cx: &mut LowerCx,
    w: &Window,
    begin: impl FnOnce(&mut LowerCx) -> T,
    f: impl FnOnce(&mut LowerCx, T, &[ExprId], ExprId, &[ExprId]) -> Result<()>,
    finish: impl FnOnce(&mut LowerCx, T, &[ExprId]) -> Result<()>,
) -> Result<()> {
    let x = cx.in_shape(0)?;
    let shape = with_spatial(cx.attrs, &x, w.out.clone());
    let input = spatial_of(cx.attrs, &x)?.to_vec();
    let first = if cx.attrs.flag("channels_last") { 1 } else { 2 };
    // Where padding counts and sizes are rounded up, elements outside have to be looked at.
    let outside = cx.attrs.flag("count_include_pad") && cx.attrs.flag("ceil_mode");
    if first == 1 && !outside {
        return windows_last(cx, w, &shape, &input, begin, f, finish);
    }
    cx.each(&shape, LoopKind::Lanes, |cx, o| {
        let state = begin(cx);
        seq(cx, &w.kernel, |cx, k| {
            let mut at = o.to_vec();
            for (i, &k) in k.iter().enumerate() {
                at[first + i] = tap(&mut cx.b, w, i, o[first + i], k);
            }
            let ok = inside(&mut cx.b, w, &input, &at[first..first + w.rank()]);
            f(cx, state, &at, ok, k)
        })?;
        finish(cx, state, o)
    })
}

/// The same channels-last: the window of a pixel is cut to what exists, once for all its channels.
fn windows_last<T: Copy>(
    cx: &mut LowerCx,
    w: &Window,
    shape: &[Dim],
    input: &[Dim],
    begin: impl FnOnce(&mut LowerCx) -> T,
    f: impl FnOnce(&mut LowerCx, T, &[ExprId], ExprId, &[ExprId]) -> Result<()>,
    finish: impl FnOnce(&mut LowerCx, T, &[ExprId]) -> Result<()>,
) -> Result<()> {
    let (pixels, channels) = shape.split_at(shape.len() - 1);
    cx.each(pixels, LoopKind::Seq, |cx, o| {
        let cuts = cut(cx, w, input, &o[1..]);
        let channels = cx.b.dim(&channels[0]);
        cx.for_(channels, LoopKind::Lanes, |cx, c| {
            let state = begin(cx);
            let counts: Vec<ExprId> = cuts.iter().map(|c| c.1).collect();
            seq_of(cx, &counts, |cx, k| {
                let mut at = vec![o[0]];
                let mut taps = vec![];
                for (i, &k) in k.iter().enumerate() {
                    let k = cx.b.add(cuts[i].0, k);
                    at.push(tap(&mut cx.b, w, i, o[1 + i], k));
                    taps.push(k);
                }
                at.push(c);
                let ok = cx.b.bool(true);
                f(cx, state, &at, ok, &taps)
            })?;
            let mut full = o.to_vec();
            full.push(c);
            finish(cx, state, &full)
        })
    })
}

fn average(cx: &mut LowerCx) -> Result<()> {
    let x = cx.in_shape(0)?;
    let w = pool_window(cx.attrs, &x)?;
    let ty = cx.in_ty(0)?;
    let taps: i64 = w.kernel.iter().product();
    let with_pad = cx.attrs.flag("count_include_pad");
    let first = if cx.attrs.flag("channels_last") { 1 } else { 2 };
    let leaves = (0..w.rank()).any(|i| can_leave(&w, i, &x[first + i]));
    // With padding counted, only a size rounded up lets a window pass the end of the padding.
    let counted = leaves && (!with_pad || cx.attrs.flag("ceil_mode"));
    let zero = cx.b.num(ty, 0.0);
    if average_of_planes(cx, &w, zero, counted, with_pad)? {
        return Ok(());
    }
    let (wr, xr) = (&w, &x);
    windows(
        cx,
        wr,
        |cx| {
            let sum = cx.b.var(zero);
            let n = counted.then(|| cx.b.var(zero));
            (sum, n)
        },
        |cx, (sum, n), at, ok, _| {
            let v = cx.load_if(0, ok, at, zero)?;
            let old = cx.b.get(sum);
            let new = cx.b.add(old, v);
            cx.b.set(sum, new);
            if let Some(n) = n {
                let mut ok = ok;
                if with_pad {
                    ok = cx.b.bool(true);
                    for i in 0..wr.rank() {
                        let end = cx.b.dim(&(xr[first + i].clone() + Dim::Fixed(wr.end[i])));
                        let c = cx.b.lt(at[first + i], end);
                        ok = cx.b.and(ok, c);
                    }
                }
                let one = cx.b.num(ty, 1.0);
                let step = cx.b.select(ok, one, zero);
                let old = cx.b.get(n);
                let new = cx.b.add(old, step);
                cx.b.set(n, new);
            }
            Ok(())
        },
        |cx, (sum, n), o| {
            let sum = cx.b.get(sum);
            let n = match n {
                Some(n) => cx.b.get(n),
                None => cx.b.num(ty, taps as f64),
            };
            let v = cx.b.div(sum, n);
            cx.store(0, o, v);
            Ok(())
        },
    )
}

/// The mean axis by axis, where that is of use.
fn average_of_planes(
    cx: &mut LowerCx,
    w: &Window,
    zero: ExprId,
    counted: bool,
    with_pad: bool,
) -> Result<bool> {
    let taps = w.kernel.iter().product::<i64>() as f64;
    let Some(planes) = Planes::of(cx, w, &[DType::F32])? else {
        return Ok(false);
    };
    let counts = counted.then(|| planes.counts(cx, with_pad));
    let fold = Fold {
        init: zero,
        join: &|cx, old, v| cx.b.add(old, v),
        finish: &|cx, sum, place| {
            let ty = cx.b.ty(sum);
            match counts {
                Some(table) => {
                    let n = cx.b.load(table, place);
                    cx.b.div(sum, n)
                }
                None => {
                    let n = cx.b.num(ty, taps);
                    cx.b.div(sum, n)
                }
            }
        },
    };
    planes.fold(cx, &fold)?;
    Ok(true)
}

/// `|x|` to the power `p`, added to `sum`.
pub fn add_power(cx: &mut LowerCx, p: i64, x: ExprId, sum: ExprId) -> ExprId {
    let a = cx.b.un(UnOp::Abs, x);
    match p {
        1 => cx.b.add(sum, a),
        2 => cx.b.fma(a, a, sum),
        _ => {
            let p = cx.b.num(cx.b.ty(x), p as f64);
            let y = cx.b.bin(crate::loops::ir::BinOp::Pow, a, p);
            cx.b.add(sum, y)
        }
    }
}

/// The p-th root.
pub fn root(cx: &mut LowerCx, p: i64, x: ExprId) -> ExprId {
    match p {
        1 => x,
        2 => cx.b.un(UnOp::Sqrt, x),
        _ => {
            let p = cx.b.num(cx.b.ty(x), 1.0 / p as f64);
            cx.b.bin(crate::loops::ir::BinOp::Pow, x, p)
        }
    }
}

fn lp(cx: &mut LowerCx) -> Result<()> {
    let w = pool_window(cx.attrs, &cx.in_shape(0)?)?;
    let ty = cx.in_ty(0)?;
    let p = cx.attrs.int("p", 2);
    let zero = cx.b.num(ty, 0.0);
    windows(
        cx,
        &w,
        |cx| cx.b.var(zero),
        |cx, sum, at, ok, _| {
            let v = cx.load_if(0, ok, at, zero)?;
            let old = cx.b.get(sum);
            let new = add_power(cx, p, v, old);
            cx.b.set(sum, new);
            Ok(())
        },
        |cx, sum, o| {
            let sum = cx.b.get(sum);
            let v = root(cx, p, sum);
            cx.store(0, o, v);
            Ok(())
        },
    )
}
