//! onnxc: an ahead-of-time compiler for neural networks.
#![forbid(unsafe_code)]

pub mod base;
pub mod loops;
