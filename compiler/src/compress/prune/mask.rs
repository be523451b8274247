//! Zeros by a pattern: which weights of a layer go together, and which of these stay.

use super::layer::Layer;
use super::seen::Seen;
use super::{Criterion, Pattern};
use crate::graph::ir::Graph;

/// What each weight of a layer counts, row by row.
#[derive(Clone, Debug)]
pub struct Scores(Vec<f64>);

impl Scores {
    /// By a criterion; `seen` is what the layer reads, where data is given.
    pub fn of(g: &Graph, l: &Layer, criterion: Criterion, seen: Option<&Seen>) -> Scores {
        let powers = seen.filter(|s| !s.is_empty() && criterion == Criterion::Activation);
        let powers = powers.map(|s| s.powers(false));
        let one = |(i, w): (usize, f64)| {
            let strong = powers
                .as_ref()
                .and_then(|p| p.get(l.channel(i / l.depth, i % l.depth)).copied());
            match criterion {
                Criterion::Magnitude => w.abs(),
                // A channel that is silent on the data may not always be.
                _ => w * w * strong.map_or(1.0, |s| s + 1e-12),
            }
        };
        Scores(l.weights(g).into_iter().enumerate().map(one).collect())
    }
}

/// Sets of weights that go or stay together.
#[derive(Clone, Debug)]
pub struct Atoms {
    list: Vec<Vec<usize>>,
    /// Atoms that compete for places, for a pattern of runs.
    runs: Vec<Vec<usize>>,
    all: usize,
    rows: usize,
    of: usize,
}

impl Atoms {
    /// Those of a layer.
    pub fn of(l: &Layer, pattern: Pattern) -> Atoms {
        let all = l.rows * l.depth;
        let mut a = Atoms {
            list: vec![],
            runs: vec![],
            all,
            rows: l.rows,
            of: 0,
        };
        match pattern {
            Pattern::Block { out, into } => {
                let each = l.rows / l.groups;
                for first in (0..l.rows).filter(|r| (r % each).is_multiple_of(out)) {
                    // The last block of a group may be smaller.
                    let last = (first / each + 1) * each;
                    let rows = first..(first + out).min(last);
                    // Inputs that follow each other lie as far apart as the window has elements.
                    let channels = l.depth / l.taps;
                    for c in (0..channels).step_by(into) {
                        for t in 0..l.taps {
                            let all = c..(c + into).min(channels);
                            let of = |r: usize| {
                                let place = move |c: usize| r * l.depth + c * l.taps + t;
                                all.clone().map(place)
                            };
                            a.list.push(rows.clone().flat_map(of).collect());
                        }
                    }
                }
            }
            _ => a.list = (0..all).map(|i| vec![i]).collect(),
        }
        if let Pattern::Some { of, .. } = pattern {
            a.of = of;
            let channels = l.depth / l.taps;
            for r in 0..l.rows {
                for t in 0..l.taps {
                    for c in (0..channels).step_by(of) {
                        let run = c..(c + of).min(channels);
                        a.runs
                            .push(run.map(|c| r * l.depth + c * l.taps + t).collect());
                    }
                }
            }
        }
        a
    }
    /// Weights of each.
    pub fn sizes(&self) -> impl Iterator<Item = usize> {
        self.list.iter().map(Vec::len)
    }
    /// What each counts, for a weight of it.
    pub fn scores(&self, s: &Scores, _: Criterion) -> Vec<f64> {
        let one = |a: &Vec<usize>| a.iter().map(|i| s.0[*i]).sum::<f64>() / a.len().max(1) as f64;
        self.list.iter().map(one).collect()
    }
    /// All weights but those of the `n` atoms that count least.
    pub fn without(&self, scores: &[f64], n: usize) -> Vec<bool> {
        let mut order: Vec<usize> = (0..self.list.len()).collect();
        order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]).then(a.cmp(b)));
        let mut stay = vec![true; self.all];
        for a in order.into_iter().take(n) {
            self.list[a].iter().for_each(|i| stay[*i] = false);
        }
        stay
    }
    /// In each run the best `keep`; of a shorter one at its end as large a share, rounded up.
    pub fn best_of_each(&self, scores: &[f64], keep: usize) -> Vec<bool> {
        let mut stay = vec![true; self.all];
        for run in &self.runs {
            let mut order = run.clone();
            order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
            let n = (run.len() * keep).div_ceil(self.of.max(1));
            order[n..].iter().for_each(|i| stay[*i] = false);
        }
        debug_assert!(self.rows > 0);
        stay
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::ir::{NodeId, ValueId};

    #[test]
    fn blocks_are_neighbouring_inputs_of_the_same_place() {
        let layer = Layer {
            node: NodeId(0),
            name: String::new(),
            op: "Conv",
            value: ValueId(0),
            rows: 5,
            depth: 6 * 2,
            groups: 1,
            taps: 2,
            out_axis: 0,
            in_axis: 1,
            stored: None,
        };
        let a = Atoms::of(&layer, Pattern::Block { out: 1, into: 4 });
        assert_eq!(a.list[0], [0, 2, 4, 6]);
        assert_eq!(a.list[1], [1, 3, 5, 7]);
        // What is left of six inputs.
        assert_eq!(a.list[2], [8, 10]);
        let a = Atoms::of(&layer, Pattern::Block { out: 4, into: 4 });
        assert_eq!(a.list[0].len(), 16);
        assert_eq!(a.list[0][4..8], [12, 14, 16, 18]);
        let mut all: Vec<usize> = a.list.concat();
        all.sort_unstable();
        assert_eq!(all, (0..60).collect::<Vec<_>>());
    }
}
