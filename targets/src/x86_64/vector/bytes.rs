//! Bytes at SSE2, which neither widens nor shuffles them.

use super::lanes::OWN;
use super::{Emit, Emitted, OWN as OWN_X};
use crate::vector::ir::*;
use iced_x86::{Code as Ins, Instruction};

impl Emit<'_> {
    /// Up to four bytes to lanes.
    pub(super) fn load_bytes(&mut self, d: V, at: Mem, elem: Elem, lanes: Lanes) -> Emitted {
        let (m, x, low) = (self.mem(at), self.xmm(d), OWN_X.full_register32());
        match lanes {
            Lanes::First(1) => {
                self.rm(Ins::Movzx_r32_rm8, low, m)?;
                self.rr(Ins::Movd_xmm_rm32, x, low)?;
            }
            Lanes::First(n @ 2..4) => {
                self.rm(Ins::Movzx_r32_rm16, low, m)?;
                self.rr(Ins::Movd_xmm_rm32, x, low)?;
                if n == 3 {
                    let third = self.mem(at.plus(2));
                    self.rm(Ins::Movzx_r32_rm8, low, third)?;
                    self.push(Instruction::with3(Ins::Pinsrw_xmm_r32m16_imm8, x, low, 1)?);
                }
            }
            _ => self.rm(Ins::Movd_xmm_rm32, x, m)?,
        }
        if elem == Elem::I8 {
            // Each byte comes to the top of its lane, from where it is shifted down.
            self.rr(Ins::Punpcklbw_xmm_xmmm128, x, x)?;
            self.rr(Ins::Punpcklwd_xmm_xmmm128, x, x)?;
            return self.ri(Ins::Psrad_xmm_imm8, x, 24);
        }
        self.zero(OWN)?;
        let own = self.xmm(OWN);
        self.rr(Ins::Punpcklbw_xmm_xmmm128, x, own)?;
        self.rr(Ins::Punpcklwd_xmm_xmmm128, x, own)
    }
    /// The low bytes of lanes, side by side.
    pub(super) fn store_bytes(&mut self, s: V, at: Mem, lanes: Lanes, tmp: V) -> Emitted {
        let (m, x, low) = (self.mem(at), self.xmm(tmp), OWN_X.full_register32());
        self.bin(Bin::And, tmp, s, Src::Const(0xff))?;
        self.rr(Ins::Packssdw_xmm_xmmm128, x, x)?;
        self.rr(Ins::Packuswb_xmm_xmmm128, x, x)?;
        let n = match lanes {
            Lanes::First(n @ 1..4) => n,
            _ => return self.mr(Ins::Movd_rm32_xmm, m, x),
        };
        self.rr(Ins::Movd_rm32_xmm, low, x)?;
        if n == 1 {
            return self.mr(Ins::Mov_rm8_r8, m, iced_x86::Register::AL);
        }
        self.mr(Ins::Mov_rm16_r16, m, iced_x86::Register::AX)?;
        if n == 3 {
            let third = self.mem(at.plus(2));
            self.ri(Ins::Shr_rm32_imm8, low, 16)?;
            self.mr(Ins::Mov_rm8_r8, third, iced_x86::Register::AL)?;
        }
        Ok(())
    }
}
