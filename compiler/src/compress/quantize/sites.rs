//! Which values of a float graph are quantized.

use super::Recipe;
use super::moments::Reads;
use super::weights::Weights;
use crate::base::dtype::DType;
use crate::fusions::conv_transpose;
use crate::graph::ir::{Graph, NodeId, ValueId};
use crate::passes::integers::{bounds, moves, slopes};
use std::collections::{BTreeSet, HashMap};

/// A value that gets a scale.
#[derive(Clone, PartialEq, Debug)]
pub struct Site {
    /// Which.
    pub value: ValueId,
    /// The number of its class: values of one class have one scale.
    pub class: usize,
    /// Axis of its channels, where a layer's bias is corrected by their means.
    pub channels: Option<usize>,
    /// Whether the largest of each channel is asked for too.
    pub peaks: bool,
    /// Whether no product with weights comes after it.
    pub result: bool,
    /// A range that is known without looking, and beyond which nothing is.
    pub known: Option<(f64, f64)>,
    /// Layers that read it whose moments are to be observed: how each reads it, and inputs of one of its sums.
    pub layers: Vec<(NodeId, Reads, usize)>,
}

/// All of them.
#[derive(Clone, Default, Debug)]
pub struct Sites {
    /// In the graph's order.
    pub list: Vec<Site>,
    /// Operators that compute in whole numbers.
    pub nodes: BTreeSet<NodeId>,
    /// Number of classes.
    pub classes: usize,
}

/// Functions of one number, all of which become tables.
const FUNCTIONS: [&str; 14] = [
    "Abs",
    "Elu",
    "Erf",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Mish",
    "Neg",
    "Selu",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Tanh",
];

/// Operators with weights or with two matrices.
pub(super) const PRODUCTS: [&str; 4] = ["Conv", "ConvTranspose", "Gemm", "MatMul"];

/// Says which values of a graph are quantized by a recipe. `floats`: values that no scale covers; what reads or makes them stays in floats too.
pub fn sites(g: &Graph, recipe: &Recipe, floats: &BTreeSet<ValueId>) -> Sites {
    let leads = leading(g);
    let mut nodes = BTreeSet::new();
    for &n in g.order() {
        let node = g.node(n);
        let mut ports = node.ins.iter().flatten().chain(&node.outs);
        let covered = !ports.any(|v| floats.contains(v));
        let wanted = !recipe.keep.contains(&n) && recipe.wants(&node.loc.to_string());
        let own = covered && computes(g, n) && wanted;
        if own && (leads.contains(&n) || !finishes(g, n, &nodes)) {
            nodes.insert(n);
        }
    }
    let roots = roots(g, &nodes);
    let mut s = Classes::default();
    let mut list: Vec<ValueId> = vec![];
    let values = g
        .inputs
        .iter()
        .copied()
        .chain((g.order().iter()).flat_map(|&n| g.node(n).outs.iter().copied()));
    for v in values.filter(|v| !floats.contains(v)) {
        if g.ty(v).is_none_or(|t| t.dtype != DType::F32) || !g.is_used(v) || g.konst(v).is_some() {
            continue;
        }
        let maker = g.maker(v).map(|m| m.0);
        let made = maker.is_some_and(|m| nodes.contains(&m));
        let used = reaches(g, v, &nodes);
        let moved = maker.is_some_and(|m| moves(g.node(m).op.name) && inherits(g, m, &list, used));
        if absorbed(g, v, &nodes, &roots, recipe.every_value)
            || inside(g, v, &roots)
            || !(made || moved || used)
        {
            continue;
        }
        list.push(v);
        s.add(v);
        if moved && let Some(m) = maker {
            for i in g.node(m).ins.iter().flatten() {
                // Parts of a Concat that are used elsewhere keep the scale that suits them there.
                let own = g.node(m).op.name != "Concat" || g.users(*i).len() == 1;
                if list.contains(i) && own {
                    s.join(v, *i);
                }
            }
        }
    }
    let classes = s.numbered(&list);
    let count = classes.iter().max().map_or(0, |m| m + 1);
    let list = (list.into_iter().zip(classes))
        .map(|(value, class)| Site {
            value,
            class,
            channels: channels(g, value, &nodes),
            peaks: false,
            result: g.maker(value).is_some_and(|m| !leads.contains(&m.0)),
            known: known(g, value),
            layers: match recipe.needs_moments() {
                true => layers(g, value, &nodes),
                false => vec![],
            },
        })
        .collect();
    Sites {
        list,
        nodes,
        classes: count,
    }
}

/// Whether an operator has a form in whole numbers.
fn computes(g: &Graph, n: NodeId) -> bool {
    let node = g.node(n);
    let float = |v: &ValueId| g.ty(*v).is_some_and(|t| t.dtype == DType::F32);
    // Of a sum or a product either may be the constant.
    let either = ["Add", "Sub", "Mul"].contains(&node.op.name);
    let known = |v: &&ValueId| either && g.konst(**v).is_some();
    let x = node.ins.iter().flatten().find(|v| !known(v));
    let (Some(out), Some(x)) = (node.outs.first(), x) else {
        return false;
    };
    if !float(out) || !float(x) || g.konst(*x).is_some() {
        return false;
    }
    let konst = |i: usize| node.ins.get(i).copied().flatten().and_then(|v| g.konst(v));
    let absent = |i: usize| node.ins.get(i).copied().flatten().is_none();
    match node.op.name {
        "Conv" => {
            let plain = node.attrs.str("activation", "").is_empty() && absent(3);
            plain && konst(1).is_some() && (absent(2) || konst(2).is_some())
        }
        // A scale of the weights belongs to one channel of each group: of depthwise ones all channels would have to share it.
        "ConvTranspose" => {
            let plain = node.attrs.str("activation", "").is_empty() && splits(g, n);
            plain && (absent(2) || konst(2).is_some())
        }
        "MatMul" => {
            let rank = |i: usize| node.ins[i].and_then(|v| g.ty(v)).map_or(0, |t| t.rank());
            rank(0) >= 2 && rank(1) >= 2 && konst(1).is_none_or(|w| w.shape.len() >= 2)
        }
        "Gemm" => {
            let a = &node.attrs;
            let plain = a.float("alpha", 1.0) == 1.0 && a.float("beta", 1.0) == 1.0;
            let turned = a.flag("trans_a") || !a.str("activation", "").is_empty();
            plain && !turned && konst(1).is_some() && (absent(2) || konst(2).is_some())
        }
        "Add" | "Sub" | "Mul" => node.ins.iter().flatten().all(float),
        "Div" => konst(1).is_some_and(|c| c.len() == 1),
        "GlobalAveragePool" | "ReduceMean" => true,
        "AveragePool" => {
            let automatic = !["NOTSET", "VALID"].contains(&node.attrs.str("auto_pad", "NOTSET"));
            !automatic || node.attrs.flag("count_include_pad")
        }
        "LayerNormalization" => {
            konst(1).is_some() && (absent(2) || konst(2).is_some()) && node.outs.len() == 1
        }
        "InstanceNormalization" => konst(1).is_some() && konst(2).is_some(),
        "BatchNormalization" => (1..5).all(|i| konst(i).is_some()),
        "Softmax" => !node.attrs.flag("flat"),
        "Relu" | "Clip" | "Max" | "Min" => bounds(g, n),
        name => FUNCTIONS.contains(&name),
    }
}

/// Whether a ConvTranspose of one group becomes convolutions whose positions all have elements of the window.
fn splits(g: &Graph, n: NodeId) -> bool {
    let node = g.node(n);
    let weights = node.ins.get(1).copied().flatten().and_then(|w| g.konst(w));
    let runs = weights.and_then(|w| conv_transpose::read_of_any_size(g, n, w).ok()?.runs());
    node.attrs.int("group", 1) == 1 && runs.is_some_and(|(r, _)| !r.iter().any(|r| r.is_empty()))
}

/// Operators that some product with weights comes after.
fn leading(g: &Graph) -> BTreeSet<NodeId> {
    let mut found = BTreeSet::new();
    for &n in g.order().iter().rev() {
        let mut users = g.node(n).outs.iter().flat_map(|&o| g.users(o));
        if users.any(|u| found.contains(u) || PRODUCTS.contains(&g.node(*u).op.name)) {
            found.insert(n);
        }
    }
    found
}

/// Whether an operator that no product comes after finishes a result: arithmetic on coordinates, scores and masks. It costs little in floats,
/// and 8 bits would be seen. A bias and a function right behind a product are still part of it.
fn finishes(g: &Graph, n: NodeId, nodes: &BTreeSet<NodeId>) -> bool {
    let node = g.node(n);
    // The bias may be named first.
    let known = |v: &ValueId| g.konst(*v).is_some();
    let mut source = node.ins.iter().copied().flatten().find(|v| !known(v));
    while let Some((m, _)) = source.and_then(|v| g.maker(v))
        && moves(g.node(m).op.name)
    {
        source = g.node(m).ins.first().copied().flatten();
    }
    let maker = source.and_then(|v| g.maker(v)).map(|m| m.0);
    let behind = maker.is_some_and(|m| nodes.contains(&m));
    match node.op.name {
        "Sub" | "Mul" | "Div" => true,
        "Add" => {
            let bias = node.ins.iter().flatten().any(|&v| g.konst(v).is_some());
            !(bias && maker.is_some_and(|m| PRODUCTS.contains(&g.node(m).op.name)))
        }
        "Relu" | "Clip" | "Max" | "Min" | "Softmax" => !behind,
        name => FUNCTIONS.contains(&name) && !behind,
    }
}

/// For each value that a function of one number makes, that number: operators on single elements, alone or several, with single constants.
/// All of such a function is one table.
fn roots(g: &Graph, nodes: &BTreeSet<NodeId>) -> HashMap<ValueId, ValueId> {
    let mut roots: HashMap<ValueId, ValueId> = HashMap::new();
    for &n in g.order() {
        let node = g.node(n);
        let pointwise = ["Add", "Sub", "Mul", "Div", "Relu", "Clip", "Max", "Min"];
        let pointwise = pointwise.contains(&node.op.name);
        if !nodes.contains(&n) || !(pointwise || FUNCTIONS.contains(&node.op.name)) {
            continue;
        }
        let single = |v: &ValueId| g.konst(*v).is_some_and(|t| t.len() == 1);
        let ins = node.ins.iter().flatten().filter(|v| !single(v));
        let mut of = ins.map(|v| roots.get(v).copied().unwrap_or(*v));
        let Some(root) = of.next() else { continue };
        let same = g.ty(root).map(|t| &t.shape) == g.ty(node.outs[0]).map(|t| &t.shape);
        if same && g.konst(root).is_none() && of.all(|r| r == root) {
            roots.insert(node.outs[0], root);
        }
    }
    roots
}

/// Whether a value stands within a function of one number, and nothing else sees it.
fn inside(g: &Graph, v: ValueId, roots: &HashMap<ValueId, ValueId>) -> bool {
    let Some(root) = roots.get(&v) else {
        return false;
    };
    let within = |u: &NodeId| roots.get(&g.node(*u).outs[0]) == Some(root);
    !g.is_output(v) && g.users(v).iter().all(within)
}

/// Whether what moves numbers moves quantized ones. Parts of a Concat that no product reads (`used`) keep scales of their own; a linear Resize that none
/// reads makes a result, whose steps would be seen.
fn inherits(g: &Graph, n: NodeId, list: &[ValueId], used: bool) -> bool {
    let node = g.node(n);
    let plain = match node.attrs.str("mode", "nearest") {
        "linear" if node.op.name == "Resize" => used,
        mode => node.op.name != "Resize" || mode == "nearest",
    };
    let mut ins = node.ins.iter().flatten();
    plain
        && match node.op.name {
            "Concat" => used && ins.all(|i| list.contains(i)),
            _ => ins.next().is_some_and(|i| list.contains(i)),
        }
}

/// Whether some operator that computes in whole numbers reads a value, moved or not.
fn reaches(g: &Graph, v: ValueId, nodes: &BTreeSet<NodeId>) -> bool {
    g.users(v).iter().any(|&u| {
        let node = g.node(u);
        let first = node.ins.first() == Some(&Some(v)) || node.op.name == "Concat";
        nodes.contains(&u)
            || (moves(node.op.name) && first && node.outs.iter().any(|&o| reaches(g, o, nodes)))
    })
}

/// Whether a value is never quantized by itself, since what reads it is part of the same step: Relu and Clip, LeakyRelu and PRelu behind a
/// product, a constant added to one.
fn absorbed(
    g: &Graph,
    v: ValueId,
    nodes: &BTreeSet<NodeId>,
    roots: &HashMap<ValueId, ValueId>,
    every: bool,
) -> bool {
    let (&[u], Some((m, _))) = (g.users(v), g.maker(v)) else {
        return false;
    };
    if g.is_output(v) || !nodes.contains(&m) {
        return false;
    }
    if !every && bends(g, m, u) {
        // Limits behind it are part of the step, too.
        let mut out = g.node(u).outs[0];
        while let &[w] = g.users(out)
            && bounds(g, w)
            && !g.is_output(out)
        {
            out = g.node(w).outs[0];
        }
        return reaches(g, out, nodes) && !inside(g, out, roots);
    }
    if !nodes.contains(&u) {
        return false;
    }
    let (user, maker) = (g.node(u), g.node(m));
    let steps = [
        "Conv",
        "ConvTranspose",
        "MatMul",
        "Gemm",
        "Add",
        "Sub",
        "Mul",
        "AveragePool",
        "BatchNormalization",
        "GlobalAveragePool",
    ];
    match user.op.name {
        "Relu" | "Clip" | "Max" | "Min" => {
            // A slope that is part of the product before it.
            let product = maker
                .ins
                .first()
                .copied()
                .flatten()
                .and_then(|v| g.maker(v));
            let sloped = product.is_some_and(|p| {
                bends(g, p.0, m) && absorbed(g, g.node(p.0).outs[0], nodes, roots, every)
            });
            sloped || steps.contains(&maker.op.name)
        }
        "Add" => {
            let other = user.ins.iter().flatten().find(|&&i| i != v);
            let bias = other.and_then(|&o| g.konst(o));
            let columns = g.ty(v).and_then(|t| t.shape.last()?.fixed());
            let fits = bias.is_some_and(|b| b.shape.len() <= 1 && Some(b.len() as i64) == columns);
            ["Gemm", "MatMul"].contains(&maker.op.name) && fits
        }
        _ => false,
    }
}

/// Whether a node is a LeakyRelu or PRelu that is part of the product before it: with slopes of which none, or all, are steeper than the line above 0.
fn bends(g: &Graph, product: NodeId, n: NodeId) -> bool {
    let name = g.node(product).op.name;
    let channels = ["Conv", "ConvTranspose"].contains(&name);
    let slopes = slopes(g, n, channels).filter(|_| PRODUCTS.contains(&name));
    slopes.is_some_and(|s| s.iter().all(|s| *s <= 1.0) || s.iter().all(|s| *s >= 1.0))
}

/// Products with constant weights that read a value, and how.
pub(super) fn layers(
    g: &Graph,
    v: ValueId,
    nodes: &BTreeSet<NodeId>,
) -> Vec<(NodeId, Reads, usize)> {
    let one = |u: &NodeId| {
        let node = g.node(*u);
        if !nodes.contains(u) || !PRODUCTS.contains(&node.op.name) || node.ins[0] != Some(v) {
            return None;
        }
        // Weights that are not finite are an error later.
        let w = Weights::of(g, *u).ok().flatten()?;
        Some((*u, w.reads(&node.attrs)?, w.depth))
    };
    let mut found: Vec<_> = g.users(v).iter().filter_map(one).collect();
    found.dedup_by_key(|l| l.0);
    found
}

/// The axis whose means correct a bias, of a value that a product with constant weights reads.
pub(super) fn channels(g: &Graph, v: ValueId, nodes: &BTreeSet<NodeId>) -> Option<usize> {
    let rank = g.ty(v)?.rank();
    let product = |u: &NodeId| {
        let node = g.node(*u);
        (nodes.contains(u) && node.ins.first() == Some(&Some(v))).then_some(node.op.name)
    };
    let mut users = g.users(v).iter().filter_map(product);
    users.find_map(|name| match name {
        "Conv" | "ConvTranspose" => Some(1),
        "MatMul" | "Gemm" => rank.checked_sub(1),
        _ => None,
    })
}

/// Ranges that are those of the function: shares are from 0 to 1 at most.
fn known(g: &Graph, v: ValueId) -> Option<(f64, f64)> {
    let (m, _) = g.maker(v)?;
    // 1 itself is limited to the largest number, a step of 1/256 below.
    ["Softmax", "Sigmoid"]
        .contains(&g.node(m).op.name)
        .then_some((0.0, 255.0 / 256.0))
}

/// Sets of values, joined pair by pair.
#[derive(Default)]
struct Classes {
    parent: HashMap<ValueId, ValueId>,
}

impl Classes {
    fn add(&mut self, v: ValueId) {
        self.parent.insert(v, v);
    }
    fn root(&self, mut v: ValueId) -> ValueId {
        while let Some(&p) = self.parent.get(&v)
            && p != v
        {
            v = p;
        }
        v
    }
    fn join(&mut self, a: ValueId, b: ValueId) {
        let (a, b) = (self.root(a), self.root(b));
        self.parent.insert(a.max(b), a.min(b));
    }
    /// The class of each value, numbered as they come.
    fn numbered(&self, list: &[ValueId]) -> Vec<usize> {
        let mut numbers: HashMap<ValueId, usize> = HashMap::new();
        let of = |v: &ValueId| {
            let next = numbers.len();
            *numbers.entry(self.root(*v)).or_insert(next)
        };
        list.iter().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::parse::parse;

    /// Whichever way round a file writes a sum or a product with a constant.
    #[test]
    fn constants_may_come_first() {
        for (bias, scale) in [("%b, %m", "%s, %a"), ("%m, %b", "%a, %s")] {
            let text = format!(
                "graph @g(%x: f32[1,2]) -> (%y) {{
  %w = lit f32[2,2] [1.0, -0.25, 0.5, 1.0]
  %b = lit f32[2] [1.0, 2.0]
  %s = lit f32[] [0.5]
  %m = MatMul(%x, %w) : f32[1,2]
  %a = Add({bias}) : f32[1,2]
  %z = Mul({scale}) : f32[1,2]
  %y = MatMul(%z, %w) : f32[1,2]
}}"
            );
            let m = parse(&text, crate::ops::find).unwrap();
            let g = &m.graph;
            let s = sites(g, &Recipe::default(), &BTreeSet::new());
            assert_eq!(s.nodes.len(), 4, "{bias}");
            // The bias is part of the product: what stands before it has no scale.
            let out = |at: usize| g.node(g.order()[at]).outs[0];
            let found: Vec<ValueId> = s.list.iter().map(|s| s.value).collect();
            assert_eq!(found, [g.inputs[0], out(1), out(2), out(3)], "{bias}");
        }
    }
}
