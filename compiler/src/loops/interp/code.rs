//! From a function to flat register code.
//!
//! Every variable, every expression and every constant has a register of its own. A statement's expressions are
//! evaluated once each, however often they are shared inside it; what does not change inside a loop and reads no memory
//! is evaluated before the loop (every operation is total, so that is never visible).

use super::alu::{Op, bin_op, cast_op, un_op};
use super::memory::access_ops;
use crate::base::dim::{Dim, SymId};
use crate::base::id::Id;
use crate::loops::ir::*;
use crate::loops::{legalize, walk};
use std::collections::{BTreeMap, BTreeSet};

/// One instruction; what the fields mean is said at [`Op`], results go to register `d`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ins {
    pub op: Op,
    pub d: u32,
    pub a: u32,
    pub b: u32,
    pub c: u32,
}

/// What the code needs to know of a buffer.
pub(super) struct Buf {
    pub name: String,
    /// Bytes of an element.
    pub size: usize,
    pub access: Access,
    /// The declared length, where it is known before the function runs.
    pub len: Option<Dim>,
}

/// One call in the code.
pub(super) struct CallSite {
    pub callee: usize,
    /// Buffers and the registers of their offsets.
    pub ptrs: Vec<(u32, u32)>,
    /// Registers of the whole numbers.
    pub ints: Vec<u32>,
}

/// A function made ready to be interpreted.
pub struct Program {
    pub(super) name: String,
    pub(super) code: Vec<Ins>,
    pub(super) regs: usize,
    pub(super) consts: Vec<(u32, u64)>,
    pub(super) ints: Vec<u32>,
    pub(super) bufs: Vec<Buf>,
    pub(super) calls: Vec<CallSite>,
    pub(super) callees: Vec<Callee>,
}

impl Program {
    /// Compiles a function. The error says what is wrong with it: such a function is a bug of whoever made it.
    pub fn new(func: &Func) -> Result<Program, String> {
        let plain = legalize::legalize(func);
        let mut c = Compiler::new(&plain)?;
        c.block(&plain.body)?;
        c.emit(Op::Halt, 0, 0, 0, 0);
        let set = set_in(&plain.body).1;
        let bufs = plain.bufs.iter().map(|(_, b)| {
            let mut syms = vec![];
            b.len.symbols(&mut syms);
            // Kernel references are called with whatever is there; sizes that are set here come too late.
            let known = plain.ints.is_empty() && !syms.iter().any(|s| set.contains(s));
            Buf {
                name: b.name.clone(),
                size: b.dtype.size(),
                access: b.access,
                len: known.then(|| b.len.clone()),
            }
        });
        let bufs = bufs.collect();
        Ok(Program {
            name: plain.name.clone(),
            code: c.code,
            regs: c.next as usize,
            consts: c.consts.into_iter().map(|(v, r)| (r, v)).collect(),
            ints: plain.ints.iter().map(|v| v.0).collect(),
            bufs,
            calls: c.calls,
            callees: plain.callees.clone(),
        })
    }
}

/// Variables and symbols that a block sets.
fn set_in(block: &[Stmt]) -> (BTreeSet<VarId>, BTreeSet<SymId>) {
    let (mut vars, mut syms) = (BTreeSet::new(), BTreeSet::new());
    walk::visit(block, &mut |s| match s {
        Stmt::For { var, .. } | Stmt::Let { var, .. } => {
            vars.insert(*var);
        }
        Stmt::SetSym { sym, .. } => {
            syms.insert(*sym);
        }
        _ => {}
    });
    (vars, syms)
}

struct Compiler<'f> {
    func: &'f Func,
    types: Vec<Ty>,
    code: Vec<Ins>,
    /// Register of every expression.
    reg: Vec<u32>,
    /// Whether the register holds the value here.
    have: Vec<bool>,
    /// What was evaluated for the statement at hand.
    local: Vec<ExprId>,
    consts: BTreeMap<u64, u32>,
    calls: Vec<CallSite>,
    next: u32,
}

impl<'f> Compiler<'f> {
    fn new(func: &'f Func) -> Result<Compiler<'f>, String> {
        let mut c = Compiler {
            func,
            types: func.types(),
            code: vec![],
            reg: Vec::with_capacity(func.exprs.len()),
            have: Vec::with_capacity(func.exprs.len()),
            local: vec![],
            consts: BTreeMap::new(),
            calls: vec![],
            next: func.vars.len() as u32,
        };
        for (id, e) in func.exprs.iter() {
            if let Some(o) = e.operands().find(|o| *o >= id) {
                return Err(format!("{id:?} stands before its operand {o:?}"));
            }
            let (reg, have) = match e {
                Expr::Var(v) if v.index() < func.vars.len() => (v.0, true),
                Expr::Var(v) => return Err(format!("there is no variable {v:?}")),
                Expr::Const(k) => (c.constant(*k), true),
                _ => (c.fresh(), false),
            };
            c.reg.push(reg);
            c.have.push(have);
        }
        if let Some(v) = func.ints.iter().find(|v| v.index() >= func.vars.len()) {
            return Err(format!("there is no variable {v:?}"));
        }
        Ok(c)
    }
    fn fresh(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }
    fn constant(&mut self, k: Const) -> u32 {
        let bits = match k {
            Const::F32(v) => v as u64,
            Const::F64(v) => v,
            Const::I32(v) => v as u32 as u64,
            Const::I64(v) => v as u64,
            Const::Bool(v) => v as u64,
        };
        if let Some(&r) = self.consts.get(&bits) {
            return r;
        }
        let r = self.fresh();
        self.consts.insert(bits, r);
        r
    }
    fn emit(&mut self, op: Op, d: u32, a: u32, b: u32, c: u32) -> usize {
        self.code.push(Ins { op, d, a, b, c });
        self.code.len() - 1
    }
    fn here(&self) -> u32 {
        self.code.len() as u32
    }

    /// Makes sure that an expression's register holds its value; returns the register.
    fn eval(&mut self, root: ExprId) -> Result<u32, String> {
        if root.index() >= self.reg.len() {
            return Err(format!("there is no expression {root:?}"));
        }
        let mut stack = vec![root];
        while let Some(&e) = stack.last() {
            if self.have[e.index()] {
                stack.pop();
                continue;
            }
            let before = stack.len();
            stack.extend(
                self.func.exprs[e]
                    .operands()
                    .filter(|o| !self.have[o.index()]),
            );
            if stack.len() == before {
                self.node(e)?;
                self.have[e.index()] = true;
                self.local.push(e);
                stack.pop();
            }
        }
        Ok(self.reg[root.index()])
    }
    /// Forgets what was evaluated for a statement.
    fn done(&mut self) {
        for e in self.local.drain(..) {
            self.have[e.index()] = false;
        }
    }
    fn r(&self, e: ExprId) -> u32 {
        self.reg[e.index()]
    }
    fn buffer(&self, buf: BufId) -> Result<(Op, Op), String> {
        let b = self.func.bufs.get(buf);
        let b = b.ok_or_else(|| format!("there is no buffer {buf:?}"))?;
        access_ops(b.dtype)
            .ok_or_else(|| format!("buffer {} has elements of type {}", b.name, b.dtype))
    }
    /// Code for one node whose operands are there.
    fn node(&mut self, e: ExprId) -> Result<(), String> {
        let d = self.r(e);
        let no_op = |op: &dyn std::fmt::Debug, ty: Ty| format!("{op:?} does not take {ty:?}");
        match self.func.exprs[e] {
            Expr::Const(_) | Expr::Var(_) => {}
            Expr::Sym(s) => {
                self.emit(Op::Sym, d, s.0, 0, 0);
            }
            Expr::Load { buf, index } => {
                let op = self.buffer(buf)?.0;
                self.emit(op, d, self.r(index), buf.0, 0);
            }
            Expr::LoadIf {
                buf,
                cond,
                index,
                default,
            } => {
                let op = self.buffer(buf)?.0;
                self.emit(Op::Mov, d, self.r(default), 0, 0);
                let over = self.here() + 2;
                self.emit(Op::JumpIfNot, over, self.r(cond), 0, 0);
                self.emit(op, d, self.r(index), buf.0, 0);
            }
            Expr::Un(op, a) => {
                let ty = self.types[a.index()];
                let row = un_op(op, ty).ok_or_else(|| no_op(&op, ty))?;
                self.emit(row, d, self.r(a), 0, 0);
            }
            Expr::Bin(op, a, b) => {
                let ty = self.types[a.index()];
                let row = bin_op(op, ty).ok_or_else(|| no_op(&op, ty))?;
                self.emit(row, d, self.r(a), self.r(b), 0);
            }
            Expr::Fma(a, b, c) => {
                let row = match self.types[a.index()] {
                    Ty::F32 => Op::FmaF32,
                    Ty::F64 => Op::FmaF64,
                    ty => return Err(no_op(&"Fma", ty)),
                };
                self.emit(row, d, self.r(a), self.r(b), self.r(c));
            }
            Expr::Select(c, a, b) => {
                self.emit(Op::Select, d, self.r(c), self.r(a), self.r(b));
            }
            Expr::Cast(to, kind, a) => {
                let row = cast_op(self.types[a.index()], to, kind);
                self.emit(row, d, self.r(a), 0, 0);
            }
        }
        Ok(())
    }

    /// Evaluates before a loop what its body needs and does not change. Returns what must be forgotten after it.
    fn hoist(
        &mut self,
        body: &[Stmt],
        var: Option<VarId>,
        cond: Option<ExprId>,
    ) -> Result<Vec<ExprId>, String> {
        let (mut vars, syms) = set_in(body);
        vars.extend(var);
        let mut used = vec![false; self.reg.len()];
        let mut roots: Vec<ExprId> = cond.into_iter().collect();
        walk::visit(body, &mut |s| roots.extend(s.exprs()));
        while let Some(e) = roots.pop() {
            if let Some(u) = used.get_mut(e.index())
                && !*u
            {
                *u = true;
                roots.extend(self.func.exprs[e].operands());
            }
        }
        let mut fixed = vec![false; self.reg.len()];
        let mut kept = vec![];
        for e in self.func.exprs.ids().filter(|e| used[e.index()]) {
            let node = &self.func.exprs[e];
            let stays = match node {
                Expr::Var(v) => !vars.contains(v),
                Expr::Sym(s) => !syms.contains(s),
                _ => !node.is_load() && node.operands().all(|o| fixed[o.index()]),
            };
            // What an outer loop has evaluated does not change in here either.
            fixed[e.index()] = stays;
            if stays && !self.have[e.index()] {
                self.node(e)?;
                self.have[e.index()] = true;
                kept.push(e);
            }
        }
        Ok(kept)
    }
    fn forget(&mut self, kept: Vec<ExprId>) {
        for e in kept {
            self.have[e.index()] = false;
        }
    }

    fn block(&mut self, block: &[Stmt]) -> Result<(), String> {
        block.iter().try_for_each(|s| self.stmt(s))
    }
    fn stmt(&mut self, s: &Stmt) -> Result<(), String> {
        match s {
            Stmt::For {
                var, extent, body, ..
            } => {
                let value = self.eval(*extent)?;
                let extent = self.fresh();
                self.emit(Op::Mov, extent, value, 0, 0);
                self.done();
                let reg = self.var(*var)?;
                let kept = self.hoist(body, Some(*var), None)?;
                let start = self.emit(Op::LoopStart, reg, extent, 0, 0);
                let top = self.here();
                self.block(body)?;
                self.emit(Op::LoopNext, reg, extent, top, 0);
                self.code[start].b = self.here();
                self.forget(kept);
            }
            Stmt::While { cond, body } => {
                let kept = self.hoist(body, None, Some(*cond))?;
                let top = self.here();
                let c = self.eval(*cond)?;
                self.done();
                let exit = self.emit(Op::JumpIfNot, 0, c, 0, 0);
                self.block(body)?;
                self.emit(Op::Jump, top, 0, 0, 0);
                self.code[exit].d = self.here();
                self.forget(kept);
            }
            Stmt::If { cond, then, els } => {
                let c = self.eval(*cond)?;
                self.done();
                let over = self.emit(Op::JumpIfNot, 0, c, 0, 0);
                self.block(then)?;
                if els.is_empty() {
                    self.code[over].d = self.here();
                } else {
                    let end = self.emit(Op::Jump, 0, 0, 0, 0);
                    self.code[over].d = self.here();
                    self.block(els)?;
                    self.code[end].d = self.here();
                }
            }
            Stmt::Let { var, value } => {
                let fresh = self.have.get(value.index()).is_some_and(|have| {
                    !have && !matches!(self.func.exprs[*value], Expr::LoadIf { .. })
                });
                let from = self.eval(*value)?;
                let var = self.var(*var)?;
                match self.code.last_mut() {
                    // The value was made just now and for this alone: make it where it is wanted.
                    Some(last) if fresh && last.d == from => last.d = var,
                    _ => {
                        self.emit(Op::Mov, var, from, 0, 0);
                    }
                }
                self.done();
            }
            Stmt::Store { buf, index, value } => {
                let op = self.buffer(*buf)?.1;
                let index = self.eval(*index)?;
                let value = self.eval(*value)?;
                self.done();
                self.emit(op, 0, index, buf.0, value);
            }
            Stmt::SetSym { sym, value } => {
                let value = self.eval(*value)?;
                self.done();
                self.emit(Op::SetSym, 0, value, sym.0, 0);
            }
            Stmt::FailIf { cond, status } => {
                let cond = self.eval(*cond)?;
                self.done();
                self.emit(Op::FailIf, 0, cond, *status as u32, 0);
            }
            Stmt::Call { callee, args } => {
                if *callee >= self.func.callees.len() {
                    return Err(format!("there is no callee {callee}"));
                }
                let mut site = CallSite {
                    callee: *callee,
                    ptrs: vec![],
                    ints: vec![],
                };
                for a in args {
                    match a {
                        Arg::Ptr { buf, offset } => {
                            self.buffer(*buf)?;
                            site.ptrs.push((buf.0, self.eval(*offset)?));
                        }
                        Arg::Int(e) => site.ints.push(self.eval(*e)?),
                    }
                }
                self.done();
                self.calls.push(site);
                self.emit(Op::Call, 0, self.calls.len() as u32 - 1, 0, 0);
            }
        }
        Ok(())
    }
    fn var(&self, v: VarId) -> Result<u32, String> {
        match self.func.vars.get(v) {
            Some(_) => Ok(v.0),
            None => Err(format!("there is no variable {v:?}")),
        }
    }
}
