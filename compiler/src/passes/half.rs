//! Half precision is for storing: what computes in f16 or bf16 computes in f32 between the model's edges.
//!
//! Kernels multiply in f32 anyway. Values in between are widened once instead of at every use, and rounded less often than the
//! model says; the constants of products stay as they are and are widened while they are read. Only where a model multiplies
//! matrices or convolves: elsewhere half the bytes are worth more.

use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::fusions::engine::{infer, make};
use crate::graph::ir::{Graph, NodeId, ValueId};
use crate::op::Lower;
use crate::pass::{Pass, PassCx};
use std::collections::HashMap;

/// The pass.
pub static PASS: Pass = Pass {
    name: "half",
    doc: "half-precision values between products are computed in f32",
    run,
};

/// Operators whose second input is read by kernels as it is stored.
const PRODUCTS: [&str; 3] = ["Conv", "MatMul", "Gemm"];

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    let half = |g: &Graph, v: ValueId| {
        g.ty(v)
            .is_some_and(|t| matches!(t.dtype, DType::F16 | DType::BF16))
    };
    let product = |g: &Graph, n: NodeId| {
        let node = g.node(n);
        PRODUCTS.contains(&node.op.name) && node.outs.iter().any(|&v| half(g, v))
    };
    if !g.order().iter().any(|&n| product(g, n)) {
        return Ok(());
    }
    // Wide forms of half values.
    let mut wide: HashMap<ValueId, ValueId> = HashMap::new();
    for n in g.order().to_vec() {
        let node = g.node(n);
        let touches = node
            .ins
            .iter()
            .flatten()
            .chain(&node.outs)
            .any(|&v| half(g, v));
        let plain = node.bodies.is_empty() && !matches!(node.op.lower, Lower::Control(_));
        let (name, attrs, loc) = (node.op.name, node.attrs.clone(), node.loc.clone());
        let (op, ins, outs) = (node.op, node.ins.clone(), node.outs.clone());
        // What names types itself keeps them.
        let own = ["Cast", "CastLike", "QuantizeLinear", "DequantizeLinear"].contains(&name);
        if !touches || !cx.edit() {
            continue;
        }
        let mut new = vec![];
        if plain && !own {
            for (k, v) in ins.iter().enumerate() {
                let Some(v) = *v else {
                    new.push(None);
                    continue;
                };
                let stays = k == 1 && PRODUCTS.contains(&name) && g.konst(v).is_some();
                if !half(g, v) || stays {
                    new.push(Some(v));
                    continue;
                }
                let w = match wide.get(&v) {
                    Some(&w) => w,
                    None => {
                        let attrs = Attrs::default().with("to", Attr::Type(DType::F32));
                        let w = make(g, cx, n, "Cast", attrs, &[Some(v)], loc.clone())?;
                        wide.insert(v, w);
                        w
                    }
                };
                new.push(Some(w));
            }
            let attrs = match PRODUCTS.contains(&name) {
                true => attrs.with("half_weights", Attr::Int(1)),
                false => attrs,
            };
            let made = g.add_before(n, op, attrs, new, outs.len(), loc.clone());
            let fits = infer(g, cx, made).is_ok()
                && outs
                    .iter()
                    .zip(&g.node(made).outs.clone())
                    .all(|(&old, &new)| match (g.ty(old), g.ty(new)) {
                        (Some(a), Some(b)) if half(g, old) => {
                            b.dtype == DType::F32 && a.shape == b.shape
                        }
                        (a, b) => a == b,
                    });
            if fits {
                let news = g.node(made).outs.clone();
                for (&old, &w) in outs.iter().zip(&news) {
                    if half(g, old) {
                        wide.insert(old, w);
                        continue;
                    }
                    g.replace_uses(old, w);
                }
                continue;
            }
            g.remove_node(made);
        }
        // It works on halves: what is wide becomes one again.
        for (k, v) in ins.iter().enumerate() {
            if let Some(v) = *v
                && let Some(&w) = wide.get(&v)
                && g.maker(v).is_some()
                && !alive(g, v, &wide)
            {
                let narrow = narrow(g, cx, n, v, w)?;
                g.set_input(n, k, Some(narrow));
            }
        }
    }
    // Outputs keep their type.
    for (k, v) in g.outputs().to_vec().into_iter().enumerate() {
        let (Some(&w), Some(&last)) = (wide.get(&v), g.order().last()) else {
            continue;
        };
        if g.maker(v).is_none() {
            continue;
        }
        let before = g.order().to_vec();
        let made = narrow(g, cx, last, v, w)?;
        if let Some((m, _)) = g.maker(made) {
            let mut order = before;
            order.push(m);
            g.set_order(order);
        }
        g.set_output(k, made);
    }
    super::dead::left_behind(g);
    Ok(())
}

/// Whether the half value itself is still computed: it was widened by a Cast, not computed wide.
fn alive(g: &Graph, v: ValueId, wide: &HashMap<ValueId, ValueId>) -> bool {
    let Some(w) = wide.get(&v) else { return true };
    g.maker(*w).is_some_and(|(m, _)| {
        let node = g.node(m);
        node.op.name == "Cast" && node.ins.first().copied().flatten() == Some(v)
    })
}

fn narrow(g: &mut Graph, cx: &mut PassCx, n: NodeId, v: ValueId, w: ValueId) -> Result<ValueId> {
    let to = g.ty(v).map_or(DType::F16, |t| t.dtype);
    let attrs = Attrs::default().with("to", Attr::Type(to));
    let loc = g
        .maker(v)
        .map(|(m, _)| g.node(m).loc.clone())
        .unwrap_or_default();
    make(g, cx, n, "Cast", attrs, &[Some(w)], loc)
}
