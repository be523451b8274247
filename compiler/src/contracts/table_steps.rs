//! Tables of 256 bytes in a quarter of the room: by how much each entry lies above the one before.
//!
//! A table of a smooth function rises by nearly the same from entry to entry: those of Sigmoid, of what a number is gated by it, and of HardSwish by one of
//! four whole numbers side by side, most others by one of sixteen. A layer that is read often enough stores the first entry, the least rise, and for each
//! entry two bits or four of what it rises beside that; it writes the table out when it begins. All of it counts modulo 256, and every entry is exact.

use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{BufId, LoopKind, Ty};

/// Entries of a table.
const ENTRIES: usize = 256;
/// Bytes in front of the rises: what the first entry lies above, and the least rise.
const HEAD: usize = 2;
/// A layer with fewer results feels that its table is written out.
const OFTEN: i64 = 1 << 12;

/// A table by its rises.
#[derive(Debug, PartialEq)]
pub struct Steps {
    /// Of a rise, 2 or 4.
    bits: usize,
    packed: Vec<u8>,
}

impl Steps {
    /// A table in the order of its numbers; `None`: it is not short so.
    pub fn of(table: &[u8]) -> Option<Steps> {
        let (first, last) = (*table.first()?, table.get(ENTRIES - 1)?);
        let before = std::iter::once(last).chain(table);
        let rises: Vec<u8> = (table.iter().zip(before))
            .map(|(v, b)| v.wrapping_sub(*b))
            .collect();
        // What the first rises by is free: it begins where that is the least.
        let rises = &rises[1..];
        [2, 4].into_iter().find_map(|bits| {
            let most = (1u8 << bits) - 1;
            let fits = |least: &u8| rises.iter().all(|r| r.wrapping_sub(*least) <= most);
            let least = *rises.iter().find(|r| fits(r))?;
            let mut packed = vec![first.wrapping_sub(least), least];
            let codes: Vec<u8> = std::iter::once(0)
                .chain(rises.iter().map(|r| r.wrapping_sub(least)))
                .collect();
            packed.extend(codes.chunks(8 / bits).map(|together| {
                let shifted = together.iter().zip((0..8).step_by(bits));
                shifted.fold(0, |byte, (code, by)| byte | code << by)
            }));
            Some(Steps { bits, packed })
        })
    }
    /// The same for a layer with so many results, in models where bytes count.
    pub fn worth(cx: &LowerCx, table: &[u8], results: i64) -> Option<Steps> {
        let often = cx.counts_bytes() && results >= OFTEN;
        Steps::of(table).filter(|_| often)
    }
    /// Memory with the table, which the layer writes first. `signed`: entry 0 is that of the byte 0, those of negative numbers stand behind.
    pub fn write(self, cx: &mut LowerCx, signed: bool) -> Result<BufId> {
        let (n, bits) = (self.packed.len() as i64, self.bits as i64);
        let packed = Tensor::new(DType::U8, vec![n], self.packed.into())?;
        let packed = cx.constant("rises", packed);
        let table = cx.scratch_per_thread("table", DType::U8, Dim::Fixed(ENTRIES as i64));
        let head = [0, 1].map(|at| {
            let at = cx.b.i(at);
            let v = cx.b.load(packed, at);
            cx.b.let_(v)
        });
        let [before, least] = head;
        let entry = cx.b.var(before);
        // Entries of a byte, and bytes of half a table.
        let together = 8 / bits;
        let (half, bytes) = (ENTRIES as i64 / 2, ENTRIES as i64 / 2 / together);
        let halves = cx.b.i(2);
        cx.for_(halves, LoopKind::Seq, |cx, h| {
            let count = cx.b.i(bytes);
            cx.for_(count, LoopKind::Seq, |cx, i| {
                let b = &mut cx.b;
                let at = ex!(b; ((h * {b.i(bytes)}) + i) + {b.i(HEAD as i64)});
                let byte = b.load(packed, at);
                let byte = b.let_(byte);
                let begin = match signed {
                    true => ex!(b; {b.i(half)} - (h * {b.i(half)})),
                    false => ex!(b; h * {b.i(half)}),
                };
                let first = ex!(b; begin + (i * {b.i(together)}));
                for k in 0..together {
                    let (by, mask) = (b.int(Ty::I32, k * bits), b.int(Ty::I32, (1 << bits) - 1));
                    let code = b.shr_u(byte, by);
                    let code = b.and(code, mask);
                    let so_far = b.get(entry);
                    let v = ex!(b; (so_far + least) + code);
                    let all = b.int(Ty::I32, 0xff);
                    let v = b.and(v, all);
                    b.set(entry, v);
                    let at = ex!(b; first + {b.i(k)});
                    let v = b.get(entry);
                    b.store(table, at, v);
                }
                Ok(())
            })
        })?;
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The entries that rises stand for.
    fn written(s: &Steps) -> Vec<u8> {
        let mut v = s.packed[0];
        let per = 8 / s.bits;
        let code = |i: usize| s.packed[HEAD + i / per] >> (i % per * s.bits) & ((1 << s.bits) - 1);
        let next = |i| {
            v = v.wrapping_add(s.packed[1]).wrapping_add(code(i));
            v
        };
        (0..ENTRIES).map(next).collect()
    }

    #[test]
    fn smooth_tables_are_found_again() {
        let silu = |scale: f64, by: f64| {
            (0..256)
                .map(|i| {
                    let x = f64::from(i - 128) * scale;
                    let y = x / (1.0 + libm::exp(-x)) * by;
                    libm::rint(y - 100.0).clamp(-128.0, 127.0) as i8 as u8
                })
                .collect::<Vec<u8>>()
        };
        for (scale, by, bits) in [(0.05, 18.0, 2), (0.01, 150.0, 2), (0.04, 150.0, 4)] {
            let table = silu(scale, by);
            let s = Steps::of(&table).expect("a short form");
            assert_eq!((s.bits, s.packed.len()), (bits, HEAD + 32 * bits));
            assert_eq!(written(&s), table);
        }
        // What falls, and what passes 255.
        let falls: Vec<u8> = (0..=255u8).map(|i| 7u8.wrapping_sub(i / 2)).collect();
        assert_eq!(Steps::of(&falls).map(|s| written(&s)), Some(falls));
    }

    #[test]
    fn others_are_none() {
        let wild: Vec<u8> = (0..=255u8).map(|i| i.wrapping_mul(i)).collect();
        assert_eq!(Steps::of(&wild), None);
        assert_eq!(Steps::of(&[0; 255]), None);
        assert_eq!(Steps::of(&[]), None);
    }
}
