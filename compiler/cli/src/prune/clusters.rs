//! Weights of few values: `--cluster`.

use onnxc_compiler::compress::prune::cluster::{Values, count};
use onnxc_compiler::compress::prune::{Criterion, Layer};
use onnxc_compiler::compress::quantize::matches;
use onnxc_compiler::graph::ir::{Graph, NodeId};
use std::collections::BTreeSet;

use super::float::Float;

/// Which layers take how many values.
#[derive(Clone, Debug)]
pub struct Clusters {
    asked: usize,
    criterion: Criterion,
    /// Layers that stay as they are.
    kept: BTreeSet<NodeId>,
}

impl Clusters {
    /// `asked` values for every layer, but those of names like `keep`.
    pub fn new(asked: u16, criterion: Criterion, keep: &[String], float: &Float) -> Clusters {
        let kept = |l: &&Layer| keep.iter().any(|p| matches(p, &l.name));
        Clusters {
            asked: usize::from(asked),
            criterion,
            kept: float.layers.iter().filter(kept).map(|l| l.node).collect(),
        }
    }

    /// The values for weights of a layer of the pruned model, row by row; `None`: they stay as they are.
    pub fn values(&self, l: &Layer, weights: &[f64], float: &Float) -> Option<Values> {
        let fits = !self.kept.contains(&l.node);
        let counts = self.counts(l, float);
        fits.then(|| Values::of(weights, counts.as_deref(), count(l, self.asked)))
    }

    /// What each weight counts: how strong what it is multiplied by is, where data says so and no channel is gone.
    fn counts(&self, l: &Layer, float: &Float) -> Option<Vec<f64>> {
        let seen = float.seen.get(&l.node).filter(|s| !s.is_empty())?;
        let powers = seen.powers(false);
        let known = self.criterion == Criterion::Activation && powers.len() == l.channels();
        let one = |i: usize| powers[l.channel(i / l.depth, i % l.depth)] + 1e-12;
        known.then(|| (0..l.rows * l.depth).map(one).collect())
    }

    /// Moves each weight of a layer of a pruned model to the nearest of its values.
    pub fn settle(&self, g: &mut Graph, l: &Layer, float: &Float) {
        let weights = l.weights(g);
        if let Some(values) = self.values(l, &weights, float) {
            let near: Vec<f64> = weights.iter().map(|w| values.near(*w)).collect();
            l.put(g, &near);
        }
    }

    /// The same of all layers.
    pub fn settle_all(&self, g: &mut Graph, float: &Float) {
        for l in &float.layers {
            if let Ok(Some(left)) = Layer::of(g, l.node) {
                self.settle(g, &left, float);
            }
        }
    }

    /// How many values the weights of a layer take at most, and what is to be said of them.
    pub fn said(&self) -> (usize, String) {
        let bits = if self.asked <= 16 { 4 } else { 8 };
        let kept = match self.kept.len() {
            0 => String::new(),
            n => format!(", but {n} layers that are to be kept"),
        };
        let text = format!(
            "weights of a layer take at most {} values{kept}: {bits} bits each in objects (--palettes on)",
            self.asked
        );
        (self.asked, text)
    }
}
