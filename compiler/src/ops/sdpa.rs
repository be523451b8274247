//! Attention over rows as one operator, without the matrix of scores: `softmax(scale * Q K + mask) V`.
//!
//! It is no ONNX operator; the fusion `attention` makes it. Memory is one row of scores instead of a whole matrix. The
//! price is in `docs/decisions/002-attention.md`.
//!
//! - Inputs: Q [.., M, D]; K [.., D, N], or [.., N, D] where `rows` is set; V [.., N, E]; optionally a mask that broadcasts
//!   to [.., M, N]. Leading axes are equal.
//! - Attributes: `scale` (1), `rows` (0).

use super::axes::{fold, origin, over};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::kernel::LowerCx;
use crate::loops::ir::{ExprId, LoopKind, Ty, UnOp};
use crate::op::{BASE, InferCx, Lower, OpDef};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&SDPA];

/// The operator.
pub static SDPA: OpDef = OpDef {
    name: "ScaledDotProductAttention",
    inputs: (3, 4),
    infer,
    lower: Lower::Loops(lower),
    tails: true,
    sums: true,
    ..BASE
};

/// The leading axes, M, D, N and E.
fn sizes(q: &[Dim], k: &[Dim], v: &[Dim], rows: bool) -> Result<(Vec<Dim>, [Dim; 4])> {
    let rank = q.len();
    let wrong = || Err(Diagnostic::model("ONNX010", "Q, K and V do not fit together"));
    if rank < 2 || k.len() != rank || v.len() != rank {
        return wrong();
    }
    let lead = &q[..rank - 2];
    let (d, n) = match rows {
        true => (&k[rank - 1], &k[rank - 2]),
        false => (&k[rank - 2], &k[rank - 1]),
    };
    let fits = k[..rank - 2] == *lead && v[..rank - 2] == *lead;
    if !fits || *d != q[rank - 1] || *n != v[rank - 2] {
        return wrong();
    }
    let [m, e] = [&q[rank - 2], &v[rank - 1]];
    Ok((
        lead.to_vec(),
        [m.clone(), d.clone(), n.clone(), e.clone()],
    ))
}

fn infer(cx: &mut InferCx) -> Result<()> {
    let rows = cx.attrs.flag("rows");
    let (lead, [m, _, n, e]) = sizes(&cx.shape(0)?, &cx.shape(1)?, &cx.shape(2)?, rows)?;
    for i in 0..cx.inputs.len() {
        if cx.opt(i).is_some_and(|v| v.ty.dtype != DType::F32) {
            return Err(Diagnostic::unsupported("ONNX014", "attention takes f32"));
        }
    }
    if let Some(mask) = cx.opt(3) {
        let scores = [lead.clone(), vec![m.clone(), n]].concat();
        if crate::op::broadcast(&[&mask.ty.shape, &scores])? != scores {
            return Err(Diagnostic::model("ONNX010", "the mask does not broadcast"));
        }
    }
    cx.out(0, DType::F32, [lead, vec![m, e]].concat());
    Ok(())
}

fn lower(cx: &mut LowerCx) -> Result<()> {
    let rows = cx.attrs.flag("rows");
    let (lead, [m, d, n, e]) = sizes(&cx.in_shape(0)?, &cx.in_shape(1)?, &cx.in_shape(2)?, rows)?;
    let scores = cx.scratch_per_thread("scores", DType::F32, n.clone());
    let scale = f64::from(cx.attrs.float("scale", 1.0));
    // One index for all loops: the leading axes, then M, N, D, E.
    let b = lead.len();
    let space = [lead, vec![m, n, d, e]].concat();
    let (at_m, at_n, at_d, at_e) = (b, b + 1, b + 2, b + 3);
    let pick = move |at: &[ExprId], i: usize, j: usize| -> Vec<ExprId> {
        at[..b].iter().copied().chain([at[i], at[j]]).collect()
    };
    let outer: Vec<usize> = (0..=at_m).collect();
    let start = origin(cx, space.len());
    over(cx, &space, &outer, LoopKind::Seq, &start, |cx, at| {
        let zero = cx.b.num(Ty::F32, 0.0);
        // Columns of K side by side are taken in lanes; rows of K are summed one after the other.
        let kind = if rows { LoopKind::Seq } else { LoopKind::Lanes };
        over(cx, &space, &[at_n], kind, at, |cx, at| {
            let dot = fold(cx, &space, &[at_d], at, zero, |cx, at, sum| {
                let q = cx.load(0, &pick(at, at_m, at_d))?;
                let (i, j) = if rows { (at_n, at_d) } else { (at_d, at_n) };
                let k = cx.load(1, &pick(at, i, j))?;
                let p = cx.b.mul(q, k);
                Ok(cx.b.add(sum, p))
            })?;
            let factor = cx.b.num(Ty::F32, scale);
            let mut s = cx.b.mul(dot, factor);
            if cx.opt(3).is_some() {
                let mask = cx.load_broadcast(3, &pick(at, at_m, at_n))?;
                s = cx.b.add(s, mask);
            }
            cx.b.store(scores, at[at_n], s);
            Ok(())
        })?;
        let low = cx.b.num(Ty::F32, f64::NEG_INFINITY);
        let top = fold(cx, &space, &[at_n], at, low, |cx, at, best| {
            let s = cx.b.load(scores, at[at_n]);
            Ok(cx.b.max(s, best))
        })?;
        over(cx, &space, &[at_n], LoopKind::Lanes, at, |cx, at| {
            let s = cx.b.load(scores, at[at_n]);
            let s = cx.b.sub(s, top);
            let p = cx.b.un(UnOp::Exp, s);
            cx.b.store(scores, at[at_n], p);
            Ok(())
        })?;
        let sum = fold(cx, &space, &[at_n], at, zero, |cx, at, sum| {
            let p = cx.b.load(scores, at[at_n]);
            Ok(cx.b.add(sum, p))
        })?;
        over(cx, &space, &[at_e], LoopKind::Lanes, at, |cx, at| {
            let out = fold(cx, &space, &[at_n], at, zero, |cx, at, acc| {
                let p = cx.b.load(scores, at[at_n]);
                let v = cx.load(2, &pick(at, at_n, at_e))?;
                let p = cx.b.mul(p, v);
                Ok(cx.b.add(acc, p))
            })?;
            let out = cx.b.div(out, sum);
            cx.store(0, &pick(at, at_m, at_e), out);
            Ok(())
        })
    })
}
