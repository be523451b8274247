//! Checks the rules of the loops IR.
//!
//! 1. Every id is there, and operands stand before their users in the arena.
//! 2. Operands have the types that their operation takes: arithmetic on numbers, bit operations on whole numbers and Bool,
//!    mathematical functions on floats, both operands of one type; a selection picks by Bool between two of one type.
//! 3. Conditions are Bool; indices, extents, offsets, sizes and numbers handed to a call are I64; what is stored or set has
//!    the type of its place.
//! 4. Buffers have element types with arithmetic; a buffer that is only read is not written.
//! 5. A variable is set on every way that leads to its reading. One that is not mutable is set in one place; the loop's own
//!    variable and whole-number parameters are I64 and not mutable.
//! 6. Iterations of a parallel or lanes loop are independent as far as variables go: what is declared outside is not set
//!    inside, and no size is defined there.
//! 7. A status is not 0.
//! 8. A private buffer that a parallel loop writes is not read there before.
//!
//! All problems are collected. Indices and memory are not this module's: the interpreter checks every access.

use super::ir::*;
use crate::base::dim::Symbols;
use crate::base::id::Id;
use std::collections::{BTreeMap, BTreeSet};

/// A rule that does not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Number of the statement in the order of [`super::walk::visit`]; `None` for the head of the function.
    pub stmt: Option<usize>,
    /// What is wrong.
    pub message: String,
}

/// All problems of a function; `symbols` are those that it may use.
pub fn verify(func: &Func, symbols: &Symbols) -> Vec<Problem> {
    let mut v = Verifier {
        func,
        symbols,
        types: func.types(),
        seen: vec![false; func.exprs.len()],
        set_at: BTreeMap::new(),
        stmt: None,
        next: 0,
        problems: vec![],
    };
    v.head();
    let mut set: BTreeSet<VarId> = func.ints.iter().copied().collect();
    v.block(&func.body, &mut set, &None);
    v.problems
}

/// The first problem as a message, for callers that must stop there.
pub fn check(func: &Func, symbols: &Symbols) -> crate::base::diag::Result<()> {
    match verify(func, symbols).first() {
        None => Ok(()),
        Some(p) => Err(crate::base::diag::Diagnostic::internal(format!(
            "loops of {}: {}",
            func.name, p.message
        ))),
    }
}

struct Verifier<'f> {
    func: &'f Func,
    symbols: &'f Symbols,
    types: Vec<Ty>,
    /// Expressions that were checked; reading variables is checked at every use.
    seen: Vec<bool>,
    /// Which statement set a variable first.
    set_at: BTreeMap<VarId, usize>,
    stmt: Option<usize>,
    next: usize,
    problems: Vec<Problem>,
}

/// Variables that were set before the innermost independent loop; `None` outside of such loops.
type Outside = Option<BTreeSet<VarId>>;

impl Verifier<'_> {
    fn problem(&mut self, message: String) {
        self.problems.push(Problem {
            stmt: self.stmt,
            message,
        });
    }
    fn head(&mut self) {
        for (_, b) in self.func.bufs.iter() {
            if b.dtype.size() == 0 || matches!(b.dtype.name(), "complex64" | "complex128") {
                self.problem(format!(
                    "buffer {} has elements of type {}",
                    b.name, b.dtype
                ));
            }
            let mut syms = vec![];
            b.len.symbols(&mut syms);
            for s in syms {
                if self.symbols.get(s).is_none() {
                    self.problem(format!("buffer {} has an unknown size {s:?}", b.name));
                }
            }
        }
        for (n, v) in self.func.ints.iter().enumerate() {
            match self.func.vars.get(*v) {
                None => self.problem(format!("there is no variable {v:?}")),
                Some(var) if var.ty != Ty::I64 || var.mutable => {
                    self.problem(format!("parameter {v:?} is not an immutable I64"));
                }
                Some(_) if self.func.ints[..n].contains(v) => {
                    self.problem(format!("parameter {v:?} stands twice"));
                }
                Some(_) => {}
            }
        }
        for (id, e) in self.func.exprs.iter() {
            if let Some(o) = e.operands().find(|o| *o >= id) {
                self.problem(format!("{id:?} stands before its operand {o:?}"));
            }
        }
    }

    fn block(&mut self, block: &[Stmt], set: &mut BTreeSet<VarId>, outside: &Outside) {
        for s in block {
            self.stmt = Some(self.next);
            self.next += 1;
            self.stmt(s, set, outside);
        }
    }
    fn stmt(&mut self, s: &Stmt, set: &mut BTreeSet<VarId>, outside: &Outside) {
        for e in s.exprs() {
            self.tree(e, set);
        }
        if let Stmt::For {
            kind: LoopKind::Parallel,
            body,
            ..
        } = s
            && outside.is_none()
        {
            self.private(body);
        }
        match s {
            Stmt::For {
                var,
                extent,
                kind,
                body,
            } => {
                self.want(*extent, Ty::I64, "the extent of a loop");
                match self.func.vars.get(*var) {
                    Some(v) if v.ty != Ty::I64 || v.mutable => {
                        self.problem(format!("loop variable {var:?} is not an immutable I64"));
                    }
                    _ => {}
                }
                self.assign(*var, set, outside);
                let mut inner = set.clone();
                set.remove(var);
                let independent = matches!(kind, LoopKind::Parallel | LoopKind::Lanes);
                let outside = match independent {
                    true => Some(inner.clone()),
                    false => outside.clone(),
                };
                self.block(body, &mut inner, &outside);
            }
            Stmt::While { cond, body } => {
                self.want(*cond, Ty::Bool, "a condition");
                self.block(body, &mut set.clone(), outside);
            }
            Stmt::If { cond, then, els } => {
                self.want(*cond, Ty::Bool, "a condition");
                let (mut a, mut b) = (set.clone(), set.clone());
                self.block(then, &mut a, outside);
                self.block(els, &mut b, outside);
                *set = a.intersection(&b).copied().collect();
            }
            Stmt::Let { var, value } => {
                if let Some(v) = self.func.vars.get(*var) {
                    self.want(*value, v.ty, "the value of a variable");
                }
                self.assign(*var, set, outside);
            }
            Stmt::Store { buf, index, value } => {
                self.want(*index, Ty::I64, "an index");
                match self.func.bufs.get(*buf) {
                    None => self.problem(format!("there is no buffer {buf:?}")),
                    Some(b) => {
                        if b.access == Access::Read {
                            self.problem(format!("buffer {} is only read", b.name));
                        }
                        self.want(*value, Ty::of(b.dtype), "the value stored");
                    }
                }
            }
            Stmt::SetSym { sym, value } => {
                self.want(*value, Ty::I64, "a size");
                if self.symbols.get(*sym).is_none() {
                    self.problem(format!("there is no symbol {sym:?}"));
                }
                if outside.is_some() {
                    self.problem("a size is defined inside of a parallel loop".into());
                }
            }
            Stmt::FailIf { cond, status } => {
                self.want(*cond, Ty::Bool, "a condition");
                if *status == 0 {
                    self.problem("a status is not 0".into());
                }
            }
            Stmt::Call { callee, args } => {
                if *callee >= self.func.callees.len() {
                    self.problem(format!("there is no callee {callee}"));
                }
                for a in args {
                    match a {
                        Arg::Ptr { buf, offset } => {
                            self.want(*offset, Ty::I64, "an offset");
                            if self.func.bufs.get(*buf).is_none() {
                                self.problem(format!("there is no buffer {buf:?}"));
                            }
                        }
                        Arg::Int(e) => self.want(*e, Ty::I64, "a number handed to a call"),
                    }
                }
            }
        }
    }
    fn assign(&mut self, var: VarId, set: &mut BTreeSet<VarId>, outside: &Outside) {
        let Some(v) = self.func.vars.get(var) else {
            return self.problem(format!("there is no variable {var:?}"));
        };
        if !v.mutable && (self.set_at.contains_key(&var) || self.func.ints.contains(&var)) {
            self.problem(format!("variable {var:?} is set twice and not mutable"));
        }
        if outside.as_ref().is_some_and(|o| o.contains(&var)) {
            self.problem(format!(
                "variable {var:?} is set inside of a parallel loop and declared outside"
            ));
        }
        self.set_at.insert(var, self.stmt.unwrap_or(0));
        set.insert(var);
    }
    // Calls count as writes: what they do is not known here.
    fn private(&mut self, body: &[Stmt]) {
        let (mut written, mut read) = (BTreeSet::new(), BTreeSet::new());
        let private = |b: BufId| {
            let buffer = self.func.bufs.get(b);
            buffer.is_some_and(|b| b.access == Access::Private)
        };
        let mut early = BTreeSet::new();
        super::walk::visit(body, &mut |s| {
            let known = |e: &ExprId| self.func.exprs.get(*e).is_some();
            let roots: Vec<ExprId> = s.exprs().into_iter().filter(|e| known(e)).collect();
            for e in super::walk::reachable(self.func, &roots) {
                if let Expr::Load { buf, .. } | Expr::LoadIf { buf, .. } = self.func.exprs[e]
                    && private(buf)
                    && !written.contains(&buf)
                {
                    read.insert(buf);
                }
            }
            let mut write = |buf: BufId| {
                if private(buf) && read.contains(&buf) && !written.contains(&buf) {
                    early.insert(buf);
                }
                written.insert(buf);
            };
            match s {
                Stmt::Store { buf, .. } => write(*buf),
                Stmt::Call { args, .. } => {
                    for a in args {
                        if let Arg::Ptr { buf, .. } = a {
                            write(*buf);
                        }
                    }
                }
                _ => {}
            }
        });
        for b in early {
            let name = self.func.bufs[b].name.clone();
            self.problem(format!(
                "private buffer {name} is read in a parallel loop before it is written"
            ));
        }
    }
    fn want(&mut self, e: ExprId, ty: Ty, what: &str) {
        if let Some(&got) = self.types.get(e.index())
            && got != ty
        {
            self.problem(format!("{what} is {ty:?}, this is {got:?}"));
        }
    }

    /// Checks an expression and everything below it.
    fn tree(&mut self, root: ExprId, set: &BTreeSet<VarId>) {
        let mut stack = vec![root];
        let mut here = BTreeSet::new();
        while let Some(e) = stack.pop() {
            if !here.insert(e) {
                continue;
            }
            let Some(node) = self.func.exprs.get(e) else {
                self.problem(format!("there is no expression {e:?}"));
                continue;
            };
            if let Expr::Var(v) = node {
                match self.func.vars.get(*v) {
                    None => self.problem(format!("there is no variable {v:?}")),
                    Some(_) if !set.contains(v) => {
                        self.problem(format!("variable {v:?} is read where it may not be set"));
                    }
                    Some(_) => {}
                }
            }
            stack.extend(node.operands().filter(|o| *o < e));
            if !std::mem::replace(&mut self.seen[e.index()], true) {
                self.node(node);
            }
        }
    }
    fn node(&mut self, node: &Expr) {
        let ty = |e: ExprId| self.types.get(e.index()).copied().unwrap_or(Ty::I64);
        let bad = match node {
            Expr::Const(_) | Expr::Var(_) => None,
            Expr::Sym(s) => match self.symbols.get(*s) {
                Some(_) => None,
                None => Some(format!("there is no symbol {s:?}")),
            },
            Expr::Load { buf, index } => match self.func.bufs.get(*buf) {
                None => Some(format!("there is no buffer {buf:?}")),
                Some(_) => not(ty(*index), Ty::I64, "an index"),
            },
            Expr::LoadIf {
                buf,
                cond,
                index,
                default,
            } => match self.func.bufs.get(*buf) {
                None => Some(format!("there is no buffer {buf:?}")),
                Some(b) => not(ty(*index), Ty::I64, "an index")
                    .or(not(ty(*cond), Ty::Bool, "a condition"))
                    .or(not(ty(*default), Ty::of(b.dtype), "the default")),
            },
            Expr::Un(op, a) => match takes_one(*op, ty(*a)) {
                true => None,
                false => Some(format!("{op:?} does not take {:?}", ty(*a))),
            },
            Expr::Bin(op, a, b) => {
                let (a, b) = (ty(*a), ty(*b));
                match a == b && takes_two(*op, a) {
                    true => None,
                    false => Some(format!("{op:?} does not take {a:?} and {b:?}")),
                }
            }
            Expr::Fma(a, b, c) => {
                let t = [ty(*a), ty(*b), ty(*c)];
                match t[0].is_float() && t[0] == t[1] && t[0] == t[2] {
                    true => None,
                    false => Some(format!("Fma does not take {t:?}")),
                }
            }
            Expr::Select(c, a, b) => not(ty(*c), Ty::Bool, "a condition").or_else(|| {
                (ty(*a) != ty(*b))
                    .then(|| format!("Select does not take {:?} and {:?}", ty(*a), ty(*b)))
            }),
            Expr::Cast(..) => None,
        };
        if let Some(message) = bad {
            self.problem(message);
        }
    }
}

fn not(got: Ty, want: Ty, what: &str) -> Option<String> {
    (got != want).then(|| format!("{what} is {want:?}, this is {got:?}"))
}

/// Whether an operation takes an operand of type `ty`.
pub fn takes_one(op: UnOp, ty: Ty) -> bool {
    match op {
        UnOp::Neg | UnOp::Abs => ty != Ty::Bool,
        UnOp::Not => !ty.is_float(),
        UnOp::Seldom => ty == Ty::Bool,
        UnOp::Popcnt | UnOp::FromBits => ty.is_int(),
        _ => ty.is_float(),
    }
}

/// Whether an operation takes two operands of type `ty`.
pub fn takes_two(op: BinOp, ty: Ty) -> bool {
    use BinOp::*;
    match op {
        Add | Sub | Mul | Div | Min | Max | Lt | Le => ty != Ty::Bool,
        Rem | DivU | RemU | MinU | MaxU | Shl | Shr | ShrU | LtU | LeU => ty.is_int(),
        And | Or | Xor => !ty.is_float(),
        Eq | Ne => true,
        MulHiU => ty == Ty::I64,
        Pow => ty.is_float(),
    }
}
