//! Tables that are one line, or two lines of which the larger or the smaller counts: LeakyRelu, PRelu, Clip, a change of scale.
//!
//! Multipliers and offsets are multiples of one power of two, so small that products and sums are exact in f32: every machine has the same
//! numbers, whether it rounds a product or not. All 256 entries are looked at.

/// A form of a table: `clamp(near(max or min of x * m + o), lo, hi)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Bend {
    /// Multiplier and offset of each line, one or two.
    pub lines: Vec<[f32; 2]>,
    /// Whether the smaller of two lines counts.
    pub least: bool,
    /// Bounds.
    pub lo: i64,
    /// Bounds.
    pub hi: i64,
}

/// Sums below this, in units of the power of two, are exact in f32.
const EXACT: f64 = (1u64 << 24) as f64;
/// Bits behind the point of multipliers and offsets, most first.
const BITS: [u32; 6] = [15, 14, 13, 12, 10, 8];

/// The slopes that a line through some entries may have, each met within a half.
#[derive(Clone, Copy, Debug)]
struct Slopes {
    lo: f64,
    hi: f64,
}

impl Slopes {
    const ANY: Slopes = Slopes {
        lo: f64::NEG_INFINITY,
        hi: f64::INFINITY,
    };
    fn possible(self) -> bool {
        self.lo <= self.hi
    }
}

/// The table: entries `t` at `x = first + i`, limited to `lo..=hi`.
pub(super) struct Table<'a> {
    pub t: &'a [i64],
    pub first: i64,
    pub lo: i64,
    pub hi: i64,
}

impl Table<'_> {
    /// Between which real numbers an entry's must lie; what is limited may lie further out.
    pub fn range(&self, i: usize) -> (f64, f64) {
        let t = self.t[i];
        let lo = if t <= self.lo {
            f64::NEG_INFINITY
        } else {
            t as f64 - 0.5
        };
        let hi = if t >= self.hi {
            f64::INFINITY
        } else {
            t as f64 + 0.5
        };
        (lo, hi)
    }
    /// The slopes that are left when entry `i` joins those of `others`.
    fn join(&self, mut s: Slopes, i: usize, others: impl Iterator<Item = usize>) -> Slopes {
        let (lo, hi) = self.range(i);
        for j in others {
            let (lo_j, hi_j) = self.range(j);
            let (rise, run) = match i > j {
                true => ((lo - hi_j, hi - lo_j), (i - j) as f64),
                false => ((lo_j - hi, hi_j - lo), (j - i) as f64),
            };
            s.lo = s.lo.max(rise.0 / run);
            s.hi = s.hi.min(rise.1 / run);
        }
        s
    }
    /// A line through entries, its numbers multiples of `unit`.
    fn line(&self, s: Slopes, entries: std::ops::Range<usize>, unit: f64) -> Option<[f32; 2]> {
        let m = match (s.lo.is_finite(), s.hi.is_finite()) {
            (true, true) => (s.lo + s.hi) / 2.0,
            (true, false) => s.lo.max(0.0),
            (false, true) => s.hi.min(0.0),
            _ => 0.0,
        };
        // The shortest slope that is possible, as slopes of models are short at times.
        let m = libm::rint(m / unit) * unit;
        let (mut lo, mut hi) = (f64::NEG_INFINITY, f64::INFINITY);
        for i in entries {
            let (l, h) = self.range(i);
            let x = (self.first + i as i64) as f64;
            lo = lo.max(l - m * x);
            hi = hi.min(h - m * x);
        }
        if lo > hi {
            return None;
        }
        let o = match (lo.is_finite(), hi.is_finite()) {
            (true, true) => (lo + hi) / 2.0,
            (true, false) => lo + 0.25,
            (false, true) => hi - 0.25,
            _ => 0.0,
        };
        let o = libm::rint(o / unit) * unit;
        let exact = |x: i64| libm::fabs(m * x as f64 + o) / unit < EXACT;
        let last = self.first + self.t.len() as i64 - 1;
        let small = libm::fabs(m) / unit < EXACT && libm::fabs(o) / unit < EXACT;
        (small && exact(self.first) && exact(last)).then_some([m as f32, o as f32])
    }
    /// Whether a form gives the table.
    fn holds(&self, b: &Bend) -> bool {
        self.t
            .iter()
            .enumerate()
            .all(|(i, t)| b.at(self.first + i as i64) == *t)
    }
    fn bend(&self, lines: Vec<[f32; 2]>) -> Option<Bend> {
        let sides = if lines.len() > 1 {
            &[false, true][..]
        } else {
            &[false]
        };
        sides.iter().find_map(|&least| {
            let b = Bend {
                lines: lines.clone(),
                least,
                lo: self.lo,
                hi: self.hi,
            };
            self.holds(&b).then_some(b)
        })
    }
    /// The form of two lines of known slopes, the second of which begins with entry `knee`.
    fn form_at(&self, knee: usize, slopes: [f64; 2]) -> Option<Bend> {
        let n = self.t.len();
        BITS.iter().find_map(|b| {
            let unit = 1.0 / (1u64 << b) as f64;
            let [below, above] = slopes.map(|s| Slopes { lo: s, hi: s });
            let mut lines = vec![];
            if knee > 0 {
                lines.push(self.line(below, 0..knee, unit)?);
            }
            if knee < n {
                lines.push(self.line(above, knee..n, unit)?);
            }
            self.bend(lines)
        })
    }
    fn form(&self) -> Option<Bend> {
        let n = self.t.len();
        // Slopes of the first so many entries, and of those from each on.
        let (mut head, mut tail) = (vec![Slopes::ANY], vec![Slopes::ANY; n + 1]);
        for i in 0..n {
            let s = self.join(head[i], i, 0..i);
            head.push(s);
        }
        for i in (0..n).rev() {
            tail[i] = self.join(tail[i + 1], i, i + 1..n);
        }
        let units = BITS.iter().map(|b| 1.0 / (1u64 << b) as f64);
        for unit in units {
            if head[n].possible()
                && let Some(line) = self.line(head[n], 0..n, unit)
                && let Some(b) = self.bend(vec![line])
            {
                return Some(b);
            }
            for k in 1..n {
                if !head[k].possible() || !tail[k].possible() {
                    continue;
                }
                let (Some(a), Some(b)) = (
                    self.line(head[k], 0..k, unit),
                    self.line(tail[k], k..n, unit),
                ) else {
                    continue;
                };
                if let Some(b) = self.bend(vec![a, b]) {
                    return Some(b);
                }
            }
        }
        None
    }
}

impl Bend {
    /// What the form gives.
    pub fn at(&self, x: i64) -> i64 {
        let y = |[m, o]: [f32; 2]| f64::from(m) * x as f64 + f64::from(o);
        let mut v = y(self.lines[0]);
        for line in &self.lines[1..] {
            v = match self.least {
                true => v.min(y(*line)),
                false => v.max(y(*line)),
            };
        }
        (libm::rint(v) as i64).clamp(self.lo, self.hi)
    }
    /// Whether numbers below the first entry of a table that has this form, and those above the last, give what these entries are.
    pub fn open(&self, t: &[i64], first: i64) -> [bool; 2] {
        /// As far as sums can lie from bytes.
        const FAR: i64 = 1 << 22;
        let steady = |up: bool| {
            let slopes = self.lines.iter().map(|[m, _]| if up { *m } else { -*m });
            slopes.clone().all(|m| (0.0..256.0).contains(&m))
        };
        let last = first + t.len() as i64 - 1;
        // What only grows, or only falls, is between two numbers what it is at both.
        let same = |near: i64, far: i64, t: Option<&i64>| {
            let ends = [near, far].map(|x| self.at(x));
            (steady(true) || steady(false)) && ends.iter().all(|v| Some(v) == t)
        };
        [
            same(first - 1, first - FAR, t.first()),
            same(last + 1, last + FAR, t.last()),
        ]
    }
    /// The same with these limits and no others.
    pub fn within(t: &[i64], first: i64, (lo, hi): (i64, i64)) -> Option<Bend> {
        Table { t, first, lo, hi }.form()
    }
    /// The same where the slopes are known, and with which entry the second line begins.
    pub fn known(
        t: &[i64],
        first: i64,
        (lo, hi): (i64, i64),
        knee: i64,
        slopes: [f64; 2],
    ) -> Option<Bend> {
        let table = Table { t, first, lo, hi };
        let knee = (knee - first).clamp(0, t.len() as i64) as usize;
        table.form_at(knee, slopes).or_else(|| table.form())
    }
    /// The form of a table whose entry `i` is that of `first + i`, if it has one. `range`: least and largest number of the results' type.
    pub fn of(t: &[i64], first: i64, range: (i64, i64)) -> Option<Bend> {
        let own = (t.iter().copied().min()?, t.iter().copied().max()?);
        let mut limits = [range, own].into_iter();
        limits.find_map(|limits| Bend::within(t, first, limits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(first: i64, range: (i64, i64), f: impl Fn(f64) -> f64) -> Vec<i64> {
        (first..first + 256)
            .map(|x| (libm::rint(f(x as f64)) as i64).clamp(range.0, range.1))
            .collect()
    }

    /// Every entry by f32 arithmetic, contracted and not.
    fn same(b: &Bend, t: &[i64], first: i64) {
        for (i, t) in t.iter().enumerate() {
            let x = (first + i as i64) as f32;
            let pick = |ys: Vec<f32>| match b.least {
                true => ys.into_iter().fold(f32::INFINITY, f32::min),
                false => ys.into_iter().fold(f32::NEG_INFINITY, f32::max),
            };
            let fused = pick(b.lines.iter().map(|[m, o]| libm::fmaf(x, *m, *o)).collect());
            let apart = pick(b.lines.iter().map(|[m, o]| x * m + o).collect());
            assert_eq!(fused, apart);
            assert_eq!(
                (libm::rintf(fused) as i64).clamp(b.lo, b.hi),
                *t,
                "{b:?} at {x}"
            );
        }
    }

    #[test]
    fn leaky_lines_have_a_form() {
        let mut found = 0;
        for i in 0..40 {
            let (first, range) = [(0, (0, 255)), (-128, (-128, 127))][i % 2];
            let zero = (first + 256) as f64 / 2.0 - 20.0 + i as f64;
            let slope = [0.01, 0.1, 0.25, 0.3, -0.2][i % 5];
            let scale = 0.7 + i as f64 * 0.0173;
            let t = table(first, range, |x| {
                let x = (x - zero) * scale;
                zero - 3.0 + if x < 0.0 { x * slope } else { x }
            });
            if let Some(b) = Bend::of(&t, first, range) {
                found += 1;
                same(&b, &t, first);
            }
        }
        assert!(found >= 36, "{found}");
    }

    #[test]
    fn one_line_and_limits_of_its_own() {
        let t = table(0, (10, 200), |x| x * 1.37 - 40.0);
        let b = Bend::of(&t, 0, (0, 255)).expect("a form");
        same(&b, &t, 0);
    }

    #[test]
    fn a_wrong_entry_is_no_line() {
        let mut t = table(0, (0, 255), |x| x * 0.9);
        t[100] += 2;
        assert_eq!(Bend::of(&t, 0, (0, 255)), None);
        let curve = table(0, (0, 255), |x| x * x / 255.0);
        assert_eq!(Bend::of(&curve, 0, (0, 255)), None);
    }
}
