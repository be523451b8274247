//! The context: the one argument of `int32_t PREFIX_run(const onnxc_context *ctx)`.
//!
//! The caller fills it and owns all it points to. A model keeps no state outside the arena, so a context may be used from
//! any thread, and several contexts with arenas of their own run at the same time. Generated code reads the context and
//! never writes it.

use crate::offload::OffloadTable;
use core::ffi::c_void;

/// A part of a parallel loop: computes the iterations `begin..end` and answers a status.
pub type ParallelBody = unsafe extern "C" fn(arg: *mut c_void, begin: i64, end: i64) -> i32;

/// Runs `body` so that disjoint ranges cover `0..count` exactly once, on any threads and in any order, and returns when
/// all have ended and their writes are visible to the caller. Answers 0, or the status of the lowest range that failed.
/// It must not unwind. Null in the context means: on the calling thread.
pub type ParallelFor = unsafe extern "C" fn(
    user: *mut c_void,
    body: ParallelBody,
    arg: *mut c_void,
    count: i64,
) -> i32;

/// Called before (`begin` = 1) and after (`begin` = 0) layer number `layer` of the descriptor, on the thread that called
/// `PREFIX_run`. It must not unwind.
pub type Trace = unsafe extern "C" fn(user: *mut c_void, layer: u32, begin: u32);

/// Type of `PREFIX_run`.
pub type RunFn = unsafe extern "C" fn(ctx: *const Context) -> i32;

c_struct! {
    /// What a run needs. Zero it, set `abi_version` and `struct_size`, then what the model needs; zero is right for the rest.
    Context = "onnxc_context", 160 {
        /// `ONNXC_ABI_VERSION`.
        abi_version: u32 = "uint32_t abi_version" @ 0,
        /// `sizeof(onnxc_context)`. A model accepts a larger one: fields are only appended.
        struct_size: u32 = "uint32_t struct_size" @ 4,
        /// Memory for everything in between, aligned to 64 bytes; its contents need no preparation and mean nothing after a run.
        arena: *mut c_void = "void *arena" @ 8,
        /// Bytes of the arena.
        arena_size: u64 = "uint64_t arena_size" @ 16,
        /// The weights; null = those in the object.
        weights: *const c_void = "const void *weights" @ 24,
        /// Bytes of the weights; 0 if null.
        weights_size: u64 = "uint64_t weights_size" @ 32,
        /// One pointer for each input, aligned to its element.
        inputs: *const *const c_void = "const void *const *inputs" @ 40,
        /// One pointer for each output, aligned to its element; must not overlap an input, the arena or each other.
        outputs: *const *mut c_void = "void *const *outputs" @ 48,
        /// Length of `inputs`.
        num_inputs: u32 = "uint32_t num_inputs" @ 56,
        /// Length of `outputs`.
        num_outputs: u32 = "uint32_t num_outputs" @ 60,
        /// Values of the free input symbols in the order of the descriptor; null if there are none.
        dims: *const i64 = "const int64_t *dims" @ 64,
        /// Receives the sizes of all outputs, one output after the other; may be null.
        out_dims: *mut i64 = "int64_t *out_dims" @ 72,
        /// Length of `dims`.
        num_dims: u32 = "uint32_t num_dims" @ 80,
        /// Length of `out_dims`: the sum of the outputs' ranks, or 0 if it is null.
        num_out_dims: u32 = "uint32_t num_out_dims" @ 84,
        /// Spreads loops over threads; null = one thread.
        parallel_for: Option<ParallelFor> = "onnxc_parallel_for parallel_for" @ 88,
        /// First argument of `parallel_for`.
        parallel_user: *mut c_void = "void *parallel_user" @ 96,
        /// Told of the begin and end of each layer; may be null.
        trace: Option<Trace> = "onnxc_trace trace" @ 104,
        /// First argument of `trace`.
        trace_user: *mut c_void = "void *trace_user" @ 112,
        /// A table for each offloaded region, null where the CPU computes it; may be null.
        offload: *const *const OffloadTable = "const onnxc_offload_table *const *offload" @ 120,
        /// Length of `offload`.
        num_offload: u32 = "uint32_t num_offload" @ 128,
        /// What the CPU can do ([`crate::cpu`]), for objects that hold code of several levels; 0 = not known: the base level.
        cpu_level: u32 = "uint32_t cpu_level" @ 132,
        /// Zero.
        reserved: [u64; 3] = "uint64_t reserved[3]" @ 136,
    }
}

impl Context {
    /// A context that holds nothing yet but the right version and size.
    pub const EMPTY: Context = Context {
        abi_version: crate::ABI_VERSION,
        struct_size: size_of::<Context>() as u32,
        arena: core::ptr::null_mut(),
        arena_size: 0,
        weights: core::ptr::null(),
        weights_size: 0,
        inputs: core::ptr::null(),
        outputs: core::ptr::null(),
        num_inputs: 0,
        num_outputs: 0,
        dims: core::ptr::null(),
        out_dims: core::ptr::null_mut(),
        num_dims: 0,
        num_out_dims: 0,
        parallel_for: None,
        parallel_user: core::ptr::null_mut(),
        trace: None,
        trace_user: core::ptr::null_mut(),
        offload: core::ptr::null(),
        num_offload: 0,
        cpu_level: 0,
        reserved: [0; 3],
    };
}
