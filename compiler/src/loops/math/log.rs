//! Logarithms: log, log1p, log2 in F64, and log and log1p in F32.
//!
//! `x = 2^k m` with m from sqrt(1/2) to sqrt(2), `f = m - 1`, `s = f / (2 + f)`:
//! `log m = 2 atanh s = f - s (f - R)`, `R = 2 s^2 / 3 + 2 s^4 / 5 + ...` from `derive.py`. Written as
//! `f - (f^2/2 - s (f^2/2 + R))`, where f is exact and the rest small against it. In F32 there is no division: `log m = f - f^2/2 + f^3 P(f)`.

use super::exp::{LN2_32, LN2_64};
use super::value::V;
use crate::loops::ir::{BinOp, Ty};

const R: [f64; 7] = [
    0.666666666666667,
    0.3999999999989924,
    0.2857142862609589,
    0.2222221111514416,
    0.18182890556695602,
    0.1533167403016786,
    0.1461703754879165,
];
/// `(log(1 + f) - f + f^2/2) / f^3`, from `derive.py`.
const P32: [f64; 8] = [
    0.3333333,
    -0.25000823,
    0.20001231,
    -0.16623251,
    0.14201564,
    -0.13161093,
    0.127635,
    -0.07634437,
];
/// Smallest normal number.
const NORMAL: f64 = f64::MIN_POSITIVE;

/// `(k, f)` with `x = 2^k (1 + f)`, k as F64, for positive finite x.
pub(super) fn split<'b>(x: V<'b>) -> (V<'b>, V<'b>) {
    let tiny = x.below(NORMAL);
    let big = tiny.select(x * 18014398509481984.0, x);
    let bits = big.bits();
    let sqrt_half = bits.int(std::f64::consts::FRAC_1_SQRT_2.to_bits() as i64);
    let k = (bits - sqrt_half).shr(52);
    let m = (bits - k.shl(52)).float();
    let k = k.cast(Ty::F64) - tiny.select(x.num(54.0), x.num(0.0));
    (k, m - 1.0)
}

/// `log(1 + f) - f`, plus `c`, for f as [`split`] gives it; c is small and added before rounding.
fn rest<'b>(f: V<'b>, c: V<'b>) -> V<'b> {
    let s = f / (f + 2.0);
    let z = s * s;
    let h = f * f * 0.5;
    s * (h + z * z.poly(&R)) + c - h
}

/// Results at 0, infinity, NaN and below 0; y elsewhere.
pub(super) fn ends<'b>(x: V<'b>, y: V<'b>) -> V<'b> {
    let y = x.is(f64::INFINITY).select(x, y);
    let y = x.is(0.0).select(x.num(f64::NEG_INFINITY), y);
    x.below(0.0).or(x.is_nan()).select(x.num(f64::NAN), y)
}

/// Natural logarithm.
pub(super) fn log(x: V) -> V {
    let (k, f) = split(x);
    let y = k * LN2_64.0 + (f + rest(f, k * LN2_64.1));
    ends(x, y)
}

/// Logarithm to base 2; exact for powers of two.
pub(super) fn log2(x: V) -> V {
    let (k, f) = split(x);
    // 1 / ln 2 in two parts, the first of few bits: f times it is nearly exact.
    let head = (f.bits().and(f.bits().int(-1 << 32))).float();
    let tail = (f - head) + rest(f, f.num(0.0));
    let y = k + (head * INV_LN2.0 + (tail * INV_LN2.0 + (head + tail) * INV_LN2.1));
    ends(x, y)
}
/// 1 / ln 2 in two parts, the first of 21 bits.
const INV_LN2: (f64, f64) = (1.4426946640014648, 3.768874985636099e-07);

/// log(1 + x) without loss near 0: `u = 1 + x` loses c, and `log(u + c) = log u + c / u`.
pub(super) fn log1p(x: V) -> V {
    let u = x + 1.0;
    let v = u - 1.0;
    let c = (1.0 - (u - v)) + (x - v);
    let fine = u.above(0.0).and(u.bin(BinOp::Lt, u.num(f64::INFINITY)));
    let c = fine.select(c / u, x.num(0.0));
    let (k, f) = split(u);
    let y = k * LN2_64.0 + (f + rest(f, k * LN2_64.1 + c));
    let y = ends(u, y);
    // Where x itself is the result; keeps -0.
    x.abs().below(1e-17).select(x, y)
}

/// `k ln 2 + log(1 + f)` in f32, for f as [`split`] gives it.
fn log_of_split_32<'b>(k: V<'b>, f: V<'b>) -> V<'b> {
    let low = k.fma(k.num(LN2_32.1), f * f * f.fma(f.poly(&P32), f.num(-0.5)));
    k.fma(k.num(LN2_32.0), f + low)
}

/// `(k, f)` with `x = 2^k (1 + f)`, in f32, for positive finite x.
pub(super) fn split_32<'b>(x: V<'b>) -> (V<'b>, V<'b>) {
    let tiny = x.below(f64::from(f32::MIN_POSITIVE));
    let bits = tiny.select(x * 8388608.0, x).bits();
    let sqrt_half = bits.int(i64::from(std::f32::consts::FRAC_1_SQRT_2.to_bits()));
    let k = (bits - sqrt_half).shr(23);
    let f = (bits - k.shl(23)).float() - 1.0;
    (k.cast(Ty::F32) - tiny.select(x.num(23.0), x.num(0.0)), f)
}

/// Natural logarithm in f32.
pub(super) fn log_32(x: V) -> V {
    let (k, f) = split_32(x);
    ends(x, log_of_split_32(k, f))
}

/// `log(u + c) + log 2^more` in f32, for normal u or what [`ends`] knows, c small against it.
fn log_sum_32<'b>(u: V<'b>, c: V<'b>, more: Option<V<'b>>) -> V<'b> {
    let bits = u.bits();
    let sqrt_half = bits.int(i64::from(std::f32::consts::FRAC_1_SQRT_2.to_bits()));
    // k in the exponent's place.
    let k = (bits - sqrt_half).and(bits.int(-1 << 23));
    let down = (bits.int(127 << 23) - k.bin(BinOp::Min, bits.int(126 << 23))).float();
    let f = c.fma(down, (bits - k).float() - 1.0);
    let k = k.shr(23).cast(Ty::F32);
    ends(u, log_of_split_32(more.map_or(k, |m| k + m), f))
}

/// `log(1 + x)` in f32: what `1 + x` loses is added to f, brought to the size of m.
pub(super) fn log1p_32(x: V) -> V {
    let u = x + 1.0;
    let y = log_sum_32(u, x - (u - 1.0), None);
    // Where x itself is the result; keeps -0.
    x.abs().below(3e-8).select(x, y)
}

/// `far ? log(2 x) : log(1 + t)` in f32, by one logarithm; not for t where the result is t itself, but for 0.
pub(super) fn log1p_or_log_2x_32<'b>(t: V<'b>, far: V<'b>, x: V<'b>) -> V<'b> {
    let zero = x.num(0.0);
    let near = t + 1.0;
    let u = far.select(x, near);
    let c = far.select(zero, t - (near - 1.0));
    log_sum_32(u, c, Some(far.select(x.num(1.0), zero)))
}
