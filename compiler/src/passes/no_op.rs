//! Removes nodes that give back their input: Identity, Dropout at inference, a Cast to the same type, a Reshape to the
//! same shape, a Transpose in the same order; and merges a Reshape of a Reshape.

use crate::base::diag::Result;
use crate::graph::ir::{Graph, NodeId, ValueId};
use crate::op::Lower;
use crate::pass::{Pass, PassCx};

/// The pass.
pub static PASS: Pass = Pass {
    name: "no_op",
    doc: "removes nodes that give back their input",
    run,
};

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    for n in g.order().to_vec() {
        if let Some(&Some(x)) = g.node(n).ins.first() {
            // A view of a view looks at the first one's input.
            if own_shape(g, n)
                && let Some((m, 0)) = g.maker(x)
                && matches!(g.node(m).op.lower, Lower::View)
                && let Some(&Some(first)) = g.node(m).ins.first()
                && cx.edit()
            {
                g.set_input(n, 0, Some(first));
            }
        }
        let Some(x) = passes_through(g, n) else {
            continue;
        };
        let out = g.node(n).outs[0];
        // An output of the model keeps a node that makes it, unless its input is made for it alone.
        if g.is_output(out) && (g.maker(x).is_none() || g.is_output(x)) {
            continue;
        }
        if cx.edit() {
            g.replace_uses(out, x);
        }
    }
    Ok(())
}

/// Whether a view's shape is all its own: a Reshape that keeps no axis of its input. Other views (Unsqueeze, Flatten) would
/// mean something else over another input.
fn own_shape(g: &Graph, n: NodeId) -> bool {
    let node = g.node(n);
    let zeros_count = node.attrs.flag("allowzero");
    let target = node.ins.get(1).copied().flatten().and_then(|v| g.konst(v));
    node.op.name == "Reshape"
        && target
            .and_then(|t| t.to_i64s())
            .is_some_and(|t| zeros_count || !t.contains(&0))
}

/// The input that a node gives back as its only used output.
fn passes_through(g: &Graph, n: NodeId) -> Option<ValueId> {
    let node = g.node(n);
    let x = (*node.ins.first()?)?;
    let out = *node.outs.first()?;
    if node.outs[1..].iter().any(|&v| g.is_used(v)) || !g.is_used(out) || g.maker(out).is_none() {
        return None;
    }
    let (a, b) = (g.ty(x)?, g.ty(out)?);
    let same = a.dtype == b.dtype && a.shape == b.shape;
    let gives_back = match (&node.op.lower, node.op.name) {
        (Lower::View, _) | (_, "Identity" | "Dropout" | "Cast" | "CastLike") => true,
        (_, "Transpose") => node
            .attrs
            .ints("perm")
            .is_some_and(|p| p.iter().enumerate().all(|(i, &d)| i as i64 == d)),
        (_, "Slice" | "Expand" | "Concat") => node.op.name != "Concat" || node.ins.len() == 1,
        _ => false,
    };
    // A Slice with negative steps keeps the shape and not the order.
    let in_order = node.op.name != "Slice"
        || node.ins.get(4).copied().flatten().is_none_or(|s| {
            g.konst(s)
                .and_then(|t| t.to_i64s())
                .is_some_and(|s| s.iter().all(|&s| s > 0))
        });
    (same && gives_back && in_order).then_some(x)
}
