//! Operations of the loops IR as Cranelift instructions, on one scalar or on four lanes.
//!
//! Every operation is total and gives the same bits on all machines (`Fma` as declared). Nothing here may become a library call
//! or a trap instruction.

use super::isa::Isa;
use super::{round, ty};
use crate::base::diag::{Diagnostic, Result};
use crate::loops::ir::{BinOp, CastKind, Const, Ty, UnOp};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::immediates::{Ieee32, Ieee64};
use cranelift_codegen::ir::{Endianness, FuncRef, InstBuilder, MemFlagsData, Type, Value, types};
use cranelift_frontend::FunctionBuilder;

/// Functions that divide on machines where Cranelift's division would hold a trap: signed 32, 64, unsigned 32, 64 bits.
pub type Dividers = [FuncRef; 4];

/// Writes operations at the builder's position.
pub struct Ops<'x, 'b> {
    pub b: &'x mut FunctionBuilder<'b>,
    pub isa: &'x Isa,
    pub dividers: Option<Dividers>,
}

/// A bit cast between vectors must say which lane is first.
pub fn cast_flags() -> MemFlagsData {
    MemFlagsData::new().with_endianness(Endianness::Little)
}

impl Ops<'_, '_> {
    /// A constant.
    pub fn konst(&mut self, c: Const, wide: bool) -> Value {
        let ins = self.b.ins();
        let v = match c {
            Const::F32(v) => ins.f32const(Ieee32::with_bits(v)),
            Const::F64(v) => ins.f64const(Ieee64::with_bits(v)),
            Const::I32(v) => ins.iconst(types::I32, i64::from(v as u32)),
            Const::I64(v) => ins.iconst(types::I64, v),
            Const::Bool(v) => ins.iconst(types::I8, i64::from(v)),
        };
        if !wide {
            return v;
        }
        let lane = match c {
            Const::F32(v) => v,
            Const::I32(v) => v as u32,
            Const::Bool(v) => 0u32.wrapping_sub(u32::from(v)),
            Const::F64(bits) => return self.long_const(types::F64X2, bits),
            Const::I64(v) => return self.long_const(types::I64X2, v as u64),
        };
        let bytes: Vec<u8> = lane.to_le_bytes().repeat(ty::LANES);
        let k = self.b.func.dfg.constants.insert(bytes.into());
        let t = ty::wide(c.ty()).unwrap_or(types::I32X4);
        self.b.ins().vconst(t, k)
    }
    /// The same value in every lane.
    pub fn splat(&mut self, t: Ty, v: Value) -> Value {
        let v = if t == Ty::Bool {
            self.b.ins().bmask(types::I32, v)
        } else {
            v
        };
        self.b.ins().splat(ty::wide(t).unwrap_or(types::I32X4), v)
    }
    /// One lane as a scalar.
    pub fn lane(&mut self, t: Ty, v: Value, k: usize) -> Value {
        let x = self.b.ins().extractlane(v, k as u8);
        if t == Ty::Bool {
            let x = self.b.ins().ireduce(types::I8, x);
            return self.b.ins().band_imm_u(x, 1);
        }
        x
    }
    /// Four scalars as lanes.
    pub fn pack(&mut self, t: Ty, lanes: &[Value]) -> Value {
        let scalars: Vec<Value> = lanes
            .iter()
            .map(|&v| {
                if t == Ty::Bool {
                    self.b.ins().bmask(types::I32, v)
                } else {
                    v
                }
            })
            .collect();
        let wide = ty::wide(t).unwrap_or(types::I32X4);
        let mut out = self.b.ins().scalar_to_vector(wide, scalars[0]);
        for (k, v) in scalars.into_iter().enumerate().skip(1) {
            out = self.b.ins().insertlane(out, v, k as u8);
        }
        out
    }
    /// `cond ? a : b` for values of type `t`.
    pub fn select(&mut self, t: Ty, wide: bool, cond: Value, a: Value, b: Value) -> Value {
        if !wide {
            return self.b.ins().select(cond, a, b);
        }
        let cond = match t {
            Ty::F32 => self.b.ins().bitcast(types::F32X4, cast_flags(), cond),
            Ty::F64 => self.b.ins().bitcast(types::F64X2, cast_flags(), cond),
            _ => cond,
        };
        self.b.ins().bitselect(cond, a, b)
    }
    /// Whether `un` has lanes for it.
    pub fn un_has_lanes(op: UnOp) -> bool {
        op != UnOp::Popcnt
    }
    /// One operand of type `t`. Functions that `legalize` writes out are refused by the caller.
    pub fn un(&mut self, op: UnOp, t: Ty, wide: bool, a: Value) -> Value {
        let f = t.is_float();
        match op {
            UnOp::Neg if f => self.b.ins().fneg(a),
            UnOp::Neg => self.b.ins().ineg(a),
            UnOp::Abs if f => self.b.ins().fabs(a),
            UnOp::Abs => self.b.ins().iabs(a),
            UnOp::Sqrt => self.b.ins().sqrt(a),
            UnOp::Floor | UnOp::Ceil | UnOp::Trunc | UnOp::Round | UnOp::Near
                if !self.isa.round =>
            {
                round::written_out(self, op, t, wide, a)
            }
            UnOp::Floor => self.b.ins().floor(a),
            UnOp::Ceil => self.b.ins().ceil(a),
            UnOp::Trunc => self.b.ins().trunc(a),
            UnOp::Round | UnOp::Near => self.b.ins().nearest(a),
            UnOp::Not if t == Ty::Bool && !wide => self.b.ins().bxor_imm_u(a, 1),
            UnOp::Not => self.b.ins().bnot(a),
            UnOp::Popcnt => self.b.ins().popcnt(a),
            UnOp::ToBits | UnOp::FromBits => self.b.ins().bitcast(bits(t, wide), cast_flags(), a),
            _ => a,
        }
    }
    /// Whether `bin` has lanes for it (shifts: by an amount that is the same in all lanes).
    pub fn bin_has_lanes(op: BinOp, t: Ty) -> bool {
        use BinOp::*;
        match t {
            Ty::F32 | Ty::F64 => {
                matches!(op, Add | Sub | Mul | Div | Min | Max | Eq | Ne | Lt | Le)
            }
            Ty::I32 | Ty::I64 => !matches!(op, Div | Rem | DivU | RemU | MulHiU | Pow),
            Ty::Bool => matches!(op, And | Or | Xor | Eq | Ne),
        }
    }
    /// Two operands of type `t`. The amount of a shift is a scalar in lanes, too.
    pub fn bin(&mut self, op: BinOp, t: Ty, wide: bool, a: Value, b: Value) -> Value {
        if t.is_float() {
            return self.float(op, t, wide, a, b);
        }
        match op {
            BinOp::Add => self.b.ins().iadd(a, b),
            BinOp::Sub => self.b.ins().isub(a, b),
            BinOp::Mul => self.b.ins().imul(a, b),
            BinOp::Div => self.divide(t, true, a, b),
            BinOp::DivU => self.divide(t, false, a, b),
            BinOp::Rem | BinOp::RemU => {
                // a - (a / b) * b, and 0 where b is.
                let q = self.divide(t, op == BinOp::Rem, a, b);
                let p = self.b.ins().imul(q, b);
                let r = self.b.ins().isub(a, p);
                let zero = self.b.ins().iconst(ty::scalar(t), 0);
                let is_zero = self.b.ins().icmp(IntCC::Equal, b, zero);
                self.b.ins().select(is_zero, zero, r)
            }
            BinOp::Min => self.extreme(IntCC::SignedLessThan, t, wide, a, b),
            BinOp::Max => self.extreme(IntCC::SignedGreaterThan, t, wide, a, b),
            BinOp::MinU => self.extreme(IntCC::UnsignedLessThan, t, wide, a, b),
            BinOp::MaxU => self.extreme(IntCC::UnsignedGreaterThan, t, wide, a, b),
            BinOp::And => self.b.ins().band(a, b),
            BinOp::Or => self.b.ins().bor(a, b),
            BinOp::Xor => self.b.ins().bxor(a, b),
            BinOp::Shl => self.b.ins().ishl(a, b),
            BinOp::Shr => self.b.ins().sshr(a, b),
            BinOp::ShrU => self.b.ins().ushr(a, b),
            BinOp::Eq => self.b.ins().icmp(IntCC::Equal, a, b),
            BinOp::Ne => self.b.ins().icmp(IntCC::NotEqual, a, b),
            BinOp::Lt => self.b.ins().icmp(IntCC::SignedLessThan, a, b),
            BinOp::Le => self.b.ins().icmp(IntCC::SignedLessThanOrEqual, a, b),
            BinOp::LtU => self.b.ins().icmp(IntCC::UnsignedLessThan, a, b),
            BinOp::LeU => self.b.ins().icmp(IntCC::UnsignedLessThanOrEqual, a, b),
            BinOp::MulHiU => self.b.ins().umulhi(a, b),
            BinOp::Pow => a,
        }
    }
    fn float(&mut self, op: BinOp, t: Ty, wide: bool, a: Value, b: Value) -> Value {
        match op {
            BinOp::Add => self.b.ins().fadd(a, b),
            BinOp::Sub => self.b.ins().fsub(a, b),
            BinOp::Mul => self.b.ins().fmul(a, b),
            BinOp::Div => self.b.ins().fdiv(a, b),
            // The forms that become one instruction on x86; Cranelift's own fmin is slow and treats NaN otherwise.
            BinOp::Min => {
                let less = self.b.ins().fcmp(FloatCC::LessThan, a, b);
                self.select(t, wide, less, a, b)
            }
            BinOp::Max => {
                let less = self.b.ins().fcmp(FloatCC::LessThan, b, a);
                self.select(t, wide, less, a, b)
            }
            BinOp::Eq => self.b.ins().fcmp(FloatCC::Equal, a, b),
            BinOp::Ne => self.b.ins().fcmp(FloatCC::NotEqual, a, b),
            BinOp::Lt => self.b.ins().fcmp(FloatCC::LessThan, a, b),
            BinOp::Le => self.b.ins().fcmp(FloatCC::LessThanOrEqual, a, b),
            _ => a,
        }
    }
    fn extreme(&mut self, cc: IntCC, t: Ty, wide: bool, a: Value, b: Value) -> Value {
        let c = self.b.ins().icmp(cc, a, b);
        self.select(t, wide, c, a, b)
    }
    /// a * b + c.
    pub fn fma(&mut self, a: Value, b: Value, c: Value) -> Value {
        if self.isa.fma {
            return self.b.ins().fma(a, b, c);
        }
        let p = self.b.ins().fmul(a, b);
        self.b.ins().fadd(p, c)
    }
    // x / 0 = 0, MIN / -1 = MIN.
    fn divide(&mut self, t: Ty, signed: bool, a: Value, b: Value) -> Value {
        let int = ty::scalar(t);
        if let Some(k) = self.known(b) {
            let k = if t == Ty::I32 { i64::from(k as i32) } else { k };
            return match k {
                0 => self.b.ins().iconst(int, 0),
                -1 if signed => self.b.ins().ineg(a),
                // The optimiser makes multiplications of these.
                _ if signed => self.b.ins().sdiv(a, b),
                _ => self.b.ins().udiv(a, b),
            };
        }
        if let Some(d) = self.dividers {
            let at = usize::from(t == Ty::I64) + if signed { 0 } else { 2 };
            let call = self.b.ins().call(d[at], &[a, b]);
            return self.b.inst_results(call)[0];
        }
        // Only an unsigned division by what is never 0 is free of trap instructions.
        let zero = self.b.ins().iconst(int, 0);
        let is_zero = self.b.ins().icmp(IntCC::Equal, b, zero);
        let one = self.b.ins().iconst(int, 1);
        let (x, y) = if signed {
            (self.b.ins().iabs(a), self.b.ins().iabs(b))
        } else {
            (a, b)
        };
        let y = self.b.ins().select(is_zero, one, y);
        let mut q = self.b.ins().udiv(x, y);
        if signed {
            let signs = self.b.ins().bxor(a, b);
            let sign = self.b.ins().sshr_imm_u(signs, int.bits() as i64 - 1);
            let flipped = self.b.ins().bxor(q, sign);
            q = self.b.ins().isub(flipped, sign);
        }
        self.b.ins().select(is_zero, zero, q)
    }
    // The number, if it is a constant.
    fn known(&self, v: Value) -> Option<i64> {
        use cranelift_codegen::ir::{InstructionData, Opcode};
        let dfg = &self.b.func.dfg;
        let inst = dfg.value_def(dfg.resolve_aliases(v)).inst()?;
        match dfg.insts[inst] {
            InstructionData::UnaryImm {
                opcode: Opcode::Iconst,
                imm,
            } => Some(imm.bits()),
            _ => None,
        }
    }
    /// Whether `cast` has lanes for it.
    pub fn cast_has_lanes(to: Ty, kind: CastKind, from: Ty) -> bool {
        match (from, to) {
            // Between whole numbers and floats of different sizes one by one.
            (Ty::I64, Ty::F32 | Ty::F64) | (Ty::F32 | Ty::F64, Ty::I64) => false,
            (Ty::I32, Ty::F64) | (Ty::F64, Ty::I32) => kind == CastKind::Signed,
            _ => true,
        }
    }
    /// Conversion.
    pub fn cast(
        &mut self,
        to: Ty,
        kind: CastKind,
        from: Ty,
        wide: bool,
        a: Value,
    ) -> Result<Value> {
        let signed = kind == CastKind::Signed;
        let out = if wide {
            ty::wide(to).ok_or_else(|| Diagnostic::internal("lanes of a 64-bit type"))?
        } else {
            ty::scalar(to)
        };
        Ok(match (from, to) {
            _ if from == to => a,
            (_, Ty::Bool) if from.is_float() => {
                let zero = match from {
                    Ty::F32 => Const::F32(0),
                    _ => Const::F64(0),
                };
                let zero = self.konst(zero, wide);
                self.b.ins().fcmp(FloatCC::NotEqual, a, zero)
            }
            (_, Ty::Bool) => {
                let zero = match from {
                    Ty::I32 => Const::I32(0),
                    _ => Const::I64(0),
                };
                let zero = self.konst(zero, wide);
                self.b.ins().icmp(IntCC::NotEqual, a, zero)
            }
            (Ty::Bool, _) if wide => {
                let one = match to {
                    Ty::F32 => self.konst(Const::I32(1f32.to_bits() as i32), true),
                    _ => self.konst(Const::I32(1), true),
                };
                let v = self.b.ins().band(a, one);
                if to == Ty::F32 {
                    self.b.ins().bitcast(types::F32X4, cast_flags(), v)
                } else {
                    v
                }
            }
            (Ty::Bool, _) if to.is_float() => {
                let v = self.b.ins().uextend(types::I32, a);
                self.b.ins().fcvt_from_sint(out, v)
            }
            (Ty::Bool, _) => self.b.ins().uextend(out, a),
            (Ty::F32, Ty::F64) => self.b.ins().fpromote(out, a),
            (Ty::F64, Ty::F32) => self.b.ins().fdemote(out, a),
            (Ty::I32, Ty::I64) if signed => self.b.ins().sextend(out, a),
            (Ty::I32, Ty::I64) => self.b.ins().uextend(out, a),
            (Ty::I64, Ty::I32) => self.b.ins().ireduce(out, a),
            (Ty::F32 | Ty::F64, _) if signed => self.b.ins().fcvt_to_sint_sat(out, a),
            (Ty::F32 | Ty::F64, _) => self.b.ins().fcvt_to_uint_sat(out, a),
            (_, _) if signed => self.b.ins().fcvt_from_sint(out, a),
            (_, _) => self.b.ins().fcvt_from_uint(out, a),
        })
    }
}

// The type of the same bits on the other side.
fn bits(t: Ty, wide: bool) -> Type {
    match (t, wide) {
        (Ty::F32, false) => types::I32,
        (Ty::F32, true) => types::I32X4,
        (Ty::F64, false) => types::I64,
        (Ty::F64, true) => types::I64X2,
        (Ty::I64, true) => types::F64X2,
        (Ty::I32, false) => types::F32,
        (Ty::I32, true) => types::F32X4,
        _ => types::F64,
    }
}
