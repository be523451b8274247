//! A graph as pruning wants it: sums without activations in them, weights as the numbers they stand for, small constants that each have one reader.

use crate::base::attr::{Attr, Attrs};
use crate::base::diag::{Diagnostics, Result};
use crate::fusions::engine::make;
use crate::graph::ir::{Graph, Model, NodeId, ValueId};
use crate::pass::PassCx;
use crate::passes::dead;
use std::collections::BTreeSet;

/// Brings a model to that form; what it computes stays the same.
pub fn plain(model: &mut Model, diags: &mut Diagnostics) -> Result<()> {
    let off = BTreeSet::new();
    let stored = stored_weights(&model.graph);
    for n in stored {
        let symbols = &model.symbols;
        if let Some(results) = crate::plan::eval::eval(&model.graph, n, symbols)? {
            let out = model.graph.node(n).outs[0];
            if let Some(Some(t)) = results.into_iter().next() {
                model.graph.make_const(out, t);
            }
        }
    }
    dead::left_behind(&mut model.graph);
    let cx = &mut PassCx::outside("prune", &mut model.symbols, diags, &off);
    for n in model.graph.order().to_vec() {
        unfuse(&mut model.graph, cx, n)?;
    }
    for n in model.graph.order().to_vec() {
        mean(&mut model.graph, cx, n)?;
    }
    left_behind(&mut model.graph);
    own_constants(&mut model.graph);
    Ok(())
}

/// Removes what nobody needs any more, in bodies too.
fn left_behind(g: &mut Graph) {
    dead::left_behind(g);
    for n in g.order().to_vec() {
        g.node_mut(n).bodies.iter_mut().for_each(left_behind);
    }
}

/// Dequantized constants, where nothing but weights is quantized.
fn stored_weights(g: &Graph) -> Vec<NodeId> {
    let dequantizes = |n: &&NodeId| g.node(**n).op.name == "DequantizeLinear";
    let is_const = |n: &&NodeId| {
        let mut ins = g.node(**n).ins.iter().flatten();
        ins.all(|v| g.konst(*v).is_some())
    };
    let all: Vec<NodeId> = (g.order().iter()).filter(dequantizes).copied().collect();
    match all.iter().all(|n| is_const(&n)) {
        true => all,
        false => vec![],
    }
}

/// Splits what a convolution or product adds and applies to its sum off it.
fn unfuse(g: &mut Graph, cx: &mut PassCx, n: NodeId) -> Result<()> {
    let node = g.node(n);
    if !["Conv", "Gemm", "MatMul"].contains(&node.op.name) {
        return Ok(());
    }
    let more = match node.op.name {
        "Conv" => node.ins.get(3).copied().flatten(),
        _ => None,
    };
    let name = node.attrs.str("activation", "").to_string();
    let params = node
        .attrs
        .floats("activation_params")
        .unwrap_or(&[])
        .to_vec();
    let number = |k: usize, default: f32| params.get(k).copied().unwrap_or(default);
    let plain = Attrs::default();
    let behind: Option<(&str, Attrs, Vec<f32>)> = match name.as_str() {
        "Relu" | "Sigmoid" | "Tanh" => Some((name.as_str(), plain, vec![])),
        "Clip" => Some((
            "Clip",
            plain,
            vec![number(0, f32::MIN), number(1, f32::MAX)],
        )),
        "LeakyRelu" => {
            let alpha = Attr::Float(number(0, 0.01));
            Some(("LeakyRelu", plain.with("alpha", alpha), vec![]))
        }
        "" => None,
        // Others stay as they are.
        _ => return Ok(()),
    };
    if more.is_none() && behind.is_none() {
        return Ok(());
    }
    let (out, loc) = (node.outs[0], node.loc.clone());
    let mut attrs = node.attrs.clone();
    attrs.0.remove("activation");
    attrs.0.remove("activation_params");
    let (op, mut ins) = (node.op.name, node.ins.clone());
    if op == "Conv" {
        ins.truncate(3);
    }
    let mut v = make(g, cx, n, op, attrs, &ins, loc.clone())?;
    if more.is_some() {
        v = make(
            g,
            cx,
            n,
            "Add",
            Attrs::default(),
            &[Some(v), more],
            loc.clone(),
        )?;
    }
    if let Some((op, attrs, numbers)) = behind {
        let dtype = g.ty(v).map(|t| t.dtype);
        let mut ins = vec![Some(v)];
        for x in numbers {
            let dtype = dtype.unwrap_or(crate::base::dtype::DType::F32);
            let t = crate::base::tensor::Tensor::from_f64s(dtype, &[], &[f64::from(x)]);
            ins.push(Some(g.add_const("", t)));
        }
        v = make(g, cx, n, op, attrs, &ins, loc)?;
    }
    g.replace_uses(out, v);
    g.remove_node(n);
    Ok(())
}

/// Spells a sum that is then divided by its number of terms as a mean: of fewer channels it stays one.
fn mean(g: &mut Graph, cx: &mut PassCx, n: NodeId) -> Result<()> {
    let Some(node) = g.get_node(n) else {
        return Ok(());
    };
    let out = node.outs[0];
    let &[user] = g.users(out) else {
        return Ok(());
    };
    if node.op.name != "ReduceSum" || g.is_output(out) {
        return Ok(());
    }
    let elements = |v: ValueId| g.ty(v).map(|t| t.elements());
    let terms = (node.ins.first().copied().flatten().and_then(elements)).zip(elements(out));
    let terms = terms.and_then(|(all, left)| all.exact_div(&left)?.fixed());
    let by = g.node(user);
    let other = by.ins.iter().flatten().find(|v| **v != out);
    let number = other.and_then(|v| g.konst(*v)).filter(|t| t.len() == 1);
    let (Some(terms), Some(number)) = (terms, number.and_then(|t| t.get_f64(0))) else {
        return Ok(());
    };
    let one = match by.op.name {
        "Mul" => number * terms as f64,
        "Div" if by.ins[0] == Some(out) => terms as f64 / number,
        _ => return Ok(()),
    };
    if (one - 1.0).abs() > 1e-6 {
        return Ok(());
    }
    let (attrs, ins, loc) = (node.attrs.clone(), node.ins.clone(), node.loc.clone());
    let v = make(g, cx, user, "ReduceMean", attrs, &ins, loc)?;
    // A number of more axes would make the result have more.
    let old = g.node(user).outs[0];
    if g.ty(v).map(|t| &t.shape) == g.ty(old).map(|t| &t.shape) {
        g.replace_uses(old, v);
    }
    Ok(())
}

/// Gives each reader of a small constant its own copy: biases and bounds that happen to be equal tie nothing. Weights that are shared stay so.
fn own_constants(g: &mut Graph) {
    for n in g.order().to_vec() {
        for k in 0..g.node(n).ins.len() {
            let Some(v) = g.node(n).ins[k] else { continue };
            let Some(t) = g.konst(v) else { continue };
            let weights = t.shape.iter().filter(|d| **d > 1).count() > 1;
            if t.len() < 2 || weights || g.users(v).len() < 2 {
                continue;
            }
            let (name, t) = (g.value(v).name.clone(), t.clone());
            let own: ValueId = g.add_const(&name, t);
            g.set_input(n, k, Some(own));
        }
    }
}
