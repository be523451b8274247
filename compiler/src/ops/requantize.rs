//! What integer sums become: Requantize, RescaledSum. Not operators of ONNX: the pass `integers` makes them.
//!
//! Both compute in f64, where an i32 is exact: `clamp(round(x * m + offset) + z)`, the multiplier being what the file's scales make in f64. A
//! product is rounded to 53 bits and the result once more, to a whole number; no sum or product is contracted, so every machine has the same bits.

use super::quantized::{Rounding, byte_or_word, rounded};
use super::util::{accept, bad, mismatch};
use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::loops::ir::{ExprId, Ty};
use crate::op::{BASE, InferCx, Lower, OpDef, PointCx, broadcast};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&REQUANTIZE, &RESCALED_SUM];

/// Inputs: whole numbers x (i32 or narrower); multipliers m (f64); optional: the zero point z of the result (one number), an offset (f64).
/// Attributes: `to`, the result's type; `lo` and `hi`, its bounds; `rounding`. Output: `round(x * m + offset) + z` within the bounds.
pub static REQUANTIZE: OpDef = OpDef {
    name: "Requantize",
    inputs: (2, 4),
    infer: |cx| infer(cx, &[0], &[1, 3], 2),
    lower: Lower::Pointwise(|cx, x| {
        let value = given(cx, x);
        let v = product(cx, value(0), value(1));
        let v = match (value(3), v) {
            (Some(offset), v) => cx.b.add(v, offset),
            (None, v) => v,
        };
        Ok(finish(cx, v, value(2)))
    }),
    in_range: true,
    ..BASE
};

/// Inputs: whole numbers a; multiplier; whole numbers b; multiplier; optional zero point of the result. Attributes as [`REQUANTIZE`].
/// Output: `round(a * ma + b * mb) + z` within the bounds.
pub static RESCALED_SUM: OpDef = OpDef {
    name: "RescaledSum",
    inputs: (4, 5),
    infer: |cx| infer(cx, &[0, 2], &[1, 3], 4),
    lower: Lower::Pointwise(|cx, x| {
        let value = given(cx, x);
        let a = product(cx, value(0), value(1));
        let b = product(cx, value(2), value(3));
        let v = cx.b.add(a, b);
        Ok(finish(cx, v, value(4)))
    }),
    in_range: true,
    ..BASE
};

fn infer(cx: &mut InferCx, whole: &[usize], real: &[usize], zero: usize) -> Result<()> {
    let to = cx.attrs.dtype("to").unwrap_or(DType::I8);
    if !byte_or_word(to) {
        return bad(format!("numbers are not quantized to {to} here"));
    }
    let mut shapes = vec![];
    for &i in whole {
        accept(cx, i, |d| d == DType::I32 || byte_or_word(d))?;
        shapes.push(cx.shape(i)?);
    }
    for &i in real {
        if cx.opt(i).is_some() {
            accept(cx, i, |d| d == DType::F64)?;
            shapes.push(cx.shape(i)?);
        }
    }
    if cx.opt(zero).is_some() {
        let z = cx.dtype(zero)?;
        if z != to {
            return Err(mismatch(to, z));
        }
        super::quantized::one(cx, zero)?;
    }
    let shapes: Vec<&[_]> = shapes.iter().map(Vec::as_slice).collect();
    let shape = broadcast(&shapes)?;
    cx.out(0, to, shape);
    Ok(())
}

/// Operand number `i` of the node among those that are given.
fn given<'x>(cx: &PointCx, x: &'x [ExprId]) -> impl Fn(usize) -> Option<ExprId> + use<'x> {
    let there: Vec<bool> = cx.in_types.iter().map(Option::is_some).collect();
    move |i| {
        let at = there.get(..i)?.iter().filter(|t| **t).count();
        there.get(i)?.then(|| x.get(at).copied()).flatten()
    }
}

fn product(cx: &mut PointCx, x: Option<ExprId>, m: Option<ExprId>) -> ExprId {
    let zero = cx.b.int(Ty::I32, 0);
    let x = cx.b.cast(Ty::F64, x.unwrap_or(zero));
    match m {
        Some(m) => cx.b.mul(x, m),
        None => x,
    }
}

/// Limits are applied to the real number, from which the same whole numbers come: nothing overflows.
fn finish(cx: &mut PointCx, v: ExprId, z: Option<ExprId>) -> ExprId {
    let (lo, hi) = cx.out_type.int_range().unwrap_or((0, 255));
    let lo = cx.attrs.int("lo", lo as i64) as f64;
    let hi = cx.attrs.int("hi", hi as i64) as f64;
    let (lo, hi) = (cx.b.num(Ty::F64, lo), cx.b.num(Ty::F64, hi));
    let zero = cx.b.int(Ty::I32, 0);
    let z = z.unwrap_or(zero);
    let zf = cx.b.cast(Ty::F64, z);
    let (lo, hi) = (cx.b.sub(lo, zf), cx.b.sub(hi, zf));
    let v = cx.b.clamp(v, lo, hi);
    let v = rounded(cx.b, Rounding::of(cx.attrs), v);
    let v = cx.b.cast(Ty::I32, v);
    cx.b.add(v, z)
}

#[cfg(test)]
mod tests {
    use crate::base::attr::{Attr, Attrs};
    use crate::base::dtype::DType;
    use crate::base::tensor::Tensor;
    use crate::ops::testing::*;

    fn to(d: DType) -> Attrs {
        attrs([("to", Attr::Type(d))])
    }

    #[test]
    fn sums_are_rounded_once_and_limited() {
        let x = Tensor::from_f64s(DType::I32, &[2, 3], &[5.0, 7.0, -5.0, 1000.0, -1000.0, 6.0]);
        let m = Tensor::from_f64s(DType::F64, &[3], &[0.5, 0.5, 0.25]);
        let z = Tensor::from_f64s(DType::I8, &[], &[-3.0]);
        let ins = || vec![data(x.clone()), data(m.clone()), data(z.clone())];
        let y = numbers("Requantize", 1, &to(DType::I8), ins());
        assert_eq!(y, [-1.0, 1.0, -4.0, 127.0, -128.0, -1.0]);
        let up = to(DType::I8).with("rounding", Attr::Str("up".into()));
        let y = numbers("Requantize", 1, &up, ins());
        assert_eq!(y, [0.0, 1.0, -4.0, 127.0, -128.0, -1.0]);
        let bounded = to(DType::I8).with("lo", Attr::Int(-3)).with("hi", Attr::Int(0));
        let y = numbers("Requantize", 1, &bounded, ins());
        assert_eq!(y, [-1.0, 0.0, -3.0, 0.0, -3.0, -1.0]);
    }

    #[test]
    fn two_scales_meet_in_one_rounding() {
        let a = Tensor::from_f64s(DType::I32, &[3], &[1.0, 3.0, -1.0]);
        let b = Tensor::from_f64s(DType::I32, &[3], &[1.0, 1.0, -2.0]);
        let half = Tensor::from_f64s(DType::F64, &[], &[0.5]);
        let quarter = Tensor::from_f64s(DType::F64, &[], &[0.25]);
        let y = numbers(
            "RescaledSum",
            1,
            &to(DType::U8),
            vec![data(a), data(half), data(b), data(quarter)],
        );
        assert_eq!(y, [1.0, 2.0, 0.0]);
    }
}
