//! The machines, and what each offers.

use super::*;

/// What a vector machine offers: decides tiles, unrolling and which operations may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Isa {
    /// Which machine.
    pub level: Level,
    /// 32-bit lanes of a vector register.
    pub lanes: usize,
    /// Vector registers for templates.
    pub vregs: usize,
    /// Whether multiplication and addition round once.
    pub fma: bool,
    /// Whether an operand of `Fma` may be broadcast from memory at no cost.
    pub splat_operand: bool,
    /// Whether `Fma` takes one lane of a register as a factor ([`Op::FmaLane`]); such machines have no cheap broadcast.
    pub by_lane: bool,
    /// Whether floats can be rounded to whole ones.
    pub rounds: bool,
    /// Whether half-precision floats are widened while they are loaded.
    pub halves: bool,
    /// Whether bytes are.
    pub bytes: bool,
    /// Whether one instruction multiplies words and adds. Levels differ by that within themselves; rows of kernels name the features.
    pub fused_words: bool,
    /// Whether products of bytes take the encodings of AVX-512 at 256 bits: CPUs have these without those of AVX2's kin.
    pub evex_bytes: bool,
}

/// The machines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Level {
    Sse2,
    Avx2,
    Avx512,
    Neon,
}

impl Level {
    /// Its facts.
    pub fn isa(self) -> Isa {
        let isa = |lanes, vregs, fma, splat_operand, by_lane| Isa {
            rounds: self != Level::Sse2,
            halves: self != Level::Sse2,
            bytes: self != Level::Sse2,
            fused_words: false,
            evex_bytes: false,
            level: self,
            lanes,
            vregs,
            fma,
            splat_operand,
            by_lane,
        };
        match self {
            // The last register serves as the second operand of what memory can't be.
            Level::Sse2 => isa(4, 15, false, false, false),
            Level::Avx2 => isa(8, 16, true, false, false),
            Level::Avx512 => isa(16, 32, true, true, false),
            // Two registers serve for comparisons and constants.
            Level::Neon => isa(4, 30, true, false, true),
        }
    }
}

impl Isa {
    /// The same machine with products of words that are added by one instruction.
    pub fn with_fused_words(self) -> Isa {
        Isa {
            fused_words: true,
            ..self
        }
    }
    /// The same machine with products of bytes as AVX-512 encodes them.
    pub fn with_evex_bytes(self) -> Isa {
        Isa {
            evex_bytes: true,
            ..self
        }
    }
    /// Whether it stores two vectors as bytes at once, with limits.
    pub fn stores_pairs(&self) -> bool {
        self.has(&Op::StorePair {
            a: V(0),
            b: V(1),
            at: Mem::at(X(0), 0),
            signed: false,
            mixed: false,
        })
    }
    /// Whether it stores up to four so, each at a place of its own.
    pub fn stores_each(&self) -> bool {
        self.has(&Op::StoreEach {
            v: [V(0), V(1), V(2), V(3)],
            n: 4,
            at: [Mem::at(X(0), 0); 4],
            signed: false,
        })
    }
    /// Whether it does so at two places.
    pub fn stores_apart(&self) -> bool {
        let place = Mem::at(X(0), 0);
        self.has(&Op::StoreApart {
            a: V(0),
            b: V(1),
            at: place,
            second: place,
            signed: false,
            mixed: false,
        })
    }
    /// Whether the machine has an operation. What none has must be written out by the template, or left to others.
    pub fn has(&self, op: &Op) -> bool {
        let sse2 = self.level == Level::Sse2;
        let elem = |e: &Elem| match (self.level, e) {
            (_, Elem::W32 | Elem::U8 | Elem::I8 | Elem::U8Limited | Elem::I8Limited)
            | (_, Elem::I8x2 | Elem::U8x2)
            | (Level::Neon, _) => true,
            (Level::Sse2, _) => false,
            _ => true,
        };
        match op {
            Op::Bin { op, b, .. } => {
                let splat = matches!(b, Src::Splat(_));
                let min = matches!(op, Bin::MinI | Bin::MaxI) && matches!(b, Src::Mem(_));
                !(sse2 && (min || *op == Bin::MulI)) && (!splat || self.splat_operand)
            }
            Op::Un { op, .. } => !sse2 || matches!(op, Un::Sqrt | Un::FromInt),
            Op::Fma { b, .. } => !matches!(b, Src::Splat(_)) || self.splat_operand,
            Op::FmaOver { .. } => self.fma && self.level != Level::Neon,
            Op::FmaLane { .. } | Op::DotLane { .. } => self.by_lane,
            // Machines that have them differ by features, which the rows of kernels name.
            Op::Dot { dot, tmp, .. } => {
                if self.by_lane {
                    return *dot == Dot::BytesS && tmp.is_none();
                }
                let fused = *dot != Dot::Words || tmp.is_some() || self.fused_words;
                fused && (!sse2 || *dot == Dot::Words) && *dot != Dot::BytesS
            }
            Op::AnyX { .. } | Op::ShrX { .. } | Op::AndX { .. } => self.level != Level::Neon,
            Op::Long { .. } | Op::Halves { .. } | Op::Zip { .. } | Op::Matrix { .. } => {
                self.level == Level::Neon
            }
            Op::RealFloor { .. } => !sse2,
            Op::LoadWords { .. } | Op::MixBytes { .. } | Op::InOrder { .. } => {
                matches!(self.level, Level::Avx2 | Level::Avx512)
            }
            Op::LoadSmallX { bytes, .. } => *bytes < 4 || self.level != Level::Neon,
            Op::StoreQuad { part, .. } => self.has_quarter(*part),
            Op::PackBytes { .. } | Op::SplatReal { .. } => {
                matches!(self.level, Level::Avx2 | Level::Avx512)
            }
            Op::PairBytes { .. } | Op::PickBytes { .. } | Op::PairRows { .. } => {
                self.level == Level::Avx2
            }
            Op::StoreEach { .. } => self.level == Level::Avx2,
            Op::StoreApart { .. } | Op::SlotToReals { .. } | Op::FromRealsMixed { .. } => {
                self.level == Level::Avx2
            }
            Op::StorePair { mixed, .. } => match self.level {
                Level::Avx2 => true,
                Level::Avx512 | Level::Neon => !mixed,
                _ => false,
            },
            Op::LoadQuad { elem: e, part, .. } => {
                let bytes = matches!(e, Elem::U8 | Elem::I8);
                let pairs = matches!(e, Elem::U8x2 | Elem::I8x2) && !self.by_lane;
                self.has_quarter(*part) && (*e == Elem::W32 || (bytes || pairs) && !sse2)
            }
            Op::Load { elem: e, lanes, .. } => {
                let pairs = matches!(e, Elem::I8x2 | Elem::U8x2);
                elem(e) && !e.is_limited() && (!pairs || *lanes == Lanes::All)
            }
            Op::Store { elem: e, .. } => {
                let pairs = matches!(e, Elem::I8x2 | Elem::U8x2);
                elem(e) && !pairs && (*e != Elem::BF16 || self.level == Level::Neon)
            }
            _ => true,
        }
    }
    fn has_quarter(&self, part: u8) -> bool {
        usize::from(part) < self.lanes / 4
    }
}
