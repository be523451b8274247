//! What A64 instructions are about: registers, widths, conditions.

use std::fmt;

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
    /// 1 byte; a load clears the rest.
    B,
    /// 2 bytes; a load clears the rest.
    H,
    /// 4 bytes; a load clears the rest.
    S,
    /// 8 bytes; a load clears the rest.
    D,
    /// 16 bytes.
    Q,
}

impl Width {
    /// Its size.
    pub fn bytes(self) -> u32 {
        match self {
            Width::B => 1,
            Width::H => 2,
            Width::S => 4,
            Width::D => 8,
            Width::Q => 16,
        }
    }
    pub(super) fn letter(self) -> char {
        match self {
            Width::B => 'b',
            Width::H => 'h',
            Width::S => 's',
            Width::D => 'd',
            Width::Q => 'q',
        }
    }
    /// The bits that tell widths apart in loads and stores: size and the high bit of the operation.
    pub(super) fn field(self) -> u32 {
        match self {
            Width::B => 0,
            Width::H => 0x4000_0000,
            Width::S => 0x8000_0000,
            Width::D => 0xC000_0000,
            Width::Q => 0x0080_0000,
        }
    }
    /// How instructions on one lane name it: the lane, and by the lowest set bit its width. None of 16 bytes.
    pub(super) fn lane(self, lane: u8) -> Option<u32> {
        let bytes = self.bytes();
        let lane = u32::from(lane);
        (bytes < 16 && lane < 16 / bytes).then_some((lane << 1 | 1) * bytes)
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
    pub(super) fn name(self) -> &'static str {
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

impl fmt::Display for X {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == SP {
            f.write_str("sp")
        } else {
            write!(f, "x{}", self.0)
        }
    }
}
