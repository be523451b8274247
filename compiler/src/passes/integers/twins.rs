//! Readers of a value that quantize it alike share one result: writers give each reader a pair of its own. A product computes in whole numbers
//! where its result is quantized once.

use crate::base::diag::Result;
use crate::graph::ir::{Graph, NodeId};
use crate::pass::PassCx;
use std::collections::BTreeMap;

/// Lets the QuantizeLinear and DequantizeLinear that say the same of one value share their result.
pub fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    let mut seen: BTreeMap<_, Vec<NodeId>> = BTreeMap::new();
    for n in g.order().to_vec() {
        let node = g.node(n);
        if !["QuantizeLinear", "DequantizeLinear"].contains(&node.op.name) {
            continue;
        }
        let Some(Some(x)) = node.ins.first().copied() else {
            continue;
        };
        let (out, name) = (node.outs[0], node.op.name);
        let earlier = seen.entry((x, name)).or_default();
        // Two outputs of the model stay two values.
        let twin = earlier.iter().copied().find(|&m| same(g, m, n));
        let Some(twin) = twin.filter(|_| !g.is_output(out)) else {
            earlier.push(n);
            continue;
        };
        if !cx.edit() {
            return Ok(());
        }
        let shared = g.node(twin).outs[0];
        g.replace_uses(out, shared);
    }
    super::super::dead::left_behind(g);
    Ok(())
}

/// Whether two nodes of one operator and one first input have equal attributes, and equal values or constants besides.
fn same(g: &Graph, a: NodeId, b: NodeId) -> bool {
    let (a, b) = (g.node(a), g.node(b));
    let rest = a.ins.iter().zip(&b.ins).skip(1);
    a.attrs == b.attrs
        && a.ins.len() == b.ins.len()
        && rest.into_iter().all(|(&x, &y)| match (x, y) {
            (Some(x), Some(y)) => x == y || (g.konst(x).is_some() && g.konst(x) == g.konst(y)),
            _ => x == y,
        })
}
