//! Parts of a graph as models of their own: from values that are known to values that are wanted. So the numbers of a layer can be found, its weights
//! changed, and those of the next one found from there, without running the whole model each time.

use super::layer::Layer;
use crate::base::types::TensorType;
use crate::graph::ir::{Def, Graph, Model, NodeId, ValueId};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Layers in waves: no layer of a wave reads, however far behind it, what another of the same wave makes.
pub fn waves(g: &Graph, layers: &[Layer]) -> Vec<Vec<usize>> {
    let of: HashMap<NodeId, usize> = layers
        .iter()
        .enumerate()
        .map(|(k, l)| (l.node, k))
        .collect();
    let mut depth: HashMap<ValueId, usize> = HashMap::new();
    let mut out: Vec<Vec<usize>> = vec![];
    for &n in g.order() {
        let node = g.node(n);
        let before = node.ins.iter().flatten().filter_map(|v| depth.get(v));
        let mut own = before.max().copied().unwrap_or(0);
        if let Some(&k) = of.get(&n) {
            out.resize(out.len().max(own + 1), vec![]);
            out[own].push(k);
            own += 1;
        }
        depth.extend(node.outs.iter().map(|v| (*v, own)));
    }
    out.retain(|w| !w.is_empty());
    out
}

/// The nodes between known and wanted values in order, and the known values and inputs that they read. Constants are no inputs.
pub fn between(
    g: &Graph,
    known: &BTreeSet<ValueId>,
    wanted: &[ValueId],
) -> (Vec<NodeId>, BTreeSet<ValueId>) {
    let mut needed = BTreeSet::new();
    let mut reads = BTreeSet::new();
    let mut todo = wanted.to_vec();
    while let Some(v) = todo.pop() {
        if g.konst(v).is_some() {
            continue;
        }
        match g.maker(v) {
            Some((n, _)) if !known.contains(&v) => {
                if needed.insert(n) {
                    todo.extend(g.node(n).ins.iter().flatten());
                }
            }
            _ => {
                reads.insert(v);
            }
        }
    }
    let nodes = g.order().iter().copied().filter(|n| needed.contains(n));
    (nodes.collect(), reads)
}

/// A model of a part. `inputs`: the known values with their types; `wanted` become its outputs, in order.
pub fn segment(model: &Model, inputs: &BTreeMap<ValueId, TensorType>, wanted: &[ValueId]) -> Model {
    let g = &model.graph;
    let known = inputs.keys().copied().collect();
    let (nodes, _) = between(g, &known, wanted);
    let mut new = Graph::new("segment");
    let mut names: HashMap<ValueId, ValueId> = HashMap::new();
    for (v, ty) in inputs {
        names.insert(*v, new.add_input(&format!("in_{}", v.0), Some(ty.clone())));
    }
    for n in nodes {
        let node = g.node(n);
        let mut ins = vec![];
        for v in &node.ins {
            let Some(v) = v else {
                ins.push(None);
                continue;
            };
            let own = names.get(v).copied().or_else(|| match &g.value(*v).def {
                Def::Const(t) => {
                    let own = new.add_const(&g.value(*v).name, t.clone());
                    names.insert(*v, own);
                    Some(own)
                }
                _ => None,
            });
            ins.push(own);
        }
        let m = new.add_node(
            node.op,
            node.attrs.clone(),
            ins,
            node.outs.len(),
            node.loc.clone(),
        );
        let own = new.node_mut(m);
        (own.bodies, own.syms) = (node.bodies.clone(), node.syms.clone());
        for (a, b) in node.outs.iter().zip(new.node(m).outs.clone()) {
            new.value_mut(b).ty = g.ty(*a).cloned();
            names.entry(*a).or_insert(b);
        }
    }
    for (k, v) in wanted.iter().enumerate() {
        if let Some(own) = names.get(v) {
            new.add_output(*own);
            new.output_names[k] = format!("out_{k}");
        }
    }
    Model {
        graph: new,
        symbols: model.symbols.clone(),
        ..Model::default()
    }
}
