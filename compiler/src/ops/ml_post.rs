//! What ai.onnx.ml does to scores before it gives them out.

use super::axes::{fold_n, store_plain};
use crate::base::diag::{Diagnostic, Result};
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::build::Builder;
use crate::loops::ir::{BufId, ExprId, LoopKind, UnOp};
use crate::op::ReadCx;

/// Reads `post_transform`.
pub fn read(cx: &mut ReadCx) -> Result<()> {
    cx.keep_str("post_transform", "NONE")?;
    match cx.out.str("post_transform", "NONE") {
        "NONE" | "SOFTMAX" | "LOGISTIC" | "SOFTMAX_ZERO" | "PROBIT" => Ok(()),
        p => Err(Diagnostic::unsupported(
            "ONNX008",
            format!("`post_transform` = {p} is not known"),
        )),
    }
}

/// 1 / (1 + exp(-x)).
pub fn logistic(b: &mut Builder, x: ExprId) -> ExprId {
    b.un(UnOp::Sigmoid, x)
}

/// The inverse of the normal distribution as ONNX runtimes compute it: sqrt(2) times an approximate inverse of erf.
pub fn probit(b: &mut Builder, p: ExprId) -> ExprId {
    let ty = b.ty(p);
    let x = ex!(b; (p * 2.0) - 1.0);
    let x2 = ex!(b; (1.0 - x) * (x + 1.0));
    let log = b.un(UnOp::Log, x2);
    let log = b.let_(log);
    let c = b.num(ty, 2.0 / (std::f64::consts::PI * 0.147));
    let v = ex!(b; c + (log * 0.5));
    let v = b.let_(v);
    let w = b.num(ty, 1.0 / 0.147);
    let root = ex!(b; (v * v) - (log * w));
    let root = b.un(UnOp::Sqrt, root);
    let inner = b.sub(root, v);
    let y = b.un(UnOp::Sqrt, inner);
    let neg = b.un(UnOp::Neg, y);
    let y = ex!(b; select((x < 0.0), neg, y));
    let sqrt2 = b.num(ty, std::f64::consts::SQRT_2);
    b.mul(y, sqrt2)
}

/// Stores `n` scores, transformed, as row `row` of output `o`.
pub fn store(cx: &mut LowerCx, o: usize, row: ExprId, scores: BufId, n: i64) -> Result<()> {
    let kind = cx.attrs.str("post_transform", "NONE").to_string();
    let count = cx.b.i(n);
    let softmax = match kind.as_str() {
        "SOFTMAX" | "SOFTMAX_ZERO" => {
            let first = cx.b.i(0);
            let first = cx.b.load(scores, first);
            let top = fold_n(cx, count, first, |cx, i, top| {
                let v = cx.b.load(scores, i);
                Ok(cx.b.max(v, top))
            })?;
            let zero = cx.b.num(cx.b.ty(top), 0.0);
            let skip = kind == "SOFTMAX_ZERO";
            let sum = fold_n(cx, count, zero, |cx, i, sum| {
                let v = cx.b.load(scores, i);
                let e = power(&mut cx.b, v, top, skip);
                Ok(cx.b.add(sum, e))
            })?;
            Some((top, sum, skip))
        }
        _ => None,
    };
    cx.for_(count, LoopKind::Seq, |cx, i| {
        let v = cx.b.load(scores, i);
        let b = &mut cx.b;
        let v = match (kind.as_str(), softmax) {
            (_, Some((top, sum, skip))) => {
                let e = power(b, v, top, skip);
                b.div(e, sum)
            }
            ("LOGISTIC", _) => logistic(b, v),
            ("PROBIT", _) => probit(b, v),
            _ => v,
        };
        store_plain(cx, o, &[row, i], v);
        Ok(())
    })
}

/// exp(v - top); where zeros are skipped they stay zeros.
fn power(b: &mut Builder, v: ExprId, top: ExprId, skip: bool) -> ExprId {
    let d = b.sub(v, top);
    let e = b.un(UnOp::Exp, d);
    if !skip {
        return e;
    }
    let zero = b.num(b.ty(v), 0.0);
    ex!(b; select((v == 0.0), zero, e))
}
