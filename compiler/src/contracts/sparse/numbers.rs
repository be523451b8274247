//! What rows of channels hold for each pixel, and where sums lie.

use crate::base::dtype::DType;
use crate::loops::build::Builder;
use crate::loops::ir::{BinOp, BufId, ExprId, Ty};

/// What is multiplied.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Numbers {
    /// f32 by f32.
    Floats,
    /// Pairs of words; sums lie as vectors of so many lanes have them.
    Words(i64),
    /// Neighbouring inputs in 32 bits.
    Near(Near),
}

/// What 32 bits hold.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Near {
    /// Two words.
    Pairs,
    /// Four bytes, inputs unsigned: those that have a sign are 128 more than they were.
    Bytes,
    /// Four bytes with signs: inputs without are 128 less than they were.
    SignedBytes,
}

impl Near {
    /// Inputs in 32 bits.
    pub fn width(self) -> i64 {
        match self {
            Near::Pairs => 2,
            Near::Bytes | Near::SignedBytes => 4,
        }
    }
    /// What inputs of a type are more than they were.
    pub fn shift(self, a_type: DType) -> i64 {
        match (self, a_type) {
            (Near::Bytes, DType::I8) => 128,
            (Near::SignedBytes, DType::U8) => -128,
            _ => 0,
        }
    }
    /// Bits of an input.
    fn bits(self) -> i64 {
        32 / self.width()
    }
}

impl Numbers {
    /// Rows of channels that an entry names.
    pub fn group(self) -> i64 {
        match self {
            Numbers::Floats | Numbers::Near(_) => 1,
            Numbers::Words(_) => 2,
        }
    }
    /// Neighbouring inputs of a row of channels.
    pub fn width(self) -> i64 {
        match self {
            Numbers::Near(near) => near.width(),
            _ => 1,
        }
    }
    /// How sums are stored.
    pub fn sums(self) -> DType {
        match self {
            Numbers::Floats => DType::F32,
            Numbers::Words(_) | Numbers::Near(_) => DType::I32,
        }
    }
    /// How rows of channels are stored, and values.
    pub fn rows(self) -> DType {
        match self {
            Numbers::Floats => DType::F32,
            Numbers::Words(_) => DType::I16,
            Numbers::Near(_) => DType::I32,
        }
    }
    pub(super) fn contract(self, [floats, words, near]: [&'static str; 3]) -> &'static str {
        match self {
            Numbers::Floats => floats,
            Numbers::Words(_) => words,
            Numbers::Near(_) => near,
        }
    }
    pub(super) fn to_shape(self) -> (String, i64) {
        let lanes = match self {
            Numbers::Floats => 0,
            Numbers::Words(lanes) => lanes,
            Numbers::Near(Near::Pairs) => 1,
            Numbers::Near(Near::Bytes) => 2,
            Numbers::Near(Near::SignedBytes) => 3,
        };
        ("words".to_string(), lanes)
    }
}

/// Where pixel `i` of a row of sums stands.
pub fn place(numbers: Numbers, i: i64) -> i64 {
    match numbers {
        Numbers::Floats | Numbers::Near(_) => i,
        Numbers::Words(lanes) => {
            let (pair, rest) = (i / (2 * lanes), i % (2 * lanes));
            let (quarter, half) = (rest / 8, rest % 8 / 4);
            pair * 2 * lanes + half * lanes + quarter * 4 + i % 4
        }
    }
}

/// The same for a number that is computed.
pub(super) fn place_of(b: &mut Builder, numbers: Numbers, i: ExprId) -> ExprId {
    let Numbers::Words(lanes) = numbers else {
        return i;
    };
    // From the largest part of a number to the smallest: how many of it, and for how many places each counts.
    let mut rest = i;
    let mut at = b.i(0);
    for (part, places) in [(2 * lanes, 2 * lanes), (8, 4), (4, lanes)] {
        let (part, places) = (b.i(part), b.i(places));
        let count = b.div(rest, part);
        rest = b.rem(rest, part);
        let by = b.mul(count, places);
        at = b.add(at, by);
    }
    b.add(at, rest)
}

/// The 32 bits of `count` neighbouring inputs from element `from` on.
pub fn gathered(
    b: &mut Builder,
    near: Near,
    a_type: DType,
    a: BufId,
    from: ExprId,
    count: i64,
) -> ExprId {
    let bits = near.bits();
    let mut all = b.int(Ty::I32, 0);
    for part in 0..count {
        let by = b.i(part);
        let at = b.add(from, by);
        let x = b.load(a, at);
        let more = b.int(Ty::I32, near.shift(a_type));
        let mask = b.int(Ty::I32, (1 << bits) - 1);
        let place = b.int(Ty::I32, i64::from((1i64 << (bits * part)) as i32));
        let x = b.add(x, more);
        let x = b.and(x, mask);
        let x = b.mul(x, place);
        all = b.or(all, x);
    }
    all
}

/// Input number `part` of 32 bits; `signed`: it has a sign.
pub(super) fn part_of(b: &mut Builder, near: Near, x: ExprId, part: i64, signed: bool) -> ExprId {
    let bits = near.bits();
    let (up, down) = (32 - bits * (part + 1), 32 - bits);
    let [up, down] = [up, down].map(|n| b.int(Ty::I32, n));
    let top = b.bin(BinOp::Shl, x, up);
    let op = if signed { BinOp::Shr } else { BinOp::ShrU };
    b.bin(op, top, down)
}
