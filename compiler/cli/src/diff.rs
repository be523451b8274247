//! `diff`: what changed between two builds, by their JSON reports.
//!
//! Layers are the same if they compute the same ONNX nodes; those without a name are known by their operators and their place among
//! layers like them. What is compared is what a report says: no file but the two is read.

use std::collections::BTreeMap;
use std::path::Path;

use onnxc_compiler::base::diag::{Diagnostic, Result};
use serde::{Deserialize, Serialize};

use crate::account::VERSION;
use crate::args::reports::Diff;
use crate::failure::{Outcome, Status, file_error};
use crate::outputs;
use crate::report::chart::short;
use crate::table::{Align, Table, thousands};

/// Widest column.
const WIDEST: usize = 60;

/// Says what changed.
pub fn run(flags: &Diff) -> Outcome {
    let changes = compare(&read(&flags.before)?, &read(&flags.after)?);
    outputs::print(&match flags.json {
        true => {
            let text = serde_json::to_string_pretty(&changes);
            text.map_err(|e| Diagnostic::internal(format!("changes are no JSON: {e}")))? + "\n"
        }
        false => changes.text(),
    })?;
    match flags.exit_code && !changes.same {
        true => Ok(Status::Failed),
        false => Ok(Status::Done),
    }
}

/// What is read of a report.
#[derive(Deserialize, Debug, Default, Clone)]
pub struct Report {
    model: String,
    target: String,
    cpu: String,
    features: Vec<String>,
    arena_bytes: u64,
    weights_bytes: u64,
    code_bytes: u64,
    stack_bytes: u64,
    macs: u64,
    threads: u64,
    content_digest: String,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    layers: Vec<Made>,
    run: Vec<Ran>,
    memory: Memory,
    remarks: Vec<Remark>,
}

#[derive(Deserialize, Debug, Default, Clone)]
struct Port {
    name: String,
    dtype: String,
    shape: Vec<String>,
}

#[derive(Deserialize, Debug, Default, Clone)]
struct Made {
    symbol: String,
    op: String,
    nodes: Vec<String>,
    kernels: Vec<String>,
    macs: u64,
    param_bytes: u64,
    code_bytes: u64,
}

#[derive(Deserialize, Debug, Default, Clone)]
struct Ran {
    symbol: String,
    precision: String,
    outputs: Vec<Value>,
}

#[derive(Deserialize, Debug, Default, Clone)]
struct Value {
    r#type: String,
}

#[derive(Deserialize, Debug, Default, Clone)]
struct Memory {
    peak_bytes: u64,
}

#[derive(Deserialize, Debug, Default, Clone)]
struct Remark {
    code: String,
    location: String,
    message: String,
}

/// Reads a report; one of another form is an error that says so.
pub fn read(path: &Path) -> Result<Report> {
    let text = std::fs::read_to_string(path).map_err(|e| file_error("read", path, e))?;
    let bad = |why: String| {
        Diagnostic::usage(
            "USE002",
            format!("`{}` is no report of onnxc: {why}", path.display()),
        )
        .help("`onnxc m.onnx --emit report` or `--report FILE.json` writes one")
    };
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
    match value["schema_version"].as_u64() {
        Some(v) if v == u64::from(VERSION) => {}
        Some(v) => {
            return Err(bad(format!(
                "its form has version {v}, this program reads version {VERSION}"
            )));
        }
        None => return Err(bad("it has no `schema_version`".into())),
    }
    serde_json::from_value(value).map_err(|e| bad(e.to_string()))
}

/// Before and after.
#[derive(Serialize, Debug, Clone, PartialEq)]
pub struct Pair<T> {
    /// In the first build.
    pub before: T,
    /// In the second.
    pub after: T,
}

impl<T: PartialEq> Pair<T> {
    fn differs(&self) -> bool {
        self.before != self.after
    }
}

/// What changed.
#[derive(Serialize, Debug)]
pub struct Changes {
    /// Whether nothing did.
    pub same: bool,
    /// Target, CPU and whatever else is no size; only what changed.
    pub settings: BTreeMap<&'static str, Pair<String>>,
    /// All sizes.
    pub sizes: Vec<Size>,
    /// Layers of the second build alone.
    pub added: Vec<String>,
    /// Layers of the first build alone.
    pub removed: Vec<String>,
    /// Layers of both that differ.
    pub changed: Vec<Changed>,
    /// Remarks of the second build alone.
    pub remarks_added: Vec<String>,
    /// Remarks of the first build alone.
    pub remarks_removed: Vec<String>,
}

/// A size.
#[derive(Serialize, Debug)]
pub struct Size {
    /// Of what.
    pub name: &'static str,
    /// How large.
    #[serde(flatten)]
    pub bytes: Pair<u64>,
}

/// A layer that changed.
#[derive(Serialize, Debug)]
pub struct Changed {
    /// Its name in the second build.
    pub layer: String,
    /// The nodes that it computes.
    pub nodes: Vec<String>,
    /// What of it.
    pub what: BTreeMap<&'static str, Pair<String>>,
}

struct Row<'a> {
    made: &'a Made,
    ran: &'a Ran,
}

/// Layers of a run by what they compute.
fn rows(r: &Report) -> Vec<((String, usize), Row<'_>)> {
    let made: BTreeMap<&str, &Made> = r.layers.iter().map(|l| (l.symbol.as_str(), l)).collect();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut out = vec![];
    for ran in &r.run {
        let Some(made) = made.get(ran.symbol.as_str()) else {
            continue;
        };
        let what = match made.nodes.is_empty() {
            true => format!("({})", made.op),
            false => made.nodes.join("\n"),
        };
        let n = seen.entry(what.clone()).or_default();
        *n += 1;
        out.push(((what, *n), Row { made, ran }));
    }
    out
}

fn ports(list: &[Port]) -> String {
    let each = list
        .iter()
        .map(|p| format!("{} {}[{}]", p.name, p.dtype, p.shape.join(",")));
    each.collect::<Vec<_>>().join(", ")
}

/// Compares two reports.
pub fn compare(a: &Report, b: &Report) -> Changes {
    let settings = [
        ("model", a.model.clone(), b.model.clone()),
        ("target", a.target.clone(), b.target.clone()),
        ("cpu", a.cpu.clone(), b.cpu.clone()),
        ("features", a.features.join(","), b.features.join(",")),
        ("threads", a.threads.to_string(), b.threads.to_string()),
        ("inputs", ports(&a.inputs), ports(&b.inputs)),
        ("outputs", ports(&a.outputs), ports(&b.outputs)),
        (
            "weights_digest",
            a.content_digest.clone(),
            b.content_digest.clone(),
        ),
    ];
    let settings: BTreeMap<_, _> = (settings.into_iter())
        .map(|(name, before, after)| (name, Pair { before, after }))
        .filter(|(_, p)| p.differs())
        .collect();
    let sizes: Vec<Size> = [
        ("arena", a.arena_bytes, b.arena_bytes),
        ("arena_peak", a.memory.peak_bytes, b.memory.peak_bytes),
        ("weights", a.weights_bytes, b.weights_bytes),
        ("code", a.code_bytes, b.code_bytes),
        ("stack", a.stack_bytes, b.stack_bytes),
        ("macs", a.macs, b.macs),
        ("layers", a.run.len() as u64, b.run.len() as u64),
    ]
    .into_iter()
    .map(|(name, before, after)| Size {
        name,
        bytes: Pair { before, after },
    })
    .collect();
    let (old, new) = (rows(a), rows(b));
    let find: BTreeMap<&(String, usize), &Row> = old.iter().map(|(k, r)| (k, r)).collect();
    let kept: BTreeMap<&(String, usize), ()> = new.iter().map(|(k, _)| (k, ())).collect();
    let mut added = vec![];
    let mut changed = vec![];
    for (key, row) in &new {
        match find.get(key) {
            None => added.push(named(row)),
            Some(before) => changed.extend(changes(before, row)),
        }
    }
    let gone = old.iter().filter(|(k, _)| !kept.contains_key(k));
    let removed: Vec<String> = gone.map(|(_, r)| named(r)).collect();
    let said = |r: &Report| -> Vec<String> {
        let one = |m: &Remark| format!("{} {} {}", m.code, m.location, m.message);
        r.remarks.iter().map(one).collect()
    };
    let (first, second) = (said(a), said(b));
    let not_in = |list: &[String], other: &[String]| -> Vec<String> {
        let new = list.iter().filter(|m| !other.contains(m));
        new.cloned().collect()
    };
    let mut c = Changes {
        same: false,
        settings,
        sizes,
        added,
        removed,
        changed,
        remarks_added: not_in(&second, &first),
        remarks_removed: not_in(&first, &second),
    };
    c.same = c.settings.is_empty()
        && c.sizes.iter().all(|s| !s.bytes.differs())
        && [&c.added, &c.removed, &c.remarks_added, &c.remarks_removed]
            .iter()
            .all(|l| l.is_empty())
        && c.changed.is_empty();
    c
}

fn named(r: &Row) -> String {
    let nodes = match r.made.nodes.is_empty() {
        true => String::new(),
        false => format!(": {}", r.made.nodes.join(", ")),
    };
    format!("{} ({}){nodes}", r.made.symbol, r.made.op)
}

fn changes(a: &Row, b: &Row) -> Option<Changed> {
    let types = |r: &Row| {
        let all: Vec<&str> = r.ran.outputs.iter().map(|v| v.r#type.as_str()).collect();
        all.join(" ")
    };
    let what = [
        ("operators", a.made.op.clone(), b.made.op.clone()),
        ("kernel", a.made.kernels.join(" "), b.made.kernels.join(" ")),
        (
            "precision",
            a.ran.precision.clone(),
            b.ran.precision.clone(),
        ),
        ("outputs", types(a), types(b)),
        ("macs", a.made.macs.to_string(), b.made.macs.to_string()),
        (
            "weights",
            a.made.param_bytes.to_string(),
            b.made.param_bytes.to_string(),
        ),
        (
            "code",
            a.made.code_bytes.to_string(),
            b.made.code_bytes.to_string(),
        ),
    ];
    let what: BTreeMap<_, _> = (what.into_iter())
        .map(|(name, before, after)| (name, Pair { before, after }))
        .filter(|(_, p)| p.differs())
        .collect();
    (!what.is_empty()).then(|| Changed {
        layer: b.made.symbol.clone(),
        nodes: b.made.nodes.clone(),
        what,
    })
}

/// `+3.2%`.
fn relative(p: &Pair<u64>) -> String {
    match (p.before, p.after) {
        (a, b) if a == b => "=".into(),
        (0, _) => "new".into(),
        (a, b) => format!("{:+.1}%", 100.0 * (b as f64 / a as f64 - 1.0)),
    }
}

impl Changes {
    /// For people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let or_none = |t: &str| if t.is_empty() { "-" } else { t }.to_string();
        for (name, p) in &self.settings {
            out += &format!("{name}: {} -> {}\n", or_none(&p.before), or_none(&p.after));
        }
        if !self.settings.is_empty() {
            out.push('\n');
        }
        let mut table = Table::new(&[
            ("", Align::Left),
            ("before", Align::Right),
            ("after", Align::Right),
            ("change", Align::Right),
        ]);
        for s in &self.sizes {
            table.row(vec![
                s.name.replace('_', " "),
                thousands(s.bytes.before),
                thousands(s.bytes.after),
                relative(&s.bytes),
            ]);
        }
        out += &table.text(WIDEST);
        let lists = [("added", &self.added), ("removed", &self.removed)];
        for (word, list) in lists {
            if !list.is_empty() {
                out += &format!("\nlayers {word}: {}\n", list.len());
            }
            // Some tools write names of hundreds of characters; the JSON has them whole.
            for l in list {
                out += &format!("  {}\n", short(l, 2 * WIDEST));
            }
        }
        if !self.changed.is_empty() {
            out += &format!("\nlayers changed: {}\n", self.changed.len());
        }
        for c in &self.changed {
            let what: Vec<String> = (c.what.iter())
                .map(|(n, p)| format!("{n} {} -> {}", or_none(&p.before), or_none(&p.after)))
                .collect();
            out += &format!("  {}: {}\n", c.layer, what.join("; "));
        }
        let lists = [
            ("new", &self.remarks_added),
            ("gone", &self.remarks_removed),
        ];
        for (word, list) in lists {
            if !list.is_empty() {
                out += &format!("\nremarks {word}: {}\n", list.len());
            }
            for l in list {
                out += &format!("  {l}\n");
            }
        }
        if self.same {
            out += "\nThe builds are the same.\n";
        }
        out
    }
}
