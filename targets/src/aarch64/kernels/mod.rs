//! Kernel generators for aarch64, best first.

pub mod gemm;
pub mod probe;
pub mod schedule;

use crate::vector::ir::Level;
use crate::vector::rows;
use onnxc_compiler::kernel::Tile;

const NEON: &[&str] = &["neon"];

/// What products of bytes need.
const DOTPROD: &[&str] = &["neon", "dotprod"];

/// What products of matrices of bytes need.
const I8MM: &[&str] = &["neon", "i8mm"];

/// All of them.
pub static TILES: &[&Tile] = &[
    &rows::strip(Level::Neon, "gemm_strip_f32_neon", NEON),
    &rows::strip_matrices(Level::Neon, "gemm_strip_i8_i8mm", I8MM),
    &rows::strip_bytes(Level::Neon, "gemm_strip_i8_dotprod", DOTPROD),
    &rows::strip_words(Level::Neon, "gemm_strip_i16_neon", NEON),
    &rows::depthwise(Level::Neon, "depthwise_tile_f32_neon", NEON),
    &rows::depthwise_dots(Level::Neon, "depthwise_i8_dotprod", DOTPROD),
    &rows::depthwise_long(Level::Neon, "depthwise_i8_neon", NEON),
    &rows::winograd_in(Level::Neon, "winograd_in_f32_neon", NEON),
    &rows::winograd_out(Level::Neon, "winograd_out_f32_neon", NEON),
    &rows::winograd_filters(Level::Neon, "winograd_filters_f32_neon", NEON),
    &rows::winograd_filters_words(Level::Neon, "winograd_filters_i8_neon", NEON),
    &rows::winograd_in_words(Level::Neon, "winograd_in_u8_neon", NEON),
    &rows::winograd_out_words(Level::Neon, "winograd_out_i32_neon", NEON),
    &rows::sparse_in(Level::Neon, "sparse_in_f32_neon", NEON),
    &rows::sparse_strip(Level::Neon, "sparse_strip_f32_neon", NEON),
    &rows::sparse_line(Level::Neon, "sparse_line_f32_neon", NEON),
    &rows::sparse_out(Level::Neon, "sparse_out_f32_neon", NEON),
    &rows::sparse_in_words(Level::Neon, "sparse_in_u8_neon", NEON),
    &rows::sparse_strip_words(Level::Neon, "sparse_strip_i16_neon", NEON),
    &rows::sparse_in_near(Level::Neon, "sparse_in_near_neon", NEON),
    &rows::sparse_strip_quads(Level::Neon, "sparse_strip_i8_dotprod", DOTPROD),
    &rows::sparse_out_words(Level::Neon, "sparse_out_i32_neon", NEON),
    &gemm::GEMM_TILE_F32_8X12_NEON,
];
