//! Bytes between operators have the sign by which the machine multiplies them.
//!
//! Products of bytes take activations without a sign on x86_64 (`vpdpbusd`) and with one on AArch64 (`sdot`). Numbers of the other kind are copied
//! and shifted by 128 in front of every product; here those that no port of the model shows are made as the machine wants them in the first place, zero
//! points moving along. Nothing else changes: the numbers stand for the same real ones.

use super::integers::moves;
use crate::base::attr::Attr;
use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::graph::ir::{Graph, NodeId, ValueId};
use crate::pass::{Pass, PassCx};
use std::collections::BTreeSet;

/// The pass.
pub static PASS: Pass = Pass {
    name: "signs",
    doc: "bytes have the sign by which the machine multiplies them",
    run,
};

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    let (from, to, by) = match cx.bytes {
        Some(DType::U8) => (DType::I8, DType::U8, 128),
        Some(DType::I8) => (DType::U8, DType::I8, -128),
        _ => return Ok(()),
    };
    let changed = changeable(g, from);
    if changed.is_empty() || !cx.edit() {
        return Ok(());
    }
    for n in g.order().to_vec() {
        let node = g.node(n);
        let (name, ins) = (node.op.name, node.ins.clone());
        let reads = |i: usize| {
            ins.get(i)
                .copied()
                .flatten()
                .is_some_and(|v| changed.contains(&v))
        };
        match name {
            "ConvInteger" | "MatMulInteger" if reads(0) => {
                let zero = ins.get(2).copied().flatten();
                let zero = zero.and_then(|z| g.konst(z)).and_then(Tensor::to_i64s);
                let zero = zero.and_then(|z| z.first().copied()).unwrap_or(0);
                let zero = Tensor::from_f64s(to, &[], &[(zero + by) as f64]);
                let zero = g.add_const("", zero);
                g.set_input(n, 2, Some(zero));
            }
            "Requantize" | "RescaledPRelu" if reads(0) => shift(g, n, "zero_x", by),
            "ReduceSum" if reads(0) => {
                let by = by * added(g, n).unwrap_or(0);
                for u in g.users(g.node(n).outs[0]).to_vec() {
                    shift(g, u, "zero_x", by);
                }
            }
            "RescaledSum" | "RescaledProduct" => {
                if reads(0) {
                    shift(g, n, "zero_a", by);
                }
                if reads(second(name)) {
                    shift(g, n, "zero_b", by);
                }
            }
            _ => {}
        }
        if g.node(n).outs.iter().any(|v| changed.contains(v)) {
            made(g, n, to, by);
        }
    }
    for v in changed {
        if let Some(ty) = &mut g.value_mut(v).ty {
            ty.dtype = to;
        }
    }
    super::dead::left_behind(g);
    Ok(())
}

/// The input that is the other number of a sum or a product.
fn second(name: &str) -> usize {
    match name {
        "RescaledSum" => 2,
        _ => 1,
    }
}

/// How many bytes a wide ReduceSum adds up, if all that becomes of the sum is requantized.
fn added(g: &Graph, n: NodeId) -> Option<i64> {
    let node = g.node(n);
    let out = node.outs[0];
    let count = |v: ValueId| Some(g.ty(v)?.fixed_shape()?.iter().product::<i64>());
    let (all, left) = (count((*node.ins.first()?)?)?, count(out)?);
    let requantized = |u: &NodeId| {
        let u = g.node(*u);
        u.op.name == "Requantize" && !u.ins[1..].contains(&Some(out))
    };
    let fits = node.attrs.flag("wide") && !g.is_output(out) && left > 0;
    (fits && g.users(out).iter().all(requantized)).then(|| all / left)
}

fn shift(g: &mut Graph, n: NodeId, name: &str, by: i64) {
    let attrs = &mut g.node_mut(n).attrs;
    let v = attrs.int(name, 0) + by;
    attrs.set(name, Attr::Int(v));
}

/// A node makes numbers of the other kind.
fn made(g: &mut Graph, n: NodeId, to: DType, by: i64) {
    let name = g.node(n).op.name;
    if moves(name) {
        return;
    }
    if name == "Lookup" {
        let table = g.node(n).ins[1].and_then(|t| g.konst(t)).cloned();
        let Some(values) = table.as_ref().and_then(Tensor::to_i64s) else {
            return;
        };
        let values: Vec<f64> = values.iter().map(|v| (v + by) as f64).collect();
        let table = g.add_const("", Tensor::from_f64s(to, &[values.len() as i64], &values));
        g.set_input(n, 1, Some(table));
        return;
    }
    shift(g, n, "zero", by);
    let attrs = &mut g.node_mut(n).attrs;
    attrs.set("to", Attr::Type(to));
    for bound in ["lo", "hi"] {
        if let Some(v) = attrs.opt_int(bound) {
            attrs.set(bound, Attr::Int(v + by));
        }
    }
}

/// The largest set of values of a type all of whose makers and users can take them as the other.
fn changeable(g: &Graph, from: DType) -> BTreeSet<ValueId> {
    let typed = |v: ValueId| g.ty(v).is_some_and(|t| t.dtype == from);
    let outs = g.order().iter().flat_map(|&n| g.node(n).outs.clone());
    let mut set: BTreeSet<ValueId> = outs.filter(|&v| typed(v) && !g.is_output(v)).collect();
    loop {
        let keeps = |v: &ValueId| {
            let maker = g.maker(*v).is_some_and(|(n, _)| makes(g, n, &set));
            maker && g.users(*v).iter().all(|&u| reads(g, u, *v, &set))
        };
        let kept: BTreeSet<ValueId> = set.iter().copied().filter(keeps).collect();
        if kept.len() == set.len() {
            return kept;
        }
        set = kept;
    }
}

/// Whether a node's results may be of the other kind.
fn makes(g: &Graph, n: NodeId, set: &BTreeSet<ValueId>) -> bool {
    let node = g.node(n);
    match node.op.name {
        "Requantize" | "RescaledSum" | "RescaledProduct" | "RescaledPRelu" => true,
        "QuantizedLayerNorm" => true,
        "Lookup" => node.ins[1].is_some_and(|t| g.konst(t).is_some()),
        name => carries(g, n, name, set),
    }
}

/// Whether a node may read a value as one of the other kind.
fn reads(g: &Graph, n: NodeId, v: ValueId, set: &BTreeSet<ValueId>) -> bool {
    let node = g.node(n);
    let places: Vec<usize> = (0..node.ins.len())
        .filter(|&i| node.ins[i] == Some(v))
        .collect();
    let only = |allowed: &[usize]| places.iter().all(|p| allowed.contains(p));
    match node.op.name {
        "ConvInteger" | "MatMulInteger" => {
            let zero = node.ins.get(2).copied().flatten();
            only(&[0]) && zero.is_none_or(|z| g.konst(z).is_some_and(|z| z.len() == 1))
        }
        "Requantize" | "RescaledPRelu" | "Lookup" | "QuantizedLayerNorm" => only(&[0]),
        "ReduceSum" => only(&[0]) && added(g, n).is_some(),
        name @ ("RescaledSum" | "RescaledProduct") => only(&[0, second(name)]),
        name => carries(g, n, name, set) && (name == "Concat" || only(&[0])),
    }
}

/// Whether a node moves numbers of the set alone, into the set.
fn carries(g: &Graph, n: NodeId, name: &str, set: &BTreeSet<ValueId>) -> bool {
    let node = g.node(n);
    let nearest = name != "Resize" || node.attrs.str("mode", "nearest") == "nearest";
    let inside = |v: &Option<ValueId>| v.is_some_and(|v| set.contains(&v));
    let ins = match name {
        "Concat" => node.ins.iter().all(inside),
        _ => node.ins.first().is_some_and(inside),
    };
    // Parts go together; second outputs of others count elements.
    let outs = match name {
        "Split" => node.outs.iter().all(|v| set.contains(v)),
        _ => inside(&node.outs.first().copied()),
    };
    moves(name) && name != "Pad" && nearest && ins && outs
}
