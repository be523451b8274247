//! Kernel generators for aarch64, best first.

pub mod gemm;
pub mod probe;
pub mod schedule;

use onnxc_compiler::kernel::Tile;

/// All of them.
pub static TILES: &[&Tile] = &[&gemm::GEMM_TILE_F32_8X12_NEON];
