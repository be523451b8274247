//! Operators that pass their input on: Identity, and Dropout, which does nothing in inference.

use crate::base::diag::{Diagnostic, Result};
use crate::base::dtype::DType;
use crate::kernel::LowerCx;
use crate::loops::ir::LoopKind;
use crate::op::{BASE, InferCx, Lower, OpDef, onnx, read_none};
use crate::ops::util::*;

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&IDENTITY, &DROPOUT];

/// The input.
pub static IDENTITY: OpDef = OpDef {
    name: "Identity",
    onnx: &[since("Identity", 1, read_none)],
    infer: |cx| {
        any_unary(cx)?;
        let dims = contents(cx, 0);
        cx.set_dims(0, dims);
        Ok(())
    },
    lower: Lower::View,
    ..BASE
};

/// The input, and a mask that keeps everything.
pub static DROPOUT: OpDef = OpDef {
    name: "Dropout",
    onnx: &[
        onnx("Dropout", 7, 11, |cx| {
            cx.opt_float("ratio")?;
            Ok(())
        }),
        since("Dropout", 12, |cx| {
            cx.ignore("seed");
            Ok(())
        }),
    ],
    inputs: (1, 3),
    outputs: (1, 2),
    infer: infer_dropout,
    lower: Lower::Loops(lower_dropout),
    tails: true,
    ..BASE
};

fn infer_dropout(cx: &mut InferCx) -> Result<()> {
    accept(cx, 0, float)?;
    if let Some(mode) = cx.opt(2) {
        // A ratio of 0 drops nothing, training or not.
        let ratio = cx.opt(1).and_then(|v| const_scalar(v.konst.as_ref()));
        let no_ratio = cx.opt(1).is_none();
        let training = const_scalar(mode.konst.as_ref());
        if training != Some(0.0) && (no_ratio || ratio != Some(0.0)) {
            return Err(Diagnostic::unsupported(
                "ONNX008",
                "Dropout in training mode is not supported: `training_mode` must be a constant false",
            ));
        }
    }
    crate::op::same_as_first(cx)?;
    let shape = cx.shape(0)?;
    cx.out(1, DType::Bool, shape);
    Ok(())
}

fn lower_dropout(cx: &mut LowerCx) -> Result<()> {
    if cx.output(0).is_some() {
        map_output(cx, |cx, at| cx.load(0, at))?;
    }
    if let Some(mask) = cx.output(1) {
        let n = mask.ty.elements();
        let count = cx.b.dim(&n);
        let yes = cx.b.bool(true);
        cx.for_(count, LoopKind::Lanes, |cx, i| {
            cx.store_flat(1, i, yes);
            Ok(())
        })?;
    }
    Ok(())
}
