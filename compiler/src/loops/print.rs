//! The text form of a function.
//!
//! ```text
//! func scale(x: f32[4*$N] read, y: f32[4*$N] write, v0: int) {
//!   for v1 < 4*$N lanes {
//!     %0 = x[v1] * 2.0
//!     y[v1] = select(%0 < 1.0, %0, 1.0)
//!   }
//! }
//! ```
//!
//! - Buffers go by their names, or as `b3 "any name"` where that is no plain and unique word. `v0: int` is a whole-number
//!   parameter.
//! - Variables are numbered as they appear: `let` sets one that is set once, `var` one that is set again, by `set`.
//! - `%0` names an expression for the next statement, which shares it; it is evaluated with that statement.
//! - Whole numbers are I64 (`7`) unless marked (`7i32`), numbers with a point F32 (`2.0`) unless marked (`2.0f64`);
//!   `bits32(0x7fc00000)` and `bits64` write what has no decimal form.
//! - `x[i if c else d]` reads where `c` holds; `i64.u(x)` converts with unsigned whole numbers; `&x[i]` is a pointer.
//!
//! [`super::parse`] reads it back; what is printed from that is the same text.

use super::ir::*;
use super::names::*;
use crate::base::dim::Symbols;
use crate::base::id::Id;
use crate::base::text::{dim_text, is_plain, symbol_text};
use std::collections::HashMap;
use std::fmt::Write;

/// An expression is given a name where its text would become longer than this.
const LONG: usize = 90;
/// Or nested deeper than this.
const DEEP: usize = 16;

/// The text of a function, symbols under their names.
pub fn print(func: &Func, symbols: &Symbols) -> String {
    let mut p = Printer {
        func,
        symbols,
        vars: HashMap::new(),
        out: String::new(),
    };
    p.head();
    p.block(&func.body, 1);
    p.out.push_str("}\n");
    p.out
}

struct Printer<'f> {
    func: &'f Func,
    symbols: &'f Symbols,
    /// The number of each variable in the text.
    vars: HashMap<VarId, usize>,
    out: String,
}

/// The text of a node.
struct Piece {
    text: String,
    binds: u8,
    depth: usize,
}

impl Printer<'_> {
    fn head(&mut self) {
        let name = &self.func.name;
        match is_plain(name) {
            true => self.out.push_str(&format!("func {name}(")),
            false => self.out.push_str(&format!("func {name:?}(")),
        }
        let mut params = vec![];
        for (id, b) in self.func.bufs.iter() {
            let access = spell(ACCESS, &b.access);
            let mut head = self.buffer(id);
            if head != b.name {
                head = format!("{head} {:?}", b.name);
            }
            let len = dim_text(&b.len, self.symbols);
            params.push(format!("{head}: {}[{len}] {access}", b.dtype));
        }
        for v in self.func.ints.clone() {
            let v = self.var(v);
            params.push(format!("{v}: int"));
        }
        let line = params.join(", ");
        if line.len() <= 100 {
            self.out.push_str(&line);
        } else {
            self.out.push_str("\n    ");
            self.out.push_str(&params.join(",\n    "));
        }
        self.out.push_str(") {\n");
    }
    fn buffer(&self, id: BufId) -> String {
        let name = |b: &Buffer| names_buffer(&b.name).then(|| b.name.clone());
        let own = self.func.bufs.get(id).and_then(name);
        let unique = |n: &String| self.func.bufs.iter().all(|(i, b)| i == id || b.name != *n);
        own.filter(unique)
            .unwrap_or_else(|| format!("b{}", id.index()))
    }
    fn var(&mut self, v: VarId) -> String {
        let next = self.vars.len();
        format!("v{}", self.vars.entry(v).or_insert(next))
    }
    fn line(&mut self, depth: usize, text: &str) {
        let _ = writeln!(self.out, "{:1$}{text}", "", depth * 2);
    }

    fn block(&mut self, block: &[Stmt], depth: usize) {
        for s in block {
            self.stmt(s, depth);
        }
    }
    fn stmt(&mut self, s: &Stmt, depth: usize) {
        let roots = s.exprs();
        let e = self.exprs(&roots, depth);
        match s {
            Stmt::For {
                var, kind, body, ..
            } => {
                let v = self.var(*var);
                let kind = match kind {
                    LoopKind::Seq => String::new(),
                    k => format!("{} ", spell(KINDS, k)),
                };
                self.line(depth, &format!("for {v} < {} {kind}{{", e[0]));
                self.block(body, depth + 1);
                self.line(depth, "}");
            }
            Stmt::While { body, .. } => {
                self.line(depth, &format!("while {} {{", e[0]));
                self.block(body, depth + 1);
                self.line(depth, "}");
            }
            Stmt::If { then, els, .. } => {
                self.line(depth, &format!("if {} {{", e[0]));
                self.block(then, depth + 1);
                if !els.is_empty() {
                    self.line(depth, "} else {");
                    self.block(els, depth + 1);
                }
                self.line(depth, "}");
            }
            Stmt::Let { var, .. } => {
                let mutable = self.func.vars.get(*var).is_some_and(|v| v.mutable);
                let word = match (self.vars.contains_key(var), mutable) {
                    (true, _) => "set",
                    (false, true) => "var",
                    (false, false) => "let",
                };
                let v = self.var(*var);
                self.line(depth, &format!("{word} {v} = {}", e[0]));
            }
            Stmt::Store { buf, .. } => {
                let b = self.buffer(*buf);
                self.line(depth, &format!("{b}[{}] = {}", e[0], e[1]));
            }
            Stmt::SetSym { sym, .. } => {
                let s = symbol_text(*sym, self.symbols);
                self.line(depth, &format!("{s} = {}", e[0]));
            }
            Stmt::FailIf { status, .. } => {
                self.line(depth, &format!("fail {status} if {}", e[0]));
            }
            Stmt::Call { callee, args } => {
                let args: Vec<String> = args
                    .iter()
                    .zip(&e)
                    .map(|(a, e)| match a {
                        Arg::Ptr { buf, .. } => format!("&{}[{e}]", self.buffer(*buf)),
                        Arg::Int(_) => e.clone(),
                    })
                    .collect();
                let head = match self.func.callees.get(*callee) {
                    Some(c) => callee_text(c),
                    None => format!("\"?\" \"{callee}\" {{}}"),
                };
                self.line(depth, &format!("call {head} ({})", args.join(", ")));
            }
        }
    }

    /// The text of a statement's expressions; writes the lines of those that get a name.
    fn exprs(&mut self, roots: &[ExprId], depth: usize) -> Vec<String> {
        let mut uses: HashMap<ExprId, usize> = HashMap::new();
        let mut stack = roots.to_vec();
        while let Some(e) = stack.pop() {
            let n = uses.entry(e).or_insert(0);
            *n += 1;
            if *n == 1
                && let Some(node) = self.func.exprs.get(e)
            {
                stack.extend(node.operands());
            }
        }
        let mut order: Vec<ExprId> = uses.keys().copied().collect();
        order.sort();
        let mut pieces: HashMap<ExprId, Piece> = HashMap::new();
        let mut named = 0;
        for e in order {
            let Some(node) = self.func.exprs.get(e) else {
                continue;
            };
            let mut piece = self.node(node, &pieces);
            let leaf = node.operands().next().is_none();
            let shared = uses[&e] > 1 && !leaf;
            if shared || piece.depth > DEEP || piece.text.len() > LONG && !roots.contains(&e) {
                self.line(depth, &format!("%{named} = {}", piece.text));
                piece = Piece {
                    text: format!("%{named}"),
                    binds: TIGHT,
                    depth: 0,
                };
                named += 1;
            }
            pieces.insert(e, piece);
        }
        let text = |e: &ExprId| pieces.get(e).map_or("?".to_string(), |p| p.text.clone());
        roots.iter().map(text).collect()
    }
    fn node(&mut self, node: &Expr, pieces: &HashMap<ExprId, Piece>) -> Piece {
        let depth = |e: ExprId| pieces.get(&e).map_or(0, |p| p.depth);
        let depth = 1 + node.operands().map(depth).max().unwrap_or(0);
        // An operand that must bind at least this strongly.
        let at = |e: &ExprId, binds: u8| match pieces.get(e) {
            Some(p) if p.binds >= binds => p.text.clone(),
            Some(p) => format!("({})", p.text),
            None => "?".to_string(),
        };
        let of = |e: &ExprId| at(e, 0);
        let mut binds = TIGHT;
        let text = match node {
            Expr::Const(c) => const_text(*c),
            Expr::Var(v) => self.var(*v),
            Expr::Sym(s) => symbol_text(*s, self.symbols),
            Expr::Load { buf, index } => format!("{}[{}]", self.buffer(*buf), of(index)),
            Expr::LoadIf {
                buf,
                cond,
                index,
                default,
            } => {
                let b = self.buffer(*buf);
                format!("{b}[{} if {} else {}]", of(index), of(cond), of(default))
            }
            Expr::Un(op, a) => format!("{}({})", spell(UNARY, op), of(a)),
            Expr::Bin(op, a, b) => match INFIX.iter().find(|r| r.0 == *op) {
                Some((_, sign, level)) => {
                    binds = *level;
                    let left = level + u8::from(*level == COMPARE);
                    format!("{} {sign} {}", at(a, left), at(b, level + 1))
                }
                None => format!("{}({}, {})", spell(BINARY, op), of(a), of(b)),
            },
            Expr::Fma(a, b, c) => format!("fma({}, {}, {})", of(a), of(b), of(c)),
            Expr::Select(c, a, b) => format!("select({}, {}, {})", of(c), of(a), of(b)),
            Expr::Cast(ty, kind, a) => {
                let u = match kind {
                    CastKind::Signed => "",
                    CastKind::Unsigned => ".u",
                };
                format!("{}{u}({})", spell(TYPES, ty), of(a))
            }
        };
        Piece { text, binds, depth }
    }
}

fn callee_text(c: &Callee) -> String {
    let shape: Vec<String> = c
        .shape
        .iter()
        .map(|(k, v)| match is_plain(k) {
            true => format!("{k}: {v}"),
            false => format!("{k:?}: {v}"),
        })
        .collect();
    let contract = match is_plain(&c.contract) {
        true => c.contract.clone(),
        false => format!("{:?}", c.contract),
    };
    format!("{contract} {:?} {{{}}}", c.kernel, shape.join(", "))
}

fn const_text(c: Const) -> String {
    match c {
        Const::I64(v) => v.to_string(),
        Const::I32(v) => format!("{v}i32"),
        Const::Bool(v) => v.to_string(),
        Const::F32(bits) => match f32::from_bits(bits) {
            v if v.is_finite() => format!("{v:?}"),
            _ => format!("bits32({bits:#010x})"),
        },
        Const::F64(bits) => match f64::from_bits(bits) {
            v if v.is_finite() => format!("{v:?}f64"),
            _ => format!("bits64({bits:#018x})"),
        },
    }
}
