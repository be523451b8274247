//! Clusters: the weights of a layer take few values, so that an object stores a number of four or eight bits for each (`docs/pruning.md`).
//!
//! The values are those with the least sum of squares (Lloyd 1982, "Least squares quantization in PCM"), found on sorted weights from three beginnings.
//! One of them is 0: weights that are gone stay so, and so do the edges that kernels pad.

use super::layer::Layer;

/// Rounds of improving values, at most.
const ROUNDS: usize = 100;
/// Depthwise layers are small and each of their weights counts: they get at least so many values.
const LEAST_DEPTHWISE: usize = 256;

/// Values that the weights of a layer may take.
#[derive(Clone, PartialEq, Debug)]
pub struct Values(Vec<f64>);

/// How many values a layer gets where `asked` are asked for.
pub fn count(l: &Layer, asked: usize) -> usize {
    match l.depthwise() {
        true => asked.max(LEAST_DEPTHWISE),
        false => asked,
    }
}

impl Values {
    /// At most `n` values, from 2 on, for some weights; what each counts, where that differs.
    pub fn of(weights: &[f64], counts: Option<&[f64]>, n: usize) -> Values {
        let mut sorted: Vec<(f64, f64)> = (weights.iter().enumerate())
            .map(|(i, w)| {
                (
                    *w,
                    counts.and_then(|c| c.get(i)).map_or(1.0, |c| c.max(0.0)),
                )
            })
            .collect();
        // What counts nothing goes where it may.
        if sorted.iter().any(|s| s.1 > 0.0) {
            sorted.retain(|s| s.1 > 0.0);
        }
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else {
            return Values(vec![0.0]);
        };
        let (lo, hi) = (first.0.min(0.0), last.0.max(0.0));
        let sums = Sums::of(&sorted);
        let line = |i: usize| lo + (hi - lo) * (i as f64 + 0.5) / n as f64;
        let rank = |i: usize| sorted[(2 * i + 1) * (sorted.len() - 1) / (2 * n)].0;
        let beginnings: [Vec<f64>; 3] = [
            (0..n).map(line).collect(),
            (0..n).map(rank).collect(),
            (0..n).map(|i| (line(i) + rank(i)) / 2.0).collect(),
        ];
        let mut best: Option<(f64, Vec<f64>)> = None;
        for values in beginnings {
            let (cost, values) = sums.improve(values);
            if best.as_ref().is_none_or(|b| cost < b.0) {
                best = Some((cost, values));
            }
        }
        let mut values = best.map_or(vec![0.0], |b| b.1);
        // They are stored in single precision.
        values.iter_mut().for_each(|v| *v = f64::from(*v as f32));
        values.dedup();
        Values(values)
    }
    /// The nearest value.
    pub fn near(&self, w: f64) -> f64 {
        let at = self.0.partition_point(|v| *v < w);
        let below = at.checked_sub(1).and_then(|i| self.0.get(i));
        match (below, self.0.get(at)) {
            (Some(a), Some(b)) if w - a <= b - w => *a,
            (_, Some(b)) => *b,
            (Some(a), None) => *a,
            (None, None) => 0.0,
        }
    }
    /// In rising order.
    pub fn list(&self) -> &[f64] {
        &self.0
    }
}

/// Sorted weights, and the sums of what all before a place count, alone, times their values, and times their squares.
struct Sums<'a> {
    sorted: &'a [(f64, f64)],
    before: Vec<[f64; 3]>,
}

impl Sums<'_> {
    fn of(sorted: &[(f64, f64)]) -> Sums<'_> {
        let mut before = vec![[0.0; 3]];
        let mut so_far = [0.0; 3];
        for (w, c) in sorted {
            so_far = [so_far[0] + c, so_far[1] + c * w, so_far[2] + c * w * w];
            before.push(so_far);
        }
        Sums { sorted, before }
    }
    /// The same of a range.
    fn within(&self, from: usize, to: usize) -> [f64; 3] {
        std::array::from_fn(|i| self.before[to][i] - self.before[from][i])
    }
    /// Moves values to the means of what is nearest to them; the one next to 0 becomes 0. Gives the sum of squares too.
    fn improve(&self, mut values: Vec<f64>) -> (f64, Vec<f64>) {
        values.sort_by(f64::total_cmp);
        let nearest =
            (0..values.len()).min_by(|a, b| values[*a].abs().total_cmp(&values[*b].abs()));
        let mut zero = nearest.unwrap_or(0);
        let mut cost = f64::INFINITY;
        for _ in 0..ROUNDS {
            if let Some(v) = values.get_mut(zero) {
                *v = 0.0;
            }
            let (mut from, mut sum) = (0, 0.0);
            let (mut next, mut idle) = (values.clone(), None);
            // The most that is lost around a value, and where another would help.
            let mut worst = (0.0, 0.0);
            for i in 0..values.len() {
                let to = match values.get(i + 1) {
                    Some(above) => {
                        let middle = (values[i] + above) / 2.0;
                        self.sorted.partition_point(|s| s.0 <= middle).max(from)
                    }
                    None => self.sorted.len(),
                };
                let [c, cw, cww] = self.within(from, to);
                let v = values[i];
                let lost = (cww - 2.0 * v * cw + v * v * c).max(0.0);
                sum += lost;
                if c > 0.0 {
                    let mean = cw / c;
                    if lost > worst.0 {
                        let spread = (cww / c - mean * mean).max(0.0);
                        worst = (lost, mean + libm::sqrt(spread));
                    }
                    if i != zero {
                        next[i] = mean;
                    }
                } else if i != zero {
                    idle = Some(i);
                }
                from = to;
            }
            // A value that nothing is near goes where most is lost.
            if let Some(i) = idle
                && worst.0 > 0.0
            {
                next[i] = worst.1;
                next[zero] = 0.0;
                next.sort_by(f64::total_cmp);
                zero = next.iter().position(|v| *v == 0.0).unwrap_or(zero);
            }
            if sum >= cost {
                break;
            }
            (cost, values) = (sum, next);
        }
        if let Some(v) = values.get_mut(zero) {
            *v = 0.0;
        }
        (cost, values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lie_where_weights_do() {
        let weights: Vec<f64> = (0..3000)
            .map(|i| [-2.0, 0.0, 0.5, 3.0][i % 4] + 0.001 * libm::sin(i as f64))
            .collect();
        let v = Values::of(&weights, None, 4);
        for (v, want) in v.list().iter().zip([-2.0, 0.0, 0.5, 3.0]) {
            assert!((v - want).abs() < 0.001, "{v}, not {want}");
        }
        assert!(v.list().contains(&0.0));
        assert!((v.near(0.2) - 0.0).abs() < 1e-9 && (v.near(9.0) - 3.0).abs() < 0.001);
    }

    #[test]
    fn less_is_lost_than_by_even_steps() {
        // As the weights of layers are: most near 0, few far away.
        let part = |i: usize| {
            let v = libm::sin(i as f64 * 12.9898) * 43_758.545_3;
            v - libm::floor(v)
        };
        let one = |i: usize| (0..12).map(|j| part(12 * i + j)).sum::<f64>() - 6.0;
        let weights: Vec<f64> = (0..5000).map(one).collect();
        let lost = |near: &dyn Fn(f64) -> f64| -> f64 {
            weights
                .iter()
                .map(|w| (w - near(*w)) * (w - near(*w)))
                .sum()
        };
        let v = Values::of(&weights, None, 16);
        assert!(v.list().len() == 16 && v.list().is_sorted());
        let most = weights.iter().fold(0.0, |m: f64, w| m.max(w.abs()));
        let even = |w: f64| libm::rint(w * 7.5 / most) / 7.5 * most;
        assert!(lost(&|w| v.near(w)) < 0.7 * lost(&even));
        // What counts nothing pulls nothing.
        let counts: Vec<f64> = weights
            .iter()
            .map(|w| f64::from(u8::from(*w > 0.0)))
            .collect();
        let v = Values::of(&weights, Some(&counts), 4);
        assert!(v.list().iter().all(|v| *v >= 0.0), "{v:?}");
    }

    #[test]
    fn few_weights_stay_what_they_are() {
        let v = Values::of(&[0.25, -1.0, 0.25, 7.5], None, 16);
        for w in [0.25, -1.0, 7.5] {
            assert_eq!(v.near(w), w);
        }
        assert_eq!(Values::of(&[], None, 16).list(), [0.0]);
        assert_eq!(Values::of(&[0.0; 40], None, 16).list(), [0.0]);
    }
}
