//! Quarters of vectors: loads, transposition, and what pairs within them.

use super::codes::{self, Row};
use super::{Emit, Emitted};
use crate::vector::ir::*;
use iced_x86::{Code as Ins, Instruction};

/// Which pair of lanes of each operand.
const FIRST: u32 = 0x44;
const SECOND: u32 = 0xee;

impl Emit<'_> {
    /// An operation on quarters.
    pub(super) fn quads(&mut self, op: Op) -> Emitted {
        match op {
            Op::LoadQuad {
                d,
                at,
                part,
                elem,
                tmp,
            } => match elem {
                Elem::W32 => self.load_quad(d, at, part),
                _ => self.load_quad_of_bytes(d, at, part, elem, tmp),
            },
            Op::SplatReal { d, at } => {
                let code = match self.level {
                    Level::Avx512 => Ins::EVEX_Vpbroadcastq_zmm_k1z_xmmm64,
                    _ => Ins::VEX_Vpbroadcastq_ymm_xmmm64,
                };
                let m = self.mem(at);
                self.rm(code, self.v(d), m)
            }
            Op::StoreQuad { s, at, part } => self.store_quad(s, at, part),
            Op::PackBytes { v, signed } => self.pack_bytes(v, signed),
            Op::Transpose { v, tmp } => self.transpose(v, tmp),
            Op::PairWords { lo, a, b } => {
                self.both(&codes::UNPACK_LO_W, lo, a, b)?;
                self.both(&codes::UNPACK_HI_W, a, a, b)
            }
            Op::PickBytes { d, at, order } => {
                let (m, d, order) = (self.mem(at), self.v(d), self.v(order));
                self.rm(Ins::VEX_Vbroadcasti128_ymm_m128, d, m)?;
                let shuffle = Ins::VEX_Vpshufb_ymm_ymm_ymmm256;
                self.push(Instruction::with3(shuffle, d, d, order)?);
                Ok(())
            }
            Op::PairBytes { d, a, b } => {
                let (a, d, b) = (self.src(a), self.v(d), self.v(b));
                self.three(Ins::VEX_Vpmaddubsw_ymm_ymm_ymmm256, d, b, a, None)
            }
            _ => Ok(()),
        }
    }
    /// `d = a op b`; at SSE2 `d` is not `b`, unless it is `a` as well.
    pub(super) fn both(&mut self, row: &Row, d: V, a: V, b: V) -> Emitted {
        let code = row.at(self.level);
        if self.level == Level::Sse2 {
            self.op(Op::Move { d, a })?;
            return self.rr(code, self.v(d), self.v(b));
        }
        let (d, a, b) = (self.v(d), self.v(a), self.v(b));
        self.push(Instruction::with3(code, d, a, b)?);
        Ok(())
    }
    fn load_quad(&mut self, d: V, at: Mem, part: u8) -> Emitted {
        let m = self.mem(at);
        match (self.level, part) {
            (Level::Avx2, 0) => self.rm(Ins::VEX_Vmovups_xmm_xmmm128, self.xmm(d), m),
            // Registers from 16 on have no shorter form.
            (Level::Avx512, 0) => self.rm(Ins::EVEX_Vbroadcastf32x4_zmm_k1z_m128, self.v(d), m),
            (Level::Avx2, _) => {
                let (code, d) = (Ins::VEX_Vinsertf128_ymm_ymm_xmmm128_imm8, self.v(d));
                self.push(Instruction::with4(code, d, d, m, u32::from(part))?);
                Ok(())
            }
            (Level::Avx512, _) => {
                let code = Ins::EVEX_Vinsertf32x4_zmm_k1z_zmm_xmmm128_imm8;
                let d = self.v(d);
                self.push(Instruction::with4(code, d, d, m, u32::from(part))?);
                Ok(())
            }
            (level, _) => self.rm(codes::LOAD.at(level), self.v(d), m),
        }
    }
    fn store_quad(&mut self, s: V, at: Mem, part: u8) -> Emitted {
        let (m, x, s) = (self.mem(at), self.xmm(s), self.v(s));
        let code = match (self.level, part) {
            (Level::Sse2, _) => return self.mr(codes::STORE.at(Level::Sse2), m, s),
            (Level::Avx2, 0) => {
                return self.mr(Ins::VEX_Vmovups_xmmm128_xmm, m, x);
            }
            (Level::Avx512, _) => Ins::EVEX_Vextracti32x4_xmmm128_k1z_zmm_imm8,
            _ => Ins::VEX_Vextracti128_xmmm128_ymm_imm8,
        };
        self.push(Instruction::with3(code, m, s, u32::from(part))?);
        Ok(())
    }
    fn pack_bytes(&mut self, v: [V; 4], signed: bool) -> Emitted {
        let [a, b, c, d] = v;
        self.both(&codes::PACK_W, a, a, b)?;
        self.both(&codes::PACK_W, c, c, d)?;
        let bytes = match signed {
            true => &codes::PACK_I8,
            false => &codes::PACK_U8,
        };
        self.both(bytes, a, a, c)?;
        // A quarter holds four bytes of each vector now.
        let order = (0..16u8).map(|i| i % 4 * 4 + i / 4);
        let order: Vec<u8> = order.cycle().take(4 * self.p.isa.lanes).collect();
        let (m, a) = (self.constant(order), self.v(a));
        let code = codes::PICK.at(self.level);
        self.push(Instruction::with3(code, a, a, m)?);
        Ok(())
    }
    fn load_quad_of_bytes(&mut self, d: V, at: Mem, part: u8, elem: Elem, tmp: V) -> Emitted {
        let m = self.mem(at);
        let signed = matches!(elem, Elem::I8 | Elem::I8x2);
        let pairs = matches!(elem, Elem::I8x2 | Elem::U8x2);
        if self.level == Level::Avx512 {
            let code = match (signed, pairs) {
                (true, false) => Ins::EVEX_Vpmovsxbd_xmm_k1z_xmmm32,
                (false, false) => Ins::EVEX_Vpmovzxbd_xmm_k1z_xmmm32,
                (true, true) => Ins::EVEX_Vpmovsxbw_xmm_k1z_xmmm64,
                (false, true) => Ins::EVEX_Vpmovzxbw_xmm_k1z_xmmm64,
            };
            if part == 0 {
                return self.rm(code, self.xmm(d), m);
            }
            self.rm(code, self.xmm(tmp), m)?;
            let code = Ins::EVEX_Vinsertf32x4_zmm_k1z_zmm_xmmm128_imm8;
            let (d, x) = (self.v(d), self.xmm(tmp));
            self.push(Instruction::with4(code, d, d, x, u32::from(part))?);
            return Ok(());
        }
        let code = match (signed, pairs) {
            (true, false) => Ins::VEX_Vpmovsxbd_xmm_xmmm32,
            (false, false) => Ins::VEX_Vpmovzxbd_xmm_xmmm32,
            (true, true) => Ins::VEX_Vpmovsxbw_xmm_xmmm64,
            (false, true) => Ins::VEX_Vpmovzxbw_xmm_xmmm64,
        };
        if part == 0 {
            return self.rm(code, self.xmm(d), m);
        }
        self.rm(code, self.xmm(tmp), m)?;
        let (code, d, x) = (
            Ins::VEX_Vinserti128_ymm_ymm_xmmm128_imm8,
            self.v(d),
            self.xmm(tmp),
        );
        self.push(Instruction::with4(code, d, d, x, u32::from(part))?);
        Ok(())
    }
    fn transpose(&mut self, v: [V; 4], tmp: [V; 2]) -> Emitted {
        use codes::{UNPACK_HI, UNPACK_LO};
        let [a, b, c, d] = v;
        let [t, u] = tmp;
        self.both(&UNPACK_LO, t, a, b)?;
        self.both(&UNPACK_HI, u, a, b)?;
        self.both(&UNPACK_LO, a, c, d)?;
        self.both(&UNPACK_HI, c, c, d)?;
        // Pairs of lanes: the first of both, and the second of both.
        self.pairs(b, t, a, SECOND)?;
        self.pairs(d, u, c, SECOND)?;
        if self.level == Level::Sse2 {
            // What is overwritten is the first operand.
            self.pairs(t, t, a, FIRST)?;
            self.pairs(u, u, c, FIRST)?;
            self.op(Op::Move { d: a, a: t })?;
            return self.op(Op::Move { d: c, a: u });
        }
        self.pairs(a, t, a, FIRST)?;
        self.pairs(c, u, c, FIRST)
    }
    /// A pair of lanes of `a`, then one of `b`, in each quarter. This shuffle has two ports where that of 64-bit lanes has one.
    fn pairs(&mut self, d: V, a: V, b: V, which: u32) -> Emitted {
        let code = codes::SHUFFLE.at(self.level);
        if self.level == Level::Sse2 {
            self.op(Op::Move { d, a })?;
            self.push(Instruction::with3(code, self.v(d), self.v(b), which)?);
            return Ok(());
        }
        let (d, a, b) = (self.v(d), self.v(a), self.v(b));
        self.push(Instruction::with4(code, d, a, b, which)?);
        Ok(())
    }
}
