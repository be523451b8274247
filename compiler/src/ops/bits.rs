//! Operations on the bits of whole numbers.

use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::loops::ir::{BinOp, CastKind, ExprId, Ty, UnOp};
use crate::op::{BASE, InferCx, Lower, OpDef, PointCx, ReadCx, read_none};
use crate::ops::util::*;

/// Operators of this file.
pub static OPS: &[&OpDef] = &[
    &BIT_SHIFT, &BITWISE_AND, &BITWISE_OR, &BITWISE_XOR, &BITWISE_NOT, &BIT_CAST,
];

/// Shifts unsigned numbers; bits that leave are lost.
pub static BIT_SHIFT: OpDef = OpDef {
    name: "BitShift",
    onnx: &[since("BitShift", 11, read_shift)],
    inputs: (2, 2),
    infer: |cx| elementwise(cx, |d| d.is_unsigned() && integer(d)).map(|_| ()),
    lower: Lower::Pointwise(shift),
    ..BASE
};

fn read_shift(cx: &mut ReadCx) -> Result<()> {
    match cx.opt_str("direction")?.as_deref() {
        Some("LEFT" | "RIGHT") => cx.keep_str("direction", ""),
        other => bad(format!("`direction` of BitShift is {other:?}, not LEFT or RIGHT")),
    }
}

fn shift(cx: &mut PointCx, x: &[ExprId]) -> Result<ExprId> {
    let ty = cx.b.ty(x[0]);
    let width = cx.b.int(ty, cx.out_type.packed_bits() as i64);
    let op = if cx.attrs.str("direction", "") == "LEFT" {
        BinOp::Shl
    } else {
        BinOp::ShrU
    };
    let y = cx.b.bin(op, x[0], x[1]);
    // The machine takes the amount modulo the width; ONNX shifts everything out.
    let inside = cx.b.bin(BinOp::LtU, x[1], width);
    let zero = cx.b.int(ty, 0);
    Ok(cx.b.select(inside, y, zero))
}

macro_rules! rows {
    ($($id:ident $name:literal $op:ident;)*) => {$(
        #[doc = concat!($name, ", bit by bit.")]
        pub static $id: OpDef = OpDef {
            name: $name,
            onnx: &[since($name, 18, read_none)],
            inputs: (2, 2),
            infer: |cx| elementwise(cx, integer).map(|_| ()),
            lower: Lower::Pointwise(|cx, x| Ok(cx.b.bin(BinOp::$op, x[0], x[1]))),
            ..BASE
        };
    )*};
}

rows! {
    BITWISE_AND "BitwiseAnd" And;
    BITWISE_OR "BitwiseOr" Or;
    BITWISE_XOR "BitwiseXor" Xor;
}

/// Flips every bit.
pub static BITWISE_NOT: OpDef = OpDef {
    name: "BitwiseNot",
    onnx: &[since("BitwiseNot", 18, read_none)],
    infer: |cx| elementwise(cx, integer).map(|_| ()),
    lower: Lower::Pointwise(|cx, x| Ok(cx.b.un(UnOp::Not, x[0]))),
    ..BASE
};

/// The same bits under another type of the same width.
pub static BIT_CAST: OpDef = OpDef {
    name: "BitCast",
    onnx: &[since("BitCast", 26, |cx| {
        let Some(to) = cx.dtype("to")? else {
            return bad("BitCast without `to`");
        };
        cx.set("to", crate::base::attr::Attr::Type(to));
        Ok(())
    })],
    infer: infer_bit_cast,
    lower: Lower::Pointwise(bit_cast),
    ..BASE
};

fn infer_bit_cast(cx: &mut InferCx) -> Result<()> {
    let from = accept(cx, 0, number_or_bool)?;
    let to = cx.attrs.dtype("to").unwrap_or(from);
    let sixteen = |d: DType| matches!(d, DType::F16 | DType::BF16);
    if !number_or_bool(to) || ((sixteen(from) || sixteen(to)) && from != to) {
        return Err(crate::base::diag::Diagnostic::unsupported(
            "ONNX014",
            format!("BitCast from {from} to {to}"),
        ));
    }
    if from.packed_bits() != to.packed_bits() {
        return bad(format!("BitCast from {from} to {to}: the widths differ"));
    }
    let shape = cx.shape(0)?;
    cx.out(0, to, shape);
    Ok(())
}

fn bit_cast(cx: &mut PointCx, x: &[ExprId]) -> Result<ExprId> {
    let to = Ty::of(cx.out_type);
    let mut v = x[0];
    if cx.b.ty(v).is_float() && cx.b.ty(v) != to {
        v = cx.b.un(UnOp::ToBits, v);
    }
    // u32 lies in 64 bits, i32 in 32.
    let bits = match to {
        Ty::F32 => Ty::I32,
        Ty::F64 => Ty::I64,
        ty => ty,
    };
    if !cx.b.ty(v).is_float() {
        v = cx.b.cast_as(bits, CastKind::Unsigned, v);
    }
    if to.is_float() && cx.b.ty(v) != to {
        v = cx.b.un(UnOp::FromBits, v);
    }
    Ok(v)
}
