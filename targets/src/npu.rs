//! Accelerators by name, as `--npu` asks for them.

use crate::npu_sim::Sim;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::npu::Accelerator;
use std::sync::Arc;

/// Names of all.
pub const NAMES: &[&str] = &["sim"];

/// `NAME` or `NAME:OPTIONS`.
pub fn find(text: &str) -> Result<Arc<dyn Accelerator>> {
    let (name, options) = text.split_once(':').unwrap_or((text, ""));
    match name {
        "sim" => Ok(Arc::new(Sim::new(options)?)),
        _ => Err(
            Diagnostic::usage("NPU004", format!("no accelerator is called `{name}`"))
                .help(format!("known are: {}", NAMES.join(", "))),
        ),
    }
}
