//! Which nodes run in one loop nest.
//!
//! A group is an anchor (an operator with loops of its own, or none) followed by pointwise nodes over the same index
//! space: they are computed on the anchor's element while it is in a register. Pointwise nodes alone form a group
//! without an anchor. Groups never form a cycle: a node joins only if nothing it needs comes, directly or not, out of the
//! group it joins by another way.

use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::graph::ir::{Graph, NodeId, ValueId};
use crate::op::Lower;
use std::collections::{HashMap, HashSet};

/// Longer chains are cut, so that one function stays small.
const MAX_NODES: usize = 48;

/// Nodes that run together, in graph order. A group runs where its last node stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The nodes; the first may be the anchor.
    pub nodes: Vec<NodeId>,
    /// Whether the first node is an anchor.
    pub anchored: bool,
}

/// The groups of a graph, in an order in which they can run. `takes_tails` says whether an anchor's lowering does.
pub fn group(g: &Graph, fuse: bool, takes_tails: &dyn Fn(NodeId) -> bool) -> Vec<Group> {
    let mut s = Grouping {
        g,
        groups: vec![],
        of: HashMap::new(),
        pos: HashMap::new(),
    };
    for (i, &n) in g.order().iter().enumerate() {
        s.pos.insert(n, i);
        s.place(n, fuse, takes_tails);
    }
    s.ordered()
}

struct Grouping<'a> {
    g: &'a Graph,
    groups: Vec<Option<(Group, Vec<Dim>, bool)>>, // nodes, index space, open for tails
    of: HashMap<NodeId, usize>,
    pos: HashMap<NodeId, usize>,
}

impl Grouping<'_> {
    fn place(&mut self, n: NodeId, fuse: bool, takes_tails: &dyn Fn(NodeId) -> bool) {
        let node = self.g.node(n);
        let pointwise = matches!(node.op.lower, Lower::Pointwise(_)) && node.outs.len() == 1;
        let space = node
            .outs
            .first()
            .and_then(|&v| self.g.ty(v))
            .map(|t| t.shape.clone())
            .unwrap_or_default();
        if pointwise
            && fuse
            && let Some(at) = self.join(n, &space)
        {
            self.of.insert(n, at);
            if let Some((group, ..)) = &mut self.groups[at] {
                group.nodes.push(n);
            }
            return;
        }
        let anchored = !matches!(node.op.lower, Lower::Pointwise(_));
        let open = if anchored { takes_tails(n) } else { true };
        self.of.insert(n, self.groups.len());
        self.groups.push(Some((
            Group {
                nodes: vec![n],
                anchored,
            },
            space,
            open,
        )));
    }

    /// The group that `n` joins, other groups merged into it where that is possible.
    fn join(&mut self, n: NodeId, space: &[Dim]) -> Option<usize> {
        let makers: Vec<usize> = self
            .g
            .node(n)
            .ins
            .iter()
            .flatten()
            .filter(|&&v| self.g.ty(v).is_some_and(|t| t.shape == space))
            .filter_map(|&v| self.g.maker(v))
            .map(|(m, _)| self.of[&m])
            .filter(|&at| {
                self.groups[at].as_ref().is_some_and(|(group, s, open)| {
                    *open && s == space && group.nodes.len() < MAX_NODES
                }) && !self.splits(at, n)
                    && !self.reads_beside(at, n)
            })
            .collect();
        // The group that runs last first: what others need is then there.
        let mut makers: Vec<usize> = makers
            .into_iter()
            .collect::<HashSet<_>>()
            .into_iter()
            .collect();
        makers.sort_by_key(|&at| std::cmp::Reverse(self.last(at)));
        let home = makers
            .iter()
            .copied()
            .find(|&at| !self.reaches(at, n, at))?;
        for other in makers {
            let (Some((a, ..)), Some((b, ..))) = (&self.groups[home], &self.groups[other]) else {
                continue;
            };
            if other == home || b.anchored || a.nodes.len() + b.nodes.len() > MAX_NODES {
                continue;
            }
            // An anchor reads its operands whole, from memory: what makes one can't run beside it.
            if a.anchored && self.needs(a.nodes[0]).any(|x| x == other) {
                continue;
            }
            if b.nodes.iter().any(|&m| self.reads_beside(home, m)) {
                continue;
            }
            // Merging is safe if neither group needs the other by way of a third.
            let (a, b) = (a.nodes.clone(), b.nodes.clone());
            if a.iter().any(|&m| self.reaches(other, m, home))
                || b.iter().any(|&m| self.reaches(home, m, other))
            {
                continue;
            }
            let (b, ..) = self.groups[other].take()?;
            let pos = &self.pos;
            if let Some((a, ..)) = &mut self.groups[home] {
                a.nodes.extend(&b.nodes);
                let skip = usize::from(a.anchored);
                a.nodes[skip..].sort_by_key(|m| pos[m]);
            }
            for m in b.nodes {
                self.of.insert(m, home);
            }
        }
        Some(home)
    }

    /// Whether `n` reads an output of the group's anchor that is not its first: tails are computed where the first is stored, and the others
    /// are complete only when the anchor is done.
    fn reads_beside(&self, at: usize, n: NodeId) -> bool {
        let Some((group, ..)) = self.groups[at].as_ref().filter(|s| s.0.anchored) else {
            return false;
        };
        let made = self.g.node(n).ins.iter().flatten();
        let mut made = made.filter_map(|&v| self.g.maker(v));
        made.any(|(m, output)| m == group.nodes[0] && output != 0)
    }

    /// Whether sums of whole numbers would have to be stored in two forms if `n` joined them: kernels store one, and a node that reads bytes again is
    /// cheap.
    fn splits(&self, at: usize, n: NodeId) -> bool {
        let g = self.g;
        let Some((group, ..)) = self.groups[at].as_ref().filter(|s| s.0.anchored) else {
            return false;
        };
        let sums = g.node(group.nodes[0]).outs.first();
        if sums.is_none_or(|&v| g.ty(v).is_none_or(|t| t.dtype != DType::I32)) {
            return false;
        }
        let pointwise = |u: &NodeId| matches!(g.node(*u).op.lower, Lower::Pointwise(_));
        let elsewhere =
            |v: ValueId| g.is_output(v) || g.users(v).iter().any(|u| *u != n && !pointwise(u));
        let own = |v: &ValueId| g.maker(*v).is_some_and(|(m, _)| self.of[&m] == at);
        let mut ins = g.node(n).ins.iter().flatten();
        ins.any(|v| own(v) && elsewhere(*v))
    }

    fn last(&self, at: usize) -> usize {
        self.groups[at].as_ref().map_or(0, |(g, ..)| {
            g.nodes.iter().map(|n| self.pos[n]).max().unwrap_or(0)
        })
    }

    /// Whether `n` needs a value of group `target` by way of some group other than `target` and `own`.
    fn reaches(&self, target: usize, n: NodeId, own: usize) -> bool {
        let first = self.groups[target].as_ref().map_or(0, |(g, ..)| {
            g.nodes.iter().map(|n| self.pos[n]).min().unwrap_or(0)
        });
        let mut seen = HashSet::new();
        let mut todo: Vec<usize> = self
            .needs(n)
            .filter(|&at| at != target && at != own)
            .collect();
        while let Some(at) = todo.pop() {
            if !seen.insert(at) || self.last(at) < first {
                continue;
            }
            let Some((group, ..)) = &self.groups[at] else {
                continue;
            };
            for &m in &group.nodes {
                for need in self.needs(m) {
                    if need == target {
                        return true;
                    }
                    todo.push(need);
                }
            }
        }
        false
    }

    fn needs(&self, n: NodeId) -> impl Iterator<Item = usize> + '_ {
        self.g
            .node(n)
            .ins
            .iter()
            .flatten()
            .filter_map(|&v| self.g.maker(v))
            .map(|(m, _)| self.of[&m])
    }

    /// Groups in topological order, as close to the graph's order as possible.
    fn ordered(self) -> Vec<Group> {
        let mut waits: HashMap<usize, HashSet<usize>> = HashMap::new();
        let mut feeds: HashMap<usize, Vec<usize>> = HashMap::new();
        for (at, slot) in self.groups.iter().enumerate() {
            let Some((group, ..)) = slot else { continue };
            let mut needs: Vec<usize> = group
                .nodes
                .iter()
                .flat_map(|&n| self.needs(n))
                .filter(|&x| x != at)
                .collect();
            needs.sort_unstable();
            needs.dedup();
            for &x in &needs {
                feeds.entry(x).or_default().push(at);
            }
            waits.insert(at, needs.into_iter().collect());
        }
        let mut ready: std::collections::BTreeSet<(usize, usize)> = waits
            .iter()
            .filter(|(_, w)| w.is_empty())
            .map(|(&at, _)| (self.last(at), at))
            .collect();
        let mut out = vec![];
        while let Some((_, at)) = ready.pop_first() {
            if let Some((group, ..)) = &self.groups[at] {
                out.push(group.clone());
            }
            for &next in feeds.get(&at).map(Vec::as_slice).unwrap_or(&[]) {
                if let Some(w) = waits.get_mut(&next)
                    && w.remove(&at)
                    && w.is_empty()
                {
                    ready.insert((self.last(next), next));
                }
            }
        }
        debug_assert_eq!(
            out.len(),
            self.groups.iter().flatten().count(),
            "groups form a cycle"
        );
        out
    }
}

/// Values made in a group that something outside needs: these are stored.
pub fn escaping(g: &Graph, group: &Group) -> Vec<ValueId> {
    let inside: HashSet<NodeId> = group.nodes.iter().copied().collect();
    group
        .nodes
        .iter()
        .flat_map(|&n| g.node(n).outs.iter().copied())
        .filter(|&v| {
            g.maker(v).is_some()
                && (g.is_output(v) || g.users(v).iter().any(|u| !inside.contains(u)))
        })
        .collect()
}
