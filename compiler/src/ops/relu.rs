//! Relu and its kin: piecewise linear activations.

use crate::base::diag::Result;
use crate::loops::ir::ExprId;
use crate::op::{BASE, LATEST, Lower, OpDef, PointCx, onnx, read_none};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&RELU];

/// max(0, x); NaN stays NaN.
pub static RELU: OpDef = OpDef {
    name: "Relu",
    onnx: &[onnx("Relu", 6, LATEST, read_none)],
    lower: Lower::Pointwise(relu),
    ..BASE
};

fn relu(cx: &mut PointCx, x: &[ExprId]) -> Result<ExprId> {
    let zero = cx.b.num(cx.b.ty(x[0]), 0.0);
    // `Max` gives its second operand where either is NaN, so x stands second.
    Ok(cx.b.max(zero, x[0]))
}
