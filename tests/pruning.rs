//! Pruned networks, judged by onnx and onnxruntime: files are sound, multiply-accumulates fall by what was asked, and our numbers are theirs.
//!
//! Needs the models (see `tools::shared`) and `ONNXC_PYTHON`, a Python with onnx and onnxruntime; skipped without.

use onnxc_tests::generate::root;
use onnxc_tests::tools::{have, onnxc, shared};
use std::path::Path;
use std::process::{Command, Output};

fn python() -> Option<String> {
    let found = std::env::var("ONNXC_PYTHON").ok();
    if found.is_none() {
        eprintln!("skipped: ONNXC_PYTHON names no Python with onnx and onnxruntime");
    }
    found.filter(|p| have(p))
}

fn done(c: &mut Command) -> Output {
    let o = c.output().expect("it runs");
    let text = String::from_utf8_lossy(&o.stderr).into_owned();
    assert!(
        o.status.success(),
        "{c:?}\n{text}{}",
        String::from_utf8_lossy(&o.stdout)
    );
    o
}

/// Prunes a model and has it judged; gives the share of multiply-accumulates that is gone.
fn judged(python: &str, model: &Path, dir: &Path, words: &[&str]) -> f64 {
    let (file, io) = (dir.join("p.onnx"), dir.join("io.npz"));
    let whole = model.join("model.onnx");
    done(
        Command::new(onnxc())
            .arg("prune")
            .arg(&whole)
            .arg("-o")
            .arg(&file)
            .args(words),
    );
    let mut c = Command::new(python);
    c.arg(root().join("tests/prune_oracle.py"))
        .arg(&whole)
        .arg(&file)
        .arg(&io);
    let o = done(c.arg(model.join("io.npz")));
    let count: serde_json::Value = serde_json::from_slice(&o.stdout).expect("counts");
    done(
        Command::new(onnxc())
            .arg("verify")
            .arg(&file)
            .args(["--no-layer", "--reference"])
            .arg(&io),
    );
    1.0 - count["pruned"].as_f64().expect("a count") / count["whole"].as_f64().expect("a count")
}

/// Residual, depthwise, concat, shuffle, squeeze-excite, fused convolutions, a flattened end.
#[test]
fn channels_of_real_networks() {
    let (Some(python), Some(shared)) = (python(), shared()) else {
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    for name in [
        "resnet20_cifar10",
        "resnet8_cifar10",
        "kws_dscnn",
        "ppocr_cls",
        "face_antispoof",
        "nanodet_m",
        "openseeface_lm0",
        "oww_embedding",
        "mnist8",
    ] {
        for (text, share) in [("0.25", 0.25), ("0.5", 0.5)] {
            let model = shared.join("models").join(name);
            let words = ["--pattern", "channels", "--sparsity", text];
            let gone = judged(&python, &model, dir.path(), &words);
            assert!(gone >= share - 1e-9, "{name}: {gone} of {share}");
        }
    }
}

#[test]
fn heads_and_weights_of_real_networks() {
    let (Some(python), Some(shared)) = (python(), shared()) else {
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let model = |name: &str| shared.join("models").join(name);
    let heads = ["--pattern", "heads", "--sparsity", "0.1"];
    let gone = judged(&python, &model("char_lm"), dir.path(), &heads);
    assert!(gone >= 0.1 - 1e-9, "{gone}");
    for pattern in ["unstructured", "4x1"] {
        let words = ["--pattern", pattern, "--sparsity", "0.5"];
        let gone = judged(&python, &model("resnet20_cifar10"), dir.path(), &words);
        // Zeros are weights still.
        assert_eq!(gone, 0.0);
    }
}
