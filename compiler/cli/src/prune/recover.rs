//! Reconstruction: layer by layer, what is left of a layer is fitted to what the whole layer made, on what it reads in the pruned model so far.
//!
//! Both models are run from wave to wave, each from the values that the one before ended with, so that little is computed twice.

use onnxc_compiler::base::diag::{Diagnostic, Diagnostics};
use onnxc_compiler::base::effort::Effort;
use onnxc_compiler::base::tensor::Tensor;
use onnxc_compiler::base::types::TensorType;
use onnxc_compiler::compress::prune::bias::Bias;
use onnxc_compiler::compress::prune::fit::Fit;
use onnxc_compiler::compress::prune::segment::{between, segment, waves};
use onnxc_compiler::compress::prune::{Layer, relations::Axis};
use onnxc_compiler::graph::ir::{Graph, Model, ValueId};
use std::collections::{BTreeMap, BTreeSet};

use super::clusters::Clusters;
use super::cutting::Cut;
use super::float::{Float, odd};
use crate::failure::Outcome;
use crate::files::Source;
use crate::job::Job;
use crate::probe::{Loaded, answers, written};
use crate::progress::Bar;
use crate::ui::Ui;

/// Bytes of values that are held at once, at most; cases are left out until they fit.
const MOST_BYTES: usize = 1 << 30;

/// Values of a case.
type Known = BTreeMap<ValueId, Tensor>;

/// One model's part of a wave.
struct Part {
    model: Model,
    reads: Vec<ValueId>,
    wanted: Vec<ValueId>,
    /// Compiled for shapes of what it reads, and loaded.
    made: Vec<(Vec<Vec<i64>>, Source, Loaded)>,
}

/// Fits all layers of a pruned model. Gives what is to be said of layers that were left.
/// `clusters`: weights then take few values, each layer before those behind it are fitted.
pub fn recover(
    float: &mut Float,
    cut: &mut Cut,
    clusters: Option<&Clusters>,
    job: &Job,
    ui: &Ui,
) -> Outcome<Vec<Diagnostic>> {
    let mut said = vec![];
    let layers = float.layers.clone();
    let list = waves(&float.model.graph, &layers);
    let mut job = job.clone();
    // Parts run a few times each: time goes into compiling them.
    job.options = job.options.clone().at(Effort::Quick);
    let (mut whole, mut pruned): (Vec<Known>, Vec<Known>) = (vec![], vec![]);
    for k in 0..float.count {
        let data = float.case(k)?;
        let known = given(&float.model.graph, float.job, data)?;
        whole.push(known.clone());
        pruned.push(known);
    }
    let bar = Bar::counted(ui, Some(list.len() as u64));
    bar.say("reconstructing");
    for (w, wave) in list.iter().enumerate() {
        let graph = &float.model.graph;
        let read = |k: &usize| graph.node(layers[*k].node).ins[0];
        let mut xs: Vec<ValueId> = wave.iter().filter_map(read).collect();
        xs.sort();
        xs.dedup();
        let ys: Vec<ValueId> = wave
            .iter()
            .map(|k| graph.node(layers[*k].node).outs[0])
            .collect();
        let fresh = |known: &[Known]| -> Vec<ValueId> {
            let has = |v: &&ValueId| known.first().is_some_and(|k| k.contains_key(v));
            xs.iter().filter(|v| !has(v)).copied().collect()
        };
        let mut both = fresh(&whole);
        both.extend(&ys);
        let mut of_whole = Part::new(&float.model, &whole, both);
        let mut of_pruned = Part::new(&cut.model, &pruned, fresh(&pruned));
        let mut fits = vec![];
        for &k in wave {
            let l = &layers[k];
            let left = Layer::of(&cut.model.graph, l.node)?;
            let fit = left.and_then(|left| {
                let node = cut.model.graph.node(left.node);
                let kernel = cut.model.graph.konst(left.value)?.shape.get(2..);
                let fit = Fit::new(&left, &node.attrs, kernel.unwrap_or(&[]))?;
                Some((left, fit))
            });
            match fit {
                Some((left, fit)) => fits.push((k, left, fit, rows(l, cut))),
                None => {
                    let text = "the layer is not reconstructed: it is no plain sum, or too large";
                    said.push(*Diagnostic::remark("PRUNE002", text).at(&l.name));
                    if let (Some(c), Some(left)) = (clusters, Layer::of(&cut.model.graph, l.node)?)
                    {
                        c.settle(&mut cut.model.graph, &left, float);
                    }
                }
            }
        }
        for case in 0..whole.len() {
            let made = of_whole.run(&job, &mut whole[case])?;
            of_pruned.run(&job, &mut pruned[case])?;
            for (k, left, fit, rows) in &mut fits {
                let node = graph.node(left.node);
                let x = node.ins[0].and_then(|v| pruned[case].get(&v));
                let y = made.get(&node.outs[0]);
                let (Some(x), Some(y)) = (x, y) else { continue };
                let numbers = |t: &Tensor| t.to_f32s().unwrap_or_default();
                let most = fit.wanted().div_ceil(whole.len());
                let (a, b) = (numbers(x), numbers(y));
                if !fit.take((&a, &x.shape), (&b, &y.shape), rows, most) {
                    return Err(odd(&layers[*k].name, case).into());
                }
            }
            for y in &ys {
                whole[case].remove(y);
            }
        }
        let g = &mut cut.model.graph;
        for (_, left, fit, _) in fits {
            let place = Bias::of(g, &left);
            let stay = cut.masks.get(&left.node).map(Vec::as_slice);
            let Some(mut new) = fit.solve(&left.weights(g), stay, place.is_some()) else {
                if let Some(c) = clusters {
                    c.settle(g, &left, float);
                }
                continue;
            };
            if let Some(v) = clusters.and_then(|c| c.values(&left, &new.weights, float)) {
                new = fit.settle(&new, stay, place.is_some(), |w| v.near(w));
            }
            left.put(g, &new.weights);
            if let Some(place) = place {
                place.put(g, &left, &new.bias);
            }
        }
        forget(&float.model.graph, &layers, &list[w + 1..], &mut whole);
        forget(&cut.model.graph, &layers, &list[w + 1..], &mut pruned);
        shrink(&mut whole, &mut pruned);
        bar.step();
    }
    Ok(said)
}

/// Inputs by their names.
fn given(g: &Graph, job: &Job, data: Vec<Tensor>) -> Outcome<Known> {
    let named = |name: &str| g.inputs.iter().find(|v| g.value(**v).name == name);
    let pairs = job.wanted()?.into_iter().zip(data);
    Ok(pairs
        .filter_map(|(w, t)| Some((*named(&w.name)?, t)))
        .collect())
}

/// Output channels of the whole layer that are left.
fn rows(l: &Layer, cut: &Cut) -> Vec<usize> {
    let axis: Axis = (l.value, l.out_axis);
    match cut.kept.get(&axis) {
        Some(left) => left.clone(),
        None => (0..l.rows).collect(),
    }
}

/// Drops values that no later wave starts from.
fn forget(g: &Graph, layers: &[Layer], later: &[Vec<usize>], known: &mut [Known]) {
    let Some(first) = known.first() else { return };
    let mut have: BTreeSet<ValueId> = first.keys().copied().collect();
    let mut needed = BTreeSet::new();
    for wave in later {
        let mut wanted = vec![];
        for k in wave {
            let node = g.node(layers[*k].node);
            wanted.extend(node.ins[0]);
            wanted.push(node.outs[0]);
        }
        let (_, reads) = between(g, &have, &wanted);
        needed.extend(reads);
        for k in wave {
            have.extend(g.node(layers[*k].node).ins[0]);
        }
    }
    for k in known {
        k.retain(|v, _| needed.contains(v));
    }
}

/// Leaves cases out until the rest fits.
fn shrink(whole: &mut Vec<Known>, pruned: &mut Vec<Known>) {
    let bytes = |k: &Known| k.values().map(|t| t.data.len()).sum::<usize>();
    let each = whole.first().map_or(0, bytes) + pruned.first().map_or(0, bytes);
    let most = (MOST_BYTES / each.max(1)).max(4);
    whole.truncate(most);
    pruned.truncate(most);
}

impl Part {
    fn new(model: &Model, known: &[Known], wanted: Vec<ValueId>) -> Part {
        let have: BTreeSet<ValueId> = known
            .first()
            .map(|k| k.keys().copied().collect())
            .unwrap_or_default();
        let (_, reads) = between(&model.graph, &have, &wanted);
        Part {
            model: model.clone(),
            reads: reads.into_iter().collect(),
            wanted,
            made: vec![],
        }
    }

    /// Finds what is wanted of a case, and remembers it; gives it too.
    fn run(&mut self, job: &Job, known: &mut Known) -> Outcome<Known> {
        if self.wanted.is_empty() {
            return Ok(Known::new());
        }
        let mut data = vec![];
        for v in &self.reads {
            let t = known
                .get(v)
                .ok_or_else(|| Diagnostic::internal("a value that was forgotten"))?;
            data.push(t.clone());
        }
        let shapes: Vec<Vec<i64>> = data.iter().map(|t| t.shape.clone()).collect();
        let at = match self.made.iter().position(|m| m.0 == shapes) {
            Some(at) => at,
            None => {
                let types = data.iter().map(TensorType::of);
                let inputs = self.reads.iter().copied().zip(types).collect();
                let part = segment(&self.model, &inputs, &self.wanted);
                let file = written(&part, &mut Diagnostics::default())?;
                self.made.push((shapes, job.source.of_bytes(file), vec![]));
                self.made.len() - 1
            }
        };
        let (_, source, compiled) = &mut self.made[at];
        let job = job.over(source)?;
        let wanted = job.wanted()?;
        let outputs = answers(&job, &wanted, &data, compiled, &mut |_, _| Ok(()))?;
        let found: Known = self.wanted.iter().copied().zip(outputs).collect();
        known.extend(found.iter().map(|(v, t)| (*v, t.clone())));
        Ok(found)
    }
}
