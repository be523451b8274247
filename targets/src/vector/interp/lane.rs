//! What operations do to one lane, and halves of vectors as f64.

use super::{NAN, Vector};
use crate::vector::ir::*;

/// A result of arithmetic.
pub(super) fn number(v: f32) -> u32 {
    if v.is_nan() { NAN } else { v.to_bits() }
}

pub(super) fn mask(holds: bool) -> u32 {
    if holds { u32::MAX } else { 0 }
}

/// Half precision to single.
pub fn from_half(h: u16) -> u32 {
    let sign = u32::from(h & 0x8000) << 16;
    let (exponent, fraction) = (u32::from(h >> 10 & 31), u32::from(h & 0x3ff));
    sign | match (exponent, fraction) {
        (31, 0) => 0x7f80_0000,
        // Made quiet.
        (31, f) => 0x7fc0_0000 | f << 13,
        // Multiples of 2^-24, exact in single precision.
        (0, f) => (f as f32 / 16_777_216.0).to_bits(),
        (e, f) => (e + 112) << 23 | f << 13,
    }
}

/// Single precision to half, half to even.
pub fn to_half(bits: u32) -> u16 {
    let sign = (bits >> 16 & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    let value = f32::from_bits(magnitude);
    sign | if value.is_nan() {
        0x7e00 | (magnitude >> 13 & 0x3ff) as u16
    } else if value >= 65520.0 {
        0x7c00
    } else if value < 1.0 / 16384.0 {
        (value * 16_777_216.0).round_ties_even() as u16
    } else {
        (((magnitude + 0xfff + (magnitude >> 13 & 1)) >> 13) - (112 << 10)) as u16
    }
}

/// Single precision to bfloat16, half to even.
pub fn to_bf16(bits: u32) -> u16 {
    if f32::from_bits(bits).is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((u64::from(bits) + 0x7fff + u64::from(bits >> 16 & 1)) >> 16) as u16
}

pub(super) fn bin(op: Bin, a: u32, b: u32) -> u32 {
    let (x, y) = (f32::from_bits(a), f32::from_bits(b));
    let (i, j) = (a as i32, b as i32);
    match op {
        Bin::Add => number(x + y),
        Bin::Sub => number(x - y),
        Bin::Mul => number(x * y),
        Bin::Div => number(x / y),
        Bin::Min if x < y => a,
        Bin::Max if x > y => a,
        Bin::Min | Bin::Max => b,
        Bin::Eq => mask(x == y),
        Bin::Ne => mask(x != y),
        Bin::Lt => mask(x < y),
        Bin::Le => mask(x <= y),
        Bin::And => a & b,
        Bin::AndNot => !a & b,
        Bin::Or => a | b,
        Bin::Xor => a ^ b,
        Bin::AddI => a.wrapping_add(b),
        Bin::SubI => a.wrapping_sub(b),
        Bin::MulI => a.wrapping_mul(b),
        Bin::MinI => i.min(j) as u32,
        Bin::MaxI => i.max(j) as u32,
        Bin::EqI => mask(a == b),
        Bin::GtI => mask(i > j),
    }
}

/// Both words of a lane.
pub(super) fn words(op: WordBin, a: u32, b: u32) -> u32 {
    let one = |shift: u32| {
        let [x, y] = [a, b].map(|v| (v >> shift) as u16);
        u32::from(match op {
            WordBin::Add => x.wrapping_add(y),
            WordBin::Sub => x.wrapping_sub(y),
        }) << shift
    };
    one(0) | one(16)
}

/// The f64 number `i` of a vector.
pub(super) fn real(v: &Vector, i: usize) -> f64 {
    f64::from_bits(u64::from(v[2 * i]) | u64::from(v[2 * i + 1]) << 32)
}

/// A vector of f64.
pub(super) fn reals(f: impl Fn(usize) -> f64) -> Vector {
    std::array::from_fn(|i| (f(i / 2).to_bits() >> (32 * (i % 2))) as u32)
}

/// Lanes 2 and 3 and lanes 4 and 5 change places.
pub(super) fn mixed(v: &Vector) -> Vector {
    let mut to = *v;
    to[2..6].rotate_left(2);
    to
}

pub(super) fn real_bin(op: RealBin, a: f64, b: f64) -> f64 {
    match op {
        RealBin::Add => a + b,
        RealBin::Sub => a - b,
        RealBin::Mul => a * b,
        RealBin::Min if a < b => a,
        RealBin::Max if a > b => a,
        RealBin::Min | RealBin::Max => b,
    }
}

/// The parts of a lane that are multiplied; absent ones are 0.
pub(super) fn parts(lane: u32, dot: Dot, weights: bool) -> [i32; 4] {
    let bytes = lane.to_le_bytes();
    match dot {
        Dot::Words => {
            let word = |i: usize| i32::from(i16::from_le_bytes([bytes[i], bytes[i + 1]]));
            [word(0), word(2), 0, 0]
        }
        Dot::BytesU if !weights => bytes.map(i32::from),
        Dot::BytesU | Dot::BytesS => bytes.map(|b| i32::from(b as i8)),
    }
}

pub(super) fn un(op: Un, a: u32) -> u32 {
    let x = f32::from_bits(a);
    match op {
        Un::Sqrt => number(x.sqrt()),
        Un::Round => number(x.round_ties_even()),
        Un::Floor => number(x.floor()),
        Un::Ceil => number(x.ceil()),
        Un::Trunc => number(x.trunc()),
        Un::FromInt => (a as i32 as f32).to_bits(),
    }
}

pub(super) fn shift(op: Shift, a: u32, by: u8) -> u32 {
    let by = u32::from(by);
    match op {
        Shift::Left => a.checked_shl(by).unwrap_or(0),
        Shift::Right => (a as i32 >> by.min(31)) as u32,
        Shift::RightU => a.checked_shr(by).unwrap_or(0),
    }
}

pub(super) fn holds(cond: Cond, a: i64, b: i64) -> bool {
    match cond {
        Cond::Eq => a == b,
        Cond::Ne => a != b,
        Cond::Lt => a < b,
        Cond::Le => a <= b,
        Cond::Gt => a > b,
        Cond::Ge => a >= b,
    }
}
