//! Operations between vector registers.

use super::{Emit, Emitted, codes};
use crate::vector::ir::*;
use iced_x86::{Code as Ins, IcedError, Instruction, MemoryOperand, Register};

/// The assembler's own vector register at SSE2.
pub(super) const OWN: V = V(15);

/// A second operand as an instruction takes it.
pub(super) enum Operand {
    Reg(Register),
    Mem(MemoryOperand),
    /// 32 bits for every lane.
    Splat(MemoryOperand),
}

impl Emit<'_> {
    pub(super) fn zero(&mut self, d: V) -> Emitted {
        let (code, d) = match self.level {
            Level::Sse2 => {
                return self.rr(codes::XOR.at(self.level), self.v(d), self.v(d));
            }
            // Clears all of the register, and is shorter than EVEX.
            _ if d.0 < 16 => (Ins::VEX_Vxorps_xmm_xmm_xmmm128, self.xmm(d)),
            _ => (Ins::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32, self.v(d)),
        };
        self.push(Instruction::with3(code, d, d, d)?);
        Ok(())
    }
    /// Lane 0 of `a` in every lane of `d`.
    pub(super) fn spread(&mut self, d: V, a: V) -> Emitted {
        match self.level {
            Level::Sse2 => {
                self.op(Op::Move { d, a })?;
                self.push(Instruction::with3(
                    Ins::Shufps_xmm_xmmm128_imm8,
                    self.v(d),
                    self.v(d),
                    0,
                )?);
                Ok(())
            }
            level => self.rr(codes::SPLAT_LANE.at(level), self.v(d), self.xmm(a)),
        }
    }
    pub(super) fn src(&mut self, b: Src) -> Operand {
        match b {
            Src::Reg(v) => Operand::Reg(self.v(v)),
            Src::Mem(m) => Operand::Mem(self.mem(m)),
            Src::Splat(m) => Operand::Splat(self.mem(m)),
            Src::Const(bits) if self.level == Level::Avx512 => {
                Operand::Splat(self.constant(bits.to_le_bytes().to_vec()))
            }
            Src::Const(bits) => Operand::Mem(self.lanes_of(bits)),
        }
    }
    /// `code d, a, b[, imm]` of three-operand encodings.
    pub(super) fn three(
        &mut self,
        code: Ins,
        d: Register,
        a: Register,
        b: Operand,
        imm: Option<u32>,
    ) -> Emitted {
        let splat = matches!(b, Operand::Splat(_));
        let i = match (b, imm) {
            (Operand::Reg(b), None) => Instruction::with3(code, d, a, b)?,
            (Operand::Reg(b), Some(imm)) => Instruction::with4(code, d, a, b, imm)?,
            (Operand::Mem(m) | Operand::Splat(m), None) => Instruction::with3(code, d, a, m)?,
            (Operand::Mem(m) | Operand::Splat(m), Some(imm)) => {
                Instruction::with4(code, d, a, m, imm)?
            }
        };
        self.push(i).set_is_broadcast(splat);
        Ok(())
    }
    /// At SSE2 memory operands must lie aligned: constants do, others are loaded first.
    pub(super) fn sse_src(&mut self, b: Src) -> Result<Operand, IcedError> {
        if let Src::Mem(m) = b {
            let m = self.mem(m);
            self.rm(codes::LOAD.at(Level::Sse2), self.v(OWN), m)?;
            return Ok(Operand::Reg(self.v(OWN)));
        }
        Ok(self.src(b))
    }
    pub(super) fn two(&mut self, code: Ins, d: V, b: Operand, imm: Option<u32>) -> Emitted {
        let d = self.v(d);
        let i = match (b, imm) {
            (Operand::Reg(b), None) => Instruction::with2(code, d, b)?,
            (Operand::Reg(b), Some(imm)) => Instruction::with3(code, d, b, imm)?,
            (Operand::Mem(m) | Operand::Splat(m), None) => Instruction::with2(code, d, m)?,
            (Operand::Mem(m) | Operand::Splat(m), Some(imm)) => {
                Instruction::with3(code, d, m, imm)?
            }
        };
        self.push(i);
        Ok(())
    }

    /// `d -= 1` where `a` equals `b`.
    pub(super) fn less_where_eq(&mut self, d: V, a: V, b: Src, tmp: V) -> Emitted {
        if self.level != Level::Avx512 {
            // A mask is minus one.
            self.bin(Bin::EqI, tmp, a, b)?;
            return self.bin(Bin::AddI, d, d, Src::Reg(tmp));
        }
        let (code, imm) = codes::bin(Bin::EqI);
        let b = self.src(b);
        self.three(code.at(self.level), Register::K1, self.v(a), b, imm)?;
        self.bin(Bin::AddI, d, d, Src::Const(u32::MAX))?;
        self.masked(false);
        Ok(())
    }
    pub(super) fn bin(&mut self, op: Bin, d: V, a: V, b: Src) -> Emitted {
        let (row, imm) = codes::bin(op);
        let code = row.at(self.level);
        match self.level {
            Level::Sse2 if matches!(op, Bin::MinI | Bin::MaxI) => self.sse_extreme(op, d, a, b),
            Level::Sse2 if d == a || b != Src::Reg(d) => {
                let b = self.sse_src(b)?;
                self.op(Op::Move { d, a })?;
                self.two(code, d, b, imm)
            }
            Level::Sse2 if codes::commutes(op) => {
                let a = Operand::Reg(self.v(a));
                self.two(code, d, a, imm)
            }
            Level::Sse2 => {
                self.op(Op::Move { d: OWN, a: d })?;
                self.op(Op::Move { d, a })?;
                let b = Operand::Reg(self.v(OWN));
                self.two(code, d, b, imm)
            }
            Level::Avx512 if codes::answers_in_mask(op) => {
                let b = self.src(b);
                self.three(code, Register::K1, self.v(a), b, imm)?;
                let i = Instruction::with4(
                    Ins::EVEX_Vpternlogd_zmm_k1z_zmm_zmmm512b32_imm8,
                    self.v(d),
                    self.v(d),
                    self.v(d),
                    0xff,
                )?;
                let i = self.push(i);
                i.set_op_mask(Register::K1);
                i.set_zeroing_masking(true);
                Ok(())
            }
            _ => {
                let b = self.src(b);
                self.three(code, self.v(d), self.v(a), b, imm)
            }
        }
    }
    pub(super) fn words(&mut self, op: WordBin, d: V, a: V, b: V) -> Emitted {
        let code = codes::words(op).at(self.level);
        if self.level != Level::Sse2 {
            let b = Operand::Reg(self.v(b));
            return self.three(code, self.v(d), self.v(a), b, None);
        }
        let b = match d == b && d != a {
            true => {
                self.op(Op::Move { d: OWN, a: b })?;
                OWN
            }
            false => b,
        };
        self.op(Op::Move { d, a })?;
        self.rr(code, self.v(d), self.v(b))
    }
    /// The smaller or larger integer without an instruction for it: one operand, changed in all bits that differ where the
    /// comparison says so.
    fn sse_extreme(&mut self, op: Bin, d: V, a: V, b: Src) -> Emitted {
        if b == Src::Reg(a) {
            return self.op(Op::Move { d, a });
        }
        let (and, and_not, xor) = (
            codes::AND.at(Level::Sse2),
            codes::AND_NOT.at(Level::Sse2),
            codes::XOR.at(Level::Sse2),
        );
        self.op(Op::Move { d: OWN, a })?;
        let other = self.src(b);
        self.two(codes::GT_I.at(Level::Sse2), OWN, other, None)?;
        // Now OWN is set where a > b.
        if d == a {
            let other = self.src(b);
            self.two(xor, d, other, None)?;
            // b ^ (differing bits where the answer is a).
            let masked = if op == Bin::MinI { and_not } else { and };
            self.rr(masked, self.v(OWN), self.v(d))?;
            self.op(Op::Move { d, a: OWN })?;
            let other = self.src(b);
            return self.two(xor, d, other, None);
        }
        // a ^ (differing bits where the answer is b).
        if b == Src::Reg(d) {
            self.rr(xor, self.v(d), self.v(a))?;
        } else {
            self.op(Op::Move { d, a })?;
            let other = self.src(b);
            self.two(xor, d, other, None)?;
        }
        if op == Bin::MinI {
            self.rr(and, self.v(d), self.v(OWN))?;
        } else {
            self.rr(and_not, self.v(OWN), self.v(d))?;
            self.op(Op::Move { d, a: OWN })?;
        }
        self.rr(xor, self.v(d), self.v(a))
    }
    pub(super) fn fma(&mut self, d: V, a: V, b: Src) -> Emitted {
        if self.level != Level::Sse2 {
            let b = self.src(b);
            return self.three(codes::FMA.at(self.level), self.v(d), self.v(a), b, None);
        }
        // Rounds twice. The factor from memory is loaded into the register of the product.
        let b = self.sse_src(b)?;
        match b {
            Operand::Reg(r) if r == self.v(OWN) => {
                let a = Operand::Reg(self.v(a));
                self.two(codes::MUL.at(Level::Sse2), OWN, a, None)?;
            }
            b => {
                self.op(Op::Move { d: OWN, a })?;
                self.two(codes::MUL.at(Level::Sse2), OWN, b, None)?;
            }
        }
        let product = Operand::Reg(self.v(OWN));
        self.two(codes::ADD.at(Level::Sse2), d, product, None)
    }
    pub(super) fn select(&mut self, d: V, m: V, a: V, b: V) -> Emitted {
        match self.level {
            Level::Sse2 => {
                let (and, and_not, or) = (
                    codes::AND.at(Level::Sse2),
                    codes::AND_NOT.at(Level::Sse2),
                    codes::OR.at(Level::Sse2),
                );
                self.op(Op::Move { d: OWN, a: m })?;
                self.rr(and_not, self.v(OWN), self.v(b))?;
                if d == a {
                    self.rr(and, self.v(d), self.v(m))?;
                } else {
                    self.op(Op::Move { d, a: m })?;
                    self.rr(and, self.v(d), self.v(a))?;
                }
                self.rr(or, self.v(d), self.v(OWN))
            }
            Level::Avx512 => {
                // One instruction computes any function of three bits, the first operand being overwritten.
                let (first, second, third) = if d == a {
                    (a, m, b)
                } else if d == b {
                    (b, m, a)
                } else {
                    self.op(Op::Move { d, a: m })?;
                    (m, a, b)
                };
                let mut table = 0u32;
                for bits in 0..8 {
                    let bit = |v: V| {
                        let shift = if v == first {
                            2
                        } else if v == second {
                            1
                        } else {
                            0
                        };
                        bits >> shift & 1
                    };
                    // Registers may be one and the same: then their bits are too, and such rows are never asked.
                    let answer = if bit(m) == 1 { bit(a) } else { bit(b) };
                    table |= answer << bits;
                }
                self.push(Instruction::with4(
                    Ins::EVEX_Vpternlogd_zmm_k1z_zmm_zmmm512b32_imm8,
                    self.v(d),
                    self.v(second),
                    self.v(third),
                    table,
                )?);
                Ok(())
            }
            _ => {
                self.push(Instruction::with4(
                    Ins::VEX_Vblendvps_ymm_ymm_ymmm256_ymm,
                    self.v(d),
                    self.v(b),
                    self.v(a),
                    self.v(m),
                )?);
                Ok(())
            }
        }
    }
    pub(super) fn truncate(&mut self, d: V, a: V, tmp: V) -> Emitted {
        // Out of range gives the smallest number, whose bits are the complement of the largest's.
        const LIMIT: f32 = 2147483648.0;
        let limit = LIMIT.to_bits();
        self.rr(codes::TO_INT.at(self.level), self.v(d), self.v(a))?;
        self.op(Op::Const {
            d: tmp,
            bits: limit,
        })?;
        self.bin(Bin::Le, tmp, tmp, Src::Reg(a))?;
        self.bin(Bin::Xor, d, d, Src::Reg(tmp))?;
        self.bin(Bin::Eq, tmp, a, Src::Reg(a))?;
        self.bin(Bin::And, d, d, Src::Reg(tmp))
    }
    pub(super) fn fold(&mut self, op: Fold, d: V, a: V, tmp: V) -> Emitted {
        let bin = match op {
            Fold::Add => Bin::Add,
            Fold::Min => Bin::Min,
            Fold::Max => Bin::Max,
        };
        let mut from = a;
        if self.level == Level::Avx512 {
            self.push(Instruction::with3(
                Ins::EVEX_Vextractf64x4_ymmm256_k1z_zmm_imm8,
                self.ymm(tmp),
                self.v(a),
                1,
            )?);
            self.bin(bin, d, a, Src::Reg(tmp))?;
            from = d;
        }
        if self.level != Level::Sse2 {
            // A register from 16 on is out of reach of VEX.
            let code = match self.level {
                Level::Avx512 => Ins::EVEX_Vextractf32x4_xmmm128_k1z_ymm_imm8,
                _ => Ins::VEX_Vextractf128_xmmm128_ymm_imm8,
            };
            self.push(Instruction::with3(code, self.xmm(tmp), self.ymm(from), 1)?);
            self.bin(bin, d, from, Src::Reg(tmp))?;
            from = d;
        }
        for shuffle in [0b1110u32, 0b01] {
            let (from_x, t) = (self.xmm(from), self.xmm(tmp));
            let i = match self.level {
                Level::Sse2 => {
                    Instruction::with3(Ins::Pshufd_xmm_xmmm128_imm8, t, from_x, shuffle)?
                }
                Level::Avx512 => Instruction::with3(
                    Ins::EVEX_Vpshufd_xmm_k1z_xmmm128b32_imm8,
                    t,
                    from_x,
                    shuffle,
                )?,
                _ => Instruction::with3(Ins::VEX_Vpshufd_xmm_xmmm128_imm8, t, from_x, shuffle)?,
            };
            self.push(i);
            self.bin(bin, d, from, Src::Reg(tmp))?;
            from = d;
        }
        Ok(())
    }
}
