//! Where in a layer's output an iteration writes.
//!
//! A thread finds near what it has written itself, and waits long for what another has: lines go from one core's cache to the other's one by one. So
//! the loops of a layer are cut at one place of the output, whatever their order, and the layers of a network about alike.

use crate::loops::build::fold_i64;
use crate::loops::ir::*;
use std::collections::HashMap;

/// Values of variables.
pub type Values = HashMap<VarId, i64>;

/// The share of an output that lies before the first element which a statement writes, with variables of those values and 0 for the loops
/// inside. `None`: it writes none, or the place depends on data or sizes that are not known.
pub fn place(func: &Func, s: &Stmt, values: &mut Values) -> Option<f64> {
    let share = |buf: BufId, offset: ExprId, values: &Values| {
        let b = func.bufs.get(buf)?;
        let len = b.len.fixed().filter(|n| *n > 0)?;
        let is_output = matches!(b.access, Access::Write | Access::ReadWrite);
        (is_output).then_some(value(func, offset, values)? as f64 / len as f64)
    };
    match s {
        Stmt::Let { var, value: v } => {
            let v = value(func, *v, values)?;
            values.insert(*var, v);
            None
        }
        Stmt::Store { buf, index, .. } => share(*buf, *index, values),
        Stmt::Call { args, .. } => args.iter().find_map(|a| match a {
            Arg::Ptr { buf, offset } => share(*buf, *offset, values),
            Arg::Int(_) => None,
        }),
        Stmt::For { var, body, .. } => {
            values.insert(*var, 0);
            body.iter().find_map(|s| place(func, s, values))
        }
        Stmt::If { then, els, .. } => (then.iter().chain(els)).find_map(|s| place(func, s, values)),
        _ => None,
    }
}

/// Takes note of the variables that a statement sets in the first iterations of its loops.
pub fn note(func: &Func, s: &Stmt, values: &mut Values) {
    match s {
        Stmt::Let { var, value: v } => {
            if let Some(v) = value(func, *v, values) {
                values.insert(*var, v);
            }
        }
        Stmt::For { var, body, .. } => {
            values.insert(*var, 0);
            body.iter().for_each(|s| note(func, s, values));
        }
        _ => s.blocks().flatten().for_each(|s| note(func, s, values)),
    }
}

// A whole number made of constants and variables of known value.
fn value(func: &Func, e: ExprId, values: &Values) -> Option<i64> {
    let number = |c: Const| match c {
        Const::I64(n) => Some(n),
        Const::Bool(b) => Some(i64::from(b)),
        _ => None,
    };
    match &func.exprs[e] {
        Expr::Const(c) => number(*c),
        Expr::Var(v) => values.get(v).copied(),
        Expr::Bin(op, a, b) => {
            let (a, b) = (value(func, *a, values)?, value(func, *b, values)?);
            number(fold_i64(*op, a, b)?)
        }
        Expr::Select(c, a, b) => match value(func, *c, values)? {
            0 => value(func, *b, values),
            _ => value(func, *a, values),
        },
        _ => None,
    }
}
