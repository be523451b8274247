//! Floor 5: the upper IR. See [`ir`] for what it is. It never names an operator.
pub mod infer;
pub mod ir;
mod splice;
