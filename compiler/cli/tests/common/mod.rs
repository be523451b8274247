//! What the tests of the tool share: the program, and the model that they give it.

use std::path::Path;
use std::process::{Command, Output};

/// The digits model of the examples.
pub const MODEL: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../examples/digits/digits.onnx"
);

/// Runs the tool in a folder.
pub fn onnxc(dir: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_onnxc"))
        .args(words)
        .current_dir(dir)
        .env_remove("RUST_BACKTRACE")
        .output()
        .expect("onnxc runs")
}
