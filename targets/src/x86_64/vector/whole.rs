//! What integer kernels need: products of parts of lanes, and f64 between sums and what they become.

use super::lanes::{OWN, Operand};
use super::{Emit, Emitted, codes};
use crate::vector::ir::*;
use iced_x86::{Code as Ins, Instruction};

/// 1.5 * 2^52.
const ROUNDS: u64 = 0x4338_0000_0000_0000;

impl Emit<'_> {
    pub(super) fn dot(&mut self, dot: Dot, d: V, a: Src, b: V, tmp: Option<V>) -> Emitted {
        let level = self.level;
        let Some(tmp) = tmp.filter(|_| dot == Dot::Words) else {
            let code = match dot {
                Dot::Words => codes::DOT_W.at(level),
                _ if self.p.isa.evex_bytes => Ins::EVEX_Vpdpbusd_ymm_k1z_ymm_ymmm256b32,
                _ => codes::DOT_B.at(level),
            };
            let a = self.src(a);
            return self.three(code, self.v(d), self.v(b), a, None);
        };
        if level == Level::Sse2 {
            let a = self.sse_src(a)?;
            self.op(Op::Move { d: tmp, a: b })?;
            self.two(codes::MADD_W.at(level), tmp, a, None)?;
        } else {
            let a = self.src(a);
            self.three(codes::MADD_W.at(level), self.v(tmp), self.v(b), a, None)?;
        }
        self.bin(Bin::AddI, d, d, Src::Reg(tmp))
    }
    /// Lanes 0 and 1 of `a` in every pair of lanes of `d`.
    pub(super) fn spread_pair(&mut self, d: V, a: V) -> Emitted {
        let code = match self.level {
            Level::Sse2 => {
                self.op(Op::Move { d, a })?;
                return self.rr(Ins::Punpcklqdq_xmm_xmmm128, self.xmm(d), self.xmm(d));
            }
            Level::Avx512 => Ins::EVEX_Vpbroadcastq_zmm_k1z_xmmm64,
            _ => Ins::VEX_Vpbroadcastq_ymm_xmmm64,
        };
        self.rr(code, self.v(d), self.xmm(a))
    }
    pub(super) fn reals_of_whole(&mut self, lo: V, hi: V, a: V) -> Emitted {
        let code = codes::TO_REALS.at(self.level);
        match self.level {
            Level::Sse2 => {
                let (l, h, x) = (self.xmm(lo), self.xmm(hi), self.xmm(a));
                self.rr(code, l, x)?;
                self.push(Instruction::with3(
                    Ins::Pshufd_xmm_xmmm128_imm8,
                    h,
                    x,
                    0b1110,
                )?);
                self.rr(code, h, h)
            }
            Level::Avx512 => {
                self.rr(code, self.v(lo), self.ymm(a))?;
                let extract = Ins::EVEX_Vextracti64x4_ymmm256_k1z_zmm_imm8;
                self.push(Instruction::with3(extract, self.ymm(hi), self.v(a), 1)?);
                self.rr(code, self.v(hi), self.ymm(hi))
            }
            _ => {
                self.rr(code, self.v(lo), self.xmm(a))?;
                let extract = Ins::VEX_Vextracti128_xmmm128_ymm_imm8;
                self.push(Instruction::with3(extract, self.xmm(hi), self.ymm(a), 1)?);
                self.rr(code, self.v(hi), self.xmm(hi))
            }
        }
    }
    pub(super) fn reals_of_slot(&mut self, lo: V, hi: V, slot: u16) -> Emitted {
        let code = codes::TO_REALS.at(self.level);
        let (first, mut second) = (self.slot(slot), self.slot(slot));
        second.displacement = second.displacement.wrapping_add(16);
        self.rm(code, self.v(lo), first)?;
        self.rm(code, self.v(hi), second)
    }
    /// `mixed`: AVX2 alone, in the order in which both halves are shuffled together.
    pub(super) fn whole_of_reals(&mut self, d: V, lo: V, hi: V, mixed: bool) -> Emitted {
        let code = codes::FROM_REALS.at(self.level);
        match self.level {
            Level::Sse2 => {
                self.rr(code, self.xmm(d), self.xmm(lo))?;
                self.rr(code, self.xmm(hi), self.xmm(hi))?;
                self.rr(Ins::Punpcklqdq_xmm_xmmm128, self.xmm(d), self.xmm(hi))
            }
            Level::Avx512 => {
                for half in [lo, hi] {
                    self.real_bin(RealBin::Add, half, half, RealSrc::Const(ROUNDS))?;
                }
                // The low half of each number of both vectors, in order.
                let even: Vec<u8> = (0..16u32).flat_map(|i| (2 * i).to_le_bytes()).collect();
                let even = self.constant(even);
                self.rm(codes::LOAD.at(Level::Avx512), self.v(d), even)?;
                let pick = Ins::EVEX_Vpermi2d_zmm_k1z_zmm_zmmm512b32;
                self.push(Instruction::with3(pick, self.v(d), self.v(lo), self.v(hi))?);
                Ok(())
            }
            _ => {
                // A number this large has no places behind the point: adding it rounds, half to even, and the low halves are the answer.
                for half in [lo, hi] {
                    self.real_bin(RealBin::Add, half, half, RealSrc::Const(ROUNDS))?;
                }
                let (d, lo, hi) = (self.v(d), self.v(lo), self.v(hi));
                let even = Ins::VEX_Vshufps_ymm_ymm_ymmm256_imm8;
                self.push(Instruction::with4(even, d, lo, hi, 0b10_00_10_00u32)?);
                if mixed {
                    return Ok(());
                }
                let order = Ins::VEX_Vpermq_ymm_ymmm256_imm8;
                self.push(Instruction::with3(order, d, d, 0b11_01_10_00u32)?);
                Ok(())
            }
        }
    }
    pub(super) fn real_bin(&mut self, op: RealBin, d: V, a: V, b: RealSrc) -> Emitted {
        let code = codes::real_bin(op).at(self.level);
        let sse = self.level == Level::Sse2;
        let b = match b {
            RealSrc::Reg(v) => Operand::Reg(self.v(v)),
            RealSrc::Const(bits) if self.level == Level::Avx512 => {
                Operand::Splat(self.constant(bits.to_le_bytes().to_vec()))
            }
            RealSrc::Const(bits) => Operand::Mem(self.real_lanes_of(bits)),
            RealSrc::Mem(m) if sse => self.sse_src(Src::Mem(m))?,
            RealSrc::Mem(m) => Operand::Mem(self.mem(m)),
        };
        if !sse {
            return self.three(code, self.v(d), self.v(a), b, None);
        }
        // The first operand is overwritten; the second may be where the result goes.
        match b {
            Operand::Reg(r) if r == self.v(d) && d != a => {
                self.op(Op::Move { d: OWN, a: d })?;
                self.op(Op::Move { d, a })?;
                let own = Operand::Reg(self.v(OWN));
                self.two(code, d, own, None)
            }
            b => {
                self.op(Op::Move { d, a })?;
                self.two(code, d, b, None)
            }
        }
    }
}
