//! x to the power y, with the special values of C99 and IEEE 754.
//!
//! The magnitude is exp(y log |x|). In F32 plain F64 arithmetic has bits enough; in F64 the logarithm and its product with y
//! are kept as sums of two floats.

use super::dd;
use super::exp::{LN2_64, exp};
use super::log::{log, split};
use super::value::V;
use crate::loops::ir::{BinOp, Ty, UnOp};

/// exp(y log a) for a >= 0 in F64 arithmetic, good for results in F32.
fn short<'b>(a: V<'b>, y: V<'b>) -> V<'b> {
    exp(y * log(a))
}

/// log a as a sum of two floats, for positive finite a: `2 atanh(s)` by its series, the first two terms kept exactly.
fn long_log<'b>(a: V<'b>) -> (V<'b>, V<'b>) {
    let (k, f) = split(a);
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
    let (c, ce) = dd::product(t, t.num(TWO_THIRDS.0));
    let tail = t * (z * z.poly(&R));
    let small = tail + (ce + (t * TWO_THIRDS.1 + te * TWO_THIRDS.0)) + se * 2.0;
    let (m, me) = dd::sum_sorted(s * 2.0, c);
    let (h, he) = dd::sum(k * LN2_64.0, m);
    dd::sum_sorted(h, he + (me + (small + k * LN2_64.1)))
}
const TWO_THIRDS: (f64, f64) = (0.6666666666666666, 3.700743415417188e-17);
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

/// exp(y log a) for a >= 0.
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

pub(super) fn pow<'b>(x: V<'b>, y: V<'b>) -> V<'b> {
    let narrow = x.ty() == Ty::F32;
    let (x, y) = (x.cast(Ty::F64), y.cast(Ty::F64));
    let a = x.abs();
    let m = if narrow { short(a, y) } else { long(a, y) };
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
    let one = y.is(0.0).or(x.is(1.0)).or(unit).select(x.num(1.0), m);
    if narrow { one.cast(Ty::F32) } else { one }
}
