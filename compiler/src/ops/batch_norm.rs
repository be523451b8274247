//! BatchNormalization: every channel is scaled and shifted by its statistics, which are given (inference) or taken from the
//! batch (training mode).

use super::axes::{count, fold, origin, others, over, store_plain};
use super::util::{accept, bad, float};
use crate::base::attr::Attr;
use crate::base::diag::Result;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{ExprId, LoopKind, UnOp};
use crate::op::{BASE, InferCx, LATEST, Lower, OpDef, ReadCx, onnx};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&BATCH_NORM];

/// (x - mean) / sqrt(var + epsilon) * scale + bias, channel by channel.
pub static BATCH_NORM: OpDef = OpDef {
    name: "BatchNormalization",
    onnx: &[
        onnx("BatchNormalization", 7, 13, read_old),
        onnx("BatchNormalization", 14, LATEST, read),
    ],
    inputs: (5, 5),
    outputs: (1, 3),
    infer,
    lower: Lower::Loops(lower),
    tails: true,
    ..BASE
};

fn read_old(cx: &mut ReadCx) -> Result<()> {
    cx.keep_float("epsilon", 1e-5)?;
    cx.ignore("momentum");
    if cx.int("spatial", 1)? == 0 {
        return cx.unsupported("statistics of single positions (`spatial` = 0) are not done");
    }
    if cx.num_outputs > 1 {
        return cx.unsupported(
            "the training outputs of BatchNormalization before opset 14 are not done",
        );
    }
    cx.set("training_mode", Attr::Int(0));
    Ok(())
}

fn read(cx: &mut ReadCx) -> Result<()> {
    cx.keep_float("epsilon", 1e-5)?;
    cx.keep_float("momentum", 0.9)?;
    cx.keep_int("training_mode", 0)?;
    if cx.num_outputs > 1 && !cx.out.flag("training_mode") {
        return bad("more than one output needs `training_mode`");
    }
    Ok(())
}

fn infer(cx: &mut InferCx) -> Result<()> {
    let d = accept(cx, 0, float)?;
    let x = cx.shape(0)?;
    if x.len() < 2 {
        return bad("an input without channels");
    }
    for i in 1..5 {
        accept(cx, i, float)?;
        let s = cx.shape(i)?;
        let fits =
            s.len() == 1 && (s[0].fixed().is_none() || x[1].fixed().is_none() || s[0] == x[1]);
        if !fits {
            return bad(format!("input {i} does not fit the channels"));
        }
    }
    let stat = cx.dtype(3)?;
    cx.out(0, d, x.clone());
    cx.out(1, stat, vec![x[1].clone()]);
    cx.out(2, stat, vec![x[1].clone()]);
    Ok(())
}

fn lower(cx: &mut LowerCx) -> Result<()> {
    let x = cx.in_shape(0)?;
    let ty = cx.in_ty(0)?;
    let eps = cx.b.num(ty, f64::from(cx.attrs.float("epsilon", 1e-5)));
    let channel = |cx: &mut LowerCx, i: usize, c: ExprId| -> Result<ExprId> {
        let v = cx.load(i, &[c])?;
        let v = cx.b.cast(ty, v);
        Ok(cx.b.let_(v))
    };
    let start = origin(cx, x.len());
    let rest = others(x.len(), &[1]);
    if !cx.attrs.flag("training_mode") {
        // A batch of vectors has its channels side by side.
        let inner: Vec<usize> = (2..x.len()).collect();
        let kind = if inner.is_empty() {
            LoopKind::Lanes
        } else {
            LoopKind::Seq
        };
        return over(cx, &x, &[0, 1], kind, &start, |cx, at| {
            let (mean, var) = (channel(cx, 3, at[1])?, channel(cx, 4, at[1])?);
            normalise(cx, &x, &inner, at, mean, var, eps)
        });
    }
    let n = cx.b.dim(&count(&x, &rest));
    let n = cx.b.cast(ty, n);
    let zero = cx.b.num(ty, 0.0);
    let momentum = f64::from(cx.attrs.float("momentum", 0.9));
    over(cx, &x, &[1], LoopKind::Seq, &start, |cx, at| {
        let sum = fold(cx, &x, &rest, at, zero, |cx, at, sum| {
            let v = cx.load(0, at)?;
            Ok(cx.b.add(sum, v))
        })?;
        let mean = cx.b.div(sum, n);
        let mean = cx.b.let_(mean);
        let square = fold(cx, &x, &rest, at, zero, |cx, at, sum| {
            let v = cx.load(0, at)?;
            let d = cx.b.sub(v, mean);
            Ok(cx.b.fma(d, d, sum))
        })?;
        let var = cx.b.div(square, n);
        let var = cx.b.let_(var);
        for (o, input, now) in [(1, 3, mean), (2, 4, var)] {
            let old = channel(cx, input, at[1])?;
            let (keep, take) = (cx.b.num(ty, momentum), cx.b.num(ty, 1.0 - momentum));
            let new = ex!(cx.b; (old * keep) + (now * take));
            store_plain(cx, o, &at[1..2], new);
        }
        normalise(cx, &x, &rest, at, mean, var, eps)
    })
}

fn normalise(
    cx: &mut LowerCx,
    x: &[crate::base::dim::Dim],
    axes: &[usize],
    at: &[ExprId],
    mean: ExprId,
    var: ExprId,
    eps: ExprId,
) -> Result<()> {
    let ty = cx.in_ty(0)?;
    let per = |cx: &mut LowerCx, i: usize| -> Result<ExprId> {
        let v = cx.load(i, &at[1..2])?;
        let v = cx.b.cast(ty, v);
        Ok(cx.b.let_(v))
    };
    let (scale, bias) = (per(cx, 1)?, per(cx, 2)?);
    let sd = ex!(cx.b; var + eps);
    let sd = cx.b.un(UnOp::Sqrt, sd);
    let factor = cx.b.div(scale, sd);
    let factor = cx.b.let_(factor);
    over(cx, x, axes, LoopKind::Lanes, at, |cx, at| {
        let v = cx.load(0, at)?;
        let v = ex!(cx.b; ((v - mean) * factor) + bias);
        cx.store(0, at, v);
        Ok(())
    })
}
