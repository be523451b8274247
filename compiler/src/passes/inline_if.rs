//! Replaces an If whose condition is known by the branch that is taken.

use crate::base::diag::Result;
use crate::graph::ir::Graph;
use crate::op::{Control, Lower};
use crate::pass::{Pass, PassCx};

/// The pass.
pub static PASS: Pass = Pass {
    name: "inline_if",
    doc: "replaces an If with a known condition by the branch that is taken",
    run,
};

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    // Branches may hold Ifs of their own: what was spliced in is looked at again.
    loop {
        let found = g.order().iter().copied().find_map(|n| {
            let node = g.node(n);
            let Lower::Control(Control::If) = node.op.lower else {
                return None;
            };
            let cond = g.konst(node.ins.first().copied().flatten()?)?.get_i64(0)?;
            Some((n, usize::from(cond == 0)))
        });
        let Some((n, which)) = found else {
            return Ok(());
        };
        if !cx.edit() {
            return Ok(());
        }
        let bodies = std::mem::take(&mut g.node_mut(n).bodies);
        let captures = g.node(n).ins[1..].to_vec();
        let Some(body) = bodies.into_iter().nth(which) else {
            return Ok(());
        };
        let results = g.splice(n, body, &captures)?;
        let outs = g.node(n).outs.clone();
        for (old, new) in outs.into_iter().zip(results) {
            g.replace_uses(old, new);
        }
        g.remove_node(n);
    }
}
