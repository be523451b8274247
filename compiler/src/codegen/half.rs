//! f16 and bf16 in memory, f32 in registers: conversions by integer arithmetic, exact, rounding half to even, NaN made quiet.
//!
//! They hold in every denormal mode: no step makes or reads an f32 denormal that matters. Scalars and lanes alike; the 16 bits
//! lie zero-extended in an I32.

use super::ops::Ops;
use crate::loops::ir::{BinOp, Const, Ty, UnOp};
use cranelift_codegen::ir::{InstBuilder, Value};

struct Half<'o, 'x, 'b> {
    o: &'o mut Ops<'x, 'b>,
    wide: bool,
}

impl Half<'_, '_, '_> {
    fn k(&mut self, v: i32) -> Value {
        self.o.konst(Const::I32(v), self.wide)
    }
    fn op(&mut self, op: BinOp, a: Value, b: Value) -> Value {
        self.o.bin(op, Ty::I32, self.wide, a, b)
    }
    fn imm(&mut self, op: BinOp, a: Value, b: i32) -> Value {
        let b = self.k(b);
        self.op(op, a, b)
    }
    fn shift(&mut self, op: BinOp, a: Value, by: i32) -> Value {
        let by = self.o.konst(Const::I32(by), false);
        self.op(op, a, by)
    }
    fn pick(&mut self, c: Value, a: Value, b: Value) -> Value {
        self.o.select(Ty::I32, self.wide, c, a, b)
    }
    fn float(&mut self, bits: Value) -> Value {
        self.o.un(UnOp::FromBits, Ty::I32, self.wide, bits)
    }
    fn bits(&mut self, float: Value) -> Value {
        self.o.un(UnOp::ToBits, Ty::F32, self.wide, float)
    }
}

/// f32 of the f16 in the low 16 bits of `h`; the rest of `h` is zero.
pub fn f16_to_f32(o: &mut Ops, wide: bool, h: Value) -> Value {
    let c = &mut Half { o, wide };
    let sign = c.imm(BinOp::And, h, 0x8000);
    let sign = c.shift(BinOp::Shl, sign, 16);
    let rest = c.imm(BinOp::And, h, 0x7fff);
    let shifted = c.shift(BinOp::Shl, rest, 13);
    let normal = c.imm(BinOp::Add, shifted, 112 << 23);
    // Denormal: 2^-14 * (1 + m) - 2^-14, both normal in f32.
    let near = c.imm(BinOp::Add, shifted, 113 << 23);
    let (near, base) = (c.float(near), c.k(113 << 23));
    let base = c.float(base);
    let tiny = c.o.b.ins().fsub(near, base);
    let tiny = c.bits(tiny);
    let special = c.imm(BinOp::Add, shifted, 224 << 23);
    let quiet = c.imm(BinOp::Or, special, 1 << 22);
    let smallest = c.k(0x0400);
    let is_tiny = c.op(BinOp::Lt, rest, smallest);
    let infinity = c.k(0x7c00);
    let is_special = c.op(BinOp::Le, infinity, rest);
    let is_nan = c.op(BinOp::Lt, infinity, rest);
    let special = c.pick(is_nan, quiet, special);
    let r = c.pick(is_tiny, tiny, normal);
    let r = c.pick(is_special, special, r);
    let r = c.op(BinOp::Or, r, sign);
    c.float(r)
}

/// The f16 nearest to an f32, in the low 16 bits.
pub fn f32_to_f16(o: &mut Ops, wide: bool, x: Value) -> Value {
    let c = &mut Half { o, wide };
    let bits = c.bits(x);
    let sign = c.shift(BinOp::ShrU, bits, 16);
    let sign = c.imm(BinOp::And, sign, 0x8000);
    let size = c.imm(BinOp::And, bits, 0x7fff_ffff);
    // Normal: round at bit 13, move the exponent; a carry into the exponent is right.
    let odd = c.shift(BinOp::ShrU, size, 13);
    let odd = c.imm(BinOp::And, odd, 1);
    let n = c.imm(BinOp::Add, size, 0xfff - (112 << 23));
    let n = c.op(BinOp::Add, n, odd);
    let normal = c.shift(BinOp::ShrU, n, 13);
    // Below 2^-14: adding 0.5 leaves the bits of the f16 at the end of the sum, rounded by the addition.
    let (half, value) = (c.k(126 << 23), c.float(size));
    let half = c.float(half);
    let sum = c.o.b.ins().fadd(value, half);
    let sum = c.bits(sum);
    let tiny = c.imm(BinOp::Sub, sum, 126 << 23);
    let limit = c.k(113 << 23);
    let is_tiny = c.op(BinOp::Lt, size, limit);
    let r = c.pick(is_tiny, tiny, normal);
    // From 2^16 on: infinity; NaN keeps the top of its payload.
    let top = c.k((143 << 23) - 1);
    let is_big = c.op(BinOp::Lt, top, size);
    let infinite = c.k(0x7f80_0000);
    let is_nan = c.op(BinOp::Lt, infinite, size);
    let payload = c.shift(BinOp::ShrU, size, 13);
    let payload = c.imm(BinOp::And, payload, 0x3ff);
    let nan = c.imm(BinOp::Or, payload, 0x7e00);
    let inf = c.k(0x7c00);
    let special = c.pick(is_nan, nan, inf);
    let r = c.pick(is_big, special, r);
    c.op(BinOp::Or, r, sign)
}

/// f32 of the bf16 in the low 16 bits of `h`.
pub fn bf16_to_f32(o: &mut Ops, wide: bool, h: Value) -> Value {
    let c = &mut Half { o, wide };
    let bits = c.shift(BinOp::Shl, h, 16);
    let size = c.imm(BinOp::And, bits, 0x7fff_ffff);
    let infinite = c.k(0x7f80_0000);
    let is_nan = c.op(BinOp::Lt, infinite, size);
    let quiet = c.imm(BinOp::Or, bits, 1 << 22);
    let r = c.pick(is_nan, quiet, bits);
    c.float(r)
}

/// The bf16 nearest to an f32, in the low 16 bits.
pub fn f32_to_bf16(o: &mut Ops, wide: bool, x: Value) -> Value {
    let c = &mut Half { o, wide };
    let bits = c.bits(x);
    let size = c.imm(BinOp::And, bits, 0x7fff_ffff);
    let high = c.shift(BinOp::ShrU, bits, 16);
    let odd = c.imm(BinOp::And, high, 1);
    let r = c.imm(BinOp::Add, bits, 0x7fff);
    let r = c.op(BinOp::Add, r, odd);
    let r = c.shift(BinOp::ShrU, r, 16);
    let infinite = c.k(0x7f80_0000);
    let is_nan = c.op(BinOp::Lt, infinite, size);
    let quiet = c.imm(BinOp::Or, high, 0x40);
    c.pick(is_nan, quiet, r)
}
