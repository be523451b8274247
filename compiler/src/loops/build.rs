//! Writing functions: a builder that folds constants and shares equal expressions.

use super::ir::*;
use crate::base::dim::{Atom, Dim, SymId};
use crate::base::dtype::DType;
use std::collections::HashMap;

/// Builds one [`Func`]. Statements are appended to the innermost open block.
#[derive(Default)]
pub struct Builder {
    func: Func,
    open: Vec<Vec<Stmt>>,
    shared: HashMap<Expr, ExprId>,
    /// The type of every expression: [`Func::ty`] walks down each time.
    types: Vec<Ty>,
}

impl Builder {
    /// An empty function.
    pub fn new(name: &str) -> Builder {
        Builder {
            func: Func {
                name: name.to_string(),
                ..Func::default()
            },
            open: vec![vec![]],
            shared: HashMap::new(),
            types: vec![],
        }
    }
    /// Continues an existing function at the end of its body.
    pub fn resume(mut func: Func) -> Builder {
        let body = std::mem::take(&mut func.body);
        let shared = func.exprs.iter().map(|(i, e)| (e.clone(), i)).collect();
        let types = func.types();
        Builder {
            func,
            open: vec![body],
            shared,
            types,
        }
    }
    /// The finished function.
    pub fn finish(mut self) -> Func {
        debug_assert_eq!(self.open.len(), 1, "an open block");
        self.func.body = self.open.pop().unwrap_or_default();
        self.func
    }
    /// What stands so far.
    pub fn func(&self) -> &Func {
        &self.func
    }

    // Parameters and variables

    /// Adds a buffer parameter.
    pub fn buffer(&mut self, name: &str, dtype: DType, len: Dim, access: Access) -> BufId {
        self.func.bufs.push(Buffer {
            name: name.to_string(),
            dtype,
            len,
            access,
        })
    }
    /// Adds a whole-number parameter.
    pub fn int_param(&mut self) -> ExprId {
        let v = self.func.vars.push(Var {
            ty: Ty::I64,
            mutable: false,
        });
        self.func.ints.push(v);
        self.expr(Expr::Var(v))
    }
    /// Evaluates once here and names the result.
    pub fn let_(&mut self, value: ExprId) -> ExprId {
        if matches!(self.func.exprs[value], Expr::Const(_) | Expr::Var(_))
            && !self.is_mutable(value)
        {
            return value;
        }
        let var = self.func.vars.push(Var {
            ty: self.ty(value),
            mutable: false,
        });
        self.stmt(Stmt::Let { var, value });
        self.expr(Expr::Var(var))
    }
    fn is_mutable(&self, e: ExprId) -> bool {
        matches!(self.func.exprs[e], Expr::Var(v) if self.func.vars[v].mutable)
    }
    /// Declares a variable that [`Builder::set`] may change.
    pub fn var(&mut self, init: ExprId) -> VarId {
        let var = self.func.vars.push(Var {
            ty: self.ty(init),
            mutable: true,
        });
        self.stmt(Stmt::Let { var, value: init });
        var
    }
    /// Changes a variable.
    pub fn set(&mut self, var: VarId, value: ExprId) {
        self.stmt(Stmt::Let { var, value });
    }
    /// A variable's value.
    pub fn get(&mut self, var: VarId) -> ExprId {
        self.expr(Expr::Var(var))
    }

    // Statements

    /// Appends a statement.
    pub fn stmt(&mut self, s: Stmt) {
        if let Some(block) = self.open.last_mut() {
            block.push(s);
        }
    }
    fn block(&mut self, f: impl FnOnce(&mut Self)) -> Vec<Stmt> {
        self.open.push(vec![]);
        f(self);
        self.open.pop().unwrap_or_default()
    }
    /// A fresh loop variable and its value, for callers that write the loop statement themselves.
    pub fn loop_var(&mut self) -> (VarId, ExprId) {
        let var = self.func.vars.push(Var {
            ty: Ty::I64,
            mutable: false,
        });
        (var, self.expr(Expr::Var(var)))
    }
    /// Opens a block: statements go there until [`Builder::close_block`].
    pub fn open_block(&mut self) {
        self.open.push(vec![]);
    }
    /// Closes the innermost block and returns its statements.
    pub fn close_block(&mut self) -> Vec<Stmt> {
        self.open.pop().unwrap_or_default()
    }
    /// A loop.
    pub fn for_(&mut self, extent: ExprId, kind: LoopKind, f: impl FnOnce(&mut Self, ExprId)) {
        let var = self.func.vars.push(Var {
            ty: Ty::I64,
            mutable: false,
        });
        let i = self.expr(Expr::Var(var));
        let body = self.block(|b| f(b, i));
        self.stmt(Stmt::For {
            var,
            extent,
            kind,
            body,
        });
    }
    /// A loop over a dimension.
    pub fn for_dim(&mut self, extent: &Dim, kind: LoopKind, f: impl FnOnce(&mut Self, ExprId)) {
        let e = self.dim(extent);
        self.for_(e, kind, f);
    }
    /// Nested loops over a whole shape, the innermost of kind `inner`; `f` gets the index of every axis.
    pub fn nest(&mut self, shape: &[Dim], inner: LoopKind, f: impl FnOnce(&mut Self, &[ExprId])) {
        fn go(
            b: &mut Builder,
            shape: &[Dim],
            inner: LoopKind,
            at: &mut Vec<ExprId>,
            f: &mut dyn FnMut(&mut Builder, &[ExprId]),
        ) {
            let Some(d) = shape.get(at.len()) else {
                return f(b, at);
            };
            let kind = if at.len() + 1 == shape.len() {
                inner
            } else {
                LoopKind::Seq
            };
            b.for_dim(&d.clone(), kind, |b, i| {
                at.push(i);
                go(b, shape, inner, at, f);
                at.pop();
            });
        }
        let mut f = Some(f);
        go(self, shape, inner, &mut vec![], &mut |b, at| {
            if let Some(f) = f.take() {
                f(b, at);
            }
        });
    }
    /// A loop with a condition; `cond` is evaluated before each round.
    pub fn while_(&mut self, cond: ExprId, f: impl FnOnce(&mut Self)) {
        let body = self.block(f);
        self.stmt(Stmt::While { cond, body });
    }
    /// A branch.
    pub fn if_(&mut self, cond: ExprId, then: impl FnOnce(&mut Self), els: impl FnOnce(&mut Self)) {
        if let Some(c) = self.as_bool(cond) {
            return if c { then(self) } else { els(self) };
        }
        let then = self.block(then);
        let els = self.block(els);
        self.stmt(Stmt::If { cond, then, els });
    }
    /// Writes an element.
    pub fn store(&mut self, buf: BufId, index: ExprId, value: ExprId) {
        self.stmt(Stmt::Store { buf, index, value });
    }
    /// Ends the run with a status where `cond` holds.
    pub fn fail_if(&mut self, cond: ExprId, status: i32) {
        if self.as_bool(cond) != Some(false) {
            self.stmt(Stmt::FailIf { cond, status });
        }
    }
    /// Defines a data-dependent size.
    pub fn set_sym(&mut self, sym: SymId, value: ExprId) {
        self.stmt(Stmt::SetSym { sym, value });
    }
    /// Calls a kernel tile.
    pub fn call(&mut self, callee: Callee, args: Vec<Arg>) {
        let at = self
            .func
            .callees
            .iter()
            .position(|c| *c == callee)
            .unwrap_or_else(|| {
                self.func.callees.push(callee);
                self.func.callees.len() - 1
            });
        self.stmt(Stmt::Call { callee: at, args });
    }

    // Expressions

    /// The id of an expression; equal ones share it.
    pub fn expr(&mut self, e: Expr) -> ExprId {
        if let Some(&id) = self.shared.get(&e) {
            return id;
        }
        let ty = self.func.expr_ty(&e, &self.types);
        self.types.push(ty);
        let id = self.func.exprs.push(e.clone());
        self.shared.insert(e, id);
        id
    }
    /// Its type.
    pub fn ty(&self, e: ExprId) -> Ty {
        self.types[e.0 as usize]
    }
    /// A constant.
    pub fn konst(&mut self, c: Const) -> ExprId {
        self.expr(Expr::Const(c))
    }
    /// A whole number as index.
    pub fn i(&mut self, v: i64) -> ExprId {
        self.konst(Const::I64(v))
    }
    /// An f32 constant.
    pub fn f(&mut self, v: f32) -> ExprId {
        self.konst(Const::F32(v.to_bits()))
    }
    /// A truth value.
    pub fn bool(&mut self, v: bool) -> ExprId {
        self.konst(Const::Bool(v))
    }
    /// A number in type `ty` (integers truncate and saturate).
    pub fn num(&mut self, ty: Ty, v: f64) -> ExprId {
        self.konst(match ty {
            Ty::F32 => Const::F32((v as f32).to_bits()),
            Ty::F64 => Const::F64(v.to_bits()),
            Ty::I32 => Const::I32(v as i32),
            Ty::I64 => Const::I64(v as i64),
            Ty::Bool => Const::Bool(v != 0.0),
        })
    }
    /// A whole number in type `ty`.
    pub fn int(&mut self, ty: Ty, v: i64) -> ExprId {
        self.konst(match ty {
            Ty::I32 => Const::I32(v as i32),
            Ty::I64 => Const::I64(v),
            Ty::F32 => Const::F32((v as f32).to_bits()),
            Ty::F64 => Const::F64((v as f64).to_bits()),
            Ty::Bool => Const::Bool(v != 0),
        })
    }
    /// A dimension as an I64 expression.
    pub fn dim(&mut self, d: &Dim) -> ExprId {
        let Dim::Expr(sum) = d else {
            return self.i(d.fixed().unwrap_or(0));
        };
        let mut total = self.i(0);
        for (atoms, c) in &sum.0 {
            let mut p = self.i(*c);
            for a in atoms {
                let v = match a {
                    Atom::Sym(s) => self.expr(Expr::Sym(*s)),
                    Atom::Div(x, y) => self.dim2(x, y, |b, x, y| b.floor_div(x, y)),
                    Atom::Mod(x, y) => self.dim2(x, y, |b, x, y| b.floor_mod(x, y)),
                    Atom::Max(x, y) => self.dim2(x, y, |b, x, y| b.max(x, y)),
                    Atom::Min(x, y) => self.dim2(x, y, |b, x, y| b.min(x, y)),
                };
                p = self.mul(p, v);
            }
            total = self.add(total, p);
        }
        total
    }
    fn dim2(
        &mut self,
        x: &Dim,
        y: &Dim,
        f: impl FnOnce(&mut Self, ExprId, ExprId) -> ExprId,
    ) -> ExprId {
        let (x, y) = (self.dim(x), self.dim(y));
        f(self, x, y)
    }
    /// Reads an element.
    pub fn load(&mut self, buf: BufId, index: ExprId) -> ExprId {
        self.expr(Expr::Load { buf, index })
    }
    /// Reads an element where `cond` holds, else gives `default`.
    pub fn load_if(&mut self, buf: BufId, cond: ExprId, index: ExprId, default: ExprId) -> ExprId {
        match self.as_bool(cond) {
            Some(true) => self.load(buf, index),
            Some(false) => default,
            None => self.expr(Expr::LoadIf {
                buf,
                cond,
                index,
                default,
            }),
        }
    }
    /// The constant, if it is one.
    pub fn as_const(&self, e: ExprId) -> Option<Const> {
        match self.func.exprs[e] {
            Expr::Const(c) => Some(c),
            _ => None,
        }
    }
    /// How an expression is made.
    pub fn made(&self, e: ExprId) -> &Expr {
        &self.func.exprs[e]
    }
    /// The constant index, if it is one.
    pub fn as_i64(&self, e: ExprId) -> Option<i64> {
        match self.as_const(e)? {
            Const::I64(v) => Some(v),
            Const::I32(v) => Some(v as i64),
            _ => None,
        }
    }
    fn as_bool(&self, e: ExprId) -> Option<bool> {
        match self.as_const(e)? {
            Const::Bool(v) => Some(v),
            _ => None,
        }
    }
    /// One operand.
    pub fn un(&mut self, op: UnOp, a: ExprId) -> ExprId {
        match (op, self.as_const(a)) {
            (UnOp::Not, Some(Const::Bool(v))) => self.bool(!v),
            (UnOp::Neg, Some(Const::I64(v))) => self.i(v.wrapping_neg()),
            (UnOp::Neg, Some(Const::F32(v))) => self.konst(Const::F32(v ^ 0x8000_0000)),
            _ => self.expr(Expr::Un(op, a)),
        }
    }
    /// Two operands of one type. Folds whole-number constants (indices); floats are left as written.
    pub fn bin(&mut self, op: BinOp, a: ExprId, b: ExprId) -> ExprId {
        debug_assert_eq!(self.ty(a), self.ty(b), "operands of {op:?}");
        let ty = self.ty(a);
        let (ka, kb) = if ty == Ty::I64 {
            (self.as_i64(a), self.as_i64(b))
        } else {
            (None, None)
        };
        if let (Some(x), Some(y)) = (ka, kb)
            && let Some(r) = fold_i64(op, x, y)
        {
            return self.konst(r);
        }
        match (op, ka, kb) {
            (BinOp::Add, Some(0), _) | (BinOp::Mul, Some(1), _) => return b,
            (BinOp::Add | BinOp::Sub, _, Some(0)) | (BinOp::Mul | BinOp::Div, _, Some(1)) => {
                return a;
            }
            (BinOp::Mul, Some(0), _) | (BinOp::Mul, _, Some(0)) => return self.i(0),
            (BinOp::Rem, _, Some(1)) => return self.i(0),
            // (x + c1) + c2: keeps indices short.
            (BinOp::Add, _, Some(c2)) => {
                if let Expr::Bin(BinOp::Add, x, c1) = self.func.exprs[a]
                    && let Some(c1) = self.as_i64(c1)
                {
                    let c = self.i(c1.wrapping_add(c2));
                    return self.bin(BinOp::Add, x, c);
                }
            }
            (BinOp::Add | BinOp::Mul, Some(_), None) => return self.bin(op, b, a),
            _ => {}
        }
        if ty == Ty::Bool {
            match (op, self.as_bool(a), self.as_bool(b)) {
                (BinOp::And, Some(true), _) | (BinOp::Or, Some(false), _) => return b,
                (BinOp::And, _, Some(true)) | (BinOp::Or, _, Some(false)) => return a,
                (BinOp::And, Some(false), _) | (BinOp::And, _, Some(false)) => {
                    return self.bool(false);
                }
                (BinOp::Or, Some(true), _) | (BinOp::Or, _, Some(true)) => return self.bool(true),
                _ => {}
            }
        }
        self.expr(Expr::Bin(op, a, b))
    }
    /// `a * b + c`.
    pub fn fma(&mut self, a: ExprId, b: ExprId, c: ExprId) -> ExprId {
        self.expr(Expr::Fma(a, b, c))
    }
    /// `cond ? a : b`.
    pub fn select(&mut self, cond: ExprId, a: ExprId, b: ExprId) -> ExprId {
        match self.as_bool(cond) {
            Some(true) => a,
            Some(false) => b,
            None if a == b => a,
            None => self.expr(Expr::Select(cond, a, b)),
        }
    }
    /// Conversion with signed integers.
    pub fn cast(&mut self, ty: Ty, a: ExprId) -> ExprId {
        self.cast_as(ty, CastKind::Signed, a)
    }
    /// Conversion.
    pub fn cast_as(&mut self, ty: Ty, kind: CastKind, a: ExprId) -> ExprId {
        if self.ty(a) == ty {
            return a;
        }
        match (ty, self.as_const(a)) {
            (Ty::I64, Some(Const::I32(v))) if kind == CastKind::Signed => self.i(v as i64),
            (Ty::I32, Some(Const::I64(v))) => self.konst(Const::I32(v as i32)),
            _ => self.expr(Expr::Cast(ty, kind, a)),
        }
    }
    /// Division rounding down, for a positive divisor.
    pub fn floor_div(&mut self, a: ExprId, d: ExprId) -> ExprId {
        if let (Some(x), Some(y)) = (self.as_i64(a), self.as_i64(d))
            && y > 0
        {
            return self.i(x.div_euclid(y));
        }
        let q = self.bin(BinOp::Div, a, d);
        let r = self.bin(BinOp::Rem, a, d);
        let zero = self.int(self.ty(a), 0);
        let neg = self.lt(r, zero);
        let one = self.int(self.ty(a), 1);
        let q1 = self.sub(q, one);
        self.select(neg, q1, q)
    }
    /// Remainder of [`Builder::floor_div`]: 0 to d - 1.
    pub fn floor_mod(&mut self, a: ExprId, d: ExprId) -> ExprId {
        if let (Some(x), Some(y)) = (self.as_i64(a), self.as_i64(d))
            && y > 0
        {
            return self.i(x.rem_euclid(y));
        }
        let r = self.bin(BinOp::Rem, a, d);
        let zero = self.int(self.ty(a), 0);
        let neg = self.lt(r, zero);
        let rd = self.add(r, d);
        self.select(neg, rd, r)
    }
    /// Limits to `lo..=hi` (signed; `hi` wins where they cross).
    pub fn clamp(&mut self, a: ExprId, lo: ExprId, hi: ExprId) -> ExprId {
        let a = self.max(a, lo);
        self.min(a, hi)
    }
    /// Row-major element number of `index` in a tensor of shape `shape`.
    pub fn offset(&mut self, shape: &[Dim], index: &[ExprId]) -> ExprId {
        debug_assert_eq!(shape.len(), index.len());
        let mut at = self.i(0);
        for (stride, i) in crate::base::dim::strides(shape).iter().zip(index) {
            let s = self.dim(stride);
            let t = self.mul(*i, s);
            at = self.add(at, t);
        }
        at
    }
    /// The index of every axis from a row-major element number.
    pub fn unoffset(&mut self, shape: &[Dim], at: ExprId) -> Vec<ExprId> {
        let mut out = Vec::with_capacity(shape.len());
        for (axis, stride) in crate::base::dim::strides(shape).iter().enumerate() {
            let s = self.dim(stride);
            let q = self.bin(BinOp::Div, at, s);
            let d = self.dim(&shape[axis]);
            out.push(if axis == 0 {
                q
            } else {
                self.bin(BinOp::Rem, q, d)
            });
        }
        out
    }
    /// `lo <= a < hi` for indices.
    pub fn in_range(&mut self, a: ExprId, lo: ExprId, hi: ExprId) -> ExprId {
        let x = self.le(lo, a);
        let y = self.lt(a, hi);
        self.and(x, y)
    }
}

macro_rules! short_bin {
    ($($(#[$doc:meta])* $name:ident $op:ident),* $(,)?) => {
        impl Builder {$(
            $(#[$doc])*
            pub fn $name(&mut self, a: ExprId, b: ExprId) -> ExprId { self.bin(BinOp::$op, a, b) }
        )*}
    };
}
short_bin! {
    /// Sum.
    add Add,
    /// Difference.
    sub Sub,
    /// Product.
    mul Mul,
    /// Quotient, see [`BinOp::Div`].
    div Div,
    /// Remainder, see [`BinOp::Rem`].
    rem Rem,
    /// See [`BinOp::Min`].
    min Min,
    /// See [`BinOp::Max`].
    max Max,
    /// And.
    and And,
    /// Or.
    or Or,
    /// Exclusive or.
    xor Xor,
    /// Shift left.
    shl Shl,
    /// Arithmetic shift right.
    shr Shr,
    /// Logical shift right.
    shr_u ShrU,
    /// Equal.
    eq Eq,
    /// Not equal.
    ne Ne,
    /// Less.
    lt Lt,
    /// Less or equal.
    le Le,
}

/// What an operation on two whole numbers gives; `None`: it is not one of those that are worked out here.
pub(crate) fn fold_i64(op: BinOp, x: i64, y: i64) -> Option<Const> {
    Some(match op {
        BinOp::Add => Const::I64(x.wrapping_add(y)),
        BinOp::Sub => Const::I64(x.wrapping_sub(y)),
        BinOp::Mul => Const::I64(x.wrapping_mul(y)),
        BinOp::Div => Const::I64(if y == 0 { 0 } else { x.wrapping_div(y) }),
        BinOp::Rem => Const::I64(if y == 0 { 0 } else { x.wrapping_rem(y) }),
        BinOp::Min => Const::I64(x.min(y)),
        BinOp::Max => Const::I64(x.max(y)),
        BinOp::Eq => Const::Bool(x == y),
        BinOp::Ne => Const::Bool(x != y),
        BinOp::Lt => Const::Bool(x < y),
        BinOp::Le => Const::Bool(x <= y),
        _ => return None,
    })
}
