//! Tables of a number times its own gate, `d * clamp(d / width + 1, 0, 2)`: HardSwish, and what a scale makes of it (Howard et al., Searching for
//! MobileNetV3, section 5.2).
//!
//! Which function a table came from is not asked. Around the entry that stands for 0 two numbers are unknown, the width of the gate and how much the
//! curve rises; for a width, every entry leaves an interval of rises, and the widths for which these meet are searched. All 256 entries are then
//! computed as machines with fused multiply-add do it.

use super::bend::Table;

/// A form of a table: with `d = x - zero`, `clamp(near(fma(d, clamp(fma(d, slope, middle), 0, top), offset)), lo, hi)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Curve {
    /// What x has for 0.
    pub zero: f32,
    /// What the gate rises by from one x to the next.
    pub slope: f32,
    /// The gate at 0.
    pub middle: f32,
    /// The gate's largest value.
    pub top: f32,
    /// The result at 0.
    pub offset: f32,
}

/// Widths that are looked at before the best is refined.
const WIDTHS: usize = 96;
/// The least and the largest width: a gate narrower than a few entries is a bend, a wider one than this a line.
const RANGE: (f64, f64) = (2.0, 2048.0);
/// Halvings of what the best width may lie in.
const STEPS: usize = 48;

impl Table<'_> {
    /// Between which rises those lie that give every entry, for a width of the gate around entry `zero`, empty where the second is smaller; and how many
    /// entries no rise gives, as the gate is shut there.
    fn rises(&self, zero: usize, width: f64) -> (f64, f64, usize) {
        let at_zero = self.t[zero] as f64;
        let mut range = (0.0f64, f64::INFINITY, 0);
        for i in 0..self.t.len() {
            let d = i as f64 - zero as f64;
            let h = d * (d / width + 1.0).clamp(0.0, 2.0);
            let (below, above) = self.range(i);
            let (below, above) = (below - at_zero, above - at_zero);
            if h == 0.0 {
                range.2 += usize::from(below > 0.0 || above < 0.0);
                continue;
            }
            let (least, most) = match h > 0.0 {
                true => (below / h, above / h),
                false => (above / h, below / h),
            };
            range = (range.0.max(least), range.1.min(most), range.2);
        }
        range
    }
    /// The form around entry `zero`.
    fn around(&self, zero: usize) -> Option<Curve> {
        let gap = |width: f64| {
            let (least, most, lost) = self.rises(zero, width);
            // Fewer are lost the wider the gate is.
            least - most + 1e6 * lost as f64
        };
        // Widths lie as the powers of a number do: what counts is their ratio.
        let ratio = libm::pow(RANGE.1 / RANGE.0, 1.0 / WIDTHS as f64);
        let width = |i: f64| RANGE.0 * libm::pow(ratio, i);
        let nearest =
            (0..=WIDTHS).min_by(|a, b| gap(width(*a as f64)).total_cmp(&gap(width(*b as f64))))?;
        let (mut from, mut to) = (nearest as f64 - 1.0, nearest as f64 + 1.0);
        for _ in 0..STEPS {
            let third = (to - from) / 3.0;
            match gap(width(from + third)) <= gap(width(to - third)) {
                true => to -= third,
                false => from += third,
            }
        }
        let width = width((from + to) / 2.0);
        let (least, most, lost) = self.rises(zero, width);
        if !most.is_finite() || least > most || lost > 0 {
            return None;
        }
        let rise = (least + most) / 2.0;
        let curve = Curve {
            zero: (self.first + zero as i64) as f32,
            slope: (rise / width) as f32,
            middle: rise as f32,
            top: (2.0 * rise) as f32,
            offset: self.t[zero] as f32,
        };
        let holds =
            |(i, t): (usize, &i64)| curve.at(self.first + i as i64).clamp(self.lo, self.hi) == *t;
        self.t.iter().enumerate().all(holds).then_some(curve)
    }
}

impl Curve {
    /// What the form gives, without limits.
    pub fn at(&self, x: i64) -> i64 {
        let d = x as f32 - self.zero;
        let gate = libm::fmaf(d, self.slope, self.middle)
            .max(0.0)
            .min(self.top);
        libm::rintf(libm::fmaf(d, gate, self.offset)) as i64
    }
    /// Whether numbers below the first entry of a table that has this form, and those above the last, give what these entries are: where the gate is shut,
    /// and where results are at their limit.
    pub fn open(&self, t: &[i64], first: i64, hi: i64) -> [bool; 2] {
        let d = first as f32 - self.zero;
        let shut = libm::fmaf(d, self.slope, self.middle) <= 0.0;
        [shut, self.top < 256.0 && t.last() == Some(&hi)]
    }
    /// The form of a table whose entry `i` is that of `first + i`, if it has one. `range`: least and largest number of the results' type.
    pub fn of(t: &[i64], first: i64, (lo, hi): (i64, i64)) -> Option<Curve> {
        let table = Table { t, first, lo, hi };
        // No entry before that of 0 is larger, none behind it smaller.
        let split =
            |i: usize| t[..i].iter().all(|v| *v <= t[i]) && t[i..].iter().all(|v| *v >= t[i]);
        let inner = (0..t.len()).filter(|&i| t[i] > lo && t[i] < hi || t[i] == lo);
        inner.filter(|&i| split(i)).find_map(|i| table.around(i))
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

    #[test]
    fn hard_swish_has_a_form() {
        let mut found = 0;
        for i in 0..40 {
            let (first, range) = [(0, (0, 255)), (-128, (-128, 127))][i % 2];
            // Pictures of real layers: from -6 to 6 down to a part of the gate alone.
            let scale = 0.012 + i as f64 * 0.0017;
            let zero = first as f64 + [40.0, 128.0, 200.0, 97.0, 3.0][i % 5];
            let most = (first as f64 + 255.0 - zero) * scale;
            let by = 255.0 / (most * ((most + 3.0) / 6.0).clamp(0.0, 1.0) + 0.375);
            let out = range.0 as f64 + libm::rint(0.375 * by);
            let t = table(first, range, |x| {
                let x = (x - zero) * scale;
                out + by * x * (x / 6.0 + 0.5).clamp(0.0, 1.0)
            });
            let curve = Curve::of(&t, first, range);
            found += usize::from(curve.is_some());
            for (j, t) in t.iter().enumerate() {
                let own = curve.map(|c| c.at(first + j as i64).clamp(range.0, range.1));
                assert!(own.is_none_or(|v| v == *t), "{curve:?} at {j}");
            }
        }
        assert!(found >= 36, "{found}");
    }

    #[test]
    fn other_tables_have_none() {
        let sigmoid = table(0, (0, 255), |x| {
            255.0 / (1.0 + libm::exp(-(x - 128.0) / 20.0))
        });
        assert_eq!(Curve::of(&sigmoid, 0, (0, 255)), None);
        let silu = table(0, (0, 255), |x| {
            let x = (x - 100.0) / 12.0;
            20.0 + 14.0 * x / (1.0 + libm::exp(-x))
        });
        assert_eq!(Curve::of(&silu, 0, (0, 255)), None);
        let mut t = table(0, (0, 255), |x| {
            let x = (x - 100.0) / 20.1;
            20.0 + 25.3 * x * (x / 6.0 + 0.5).clamp(0.0, 1.0)
        });
        assert!(Curve::of(&t, 0, (0, 255)).is_some());
        t[130] += 2;
        assert_eq!(Curve::of(&t, 0, (0, 255)), None);
        // What does not rise has any gate.
        let flat = Curve::of(&[7; 256], 0, (0, 255));
        assert!(flat.is_none_or(|c| (0..256).all(|x| c.at(x) == 7)));
    }
}
