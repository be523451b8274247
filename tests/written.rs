//! Graphs are written back as ONNX files that compute the same: the official ONNX backend tests with their models written anew.
//!
//! Skipped where `ONNXC_ONNX_TESTS` names no folder (`tests/all.sh` sets it).

use onnxc_compiler::base::diag::Diagnostics;
use onnxc_compiler::onnx::{NoFiles, write::write};
use onnxc_compiler::{Options, load};
use onnxc_tests::tools::onnxc;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Passes that leave operators of ONNX.
const PASSES: [&str; 3] = ["fold", "no_op", "dead"];

/// Writes a test's model anew, with its data beside it. `None`: it can't be read, or has no spelling, and that was said.
fn rewritten(from: &Path, to: &Path) -> Option<()> {
    let bytes = std::fs::read(from.join("model.onnx")).ok()?;
    let mut options = Options::default();
    let all = onnxc_compiler::pipeline::passes();
    let others = all.iter().map(|p| p.name).filter(|n| !PASSES.contains(n));
    options.passes.off = others.map(str::to_string).collect();
    let mut diags = Diagnostics::default();
    let model = load(bytes.into(), &NoFiles, &options, &mut diags)?;
    let file = write(&model, &mut diags);
    assert!(
        file.is_some() || diags.has_errors(),
        "{}: nothing was written, and nothing said",
        from.display()
    );
    let file = file?;
    std::fs::create_dir_all(to).expect("a folder");
    std::fs::write(to.join("model.onnx"), file).expect("a file");
    for e in std::fs::read_dir(from).expect("a folder").flatten() {
        if e.path().is_dir() {
            let data = to.join(e.file_name());
            std::fs::create_dir_all(&data).expect("a folder");
            for f in std::fs::read_dir(e.path()).expect("a folder").flatten() {
                std::fs::copy(f.path(), data.join(f.file_name())).expect("a copy");
            }
        }
    }
    Some(())
}

/// Names of tests that fail.
fn failing(folder: &Path) -> BTreeSet<String> {
    let out = Command::new(onnxc())
        .args(["test-onnx", "--list", "-j2"])
        .arg(folder)
        .output()
        .expect("the tool runs");
    let text = String::from_utf8_lossy(&out.stdout);
    let failed = text.lines().filter_map(|l| l.split_once(' '));
    failed
        .filter(|(letter, _)| matches!(*letter, "U" | "W" | "E"))
        .map(|(_, rest)| rest.split(':').next().unwrap_or(rest).trim().to_string())
        .collect()
}

#[test]
fn official_models_written_anew_pass_as_before() {
    let Some(dir) = std::env::var_os("ONNXC_ONNX_TESTS").map(PathBuf::from) else {
        return;
    };
    let node = dir.join("node");
    let to = tempfile::tempdir().expect("a folder");
    let mut count = 0;
    for e in std::fs::read_dir(&node).expect("the tests").flatten() {
        count += usize::from(rewritten(&e.path(), &to.path().join(e.file_name())).is_some());
    }
    let before = failing(&node);
    let after = failing(to.path());
    let new: Vec<&String> = after.difference(&before).collect();
    eprintln!("{count} models written anew");
    assert!(count > 1000, "{count} were written");
    assert!(new.is_empty(), "these fail when written anew: {new:?}");
}
