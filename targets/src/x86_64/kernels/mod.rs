//! Kernel generators for x86_64, best first.

pub mod gemm;

use onnxc_compiler::kernel::Tile;

/// All of them.
pub static TILES: &[&Tile] = &[&gemm::GEMM_TILE_F32_6X16_AVX2FMA];
