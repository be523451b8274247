//! Rows of bytes brought together: AVX2 and AVX-512.

use super::{Emit, Emitted, codes};
use crate::vector::ir::*;
use iced_x86::{Code as Ins, Instruction, Register};

impl Emit<'_> {
    /// An operation on bytes of several rows.
    pub(super) fn mixing(&mut self, op: Op) -> Emitted {
        match op {
            Op::LoadWords { d, at, signed } => {
                let code = if signed { codes::SX_BW } else { codes::ZX_BW };
                let m = self.mem(at);
                self.rm(code.at(self.level), self.v(d), m)
            }
            Op::MixBytes { lo, a, b } => {
                self.both(&codes::UNPACK_LO_B, lo, a, b)?;
                self.both(&codes::UNPACK_HI_B, a, a, b)
            }
            Op::PairRows {
                lo,
                a,
                b,
                signed,
                second,
            } => {
                let (low, first, other) = (self.xmm(lo), self.xmm(a), self.xmm(b));
                let with3 = Instruction::with3::<Register, Register, Register>;
                let (below, above) = (
                    Ins::VEX_Vpunpcklbw_xmm_xmm_xmmm128,
                    Ins::VEX_Vpunpckhbw_xmm_xmm_xmmm128,
                );
                let code = if signed { codes::SX_BW } else { codes::ZX_BW }.at(self.level);
                self.push(with3(below, low, first, other)?);
                if second {
                    self.push(with3(above, first, first, other)?);
                    self.rr(code, self.v(a), first)?;
                }
                self.rr(code, self.v(lo), low)
            }
            Op::InOrder { v, n, tmp } if self.level == Level::Avx512 => {
                self.in_order_wide(v, n, tmp)
            }
            Op::InOrder { v, n, tmp } => self.in_order(v, n, tmp),
            _ => Ok(()),
        }
    }

    /// Two quarters: halves.
    fn in_order(&mut self, v: [V; 4], n: u8, tmp: [V; 2]) -> Emitted {
        let [a, b, c, d] = v;
        let [t, u] = tmp;
        self.halves(t, a, b, SECOND)?;
        self.halves(a, a, b, FIRST)?;
        if n == 2 {
            return self.op(Op::Move { d: b, a: t });
        }
        self.halves(u, c, d, SECOND)?;
        self.halves(b, c, d, FIRST)?;
        self.op(Op::Move { d: c, a: t })?;
        self.op(Op::Move { d, a: u })
    }
    /// The first or second half of `a`, then of `b`.
    fn halves(&mut self, d: V, a: V, b: V, which: u32) -> Emitted {
        let (to, a, half) = (self.v(d), self.v(a), self.xmm(b));
        let with = match which {
            // Cheaper on some machines than a general permutation.
            FIRST => {
                let code = Ins::VEX_Vinserti128_ymm_ymm_xmmm128_imm8;
                Instruction::with4(code, to, a, half, 1u32)?
            }
            _ => {
                let code = Ins::VEX_Vperm2i128_ymm_ymm_ymmm256_imm8;
                Instruction::with4(code, to, a, self.v(b), which)?
            }
        };
        self.push(with);
        Ok(())
    }

    /// Four quarters.
    fn in_order_wide(&mut self, v: [V; 4], n: u8, tmp: [V; 2]) -> Emitted {
        let [a, b, c, d] = v;
        let [t, u] = tmp;
        self.quarters(t, a, b, [0, 1, 0, 1])?;
        self.quarters(u, a, b, [2, 3, 2, 3])?;
        if n == 2 {
            self.quarters(a, t, t, [0, 2, 1, 3])?;
            return self.quarters(b, u, u, [0, 2, 1, 3]);
        }
        self.quarters(a, c, d, [0, 1, 0, 1])?;
        self.quarters(b, c, d, [2, 3, 2, 3])?;
        self.quarters(c, u, b, [0, 2, 0, 2])?;
        self.quarters(d, u, b, [1, 3, 1, 3])?;
        self.quarters(b, t, a, [1, 3, 1, 3])?;
        self.quarters(a, t, a, [0, 2, 0, 2])
    }
    /// Two quarters of `a`, then two of `b`.
    fn quarters(&mut self, d: V, a: V, b: V, which: [u32; 4]) -> Emitted {
        let imm = which.iter().rev().fold(0, |all, q| all << 2 | q);
        let code = Ins::EVEX_Vshufi32x4_zmm_k1z_zmm_zmmm512b32_imm8;
        let (d, a, b) = (self.v(d), self.v(a), self.v(b));
        self.push(Instruction::with4(code, d, a, b, imm)?);
        Ok(())
    }
}

/// Which half of both operands.
const FIRST: u32 = 0x20;
const SECOND: u32 = 0x31;
