//! The account of a compilation: what was made, layer by layer, how its memory is used over time, and what was said.
//!
//! One structure ([`Account`]) is the JSON report (`docs/report.schema.json` is its published form) and what the page is made of. No
//! paths, no times: equal models give equal accounts.

pub mod flow;
pub mod page;
pub mod symbols;

use std::path::Path;

use onnxc_compiler::Artifact;
use onnxc_compiler::artifact::ModelInfo;
use onnxc_compiler::base::diag::{Diagnostic, Kind, Result};
use serde::Serialize;

use crate::bench::layers::moved;
use flow::{Flow, Space};

/// Version of the form of the JSON report. It grows where a program that reads reports could stumble: where something goes, or means
/// something else. What is new comes without.
pub const VERSION: u32 = 1;

/// All that is known of a compilation.
#[derive(Serialize)]
pub struct Account<'a> {
    /// The form of the report.
    pub schema_version: u32,
    /// What descriptor, header and module say too; of several levels `layers` has those of all.
    #[serde(flatten)]
    pub info: &'a ModelInfo,
    /// The layers of one run, in order; of several levels those of the best.
    pub run: Vec<Layer>,
    /// The arena over time.
    pub memory: Memory,
    /// Functions that layers run in: what `perf` shows.
    pub symbols: Vec<symbols::Symbol>,
    /// What was said: remarks and warnings.
    pub remarks: Vec<Remark>,
    /// The program that was replayed.
    #[serde(skip)]
    pub flow: Flow,
}

/// A layer of a run.
#[derive(Serialize)]
pub struct Layer {
    /// Its symbol in the object.
    pub symbol: String,
    /// The step at which it runs.
    pub step: usize,
    /// Values that it makes.
    pub outputs: Vec<Value>,
    /// Symbols of layers whose values it reads, and `input:NAME` for inputs of the model.
    pub after: Vec<String>,
    /// In which numbers it computes.
    pub precision: String,
    /// Element type of its largest weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_type: Option<&'static str>,
    /// Bytes of values that it reads and writes, each once.
    pub value_bytes: u64,
    /// Bytes of weights that it reads.
    pub weight_bytes: u64,
    /// Number of the accelerator's region that it stands in for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<usize>,
}

/// A value.
#[derive(Serialize)]
pub struct Value {
    /// Its name in the graph.
    pub name: String,
    /// Element type and shape: `f32[1,16]`.
    pub r#type: String,
}

/// The arena over time.
#[derive(Serialize)]
pub struct Memory {
    /// Steps of a run.
    pub steps: usize,
    /// Bytes at the start of the arena that the program itself uses.
    pub symbol_bytes: u64,
    /// The most bytes that are held at once: no plan can do with less, in this order of layers.
    pub peak_bytes: u64,
    /// The step at which that is.
    pub peak_step: usize,
    /// What lies in it, in the order in which it is written.
    pub buffers: Vec<Buffer>,
}

/// What lies in the arena for some steps.
#[derive(Serialize)]
pub struct Buffer {
    /// Name of the value; none for memory that only one layer uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Element type and shape.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
    /// Symbol of the layer that writes it.
    pub layer: String,
    /// First byte in the arena.
    pub offset: u64,
    /// Bytes.
    pub bytes: u64,
    /// The step that writes it.
    pub first_step: usize,
    /// The last step that reads it.
    pub last_step: usize,
}

/// Something that was said.
#[derive(Serialize)]
pub struct Remark {
    /// `remark` or `warning`.
    pub level: &'static str,
    /// Code; `docs/diagnostics.md` says what it means.
    pub code: &'static str,
    /// Where; empty if the whole model is meant.
    pub location: String,
    /// What.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

/// The account of a compilation, with what was said while it was done.
pub fn of<'a>(a: &'a Artifact, said: &[Diagnostic]) -> Account<'a> {
    let (p, info) = (&a.program, &a.info);
    let flow = flow::of(p);
    let symbol = |k: usize| {
        info.run()
            .get(k)
            .map_or(String::new(), |l| l.symbol.clone())
    };
    let run = (p.layers.iter().zip(&flow.layers).enumerate())
        .map(|(k, ((_, layer), link))| {
            let (value_bytes, weight_bytes) = moved(p, layer);
            let makers = link.reads.iter().map(|q| &flow.pieces[*q]);
            let mut after: Vec<String> = vec![];
            for q in makers {
                let from = match (q.maker, &q.value) {
                    (Some(m), _) => symbol(m),
                    (None, Some((name, _))) => format!("input:{name}"),
                    (None, None) => continue,
                };
                if !after.contains(&from) {
                    after.push(from);
                }
            }
            let made = layer.makes.iter().map(|(name, ty, _)| Value {
                name: name.clone(),
                r#type: ty.text(&p.symbols),
            });
            let at = k as u32;
            let region = (info.region_layers.iter()).position(|r| (r.0..r.1).contains(&at));
            Layer {
                symbol: symbol(k),
                step: link.step,
                outputs: made.collect(),
                after,
                precision: flow::precision(link),
                weight_type: link.weights.map(|d| d.name()),
                value_bytes,
                weight_bytes,
                region,
            }
        })
        .collect();
    let held = flow.held();
    // The last of equals: of several moments with as much, that with the most behind it.
    let peak = (0..held.len()).max_by_key(|k| held[*k]).unwrap_or(0);
    let arena = flow.pieces.iter().filter(|q| q.space == Space::Arena);
    let buffers = arena.map(|q| Buffer {
        name: q.value.as_ref().map(|v| v.0.clone()),
        r#type: q.value.as_ref().map(|v| v.1.clone()),
        layer: q.maker.map_or(String::new(), symbol),
        offset: q.from,
        bytes: q.to - q.from,
        first_step: q.first,
        last_step: q.last,
    });
    let memory = Memory {
        steps: flow.steps,
        symbol_bytes: p.symbol_bytes(),
        peak_bytes: p.peak_bytes,
        peak_step: peak,
        buffers: buffers.collect(),
    };
    let remarks = said.iter().filter(|d| !d.is_error()).map(|d| Remark {
        level: match d.kind {
            Kind::Warning => "warning",
            _ => "remark",
        },
        code: d.code,
        location: d.loc.clone(),
        message: d.message.clone(),
        help: d.help.clone(),
    });
    Account {
        schema_version: VERSION,
        info,
        run,
        memory,
        symbols: symbols::of(a),
        remarks: remarks.collect(),
        flow,
    }
}

/// Whether a report of this name is a page; an error if it is neither that nor JSON.
pub fn page_or_json(path: &Path) -> Result<bool> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("html" | "htm") => Ok(true),
        Some("json") => Ok(false),
        _ => Err(Diagnostic::usage(
            "USE001",
            format!("`{}` says not what to write", path.display()),
        )
        .help("a report ends in .html or .json")),
    }
}

impl Account<'_> {
    /// As a page or as JSON, by the ending of a file's name.
    pub fn by_ending(&self, path: &Path) -> Result<String> {
        match page_or_json(path)? {
            true => Ok(page::html(self)),
            false => self.json(),
        }
    }

    /// As JSON, indented, with a line break at the end.
    pub fn json(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self);
        let text = text.map_err(|e| Diagnostic::internal(format!("a report is no JSON: {e}")))?;
        Ok(text + "\n")
    }
}
