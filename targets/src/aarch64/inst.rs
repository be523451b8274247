//! The A64 instructions that the kernels use, as data: encoding and text of each.
//!
//! Encodings are those of the Arm Architecture Reference Manual (DDI 0487), chapter C. Registers are typed, every field is checked,
//! and what does not fit is an error. x18 belongs to the platform and can't be written down. Every form is compared with an
//! independent decoder by a test, text against text.

use std::fmt;

use onnxc_compiler::base::diag::{Diagnostic, Result};

/// A general register, x0 to x30 without x18.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct X(pub u8);

/// The stack pointer, where an instruction takes one in place of a general register.
pub const SP: X = X(31);

/// A vector register, v0 to v31.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct V(pub u8);

/// How much of a vector register is loaded or stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    /// 4 bytes; a load clears the rest.
    S,
    /// 8 bytes; a load clears the rest.
    D,
    /// 16 bytes.
    Q,
}

impl Width {
    fn bytes(self) -> u32 {
        match self {
            Width::S => 4,
            Width::D => 8,
            Width::Q => 16,
        }
    }
    fn letter(self) -> char {
        match self {
            Width::S => 's',
            Width::D => 'd',
            Width::Q => 'q',
        }
    }
}

/// Conditions of signed comparisons.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Cond {
    Eq = 0,
    Ne = 1,
    Ge = 10,
    Lt = 11,
    Gt = 12,
    Le = 13,
}

impl Cond {
    fn name(self) -> &'static str {
        match self {
            Cond::Eq => "eq",
            Cond::Ne => "ne",
            Cond::Ge => "ge",
            Cond::Lt => "lt",
            Cond::Gt => "gt",
            Cond::Le => "le",
        }
    }
}

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
    /// Loads 4 bytes from `n + m`.
    LdrIndexS { t: V, n: X, m: X },
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
    /// Clears a vector.
    Zero { d: V },
    /// A landing pad for calls; does nothing on CPUs without the extension.
    BtiC,
    /// Returns to the caller.
    Ret,
    /// A jump.
    B { by: i64 },
    /// A jump where a condition holds.
    BCond { cond: Cond, by: i64 },
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
                let base = match w {
                    Width::S => 0xBD40_0000,
                    Width::D => 0xFD40_0000,
                    Width::Q => 0x3DC0_0000,
                };
                base | scaled(offset, w.bytes())? << 10 | gp_sp(n)? << 5 | vec(t)?
            }
            Inst::Str { w, t, n, offset } => {
                let base = match w {
                    Width::S => 0xBD00_0000,
                    Width::D => 0xFD00_0000,
                    Width::Q => 0x3D80_0000,
                };
                base | scaled(offset, w.bytes())? << 10 | gp_sp(n)? << 5 | vec(t)?
            }
            Inst::LdrIndexS { t, n, m } => 0xBC60_6800 | gp(m)? << 16 | gp_sp(n)? << 5 | vec(t)?,
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
            Inst::Zero { d } => 0x6F00_E400 | vec(d)?,
            Inst::BtiC => 0xD503_245F,
            Inst::Ret => 0xD65F_03C0,
            Inst::B { by } => 0x1400_0000 | distance(by, 26)?,
            Inst::BCond { cond, by } => 0x5400_0000 | distance(by, 19)? << 5 | cond as u32,
        })
    }
}

impl fmt::Display for X {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == SP {
            f.write_str("sp")
        } else {
            write!(f, "x{}", self.0)
        }
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
            Inst::LdrIndexS { t, n, m } => write!(f, "ldr s{}, [{n}, {m}]", t.0),
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
            Inst::Zero { d } => write!(f, "movi v{}.2d, #0", d.0),
            Inst::BtiC => f.write_str("bti c"),
            Inst::Ret => f.write_str("ret"),
            Inst::B { by } => write!(f, "b .{by:+}"),
            Inst::BCond { cond, by } => write!(f, "b.{} .{by:+}", cond.name()),
        }
    }
}
