//! Writes the mathematical functions out in primitive operations, so that the interpreter and generated code have the
//! same bits. (The formulas follow; until then a function that uses one is refused by the interpreter.)

use super::ir::Func;

/// The same function without [`super::ir::UnOp::Exp`] and the operations after it.
pub fn legalize(func: &Func) -> Func {
    func.clone()
}
