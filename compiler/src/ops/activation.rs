//! Smooth activations, written with exp, tanh, erf and their kin.

use crate::base::diag::Result;
use crate::loops::build::Builder;
use crate::loops::ir::{ExprId, UnOp};
use crate::op::{BASE, Lower, OpDef, PointCx, read_none};
use crate::ops::util::{bad, float_unary, since};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[
    &SOFTPLUS, &SOFTSIGN, &ELU, &SELU, &CELU, &GELU, &MISH, &SWISH,
];

/// log(1 + exp(x)).
pub static SOFTPLUS: OpDef = OpDef {
    name: "Softplus",
    onnx: &[since("Softplus", 1, read_none)],
    infer: float_unary,
    lower: Lower::Pointwise(|cx, x| Ok(softplus(cx.b, x[0]))),
    ..BASE
};

/// max(x, 0) + log1p(exp(-|x|)): no overflow, and exact for large x.
pub fn softplus(b: &mut Builder, x: ExprId) -> ExprId {
    let zero = b.num(b.ty(x), 0.0);
    let m = b.un(UnOp::Abs, x);
    let m = b.un(UnOp::Neg, m);
    let e = b.un(UnOp::Exp, m);
    let l = b.un(UnOp::Log1p, e);
    let p = b.max(zero, x);
    b.add(p, l)
}

/// x / (1 + |x|).
pub static SOFTSIGN: OpDef = OpDef {
    name: "Softsign",
    onnx: &[since("Softsign", 1, read_none)],
    infer: float_unary,
    lower: Lower::Pointwise(|cx, x| {
        let one = cx.b.num(cx.b.ty(x[0]), 1.0);
        let m = cx.b.un(UnOp::Abs, x[0]);
        let d = cx.b.add(one, m);
        Ok(cx.b.div(x[0], d))
    }),
    ..BASE
};

/// x where `x > 0`, else `scale * expm1(x * inner)`.
fn exponential(cx: &mut PointCx, x: ExprId, inner: f64, below: f64, above: f64) -> ExprId {
    let ty = cx.b.ty(x);
    let zero = cx.b.num(ty, 0.0);
    let mut e = x;
    if inner != 1.0 {
        let inner = cx.b.num(ty, inner);
        e = cx.b.div(e, inner);
    }
    let e = cx.b.un(UnOp::Expm1, e);
    let below = cx.b.num(ty, below);
    let low = cx.b.mul(e, below);
    let mut high = x;
    if above != 1.0 {
        let above = cx.b.num(ty, above);
        high = cx.b.mul(high, above);
    }
    let pos = cx.b.lt(zero, x);
    cx.b.select(pos, high, low)
}

/// x where x > 0, else alpha * (exp(x) - 1).
pub static ELU: OpDef = OpDef {
    name: "Elu",
    onnx: &[since("Elu", 6, |cx| cx.keep_float("alpha", 1.0))],
    infer: float_unary,
    lower: Lower::Pointwise(|cx, x| {
        let a = cx.attrs.float("alpha", 1.0) as f64;
        Ok(exponential(cx, x[0], 1.0, a, 1.0))
    }),
    ..BASE
};

const SELU_ALPHA: f32 = 1.673_263_2;
const SELU_GAMMA: f32 = 1.050_701;

/// gamma * x where x > 0, else gamma * alpha * (exp(x) - 1).
pub static SELU: OpDef = OpDef {
    name: "Selu",
    onnx: &[since("Selu", 6, |cx| {
        cx.keep_float("alpha", SELU_ALPHA)?;
        cx.keep_float("gamma", SELU_GAMMA)
    })],
    infer: float_unary,
    lower: Lower::Pointwise(|cx, x| {
        let a = cx.attrs.float("alpha", SELU_ALPHA) as f64;
        let g = cx.attrs.float("gamma", SELU_GAMMA) as f64;
        Ok(exponential(cx, x[0], 1.0, g * a, g))
    }),
    ..BASE
};

/// max(0, x) + min(0, alpha * (exp(x / alpha) - 1)).
pub static CELU: OpDef = OpDef {
    name: "Celu",
    onnx: &[since("Celu", 12, |cx| cx.keep_float("alpha", 1.0))],
    infer: |cx| {
        let alpha = cx.attrs.float("alpha", 1.0);
        if alpha <= 0.0 || alpha.is_nan() {
            return bad("`alpha` of Celu must be positive");
        }
        float_unary(cx)
    },
    lower: Lower::Pointwise(|cx, x| {
        let a = cx.attrs.float("alpha", 1.0) as f64;
        Ok(exponential(cx, x[0], a, a, 1.0))
    }),
    ..BASE
};

/// x times the normal distribution function of x, or its approximation by tanh.
pub static GELU: OpDef = OpDef {
    name: "Gelu",
    onnx: &[since("Gelu", 20, |cx| {
        let how = cx.str("approximate", "none")?;
        if !matches!(how.as_str(), "none" | "tanh") {
            return cx.unsupported(format!("`approximate` = {how:?}"));
        }
        cx.keep_str("approximate", "none")
    })],
    infer: float_unary,
    lower: Lower::Pointwise(|cx, x| {
        Ok(gelu(cx.b, x[0], cx.attrs.str("approximate", "none") == "tanh"))
    }),
    ..BASE
};

/// 0.5 x (1 + erf(x / sqrt 2)), or 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
pub fn gelu(b: &mut Builder, x: ExprId, by_tanh: bool) -> ExprId {
    let ty = b.ty(x);
    let (half, one) = (b.num(ty, 0.5), b.num(ty, 1.0));
    let inner = if by_tanh {
        let (c, k) = (b.num(ty, 0.044715), b.num(ty, 0.797_884_560_802_865_4));
        let x2 = b.mul(x, x);
        let x3 = b.mul(x2, x);
        let t = b.mul(x3, c);
        let t = b.add(x, t);
        let t = b.mul(t, k);
        b.un(UnOp::Tanh, t)
    } else {
        let k = b.num(ty, std::f64::consts::FRAC_1_SQRT_2);
        let t = b.mul(x, k);
        b.un(UnOp::Erf, t)
    };
    let s = b.add(one, inner);
    let h = b.mul(half, x);
    b.mul(h, s)
}

/// x * tanh(softplus(x)): with `n = e^x`, `x * n (n + 2) / (n (n + 2) + 2)`, as `tanh(log(1 + n))` is, without a difference of near numbers.
pub static MISH: OpDef = OpDef {
    name: "Mish",
    onnx: &[since("Mish", 18, read_none)],
    infer: float_unary,
    lower: Lower::Pointwise(mish),
    ..BASE
};

fn mish(cx: &mut PointCx, x: &[ExprId]) -> Result<ExprId> {
    let ty = cx.b.ty(x[0]);
    let (two, most) = (cx.b.num(ty, 2.0), cx.b.num(ty, 20.0));
    // Above this the quotient is 1 (f64: to 2^-57).
    let n = cx.b.min(most, x[0]);
    let n = cx.b.un(UnOp::Exp, n);
    let above = cx.b.add(n, two);
    let above = cx.b.mul(n, above);
    let below = cx.b.add(above, two);
    let part = cx.b.div(above, below);
    Ok(cx.b.mul(x[0], part))
}

/// x * sigmoid(alpha * x).
pub static SWISH: OpDef = OpDef {
    name: "Swish",
    onnx: &[since("Swish", 24, |cx| cx.keep_float("alpha", 1.0))],
    infer: float_unary,
    lower: Lower::Pointwise(|cx, x| {
        let alpha = cx.attrs.float("alpha", 1.0) as f64;
        let mut t = x[0];
        if alpha != 1.0 {
            let a = cx.b.num(cx.b.ty(t), alpha);
            t = cx.b.mul(t, a);
        }
        let s = cx.b.un(UnOp::Sigmoid, t);
        Ok(cx.b.mul(x[0], s))
    }),
    ..BASE
};
