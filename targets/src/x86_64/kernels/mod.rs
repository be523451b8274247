//! Kernel generators for x86_64, best first.

pub mod gemm;
pub mod probe;

use crate::vector::ir::Level;
use crate::vector::rows;
use onnxc_compiler::kernel::Tile;

/// What AVX-512 kernels need.
const AVX512: &[&str] = &["avx512f", "avx512vl"];
/// What AVX2 kernels need.
const AVX2: &[&str] = &["avx2", "fma", "f16c"];

/// All of them.
pub static TILES: &[&Tile] = &[
    &rows::strip(Level::Avx512, "gemm_strip_f32_avx512", AVX512),
    &rows::strip(Level::Avx2, "gemm_strip_f32_avx2fma", AVX2),
    &rows::strip(Level::Sse2, "gemm_strip_f32_sse2", &[]),
    &rows::depthwise(Level::Avx512, "depthwise_tile_f32_avx512", AVX512),
    &rows::depthwise(Level::Avx2, "depthwise_tile_f32_avx2fma", AVX2),
    &rows::depthwise(Level::Sse2, "depthwise_tile_f32_sse2", &[]),
    &rows::winograd_in(Level::Avx512, "winograd_in_f32_avx512", AVX512),
    &rows::winograd_in(Level::Avx2, "winograd_in_f32_avx2fma", AVX2),
    &rows::winograd_in(Level::Sse2, "winograd_in_f32_sse2", &[]),
    &rows::winograd_out(Level::Avx512, "winograd_out_f32_avx512", AVX512),
    &rows::winograd_out(Level::Avx2, "winograd_out_f32_avx2fma", AVX2),
    &rows::winograd_out(Level::Sse2, "winograd_out_f32_sse2", &[]),
    &gemm::GEMM_TILE_F32_6X16_AVX2FMA,
];
