//! What a region costs on the device and here.
//!
//! There: cycles of the encoded commands, the bytes that cross the border, and what it takes to start and to wait. Here: products and bytes at the
//! rates of our kernels. The rates are those of the machine's cost table; they rank, they do not predict.

use super::cut::Cut;
use crate::base::dim::Symbols;
use crate::base::offload::Cost;
use crate::graph::ir::{Graph, NodeId, ValueId};
use crate::npu::{CpuRates, Encoded, Speed};

/// Times the estimate, and at least half a second: what is slower counts as lost.
const PATIENCE: u64 = 50;
const LEAST_TIMEOUT: u64 = 500_000_000;

/// The cost of a region.
pub fn cost(
    g: &Graph,
    nodes: &[NodeId],
    cut: &Cut,
    encoded: &Encoded,
    speed: &Speed,
    cpu: &CpuRates,
) -> Cost {
    let border_bytes = cut.border_bytes();
    Cost {
        cycles: encoded.cycles,
        device_ns: scaled(encoded.cycles, speed.hertz),
        border_bytes,
        border_ns: scaled(border_bytes, speed.bytes_per_second),
        overhead_ns: speed.overhead_ns,
        cpu_ns: nodes.iter().map(|&n| here(g, n, cpu)).sum::<f64>() as u64,
    }
}

/// Nanoseconds of so many things at so many a second.
fn scaled(amount: u64, per_second: u64) -> u64 {
    let ns = u128::from(amount) * 1_000_000_000 / u128::from(per_second.max(1));
    u64::try_from(ns).unwrap_or(u64::MAX)
}

/// Nanoseconds of a node on the CPU.
fn here(g: &Graph, n: NodeId, cpu: &CpuRates) -> f64 {
    let node = g.node(n);
    let size = |v: ValueId| {
        let ty = g.ty(v).filter(|_| g.konst(v).is_none());
        ty.map_or(0, |t| t.max_bytes(&Symbols::default())) as f64
    };
    let ins: f64 = node.ins.iter().flatten().map(|&v| size(v)).sum();
    let outs: f64 = node.outs.iter().map(|&v| size(v)).sum();
    let macs = macs(g, n) as f64;
    let depthwise = node.attrs.int("group", 1) > 1;
    let mac = if depthwise {
        cpu.depthwise_mac
    } else {
        cpu.mac
    };
    // What follows sums runs in the same loops.
    let moved = if macs > 0.0 {
        0.0
    } else {
        (ins + outs) * cpu.byte
    };
    let call = if macs > 0.0 { cpu.call } else { 0.0 };
    call + macs * mac + moved
}

/// Multiply-accumulates of a node, at the largest sizes.
pub fn macs(g: &Graph, n: NodeId) -> u64 {
    let node = g.node(n);
    let shape = |k: usize| {
        let v = node.ins.get(k).copied().flatten()?;
        g.ty(v)?.fixed_shape()
    };
    let Some(out) = node.outs.first().and_then(|&v| g.ty(v)?.fixed_shape()) else {
        return 0;
    };
    let depth = match node.op.name {
        "Conv" | "ConvInteger" | "QLinearConv" => {
            let at = if node.op.name == "QLinearConv" { 3 } else { 1 };
            shape(at).and_then(|w| w.get(1..).map(|r| r.iter().product()))
        }
        "MatMul" | "MatMulInteger" => shape(0).and_then(|a| a.last().copied()),
        "Gemm" => {
            let axis = if node.attrs.flag("transA") { 0 } else { 1 };
            shape(0).and_then(|a| a.get(axis).copied())
        }
        _ => None,
    };
    let products: i64 = out.iter().product();
    depth.map_or(0, |d: i64| products.saturating_mul(d).max(0) as u64)
}

/// Nanoseconds after which a run counts as lost.
pub fn timeout(cost: &Cost, macs: u64, speed: &Speed) -> u64 {
    let slowest = cost.npu_ns().max(cost.cpu_ns);
    let own = scaled(macs, speed.least_macs_per_second);
    slowest.saturating_mul(PATIENCE).max(LEAST_TIMEOUT).max(own)
}

/// A time for a person.
pub fn time(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} us", ns as f64 / 1e3),
        _ => format!("{:.2} ms", ns as f64 / 1e6),
    }
}
