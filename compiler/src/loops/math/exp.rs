//! The exponential and what is made of it in a few operations: exp, expm1, sigmoid, and f32 tanh.
//!
//! `x = n ln 2 + r` with n the nearest whole number, found by adding 1.5 * 2^p so that it stands in the low bits of the
//! sum (no conversion, no branch); `exp(r) = 1 + r + r^2 q(r)` with q from `derive.py`; 2^n is made of bits, in two
//! factors where the result may leave the range of normal numbers. The product n ln 2 is taken in two parts, the first
//! of so few bits that it is exact without FMA as well.
//!
//! In f32 the constants 1 and 2^n are added last, so that what is rounded twice is small: within 2 ulp with FMA or without.

use super::value::V;
use crate::loops::ir::{BinOp, Ty};

const Q32: [f64; 5] = [
    0.49999994,
    0.16666521,
    0.04166839,
    0.008368745,
    0.0013814539,
];
const Q64: [f64; 11] = [
    0.5,
    0.1666666666666667,
    0.04166666666666667,
    0.008333333333326112,
    0.001388888888888373,
    0.0001984126987490126,
    2.4801587325605324e-05,
    2.7557255297969643e-06,
    2.755727357010214e-07,
    2.5105259538448494e-08,
    2.0914717341716378e-09,
];
const LOG2_E: f64 = std::f64::consts::LOG2_E;
/// ln 2 in two parts, the first of 15 bits.
pub(super) const LN2_32: (f64, f64) = (45426.0 / 65536.0, 1.4286068203094172e-06);
/// ln 2 in two parts, the first of 32 bits.
pub(super) const LN2_64: (f64, f64) = (0.6931471803691238, 1.9082149292705877e-10);
/// Small numbers added to these are rounded to whole ones, which stand in the low bits.
pub(super) const ROUND_32: f64 = 12582912.0;
const ROUND_64: f64 = 6755399441055744.0;

/// `(n, exp(r) - 1)` with `x = n ln 2 + r`; n whole, of x's width.
fn reduce(x: V) -> (V, V) {
    if x.ty() == Ty::F32 {
        let (n, e) = reduce_32(x);
        (n - x.num(ROUND_32).bits(), e)
    } else {
        let t = x * LOG2_E + ROUND_64;
        let n = t - ROUND_64;
        let r = (x - n * LN2_64.0) - n * LN2_64.1;
        let n = t.bits() - x.num(ROUND_64).bits();
        (n, r + r * r * r.poly(&Q64))
    }
}

/// The same in f32, with n in the low 23 bits of a number whose next 9 mean nothing.
fn reduce_32<'b>(x: V<'b>) -> (V<'b>, V<'b>) {
    let t = x.fma(x.num(LOG2_E), x.num(ROUND_32));
    let n = t - ROUND_32;
    let r = n.fma(x.num(-LN2_32.0), x);
    let r = n.fma(x.num(-LN2_32.1), r);
    (t.bits(), (r * r).fma(r.poly(&Q32), r))
}

/// e^x, gradual underflow and infinities included.
pub(super) fn exp<'b>(x: V<'b>) -> V<'b> {
    if x.ty() == Ty::F32 {
        return exp_32(x, 0);
    }
    let (n, t) = reduce(x.clamp(-746.0, 710.0));
    let half = n.shr(1);
    (t + 1.0) * half.exp2() * (n - half).exp2()
}

/// e^x in f32 for x of 0 and less, or NaN; 0 where the result is no normal number (some of those next to them are there).
pub(super) fn exp_down_32(x: V) -> V {
    // At the lower end 2^n is 0: n is -127.
    let (n, e) = reduce_32(x.num(-88.0).bin(BinOp::Max, x));
    let p = (n.shl(23) + n.int(127 << 23)).float();
    e.fma(p, p)
}

/// e^x / 2^by in f32, which overflows where the result does; by from 0 to 20.
pub(super) fn exp_32<'b>(x: V<'b>, by: i64) -> V<'b> {
    let (shifted, e) = reduce_32(x.clamp(-104.0, 89.0 + 0.6875 * by as f64));
    let (p, q) = powers_32(shifted, by);
    e.fma(p, p) * q
}

/// 2^(n - by) in two factors, both normal; n stands in the low bits, what lies above them is shifted out.
fn powers_32<'b>(shifted: V<'b>, by: i64) -> (V<'b>, V<'b>) {
    let half = shifted.shr(1);
    let power = |n: V<'b>, by: i64| (n.shl(23) + n.int((127 - by) << 23)).float();
    (power(half, 0), power(shifted - half, by))
}

/// e^(x + low) in f32, rounded once but for an error of about 2^-28 of it: `low` is small against 1.
pub(super) fn exp_sum_32<'b>(x: V<'b>, low: V<'b>) -> V<'b> {
    let t = x.fma(x.num(LOG2_E), x.num(ROUND_32));
    let n = t - ROUND_32;
    // x - n ln 2 as a sum r + rest.
    let s = n.fma(x.num(-LN2_32.0), x);
    let c = n * LN2_32.1;
    let d = s - c;
    let lost = ((s - d) - c) + low;
    let r = d + lost;
    let rest = (d - r) + lost;
    // 1 + r is rounded, and what it lost goes to the rest.
    let one = r + 1.0;
    let rest = (r - (one - 1.0)) + (r * r).fma(r.poly(&Q32), rest);
    let (p, q) = powers_32(t.bits(), 0);
    (one + rest) * p * q
}

/// e^x - 1 in f32.
pub(super) fn expm1_32(x: V) -> V {
    // Below -18 the result is -1.
    let (n, e) = reduce_32(x.clamp(-18.0, 89.0));
    // 2^n (1 + e) - 1, all of it halved: 2^n alone overflows where the result does not.
    let s = (n.shl(23) + n.int(126 << 23)).float();
    let y = e.fma(s, s - 0.5);
    // Where x itself is the result; keeps -0.
    x.abs().below(3e-8).select(x, y + y)
}

/// e^x - 1 (F64).
pub(super) fn expm1(x: V) -> V {
    let (n, t) = reduce(x.clamp(-40.0, 710.0));
    // 2^n (1 + t) - 1, all of it divided by 2^b while it might overflow.
    let a = n.int(1000).bin(BinOp::Min, n);
    let b = n - a;
    let s = a.exp2();
    let y = (s * t + (s - (b.int(0) - b).exp2())) * b.exp2();
    // Where x itself is the result; keeps -0.
    x.abs().below(1e-17).select(x, y)
}

/// 1 / (1 + e^-x).
pub(super) fn sigmoid(x: V) -> V {
    if x.ty() == Ty::F32 {
        // All of the fraction is divided by 2^32: then nothing overflows, and small results are rounded once.
        let scale = x.num(1.0 / 4294967296.0);
        return scale / one_plus_exp((-x).clamp(-32.0, 105.0), 32);
    }
    let z = exp(-x.abs());
    let one = x.num(1.0);
    x.below(0.0).select(z, one) / (z + 1.0)
}

/// `(1 + e^x) / 2^by` in f32, where it neither overflows nor underflows.
fn one_plus_exp(x: V, by: i64) -> V {
    let (n, e) = reduce_32(x);
    let n = n.shl(23);
    let p = (n + n.int((127 - by) << 23)).float();
    let one = n.int((127 - by) << 23).float();
    // 2^n + 1 is exact, or rounded where it is far from the other's size: then the sum is as good as rounded once.
    e.fma(p, p + one)
}

/// tanh in f32: an odd polynomial near 0, 1 - 2 / (1 + e^2x) elsewhere.
pub(super) fn tanh32(x: V) -> V {
    const P: [f64; 5] = [
        -0.33333284,
        0.13331491,
        -0.053743497,
        0.020650586,
        -0.0057170447,
    ];
    let a = x.abs();
    let z = x * x;
    let small = (z * z.poly(&P)).fma(a, a);
    let d = one_plus_exp((a + a).clamp(0.0, 20.0), 0);
    let large = 1.0 - 2.0 / d;
    a.below(0.625).select(small, large).sign_of(x)
}

/// `1 - e^x` in f32 for x from about -18 to 0, rounded once.
pub(super) fn one_minus_exp(x: V) -> V {
    let (n, t) = reduce(x);
    let s = n.exp2();
    (-s).fma(t, 1.0 - s)
}
