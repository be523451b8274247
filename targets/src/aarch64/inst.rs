//! The A64 instructions that the kernels use, as data: encoding and text of each.
//!
//! Encodings are those of the Arm Architecture Reference Manual (DDI 0487), chapter C. Registers are typed, every field is checked,
//! and what does not fit is an error. x18 belongs to the platform and can't be written down. Every form is compared with an
//! independent decoder by a test, text against text.

use std::fmt;

use onnxc_compiler::base::diag::{Diagnostic, Result};

pub use super::operand::{Cond, SP, V, Width, X};
use super::simd::{V2, V3, VImm, VLong, VShift};

/// An instruction. Branches carry their distance in bytes, which [`super::asm::Assembler`] works out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Inst {
    /// `d = n + (m << lsl)`.
    Add { d: X, n: X, m: X, lsl: u8 },
    /// `d = n + imm`, imm below 4096; SP allowed.
    AddImm { d: X, n: X, imm: u32 },
    /// `d = n - imm`, imm below 4096; SP allowed.
    SubImm { d: X, n: X, imm: u32 },
    /// Compares `n` with a number below 4096.
    CmpImm { n: X, imm: u32 },
    /// `d = n << by`, by from 1 to 63.
    LslImm { d: X, n: X, by: u8 },
    /// `d = imm`.
    MovImm { d: X, imm: u16 },
    /// Loads from `n + offset`, a multiple of the width; SP allowed.
    Ldr { w: Width, t: V, n: X, offset: u32 },
    /// Stores to `n + offset`, a multiple of the width; SP allowed.
    Str { w: Width, t: V, n: X, offset: u32 },
    /// Loads from `n + offset`, from -256 to 255; SP allowed.
    Ldur { w: Width, t: V, n: X, offset: i32 },
    /// Stores there.
    Stur { w: Width, t: V, n: X, offset: i32 },
    /// Loads from `n + m`, or from `n + m * width`; SP allowed.
    LdrIndex {
        w: Width,
        t: V,
        n: X,
        m: X,
        scaled: bool,
    },
    /// Stores there.
    StrIndex {
        w: Width,
        t: V,
        n: X,
        m: X,
        scaled: bool,
    },
    /// Loads 16 bytes that lie some way from here.
    LdrLit { t: V, by: i64 },
    /// Loads 4 bytes at `n` into every lane; SP allowed.
    Ld1RS { t: V, n: X },
    /// Stores the low 8 bytes of two registers at `n + offset`; SP allowed.
    StpD { t: V, u: V, n: X, offset: i32 },
    /// The matching load.
    LdpD { t: V, u: V, n: X, offset: i32 },
    /// Loads 4 bytes at `n` into one lane, then `n += m`.
    Ld1LaneS { t: V, lane: u8, n: X, m: X },
    /// Stores one lane at `n`, then `n += m`.
    St1LaneS { t: V, lane: u8, n: X, m: X },
    /// `d.4s += n.4s * m.s[lane]`, fused.
    FmlaLane { d: V, n: V, m: V, lane: u8 },
    /// `d.4s += dot(n.16b, m.4b[lane])`, signed bytes. Of the dot-product extension.
    SdotLane { d: V, n: V, m: V, lane: u8 },
    /// `d.4s += n.h * m.h[lane]` with the first or the second four words of `n`; `m` is one of v0 to v15.
    SmlalLane {
        d: V,
        n: V,
        m: V,
        lane: u8,
        second: bool,
    },
    /// `d = n op m`.
    V3 { op: V3, d: V, n: V, m: V },
    /// The same where lanes of `d` are longer than those of an operand; most add to what `d` holds.
    VLong { op: VLong, d: V, n: V, m: V },
    /// `d = op n`.
    V2 { op: V2, d: V, n: V },
    /// Shifts 32-bit lanes.
    VShift { op: VShift, d: V, n: V, by: u8 },
    /// A number in all lanes.
    VImm { op: VImm, d: V, imm: u8 },
    /// One 32-bit lane of `n` in all lanes of `d`.
    DupS { d: V, n: V, lane: u8 },
    /// The low half of a general register in all lanes.
    DupX { d: V, n: X },
    /// One lane of `n` in lane 0 of `d`, the rest cleared.
    MovLane { w: Width, d: V, n: V, lane: u8 },
    /// Lane 0 of `n` into one lane of `d`.
    Ins { w: Width, d: V, lane: u8, n: V },
    /// 16 bytes of `n` and `m` in a row, from byte `by`.
    Ext { d: V, n: V, m: V, by: u8 },
    /// Clears a vector.
    Zero { d: V },
    /// `d = n - m`.
    Sub { d: X, n: X, m: X },
    /// `d = n + (imm << 12)`, imm below 4096; SP allowed.
    AddImm12 { d: X, n: X, imm: u32 },
    /// `d = n - (imm << 12)`, imm below 4096; SP allowed.
    SubImm12 { d: X, n: X, imm: u32 },
    /// `d = n - imm`, and compares `n` with it.
    SubsImm { d: X, n: X, imm: u32 },
    /// `d = n - m`, and compares them.
    Subs { d: X, n: X, m: X },
    /// Compares.
    Cmp { n: X, m: X },
    /// Compares `n` with `-imm`, imm below 4096.
    CmnImm { n: X, imm: u32 },
    /// `d = n`.
    Mov { d: X, n: X },
    /// Sets 16 bits of `d` from bit `16 * part` on.
    MovK { d: X, imm: u16, part: u8 },
    /// `d = n * m`.
    Mul { d: X, n: X, m: X },
    /// Loads 8 bytes from `n + offset`, a multiple of 8; SP allowed.
    LdrX { t: X, n: X, offset: u32 },
    /// Stores there.
    StrX { t: X, n: X, offset: u32 },
    /// Loads 8 bytes from `n + offset`, from -256 to 255; SP allowed.
    LdurX { t: X, n: X, offset: i32 },
    /// Loads 8 bytes from `n + m`, or from `n + m * 8`; SP allowed.
    LdrXIndex { t: X, n: X, m: X, scaled: bool },
    /// Loads a byte from `n + offset`, without sign; SP allowed.
    LdrbX { t: X, n: X, offset: u32 },
    /// Loads two bytes from `n + offset`, a multiple of 2, without sign; SP allowed.
    LdrhX { t: X, n: X, offset: u32 },
    /// Brings the line of `n + offset`, a multiple of 8, near.
    Prfm { n: X, offset: u32 },
    /// The same for offsets from -256 to 255.
    Prfum { n: X, offset: i32 },
    /// Jumps where a register is zero.
    Cbz { n: X, by: i64 },
    /// Jumps where it is not.
    Cbnz { n: X, by: i64 },
    /// A landing pad for calls; does nothing on CPUs without the extension.
    BtiC,
    /// Returns to the caller.
    Ret,
    /// A jump.
    B { by: i64 },
    /// A jump where a condition holds.
    BCond { cond: Cond, by: i64 },
}

impl Inst {
    /// The same with another distance; others stay as they are.
    pub fn to(self, by: i64) -> Inst {
        match self {
            Inst::B { .. } => Inst::B { by },
            Inst::BCond { cond, .. } => Inst::BCond { cond, by },
            Inst::Cbz { n, .. } => Inst::Cbz { n, by },
            Inst::Cbnz { n, .. } => Inst::Cbnz { n, by },
            Inst::LdrLit { t, .. } => Inst::LdrLit { t, by },
            other => other,
        }
    }
}

fn bad(inst: &Inst, what: &str) -> Box<Diagnostic> {
    Diagnostic::internal(format!(
        "the A64 instruction `{inst}` can't be encoded: {what}"
    ))
}

impl Inst {
    /// The instruction word.
    pub fn encode(self) -> Result<u32> {
        let gp = |r: X| match r.0 {
            18 => Err(bad(&self, "x18 belongs to the platform")),
            n if n <= 30 => Ok(u32::from(n)),
            _ => Err(bad(&self, "no such register")),
        };
        let gp_sp = |r: X| if r == SP { Ok(31) } else { gp(r) };
        let vec = |r: V| {
            if r.0 < 32 {
                Ok(u32::from(r.0))
            } else {
                Err(bad(&self, "no such vector register"))
            }
        };
        let below = |v: u32, limit: u32| {
            if v < limit {
                Ok(v)
            } else {
                Err(bad(&self, "number out of range"))
            }
        };
        let scaled = |offset: u32, by: u32| {
            if offset.is_multiple_of(by) {
                below(offset / by, 4096)
            } else {
                Err(bad(&self, "offset not aligned"))
            }
        };
        let pair = |offset: i32| match offset % 8 {
            0 if (-512..=504).contains(&offset) => Ok(((offset / 8) as u32 & 0x7f) << 15),
            _ => Err(bad(&self, "offset out of range")),
        };
        let near = |offset: i32| match offset {
            -256..=255 => Ok((offset as u32 & 0x1ff) << 12),
            _ => Err(bad(&self, "offset out of range")),
        };
        let index = |n: X, m: X, scaled: bool| -> Result<u32> {
            Ok(gp(m)? << 16 | u32::from(scaled) << 12 | gp_sp(n)? << 5)
        };
        let one_lane = |w: Width, lane: u8| match w.lane(lane) {
            Some(field) => Ok(field << 16),
            None => Err(bad(&self, "no such lane")),
        };
        let distance = |by: i64, bits: u32| {
            let limit = 1i64 << (bits + 1); // a signed number of words
            match by % 4 {
                0 if (-limit..limit).contains(&by) => Ok((by / 4) as u32 & ((1 << bits) - 1)),
                _ => Err(bad(&self, "the branch is too long")),
            }
        };
        let lane_s = |base: u32, t: V, lane: u8, n: X, m: X| -> Result<u32> {
            let lane = below(u32::from(lane), 4)?;
            Ok(base
                | (lane >> 1) << 30
                | gp(m)? << 16
                | (lane & 1) << 12
                | gp_sp(n)? << 5
                | vec(t)?)
        };
        Ok(match self {
            Inst::Add { d, n, m, lsl } => {
                0x8B00_0000 | gp(m)? << 16 | below(lsl.into(), 64)? << 10 | gp(n)? << 5 | gp(d)?
            }
            Inst::AddImm { d, n, imm } => {
                0x9100_0000 | below(imm, 4096)? << 10 | gp_sp(n)? << 5 | gp_sp(d)?
            }
            Inst::SubImm { d, n, imm } => {
                0xD100_0000 | below(imm, 4096)? << 10 | gp_sp(n)? << 5 | gp_sp(d)?
            }
            Inst::CmpImm { n, imm } => 0xF100_001F | below(imm, 4096)? << 10 | gp(n)? << 5,
            Inst::LslImm { d, n, by } => {
                let by = below(by.into(), 64)?;
                if by == 0 {
                    return Err(bad(&self, "number out of range"));
                }
                0xD340_0000 | (64 - by) << 16 | (63 - by) << 10 | gp(n)? << 5 | gp(d)?
            }
            Inst::MovImm { d, imm } => 0xD280_0000 | u32::from(imm) << 5 | gp(d)?,
            Inst::Ldr { w, t, n, offset } => {
                0x3D40_0000
                    | w.field()
                    | scaled(offset, w.bytes())? << 10
                    | gp_sp(n)? << 5
                    | vec(t)?
            }
            Inst::Str { w, t, n, offset } => {
                0x3D00_0000
                    | w.field()
                    | scaled(offset, w.bytes())? << 10
                    | gp_sp(n)? << 5
                    | vec(t)?
            }
            Inst::Ldur { w, t, n, offset } => {
                0x3C40_0000 | w.field() | near(offset)? | gp_sp(n)? << 5 | vec(t)?
            }
            Inst::Stur { w, t, n, offset } => {
                0x3C00_0000 | w.field() | near(offset)? | gp_sp(n)? << 5 | vec(t)?
            }
            Inst::LdrIndex { w, t, n, m, scaled } => {
                0x3C60_6800 | w.field() | index(n, m, scaled)? | vec(t)?
            }
            Inst::StrIndex { w, t, n, m, scaled } => {
                0x3C20_6800 | w.field() | index(n, m, scaled)? | vec(t)?
            }
            Inst::LdrLit { t, by } => 0x9C00_0000 | distance(by, 19)? << 5 | vec(t)?,
            Inst::Ld1RS { t, n } => 0x4D40_C800 | gp_sp(n)? << 5 | vec(t)?,
            Inst::StpD { t, u, n, offset } => {
                0x6D00_0000 | pair(offset)? | vec(u)? << 10 | gp_sp(n)? << 5 | vec(t)?
            }
            Inst::LdpD { t, u, n, offset } => {
                0x6D40_0000 | pair(offset)? | vec(u)? << 10 | gp_sp(n)? << 5 | vec(t)?
            }
            Inst::Ld1LaneS { t, lane, n, m } => lane_s(0x0DC0_8000, t, lane, n, m)?,
            Inst::St1LaneS { t, lane, n, m } => lane_s(0x0D80_8000, t, lane, n, m)?,
            Inst::FmlaLane { d, n, m, lane } => {
                let lane = below(lane.into(), 4)?;
                0x4F80_1000
                    | (lane & 1) << 21
                    | (lane >> 1) << 11
                    | vec(m)? << 16
                    | vec(n)? << 5
                    | vec(d)?
            }
            Inst::SdotLane { d, n, m, lane } => {
                let lane = below(lane.into(), 4)?;
                0x4F80_E000
                    | (lane & 1) << 21
                    | (lane >> 1) << 11
                    | vec(m)? << 16
                    | vec(n)? << 5
                    | vec(d)?
            }
            Inst::SmlalLane {
                d,
                n,
                m,
                lane,
                second,
            } => {
                let lane = below(lane.into(), 8)?;
                let m = below(m.0.into(), 16)?;
                0x0F40_2000
                    | u32::from(second) << 30
                    | (lane & 1) << 20
                    | (lane >> 1 & 1) << 21
                    | (lane >> 2) << 11
                    | m << 16
                    | vec(n)? << 5
                    | vec(d)?
            }
            Inst::V3 { op, d, n, m } => op.row().0 | vec(m)? << 16 | vec(n)? << 5 | vec(d)?,
            Inst::VLong { op, d, n, m } => op.row().0 | vec(m)? << 16 | vec(n)? << 5 | vec(d)?,
            Inst::V2 { op, d, n } => op.row().0 | vec(n)? << 5 | vec(d)?,
            Inst::VShift { op, d, n, by } => {
                let by = op
                    .field(by)
                    .ok_or_else(|| bad(&self, "number out of range"))?;
                op.row().0 | by << 16 | vec(n)? << 5 | vec(d)?
            }
            Inst::VImm { op, d, imm } => {
                let (word, ..) = op.row().ok_or_else(|| bad(&self, "number out of range"))?;
                word | u32::from(imm >> 5) << 16 | u32::from(imm & 31) << 5 | vec(d)?
            }
            Inst::DupS { d, n, lane } => {
                0x4E00_0400 | one_lane(Width::S, lane)? | vec(n)? << 5 | vec(d)?
            }
            Inst::DupX { d, n } => 0x4E04_0C00 | gp(n)? << 5 | vec(d)?,
            Inst::MovLane { w, d, n, lane } => {
                0x5E00_0400 | one_lane(w, lane)? | vec(n)? << 5 | vec(d)?
            }
            Inst::Ins { w, d, lane, n } => {
                0x6E00_0400 | one_lane(w, lane)? | vec(n)? << 5 | vec(d)?
            }
            Inst::Ext { d, n, m, by } => {
                0x6E00_0000 | vec(m)? << 16 | below(by.into(), 16)? << 11 | vec(n)? << 5 | vec(d)?
            }
            Inst::Sub { d, n, m } => 0xCB00_0000 | gp(m)? << 16 | gp(n)? << 5 | gp(d)?,
            Inst::AddImm12 { d, n, imm } => {
                0x9140_0000 | below(imm, 4096)? << 10 | gp_sp(n)? << 5 | gp_sp(d)?
            }
            Inst::SubImm12 { d, n, imm } => {
                0xD140_0000 | below(imm, 4096)? << 10 | gp_sp(n)? << 5 | gp_sp(d)?
            }
            Inst::SubsImm { d, n, imm } => {
                0xF100_0000 | below(imm, 4096)? << 10 | gp(n)? << 5 | gp(d)?
            }
            Inst::Subs { d, n, m } => 0xEB00_0000 | gp(m)? << 16 | gp(n)? << 5 | gp(d)?,
            Inst::Cmp { n, m } => 0xEB00_001F | gp(m)? << 16 | gp(n)? << 5,
            Inst::CmnImm { n, imm } => 0xB100_001F | below(imm, 4096)? << 10 | gp(n)? << 5,
            Inst::Mov { d, n } => 0xAA00_03E0 | gp(n)? << 16 | gp(d)?,
            Inst::MovK { d, imm, part } => {
                0xF280_0000 | below(part.into(), 4)? << 21 | u32::from(imm) << 5 | gp(d)?
            }
            Inst::Mul { d, n, m } => 0x9B00_7C00 | gp(m)? << 16 | gp(n)? << 5 | gp(d)?,
            Inst::LdrX { t, n, offset } => {
                0xF940_0000 | scaled(offset, 8)? << 10 | gp_sp(n)? << 5 | gp(t)?
            }
            Inst::StrX { t, n, offset } => {
                0xF900_0000 | scaled(offset, 8)? << 10 | gp_sp(n)? << 5 | gp(t)?
            }
            Inst::LdurX { t, n, offset } => 0xF840_0000 | near(offset)? | gp_sp(n)? << 5 | gp(t)?,
            Inst::LdrXIndex { t, n, m, scaled } => 0xF860_6800 | index(n, m, scaled)? | gp(t)?,
            Inst::LdrbX { t, n, offset } => {
                0x3940_0000 | scaled(offset, 1)? << 10 | gp_sp(n)? << 5 | gp(t)?
            }
            Inst::LdrhX { t, n, offset } => {
                0x7940_0000 | scaled(offset, 2)? << 10 | gp_sp(n)? << 5 | gp(t)?
            }
            Inst::Prfm { n, offset } => 0xF980_0000 | scaled(offset, 8)? << 10 | gp_sp(n)? << 5,
            Inst::Prfum { n, offset } => 0xF880_0000 | near(offset)? | gp_sp(n)? << 5,
            Inst::Cbz { n, by } => 0xB400_0000 | distance(by, 19)? << 5 | gp(n)?,
            Inst::Cbnz { n, by } => 0xB500_0000 | distance(by, 19)? << 5 | gp(n)?,
            Inst::Zero { d } => 0x6F00_E400 | vec(d)?,
            Inst::BtiC => 0xD503_245F,
            Inst::Ret => 0xD65F_03C0,
            Inst::B { by } => 0x1400_0000 | distance(by, 26)?,
            Inst::BCond { cond, by } => 0x5400_0000 | distance(by, 19)? << 5 | cond as u32,
        })
    }
}

impl fmt::Display for Inst {
    /// As GNU's disassembler writes it, numbers in decimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = |n: X, offset: i64| {
            if offset == 0 {
                format!("[{n}]")
            } else {
                format!("[{n}, #{offset}]")
            }
        };
        let indexed = |n: X, m: X, bytes: u32, scaled: bool| match (scaled, bytes) {
            (false, _) => format!("[{n}, {m}]"),
            (true, bytes) => format!("[{n}, {m}, lsl #{}]", bytes.trailing_zeros()),
        };
        match *self {
            Inst::Add { d, n, m, lsl: 0 } => write!(f, "add {d}, {n}, {m}"),
            Inst::Add { d, n, m, lsl } => write!(f, "add {d}, {n}, {m}, lsl #{lsl}"),
            Inst::AddImm { d, n, imm } => write!(f, "add {d}, {n}, #{imm}"),
            Inst::SubImm { d, n, imm } => write!(f, "sub {d}, {n}, #{imm}"),
            Inst::CmpImm { n, imm } => write!(f, "cmp {n}, #{imm}"),
            Inst::LslImm { d, n, by } => write!(f, "lsl {d}, {n}, #{by}"),
            Inst::MovImm { d, imm } => write!(f, "mov {d}, #{imm}"),
            Inst::Ldr { w, t, n, offset } => write!(
                f,
                "ldr {}{}, {}",
                w.letter(),
                t.0,
                address(n, offset.into())
            ),
            Inst::Str { w, t, n, offset } => write!(
                f,
                "str {}{}, {}",
                w.letter(),
                t.0,
                address(n, offset.into())
            ),
            Inst::Ldur { w, t, n, offset } => write!(
                f,
                "ldur {}{}, {}",
                w.letter(),
                t.0,
                address(n, offset.into())
            ),
            Inst::Stur { w, t, n, offset } => write!(
                f,
                "stur {}{}, {}",
                w.letter(),
                t.0,
                address(n, offset.into())
            ),
            Inst::LdrIndex { w, t, n, m, scaled } => write!(
                f,
                "ldr {}{}, {}",
                w.letter(),
                t.0,
                indexed(n, m, w.bytes(), scaled)
            ),
            Inst::StrIndex { w, t, n, m, scaled } => write!(
                f,
                "str {}{}, {}",
                w.letter(),
                t.0,
                indexed(n, m, w.bytes(), scaled)
            ),
            Inst::LdrLit { t, by } => write!(f, "ldr q{}, .{by:+}", t.0),
            Inst::Ld1RS { t, n } => write!(f, "ld1r {{v{}.4s}}, [{n}]", t.0),
            Inst::StpD { t, u, n, offset } => {
                write!(f, "stp d{}, d{}, {}", t.0, u.0, address(n, offset.into()))
            }
            Inst::LdpD { t, u, n, offset } => {
                write!(f, "ldp d{}, d{}, {}", t.0, u.0, address(n, offset.into()))
            }
            Inst::Ld1LaneS { t, lane, n, m } => write!(f, "ld1 {{v{}.s}}[{lane}], [{n}], {m}", t.0),
            Inst::St1LaneS { t, lane, n, m } => write!(f, "st1 {{v{}.s}}[{lane}], [{n}], {m}", t.0),
            Inst::FmlaLane { d, n, m, lane } => {
                write!(f, "fmla v{}.4s, v{}.4s, v{}.s[{lane}]", d.0, n.0, m.0)
            }
            Inst::SdotLane { d, n, m, lane } => {
                write!(f, "sdot v{}.4s, v{}.16b, v{}.4b[{lane}]", d.0, n.0, m.0)
            }
            Inst::SmlalLane {
                d,
                n,
                m,
                lane,
                second,
            } => {
                let (name, arr) = if second {
                    ("smlal2", "8h")
                } else {
                    ("smlal", "4h")
                };
                write!(f, "{name} v{}.4s, v{}.{arr}, v{}.h[{lane}]", d.0, n.0, m.0)
            }
            Inst::V3 { op, d, n, m } => {
                let (_, name, arr) = op.row();
                if op == V3::Orr && n == m {
                    return write!(f, "mov v{}.{arr}, v{}.{arr}", d.0, n.0);
                }
                write!(f, "{name} v{}.{arr}, v{}.{arr}, v{}.{arr}", d.0, n.0, m.0)
            }
            Inst::VLong { op, d, n, m } => {
                let (_, name, [to, of, by]) = op.row();
                write!(f, "{name} v{}.{to}, v{}.{of}, v{}.{by}", d.0, n.0, m.0)
            }
            Inst::V2 { op, d, n } => match op.row() {
                (_, name, "s", of, _) => write!(f, "{name} s{}, v{}.{of}", d.0, n.0),
                (_, name, to, of, rest) => write!(f, "{name} v{}.{to}, v{}.{of}{rest}", d.0, n.0),
            },
            Inst::VShift { op, d, n, by } => {
                write!(f, "{} v{}.4s, v{}.4s, #{by}", op.row().1, d.0, n.0)
            }
            Inst::VImm { op, d, imm } => match op.row() {
                Some((_, name, _, 0)) => write!(f, "{name} v{}.4s, #{imm}", d.0),
                Some((_, name, how, by)) => write!(f, "{name} v{}.4s, #{imm}, {how} #{by}", d.0),
                None => write!(f, "movi v{}.4s, #{imm}, lsl #?", d.0),
            },
            Inst::DupS { d, n, lane } => write!(f, "dup v{}.4s, v{}.s[{lane}]", d.0, n.0),
            Inst::DupX { d, n } => write!(f, "dup v{}.4s, w{}", d.0, n.0),
            Inst::MovLane { w, d, n, lane } => {
                let l = w.letter();
                write!(f, "mov {l}{}, v{}.{l}[{lane}]", d.0, n.0)
            }
            Inst::Ins { w, d, lane, n } => {
                let l = w.letter();
                write!(f, "mov v{}.{l}[{lane}], v{}.{l}[0]", d.0, n.0)
            }
            Inst::Ext { d, n, m, by } => {
                write!(f, "ext v{}.16b, v{}.16b, v{}.16b, #{by}", d.0, n.0, m.0)
            }
            Inst::Sub { d, n, m } => write!(f, "sub {d}, {n}, {m}"),
            Inst::AddImm12 { d, n, imm } => write!(f, "add {d}, {n}, #{imm}, lsl #12"),
            Inst::SubImm12 { d, n, imm } => write!(f, "sub {d}, {n}, #{imm}, lsl #12"),
            Inst::SubsImm { d, n, imm } => write!(f, "subs {d}, {n}, #{imm}"),
            Inst::Subs { d, n, m } => write!(f, "subs {d}, {n}, {m}"),
            Inst::Cmp { n, m } => write!(f, "cmp {n}, {m}"),
            Inst::CmnImm { n, imm } => write!(f, "cmn {n}, #{imm}"),
            Inst::Mov { d, n } => write!(f, "mov {d}, {n}"),
            Inst::MovK { d, imm, part: 0 } => write!(f, "movk {d}, #{imm}"),
            Inst::MovK { d, imm, part } => write!(f, "movk {d}, #{imm}, lsl #{}", part * 16),
            Inst::Mul { d, n, m } => write!(f, "mul {d}, {n}, {m}"),
            Inst::LdrX { t, n, offset } => write!(f, "ldr {t}, {}", address(n, offset.into())),
            Inst::StrX { t, n, offset } => write!(f, "str {t}, {}", address(n, offset.into())),
            Inst::LdrbX { t, n, offset } => {
                write!(f, "ldrb w{}, {}", t.0, address(n, offset.into()))
            }
            Inst::LdrhX { t, n, offset } => {
                write!(f, "ldrh w{}, {}", t.0, address(n, offset.into()))
            }
            Inst::LdurX { t, n, offset } => write!(f, "ldur {t}, {}", address(n, offset.into())),
            Inst::LdrXIndex { t, n, m, scaled } => {
                write!(f, "ldr {t}, {}", indexed(n, m, 8, scaled))
            }
            Inst::Prfm { n, offset } => {
                write!(f, "prfm pldl1keep, {}", address(n, offset.into()))
            }
            Inst::Prfum { n, offset } => {
                write!(f, "prfum pldl1keep, {}", address(n, offset.into()))
            }
            Inst::Cbz { n, by } => write!(f, "cbz {n}, .{by:+}"),
            Inst::Cbnz { n, by } => write!(f, "cbnz {n}, .{by:+}"),
            Inst::Zero { d } => write!(f, "movi v{}.2d, #0", d.0),
            Inst::BtiC => f.write_str("bti c"),
            Inst::Ret => f.write_str("ret"),
            Inst::B { by } => write!(f, "b .{by:+}"),
            Inst::BCond { cond, by } => write!(f, "b.{} .{by:+}", cond.name()),
        }
    }
}
