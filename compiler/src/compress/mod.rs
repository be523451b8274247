//! Smaller numbers and fewer of them: quantization.

pub mod quantize;
