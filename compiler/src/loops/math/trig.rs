//! sin, cos, tan in F64, right for every argument however large.
//!
//! Reduction after Payne and Hanek, without tables in memory: |x| is a whole number m times 2^p. Of 2/pi only the bits
//! matter that m 2^p moves between the weight 2 (quarter turns modulo 4) and what is too small to count: a window at a
//! place that p tells. It is picked from constants by selections, multiplied with m in whole numbers, and its top two bits
//! are the quarter, the others the signed rest in units of 2^-62 quarter turns. The polynomials are from `derive.py`.

use super::dd;
use super::value::V;
use crate::loops::ir::{BinOp, Ty};

/// The bits of 2/pi after the point.
const TWO_OVER_PI: [u64; 19] = [
    0xa2f9_836e_4e44_1529,
    0xfc27_57d1_f534_ddc0,
    0xdb62_9599_3c43_9041,
    0xfe51_63ab_debb_c561,
    0xb724_6e3a_424d_d2e0,
    0x0649_2eea_09d1_921c,
    0xfe1d_eb1c_b129_a73e,
    0xe882_35f5_2ebb_4484,
    0xe99c_7026_b45f_7e41,
    0x3991_d639_8353_39f4,
    0x9c84_5f8b_bdf9_283b,
    0x1ff8_97ff_de05_980f,
    0xef2f_118b_5a0a_6d1f,
    0x6d36_7ecf_27cb_09b7,
    0x4f46_3f66_9e5f_ea2d,
    0x7527_bac7_ebe5_f17b,
    0x3d07_39f7_8a52_92ea,
    0x6bfb_5fb1_1f8d_5d08,
    0x5603_3046_fc7b_6bab,
];
const SIN: [f64; 7] = [
    -0.16666666666666666,
    0.008333333333333331,
    -0.0001984126984126504,
    2.755731921932058e-06,
    -2.50521062259944e-08,
    1.6058530596645953e-10,
    -7.586636882825159e-13,
];
const COS: [f64; 7] = [
    0.041666666666666664,
    -0.0013888888888888887,
    2.4801587301584632e-05,
    -2.755731922139249e-07,
    2.0876755787492604e-09,
    -1.1470460319209511e-11,
    4.745838412531023e-14,
];
const PI_2: (f64, f64) = (std::f64::consts::FRAC_PI_2, 6.123233995736766e-17);
const PI_4: f64 = std::f64::consts::FRAC_PI_4;
/// 2^-62 and 2^-64.
const UNIT: f64 = 1.0 / (1u64 << 62) as f64;
const WORD: f64 = UNIT / 4.0;

/// `|x| = quarter * pi/2 + hi + lo`, |hi| at most about pi/4; the quarter modulo 4.
struct Reduced<'b> {
    quarter: V<'b>,
    hi: V<'b>,
    lo: V<'b>,
}

/// `count` words of a row of 64-bit words that begins with one zero word and goes on with 2/pi, from bit `at` on.
fn window<'b>(at: V<'b>, levels: &[usize], count: usize) -> Vec<V<'b>> {
    let zero = at.int(0);
    let mut row = vec![zero];
    row.extend(TWO_OVER_PI.iter().map(|w| at.int(*w as i64)));
    let word = at.shr_u(6);
    let mut reach: usize = levels.iter().sum();
    for &step in levels {
        reach -= step;
        let skip = word.and(word.int(step as i64)).is_int(0);
        row = (0..count + 1 + reach)
            .map(|i| {
                let there = |i: usize| row.get(i).copied().unwrap_or(zero);
                skip.select(there(i), there(i + step))
            })
            .collect();
    }
    // A shift takes its amount modulo 64: in two steps, the second word's part vanishes where the first needs none.
    let s = at.and(at.int(63));
    let back = at.int(63) - s;
    (0..count)
        .map(|i| {
            let low = row[i + 1].shr_u(1).bin(BinOp::ShrU, back);
            row[i].bin(BinOp::Shl, s).or(low)
        })
        .collect()
}

/// The quarter and the signed rest of a fixed-point number of quarter turns with 62 bits after the point.
fn quarters<'b>(turns: V<'b>) -> (V<'b>, V<'b>) {
    let quarter = (turns + turns.int(1 << 61)).shr_u(62);
    (quarter, turns - quarter.shl(62))
}

fn reduce<'b>(x: V<'b>) -> Reduced<'b> {
    let a = x.abs();
    let bits = a.bits();
    let e = bits.int(1013).bin(BinOp::Max, bits.shr_u(52));
    let m = bits.and(bits.int((1 << 52) - 1)).or(bits.int(1 << 52));
    let w = window(e - e.int(1013), &[16, 8, 4, 2, 1], 3);
    // 128 bits of m * w: the first word has 62 bits after the point, the second 64 more.
    let low = m * w[1] + m.bin(BinOp::MulHiU, w[2]);
    let carry = low.bin(BinOp::LtU, m * w[1]).cast(Ty::I64);
    let turns = m * w[0] + m.bin(BinOp::MulHiU, w[1]) + carry;
    let (quarter, rest) = quarters(turns);
    // The rest as a sum of two floats, then times pi/2.
    let top = rest.cast(Ty::F64);
    let left = (rest - top.cast(Ty::I64)).cast(Ty::F64) + low.cast_unsigned(Ty::F64) * WORD;
    let (hi, lo) = dd::sum_sorted(top, left);
    let (p, q) = dd::product(hi, hi.num(PI_2.0));
    let (p, q) = dd::sum_sorted(p, q + (hi * PI_2.1 + lo * PI_2.0));
    let near = a.below(PI_4);
    Reduced {
        quarter: near.select(quarter.int(0), quarter),
        hi: near.select(a, p * UNIT),
        lo: near.select(a.num(0.0), q * UNIT),
    }
}

/// sin and cos of the rest.
fn sin_cos<'b>(r: &Reduced<'b>) -> (V<'b>, V<'b>) {
    let (hi, lo) = (r.hi, r.lo);
    let z = hi * hi;
    let h = z * 0.5;
    let w = 1.0 - h;
    let sin = hi + (hi * (z * z.poly(&SIN)) + lo * w);
    let cos = w + (((1.0 - w) - h) + (z * (z * z.poly(&COS)) - hi * lo));
    (sin, cos)
}

/// `y` under the sign bit of `x`, flipped where `quarter` has bit 2 set; NaN where x is not finite.
fn finish<'b>(x: V<'b>, y: V<'b>, flip: V<'b>) -> V<'b> {
    let y = y.bits().bin(BinOp::Xor, flip.shl(63)).float();
    let finite = x.abs().below(f64::INFINITY);
    finite.select(y, y.num(f64::NAN))
}

/// 1 in the lowest bit where x is negative.
fn negative<'b>(x: V<'b>) -> V<'b> {
    x.bits().shr_u(63)
}

/// The sine.
pub(super) fn sin<'b>(x: V<'b>) -> V<'b> {
    let r = reduce(x);
    let (sin, cos) = sin_cos(&r);
    let odd = r.quarter.and(r.quarter.int(1)).is_int(1);
    let flip = r.quarter.shr_u(1).bin(BinOp::Xor, negative(x));
    finish(x, odd.select(cos, sin), flip)
}

/// The cosine.
pub(super) fn cos<'b>(x: V<'b>) -> V<'b> {
    let r = reduce(x);
    let (sin, cos) = sin_cos(&r);
    let odd = r.quarter.and(r.quarter.int(1)).is_int(1);
    let flip = r.quarter.shr_u(1).bin(BinOp::Xor, r.quarter);
    finish(x, odd.select(sin, cos), flip)
}

/// The tangent.
pub(super) fn tan<'b>(x: V<'b>) -> V<'b> {
    let r = reduce(x);
    let (sin, cos) = sin_cos(&r);
    let odd = r.quarter.and(r.quarter.int(1)).is_int(1);
    let y = odd.select(-cos, sin) / odd.select(sin, cos);
    finish(x, y, negative(x))
}
