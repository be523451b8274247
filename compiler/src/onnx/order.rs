//! Order of evaluation: files should list nodes so, but not all do.

use super::proto::{GraphProto, NodeProto};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// Names that the bodies of a node use from outside.
pub fn captured(node: &NodeProto) -> BTreeSet<&str> {
    let mut out = BTreeSet::new();
    for a in &node.attribute {
        for g in a.g.iter().map(|g| &**g).chain(&a.graphs) {
            free_names(g, &mut out);
        }
    }
    out
}

fn free_names<'g>(g: &'g GraphProto, out: &mut BTreeSet<&'g str>) {
    let mut used: BTreeSet<&str> = g.output.iter().map(|o| o.name.as_str()).collect();
    let mut defined: BTreeSet<&str> = g.input.iter().map(|i| i.name.as_str()).collect();
    defined.extend(g.initializer.iter().map(|t| t.name.as_str()));
    let sparse = g
        .sparse_initializer
        .iter()
        .filter_map(|t| t.values.as_ref());
    defined.extend(sparse.map(|t| t.name.as_str()));
    for n in &g.node {
        used.extend(n.input.iter().map(String::as_str));
        used.extend(captured(n));
        defined.extend(n.output.iter().map(String::as_str));
    }
    out.extend(
        used.into_iter()
            .filter(|u| !u.is_empty() && !defined.contains(u)),
    );
}

/// Indices of nodes in an order that can be evaluated, as close to the file's as possible; and the nodes of one cycle,
/// if there is any (the nodes behind it are left out of the order then). `known` are names that need no maker here.
pub fn sort(nodes: &[NodeProto], known: impl Fn(&str) -> bool) -> (Vec<usize>, Vec<usize>) {
    let mut maker: BTreeMap<&str, usize> = BTreeMap::new();
    for (i, n) in nodes.iter().enumerate() {
        for o in n.output.iter().filter(|o| !o.is_empty() && !known(o)) {
            // A second maker is reported when its output gets its name.
            maker.entry(o).or_insert(i);
        }
    }
    let mut users: Vec<Vec<usize>> = vec![vec![]; nodes.len()];
    let mut waits = vec![0usize; nodes.len()];
    for (i, n) in nodes.iter().enumerate() {
        let mut from: BTreeSet<usize> = BTreeSet::new();
        let names = n.input.iter().map(String::as_str).chain(captured(n));
        from.extend(names.filter_map(|x| maker.get(x).copied()));
        waits[i] = from.len();
        for f in from {
            users[f].push(i);
        }
    }
    let mut ready: BinaryHeap<std::cmp::Reverse<usize>> = (0..nodes.len())
        .filter(|&i| waits[i] == 0)
        .map(std::cmp::Reverse)
        .collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(std::cmp::Reverse(i)) = ready.pop() {
        order.push(i);
        for &u in &users[i] {
            waits[u] -= 1;
            if waits[u] == 0 {
                ready.push(std::cmp::Reverse(u));
            }
        }
    }
    let cycle = if order.len() == nodes.len() {
        vec![]
    } else {
        find_cycle(&waits, &users)
    };
    (order, cycle)
}

/// A cycle among the nodes that still wait: walking back from any of them must meet one.
fn find_cycle(waits: &[usize], users: &[Vec<usize>]) -> Vec<usize> {
    let mut before: Vec<Option<usize>> = vec![None; waits.len()];
    for (f, us) in users.iter().enumerate().filter(|(f, _)| waits[*f] > 0) {
        for &u in us.iter().filter(|u| waits[**u] > 0) {
            before[u].get_or_insert(f);
        }
    }
    let Some(mut at) = (0..waits.len()).find(|&i| waits[i] > 0) else {
        return vec![];
    };
    let mut seen = vec![false; waits.len()];
    let mut path = vec![];
    while !seen[at] {
        seen[at] = true;
        path.push(at);
        match before[at] {
            Some(b) => at = b,
            None => return path,
        }
    }
    let start = path.iter().position(|&p| p == at).unwrap_or(0);
    let mut cycle = path[start..].to_vec();
    cycle.reverse();
    let first = (0..cycle.len()).min_by_key(|&i| cycle[i]).unwrap_or(0);
    cycle.rotate_left(first);
    cycle
}
