//! What accelerators compute, for reports: regions with their borders and costs, and where every node runs and why.

use crate::base::dim::Symbols;
use crate::base::offload::{Offload, Place, Port};
use serde::Serialize;
use std::fmt::Write;

/// The part of a report that speaks of accelerators.
#[derive(Serialize)]
pub struct OffloadReport<'a> {
    accelerators: &'a [String],
    macs_offloaded: u64,
    macs: u64,
    share: f64,
    regions: Vec<RegionReport<'a>>,
    nodes: Vec<NodeReport<'a>>,
}

#[derive(Serialize)]
struct RegionReport<'a> {
    slot: u32,
    accelerator: &'a str,
    target: &'a str,
    required: bool,
    nodes: &'a [String],
    ops: usize,
    macs: u64,
    inputs: Vec<BorderReport<'a>>,
    outputs: Vec<BorderReport<'a>>,
    command_bytes: usize,
    constant_bytes: usize,
    device_bytes: u64,
    cycles: u64,
    device_ns: u64,
    border_bytes: u64,
    border_ns: u64,
    overhead_ns: u64,
    npu_ns: u64,
    cpu_ns: u64,
    gain: f64,
    timeout_ns: u64,
    golden: bool,
}

#[derive(Serialize)]
struct BorderReport<'a> {
    name: &'a str,
    ty: String,
    layout: &'static str,
    bytes: u64,
}

#[derive(Serialize)]
struct NodeReport<'a> {
    node: &'a str,
    op: &'a str,
    macs: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    why_cpu: Vec<WhyReport<'a>>,
}

#[derive(Serialize)]
struct WhyReport<'a> {
    accelerator: &'a str,
    reason: &'a str,
}

/// None where nothing was asked of accelerators.
pub fn report(o: &Offload) -> Option<OffloadReport<'_>> {
    if !o.asked() {
        return None;
    }
    let (on_device, all) = o.macs();
    Some(OffloadReport {
        accelerators: &o.accelerators,
        macs_offloaded: on_device,
        macs: all,
        share: share(on_device, all),
        regions: o
            .regions
            .iter()
            .map(|r| RegionReport {
                slot: r.slot,
                accelerator: &r.accelerator,
                target: &r.target,
                required: r.required,
                nodes: &r.nodes,
                ops: r.ops.len(),
                macs: r.macs,
                inputs: r.ins.iter().map(port).collect(),
                outputs: r.outs.iter().map(port).collect(),
                command_bytes: r.blob.len(),
                constant_bytes: r.constants.len(),
                device_bytes: r.device_bytes,
                cycles: r.cost.cycles,
                device_ns: r.cost.device_ns,
                border_bytes: r.cost.border_bytes,
                border_ns: r.cost.border_ns,
                overhead_ns: r.cost.overhead_ns,
                npu_ns: r.cost.npu_ns(),
                cpu_ns: r.cost.cpu_ns,
                gain: r.cost.gain(),
                timeout_ns: r.timeout_ns,
                golden: r.golden.is_some(),
            })
            .collect(),
        nodes: o
            .fates
            .iter()
            .map(|f| {
                let (region, why): (_, &[(String, String)]) = match &f.place {
                    Place::Device(slot) => (Some(*slot), &[]),
                    Place::Cpu(why) => (None, why),
                };
                NodeReport {
                    node: &f.node,
                    op: f.op,
                    macs: f.macs,
                    region,
                    why_cpu: (why.iter())
                        .map(|(a, r)| WhyReport {
                            accelerator: a,
                            reason: r,
                        })
                        .collect(),
                }
            })
            .collect(),
    })
}

fn port(p: &Port) -> BorderReport<'_> {
    BorderReport {
        name: &p.name,
        ty: p.ty.text(&Symbols::default()),
        layout: p.layout.name(),
        bytes: p.bytes(),
    }
}

fn share(part: u64, all: u64) -> f64 {
    if all == 0 {
        0.0
    } else {
        part as f64 / all as f64
    }
}

/// The same for a person.
pub fn text(o: &Offload) -> String {
    let (on_device, all) = o.macs();
    let mut out = String::new();
    let names = o.accelerators.join(", ");
    // Writing to a String can't fail.
    let _ = writeln!(
        out,
        "accelerators {names}: {} regions, {:.2}% of {all} multiply-accumulates",
        o.regions.len(),
        100.0 * share(on_device, all)
    );
    for r in &o.regions {
        let c = &r.cost;
        let list = |l: &[Port]| {
            let each = l
                .iter()
                .map(|p| format!("{} {}", p.ty.text(&Symbols::default()), p.layout.name()));
            each.collect::<Vec<_>>().join(", ")
        };
        let _ = writeln!(
            out,
            "region {} on {}{}: {} operators, {} MACs; in {}; out {}",
            r.slot,
            r.accelerator,
            if r.required { ", required" } else { "" },
            r.ops.len(),
            r.macs,
            list(&r.ins),
            list(&r.outs)
        );
        let _ = writeln!(
            out,
            "  {} cycles, {} B cross the border; {:.3} ms there (work {:.3}, border {:.3}, overhead {:.3}), {:.3} ms here: {:.1} times faster",
            c.cycles,
            c.border_bytes,
            c.npu_ns() as f64 / 1e6,
            c.device_ns as f64 / 1e6,
            c.border_ns as f64 / 1e6,
            c.overhead_ns as f64 / 1e6,
            c.cpu_ns as f64 / 1e6,
            c.gain()
        );
    }
    for f in &o.fates {
        if let Place::Cpu(why) = &f.place {
            let why: Vec<String> = why.iter().map(|(a, w)| format!("{a}: {w}")).collect();
            let _ = writeln!(out, "CPU {} \"{}\": {}", f.op, f.node, why.join("; "));
        }
    }
    out
}
