//! Numbers of channels that are stored as bytes or words, and made floats when a layer begins.
//!
//! Offsets of results stand on top of a large number (`RequantizeLarge` and its kin), and differ from it by whole numbers that a byte holds mostly. A layer that
//! reads them often enough stores them so, and writes them out once: what kernels read stays as it is.

use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::kernel::LowerCx;
use crate::loops::ir::{BufId, LoopKind, Ty};
use crate::ops::requantize_single::LARGE;

/// Fewer numbers are not worth the code.
const FEW: usize = 32;
/// A layer with so many results for each number, or more, does not feel that it is written out.
const OFTEN: i64 = 16;

/// Floats that are whole numbers on top of another one.
pub struct Narrow {
    on: f32,
    numbers: Tensor,
}

impl Narrow {
    /// A constant of a layer with so many results; `None`: it stays as it is.
    pub fn of(t: &Tensor, results: i64) -> Option<Narrow> {
        let n = t.len();
        if t.dtype != DType::F32 || n < FEW || results < OFTEN * n as i64 {
            return None;
        }
        let all = t.to_f32s()?;
        [LARGE, 0.0].into_iter().find_map(|on| {
            let less: Vec<f32> = all.iter().map(|v| v - on).collect();
            let back = less.iter().zip(&all);
            // As bits: a zero with a sign would lose it.
            let same = |(l, v): (&f32, &f32)| (*l as i64 as f32 + on).to_bits() == v.to_bits();
            let types = [
                (DType::U8, 0.0, 255.0),
                (DType::I8, -128.0, 127.0),
                (DType::I16, -32768.0, 32767.0),
            ];
            let holds =
                |(_, lo, hi): &(DType, f32, f32)| less.iter().all(|l| (*lo..=*hi).contains(l));
            let (dtype, ..) = types.into_iter().find(holds)?;
            let numbers: Vec<f64> = less.iter().map(|l| f64::from(*l)).collect();
            back.clone().all(same).then(|| Narrow {
                on,
                numbers: Tensor::from_f64s(dtype, &[n as i64], &numbers),
            })
        })
    }
    /// Memory with the floats, which the layer writes first.
    pub fn wide(self, cx: &mut LowerCx, name: &str) -> Result<BufId> {
        let n = self.numbers.len() as i64;
        let wide = cx.scratch_per_thread(name, DType::F32, Dim::Fixed(n));
        let numbers = cx.constant("narrow", self.numbers);
        let n = cx.b.i(n);
        cx.for_(n, LoopKind::Lanes, |cx, i| {
            let v = cx.b.load(numbers, i);
            let v = cx.b.cast(Ty::F32, v);
            let on = cx.b.num(Ty::F32, f64::from(self.on));
            let v = cx.b.add(v, on);
            cx.b.store(wide, i, v);
            Ok(())
        })?;
        Ok(wide)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(v: &[f32], results: i64) -> Option<(f32, DType)> {
        let t = Tensor::f32(&[v.len() as i64], v);
        Narrow::of(&t, results).map(|n| (n.on, n.numbers.dtype))
    }

    #[test]
    fn only_whole_numbers_that_fit_are_narrow() {
        let on = |by: f32| (0..40).map(|i| LARGE + by + i as f32).collect::<Vec<_>>();
        assert_eq!(of(&on(0.0), 640), Some((LARGE, DType::U8)));
        assert_eq!(of(&on(-20.0), 640), Some((LARGE, DType::I8)));
        assert_eq!(of(&on(230.0), 640), Some((LARGE, DType::I16)));
        assert_eq!(of(&on(-LARGE - 7.0), 640), Some((0.0, DType::I8)));
        // Read too seldom, too few, no whole numbers, too large, a zero with a sign.
        assert_eq!(of(&on(0.0), 639), None);
        assert_eq!(of(&on(0.0)[..31], 640), None);
        assert_eq!(of(&[0.5; 40], 640), None);
        assert_eq!(of(&[1e6; 40], 640), None);
        assert_eq!(of(&[-0.0; 40], 640), None);
        assert_eq!(of(&[f32::NAN; 40], 640), None);
    }
}
