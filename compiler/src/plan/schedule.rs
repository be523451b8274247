//! The groups of a graph as tasks over memory, for the choice of an order.

use super::build::{Planner, Scope, wanted};
use super::group::{Group, escaping};
use super::lower::{Lowered, Source};
use super::order::{Buffer, Task, Work};
use super::program::ALIGN;
use crate::base::diag::Result;
use crate::graph::ir::{Def, NodeId, ValueId};
use std::collections::{BTreeMap, BTreeSet, HashMap};

impl Planner<'_> {
    /// For each root value the group that uses it last; graph outputs are used after all groups.
    pub(super) fn last_uses(&self, s: &Scope, groups: &[Group]) -> HashMap<ValueId, usize> {
        let mut last = HashMap::new();
        for (at, group) in groups.iter().enumerate() {
            for v in group.nodes.iter().flat_map(|&n| &s.g.node(n).ins).flatten() {
                last.insert(s.views.root(*v).0, at);
            }
        }
        // A view or a part is used whenever its root is: roots stand for all.
        for v in self.lasting(s) {
            last.insert(s.views.root(v).0, usize::MAX);
        }
        last
    }

    /// Groups with what they were lowered to, in the order in which they are to run.
    pub(super) fn in_order(
        &self,
        s: &Scope,
        groups: Vec<Group>,
        lowered: Vec<Option<Lowered>>,
    ) -> Result<(Vec<Group>, Vec<Option<Lowered>>)> {
        // A size that data decide must be known before it is asked for, and no edge of the graph says so.
        let fixed = |n: &NodeId| s.g.node(*n).syms.is_empty();
        if !self.options.order || groups.len() < 3 || !s.g.order().iter().all(fixed) {
            return Ok((groups, lowered));
        }
        let order = self.work(s, &groups, &lowered)?.order(self.options.goal);
        let mut slots: Vec<_> = groups.into_iter().zip(lowered).map(Some).collect();
        Ok(order
            .iter()
            .filter_map(|&t| slots.get_mut(t as usize).and_then(Option::take))
            .unzip())
    }

    fn work(&self, s: &Scope, groups: &[Group], lowered: &[Option<Lowered>]) -> Result<Work> {
        let mut of: HashMap<NodeId, u32> = HashMap::new();
        for (at, group) in groups.iter().enumerate() {
            of.extend(group.nodes.iter().map(|&n| (n, at as u32)));
        }
        let mut known = Known {
            numbers: BTreeMap::new(),
            buffers: vec![],
        };
        let mut tasks = vec![];
        for (at, (group, layer)) in groups.iter().zip(lowered).enumerate() {
            let ins = || {
                group
                    .nodes
                    .iter()
                    .flat_map(|&n| s.g.node(n).ins.iter().flatten())
            };
            let makers = ins().filter_map(|&v| s.g.maker(v)).map(|(m, _)| of[&m]);
            let after: BTreeSet<u32> = makers.filter(|&m| m != at as u32).collect();
            let mut task = Task {
                after: after.into_iter().collect(),
                ..Task::default()
            };
            if wanted(s, group) {
                let inside =
                    |v: ValueId| s.g.maker(v).is_some_and(|(m, _)| group.nodes.contains(&m));
                let reads: Vec<ValueId> = match s.views.concats.get(&group.nodes[0]) {
                    // What lies in place already is not touched again.
                    Some(copies) => copies.iter().map(|c| c.value).collect(),
                    None => ins().copied().filter(|&v| !inside(v)).collect(),
                };
                task.reads = known.list(self, s, reads)?;
                task.writes = known.list(self, s, escaping(s.g, group))?;
                if let Some((out, from)) = self.takeable(s, group)? {
                    let out = known.list(self, s, vec![out])?;
                    let mut olds = vec![];
                    for v in from {
                        olds.extend(known.list(self, s, vec![v])?);
                    }
                    task.takes = out.first().map(|&o| (o, olds));
                }
                task.scratch = layer.as_ref().map_or(0, scratch);
            }
            tasks.push(task);
        }
        Ok(Work::new(tasks, known.buffers, self.machine.l2 as u64))
    }

    /// The group's output that may lie where an operand lies that dies with the group, and such operands' roots. Safe
    /// because the operand's element is read before the output's is stored, and at no other time.
    pub(super) fn takeable(
        &self,
        s: &Scope,
        group: &Group,
    ) -> Result<Option<(ValueId, Vec<ValueId>)>> {
        if !self.options.in_place {
            return Ok(None);
        }
        // Only the last store: an operand may still be needed for those that come after an earlier one.
        let Some(&out) = escaping(s.g, group).last() else {
            return Ok(None);
        };
        let out_bytes = self.bytes(s.g, out)?;
        if s.views.is_view(out)
            || s.views.is_shared(out)
            || self.storages.get((s.id, out)).is_some()
        {
            return Ok(None);
        }
        let (anchor, tail) = group.nodes.split_at(usize::from(group.anchored));
        let ins = |nodes: &[NodeId]| -> Vec<(ValueId, ValueId, u64)> {
            let all = nodes.iter().flat_map(|&n| s.g.node(n).ins.iter().flatten());
            all.map(|&v| {
                let (root, offset) = s.views.root(v);
                (v, root, offset)
            })
            .collect()
        };
        let (by_anchor, by_tail) = (ins(anchor), ins(tail));
        let mut from = vec![];
        for &(v, root, offset) in &by_tail {
            let same =
                s.g.ty(v)
                    .zip(s.g.ty(out))
                    .is_some_and(|(a, b)| a.shape == b.shape && a.dtype.size() == b.dtype.size());
            if same
                && offset == 0
                && matches!(s.g.value(root).def, Def::Node(m, _) if !group.nodes.contains(&m))
                && !by_tail.iter().any(|o| o.0 != v && o.1 == root)
                && !by_anchor.iter().any(|o| o.1 == root)
                && self.bytes(s.g, root)? == out_bytes
            {
                from.push(root);
            }
        }
        Ok((!from.is_empty()).then_some((out, from)))
    }
}

/// Bytes of a layer's own memory.
fn scratch(l: &Lowered) -> u64 {
    let one = |a: &Source| match a {
        Source::Scratch(bytes) => (*bytes).max(0) as u64,
        _ => 0,
    };
    l.args.iter().map(|a| one(a).next_multiple_of(ALIGN)).sum()
}

/// Numbers of the storages that the arena will hold.
struct Known {
    numbers: BTreeMap<ValueId, Option<u32>>,
    buffers: Vec<Buffer>,
}

impl Known {
    /// Buffers of the values, ascending, each once. What lies elsewhere has none.
    fn list(&mut self, p: &Planner, s: &Scope, values: Vec<ValueId>) -> Result<Vec<u32>> {
        let mut out = BTreeSet::new();
        for v in values {
            let (root, _) = s.views.root(v);
            let number = match self.numbers.get(&root) {
                Some(n) => *n,
                None => {
                    let own = matches!(s.g.value(root).def, Def::Node(..))
                        && p.storages.get((s.id, root)).is_none();
                    let bytes = p.bytes(s.g, root)?.max(0) as u64;
                    let number = own.then_some(self.buffers.len() as u32);
                    if own {
                        self.buffers.push(Buffer {
                            bytes: bytes.next_multiple_of(ALIGN),
                            kept: p.lasting(s).any(|o| s.views.root(o).0 == root),
                        });
                    }
                    self.numbers.insert(root, number);
                    number
                }
            };
            out.extend(number);
        }
        Ok(out.into_iter().collect())
    }
}
