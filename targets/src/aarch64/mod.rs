//! aarch64: its CPUs, its architecture versions, its instruction encoder and its kernel generators.

pub mod arch;
pub mod asm;
pub mod classes;
pub mod cpus;
pub mod effects;
pub mod inst;
pub mod kernels;
pub mod list_schedule;
pub mod operand;
pub mod simd;
pub mod vector;
