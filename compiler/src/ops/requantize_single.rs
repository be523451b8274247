//! Requantizing by single precision: RequantizeSingle, RequantizeLarge, RequantizeParts, RescaledSumSingle, RescaledSumParts,
//! RequantizeBent, RescaledProductSingle, Bend, Curve. Not operators of ONNX: the pass `singles` makes them of the forms in f64
//! where it has proved, number by number, that they give the same. They take a third of the instructions.

use super::quantized::byte;
use super::requantize::{infer, nearest, within};
use super::util::bad;
use crate::base::dtype::DType;
use crate::loops::build::Builder;
use crate::loops::ir::{BinOp, Const, Expr, ExprId, Ty, UnOp};
use crate::op::{BASE, Lower, OpDef, PointCx};

/// An f32 of this size has no fraction, and its last bit is that of whole numbers: 1.5 * 2^23.
pub const LARGE: f32 = 12_582_912.0;

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&REQUANTIZE_SINGLE, &REQUANTIZE_LARGE, &REQUANTIZE_BENT, &REQUANTIZE_PARTS, &RESCALED_SUM_SINGLE,
    &RESCALED_SUM_PARTS, &RESCALED_PRODUCT_SINGLE, &BEND, &CURVE];

/// Inputs: whole numbers x (i32 or narrower); multiplier and offset (f32); any more: sums (i32) at which the result is one too large.
/// Attributes: `shift`, a whole number; `to`, the result's type; `lo` and `hi`, its bounds.
/// Output, with `s = x + shift`: `near(fma(s, multiplier, offset))`, less one where `s` is such a sum, within the bounds.
pub static REQUANTIZE_SINGLE: OpDef = OpDef {
    name: "RequantizeSingle",
    inputs: (3, 5),
    infer: |cx| infer(cx, &[0, 3, 4], &[1, 2], |d| d == DType::F32),
    lower: Lower::Pointwise(|cx, x| {
        let s = shifted(cx, x[0]);
        let real = cx.b.cast(Ty::F32, s);
        let v = cx.b.fma(real, x[1], x[2]);
        let v = nearest(cx.b, v);
        let v = less_at(cx, v, s, &x[3..]);
        Ok(within(cx, v))
    }),
    in_range: true,
    ..BASE
};

/// Inputs and attributes as those of [`REQUANTIZE_SINGLE`], the offset having [`LARGE`] in it.
/// Output, with `s = x + shift`: `fma(s, multiplier, offset) - LARGE`, less one where `s` is such a sum, within the bounds; what is that large
/// is rounded to whole numbers by the product and sum.
pub static REQUANTIZE_LARGE: OpDef = OpDef {
    name: "RequantizeLarge",
    inputs: (3, 5),
    infer: |cx| infer(cx, &[0, 3, 4], &[1, 2], |d| d == DType::F32),
    lower: Lower::Pointwise(|cx, x| {
        let s = shifted(cx, x[0]);
        let real = cx.b.cast(Ty::F32, s);
        let v = cx.b.fma(real, x[1], x[2]);
        let v = whole_of_large(cx.b, v);
        let v = less_at(cx, v, s, &x[3..]);
        Ok(within(cx, v))
    }),
    in_range: true,
    ..BASE
};

/// Inputs: whole numbers x (i32); multiplier and offset (f32) of a line, and of another, offsets having [`LARGE`] in them unless the
/// attribute `near` has them rounded at the end; with the attribute `apart`: what is
/// added to sums for the second line (f32, a whole number); any more: sums (i32) at which the result is one too large. Attributes as those of
/// [`REQUANTIZE_SINGLE`], and `least`, whether the smaller of both lines counts, else the larger does.
/// Output: the line `fma(x + shift, multiplier, offset) - LARGE` that counts, less one where `x + shift` is such a sum, within the bounds.
pub static REQUANTIZE_BENT: OpDef = OpDef {
    name: "RequantizeBent",
    inputs: (5, 12),
    infer: |cx| {
        // Numbers come first, then whole ones.
        let whole = 5 + usize::from(cx.attrs.flag("apart"));
        let all: Vec<usize> = std::iter::once(0).chain(whole..12).collect();
        let real: Vec<usize> = (1..whole).collect();
        infer(cx, &all, &real, |d| d == DType::F32)
    },
    lower: Lower::Pointwise(|cx, x| {
        let s = shifted(cx, x[0]);
        let real = cx.b.cast(Ty::F32, s);
        let above = cx.b.fma(real, x[1], x[2]);
        let apart = cx.attrs.flag("apart");
        let real = match apart {
            true => cx.b.add(real, x[5]),
            false => real,
        };
        let below = cx.b.fma(real, x[3], x[4]);
        let v = match cx.attrs.flag("least") {
            true => cx.b.min(above, below),
            false => cx.b.max(above, below),
        };
        let v = match cx.attrs.flag("near") {
            true => nearest(cx.b, v),
            false => whole_of_large(cx.b, v),
        };
        let v = less_at(cx, v, s, &x[5 + usize::from(apart)..]);
        Ok(within(cx, v))
    }),
    in_range: true,
    ..BASE
};

/// The whole number that stands on top of [`LARGE`]: whole numbers follow one another as the bits of floats of this size do.
fn whole_of_large(b: &mut Builder, v: ExprId) -> ExprId {
    let bits = b.un(UnOp::ToBits, v);
    let large = b.int(Ty::I32, -i64::from(LARGE.to_bits()));
    b.add(bits, large)
}

/// A result, less one where the sum is one of `wrong`.
fn less_at(cx: &mut PointCx, mut v: ExprId, s: ExprId, wrong: &[ExprId]) -> ExprId {
    for &wrong in wrong {
        let met = cx.b.bin(BinOp::Eq, s, wrong);
        let (one, none) = (cx.b.int(Ty::I32, -1), cx.b.int(Ty::I32, 0));
        let less = cx.b.select(met, one, none);
        v = cx.b.add(v, less);
    }
    v
}

/// A whole number as f32. What [`REQUANTIZE_LARGE`] makes is one already but for [`LARGE`], and its limits are as good there.
fn real(b: &mut Builder, x: ExprId) -> ExprId {
    real_less(b, x, 0, [false; 2])
}

/// A whole number less a small one as f32. `open`: whether its limits below and above may be left out where its maker computes in f32.
fn real_less(b: &mut Builder, x: ExprId, less: i64, open: [bool; 2]) -> ExprId {
    if let Some(v) = float_of(b, x, less as f32, open) {
        return v;
    }
    let v = b.cast(Ty::F32, x);
    match less {
        0 => v,
        less => {
            let less = b.num(Ty::F32, less as f64);
            b.sub(v, less)
        }
    }
}

/// A known whole number.
fn number(b: &Builder, e: ExprId) -> Option<i32> {
    match b.as_const(e) {
        Some(Const::I32(v)) => Some(v),
        _ => None,
    }
}

fn float_of(b: &mut Builder, x: ExprId, less: f32, open: [bool; 2]) -> Option<ExprId> {
    match *b.made(x) {
        Expr::Bin(op @ (BinOp::Min | BinOp::Max), inner, limit) => {
            let limit = number(b, limit).filter(|v| v.abs() <= 1 << 23)?;
            let inner = float_of(b, inner, less, open)?;
            if open[usize::from(op == BinOp::Min)] {
                return Some(inner);
            }
            let limit = b.num(Ty::F32, f64::from(limit) - f64::from(less));
            Some(b.bin(op, inner, limit))
        }
        _ => {
            let v = large_of(b, x)?;
            // A small number on top of the large one is exact.
            let large = b.num(Ty::F32, f64::from(LARGE + less));
            Some(b.sub(v, large))
        }
    }
}

/// The f32 on top of whose [`LARGE`] a whole number stands, if it was made so: what takes one off at some sums takes it off the bits.
fn large_of(b: &mut Builder, x: ExprId) -> Option<ExprId> {
    let Expr::Bin(BinOp::Add, inner, more) = *b.made(x) else {
        return None;
    };
    if let Expr::Un(UnOp::ToBits, v) = *b.made(inner) {
        return (number(b, more)? == -(LARGE.to_bits() as i32)).then_some(v);
    }
    let Expr::Select(_, one, none) = *b.made(more) else {
        return None;
    };
    if [number(b, one)?, number(b, none)?] != [-1, 0] {
        return None;
    }
    let v = large_of(b, inner)?;
    let bits = b.un(UnOp::ToBits, v);
    let bits = b.add(bits, more);
    Some(b.un(UnOp::FromBits, bits))
}

/// The attributes `open_below` and `open_above`: numbers beyond those of a byte give what the last byte does.
fn open(cx: &PointCx) -> [bool; 2] {
    ["open_below", "open_above"].map(|name| cx.attrs.flag(name))
}

/// A sum and the attribute `shift`.
fn shifted(cx: &mut PointCx, x: ExprId) -> ExprId {
    match cx.attrs.int("shift", 0) {
        0 => x,
        shift => {
            let shift = cx.b.int(Ty::I32, shift);
            cx.b.add(x, shift)
        }
    }
}

/// Inputs: whole numbers x (i32 or narrower); its multiplier in two parts (f32), high and low; an offset (f32); the zero point less the bits of [`LARGE`]
/// (i32): an input, so that layers of any zero point share code. Attributes `shift`, `to`, `lo` and `hi` as those of [`REQUANTIZE_SINGLE`].
/// Output, with `s = x + shift` and `v = fma(s, high, LARGE)`: `v + (fma(s, high, LARGE - v) + fma(s, low, offset)) - LARGE + zero` within the bounds,
/// where `LARGE` is so large that adding to it rounds to whole numbers.
pub static REQUANTIZE_PARTS: OpDef = OpDef {
    name: "RequantizeParts",
    inputs: (5, 5),
    infer: |cx| infer(cx, &[0, 4], &[1, 2, 3], |d| d == DType::F32),
    lower: Lower::Pointwise(|cx, x| {
        let s = shifted(cx, x[0]);
        let real = cx.b.cast(Ty::F32, s);
        let large = cx.b.num(Ty::F32, f64::from(LARGE));
        let v = cx.b.fma(real, x[1], large);
        let less = cx.b.sub(large, v);
        let left = cx.b.fma(real, x[1], less);
        let rest = cx.b.fma(real, x[2], x[3]);
        let rest = cx.b.add(left, rest);
        let v = cx.b.add(v, rest);
        // Whole numbers follow one another as the bits of floats of this size do.
        let bits = cx.b.un(UnOp::ToBits, v);
        let v = cx.b.add(bits, x[4]);
        Ok(within(cx, v))
    }),
    in_range: true,
    ..BASE
};

/// Inputs: bytes a; multiplier (f32); bytes b; multiplier; offset (f32). Attributes as those of [`REQUANTIZE_SINGLE`].
/// Output: `near(fma(a, ma, fma(b, mb, offset)))` within the bounds.
pub static RESCALED_SUM_SINGLE: OpDef = OpDef {
    name: "RescaledSumSingle",
    inputs: (5, 5),
    infer: |cx| infer(cx, &[0, 2], &[1, 3, 4], |d| d == DType::F32),
    lower: Lower::Pointwise(|cx, x| {
        let (a, b) = (real(cx.b, x[0]), real(cx.b, x[2]));
        let v = cx.b.fma(b, x[3], x[4]);
        let v = cx.b.fma(a, x[1], v);
        let v = nearest(cx.b, v);
        Ok(within(cx, v))
    }),
    in_range: true,
    ..BASE
};

/// Inputs: bytes a; its multiplier in two parts (f32), high and low; bytes b; its multiplier; the offset. Attributes as those of [`REQUANTIZE_SINGLE`].
/// Output, with `high` and `low` the sums of each part, of which those of high parts are exact, and `whole = round(high)`:
/// `whole + near(high - whole + low)` within the bounds.
pub static RESCALED_SUM_PARTS: OpDef = OpDef {
    name: "RescaledSumParts",
    inputs: (8, 8),
    infer: |cx| infer(cx, &[0, 3], &[1, 2, 4, 5, 6, 7], |d| d == DType::F32),
    lower: Lower::Pointwise(|cx, x| {
        let (a, b) = (real(cx.b, x[0]), real(cx.b, x[3]));
        let mut sum = |part: usize| {
            let v = cx.b.fma(b, x[4 + part], x[6 + part]);
            cx.b.fma(a, x[1 + part], v)
        };
        let (high, low) = (sum(0), sum(1));
        let whole = cx.b.un(UnOp::Round, high);
        let rest = cx.b.sub(high, whole);
        let rest = cx.b.add(rest, low);
        let rest = nearest(cx.b, rest);
        let whole = nearest(cx.b, high);
        let v = cx.b.add(whole, rest);
        Ok(within(cx, v))
    }),
    in_range: true,
    ..BASE
};

/// Inputs: bytes a and b, or such numbers less their zero points (f32); multiplier and offset (f32); any more: products (f32) at which the result is one too
/// large. Attributes: `zero_a`, `zero_b`, and as those of [`REQUANTIZE_SINGLE`]. Output, with `s = (a - zero_a) * (b - zero_b) + shift`, which is exact: `near(fma(s, multiplier, offset))`, less one
/// where `s` is such a product, within the bounds.
pub static RESCALED_PRODUCT_SINGLE: OpDef = OpDef {
    name: "RescaledProductSingle",
    inputs: (4, 6),
    infer: |cx| infer(cx, &[], &[0, 1, 2, 3, 4, 5], |d| d == DType::F32 || byte(d)),
    lower: Lower::Pointwise(|cx, x| {
        // Small whole numbers are exact in f32.
        let mut centred = |at: usize, zero: &str| match cx.b.ty(x[at]) {
            Ty::F32 => x[at],
            _ => real_less(cx.b, x[at], cx.attrs.int(zero, 0), [false; 2]),
        };
        let (a, b) = (centred(0, "zero_a"), centred(1, "zero_b"));
        let shift = cx.b.num(Ty::F32, cx.attrs.int("shift", 0) as f64);
        let s = cx.b.fma(a, b, shift);
        let v = cx.b.fma(s, x[2], x[3]);
        let v = nearest(cx.b, v);
        let v = less_at(cx, v, s, &x[4..]);
        Ok(within(cx, v))
    }),
    in_range: true,
    ..BASE
};

/// Inputs: bytes x; multiplier and offset (f32) of a first line and of a second, unless the attribute `lines` has those of one line or of two. Attributes:
/// `least`, whether the smaller of two lines counts, else the larger does; `open_below` and `open_above`; `to`, `lo` and `hi` as those of
/// [`REQUANTIZE_SINGLE`].
/// Output: `near(x * multiplier + offset)` within the bounds. Whoever makes it sees to it that products and sums are exact.
pub static BEND: OpDef = OpDef {
    name: "Bend",
    inputs: (1, 5),
    infer: |cx| infer(cx, &[0], &[1, 2, 3, 4], |d| d == DType::F32),
    lower: Lower::Pointwise(|cx, x| {
        let open = open(cx);
        let whole = real_less(cx.b, x[0], 0, open);
        let own = cx.attrs.floats("lines").unwrap_or(&[]).iter();
        let mut numbers: Vec<_> = own.map(|v| cx.b.num(Ty::F32, f64::from(*v))).collect();
        numbers.extend(&x[1..]);
        let mut v = None;
        for line in numbers.chunks_exact(2) {
            let y = cx.b.fma(whole, line[0], line[1]);
            v = Some(match v {
                None => y,
                Some(v) if cx.attrs.flag("least") => cx.b.min(v, y),
                Some(v) => cx.b.max(v, y),
            });
        }
        let v = nearest(cx.b, v.unwrap_or(whole));
        Ok(within(cx, v))
    }),
    in_range: true,
    ..BASE
};

/// Inputs: bytes x. Attributes: `numbers`, what x has for 0, the slope of a gate, its value there, its largest value, and the result there; `open_below` and
/// `open_above`; `to`, `lo` and `hi` as those of [`REQUANTIZE_SINGLE`]. Output, with `d = x - zero`: `near(fma(d, clamp(fma(d, slope, middle), 0, top), offset))` within the bounds.
pub static CURVE: OpDef = OpDef {
    name: "Curve",
    inputs: (1, 1),
    infer: |cx| infer(cx, &[0], &[], |d| d == DType::F32),
    lower: Lower::Pointwise(|cx, x| {
        let numbers = cx.attrs.floats("numbers").unwrap_or(&[]);
        let &[zero, slope, middle, top, offset] = numbers else {
            return bad("Curve has five numbers");
        };
        let open = open(cx);
        let d = real_less(cx.b, x[0], zero as i64, open);
        let mut number = |v: f32| cx.b.num(Ty::F32, f64::from(v));
        let [slope, middle, top, offset, none] = [slope, middle, top, offset, 0.0].map(&mut number);
        let gate = cx.b.fma(d, slope, middle);
        let gate = cx.b.clamp(gate, none, top);
        let v = cx.b.fma(d, gate, offset);
        let v = nearest(cx.b, v);
        Ok(within(cx, v))
    }),
    in_range: true,
    ..BASE
};
