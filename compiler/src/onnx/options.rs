//! What the caller decides about an import: free dimensions and limits.

use crate::base::tensor::Tensor;

/// What the user says of a free dimension.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DimSpec {
    /// One size.
    Fixed(i64),
    /// Any size from the first to the second, both included: one object for all of them.
    Range(i64, i64),
}

/// Bounds on what a file may ask for. They guard time and memory against malformed and hostile files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Most bytes of the model's file.
    pub max_model_size: u64,
    /// Most nodes, counted after functions were inlined.
    pub max_nodes: usize,
    /// Deepest nesting of bodies and function calls.
    pub max_depth: usize,
    /// Most elements of one constant.
    pub max_tensor_elements: i64,
    /// Most bytes that import may allocate for constants that can't be shared with the file.
    pub max_memory: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_model_size: 8 << 30,
            max_nodes: 200_000,
            max_depth: 64,
            max_tensor_elements: 1 << 33,
            max_memory: 4 << 30,
        }
    }
}

/// How to import.
#[derive(Clone, Default, Debug)]
pub struct ImportOptions {
    /// `--dim NAME=..`: the name of a dimension in the file, or `INPUT:AXIS`.
    pub dims: Vec<(String, DimSpec)>,
    /// `--input NAME:1,3,224,224`; -1 leaves an axis as the file has it.
    pub inputs: Vec<(String, Vec<i64>)>,
    /// `--const NAME=..`: inputs whose value the caller fixes; the model has no such input then.
    pub constants: Vec<(String, Tensor)>,
    /// Limits.
    pub limits: Limits,
}
