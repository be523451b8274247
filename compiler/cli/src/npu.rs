//! Accelerators, as flags ask for them: what the compiler is told, and what a report says of the outcome.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use onnxc_compiler::Artifact;
use onnxc_compiler::artifact::report_offload;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::base::offload::{Offload, Place};
use onnxc_compiler::npu::Request;

use crate::args::npu::NpuFlags;
use crate::outputs::Outputs;
use crate::picture;
use crate::report::{Bars, Page, Part, Table};
use crate::table::Align;
use crate::twin;

/// What the compiler is asked for.
pub fn request(flags: &NpuFlags) -> Result<Request> {
    let mut request = Request {
        required: flags.npu_required.clone(),
        twin: Some(Arc::new(twin::Here)),
        // Where the twin can't run here the interpreter does, however long that takes: objects are the same on every host.
        golden_macs: u64::MAX,
        ..Request::default()
    };
    for text in &flags.npu {
        let a = onnxc_targets::npu::find(text)?;
        if request.accelerators.iter().any(|b| b.name() == a.name()) {
            let text = format!("the accelerator `{}` is named twice", a.name());
            return Err(Diagnostic::usage("USE001", text));
        }
        request.accelerators.push(a);
    }
    if let Some(gain) = flags.npu_min_gain {
        request.min_gain = gain;
    }
    if let Some(n) = flags.npu_max_regions {
        request.max_regions = n as usize;
    }
    Ok(request)
}

/// What is said when a compilation is done: one remark.
pub fn remark(o: &Offload) -> Box<Diagnostic> {
    let (on_device, all) = o.macs();
    let cpu = o.fates.iter().filter(|f| matches!(f.place, Place::Cpu(_)));
    let share = 100.0 * on_device as f64 / all.max(1) as f64;
    let text = format!(
        "{} of {} nodes run on the CPU; {} on {} {share:.2}% of the multiply-accumulates",
        cpu.count(),
        o.fates.len(),
        match o.regions.len() {
            1 => "one region".to_string(),
            n => format!("{n} regions"),
        },
        format_args!(
            "{} {}",
            o.accelerators.join(", "),
            if o.regions.len() == 1 { "has" } else { "have" }
        ),
    );
    Diagnostic::remark("NPU005", text).help("--npu-report FILE says what runs where, and why")
}

/// Writes the report: HTML, JSON or text, by the ending.
pub fn write(path: &Path, artifact: &Artifact) -> Result<()> {
    let o = &artifact.info.offload;
    let text = match path.extension().and_then(|e| e.to_str()) {
        Some("html" | "htm") => crate::report::html(&page(artifact)),
        Some("json") => {
            let report = serde_json::to_string_pretty(&report_offload::report(o));
            report.map_err(|e| Diagnostic::internal(format!("a report can't be written: {e}")))?
                + "\n"
        }
        _ => report_offload::text(o),
    };
    let mut files = Outputs::default();
    files.add(path, text.as_bytes())?;
    files.commit()
}

fn page(artifact: &Artifact) -> Page {
    let mut parts = parts(&artifact.info.offload);
    parts.push(Part::Heading("Graph".into()));
    parts.push(Part::Picture(picture::svg(&artifact.model)));
    Page {
        title: format!("{}: what runs where", artifact.info.model),
        parts,
    }
}

/// What runs where, as parts of a page.
pub fn parts(o: &Offload) -> Vec<Part> {
    let ms = |ns: u64| format!("{:.4}", ns as f64 / 1e6);
    let (on_device, all) = o.macs();
    let mut regions = Table {
        columns: [
            "region",
            "accelerator",
            "operators",
            "MACs",
            "border bytes",
            "cycles",
            "there, ms",
            "here, ms",
            "gain",
        ]
        .map(|c| (c.to_string(), Align::Right))
        .to_vec(),
        rows: vec![],
    };
    for r in &o.regions {
        let c = &r.cost;
        regions.rows.push(vec![
            r.slot.to_string(),
            r.accelerator.clone() + if r.required { " (required)" } else { "" },
            r.ops.len().to_string(),
            r.macs.to_string(),
            c.border_bytes.to_string(),
            c.cycles.to_string(),
            ms(c.npu_ns()),
            ms(c.cpu_ns),
            format!("{:.1}", c.gain()),
        ]);
    }
    let mut nodes = Table {
        columns: ["node", "operator", "MACs", "where", "why"]
            .map(|c| (c.to_string(), Align::Left))
            .to_vec(),
        rows: vec![],
    };
    for f in &o.fates {
        let (place, why) = match &f.place {
            Place::Device(slot) => (format!("region {slot}"), String::new()),
            Place::Cpu(why) => {
                let mut text = String::new();
                for (k, (a, w)) in why.iter().enumerate() {
                    // Writing to a String can't fail.
                    let _ = write!(text, "{}{a}: {w}", if k > 0 { "; " } else { "" });
                }
                ("CPU".to_string(), text)
            }
        };
        nodes.rows.push(vec![
            f.node.clone(),
            f.op.to_string(),
            f.macs.to_string(),
            place,
            why,
        ]);
    }
    let bars = o.regions.iter().map(|r| {
        let ns = r.cost.npu_ns().max(1);
        let own = r.cost.device_ns as f64 / ns as f64;
        (format!("region {}", r.slot), ns as f64 / 1e6, own)
    });
    vec![
        Part::Facts(vec![
            ("accelerators".into(), o.accelerators.join(", ")),
            ("regions".into(), o.regions.len().to_string()),
            (
                "multiply-accumulates".into(),
                format!("{on_device} of {all} on accelerators"),
            ),
        ]),
        Part::Heading("Regions".into()),
        Part::Table(regions),
        Part::Bars(Bars {
            title: "estimated time of a region, ms; marked: the device's own work".into(),
            bars: bars.collect(),
        }),
        Part::Heading("Nodes".into()),
        Part::Table(nodes),
    ]
}
