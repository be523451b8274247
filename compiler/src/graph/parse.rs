//! Reads the text of a graph, as [`super::print`] describes it.
//!
//! Types behind nodes may be left out: inference fills them in. What is printed from the result of a canonical text is
//! that text again. No text makes this panic; what it says is not judged here but by `verify` and inference, names,
//! sizes and the shape of the text apart.

use super::ir::{Graph, Loc, Model, ValueId};
use super::literal::{dtype, float, tensor};
use crate::base::attr::{Attr, Attrs};
use crate::base::dim::{Origin, Symbols};
use crate::base::text::{self, Cursor, MAX_DEPTH, Result, Token, symbol};
use crate::base::types::TensorType;
use crate::op::OpDef;
use std::collections::HashMap;
use std::sync::Arc;

/// Finds an operator by its name. The graph knows no operators itself.
pub type Find = fn(&str) -> Option<&'static OpDef>;

/// Reads a model: symbols and one graph.
pub fn parse(text: &str, find: Find) -> Result<Model> {
    let mut c = Cursor::new(text)?;
    let start = c.clone();
    let symbols = text::symbols(&mut c)?;
    let graph = Parser {
        c: &mut c,
        symbols: &symbols,
        find,
    }
    .graph(0)?;
    if !c.at_end() {
        return c.error("expected the end of the text");
    }
    for (_, s) in symbols.iter() {
        if s.lo < 0 || s.lo > s.hi {
            return start.error(format!("symbol {} has no values", s.name));
        }
        if let Origin::Input { input, axis } = s.origin {
            let ty = graph.inputs.get(input).and_then(|&v| graph.ty(v));
            if ty.is_none_or(|t| axis >= t.rank()) {
                return start.error(format!("symbol {} is the size of no input", s.name));
            }
        }
    }
    Ok(Model {
        graph,
        symbols,
        ..Model::default()
    })
}

struct Parser<'c, 's> {
    c: &'c mut Cursor,
    symbols: &'s Symbols,
    find: Find,
}

type Scope = HashMap<String, ValueId>;

impl Parser<'_, '_> {
    fn graph(&mut self, depth: usize) -> Result<Graph> {
        if depth > MAX_DEPTH {
            return self.c.error("this nests too deeply");
        }
        self.c.expect("graph")?;
        let name = match self.c.eat("@") {
            true => self.c.string()?,
            false => self.sigil('@')?,
        };
        let mut g = Graph::new(&name);
        let mut scope = Scope::new();
        self.c.expect("(")?;
        let mut first = true;
        while !self.c.eat(")") {
            if !std::mem::take(&mut first) {
                self.c.expect(",")?;
            }
            let start = self.c.clone();
            let name = self.sigil('%')?;
            let public = self.alias()?;
            let ty = match self.c.eat(":") {
                true => self.ty()?,
                false => None,
            };
            let v = g.add_input(public.as_ref().unwrap_or(&name), ty);
            if scope.insert(name, v).is_some() {
                return start.error("this name is taken");
            }
        }
        self.c.expect("->")?;
        // Outputs stand before what they name: they are looked up at the end.
        self.c.expect("(")?;
        let mut outs = vec![];
        while !self.c.eat(")") {
            if !outs.is_empty() {
                self.c.expect(",")?;
            }
            let at = self.c.clone();
            let name = self.sigil('%')?;
            let public = self.alias()?;
            outs.push((at, name, public));
        }
        self.c.expect("{")?;
        while !self.c.eat("}") {
            self.statement(&mut g, &mut scope, depth)?;
        }
        for (at, name, public) in outs {
            let Some(&v) = scope.get(&name) else {
                return at.error(format!("`%{name}` is never made"));
            };
            g.add_output(v);
            if let Some(last) = g.output_names.last_mut() {
                *last = public.unwrap_or(name);
            }
        }
        Ok(g)
    }

    /// A word behind a sigil.
    fn sigil(&mut self, sigil: char) -> Result<String> {
        let start = self.c.clone();
        let word = self.c.word()?;
        match word.strip_prefix(sigil) {
            Some(w) => Ok(w.to_string()),
            None => start.error(format!("expected `{sigil}` and a name, found `{word}`")),
        }
    }

    /// `as "name"`.
    fn alias(&mut self) -> Result<Option<String>> {
        match self.c.eat("as") {
            true => self.c.string().map(Some),
            false => Ok(None),
        }
    }

    /// A type, or `?`.
    fn ty(&mut self) -> Result<Option<TensorType>> {
        if self.c.eat("?") {
            return Ok(None);
        }
        let start = self.c.clone();
        let d = dtype(self.c)?;
        self.c.expect("[")?;
        let symbols = self.symbols;
        let shape = self.c.list("]", |c| text::dim(c, symbols))?;
        if shape.iter().any(|d| d.bounds(symbols).1 < 0) {
            return start.error("a size is negative");
        }
        Ok(Some(TensorType::new(d, shape)))
    }

    fn statement(&mut self, g: &mut Graph, scope: &mut Scope, depth: usize) -> Result<()> {
        // Results: a name each, or `_` for those nobody uses.
        let start = self.c.clone();
        let mut outs: Vec<Option<String>> = vec![];
        loop {
            outs.push(match self.c.eat("_") {
                true => None,
                false => Some(self.sigil('%')?),
            });
            if !self.c.eat(",") {
                break;
            }
        }
        self.c.expect("=")?;
        let values = if self.c.eat("lit") {
            let [Some(name)] = outs.as_slice() else {
                return start.error("a literal has one name");
            };
            vec![g.add_const(name, tensor(self.c)?)]
        } else {
            self.node(g, scope, &outs, depth)?
        };
        for (name, v) in outs.into_iter().zip(values) {
            if let Some(name) = name
                && scope.insert(name, v).is_some()
            {
                return start.error("this name is taken");
            }
        }
        Ok(())
    }

    fn node(
        &mut self,
        g: &mut Graph,
        scope: &Scope,
        outs: &[Option<String>],
        depth: usize,
    ) -> Result<Vec<ValueId>> {
        let start = self.c.clone();
        let word = self.c.word()?;
        let Some(op) = (self.find)(&word) else {
            return start.error(format!("there is no operator `{word}`"));
        };
        self.c.expect("(")?;
        let mut ins = vec![];
        while !self.c.eat(")") {
            if !ins.is_empty() {
                self.c.expect(",")?;
            }
            if self.c.eat("_") {
                ins.push(None);
                continue;
            }
            let at = self.c.clone();
            let name = self.sigil('%')?;
            match scope.get(&name) {
                Some(&v) => ins.push(Some(v)),
                None => return at.error(format!("`%{name}` is not made before")),
            }
        }
        let mut attrs = Attrs::default();
        if self.c.eat("{") {
            let mut first = true;
            while !self.c.eat("}") {
                if !std::mem::take(&mut first) {
                    self.c.expect(",")?;
                }
                let at = self.c.clone();
                let name = self.c.word()?;
                self.c.expect("=")?;
                if attrs.get(&name).is_some() {
                    return at.error("this attribute is given twice");
                }
                let value = self.attr()?;
                attrs.set(&name, value);
            }
        }
        let mut bodies = vec![];
        if self.c.eat("[") {
            while !self.c.eat("]") {
                if !bodies.is_empty() {
                    self.c.expect(",")?;
                }
                bodies.push(self.graph(depth + 1)?);
            }
        }
        let mut types = vec![];
        if self.c.eat(":") {
            let at = self.c.clone();
            loop {
                types.push(self.ty()?);
                if !self.c.eat(",") {
                    break;
                }
            }
            if types.len() != outs.len() {
                return at.error(format!("{} types for {} results", types.len(), outs.len()));
            }
        }
        let mut syms = vec![];
        if self.c.eat("defines") {
            loop {
                syms.push(symbol(self.c, self.symbols)?);
                if !self.c.eat(",") {
                    break;
                }
            }
        }
        let mut loc = Loc::default();
        if self.c.eat("@") {
            loop {
                loc.0.push(Arc::from(self.c.string()?));
                if !self.c.eat("+") {
                    break;
                }
            }
        }
        let n = g.add_node(op, attrs, ins, outs.len(), loc);
        let node = g.node_mut(n);
        node.bodies = bodies;
        node.syms = syms;
        let values = node.outs.clone();
        for (k, &v) in values.iter().enumerate() {
            let value = g.value_mut(v);
            value.name = outs[k].clone().unwrap_or_default();
            value.ty = types.get(k).cloned().flatten();
        }
        Ok(values)
    }

    fn attr(&mut self) -> Result<Attr> {
        let c = &mut *self.c;
        match c.peek().clone() {
            Token::Str(_) => Ok(Attr::Str(c.string()?)),
            Token::Punct("[") => {
                c.take();
                Ok(Attr::Ints(c.list("]", |c| c.int())?))
            }
            Token::Word(w) => match w.as_str() {
                "floats" => {
                    c.take();
                    c.expect("[")?;
                    let list = c.list("]", float)?;
                    Ok(Attr::Floats(list.into_iter().map(|v| v as f32).collect()))
                }
                "strs" => {
                    c.take();
                    c.expect("[")?;
                    Ok(Attr::Strs(c.list("]", |c| c.string())?))
                }
                "type" => {
                    c.take();
                    Ok(Attr::Type(dtype(c)?))
                }
                "inf" | "nan" => Ok(Attr::Float(float(c)? as f32)),
                _ => Ok(Attr::Tensor(tensor(c)?)),
            },
            Token::Number(s) => Self::number(c, &s),
            Token::Punct("-") => match c.peek_second().clone() {
                Token::Number(s) => Self::number(c, &s),
                _ => Ok(Attr::Float(float(c)? as f32)),
            },
            t => c.error(format!("expected an attribute's value, found {t}")),
        }
    }

    fn number(c: &mut Cursor, digits: &str) -> Result<Attr> {
        let whole = digits.starts_with("0x") || !digits.contains(['.', 'e', 'E']);
        match whole {
            true => Ok(Attr::Int(c.int()?)),
            false => Ok(Attr::Float(float(c)? as f32)),
        }
    }
}
