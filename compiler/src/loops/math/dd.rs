//! Sums and products whose rounding error is kept (double-double), in plain additions and multiplications.
//!
//! Dekker's and Knuth's error-free transformations; a factor is cut in two by clearing the low half of its bits, so the
//! partial products are exact up to 2^-106 of the whole (2^-48 in F32).

use super::value::V;
use crate::loops::ir::Ty;

/// `a + b` and its error, for |a| >= |b| or a = 0.
pub(super) fn sum_sorted<'b>(a: V<'b>, b: V<'b>) -> (V<'b>, V<'b>) {
    let s = a + b;
    (s, b - (s - a))
}

/// `a + b` and its error.
pub(super) fn sum<'b>(a: V<'b>, b: V<'b>) -> (V<'b>, V<'b>) {
    let s = a + b;
    let v = s - a;
    (s, (a - (s - v)) + (b - v))
}

/// The high half of the bits, and the rest.
pub(super) fn cut<'b>(a: V<'b>) -> (V<'b>, V<'b>) {
    let bits = a.bits();
    let low = if a.ty() == Ty::F32 { 12 } else { 27 };
    let head = bits.and(bits.int(-1 << low)).float();
    (head, a - head)
}

/// `a * b` and its error.
pub(super) fn product<'b>(a: V<'b>, b: V<'b>) -> (V<'b>, V<'b>) {
    let p = a * b;
    let ((ah, al), (bh, bl)) = (cut(a), cut(b));
    (p, ((ah * bh - p) + ah * bl + al * bh) + al * bl)
}
