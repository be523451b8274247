//! Going through a function: operands of expressions, expressions of statements, types.
//!
//! Everything that reads the IR (verifier, printer, interpreter, code generation) goes through these, so that a new
//! kind of node is taught in one place. Nothing here recurses over expressions: they may be very deep.

use super::ir::*;

impl Expr {
    /// Its operands in order.
    pub fn operands(&self) -> impl Iterator<Item = ExprId> + use<> {
        let all = match *self {
            Expr::Const(_) | Expr::Var(_) | Expr::Sym(_) => [None; 3],
            Expr::Load { index, .. } => [Some(index), None, None],
            Expr::LoadIf {
                cond,
                index,
                default,
                ..
            } => [Some(cond), Some(index), Some(default)],
            Expr::Un(_, a) | Expr::Cast(_, _, a) => [Some(a), None, None],
            Expr::Bin(_, a, b) => [Some(a), Some(b), None],
            Expr::Fma(a, b, c) | Expr::Select(a, b, c) => [Some(a), Some(b), Some(c)],
        };
        all.into_iter().flatten()
    }
    /// The same node over other operands.
    pub fn map_operands(&self, mut f: impl FnMut(ExprId) -> ExprId) -> Expr {
        match *self {
            Expr::Const(_) | Expr::Var(_) | Expr::Sym(_) => self.clone(),
            Expr::Load { buf, index } => Expr::Load {
                buf,
                index: f(index),
            },
            Expr::LoadIf {
                buf,
                cond,
                index,
                default,
            } => Expr::LoadIf {
                buf,
                cond: f(cond),
                index: f(index),
                default: f(default),
            },
            Expr::Un(op, a) => Expr::Un(op, f(a)),
            Expr::Cast(ty, kind, a) => Expr::Cast(ty, kind, f(a)),
            Expr::Bin(op, a, b) => Expr::Bin(op, f(a), f(b)),
            Expr::Fma(a, b, c) => Expr::Fma(f(a), f(b), f(c)),
            Expr::Select(a, b, c) => Expr::Select(f(a), f(b), f(c)),
        }
    }
    /// Whether it reads memory.
    pub fn is_load(&self) -> bool {
        matches!(self, Expr::Load { .. } | Expr::LoadIf { .. })
    }
}

impl Stmt {
    /// The expressions that it evaluates itself, those of inner statements left out, in the order of evaluation.
    pub fn exprs(&self) -> Vec<ExprId> {
        match self {
            Stmt::For { extent, .. } => vec![*extent],
            Stmt::While { cond, .. } | Stmt::If { cond, .. } | Stmt::FailIf { cond, .. } => {
                vec![*cond]
            }
            Stmt::Let { value, .. } | Stmt::SetSym { value, .. } => vec![*value],
            Stmt::Store { index, value, .. } => vec![*index, *value],
            Stmt::Call { args, .. } => args
                .iter()
                .map(|a| match a {
                    Arg::Ptr { offset, .. } => *offset,
                    Arg::Int(e) => *e,
                })
                .collect(),
        }
    }
    /// The blocks inside it.
    pub fn blocks(&self) -> impl Iterator<Item = &Vec<Stmt>> {
        let two = match self {
            Stmt::For { body, .. } | Stmt::While { body, .. } => [Some(body), None],
            Stmt::If { then, els, .. } => [Some(then), Some(els)],
            _ => [None, None],
        };
        two.into_iter().flatten()
    }
    /// The same statement with every expression replaced, inner statements included.
    pub fn map_exprs(&self, f: &mut dyn FnMut(ExprId) -> ExprId) -> Stmt {
        let block = |b: &[Stmt], f: &mut dyn FnMut(ExprId) -> ExprId| {
            b.iter().map(|s| s.map_exprs(f)).collect()
        };
        match self {
            Stmt::For {
                var,
                extent,
                kind,
                body,
            } => Stmt::For {
                var: *var,
                extent: f(*extent),
                kind: *kind,
                body: block(body, f),
            },
            Stmt::While { cond, body } => Stmt::While {
                cond: f(*cond),
                body: block(body, f),
            },
            Stmt::If { cond, then, els } => Stmt::If {
                cond: f(*cond),
                then: block(then, f),
                els: block(els, f),
            },
            Stmt::Let { var, value } => Stmt::Let {
                var: *var,
                value: f(*value),
            },
            Stmt::Store { buf, index, value } => Stmt::Store {
                buf: *buf,
                index: f(*index),
                value: f(*value),
            },
            Stmt::SetSym { sym, value } => Stmt::SetSym {
                sym: *sym,
                value: f(*value),
            },
            Stmt::FailIf { cond, status } => Stmt::FailIf {
                cond: f(*cond),
                status: *status,
            },
            Stmt::Call { callee, args } => Stmt::Call {
                callee: *callee,
                args: args
                    .iter()
                    .map(|a| match a {
                        Arg::Ptr { buf, offset } => Arg::Ptr {
                            buf: *buf,
                            offset: f(*offset),
                        },
                        Arg::Int(e) => Arg::Int(f(*e)),
                    })
                    .collect(),
            },
        }
    }
}

/// Visits every statement of a block and of the blocks inside, outer ones first.
pub fn visit<'a>(block: &'a [Stmt], f: &mut dyn FnMut(&'a Stmt)) {
    for s in block {
        f(s);
        for b in s.blocks() {
            visit(b, f);
        }
    }
}

impl Func {
    /// The type of every expression, in the order of the arena, in one pass ([`Func::ty`] walks down each time).
    pub fn types(&self) -> Vec<Ty> {
        let mut out: Vec<Ty> = Vec::with_capacity(self.exprs.len());
        for (_, e) in self.exprs.iter() {
            out.push(self.expr_ty(e, &out));
        }
        out
    }
    /// The type of a node whose operands have the types `known`. Wrong ids, which the verifier reports, count as I64.
    pub fn expr_ty(&self, e: &Expr, known: &[Ty]) -> Ty {
        let at = |e: ExprId| known.get(e.0 as usize).copied().unwrap_or(Ty::I64);
        match e {
            Expr::Const(c) => c.ty(),
            Expr::Var(v) => self.vars.get(*v).map_or(Ty::I64, |v| v.ty),
            Expr::Sym(_) => Ty::I64,
            Expr::Load { buf, .. } | Expr::LoadIf { buf, .. } => {
                self.bufs.get(*buf).map_or(Ty::I64, |b| Ty::of(b.dtype))
            }
            Expr::Un(UnOp::ToBits, a) => match at(*a) {
                Ty::F32 => Ty::I32,
                _ => Ty::I64,
            },
            Expr::Un(UnOp::FromBits, a) => match at(*a) {
                Ty::I32 => Ty::F32,
                _ => Ty::F64,
            },
            Expr::Bin(
                BinOp::Eq | BinOp::Ne | BinOp::Lt | BinOp::Le | BinOp::LtU | BinOp::LeU,
                ..,
            ) => Ty::Bool,
            Expr::Un(_, a) | Expr::Bin(_, a, _) | Expr::Fma(a, ..) | Expr::Select(_, a, _) => {
                at(*a)
            }
            Expr::Cast(ty, ..) => *ty,
        }
    }
}

/// Every node under the roots, operands before users.
pub fn reachable(f: &Func, roots: &[ExprId]) -> Vec<ExprId> {
    let mut seen = std::collections::BTreeSet::new();
    let mut open = roots.to_vec();
    while let Some(e) = open.pop() {
        if seen.insert(e) {
            open.extend(f.exprs[e].operands());
        }
    }
    seen.into_iter().collect()
}
