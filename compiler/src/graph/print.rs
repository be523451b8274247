//! The text of a graph. `parse` reads it back.
//!
//! ```text
//! sym N = 1..64 input 0:0
//! graph @stem(%x: f32[N,3,8,8]) -> (%y) {
//!   %w = lit f32[4,3,3,3] splat 0.5
//!   %y = Conv(%x, %w) { pads = [1,1,1,1] } : f32[N,4,8,8] @"stem/conv"
//! }
//! ```
//! Values are named by their hints, made unique. Literals of up to 16 elements are written out, equal ones as `splat`,
//! others as a digest, which identifies but can't be read back.

use super::ir::{Graph, Model, NodeId, ValueId};
use crate::base::attr::Attr;
use crate::base::dim::{Origin, Symbols};
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::fmt::Write;

/// Literals with more elements are not written out.
const SMALL: usize = 16;

/// The whole model.
pub fn print(m: &Model) -> String {
    let mut out = String::new();
    for (_, s) in m.symbols.iter() {
        let _ = match s.origin {
            Origin::Input { input, axis } => writeln!(
                out,
                "sym {} = {}..{} input {input}:{axis}",
                s.name, s.lo, s.hi
            ),
            Origin::Data => writeln!(out, "sym {} = {}..{} data", s.name, s.lo, s.hi),
        };
    }
    Printer {
        symbols: &m.symbols,
        out: &mut out,
    }
    .graph(&m.graph, 0);
    out
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
            .map(|v| match g.ty(*v) {
                Some(t) => format!("%{}: {}", names[v], t.text(self.symbols)),
                None => format!("%{}", names[v]),
            })
            .collect();
        let outs: Vec<String> = g
            .outputs()
            .iter()
            .map(|v| format!("%{}", names[v]))
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
            let _ = writeln!(self.out, "{pad}%{} = lit {}", names[&v], tensor(t));
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
        let outs: Vec<String> = node.outs.iter().map(|v| format!("%{}", names[v])).collect();
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
            .map(|&v| g.ty(v).map_or("?".to_string(), |t| t.text(self.symbols)))
            .collect();
        let _ = write!(self.out, " : {}", types.join(", "));
        if !node.syms.is_empty() {
            let list: Vec<&str> = node
                .syms
                .iter()
                .map(|s| self.symbols[*s].name.as_str())
                .collect();
            let _ = write!(self.out, " defines {}", list.join(", "));
        }
        if !node.loc.0.is_empty() {
            let _ = write!(self.out, " @{:?}", node.loc.to_string());
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
            .chain(node.outs.iter().copied())
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
        let hint: String = g
            .value(v)
            .name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '_' || c == '.' {
                    c
                } else {
                    '_'
                }
            })
            .collect();
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
        Attr::Float(v) => float(*v as f64, DType::F32),
        Attr::Str(s) => format!("{s:?}"),
        Attr::Ints(v) => list(v.iter().map(i64::to_string).collect()),
        Attr::Floats(v) => format!(
            "floats {}",
            list(v.iter().map(|v| float(*v as f64, DType::F32)).collect())
        ),
        Attr::Strs(v) => format!(
            "strs {}",
            list(v.iter().map(|s| format!("{s:?}")).collect())
        ),
        Attr::Tensor(t) => tensor(t),
        Attr::Type(d) => format!("type {d}"),
    }
}

/// A float so that it is read back exactly: always with a point, an exponent, or as a word.
fn float(v: f64, d: DType) -> String {
    let s = if d == DType::F64 {
        format!("{v:?}")
    } else {
        format!("{:?}", v as f32)
    };
    s.replace("NaN", "nan")
}

fn tensor(t: &Tensor) -> String {
    let shape: Vec<String> = t.shape.iter().map(i64::to_string).collect();
    let ty = format!("{}[{}]", t.dtype, shape.join(","));
    if t.dtype == DType::String {
        return format!("{ty} {:?}", t.strings);
    }
    let element = |i: usize| -> Option<String> {
        if t.dtype.is_float() {
            Some(float(t.get_f64(i)?, t.dtype))
        } else {
            t.get_i64(i).map(|v| v.to_string())
        }
    };
    let size = t.dtype.size().max(1);
    let same = t.len() > 1 && t.data.chunks_exact(size).all(|c| c == &t.data[..size]);
    if same && let Some(v) = element(0) {
        return format!("{ty} splat {v}");
    }
    if t.len() <= SMALL
        && let Some(list) = (0..t.len()).map(element).collect::<Option<Vec<_>>>()
    {
        return format!("{ty} [{}]", list.join(", "));
    }
    let digest: String = Sha256::digest(&t.data)
        .iter()
        .take(8)
        .map(|b| format!("{b:02x}"))
        .collect();
    format!("{ty} sha256 {digest}")
}
