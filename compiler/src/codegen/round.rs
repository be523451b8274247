//! Rounding to whole numbers for machines without such an instruction (x86-64 before SSE4.1).
//!
//! Adding and subtracting 2^23 (2^52) rounds half to even in the mode that generated code runs in; the rest is correcting
//! by one, and keeping sign, large values and NaN. Works on scalars and lanes.

use super::ops::Ops;
use crate::loops::ir::{BinOp, Const, Ty, UnOp};
use cranelift_codegen::ir::{InstBuilder, Value};

/// `op` is one of Floor, Ceil, Trunc, Round.
pub fn written_out(o: &mut Ops, op: UnOp, ty: Ty, wide: bool, x: Value) -> Value {
    let (magic, one) = if ty == Ty::F32 {
        (Const::F32(0x4b00_0000), Const::F32(1f32.to_bits()))
    } else {
        (
            Const::F64(0x4330_0000_0000_0000),
            Const::F64(1f64.to_bits()),
        )
    };
    let (magic, one) = (o.konst(magic, wide), o.konst(one, wide));
    let size = o.un(UnOp::Abs, ty, wide, x);
    // Large values and NaN are whole already.
    let small = o.bin(BinOp::Lt, ty, wide, size, magic);
    let up = o.b.ins().fadd(size, magic);
    let near = o.b.ins().fsub(up, magic);
    let sign = sign_of(o, ty, wide, x);
    let whole = match op {
        UnOp::Round | UnOp::Near => near,
        UnOp::Trunc => {
            let over = o.bin(BinOp::Lt, ty, wide, size, near);
            let less = o.b.ins().fsub(near, one);
            o.select(ty, wide, over, less, near)
        }
        _ => {
            let signed = join(o, ty, wide, near, sign);
            let (off, fixed) = if op == UnOp::Floor {
                (
                    o.bin(BinOp::Lt, ty, wide, x, signed),
                    o.b.ins().fsub(signed, one),
                )
            } else {
                (
                    o.bin(BinOp::Lt, ty, wide, signed, x),
                    o.b.ins().fadd(signed, one),
                )
            };
            let r = o.select(ty, wide, off, fixed, signed);
            o.un(UnOp::Abs, ty, wide, r)
        }
    };
    let whole = join(o, ty, wide, whole, sign);
    o.select(ty, wide, small, whole, x)
}

// The sign bit, as an integer.
fn sign_of(o: &mut Ops, ty: Ty, wide: bool, x: Value) -> Value {
    let bits = o.un(UnOp::ToBits, ty, wide, x);
    let mask = o.konst(mask(ty), wide);
    o.b.ins().band(bits, mask)
}

// A value that is not negative, with a sign bit put on.
fn join(o: &mut Ops, ty: Ty, wide: bool, x: Value, sign: Value) -> Value {
    let bits = o.un(UnOp::ToBits, ty, wide, x);
    let bits = o.b.ins().bor(bits, sign);
    o.un(UnOp::FromBits, bits_of(ty), wide, bits)
}

fn mask(ty: Ty) -> Const {
    if ty == Ty::F32 {
        Const::I32(i32::MIN)
    } else {
        Const::I64(i64::MIN)
    }
}

fn bits_of(ty: Ty) -> Ty {
    if ty == Ty::F32 { Ty::I32 } else { Ty::I64 }
}
