//! Products with sparse weights: which weights are kept, how they are laid out, and the loops around the tiles.
//!
//! A block is one output channel or four neighbours that are zero at the same inputs (eight that share them are two such blocks at
//! the same cost). What is kept of a block is its entries: an input channel with the block's weights of it. Nothing is stored or
//! multiplied for the rest. `docs/sparse-kernels.md` has the picture and the measurements.

use crate::loops::ir::Callee;

pub mod conv;
pub mod gemm;
pub mod integer;

pub mod line;
pub mod numbers;
pub mod pattern;
pub mod product;
pub mod tiles;
pub mod window;

/// Multiply-adds of a call of `sparse_strip` or `sparse_line`, whose numbers are known as far as that; `None`: it is another one.
pub fn products(callee: &Callee, numbers: &[Option<i64>]) -> Option<i64> {
    if callee.contract == line::SPARSE_LINE.name {
        let line = line::Line::of(callee)?;
        let entries: usize = line.blocks()?.iter().map(|b| b.1.len()).sum();
        return Some(entries as i64 * line.strip.block * line.strip.pitch);
    }
    let strips = [
        &tiles::SPARSE_STRIP,
        &tiles::SPARSE_STRIP_WORDS,
        &tiles::SPARSE_STRIP_PAIRS,
        &tiles::SPARSE_STRIP_QUADS,
    ];
    if strips.iter().all(|c| c.name != callee.contract) {
        return None;
    }
    let strip = tiles::Strip::of(callee)?;
    let entries = numbers.get(1).copied().flatten()?;
    Some(entries * strip.numbers.group() * strip.numbers.width() * strip.block * strip.pitch)
}
