//! onnxc: an ahead-of-time compiler for neural networks.
#![forbid(unsafe_code)]

pub mod artifact;
pub mod base;
pub mod codegen;
pub mod contracts;
pub mod fusions;
pub mod graph;
pub mod kernel;
pub mod loops;
pub mod onnx;
pub mod op;
pub mod ops;
pub mod pass;
pub mod passes;
pub mod pipeline;
pub mod plan;
pub mod target;
