//! What a compilation came to: as JSON for programs and as a table for people. No paths, no times: equal models give
//! equal reports.

use super::info::{ModelInfo, Port};
use serde::Serialize;
use std::fmt::Write;

#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    prefix: &'a str,
    target: &'a str,
    cpu: &'a str,
    features: &'a [String],
    abi_version: u32,
    arena_bytes: u64,
    arena_align: u32,
    weights_bytes: u64,
    weights_align: u32,
    weights_placement: &'static str,
    layout_digest: String,
    content_digest: String,
    stack_bytes: u64,
    threads: u32,
    code_bytes: u64,
    macs: u64,
    inputs: Vec<PortReport<'a>>,
    outputs: Vec<PortReport<'a>>,
    dims: Vec<DimReport<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    levels: Vec<LevelReport<'a>>,
    layers: Vec<LayerReport<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offload: Option<super::report_offload::OffloadReport<'a>>,
}

#[derive(Serialize)]
struct LevelReport<'a> {
    cpu: &'a str,
    features: &'a [String],
    cpu_level: u32,
    arena_bytes: u64,
    weights_bytes: u64,
    code_bytes: u64,
    first_layer: usize,
    num_layers: usize,
}

#[derive(Serialize)]
struct PortReport<'a> {
    name: &'a str,
    c_name: &'a str,
    dtype: &'static str,
    shape: Vec<String>,
    max_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    quant: Option<QuantReport<'a>>,
}

#[derive(Serialize)]
struct QuantReport<'a> {
    axis: Option<usize>,
    scales: &'a [f32],
    zero_points: &'a [i32],
}

#[derive(Serialize)]
struct DimReport<'a> {
    name: &'a str,
    min: i64,
    max: i64,
}

#[derive(Serialize)]
struct LayerReport<'a> {
    symbol: &'a str,
    op: String,
    nodes: &'a [String],
    kernels: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    query: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    candidates: Vec<CandidateReport<'a>>,
    macs: u64,
    param_bytes: u64,
    code_bytes: u64,
}

/// A kernel that could have been chosen, and what it costs by the target's table.
#[derive(Serialize)]
struct CandidateReport<'a> {
    kernel: &'a str,
    cost: f64,
}

impl Serialize for ModelInfo {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        report_of(self).serialize(s)
    }
}

fn report_of(info: &ModelInfo) -> Report<'_> {
    Report {
        model: &info.model,
        prefix: &info.prefix,
        target: &info.triple,
        cpu: &info.cpu,
        features: &info.features,
        abi_version: onnxc_abi::ABI_VERSION,
        arena_bytes: info.arena_bytes,
        arena_align: info.arena_align,
        weights_bytes: info.weights_bytes,
        weights_align: info.weights_align,
        weights_placement: info.placement.name(),
        layout_digest: hex(&info.layout_digest),
        content_digest: hex(&info.content_digest),
        stack_bytes: info.stack_bytes,
        threads: info.threads,
        code_bytes: info.code_bytes,
        macs: total(info, |l| l.macs),
        inputs: info.inputs.iter().map(|p| port_of(info, p)).collect(),
        outputs: info.outputs.iter().map(|p| port_of(info, p)).collect(),
        dims: (info.free_symbols().iter())
            .map(|s| DimReport {
                name: &info.symbols[*s].name,
                min: info.symbols[*s].lo,
                max: info.symbols[*s].hi,
            })
            .collect(),
        levels: (info.levels.iter())
            .map(|l| LevelReport {
                cpu: &l.cpu,
                features: &l.features,
                cpu_level: l.needs,
                arena_bytes: l.arena_bytes,
                weights_bytes: l.weights_bytes,
                code_bytes: l.code_bytes,
                first_layer: l.layers.0,
                num_layers: l.layers.1,
            })
            .collect(),
        offload: super::report_offload::report(&info.offload),
        layers: (info.layers.iter())
            .map(|l| LayerReport {
                symbol: &l.symbol,
                op: l.op(),
                nodes: &l.nodes,
                kernels: &l.kernels,
                query: &l.choice.0,
                candidates: (l.choice.1.iter())
                    .map(|(kernel, cost)| CandidateReport {
                        kernel,
                        cost: *cost,
                    })
                    .collect(),
                macs: l.macs,
                param_bytes: l.param_bytes,
                code_bytes: l.code_bytes,
            })
            .collect(),
    }
}

fn port_of<'a>(info: &ModelInfo, p: &'a Port) -> PortReport<'a> {
    PortReport {
        name: &p.name,
        c_name: &p.c_name,
        dtype: p.dtype.name(),
        shape: p.shape.iter().map(|d| d.text(&info.symbols)).collect(),
        max_bytes: p.max_bytes,
        quant: p.quant.as_ref().map(|q| QuantReport {
            axis: q.axis,
            scales: &q.scales,
            zero_points: &q.zero_points,
        }),
    }
}

/// Of one run.
fn total(info: &ModelInfo, of: impl Fn(&super::LayerInfo) -> u64) -> u64 {
    info.run().iter().map(of).fold(0, u64::saturating_add)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The report as JSON, indented, with a line break at the end.
pub fn json(info: &ModelInfo) -> String {
    // Strings, numbers and lists always serialize; scales that are no numbers become null.
    serde_json::to_string_pretty(info)
        .map(|s| s + "\n")
        .unwrap_or_default()
}

/// The report for people: what the model needs, then a row per layer.
pub fn table(info: &ModelInfo) -> String {
    let mut out = String::new();
    let mut line = |name: &str, text: String| {
        // Writing to a String can't fail.
        let _ = writeln!(out, "{name:<8} {text}");
    };
    line("model", format!("{} ({}_run)", info.model, info.prefix));
    line("target", format!("{}, {}", info.triple, info.cpu_text()));
    for (name, ports) in [("input", &info.inputs), ("output", &info.outputs)] {
        for p in ports {
            let dims: Vec<String> = p.shape.iter().map(|d| d.text(&info.symbols)).collect();
            line(name, format!("{} {}[{}]", p.name, p.dtype, dims.join(",")));
        }
    }
    for s in info.free_symbols() {
        let s = &info.symbols[s];
        line("dim", format!("{} = {}..{}", s.name, s.lo, s.hi));
    }
    line(
        "arena",
        format!(
            "{} bytes, aligned to {}",
            grouped(info.arena_bytes),
            info.arena_align
        ),
    );
    line(
        "weights",
        format!(
            "{} bytes ({})",
            grouped(info.weights_bytes),
            info.placement.name()
        ),
    );
    line("code", format!("{} bytes", grouped(info.code_bytes)));
    line("stack", format!("{} bytes", grouped(info.stack_bytes)));
    line("threads", info.threads.to_string());
    let mut rows =
        vec![["layer", "operators", "kernels", "MACs", "weights", "code"].map(String::from)];
    for l in &info.layers {
        rows.push([
            l.symbol.clone(),
            l.op(),
            l.kernels.join(" "),
            grouped(l.macs),
            grouped(l.param_bytes),
            grouped(l.code_bytes),
        ]);
    }
    rows.push([
        "total".into(),
        format!("{} layers", info.layers.len()),
        String::new(),
        grouped(total(info, |l| l.macs)),
        grouped(total(info, |l| l.param_bytes)),
        grouped(total(info, |l| l.code_bytes)),
    ]);
    let widths: Vec<usize> = (0..6)
        .map(|c| rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0))
        .collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).enumerate();
        let cells: Vec<String> = cells
            .map(|(c, (text, w))| {
                if c < 3 {
                    format!("{text:<w$}")
                } else {
                    format!("{text:>w$}")
                }
            })
            .collect();
        out.push('\n');
        out.push_str(cells.join("  ").trim_end());
    }
    out.push('\n');
    out
}

// 1234567 as "1,234,567".
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::info::sample;

    #[test]
    fn json_has_the_contract() {
        let v: serde_json::Value = serde_json::from_str(&json(&sample())).unwrap();
        assert_eq!(v["arena_bytes"], 4096);
        assert_eq!(v["macs"], 9000);
        assert_eq!(v["inputs"][0]["shape"][1], "N");
        assert_eq!(v["inputs"][1]["quant"]["zero_points"][1], -3);
        assert_eq!(v["layers"][1]["op"], "Conv+Relu");
    }

    #[test]
    fn table_is_aligned() {
        let text = table(&sample());
        assert!(
            text.contains("arena    4,096 bytes, aligned to 64"),
            "{text}"
        );
        assert!(
            text.contains("\nspeech_001_conv_relu  Conv+Relu  conv_f32  9,000      144   300\n"),
            "{text}"
        );
    }
}
