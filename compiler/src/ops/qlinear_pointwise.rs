//! The pointwise operators of com.microsoft over quantized numbers: QLinearAdd, QLinearMul, QLinearSigmoid,
//! QLinearLeakyRelu.

use super::quantized::{byte, check, one, quantize, real};
use super::util::accept;
use crate::base::diag::{Diagnostic, Result};
use crate::ex;
use crate::loops::ir::{ExprId, Ty, UnOp};
use crate::op::{BASE, InferCx, Lower, OpDef, PointCx, broadcast, onnx_in, read_none};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&ADD, &MUL, &SIGMOID, &LEAKY_RELU];

/// Inputs: A, scale, zero point, B, scale, zero point, the output's scale, zero point.
pub static ADD: OpDef = OpDef {
    name: "QLinearAdd",
    onnx: &[onnx_in(
        "com.microsoft",
        "QLinearAdd",
        1,
        i64::MAX,
        read_none,
    )],
    inputs: (7, 8),
    infer: infer_two,
    lower: Lower::Pointwise(|cx, x| two(cx, x, |cx, a, b| cx.b.add(a, b))),
    ..BASE
};

/// The same for the product.
pub static MUL: OpDef = OpDef {
    name: "QLinearMul",
    onnx: &[onnx_in(
        "com.microsoft",
        "QLinearMul",
        1,
        i64::MAX,
        read_none,
    )],
    inputs: (7, 8),
    infer: infer_two,
    lower: Lower::Pointwise(|cx, x| two(cx, x, |cx, a, b| cx.b.mul(a, b))),
    ..BASE
};

/// Inputs: X, scale, zero point, the output's scale, zero point.
pub static SIGMOID: OpDef = OpDef {
    name: "QLinearSigmoid",
    onnx: &[onnx_in(
        "com.microsoft",
        "QLinearSigmoid",
        1,
        i64::MAX,
        read_none,
    )],
    inputs: (4, 5),
    infer: infer_one,
    lower: Lower::Pointwise(|cx, x| single(cx, x, |cx, v| cx.b.un(UnOp::Sigmoid, v))),
    ..BASE
};

/// The same with a slope below 0.
pub static LEAKY_RELU: OpDef = OpDef {
    name: "QLinearLeakyRelu",
    onnx: &[onnx_in(
        "com.microsoft",
        "QLinearLeakyRelu",
        1,
        i64::MAX,
        |cx| cx.keep_float("alpha", 0.01),
    )],
    inputs: (4, 5),
    infer: infer_one,
    lower: Lower::Pointwise(|cx, x| {
        single(cx, x, |cx, v| {
            let alpha = cx.b.num(Ty::F64, f64::from(cx.attrs.float("alpha", 0.01)));
            ex!(cx.b; select((v < 0.0), (v * alpha), v))
        })
    }),
    ..BASE
};

fn infer_two(cx: &mut InferCx) -> Result<()> {
    let (a, b) = (accept(cx, 0, byte)?, accept(cx, 3, byte)?);
    if a != b {
        return Err(super::util::mismatch(a, b));
    }
    for (s, z) in [(1, 2), (4, 5), (6, 7)] {
        check(cx, s, z, a)?;
        one(cx, s)?;
        one(cx, z)?;
    }
    let shape = broadcast(&[&cx.shape(0)?, &cx.shape(3)?])?;
    cx.out(0, a, shape);
    Ok(())
}

fn infer_one(cx: &mut InferCx) -> Result<()> {
    let d = accept(cx, 0, byte)?;
    for (s, z) in [(1, 2), (3, 4)] {
        check(cx, s, z, d)?;
        one(cx, s)?;
        one(cx, z)?;
    }
    let shape = cx.shape(0)?;
    cx.out(0, d, shape);
    Ok(())
}

/// Operand number `i` of the node; `None` where it is absent.
fn operand(cx: &PointCx, x: &[ExprId], i: usize) -> Option<ExprId> {
    cx.in_types.get(i).copied().flatten()?;
    let at = cx.in_types[..i].iter().flatten().count();
    x.get(at).copied()
}

fn scale(cx: &mut PointCx, x: &[ExprId], i: usize) -> Result<ExprId> {
    let s = operand(cx, x, i).ok_or_else(|| Diagnostic::internal("a scale is missing"))?;
    Ok(cx.b.cast(Ty::F64, s))
}

fn zero(cx: &mut PointCx, x: &[ExprId], i: usize) -> ExprId {
    match operand(cx, x, i) {
        Some(z) => z,
        None => cx.b.int(Ty::I32, 0),
    }
}

fn value(cx: &mut PointCx, x: &[ExprId], i: usize) -> Result<ExprId> {
    let v = operand(cx, x, i).ok_or_else(|| Diagnostic::internal("an operand is missing"))?;
    let (s, z) = (scale(cx, x, i + 1)?, zero(cx, x, i + 2));
    Ok(real(cx.b, v, s, z))
}

fn two(
    cx: &mut PointCx,
    x: &[ExprId],
    f: fn(&mut PointCx, ExprId, ExprId) -> ExprId,
) -> Result<ExprId> {
    let (a, b) = (value(cx, x, 0)?, value(cx, x, 3)?);
    let v = f(cx, a, b);
    let (s, z) = (scale(cx, x, 6)?, zero(cx, x, 7));
    Ok(quantize(cx.b, cx.out_type, v, s, z))
}

fn single(cx: &mut PointCx, x: &[ExprId], f: fn(&mut PointCx, ExprId) -> ExprId) -> Result<ExprId> {
    let v = value(cx, x, 0)?;
    let v = f(cx, v);
    let (s, z) = (scale(cx, x, 3)?, zero(cx, x, 4));
    Ok(quantize(cx.b, cx.out_type, v, s, z))
}
