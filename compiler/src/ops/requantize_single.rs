//! Requantizing by single precision: RequantizeSingle, RescaledSumSingle. Not operators of ONNX: the pass `singles` makes them of the forms in f64
//! where it has proved, number by number, that they give the same. They take a third of the instructions.

use super::quantized::byte_or_word;
use super::util::{accept, bad};
use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::loops::build::Builder;
use crate::loops::ir::{BinOp, ExprId, Ty, UnOp};
use crate::op::{BASE, InferCx, Lower, OpDef, PointCx, broadcast};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&REQUANTIZE_SINGLE, &RESCALED_SUM_SINGLE];

/// Inputs: whole numbers x (i32 or narrower); multiplier and offset (f32); any more: sums (i32) at which the result is one too large.
/// Attributes: `shift`, a whole number; `to`, the result's type; `lo` and `hi`, its bounds.
/// Output, with `s = x + shift`: `near(fma(s, multiplier, offset))`, less one where `s` is such a sum, within the bounds.
pub static REQUANTIZE_SINGLE: OpDef = OpDef {
    name: "RequantizeSingle",
    inputs: (3, 5),
    infer: |cx| infer(cx, &[0, 3, 4], &[1, 2]),
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
        Ok(limited(cx, v))
    }),
    in_range: true,
    ..BASE
};

/// Inputs: bytes a; multiplier (f32); bytes b; multiplier; offset (f32). Attributes as those of [`REQUANTIZE_SINGLE`].
/// Output: `near(fma(a, ma, fma(b, mb, offset)))` within the bounds.
pub static RESCALED_SUM_SINGLE: OpDef = OpDef {
    name: "RescaledSumSingle",
    inputs: (5, 5),
    infer: |cx| infer(cx, &[0, 2], &[1, 3, 4]),
    lower: Lower::Pointwise(|cx, x| {
        let (a, b) = (cx.b.cast(Ty::F32, x[0]), cx.b.cast(Ty::F32, x[2]));
        let v = cx.b.fma(b, x[3], x[4]);
        let v = cx.b.fma(a, x[1], v);
        let v = nearest(cx.b, v);
        Ok(limited(cx, v))
    }),
    in_range: true,
    ..BASE
};

fn infer(cx: &mut InferCx, whole: &[usize], real: &[usize]) -> Result<()> {
    let to = cx.attrs.dtype("to").unwrap_or(DType::I8);
    if !byte_or_word(to) {
        return bad(format!("numbers are not quantized to {to} here"));
    }
    let mut shapes = vec![];
    for &i in whole.iter().filter(|i| cx.opt(**i).is_some()) {
        accept(cx, i, |d| d == DType::I32 || byte_or_word(d))?;
        shapes.push(cx.shape(i)?);
    }
    for &i in real {
        accept(cx, i, |d| d == DType::F32)?;
        shapes.push(cx.shape(i)?);
    }
    let shapes: Vec<&[_]> = shapes.iter().map(Vec::as_slice).collect();
    let shape = broadcast(&shapes)?;
    cx.out(0, to, shape);
    Ok(())
}

fn nearest(b: &mut Builder, v: ExprId) -> ExprId {
    let v = b.un(UnOp::Near, v);
    b.cast(Ty::I32, v)
}

fn limited(cx: &mut PointCx, v: ExprId) -> ExprId {
    let (least, most) = cx.out_type.int_range().unwrap_or((0, 255));
    let lo = cx.b.int(Ty::I32, cx.attrs.int("lo", least as i64));
    let hi = cx.b.int(Ty::I32, cx.attrs.int("hi", most as i64));
    cx.b.clamp(v, lo, hi)
}
