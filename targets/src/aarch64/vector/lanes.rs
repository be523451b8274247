//! Operations between vector registers.

use super::{Emit, OWN};
use crate::aarch64::inst::{self, Inst, Width};
use crate::aarch64::simd::{V2, V3, VImm, VLong, VShift};
use crate::vector::ir::*;

impl Emit<'_> {
    /// These bits in every lane.
    fn constant(&mut self, d: inst::V, bits: u32) {
        if bits == 0 {
            return self.put(Inst::Zero { d });
        }
        if let Some((op, imm)) = VImm::of(bits) {
            return self.put(Inst::VImm { op, d, imm });
        }
        let lane = bits.to_le_bytes();
        let bytes = std::array::from_fn(|i| lane[i % 4]);
        let by = self.asm.constant(bytes) as i64;
        self.put(Inst::LdrLit { t: d, by });
    }
    /// A second operand in a register, maybe an own one.
    fn src(&mut self, b: Src) -> inst::V {
        match b {
            Src::Reg(v) => self.v(v),
            Src::Const(bits) => {
                if let Some(n) = self.known.iter().position(|k| *k == Some(bits)) {
                    self.next_own = 1 - n;
                    return OWN[n];
                }
                let d = self.own();
                self.constant(d, bits);
                // The register after the next is the one just filled.
                self.known[1 - self.next_own] = Some(bits);
                d
            }
            Src::Mem(m) | Src::Splat(m) => {
                let t = self.own();
                let at = (
                    self.x(m.base),
                    m.index.map(|(i, shift)| (self.x(i), shift)),
                    m.disp.into(),
                );
                self.load_at(Width::Q, t, at);
                t
            }
        }
    }
    fn mov(&mut self, d: inst::V, n: inst::V) {
        if d != n {
            self.v3(V3::Orr, d, n, n);
        }
    }
    pub(super) fn vector_op(&mut self, op: Op) {
        match op {
            Op::Zero { d } => {
                let d = self.v(d);
                self.constant(d, 0);
            }
            Op::Const { d, bits } => {
                let d = self.v(d);
                self.constant(d, bits);
            }
            Op::Move { d, a } => {
                let (d, a) = (self.v(d), self.v(a));
                self.mov(d, a);
            }
            Op::SplatX { d, x } => {
                let (d, n) = (self.v(d), self.x(x));
                self.put(Inst::DupX { d, n });
            }
            Op::SplatLane { d, a } => {
                let (d, n) = (self.v(d), self.v(a));
                self.put(Inst::DupS { d, n, lane: 0 });
            }
            Op::Bin { op, d, a, b } => self.bin(op, d, a, b),
            Op::Un { op, d, a } => {
                let (d, n) = (self.v(d), self.v(a));
                let op = match op {
                    Un::Sqrt => V2::FSqrt,
                    Un::Round => V2::FRintN,
                    Un::Floor => V2::FRintM,
                    Un::Ceil => V2::FRintP,
                    Un::Trunc => V2::FRintZ,
                    Un::FromInt => V2::ScvtF,
                };
                self.v2(op, d, n);
            }
            Op::Words { op, d, a, b } => {
                let (d, n, m) = (self.v(d), self.v(a), self.v(b));
                let op = match op {
                    WordBin::Add => V3::AddH,
                    WordBin::Sub => V3::SubH,
                };
                self.v3(op, d, n, m);
            }
            Op::ToInt { d, a, .. } | Op::WholeInt { d, a } => {
                let (d, n) = (self.v(d), self.v(a));
                self.v2(V2::FCvtZs, d, n);
            }
            Op::LessWhereEq { d, a, b, tmp } => {
                // A mask is minus one.
                self.bin(Bin::EqI, tmp, a, b);
                self.bin(Bin::AddI, d, d, Src::Reg(tmp));
            }
            Op::NearInt { d, a } => {
                let (d, n) = (self.v(d), self.v(a));
                self.v2(V2::FCvtNs, d, n);
            }
            Op::Shift { op, d, a, by } => {
                let (d, n) = (self.v(d), self.v(a));
                match (op, by) {
                    (_, 0) => self.mov(d, n),
                    (Shift::Left | Shift::RightU, 32..) => self.constant(d, 0),
                    (op, by) => {
                        let op = match op {
                            Shift::Left => VShift::Shl,
                            Shift::Right => VShift::Sshr,
                            Shift::RightU => VShift::Ushr,
                        };
                        let by = by.min(32);
                        self.put(Inst::VShift { op, d, n, by });
                    }
                }
            }
            Op::Fma { d, a, b } => {
                let m = self.src(b);
                let (d, n) = (self.v(d), self.v(a));
                self.v3(V3::FMla, d, n, m);
            }
            Op::FmaLane { d, a, b, lane } => {
                let (d, n, m) = (self.v(d), self.v(a), self.v(b));
                self.put(Inst::FmlaLane { d, n, m, lane });
            }
            Op::DotLane { dot, d, a, b, lane } => {
                let (d, n, m) = (self.v(d), self.v(a), self.v(b));
                if dot == Dot::Words {
                    for second in [false, true] {
                        let lane = 2 * lane + u8::from(second);
                        self.put(Inst::SmlalLane {
                            d,
                            n,
                            m,
                            lane,
                            second,
                        });
                    }
                } else {
                    self.put(Inst::SdotLane { d, n, m, lane });
                }
            }
            Op::Dot { d, a, b, .. } => {
                let m = self.src(a);
                let (d, n) = (self.v(d), self.v(b));
                let op = VLong::Sdot;
                self.put(Inst::VLong { op, d, n, m });
            }
            Op::Long {
                op,
                d,
                a,
                b,
                second,
            } => {
                let (d, a, b) = (self.v(d), self.v(a), self.v(b));
                let (op, n, m) = match (op, second) {
                    (Long::Bytes, false) => (VLong::Smull, a, b),
                    (Long::Bytes, true) => (VLong::Smull2, a, b),
                    (Long::AddBytes, false) => (VLong::SmlalB, a, b),
                    (Long::AddBytes, true) => (VLong::Smlal2B, a, b),
                    (Long::AddWords, false) => (VLong::SmlalH, a, b),
                    (Long::AddWords, true) => (VLong::Smlal2H, a, b),
                    (Long::Sum, false) => (VLong::SaddwH, d, a),
                    (Long::Sum, true) => (VLong::Saddw2H, d, a),
                };
                self.put(Inst::VLong { op, d, n, m });
            }
            Op::Halves { d, a, b } => {
                let (d, n, m) = (self.v(d), self.v(a), self.v(b));
                self.v3(V3::Zip1D, d, n, m);
            }
            Op::Zip {
                d,
                a,
                b,
                words,
                second,
            } => {
                let (d, n, m) = (self.v(d), self.v(a), self.v(b));
                let op = match (words, second) {
                    (false, false) => V3::Zip1B,
                    (false, true) => V3::Zip2B,
                    (true, false) => V3::Zip1H,
                    (true, true) => V3::Zip2H,
                };
                self.v3(op, d, n, m);
            }
            Op::Matrix { d, a, b, signed } => {
                let (d, n, m) = (self.v(d), self.v(a), self.v(b));
                let op = match signed {
                    true => VLong::Smmla,
                    false => VLong::Usmmla,
                };
                self.put(Inst::VLong { op, d, n, m });
            }
            Op::ToReals { lo, hi, a } => {
                let (lo, hi, a) = (self.v(lo), self.v(hi), self.v(a));
                self.v2(V2::SxtlS, lo, a);
                self.v2(V2::Sxtl2S, hi, a);
                self.v2(V2::ScvtFD, lo, lo);
                self.v2(V2::ScvtFD, hi, hi);
            }
            Op::FromReals { d, lo, hi } => {
                let (d, lo, hi) = (self.v(d), self.v(lo), self.v(hi));
                self.v2(V2::FCvtNsD, lo, lo);
                self.v2(V2::FCvtNsD, hi, hi);
                self.v2(V2::XtnS, d, lo);
                self.v2(V2::Xtn2S, d, hi);
            }
            Op::RealBin { op, d, a, b } => self.real_bin(op, d, a, b),
            Op::RealFloor { d, a } => {
                let (d, n) = (self.v(d), self.v(a));
                self.v2(V2::FRintMD, d, n);
            }
            Op::SplatPair { d, a } => {
                let (d, n) = (self.v(d), self.v(a));
                self.v3(V3::Zip1D, d, n, n);
            }
            Op::Select { d, m, a, b } => {
                let (d, m, a, b) = (self.v(d), self.v(m), self.v(a), self.v(b));
                self.select(d, m, a, b);
            }
            Op::Fold { op, d, a, tmp } => self.fold(op, d, a, tmp),
            // All others are dealt with before.
            _ => {}
        }
    }
    /// An operation on f64 lanes.
    fn real_bin(&mut self, op: RealBin, d: V, a: V, b: RealSrc) {
        let m = match b {
            RealSrc::Reg(v) => self.v(v),
            RealSrc::Mem(m) => self.src(Src::Mem(m)),
            RealSrc::Const(bits) => {
                let t = self.own();
                let lane = bits.to_le_bytes();
                let bytes = std::array::from_fn(|i| lane[i % 8]);
                let by = self.asm.constant(bytes) as i64;
                self.put(Inst::LdrLit { t, by });
                t
            }
        };
        let (d, n) = (self.v(d), self.v(a));
        let simple = match op {
            RealBin::Add => V3::FAddD,
            RealBin::Sub => V3::FSubD,
            RealBin::Mul => V3::FMulD,
            RealBin::Min | RealBin::Max => {
                let mask = self.own();
                match op {
                    RealBin::Max => self.v3(V3::FCmGtD, mask, n, m),
                    _ => self.v3(V3::FCmGtD, mask, m, n),
                }
                return self.select(d, mask, n, m);
            }
        };
        self.v3(simple, d, n, m);
    }
    /// `d = m ? a : b`, bit by bit.
    fn select(&mut self, d: inst::V, m: inst::V, a: inst::V, b: inst::V) {
        if a == b {
            self.mov(d, a);
        } else if d == a {
            self.v3(V3::Bif, d, b, m);
        } else if d == b {
            self.v3(V3::Bit, d, a, m);
        } else {
            self.mov(d, m);
            self.v3(V3::Bsl, d, a, b);
        }
    }
    fn bin(&mut self, op: Bin, d: V, a: V, b: Src) {
        let zero = b == Src::Const(0);
        let (to, n) = (self.v(d), self.v(a));
        let simple = match op {
            Bin::Max if zero => {
                let t = if to == n { self.own() } else { to };
                self.v2(V2::FCmGtZero, t, n);
                return self.v3(V3::And, to, n, t);
            }
            Bin::Min | Bin::Max => {
                let m = self.src(b);
                return self.min_max(op == Bin::Max, to, n, m);
            }
            Bin::Lt | Bin::Le => {
                // The second is greater than the first.
                let m = self.src(b);
                let op = match op {
                    Bin::Lt => V3::FCmGt,
                    _ => V3::FCmGe,
                };
                return self.v3(op, to, m, n);
            }
            Bin::AndNot => {
                let m = self.src(b);
                return self.v3(V3::Bic, to, m, n);
            }
            Bin::Ne => {
                let m = self.src(b);
                self.v3(V3::FCmEq, to, n, m);
                return self.v2(V2::Not, to, to);
            }
            Bin::Add => V3::FAdd,
            Bin::Sub => V3::FSub,
            Bin::Mul => V3::FMul,
            Bin::Div => V3::FDiv,
            Bin::Eq => V3::FCmEq,
            Bin::And => V3::And,
            Bin::Or => V3::Orr,
            Bin::Xor => V3::Eor,
            Bin::AddI => V3::Add,
            Bin::SubI => V3::Sub,
            Bin::MulI => V3::Mul,
            Bin::MinI => V3::SMin,
            Bin::MaxI => V3::SMax,
            Bin::EqI => V3::CmEq,
            Bin::GtI => V3::CmGt,
        };
        let m = self.src(b);
        self.v3(simple, to, n, m);
    }
    /// `a < b ? a : b`, or with `>`: a comparison that fails, as it does with NaN, gives `b`.
    fn min_max(&mut self, max: bool, d: inst::V, a: inst::V, b: inst::V) {
        let m = if d != a && d != b { d } else { self.own() };
        match max {
            true => self.v3(V3::FCmGt, m, a, b),
            false => self.v3(V3::FCmGt, m, b, a),
        }
        self.select(d, m, a, b);
    }
    /// Halves, then quarters: `(a[0] + a[2]) + (a[1] + a[3])`.
    fn fold(&mut self, op: Fold, d: V, a: V, tmp: V) {
        if tmp == d || tmp == a {
            self.wrong("a fold's second register is one of its others");
        }
        let (d, a, t) = (self.v(d), self.v(a), self.v(tmp));
        self.put(Inst::Ext {
            d: t,
            n: a,
            m: a,
            by: 8,
        });
        if op == Fold::Add {
            self.v3(V3::FAdd, d, a, t);
            return self.v2(V2::FAddpS, d, d);
        }
        self.min_max(op == Fold::Max, d, a, t);
        self.put(Inst::DupS {
            d: t,
            n: d,
            lane: 1,
        });
        self.min_max(op == Fold::Max, d, d, t);
    }
}
