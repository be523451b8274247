//! Hyperbolic functions and their inverses (F64), by expm1, exp and log1p; each is odd or even and computed for |x|.

use super::exp::{exp, expm1};
use super::log::{log, log1p};
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
