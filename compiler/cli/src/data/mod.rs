//! Data for the inputs of a model, and from its outputs: files on one side, tensors on the other.
//!
//! Readers trust nothing: a file that lies about its size is an error, never an allocation of what it claims.

pub mod bind;
pub mod image;
pub mod labels;
pub mod made_up;
pub mod npy;
pub mod npz;
pub mod preprocess;
pub mod random;
pub mod samples;
pub mod sound;
pub mod topk;
pub mod wanted;

use onnxc_compiler::base::diag::Diagnostic;

/// Data that can't be used: which file or input, and why.
pub fn bad_data(what: impl std::fmt::Display, why: impl std::fmt::Display) -> Box<Diagnostic> {
    Diagnostic::usage("USE004", format!("{what}: {why}"))
}
