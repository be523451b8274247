//! Formulas of the mathematical functions, in primitive operations alone: no loads, no branches, no library.
//!
//! Every function takes any argument and follows C99 at its special values. In F32 all but log2 have formulas
//! of their own, made for lanes of 32 bits; log2 computes in F64 and rounds once. Accuracy, and for
//! F32 the reason of each choice, is said in each file; the tests hold 2 ulp in F32 and 4 in F64.
//!
//! All polynomials were derived for this compiler by `derive.py` in this folder (needs Python, mpmath, numpy; nothing of
//! it runs when the compiler is built).

mod arc;
mod dd;
mod erf;
mod exp;
mod hyperbolic;
mod log;
mod pow;
#[cfg(test)]
mod tests;
mod trig;
mod trig_32;
mod value;

use super::build::Builder;
use super::ir::{BinOp, ExprId, Ty, UnOp};
use std::cell::RefCell;
use value::V;

/// Whether an operation on one operand is written out by a formula here.
pub fn is_written_out(op: UnOp) -> bool {
    use UnOp::*;
    matches!(
        op,
        Exp | Expm1
            | Log
            | Log1p
            | Log2
            | Sin
            | Cos
            | Tan
            | Asin
            | Acos
            | Atan
            | Sinh
            | Cosh
            | Tanh
            | Asinh
            | Acosh
            | Atanh
            | Erf
            | Sigmoid
    )
}

/// Writes `op(x)` in primitive operations; `None` where it is one itself, or x is no float.
pub(super) fn un(b: &RefCell<Builder>, op: UnOp, x: ExprId) -> Option<ExprId> {
    let x = V { b, id: x };
    if !is_written_out(op) || !x.ty().is_float() {
        return None;
    }
    let narrow = x.ty() == Ty::F32;
    let own: Option<fn(V) -> V> = match op {
        UnOp::Exp => Some(exp::exp),
        UnOp::Sigmoid => Some(exp::sigmoid),
        UnOp::Erf => Some(erf::erf),
        UnOp::Tanh if narrow => Some(exp::tanh32),
        UnOp::Expm1 if narrow => Some(exp::expm1_32),
        UnOp::Log if narrow => Some(log::log_32),
        UnOp::Log1p if narrow => Some(log::log1p_32),
        UnOp::Sin if narrow => Some(trig_32::sin),
        UnOp::Cos if narrow => Some(trig_32::cos),
        UnOp::Tan if narrow => Some(trig_32::tan),
        UnOp::Asin if narrow => Some(arc::asin_32),
        UnOp::Acos => Some(arc::acos),
        UnOp::Atan if narrow => Some(arc::atan_32),
        UnOp::Sinh if narrow => Some(hyperbolic::sinh_32),
        UnOp::Cosh if narrow => Some(hyperbolic::cosh_32),
        UnOp::Asinh if narrow => Some(hyperbolic::asinh_32),
        UnOp::Acosh if narrow => Some(hyperbolic::acosh_32),
        UnOp::Atanh if narrow => Some(hyperbolic::atanh_32),
        _ => None,
    };
    let y = match own {
        Some(f) => f(x),
        None => {
            let x = x.cast(Ty::F64);
            match op {
                UnOp::Expm1 => exp::expm1(x),
                UnOp::Log => log::log(x),
                UnOp::Log1p => log::log1p(x),
                UnOp::Log2 => log::log2(x),
                UnOp::Sin => trig::sin(x),
                UnOp::Cos => trig::cos(x),
                UnOp::Tan => trig::tan(x),
                UnOp::Asin => arc::asin(x),
                UnOp::Atan => arc::atan(x),
                UnOp::Sinh => hyperbolic::sinh(x),
                UnOp::Cosh => hyperbolic::cosh(x),
                UnOp::Tanh => hyperbolic::tanh(x),
                UnOp::Asinh => hyperbolic::asinh(x),
                UnOp::Acosh => hyperbolic::acosh(x),
                UnOp::Atanh => hyperbolic::atanh(x),
                _ => return None,
            }
        }
    };
    Some(if narrow { y.cast(Ty::F32).id } else { y.id })
}

/// e^x for x that is 0 or less, or NaN, as softmax has it: in F32 fewer operations than [`UnOp::Exp`], and 0 where that is no normal number.
pub fn exp_down(b: &mut Builder, x: ExprId) -> ExprId {
    if b.ty(x) != Ty::F32 {
        return b.un(UnOp::Exp, x);
    }
    let x = b.let_(x);
    let cell = RefCell::new(std::mem::take(b));
    let y = exp::exp_down_32(V { b: &cell, id: x }).id;
    *b = cell.into_inner();
    y
}

/// Writes `op(x, y)` in primitive operations; `None` where it is one itself.
pub(super) fn bin(b: &RefCell<Builder>, op: BinOp, x: ExprId, y: ExprId) -> Option<ExprId> {
    let (x, y) = (V { b, id: x }, V { b, id: y });
    (op == BinOp::Pow && x.ty().is_float()).then(|| pow::pow(x, y).id)
}
