//! Requantizing in f32 with one rounding.
//!
//! A product added to a number so large that an f32 of its size has no fraction is rounded to a whole number by the fused multiply-add itself. So nothing is
//! rounded before the end, and only two things are wrong: the multiplier, which f32 holds to 24 bits, and what whole numbers of sums cannot move results
//! by. The whole number on top, of which the large one may have any, is free: results between sums come nearest to the exact ones for
//! some of them. The proof looks at both sides of each step, as `step` does; only steps with sums nearer to a half than a candidate is to
//! the exact form can go wrong.

use super::step::{EXACT, Reals, Single, wrong};
use crate::contracts::quotients;
use crate::ops::requantize_single::LARGE;

/// Products beyond this lose the large number's size.
const MOST: f64 = (1u32 << 22) as f64 - 1024.0;
/// Whole numbers on top that are tried go so far beyond the results.
const BEYOND: i64 = 64;
/// So far where all of these are wrong at some sum: each such sum of a channel takes two instructions and four bytes of all channels.
const FAR_BEYOND: i64 = 2048;
/// Candidates that are looked at, the nearest to the exact form first.
const TRIED: usize = 96;

/// What numbers take fewer bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    /// What multipliers must be.
    pub multiplier: Multiplier,
    /// Between which numbers the shift lies if it can.
    pub shifts: Option<(i64, i64)>,
}

/// A kind of multipliers.
#[derive(Clone, Copy, Debug, Default)]
pub enum Multiplier {
    /// Any.
    #[default]
    Any,
    /// This over a whole number ([`quotients`]).
    Over(f32),
    /// This one.
    Is(f32),
}

impl Multiplier {
    /// Those next to a number, the nearest first.
    pub fn near(self, m: f64) -> Vec<f32> {
        let ulps = [0, 1, -1];
        match self {
            Multiplier::Any => {
                let moved = |by| f32::from_bits((m as f32).to_bits().wrapping_add_signed(by));
                ulps.map(moved).to_vec()
            }
            Multiplier::Over(over) => {
                let own = quotients::number(over, m);
                let numbers = ulps.map(|by| own + i64::from(by)).into_iter();
                let numbers = numbers.filter(|v| (1..=quotients::MOST).contains(v));
                numbers.map(|v| quotients::quotient(over, v)).collect()
            }
            Multiplier::Is(m) => vec![m],
        }
    }
}

/// A candidate: `rint((s + shift) * m + top)`.
#[derive(Clone, Copy, Debug)]
struct Form {
    shift: i64,
    m: f32,
    top: i64,
}

impl Form {
    /// The result for a sum, with one rounding, halves to even.
    fn at(self, sum: i64) -> i64 {
        // Exact: two numbers of 24 bits.
        let product = (sum + self.shift) as f64 * f64::from(self.m);
        let whole = libm::floor(product);
        let left = product - whole;
        let v = whole as i64 + self.top;
        v + i64::from(left > 0.5 || left == 0.5 && v % 2 != 0)
    }
}

/// A step of the exact form: the least sum that gives `k` or more, and how near to it results come to the half.
struct Step {
    k: i64,
    sum: i64,
    margin: f64,
}

impl Reals {
    /// The form with one rounding for sums from `least` to `most`, with as few wrong sums as can be found; `None` if there are more than `bound` at best.
    /// Its offset has [`LARGE`] in it.
    pub fn large(&self, domain: (i64, i64), bound: usize) -> Option<Single> {
        self.large_like(domain, bound, Wish::default())
    }
    /// The same of numbers that take few bytes.
    pub fn large_like(&self, domain: (i64, i64), bound: usize, wish: Wish) -> Option<Single> {
        let (least, most) = domain;
        let known = self.m > 0.0 && self.m.is_finite() && self.o.is_finite();
        if !known || least > most || self.zero.abs() > 256 {
            return None;
        }
        let steps = self.margins(domain)?;
        let multipliers = wish.multiplier.near(self.m);
        let mut best = None;
        // What a byte holds first: it is stored as one.
        let bytes = &match self.lo < 0 {
            true => -128..=127,
            false => 0..=255,
        };
        if let Some(shifts) = wish.shifts {
            let tops = bytes.clone();
            let fits = |f: &Form| (shifts.0..=shifts.1).contains(&f.shift);
            if self.nearest(tops, &multipliers, fits, domain, &steps, bound, &mut best) {
                return best;
            }
        }
        // The zero point on top is right where the bias is a whole number of sums.
        let own = self.form(*multipliers.first()?, self.zero);
        if own.is_some_and(|own| self.better(own, domain, &steps, bound, &mut best)) {
            return best;
        }
        for round in 0..3 {
            let beyond = if round < 2 { BEYOND } else { FAR_BEYOND };
            let (lo, hi) = (self.lo - BEYOND, self.hi + BEYOND);
            let own = move |top: &i64| match round {
                0 => bytes.contains(top),
                1 => (lo..=hi).contains(top) && !bytes.contains(top),
                _ => !(lo..=hi).contains(top),
            };
            let tops = (self.lo - beyond..=self.hi + beyond).filter(own);
            let any = |_: &Form| true;
            if self.nearest(tops, &multipliers, any, domain, &steps, bound, &mut best) {
                return best;
            }
        }
        best
    }
    /// Looks at candidates with these whole numbers on top, the nearest to the exact form first; whether one is right everywhere.
    #[allow(clippy::too_many_arguments)]
    fn nearest(
        &self,
        tops: impl Iterator<Item = i64>,
        multipliers: &[f32],
        fits: impl Fn(&Form) -> bool,
        domain: (i64, i64),
        steps: &[Step],
        bound: usize,
        best: &mut Option<Single>,
    ) -> bool {
        let forms = tops.flat_map(|top| multipliers.iter().filter_map(move |m| self.form(*m, top)));
        let forms = forms.filter(fits).map(|f| (self.distance(f), f));
        let mut forms: Vec<(f64, Form)> = forms.filter(|(d, _)| d.is_finite()).collect();
        forms.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut tried = forms.into_iter().take(TRIED);
        tried.any(|(_, f)| self.better(f, domain, steps, bound, best))
    }
    /// The candidate with a multiplier and a whole number on top.
    fn form(&self, m: f32, top: i64) -> Option<Form> {
        let shift = libm::rint((self.o + (self.zero - top) as f64) / f64::from(m));
        let fits = libm::fabs(shift) < EXACT as f64 && m > 0.0;
        fits.then_some(Form {
            shift: shift as i64,
            m,
            top,
        })
    }
    /// How far a candidate is at most from the exact form where results are within the bounds.
    fn distance(&self, f: Form) -> f64 {
        let own = self.o + self.zero as f64;
        let at = |y: f64| {
            let s = (y - own) / self.m;
            libm::fabs((s + f.shift as f64) * f64::from(f.m) + f.top as f64 - y)
        };
        at(self.lo as f64).max(at(self.hi as f64))
    }
    /// Keeps a candidate that is wrong at fewer sums than the best so far; whether that is right everywhere.
    fn better(
        &self,
        f: Form,
        (least, most): (i64, i64),
        steps: &[Step],
        bound: usize,
        best: &mut Option<Single>,
    ) -> bool {
        let allowed = match best {
            Some(b) if b.wrong.is_empty() => return true,
            Some(b) => b.wrong.len() - 1,
            None => bound,
        };
        let ends = [least, most].map(|s| libm::fabs((s + f.shift) as f64));
        let farthest = ends[0].max(ends[1]);
        if farthest > EXACT as f64 || farthest * f64::from(f.m) > MOST {
            return false;
        }
        // Twice, for the roundings of the distance itself.
        let reach = 2.0 * self.distance(f) + 1e-9;
        let near = steps.iter().take_while(|s| s.margin <= reach);
        let near = near.map(|s| (s.k, s.sum));
        let Some(wrong) = wrong(|s| f.at(s), f.shift, near, (least, most), allowed) else {
            return false;
        };
        let done = wrong.is_empty();
        *best = Some(Single {
            shift: f.shift,
            m: f.m,
            o: LARGE + f.top as f32,
            wrong,
        });
        done
    }
    /// The steps, those with sums next to a half first.
    fn margins(&self, domain: (i64, i64)) -> Option<Vec<Step>> {
        let real = |s: i64| s as f64 * self.m + self.o + self.zero as f64;
        let steps = (self.lo + 1..=self.hi).map(|k| {
            let sum = self.step(k, domain)?;
            let half = k as f64 - 0.5;
            let margin = libm::fabs(real(sum) - half).min(libm::fabs(real(sum - 1) - half));
            Some(Step { k, sum, margin })
        });
        let mut steps: Vec<Step> = steps.collect::<Option<_>>()?;
        steps.sort_by(|a, b| a.margin.total_cmp(&b.margin));
        Some(steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the instructions that a machine runs, at every sum of a domain.
    fn same(r: &Reals, f: &Single, domain: (i64, i64)) {
        for x in domain.0..=domain.1 {
            let sum = (x + f.shift) as i32;
            let v = libm::fmaf(sum as f32, f.m, f.o).to_bits() as i64 - i64::from(LARGE.to_bits());
            let v = v - f.wrong.iter().filter(|w| **w == sum).count() as i64;
            assert_eq!(v.clamp(r.lo, r.hi), r.at(x), "{r:?} {f:?} at {x}");
        }
    }

    #[test]
    fn equal_at_every_sum() {
        let mut state = 3u64;
        let mut random = || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let (mut found, mut right, mut singles) = (0, 0, 0);
        for round in 0..60 {
            let signed = round % 4 == 1 || round % 4 == 2;
            let r = Reals {
                m: 0.0003 + random() * random() * 0.01,
                o: [0.0, random() * 100.0 - 50.0][round % 2],
                zero: [0, -128, 17, 128][round % 4],
                lo: if signed { -128 } else { 0 },
                hi: if signed { 127 } else { 255 },
            };
            let domain = (-600_000, 600_000);
            if let Some(f) = r.large(domain, 2) {
                found += 1;
                right += usize::from(f.wrong.is_empty());
                same(&r, &f, domain);
            }
            let single = r.single(domain, 2);
            singles += usize::from(single.is_some_and(|s| s.wrong.is_empty()));
        }
        // Which is why there is this form.
        assert!(found > 50 && right > singles, "{found} {right} {singles}");
    }

    #[test]
    fn numbers_that_take_few_bytes_are_as_right() {
        let (mut found, mut words) = (0, 0);
        for round in 0..60 {
            let r = Reals {
                m: 0.001 + f64::from(round) * 0.000_217_3,
                o: f64::from(round * 37 % 101) - 50.3,
                zero: [0, 17, 128][round as usize % 3],
                lo: 0,
                hi: 255,
            };
            let domain = (-300_000, 300_000);
            let over = quotients::over(0.001).expect("a normal number");
            let wish = Wish {
                multiplier: Multiplier::Over(over),
                shifts: Some((-32768, 32767)),
            };
            if let Some(f) = r.large_like(domain, 0, wish) {
                found += 1;
                words += usize::from(f.shift.abs() < 32768);
                assert_eq!(
                    quotients::quotient(over, quotients::number(over, f64::from(f.m))),
                    f.m
                );
                same(&r, &f, domain);
            }
            let is = Wish {
                multiplier: Multiplier::Is(r.m as f32),
                shifts: None,
            };
            if let Some(f) = r.large_like(domain, 1, is) {
                assert_eq!(f.m, r.m as f32);
                same(&r, &f, domain);
            }
        }
        assert!(found > 45 && words > 40, "{found} {words}");
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
            let form = r.large(domain, 2);
            // A tie goes to the number that is even before the zero point joins it: with an odd one that is another.
            assert_eq!(form.is_some(), zero % 2 == 0, "{r:?}");
            form.iter().for_each(|f| same(&r, f, domain));
        }
    }

    #[test]
    fn large_and_tiny_multipliers() {
        for m in [3.7, 40.0, 1e-9] {
            let r = Reals {
                m,
                o: 0.25,
                zero: -5,
                lo: -128,
                hi: 127,
            };
            let domain = (-70_000, 70_000);
            if let Some(f) = r.large(domain, 2) {
                same(&r, &f, domain);
            }
        }
        let r = Reals {
            m: f64::NAN,
            o: 0.0,
            zero: 0,
            lo: 0,
            hi: 255,
        };
        assert_eq!(r.large((0, 10), 2), None);
    }
}
