//! What onnxc knows of machines: triples, CPUs, features, and kernel generators.
//!
//! The compiler names no machine; a caller takes what it needs from here and hands it in. Nothing here touches files or
//! the network, and no name that a user gives can make it panic.
#![forbid(unsafe_code)]

pub mod aarch64;
pub mod audit;
pub mod costs;
pub mod cpu;
mod feature_names;
pub mod features;
pub mod flags;
pub mod machine;
pub mod native;
pub mod npu;
pub mod npu_sim;
pub mod probe;
pub mod shape;
pub mod suggest;
pub mod triple;
pub mod vector;
pub mod x86_64;

pub use onnxc_compiler::target::Arch;
