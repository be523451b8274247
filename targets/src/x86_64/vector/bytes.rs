//! Bytes: those that are limited as they are stored, and all of them at SSE2, which neither widens nor shuffles them.

use super::lanes::OWN;
use super::{Emit, Emitted, OWN as OWN_X, codes};
use crate::vector::ir::*;
use iced_x86::{Code as Ins, Instruction, Register};

impl Emit<'_> {
    /// Up to four bytes to lanes.
    pub(super) fn load_bytes(&mut self, d: V, at: Mem, elem: Elem, lanes: Lanes) -> Emitted {
        let (m, x, low) = (self.mem(at), self.xmm(d), OWN_X.full_register32());
        if matches!(elem, Elem::I8x2 | Elem::U8x2) {
            self.rm(Ins::Movsd_xmm_xmmm64, x, m)?;
            return self.words_of_bytes(d, elem);
        }
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
    /// The first eight bytes of a register to its words.
    fn words_of_bytes(&mut self, d: V, elem: Elem) -> Emitted {
        let (x, own) = (self.xmm(d), self.xmm(OWN));
        if elem == Elem::I8x2 {
            self.rr(Ins::Punpcklbw_xmm_xmmm128, x, x)?;
            return self.ri(Ins::Psraw_xmm_imm8, x, 8);
        }
        self.zero(OWN)?;
        self.rr(Ins::Punpcklbw_xmm_xmmm128, x, own)
    }
    /// The low bytes of lanes, side by side.
    pub(super) fn store_bytes(
        &mut self,
        s: V,
        at: Mem,
        elem: Elem,
        lanes: Lanes,
        tmp: V,
    ) -> Emitted {
        let (m, x, low) = (self.mem(at), self.xmm(tmp), OWN_X.full_register32());
        match elem.is_limited() {
            true => self.op(Op::Move { d: tmp, a: s })?,
            false => self.bin(Bin::And, tmp, s, Src::Const(0xff))?,
        }
        self.rr(Ins::Packssdw_xmm_xmmm128, x, x)?;
        match elem {
            Elem::I8Limited => self.rr(Ins::Packsswb_xmm_xmmm128, x, x)?,
            _ => self.rr(Ins::Packuswb_xmm_xmmm128, x, x)?,
        }
        let n = match lanes {
            Lanes::First(n @ 1..4) => n,
            _ => return self.mr(Ins::Movd_rm32_xmm, m, x),
        };
        self.rr(Ins::Movd_rm32_xmm, low, x)?;
        if n == 1 {
            return self.mr(Ins::Mov_rm8_r8, m, Register::AL);
        }
        self.mr(Ins::Mov_rm16_r16, m, Register::AX)?;
        if n == 3 {
            let third = self.mem(at.plus(2));
            self.ri(Ins::Shr_rm32_imm8, low, 16)?;
            self.mr(Ins::Mov_rm8_r8, third, Register::AL)?;
        }
        Ok(())
    }
    /// The same above SSE2: limited in `tmp`, then stored as they are.
    pub(super) fn store_limited(
        &mut self,
        s: V,
        at: Mem,
        elem: Elem,
        lanes: Lanes,
        tmp: V,
    ) -> Emitted {
        let (elem, lo, hi) = match elem {
            Elem::I8Limited => (Elem::I8, -128i32, 127i32),
            _ => (Elem::U8, 0, 255),
        };
        if self.level == Level::Avx512 {
            // Limited by the store itself, which takes numbers for unsigned where the bytes are.
            let (code, from) = match elem {
                Elem::I8 => (Ins::EVEX_Vpmovsdb_xmmm128_k1z_zmm, s),
                _ => {
                    self.bin(Bin::MaxI, tmp, s, Src::Const(0))?;
                    (Ins::EVEX_Vpmovusdb_xmmm128_k1z_zmm, tmp)
                }
            };
            if let Lanes::First(n) = lanes {
                self.rr(code, self.xmm(tmp), self.v(from))?;
                return self.store_some_bytes(at, n, tmp);
            }
            let m = self.mem(at);
            return self.mr(code, m, self.v(from));
        }
        self.bin(Bin::MaxI, tmp, s, Src::Const(lo as u32))?;
        self.bin(Bin::MinI, tmp, tmp, Src::Const(hi as u32))?;
        let n = match lanes {
            Lanes::All => 8,
            Lanes::First(n) => n,
        };
        self.narrow(tmp, elem, tmp)?;
        self.store_packed(at, elem, n, tmp)
    }
    /// Two vectors of sixteen lanes as 32 bytes.
    fn store_wide_pair(&mut self, a: V, b: V, at: Mem, signed: bool) -> Emitted {
        let (y, z, m) = (self.v(a), self.v(b), self.mem(at));
        let with3 = Instruction::with3::<Register, Register, Register>;
        self.push(with3(Ins::EVEX_Vpackssdw_zmm_k1z_zmm_zmmm512b32, y, y, z)?);
        let pack = match signed {
            true => Ins::EVEX_Vpacksswb_zmm_k1z_zmm_zmmm512,
            false => Ins::EVEX_Vpackuswb_zmm_k1z_zmm_zmmm512,
        };
        self.push(with3(pack, y, y, y)?);
        // Each quarter begins with four bytes of `a` and four of `b`.
        let order: Vec<u8> = (0..16u32)
            .flat_map(|i| (i % 4 * 4 + i / 4 % 2).to_le_bytes())
            .collect();
        let order = self.constant(order);
        self.rm(codes::LOAD.at(Level::Avx512), z, order)?;
        self.push(with3(Ins::EVEX_Vpermd_zmm_k1z_zmm_zmmm512b32, y, z, y)?);
        self.mr(Ins::EVEX_Vmovups_ymmm256_k1z_ymm, m, self.ymm(a))
    }
    /// Two vectors of eight lanes as sixteen bytes; or the second's eight at a place of their own, before the first's.
    pub(super) fn store_pair(
        &mut self,
        a: V,
        b: V,
        at: Mem,
        second: Option<Mem>,
        [signed, mixed]: [bool; 2],
    ) -> Emitted {
        if self.level == Level::Avx512 {
            return self.store_wide_pair(a, b, at, signed);
        }
        let (y, z, x, high) = (self.v(a), self.v(b), self.xmm(a), self.xmm(b));
        let m = self.mem(at);
        let with3 = Instruction::with3::<Register, Register, Register>;
        // Words of both, in halves: a0 b0 a1 b1.
        self.push(with3(Ins::VEX_Vpackssdw_ymm_ymm_ymmm256, y, y, z)?);
        let extract = Ins::VEX_Vextracti128_xmmm128_ymm_imm8;
        if mixed {
            // Halves are bytes 0 1 4 5 and 2 3 6 7 of a and of b: pairs of bytes take turns.
            let pack = match signed {
                true => Ins::VEX_Vpacksswb_ymm_ymm_ymmm256,
                false => Ins::VEX_Vpackuswb_ymm_ymm_ymmm256,
            };
            self.push(with3(pack, y, y, y)?);
            self.push(Instruction::with3(extract, high, y, 1u32)?);
            self.push(with3(Ins::VEX_Vpunpcklwd_xmm_xmm_xmmm128, x, x, high)?);
        } else {
            // Four bytes of a, of b, of a, of b; within sixteen bytes an order is cheaper than across them.
            self.push(Instruction::with3(extract, high, y, 1u32)?);
            let pack = match signed {
                true => Ins::VEX_Vpacksswb_xmm_xmm_xmmm128,
                false => Ins::VEX_Vpackuswb_xmm_xmm_xmmm128,
            };
            self.push(with3(pack, x, x, high)?);
            let order = Ins::VEX_Vpshufd_xmm_xmmm128_imm8;
            self.push(Instruction::with3(order, x, x, 0b11_01_10_00u32)?);
        }
        if let Some(second) = second {
            let second = self.mem(second);
            self.mr(Ins::VEX_Vmovhps_m64_xmm, second, x)?;
            return self.mr(Ins::VEX_Vmovlps_m64_xmm, m, x);
        }
        self.mr(Ins::VEX_Vmovups_xmmm128_xmm, m, x)
    }
    /// Two to four vectors of eight lanes, the bytes of each at a place of its own.
    pub(super) fn store_each(&mut self, v: [V; 4], n: u8, at: [Mem; 4], signed: bool) -> Emitted {
        let [a, b, c, d] = v;
        let (first, second) = (self.xmm(a), self.xmm(b));
        let pack = if signed {
            &codes::PACK_I8
        } else {
            &codes::PACK_U8
        };
        self.both(&codes::PACK_W, a, a, b)?;
        match n {
            2 => self.both(pack, a, a, a)?,
            _ => {
                let last = if n == 3 { c } else { d };
                self.both(&codes::PACK_W, c, c, last)?;
                self.both(pack, a, a, c)?;
            }
        }
        // Halves have four bytes of each: those of a vector come together.
        let extract = Ins::VEX_Vextracti128_xmmm128_ymm_imm8;
        if n == 4 && at.chunks(2).all(|two| two[0].plus(8) == two[1]) {
            return self.store_two_pairs(a, b, [at[0], at[2]]);
        }
        self.push(Instruction::with3(extract, second, self.v(a), 1u32)?);
        let with3 = Instruction::with3::<Register, Register, Register>;
        let (low, high) = (
            Ins::VEX_Vpunpckldq_xmm_xmm_xmmm128,
            Ins::VEX_Vpunpckhdq_xmm_xmm_xmmm128,
        );
        if n > 2 {
            self.push(with3(high, self.xmm(c), first, second)?);
        }
        self.push(with3(low, first, first, second)?);
        for (two, from) in at[..usize::from(n)].chunks(2).zip([first, self.xmm(c)]) {
            let m = self.mem(two[0]);
            match two {
                [one, next] if one.plus(8) == *next => {
                    self.mr(Ins::VEX_Vmovups_xmmm128_xmm, m, from)?;
                }
                [_, next] => {
                    self.mr(Ins::VEX_Vmovlps_m64_xmm, m, from)?;
                    let m = self.mem(*next);
                    self.mr(Ins::VEX_Vmovhps_m64_xmm, m, from)?;
                }
                _ => self.mr(Ins::VEX_Vmovlps_m64_xmm, m, from)?,
            }
        }
        Ok(())
    }
    /// Four bytes of each of four vectors in both halves of `a`: those of the first two at one place, of the others at another. `b` is clobbered.
    fn store_two_pairs(&mut self, a: V, b: V, at: [Mem; 2]) -> Emitted {
        let order: Vec<u8> = (0..8u32)
            .flat_map(|i| (i % 2 * 4 + i / 2).to_le_bytes())
            .collect();
        let (order, y, index) = (self.constant(order), self.v(a), self.v(b));
        self.rm(codes::LOAD.at(Level::Avx2), index, order)?;
        let with3 = Instruction::with3::<Register, Register, Register>;
        self.push(with3(Ins::VEX_Vpermd_ymm_ymm_ymmm256, y, index, y)?);
        let [first, second] = at.map(|at| self.mem(at));
        self.mr(Ins::VEX_Vmovups_xmmm128_xmm, first, self.xmm(a))?;
        let extract = Ins::VEX_Vextracti128_xmmm128_ymm_imm8;
        self.push(Instruction::with3(extract, second, y, 1u32)?);
        Ok(())
    }
}
