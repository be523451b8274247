//! asin, acos, atan.
//!
//! asin: an odd polynomial up to 1/2; above, `asin x = pi/2 - 2 asin(sqrt((1 - x) / 2))`. atan: `atan x = c + atan t` with c
//! one of 0, pi/4, pi/2 and |t| <= tan(pi/8). In F32 atan has one limit, 1, and
//! divides only above it. Polynomials from `derive.py`.

use super::dd;
use super::value::V;
use crate::loops::ir::{BinOp, Ty};

const ASIN: [f64; 13] = [
    0.16666666666666669,
    0.07499999999998425,
    0.04464285714637338,
    0.030381944137085216,
    0.022372173002005596,
    0.017352391265909227,
    0.013971235301124539,
    0.011478952690257387,
    0.010324318288744113,
    0.00545087818772055,
    0.017419357964884856,
    -0.014881409392818066,
    0.02877844261259304,
];
const ATAN: [f64; 13] = [
    -0.3333333333333333,
    0.19999999999999993,
    -0.14285714285711498,
    0.11111111110752325,
    -0.09090909066866446,
    0.07692306730961795,
    -0.06666641908302051,
    0.05881923626133301,
    -0.052580257920073425,
    0.04719294405473837,
    -0.04104029750501821,
    0.030626287828475894,
    -0.013908703447288225,
];
const ASIN_32: [f64; 5] = [0.16666754, 0.07495233, 0.045478344, 0.024140988, 0.04223055];
const ATAN_32: [f64; 9] = [
    -0.33333302,
    0.19998638,
    -0.14265245,
    0.10957576,
    -0.08419459,
    0.058234546,
    -0.031455696,
    0.011064438,
    -0.0018272123,
];
const PI_2_32: (f64, f64) = (std::f32::consts::FRAC_PI_2 as f64, -4.371139e-8);
const PI_2: (f64, f64) = (std::f64::consts::FRAC_PI_2, 6.123233995736766e-17);
const PI_4: (f64, f64) = (std::f64::consts::FRAC_PI_4, 3.061616997868383e-17);

/// asin of `a` (not negative): `(near, s)` with asin = s up to 1/2 and pi/2 - 2 s above.
fn core<'b>(a: V<'b>) -> (V<'b>, V<'b>) {
    let near = a.le(a.num(0.5));
    let z = near.select(a * a, (1.0 - a) * 0.5);
    let r = near.select(a, z.sqrt());
    let s = match a.ty() {
        Ty::F32 => (z * z.poly(&ASIN_32)).fma(r, r),
        _ => r + r * (z * z.poly(&ASIN)),
    };
    (near, s)
}

/// asin in F32: above 1/2 the root is kept as a sum of two floats, for it is taken from pi/2.
pub(super) fn asin_32(x: V) -> V {
    let a = x.abs();
    let near = a.le(a.num(0.5));
    let z = near.select(a * a, (1.0 - a) * 0.5);
    let root = z.sqrt();
    let r = near.select(a, root);
    let p = z * z.poly(&ASIN_32) * r;
    let (head, _) = dd::cut(root);
    // (0 for the root of 0)
    let tail = (z - head * head) / root.num(1e-30).bin(BinOp::Max, root + head);
    let quarter = PI_2_32.0 / 2.0;
    let low = p * 2.0 - (PI_2_32.1 - tail * 2.0);
    let far = quarter - (low - (quarter - head * 2.0));
    near.select(r + p, far).sign_of(x)
}

/// asin in F64.
pub(super) fn asin(x: V) -> V {
    let (near, s) = core(x.abs());
    near.select(s, PI_2.0 - (s * 2.0 - PI_2.1)).sign_of(x)
}

pub(super) fn acos(x: V) -> V {
    let (near, s) = core(x.abs());
    let negative = x.below(0.0);
    let p = match x.ty() {
        Ty::F32 => PI_2_32,
        _ => PI_2,
    };
    let mid = p.0 - (negative.select(-s, s) - p.1);
    let far = negative.select(2.0 * p.0 - (s * 2.0 - 2.0 * p.1), s * 2.0);
    near.select(mid, far)
}

/// atan in F32.
pub(super) fn atan_32(x: V) -> V {
    let a = x.abs();
    let far = a.above(1.0);
    let (zero, one) = (a.num(0.0), a.num(1.0));
    let t = far.select(-one, a) / far.select(a, one);
    let z = t * t;
    let lo = far.select(a.num(PI_2_32.1), zero);
    let y = t + (z * z.poly(&ATAN_32)).fma(t, lo);
    (far.select(a.num(PI_2_32.0), zero) + y).sign_of(x)
}

/// atan in F64.
pub(super) fn atan(x: V) -> V {
    let a = x.abs();
    let (far, mid) = (a.above(2.414213562373095), a.above(0.41421356237309503));
    let (zero, one) = (a.num(0.0), a.num(1.0));
    let over = far.select(-one, mid.select(a - 1.0, a));
    let under = far.select(a, mid.select(a + 1.0, one));
    let t = over / under;
    let z = t * t;
    let pick = |f: f64, m: f64| far.select(a.num(f), mid.select(a.num(m), zero));
    let (hi, lo) = (pick(PI_2.0, PI_4.0), pick(PI_2.1, PI_4.1));
    (hi + (t + (t * (z * z.poly(&ATAN)) + lo))).sign_of(x)
}
