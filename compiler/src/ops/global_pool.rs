//! GlobalAveragePool, GlobalMaxPool, GlobalLpPool: every channel becomes one number.

use super::axes::{count, fold_in_parts, over};
use super::pool::{add_power, root};
use super::util::{accept, bad, float, since};
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::kernel::LowerCx;
use crate::loops::build::Builder;
use crate::loops::ir::{ExprId, LoopKind};
use crate::op::{BASE, InferCx, Lower, OpDef, read_none};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&AVERAGE, &MAX, &LP];

/// The mean of a channel.
pub static AVERAGE: OpDef = OpDef {
    name: "GlobalAveragePool",
    onnx: &[since("GlobalAveragePool", 1, read_none)],
    infer,
    lower: Lower::Loops(average),
    tails: true,
    ..BASE
};

/// The largest element of a channel.
pub static MAX: OpDef = OpDef {
    name: "GlobalMaxPool",
    onnx: &[since("GlobalMaxPool", 1, read_none)],
    infer,
    lower: Lower::Loops(max),
    tails: true,
    ..BASE
};

/// The p-norm of a channel.
pub static LP: OpDef = OpDef {
    name: "GlobalLpPool",
    onnx: &[since("GlobalLpPool", 2, |cx| cx.keep_int("p", 2))],
    infer,
    lower: Lower::Loops(lp),
    tails: true,
    ..BASE
};

fn infer(cx: &mut InferCx) -> Result<()> {
    let d = accept(cx, 0, float)?;
    let mut shape = cx.shape(0)?;
    if shape.len() < 2 {
        return bad("an input without channels");
    }
    if cx.attrs.int("p", 2) < 1 {
        return bad("`p` must be positive");
    }
    shape[2..].fill(Dim::Fixed(1));
    cx.out(0, d, shape);
    Ok(())
}

/// For every channel: folds its elements from `init`, finishes, stores. `join` brings two partial results together.
fn channels(
    cx: &mut LowerCx,
    init: ExprId,
    step: impl Fn(&mut LowerCx, ExprId, ExprId) -> ExprId,
    join: impl Fn(&mut Builder, ExprId, ExprId) -> ExprId,
    finish: impl FnOnce(&mut LowerCx, ExprId, &Dim) -> ExprId,
) -> Result<()> {
    let x = cx.in_shape(0)?;
    let axes: Vec<usize> = (2..x.len()).collect();
    let start = super::axes::origin(cx, x.len());
    over(cx, &x, &[0, 1], LoopKind::Seq, &start, |cx, at| {
        let step = |cx: &mut LowerCx, at: &[ExprId], old| {
            let v = cx.load(0, at)?;
            Ok(step(cx, old, v))
        };
        let v = fold_in_parts(cx, &x, &axes, at, init, &join, &step)?;
        let v = finish(cx, v, &count(&x, &axes));
        cx.store(0, at, v);
        Ok(())
    })
}

fn average(cx: &mut LowerCx) -> Result<()> {
    let ty = cx.in_ty(0)?;
    let zero = cx.b.num(ty, 0.0);
    channels(
        cx,
        zero,
        |cx, sum, v| cx.b.add(sum, v),
        Builder::add,
        |cx, sum, n| {
            let n = cx.b.dim(n);
            let n = cx.b.cast(ty, n);
            cx.b.div(sum, n)
        },
    )
}

fn max(cx: &mut LowerCx) -> Result<()> {
    let low = cx.b.num(cx.in_ty(0)?, f64::NEG_INFINITY);
    channels(cx, low, |cx, best, v| cx.b.max(v, best), Builder::max, |_, v, _| v)
}

fn lp(cx: &mut LowerCx) -> Result<()> {
    let p = cx.attrs.int("p", 2);
    let zero = cx.b.num(cx.in_ty(0)?, 0.0);
    channels(
        cx,
        zero,
        |cx, sum, v| add_power(cx, p, v, sum),
        Builder::add,
        |cx, sum, _| root(cx, p, sum),
    )
}
