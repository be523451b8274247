//! Transposes meet and merge: one behind another becomes one, and one before pointwise work moves behind it, until it
//! meets another or the work's end.

use super::engine::*;
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::graph::ir::{Graph, Loc, NodeId};
use crate::op::Lower;
use crate::pass::{Pass, PassCx};

/// The fusion.
pub static PASS: Pass = Pass {
    name: "transpose",
    doc: "transposes move behind pointwise work and merge with each other",
    run,
};

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    push_down(g, cx)?;
    let pattern = op("Transpose", [op("Transpose", [any("x")]).named("first")]);
    rewrite(g, cx, &[pattern], |g, cx, m| {
        let (Some(first), Some(second)) = (perm(g, m.node("first")?), perm(g, m.root())) else {
            return Ok(Outcome::Skip("the order of axes is not known".into()));
        };
        let both: Option<Vec<i64>> = second
            .iter()
            .map(|&i| first.get(i as usize).copied())
            .collect();
        let Some(both) = both else {
            return Ok(Outcome::Skip("the orders do not fit".into()));
        };
        let loc = place(g, m);
        let x = m.value("x")?;
        if both.iter().enumerate().all(|(i, &d)| d == i as i64)
            && !g.is_output(g.node(m.root()).outs[0])
        {
            return Ok(Outcome::Replace(x));
        }
        let attrs = Attrs::default().with("perm", Attr::Ints(both));
        Ok(Outcome::Replace(make(
            g,
            cx,
            m.root(),
            "Transpose",
            attrs,
            &[Some(x)],
            loc,
        )?))
    })
}

fn perm(g: &Graph, n: NodeId) -> Option<Vec<i64>> {
    let node = g.node(n);
    match node.attrs.ints("perm") {
        Some(p) => Some(p.to_vec()),
        None => {
            let rank = g.ty(node.ins.first().copied().flatten()?)?.rank() as i64;
            Some((0..rank).rev().collect())
        }
    }
}

/// f(transpose(x)) becomes transpose(f(x)) where another transpose waits below, so that both can merge.
fn push_down(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    for n in g.order().to_vec() {
        let node = g.node(n);
        let unary = matches!(node.op.lower, Lower::Pointwise(_)) && node.outs.len() == 1;
        let Some(&Some(v)) = node.ins.first() else {
            continue;
        };
        // Other operands must be single numbers: they don't care about the order of axes.
        let others = node.ins[1..]
            .iter()
            .flatten()
            .all(|&v| g.ty(v).is_some_and(|t| t.elements().is(1) && t.rank() <= 1));
        let Some(&out) = node.outs.first() else {
            continue;
        };
        let waits = !g.is_output(out)
            && !g.users(out).is_empty()
            && g.users(out).iter().all(|&u| leads_to_transpose(g, u, 8));
        let Some((t, 0)) = g.maker(v) else { continue };
        if !unary
            || !others
            || !waits
            || g.node(t).op.name != "Transpose"
            || g.users(v).len() != 1
            || g.is_output(v)
        {
            continue;
        }
        let Some(&Some(x)) = g.node(t).ins.first() else {
            continue;
        };
        if !cx.edit() {
            return Ok(());
        }
        let (name, attrs, loc) = (
            g.node(n).op.name,
            g.node(n).attrs.clone(),
            g.node(n).loc.clone(),
        );
        let (t_attrs, t_loc): (Attrs, Loc) = (g.node(t).attrs.clone(), g.node(t).loc.clone());
        let mut ins = g.node(n).ins.clone();
        ins[0] = Some(x);
        let y = make(g, cx, n, name, attrs, &ins, loc.clone())?;
        let z = make(g, cx, n, "Transpose", t_attrs, &[Some(y)], t_loc)?;
        g.replace_uses(out, z);
        cx.remark(&loc, "moved in front of a transpose");
    }
    Ok(())
}

fn leads_to_transpose(g: &Graph, n: NodeId, depth: usize) -> bool {
    let node = g.node(n);
    if node.op.name == "Transpose" {
        return true;
    }
    let Some(&out) = node.outs.first() else {
        return false;
    };
    depth > 0
        && matches!(node.op.lower, Lower::Pointwise(_))
        && node.outs.len() == 1
        && !g.is_output(out)
        && node.ins[1..]
            .iter()
            .flatten()
            .all(|&v| g.ty(v).is_some_and(|t| t.elements().is(1)))
        && !g.users(out).is_empty()
        && g.users(out)
            .iter()
            .all(|&u| leads_to_transpose(g, u, depth - 1))
}
