//! Removes nodes whose results nobody uses.

use crate::base::diag::Result;
use crate::graph::ir::{Graph, NodeId};
use crate::pass::{Pass, PassCx};

/// The pass.
pub static PASS: Pass = Pass {
    name: "dead",
    doc: "removes nodes whose results nobody uses",
    run,
};

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    sweep(g, &mut || cx.edit());
    Ok(())
}

/// Removes what a pass that makes nodes anew has left behind: part of the same edits.
pub fn left_behind(g: &mut Graph) {
    sweep(g, &mut || true);
}

fn sweep(g: &mut Graph, may: &mut dyn FnMut() -> bool) {
    // Users stand behind makers, so one walk from the end finds chains of dead nodes.
    let mut dead: Vec<NodeId> = vec![];
    let mut is_dead = std::collections::HashSet::new();
    for &n in g.order().iter().rev() {
        let unused = g.node(n).outs.iter().all(|&v| {
            let by_nodes = g.users(v).iter().any(|u| !is_dead.contains(u));
            let made_here = g.maker(v).is_some();
            !made_here || !(by_nodes || g.is_output(v))
        });
        if unused && may() {
            dead.push(n);
            is_dead.insert(n);
        }
    }
    g.remove_nodes(&dead);
}
