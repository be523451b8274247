//! Patterns over graphs, written as arithmetic, and the loop that applies them.
//!
//! The engine knows which operators commute and checks that nothing outside the pattern uses what is inside it. It leaves
//! a remark for each match: applied, or skipped and why.

use crate::base::attr::Attrs;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::graph::infer::Infer;
use crate::graph::ir::{Graph, Loc, NodeId, ValueId};
use crate::pass::PassCx;
use std::collections::BTreeMap;

/// A pattern that a value can match.
#[derive(Clone)]
pub enum Pat {
    /// Any value; equal names stand for equal values.
    Any(&'static str),
    /// Any constant.
    Const(&'static str),
    /// A constant all of whose elements are close to this number.
    Num(f64),
    /// An operator's first output. Arguments that are not listed may be anything.
    Op(&'static str, Vec<Pat>, Option<&'static str>),
    /// The first of these that matches.
    Either(Vec<Pat>),
}

/// Any value.
pub fn any(name: &'static str) -> Pat {
    Pat::Any(name)
}
/// Any constant.
pub fn konst(name: &'static str) -> Pat {
    Pat::Const(name)
}
/// A number.
pub fn num(v: f64) -> Pat {
    Pat::Num(v)
}
/// The first of some patterns that matches.
pub fn either<const N: usize>(patterns: [Pat; N]) -> Pat {
    Pat::Either(patterns.to_vec())
}
/// An operator.
pub fn op<const N: usize>(name: &'static str, args: [Pat; N]) -> Pat {
    Pat::Op(name, args.to_vec(), None)
}

impl Pat {
    /// Gives the matched node a name, see [`Match::node`].
    pub fn named(self, name: &'static str) -> Pat {
        match self {
            Pat::Op(op, args, _) => Pat::Op(op, args, Some(name)),
            p => p,
        }
    }
}

macro_rules! arithmetic {
    ($($trait:ident $method:ident $name:literal),*) => {$(
        impl std::ops::$trait for Pat {
            type Output = Pat;
            fn $method(self, o: Pat) -> Pat {
                Pat::Op($name, vec![self, o], None)
            }
        }
    )*};
}
arithmetic!(Add add "Add", Sub sub "Sub", Mul mul "Mul", Div div "Div");

/// What a pattern matched.
#[derive(Clone, Default)]
pub struct Match {
    values: BTreeMap<&'static str, ValueId>,
    named: BTreeMap<&'static str, NodeId>,
    /// Every node inside, the root first.
    pub nodes: Vec<NodeId>,
}

impl Match {
    /// The value that a name stands for.
    pub fn value(&self, name: &'static str) -> Result<ValueId> {
        self.values
            .get(name)
            .copied()
            .ok_or_else(|| Diagnostic::internal(format!("a pattern without `{name}`")))
    }
    /// The node with a name.
    pub fn node(&self, name: &'static str) -> Result<NodeId> {
        self.named
            .get(name)
            .copied()
            .ok_or_else(|| Diagnostic::internal(format!("a pattern without `{name}`")))
    }
    /// The node whose output is replaced.
    pub fn root(&self) -> NodeId {
        self.nodes[0]
    }
}

/// Matches a pattern against a node's first output.
pub fn find(g: &Graph, pat: &Pat, root: NodeId) -> Option<Match> {
    let out = *g.node(root).outs.first()?;
    let m = step(g, pat, out, Match::default())?;
    // What is inside must have no other users.
    let inner = &m.nodes[1..];
    let closed = inner.iter().all(|&n| {
        g.node(n)
            .outs
            .iter()
            .all(|&v| !g.is_output(v) && g.users(v).iter().all(|u| m.nodes.contains(u)))
    });
    closed.then_some(m)
}

fn step(g: &Graph, pat: &Pat, v: ValueId, mut m: Match) -> Option<Match> {
    match pat {
        Pat::Any(name) => bind(m, name, v),
        Pat::Const(name) => g.konst(v).and_then(|_| bind(m, name, v)),
        Pat::Num(want) => {
            let t = g.konst(v).filter(|t| !t.is_empty() && t.len() <= 65536)?;
            let close = |x: f64| {
                (x - want).abs() <= 1e-6 * want.abs().max(1.0)
                    || (t.dtype.size() == 2 && (x - want).abs() <= 2e-3 * want.abs())
            };
            t.to_f64s()?.into_iter().all(close).then_some(m)
        }
        Pat::Either(list) => list.iter().find_map(|p| step(g, p, v, m.clone())),
        Pat::Op(name, args, label) => {
            let (n, 0) = g.maker(v)? else { return None };
            let node = g.node(n);
            if node.op.name != *name {
                return None;
            }
            if !m.nodes.contains(&n) {
                m.nodes.push(n);
            }
            // A label that stands twice in a pattern means one node.
            if let Some(label) = label
                && m.named.insert(label, n).is_some_and(|old| old != n)
            {
                return None;
            }
            let ins = node.ins.clone();
            let orders: &[[usize; 2]] = if matches!(*name, "Add" | "Mul") {
                &[[0, 1], [1, 0]]
            } else {
                &[[0, 1]]
            };
            for order in orders {
                let mut next = Some(m.clone());
                for (k, a) in args.iter().enumerate() {
                    let at = if k < 2 { order[k] } else { k };
                    let v = ins.get(at).copied().flatten();
                    next = next.and_then(|m| step(g, a, v?, m));
                }
                if next.is_some() {
                    return next;
                }
            }
            None
        }
    }
}

fn bind(mut m: Match, name: &'static str, v: ValueId) -> Option<Match> {
    match m.values.insert(name, v) {
        Some(old) if old != v => None,
        _ => Some(m),
    }
}

/// What a replacement decided.
pub enum Outcome {
    /// The root's output is now this value.
    Replace(ValueId),
    /// Left alone, for a reason.
    Skip(String),
    /// Not what the fusion is about, which nobody needs to hear of.
    Other,
}

/// Tries the patterns at every node, first match first. `build` makes the replacement before the root node.
pub fn rewrite(
    g: &mut Graph,
    cx: &mut PassCx,
    patterns: &[Pat],
    build: impl Fn(&mut Graph, &mut PassCx, &Match) -> Result<Outcome>,
) -> Result<()> {
    for n in g.order().to_vec() {
        if g.get_node(n).is_none()
            || g.node(n)
                .outs
                .iter()
                .all(|&v| !g.is_used(v) || g.maker(v).is_none())
        {
            continue;
        }
        let Some(m) = patterns.iter().find_map(|p| find(g, p, n)) else {
            continue;
        };
        let loc = Loc::join(m.nodes.iter().rev().map(|&n| &g.node(n).loc));
        if cx.edits >= cx.max_edits {
            return Ok(());
        }
        match build(g, cx, &m)? {
            Outcome::Other => {}
            Outcome::Skip(why) => cx.remark(&loc, format!("skipped: {why}")),
            Outcome::Replace(v) => {
                let out = g.node(n).outs[0];
                // A constant of the pattern may have made the value larger by broadcasting.
                if !same_type(g, out, v) {
                    if let Some((made, _)) = g.maker(v)
                        && !g.is_used(v)
                    {
                        g.remove_node(made);
                    }
                    cx.remark(&loc, "skipped: a constant changes the shape");
                    continue;
                }
                cx.edit();
                g.replace_uses(out, v);
                // Dead nodes would count as users of what the next match looks at.
                for &old in &m.nodes {
                    let dead = g
                        .get_node(old)
                        .is_some_and(|n| n.outs.iter().all(|&v| !g.is_used(v)));
                    if dead {
                        g.remove_node(old);
                    }
                }
                cx.remark(&loc, "applied");
            }
        }
    }
    Ok(())
}

/// Whether two values have the same type, as far as sizes are known.
fn same_type(g: &Graph, a: ValueId, b: ValueId) -> bool {
    let (Some(a), Some(b)) = (g.ty(a), g.ty(b)) else {
        return false;
    };
    let differ = |(x, y): (&Dim, &Dim)| x != y && x.fixed().is_some() && y.fixed().is_some();
    a.dtype == b.dtype && a.rank() == b.rank() && !a.shape.iter().zip(&b.shape).any(differ)
}

/// Makes a node before `before`, infers its types, and returns its first output.
pub fn make(
    g: &mut Graph,
    cx: &mut PassCx,
    before: NodeId,
    name: &str,
    attrs: Attrs,
    ins: &[Option<ValueId>],
    loc: Loc,
) -> Result<ValueId> {
    let op = crate::ops::find(name)
        .ok_or_else(|| Diagnostic::internal(format!("no operator {name}")))?;
    let n = g.add_before(before, op, attrs, ins.to_vec(), 1, loc);
    infer(g, cx, n)?;
    Ok(g.node(n).outs[0])
}

/// Infers the types of a new node's outputs.
pub fn infer(g: &mut Graph, cx: &mut PassCx, n: NodeId) -> Result<()> {
    let mut after = |_: &mut Graph, _: NodeId, _: &crate::base::dim::Symbols| Ok(());
    Infer {
        symbols: cx.symbols,
        after: &mut after,
        diags: cx.diags,
        depth: 0,
    }
    .node(g, n)
}

/// The place of a replacement: all nodes that it stands for.
pub fn place(g: &Graph, m: &Match) -> Loc {
    Loc::join(m.nodes.iter().rev().map(|&n| &g.node(n).loc))
}
