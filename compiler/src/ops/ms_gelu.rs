//! The GELU family of com.microsoft: Gelu, BiasGelu, FastGelu, QuickGelu.

use super::util::{accept_same, elementwise, float, float_unary};
use crate::base::diag::Result;
use crate::ex;
use crate::loops::build::Builder;
use crate::loops::ir::{ExprId, UnOp};
use crate::op::{BASE, InferCx, Lower, OpDef, PointCx, onnx_in, read_none};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&BIAS_GELU, &FAST_GELU, &QUICK_GELU];

/// x / 2 * (1 + erf(x / sqrt 2)) of x, or of x + bias.
pub static BIAS_GELU: OpDef = OpDef {
    name: "BiasGelu",
    onnx: &[
        onnx_in("com.microsoft", "Gelu", 1, i64::MAX, read_none),
        onnx_in("com.microsoft", "BiasGelu", 1, i64::MAX, read_none),
    ],
    inputs: (1, 2),
    infer,
    lower: Lower::Pointwise(|cx: &mut PointCx, x: &[ExprId]| {
        let v = biased(cx.b, x);
        let ty = cx.b.ty(v);
        let root = cx.b.num(ty, std::f64::consts::FRAC_1_SQRT_2);
        let e = ex!(cx.b; v * root);
        let e = cx.b.un(UnOp::Erf, e);
        Ok(ex!(cx.b; (v * 0.5) * (e + 1.0)))
    }),
    ..BASE
};

/// The same with tanh for erf.
pub static FAST_GELU: OpDef = OpDef {
    name: "FastGelu",
    onnx: &[onnx_in("com.microsoft", "FastGelu", 1, i64::MAX, read_none)],
    inputs: (1, 2),
    infer,
    lower: Lower::Pointwise(|cx: &mut PointCx, x: &[ExprId]| {
        let v = biased(cx.b, x);
        let ty = cx.b.ty(v);
        let (a, c) = (
            cx.b.num(ty, 0.7978845608028654),
            cx.b.num(ty, 0.035677408136300125),
        );
        let t = ex!(cx.b; v * ((c * (v * v)) + a));
        let t = cx.b.un(UnOp::Tanh, t);
        Ok(ex!(cx.b; (v * 0.5) * (t + 1.0)))
    }),
    ..BASE
};

/// x * sigmoid(alpha * x).
pub static QUICK_GELU: OpDef = OpDef {
    name: "QuickGelu",
    onnx: &[onnx_in("com.microsoft", "QuickGelu", 1, i64::MAX, |cx| {
        cx.keep_float("alpha", 1.702)
    })],
    infer: float_unary,
    lower: Lower::Pointwise(|cx: &mut PointCx, x: &[ExprId]| {
        let v = x[0];
        let alpha =
            cx.b.num(cx.b.ty(v), f64::from(cx.attrs.float("alpha", 1.702)));
        let s = ex!(cx.b; v * alpha);
        let s = cx.b.un(UnOp::Sigmoid, s);
        Ok(cx.b.mul(v, s))
    }),
    ..BASE
};

fn infer(cx: &mut InferCx) -> Result<()> {
    accept_same(cx, 0, float)?;
    elementwise(cx, float).map(|_| ())
}

fn biased(b: &mut Builder, x: &[ExprId]) -> ExprId {
    match x {
        [v, bias] => b.add(*v, *bias),
        _ => x[0],
    }
}
