//! One way of pruning: what there is to remove of a model, and the model without some of it.

use onnxc_compiler::base::diag::{Diagnostic, Diagnostics};
use onnxc_compiler::compress::prune::choose::{self, RoundTo, Want};
use onnxc_compiler::compress::prune::cut::{self, Kept};
use onnxc_compiler::compress::prune::macs::{self, Cost};
use onnxc_compiler::compress::prune::mask::Scores;
use onnxc_compiler::compress::prune::ratios::{self, Spread};
use onnxc_compiler::compress::prune::relations::{Axis, relations};
use onnxc_compiler::compress::prune::units::{Units, units};
use onnxc_compiler::compress::prune::{Criterion, Inner, Layer, Pattern, costs};
use onnxc_compiler::compress::quantize::matches;
use onnxc_compiler::graph::ir::{Graph, Model, NodeId};
use std::collections::{BTreeMap, BTreeSet};

use super::float::Float;
use super::scope::Scope;
use crate::args::prune::{PruneFlags, Round};
use crate::failure::Outcome;

/// What there is to remove.
pub struct Cutting {
    pattern: Pattern,
    criterion: Criterion,
    scope: Scope,
    round: RoundTo,
    macs: Vec<Cost>,
    what: What,
    /// Layers that stay as they are by the user's word.
    kept: BTreeSet<NodeId>,
}

enum What {
    /// Weights of these layers: those of the graph, then those of bodies.
    Weights {
        layers: Vec<Layer>,
        scores: Vec<Scores>,
        /// How often each weight is multiplied.
        uses: Vec<f64>,
        /// The last ones again, with the ways to them.
        inner: Vec<Inner>,
    },
    /// Channels or heads.
    Units { units: Units, costs: Vec<f64> },
}

/// A model without some of it.
pub struct Cut {
    /// The graph; nodes and values have the numbers that they have in the whole one.
    pub model: Model,
    /// What stays of axes that were cut.
    pub kept: Kept,
    /// Which weights of layers may differ from 0, row by row.
    pub masks: BTreeMap<NodeId, Vec<bool>>,
    /// Units that are gone.
    gone: Vec<usize>,
}

/// What became of a layer.
#[derive(Clone, PartialEq, Debug)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// Its operator.
    pub op: &'static str,
    /// Output channels, before and after.
    pub channels: (usize, usize),
    /// Weights that are not 0, before and after.
    pub weights: (usize, usize),
    /// Why nothing of it could go.
    pub why: Option<String>,
}

/// What became of the whole.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Saved {
    /// Multiply-accumulates by weights that are there, before and after, free sizes taken as 128 at most and free numbers of cases as 1.
    pub macs: (f64, f64),
    /// Weights that are not 0.
    pub weights: (usize, usize),
}

/// A part of the model that can be cut alone.
#[derive(Clone, PartialEq, Debug)]
pub struct Piece {
    /// The layers that make it.
    pub name: String,
    key: usize,
}

#[cfg(test)]
impl Piece {
    /// One for tests.
    pub fn named(name: &str) -> Piece {
        Piece {
            name: name.into(),
            key: 0,
        }
    }
}

impl Cutting {
    /// What there is to remove of a model.
    pub fn new(
        flags: &PruneFlags,
        criterion: Criterion,
        scope: Scope,
        float: &Float,
    ) -> Outcome<Cutting> {
        let g = &float.model.graph;
        let keep = |name: &str| flags.keep.iter().any(|p| matches(p, name));
        let kept = |l: &&Layer| keep(&l.name);
        let kept = float.layers.iter().filter(kept).map(|l| l.node).collect();
        let macs = macs::costs(g, &float.model.symbols);
        let what = match flags.pattern.cuts() {
            true => channels(flags.pattern, criterion, &keep, float)?,
            false => {
                let fits = |l: &&Layer| !keep(&l.name) && !l.depthwise() && l.rows * l.depth > 1;
                let mut layers: Vec<Layer> = float.layers.iter().filter(fits).cloned().collect();
                let inner = float.inner.iter().filter(|i| fits(&&i.layer));
                let inner: Vec<Inner> = inner.cloned().collect();
                if layers.is_empty() && inner.is_empty() {
                    let text = "every layer is to be kept, or depthwise: there is nothing to prune";
                    return Err(Diagnostic::model("PRUNE001", text).into());
                }
                let of = |l: &Layer| Scores::of(g, l, criterion, float.seen.get(&l.node));
                let mut scores: Vec<Scores> = layers.iter().map(of).collect();
                let times = |l: &Layer, macs: f64| macs / (l.rows * l.depth).max(1) as f64;
                let mut uses: Vec<f64> = (layers.iter())
                    .map(|l| {
                        macs.iter()
                            .find(|c| c.node == l.node)
                            .map_or(1.0, |c| times(l, c.base))
                    })
                    .collect();
                for i in &inner {
                    let body = i.body(g).unwrap_or(g);
                    scores.push(Scores::of(body, &i.layer, criterion, None));
                    uses.push(times(&i.layer, i.macs).max(1.0));
                    layers.push(i.layer.clone());
                }
                What::Weights {
                    layers,
                    scores,
                    uses,
                    inner,
                }
            }
        };
        Ok(Cutting {
            pattern: flags.pattern,
            criterion,
            scope,
            round: match flags.round_to {
                Round::Auto => RoundTo::Auto,
                Round::To(n) => RoundTo::Multiple(n),
            },
            macs,
            what,
            kept,
        })
    }

    /// The model without a share of it.
    pub fn cut(&self, share: f64, float: &Float) -> Outcome<Cut> {
        match &self.what {
            What::Weights { layers, uses, .. } => {
                let spread = match &self.scope {
                    Scope::Global => Spread::Global {
                        share,
                        uses: uses.clone(),
                    },
                    Scope::Uniform => Spread::Uniform(share),
                    Scope::Each(_) => {
                        let of = |(k, l): (usize, &Layer)| {
                            let own = self.scope.share(&l.name);
                            Some((k, own.unwrap_or(share))).filter(|s| s.1 > 0.0)
                        };
                        Spread::Each(layers.iter().enumerate().filter_map(of).collect())
                    }
                };
                Ok(self.masked(&spread, float))
            }
            What::Units { units, .. } => {
                let want = match &self.scope {
                    Scope::Global => Want::Global(share),
                    Scope::Uniform => Want::Uniform(share),
                    Scope::Each(_) => {
                        let mut each = BTreeMap::new();
                        for p in self.pieces(float) {
                            let names = makers(units, p.key, float);
                            let own = names.iter().find_map(|n| self.scope.share(n));
                            each.insert(p.key, own.unwrap_or(share));
                        }
                        Want::Each(each)
                    }
                };
                self.without(&want, float)
            }
        }
    }

    /// The model with a share of each of some pieces gone.
    pub fn each(&self, shares: &[(&Piece, f64)], float: &Float) -> Outcome<Cut> {
        let each = shares.iter().map(|(p, share)| (p.key, *share)).collect();
        match &self.what {
            What::Weights { .. } => Ok(self.masked(&Spread::Each(each), float)),
            What::Units { .. } => self.without(&Want::Each(each), float),
        }
    }

    /// What can be cut alone.
    pub fn pieces(&self, float: &Float) -> Vec<Piece> {
        match &self.what {
            What::Weights { layers, inner, .. } => (layers.iter().enumerate())
                .take(layers.len() - inner.len())
                .map(|(key, l)| Piece {
                    name: l.name.clone(),
                    key,
                })
                .collect(),
            What::Units { units, costs } => choose::bundles(units, costs, self.round)
                .iter()
                .filter_map(|b| {
                    let key = b.units.iter().min().copied()?;
                    let name = makers(units, key, float).join(", ");
                    Some(Piece { name, key })
                })
                .collect(),
        }
    }

    fn masked(&self, spread: &Spread, float: &Float) -> Cut {
        let mut cut = Cut {
            model: float.model.clone(),
            kept: Kept::new(),
            masks: BTreeMap::new(),
            gone: vec![],
        };
        if let What::Weights {
            layers,
            scores,
            inner,
            ..
        } = &self.what
        {
            let masks = ratios::masks(layers, scores, self.pattern, self.criterion, spread);
            let own = layers.len() - inner.len();
            for (k, (l, stay)) in layers.iter().zip(masks).enumerate() {
                let of = k.checked_sub(own).map(|k| &inner[k]);
                let g = match of {
                    Some(i) => i.body_mut(&mut cut.model.graph),
                    None => Some(&mut cut.model.graph),
                };
                let Some(g) = g.filter(|_| stay.contains(&false)) else {
                    continue;
                };
                let weights: Vec<f64> = (l.weights(g).into_iter().zip(&stay))
                    .map(|(w, s)| if *s { w } else { 0.0 })
                    .collect();
                l.put(g, &weights);
                // Nodes of bodies have numbers of their own.
                if of.is_none() {
                    cut.masks.insert(l.node, stay);
                }
            }
        }
        cut
    }

    fn without(&self, want: &Want, float: &Float) -> Outcome<Cut> {
        let What::Units { units, costs } = &self.what else {
            return Err(Diagnostic::internal("no units to remove").into());
        };
        let gone = choose::choose(units, costs, &self.macs, want, self.round);
        let kept = cut::kept(units, &gone);
        let mut model = float.model.clone();
        let mut diags = Diagnostics::default();
        cut::apply(&mut model, &kept, &mut diags)?;
        Ok(Cut {
            model,
            kept,
            masks: BTreeMap::new(),
            gone,
        })
    }

    /// What became of each layer: those of the graph, then those of bodies.
    pub fn layers(&self, cut: &Cut, float: &Float) -> Vec<Line> {
        let (before, after) = (&float.model.graph, &cut.model.graph);
        let mut out = vec![];
        for l in &float.layers {
            let left = Layer::of(after, l.node).ok().flatten();
            let rows = left.as_ref().map_or(l.rows, |l| l.rows);
            let weights = (
                there(before, l),
                left.as_ref().map_or(0, |left| there(after, left)),
            );
            let why = match &self.what {
                What::Units { units, .. } => units.fixed.get(&(l.value, l.out_axis)).cloned(),
                What::Weights { .. } => self.stays(l, self.kept.contains(&l.node)),
            };
            out.push(Line {
                name: l.name.clone(),
                op: l.op,
                channels: (l.rows, rows),
                weights,
                why,
            });
        }
        for i in &float.inner {
            let l = &i.layer;
            let count = |g: &Graph| i.body(g).map_or(0, |g| there(g, l));
            let why = match &self.what {
                What::Units { .. } => Some("it is in a body of an If, Loop or Scan".into()),
                What::Weights { inner, .. } => {
                    let taken = inner.iter().any(|o| o.layer.name == l.name);
                    self.stays(l, !taken && !l.depthwise() && l.rows * l.depth > 1)
                }
            };
            out.push(Line {
                name: l.name.clone(),
                op: l.op,
                channels: (l.rows, l.rows),
                weights: (count(before), count(after)),
                why,
            });
        }
        out
    }

    /// Why no weight of a layer becomes zero.
    fn stays(&self, l: &Layer, kept: bool) -> Option<String> {
        match kept {
            true => Some("it is to be kept".into()),
            false if l.depthwise() => Some("a depthwise layer is small and gains nothing".into()),
            false => None,
        }
    }

    /// What became of the whole. A body counts as if it ran once.
    pub fn saved(&self, cut: &Cut, float: &Float) -> Saved {
        let lines = self.layers(cut, float);
        let sum = |f: &dyn Fn(&Line) -> usize| lines.iter().map(f).sum::<usize>();
        let (lines, inner) = lines.split_at(float.layers.len());
        let left = |l: &Line| l.weights.1 as f64 / l.weights.0.max(1) as f64;
        let bodies = (inner.iter().zip(&float.inner)).fold((0.0, 0.0), |(all, kept), (l, i)| {
            (all + i.macs, kept + i.macs * left(l))
        });
        let all = macs::total(&self.macs, &|_| 1.0);
        let by_node: BTreeMap<NodeId, &Line> =
            float.layers.iter().map(|l| l.node).zip(lines).collect();
        let own = match &self.what {
            What::Units { units, .. } => all * (1.0 - choose::saved(units, &cut.gone, &self.macs)),
            What::Weights { .. } => (self.macs.iter())
                .map(|c| match by_node.get(&c.node) {
                    Some(l) if cut.masks.contains_key(&c.node) => c.base * left(l),
                    _ => c.base,
                })
                .sum(),
        };
        Saved {
            macs: (all + bodies.0, own + bodies.1),
            weights: (sum(&|l| l.weights.0), sum(&|l| l.weights.1)),
        }
    }
}

/// Weights of a layer that are not 0.
fn there(g: &Graph, l: &Layer) -> usize {
    l.weights(g).iter().filter(|w| **w != 0.0).count()
}

/// Names of layers that make the channels of a unit.
fn makers(units: &Units, unit: usize, float: &Float) -> Vec<String> {
    let Some(u) = units.list.get(unit) else {
        return vec![];
    };
    let places: BTreeSet<Axis> = u.places.iter().map(|p| units.axes[p.0]).collect();
    (float.layers.iter())
        .filter(|l| places.contains(&(l.value, l.out_axis)))
        .map(|l| l.name.clone())
        .collect()
}

fn channels(
    pattern: Pattern,
    criterion: Criterion,
    keep: &dyn Fn(&str) -> bool,
    float: &Float,
) -> Outcome<What> {
    let g = &float.model.graph;
    let relations = relations(g, keep);
    let made: BTreeSet<Axis> = (float.layers.iter())
        .map(|l| (l.value, l.out_axis))
        .collect();
    let units = units(g, &relations, pattern, &made, &heads(g))?;
    if units.list.is_empty() {
        let what = match pattern {
            Pattern::Heads => "no heads of attention",
            _ => "no channels",
        };
        let text = format!("the model has {what} that could go: there is nothing to prune");
        let why: Vec<String> = (float.layers.iter())
            .filter_map(|l| Some((l, units.fixed.get(&(l.value, l.out_axis))?)))
            .map(|(l, why)| format!("{}: {why}", l.name))
            .take(8)
            .collect();
        return Err(Diagnostic::model("PRUNE001", text)
            .help(why.join("; "))
            .into());
    }
    let costs = costs::costs(g, &units, &float.layers, criterion, &float.seen);
    Ok(What::Units { units, costs })
}

/// Axes that count heads: those beside the matrices of a product of two values.
fn heads(g: &Graph) -> BTreeSet<Axis> {
    let mut out = BTreeSet::new();
    for &n in g.order() {
        let node = g.node(n);
        let (Some(Some(a)), Some(Some(b))) = (node.ins.first(), node.ins.get(1)) else {
            continue;
        };
        if node.op.name == "MatMul" && g.konst(*a).is_none() && g.konst(*b).is_none() {
            for v in [a, b] {
                let rank = g.ty(*v).map_or(0, |t| t.rank());
                out.extend((0..rank.saturating_sub(2)).map(|k| (*v, k)));
            }
        }
    }
    out
}
