//! Which nodes an accelerator can compute, and why not the others.
//!
//! A value of a type that can't cross a border ties its maker and all its users together: they go to the device as one, or stay. So the sums of a
//! convolution stay with what requantizes them.

use crate::graph::ir::{Graph, NodeId, ValueId};
use crate::npu::{Accelerator, Claim};
use std::collections::{BTreeMap, BTreeSet};

/// The answers of one accelerator about one graph.
pub struct Table {
    claims: BTreeMap<NodeId, Claim>,
    /// Nodes that go together, by a name for all: that of the first.
    unit: BTreeMap<NodeId, NodeId>,
    /// The only nodes that are looked at, while a region is split.
    only: Option<BTreeSet<NodeId>>,
    order: Vec<NodeId>,
}

impl Table {
    /// Asks about every node.
    pub fn of(g: &Graph, a: &dyn Accelerator) -> Table {
        let order = g.order().to_vec();
        let claims = order.iter().map(|&n| (n, claim(g, a, n))).collect();
        let mut table = Table {
            claims,
            unit: order.iter().map(|&n| (n, n)).collect(),
            only: None,
            order,
        };
        for &n in &table.order.clone() {
            for &v in &g.node(n).outs {
                if g.konst(v).is_some() || !g.is_used(v) {
                    continue;
                }
                if let Err(why) = crosses(g, a, v) {
                    for &u in g.users(v) {
                        table.tie(n, u);
                    }
                    if g.is_output(v) {
                        table.refuse(n, format!("its result leaves the model, and {why}"));
                    }
                }
            }
        }
        // All of a unit, or none.
        for n in table.order.clone() {
            if let Some(Claim::No(why)) = table.claims.get(&n) {
                let why = why.clone();
                table.spread(
                    n,
                    &format!("it goes with {}, which can't: {why}", g.describe(n)),
                );
            }
        }
        table
    }

    fn tie(&mut self, a: NodeId, b: NodeId) {
        let (a, b) = (self.unit_of(a), self.unit_of(b));
        if a != b {
            self.unit
                .values_mut()
                .filter(|u| **u == b)
                .for_each(|u| *u = a);
        }
    }
    /// The unit of a node.
    pub fn unit_of(&self, n: NodeId) -> NodeId {
        self.unit.get(&n).copied().unwrap_or(n)
    }
    /// Refuses the other nodes of its unit too.
    fn spread(&mut self, n: NodeId, why: &str) {
        let unit = self.unit_of(n);
        let others: Vec<NodeId> = self
            .order
            .iter()
            .copied()
            .filter(|m| self.unit_of(*m) == unit)
            .collect();
        for m in others {
            if !matches!(self.claims.get(&m), Some(Claim::No(_))) {
                self.claims.insert(m, Claim::No(why.to_string()));
            }
        }
    }
    /// From now on the node stays on the CPU, and all of its unit.
    pub fn refuse(&mut self, n: NodeId, why: String) {
        if !matches!(self.claims.get(&n), Some(Claim::No(_))) {
            self.spread(n, &why);
        }
    }
    /// Whether the node can go there, as far as is known.
    pub fn supported(&self, n: NodeId) -> bool {
        let looked_at = self.only.as_ref().is_none_or(|o| o.contains(&n));
        looked_at && matches!(self.claims.get(&n), Some(Claim::Work | Claim::Move))
    }
    /// Whether the node is what the device is there for.
    pub fn works(&self, n: NodeId) -> bool {
        self.claims.get(&n) == Some(&Claim::Work)
    }
    /// Looks at these nodes alone, until [`Table::restore`].
    pub fn keep_only(&mut self, nodes: &BTreeSet<NodeId>) {
        self.only = Some(nodes.clone());
    }
    /// Looks at all nodes again.
    pub fn restore(&mut self) {
        self.only = None;
    }
    /// Why each node that stays does.
    pub fn reasons(&self) -> impl Iterator<Item = (NodeId, String)> + '_ {
        self.claims.iter().filter_map(|(n, c)| match c {
            Claim::No(why) => Some((*n, why.clone())),
            _ => None,
        })
    }
}

fn claim(g: &Graph, a: &dyn Accelerator, n: NodeId) -> Claim {
    let node = g.node(n);
    if !node.bodies.is_empty() {
        return Claim::No(match node.op.name {
            "Offload" => "another accelerator has it".into(),
            _ => "control flow runs on the CPU".into(),
        });
    }
    if !node.syms.is_empty() || !node.op.pure {
        return Claim::No("its sizes or its values depend on more than its inputs".into());
    }
    // What comes from outside must be able to cross.
    for &v in node.ins.iter().flatten() {
        let outside = g.konst(v).is_none() && g.maker(v).is_none();
        if outside && let Err(why) = crosses(g, a, v) {
            return Claim::No(format!("an input of the model goes in, and {why}"));
        }
    }
    a.claim(g, n)
}

/// Whether a value can cross the border, or why not.
pub fn crosses(g: &Graph, a: &dyn Accelerator, v: ValueId) -> Result<(), String> {
    let Some(ty) = g.ty(v) else {
        return Err("a value without a type can't cross the border".into());
    };
    if ty.fixed_shape().is_none() {
        return Err("a value whose size is known at run time only can't cross the border".into());
    }
    a.border(ty)
}
