//! Compiling a model in a test, without the tool.

use onnxc_compiler::artifact::Placement;
use onnxc_compiler::base::diag::Diagnostics;
use onnxc_compiler::onnx::NoFiles;
use onnxc_compiler::onnx::options::DimSpec;
use onnxc_compiler::{Artifact, Options, Quiet};
use onnxc_targets::flags::Selection;
use onnxc_targets::{machine, triple};

/// Compiles the bytes of a model for a target and a CPU (empty: the base level), with free
/// dimensions by name and bounds. Panics with all diagnostics where that fails.
pub fn compile(
    model: Vec<u8>,
    prefix: &str,
    target: &str,
    cpu: &str,
    placement: Placement,
    dims: &[(&str, i64, i64)],
) -> Artifact {
    let triple = triple::Target::parse(target).unwrap_or_else(|d| panic!("{d}"));
    let mut selection = Selection::base(triple.arch);
    if !cpu.is_empty() {
        selection.set_cpu(cpu).unwrap_or_else(|d| panic!("{d}"));
    }
    let target = machine::target(&triple, &selection);
    let mut options = Options {
        prefix: prefix.into(),
        placement,
        ..Options::default()
    };
    let dims = dims
        .iter()
        .map(|(name, lo, hi)| (name.to_string(), DimSpec::Range(*lo, *hi)));
    options.import.dims = dims.collect();
    let mut diags = Diagnostics::default();
    let made = onnxc_compiler::compile(
        model.into(),
        &NoFiles,
        &target,
        &options,
        &mut Quiet,
        &mut diags,
    );
    made.unwrap_or_else(|| {
        let all: Vec<String> = diags.list.iter().map(|d| d.to_string()).collect();
        panic!("{prefix} does not compile:\n{}", all.join("\n"))
    })
}
