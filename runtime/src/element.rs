//! Which Rust types an input or output of an ONNX type may lie in.

/// An element of a buffer. Types that Rust lacks (f16, bf16, bool, small floats, 4-bit integers) travel as integers of the
/// same width.
///
/// # Safety
/// Every bit pattern is a value, and the type has no padding.
pub unsafe trait Element: Copy {
    /// Numbers of the ONNX types (`TensorProto.DataType`) that may lie in it.
    const DTYPES: &'static [u32];
}

macro_rules! elements {
    ($($ty:ty: $($dtype:literal)*;)*) => {$(
        // SAFETY: plain numbers: all patterns are values, no padding.
        unsafe impl Element for $ty { const DTYPES: &'static [u32] = &[$($dtype),*]; }
    )*};
}

elements! {
    f32: 1;
    f64: 11;
    u8: 2 9 17 18 19 20 21 23 24 25;
    i8: 3 22 26;
    u16: 4 10 16;
    i16: 5;
    i32: 6;
    i64: 7;
    u32: 12;
    u64: 13;
    [f32; 2]: 14;
    [f64; 2]: 15;
}
