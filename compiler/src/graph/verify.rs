//! What every graph must keep, checked:
//! - the order lists each live node once, each after the makers of its inputs;
//! - inputs of nodes exist, and know their users;
//! - outputs exist; bodies keep the same rules and take as many inputs as their node gives them;
//! - once types are inferred, every used value has one.

use super::ir::{Def, Graph, NodeId};
use crate::op::{Control, Lower};
use std::collections::HashSet;

/// All violations, each naming its node. `typed`: types must be there.
pub fn verify(g: &Graph, typed: bool) -> Vec<(Option<NodeId>, String)> {
    let mut wrong = vec![];
    let mut made: HashSet<NodeId> = HashSet::new();
    for &n in g.order() {
        let Some(node) = g.get_node(n) else {
            wrong.push((None, format!("the order lists {n:?}, which was removed")));
            continue;
        };
        if !made.insert(n) {
            wrong.push((Some(n), "stands twice in the order".into()));
        }
        for v in node.ins.iter().flatten() {
            if let Def::Node(m, _) = g.value(*v).def
                && !made.contains(&m)
            {
                wrong.push((Some(n), format!("uses {v:?} before it is made")));
            }
            let uses = node.ins.iter().flatten().filter(|w| *w == v).count();
            if g.users(*v).iter().filter(|u| **u == n).count() != uses {
                wrong.push((Some(n), format!("{v:?} does not know its users")));
            }
            if typed && g.ty(*v).is_none() {
                wrong.push((Some(n), format!("{v:?} has no type")));
            }
        }
        for (k, &v) in node.outs.iter().enumerate() {
            if !matches!(g.value(v).def, Def::Const(_)) && g.value(v).def != Def::Node(n, k) {
                wrong.push((
                    Some(n),
                    format!("output {k} says that it is made elsewhere"),
                ));
            }
        }
        let skip = usize::from(matches!(node.op.lower, Lower::Control(Control::If)));
        for body in &node.bodies {
            if body.inputs.len() + skip != node.ins.len() {
                wrong.push((Some(n), "a body takes another number of inputs".into()));
            }
            // A branch that can't run with the given shapes is left untyped.
            let given_up = body.outputs().iter().any(|&v| body.ty(v).is_none());
            wrong.extend(
                verify(body, typed && !given_up)
                    .into_iter()
                    .map(|(_, w)| (Some(n), w)),
            );
        }
    }
    for &v in g.outputs() {
        match g.value(v).def {
            Def::Node(m, _) if !made.contains(&m) => {
                wrong.push((None, format!("output {v:?} is made by a removed node")))
            }
            _ => {}
        }
    }
    wrong
}
