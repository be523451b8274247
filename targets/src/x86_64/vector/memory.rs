//! Loads and stores: whole vectors, some lanes, and elements of other sizes. What is not named is not touched.

use super::{Emit, Emitted, OWN as OWN_X, codes};
use crate::vector::ir::*;
use iced_x86::{Code as Ins, Instruction, Register};

/// The assembler's own vector register at SSE2.
const OWN: V = V(15);

impl Emit<'_> {
    /// All lanes, however they are said.
    fn whole(&self, lanes: Lanes) -> Lanes {
        match lanes {
            Lanes::First(n) if usize::from(n) == self.p.isa.lanes => Lanes::All,
            other => other,
        }
    }
    pub(super) fn load(&mut self, d: V, at: Mem, elem: Elem, lanes: Lanes) -> Emitted {
        let (m, lanes) = (self.mem(at), self.whole(lanes));
        if self.level == Level::Sse2 && elem != Elem::W32 {
            return self.load_bytes(d, at, elem, lanes);
        }
        match (elem, lanes) {
            (Elem::W32, Lanes::All) => self.rm(codes::LOAD.at(self.level), self.v(d), m),
            (Elem::W32, Lanes::First(n)) => self.load_some(d, at, n),
            (_, Lanes::All) => {
                self.widen(d, elem, Some(m))?;
                self.widen_shift(d, elem)
            }
            (_, Lanes::First(8)) if self.level == Level::Avx512 && elem.bytes() == 1 => {
                // Sixteen bytes under a mask would wait for a store to the eight behind.
                let code = match elem {
                    Elem::I8 => Ins::EVEX_Vpmovsxbd_ymm_k1z_xmmm64,
                    _ => Ins::EVEX_Vpmovzxbd_ymm_k1z_xmmm64,
                };
                self.rm(code, self.ymm(d), m)
            }
            (_, Lanes::First(n)) if self.level == Level::Avx512 => {
                self.mask(n)?;
                self.widen(d, elem, Some(m))?;
                self.masked(true);
                self.widen_shift(d, elem)
            }
            (_, Lanes::First(n)) => {
                // Piece by piece into the low half, then widened in place.
                self.load_packed(d, at, i32::from(n) * elem.bytes())?;
                self.widen(d, elem, None)?;
                self.widen_shift(d, elem)
            }
        }
    }
    /// So many bytes, fewer than 16, to the start of a register; the rest of it is 0.
    fn load_packed(&mut self, d: V, at: Mem, total: i32) -> Emitted {
        let x = self.xmm(d);
        let m = self.mem(at);
        let mut done = match total {
            8.. => {
                self.rm(Ins::VEX_Vmovq_xmm_xmmm64, x, m)?;
                8
            }
            4.. => {
                self.rm(Ins::VEX_Vmovd_xmm_rm32, x, m)?;
                4
            }
            _ => {
                self.zero(d)?;
                0
            }
        };
        while done < total {
            let m = self.mem(at.plus(done));
            let (size, code) = match total - done {
                4.. => (4, Ins::VEX_Vpinsrd_xmm_xmm_rm32_imm8),
                2.. => (2, Ins::VEX_Vpinsrw_xmm_xmm_r32m16_imm8),
                _ => (1, Ins::VEX_Vpinsrb_xmm_xmm_r32m8_imm8),
            };
            self.push(Instruction::with4(code, x, x, m, (done / size) as u32)?);
            done += size;
        }
        Ok(())
    }
    /// Elements of 8 or 16 bits to lanes, from memory or from the register's own low part.
    fn widen(&mut self, d: V, elem: Elem, from: Option<iced_x86::MemoryOperand>) -> Emitted {
        let code = match elem {
            Elem::W32 => codes::LOAD,
            Elem::F16 => codes::F16_LOAD,
            Elem::BF16 | Elem::U16 => codes::ZX_W,
            Elem::U8 => codes::ZX_B,
            Elem::I8 => codes::SX_B,
            Elem::I16 => codes::SX_W,
            Elem::I8x2 => codes::SX_BW,
            Elem::U8x2 => codes::ZX_BW,
            // Stores alone have them; refused before.
            Elem::U8Limited | Elem::I8Limited => codes::ZX_B,
        }
        .at(self.level);
        match from {
            Some(m) => self.rm(code, self.v(d), m),
            None => self.rr(code, self.v(d), self.xmm(d)),
        }
    }
    /// What is left of [`Emit::widen`], after a mask went onto the load.
    fn widen_shift(&mut self, d: V, elem: Elem) -> Emitted {
        match elem {
            Elem::BF16 => self.op(Op::Shift {
                op: Shift::Left,
                d,
                a: d,
                by: 16,
            }),
            _ => Ok(()),
        }
    }
    fn load_some(&mut self, d: V, at: Mem, n: u8) -> Emitted {
        let m = self.mem(at);
        match (self.level, n) {
            (Level::Avx512, 4) => self.rm(Ins::EVEX_Vmovups_xmm_k1z_xmmm128, self.xmm(d), m),
            (Level::Avx512, 8) => self.rm(Ins::EVEX_Vmovups_ymm_k1z_ymmm256, self.ymm(d), m),
            (Level::Avx512, _) => {
                self.mask(n)?;
                self.rm(codes::LOAD.at(self.level), self.v(d), m)?;
                self.masked(true);
                Ok(())
            }
            (level, 1) => self.rm(codes::LOAD_1.at(level), self.xmm(d), m),
            (level, 2) => self.rm(codes::LOAD_2.at(level), self.xmm(d), m),
            (Level::Sse2, _) => {
                let third = self.mem(at.plus(8));
                self.rm(Ins::Movss_xmm_xmmm32, self.xmm(OWN), third)?;
                self.rm(Ins::Movsd_xmm_xmmm64, self.xmm(d), m)?;
                self.rr(Ins::Movlhps_xmm_xmm, self.xmm(d), self.xmm(OWN))
            }
            (_, 4) => self.rm(Ins::VEX_Vmovups_xmm_xmmm128, self.xmm(d), m),
            (_, n) => {
                // The mask goes where the lanes will be.
                let mask = self.lane_mask(n);
                self.rm(codes::LOAD.at(self.level), self.v(d), mask)?;
                self.push(Instruction::with3(
                    Ins::VEX_Vmaskmovps_ymm_ymm_m256,
                    self.v(d),
                    self.v(d),
                    m,
                )?);
                Ok(())
            }
        }
    }
    pub(super) fn store(&mut self, s: V, at: Mem, elem: Elem, lanes: Lanes, tmp: V) -> Emitted {
        let (m, lanes) = (self.mem(at), self.whole(lanes));
        if self.level == Level::Sse2 && elem != Elem::W32 {
            return self.store_bytes(s, at, elem, lanes, tmp);
        }
        if elem.is_limited() {
            return self.store_limited(s, at, elem, lanes, tmp);
        }
        match (elem, lanes, self.level) {
            (Elem::W32, Lanes::All, level) => self.mr(codes::STORE.at(level), m, self.v(s)),
            (Elem::W32, Lanes::First(n), _) => self.store_some(s, at, n, tmp),
            (_, Lanes::First(n), Level::Avx512) if elem.bytes() == 1 => {
                self.rr(Ins::EVEX_Vpmovdb_xmmm128_k1z_zmm, self.xmm(tmp), self.v(s))?;
                self.store_some_bytes(at, n, tmp)
            }
            (_, _, Level::Avx512) => {
                if let Lanes::First(n) = lanes {
                    self.mask(n)?;
                }
                let i = match elem {
                    Elem::F16 => {
                        Instruction::with3(codes::F16_STORE.at(Level::Avx512), m, self.v(s), 0)?
                    }
                    _ if elem.bytes() == 1 => {
                        Instruction::with2(Ins::EVEX_Vpmovdb_xmmm128_k1z_zmm, m, self.v(s))?
                    }
                    _ => Instruction::with2(Ins::EVEX_Vpmovdw_ymmm256_k1z_zmm, m, self.v(s))?,
                };
                self.push(i);
                if lanes != Lanes::All {
                    self.masked(false);
                }
                Ok(())
            }
            (Elem::F16, Lanes::All, level) => {
                self.push(Instruction::with3(
                    codes::F16_STORE.at(level),
                    m,
                    self.v(s),
                    0,
                )?);
                Ok(())
            }
            (_, _, level) => {
                let n = match lanes {
                    Lanes::All => 8,
                    Lanes::First(n) => n,
                };
                if elem == Elem::F16 {
                    self.push(Instruction::with3(
                        codes::F16_STORE.at(level),
                        self.xmm(tmp),
                        self.v(s),
                        0,
                    )?);
                } else {
                    self.narrow(s, elem, tmp)?;
                }
                self.store_packed(at, elem, n, tmp)
            }
        }
    }
    /// The low parts of eight lanes side by side at the start of `tmp`.
    pub(super) fn narrow(&mut self, s: V, elem: Elem, tmp: V) -> Emitted {
        // Within each half the parts move to the front; then the halves' first quarters come together.
        let bytes = elem.bytes() as u8;
        let mut pattern = [0x80u8; 32];
        for half in 0..2usize {
            for lane in 0..4u8 {
                for b in 0..bytes {
                    pattern[half * 16 + usize::from(lane * bytes + b)] = lane * 4 + b;
                }
            }
        }
        let pattern = self.constant(pattern.to_vec());
        self.push(Instruction::with3(
            Ins::VEX_Vpshufb_ymm_ymm_ymmm256,
            self.v(tmp),
            self.v(s),
            pattern,
        )?);
        if bytes == 2 {
            self.push(Instruction::with3(
                Ins::VEX_Vpermq_ymm_ymmm256_imm8,
                self.v(tmp),
                self.v(tmp),
                0b1000,
            )?);
            return Ok(());
        }
        // The first dword of each half.
        self.push(Instruction::with3(
            Ins::VEX_Vpermq_ymm_ymmm256_imm8,
            self.v(tmp),
            self.v(tmp),
            0b1000,
        )?);
        self.push(Instruction::with3(
            Ins::VEX_Vpshufd_xmm_xmmm128_imm8,
            self.xmm(tmp),
            self.xmm(tmp),
            0b1000,
        )?);
        Ok(())
    }
    /// The first `n` elements of a register where they lie side by side.
    pub(super) fn store_packed(&mut self, at: Mem, elem: Elem, n: u8, from: V) -> Emitted {
        let total = i32::from(n) * elem.bytes();
        let x = self.xmm(from);
        if total == 16 {
            let m = self.mem(at);
            return self.mr(Ins::VEX_Vmovups_xmmm128_xmm, m, x);
        }
        let mut done = 0;
        if total >= 8 {
            let m = self.mem(at);
            self.mr(Ins::VEX_Vmovlps_m64_xmm, m, x)?;
            done = 8;
        }
        while done < total {
            let m = self.mem(at.plus(done));
            let (size, code) = match total - done {
                4.. => (4, Ins::VEX_Vextractps_rm32_xmm_imm8),
                2.. => (2, Ins::VEX_Vpextrw_r32m16_xmm_imm8),
                _ => (1, Ins::VEX_Vpextrb_r32m8_xmm_imm8),
            };
            match done {
                0 if size == 4 => self.mr(codes::STORE_1.at(self.level), m, x)?,
                _ => {
                    self.push(Instruction::with3(code, m, x, (done / size) as u32)?);
                }
            }
            done += size;
        }
        Ok(())
    }
    /// The first bytes of a register, any of them, piece by piece: a load of what lies behind need not wait, as it would for a store under a mask.
    pub(super) fn store_some_bytes(&mut self, at: Mem, n: u8, from: V) -> Emitted {
        let (x, low) = (self.xmm(from), OWN_X.full_register32());
        let mut done = 0;
        if n >= 8 {
            let m = self.mem(at);
            self.mr(Ins::EVEX_Vmovlps_m64_xmm, m, x)?;
            done = 8;
        }
        let lane = Ins::EVEX_Vextractps_rm32_xmm_imm8;
        if n - done >= 4 {
            let m = self.mem(at.plus(i32::from(done)));
            self.push(Instruction::with3(lane, m, x, u32::from(done / 4))?);
            done += 4;
        }
        if done == n {
            return Ok(());
        }
        self.push(Instruction::with3(lane, low, x, u32::from(done / 4))?);
        if n - done >= 2 {
            let m = self.mem(at.plus(i32::from(done)));
            self.mr(Ins::Mov_rm16_r16, m, Register::AX)?;
            done += 2;
            if done < n {
                self.ri(Ins::Shr_rm32_imm8, low, 16)?;
            }
        }
        if done < n {
            let m = self.mem(at.plus(i32::from(done)));
            self.mr(Ins::Mov_rm8_r8, m, Register::AL)?;
        }
        Ok(())
    }
    fn store_some(&mut self, s: V, at: Mem, n: u8, tmp: V) -> Emitted {
        let m = self.mem(at);
        match (self.level, n) {
            // A load that follows waits until masked stores are done.
            (Level::Avx512, 4) => self.mr(Ins::EVEX_Vmovups_xmmm128_k1z_xmm, m, self.xmm(s)),
            (Level::Avx512, 8) => self.mr(Ins::EVEX_Vmovups_ymmm256_k1z_ymm, m, self.ymm(s)),
            (Level::Avx512, _) => {
                self.mask(n)?;
                self.mr(codes::STORE.at(self.level), m, self.v(s))?;
                self.masked(false);
                Ok(())
            }
            (level, 1) => self.mr(codes::STORE_1.at(level), m, self.xmm(s)),
            (level, 2) => self.mr(codes::STORE_2.at(level), m, self.xmm(s)),
            (Level::Sse2, _) => {
                let third = self.mem(at.plus(8));
                self.mr(Ins::Movlps_m64_xmm, m, self.xmm(s))?;
                self.rr(Ins::Movhlps_xmm_xmm, self.xmm(OWN), self.xmm(s))?;
                self.mr(Ins::Movss_xmmm32_xmm, third, self.xmm(OWN))
            }
            (_, 4) => self.mr(Ins::VEX_Vmovups_xmmm128_xmm, m, self.xmm(s)),
            (_, n) => self.store_pieces(s, at, n, tmp),
        }
    }
    /// Three lanes, or five to seven of AVX2, piece by piece: stores under a mask take a dozen cycles on CPUs of AMD.
    fn store_pieces(&mut self, s: V, at: Mem, n: u8, tmp: V) -> Emitted {
        let (mut x, mut done) = (self.xmm(s), 0);
        if n > 4 {
            let m = self.mem(at);
            self.mr(Ins::VEX_Vmovups_xmmm128_xmm, m, x)?;
            let high = Ins::VEX_Vextractf128_xmmm128_ymm_imm8;
            self.push(Instruction::with3(high, self.xmm(tmp), self.ymm(s), 1u32)?);
            (x, done) = (self.xmm(tmp), 4);
        }
        let left = n - done;
        let m = self.mem(at.plus(i32::from(done) * 4));
        if left == 1 {
            return self.mr(codes::STORE_1.at(self.level), m, x);
        }
        self.mr(codes::STORE_2.at(self.level), m, x)?;
        if left == 3 {
            let m = self.mem(at.plus(i32::from(done + 2) * 4));
            let third = Ins::VEX_Vextractps_rm32_xmm_imm8;
            self.push(Instruction::with3(third, m, x, 2u32)?);
        }
        Ok(())
    }
    /// All ones in the first `n` of eight lanes.
    fn lane_mask(&mut self, n: u8) -> iced_x86::MemoryOperand {
        let bytes = (0..8u8).flat_map(|l| [if l < n { 0xff } else { 0 }; 4]);
        self.constant(bytes.collect())
    }
    /// The first `n` lanes into k1.
    pub(super) fn mask(&mut self, n: u8) -> Emitted {
        let bits = (1i64 << n) - 1;
        self.ri(Ins::Mov_r32_imm32, OWN_X.full_register32(), bits as i32)?;
        self.rr(Ins::VEX_Kmovw_kr_r32, Register::K1, OWN_X.full_register32())
    }
    /// Puts k1 onto the last instruction; loads clear what it leaves out.
    pub(super) fn masked(&mut self, zeroing: bool) {
        if let Some(i) = self.list.last_mut() {
            i.set_op_mask(Register::K1);
            i.set_zeroing_masking(zeroing);
        }
    }
}
