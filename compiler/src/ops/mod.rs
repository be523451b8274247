//! Floor 5: the operators, one per file (or one family of rows per file), and their roll.
//!
//! The roll is the only list: importing, printing names, `docs/support.md`, `--print supported-ops` and the fuzzer's menu
//! come from it.

use crate::op::{OnnxRow, OpDef};

macro_rules! roll {
    ($($file:ident),* $(,)?) => {
        $(pub mod $file;)*
        /// Every operator, file by file.
        pub fn all() -> impl Iterator<Item = &'static OpDef> {
            [$($file::OPS),*].into_iter().flatten().copied()
        }
    };
}

pub mod axes;
mod columns;
pub mod conv_transpose_planes;
mod deform_columns;
mod fourier;
pub mod ml_post;
pub mod ml_tree;
pub mod ml_tree_read;
#[cfg(test)]
mod nn_tests;
mod pool_planes;
pub mod quantized;
mod quotient;
mod ranks;
pub mod recurrent;
mod recurrent_walk;
mod recurrent_weights;
pub mod resize_free;
mod resize_loops;
mod resize_table;
mod roi_tables;
pub mod small_float;
mod softmax_planes;
pub mod spatial;
pub mod svm_kernel;
#[cfg(test)]
pub mod testing;
mod turned;
pub mod util;

roll! {
    activation,
    arg,
    arith,
    batch_norm,
    bits,
    cast,
    col2im,
    compare,
    concat,
    control,
    conv,
    conv_transpose,
    cumulative,
    deform_conv,
    det,
    dft,
    einsum,
    gather,
    generate,
    global_pool,
    grid,
    identity,
    layer_norm,
    lookup,
    math,
    matmul,
    max_pool,
    mel,
    ml_ensemble,
    ml_labels,
    ml_linear,
    ml_simple,
    ms_gelu,
    nms,
    nonzero,
    norm,
    pad,
    pool,
    qlinear,
    qlinear_pointwise,
    quantize,
    quantized_layer_norm,
    quantized_softmax,
    reduce,
    relu,
    requantize,
    requantize_single,
    reshape,
    resize,
    rnn,
    roi,
    scatter,
    sdpa,
    slice,
    softmax,
    sort,
    squeeze_excite,
    svm_classifier,
    svm_regressor,
    tile,
    top_k,
    transpose,
}

/// The operator with our name `name`.
pub fn find(name: &str) -> Option<&'static OpDef> {
    all().find(|o| o.name == name)
}

/// What the roll says of an ONNX operator.
pub enum Found {
    /// This operator, read by this row.
    Row(&'static OpDef, &'static OnnxRow),
    /// The name is known, but not at this opset.
    OtherOpset,
    /// The name is not known.
    Unknown,
}

/// The operator for `domain`::`name` in a model that imports `opset` of that domain. `ai.onnx` is the empty domain.
pub fn find_onnx(domain: &str, name: &str, opset: i64) -> Found {
    let mut known = false;
    for op in all() {
        for row in op
            .onnx
            .iter()
            .filter(|r| r.domain == domain && r.name == name)
        {
            if (row.since..=row.until).contains(&opset) {
                return Found::Row(op, row);
            }
            known = true;
        }
    }
    if known {
        Found::OtherOpset
    } else {
        Found::Unknown
    }
}
