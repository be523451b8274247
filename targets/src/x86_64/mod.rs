//! x86_64: its CPUs and its kernel generators.

pub mod cpus;
pub mod kernels;
pub mod vector;
