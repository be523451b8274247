//! Pictures of a graph: for Graphviz, and as SVG by a small layered layout of our own.
//!
//! Both show nodes with operator and name, edges with types, and leave constants out. The SVG needs no program to make
//! it, has no script and no font of its own, and reads on light and dark pages.

use std::collections::BTreeMap;
use std::fmt::Write;

use onnxc_compiler::base::dim::Symbols;
use onnxc_compiler::graph::ir::{Graph, Model, ValueId};

/// A box of the picture.
pub struct Item {
    /// Its first line.
    pub title: String,
    /// Its second.
    pub detail: String,
    /// What it stands for.
    pub kind: Kind,
    /// The region of an accelerator that it is in.
    pub region: Option<i64>,
    /// Where a click leads: the name of a place on the same page.
    pub link: Option<String>,
    /// Whether it is set off by colour.
    pub marked: bool,
    /// What a pointer over it shows, if not the two lines.
    pub hint: Option<String>,
}

/// What a box stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An input of the model.
    Input,
    /// An output of the model.
    Output,
    /// What is computed.
    Node,
}

impl Item {
    /// A plain one.
    pub fn new(title: impl Into<String>, detail: impl Into<String>, kind: Kind) -> Item {
        Item {
            title: title.into(),
            detail: detail.into(),
            kind,
            region: None,
            link: None,
            marked: false,
            hint: None,
        }
    }
}

/// Boxes in an order in which all arrows lead forward, and arrows with their labels.
pub struct Drawing {
    /// Boxes.
    pub items: Vec<Item>,
    /// From, to, label.
    pub edges: Vec<(usize, usize, String)>,
}

fn drawing(g: &Graph, symbols: &Symbols) -> Drawing {
    let mut d = Drawing {
        items: Vec::new(),
        edges: Vec::new(),
    };
    let mut maker: BTreeMap<ValueId, usize> = BTreeMap::new();
    let ty = |v: ValueId| g.ty(v).map_or(String::new(), |t| t.text(symbols));
    let border = |v: ValueId, kind| Item::new(g.value(v).name.clone(), ty(v), kind);
    for v in &g.inputs {
        maker.insert(*v, d.items.len());
        d.items.push(border(*v, Kind::Input));
    }
    d.nodes(g, symbols, &mut maker, None);
    for v in g.outputs() {
        let to = d.items.len();
        d.items.push(border(*v, Kind::Output));
        if let Some(from) = maker.get(v) {
            d.edges.push((*from, to, ty(*v)));
        }
    }
    d.edges.sort();
    d.edges.dedup();
    d
}

impl Drawing {
    /// The nodes of a graph; a region of an accelerator is drawn as what is in it. `maker`: the box that each value comes from.
    fn nodes(
        &mut self,
        g: &Graph,
        symbols: &Symbols,
        maker: &mut BTreeMap<ValueId, usize>,
        region: Option<i64>,
    ) {
        let ty = |v: ValueId| g.ty(v).map_or(String::new(), |t| t.text(symbols));
        for n in g.order() {
            let node = g.node(*n);
            if let ("Offload", [body]) = (node.op.name, node.bodies.as_slice()) {
                let outer = node.ins.iter().map(|v| maker.get(&(*v)?).copied());
                let named = body.inputs.iter().copied().zip(outer);
                let mut inner: BTreeMap<ValueId, usize> =
                    named.filter_map(|(v, m)| Some((v, m?))).collect();
                self.nodes(body, symbols, &mut inner, Some(node.attrs.int("slot", 0)));
                for (&v, out) in body.outputs().iter().zip(&node.outs) {
                    if let Some(&from) = inner.get(&v) {
                        maker.insert(*out, from);
                    }
                }
                continue;
            }
            let to = self.items.len();
            let constants: Vec<String> = (node.ins.iter().flatten())
                .filter(|v| g.konst(**v).is_some_and(|t| t.shape.len() > 1))
                .map(|v| ty(*v))
                .collect();
            let mut detail = node.loc.to_string();
            if !constants.is_empty() {
                detail = format!("{detail} {}", constants.join(" "));
            }
            self.items.push(Item {
                region,
                ..Item::new(node.op.name, detail.trim(), Kind::Node)
            });
            for v in node.ins.iter().flatten() {
                if let Some(from) = maker.get(v) {
                    self.edges.push((*from, to, ty(*v)));
                }
            }
            for v in &node.outs {
                maker.insert(*v, to);
            }
        }
    }
}

/// Colours of regions, in turn: background and border.
const REGIONS: [(&str, &str); 4] = [
    ("#fdf0d5", "#b7791f"),
    ("#f3e8fd", "#7b3fb5"),
    ("#d9f2f0", "#1f7f78"),
    ("#fde2e7", "#b03a5b"),
];

fn colours(region: i64) -> (&'static str, &'static str) {
    REGIONS[region.rem_euclid(REGIONS.len() as i64) as usize]
}

/// The graph in Graphviz's language.
pub fn dot(m: &Model) -> String {
    let d = drawing(&m.graph, &m.symbols);
    let quote = |s: &str| s.replace('\\', "\\\\").replace('"', "\\\"");
    let mut out = format!("digraph \"{}\" {{\n", quote(&m.graph.name));
    out += "  node [shape=box, style=rounded, fontname=\"sans-serif\", fontsize=11];\n";
    out += "  edge [fontname=\"sans-serif\", fontsize=9];\n";
    for (i, item) in d.items.iter().enumerate() {
        let shape = if item.kind == Kind::Node {
            ""
        } else {
            ", shape=ellipse"
        };
        let colour = item.region.map_or(String::new(), |r| {
            let (fill, line) = colours(r);
            format!(", style=\"rounded,filled\", fillcolor=\"{fill}\", color=\"{line}\"")
        });
        let _ = writeln!(
            out,
            "  n{i} [label=\"{}\\n{}\"{shape}{colour}];",
            quote(&item.title),
            quote(&shorten(&item.detail, 60))
        );
    }
    for (from, to, label) in &d.edges {
        let _ = writeln!(out, "  n{from} -> n{to} [label=\"{}\"];", quote(label));
    }
    out + "}\n"
}

const ROW: f64 = 74.0;
const GAP: f64 = 28.0;
const HEIGHT: f64 = 40.0;
/// Width of an average character of the detail line.
const CHAR: f64 = 6.2;
/// The same of the title.
const TITLE_CHAR: f64 = 7.6;
/// Longest line in a box.
const LINE: usize = 34;

/// A box, or the place where an arrow passes a row.
struct Spot {
    item: Option<usize>,
    row: usize,
    width: f64,
    x: f64,
}

/// The graph as SVG.
pub fn svg(m: &Model) -> String {
    let (elements, (width, height)) = elements(&drawing(&m.graph, &m.symbols), true);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" font-family=\"sans-serif\">\n<style>\n\
         .b{{fill:#eef3fb;stroke:#4a6fa5}}.i{{fill:#e8f6ec;stroke:#3c8d5a}}.o{{fill:#fbeeee;stroke:#a54a4a}}\n\
         .t{{font-size:13px;fill:#111}}.d{{font-size:10px;fill:#444}}\n\
         .e{{fill:none;stroke:#888;stroke-width:1.2}}.l{{font-size:9px;fill:#777}}\n</style>\n\
         <title>{}</title>\n{elements}</svg>\n",
        escape(&m.graph.name)
    )
}

/// The elements of a picture, and its width and height. `alone`: with colours of its own; else a page's style has them, and regions differ by
/// their border alone.
pub fn elements(d: &Drawing, alone: bool) -> (String, (f64, f64)) {
    let (mut spots, rows, paths) = layers(d);
    place(&mut spots, &rows, &paths);
    let width = spots.iter().map(|s| s.x + s.width).fold(200.0, f64::max) + GAP;
    let height = rows.len() as f64 * ROW + GAP;
    let mut out = String::new();
    let mid = |s: &Spot| s.x + s.width / 2.0;
    for (path, _) in &paths {
        let mut line = String::new();
        for (k, i) in path.iter().enumerate() {
            let s = &spots[*i];
            let top = s.row as f64 * ROW + GAP / 2.0;
            let (x, bottom) = (mid(s), top + HEIGHT);
            if k == 0 {
                let _ = write!(line, "M{x:.0} {bottom:.0}");
                continue;
            }
            let before = &spots[path[k - 1]];
            let start = before.row as f64 * ROW + GAP / 2.0 + HEIGHT;
            let half = f64::midpoint(start, top);
            let _ = write!(
                line,
                "C{:.0} {half:.0} {x:.0} {half:.0} {x:.0} {top:.0}",
                mid(before)
            );
            if s.item.is_none() {
                let _ = write!(line, "V{bottom:.0}");
            }
        }
        let _ = writeln!(out, "<path class=\"e\" d=\"{line}\"/>");
    }
    out += &labels(&spots, &paths);
    for s in &spots {
        let Some(i) = s.item else { continue };
        let item = &d.items[i];
        let y = s.row as f64 * ROW + GAP / 2.0;
        let (class, round) = match item.kind {
            Kind::Node if item.marked => ("q", 5),
            Kind::Node => ("b", 5),
            Kind::Input => ("i", 20),
            Kind::Output => ("o", 20),
        };
        let (colour, place) = match item.region {
            Some(r) => {
                let (fill, line) = colours(r);
                (
                    match alone {
                        true => format!(" style=\"fill:{fill};stroke:{line}\""),
                        false => format!(" style=\"stroke:{line};stroke-width:3\""),
                    },
                    format!(" (region {r})"),
                )
            }
            None => Default::default(),
        };
        let (open, close) = match &item.link {
            Some(to) => (format!("<a href=\"#{}\">", escape(to)), "</a>"),
            None => (String::new(), ""),
        };
        let hint = match &item.hint {
            Some(text) => escape(text),
            None => format!("{} {}", escape(&item.title), escape(&item.detail)),
        };
        let _ = writeln!(
            out,
            "<g>{open}<title>{hint}{place}</title><rect class=\"{class}\"{colour} x=\"{:.0}\" y=\"{y:.0}\" width=\"{:.0}\" height=\"{HEIGHT}\" rx=\"{round}\"/>",
            s.x, s.width
        );
        for (class, dy, text) in [("t", 17.0, &item.title), ("d", 32.0, &item.detail)] {
            let _ = writeln!(
                out,
                "<text class=\"{class}\" x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
                mid(s),
                y + dy,
                escape(&shorten(text, LINE))
            );
        }
        let _ = writeln!(out, "{close}</g>");
    }
    (out, (width, height))
}

/// Labels of arrows. A value that goes to several places is named once, below its box; several values of one box are named
/// above where they go.
fn labels(spots: &[Spot], paths: &[Path]) -> String {
    let mut out = String::new();
    let mid = |s: &Spot| s.x + s.width / 2.0;
    let mut named: BTreeMap<usize, Vec<&String>> = BTreeMap::new();
    for (path, label) in paths {
        let list = named.entry(path[0]).or_default();
        if !list.contains(&label) {
            list.push(label);
        }
    }
    let mut text = |x: f64, y: f64, label: &str| {
        if label.is_empty() {
            return;
        }
        let label = escape(label);
        let _ = writeln!(
            out,
            "<text class=\"l\" x=\"{x:.0}\" y=\"{y:.0}\">{label}</text>"
        );
    };
    for (source, list) in &named {
        if let [one] = list.as_slice() {
            let s = &spots[*source];
            let y = s.row as f64 * ROW + GAP / 2.0 + HEIGHT;
            text(mid(s) + 4.0, y + 11.0, one);
        }
    }
    for (path, label) in paths {
        if named.get(&path[0]).is_some_and(|l| l.len() > 1)
            && let Some(last) = path.last()
        {
            let s = &spots[*last];
            text(mid(s) + 4.0, s.row as f64 * ROW + GAP / 2.0 - 3.0, label);
        }
    }
    out
}

type Path = (Vec<usize>, String);

/// Rows by the longest way from an input; an arrow over several rows gets a spot in each.
fn layers(d: &Drawing) -> (Vec<Spot>, Vec<Vec<usize>>, Vec<Path>) {
    let mut row = vec![0usize; d.items.len()];
    // Items stand in an order in which all arrows lead forward.
    let mut edges: Vec<&(usize, usize, String)> = d.edges.iter().collect();
    edges.sort_by_key(|e| e.1);
    for (from, to, _) in edges {
        row[*to] = row[*to].max(row[*from] + 1);
    }
    // An input stands just above its first user, and an output below everything.
    let last = row.iter().copied().max().unwrap_or(0);
    for (i, item) in d.items.iter().enumerate() {
        match item.kind {
            Kind::Output => row[i] = last,
            Kind::Input => {
                let users = d.edges.iter().filter(|e| e.0 == i).map(|e| row[e.1]);
                row[i] = users.min().map_or(0, |r| r.saturating_sub(1));
            }
            Kind::Node => {}
        }
    }
    let mut rows: Vec<Vec<usize>> = vec![Vec::new(); last + 1];
    let mut spots: Vec<Spot> = Vec::new();
    for (i, item) in d.items.iter().enumerate() {
        let chars = |text: &str| text.chars().count().min(LINE) as f64;
        let longest = (chars(&item.title) * TITLE_CHAR).max(chars(&item.detail) * CHAR);
        spots.push(Spot {
            item: Some(i),
            row: row[i],
            width: (longest + 18.0).max(60.0),
            x: 0.0,
        });
        rows[row[i]].push(i);
    }
    let mut paths = Vec::new();
    for (from, to, label) in &d.edges {
        let mut path = vec![*from];
        for (r, list) in rows
            .iter_mut()
            .enumerate()
            .take(row[*to])
            .skip(row[*from] + 1)
        {
            list.push(spots.len());
            path.push(spots.len());
            spots.push(Spot {
                item: None,
                row: r,
                width: 10.0,
                x: 0.0,
            });
        }
        path.push(*to);
        paths.push((path, label.clone()));
    }
    (spots, rows, paths)
}

/// Orders each row by where its neighbours lie, then moves boxes towards them without overlap.
fn place(spots: &mut [Spot], rows: &[Vec<usize>], paths: &[Path]) {
    let mut near: Vec<Vec<usize>> = vec![Vec::new(); spots.len()];
    for (path, _) in paths {
        for pair in path.windows(2) {
            near[pair[0]].push(pair[1]);
            near[pair[1]].push(pair[0]);
        }
    }
    let mut rows = rows.to_vec();
    let center = |s: &Spot| s.x + s.width / 2.0;
    let pack = |spots: &mut [Spot], row: &[usize]| {
        let mut x = GAP;
        for i in row {
            spots[*i].x = x;
            x += spots[*i].width + GAP;
        }
    };
    for row in &rows {
        pack(spots, row);
    }
    for round in 0..8 {
        let order: Vec<usize> = if round % 2 == 0 {
            (0..rows.len()).collect()
        } else {
            (0..rows.len()).rev().collect()
        };
        for r in order {
            let wish: BTreeMap<usize, f64> = rows[r]
                .iter()
                .map(|i| {
                    let all: Vec<f64> = near[*i].iter().map(|n| center(&spots[*n])).collect();
                    let mean = match all.len() {
                        0 => center(&spots[*i]),
                        n => all.iter().sum::<f64>() / n as f64,
                    };
                    (*i, mean)
                })
                .collect();
            rows[r].sort_by(|a, b| wish[a].total_cmp(&wish[b]).then(a.cmp(b)));
            // From the left each box takes its wish or the next free place; then the row moves so that the mean fits.
            let mut x = f64::NEG_INFINITY;
            let mut shift = 0.0;
            for i in &rows[r] {
                let want = wish[i] - spots[*i].width / 2.0;
                spots[*i].x = want.max(x);
                shift += want - spots[*i].x;
                x = spots[*i].x + spots[*i].width + GAP;
            }
            let shift = shift / rows[r].len().max(1) as f64;
            for i in &rows[r] {
                spots[*i].x += shift;
            }
        }
    }
    let left = spots.iter().map(|s| s.x).fold(f64::INFINITY, f64::min);
    for s in spots {
        s.x += GAP - left;
    }
}

fn shorten(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_string();
    }
    let head: String = text.chars().take(longest.saturating_sub(1)).collect();
    head + "\u{2026}"
}

fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use onnxc_compiler::base::attr::Attrs;
    use onnxc_compiler::base::dtype::DType;
    use onnxc_compiler::base::types::TensorType;
    use onnxc_compiler::graph::ir::Loc;

    /// Two branches of different length from one input, joined again.
    fn model() -> Model {
        let mut m = Model::default();
        let g = &mut m.graph;
        g.name = "a & b".into();
        let ty = Some(TensorType::fixed(DType::F32, &[1, 4]));
        let x = g.add_input("x", ty);
        let relu = onnxc_compiler::ops::find("Relu").unwrap();
        let add = onnxc_compiler::ops::find("Add").unwrap();
        let mut v = x;
        for k in 0..3 {
            let n = g.add_node(
                relu,
                Attrs::default(),
                vec![Some(v)],
                1,
                Loc::one(&format!("r{k}")),
            );
            v = g.node(n).outs[0];
        }
        let n = g.add_node(
            add,
            Attrs::default(),
            vec![Some(x), Some(v)],
            1,
            Loc::one("sum"),
        );
        let out = g.node(n).outs[0];
        g.add_output(out);
        m
    }

    #[test]
    fn boxes_do_not_overlap() {
        let m = model();
        let d = drawing(&m.graph, &m.symbols);
        assert_eq!((d.items.len(), d.edges.len()), (6, 6));
        let (mut spots, rows, paths) = layers(&d);
        place(&mut spots, &rows, &paths);
        for row in &rows {
            let mut at: Vec<(f64, f64)> =
                row.iter().map(|i| (spots[*i].x, spots[*i].width)).collect();
            at.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(at.windows(2).all(|w| w[0].0 + w[0].1 <= w[1].0), "{at:?}");
            assert!(at.iter().all(|a| a.0 >= 0.0));
        }
        let text = svg(&m);
        assert!(text.contains("a &amp; b") && text.ends_with("</svg>\n"));
        assert_eq!(text, svg(&m));
        assert_eq!(dot(&m).matches("->").count(), 6);
    }
}
