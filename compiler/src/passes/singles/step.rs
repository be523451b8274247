//! Requantizing in f32 with the numbers of f64, for one multiplier.
//!
//! Both `round(s * m + o)` in f64 and `near(fma(s, m32, o32))` grow with the whole number `s`. Two such functions are the same if each step
//! from one result to the next is at the same `s`; a byte has 255 of them. So the proof looks at the sums on both sides of each step, and the
//! search is for numbers m32 and o32 that pass it. Where f32 is too coarse for a step, its result is one too large at a single sum, and that sum is kept.

/// How an f64 form requantizes: `clamp(round(s * m + o) + zero, lo, hi)`, halves to even.
#[derive(Clone, Copy, Debug)]
pub struct Reals {
    /// Multiplier, above 0.
    pub m: f64,
    /// Offset.
    pub o: f64,
    /// Zero point of the result.
    pub zero: i64,
    /// Least result.
    pub lo: i64,
    /// Largest result.
    pub hi: i64,
}

/// The f32 form that gives the same: `near(fma(s + shift, m, o))`, less one where `s + shift` is one of `wrong`, within the same bounds.
#[derive(Clone, PartialEq, Debug)]
pub struct Single {
    #[allow(missing_docs)]
    pub shift: i64,
    #[allow(missing_docs)]
    pub m: f32,
    #[allow(missing_docs)]
    pub o: f32,
    /// Sums at which the result is one too large.
    pub wrong: Vec<i32>,
}

/// Sums beyond this are not exact in f32.
pub const EXACT: i64 = 1 << 24;

impl Reals {
    /// The result for a sum.
    pub fn at(&self, s: i64) -> i64 {
        let v = libm::rint(s as f64 * self.m + self.o) + self.zero as f64;
        v.clamp(self.lo as f64, self.hi as f64) as i64
    }
    /// The least sum of a domain that gives `k` or more; one past the domain where none does.
    pub fn step(&self, k: i64, (least, most): (i64, i64)) -> Option<i64> {
        let guess = ((k - self.zero) as f64 - 0.5 - self.o) / self.m;
        let mut s = guess.clamp(least as f64, (most + 1) as f64) as i64;
        // The guess is off by roundings alone.
        for _ in 0..16 {
            if s > least && self.at(s - 1) >= k {
                s -= 1;
            } else if s <= most && self.at(s) < k {
                s += 1;
            } else {
                return Some(s);
            }
        }
        None
    }
    /// The f32 form for sums from `least` to `most`, with as few wrong sums as can be found; `None` if there are more than `bound` at best.
    pub fn single(&self, domain: (i64, i64), bound: usize) -> Option<Single> {
        let (least, most) = domain;
        if !(self.m > 0.0 && self.m.is_finite() && self.o.is_finite()) || least > most {
            return None;
        }
        let steps: Option<Vec<(i64, i64)>> = (self.lo + 1..=self.hi)
            .map(|k| Some((k, self.step(k, domain)?)))
            .collect();
        let steps: Vec<(i64, i64)> = steps?;
        // What moves results to where the sum is 0 is exact among the sums, and what is left of it small: f32 is fine around 0.
        let centre = (self.o + self.zero as f64) / self.m;
        let shift = match libm::fabs(centre) < EXACT as f64 {
            true => libm::rint(centre) as i64,
            false => 0,
        };
        if least + shift < -EXACT || most + shift > EXACT {
            return None;
        }
        let rest = self.o + self.zero as f64 - shift as f64 * self.m;
        let mut best: Option<Single> = None;
        for (m, o) in candidates(self.m as f32, rest) {
            let allowed = best.as_ref().map_or(bound, |b| b.wrong.len() - 1);
            let at = |s: i64| near(s + shift, m, o);
            let Some(wrong) = wrong(at, shift, steps.iter().copied(), domain, allowed) else {
                continue;
            };
            let done = wrong.is_empty();
            best = Some(Single { shift, m, o, wrong });
            if done {
                break;
            }
        }
        best
    }
}

/// Multipliers and offsets near the exact ones, the nearest first.
fn candidates(m: f32, rest: f64) -> impl Iterator<Item = (f32, f32)> {
    // What f32 cannot tell apart among results up to 256.
    const STEP: f64 = 1.0e-6;
    let moved = |m: f32, ulps: i32| f32::from_bits(m.to_bits().wrapping_add_signed(ulps));
    let offsets = (0..13).flat_map(|j| [j, -j]).filter(|j| *j != 0);
    std::iter::once(0).chain(offsets).flat_map(move |j| {
        [0, 1, -1, 2, -2]
            .map(|ulps| (moved(m, ulps), (rest + f64::from(j) * STEP) as f32))
            .into_iter()
            .filter(|(m, _)| m.is_finite() && *m > 0.0)
    })
}

/// The sums, with `shift`, at which a form that grows is one too large; `None` where it is wrong otherwise or at more than `bound` sums. `steps`: results and
/// the least sum that gives each.
pub fn wrong(
    at: impl Fn(i64) -> i64,
    shift: i64,
    steps: impl Iterator<Item = (i64, i64)>,
    (least, most): (i64, i64),
    bound: usize,
) -> Option<Vec<i32>> {
    let mut wrong = vec![];
    for (k, s) in steps {
        if s <= most && at(s) < k {
            return None;
        }
        if s > least && at(s - 1) >= k {
            let own = i32::try_from(s - 1 + shift).ok()?;
            // One sum before it is right again, and none is two too large.
            let alone = s - 1 == least || at(s - 2) < k;
            if !alone || wrong.contains(&own) || wrong.len() == bound {
                return None;
            }
            wrong.push(own);
        }
    }
    Some(wrong)
}

/// `near(fma(s, m, o))` with one rounding to f32.
fn near(s: i64, m: f32, o: f32) -> i64 {
    libm::rintf(fused(s, m, o)) as i64
}

/// `fma(s, m, o)` with one rounding to f32.
pub fn fused(s: i64, m: f32, o: f32) -> f32 {
    // The product of two f32 is exact in f64; the sum is, or is rounded where that can't be seen, unless it lies in the middle of two f32.
    let v = s as f64 * f64::from(m) + f64::from(o);
    const BETWEEN: u64 = (1 << 29) - 1;
    const MIDDLE: u64 = 1 << 28;
    let low = v.to_bits() & BETWEEN;
    match low.abs_diff(MIDDLE) <= 2 {
        true => libm::fmaf(s as f32, m, o),
        false => v as f32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both forms at every sum of a domain.
    fn same(r: &Reals, s: &Single, domain: (i64, i64)) {
        for x in domain.0..=domain.1 {
            let sum = (x + s.shift) as i32;
            let v = libm::rintf(libm::fmaf(sum as f32, s.m, s.o)) as i64;
            let v = v - s.wrong.iter().filter(|w| **w == sum).count() as i64;
            assert_eq!(v.clamp(r.lo, r.hi), r.at(x), "{r:?} {s:?} at {x}");
        }
    }

    #[test]
    fn equal_at_every_sum() {
        let mut state = 1u64;
        let mut random = || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let (mut found, mut with) = (0, 0);
        for round in 0..60 {
            let r = Reals {
                m: 0.0004 + random() * random() * 0.02,
                o: if round % 2 == 0 {
                    0.0
                } else {
                    random() * 100.0 - 50.0
                },
                zero: [0, -128, 17, 128][round % 4],
                lo: [0, -128][usize::from(round % 4 == 1 || round % 4 == 2)],
                hi: [255, 127][usize::from(round % 4 == 1 || round % 4 == 2)],
            };
            let domain = (-400_000, 400_000);
            if let Some(s) = r.single(domain, 2) {
                found += 1;
                with += usize::from(!s.wrong.is_empty());
                same(&r, &s, domain);
            }
        }
        assert!(found > 40 && with > 0, "{found} {with}");
    }

    #[test]
    fn ties_go_to_the_even_number() {
        // Every second sum is a tie.
        for zero in [0, 1, -3] {
            let r = Reals {
                m: 0.5,
                o: 0.0,
                zero,
                lo: -128,
                hi: 127,
            };
            match r.single((-2000, 2000), 2) {
                None => {}
                Some(s) => same(&r, &s, (-2000, 2000)),
            }
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
            let s = r.single((-70_000, 70_000), 2).expect("a form");
            same(&r, &s, (-70_000, 70_000));
        }
        let r = Reals {
            m: f64::NAN,
            o: 0.0,
            zero: 0,
            lo: 0,
            hi: 255,
        };
        assert_eq!(r.single((0, 10), 2), None);
    }
}
