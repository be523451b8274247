//! Canonical form of a function: only what its statements reach, numbered in the order of first use.
//!
//! Two functions that do the same in the same words become equal, so layers can share a body; and parameters that a
//! lowering declared but did not need fall away (the unpacked weights of a kernel that packed them).

use super::ir::*;
use crate::base::id::Id;
use std::collections::HashMap;

/// The canonical form, and which buffer parameters of `func` are left, in order.
pub fn compact(func: &Func) -> (Func, Vec<BufId>) {
    let mut used = vec![false; func.bufs.len()];
    let mut seen = vec![false; func.exprs.len()];
    mark_block(func, &func.body, &mut used, &mut seen);
    let kept: Vec<BufId> = func.bufs.ids().filter(|b| used[b.index()]).collect();
    let mut c = Compact {
        src: func,
        out: Func {
            name: func.name.clone(),
            ..Func::default()
        },
        bufs: HashMap::new(),
        vars: HashMap::new(),
        exprs: HashMap::new(),
        callees: HashMap::new(),
    };
    for &b in &kept {
        let n = c.out.bufs.push(func.bufs[b].clone());
        c.bufs.insert(b, n);
    }
    for &v in &func.ints {
        let n = c.var(v);
        c.out.ints.push(n);
    }
    let body = c.block(&func.body);
    c.out.body = body;
    (c.out, kept)
}

fn mark_block(f: &Func, block: &[Stmt], used: &mut [bool], seen: &mut [bool]) {
    let mut e = |x: ExprId, used: &mut [bool]| mark_expr(f, x, used, seen);
    for s in block {
        match s {
            Stmt::For { extent, .. } => e(*extent, used),
            Stmt::While { cond, .. } | Stmt::If { cond, .. } | Stmt::FailIf { cond, .. } => {
                e(*cond, used)
            }
            Stmt::Let { value, .. } | Stmt::SetSym { value, .. } => e(*value, used),
            Stmt::Store { buf, index, value } => {
                used[buf.index()] = true;
                e(*index, used);
                e(*value, used);
            }
            Stmt::Call { args, .. } => {
                for a in args {
                    match a {
                        Arg::Ptr { buf, offset } => {
                            used[buf.index()] = true;
                            e(*offset, used);
                        }
                        Arg::Int(x) => e(*x, used),
                    }
                }
            }
        }
    }
    for s in block {
        match s {
            Stmt::For { body, .. } | Stmt::While { body, .. } => mark_block(f, body, used, seen),
            Stmt::If { then, els, .. } => {
                mark_block(f, then, used, seen);
                mark_block(f, els, used, seen);
            }
            _ => {}
        }
    }
}

fn mark_expr(f: &Func, e: ExprId, used: &mut [bool], seen: &mut [bool]) {
    let mut todo = vec![e];
    while let Some(e) = todo.pop() {
        if std::mem::replace(&mut seen[e.index()], true) {
            continue;
        }
        if let Expr::Load { buf, .. } | Expr::LoadIf { buf, .. } = &f.exprs[e] {
            used[buf.index()] = true;
        }
        todo.extend(operands(&f.exprs[e]));
    }
}

/// The operands of an expression, in order.
pub fn operands(e: &Expr) -> Vec<ExprId> {
    match e {
        Expr::Const(_) | Expr::Var(_) | Expr::Sym(_) => vec![],
        Expr::Load { index, .. } => vec![*index],
        Expr::LoadIf {
            cond,
            index,
            default,
            ..
        } => vec![*cond, *index, *default],
        Expr::Un(_, a) | Expr::Cast(_, _, a) => vec![*a],
        Expr::Bin(_, a, b) => vec![*a, *b],
        Expr::Fma(a, b, c) | Expr::Select(a, b, c) => vec![*a, *b, *c],
    }
}

struct Compact<'a> {
    src: &'a Func,
    out: Func,
    bufs: HashMap<BufId, BufId>,
    vars: HashMap<VarId, VarId>,
    exprs: HashMap<ExprId, ExprId>,
    callees: HashMap<usize, usize>,
}

impl Compact<'_> {
    fn var(&mut self, v: VarId) -> VarId {
        let (src, out) = (self.src, &mut self.out);
        *self
            .vars
            .entry(v)
            .or_insert_with(|| out.vars.push(src.vars[v]))
    }
    fn buf(&self, b: BufId) -> BufId {
        self.bufs[&b]
    }
    /// Operands have smaller ids than their users, so an explicit stack visits them first without recursion.
    fn expr(&mut self, e: ExprId) -> ExprId {
        let mut todo = vec![e];
        while let Some(&top) = todo.last() {
            if self.exprs.contains_key(&top) {
                todo.pop();
                continue;
            }
            let src = self.src;
            let missing: Vec<ExprId> = operands(&src.exprs[top])
                .into_iter()
                .filter(|o| !self.exprs.contains_key(o))
                .collect();
            if !missing.is_empty() {
                todo.extend(missing.into_iter().rev());
                continue;
            }
            todo.pop();
            let x = |id: &ExprId| self.exprs[id];
            let new = match &src.exprs[top] {
                Expr::Const(c) => Expr::Const(*c),
                Expr::Var(v) => {
                    let v = *v;
                    Expr::Var(self.var(v))
                }
                Expr::Sym(s) => Expr::Sym(*s),
                Expr::Load { buf, index } => Expr::Load {
                    buf: self.buf(*buf),
                    index: x(index),
                },
                Expr::LoadIf {
                    buf,
                    cond,
                    index,
                    default,
                } => Expr::LoadIf {
                    buf: self.buf(*buf),
                    cond: x(cond),
                    index: x(index),
                    default: x(default),
                },
                Expr::Un(op, a) => Expr::Un(*op, x(a)),
                Expr::Bin(op, a, b) => Expr::Bin(*op, x(a), x(b)),
                Expr::Fma(a, b, c) => Expr::Fma(x(a), x(b), x(c)),
                Expr::Select(a, b, c) => Expr::Select(x(a), x(b), x(c)),
                Expr::Cast(t, k, a) => Expr::Cast(*t, *k, x(a)),
            };
            let id = self.out.exprs.push(new);
            self.exprs.insert(top, id);
        }
        self.exprs[&e]
    }
    fn block(&mut self, block: &[Stmt]) -> Vec<Stmt> {
        block.iter().map(|s| self.stmt(s)).collect()
    }
    fn stmt(&mut self, s: &Stmt) -> Stmt {
        match s {
            Stmt::For {
                var,
                extent,
                kind,
                body,
            } => {
                let extent = self.expr(*extent);
                let var = self.var(*var);
                Stmt::For {
                    var,
                    extent,
                    kind: *kind,
                    body: self.block(body),
                }
            }
            Stmt::While { cond, body } => Stmt::While {
                cond: self.expr(*cond),
                body: self.block(body),
            },
            Stmt::If { cond, then, els } => Stmt::If {
                cond: self.expr(*cond),
                then: self.block(then),
                els: self.block(els),
            },
            Stmt::Let { var, value } => {
                let value = self.expr(*value);
                Stmt::Let {
                    var: self.var(*var),
                    value,
                }
            }
            Stmt::Store { buf, index, value } => Stmt::Store {
                buf: self.buf(*buf),
                index: self.expr(*index),
                value: self.expr(*value),
            },
            Stmt::SetSym { sym, value } => Stmt::SetSym {
                sym: *sym,
                value: self.expr(*value),
            },
            Stmt::FailIf { cond, status } => Stmt::FailIf {
                cond: self.expr(*cond),
                status: *status,
            },
            Stmt::Call { callee, args } => {
                let next = self.out.callees.len();
                let new = *self.callees.entry(*callee).or_insert(next);
                if new == next {
                    self.out.callees.push(self.src.callees[*callee].clone());
                }
                let args = args
                    .iter()
                    .map(|a| match a {
                        Arg::Ptr { buf, offset } => Arg::Ptr {
                            buf: self.buf(*buf),
                            offset: self.expr(*offset),
                        },
                        Arg::Int(e) => Arg::Int(self.expr(*e)),
                    })
                    .collect();
                Stmt::Call { callee: new, args }
            }
        }
    }
}
