//! How generated code calls an accelerator: one table for each offloaded region, reached through the context.
//!
//! For region `k` the code of a model does this, and nothing else:
//!
//! 1. If `ctx.offload` is null, `k >= ctx.num_offload` or `ctx.offload[k]` is null: the region's layers run on the CPU, in place. They are
//!    the region's twin. (Region with [`crate::region::REQUIRED`]: the run ends with `OFFLOAD_ABSENT`.)
//! 2. Otherwise it calls `run(table, ctx, k, inputs, outputs)`. `OK`: the outputs are written, and the layers are skipped.
//! 3. Any other answer: the layers run and write the same outputs; then, if `twin_done` is not null, it is called with the same
//!    outputs. (Region with `REQUIRED`: the run ends with the answer as its status.)
//!
//! Pointers are those of the region's ports in the order of the descriptor, inputs and outputs apart, each aligned to its element.
//! No output overlaps an input or another output. What `run` is given belongs to it until it returns, and no longer: no device may touch it
//! afterwards. Neither function unwinds. A table is used by one run at a time.

use crate::Context;
use core::ffi::c_void;

/// Computes a region: answers a status ([`crate::status`]). After any answer but `OK` the contents of the outputs are unspecified and the inputs are
/// unchanged. `OFFLOAD_SHADOW` asks for the twin's outputs, to compare its own with; regions with `REQUIRED` never get it.
pub type RunRegion = unsafe extern "C" fn(
    table: *const OffloadTable,
    ctx: *const Context,
    region: u32,
    inputs: *const *const c_void,
    outputs: *const *mut c_void,
) -> i32;

/// Told that the CPU has computed a region that `run` did not answer `OK` for. It reads the outputs and changes nothing.
pub type TwinDone = unsafe extern "C" fn(
    table: *const OffloadTable,
    ctx: *const Context,
    region: u32,
    outputs: *const *mut c_void,
);

c_struct! {
    /// What generated code calls for a region. Tables grow at the end only; `struct_size` says how far one goes. Code that meets a table of
    /// another `abi_version`, or a shorter one than it knows, runs the twin.
    OffloadTable = "onnxc_offload_table", 32 {
        /// Bytes of the table.
        struct_size: u32 = "uint32_t struct_size" @ 0,
        /// `ONNXC_ABI_VERSION` it was built for.
        abi_version: u32 = "uint32_t abi_version" @ 4,
        /// For those behind the functions: generated code does not look at it.
        self_: *mut c_void = "void *self_" @ 8,
        /// Computes the region; never null.
        run: Option<RunRegion> = "onnxc_run_region run" @ 16,
        /// Told of the twin's outputs; may be null.
        twin_done: Option<TwinDone> = "onnxc_twin_done twin_done" @ 24,
    }
}
