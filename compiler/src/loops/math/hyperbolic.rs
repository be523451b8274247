//! Hyperbolic functions and their inverses, by expm1, exp and log1p; each is odd or even and computed for |x|.

use super::exp::{exp, exp_32, expm1};
use super::log::{log, log1p, log1p_32, log1p_or_log_2x_32};
use super::value::V;

/// Above this e^-x is nothing against e^x.
const FAR: f64 = 22.0;

/// e^x / 2 for large x: the square of e^(x/2), which does not overflow before the result does.
fn half_exp(x: V) -> V {
    let w = exp(x * 0.5);
    w * 0.5 * w
}

pub(super) fn sinh(x: V) -> V {
    let a = x.abs();
    let e = expm1(a);
    let near = 0.5 * (e + e / (e + 1.0));
    a.below(FAR).select(near, half_exp(a)).sign_of(x)
}

pub(super) fn cosh(x: V) -> V {
    let a = x.abs();
    let e = exp(a);
    a.below(FAR).select(0.5 * e + 0.5 / e, half_exp(a))
}

/// `(sinh x - x) / x^3` up to 1, in powers of x^2.
const SINH_32: [f64; 3] = [0.16666716, 0.008330277, 0.00020372726];

/// sinh in F32.
pub(super) fn sinh_32(x: V) -> V {
    let a = x.abs();
    let z = x * x;
    let near = (z * z.poly(&SINH_32)).fma(a, a);
    let h = exp_32(a, 1);
    let far = h - 0.25 / h;
    a.below(1.0).select(near, far).sign_of(x)
}

/// cosh in F32.
pub(super) fn cosh_32(x: V) -> V {
    let h = exp_32(x.abs(), 1);
    h + 0.25 / h
}

/// asinh in F32: as below.
pub(super) fn asinh_32(x: V) -> V {
    let a = x.abs();
    let z = a * a;
    let t = a + z / ((z + 1.0).sqrt() + 1.0);
    let y = log1p_or_log_2x_32(t, a.above(FAR_32), a);
    // Where x itself is the result.
    a.below(3e-4).select(a, y).sign_of(x)
}

/// acosh in F32: as below.
pub(super) fn acosh_32(x: V) -> V {
    let t = x - 1.0;
    let y = log1p_or_log_2x_32(t + (t * 2.0 + t * t).sqrt(), x.above(FAR_32), x);
    x.below(1.0).select(x.num(f64::NAN), y)
}
/// Above this, `log(2 x)` is the result of both.
const FAR_32: f64 = 10000.0;

/// `(atanh x - x) / x^3` up to 1/2, in powers of x^2.
const ATANH_32: [f64; 6] = [
    0.333333,
    0.20002595,
    0.1422136,
    0.118350916,
    0.05094045,
    0.1772628,
];

/// atanh in F32.
pub(super) fn atanh_32(x: V) -> V {
    let a = x.abs();
    let z = x * x;
    let near = (z * z.poly(&ATANH_32)).fma(a, a);
    let far = log1p_32((a + a) / (1.0 - a)) * 0.5;
    a.below(0.5).select(near, far).sign_of(x)
}

pub(super) fn tanh(x: V) -> V {
    let a = x.abs();
    let e = expm1((a + a).clamp(0.0, 80.0));
    let y = a.below(1.0).select(e / (e + 2.0), 1.0 - 2.0 / (e + 2.0));
    y.sign_of(x)
}

/// log(a + sqrt(a^2 + 1)), as log1p(a + a^2 / (1 + sqrt(a^2 + 1))).
pub(super) fn asinh(x: V) -> V {
    let a = x.abs();
    let z = a * a;
    let near = log1p(a + z / ((z + 1.0).sqrt() + 1.0));
    let far = log(a) + std::f64::consts::LN_2;
    a.below(1e8).select(near, far).sign_of(x)
}

/// log(x + sqrt(x^2 - 1)), by t = x - 1.
pub(super) fn acosh(x: V) -> V {
    let t = x - 1.0;
    let near = log1p(t + (t * 2.0 + t * t).sqrt());
    let far = log(x) + std::f64::consts::LN_2;
    let y = x.below(1e8).select(near, far);
    x.below(1.0).select(x.num(f64::NAN), y)
}

/// log((1 + x) / (1 - x)) / 2, as log1p(2 x / (1 - x)) / 2.
pub(super) fn atanh(x: V) -> V {
    let a = x.abs();
    (log1p((a + a) / (1.0 - a)) * 0.5).sign_of(x)
}
