//! Expressions of one statement, each node once, without recursion (a fused chain may be long).
//!
//! Inside a vector loop a node exists in up to three forms: a scalar that all iterations share, the scalar of one iteration,
//! and lanes. What each form needs is asked of the node's class (`lanes.rs`).

use super::func::{Cx, VarSlot};
use super::lanes::Class;
use super::ops::Ops;
use crate::base::diag::{Diagnostic, Result};
use crate::loops::ir::{BinOp, Expr, ExprId, Ty, UnOp};
use cranelift_codegen::ir::{InstBuilder, Value, types};

/// A form in which a node is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Form {
    /// The scalar; inside a vector loop: of the first iteration, or of all where they agree.
    Scalar,
    /// The scalar of one iteration of a vector loop.
    Lane(u8),
    /// All lanes of 32 bits.
    Wide,
    /// Two lanes of 64 bits, the lower or the upper ones; of a truth value too.
    Half(u8),
}

/// Both halves.
pub const HALVES: [Form; 2] = [Form::Half(0), Form::Half(1)];

impl Cx<'_, '_> {
    /// Forgets what was computed: each statement evaluates anew.
    pub fn next_statement(&mut self) {
        self.memo.clear();
    }
    /// The value of an expression in the statement at hand.
    pub fn eval(&mut self, e: ExprId, form: Form) -> Result<Value> {
        let mut open = vec![(e, form)];
        let mut needs = Vec::new();
        while let Some(&(e, form)) = open.last() {
            if self.memo.contains_key(&(e, form)) {
                open.pop();
                continue;
            }
            needs.clear();
            self.needs(e, form, &mut needs);
            let before = open.len();
            open.extend(needs.iter().filter(|n| !self.memo.contains_key(n)));
            if open.len() == before {
                let v = self.compute(e, form)?;
                self.memo.insert((e, form), v);
                open.pop();
            }
        }
        self.have(e, form)
    }
    /// A scalar.
    pub fn scalar(&mut self, e: ExprId) -> Result<Value> {
        self.eval(e, Form::Scalar)
    }
    pub(super) fn have(&self, e: ExprId, form: Form) -> Result<Value> {
        self.memo
            .get(&(e, form))
            .copied()
            .ok_or_else(|| Diagnostic::internal(format!("{e:?} was not evaluated")))
    }
    // Which nodes, in which form, must be there before this one.
    fn needs(&self, e: ExprId, form: Form, out: &mut Vec<(ExprId, Form)>) {
        let class = self.class(e);
        match (form, class) {
            (Form::Wide | Form::Half(_), Class::Uniform) => out.push((e, Form::Scalar)),
            (Form::Wide, Class::Wide) => self.wide_needs(e, form, out),
            (Form::Half(_), Class::Wide) if self.is_long(e) => self.wide_needs(e, form, out),
            (Form::Half(_), Class::Wide) => out.push((e, Form::Wide)),
            (Form::Half(_), Class::Linear(_)) => out.push((e, Form::Scalar)),
            (Form::Wide, _) => out.extend((0..4).map(|k| (e, Form::Lane(k)))),
            (Form::Half(h), _) => out.extend([0, 1].map(|k| (e, Form::Lane(2 * h + k)))),
            (Form::Lane(_), Class::Uniform) => out.push((e, Form::Scalar)),
            (Form::Lane(k), Class::Wide) if self.is_long(e) => out.push((e, Form::Half(k / 2))),
            (Form::Lane(_), Class::Wide) => out.push((e, Form::Wide)),
            (Form::Lane(_), Class::Linear(_)) => out.push((e, Form::Scalar)),
            _ => {
                if let Expr::Load { buf: _, index } = &self.f.exprs[e] {
                    out.extend(self.split_index(*index).0.map(|i| (i, form)));
                } else if let Some((c, _, b)) = self.seldom(e) {
                    out.extend([(c, form), (b, form)]);
                } else {
                    out.extend(self.f.exprs[e].operands().map(|o| (o, form)));
                }
            }
        }
    }
    // Of a node that is computed as lanes.
    fn wide_needs(&self, e: ExprId, form: Form, out: &mut Vec<(ExprId, Form)>) {
        if let Some((c, _, b)) = self.seldom(e) {
            return out.extend([(c, form), (b, form)]);
        }
        match &self.f.exprs[e] {
            Expr::Load { index, .. } => {
                out.extend(self.split_index(*index).0.map(|i| (i, Form::Scalar)));
            }
            Expr::LoadIf {
                cond,
                index,
                default,
                ..
            } => out.extend([
                (*cond, Form::Scalar),
                (*index, Form::Scalar),
                (*cond, form),
                (*default, form),
            ]),
            Expr::Bin(BinOp::Shl | BinOp::Shr | BinOp::ShrU, a, by) => {
                out.extend([(*a, form), (*by, Form::Scalar)]);
            }
            x => {
                for o in x.operands() {
                    match (form, self.ty(o)) {
                        (Form::Wide, Ty::I64 | Ty::F64) => out.extend(HALVES.map(|h| (o, h))),
                        (Form::Half(_), Ty::F32 | Ty::I32) => out.push((o, Form::Wide)),
                        _ => out.push((o, form)),
                    }
                }
            }
        }
    }
    /// Whether lanes of it are of 64 bits.
    pub fn is_long(&self, e: ExprId) -> bool {
        matches!(self.ty(e), Ty::I64 | Ty::F64)
    }
    // Operands of a selection whose first value is seldom wanted.
    pub(super) fn seldom(&self, e: ExprId) -> Option<(ExprId, ExprId, ExprId)> {
        match self.f.exprs[e] {
            Expr::Select(c, a, b) if matches!(self.f.exprs[c], Expr::Un(UnOp::Seldom, _)) => {
                Some((c, a, b))
            }
            _ => None,
        }
    }
    // Such a selection: where the condition holds, in any lane, control goes through code that computes the value.
    pub(super) fn select_seldom(&mut self, e: ExprId, form: Form, wide: bool) -> Result<Value> {
        let (c, a, b) = self
            .seldom(e)
            .ok_or_else(|| Diagnostic::internal("not a selection"))?;
        let t = self.ty(e);
        let (cond, usual) = (self.have(c, form)?, self.have(b, form)?);
        let any = match wide {
            true => self.o.b.ins().vany_true(cond),
            false => cond,
        };
        let (yes, after) = (self.o.b.create_block(), self.o.b.create_block());
        let out = self.o.b.func.dfg.value_type(usual);
        let out = self.o.b.append_block_param(after, out);
        (self.o.b.ins()).brif(any, yes, &[], after, &[usual.into()]);
        self.o.b.seal_block(yes);
        self.o.b.switch_to_block(yes);
        self.o.b.set_cold_block(yes);
        // What is computed here is not there afterwards.
        let memo = self.memo.clone();
        let seldom = self.eval(a, form)?;
        self.memo = memo;
        let v = self.o.select(t, wide, cond, seldom, usual);
        self.o.b.ins().jump(after, &[v.into()]);
        self.o.b.seal_block(after);
        self.o.b.switch_to_block(after);
        Ok(out)
    }
    fn compute(&mut self, e: ExprId, form: Form) -> Result<Value> {
        let t = self.ty(e);
        match (form, self.class(e)) {
            (Form::Wide, Class::Uniform) => {
                if let Expr::Const(c) = self.f.exprs[e] {
                    return Ok(self.o.konst(c, true));
                }
                let v = self.have(e, Form::Scalar)?;
                Ok(self.o.splat(t, v))
            }
            (Form::Half(_), Class::Uniform) => {
                let v = self.have(e, Form::Scalar)?;
                Ok(self.o.splat_long(t, v))
            }
            (Form::Half(h), Class::Linear(step)) => {
                let v = self.have(e, Form::Scalar)?;
                let first = self.o.splat_long(t, v);
                let on = self
                    .o
                    .long_pair([0, 1].map(|k| step.wrapping_mul(i64::from(2 * h + k))));
                Ok(self.o.b.ins().iadd(first, on))
            }
            (Form::Half(h), Class::Wide) if !self.is_long(e) => {
                let v = self.have(e, Form::Wide)?;
                Ok(self.o.widen(v, h))
            }
            (Form::Half(h), Class::Apart) => {
                let [a, b] = [
                    self.have(e, Form::Lane(2 * h))?,
                    self.have(e, Form::Lane(2 * h + 1))?,
                ];
                Ok(self.o.pack_long(t, a, b))
            }
            (Form::Lane(k), Class::Wide) if self.is_long(e) => {
                let v = self.have(e, Form::Half(k / 2))?;
                Ok(self.o.b.ins().extractlane(v, k % 2))
            }
            (Form::Half(_), Class::Wide) => self.long_node(e, form),
            (Form::Wide, Class::Wide)
                if self.f.exprs[e].operands().any(|o| self.is_long(o))
                    && !self.f.exprs[e].is_load() =>
            {
                self.narrowed(e)
            }
            (Form::Wide, Class::Wide) => self.node(e, form, true),
            (Form::Wide, _) => {
                let lanes = (0..4)
                    .map(|k| self.have(e, Form::Lane(k)))
                    .collect::<Result<Vec<_>>>()?;
                Ok(self.o.pack(t, &lanes))
            }
            (Form::Lane(_), Class::Uniform) => self.have(e, Form::Scalar),
            (Form::Lane(k), Class::Wide) => {
                let v = self.have(e, Form::Wide)?;
                Ok(self.o.lane(t, v, usize::from(k)))
            }
            (Form::Lane(k), Class::Linear(step)) => {
                let v = self.have(e, Form::Scalar)?;
                let by = step.wrapping_mul(i64::from(k));
                Ok(match by {
                    0 => v,
                    by => self.o.b.ins().iadd_imm_s(v, by),
                })
            }
            _ => self.node(e, form, false),
        }
    }
    // The node itself, its operands being there in `form`.
    pub(super) fn node(&mut self, e: ExprId, form: Form, wide: bool) -> Result<Value> {
        let f = self.f;
        match &f.exprs[e] {
            Expr::Const(c) => Ok(self.o.konst(*c, wide)),
            Expr::Var(v) => match (self.vars[v.0 as usize], form) {
                (VarSlot::One(x), _) => Ok(self.o.b.use_var(x)),
                (VarSlot::Halves(x), Form::Half(h)) => Ok(self.o.b.use_var(x[usize::from(h)])),
                (VarSlot::Halves(x), _) => Ok(self.o.b.use_var(x[0])),
                (VarSlot::Lanes(x), Form::Lane(k)) => Ok(self.o.b.use_var(x[usize::from(k)])),
                (VarSlot::Lanes(x), _) => Ok(self.o.b.use_var(x[0])),
                (VarSlot::Unset, _) => Err(Diagnostic::internal(format!(
                    "{}: {v:?} is read before it is set",
                    f.name
                ))),
            },
            Expr::Sym(s) => {
                let i = s.0 as usize;
                match self.sym_values.get(i).copied().flatten() {
                    Some(v) => Ok(v),
                    None => Ok(self.load_symbol(i)),
                }
            }
            Expr::Load { buf, index } => {
                let (rest, constant) = self.split_index(*index);
                let at = if wide { Form::Scalar } else { form };
                let index = rest.map(|i| self.have(i, at)).transpose()?;
                let p = self.place(*buf, index, constant);
                let d = f.bufs[*buf].dtype;
                Ok(if wide {
                    self.load_wide(d, p)
                } else {
                    self.load(d, p)
                })
            }
            Expr::LoadIf {
                buf,
                cond,
                index,
                default,
            } => {
                // Where the condition does not hold, the symbol table is read instead: always there, and large enough.
                let at = if wide { Form::Scalar } else { form };
                let (c, i) = (self.have(*cond, at)?, self.have(*index, at)?);
                let p = self.place(*buf, Some(i), 0);
                let address = self.address(p);
                let syms = self.syms;
                let base = self.o.b.ins().select(c, address, syms);
                let p = super::mem::Place { base, offset: 0 };
                let d = f.bufs[*buf].dtype;
                let v = if wide {
                    self.load_wide(d, p)
                } else {
                    self.load(d, p)
                };
                let (c, default) = (self.have(*cond, form)?, self.have(*default, form)?);
                Ok(self.o.select(self.ty(e), wide, c, v, default))
            }
            Expr::Un(op, a) => {
                if *op as u8 >= UnOp::Exp as u8 {
                    return Err(Diagnostic::internal(format!("{op:?} was not written out")));
                }
                let (t, a) = (self.ty(*a), self.have(*a, form)?);
                Ok(self.o.un(*op, t, wide, a))
            }
            Expr::Bin(BinOp::Pow, ..) => Err(Diagnostic::internal("Pow was not written out")),
            Expr::Bin(op @ (BinOp::Shl | BinOp::Shr | BinOp::ShrU), a, b) => {
                let at = if wide { Form::Scalar } else { form };
                let (t, a, b) = (self.ty(*a), self.have(*a, form)?, self.have(*b, at)?);
                Ok(self.o.bin(*op, t, wide, a, b))
            }
            Expr::Bin(op, a, b) => {
                let (t, a, b) = (self.ty(*a), self.have(*a, form)?, self.have(*b, form)?);
                if t == Ty::Bool && !wide && matches!(op, BinOp::Lt | BinOp::Le) {
                    let (a, b) = (self.extend(a), self.extend(b));
                    return Ok(self.o.bin(*op, Ty::I32, false, a, b));
                }
                Ok(self.o.bin(*op, t, wide, a, b))
            }
            Expr::Fma(a, b, c) => {
                let (a, b, c) = (
                    self.have(*a, form)?,
                    self.have(*b, form)?,
                    self.have(*c, form)?,
                );
                Ok(self.o.fma(a, b, c))
            }
            Expr::Select(..) if self.seldom(e).is_some() => self.select_seldom(e, form, wide),
            Expr::Select(c, a, b) => {
                let (c, a, b) = (
                    self.have(*c, form)?,
                    self.have(*a, form)?,
                    self.have(*b, form)?,
                );
                Ok(self.o.select(self.ty(e), wide, c, a, b))
            }
            Expr::Cast(to, kind, a) => {
                let (from, a) = (self.ty(*a), self.have(*a, form)?);
                self.o.cast(*to, *kind, from, wide, a)
            }
        }
    }
    fn extend(&mut self, v: Value) -> Value {
        self.o.b.ins().uextend(types::I32, v)
    }
}

/// Whether an operator of this node exists on lanes, operand types being as given.
pub fn has_lanes(e: &Expr, ty: impl Fn(ExprId) -> Ty) -> bool {
    match e {
        Expr::Un(op, _) => Ops::un_has_lanes(*op),
        Expr::Bin(op, a, _) => Ops::bin_has_lanes(*op, ty(*a)),
        Expr::Fma(..) | Expr::Select(..) => true,
        Expr::Cast(to, kind, a) => Ops::cast_has_lanes(*to, *kind, ty(*a)),
        _ => false,
    }
}
