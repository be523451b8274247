//! Reads the text form of functions, as [`super::print`] describes it.
//!
//! The result is what the text says, right or wrong: types and the order of setting and reading are the verifier's. Equal
//! expressions are shared. No text makes this panic.

use super::ir::*;
use super::names::*;
use crate::base::dim::Symbols;
use crate::base::dtype::DType;
use crate::base::text::{self, Cursor, Result, Token};
use std::collections::HashMap;

/// A function, and the line where each statement stands, in the order of [`super::walk::visit`].
#[derive(Debug)]
pub struct Parsed {
    /// The function.
    pub func: Func,
    /// One line per statement, from 1.
    pub lines: Vec<usize>,
    /// The line where the function begins.
    pub line: usize,
}

/// Reads `sym` lines and then functions, up to the end of the text.
pub fn parse_module(text: &str) -> Result<(Symbols, Vec<Parsed>)> {
    let mut c = Cursor::new(text)?;
    let symbols = text::symbols(&mut c)?;
    let mut funcs = vec![];
    while !c.at_end() {
        funcs.push(func(&mut c, &symbols)?);
    }
    Ok((symbols, funcs))
}

/// Reads one function and nothing else.
pub fn parse(text: &str, symbols: &Symbols) -> Result<Func> {
    let mut c = Cursor::new(text)?;
    let f = func(&mut c, symbols)?;
    if !c.at_end() {
        return c.error("expected the end of the text");
    }
    Ok(f.func)
}

/// Reads a function.
pub fn func(c: &mut Cursor, symbols: &Symbols) -> Result<Parsed> {
    let line = c.line();
    let mut p = Parser {
        c,
        symbols,
        func: Func::default(),
        types: vec![],
        shared: HashMap::new(),
        bufs: HashMap::new(),
        vars: HashMap::new(),
        names: HashMap::new(),
        lines: vec![],
    };
    p.head()?;
    p.func.body = p.block(0)?;
    Ok(Parsed {
        func: p.func,
        lines: p.lines,
        line,
    })
}

struct Parser<'c> {
    c: &'c mut Cursor,
    symbols: &'c Symbols,
    func: Func,
    types: Vec<Ty>,
    shared: HashMap<Expr, ExprId>,
    bufs: HashMap<String, BufId>,
    vars: HashMap<String, VarId>,
    /// Expressions that have a name.
    names: HashMap<String, ExprId>,
    lines: Vec<usize>,
}

impl Parser<'_> {
    fn expr(&mut self, e: Expr) -> ExprId {
        if let Some(&id) = self.shared.get(&e) {
            return id;
        }
        self.types.push(self.func.expr_ty(&e, &self.types));
        let id = self.func.exprs.push(e.clone());
        self.shared.insert(e, id);
        id
    }
    fn word_or_string(&mut self) -> Result<String> {
        match self.c.peek() {
            Token::Str(_) => self.c.string(),
            _ => self.c.word(),
        }
    }
    fn head(&mut self) -> Result<()> {
        self.c.expect("func")?;
        self.func.name = self.word_or_string()?;
        self.c.expect("(")?;
        let mut first = true;
        while !self.c.eat(")") {
            if !first {
                self.c.expect(",")?;
            }
            first = false;
            self.param()?;
        }
        Ok(())
    }
    fn param(&mut self) -> Result<()> {
        let start = self.c.clone();
        let word = self.c.word()?;
        let name = match self.c.peek() {
            Token::Str(_) => self.c.string()?,
            _ => word.clone(),
        };
        self.c.expect(":")?;
        if self.c.eat("int") {
            let v = self.declare(&word, Ty::I64, false);
            self.func.ints.push(v);
            return Ok(());
        }
        let ty = self.c.word()?;
        let Some(dtype) = DType::parse(&ty) else {
            return self.c.error(format!("`{ty}` is no element type"));
        };
        self.c.expect("[")?;
        let len = text::dim(self.c, self.symbols)?;
        self.c.expect("]")?;
        let access = self.c.word()?;
        let Some(access) = read(ACCESS, &access) else {
            return self
                .c
                .error(format!("`{access}` is not read, write or readwrite"));
        };
        let id = self.func.bufs.push(Buffer {
            name,
            dtype,
            len,
            access,
        });
        if self.bufs.insert(word.clone(), id).is_some() {
            return start.error(format!("there are two buffers `{word}`"));
        }
        Ok(())
    }
    fn declare(&mut self, name: &str, ty: Ty, mutable: bool) -> VarId {
        let v = self.func.vars.push(Var { ty, mutable });
        self.vars.insert(name.to_string(), v);
        v
    }
    fn buffer(&mut self) -> Result<BufId> {
        let start = self.c.clone();
        let word = self.c.word()?;
        match self.bufs.get(&word) {
            Some(b) => Ok(*b),
            None => start.error(format!("there is no buffer `{word}`")),
        }
    }
    fn block(&mut self, depth: usize) -> Result<Vec<Stmt>> {
        if depth > text::MAX_DEPTH {
            return self.c.error("this nests too deeply");
        }
        self.c.expect("{")?;
        let mut out = vec![];
        while !self.c.eat("}") {
            match self.c.peek().clone() {
                Token::Word(w) if w.starts_with('%') => {
                    self.c.take();
                    self.c.expect("=")?;
                    let e = self.value(depth)?;
                    self.names.insert(w, e);
                }
                Token::Word(w) => {
                    let s = self.stmt(&w, depth)?;
                    out.push(s);
                }
                t => return self.c.error(format!("expected a statement, found {t}")),
            }
        }
        Ok(out)
    }
    fn stmt(&mut self, word: &str, depth: usize) -> Result<Stmt> {
        self.lines.push(self.c.line());
        if word.starts_with('$') {
            let sym = text::symbol(self.c, self.symbols)?;
            self.c.expect("=")?;
            let value = self.value(depth)?;
            return Ok(Stmt::SetSym { sym, value });
        }
        if !matches!(
            word,
            "for" | "while" | "if" | "let" | "var" | "set" | "fail" | "call"
        ) {
            let buf = self.buffer()?;
            self.c.expect("[")?;
            let index = self.value(depth)?;
            self.c.expect("]")?;
            self.c.expect("=")?;
            let value = self.value(depth)?;
            return Ok(Stmt::Store { buf, index, value });
        }
        self.c.take();
        Ok(match word {
            "for" => {
                let name = self.c.word()?;
                self.c.expect("<")?;
                let extent = self.value(depth)?;
                let kind = match self.c.peek().clone() {
                    Token::Word(w) => match read(KINDS, &w) {
                        Some(k) => {
                            self.c.take();
                            k
                        }
                        None => return self.c.error(format!("`{w}` is no kind of loop")),
                    },
                    _ => LoopKind::Seq,
                };
                let var = self.declare(&name, Ty::I64, false);
                let body = self.block(depth + 1)?;
                Stmt::For {
                    var,
                    extent,
                    kind,
                    body,
                }
            }
            "while" => {
                let cond = self.value(depth)?;
                let body = self.block(depth + 1)?;
                Stmt::While { cond, body }
            }
            "if" => {
                let cond = self.value(depth)?;
                let then = self.block(depth + 1)?;
                let els = match self.c.eat("else") {
                    true => self.block(depth + 1)?,
                    false => vec![],
                };
                Stmt::If { cond, then, els }
            }
            "fail" => {
                let status = self.c.int()?;
                let Ok(status) = i32::try_from(status) else {
                    return self.c.error("a status has 32 bits");
                };
                self.c.expect("if")?;
                let cond = self.value(depth)?;
                Stmt::FailIf { cond, status }
            }
            "call" => self.call(depth)?,
            _ => {
                let start = self.c.clone();
                let name = self.c.word()?;
                self.c.expect("=")?;
                let value = self.value(depth)?;
                let ty = self.types[value.0 as usize];
                let var = match (word, self.vars.get(&name)) {
                    ("set", Some(v)) => *v,
                    ("set", None) => return start.error(format!("there is no variable `{name}`")),
                    _ => self.declare(&name, ty, word == "var"),
                };
                Stmt::Let { var, value }
            }
        })
    }
    fn call(&mut self, depth: usize) -> Result<Stmt> {
        let contract = self.word_or_string()?;
        let kernel = self.c.string()?;
        self.c.expect("{")?;
        let shape = self.c.list("}", |c| {
            let key = match c.peek() {
                Token::Str(_) => c.string()?,
                _ => c.word()?,
            };
            c.expect(":")?;
            Ok((key, c.int()?))
        })?;
        let callee = Callee {
            kernel,
            contract,
            shape,
        };
        let known = self.func.callees.iter().position(|c| *c == callee);
        let callee = known.unwrap_or_else(|| {
            self.func.callees.push(callee);
            self.func.callees.len() - 1
        });
        self.c.expect("(")?;
        let mut args = vec![];
        while !self.c.eat(")") {
            if !args.is_empty() {
                self.c.expect(",")?;
            }
            args.push(if self.c.eat("&") {
                let buf = self.buffer()?;
                self.c.expect("[")?;
                let offset = self.value(depth)?;
                self.c.expect("]")?;
                Arg::Ptr { buf, offset }
            } else {
                Arg::Int(self.value(depth)?)
            });
        }
        Ok(Stmt::Call { callee, args })
    }

    fn value(&mut self, depth: usize) -> Result<ExprId> {
        self.infix(0, depth)
    }
    fn infix(&mut self, least: u8, depth: usize) -> Result<ExprId> {
        if depth > 2 * text::MAX_DEPTH {
            return self.c.error("this nests too deeply");
        }
        let mut left = self.single(depth + 1)?;
        loop {
            let Token::Punct(sign) = *self.c.peek() else {
                return Ok(left);
            };
            let Some(&(op, _, level)) = INFIX.iter().find(|r| r.1 == sign) else {
                return Ok(left);
            };
            if level < least {
                return Ok(left);
            }
            self.c.take();
            let right = self.infix(level + 1, depth + 1)?;
            left = self.expr(Expr::Bin(op, left, right));
            if level == COMPARE {
                // `a < b < c` is not read as a comparison of a comparison.
                if let Token::Punct(next) = *self.c.peek()
                    && INFIX.iter().any(|r| r.1 == next && r.2 == COMPARE)
                {
                    return self.c.error("comparisons don't chain");
                }
            }
        }
    }
    fn args<const N: usize>(&mut self, depth: usize) -> Result<[ExprId; N]> {
        let mut out = [ExprId(0); N];
        for (i, slot) in out.iter_mut().enumerate() {
            if i > 0 {
                self.c.expect(",")?;
            }
            *slot = self.value(depth)?;
        }
        self.c.expect(")")?;
        Ok(out)
    }
    fn single(&mut self, depth: usize) -> Result<ExprId> {
        let start = self.c.clone();
        match self.c.peek().clone() {
            Token::Punct("(") => {
                self.c.take();
                let e = self.value(depth)?;
                self.c.expect(")")?;
                Ok(e)
            }
            Token::Punct("-") | Token::Number(_) => {
                let s = self.c.number()?;
                match number(&s) {
                    Some(k) => Ok(self.expr(Expr::Const(k))),
                    None => start.error(format!("`{s}` is no number")),
                }
            }
            Token::Word(w) if w.starts_with('$') => {
                let s = text::symbol(self.c, self.symbols)?;
                Ok(self.expr(Expr::Sym(s)))
            }
            Token::Word(w) => {
                self.c.take();
                if self.c.eat("(") {
                    return self.function(&w, depth, &start);
                }
                if self.c.eat("[") {
                    let Some(&buf) = self.bufs.get(&w) else {
                        return start.error(format!("there is no buffer `{w}`"));
                    };
                    return self.load(buf, depth);
                }
                match (w.as_str(), self.names.get(&w), self.vars.get(&w)) {
                    ("true" | "false", ..) => Ok(self.expr(Expr::Const(Const::Bool(w == "true")))),
                    (_, Some(e), _) => Ok(*e),
                    (_, _, Some(v)) => {
                        let v = *v;
                        Ok(self.expr(Expr::Var(v)))
                    }
                    _ => start.error(format!("there is no variable `{w}`")),
                }
            }
            t => self.c.error(format!("expected a value, found {t}")),
        }
    }
    fn load(&mut self, buf: BufId, depth: usize) -> Result<ExprId> {
        let index = self.value(depth)?;
        let e = if self.c.eat("if") {
            let cond = self.value(depth)?;
            self.c.expect("else")?;
            let default = self.value(depth)?;
            Expr::LoadIf {
                buf,
                cond,
                index,
                default,
            }
        } else {
            Expr::Load { buf, index }
        };
        self.c.expect("]")?;
        Ok(self.expr(e))
    }
    fn function(&mut self, name: &str, depth: usize, start: &Cursor) -> Result<ExprId> {
        let (ty, kind) = match name.strip_suffix(".u") {
            Some(ty) => (ty, CastKind::Unsigned),
            None => (name, CastKind::Signed),
        };
        let e = if let Some(ty) = read(TYPES, ty) {
            let [a] = self.args(depth)?;
            Expr::Cast(ty, kind, a)
        } else if let Some(op) = read(UNARY, name) {
            let [a] = self.args(depth)?;
            Expr::Un(op, a)
        } else if let Some(op) = read(BINARY, name) {
            let [a, b] = self.args(depth)?;
            Expr::Bin(op, a, b)
        } else {
            match name {
                "fma" => {
                    let [a, b, c] = self.args(depth)?;
                    Expr::Fma(a, b, c)
                }
                "select" => {
                    let [c, a, b] = self.args(depth)?;
                    Expr::Select(c, a, b)
                }
                "bits32" | "bits64" => {
                    let v = self.c.int()?;
                    self.c.expect(")")?;
                    Expr::Const(match name {
                        "bits32" => Const::F32(v as u32),
                        _ => Const::F64(v as u64),
                    })
                }
                _ => return start.error(format!("there is no operation `{name}`")),
            }
        };
        Ok(self.expr(e))
    }
}

/// A number with its mark.
fn number(s: &str) -> Option<Const> {
    if s.trim_start_matches('-').starts_with("0x") && !s.ends_with("i32") {
        return Some(Const::I64(text::parse_int(s)?));
    }
    if let Some(v) = s.strip_suffix("f64") {
        return Some(Const::F64(v.parse::<f64>().ok()?.to_bits()));
    }
    if let Some(v) = s.strip_suffix("i32") {
        return Some(Const::I32(i32::try_from(text::parse_int(v)?).ok()?));
    }
    if let Some(v) = text::parse_int(s) {
        return Some(Const::I64(v));
    }
    let v: f32 = s.parse().ok()?;
    v.is_finite().then(|| Const::F32(v.to_bits()))
}
