//! The contract between code that onnxc generates, its runtime, and accelerator drivers.
//!
//! Everything that crosses the border of a compiled model is here: the context that `PREFIX_run` reads, the
//! status it returns, the descriptor in its read-only data, and the header of a weights file. Layouts are `repr(C)`,
//! versioned, and asserted at compile time; the C header is written from the same declarations ([`c`]).
//!
//! It depends on nothing, allocates nothing and never panics. `docs/abi.md` explains it to users.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("the onnxc ABI is defined for machines with 64-bit pointers");

#[cfg(test)]
extern crate std;

#[macro_use]
pub mod c;
mod c_cpu;
pub mod c_npu;
pub mod context;
pub mod cpu;
pub mod descriptor;
pub mod npu;
pub mod offload;
pub mod reader;
pub mod region;
pub mod regions;
pub mod status;
pub mod weights;

pub use context::{Context, ParallelBody, ParallelFor, RunFn, Trace};
pub use offload::OffloadTable;
pub use reader::Descriptor;
pub use regions::Region;
pub use status::status_text;

/// Version of everything in this crate. It changes when an existing field changes its place or its meaning; appended
/// context fields leave it alone (see [`Context::struct_size`]).
pub const ABI_VERSION: u32 = 1;

/// `onnxc.hpp`: models from C++17. Every generated C++ header repeats it.
pub const CPP_HEADER: &str = include_str!("onnxc.hpp");

/// Alignment that every arena must have, in bytes.
pub const ARENA_ALIGN: usize = 64;
