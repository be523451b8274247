//! What an A64 instruction reads, writes and costs: what a scheduler must know of it.
//!
//! Costs are those of small cores that issue in order, two instructions at a time (Cortex-A53 and A55, by their software
//! optimization guides, rounded up to one table for both). Wrong costs make code slower, never wrong.

use super::inst::{Inst, SP, V, Width, X};
use super::simd::{V2, V3, VLong};

/// A set of registers: general ones, vector ones, flags.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Regs(u128);

impl Regs {
    /// How many registers there are in all.
    pub const COUNT: usize = 65;
    /// The condition flags.
    pub const FLAGS: Regs = Regs(1 << 64);

    /// With a general register or SP.
    pub fn x(self, x: X) -> Regs {
        Regs(self.0 | 1 << (x.0 & 31))
    }
    /// With a vector register.
    pub fn v(self, v: V) -> Regs {
        Regs(self.0 | 1 << (32 + (v.0 & 31)))
    }
    /// With all of another set.
    pub fn and(self, other: Regs) -> Regs {
        Regs(self.0 | other.0)
    }
    /// Their numbers, from 0 to [`Regs::COUNT`].
    pub fn numbers(self) -> impl Iterator<Item = usize> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let n = rest.trailing_zeros() as usize;
            rest &= rest.wrapping_sub(1);
            (n < Regs::COUNT).then_some(n)
        })
    }
}

/// Memory that an instruction touches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// Whether it writes.
    pub store: bool,
    /// Register that holds the address.
    pub base: X,
    /// Bytes on top; `None` where another register says it.
    pub offset: Option<i64>,
    /// How many bytes.
    pub bytes: i64,
}

/// Which part of a core an instruction keeps busy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Unit {
    Memory = 0,
    Vector = 1,
    Integer = 2,
}

/// What a scheduler knows of an instruction.
#[derive(Clone, Copy, Debug)]
pub struct Effects {
    /// Registers read.
    pub reads: Regs,
    /// Registers written.
    pub writes: Regs,
    /// Memory touched.
    pub access: Option<Access>,
    /// Which unit works.
    pub unit: Unit,
    /// For how many cycles nothing else can start there.
    pub busy: u32,
    /// Cycles until a result can be used.
    pub latency: u32,
}

/// Cycles from a load to its use: general registers, vectors.
const LOAD_X: u32 = 3;
const LOAD_V: u32 = 5;

fn int(reads: Regs, writes: Regs) -> Effects {
    Effects {
        reads,
        writes,
        access: None,
        unit: Unit::Integer,
        busy: 1,
        latency: 1,
    }
}

fn vector(reads: Regs, writes: Regs, latency: u32) -> Effects {
    Effects {
        unit: Unit::Vector,
        latency,
        ..int(reads, writes)
    }
}

fn memory(
    store: bool,
    base: X,
    offset: Option<i64>,
    bytes: i64,
    data: Regs,
    latency: u32,
) -> Effects {
    let none = Regs::default();
    let address = none.x(base);
    let (reads, writes) = match store {
        true => (address.and(data), none),
        false => (address, data),
    };
    Effects {
        access: Some(Access {
            store,
            base,
            offset,
            bytes,
        }),
        unit: Unit::Memory,
        // The path to memory is 8 bytes wide.
        busy: (bytes as u32).div_ceil(8),
        latency,
        ..int(reads, writes)
    }
}

/// Of an instruction. Branches are none of a block's; they read what they test.
pub fn effects(inst: &Inst) -> Effects {
    let none = Regs::default();
    let bytes = |w: Width| i64::from(w.bytes());
    match *inst {
        Inst::Add { d, n, m, .. } | Inst::Sub { d, n, m } => int(none.x(n).x(m), none.x(d)),
        Inst::AddImm { d, n, .. }
        | Inst::SubImm { d, n, .. }
        | Inst::AddImm12 { d, n, .. }
        | Inst::SubImm12 { d, n, .. }
        | Inst::LslImm { d, n, .. }
        | Inst::Mov { d, n } => int(none.x(n), none.x(d)),
        Inst::CmpImm { n, .. } | Inst::CmnImm { n, .. } => int(none.x(n), Regs::FLAGS),
        Inst::Cmp { n, m } => int(none.x(n).x(m), Regs::FLAGS),
        Inst::SubsImm { d, n, .. } => int(none.x(n), Regs::FLAGS.x(d)),
        Inst::Subs { d, n, m } => int(none.x(n).x(m), Regs::FLAGS.x(d)),
        Inst::MovImm { d, .. } => int(none, none.x(d)),
        Inst::MovK { d, .. } => int(none.x(d), none.x(d)),
        Inst::Mul { d, n, m } => Effects {
            latency: 4,
            ..int(none.x(n).x(m), none.x(d))
        },
        Inst::Cbz { n, .. } | Inst::Cbnz { n, .. } => int(none.x(n), none),
        Inst::BCond { .. } => int(Regs::FLAGS, none),
        Inst::B { .. } | Inst::Ret | Inst::BtiC => int(none, none),

        Inst::Ldr { w, t, n, offset } => {
            memory(false, n, Some(offset.into()), bytes(w), none.v(t), LOAD_V)
        }
        Inst::Ldur { w, t, n, offset } => {
            memory(false, n, Some(offset.into()), bytes(w), none.v(t), LOAD_V)
        }
        Inst::Str { w, t, n, offset } => {
            memory(true, n, Some(offset.into()), bytes(w), none.v(t), 1)
        }
        Inst::Stur { w, t, n, offset } => {
            memory(true, n, Some(offset.into()), bytes(w), none.v(t), 1)
        }
        Inst::LdrIndex { w, t, n, m, .. } => {
            let e = memory(false, n, None, bytes(w), none.v(t), LOAD_V);
            Effects {
                reads: e.reads.x(m),
                ..e
            }
        }
        Inst::StrIndex { w, t, n, m, .. } => {
            let e = memory(true, n, None, bytes(w), none.v(t), 1);
            Effects {
                reads: e.reads.x(m),
                ..e
            }
        }
        Inst::LdrLit { t, .. } => Effects {
            unit: Unit::Memory,
            busy: 2,
            latency: LOAD_V,
            ..int(none, none.v(t))
        },
        Inst::Ld1RS { t, n } => memory(false, n, Some(0), 4, none.v(t), LOAD_V + 1),
        Inst::StpD { t, u, n, offset } => {
            memory(true, n, Some(offset.into()), 16, none.v(t).v(u), 1)
        }
        Inst::LdpD { t, u, n, offset } => {
            memory(false, n, Some(offset.into()), 16, none.v(t).v(u), LOAD_V)
        }
        Inst::Ld1LaneS { t, n, m, .. } => {
            let e = memory(false, n, Some(0), 4, none.v(t), LOAD_V + 1);
            Effects {
                reads: e.reads.v(t).x(m),
                writes: e.writes.x(n),
                ..e
            }
        }
        Inst::St1LaneS { t, n, m, .. } => {
            let e = memory(true, n, Some(0), 4, none.v(t), 1);
            Effects {
                reads: e.reads.x(m),
                writes: e.writes.x(n),
                ..e
            }
        }
        Inst::LdrX { t, n, offset } => memory(false, n, Some(offset.into()), 8, none.x(t), LOAD_X),
        Inst::LdrbX { t, n, offset } => memory(false, n, Some(offset.into()), 1, none.x(t), LOAD_X),
        Inst::LdrhX { t, n, offset } => memory(false, n, Some(offset.into()), 2, none.x(t), LOAD_X),
        Inst::StrX { t, n, offset } => memory(true, n, Some(offset.into()), 8, none.x(t), 1),
        Inst::LdurX { t, n, offset } => memory(false, n, Some(offset.into()), 8, none.x(t), LOAD_X),
        Inst::LdrXIndex { t, n, m, .. } => {
            let e = memory(false, n, None, 8, none.x(t), LOAD_X);
            Effects {
                reads: e.reads.x(m),
                ..e
            }
        }
        // A hint; moves no data.
        Inst::Prfm { n, .. } | Inst::Prfum { n, .. } => Effects {
            unit: Unit::Memory,
            ..int(none.x(n), none)
        },

        Inst::FmlaLane { d, n, m, .. }
        | Inst::SdotLane { d, n, m, .. }
        | Inst::SmlalLane { d, n, m, .. } => vector(none.v(d).v(n).v(m), none.v(d), 4),
        Inst::V3 { op, d, n, m } => {
            let reads = none.v(n).v(m);
            let reads = if op.reads_d() { reads.v(d) } else { reads };
            let (latency, busy) = match op {
                V3::FAdd | V3::FSub | V3::FMul | V3::FMla | V3::Mul => (4, 1),
                V3::FAddD | V3::FSubD | V3::FMulD => (4, 1),
                V3::FDiv => (13, 10),
                _ => (2, 1),
            };
            Effects {
                busy,
                ..vector(reads, none.v(d), latency)
            }
        }
        Inst::VLong { op, d, n, m } => {
            let reads = none.v(n).v(m);
            let reads = if op.reads_d() { reads.v(d) } else { reads };
            let latency = match op {
                VLong::SaddwH | VLong::Saddw2H => 3,
                _ => 4,
            };
            vector(reads, none.v(d), latency)
        }
        Inst::V2 { op, d, n } => {
            let (latency, busy) = match op {
                V2::FSqrt => (12, 9),
                V2::Not | V2::FCmGtZero | V2::XtnH | V2::XtnB => (2, 1),
                _ => (4, 1),
            };
            let reads = none.v(n);
            let reads = if op.reads_d() { reads.v(d) } else { reads };
            Effects {
                busy,
                ..vector(reads, none.v(d), latency)
            }
        }
        Inst::VShift { d, n, .. } => vector(none.v(n), none.v(d), 2),
        Inst::VImm { op, d, .. } => {
            let old = matches!(op, super::simd::VImm::Orr(_));
            vector(if old { none.v(d) } else { none }, none.v(d), 2)
        }
        Inst::DupS { d, n, .. } | Inst::MovLane { d, n, .. } => vector(none.v(n), none.v(d), 2),
        Inst::DupX { d, n } => vector(none.x(n), none.v(d), 3),
        Inst::Ins { d, n, .. } => vector(none.v(n).v(d), none.v(d), 2),
        Inst::Ext { d, n, m, .. } => vector(none.v(n).v(m), none.v(d), 2),
        Inst::Zero { d } => vector(none, none.v(d), 1),
    }
}

/// What is added to which register, where an instruction does just that.
pub fn step(inst: &Inst) -> Option<(X, X, i64)> {
    match *inst {
        Inst::AddImm { d, n, imm } => Some((d, n, i64::from(imm))),
        Inst::SubImm { d, n, imm } | Inst::SubsImm { d, n, imm } => Some((d, n, -i64::from(imm))),
        Inst::AddImm12 { d, n, imm } => Some((d, n, i64::from(imm) << 12)),
        Inst::SubImm12 { d, n, imm } => Some((d, n, -(i64::from(imm) << 12))),
        Inst::Mov { d, n } => Some((d, n, 0)),
        _ => None,
    }
}

/// Whether memory at a register is the code's own frame, which no pointer of a caller's reaches.
pub fn is_frame(base: X) -> bool {
    base == SP
}
