//! What loops cost, roughly: cycles, for deciding what is worth a call of other threads.
//!
//! Every operation is a cycle, four in lanes take one, tiles do sixteen multiply-adds a cycle. Within a factor of two or three of the truth,
//! which is enough: small layers and large ones are orders of magnitude apart.

use crate::base::dim::Symbols;
use crate::contracts::{References, sparse};
use crate::loops::interp::CalleeResolver;
use crate::loops::ir::*;
use crate::loops::walk::reachable;
use std::collections::HashMap;

/// Lanes of compiler-written vector loops.
const LANES: f64 = 4.0;
/// Multiply-adds of a tile in one cycle.
const TILE: f64 = 16.0;
/// What a tile that moves an element could multiply meanwhile.
const MOVE: f64 = 4.0;
/// The same for an element that it computes otherwise than by multiply-adds.
const MAKE: f64 = 2.0;
/// Rounds of a loop whose extent is computed from data.
const UNKNOWN: f64 = 16.0;

/// Counts cycles of the statements of one function.
pub struct Work<'a> {
    func: &'a Func,
    symbols: &'a Symbols,
    callees: &'a References,
    /// The largest value of variables that are known.
    most: HashMap<VarId, i64>,
    nodes: HashMap<ExprId, f64>,
    lanes: bool,
}

impl<'a> Work<'a> {
    /// Of a function.
    pub fn new(func: &'a Func, symbols: &'a Symbols, callees: &'a References) -> Work<'a> {
        Work {
            func,
            symbols,
            callees,
            most: HashMap::new(),
            nodes: HashMap::new(),
            lanes: false,
        }
    }
    /// Takes note of a loop whose body is looked at next; the answer is its rounds.
    pub fn enter(&mut self, var: VarId, extent: ExprId) -> f64 {
        match self.most(extent) {
            Some(n) => {
                self.most.insert(var, (n - 1).max(0));
                n.max(0) as f64
            }
            None => UNKNOWN,
        }
    }
    /// Cycles of a statement.
    pub fn stmt(&mut self, s: &Stmt) -> f64 {
        match s {
            Stmt::For {
                var,
                extent,
                kind,
                body,
            } => {
                let n = self.enter(*var, *extent);
                let outer = self.lanes;
                let wide = *kind == LoopKind::Lanes && !outer;
                self.lanes |= wide;
                let one = 1.0 + body.iter().map(|s| self.stmt(s)).sum::<f64>();
                self.lanes = outer;
                n * one / if wide { LANES } else { 1.0 }
            }
            Stmt::While { body, .. } => UNKNOWN * body.iter().map(|s| self.stmt(s)).sum::<f64>(),
            Stmt::If { then, els, .. } => {
                let a: f64 = then.iter().map(|s| self.stmt(s)).sum();
                let b: f64 = els.iter().map(|s| self.stmt(s)).sum();
                1.0 + a.max(b)
            }
            Stmt::Let { var, value } => {
                if let Some(n) = self.most(*value) {
                    self.most.insert(*var, n);
                }
                self.expr(*value)
            }
            Stmt::Store { value, .. } => 1.0 + self.expr(*value),
            Stmt::SetSym { value, .. } => self.expr(*value),
            Stmt::FailIf { cond, .. } => self.expr(*cond),
            Stmt::Call { callee, args } => 20.0 + self.call(*callee, args) / TILE,
        }
    }
    // Operations under a node, addresses and constants aside; mathematical functions are written out in many.
    fn expr(&mut self, e: ExprId) -> f64 {
        if let Some(n) = self.nodes.get(&e) {
            return *n;
        }
        let cost = |e: &ExprId| match &self.func.exprs[*e] {
            Expr::Const(_) | Expr::Var(_) | Expr::Sym(_) => 0.0,
            Expr::Un(op, _) if *op as u8 >= UnOp::Exp as u8 => 20.0,
            Expr::Bin(BinOp::Pow, ..) => 40.0,
            x if x.is_load() => 1.0,
            _ if self.func.ty(*e) == Ty::I64 => 0.0,
            _ => 1.0,
        };
        let n = reachable(self.func, &[e]).iter().map(cost).sum();
        self.nodes.insert(e, n);
        n
    }
    // Work of a call: that of the reference.
    fn call(&mut self, callee: usize, args: &[Arg]) -> f64 {
        let ints = args.iter().filter_map(|a| match a {
            Arg::Int(e) => Some(self.most(*e)),
            Arg::Ptr { .. } => None,
        });
        let ints: Vec<_> = ints.collect();
        if let Some(n) = (self.func.callees.get(callee)).and_then(|c| sparse::products(c, &ints)) {
            return n as f64;
        }
        let Some(f) = (self.func.callees.get(callee)).and_then(|c| self.callees.reference(c))
        else {
            return 0.0;
        };
        let mut inner = Work::new(&f, self.symbols, self.callees);
        for (v, n) in f.ints.iter().zip(ints) {
            if let Some(n) = n {
                inner.most.insert(*v, n);
            }
        }
        // A sum in several chains is written as a choice among them.
        let split = self.func.callees[callee].get("split").unwrap_or(1);
        inner.products(&f.body) / split.max(1) as f64
    }
    // Multiply-adds, elements that are moved or made, and rounds of innermost loops that have neither.
    fn products(&mut self, block: &[Stmt]) -> f64 {
        let mut total = 0.0;
        for s in block {
            match s {
                Stmt::For {
                    var, extent, body, ..
                } => {
                    let n = self.enter(*var, *extent);
                    total += n * self.products(body).max(1.0);
                }
                Stmt::Let { var, value } => {
                    if let Some(n) = self.most(*value) {
                        self.most.insert(*var, n);
                    }
                    total += f64::from(u8::from(self.is_product(*value)));
                }
                Stmt::Store { value, .. } => {
                    total += match self.func.exprs[*value].is_load() {
                        true => MOVE,
                        false => MAKE,
                    }
                }
                _ => {}
            }
        }
        total
    }
    // A multiply-add, of whole numbers too, or a choice; addresses aside.
    fn is_product(&self, e: ExprId) -> bool {
        let is_mul = |e: ExprId| matches!(self.func.exprs[e], Expr::Bin(BinOp::Mul, ..));
        match self.func.exprs[e] {
            Expr::Fma(..) | Expr::Select(..) => true,
            Expr::Bin(BinOp::Add, a, b) => self.func.ty(e) != Ty::I64 && (is_mul(a) || is_mul(b)),
            _ => false,
        }
    }
    // The largest value of an index that is made of constants, sizes and loop variables.
    fn most(&self, e: ExprId) -> Option<i64> {
        Some(match &self.func.exprs[e] {
            Expr::Const(Const::I64(v)) => *v,
            Expr::Sym(s) => self.symbols.get(*s)?.hi,
            Expr::Var(v) => *self.most.get(v)?,
            Expr::Bin(BinOp::Add, a, b) => self.most(*a)?.saturating_add(self.most(*b)?),
            Expr::Bin(BinOp::Mul, a, b) => self.most(*a)?.saturating_mul(self.most(*b)?),
            Expr::Bin(BinOp::Max, a, b) => self.most(*a)?.max(self.most(*b)?),
            Expr::Bin(BinOp::Min, a, b) => match (self.most(*a), self.most(*b)) {
                (Some(a), Some(b)) => a.min(b),
                (a, b) => a.or(b)?,
            },
            Expr::Bin(BinOp::Sub, a, b) => match self.func.exprs[*b] {
                Expr::Const(Const::I64(v)) => self.most(*a)?.saturating_sub(v),
                _ => self.most(*a)?,
            },
            Expr::Bin(BinOp::Div, a, b) => match self.func.exprs[*b] {
                Expr::Const(Const::I64(v)) if v > 0 => self.most(*a)? / v,
                _ => self.most(*a)?,
            },
            Expr::Select(_, a, b) => self.most(*a)?.max(self.most(*b)?),
            _ => return None,
        })
    }
}
