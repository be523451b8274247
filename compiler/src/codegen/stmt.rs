//! Statements: control flow, variables, stores, calls.

use super::expr::Form;
use super::func::{Cx, VarSlot};
use super::lanes::{self, Class, Classes};
use super::ty::{self, LANES};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dtype::DType;
use crate::loops::ir::{Arg, BufId, Const, Expr, ExprId, LoopKind, Stmt, Ty, VarId};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::Variable;

// Groups of lanes in one round of a vector loop, where code may be duplicated.
const GROUPS: i64 = 4;
// For size a vector loop with a scalar rest must have so many iterations: both have the body's code.
const WORTH_TWO_BODIES: i64 = 32;

impl Cx<'_, '_> {
    /// Writes statements.
    pub fn block(&mut self, body: &[Stmt]) -> Result<()> {
        body.iter().try_for_each(|s| self.stmt(s))
    }
    fn stmt(&mut self, s: &Stmt) -> Result<()> {
        self.next_statement();
        match s {
            Stmt::For {
                var,
                extent,
                kind,
                body,
            } => self.loop_(*var, *extent, *kind, body),
            Stmt::While { cond, body } => {
                let (head, inside, after) = (self.new_block(), self.new_block(), self.new_block());
                self.jump(head);
                self.o.b.switch_to_block(head);
                let c = self.scalar(*cond)?;
                self.o.b.ins().brif(c, inside, &[], after, &[]);
                self.o.b.seal_block(inside);
                self.o.b.seal_block(after);
                self.o.b.switch_to_block(inside);
                self.block(body)?;
                self.jump(head);
                self.o.b.seal_block(head);
                self.o.b.switch_to_block(after);
                Ok(())
            }
            Stmt::If { cond, then, els } => {
                let c = self.scalar(*cond)?;
                let (yes, no, after) = (self.new_block(), self.new_block(), self.new_block());
                self.o.b.ins().brif(c, yes, &[], no, &[]);
                self.o.b.seal_block(yes);
                self.o.b.seal_block(no);
                for (at, body) in [(yes, then), (no, els)] {
                    self.o.b.switch_to_block(at);
                    self.block(body)?;
                    self.jump(after);
                }
                self.o.b.seal_block(after);
                self.o.b.switch_to_block(after);
                Ok(())
            }
            Stmt::Let { var, value } => self.assign(*var, *value),
            Stmt::Store { buf, index, value } => self.store_stmt(*buf, *index, *value),
            Stmt::SetSym { sym, value } => {
                let v = self.scalar(*value)?;
                let s = self.symbols.get(*sym).ok_or_else(|| {
                    Diagnostic::internal(format!("{}: {sym:?} is unknown", self.f.name))
                })?;
                // v outside lo..=hi, as one unsigned comparison.
                let (lo, hi) = (s.lo, s.hi.max(s.lo));
                let above = self.o.b.ins().iadd_imm_s(v, lo.wrapping_neg());
                let width = self.o.b.ins().iconst(types::I64, hi.wrapping_sub(lo));
                let bad = self
                    .o
                    .b
                    .ins()
                    .icmp(IntCC::UnsignedGreaterThan, above, width);
                self.fail_if(bad, onnxc_abi::status::LIMIT);
                self.store_symbol(sym.0 as usize, v);
                Ok(())
            }
            Stmt::FailIf { cond, status } => {
                let c = self.scalar(*cond)?;
                self.fail_if(c, *status);
                Ok(())
            }
            Stmt::Call { callee, args } => {
                let mut values = Vec::with_capacity(args.len());
                for a in args {
                    values.push(match a {
                        Arg::Int(e) => self.scalar(*e)?,
                        Arg::Ptr { buf, offset } => {
                            let (rest, constant) = self.split_index(*offset);
                            let index = rest.map(|i| self.scalar(i)).transpose()?;
                            let p = self.place(*buf, index, constant);
                            self.address(p)
                        }
                    });
                }
                let f = self.callee(*callee, args.len())?;
                self.o.b.ins().call(f, &values);
                Ok(())
            }
        }
    }
    fn new_block(&mut self) -> cranelift_codegen::ir::Block {
        self.o.b.create_block()
    }
    fn jump(&mut self, to: cranelift_codegen::ir::Block) {
        self.o.b.ins().jump(to, &[]);
    }
    // Ends the function with a status where the condition holds.
    fn fail_if(&mut self, cond: Value, status: i32) {
        let (bad, good) = (self.new_block(), self.new_block());
        self.o.b.set_cold_block(bad);
        self.o.b.ins().brif(cond, bad, &[], good, &[]);
        self.o.b.seal_block(bad);
        self.o.b.seal_block(good);
        self.o.b.switch_to_block(bad);
        let s = self.o.b.ins().iconst(types::I32, i64::from(status as u32));
        match self.leave {
            Some(block) => self.o.b.ins().jump(block, &[s.into()]),
            None => self.o.b.ins().return_(&[s]),
        };
        self.o.b.switch_to_block(good);
    }
    pub(super) fn assign(&mut self, var: VarId, value: ExprId) -> Result<()> {
        let class = match self.classes.of_var(var) {
            Class::Linear(_) => Class::Uniform,
            c => c,
        };
        let t = self.f.vars[var].ty;
        match class {
            Class::Wide if matches!(t, Ty::I64 | Ty::F64) => {
                let mut slots = match self.vars[var.0 as usize] {
                    VarSlot::Halves(s) => Some(s),
                    _ => None,
                };
                let v = self.halves(value)?;
                let all =
                    *slots.get_or_insert_with(|| v.map(|_| self.o.b.declare_var(ty::long(t))));
                for (slot, v) in all.into_iter().zip(v) {
                    self.o.b.def_var(slot, v);
                }
                self.vars[var.0 as usize] = VarSlot::Halves(all);
            }
            Class::Wide => {
                let v = self.eval(value, Form::Wide)?;
                let t = ty::wide(t).ok_or_else(|| Diagnostic::internal("lanes of 64 bits"))?;
                let slot = self.slot(var, t);
                self.o.b.def_var(slot, v);
            }
            Class::Apart => {
                let mut slots = match self.vars[var.0 as usize] {
                    VarSlot::Lanes(s) => Some(s),
                    _ => None,
                };
                for k in 0..LANES {
                    let v = self.eval(value, Form::Lane(k as u8))?;
                    let all = *slots.get_or_insert_with(|| {
                        [(); LANES].map(|()| self.o.b.declare_var(ty::scalar(t)))
                    });
                    self.o.b.def_var(all[k], v);
                }
                if let Some(s) = slots {
                    self.vars[var.0 as usize] = VarSlot::Lanes(s);
                }
            }
            _ => {
                let v = self.scalar(value)?;
                let slot = self.slot(var, ty::scalar(t));
                self.o.b.def_var(slot, v);
            }
        }
        Ok(())
    }
    // The Cranelift variable, made where it is first set.
    pub(super) fn slot(&mut self, var: VarId, t: cranelift_codegen::ir::Type) -> Variable {
        match self.vars[var.0 as usize] {
            VarSlot::One(v) => v,
            _ => {
                let v = self.o.b.declare_var(t);
                self.vars[var.0 as usize] = VarSlot::One(v);
                v
            }
        }
    }
    fn store_stmt(&mut self, buf: BufId, index: ExprId, value: ExprId) -> Result<()> {
        let d = self.f.bufs[buf].dtype;
        let (rest, constant) = self.split_index(index);
        let long = matches!(Ty::of(d), Ty::I64 | Ty::F64);
        if long && self.class(index) == Class::Linear(1) && self.class(value) != Class::Apart {
            let v = self.halves(value)?;
            let i = rest.map(|r| self.eval(r, Form::Scalar)).transpose()?;
            let p = self.place(buf, i, constant);
            self.store_halves(d, p, v);
            return Ok(());
        }
        let forms: &[Form] = match self.class(index) {
            Class::Uniform => &[Form::Scalar],
            Class::Linear(1) if super::mem::has_lanes(d) => &[Form::Wide],
            _ => &[Form::Lane(0), Form::Lane(1), Form::Lane(2), Form::Lane(3)],
        };
        if let Some((from, at)) = self.copied(d, value) {
            return self.copy_halves(buf, from, (index, at), forms);
        }
        // All is read before anything is written.
        let mut writes = Vec::with_capacity(forms.len());
        for &form in forms {
            let at = if form == Form::Wide {
                Form::Scalar
            } else {
                form
            };
            let v = self.eval(value, form)?;
            let i = rest.map(|r| self.eval(r, at)).transpose()?;
            writes.push((form, i, v));
        }
        for (form, i, v) in writes {
            let p = self.place(buf, i, constant);
            if form == Form::Wide {
                self.store_wide(d, p, v);
            } else {
                self.store(d, p, v);
            }
        }
        Ok(())
    }

    // A 16-bit float that is stored as it was loaded: from where.
    fn copied(&self, d: DType, value: ExprId) -> Option<(BufId, ExprId)> {
        let half = matches!(d, DType::F16 | DType::BF16);
        match self.f.exprs[value] {
            Expr::Load { buf, index } if half && self.f.bufs[buf].dtype == d => Some((buf, index)),
            _ => None,
        }
    }
    // Copies it, without a conversion there and back.
    fn copy_halves(
        &mut self,
        to: BufId,
        from: BufId,
        (index, at): (ExprId, ExprId),
        forms: &[Form],
    ) -> Result<()> {
        let side_by_side = self.class(at) == Class::Linear(1);
        let lanes = [Form::Lane(0), Form::Lane(1), Form::Lane(2), Form::Lane(3)];
        let forms = match forms {
            [Form::Wide] if !side_by_side => &lanes,
            f => f,
        };
        let mut writes = Vec::with_capacity(forms.len());
        for &form in forms {
            let (t, own) = match form {
                Form::Wide => (types::I64, Form::Scalar),
                f => (types::I16, f),
            };
            let mut places = [index, at].map(|e| self.split_index(e)).into_iter();
            let mut next = |cx: &mut Self, buf| {
                let (rest, constant) = places.next().unwrap_or((None, 0));
                let i = rest.map(|r| cx.eval(r, own)).transpose()?;
                Ok::<_, Box<Diagnostic>>(cx.place(buf, i, constant))
            };
            let (out, p) = (next(self, to)?, next(self, from)?);
            let flags = super::mem::wide_flags();
            let v = self.o.b.ins().load(t, flags, p.base, p.offset);
            writes.push((v, out));
        }
        for (v, p) in writes {
            let flags = super::mem::wide_flags();
            self.o.b.ins().store(flags, v, p.base, p.offset);
        }
        Ok(())
    }

    fn loop_(&mut self, var: VarId, extent: ExprId, kind: LoopKind, body: &[Stmt]) -> Result<()> {
        if kind == LoopKind::Parallel && self.pieces(var, extent, body)? {
            return Ok(());
        }
        let known = match self.f.exprs[extent] {
            Expr::Const(Const::I64(n)) => Some(n),
            _ => None,
        };
        if known.is_some_and(|n| n <= 0) {
            return Ok(());
        }
        if self.outline(var, extent, kind, body)? {
            return Ok(());
        }
        if kind == LoopKind::Unroll
            && let Some(n) = known
            && n.saturating_mul(statements(body)) <= self.o.isa.effort.unrolled()
        {
            let slot = self.slot(var, types::I64);
            for i in 0..n {
                let v = self.o.b.ins().iconst(types::I64, i);
                self.o.b.def_var(slot, v);
                self.block(body)?;
            }
            return Ok(());
        }
        let n = self.scalar(extent)?;
        let vector = kind == LoopKind::Lanes
            && self.loop_lanes.is_none()
            && known.is_none_or(|n| n >= LANES as i64)
            && !(self.o.isa.effort.optimize_for_size()
                && known.is_some_and(|n| n % LANES as i64 != 0 && n < WORTH_TWO_BODIES));
        if vector && let Some(classes) = lanes::classify(self, var, body) {
            return self.vector_loop(var, n, known, classes, body);
        }
        let zero = self.o.b.ins().iconst(types::I64, 0);
        if vector {
            // Independent iterations, too: several in a round cost a jump.
            return self.groups(var, zero, n, known, 1, body);
        }
        self.counted(var, zero, n, 1, known.is_some(), body)
    }
    // Whole groups of iterations as lanes, the rest one by one.
    fn vector_loop(
        &mut self,
        var: VarId,
        n: Value,
        known: Option<i64>,
        classes: Classes,
        body: &[Stmt],
    ) -> Result<()> {
        let zero = self.o.b.ins().iconst(types::I64, 0);
        let (n, whole) = match known {
            Some(k) => {
                let whole = k & -(LANES as i64);
                (n, self.o.b.ins().iconst(types::I64, whole))
            }
            None => {
                let positive = self.o.b.ins().icmp(IntCC::SignedGreaterThan, n, zero);
                let n = self.o.b.ins().select(positive, n, zero);
                (n, self.o.b.ins().band_imm_s(n, -(LANES as i64)))
            }
        };
        let scalars = self.vars.clone();
        // Variables that hold lanes inside are others than those of the scalar rest.
        for v in classes.not_shared() {
            self.vars[v.0 as usize] = VarSlot::Unset;
        }
        self.classes = classes;
        self.loop_lanes = Some(var);
        let r = self.groups(var, zero, whole, known, LANES as i64, body);
        self.loop_lanes = None;
        self.classes = Classes::default();
        self.vars = scalars;
        r?;
        if known.is_some_and(|k| k % LANES as i64 == 0) {
            return Ok(());
        }
        self.counted(var, whole, n, 1, known.is_some(), body)
    }
    // The groups of lanes of a vector loop, or its iterations; several in one round, where that may cost code.
    fn groups(
        &mut self,
        var: VarId,
        zero: Value,
        whole: Value,
        known: Option<i64>,
        lanes: i64,
        body: &[Stmt],
    ) -> Result<()> {
        let effort = self.o.isa.effort;
        let Some(k) = known.filter(|k| {
            effort.duplicates()
                && *k >= 2 * GROUPS * lanes
                && statements(body) * GROUPS <= effort.unrolled()
        }) else {
            return self.counted(var, zero, whole, lanes, known.is_some(), body);
        };
        let rounds = k / (GROUPS * lanes) * (GROUPS * lanes);
        let end = self.o.b.ins().iconst(types::I64, rounds);
        let slot = self.slot(var, types::I64);
        self.o.b.def_var(slot, zero);
        let (inside, after) = (self.new_block(), self.new_block());
        self.jump(inside);
        self.o.b.switch_to_block(inside);
        let mut next = zero;
        for _ in 0..GROUPS {
            self.block(body)?;
            let i = self.o.b.use_var(slot);
            next = self.o.b.ins().iadd_imm_s(i, lanes);
            self.o.b.def_var(slot, next);
        }
        let again = self.o.b.ins().icmp(IntCC::SignedLessThan, next, end);
        self.o.b.ins().brif(again, inside, &[], after, &[]);
        self.o.b.seal_block(inside);
        self.o.b.seal_block(after);
        self.o.b.switch_to_block(after);
        if rounds == k / lanes * lanes {
            return Ok(());
        }
        self.counted(var, end, whole, lanes, true, body)
    }
    // for var in (from..to).step_by(step); `runs`: at least once. Tested at the end, as that is one jump less a round.
    fn counted(
        &mut self,
        var: VarId,
        from: Value,
        to: Value,
        step: i64,
        runs: bool,
        body: &[Stmt],
    ) -> Result<()> {
        let slot = self.slot(var, types::I64);
        self.o.b.def_var(slot, from);
        let (inside, after) = (self.new_block(), self.new_block());
        if runs {
            self.jump(inside);
        } else {
            let some = self.o.b.ins().icmp(IntCC::SignedLessThan, from, to);
            self.o.b.ins().brif(some, inside, &[], after, &[]);
        }
        self.o.b.switch_to_block(inside);
        self.block(body)?;
        let i = self.o.b.use_var(slot);
        let next = self.o.b.ins().iadd_imm_s(i, step);
        self.o.b.def_var(slot, next);
        let again = self.o.b.ins().icmp(IntCC::SignedLessThan, next, to);
        self.o.b.ins().brif(again, inside, &[], after, &[]);
        self.o.b.seal_block(inside);
        self.o.b.seal_block(after);
        self.o.b.switch_to_block(after);
        Ok(())
    }
}

// Statements of a body, nested ones included.
fn statements(body: &[Stmt]) -> i64 {
    body.iter()
        .map(|s| match s {
            Stmt::For { body, .. } | Stmt::While { body, .. } => 1 + statements(body),
            Stmt::If { then, els, .. } => 1 + statements(then) + statements(els),
            _ => 1,
        })
        .sum()
}
