//! sin, cos, tan in F32, right for every argument however large.
//!
//! Up to [`FAR`] the nearest multiple of pi/2 is taken away in five parts of pi/2, the first four of so few bits that their
//! products are exact with FMA and without. Above it, seldom, `|x| 2/pi` modulo 4 is multiplied out in digits of 12 bits:
//! lanes of 32 bits have neither longer products nor shifts by what a lane holds. The polynomials are from `derive.py`.

use super::dd;
use super::exp::ROUND_32;
use super::value::V;
use crate::loops::ir::{BinOp, Ty};

/// Up to here there are fewer than 2^13 multiples of pi/2.
const FAR: f64 = 12800.0;
/// pi/2 in parts, all but the last of 11 bits.
const PARTS: [f64; 5] = [
    1.5703125,
    0.0004837512969970703,
    7.549533620476723e-08,
    2.5632829192545614e-12,
    6.123234262925839e-17,
];
/// pi/2 in two parts.
const PI_2: (f64, f64) = (std::f32::consts::FRAC_PI_2 as f64, -4.371139000186241e-8);
/// 2/pi after the point, in digits of 12 bits.
const DIGITS: [i64; 16] = [
    2607, 2435, 1764, 3652, 338, 2556, 629, 2001, 3923, 1245, 3085, 2914, 2393, 2364, 1081, 65,
];
const SIN: [f64; 3] = [-0.16666655, 0.008332176, -0.00019516978];
const COS: [f64; 3] = [0.041666646, -0.0013887364, 2.4438092e-05];

/// `|x| = quarter * pi/2 + hi + lo`, |hi| at most about pi/4; bits of the quarter above the second mean nothing.
struct Reduced<'b> {
    quarter: V<'b>,
    hi: V<'b>,
    lo: V<'b>,
}

/// For a up to [`FAR`].
fn near<'b>(a: V<'b>) -> Reduced<'b> {
    let t = a.fma(a.num(std::f64::consts::FRAC_2_PI), a.num(ROUND_32));
    let n = t - ROUND_32;
    let u = n.fma(n.num(-PARTS[0]), a);
    let u = n.fma(n.num(-PARTS[1]), u);
    let (h, d) = less(u, n * PARTS[2]);
    let (h, e) = less(h, n * PARTS[3]);
    Reduced {
        quarter: t.bits(),
        hi: h,
        lo: n.fma(n.num(-PARTS[4]), d + e),
    }
}

/// `a - b` and its error, for |a| >= |b| or a difference that is exact.
fn less<'b>(a: V<'b>, b: V<'b>) -> (V<'b>, V<'b>) {
    let d = a - b;
    (d, (a - d) - b)
}

/// For a from [`FAR`] on; not finite: `hi` is NaN.
fn far<'b>(a: V<'b>) -> Reduced<'b> {
    // a = m 2^(12 q) with m a number of up to 36 bits: from the digit q before the point on, what is no multiple of 4.
    let bits = a.bits();
    let q = ((bits.shr(23) - bits.int(138)) * bits.int(43)).shr(9);
    let m = (bits - (q - bits.int(1)) * bits.int(12 << 23)).float();
    let zero = bits.int(0);
    let mut row = vec![zero; 2];
    row.extend(DIGITS.iter().map(|d| bits.int(*d)));
    const WANTED: usize = 9;
    let mut reach = 15;
    for step in [8, 4, 2, 1] {
        reach -= step;
        let skip = q.and(q.int(step as i64)).is_int(0);
        let there = |i: usize| row.get(i).copied().unwrap_or(zero);
        row = (0..WANTED + reach)
            .map(|i| skip.select(there(i), there(i + step)))
            .collect();
    }
    let digit = |x: V<'b>, weight: f64| (x * (1.0 / weight)).floor();
    let top = digit(m, 16777216.0);
    let rest = m - top * 16777216.0;
    let middle = digit(rest, 4096.0);
    let low = rest - middle * 4096.0;
    let m = [low, middle, top].map(|d| d.cast(Ty::I32));
    // The digits of the product, the last first, each with what the one behind it carries.
    let mut carry = zero;
    let mut digits = vec![];
    for k in (0..WANTED - 2).rev() {
        let sum = m[0] * row[k] + m[1] * row[k + 1] + m[2] * row[k + 2] + carry;
        carry = sum.shr(12);
        digits.push(if k == 0 { sum } else { sum.and(sum.int(0xfff)) });
    }
    digits.reverse();
    // The nearest quarter, and the signed rest.
    let half = digits[1].shr(11);
    let quarter = digits[0] + half;
    let first = digits[1] - half.shl(12);
    let part = |a: V<'b>, b: V<'b>, scale: f64| (a.shl(12) + b).cast(Ty::F32) * scale;
    const UNIT: f64 = 1.0 / 16777216.0;
    let (h, l) = dd::sum_sorted(
        part(first, digits[2], UNIT),
        part(digits[3], digits[4], UNIT * UNIT),
    );
    let l = l + part(digits[5], digits[6], UNIT * UNIT * UNIT);
    let (p, e) = dd::product(h, h.num(PI_2.0));
    Reduced {
        quarter,
        // NaN where a is not finite.
        hi: p + a * 0.0,
        lo: e + (h * PI_2.1 + l * PI_2.0),
    }
}

/// sin and cos of the rest, each as a sum of two floats.
fn sums<'b>(r: &Reduced<'b>) -> [(V<'b>, V<'b>); 2] {
    let (hi, lo) = (r.hi, r.lo);
    let z = hi * hi;
    let sin = (hi * z).fma(z.poly(&SIN), lo);
    // 1 - z/2 is rounded, and what it lost goes to the small part.
    let h = z * 0.5;
    let w = 1.0 - h;
    let cos = (z * z).fma(z.poly(&COS), ((1.0 - w) - h) - hi * lo);
    [(hi, sin), (w, cos)]
}

/// sin and cos of the rest.
fn sin_cos<'b>(r: &Reduced<'b>) -> (V<'b>, V<'b>) {
    let [sin, cos] = sums(r);
    (sin.0 + sin.1, cos.0 + cos.1)
}

/// `f` of an argument that is not negative, by either reduction.
fn of<'b>(x: V<'b>, f: impl Fn(Reduced<'b>) -> V<'b>) -> V<'b> {
    let a = x.abs();
    let large = a.num(FAR).le(a).seldom();
    large.select(f(far(a)), f(near(a)))
}

/// `y` with its sign flipped where `flip` has bit 1 set.
fn flipped<'b>(y: V<'b>, flip: V<'b>) -> V<'b> {
    let sign = flip.and(flip.int(2)).shl(30);
    y.bits().bin(BinOp::Xor, sign).float()
}

fn odd<'b>(r: &Reduced<'b>) -> V<'b> {
    r.quarter.and(r.quarter.int(1)).is_int(1)
}

/// The sign of `x` flips that of `y`.
fn signed<'b>(y: V<'b>, x: V<'b>) -> V<'b> {
    y.bits().bin(BinOp::Xor, x.sign_bit()).float()
}

pub(super) fn sin<'b>(x: V<'b>) -> V<'b> {
    let y = of(x, |r| {
        let (sin, cos) = sin_cos(&r);
        flipped(odd(&r).select(cos, sin), r.quarter)
    });
    signed(y, x)
}

pub(super) fn cos<'b>(x: V<'b>) -> V<'b> {
    of(x, |r| {
        let (sin, cos) = sin_cos(&r);
        flipped(odd(&r).select(sin, cos), r.quarter + r.quarter.int(1))
    })
}

pub(super) fn tan<'b>(x: V<'b>) -> V<'b> {
    let y = of(x, |r| {
        let [sin, cos] = sums(&r).map(|(a, b)| dd::sum_sorted(a, b));
        let odd = odd(&r);
        let pick = |a: V<'b>, b: V<'b>| odd.select(a, b);
        let (over, lost) = (pick(-cos.0, sin.0), pick(-cos.1, sin.1));
        let (under, low) = (pick(sin.0, cos.0), pick(sin.1, cos.1));
        // The quotient of the sums.
        let q = over / under;
        q + (lost - q * low) / under
    });
    signed(y, x)
}
