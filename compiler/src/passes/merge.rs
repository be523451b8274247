//! Merges nodes that compute the same (common subexpressions).

use crate::base::attr::Attr;
use crate::base::diag::Result;
use crate::graph::ir::{Graph, NodeId};
use crate::pass::{Pass, PassCx};
use std::collections::HashMap;

/// The pass.
pub static PASS: Pass = Pass {
    name: "merge",
    doc: "lets equal nodes with equal inputs share one result",
    run,
};

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    let mut seen: HashMap<String, NodeId> = HashMap::new();
    for n in g.order().to_vec() {
        let node = g.node(n);
        let plain = node.op.pure
            && node.bodies.is_empty()
            && node.syms.is_empty()
            && !node.attrs.0.values().any(|a| matches!(a, Attr::Tensor(_)));
        if !plain {
            continue;
        }
        let key = format!(
            "{} {:?} {:?} {}",
            node.op.name,
            node.attrs,
            node.ins,
            node.outs.len()
        );
        let Some(&first) = seen.get(&key) else {
            seen.insert(key, n);
            continue;
        };
        let (from, to) = (node.outs.clone(), g.node(first).outs.clone());
        // Two outputs of the model stay two values: each has memory of its own.
        if from.iter().any(|&v| g.is_output(v)) || !from.iter().any(|&v| g.is_used(v)) {
            continue;
        }
        if !cx.edit() {
            return Ok(());
        }
        for (old, new) in from.into_iter().zip(to) {
            g.replace_uses(old, new);
        }
    }
    Ok(())
}
