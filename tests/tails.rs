//! What follows a convolution or a product is computed before its result is stored, however many tensors it takes: machines have few address
//! registers. `tests/tails.py` makes the models, onnxruntime the answers.

use onnxc_tests::generate::root;
use onnxc_tests::tools::{done, have, python, tool};
use std::process::Command;

/// Every model at a CPU; the others words for `verify`.
fn verified(cpus: &[&[&str]]) {
    let Some(python) = python() else {
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    done(
        Command::new(python)
            .arg(root().join("tests/tails.py"))
            .arg(dir.path()),
    );
    let models: Vec<_> = std::fs::read_dir(dir.path())
        .expect("a folder")
        .filter_map(|f| Some(f.ok()?.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "onnx"))
        .collect();
    assert!(models.len() > 30, "{models:?}");
    for model in models {
        for words in cpus {
            let reference = model.with_extension("npz");
            let mut verify = tool(dir.path(), &["verify", "--reference"]);
            done(verify.arg(reference).arg(&model).args(*words));
        }
    }
}

#[test]
fn on_this_machine() {
    let x86_64 = cfg!(target_arch = "x86_64");
    let avx2 = ["--target-cpu", "x86-64-v3"];
    let all: [&[&str]; 3] = [
        &["--target-cpu", "native"],
        &["--target-cpu", "x86-64-v2"],
        &avx2,
    ];
    #[cfg(target_arch = "x86_64")]
    let wide = std::arch::is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    let wide = false;
    let count = match (x86_64, wide) {
        (false, _) => 1,
        (true, false) => 2,
        (true, true) => 3,
    };
    verified(&all[..count]);
}

#[test]
fn on_aarch64() {
    if have("qemu-aarch64-static") {
        verified(&[&[
            "--target",
            "aarch64-unknown-linux-gnu",
            "--exec",
            "qemu-aarch64-static",
        ]]);
    }
}
