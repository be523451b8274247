//! Products and sums that are longer than their operands, and products of small matrices, as they are written down.

use super::*;

/// Byte `i` of a vector, with its sign.
fn byte(v: &Vector, i: usize) -> i32 {
    i32::from((v[i / 4] >> (8 * (i % 4))) as u8 as i8)
}

/// Word `i` of a vector, with its sign.
fn word(v: &Vector, i: usize) -> i32 {
    i32::from((v[i / 2] >> (16 * (i % 2))) as u16 as i16)
}

impl Machine<'_> {
    /// Does one of these operations.
    pub(super) fn long(&mut self, op: &Op) -> Result<()> {
        let n = self.isa.lanes;
        let lanes = |of: &dyn Fn(usize) -> u32| -> Vector {
            std::array::from_fn(|i| if i < n { of(i) } else { UNDEFINED })
        };
        match *op {
            Op::Long {
                op,
                d,
                a,
                b,
                second,
            } => {
                let (old, x, y) = (self.v(d)?, self.v(a)?, self.v(b)?);
                let half = usize::from(second);
                let words = |add: bool, i: usize| {
                    let of = |w: usize| {
                        let at = 2 * n * half + w;
                        let first = if add { word(&old, w) } else { 0 };
                        (first + byte(&x, at) * byte(&y, at)) as u16
                    };
                    u32::from(of(2 * i)) | u32::from(of(2 * i + 1)) << 16
                };
                let at = |i: usize| n * half + i;
                let new = match op {
                    Long::Bytes => lanes(&|i| words(false, i)),
                    Long::AddBytes => lanes(&|i| words(true, i)),
                    Long::AddWords => lanes(&|i| {
                        let product = word(&x, at(i)) * word(&y, at(i));
                        old[i].wrapping_add(product as u32)
                    }),
                    Long::Sum => lanes(&|i| old[i].wrapping_add(word(&x, at(i)) as u32)),
                };
                self.set(d, new)
            }
            Op::Halves { d, a, b } => {
                let (x, y) = (self.v(a)?, self.v(b)?);
                let of = |i: usize| if i < n / 2 { x[i] } else { y[i - n / 2] };
                self.set(d, lanes(&of))
            }
            Op::Zip {
                d,
                a,
                b,
                words,
                second,
            } => {
                let (x, y) = (self.v(a)?, self.v(b)?);
                let bits = if words { 16 } else { 8 };
                let per = 32 / bits;
                // Element `i` of one, and the same of the other.
                let element =
                    |v: &Vector, i: usize| v[i / per] >> (bits * (i % per)) & ((1 << bits) - 1);
                let of = |lane: usize| {
                    let parts = (0..per).map(|p| {
                        let at = lane * per + p;
                        let i = at / 2 + if second { n * per / 2 } else { 0 };
                        let from = if at.is_multiple_of(2) { &x } else { &y };
                        element(from, i) << (bits * p)
                    });
                    parts.sum()
                };
                self.set(d, lanes(&of))
            }
            Op::Matrix { d, a, b, signed } => {
                let (old, x, y) = (self.v(d)?, self.v(a)?, self.v(b)?);
                let left = |i: usize| match signed {
                    true => byte(&x, i),
                    false => byte(&x, i) & 0xff,
                };
                let of = |i: usize| {
                    let (row, column) = (8 * (i / 2), 8 * (i % 2));
                    let sum: i32 = (0..8).map(|k| left(row + k) * byte(&y, column + k)).sum();
                    old[i].wrapping_add(sum as u32)
                };
                self.set(d, lanes(&of))
            }
            _ => wrong("no long operation"),
        }
    }
}
