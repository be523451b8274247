//! Requantizing by single precision: RequantizeSingle, RescaledSumSingle. Not operators of ONNX: the pass `singles` makes them of the forms in f64
//! where it has proved, number by number, that they give the same. They take a third of the instructions.

use super::requantize::{infer, nearest, within};
use crate::base::dtype::DType;
use crate::loops::ir::{BinOp, Ty};
use crate::op::{BASE, Lower, OpDef};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&REQUANTIZE_SINGLE, &RESCALED_SUM_SINGLE];

/// Inputs: whole numbers x (i32 or narrower); multiplier and offset (f32); any more: sums (i32) at which the result is one too large.
/// Attributes: `shift`, a whole number; `to`, the result's type; `lo` and `hi`, its bounds.
/// Output, with `s = x + shift`: `near(fma(s, multiplier, offset))`, less one where `s` is such a sum, within the bounds.
pub static REQUANTIZE_SINGLE: OpDef = OpDef {
    name: "RequantizeSingle",
    inputs: (3, 5),
    infer: |cx| infer(cx, &[0, 3, 4], &[1, 2], |d| d == DType::F32),
    lower: Lower::Pointwise(|cx, x| {
        let s = match cx.attrs.int("shift", 0) {
            0 => x[0],
            shift => {
                let shift = cx.b.int(Ty::I32, shift);
                cx.b.add(x[0], shift)
            }
        };
        let real = cx.b.cast(Ty::F32, s);
        let v = cx.b.fma(real, x[1], x[2]);
        let mut v = nearest(cx.b, v);
        for &wrong in &x[3..] {
            let met = cx.b.bin(BinOp::Eq, s, wrong);
            let (one, none) = (cx.b.int(Ty::I32, -1), cx.b.int(Ty::I32, 0));
            let less = cx.b.select(met, one, none);
            v = cx.b.add(v, less);
        }
        Ok(within(cx, v))
    }),
    in_range: true,
    ..BASE
};

/// Inputs: bytes a; multiplier (f32); bytes b; multiplier; offset (f32). Attributes as those of [`REQUANTIZE_SINGLE`].
/// Output: `near(fma(a, ma, fma(b, mb, offset)))` within the bounds.
pub static RESCALED_SUM_SINGLE: OpDef = OpDef {
    name: "RescaledSumSingle",
    inputs: (5, 5),
    infer: |cx| infer(cx, &[0, 2], &[1, 3, 4], |d| d == DType::F32),
    lower: Lower::Pointwise(|cx, x| {
        let (a, b) = (cx.b.cast(Ty::F32, x[0]), cx.b.cast(Ty::F32, x[2]));
        let v = cx.b.fma(b, x[3], x[4]);
        let v = cx.b.fma(a, x[1], v);
        let v = nearest(cx.b, v);
        Ok(within(cx, v))
    }),
    in_range: true,
    ..BASE
};
