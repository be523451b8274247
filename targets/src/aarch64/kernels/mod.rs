//! Kernel generators for aarch64, best first.

pub mod gemm;
pub mod probe;
pub mod schedule;

use crate::vector::ir::Level;
use crate::vector::rows;
use onnxc_compiler::kernel::Tile;

const NEON: &[&str] = &["neon"];

/// All of them.
pub static TILES: &[&Tile] = &[
    &rows::strip(Level::Neon, "gemm_strip_f32_neon", NEON),
    &rows::depthwise(Level::Neon, "depthwise_tile_f32_neon", NEON),
    &rows::winograd_in(Level::Neon, "winograd_in_f32_neon", NEON),
    &rows::winograd_out(Level::Neon, "winograd_out_f32_neon", NEON),
    &gemm::GEMM_TILE_F32_8X12_NEON,
];
