//! Inputs and outputs as types of Rust.

use super::info::Port;
use crate::base::dtype::DType;

/// Elements at most.
pub(super) fn len(p: &Port) -> u64 {
    p.max_bytes / (p.dtype.size().max(1) as u64)
}

// Types that Rust lacks travel as integers of the same width, complex numbers as pairs.
pub(super) fn rust_type(t: DType) -> &'static str {
    match t {
        DType::F32 => "f32",
        DType::F64 => "f64",
        DType::Complex64 => "[f32; 2]",
        DType::Complex128 => "[f64; 2]",
        DType::F16 | DType::BF16 | DType::U16 => "u16",
        DType::I16 => "i16",
        DType::I32 => "i32",
        DType::I64 => "i64",
        DType::U32 => "u32",
        DType::U64 => "u64",
        DType::I8 | DType::I4 | DType::I2 => "i8",
        _ => "u8",
    }
}
