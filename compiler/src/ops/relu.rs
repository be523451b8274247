//! Relu and its kin: piecewise linear activations.

use crate::base::attr::Attr;
use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::loops::ir::{ExprId, Ty};
use crate::op::{BASE, InferCx, Lower, OpDef, PointCx, ReadCx, broadcast, onnx, read_none};
use crate::ops::util::*;

/// Operators of this file.
pub static OPS: &[&OpDef] = &[
    &RELU,
    &LEAKY_RELU,
    &PRELU,
    &THRESHOLDED_RELU,
    &HARD_SIGMOID,
    &HARD_SWISH,
    &CLIP,
    &SHRINK,
];

/// max(0, x); NaN stays NaN.
pub static RELU: OpDef = OpDef {
    name: "Relu",
    onnx: &[since("Relu", 6, read_none)],
    infer: number_unary,
    lower: Lower::Pointwise(relu),
    ..BASE
};

fn relu(cx: &mut PointCx, x: &[ExprId]) -> Result<ExprId> {
    if cx.out_type.is_unsigned() {
        return Ok(x[0]);
    }
    let zero = cx.b.num(cx.b.ty(x[0]), 0.0);
    // `Max` gives its second operand where either is NaN, so x stands second.
    Ok(cx.b.max(zero, x[0]))
}

/// x where x >= 0, else alpha * x.
pub static LEAKY_RELU: OpDef = OpDef {
    name: "LeakyRelu",
    onnx: &[since("LeakyRelu", 6, |cx| cx.keep_float("alpha", 0.01))],
    infer: float_unary,
    lower: Lower::Pointwise(|cx, x| {
        let ty = cx.b.ty(x[0]);
        let a = cx.b.num(ty, cx.attrs.float("alpha", 0.01) as f64);
        let zero = cx.b.num(ty, 0.0);
        let neg = cx.b.lt(x[0], zero);
        let low = cx.b.mul(x[0], a);
        Ok(cx.b.select(neg, low, x[0]))
    }),
    ..BASE
};

/// x where x >= 0, else slope * x. The slope broadcasts to x.
pub static PRELU: OpDef = OpDef {
    name: "PRelu",
    onnx: &[since("PRelu", 7, read_none)],
    inputs: (2, 2),
    infer: |cx| {
        accept_same(cx, 0, number)?;
        let (x, slope) = (cx.shape(0)?, cx.shape(1)?);
        if broadcast(&[&x, &slope])? != x {
            return bad("the slope of PRelu must broadcast to its input");
        }
        crate::op::same_as_first(cx)
    },
    lower: Lower::Pointwise(|cx, x| {
        if cx.out_type.is_unsigned() {
            return Ok(x[0]);
        }
        let zero = cx.b.num(cx.b.ty(x[0]), 0.0);
        let neg = cx.b.lt(x[0], zero);
        let low = cx.b.mul(x[0], x[1]);
        Ok(cx.b.select(neg, low, x[0]))
    }),
    ..BASE
};

/// x where x > alpha, else 0.
pub static THRESHOLDED_RELU: OpDef = OpDef {
    name: "ThresholdedRelu",
    onnx: &[since("ThresholdedRelu", 10, |cx| cx.keep_float("alpha", 1.0))],
    infer: float_unary,
    lower: Lower::Pointwise(|cx, x| {
        let ty = cx.b.ty(x[0]);
        let a = cx.b.num(ty, cx.attrs.float("alpha", 1.0) as f64);
        let zero = cx.b.num(ty, 0.0);
        let over = cx.b.lt(a, x[0]);
        Ok(cx.b.select(over, x[0], zero))
    }),
    ..BASE
};

/// max(0, min(1, alpha * x + beta)).
pub static HARD_SIGMOID: OpDef = OpDef {
    name: "HardSigmoid",
    onnx: &[since("HardSigmoid", 6, |cx| {
        cx.keep_float("alpha", 0.2)?;
        cx.keep_float("beta", 0.5)
    })],
    infer: float_unary,
    lower: Lower::Pointwise(|cx, x| {
        let (a, b) = (cx.attrs.float("alpha", 0.2), cx.attrs.float("beta", 0.5));
        Ok(hard_sigmoid(cx, x[0], a as f64, b as f64))
    }),
    ..BASE
};

/// x * max(0, min(1, x / 6 + 0.5)).
pub static HARD_SWISH: OpDef = OpDef {
    name: "HardSwish",
    onnx: &[since("HardSwish", 14, read_none)],
    infer: float_unary,
    lower: Lower::Pointwise(|cx, x| {
        let h = hard_sigmoid(cx, x[0], 1.0 / 6.0, 0.5);
        Ok(cx.b.mul(x[0], h))
    }),
    ..BASE
};

fn hard_sigmoid(cx: &mut PointCx, x: ExprId, alpha: f64, beta: f64) -> ExprId {
    let ty = cx.b.ty(x);
    let (a, b) = (cx.b.num(ty, alpha), cx.b.num(ty, beta));
    let (zero, one) = (cx.b.num(ty, 0.0), cx.b.num(ty, 1.0));
    let y = cx.b.mul(a, x);
    let y = cx.b.add(y, b);
    // The value stands second, so NaN passes through both.
    let y = cx.b.min(one, y);
    cx.b.max(zero, y)
}

/// min(max(x, lo), hi): the bounds are attributes until opset 10, inputs since.
pub static CLIP: OpDef = OpDef {
    name: "Clip",
    onnx: &[
        onnx("Clip", 6, 10, |cx| {
            let (lo, hi) = (cx.float("min", f32::MIN)?, cx.float("max", f32::MAX)?);
            cx.set("min", Attr::Float(lo));
            cx.set("max", Attr::Float(hi));
            Ok(())
        }),
        since("Clip", 11, read_none),
    ],
    inputs: (1, 3),
    infer: infer_clip,
    lower: Lower::Pointwise(clip),
    ..BASE
};

fn infer_clip(cx: &mut InferCx) -> Result<()> {
    accept_same(cx, 0, number)?;
    for i in 1..cx.inputs.len() {
        if cx.opt(i).is_some_and(|v| v.ty.elements().fixed() != Some(1)) {
            return bad("a bound of Clip must be one number");
        }
    }
    crate::op::same_as_first(cx)?;
    // A bound of shape [1] would widen a 0-d input, which the rule for broadcasting allows and Clip does not.
    if cx.inputs.iter().skip(1).flatten().any(|v| v.ty.rank() > 0) && cx.shape(0)?.is_empty() {
        return bad("a bound of Clip must be a scalar");
    }
    if cx.inputs.iter().flatten().count() == 1 {
        let dims = contents(cx, 0);
        cx.set_dims(0, dims);
    }
    Ok(())
}

fn clip(cx: &mut PointCx, x: &[ExprId]) -> Result<ExprId> {
    let d = cx.out_type;
    let ty = cx.b.ty(x[0]);
    let given = |i: usize| cx.in_types.get(i).copied().flatten().is_some();
    let (has_lo, has_hi) = (given(1), given(2));
    let mut rest = x[1..].iter().copied();
    let mut lo = if has_lo { rest.next() } else { None };
    let mut hi = if has_hi { rest.next() } else { None };
    if let Some(v) = cx.attrs.opt_float("min") {
        lo = Some(cx.b.num(ty, v as f64));
    }
    if let Some(v) = cx.attrs.opt_float("max") {
        hi = Some(cx.b.num(ty, v as f64));
    }
    let u64s = d == DType::U64;
    let mut y = x[0];
    // The value stands second, so NaN passes through both.
    if let Some(lo) = lo {
        let op = if u64s { crate::loops::ir::BinOp::MaxU } else { crate::loops::ir::BinOp::Max };
        y = cx.b.bin(op, lo, y);
    }
    if let Some(hi) = hi {
        let op = if u64s { crate::loops::ir::BinOp::MinU } else { crate::loops::ir::BinOp::Min };
        y = cx.b.bin(op, hi, y);
    }
    Ok(y)
}

/// x + bias below -lambd, x - bias above lambd, else 0.
pub static SHRINK: OpDef = OpDef {
    name: "Shrink",
    onnx: &[since("Shrink", 9, read_shrink)],
    infer: number_unary,
    lower: Lower::Pointwise(|cx, x| {
        // Integers are computed with as floats and truncated, since bias and lambd are floats.
        let own = cx.b.ty(x[0]);
        let ty = if own.is_float() { own } else { Ty::F64 };
        let d = cx.out_type;
        let v = crate::ops::cast::to_ty(cx.b, d, ty, x[0]);
        let lambd = cx.attrs.float("lambd", 0.5) as f64;
        let bias = cx.b.num(ty, cx.attrs.float("bias", 0.0) as f64);
        let (lo, hi, zero) = (cx.b.num(ty, -lambd), cx.b.num(ty, lambd), cx.b.num(ty, 0.0));
        let (below, above) = (cx.b.lt(v, lo), cx.b.lt(hi, v));
        let (up, down) = (cx.b.add(v, bias), cx.b.sub(v, bias));
        let y = cx.b.select(above, down, zero);
        let y = cx.b.select(below, up, y);
        Ok(crate::ops::cast::from_ty(cx.b, d, y))
    }),
    ..BASE
};

fn read_shrink(cx: &mut ReadCx) -> Result<()> {
    cx.keep_float("lambd", 0.5)?;
    cx.keep_float("bias", 0.0)
}

#[cfg(test)]
mod tests {
    use crate::base::attr::{Attr, Attrs};
    use crate::ops::testing::*;

    #[test]
    fn bounds_of_clip_in_all_forms() {
        let x = || data(f32s(&[3], &[-2.0, 0.5, f32::NAN]));
        let one = |v: f32| data(f32s(&[], &[v]));
        let check = |v: Vec<f64>, want: [f64; 2]| {
            assert_eq!(v[..2], want);
            assert!(v[2].is_nan());
        };
        let old = attrs([("min", Attr::Float(0.0))]);
        check(numbers("Clip", 6, &old, vec![x()]), [0.0, 0.5]);
        let none = Attrs::default();
        check(numbers("Clip", 13, &none, vec![x(), one(-1.0)]), [-1.0, 0.5]);
        check(numbers("Clip", 13, &none, vec![x(), None, one(0.0)]), [-2.0, 0.0]);
        check(numbers("Clip", 13, &none, vec![x(), one(1.0), one(0.0)]), [0.0, 0.0]);
        assert_eq!(numbers("Clip", 13, &none, vec![one(4.0)]), [4.0]);
    }
}
