//! Groups of operators that are quantized together or not at all: each product, and what belongs to it.

use onnxc_compiler::graph::ir::{Graph, NodeId, ValueId};
use onnxc_compiler::passes::integers::moves;
use std::collections::{BTreeSet, HashMap, HashSet};

/// A product with what follows it up to the next one; or operators that no product stands before.
#[derive(Clone, Debug)]
pub struct Group {
    /// The name of its first operator, one that no other group has.
    pub name: String,
    /// The first operator.
    pub op: &'static str,
    /// All of them, in the graph's order.
    pub nodes: Vec<NodeId>,
    /// Multiply-accumulates of a run, free sizes taken as 1.
    pub macs: f64,
}

/// The groups of the operators that are to be quantized, in the graph's order. What joins several products, as Add does, belongs to the last of them.
pub fn groups(g: &Graph, nodes: &BTreeSet<NodeId>) -> Vec<Group> {
    let mut all: Vec<Group> = vec![];
    let mut of: HashMap<ValueId, usize> = HashMap::new();
    let mut taken = HashSet::new();
    for &n in g.order() {
        let node = g.node(n);
        let before = node.ins.iter().flatten().filter_map(|v| of.get(v)).max();
        let before = before.copied();
        let own = if nodes.contains(&n) {
            let product = ["Conv", "ConvTranspose", "Gemm", "MatMul"].contains(&node.op.name);
            Some(match before.filter(|_| !product) {
                Some(group) => group,
                None => {
                    all.push(Group {
                        name: fresh(&node.loc.to_string(), node.op.name, &mut taken),
                        op: node.op.name,
                        nodes: vec![],
                        macs: 0.0,
                    });
                    all.len() - 1
                }
            })
        } else {
            before.filter(|_| moves(node.op.name))
        };
        let Some(group) = own else { continue };
        of.extend(node.outs.iter().map(|v| (*v, group)));
        if nodes.contains(&n) {
            all[group].nodes.push(n);
            all[group].macs += macs(g, n);
        }
    }
    all
}

fn fresh(name: &str, op: &str, taken: &mut HashSet<String>) -> String {
    let hint = if name.is_empty() { op } else { name };
    let mut name = hint.to_string();
    let mut k = 1;
    while !taken.insert(name.clone()) {
        k += 1;
        name = format!("{hint}#{k}");
    }
    name
}

fn macs(g: &Graph, n: NodeId) -> f64 {
    let node = g.node(n);
    let shape = |v: ValueId| -> Vec<f64> {
        let dims = g.ty(v).map(|t| t.shape.clone()).unwrap_or_default();
        dims.iter()
            .map(|d| d.fixed().unwrap_or(1).max(1) as f64)
            .collect()
    };
    let results: f64 = shape(node.outs[0]).iter().product();
    let Some(Some(w)) = node.ins.get(1).copied() else {
        return 0.0;
    };
    let w = shape(w);
    let each = match node.op.name {
        "Conv" => w.iter().skip(1).product(),
        "Gemm" if node.attrs.flag("trans_b") => w.last().copied().unwrap_or(1.0),
        "Gemm" | "MatMul" => w.iter().rev().nth(1).copied().unwrap_or(1.0),
        _ => return 0.0,
    };
    results * each
}
