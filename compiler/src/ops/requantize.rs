//! What integer sums become: Requantize, RescaledSum, RescaledProduct, RescaledPRelu. Not operators of ONNX: the pass `integers` makes them.
//!
//! They compute in f64, where an i32 is exact: `clamp(round(x * m + offset) + z)`, the multiplier being what the file's scales make in f64. A
//! product is rounded to 53 bits and the result once more, to a whole number; no sum or product is contracted, so every machine has the same bits.

use super::quantized::{byte_or_word, rounded, rounding};
use super::util::{accept, bad};
use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::base::rounding::Rounding;
use crate::loops::build::Builder;
use crate::loops::ir::{ExprId, Ty, UnOp};
use crate::op::{BASE, InferCx, Lower, OpDef, PointCx, broadcast};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[
    &REQUANTIZE,
    &RESCALED_SUM,
    &RESCALED_PRODUCT,
    &RESCALED_PRELU,
];

/// Inputs: whole numbers x (i32 or narrower); multipliers m (f64), absent where all are 1; optional: an offset (f64). Attributes: `zero_x`, what x has for 0; `to`, the
/// result's type; `zero`, its zero point; `lo` and `hi`, its bounds; `rounding`; `small`, the
/// promise that `round(..)` fits an i32. Output: `round((x - zero_x) * m + offset) + zero` within the bounds.
pub static REQUANTIZE: OpDef = OpDef {
    name: "Requantize",
    inputs: (1, 3),
    infer: |cx| infer(cx, &[0], &[1, 2], |d| d == DType::F64),
    lower: Lower::Pointwise(|cx, x| {
        let v = centred(cx, x[0], "zero_x");
        let Some(&m) = x.get(1) else {
            return Ok(limited(cx, v));
        };
        let v = product(cx, v, m);
        let v = match x.get(2) {
            Some(&offset) => cx.b.add(v, offset),
            None => v,
        };
        Ok(finish(cx, v))
    }),
    in_range: true,
    ..BASE
};

/// Inputs: whole numbers a; multiplier; whole numbers b; multiplier. Attributes as [`REQUANTIZE`] has them, `zero_a` and `zero_b`.
/// Output: `round((a - zero_a) * ma + (b - zero_b) * mb) + zero` within the bounds.
pub static RESCALED_SUM: OpDef = OpDef {
    name: "RescaledSum",
    inputs: (4, 4),
    infer: |cx| infer(cx, &[0, 2], &[1, 3], |d| d == DType::F64),
    lower: Lower::Pointwise(|cx, x| {
        let (a, b) = (centred(cx, x[0], "zero_a"), centred(cx, x[2], "zero_b"));
        let (a, b) = (product(cx, a, x[1]), product(cx, b, x[3]));
        let v = cx.b.add(a, b);
        Ok(finish(cx, v))
    }),
    in_range: true,
    ..BASE
};

/// Inputs: bytes a and b; multiplier. Attributes as those of [`RESCALED_SUM`]. Output: `round((a - zero_a) * (b - zero_b) * m) + zero` within the
/// bounds.
pub static RESCALED_PRODUCT: OpDef = OpDef {
    name: "RescaledProduct",
    inputs: (3, 3),
    infer: |cx| infer(cx, &[0, 1], &[2], |d| d == DType::F64),
    lower: Lower::Pointwise(|cx, x| {
        let (a, b) = (centred(cx, x[0], "zero_a"), centred(cx, x[1], "zero_b"));
        let ab = cx.b.mul(a, b);
        let v = product(cx, ab, x[2]);
        Ok(finish(cx, v))
    }),
    in_range: true,
    ..BASE
};

/// Inputs: whole numbers x; multiplier; multiplier of negative numbers; optional: an offset, and that of negative numbers (f64). Attributes as those of
/// [`REQUANTIZE`]. Output: `round((x - zero_x) * m + offset) + zero` within the bounds, by the second multiplier and offset where the first make a number
/// below 0.
pub static RESCALED_PRELU: OpDef = OpDef {
    name: "RescaledPRelu",
    inputs: (3, 5),
    infer: |cx| infer(cx, &[0], &[1, 2, 3, 4], |d| d == DType::F64),
    lower: Lower::Pointwise(|cx, x| {
        let v = centred(cx, x[0], "zero_x");
        let &[_, m, m_below, offset, offset_below] = x else {
            let none = cx.b.int(Ty::I32, 0);
            let below = cx.b.lt(v, none);
            let m = cx.b.select(below, x[2], x[1]);
            let v = product(cx, v, m);
            return Ok(finish(cx, v));
        };
        let mut line = |m: ExprId, offset: ExprId| {
            let v = product(cx, v, m);
            cx.b.add(v, offset)
        };
        let (v, v_below) = (line(m, offset), line(m_below, offset_below));
        let none = cx.b.num(Ty::F64, 0.0);
        let below = cx.b.lt(v, none);
        let v = cx.b.select(below, v_below, v);
        Ok(finish(cx, v))
    }),
    in_range: true,
    ..BASE
};

/// Of operators over whole numbers, and real ones of a type; what is absent has no say.
pub(super) fn infer(
    cx: &mut InferCx,
    whole: &[usize],
    real: &[usize],
    is_real: fn(DType) -> bool,
) -> Result<()> {
    let to = cx.attrs.dtype("to").unwrap_or(DType::I8);
    if !byte_or_word(to) {
        return bad(format!("numbers are not quantized to {to} here"));
    }
    let mut shapes = vec![];
    let whole = whole.iter().map(|&i| (i, (|d| d == DType::I32 || byte_or_word(d)) as fn(DType) -> bool));
    let real = real.iter().map(|&i| (i, is_real));
    for (i, fits) in whole.chain(real).filter(|(i, _)| cx.opt(*i).is_some()) {
        accept(cx, i, fits)?;
        shapes.push(cx.shape(i)?);
    }
    let shapes: Vec<&[_]> = shapes.iter().map(Vec::as_slice).collect();
    let shape = broadcast(&shapes)?;
    cx.out(0, to, shape);
    Ok(())
}

/// A number less what stands for 0.
fn centred(cx: &mut PointCx, x: ExprId, zero: &str) -> ExprId {
    match cx.attrs.int(zero, 0) {
        0 => x,
        z => {
            let z = cx.b.int(Ty::I32, z);
            cx.b.sub(x, z)
        }
    }
}

fn product(cx: &mut PointCx, x: ExprId, m: ExprId) -> ExprId {
    let x = cx.b.cast(Ty::F64, x);
    cx.b.mul(x, m)
}

/// A whole number with the result's zero point, within its bounds.
fn limited(cx: &mut PointCx, v: ExprId) -> ExprId {
    let z = cx.b.int(Ty::I32, cx.attrs.int("zero", 0));
    let v = cx.b.add(v, z);
    within(cx, v)
}

/// A whole number within the result's bounds.
pub(super) fn within(cx: &mut PointCx, v: ExprId) -> ExprId {
    let (least, most) = cx.out_type.int_range().unwrap_or((0, 255));
    let lo = cx.b.int(Ty::I32, cx.attrs.int("lo", least as i64));
    let hi = cx.b.int(Ty::I32, cx.attrs.int("hi", most as i64));
    cx.b.clamp(v, lo, hi)
}

/// The nearest whole number of a real one that an i32 holds.
pub(super) fn nearest(b: &mut Builder, v: ExprId) -> ExprId {
    let v = b.un(UnOp::Near, v);
    b.cast(Ty::I32, v)
}

/// Rounds and limits. Where nothing else is promised, limits are applied to the real number, from which the same whole numbers come, so that
/// nothing overflows; the attribute `small` promises that the rounded number fits an i32, which is cheaper to limit.
fn finish(cx: &mut PointCx, v: ExprId) -> ExprId {
    let (least, most) = cx.out_type.int_range().unwrap_or((0, 255));
    let (zero, way) = (cx.attrs.int("zero", 0), rounding(cx.attrs));
    let lo = cx.attrs.int("lo", least as i64);
    let hi = cx.attrs.int("hi", most as i64);
    if cx.attrs.flag("small") && way == Rounding::Even {
        let v = nearest(cx.b, v);
        return limited(cx, v);
    }
    let (lo, hi) = (
        cx.b.num(Ty::F64, (lo - zero) as f64),
        cx.b.num(Ty::F64, (hi - zero) as f64),
    );
    let v = cx.b.clamp(v, lo, hi);
    let v = rounded(cx.b, way, v);
    let v = cx.b.cast(Ty::I32, v);
    let zero = cx.b.int(Ty::I32, zero);
    cx.b.add(v, zero)
}
