//! Smaller numbers and fewer of them: quantization, pruning.

pub mod prune;
pub mod quantize;
