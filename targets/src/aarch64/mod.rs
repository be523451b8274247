//! aarch64: its CPUs, its architecture versions, its instruction encoder and its kernel generators.

pub mod arch;
pub mod cpus;
