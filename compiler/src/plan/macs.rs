//! Multiply-accumulates of a function, counted in its loops.

use crate::base::dim::Symbols;
use crate::base::id::Id;
use crate::contracts::{self, sparse};
use crate::loops::compact::operands;
use crate::loops::ir::*;
use std::collections::HashMap;

/// Loops of so few rounds are walked round by round, so that a last, shorter block counts as what it is.
const WALKED: i64 = 32;

/// Multiply-adds that run, of floats or of whole numbers, at the bounds of symbolic sizes; tiles count what their contract's reference does. Loops whose extent
/// depends on data count once.
pub fn count(f: &Func, symbols: &Symbols) -> u64 {
    Count {
        f,
        symbols,
        vars: HashMap::new(),
    }
    .block(&f.body)
}

struct Count<'a> {
    f: &'a Func,
    symbols: &'a Symbols,
    vars: HashMap<VarId, Known>,
}

/// What is known of a variable: a bound, and its value where that is the only one.
#[derive(Clone, Copy)]
struct Known {
    most: Option<i64>,
    exact: Option<i64>,
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
                let n = self.most(*extent).unwrap_or(1).max(0);
                let uneven = (1..=WALKED).contains(&n) && self.decides(*var, body);
                if uneven {
                    let mut sum = 0u64;
                    for i in 0..n {
                        let at = Some(i);
                        self.vars.insert(
                            *var,
                            Known {
                                most: at,
                                exact: at,
                            },
                        );
                        sum = sum.saturating_add(self.block(body));
                    }
                    return sum;
                }
                let most = Some(n - 1);
                self.vars.insert(*var, Known { most, exact: None });
                self.block(body).saturating_mul(n as u64)
            }
            Stmt::Let { var, value } => {
                let (most, exact) = (self.most(*value), self.exact(*value));
                self.vars.insert(*var, Known { most, exact });
                self.fmas(*value)
            }
            Stmt::While { body, .. } => self.block(body),
            Stmt::If { then, els, .. } => self.block(then).max(self.block(els)),
            Stmt::Store { value, .. } => self.fmas(*value),
            Stmt::Call { callee, args } => self.call(*callee, args),
            Stmt::SetSym { .. } | Stmt::FailIf { .. } => 0,
        }
    }
    /// What a tile does is said by the reference of its contract, for the numbers that the call hands over.
    fn call(&self, callee: usize, args: &[Arg]) -> u64 {
        let callee = &self.f.callees[callee];
        let ints = args.iter().filter_map(|a| match a {
            Arg::Int(e) => Some(self.most(*e)),
            Arg::Ptr { .. } => None,
        });
        if let Some(n) = sparse::products(callee, &ints.collect::<Vec<_>>()) {
            return n.max(0) as u64;
        }
        let contract = contracts::ALL.iter().find(|c| c.name == callee.contract);
        let reference = contract.and_then(|c| c.reference);
        let Some(f) = reference.and_then(|make| make(callee)) else {
            return 0;
        };
        let numbers = args.iter().filter_map(|a| match a {
            Arg::Int(e) => Some(Known {
                most: self.most(*e),
                exact: self.exact(*e),
            }),
            Arg::Ptr { .. } => None,
        });
        let mut inner = Count {
            f: &f,
            symbols: self.symbols,
            vars: f.ints.iter().copied().zip(numbers).collect(),
        };
        inner.block(&f.body)
    }
    /// Whether a loop's variable decides how often a loop inside runs, or how much a call does, itself or through a name for a
    /// value.
    fn decides(&self, var: VarId, body: &[Stmt]) -> bool {
        self.any_decides(&mut vec![var], body)
    }
    fn any_decides(&self, names: &mut Vec<VarId>, body: &[Stmt]) -> bool {
        for s in body {
            let found = match s {
                Stmt::Let { var, value } => {
                    if self.mentions(*value, names) {
                        names.push(*var);
                    }
                    false
                }
                Stmt::For { extent, body, .. } => {
                    self.mentions(*extent, names) || self.any_decides(names, body)
                }
                Stmt::If { then, els, .. } => {
                    self.any_decides(names, then) || self.any_decides(names, els)
                }
                Stmt::Call { args, .. } => args
                    .iter()
                    .any(|a| matches!(a, Arg::Int(e) if self.mentions(*e, names))),
                _ => false,
            };
            if found {
                return true;
            }
        }
        false
    }
    fn mentions(&self, e: ExprId, names: &[VarId]) -> bool {
        let mut todo = vec![e];
        while let Some(e) = todo.pop() {
            match &self.f.exprs[e] {
                Expr::Var(v) if names.contains(v) => return true,
                x => todo.extend(operands(x)),
            }
        }
        false
    }
    fn fmas(&self, e: ExprId) -> u64 {
        let mut seen = vec![false; e.index() + 1];
        let (mut todo, mut n) = (vec![e], 0);
        while let Some(e) = todo.pop() {
            if std::mem::replace(&mut seen[e.index()], true) {
                continue;
            }
            // What is rounded to a whole number is requantized: a change of scale.
            if matches!(self.f.exprs[e], Expr::Un(UnOp::Near, _)) {
                continue;
            }
            n += u64::from(self.is_mac(e));
            todo.extend(operands(&self.f.exprs[e]));
        }
        n
    }
    /// A fused multiply-add, or a sum of whole numbers and a product of such.
    fn is_mac(&self, e: ExprId) -> bool {
        let product = |e: ExprId| {
            matches!(self.f.exprs[e], Expr::Bin(BinOp::Mul, ..)) && self.f.ty(e) == Ty::I32
        };
        match self.f.exprs[e] {
            Expr::Fma(..) => true,
            Expr::Bin(BinOp::Add, a, b) => product(a) || product(b),
            _ => false,
        }
    }
    /// The value of an index expression, where all in it is known.
    fn exact(&self, e: ExprId) -> Option<i64> {
        Some(match &self.f.exprs[e] {
            Expr::Const(Const::I64(v)) => *v,
            Expr::Var(v) => self.vars.get(v)?.exact?,
            Expr::Bin(op, a, b) => {
                let (a, b) = (self.exact(*a)?, self.exact(*b)?);
                match op {
                    BinOp::Add => a.checked_add(b)?,
                    BinOp::Sub => a.checked_sub(b)?,
                    BinOp::Mul => a.checked_mul(b)?,
                    BinOp::Min => a.min(b),
                    BinOp::Max => a.max(b),
                    BinOp::Div if b > 0 => a / b,
                    _ => return None,
                }
            }
            _ => return None,
        })
    }
    /// The largest value of an index expression made of constants, sizes and loop variables; `None` where unknown.
    fn most(&self, e: ExprId) -> Option<i64> {
        if let Some(v) = self.exact(e) {
            return Some(v);
        }
        Some(match &self.f.exprs[e] {
            Expr::Const(Const::I64(v)) => *v,
            Expr::Sym(s) => self.symbols.get(*s)?.hi,
            Expr::Var(v) => self.vars.get(v)?.most?,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::dim::Dim;
    use crate::base::dtype::DType;
    use crate::loops::build::Builder;

    /// Blocks of 4 of 10: the last one has 2.
    #[test]
    fn the_last_block_is_shorter() {
        let mut b = Builder::new("blocks");
        let x = b.buffer("x", DType::F32, Dim::Fixed(10), Access::ReadWrite);
        let blocks = b.i(3);
        b.for_(blocks, LoopKind::Seq, |b, i| {
            let (ten, four) = (b.i(10), b.i(4));
            let start = b.mul(i, four);
            let left = b.sub(ten, start);
            let n = b.min(left, four);
            let n = b.let_(n);
            b.for_(n, LoopKind::Seq, |b, j| {
                let at = b.add(start, j);
                let v = b.load(x, at);
                let w = b.fma(v, v, v);
                b.store(x, at, w);
            });
        });
        assert_eq!(count(&b.finish(), &Symbols::default()), 10);
    }
}
