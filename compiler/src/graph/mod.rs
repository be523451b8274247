//! Floor 5: the upper IR. See [`ir`] for what it is. It never names an operator.
pub mod infer;
pub mod ir;
pub mod literal;
pub mod parse;
pub mod print;
mod splice;
pub mod verify;
