//! Maximal convex regions of supported nodes.
//!
//! Convex: no path leaves a region and enters it again, else neither side could run as a whole. Units (nodes that go together) are contracted to one
//! vertex each, and so is what lies on a cycle between them. Then neighbours are merged, edge by edge in the order of the graph, where the contracted graph
//! stays without cycles; until nothing merges any more. Regions that no path joins are merged too where they read the same value: one
//! submission is cheaper than two.

use super::support::Table;
use crate::graph::ir::{Graph, NodeId};
use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;
use petgraph::visit::Dfs;
use std::collections::{BTreeMap, BTreeSet};

/// The regions, each in the order of the graph. `others`: regions that there are already; none of the new ones makes a cycle with them.
pub fn grow<'r>(
    g: &Graph,
    table: &Table,
    others: impl Iterator<Item = &'r [NodeId]>,
) -> Vec<Vec<NodeId>> {
    let mut c = Contracted::new(g, table, others);
    loop {
        let mut merged = false;
        for (a, b) in c.edges.clone() {
            merged |= c.merge(a, b, true);
        }
        for list in c.readers.clone() {
            for pair in list.windows(2) {
                merged |= c.merge(pair[0], pair[1], false);
            }
        }
        if !merged {
            break;
        }
    }
    let mut out: BTreeMap<u32, Vec<NodeId>> = BTreeMap::new();
    for &n in g.order() {
        if table.supported(n) && c.good(n.0) {
            out.entry(c.find(n.0)).or_default().push(n);
        }
    }
    out.into_values().collect()
}

struct Contracted {
    /// Node to vertex, followed to the end.
    up: BTreeMap<u32, u32>,
    graph: DiGraphMap<u32, ()>,
    /// Vertices that can be part of a region.
    good: BTreeSet<u32>,
    /// Edges between nodes that can be, in the order of the graph.
    edges: Vec<(u32, u32)>,
    /// Nodes that read the same value.
    readers: Vec<Vec<u32>>,
}

impl Contracted {
    fn new<'r>(g: &Graph, table: &Table, others: impl Iterator<Item = &'r [NodeId]>) -> Contracted {
        let mut c = Contracted {
            up: BTreeMap::new(),
            graph: DiGraphMap::new(),
            good: BTreeSet::new(),
            edges: vec![],
            readers: vec![],
        };
        let mut whole: BTreeMap<NodeId, NodeId> = BTreeMap::new();
        for region in others {
            if let Some(&first) = region.first() {
                whole.extend(region.iter().map(|&n| (n, first)));
            }
        }
        for &n in g.order() {
            let unit = match (whole.get(&n), table.supported(n)) {
                (Some(&first), _) => first,
                (None, true) => table.unit_of(n),
                (None, false) => n,
            };
            if unit != n {
                c.up.insert(n.0, unit.0);
            }
            c.graph.add_node(unit.0);
            if table.supported(n) {
                c.good.insert(unit.0);
            }
        }
        let mut readers: BTreeMap<_, Vec<u32>> = BTreeMap::new();
        for &n in g.order() {
            let supported = table.supported(n);
            for &v in g.node(n).ins.iter().flatten() {
                if supported && g.konst(v).is_none() {
                    readers.entry(v).or_default().push(n.0);
                }
                let Some((m, _)) = g.maker(v) else { continue };
                let (a, b) = (c.find(m.0), c.find(n.0));
                if a != b {
                    c.graph.add_edge(a, b, ());
                }
                if supported && table.supported(m) {
                    c.edges.push((m.0, n.0));
                }
            }
        }
        c.readers = readers.into_values().filter(|l| l.len() > 1).collect();
        // What lies on a cycle between units must go together; with what can't go, none of it can.
        for cycle in tarjan_scc(&c.graph) {
            if let Some((&first, rest)) = cycle.split_first().filter(|(_, r)| !r.is_empty()) {
                let all_good = cycle.iter().all(|v| c.good.contains(v));
                for &v in rest {
                    c.contract(first, v);
                }
                if !all_good {
                    c.good.remove(&first);
                }
            }
        }
        c
    }

    fn find(&self, mut v: u32) -> u32 {
        while let Some(&next) = self.up.get(&v) {
            v = next;
        }
        v
    }
    fn good(&self, v: u32) -> bool {
        self.good.contains(&self.find(v))
    }

    /// `b` becomes part of `a`.
    fn contract(&mut self, a: u32, b: u32) {
        use petgraph::Direction::{Incoming, Outgoing};
        let ins: Vec<u32> = self.graph.neighbors_directed(b, Incoming).collect();
        let outs: Vec<u32> = self.graph.neighbors_directed(b, Outgoing).collect();
        self.graph.remove_node(b);
        for v in ins.into_iter().filter(|v| *v != a) {
            self.graph.add_edge(v, a, ());
        }
        for v in outs.into_iter().filter(|v| *v != a) {
            self.graph.add_edge(a, v, ());
        }
        self.good.remove(&b);
        self.up.insert(b, a);
    }

    /// Merges the vertices of two nodes, if no path leads from one to the other by way of a third. `edge`: they are neighbours.
    fn merge(&mut self, a: u32, b: u32, edge: bool) -> bool {
        let (a, b) = (self.find(a), self.find(b));
        if a == b || !self.good.contains(&a) || !self.good.contains(&b) {
            return false;
        }
        if self.around(a, b) || self.around(b, a) {
            return false;
        }
        let joined = self.graph.contains_edge(a, b) || self.graph.contains_edge(b, a);
        if edge != joined && edge {
            return false;
        }
        self.contract(a, b);
        true
    }

    /// Whether a path leads from `a` to `b` by way of something else.
    fn around(&self, a: u32, b: u32) -> bool {
        let mut dfs = Dfs::empty(&self.graph);
        dfs.stack = self.graph.neighbors(a).filter(|v| *v != b).collect();
        while let Some(v) = dfs.next(&self.graph) {
            if v == b {
                return true;
            }
        }
        false
    }
}
