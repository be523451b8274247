//! The text of a graph. [`super::parse`] reads it back.
//!
//! ```text
//! sym N = 1..64 input 0 axis 0
//! graph @stem(%x as "x:0": f32[$N,3,8,8]) -> (%y as "result") {
//!   %w = lit f32[4,3,3,3] splat 0.5
//!   %y = Conv(%x, %w) { pads = [1, 1, 1, 1] } : f32[$N,4,8,8] @"stem/conv"
//!   %a, _ = Split(%y) { axis = 1 } : f32[$N,2,8,8], f32[$N,2,8,8]
//!   %b = If(%c, %a) [graph @then(%0: f32[2]) -> (%0) {
//!   }, graph @else(%0: f32[2]) -> (%0) {
//!   }] : f32[2] @"first"+"second"
//! }
//! ```
//! - Symbols and sizes are as in `base::text`, literals as in [`super::literal`].
//! - Values are named by their hints, made unique. Inputs and outputs whose names in the file are no words or belong to
//!   another value have them behind `as`. `_` is an absent input, or a result that nobody uses or that is known to be a
//!   literal (the literal is then printed by itself).
//! - Attributes: `1`, `1.0`, `"text"`, `[1, 2]`, `floats [1.0]`, `strs ["a"]`, `type f32`, or a literal.
//! - Behind a node: its bodies, the types of its results (`?` where not inferred; they may be left out in a text that is
//!   read), the symbols that it defines, and the nodes of the file that it comes from.
//! - Quantization parameters of types and known contents of shape-like values are not printed; inference knows them.

use super::ir::{Def, Graph, Model, NodeId, ValueId};
use super::literal::{float_text, tensor_text};
use crate::base::attr::Attr;
use crate::base::dim::Symbols;
use crate::base::dtype::DType;
use crate::base::text::{dim_text, symbol_text, symbols_text};
use crate::base::types::TensorType;
use std::collections::{HashMap, HashSet};
use std::fmt::Write;

/// The whole model.
pub fn print(m: &Model) -> String {
    let mut out = symbols_text(&m.symbols);
    Printer {
        symbols: &m.symbols,
        out: &mut out,
    }
    .graph(&m.graph, 0);
    out
}

/// `f32[$N,3]`.
pub fn type_text(t: &TensorType, symbols: &Symbols) -> String {
    let dims: Vec<String> = t.shape.iter().map(|d| dim_text(d, symbols)).collect();
    format!("{}[{}]", t.dtype, dims.join(","))
}

struct Printer<'a> {
    symbols: &'a Symbols,
    out: &'a mut String,
}

impl Printer<'_> {
    fn graph(&mut self, g: &Graph, depth: usize) {
        let names = names(g);
        let ins: Vec<String> = g
            .inputs
            .iter()
            .map(|v| {
                let mut text = format!("%{}", names[v]);
                if g.value(*v).name != names[v] && !g.value(*v).name.is_empty() {
                    let _ = write!(text, " as {:?}", g.value(*v).name);
                }
                if let Some(t) = g.ty(*v) {
                    let _ = write!(text, ": {}", type_text(t, self.symbols));
                }
                text
            })
            .collect();
        let outs: Vec<String> = g
            .outputs()
            .iter()
            .zip(&g.output_names)
            .map(|(v, name)| match names[v] == *name || name.is_empty() {
                true => format!("%{}", names[v]),
                false => format!("%{} as {name:?}", names[v]),
            })
            .collect();
        let _ = writeln!(
            self.out,
            "graph @{}({}) -> ({}) {{",
            quote_name(&g.name),
            ins.join(", "),
            outs.join(", ")
        );
        let pad = "  ".repeat(depth + 1);
        let mut lits = HashSet::new();
        for &n in g.order() {
            for v in g.node(n).ins.iter().flatten() {
                self.literal(g, *v, &names, &pad, &mut lits);
            }
            self.node(g, n, &names, &pad, depth);
        }
        for &v in g.outputs() {
            self.literal(g, v, &names, &pad, &mut lits);
        }
        let _ = write!(self.out, "{}}}", "  ".repeat(depth));
        if depth == 0 {
            self.out.push('\n');
        }
    }

    fn literal(
        &mut self,
        g: &Graph,
        v: ValueId,
        names: &HashMap<ValueId, String>,
        pad: &str,
        done: &mut HashSet<ValueId>,
    ) {
        if let Some(t) = g.konst(v)
            && done.insert(v)
            && !g.inputs.contains(&v)
        {
            let _ = writeln!(self.out, "{pad}%{} = lit {}", names[&v], tensor_text(t));
        }
    }

    fn node(
        &mut self,
        g: &Graph,
        n: NodeId,
        names: &HashMap<ValueId, String>,
        pad: &str,
        depth: usize,
    ) {
        let node = g.node(n);
        let outs: Vec<String> = node
            .outs
            .iter()
            .map(|&v| match is_named(g, v) {
                true => format!("%{}", names[&v]),
                false => "_".to_string(),
            })
            .collect();
        let ins: Vec<String> = node
            .ins
            .iter()
            .map(|v| v.map_or("_".to_string(), |v| format!("%{}", names[&v])))
            .collect();
        let _ = write!(
            self.out,
            "{pad}{} = {}({})",
            outs.join(", "),
            node.op.name,
            ins.join(", ")
        );
        if !node.attrs.0.is_empty() {
            let list: Vec<String> = node
                .attrs
                .0
                .iter()
                .map(|(k, a)| format!("{k} = {}", attr(a)))
                .collect();
            let _ = write!(self.out, " {{ {} }}", list.join(", "));
        }
        if !node.bodies.is_empty() {
            self.out.push_str(" [");
            for (k, body) in node.bodies.iter().enumerate() {
                if k > 0 {
                    self.out.push_str(", ");
                }
                self.graph(body, depth + 1);
            }
            self.out.push(']');
        }
        let types: Vec<String> = node
            .outs
            .iter()
            .map(|&v| {
                g.ty(v)
                    .map_or("?".to_string(), |t| type_text(t, self.symbols))
            })
            .collect();
        let _ = write!(self.out, " : {}", types.join(", "));
        if !node.syms.is_empty() {
            let list: Vec<String> = node
                .syms
                .iter()
                .map(|s| symbol_text(*s, self.symbols))
                .collect();
            let _ = write!(self.out, " defines {}", list.join(", "));
        }
        if !node.loc.0.is_empty() {
            let list: Vec<String> = node.loc.0.iter().map(|l| format!("{l:?}")).collect();
            let _ = write!(self.out, " @{}", list.join("+"));
        }
        self.out.push('\n');
    }
}

/// A name for every value that is printed: its hint where it is a word, made unique by a number.
pub fn names(g: &Graph) -> HashMap<ValueId, String> {
    let mut taken = HashSet::new();
    let mut out = HashMap::new();
    let mut next = 0;
    let made = g.order().iter().flat_map(|&n| {
        let node = g.node(n);
        node.ins
            .iter()
            .flatten()
            .copied()
            .chain(node.outs.iter().copied().filter(|&v| is_named(g, v)))
            .collect::<Vec<_>>()
    });
    for v in g
        .inputs
        .iter()
        .copied()
        .chain(made)
        .chain(g.outputs().iter().copied())
    {
        if out.contains_key(&v) {
            continue;
        }
        let hint = word(&g.value(v).name);
        let mut name = hint.clone();
        while name.is_empty() || !taken.insert(name.clone()) {
            name = if hint.is_empty() {
                next.to_string()
            } else {
                format!("{hint}.{next}")
            };
            next += 1;
        }
        out.insert(v, name);
    }
    out
}

/// Whether a result has a name: it is used, and not as a literal, which has a line of its own.
fn is_named(g: &Graph, v: ValueId) -> bool {
    g.is_used(v) && matches!(g.value(v).def, Def::Node(..))
}

/// A name as a word of the text: letters, digits, `_`, and `.` inside.
fn word(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut out = String::new();
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        let inner = c == '.' && !out.is_empty() && chars.peek().is_some_and(|&n| plain(n));
        out.push(if plain(c) || inner { c } else { '_' });
    }
    out
}

fn quote_name(name: &str) -> String {
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if plain {
        name.to_string()
    } else {
        format!("{name:?}")
    }
}

fn attr(a: &Attr) -> String {
    let list = |l: Vec<String>| format!("[{}]", l.join(", "));
    match a {
        Attr::Int(v) => v.to_string(),
        Attr::Float(v) => float_text(*v as f64, DType::F32),
        Attr::Str(s) => format!("{s:?}"),
        Attr::Ints(v) => list(v.iter().map(i64::to_string).collect()),
        Attr::Floats(v) => format!(
            "floats {}",
            list(
                v.iter()
                    .map(|v| float_text(*v as f64, DType::F32))
                    .collect()
            )
        ),
        Attr::Strs(v) => format!(
            "strs {}",
            list(v.iter().map(|s| format!("{s:?}")).collect())
        ),
        Attr::Tensor(t) => tensor_text(t),
        Attr::Type(d) => format!("type {d}"),
    }
}
