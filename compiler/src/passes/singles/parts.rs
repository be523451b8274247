//! Requantizing in f32 by a multiplier in two parts, for sums that one f32 multiplier is too coarse for.
//!
//! `s * high`, added to a number so large that an f32 of its size has no fraction, is rounded to a whole number once. What that left over comes from a
//! fused multiply-add, nearly exact, `s * low + rest` joins it, and the large number rounds a second time. Roundings change less than [`ERROR`], so this is
//! the same as the form in f64 wherever a result lies farther than that from a half; the few sums that don't are looked at, for some offsets near the
//! exact one.

use super::step::{EXACT, Reals, fused};

/// Products beyond this lose the large number's size.
const MOST: f64 = (1u32 << 22) as f64 - 1024.0;
/// More than what roundings change of results within ±1024, for multipliers up to [`LARGEST`]: half a unit in the last place of `rest`, of `s * low + rest`,
/// of what `s * high` left over and of their sum.
const ERROR: f64 = 1.0 / (1u64 << 21) as f64;
/// The largest multiplier.
const LARGEST: f64 = 4.0;
/// So many sums near one half are looked at: more than one where multipliers are smaller than the error.
const DOUBTFUL: i64 = 64;
/// How offsets that are tried differ: about what one rounding changes.
const STEP: f64 = 1.0 / (1u64 << 25) as f64;

/// The form: with `s` a sum and `shift`, and `v = fma(s, high, LARGE)`,
/// `v + (fma(s, high, LARGE - v) + fma(s, low, rest)) - LARGE + zero` within the bounds of [`Reals`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Parts {
    #[allow(missing_docs)]
    pub shift: i64,
    /// The multiplier.
    pub high: f32,
    /// What is missing.
    pub low: f32,
    /// The offset, less what `shift` does.
    pub rest: f32,
}

impl Parts {
    /// The result for a sum, before the zero point.
    fn at(self, sum: i64) -> i64 {
        let s = sum + self.shift;
        let product = s as f64 * f64::from(self.high);
        let whole = libm::rint(product);
        // A product of two f32 is exact in f64, and so is what is left over.
        let left = (product - whole) as f32;
        let rest = left + fused(s, self.low, self.rest);
        libm::rint(whole + f64::from(rest)) as i64
    }
}

impl Reals {
    /// The form in two parts for sums from `least` to `most`; `None` where none is found.
    pub fn parts(&self, (least, most): (i64, i64)) -> Option<Parts> {
        let sizes = self.m > 0.0 && self.m <= LARGEST && self.o.is_finite();
        if !sizes || least > most || self.zero.abs() > 256 {
            return None;
        }
        let constant = self.at(least);
        if constant == self.at(most) {
            return Some(Parts {
                shift: 0,
                high: 0.0,
                low: 0.0,
                rest: (constant - self.zero) as f32,
            });
        }
        let centre = libm::rint(self.o / self.m);
        if libm::fabs(centre) > EXACT as f64 {
            return None;
        }
        let shift = centre as i64;
        let farthest = (least + shift).abs().max((most + shift).abs());
        if self.m * farthest as f64 > MOST || farthest > EXACT {
            return None;
        }
        let high = self.m as f32;
        let low = (self.m - f64::from(high)) as f32;
        let rest = self.o - centre * self.m;
        let doubtful = self.doubtful((least, most))?;
        let right = |p: &Parts| {
            let same = |&(k, s): &(i64, i64)| (p.at(s) + self.zero >= k) == (self.at(s) >= k);
            doubtful.iter().all(same)
        };
        let mut tried = (0..9).flat_map(|j| [j, -j]).map(|j| Parts {
            shift,
            high,
            low,
            rest: (rest + f64::from(j) * STEP) as f32,
        });
        tried.find(right)
    }
    /// Sums whose results lie so near to a half that roundings may count, each with the result that it may or may not reach.
    fn doubtful(&self, (least, most): (i64, i64)) -> Option<Vec<(i64, i64)>> {
        let mut found = vec![];
        for k in self.lo + 1..=self.hi {
            let half = (k - self.zero) as f64 - 0.5 - self.o;
            let [first, last] = [-2.0 * ERROR, 2.0 * ERROR].map(|e| (half + e) / self.m);
            let first = (libm::floor(first) as i64).max(least);
            let last = (libm::ceil(last) as i64).min(most);
            if last - first > DOUBTFUL {
                return None;
            }
            let near = |s: &i64| libm::fabs(*s as f64 * self.m - half) < 2.0 * ERROR;
            found.extend((first..=last).filter(near).map(|s| (k, s)));
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::requantize_single::LARGE;

    /// By the instructions that a machine runs.
    fn by_f32(p: Parts, sum: i64) -> i64 {
        let s = (sum + p.shift) as f32;
        let v = libm::fmaf(s, p.high, LARGE);
        let left = libm::fmaf(s, p.high, LARGE - v);
        let v = v + (left + libm::fmaf(s, p.low, p.rest));
        i64::from(v.to_bits() as i32 - LARGE.to_bits() as i32)
    }

    fn same(r: &Reals, p: Parts, domain: (i64, i64)) {
        for s in domain.0..=domain.1 {
            let exact = libm::rint(s as f64 * r.m + r.o) as i64 + r.zero;
            let own = by_f32(p, s) + r.zero;
            assert_eq!(p.at(s) + r.zero, own, "{r:?} {p:?} at {s}");
            assert_eq!(
                own.clamp(r.lo, r.hi),
                exact.clamp(r.lo, r.hi),
                "{r:?} {p:?} at {s}"
            );
        }
    }

    #[test]
    fn equal_at_every_sum() {
        let mut state = 7u64;
        let mut random = || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let mut singles = 0;
        for round in 0..40 {
            let signed = round % 2 == 0;
            let r = Reals {
                m: 0.00002 + random() * random() * [0.0005, 0.02][round % 2],
                o: [0.0, random() * 200.0 - 100.0][round % 3 % 2],
                zero: [0, 128, -128, 17][round % 4],
                lo: if signed { -128 } else { 0 },
                hi: if signed { 127 } else { 255 },
            };
            let domain = (-1_500_000, 1_500_000);
            let p = r.parts(domain).expect("a form");
            same(&r, p, domain);
            singles += usize::from(r.single(domain, 2).is_some());
        }
        // Which is why there is this form.
        assert!(singles < 30, "{singles}");
    }

    #[test]
    fn ties_go_to_the_even_number() {
        for (m, zero) in [(0.5, 0), (0.25, 1), (0.0009765625, -3), (1.5, 10)] {
            let r = Reals {
                m,
                o: 0.0,
                zero,
                lo: -128,
                hi: 127,
            };
            let domain = (-300_000, 300_000);
            same(&r, r.parts(domain).expect("a form"), domain);
        }
    }

    #[test]
    fn extremes() {
        let r = |m: f64, o: f64| Reals {
            m,
            o,
            zero: 0,
            lo: 0,
            hi: 255,
        };
        assert_eq!(r(0.3, 0.0).parts((0, 1 << 24)), None);
        assert_eq!(r(0.01, 0.0).parts((0, (1 << 24) + 1)), None);
        assert_eq!(r(f64::NAN, 0.0).parts((0, 10)), None);
        // Results that are all the same, though the bias is no number of sums that f32 can hold.
        let domain = (-100_000, 100_000);
        let p = r(1e-9, 33.3).parts(domain).expect("a form");
        same(&r(1e-9, 33.3), p, domain);
    }
}
