//! `inspect`: what a model is made of: layers, shapes, work, parameters and memory; and pictures of its graph.

use onnxc_compiler::Artifact;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::base::dim::Symbols;
use onnxc_compiler::base::types::TensorType;
use onnxc_compiler::graph::ir::{Graph, Model};
use serde_json::json;

use crate::args::flags::Inspect;
use crate::failure::{Outcome, Status};
use crate::files::Source;
use crate::job::Job;
use crate::machine::{self, Purpose};
use crate::outputs::{self, Outputs};
use crate::picture;
use crate::table::{Align, Table, bytes, count, thousands};
use crate::ui::Ui;
use crate::{account, advise};

/// Widest column.
const WIDEST: usize = 44;

/// Shows a model.
pub fn run(flags: &Inspect, ui: &Ui) -> Outcome {
    let source = Source::open(&flags.model, &flags.model_flags)?;
    let machine = machine::choose(&flags.target, Purpose::RunNow, ui)?;
    let job = Job::new(&source, &flags.model_flags, &flags.code, &machine, ui)?;
    let mut files = Outputs::default();
    let (text, model) = if flags.nodes {
        let model = job.load_typed()?;
        let text = match flags.json {
            true => nodes_json(&model),
            false => nodes(&model.graph, &model.symbols, source.bytes.len() as u64),
        };
        (text, model)
    } else {
        let (artifact, said) = job.compile_telling()?;
        let text = match flags.json {
            _ if flags.advise => advised(&advise::of(&artifact, &machine), flags.json)?,
            true => account::of(&artifact, &said).json()?,
            false if flags.symbols => account::symbols::text(&artifact),
            false => layers(&artifact),
        };
        if let Some(path) = &flags.html {
            let page = account::page::html(&account::of(&artifact, &said));
            files.add(path, page.as_bytes())?;
        }
        (text, artifact.model)
    };
    if let Some(path) = &flags.dot {
        files.add(path, picture::dot(&model).as_bytes())?;
    }
    if let Some(path) = &flags.svg {
        files.add(path, picture::svg(&model).as_bytes())?;
    }
    files.commit()?;
    outputs::print(&text)?;
    Ok(Status::Done)
}

fn advised(a: &advise::Advised, json: bool) -> Result<String> {
    if !json {
        return Ok(a.text());
    }
    let text = serde_json::to_string_pretty(a);
    Ok(text.map_err(|e| Diagnostic::internal(format!("advice is no JSON: {e}")))? + "\n")
}

fn layers(a: &Artifact) -> String {
    let info = &a.info;
    let p = &a.program;
    let mut table = Table::new(&[
        ("#", Align::Right),
        ("layer", Align::Left),
        ("operators", Align::Left),
        ("output", Align::Left),
        ("MACs", Align::Right),
        ("weights", Align::Right),
        ("code", Align::Right),
        ("kernel", Align::Left),
    ]);
    let dash = |n: u64, text: String| if n == 0 { "-".to_string() } else { text };
    for (k, ((_, layer), row)) in p.layers.iter().zip(&info.layers).enumerate() {
        let made: Vec<String> = layer.makes.iter().map(|m| m.1.text(&p.symbols)).collect();
        let name = layer
            .name
            .split_once('_')
            .map_or(layer.name.as_str(), |n| n.1);
        table.row(vec![
            k.to_string(),
            name.to_string(),
            row.op(),
            made.join(" "),
            dash(row.macs, count(row.macs)),
            dash(row.param_bytes, bytes(row.param_bytes)),
            dash(row.code_bytes, bytes(row.code_bytes)),
            row.kernels.join(" "),
        ]);
    }
    let macs: u64 = info
        .layers
        .iter()
        .map(|l| l.macs)
        .fold(0, u64::saturating_add);
    let mut out = format!("{} for {}, {}\n", info.model, info.triple, info.cpu_text());
    for (word, ports) in [("input", &info.inputs), ("output", &info.outputs)] {
        for port in ports {
            let dims: Vec<String> = port.shape.iter().map(|d| d.text(&info.symbols)).collect();
            out += &format!(
                "{word:<7} {} {}[{}]\n",
                port.name,
                port.dtype,
                dims.join(",")
            );
        }
    }
    for s in info.free_symbols() {
        let s = &info.symbols[s];
        out += &format!("dim     {} = {}..{}\n", s.name, s.lo, s.hi);
    }
    out.push('\n');
    out += &table.text(WIDEST);
    let weights: u64 = p.weights.iter().map(|w| w.1.len() as u64).sum();
    out += &format!(
        "\n{} layers, {} MACs per run\nweights {} bytes, code {} bytes\narena {} bytes (the largest moment needs {}), stack {} bytes\n",
        info.layers.len(),
        thousands(macs),
        thousands(weights),
        thousands(info.code_bytes),
        thousands(info.arena_bytes),
        thousands(p.peak_bytes),
        thousands(info.stack_bytes),
    );
    out
}

/// Outputs of a node as text.
fn made(g: &Graph, n: onnxc_compiler::graph::ir::NodeId, symbols: &Symbols) -> Vec<String> {
    let text = |t: Option<&TensorType>| t.map_or("?".to_string(), |t| t.text(symbols));
    g.node(n).outs.iter().map(|v| text(g.ty(*v))).collect()
}

fn params(g: &Graph, n: onnxc_compiler::graph::ir::NodeId) -> u64 {
    let constants = g.node(n).ins.iter().flatten().filter_map(|v| g.konst(*v));
    constants.map(|t| t.len() as u64).sum()
}

fn nodes(g: &Graph, symbols: &Symbols, size: u64) -> String {
    let mut table = Table::new(&[
        ("#", Align::Right),
        ("node", Align::Left),
        ("operator", Align::Left),
        ("outputs", Align::Left),
        ("constants", Align::Right),
    ]);
    let mut total = 0;
    for (k, n) in g.order().iter().enumerate() {
        let node = g.node(*n);
        let p = params(g, *n);
        total += p;
        table.row(vec![
            k.to_string(),
            node.loc.to_string(),
            node.op.name.to_string(),
            made(g, *n, symbols).join(" "),
            if p == 0 { "-".into() } else { count(p) },
        ]);
    }
    format!(
        "{}\n{}\n{} nodes, {} constant elements, {} bytes in the file\n",
        g.name,
        table.text(WIDEST),
        g.order().len(),
        thousands(total),
        thousands(size)
    )
}

fn nodes_json(m: &Model) -> String {
    let g = &m.graph;
    let list: Vec<_> = g
        .order()
        .iter()
        .map(|n| {
            let node = g.node(*n);
            json!({
                "node": node.loc.to_string(), "op": node.op.name,
                "outputs": made(g, *n, &m.symbols), "constant_elements": params(g, *n),
            })
        })
        .collect();
    json!({"model": g.name, "nodes": list}).to_string() + "\n"
}
