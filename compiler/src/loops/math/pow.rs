//! x to the power y, with the special values of C99 and IEEE 754.
//!
//! The magnitude is exp(y log |x|). The logarithm and its product with y are kept as sums of two floats. In F32 the
//! result is rounded once but for 2^-27 of it, so that powers which a float holds are exact.

use super::dd;
use super::exp::{LN2_32, LN2_64, exp, exp_sum_32};
use super::log::{ends, log, split, split_32};
use super::value::V;
use crate::loops::ir::{BinOp, Ty, UnOp};

/// log a as a sum of two floats, for positive finite a: `2 atanh(s)` by its series, the first two terms kept exactly.
fn long_log<'b>(a: V<'b>) -> (V<'b>, V<'b>) {
    let narrow = a.ty() == Ty::F32;
    let (k, f) = if narrow { split_32(a) } else { split(a) };
    let (two_thirds, ln_2) = match narrow {
        true => (TWO_THIRDS_32, LN2_32),
        false => (TWO_THIRDS, LN2_64),
    };
    // s = f / (2 + f)
    let (d, de) = dd::sum(f.num(2.0), f);
    let s = f / d;
    let (p, pe) = dd::product(s, d);
    let se = (((f - p) - pe) - s * de) / d;
    // z = s^2, t = s z
    let (z, ze) = dd::product(s, s);
    let ze = ze + s * se * 2.0;
    let (t, te) = dd::product(s, z);
    let te = te + (se * z + s * ze);
    // 2 s + 2/3 t + t z (2/5 + ...)
    let (c, ce) = dd::product(t, t.num(two_thirds.0));
    let tail = t * (z * z.poly(if narrow { &R_32 } else { &R }));
    let small = tail + (ce + (t * two_thirds.1 + te * two_thirds.0)) + se * 2.0;
    let (m, me) = dd::sum_sorted(s * 2.0, c);
    let (h, he) = dd::sum(k * ln_2.0, m);
    dd::sum_sorted(h, he + (me + (small + k * ln_2.1)))
}
const TWO_THIRDS: (f64, f64) = (0.6666666666666666, 3.700743415417188e-17);
const TWO_THIRDS_32: (f64, f64) = (0.6666666865348816, -1.9868215517249155e-8);
const R_32: [f64; 3] = [0.40000153, 0.2854711, 0.23419115];
/// The rest of the series, from 2/5 on; see `derive.py`.
const R: [f64; 7] = [
    0.40000000000000024,
    0.28571428571338325,
    0.22222222271185313,
    0.18181808234003144,
    0.15385575782820043,
    0.13285924657242199,
    0.1291402271694836,
];

/// exp(y log a) for a >= 0, F64.
fn long<'b>(a: V<'b>, y: V<'b>) -> V<'b> {
    let (h, l) = long_log(a);
    let (p, e) = dd::product(y, h);
    let e = e + y * l;
    let rough = y * log(a);
    let fine = rough.abs().below(800.0);
    let (p, e) = dd::sum_sorted(p, e);
    // exp(p + e) = exp(p) + exp(p) e
    let w = exp(fine.select(p, rough));
    fine.select(w + w * e, w)
}

/// The same in F32.
fn long_32<'b>(a: V<'b>, y: V<'b>) -> V<'b> {
    let (h, l) = long_log(a);
    // What is 0, infinite or NaN has no second part.
    let h = ends(a, h);
    let (p, e) = dd::product(y, h);
    let e = p.abs().below(200.0).select(e + y * l, p.num(0.0));
    exp_sum_32(p.clamp(-110.0, 89.0), e)
}

pub(super) fn pow<'b>(x: V<'b>, y: V<'b>) -> V<'b> {
    let narrow = x.ty() == Ty::F32;
    let a = x.abs();
    let m = if narrow { long_32(a, y) } else { long(a, y) };
    let half = y * 0.5;
    let whole = y.bin(BinOp::Eq, y.floor());
    let odd = whole.and(half.bin(BinOp::Ne, half.floor()));
    // The sign of x where y is odd, -0 and -infinity included.
    let m = odd.select(m.sign_of(x), m);
    let finite = a.below(f64::INFINITY);
    let undefined = x.below(0.0).and(finite).and(whole.un(UnOp::Not));
    // A NaN y is not whole but must give NaN in any case.
    let m = undefined.or(y.is_nan()).select(x.num(f64::NAN), m);
    // (-1)^(+-infinity) = 1; x^0 = 1 and 1^y = 1 even for NaN.
    let unit = a.is(1.0).and(y.abs().is(f64::INFINITY));
    y.is(0.0).or(x.is(1.0)).or(unit).select(x.num(1.0), m)
}
