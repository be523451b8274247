//! Losses over classes: NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss.

use super::{Expansion, ExpandCx};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dtype::DType;
use crate::graph::ir::ValueId;

/// Operators of this file.
pub const EXPANSIONS: &[Expansion] = &[
    super::onnx("NegativeLogLikelihoodLoss", 12, negative_log_likelihood),
    super::onnx("SoftmaxCrossEntropyLoss", 12, cross_entropy),
];

fn negative_log_likelihood(cx: &mut ExpandCx) -> Result<()> {
    let x = cx.input(0)?;
    let loss = loss(cx, x)?;
    cx.set(0, loss);
    Ok(())
}

fn cross_entropy(cx: &mut ExpandCx) -> Result<()> {
    let x = cx.input(0)?;
    let log = cx.op("LogSoftmax", &[x], Attrs::default().with("axis", Attr::Int(1)))?;
    let loss = loss(cx, log)?;
    cx.set(0, loss);
    cx.set(1, log);
    Ok(())
}

/// Minus the logarithms `x[n, class, ...]` at the classes of input 1, weighted by input 2, reduced.
fn loss(cx: &mut ExpandCx, x: ValueId) -> Result<ValueId> {
    let target = cx.input(1)?;
    let weight = cx.opt(2);
    let reduction = cx.attrs.str("reduction", "mean")?;
    let ignore = cx.attrs.opt_int("ignore_index")?;
    let dtype = cx.ty(x)?.dtype;
    let index = cx.ty(target)?.dtype;
    let zero = cx.scalar(dtype, 0.0);
    // Ignored classes may lie outside the range: they read class 0 and count nothing.
    let mut class = target;
    let mut ignored = None;
    if let Some(i) = ignore {
        let i = cx.scalar(DType::I64, i as f64);
        let i = if index == DType::I64 { i } else { cx.cast(i, index)? };
        let hit = cx.plain("Equal", &[target, i])?;
        let first = cx.scalar(index, 0.0);
        class = cx.plain("Where", &[hit, first, target])?;
        ignored = Some(hit);
    }
    let axis = cx.list(&[1]);
    let at = cx.plain("Unsqueeze", &[class, axis])?;
    let picked = cx.op("GatherElements", &[x, at], Attrs::default().with("axis", Attr::Int(1)))?;
    let picked = cx.plain("Squeeze", &[picked, axis])?;
    let mut each = cx.plain("Neg", &[picked])?;
    let mut weights = match weight {
        Some(w) => Some(cx.plain("Gather", &[w, class])?),
        None => None,
    };
    if let Some(hit) = ignored {
        let one = cx.scalar(dtype, 1.0);
        weights = Some(cx.plain("Where", &[hit, zero, weights.unwrap_or(one)])?);
        each = cx.plain("Where", &[hit, zero, each])?;
    }
    if let Some(w) = weights {
        each = cx.plain("Mul", &[each, w])?;
    }
    let whole = || Attrs::default().with("keepdims", Attr::Int(0));
    match (reduction.as_str(), weights) {
        ("none", _) => Ok(each),
        ("sum", _) => cx.op("ReduceSum", &[each], whole()),
        ("mean", None) => cx.op("ReduceMean", &[each], whole()),
        ("mean", Some(w)) => {
            let sum = cx.op("ReduceSum", &[each], whole())?;
            let of = cx.op("ReduceSum", &[w], whole())?;
            cx.plain("Div", &[sum, of])
        }
        (r, _) => Err(Diagnostic::model("ONNX009", format!("`reduction` = {r:?}"))),
    }
}
