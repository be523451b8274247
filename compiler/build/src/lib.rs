//! Compiles ONNX models from `build.rs`, for whatever target cargo builds, and links them into the crate.
//!
//! ```no_run
//! // build.rs
//! fn main() -> Result<(), onnxc_build::Error> {
//!     onnxc_build::compile("digits.onnx")?;
//!     Ok(())
//! }
//! ```
//!
//! ```ignore
//! // src/main.rs
//! mod digits { include!(concat!(env!("OUT_DIR"), "/digits.rs")); }
//!
//! let mut arena = Box::new(digits::Arena::NEW);
//! let mut scores = [0.0; digits::OUTPUT_SCORES_LEN];
//! digits::Model::new(&mut arena).run(&image, &mut scores)?;
//! ```
//!
//! The module needs no crate, no std and no allocator. [`Build`] has the options. No C compiler, archiver, assembler or network takes
//! part, for any target.
//!
//! Environment variables have the last word, looked up as the crate `cc` does (`VAR_<target>`, the same with underscores, `TARGET_VAR`
//! or `HOST_VAR`, `VAR`): `ONNXC_TARGET_CPU` replaces the CPU and features of the build script, `ONNXC_TARGET_FEATURES` switches
//! features on and off after that. Without either, code is made for what rustc was told (`-C target-cpu`, `-C target-feature`).
//! `ONNXC` names a tool `onnxc` to call instead of the compiler in this crate.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod build;
mod cpu;
mod environment;
mod error;
mod place;
mod stamp;
mod tool;

pub use build::{Build, Compiled, Weights};
pub use environment::Environment;
pub use error::{Error, Message};

use std::path::Path;

/// Compiles a model with all options at their defaults, and tells cargo to link it: `OUT_DIR/NAME.rs` is its module, `NAME` being the
/// file's name as an identifier.
///
/// # Errors
/// Everything that the compiler says of a model it can't compile, or that this is no build script.
pub fn compile(model: impl AsRef<Path>) -> Result<Compiled, Error> {
    Build::new(model.as_ref()).compile()
}
