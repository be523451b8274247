//! Loads and stores: whole vectors, some lanes, and elements of other sizes. What is not named is not touched.

use super::{Emit, OWN, SHARED, Sum};
use crate::aarch64::inst::{self, Inst, Width};
use crate::aarch64::simd::{V2, V3, VImm, VShift};
use crate::vector::ir::*;

/// Whether a load or store of so many bytes can say an offset.
fn reaches(bytes: i64) -> impl Fn(i64) -> bool {
    move |at| (-256..256).contains(&at) || at >= 0 && at % bytes == 0 && at / bytes < 4096
}

fn width(bytes: i32) -> Option<Width> {
    [Width::B, Width::H, Width::S, Width::D, Width::Q]
        .into_iter()
        .find(|w| w.bytes() as i32 == bytes)
}

impl Emit<'_> {
    fn sum(&self, m: Mem) -> Sum {
        let index = m.index.map(|(i, shift)| (self.x(i), shift));
        (self.x(m.base), index, m.disp.into())
    }
    /// A register and an offset that `fits`, for an address.
    fn reach(&mut self, (base, index, disp): Sum, fits: impl Fn(i64) -> bool) -> (inst::X, i64) {
        if index.is_none() && fits(disp) {
            return (base, disp);
        }
        // As much as possible is left to the instruction, so that neighbours share the rest.
        let page = disp & !0xfff;
        let rest = if fits(disp) {
            disp
        } else if fits(disp - page) {
            disp - page
        } else {
            0
        };
        let wanted: Sum = (base, index, disp - rest);
        if let Some(n) = self.sums.iter().position(|s| *s == Some(wanted)) {
            return (SHARED[n], rest);
        }
        let n = self.next_sum;
        self.next_sum = (n + 1) % SHARED.len();
        let d = SHARED[n];
        match index {
            Some((m, lsl)) => {
                self.put(Inst::Add { d, n: base, m, lsl });
                self.add_imm(d, d, wanted.2);
            }
            None => self.add_imm(d, base, wanted.2),
        }
        self.sums[n] = Some(wanted);
        (d, rest)
    }
    /// Whether an index register can be named by the instruction itself.
    fn indexed(sum: Sum, w: Width) -> Option<(inst::X, inst::X, bool)> {
        let (n, Some((m, shift)), 0) = sum else {
            return None;
        };
        match shift {
            0 => Some((n, m, false)),
            s if 1 << s == w.bytes() => Some((n, m, true)),
            _ => None,
        }
    }
    pub(super) fn load_at(&mut self, w: Width, t: inst::V, sum: Sum) {
        if let Some((n, m, scaled)) = Self::indexed(sum, w) {
            return self.put(Inst::LdrIndex { w, t, n, m, scaled });
        }
        let bytes = i64::from(w.bytes());
        let (n, at) = self.reach(sum, reaches(bytes));
        self.put(if at >= 0 && at % bytes == 0 {
            let offset = at as u32;
            Inst::Ldr { w, t, n, offset }
        } else {
            let offset = at as i32;
            Inst::Ldur { w, t, n, offset }
        });
    }
    pub(super) fn store_at(&mut self, w: Width, t: inst::V, sum: Sum) {
        if let Some((n, m, scaled)) = Self::indexed(sum, w) {
            return self.put(Inst::StrIndex { w, t, n, m, scaled });
        }
        let bytes = i64::from(w.bytes());
        let (n, at) = self.reach(sum, reaches(bytes));
        self.put(if at >= 0 && at % bytes == 0 {
            let offset = at as u32;
            Inst::Str { w, t, n, offset }
        } else {
            let offset = at as i32;
            Inst::Stur { w, t, n, offset }
        });
    }
    pub(super) fn load_x(&mut self, d: X, m: Mem) {
        let t = self.x(d);
        let sum = self.sum(m);
        // A general register of 8 bytes is addressed like a vector register of 8.
        if let Some((n, m, scaled)) = Self::indexed(sum, Width::D) {
            return self.put(Inst::LdrXIndex { t, n, m, scaled });
        }
        let (n, at) = self.reach(sum, reaches(8));
        self.put(if at >= 0 && at % 8 == 0 {
            let offset = at as u32;
            Inst::LdrX { t, n, offset }
        } else {
            let offset = at as i32;
            Inst::LdurX { t, n, offset }
        });
    }
    /// One byte or two, without sign.
    pub(super) fn load_small(&mut self, d: X, m: Mem, bytes: u8) {
        let (t, size) = (self.x(d), i64::from(bytes));
        let fits = |at: i64| at >= 0 && at % size == 0 && at / size < 4096;
        let (n, at) = self.reach(self.sum(m), fits);
        let offset = at as u32;
        self.put(match bytes {
            1 => Inst::LdrbX { t, n, offset },
            _ => Inst::LdrhX { t, n, offset },
        });
    }
    pub(super) fn prefetch(&mut self, m: Mem) {
        let (n, at) = self.reach(self.sum(m), reaches(8));
        self.put(if at >= 0 && at % 8 == 0 {
            let offset = at as u32;
            Inst::Prfm { n, offset }
        } else {
            let offset = at as i32;
            Inst::Prfum { n, offset }
        });
    }
    pub(super) fn splat(&mut self, d: V, m: Mem) {
        // The load that spreads takes no offset.
        let (n, _) = self.reach(self.sum(m), |at| at == 0);
        let t = self.v(d);
        self.put(Inst::Ld1RS { t, n });
    }
    fn count(&mut self, lanes: Lanes) -> i32 {
        match lanes {
            Lanes::All => 4,
            Lanes::First(n @ 1..=4) => n.into(),
            Lanes::First(_) => {
                self.wrong("a kernel loads or stores lanes that a vector does not have");
                1
            }
        }
    }
    pub(super) fn load(&mut self, d: V, m: Mem, elem: Elem, lanes: Lanes) {
        let (d, n, size) = (self.v(d), self.count(lanes), elem.bytes());
        let at = self.sum(m);
        match width(n * size) {
            Some(w) => self.load_at(w, d, at),
            None => {
                // Three: two, and one beside them.
                let (Some(one), Some(two)) = (width(size), width(2 * size)) else {
                    return self.wrong("an element of unknown size");
                };
                let t = self.own();
                self.load_at(two, d, at);
                self.load_at(one, t, (at.0, at.1, at.2 + i64::from(2 * size)));
                if two == Width::D {
                    self.v3(V3::Zip1D, d, d, t);
                } else {
                    self.put(Inst::Ins {
                        w: two,
                        d,
                        lane: 1,
                        n: t,
                    });
                }
            }
        }
        match elem {
            Elem::W32 => {}
            Elem::F16 => self.v2(V2::FCvtl, d, d),
            Elem::BF16 => self.v2(V2::ShllH, d, d),
            Elem::U16 => self.v2(V2::UxtlH, d, d),
            Elem::I16 => self.v2(V2::SxtlH, d, d),
            Elem::I8x2 => self.v2(V2::SxtlB, d, d),
            Elem::U8x2 => self.v2(V2::UxtlB, d, d),
            // Stores alone have them; refused before.
            Elem::U8Limited | Elem::I8Limited => {}
            Elem::U8 => {
                self.v2(V2::UxtlB, d, d);
                self.v2(V2::UxtlH, d, d);
            }
            Elem::I8 => {
                self.v2(V2::SxtlB, d, d);
                self.v2(V2::SxtlH, d, d);
            }
        }
    }
    pub(super) fn store(&mut self, s: V, m: Mem, elem: Elem, lanes: Lanes, tmp: V) {
        let (s, t, n, size) = (self.v(s), self.v(tmp), self.count(lanes), elem.bytes());
        if elem != Elem::W32 && s == t {
            self.wrong("a store's second register is its first");
        }
        let from = match elem {
            // The last are for loads alone; refused before.
            Elem::W32 | Elem::I8x2 | Elem::U8x2 => s,
            Elem::U8Limited => {
                self.v2(V2::SqxtnH, t, s);
                self.v2(V2::SqxtunB, t, t);
                t
            }
            Elem::I8Limited => {
                self.v2(V2::SqxtnH, t, s);
                self.v2(V2::SqxtnB, t, t);
                t
            }
            Elem::F16 => {
                self.v2(V2::FCvtn, t, s);
                t
            }
            Elem::BF16 => {
                self.round_to_bf16(s, t);
                t
            }
            Elem::U16 | Elem::I16 => {
                self.v2(V2::XtnH, t, s);
                t
            }
            Elem::U8 | Elem::I8 => {
                self.v2(V2::XtnH, t, s);
                self.v2(V2::XtnB, t, t);
                t
            }
        };
        let at = self.sum(m);
        if let Some(w) = width(n * size) {
            return self.store_at(w, from, at);
        }
        let (Some(one), Some(two)) = (width(size), width(2 * size)) else {
            return self.wrong("an element of unknown size");
        };
        let third = self.own();
        self.put(Inst::MovLane {
            w: two,
            d: third,
            n: from,
            lane: 1,
        });
        self.store_at(two, from, at);
        self.store_at(one, third, (at.0, at.1, at.2 + i64::from(2 * size)));
    }
    /// Lanes of two vectors as eight bytes that are limited to what they hold.
    pub(super) fn store_pair(&mut self, [a, b]: [V; 2], m: Mem, signed: bool) {
        let (a, b) = (self.v(a), self.v(b));
        self.v2(V2::SqxtnH, a, a);
        self.v2(V2::Sqxtn2H, a, b);
        self.v2(if signed { V2::SqxtnB } else { V2::SqxtunB }, a, a);
        let at = self.sum(m);
        self.store_at(Width::D, a, at);
    }
    /// The upper halves of lanes, rounded half to even, side by side in `t`; NaN stays NaN.
    fn round_to_bf16(&mut self, s: inst::V, t: inst::V) {
        let [a, b] = OWN;
        // Half of the last place, and one more where that place is odd: an even one is kept by a tie.
        self.put(Inst::VShift {
            op: VShift::Ushr,
            d: t,
            n: s,
            by: 16,
        });
        self.put(Inst::VImm {
            op: VImm::Movi(0),
            d: a,
            imm: 1,
        });
        self.v3(V3::And, t, t, a);
        self.put(Inst::VImm {
            op: VImm::MoviOnes(8),
            d: b,
            imm: 0x7f,
        });
        self.v3(V3::Add, t, t, s);
        self.v3(V3::Add, t, t, b);
        // NaN by its upper half, made quiet.
        self.v3(V3::FCmEq, a, s, s);
        self.v3(V3::Orr, b, s, s);
        self.put(Inst::VImm {
            op: VImm::Orr(16),
            d: b,
            imm: 0x40,
        });
        self.v3(V3::Bif, t, b, a);
        self.v2(V2::ShrnH, t, t);
    }
}
