//! Softmax, LogSoftmax, Hardmax. Before opset 13 they took all axes from `axis` on as one.

use super::axes::{count, fold, fold_in_parts, in_parts, origin, others, over};
use super::util::float_unary;
use crate::base::attr::Attr;
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::build::Builder;
use crate::loops::ir::{ExprId, LoopKind, Ty, UnOp};
use crate::op::{BASE, InferCx, LATEST, Lower, OpDef, ReadCx, onnx, resolve_axis};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&SOFTMAX, &LOG_SOFTMAX, &HARDMAX];

/// exp(x) over its sum.
pub static SOFTMAX: OpDef = OpDef {
    name: "Softmax",
    onnx: &[
        onnx("Softmax", 1, 12, read_flat),
        onnx("Softmax", 13, LATEST, read),
    ],
    infer,
    lower: Lower::Loops(|cx| soft(cx, false)),
    tails: true,
    sums: true,
    ..BASE
};

/// The logarithm of softmax.
pub static LOG_SOFTMAX: OpDef = OpDef {
    name: "LogSoftmax",
    onnx: &[
        onnx("LogSoftmax", 1, 12, read_flat),
        onnx("LogSoftmax", 13, LATEST, read),
    ],
    infer,
    lower: Lower::Loops(|cx| soft(cx, true)),
    tails: true,
    sums: true,
    ..BASE
};

/// 1 at the first largest element, else 0.
pub static HARDMAX: OpDef = OpDef {
    name: "Hardmax",
    onnx: &[
        onnx("Hardmax", 1, 12, read_flat),
        onnx("Hardmax", 13, LATEST, read),
    ],
    infer,
    lower: Lower::Loops(hard),
    tails: true,
    ..BASE
};

fn read_flat(cx: &mut ReadCx) -> Result<()> {
    cx.set("flat", Attr::Int(1));
    cx.keep_int("axis", 1)
}

fn read(cx: &mut ReadCx) -> Result<()> {
    cx.keep_int("axis", -1)
}

fn infer(cx: &mut InferCx) -> Result<()> {
    float_unary(cx)?;
    let rank = cx.shape(0)?.len();
    if rank == 0 {
        return Ok(());
    }
    // Flattening may name the place behind the last axis.
    let axis = cx.attrs.int("axis", -1);
    if cx.attrs.flag("flat") && axis == rank as i64 {
        return Ok(());
    }
    resolve_axis(axis, rank).map(|_| ())
}

/// The axes over which the sum runs.
fn summed(cx: &LowerCx, rank: usize) -> Result<Vec<usize>> {
    let axis = cx.attrs.int("axis", -1);
    if rank == 0 || (cx.attrs.flag("flat") && axis == rank as i64) {
        return Ok(vec![]);
    }
    let axis = resolve_axis(axis, rank)?;
    Ok(if cx.attrs.flag("flat") {
        (axis..rank).collect()
    } else {
        vec![axis]
    })
}

/// The largest element along `axes`.
fn largest(
    cx: &mut LowerCx,
    shape: &[Dim],
    axes: &[usize],
    at: &[ExprId],
    ty: Ty,
) -> Result<ExprId> {
    let low = cx.b.num(ty, f64::NEG_INFINITY);
    fold_in_parts(cx, shape, axes, at, low, &Builder::max, &|cx, at, best| {
        let x = cx.load(0, at)?;
        Ok(cx.b.max(x, best))
    })
}

fn soft(cx: &mut LowerCx, log: bool) -> Result<()> {
    let shape = cx.in_shape(0)?;
    let rank = shape.len();
    let axes = summed(cx, rank)?;
    let rest = others(rank, &axes);
    let ty = cx.in_ty(0)?;
    // Rows that lie in one piece keep their exponentials; columns side by side are taken in lanes.
    let rows = axes.last().is_none_or(|&a| a + 1 == rank);
    let kept = (rows && !log).then(|| {
        let dtype = if ty == Ty::F64 {
            DType::F64
        } else {
            DType::F32
        };
        cx.scratch_per_thread("exponentials", dtype, count(&shape, &axes))
    });
    let start = origin(cx, rank);
    let kind = if rows { LoopKind::Seq } else { LoopKind::Lanes };
    let own: Vec<Dim> = axes.iter().map(|&a| shape[a].clone()).collect();
    over(cx, &shape, &rest, kind, &start, |cx, at| {
        let top = largest(cx, &shape, &axes, at, ty)?;
        let zero = cx.b.num(ty, 0.0);
        let place = |cx: &mut LowerCx, at: &[ExprId]| {
            let index: Vec<ExprId> = axes.iter().map(|&a| at[a]).collect();
            cx.b.offset(&own, &index)
        };
        let shifted = |cx: &mut LowerCx, at: &[ExprId]| -> Result<ExprId> {
            let x = cx.load(0, at)?;
            Ok(cx.b.sub(x, top))
        };
        let parts = in_parts(&shape, &axes, ty);
        if let Some(buf) = kept
            && !parts
        {
            over(cx, &shape, &axes, LoopKind::Lanes, at, |cx, at| {
                let x = shifted(cx, at)?;
                let e = cx.b.un(UnOp::Exp, x);
                let to = place(cx, at);
                cx.b.store(buf, to, e);
                Ok(())
            })?;
        }
        let sum = fold_in_parts(cx, &shape, &axes, at, zero, &Builder::add, &|cx, at, sum| {
            let e = match kept {
                Some(buf) if parts => {
                    let x = shifted(cx, at)?;
                    let e = cx.b.un(UnOp::Exp, x);
                    let e = cx.b.let_(e);
                    let to = place(cx, at);
                    cx.b.store(buf, to, e);
                    e
                }
                Some(buf) => {
                    let from = place(cx, at);
                    cx.b.load(buf, from)
                }
                None => {
                    let x = shifted(cx, at)?;
                    cx.b.un(UnOp::Exp, x)
                }
            };
            Ok(cx.b.add(sum, e))
        })?;
        let log_sum = if log {
            let l = cx.b.un(UnOp::Log, sum);
            Some(cx.b.let_(l))
        } else {
            None
        };
        let kind = if rows { LoopKind::Lanes } else { LoopKind::Seq };
        over(cx, &shape, &axes, kind, at, |cx, at| {
            let v = match (log_sum, kept) {
                (Some(l), _) => {
                    let x = shifted(cx, at)?;
                    cx.b.sub(x, l)
                }
                (None, Some(buf)) => {
                    let from = place(cx, at);
                    ex!(cx.b; {cx.b.load(buf, from)} / sum)
                }
                (None, None) => {
                    let x = shifted(cx, at)?;
                    let e = cx.b.un(UnOp::Exp, x);
                    cx.b.div(e, sum)
                }
            };
            cx.store(0, at, v);
            Ok(())
        })
    })
}

fn hard(cx: &mut LowerCx) -> Result<()> {
    let shape = cx.in_shape(0)?;
    let axes = summed(cx, shape.len())?;
    let rest = others(shape.len(), &axes);
    let ty = cx.in_ty(0)?;
    let start = origin(cx, shape.len());
    let own: Vec<Dim> = axes.iter().map(|&a| shape[a].clone()).collect();
    let place = |cx: &mut LowerCx, at: &[ExprId]| {
        let index: Vec<ExprId> = axes.iter().map(|&a| at[a]).collect();
        cx.b.offset(&own, &index)
    };
    over(cx, &shape, &rest, LoopKind::Seq, &start, |cx, at| {
        let top = largest(cx, &shape, &axes, at, ty)?;
        let none = cx.b.i(i64::MAX);
        let first = fold(cx, &shape, &axes, at, none, |cx, at, first| {
            let x = cx.load(0, at)?;
            let here = place(cx, at);
            let hit = cx.b.eq(x, top);
            let earlier = cx.b.min(here, first);
            Ok(cx.b.select(hit, earlier, first))
        })?;
        over(cx, &shape, &axes, LoopKind::Lanes, at, |cx, at| {
            let here = place(cx, at);
            let (one, zero) = (cx.b.num(ty, 1.0), cx.b.num(ty, 0.0));
            let v = ex!(cx.b; select((here == first), one, zero));
            cx.store(0, at, v);
            Ok(())
        })
    })
}
