//! Products with sparse weights: which weights are kept, how they are laid out, and the loops around the tiles.
//!
//! A block is one output channel or four neighbours that are zero at the same inputs (eight that share them are two such blocks at
//! the same cost). What is kept of a block is its entries: an input channel with the block's weights of it. Nothing is stored or
//! multiplied for the rest. `docs/sparse-kernels.md` has the picture and the measurements.

pub mod conv;
pub mod gemm;
pub mod integer;

pub mod line;
pub mod pattern;
pub mod product;
pub mod tiles;
