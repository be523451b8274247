//! Comparisons, logic, and the choice between two values.

use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::loops::ir::{BinOp, ExprId, UnOp};
use crate::op::{BASE, InferCx, Lower, OpDef, PointCx, read_none};
use crate::ops::util::*;

/// Operators of this file.
pub static OPS: &[&OpDef] = &[
    &EQUAL, &GREATER, &GREATER_OR_EQUAL, &LESS, &LESS_OR_EQUAL, &AND, &OR, &XOR, &NOT, &WHERE, &IS_NAN,
    &IS_INF,
];

/// a = b.
pub static EQUAL: OpDef = OpDef {
    name: "Equal",
    onnx: &[since("Equal", 7, read_none)],
    inputs: (2, 2),
    infer: |cx| {
        predicate(cx, number_or_bool)?;
        let known = relation(cx, dim_eq);
        cx.set_dims(0, known);
        Ok(())
    },
    lower: Lower::Pointwise(|cx, x| {
        if cx.in_types[0] == Some(DType::Bool) {
            let differ = cx.b.xor(x[0], x[1]);
            return Ok(cx.b.un(UnOp::Not, differ));
        }
        Ok(cx.b.eq(x[0], x[1]))
    }),
    ..BASE
};

macro_rules! orders {
    ($($id:ident $name:literal $from:literal $swap:literal $op:ident $unsigned:ident $known:expr;)*) => {$(
        #[doc = concat!($name, ", element by element; false where one is NaN.")]
        pub static $id: OpDef = OpDef {
            name: $name,
            onnx: &[since($name, $from, read_none)],
            inputs: (2, 2),
            infer: |cx| {
                predicate(cx, number)?;
                let known = relation(cx, $known);
                cx.set_dims(0, known);
                Ok(())
            },
            lower: Lower::Pointwise(|cx, x| {
                let op = if is_u64(cx) { BinOp::$unsigned } else { BinOp::$op };
                let (a, b) = if $swap { (x[1], x[0]) } else { (x[0], x[1]) };
                Ok(cx.b.bin(op, a, b))
            }),
            ..BASE
        };
    )*};
}

orders! {
    GREATER "Greater" 7 true Lt LtU |cx, a, b| dim_lt(cx, b, a);
    GREATER_OR_EQUAL "GreaterOrEqual" 12 true Le LeU |cx, a, b| Some(!dim_lt(cx, a, b)?);
    LESS "Less" 7 false Lt LtU dim_lt;
    LESS_OR_EQUAL "LessOrEqual" 12 false Le LeU |cx, a, b| Some(!dim_lt(cx, b, a)?);
}

/// The truth values of a relation between two shape-like values, where they can be told.
fn relation(cx: &InferCx, f: fn(&InferCx, &Dim, &Dim) -> Option<bool>) -> Option<Vec<Dim>> {
    let (a, b) = (contents(cx, 0)?, contents(cx, 1)?);
    let n = a.len().max(b.len());
    if (a.len() != n && a.len() != 1) || (b.len() != n && b.len() != 1) {
        return None;
    }
    (0..n)
        .map(|i| f(cx, &a[i % a.len()], &b[i % b.len()]).map(|v| Dim::Fixed(v as i64)))
        .collect()
}

macro_rules! logic {
    ($($id:ident $name:literal $op:ident;)*) => {$(
        #[doc = concat!("Logical ", $name, ".")]
        pub static $id: OpDef = OpDef {
            name: $name,
            onnx: &[since($name, 7, read_none)],
            inputs: (2, 2),
            infer: |cx| elementwise(cx, boolean).map(|_| ()),
            lower: Lower::Pointwise(|cx, x| Ok(cx.b.bin(BinOp::$op, x[0], x[1]))),
            ..BASE
        };
    )*};
}

logic! {
    AND "And" And;
    OR "Or" Or;
    XOR "Xor" Xor;
}

/// Logical negation.
pub static NOT: OpDef = OpDef {
    name: "Not",
    onnx: &[since("Not", 1, read_none)],
    infer: |cx| {
        elementwise(cx, boolean)?;
        propagate(cx, |d| Some(Dim::Fixed((d[0].fixed()? == 0) as i64)));
        Ok(())
    },
    lower: Lower::Pointwise(|cx, x| Ok(cx.b.un(UnOp::Not, x[0]))),
    ..BASE
};

/// The second input where the first holds, else the third.
pub static WHERE: OpDef = OpDef {
    name: "Where",
    onnx: &[since("Where", 9, read_none)],
    inputs: (3, 3),
    infer: |cx| {
        accept(cx, 0, boolean)?;
        let d = accept_same(cx, 1, any)?;
        let shape = broadcast_inputs(cx)?;
        cx.out(0, d, shape);
        propagate(cx, |d| Some(d[if d[0].fixed()? != 0 { 1 } else { 2 }].clone()));
        Ok(())
    },
    lower: Lower::Pointwise(|cx, x| Ok(cx.b.select(x[0], x[1], x[2]))),
    ..BASE
};

/// Whether an element is no number.
pub static IS_NAN: OpDef = OpDef {
    name: "IsNaN",
    onnx: &[since("IsNaN", 9, read_none)],
    infer: infer_is,
    lower: Lower::Pointwise(|cx, x| {
        let v = as_float(cx, x[0]);
        Ok(cx.b.ne(v, v))
    }),
    ..BASE
};

/// Whether an element is infinite.
pub static IS_INF: OpDef = OpDef {
    name: "IsInf",
    onnx: &[since("IsInf", 10, |cx| {
        cx.keep_int("detect_negative", 1)?;
        cx.keep_int("detect_positive", 1)
    })],
    infer: infer_is,
    lower: Lower::Pointwise(|cx, x| {
        let v = as_float(cx, x[0]);
        let ty = cx.b.ty(v);
        let (hi, lo) = (cx.b.num(ty, f64::INFINITY), cx.b.num(ty, f64::NEG_INFINITY));
        let (is_hi, is_lo) = (cx.b.eq(v, hi), cx.b.eq(v, lo));
        let (pos, neg) = (cx.attrs.int("detect_positive", 1), cx.attrs.int("detect_negative", 1));
        let no = cx.b.bool(false);
        let is_hi = if pos != 0 { is_hi } else { no };
        let is_lo = if neg != 0 { is_lo } else { no };
        Ok(cx.b.or(is_hi, is_lo))
    }),
    ..BASE
};

fn infer_is(cx: &mut InferCx) -> Result<()> {
    accept(cx, 0, |d| d.is_float() || d.is_small_float())?;
    let shape = cx.shape(0)?;
    cx.out(0, DType::Bool, shape);
    Ok(())
}

fn as_float(cx: &mut PointCx, x: ExprId) -> ExprId {
    match cx.in_types[0].and_then(crate::ops::small_float::format) {
        Some(f) => crate::ops::small_float::decode(cx.b, &f, x),
        None => x,
    }
}
