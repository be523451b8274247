//! What accelerators compute is cut out of the graph.
//!
//! For each accelerator in turn: which nodes it can compute, and why not the others ([`support`]); nodes that belong together because what lies
//! between them can't cross a border; maximal regions that no path leaves and enters again ([`regions`]); each of them cut out as one node with
//! the region as its body ([`cut`]), encoded, and kept where it pays ([`cost`]). The body is the CPU twin: later passes work inside it, and
//! the plan puts its layers in the place of the node. Every node has a fate with a reason; nothing falls back in silence.

mod cost;
mod cut;
mod golden;
mod regions;
mod support;

use crate::base::diag::{Diagnostic, Result};
use crate::base::offload::{Fate, Place, Region};
use crate::graph::ir::{Graph, NodeId};
use crate::npu::Accelerator;
use crate::pass::{Pass, PassCx};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The pass.
pub static PASS: Pass = Pass {
    name: "offload",
    doc: "cuts out what accelerators compute, each region with its CPU twin",
    run,
};

/// Times that a region is split where its accelerator refuses it as a whole.
const MAX_SPLITS: usize = 32;

/// Reasons by node: (accelerator, why not there).
type Reasons = BTreeMap<NodeId, Vec<(String, String)>>;

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    let request = cx.npu.clone();
    if request.accelerators.is_empty() {
        return Ok(());
    }
    let all: Vec<(NodeId, Fate)> = g.order().iter().map(|&n| (n, fate(g, n))).collect();
    let mut reasons = Reasons::new();
    let mut placed: BTreeMap<NodeId, u32> = BTreeMap::new();
    let required: BTreeSet<NodeId> = all
        .iter()
        .filter(|(n, _)| {
            (g.node(*n).loc.0.iter()).any(|l| request.required.iter().any(|p| matches(p, l)))
        })
        .map(|(n, _)| *n)
        .collect();
    for a in &request.accelerators {
        cx.offload.accelerators.push(a.options());
        if cx.edits >= cx.max_edits {
            for (n, _) in &all {
                let why = "optimization is off, or was stopped".to_string();
                reasons
                    .entry(*n)
                    .or_default()
                    .push((a.name().to_string(), why));
            }
            continue;
        }
        let mut o = Offloading {
            cx,
            accelerator: a.clone(),
            required: &required,
            reasons: &mut reasons,
            placed: &mut placed,
        };
        o.run(g)?;
    }
    for (n, mut f) in all {
        f.place = match placed.get(&n) {
            Some(slot) => Place::Device(*slot),
            None => Place::Cpu(reasons.remove(&n).unwrap_or_default()),
        };
        if required.contains(&n)
            && let Place::Cpu(why) = &f.place
        {
            let why: Vec<String> = why.iter().map(|(a, w)| format!("{a}: {w}")).collect();
            let text = format!("must run on an accelerator and can't: {}", why.join("; "));
            cx.diags.push(
                Diagnostic::unsupported("NPU001", text)
                    .at(format!("node \"{}\" ({})", f.node, f.op))
                    .help("--npu-required names it; another accelerator, or no requirement"),
            );
        }
        cx.offload.fates.push(f);
    }
    for (k, p) in request.required.iter().enumerate() {
        let met = cx
            .offload
            .fates
            .iter()
            .any(|f| f.node.split('+').any(|l| matches(p, l)));
        if !met && !request.required[..k].contains(p) {
            let text = format!("no node has a name like `{p}`");
            cx.diags.push(
                Diagnostic::usage("NPU002", text).help("names are those of the file's nodes"),
            );
        }
    }
    let none = cx.offload.regions.is_empty();
    if none {
        let names: Vec<&str> = request.accelerators.iter().map(|a| a.name()).collect();
        let text = format!(
            "nothing runs on {}: every node stays on the CPU; the report says why",
            names.join(", ")
        );
        cx.diags.push(Diagnostic::warning("NPU003", text));
    }
    Ok(())
}

fn fate(g: &Graph, n: NodeId) -> Fate {
    Fate {
        node: g.node(n).loc.to_string(),
        op: g.node(n).op.name,
        macs: cost::macs(g, n),
        place: Place::Cpu(vec![]),
    }
}

/// One accelerator's turn.
struct Offloading<'a, 'c, 'd> {
    cx: &'a mut PassCx<'c>,
    accelerator: Arc<dyn Accelerator>,
    required: &'d BTreeSet<NodeId>,
    reasons: &'d mut Reasons,
    placed: &'d mut BTreeMap<NodeId, u32>,
}

/// A region that was tried: what is put into the graph if it is kept.
struct Tried {
    nodes: Vec<NodeId>,
    cut: cut::Cut,
    region: Region,
    required: bool,
}

impl Offloading<'_, '_, '_> {
    fn run(&mut self, g: &mut Graph) -> Result<()> {
        let a = self.accelerator.clone();
        let mut table = support::Table::of(g, a.as_ref());
        let mut tried: Vec<Tried> = vec![];
        let mut splits = 0;
        // Regions that were encoded stay; where one is refused, the table knows more and the rest grows anew.
        let mut todo = regions::grow(g, &table, std::iter::empty());
        while let Some(nodes) = todo.pop() {
            if !nodes.iter().any(|n| table.works(*n)) {
                for n in nodes {
                    table.refuse(n, "data movement alone is not worth a device".into());
                }
                continue;
            }
            match self.attempt(g, &nodes)? {
                Ok(t) => tried.push(t),
                Err((at, why)) => {
                    splits += 1;
                    let inside: BTreeSet<NodeId> = nodes.iter().copied().collect();
                    match at.filter(|_| splits <= MAX_SPLITS) {
                        Some(n) => {
                            table.refuse(n, why);
                            table.keep_only(&inside);
                            let others = tried.iter().map(|t| &t.nodes).chain(&todo);
                            let more = regions::grow(g, &table, others.map(Vec::as_slice));
                            table.restore();
                            todo.extend(more);
                        }
                        None => nodes.iter().for_each(|n| table.refuse(*n, why.clone())),
                    }
                }
            }
        }
        let kept = self.judge(g, tried, &mut table);
        for (n, why) in table.reasons() {
            let of = self.reasons.entry(n).or_default();
            of.push((a.name().to_string(), why));
        }
        for t in kept {
            let slot = t.region.slot;
            for &n in &t.nodes {
                self.placed.insert(n, slot);
            }
            let golden = golden::make(&t.cut.body, self.cx.symbols, t.region.macs, &self.cx.npu)?;
            self.cx.offload.regions.push(Region { golden, ..t.region });
            self.cx.edit();
            t.cut.put(g, self.cx, slot, t.required)?;
        }
        Ok(())
    }

    /// Cuts out, encodes and prices.
    fn attempt(
        &mut self,
        g: &Graph,
        nodes: &[NodeId],
    ) -> Result<std::result::Result<Tried, (Option<NodeId>, String)>> {
        let a = self.accelerator.as_ref();
        let cut = cut::Cut::of(g, self.cx, a, nodes)?;
        let encoded = match a.encode(&cut.body) {
            Ok(e) => e,
            Err(r) => {
                let at = r.node.and_then(|n| cut.outer(n));
                return Ok(Err((at, format!("the encoder refuses it: {}", r.why))));
            }
        };
        let cost = cost::cost(g, nodes, &cut, &encoded, &a.speed(), &self.cx.cpu_rates);
        let required = nodes.iter().any(|n| self.required.contains(n));
        let macs = nodes.iter().map(|&n| cost::macs(g, n)).sum();
        let mut names = vec![];
        for l in nodes.iter().flat_map(|&n| &g.node(n).loc.0) {
            if !names.iter().any(|n| n == l.as_ref()) {
                names.push(l.to_string());
            }
        }
        Ok(Ok(Tried {
            nodes: nodes.to_vec(),
            required,
            region: Region {
                slot: 0,
                accelerator: a.name().to_string(),
                target: a.target(),
                required,
                nodes: names,
                ops: nodes.iter().map(|&n| g.node(n).op.name).collect(),
                macs,
                ins: cut.ports(true),
                outs: cut.ports(false),
                blob: encoded.blob,
                constants: encoded.constants,
                device_bytes: encoded.device_bytes,
                timeout_ns: cost::timeout(&cost, macs, &a.speed()),
                cost,
                golden: None,
            },
            cut,
        }))
    }

    /// Which regions are kept: those that pay, the best first, and those that must be; numbered in the order of the graph.
    fn judge(
        &mut self,
        g: &Graph,
        mut tried: Vec<Tried>,
        table: &mut support::Table,
    ) -> Vec<Tried> {
        let request = self.cx.npu.clone();
        let saved = |t: &Tried| t.region.cost.cpu_ns as i128 - t.region.cost.npu_ns() as i128;
        tried.sort_by_key(|t| (!t.required, -saved(t), t.nodes.first().copied()));
        let mut kept: Vec<Tried> = vec![];
        for t in tried {
            let gain = t.region.cost.gain();
            let why = if t.required {
                None
            } else if gain < request.min_gain {
                Some(format!(
                    "its region would take {} there and {} here: {gain:.2} times faster, {} are asked",
                    cost::time(t.region.cost.npu_ns()),
                    cost::time(t.region.cost.cpu_ns),
                    request.min_gain
                ))
            } else if kept.len() >= request.max_regions {
                Some(format!(
                    "{} regions that pay more are offloaded already",
                    kept.len()
                ))
            } else {
                None
            };
            match why {
                Some(why) => t.nodes.iter().for_each(|n| table.refuse(*n, why.clone())),
                None => kept.push(t),
            }
        }
        kept.sort_by_key(|t| t.nodes.iter().map(|&n| g.position(n)).min());
        let first = self.cx.offload.regions.len() as u32;
        for (k, t) in kept.iter_mut().enumerate() {
            t.region.slot = first + k as u32;
        }
        kept
    }
}

/// Whether a name is like a pattern, in which `*` stands for any letters.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|p| name.strip_prefix(p)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        assert!(matches("conv*", "conv1") && matches("*", "") && matches("a*c", "abc"));
        assert!(matches("a", "a") && !matches("a", "ab") && !matches("a*c", "abd"));
        assert!(matches("*/conv/*", "x/conv/1") && !matches("*b*b*", "abc"));
    }
}
