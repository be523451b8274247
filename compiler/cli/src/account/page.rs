//! The account of a compilation as a page.

use std::collections::BTreeMap;

use onnxc_compiler::artifact::LayerInfo;

use super::{Account, Layer};
use crate::picture::{self, Drawing, Item, Kind};
use crate::report::{self, Bars, Memory, MemoryBar, Page, Part, Table, Zoom};
use crate::table::{Align, bytes, count, thousands};

/// Name of the rows of layers, for links.
const ROWS: &str = "layer";
/// Bars of a chart, at most.
const BARS: usize = 30;

/// The page as HTML.
pub fn html(a: &Account) -> String {
    report::html(&page(a))
}

/// The page.
pub fn page(a: &Account) -> Page {
    let heading = |t: &str| Part::Heading(t.into());
    let text = |t: &str| Part::Text(t.into());
    let mut parts = vec![
        Part::Facts(facts(a)),
        heading("Graph"),
        text(
            "Layers as they run, from top to bottom. A coloured box computes in whole numbers; a thick border is a region of an accelerator. A click leads to the layer's row.",
        ),
        Part::Zoom(graph(a)),
        heading("Layers"),
        Part::Rows(ROWS.into(), layers(a)),
        heading("Where the work is"),
        work(a),
        heading("Memory"),
        text(
            "The arena from its first byte (top) to its last, over the steps of a run: each bar is a buffer, from the step that writes it to the last that reads it. The second \
             colour is memory that one layer alone uses. Where several buffers share bytes, as parts of a Concat do, colours add up.",
        ),
        Part::Memory(memory(a)),
        heading("Precision"),
        Part::Table(precision(a)),
    ];
    if a.info.offload.asked() {
        parts.push(heading("Accelerators"));
        parts.extend(crate::npu::parts(&a.info.offload));
    }
    if !a.info.levels.is_empty() {
        parts.push(heading("Levels of CPU"));
        parts.push(Part::Table(levels(a)));
    }
    parts.push(heading("Remarks"));
    parts.push(match a.remarks.is_empty() {
        true => text("None."),
        false => Part::Table(remarks(a)),
    });
    Page {
        title: format!("{}, compiled", a.info.prefix),
        parts,
    }
}

/// A layer, and what the object has of it.
fn rows<'a>(a: &'a Account) -> impl Iterator<Item = (usize, &'a Layer, &'a LayerInfo)> {
    let both = a.run.iter().zip(a.info.run());
    both.enumerate().map(|(k, (l, i))| (k, l, i))
}

fn facts(a: &Account) -> Vec<(String, String)> {
    let info = a.info;
    let mut list: Vec<(String, String)> = vec![
        ("model".into(), info.model.clone()),
        (
            "target".into(),
            format!("{}, {}", info.triple, info.cpu_text()),
        ),
    ];
    for (word, ports) in [("input", &info.inputs), ("output", &info.outputs)] {
        for p in ports {
            let dims: Vec<String> = p.shape.iter().map(|d| d.text(&info.symbols)).collect();
            let text = format!("{} {}[{}]", p.name, p.dtype, dims.join(","));
            list.push((word.into(), text));
        }
    }
    for s in info.free_symbols() {
        let s = &info.symbols[s];
        list.push((
            "free size".into(),
            format!("{} = {}..{}", s.name, s.lo, s.hi),
        ));
    }
    let sum = |of: &dyn Fn(&LayerInfo) -> u64| {
        let all = info.run().iter().map(of);
        all.fold(0, u64::saturating_add)
    };
    let size = |n: u64| format!("{} bytes", thousands(n));
    list.extend([
        (
            "layers".into(),
            format!(
                "{}, {} multiply-accumulates a run",
                info.run().len(),
                thousands(sum(&|l| l.macs))
            ),
        ),
        (
            "weights".into(),
            format!("{} ({})", size(info.weights_bytes), info.placement.name()),
        ),
        ("code".into(), size(info.code_bytes)),
        (
            "arena".into(),
            format!(
                "{}; the largest moment needs {}",
                size(info.arena_bytes),
                thousands(a.memory.peak_bytes)
            ),
        ),
        (
            "stack".into(),
            format!("{} at most", size(info.stack_bytes)),
        ),
        ("threads".into(), info.threads.to_string()),
    ]);
    list
}

/// The name without its number.
fn short(symbol: &str, prefix: &str) -> String {
    let own = symbol.strip_prefix(prefix).unwrap_or(symbol);
    own.trim_start_matches('_').to_string()
}

fn types(l: &Layer) -> String {
    let all: Vec<&str> = l.outputs.iter().map(|v| v.r#type.as_str()).collect();
    match all.is_empty() {
        true => "a part of a value".into(),
        false => all.join(" "),
    }
}

fn whole(l: &Layer) -> bool {
    l.precision.starts_with("int")
}

fn graph(a: &Account) -> Zoom {
    let mut d = Drawing {
        items: vec![],
        edges: vec![],
    };
    let ports = |list: &[onnxc_compiler::artifact::Port], kind: Kind| -> Vec<Item> {
        let text = |p: &onnxc_compiler::artifact::Port| {
            let dims: Vec<String> = p.shape.iter().map(|d| d.text(&a.info.symbols)).collect();
            format!("{}[{}]", p.dtype, dims.join(","))
        };
        let all = list.iter().map(|p| Item::new(&p.name, text(p), kind));
        all.collect()
    };
    d.items.extend(ports(&a.info.inputs, Kind::Input));
    let first = d.items.len();
    for (k, l, i) in rows(a) {
        let hint = format!(
            "{}: {}\n{}\n{} MACs, {} of weights, {}\n{}",
            l.symbol,
            i.op(),
            types(l),
            count(i.macs),
            bytes(i.param_bytes),
            l.precision,
            i.kernels.join(" ")
        );
        d.items.push(Item {
            region: l.region.map(|r| r as i64),
            link: Some(format!("{ROWS}-{k}")),
            marked: whole(l),
            hint: Some(hint.trim_end().to_string()),
            ..Item::new(format!("{k} {}", i.op()), types(l), Kind::Node)
        });
    }
    let last = d.items.len();
    d.items.extend(ports(&a.info.outputs, Kind::Output));
    let flow = &a.flow;
    let from = |q: usize| match (flow.pieces[q].maker, flow.pieces[q].space) {
        (Some(m), _) => Some(first + m),
        (None, super::Space::Input(k)) => Some(k as usize),
        _ => None,
    };
    let into = flow.layers.iter().enumerate();
    let into = into.map(|(k, l)| (first + k, &l.reads));
    let results = flow.results.iter().enumerate();
    let results = results.map(|(k, pieces)| (last + k, pieces));
    for (to, pieces) in into.chain(results) {
        // Round a loop an arrow would lead back.
        let back = |f: &usize| *f < to;
        let sources = pieces.iter().filter_map(|q| from(*q)).filter(back);
        d.edges.extend(sources.map(|f| (f, to, String::new())));
    }
    d.edges.sort();
    d.edges.dedup();
    let (elements, size) = picture::elements(&d, false);
    Zoom {
        name: "graph".into(),
        elements,
        size,
        title: "Layers".into(),
    }
}

fn columns(list: &[(&str, Align)]) -> Vec<(String, Align)> {
    list.iter().map(|c| (c.0.to_string(), c.1)).collect()
}

fn layers(a: &Account) -> Table {
    use Align::{Left, Right};
    let some = |n: u64, text: String| if n == 0 { "-".to_string() } else { text };
    Table {
        columns: columns(&[
            ("#", Right),
            ("layer", Left),
            ("operators", Left),
            ("output", Left),
            ("precision", Left),
            ("MACs", Right),
            ("values", Right),
            ("weights", Right),
            ("code", Right),
            ("kernel", Left),
            ("nodes", Left),
        ]),
        rows: rows(a)
            .map(|(k, l, i)| {
                vec![
                    k.to_string(),
                    short(&l.symbol, &a.info.prefix),
                    i.op(),
                    types(l),
                    l.precision.clone(),
                    some(i.macs, count(i.macs)),
                    bytes(l.value_bytes),
                    some(i.param_bytes, bytes(i.param_bytes)),
                    match i.code_bytes {
                        0 => "shared".into(),
                        n => bytes(n),
                    },
                    i.kernels.join(" "),
                    i.nodes.join(", "),
                ]
            })
            .collect(),
    }
}

fn work(a: &Account) -> Part {
    let total: u64 = rows(a).map(|r| r.2.macs).fold(0, u64::saturating_add);
    let mut most: Vec<_> = rows(a).filter(|r| r.2.macs > 0).collect();
    most.sort_by_key(|r| std::cmp::Reverse(r.2.macs));
    if most.is_empty() {
        return Part::Text("No layer adds up products.".into());
    }
    let bar = |(_, l, i): &(usize, &Layer, &LayerInfo)| {
        let share = 100.0 * i.macs as f64 / total.max(1) as f64;
        (short(&l.symbol, &a.info.prefix), share, 0.0)
    };
    Part::Bars(Bars {
        title: "per cent of all multiply-accumulates".into(),
        bars: most.iter().take(BARS).map(bar).collect(),
    })
}

fn memory(a: &Account) -> Memory {
    let prefix = &a.info.prefix;
    let mut bars = vec![MemoryBar {
        name: "the program's own".into(),
        detail: bytes(a.memory.symbol_bytes),
        bytes: a.memory.symbol_bytes,
        last: a.memory.steps.saturating_sub(1),
        ..MemoryBar::default()
    }];
    bars.extend(a.memory.buffers.iter().map(|b| {
        let layer = short(&b.layer, prefix);
        let scratch = b.name.is_none();
        MemoryBar {
            name: match &b.name {
                Some(name) => name.clone(),
                None => format!("scratch of {layer}"),
            },
            detail: format!(
                "{}\n{} at {}, steps {} to {}, by {layer}",
                b.r#type.as_deref().unwrap_or(""),
                bytes(b.bytes),
                b.offset,
                b.first_step,
                b.last_step
            ),
            at: b.offset,
            bytes: b.bytes,
            first: b.first_step,
            last: b.last_step,
            scratch,
        }
    }));
    Memory {
        bytes: a.info.arena_bytes,
        steps: a.memory.steps,
        bars,
        peak: a.memory.peak_step,
    }
}

fn precision(a: &Account) -> Table {
    use Align::{Left, Right};
    let mut kinds: BTreeMap<&str, (u64, u64, u64)> = BTreeMap::new();
    for (_, l, i) in rows(a) {
        let k = kinds.entry(&l.precision).or_default();
        k.0 += 1;
        k.1 = k.1.saturating_add(i.macs);
        k.2 = k.2.saturating_add(i.param_bytes);
    }
    let macs: u64 = kinds.values().map(|k| k.1).fold(0, u64::saturating_add);
    Table {
        columns: columns(&[
            ("numbers", Left),
            ("layers", Right),
            ("MACs", Right),
            ("% of MACs", Right),
            ("weights", Right),
        ]),
        rows: (kinds.iter())
            .map(|(name, k)| {
                vec![
                    name.to_string(),
                    k.0.to_string(),
                    count(k.1),
                    format!("{:.1}", 100.0 * k.1 as f64 / macs.max(1) as f64),
                    bytes(k.2),
                ]
            })
            .collect(),
    }
}

fn levels(a: &Account) -> Table {
    use Align::{Left, Right};
    Table {
        columns: columns(&[
            ("CPU", Left),
            ("layers", Right),
            ("code", Right),
            ("weights", Right),
            ("arena", Right),
        ]),
        rows: (a.info.levels.iter())
            .map(|l| {
                vec![
                    l.cpu.clone(),
                    l.layers.1.to_string(),
                    bytes(l.code_bytes),
                    bytes(l.weights_bytes),
                    bytes(l.arena_bytes),
                ]
            })
            .collect(),
    }
}

/// Remarks; what was said of several places is one row.
fn remarks(a: &Account) -> Table {
    use Align::{Left, Right};
    let mut rows: Vec<(&super::Remark, usize)> = vec![];
    for r in &a.remarks {
        let like = |o: &&mut (&super::Remark, usize)| {
            o.0.code == r.code && o.0.message == r.message && o.0.help == r.help
        };
        match rows.iter_mut().find(like) {
            Some(o) => o.1 += 1,
            None => rows.push((r, 1)),
        }
    }
    Table {
        columns: columns(&[
            ("level", Left),
            ("code", Left),
            ("times", Right),
            ("what", Left),
            ("where", Left),
            ("what to do", Left),
        ]),
        rows: (rows.iter())
            .map(|(r, times)| {
                vec![
                    r.level.into(),
                    r.code.into(),
                    times.to_string(),
                    r.message.clone(),
                    match times {
                        1 => r.location.clone(),
                        _ => format!("{}, and others", r.location),
                    },
                    r.help.clone(),
                ]
            })
            .collect(),
    }
}
