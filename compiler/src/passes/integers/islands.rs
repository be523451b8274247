//! Operators that the file quantizes on both sides and that compute in floats all the same.

use super::moves::moves;
use super::real::{Bounds, Real, Target};
use crate::base::diag::Diagnostic;
use crate::graph::ir::{Graph, NodeId, ValueId};
use crate::pass::PassCx;
use std::collections::BTreeSet;

/// The float operators whose inputs are all dequantized (or constants) and whose outputs are all quantized next, Relu and Clip and what only
/// moves numbers between them not counting. Those with weights in floats are left in floats by the file.
pub fn wanted(g: &Graph) -> BTreeSet<NodeId> {
    let mut out = BTreeSet::new();
    for &n in g.order() {
        let node = g.node(n);
        let passive = moves(node.op.name) || Bounds::of(g, node).is_some();
        let own = ["QuantizeLinear", "DequantizeLinear"].contains(&node.op.name);
        let float = node
            .outs
            .first()
            .and_then(|&v| g.ty(v))
            .is_some_and(|t| t.dtype.is_float());
        if passive || own || !float || weighs_in_floats(g, n) {
            continue;
        }
        let mut data = 0;
        let inputs = node.ins.iter().flatten().all(|&v| {
            let known = g.konst(v).is_some();
            let real = dequantized(g, v);
            data += usize::from(real);
            known || real
        });
        if inputs && data > 0 && node.outs.iter().all(|&v| quantized_next(g, v)) {
            out.insert(n);
        }
    }
    out
}

/// Whether the file leaves the weights of an operator in floats: then what it reads and makes is quantized for others.
fn weighs_in_floats(g: &Graph, n: NodeId) -> bool {
    let node = g.node(n);
    let weights: &[usize] = match node.op.name {
        "Conv" | "ConvTranspose" | "Gemm" | "MatMul" => &[1],
        "LSTM" | "GRU" | "RNN" => &[1, 2],
        _ => return false,
    };
    let float = |&i: &usize| {
        let v = node.ins.get(i).copied().flatten();
        v.and_then(|v| g.konst(v))
            .is_some_and(|t| t.dtype.is_float())
    };
    weights.iter().all(float)
}

fn dequantized(g: &Graph, mut v: ValueId) -> bool {
    loop {
        if Real::of(g, v).is_some() {
            return true;
        }
        let Some((n, _)) = g.maker(v) else {
            return false;
        };
        let node = g.node(n);
        match (moves(node.op.name), node.ins.first()) {
            (true, Some(&Some(x))) => v = x,
            _ => return node.op.name == "DequantizeLinear",
        }
    }
}

fn quantized_next(g: &Graph, v: ValueId) -> bool {
    let users = g.users(v);
    !g.is_output(v)
        && !users.is_empty()
        && users.iter().all(|&n| {
            let node = g.node(n);
            let passive = moves(node.op.name) || Bounds::of(g, node).is_some();
            node.op.name == "QuantizeLinear"
                || (passive && node.outs.iter().all(|&v| quantized_next(g, v)))
        })
}

/// Says which of them are left, and why where that can be told.
pub fn report(g: &Graph, cx: &mut PassCx, wanted: &BTreeSet<NodeId>) {
    for &n in wanted {
        if g.get_node(n).is_none() {
            continue;
        }
        let why = why(g, n);
        let name = g.node(n).op.name;
        if !cx.require_integers {
            let text = format!("{name} computes in floats though the file quantizes it: {why}");
            cx.remark(&g.node(n).loc, text);
            continue;
        }
        let text = format!("{name} would compute in floats though the file quantizes it: {why}");
        let d = Diagnostic::unsupported("ONNX016", text)
            .at(g.describe(n))
            .help("without `--require-int8` it is done, with a remark");
        cx.diags.push(d);
    }
}

fn why(g: &Graph, n: NodeId) -> String {
    let node = g.node(n);
    for &v in node.ins.iter().flatten() {
        let scales = Real::of(g, v).map(|r| r.scale.len());
        if g.konst(v).is_none() && scales.is_none() {
            return format!(
                "the scales of `{}` are blocked or not known",
                g.value(v).name
            );
        }
    }
    let single = |&v: &ValueId| {
        g.users(v)
            .iter()
            .all(|&u| Target::of(g, u).is_some() || g.node(u).outs.len() == 1)
    };
    if !node.outs.iter().all(single) || node.outs.iter().any(|&v| g.users(v).len() > 1) {
        return "its result is used several times".into();
    }
    "there is no form of it in whole numbers for these types and attributes".into()
}
