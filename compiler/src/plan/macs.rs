//! Multiply-accumulates of a function, counted in its loops.

use crate::base::dim::Symbols;
use crate::base::id::Id;
use crate::loops::compact::operands;
use crate::loops::ir::*;
use std::collections::HashMap;

/// Fused multiply-adds that run, at the bounds of symbolic sizes; tiles count rows x columns x depth. Loops whose extent
/// depends on data count once.
pub fn count(f: &Func, symbols: &Symbols) -> u64 {
    Count {
        f,
        symbols,
        ranges: HashMap::new(),
    }
    .block(&f.body)
}

struct Count<'a> {
    f: &'a Func,
    symbols: &'a Symbols,
    ranges: HashMap<VarId, u64>,
}

impl Count<'_> {
    fn block(&mut self, block: &[Stmt]) -> u64 {
        block
            .iter()
            .fold(0u64, |sum, s| sum.saturating_add(self.stmt(s)))
    }
    fn stmt(&mut self, s: &Stmt) -> u64 {
        match s {
            Stmt::For {
                var, extent, body, ..
            } => {
                let n = self.most(*extent).unwrap_or(1).max(0) as u64;
                self.ranges.insert(*var, n);
                self.block(body).saturating_mul(n)
            }
            Stmt::While { body, .. } => self.block(body),
            Stmt::If { then, els, .. } => self.block(then).max(self.block(els)),
            Stmt::Let { value, .. } | Stmt::Store { value, .. } => self.fmas(*value),
            Stmt::Call { callee, args } => {
                let c = &self.f.callees[*callee];
                let shape = |n: &str| {
                    let found = c.shape.iter().find(|(k, _)| k == n);
                    found.map_or(1, |(_, v)| (*v).max(0) as u64)
                };
                let ints: Vec<u64> = args
                    .iter()
                    .filter_map(|a| match a {
                        Arg::Int(e) => Some(self.most(*e).unwrap_or(0).max(0) as u64),
                        _ => None,
                    })
                    .collect();
                let int = |i: usize| ints.get(i).copied().unwrap_or(0);
                // As the contracts say what their numbers mean.
                match c.contract.as_str() {
                    "gemm_strip" => shape("m") * shape("n") * shape("segs") * int(2) * int(5),
                    "depthwise_tile" => {
                        let pixels = shape("rows") * shape("cols") * int(5);
                        pixels * shape("kh") * shape("kw") * int(4)
                    }
                    _ => shape("m") * shape("n") * ints.last().copied().unwrap_or(0),
                }
            }
            Stmt::SetSym { .. } | Stmt::FailIf { .. } => 0,
        }
    }
    fn fmas(&self, e: ExprId) -> u64 {
        let mut seen = vec![false; e.index() + 1];
        let (mut todo, mut n) = (vec![e], 0);
        while let Some(e) = todo.pop() {
            if std::mem::replace(&mut seen[e.index()], true) {
                continue;
            }
            n += u64::from(matches!(self.f.exprs[e], Expr::Fma(..)));
            todo.extend(operands(&self.f.exprs[e]));
        }
        n
    }
    /// The largest value of an index expression made of constants, sizes and loop variables; `None` where unknown.
    fn most(&self, e: ExprId) -> Option<i64> {
        Some(match &self.f.exprs[e] {
            Expr::Const(Const::I64(v)) => *v,
            Expr::Sym(s) => self.symbols.get(*s)?.hi,
            Expr::Var(v) => *self.ranges.get(v)? as i64 - 1,
            Expr::Bin(BinOp::Add, a, b) => self.most(*a)?.saturating_add(self.most(*b)?),
            Expr::Bin(BinOp::Mul, a, b) => self.most(*a)?.saturating_mul(self.most(*b)?),
            Expr::Bin(BinOp::Min, a, b) => match (self.most(*a), self.most(*b)) {
                (Some(a), Some(b)) => a.min(b),
                (a, b) => a.or(b)?,
            },
            Expr::Bin(BinOp::Max, a, b) => self.most(*a)?.max(self.most(*b)?),
            Expr::Bin(BinOp::Sub, a, b) => match &self.f.exprs[*b] {
                Expr::Const(Const::I64(v)) => self.most(*a)?.saturating_sub(*v),
                _ => self.most(*a)?,
            },
            Expr::Bin(BinOp::Div, a, b) => match self.f.exprs[*b] {
                Expr::Const(Const::I64(v)) if v > 0 => self.most(*a)? / v,
                _ => return None,
            },
            _ => return None,
        })
    }
}
