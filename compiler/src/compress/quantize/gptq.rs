//! Rounding that makes up for itself: each weight takes over the error of those rounded before it, so that the layer's result moves least.
//!
//! For a row of weights `w` and inputs `x` the mean square of what rounding changes is `e' H e`, `e = w - q`, `H` the second moments of `x`.
//! Frantar et al. 2022, "GPTQ: accurate post-training quantization for generative pre-trained transformers", section 3, rounds one weight after the other and
//! moves the rest to where the sum is smallest again. The same results come from `H = L L'` alone, without an inverse, if weights are taken from the last to the
//! first (Chen et al. 2025, "The geometry of LLM quantization: GPTQ as Babai's nearest plane algorithm"). Weights whose inputs are strong come first.

/// A factor of second moments, damped, with the order in which weights are taken.
#[derive(Clone, Debug)]
pub struct Factor {
    /// Inputs, the one rounded first last.
    order: Vec<usize>,
    /// Lower triangle `[depth, depth]` in that order: `L L' = H`.
    lower: Vec<f64>,
}

/// Share of the mean of the diagonal that is added to it (the paper's 1 %): few cases say little about rare directions.
const DAMPING: f64 = 0.01;

impl Factor {
    /// Of moments `[depth, depth]`, lower triangle. `None` if they are all 0 or not finite.
    pub fn of(h: &[f64], depth: usize) -> Option<Factor> {
        let diagonal = |i: usize| h[i * depth + i];
        let mean = (0..depth).map(diagonal).sum::<f64>() / depth.max(1) as f64;
        if h.len() != depth * depth || !mean.is_finite() || mean <= 0.0 {
            return None;
        }
        let mut order: Vec<usize> = (0..depth).collect();
        order.sort_by(|&a, &b| diagonal(a).total_cmp(&diagonal(b)).then(b.cmp(&a)));
        let mut damping = DAMPING * mean;
        for _ in 0..6 {
            if let Some(lower) = cholesky(h, depth, &order, damping) {
                return Some(Factor { order, lower });
            }
            damping *= 10.0;
        }
        None
    }
    /// Rounds a row of weights: `steps` is each one's step, numbers go from `least` to `most`.
    pub fn round(&self, row: &[f64], steps: &[f64], least: f64, most: f64) -> Vec<f64> {
        let mut numbers = vec![0.0; self.order.len()];
        self.settle(row, |k, wanted| {
            let q = libm::rint(wanted / steps[k]).clamp(least, most);
            numbers[k] = q;
            q * steps[k]
        });
        numbers
    }
    /// Settles a row of weights: `near` gives what weight k, wanted to be a number, becomes.
    pub fn settle(&self, row: &[f64], mut near: impl FnMut(usize, f64) -> f64) -> Vec<f64> {
        let n = self.order.len();
        let mut settled = vec![0.0; n];
        // For each weight the sum over those already rounded of L[j][i] times their error.
        let mut moved = vec![0.0; n];
        for j in (0..n).rev() {
            let k = self.order[j];
            let own = &self.lower[j * n..j * n + j + 1];
            settled[k] = near(k, row[k] + moved[j] / own[j]);
            let error = row[k] - settled[k];
            for (m, l) in moved[..j].iter_mut().zip(own) {
                *m += l * error;
            }
        }
        settled
    }
}

/// `L` of `H + damping = L L'`, rows and columns in an order. `None`: not positive.
fn cholesky(h: &[f64], n: usize, order: &[usize], damping: f64) -> Option<Vec<f64>> {
    let mut l = vec![0.0; n * n];
    for i in 0..n {
        let (above, own) = l.split_at_mut(i * n);
        for j in 0..=i {
            let (a, b) = (order[i].max(order[j]), order[i].min(order[j]));
            let other = if j < i {
                &above[j * n..j * n + j + 1]
            } else {
                &[]
            };
            if j < i {
                own[j] = (h[a * n + b] - dot(&own[..j], &other[..j])) / other[j];
            } else {
                let pivot = h[a * n + b] + damping - dot(&own[..j], &own[..j]);
                if !(pivot.is_finite() && pivot > 0.0) {
                    return None;
                }
                own[j] = libm::sqrt(pivot);
            }
        }
    }
    Some(l)
}

/// Four sums at a time, always in the same order.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut four = [0.0; 4];
    let (x, y) = (a.as_chunks::<4>(), b.as_chunks::<4>());
    for (x, y) in x.0.iter().zip(y.0) {
        for k in 0..4 {
            four[k] += x[k] * y[k];
        }
    }
    let rest: f64 = x.1.iter().zip(y.1).map(|(x, y)| x * y).sum();
    four[0] + four[1] + four[2] + four[3] + rest
}

/// `e' H e`, `H` given by its lower triangle.
pub fn cost(h: &[f64], e: &[f64]) -> f64 {
    let n = e.len();
    let mut sum = 0.0;
    for i in 0..n {
        let row = &h[i * n..i * n + i];
        sum += e[i] * (2.0 * dot(row, &e[..i]) + h[i * n + i] * e[i]);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_multiply_to_the_moments() {
        let h = [4.0, 0.0, 0.0, 2.0, 5.0, 0.0, 0.6, 1.5, 3.0];
        let l = cholesky(&h, 3, &[0, 1, 2], 0.0).unwrap();
        // numpy.linalg.cholesky([[4,2,.6],[2,5,1.5],[.6,1.5,3]])
        let want = [2.0, 0.0, 0.0, 1.0, 2.0, 0.0, 0.3, 0.6, 1.596_871_942_3];
        for (a, b) in l.iter().zip(want) {
            assert!((a - b).abs() < 1e-9, "{l:?}");
        }
        assert!(cholesky(&[1.0, 0.0, 2.0, 1.0], 2, &[0, 1], 0.0).is_none());
        assert!(Factor::of(&[0.0; 4], 2).is_none());
        assert!(Factor::of(&[f64::NAN; 4], 2).is_none());
    }

    #[test]
    fn errors_of_related_inputs_cancel() {
        // Two inputs that are nearly the same: the sum of weights counts.
        let h = [1.0, 0.0, 0.999, 1.0];
        let f = Factor::of(&h, 2).unwrap();
        let q = f.round(&[0.4, 0.4], &[1.0, 1.0], -7.0, 7.0);
        assert_eq!(q.iter().sum::<f64>(), 1.0, "{q:?}");
        // Unrelated ones are rounded to the nearest.
        let f = Factor::of(&[1.0, 0.0, 0.0, 1.0], 2).unwrap();
        assert_eq!(f.round(&[0.4, 0.4], &[1.0, 1.0], -7.0, 7.0), [0.0, 0.0]);
        assert_eq!(f.round(&[9.4, -9.0], &[1.0, 1.0], -7.0, 7.0), [7.0, -7.0]);
    }

    #[test]
    fn costs_less_than_the_nearest() {
        // Inputs of a filter that slides: neighbours are alike.
        let n = 12;
        let mut h = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..=i {
                h[i * n + j] = libm::pow(0.8, (i - j) as f64);
            }
        }
        let f = Factor::of(&h, n).unwrap();
        let (mut plain, mut better) = (0.0, 0.0);
        for r in 0..50 {
            let row: Vec<f64> = (0..n)
                .map(|k| libm::sin((r * 31 + k * 17) as f64) * 5.0)
                .collect();
            let error = |q: &[f64]| {
                let e: Vec<f64> = row.iter().zip(q).map(|(w, q)| w - q).collect();
                cost(&h, &e)
            };
            let nearest: Vec<f64> = row.iter().map(|w| libm::rint(*w)).collect();
            plain += error(&nearest);
            better += error(&f.round(&row, &vec![1.0; n], -7.0, 7.0));
        }
        assert!(better < 0.6 * plain, "{better} {plain}");
    }
}
