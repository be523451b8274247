//! How many weights of each layer go, where zeros take their place.

use super::layer::Layer;
use super::mask::{Atoms, Scores};
use super::{Criterion, Pattern};
use std::collections::BTreeMap;

/// How shares are spread over layers.
#[derive(Clone, Debug)]
pub enum Spread {
    /// The same of each.
    Uniform(f64),
    /// By one threshold for all: each weight is judged by its part of what would be left of its layer (Lee et al. 2020, "Layer-adaptive sparsity for
    /// the magnitude-based pruning"), and by how often it is multiplied, which is what time goes by.
    Global {
        /// The share of all.
        share: f64,
        /// How often each layer multiplies a weight.
        uses: Vec<f64>,
    },
    /// That of each layer, by its number; the others stay.
    Each(BTreeMap<usize, f64>),
}

/// For each layer, which weights stay (row by row).
pub fn masks(
    layers: &[Layer],
    scores: &[Scores],
    pattern: Pattern,
    criterion: Criterion,
    spread: &Spread,
) -> Vec<Vec<bool>> {
    let atoms: Vec<Atoms> = layers.iter().map(|l| Atoms::of(l, pattern)).collect();
    let judged: Vec<Vec<f64>> = (atoms.iter().zip(scores))
        .map(|(a, s)| a.scores(s, criterion))
        .collect();
    if let Pattern::Some { keep, .. } = pattern {
        let wanted = |k: usize| match spread {
            Spread::Each(of) => of.contains_key(&k),
            _ => true,
        };
        let one = |(k, (a, j)): (usize, (&Atoms, &Vec<f64>))| match wanted(k) {
            true => a.best_of_each(j, keep),
            false => vec![true; layers[k].rows * layers[k].depth],
        };
        return atoms.iter().zip(&judged).enumerate().map(one).collect();
    }
    let counts = match spread {
        Spread::Uniform(s) => (judged.iter())
            .map(|j| share(j.len(), *s))
            .collect::<Vec<_>>(),
        Spread::Each(of) => (judged.iter().enumerate())
            .map(|(k, j)| share(j.len(), of.get(&k).copied().unwrap_or(0.0)))
            .collect(),
        Spread::Global { share, uses } => global(&atoms, &judged, uses, *share),
    };
    let one = |((a, j), n): ((&Atoms, &Vec<f64>), usize)| a.without(j, n);
    atoms.iter().zip(&judged).zip(counts).map(one).collect()
}

/// How many of some atoms a share is; one stays.
fn share(n: usize, s: f64) -> usize {
    let most = n.saturating_sub(1);
    (libm::round(n as f64 * s.clamp(0.0, 1.0)) as usize).min(most)
}

/// How much more a weight that is multiplied more often has to count. Between not at all, where layers near the input keep nearly all and a run most
/// of its time, and in proportion, where those layers are emptied first; about a share of time that is as large as that of weights.
const BY_USES: f64 = 2.0 / 3.0;

fn global(atoms: &[Atoms], judged: &[Vec<f64>], uses: &[f64], part: f64) -> Vec<usize> {
    // Relative scores of each layer in rising order.
    let mut all: Vec<(f64, usize, usize)> = vec![];
    let mut weights = 0;
    for (k, j) in judged.iter().enumerate() {
        let mut sorted: Vec<(f64, usize)> = (j.iter().copied()).zip(atoms[k].sizes()).collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut rest: f64 = sorted.iter().map(|s| s.0).sum();
        let last = sorted.len().saturating_sub(1);
        let uses = libm::pow(uses.get(k).copied().unwrap_or(1.0).max(1.0), BY_USES);
        for (i, (s, size)) in sorted.into_iter().enumerate() {
            weights += size;
            if i < last {
                all.push((if rest > 0.0 { s / rest / uses } else { 0.0 }, k, size));
            }
            rest -= s;
        }
    }
    all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut left = libm::round(weights as f64 * part.clamp(0.0, 1.0)) as usize;
    let mut counts = vec![0; judged.len()];
    for (_, k, size) in all {
        if left < size.div_ceil(2).max(1) {
            break;
        }
        left = left.saturating_sub(size);
        counts[k] += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_multiplied_more_often_goes_first() {
        use crate::graph::ir::{NodeId, ValueId};
        let layer = |node| Layer {
            node: NodeId(node),
            name: String::new(),
            op: "Gemm",
            value: ValueId(node),
            rows: 4,
            depth: 25,
            groups: 1,
            taps: 1,
            out_axis: 0,
            in_axis: 1,
            stored: None,
        };
        let layers = [layer(0), layer(1)];
        let atoms: Vec<Atoms> = (layers.iter())
            .map(|l| Atoms::of(l, Pattern::Unstructured))
            .collect();
        let scores: Vec<f64> = (0..100).map(|i| f64::from(i + 1)).collect();
        let judged = [scores.clone(), scores];
        let gone = |uses: [f64; 2]| global(&atoms, &judged, &uses, 0.5);
        let even = gone([1.0, 1.0]);
        assert_eq!(even.iter().sum::<usize>(), 100);
        assert!(even[0].abs_diff(even[1]) <= 1);
        let often = gone([1.0, 1000.0]);
        assert_eq!(often.iter().sum::<usize>(), 100);
        assert!(often[1] > often[0] + 20, "{often:?}");
    }
}
