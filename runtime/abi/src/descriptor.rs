//! The descriptor: what a compiled model says about itself, in its read-only data.
//!
//! It is one blob of bytes, the same on every host. Where one part refers to another it does so by a self-relative 32-bit
//! distance, never by a pointer; as both ends lie in the blob, the linker has nothing to do and no relocation exists. All
//! numbers are little-endian, every part is aligned to its largest field, texts are UTF-8 that a zero byte ends.
//!
//! Here are the layouts. The reader is `reader.rs`; the writer is in the compiler (`artifact/descriptor.rs`).

/// First word: "ONXD".
pub const MAGIC: u32 = u32::from_le_bytes(*b"ONXD");

/// Alignment of the blob.
pub const ALIGN: usize = 16;

/// A self-relative distance in bytes; 0 = nothing.
pub type Rel = i32;

/// Where weights are: the names in C, and the numbers.
pub const PLACEMENTS: &[(&str, u32)] = &[("EMBEDDED", 0), ("SECTION", 1), ("FILE", 2)];

/// Symbol origins: stated by the caller, or computed from data.
pub const ORIGIN_INPUT: u32 = 0;
/// A layer computes it while the model runs.
pub const ORIGIN_DATA: u32 = 1;

c_struct! {
    /// A dimension.
    RawDim = "onnxc_dim", 16 {
        /// The size, or the largest possible one where it is not fixed.
        size: i64 = "int64_t size" @ 0,
        /// The symbol whose value it is, or -1.
        symbol: i32 = "int32_t symbol" @ 8,
        /// Text of the expression; absent where the size is fixed.
        expr: Rel = "onnxc_rel expr" @ 12,
    }
}

c_struct! {
    /// How integers of an input or output stand for real numbers: real = scale * (integer - zero point).
    RawQuant = "onnxc_quant", 16 {
        /// The axis along which scales differ; -1 if there is one scale.
        axis: i32 = "int32_t axis" @ 0,
        /// Number of scales and zero points.
        count: u32 = "uint32_t count" @ 4,
        /// `float[count]`.
        scales: Rel = "onnxc_rel scales" @ 8,
        /// `int32_t[count]`.
        zero_points: Rel = "onnxc_rel zero_points" @ 12,
    }
}

c_struct! {
    /// An input or output.
    RawPort = "onnxc_port", 40 {
        /// Its name in the model.
        name: Rel = "onnxc_rel name" @ 0,
        /// Its name in generated sources.
        c_name: Rel = "onnxc_rel c_name" @ 4,
        /// Element type: the number in ONNX's `TensorProto.DataType`.
        dtype: u32 = "uint32_t dtype" @ 8,
        /// Bytes of an element; types below a byte take one byte each.
        elem_size: u32 = "uint32_t elem_size" @ 12,
        /// Number of dimensions.
        rank: u32 = "uint32_t rank" @ 16,
        /// `onnxc_dim[rank]`.
        dims: Rel = "onnxc_rel dims" @ 20,
        /// Bytes at the largest size.
        max_bytes: u64 = "uint64_t max_bytes" @ 24,
        /// `onnxc_quant`, if known.
        quant: Rel = "onnxc_rel quant" @ 32,
        /// Zero.
        reserved: u32 = "uint32_t reserved" @ 36,
    }
}

c_struct! {
    /// A size that is known when the model runs.
    RawSymbol = "onnxc_symbol", 32 {
        /// Its name.
        name: Rel = "onnxc_rel name" @ 0,
        /// 0: the caller states it in `dims`; 1: the model computes it.
        origin: u32 = "uint32_t origin" @ 4,
        /// Smallest value.
        lo: i64 = "int64_t lo" @ 8,
        /// Largest value: memory is planned for it.
        hi: i64 = "int64_t hi" @ 16,
        /// Origin 0: the input whose size it is.
        input: u32 = "uint32_t input" @ 24,
        /// Origin 0: the axis of that input.
        axis: u32 = "uint32_t axis" @ 28,
    }
}

c_struct! {
    /// A layer: what one function of the object computes.
    RawLayer = "onnxc_layer", 32 {
        /// Symbol of its function.
        symbol: Rel = "onnxc_rel symbol" @ 0,
        /// Operators in it, joined by `+`.
        op: Rel = "onnxc_rel op" @ 4,
        /// `onnxc_rel[num_nodes]`, each the name of an ONNX node.
        nodes: Rel = "onnxc_rel nodes" @ 8,
        /// Number of ONNX nodes.
        num_nodes: u32 = "uint32_t num_nodes" @ 12,
        /// Multiply-accumulate operations, at the largest size.
        macs: u64 = "uint64_t macs" @ 16,
        /// Bytes of its weights.
        param_bytes: u64 = "uint64_t param_bytes" @ 24,
    }
}

c_struct! {
    /// A model.
    RawDescriptor = "onnxc_descriptor", 184 {
        /// `ONNXC_DESCRIPTOR_MAGIC`.
        magic: u32 = "uint32_t magic" @ 0,
        /// `ONNXC_ABI_VERSION`.
        abi_version: u32 = "uint32_t abi_version" @ 4,
        /// `sizeof(onnxc_descriptor)`.
        struct_size: u32 = "uint32_t struct_size" @ 8,
        /// Bytes of the whole blob.
        total_size: u32 = "uint32_t total_size" @ 12,
        /// Name of the model.
        name: Rel = "onnxc_rel name" @ 16,
        /// What all its symbols begin with.
        prefix: Rel = "onnxc_rel prefix" @ 20,
        /// Target triple.
        target: Rel = "onnxc_rel target" @ 24,
        /// CPU and features it was compiled for.
        cpu: Rel = "onnxc_rel cpu" @ 28,
        /// `onnxc_port[num_inputs]`.
        inputs: Rel = "onnxc_rel inputs" @ 32,
        /// Number of inputs.
        num_inputs: u32 = "uint32_t num_inputs" @ 36,
        /// `onnxc_port[num_outputs]`.
        outputs: Rel = "onnxc_rel outputs" @ 40,
        /// Number of outputs.
        num_outputs: u32 = "uint32_t num_outputs" @ 44,
        /// `onnxc_symbol[num_symbols]`; those of origin 0 stand first.
        symbols: Rel = "onnxc_rel symbols" @ 48,
        /// Number of symbols.
        num_symbols: u32 = "uint32_t num_symbols" @ 52,
        /// Number of symbols of origin 0: the length of `dims` in the context.
        num_free_symbols: u32 = "uint32_t num_free_symbols" @ 56,
        /// Sum of the ranks of all outputs: the length of `out_dims` in the context.
        num_out_dims: u32 = "uint32_t num_out_dims" @ 60,
        /// `onnxc_layer[num_layers]`.
        layers: Rel = "onnxc_rel layers" @ 64,
        /// Number of layers.
        num_layers: u32 = "uint32_t num_layers" @ 68,
        /// `onnxc_region[num_offloads]`: what accelerators compute, in the order in which they run.
        offloads: Rel = "onnxc_rel offloads" @ 72,
        /// Number of offloaded regions.
        num_offloads: u32 = "uint32_t num_offloads" @ 76,
        /// Bytes of arena a run needs.
        arena_size: u64 = "uint64_t arena_size" @ 80,
        /// Bytes of weights.
        weights_size: u64 = "uint64_t weights_size" @ 88,
        /// Alignment of the arena.
        arena_align: u32 = "uint32_t arena_align" @ 96,
        /// Alignment of the weights.
        weights_align: u32 = "uint32_t weights_align" @ 100,
        /// Bytes of stack a run needs at most, `PREFIX_run` included.
        stack_bytes: u64 = "uint64_t stack_bytes" @ 104,
        /// `ONNXC_WEIGHTS_EMBEDDED`, `_SECTION` or `_FILE`.
        weights_placement: u32 = "uint32_t weights_placement" @ 112,
        /// Threads that a run can keep busy through `parallel_for`; 1 where no loop is spread.
        threads: u32 = "uint32_t threads" @ 116,
        /// SHA-256 of how the weights are laid out: weights files with the same one fit.
        layout_digest: [u8; 32] = "uint8_t layout_digest[32]" @ 120,
        /// SHA-256 of the weights the model was compiled with.
        content_digest: [u8; 32] = "uint8_t content_digest[32]" @ 152,
    }
}
