//! Floor 4: what kernels compute, one family per file, and the rows that compute it on every machine.
pub mod conv;
pub mod conv_axis;
pub mod conv_depthwise;
pub mod conv_depthwise_last;
pub mod conv_depthwise_long;
pub mod conv_depthwise_parts;
pub mod conv_depthwise_wide;
pub mod conv_gemm;
pub mod conv_integer;
pub mod conv_planes;
pub mod conv_strip;
pub mod conv_winograd;
pub mod depthwise_long;
pub mod depthwise_parts;
pub mod depthwise_tile;
pub mod finish;
pub mod form;
pub mod gemm;
pub mod gemm_blocked;
pub mod gemm_integer;
mod gemm_integer_pack;
pub mod gemm_integer_strip;
pub mod gemm_strip;
pub mod gemm_tile;
pub mod lookup;
pub mod narrow;
pub mod narrow_weights;
pub mod numbers;
pub mod pack;
pub mod palette;
pub mod picked;
pub mod picked_masks;
mod picked_order;
pub mod pixels;
pub mod quotients;
pub mod repeat;
pub mod row_blocks;
pub mod softmax_table;
pub mod sparse;
pub mod strides;
pub mod strip;
pub mod strip_plan;
mod table_steps;
pub mod tail;
pub mod text;
pub mod turn;
pub mod widen;
pub mod window;
pub mod winograd_choice;
pub mod winograd_error;
pub mod winograd_exact;
pub mod winograd_filters;
pub mod winograd_tiles;
pub mod winograd_weights;
pub mod zip;

#[cfg(test)]
mod tests;

use crate::kernel::Contract;
use crate::loops::interp::CalleeResolver;
use crate::loops::ir::{Callee, Func};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// Every contract: `docs/support.md` and the interpreter go by it.
pub static ALL: &[&Contract] = &[
    &conv::CONV,
    &conv_integer::CONV_INTEGER,
    &gemm::GEMM,
    &gemm_integer::GEMM_INTEGER,
    &gemm_tile::GEMM_TILE,
    &strip::GEMM_STRIP,
    &strip::GEMM_STRIP_WORDS,
    &strip::GEMM_STRIP_BYTES,
    &strip::GEMM_STRIP_PICKED,
    &strip::GEMM_STRIP_MATRICES,
    &depthwise_tile::DEPTHWISE_TILE,
    &depthwise_long::DEPTHWISE_LONG,
    &depthwise_parts::DEPTHWISE_WORDS,
    &depthwise_parts::DEPTHWISE_BYTES,
    &lookup::LOOKUP,
    &lookup::BYTE_TABLE,
    &zip::BYTE_ZIP,
    &pixels::BYTE_PIXELS,
    &repeat::BYTE_REPEAT,
    &strides::BYTE_STRIDES,
    &turn::TURN,
    &softmax_table::SOFTMAX_TABLE,
    &numbers::NUMBERS,
    &palette::PALETTE,
    &sparse::tiles::SPARSE_IN,
    &sparse::tiles::SPARSE_STRIP,
    &sparse::tiles::SPARSE_OUT,
    &sparse::line::SPARSE_LINE,
    &sparse::tiles::SPARSE_IN_WORDS,
    &sparse::tiles::SPARSE_STRIP_WORDS,
    &sparse::tiles::SPARSE_OUT_WORDS,
    &sparse::tiles::SPARSE_IN_NEAR,
    &sparse::tiles::SPARSE_STRIP_PAIRS,
    &sparse::tiles::SPARSE_STRIP_QUADS,
    &sparse::tiles::SPARSE_OUT_ACROSS,
    &winograd_tiles::WINOGRAD_IN,
    &winograd_tiles::WINOGRAD_OUT,
    &winograd_tiles::WINOGRAD_IN_WORDS,
    &winograd_tiles::WINOGRAD_OUT_WORDS,
    &winograd_filters::WINOGRAD_FILTERS,
    &winograd_filters::WINOGRAD_FILTERS_WORDS,
];

/// The references of tile contracts, made once per shape: what the interpreter runs in place of machine code.
#[derive(Default)]
pub struct References {
    made: RefCell<HashMap<Callee, Option<Arc<Func>>>>,
}

impl CalleeResolver for References {
    fn reference(&self, callee: &Callee) -> Option<Arc<Func>> {
        let make = || {
            let contract = ALL.iter().find(|c| c.name == callee.contract)?;
            (contract.reference?)(callee).map(Arc::new)
        };
        self.made
            .borrow_mut()
            .entry(callee.clone())
            .or_insert_with(make)
            .clone()
    }
}
