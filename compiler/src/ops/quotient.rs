//! Dividing by a known scale without a division, where that is proved to quantize to the same bytes.
//!
//! A division takes a vector machine many times as long as a product. `q = x * r`, with `r` the rounded reciprocal of the scale, is off by a few
//! units in the last place; a second step with the remainder, `q + (x - q * scale) * r`, leaves less than one (Markstein 1990, "Computation of elementary
//! functions on the IBM RISC System/6000 processor", section 3). What is rounded to a whole number next differs only where a quotient lies that near to a half, so
//! the numbers around each half are looked at.

use crate::base::dtype::DType;
use crate::loops::build::Builder;
use crate::loops::ir::ExprId;

/// A way to divide by a scale.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Quotient {
    scale: f32,
    reciprocal: f32,
    /// Whether the remainder counts.
    corrected: bool,
}

/// Quotients beyond this are at a byte's limits, whatever its zero point.
const FAR: f32 = 1024.0;
/// Halves up to this are looked at.
const HALVES: u32 = 512;
/// So many floats on both sides of each.
const AROUND: i32 = 8;
/// Scales within these have no quotient among the numbers that are held with fewer bits.
const SCALES: std::ops::RangeInclusive<f32> = 1e-30..=1e30;

impl Quotient {
    /// The cheapest way for a scale if what follows rounds to a byte; `None`: only by division. `fused`: the machine rounds a product and a sum once.
    pub fn of(scale: f32, to: DType, fused: bool) -> Option<Quotient> {
        let byte = matches!(to, DType::I8 | DType::U8);
        if !byte || !SCALES.contains(&scale) {
            return None;
        }
        let ways = [false, true].into_iter().filter(|c| !c || fused);
        let mut ways = ways.map(|corrected| Quotient {
            scale,
            reciprocal: 1.0 / scale,
            corrected,
        });
        ways.find(Quotient::holds)
    }
    /// The quotient of a number, by the operations that a machine is given.
    fn at(&self, x: f32) -> f32 {
        let x = x.clamp(-FAR * self.scale, FAR * self.scale);
        let q = x * self.reciprocal;
        match self.corrected {
            false => q,
            true => libm::fmaf(libm::fmaf(q, -self.scale, x), self.reciprocal, q),
        }
    }
    /// Whether all numbers around a half are rounded as their quotients are. Negative ones mirror them.
    fn holds(&self) -> bool {
        (0..=HALVES).all(|k| {
            let half = (k as f32 + 0.5) * self.scale;
            (-AROUND..=AROUND).all(|d| {
                let x = f32::from_bits(half.to_bits().wrapping_add_signed(d));
                libm::rintf(self.at(x)) == libm::rintf(x / self.scale)
            })
        })
    }
    /// The quotient of `x`.
    pub fn emit(&self, b: &mut Builder, x: ExprId) -> ExprId {
        let ty = b.ty(x);
        let mut number = |v: f32| b.num(ty, f64::from(v));
        let (far, near) = (number(FAR * self.scale), number(-FAR * self.scale));
        let (reciprocal, less) = (number(self.reciprocal), number(-self.scale));
        let x = b.clamp(x, near, far);
        let q = b.mul(x, reciprocal);
        if !self.corrected {
            return q;
        }
        let rest = b.fma(q, less, x);
        b.fma(rest, reciprocal, q)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_as_a_division() {
        let mut state = 3u64;
        let mut random = || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 40) as u32
        };
        let (mut plain, mut corrected) = (0, 0);
        for round in 0..40 {
            let scale = match round {
                0 => 0.0078125,
                1 => 1.0 / 255.0,
                _ => (random() + 1) as f32 * [1e-9, 1e-7, 1e-3][round % 3],
            };
            let q = Quotient::of(scale, DType::I8, true).expect("a way");
            if q.corrected {
                corrected += 1;
            } else {
                plain += 1;
            }
            for _ in 0..20_000 {
                let x = (random() as f32 / 8388608.0 - 1.0) * 300.0 * scale;
                let want = libm::rintf(x / scale);
                assert_eq!(libm::rintf(q.at(x)), want, "{x} / {scale}");
            }
            // What is too large stays so.
            for x in [f32::INFINITY, f32::MAX, 2000.0 * scale] {
                assert!(q.at(x) >= 1000.0 && q.at(-x) <= -1000.0);
            }
        }
        assert!(plain > 0 && corrected > 10, "{plain} {corrected}");
    }

    #[test]
    fn only_for_bytes_and_usual_scales() {
        assert_eq!(Quotient::of(0.1, DType::I16, true), None);
        assert_eq!(Quotient::of(1e-38, DType::U8, true), None);
        assert_eq!(Quotient::of(-0.1, DType::U8, true), None);
        assert_eq!(Quotient::of(f32::NAN, DType::U8, true), None);
        // Without fused operations a power of two has a way, others don't.
        assert!(Quotient::of(0.25, DType::U8, false).is_some());
        assert_eq!(Quotient::of(0.1, DType::U8, false), None);
    }
}
