//! Vector loops: four iterations of a `Lanes` loop at once.
//!
//! First the body is classified: what all iterations share stays scalar, what lies side by side in memory or is computed from
//! it becomes lanes, the rest is computed for each iteration and packed where lanes need it. Only then is it decided whether
//! vectors pay. Iterations are independent, so the results are those of the scalar loop, bit for bit.

use super::expr::has_lanes;
use super::func::Cx;
use crate::loops::ir::{BinOp, Const, Expr, ExprId, Func, Stmt, Ty, VarId};
use std::collections::{HashMap, HashSet};

/// How the values of a node in neighbouring iterations relate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// They are the same.
    Uniform,
    /// A whole number that grows by this step, not 0.
    Linear(i64),
    /// They are computed as lanes.
    Wide,
    /// They are computed one by one.
    Apart,
}

/// The classes of a loop body.
#[derive(Default)]
pub struct Classes {
    exprs: HashMap<ExprId, Class>,
    vars: HashMap<VarId, Class>,
    /// What places are computed from: whole numbers that stay scalars.
    places: HashSet<ExprId>,
}

impl Classes {
    /// The class of a node; outside of vector loops everything is uniform.
    pub fn of(&self, e: ExprId) -> Class {
        self.exprs.get(&e).copied().unwrap_or(Class::Uniform)
    }
    /// Variables that differ between iterations.
    pub fn not_shared(&self) -> Vec<VarId> {
        let differ = self.vars.iter().filter(|(_, c)| **c != Class::Uniform);
        differ.map(|(v, _)| *v).collect()
    }
    /// The class of a variable.
    pub fn of_var(&self, v: VarId) -> Class {
        self.vars.get(&v).copied().unwrap_or(Class::Uniform)
    }
}

/// Classifies a loop body; `None` where it can't or should not be vectorised.
pub fn classify(cx: &Cx, var: VarId, body: &[Stmt]) -> Option<Classes> {
    let mut roots = Vec::new();
    let mut lets = Vec::new();
    scan(body, 1, &mut roots, &mut lets)?;
    let order = reachable(cx.f, roots.iter().map(|r| r.0));
    let mut c = Classes {
        places: places(cx.f, body, &order, &lets),
        ..Classes::default()
    };
    c.vars.insert(var, Class::Linear(1));
    // Variables only move away from Uniform, each at most twice.
    loop {
        c.exprs = order.iter().map(|e| (*e, Class::Uniform)).collect();
        for &e in &order {
            let class = class_of(cx, &c, e);
            c.exprs.insert(e, class);
        }
        let mut changed = false;
        for &(v, value) in &lets {
            let was = c.of_var(v);
            let now = join(cx, v, was, c.of(value));
            changed |= now != was;
            c.vars.insert(v, now);
        }
        if !changed {
            break;
        }
    }
    legal(&c, body)?;
    pays(cx, &c, body, &roots).then_some(c)
}

// Variables by their class after one more assignment.
fn join(cx: &Cx, v: VarId, was: Class, value: Class) -> Class {
    let var = cx.f.vars[v];
    if value == Class::Uniform || was == value {
        return was;
    }
    match (was, value) {
        (Class::Uniform, Class::Linear(_)) if !var.mutable => value,
        _ if matches!(var.ty, Ty::F32 | Ty::I32 | Ty::Bool) => Class::Wide,
        (Class::Uniform, Class::Wide) => Class::Wide,
        _ => Class::Apart,
    }
}

fn class_of(cx: &Cx, c: &Classes, e: ExprId) -> Class {
    use Class::*;
    let expr = &cx.f.exprs[e];
    let step = |e: ExprId| match c.of(e) {
        Uniform => Some(0),
        Linear(s) => Some(s),
        _ => None,
    };
    let linear = |s: Option<i64>| match s {
        Some(0) => Uniform,
        Some(s) => Linear(s),
        None => Apart,
    };
    let uniform = expr.operands().all(|o| c.of(o) == Uniform);
    match expr {
        Expr::Var(v) => c.of_var(*v),
        _ if uniform => Uniform,
        Expr::Load { index, .. } => match c.of(*index) {
            Linear(1) if !c.places.contains(&e) => Wide,
            _ => Apart,
        },
        Expr::LoadIf { cond, index, .. } => match (c.of(*cond), c.of(*index)) {
            (Uniform, Linear(1)) if !c.places.contains(&e) => Wide,
            _ => Apart,
        },
        Expr::Bin(op @ (BinOp::Add | BinOp::Sub), a, b)
            if cx.ty(e) == Ty::I64 && step(*a).is_some() && step(*b).is_some() =>
        {
            linear(step(*a).zip(step(*b)).and_then(|(a, b)| match op {
                BinOp::Add => a.checked_add(b),
                _ => a.checked_sub(b),
            }))
        }
        Expr::Bin(BinOp::Mul, a, b)
            if cx.ty(e) == Ty::I64 && scaled(cx, &step, *a, *b).is_some() =>
        {
            linear(scaled(cx, &step, *a, *b))
        }
        _ if c.places.contains(&e) => Apart,
        Expr::Bin(BinOp::Shl | BinOp::Shr | BinOp::ShrU, _, by) if c.of(*by) != Uniform => Apart,
        // Lanes of 64 bits are worth it where what they are made of are lanes.
        x if has_lanes(x, |e| cx.ty(e)) => {
            let long = |o: ExprId| matches!(cx.ty(o), Ty::I64 | Ty::F64);
            let apart = |o: ExprId| (long(o) || long(e)) && c.of(o) == Apart;
            match x.operands().any(apart) {
                true => Apart,
                false => Wide,
            }
        }
        _ => Apart,
    }
}

// The step of a product with a constant.
fn scaled(cx: &Cx, step: &impl Fn(ExprId) -> Option<i64>, a: ExprId, b: ExprId) -> Option<i64> {
    let by = |x: ExprId, k: ExprId| match cx.f.exprs[k] {
        Expr::Const(Const::I64(k)) => step(x)?.checked_mul(k),
        _ => None,
    };
    by(a, b).or_else(|| by(b, a))
}

// Expressions of 64 bits that indices and conditions of accesses are computed from.
fn places(f: &Func, body: &[Stmt], order: &[ExprId], lets: &[(VarId, ExprId)]) -> HashSet<ExprId> {
    fn stored(body: &[Stmt], open: &mut Vec<ExprId>) {
        for s in body {
            if let Stmt::Store { index, .. } = s {
                open.push(*index);
            }
            if let Stmt::For { extent, .. } = s {
                open.push(*extent);
            }
            s.blocks().for_each(|b| stored(b, open));
        }
    }
    let mut open = vec![];
    stored(body, &mut open);
    for e in order {
        match f.exprs[*e] {
            Expr::Load { index, .. } => open.push(index),
            Expr::LoadIf { cond, index, .. } => open.extend([cond, index]),
            _ => {}
        }
    }
    let mut out = HashSet::new();
    while let Some(e) = open.pop() {
        if out.insert(e) {
            open.extend(f.exprs[e].operands());
            if let Expr::Var(v) = f.exprs[e] {
                open.extend(lets.iter().filter(|(x, _)| *x == v).map(|(_, e)| *e));
            }
        }
    }
    let types = f.types();
    out.retain(|e| types[e.0 as usize] == Ty::I64);
    out
}

// Expressions used by the statements with how often (8 for each loop inside), and assignments. `None`: a statement that
// can't stand in a vector loop.
fn scan(
    body: &[Stmt],
    weight: u64,
    roots: &mut Vec<(ExprId, u64)>,
    lets: &mut Vec<(VarId, ExprId)>,
) -> Option<()> {
    for s in body {
        match s {
            Stmt::For { extent, body, .. } => {
                roots.push((*extent, weight));
                scan(body, weight.saturating_mul(8), roots, lets)?;
            }
            Stmt::If { cond, then, els } => {
                roots.push((*cond, weight));
                scan(then, weight, roots, lets)?;
                scan(els, weight, roots, lets)?;
            }
            Stmt::Let { var, value } => {
                roots.push((*value, weight));
                lets.push((*var, *value));
            }
            Stmt::Store { index, value, .. } => {
                roots.push((*index, weight));
                roots.push((*value, weight));
            }
            Stmt::While { .. } | Stmt::SetSym { .. } | Stmt::FailIf { .. } | Stmt::Call { .. } => {
                return None;
            }
        }
    }
    Some(())
}

// Control flow must be shared by all lanes, and iterations must not write to one place.
fn legal(c: &Classes, body: &[Stmt]) -> Option<()> {
    for s in body {
        match s {
            Stmt::For { extent, body, .. } => {
                (c.of(*extent) == Class::Uniform).then_some(())?;
                legal(c, body)?;
            }
            Stmt::If { cond, then, els } => {
                (c.of(*cond) == Class::Uniform).then_some(())?;
                legal(c, then)?;
                legal(c, els)?;
            }
            Stmt::Store { index, .. } => (c.of(*index) != Class::Uniform).then_some(())?,
            _ => {}
        }
    }
    Some(())
}

// Lanes must do at least as much as is done one by one.
fn pays(cx: &Cx, c: &Classes, body: &[Stmt], roots: &[(ExprId, u64)]) -> bool {
    let mut weights: HashMap<ExprId, u64> = HashMap::new();
    let mut open: Vec<(ExprId, u64)> = roots.to_vec();
    while let Some((e, w)) = open.pop() {
        let seen = weights.entry(e).or_insert(0);
        if *seen >= w {
            continue;
        }
        *seen = w;
        open.extend(cx.f.exprs[e].operands().map(|o| (o, w)));
    }
    // What all share is written side by side, too.
    let fills = |s: &Stmt| matches!(s, Stmt::Store { index, value, .. } if c.of(*index) == Class::Linear(1) && c.of(*value) == Class::Uniform);
    let mut wide = u64::from(body.iter().any(fills));
    let mut apart = 0u64;
    for (e, w) in weights {
        match c.of(e) {
            Class::Wide => wide = wide.saturating_add(w),
            Class::Apart => {
                // Lanes of 64 bits must be taken out one by one, and brought together again.
                let long = |e: ExprId| matches!(cx.ty(e), Ty::I64 | Ty::F64);
                let taken_out = |o: &ExprId| long(e) && long(*o) && c.of(*o) == Class::Wide;
                let more = cx.f.exprs[e].operands().filter(taken_out).count() as u64;
                apart = apart.saturating_add(w.saturating_mul(1 + 2 * more));
            }
            _ => {}
        }
    }
    wide > 0 && wide >= apart
}

// All nodes under the roots, operands first.
fn reachable(f: &Func, roots: impl Iterator<Item = ExprId>) -> Vec<ExprId> {
    let mut seen = std::collections::BTreeSet::new();
    let mut open: Vec<ExprId> = roots.collect();
    while let Some(e) = open.pop() {
        if seen.insert(e) {
            open.extend(f.exprs[e].operands());
        }
    }
    seen.into_iter().collect()
}
