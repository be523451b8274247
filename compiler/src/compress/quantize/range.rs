//! Ranges of real numbers, and the scales that cover them.

use crate::base::diag::{Diagnostic, Result};
use crate::base::dtype::DType;

/// How a range is chosen from what was observed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Method {
    /// All that was seen.
    MinMax,
    /// The mean, over the cases, of each case's smallest and largest.
    MovingAverage,
    /// All but so many of a hundred values, the same share at both ends.
    Percentile(f64),
    /// What loses least to rounding and to limits together, by the square.
    Mse,
    /// What keeps the distribution nearest, by its divergence (Kullback-Leibler).
    Entropy,
}

/// Real numbers from one to another; 0 is among them.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Range {
    /// The smallest.
    pub lo: f64,
    /// The largest.
    pub hi: f64,
}

impl Range {
    /// With 0, which must be exact: padding and Relu make it.
    pub fn of(lo: f64, hi: f64) -> Range {
        Range {
            lo: lo.min(0.0),
            hi: hi.max(0.0),
        }
    }
    /// Both together.
    pub fn and(self, other: Range) -> Range {
        Range {
            lo: self.lo.min(other.lo),
            hi: self.hi.max(other.hi),
        }
    }
}

/// `real = scale * (q - zero)`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Scale {
    /// The step; an f32 in files.
    pub scale: f32,
    /// What stands for 0.
    pub zero: i64,
}

impl Scale {
    /// That which covers a range with numbers of a type, of 8 bits or 16. A range of nothing but 0 gets steps of 1.
    pub fn of(r: Range, d: DType, symmetric: bool) -> Result<Scale> {
        let (least, most) = d.int_range().unwrap_or((-128, 127));
        let (least, most) = (least as f64, most as f64);
        if !r.lo.is_finite() || !r.hi.is_finite() {
            return Err(Diagnostic::usage(
                "USE004",
                "calibration found values that are not finite",
            ));
        }
        let middle = if least < 0.0 { 0.0 } else { 128.0 };
        let scale = match symmetric {
            true => r.hi.max(-r.lo) / ((most - least - 1.0) / 2.0),
            false => (r.hi - r.lo) / (most - least),
        };
        // Steps below the smallest normal f32 are not steps.
        if scale < f64::from(f32::MIN_POSITIVE) {
            let zero = if symmetric { middle } else { least };
            return Ok(Scale {
                scale: 1.0,
                zero: zero as i64,
            });
        }
        let scale = scale as f32;
        let zero = match symmetric {
            true => middle,
            false => libm::rint(least - r.lo / f64::from(scale)).clamp(least, most),
        };
        Ok(Scale {
            scale,
            zero: zero as i64,
        })
    }
    /// The step for symmetric weights of 8 bits, from -127 to 127.
    pub fn of_weights(largest: f64) -> f32 {
        let scale = (largest / 127.0) as f32;
        match scale >= f32::MIN_POSITIVE {
            true => scale,
            false => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_exact() {
        for (lo, hi) in [
            (-1.0, 3.0),
            (0.0, 6.0),
            (2.0, 5.0),
            (-4.0, -1.0),
            (-0.01, 700.0),
        ] {
            for d in [DType::I8, DType::U8, DType::I16] {
                let s = Scale::of(Range::of(lo, hi), d, false).unwrap();
                let (least, most) = d.int_range().unwrap();
                assert!((least as i64..=most as i64).contains(&s.zero));
                // Both ends are within half a step of a number.
                let ends = [least, most].map(|q| f64::from(s.scale) * (q as i64 - s.zero) as f64);
                let step = f64::from(s.scale) * 0.51;
                let r = Range::of(lo, hi);
                assert!((ends[0] - r.lo).abs() <= step && (ends[1] - r.hi).abs() <= step);
            }
        }
    }

    #[test]
    fn ranges_of_nothing() {
        let s = Scale::of(Range::of(0.0, 0.0), DType::I8, false).unwrap();
        assert_eq!(
            s,
            Scale {
                scale: 1.0,
                zero: -128
            }
        );
        assert_eq!(Scale::of_weights(0.0), 1.0);
        assert!(Scale::of(Range::of(0.0, f64::NAN), DType::I8, false).is_ok());
        assert!(
            Scale::of(
                Range {
                    lo: 0.0,
                    hi: f64::INFINITY
                },
                DType::I8,
                false
            )
            .is_err()
        );
    }
}
