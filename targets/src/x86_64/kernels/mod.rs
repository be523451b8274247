//! Kernel generators for x86_64, best first.

pub mod gemm;
pub mod numbers;
pub mod palette;
pub mod pixels;
pub mod probe;
pub mod repeat;
pub mod softmax_table;
pub mod strides;
pub mod table;
pub mod turn;
mod turn_block;
pub mod zip;

use crate::vector::ir::Level;
use crate::vector::rows;
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::kernel::{Code, Tile};
use onnxc_compiler::loops::ir::Callee;

/// What writing some instructions gives.
type Emitted = std::result::Result<(), IcedError>;

/// The code of a kernel that uses no stack.
fn assembled(callee: &Callee, bytes: std::result::Result<Vec<u8>, IcedError>) -> Result<Code> {
    let wrong = |e| Diagnostic::internal(format!("`{}`: {e}", callee.kernel));
    Ok(Code {
        bytes: bytes.map_err(wrong)?,
        align: 64,
        stack: 0,
    })
}

/// Steps of 16 from 0 to `n`, the last of which overlaps the one before; then to `done`. To `small` where there are fewer. `at` is what is next, `last` where
/// the last 16 begin.
fn by_sixteen(
    a: &mut CodeAssembler,
    [n, at, last]: [AsmRegister64; 3],
    [small, done]: [CodeLabel; 2],
    step: impl Fn(&mut CodeAssembler) -> Emitted,
) -> Emitted {
    let mut next = a.create_label();
    a.lea(last, qword_ptr(n - 16))?;
    a.test(last, last)?;
    a.js(small)?;
    a.xor(at, at)?;
    a.set_label(&mut next)?;
    step(a)?;
    a.add(at, 16)?;
    a.cmp(at, last)?;
    a.jle(next)?;
    a.cmp(at, n)?;
    a.jge(done)?;
    a.mov(at, last)?;
    step(a)?;
    a.jmp(done)
}

/// What AVX-512 kernels need.
const AVX512: &[&str] = &["avx512f", "avx512vl"];
/// The same with words and bytes.
const AVX512_BW: &[&str] = &["avx512f", "avx512vl", "avx512bw"];
/// The same with products of bytes and words that are added at once.
const AVX512_VNNI: &[&str] = &["avx512f", "avx512vl", "avx512bw", "avx512vnni"];
/// Products of bytes at 256 bits without AVX-512.
const AVX_VNNI: &[&str] = &["avx2", "fma", "f16c", "avxvnni"];
/// What AVX2 kernels need.
const AVX2: &[&str] = &["avx2", "fma", "f16c"];

/// All of them.
pub static TILES: &[&Tile] = &[
    &rows::strip(Level::Avx512, "gemm_strip_f32_avx512", AVX512),
    &rows::strip(Level::Avx2, "gemm_strip_f32_avx2fma", AVX2),
    &rows::strip(Level::Sse2, "gemm_strip_f32_sse2", &[]),
    &rows::strip_bytes(Level::Avx512, "gemm_strip_u8_avx512vnni", AVX512_VNNI),
    &rows::strip_half_bytes("gemm_strip_u8_avx512vnni_256", AVX512_VNNI),
    &rows::strip_bytes(Level::Avx2, "gemm_strip_u8_avxvnni", AVX_VNNI),
    &rows::strip_picked(Level::Avx2, "gemm_strip_u8_picked_avx2", AVX2),
    &rows::strip_fused_words(Level::Avx512, "gemm_strip_i16_avx512vnni", AVX512_VNNI),
    &rows::strip_fused_words(Level::Avx2, "gemm_strip_i16_avxvnni", AVX_VNNI),
    &rows::strip_words(Level::Avx512, "gemm_strip_i16_avx512bw", AVX512_BW),
    &rows::strip_words(Level::Avx2, "gemm_strip_i16_avx2", AVX2),
    &rows::strip_words(Level::Sse2, "gemm_strip_i16_sse2", &[]),
    &rows::depthwise(Level::Avx512, "depthwise_tile_f32_avx512", AVX512),
    &rows::depthwise(Level::Avx2, "depthwise_tile_f32_avx2fma", AVX2),
    &rows::depthwise(Level::Sse2, "depthwise_tile_f32_sse2", &[]),
    &rows::depthwise_bytes(Level::Avx512, "depthwise_u8_avx512vnni", AVX512_VNNI),
    &rows::depthwise_bytes(Level::Avx2, "depthwise_u8_avxvnni", AVX_VNNI),
    &rows::depthwise_words(Level::Avx512, "depthwise_i16_avx512bw", AVX512_BW),
    &rows::depthwise_words(Level::Avx2, "depthwise_i16_avx2", AVX2),
    &rows::winograd_in(Level::Avx512, "winograd_in_f32_avx512", AVX512),
    &rows::winograd_in(Level::Avx2, "winograd_in_f32_avx2fma", AVX2),
    &rows::winograd_in(Level::Sse2, "winograd_in_f32_sse2", &[]),
    &rows::winograd_out(Level::Avx512, "winograd_out_f32_avx512", AVX512),
    &rows::winograd_out(Level::Avx2, "winograd_out_f32_avx2fma", AVX2),
    &rows::winograd_out(Level::Sse2, "winograd_out_f32_sse2", &[]),
    &rows::winograd_in_words(Level::Avx512, "winograd_in_u8_avx512bw", AVX512_BW),
    &rows::winograd_in_words(Level::Avx2, "winograd_in_u8_avx2", AVX2),
    &rows::winograd_in_words(Level::Sse2, "winograd_in_u8_sse2", &[]),
    &rows::winograd_filters(Level::Avx512, "winograd_filters_f32_avx512", AVX512),
    &rows::winograd_filters(Level::Avx2, "winograd_filters_f32_avx2fma", AVX2),
    &rows::winograd_filters_words(Level::Avx512, "winograd_filters_i8_avx512bw", AVX512_BW),
    &rows::winograd_filters_words(Level::Avx2, "winograd_filters_i8_avx2", AVX2),
    &rows::winograd_filters_words(Level::Sse2, "winograd_filters_i8_sse2", &[]),
    &rows::winograd_out_words(Level::Avx512, "winograd_out_i32_avx512", AVX512),
    &rows::winograd_out_words(Level::Avx2, "winograd_out_i32_avx2", AVX2),
    &rows::winograd_out_words(Level::Sse2, "winograd_out_i32_sse2", &[]),
    &table::BYTE_TABLE_AVX512VBMI,
    &table::BYTE_TABLE_AVX2,
    &zip::BYTE_ZIP_AVX2,
    &pixels::BYTE_PIXELS_AVX2,
    &repeat::BYTE_REPEAT_AVX2,
    &strides::BYTE_STRIDES_AVX2,
    &turn::TURN_AVX2,
    &softmax_table::SOFTMAX_TABLE_AVX2,
    &numbers::NUMBERS_AVX2,
    &palette::PALETTE_AVX2,
    &rows::sparse_in(Level::Avx512, "sparse_in_f32_avx512", AVX512),
    &rows::sparse_in(Level::Avx2, "sparse_in_f32_avx2fma", AVX2),
    &rows::sparse_in(Level::Sse2, "sparse_in_f32_sse2", &[]),
    &rows::sparse_strip(Level::Avx512, "sparse_strip_f32_avx512", AVX512),
    &rows::sparse_strip(Level::Avx2, "sparse_strip_f32_avx2fma", AVX2),
    &rows::sparse_strip(Level::Sse2, "sparse_strip_f32_sse2", &[]),
    &rows::sparse_line(Level::Avx512, "sparse_line_f32_avx512", AVX512),
    &rows::sparse_line(Level::Avx2, "sparse_line_f32_avx2fma", AVX2),
    &rows::sparse_line(Level::Sse2, "sparse_line_f32_sse2", &[]),
    &rows::sparse_out(Level::Avx512, "sparse_out_f32_avx512", AVX512),
    &rows::sparse_out(Level::Avx2, "sparse_out_f32_avx2fma", AVX2),
    &rows::sparse_out(Level::Sse2, "sparse_out_f32_sse2", &[]),
    &rows::sparse_in_words(Level::Avx512, "sparse_in_u8_avx512bw", AVX512_BW),
    &rows::sparse_in_words(Level::Avx2, "sparse_in_u8_avx2", AVX2),
    &rows::sparse_strip_fused_words(Level::Avx512, "sparse_strip_i16_avx512vnni", AVX512_VNNI),
    &rows::sparse_strip_words(Level::Avx512, "sparse_strip_i16_avx512bw", AVX512_BW),
    &rows::sparse_strip_fused_words(Level::Avx2, "sparse_strip_i16_avxvnni", AVX_VNNI),
    &rows::sparse_strip_words(Level::Avx2, "sparse_strip_i16_avx2", AVX2),
    &rows::sparse_in_near(Level::Avx512, "sparse_in_near_avx512", AVX512),
    &rows::sparse_in_near(Level::Avx2, "sparse_in_near_avx2", AVX2),
    &rows::sparse_strip_quads(Level::Avx512, "sparse_strip_u8_avx512vnni", AVX512_VNNI),
    &rows::sparse_strip_quads(Level::Avx2, "sparse_strip_u8_avxvnni", AVX_VNNI),
    &rows::sparse_strip_pairs(Level::Avx512, "sparse_strip_pairs_avx512bw", AVX512_BW),
    &rows::sparse_strip_pairs(Level::Avx2, "sparse_strip_pairs_avx2", AVX2),
    &rows::sparse_out_across(Level::Avx512, "sparse_out_across_avx512bw", AVX512_BW),
    &rows::sparse_out_across(Level::Avx2, "sparse_out_across_avx2", AVX2),
    &rows::sparse_out_words(Level::Avx512, "sparse_out_i32_avx512bw", AVX512_BW),
    &rows::sparse_out_words(Level::Avx2, "sparse_out_i32_avx2", AVX2),
    &gemm::GEMM_TILE_F32_6X16_AVX2FMA,
];
