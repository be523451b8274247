//! Writes the mathematical functions out in primitive operations.
//!
//! The interpreter and code generation both start from the result, so both have the same bits (where the target fuses
//! multiplications and additions as [`Expr::Fma`] says). The formulas are in [`super::math`].

use super::build::Builder;
use super::ir::*;
use super::math;
use std::cell::RefCell;

/// The same function without [`UnOp::Exp`] and the operations after it, and without [`BinOp::Pow`].
pub fn legalize(func: &Func) -> Func {
    let needed = func.exprs.iter().any(|(_, e)| match e {
        Expr::Un(op, _) => math::is_written_out(*op),
        Expr::Bin(op, ..) => *op == BinOp::Pow,
        _ => false,
    });
    if !needed {
        return func.clone();
    }
    let b = RefCell::new(Builder::resume(Func {
        name: func.name.clone(),
        bufs: func.bufs.clone(),
        ints: func.ints.clone(),
        vars: func.vars.clone(),
        callees: func.callees.clone(),
        ..Func::default()
    }));
    let mut to: Vec<ExprId> = Vec::with_capacity(func.exprs.len());
    for (_, e) in func.exprs.iter() {
        let e = e.map_operands(|o| to.get(o.0 as usize).copied().unwrap_or(o));
        let out = match e {
            Expr::Un(op, x) => math::un(&b, op, x),
            Expr::Bin(op, x, y) => math::bin(&b, op, x, y),
            _ => None,
        };
        to.push(out.unwrap_or_else(|| b.borrow_mut().expr(e)));
    }
    let mut b = b.into_inner();
    for s in &func.body {
        b.stmt(s.map_exprs(&mut |e| to.get(e.0 as usize).copied().unwrap_or(e)));
    }
    b.finish()
}

/// The same value without the operations that [`legalize`] writes out.
pub fn legalize_expr(b: &mut Builder, e: ExprId) -> ExprId {
    let cell = RefCell::new(std::mem::take(b));
    let order = super::walk::reachable(cell.borrow().func(), &[e]);
    let mut to: std::collections::HashMap<ExprId, ExprId> = std::collections::HashMap::new();
    for id in order {
        let node = cell.borrow().func().exprs[id].clone();
        let node = node.map_operands(|o| to.get(&o).copied().unwrap_or(o));
        let out = match node {
            Expr::Un(op, x) => math::un(&cell, op, x),
            Expr::Bin(op, x, y) => math::bin(&cell, op, x, y),
            _ => None,
        };
        let out = out.unwrap_or_else(|| cell.borrow_mut().expr(node));
        to.insert(id, out);
    }
    *b = cell.into_inner();
    to.get(&e).copied().unwrap_or(e)
}
