//! Pruned networks, judged by onnx and onnxruntime: files are sound, multiply-accumulates fall by what was asked, and our numbers are theirs.
//!
//! Needs the models (see `tools::shared`) and `ONNXC_PYTHON`, a Python with onnx and onnxruntime; skipped without.

use onnxc_tests::generate::root;
use onnxc_tests::tools::{done, have, onnxc, python, shared};
use std::path::Path;
use std::process::Command;

/// Prunes a model and has it judged; gives the share of multiply-accumulates that is gone.
fn judged(python: &str, model: &Path, dir: &Path, words: &[&str]) -> f64 {
    judged_on(python, model, "io.npz", dir, words).0
}

/// The same on the first case of a file of the model's; gives what the tool said, too.
fn judged_on(python: &str, model: &Path, cases: &str, dir: &Path, words: &[&str]) -> (f64, String) {
    let (file, io) = (dir.join("p.onnx"), dir.join("io.npz"));
    let whole = model.join("model.onnx");
    let said = done(
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
    let o = done(c.arg(model.join(cases)));
    let count: serde_json::Value = serde_json::from_slice(&o.stdout).expect("counts");
    done(
        Command::new(onnxc())
            .arg("verify")
            .arg(&file)
            .args(["--no-layer", "--reference"])
            .arg(&io),
    );
    let count = |of: &str| count[of].as_f64().expect("a count");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    (1.0 - count("pruned") / count("whole"), said)
}

/// Layers in bodies of If, Loop and Scan: their weights become zeros, their channels stay, and what is written is what was meant.
#[test]
fn networks_with_bodies() {
    let Some(python) = python() else {
        return;
    };
    let (dir, model) = (tempfile::tempdir(), tempfile::tempdir());
    let (dir, model) = (dir.expect("a folder"), model.expect("a folder"));
    let script = root().join("tests/bodies.py");
    done(Command::new(&python).arg(script).arg(model.path()));
    let calib = model.path().join("calib.npz");
    let calib = ["--calibration", calib.to_str().expect("a path")];
    for data in [&[][..], &calib] {
        for pattern in ["unstructured", "2:4", "4x1"] {
            let mut words = vec!["--pattern", pattern, "--scope", "uniform", "--json"];
            words.extend(["--sparsity", "0.5"].iter().filter(|_| pattern != "2:4"));
            words.extend(data);
            for case in ["yes.npz", "no.npz"] {
                let (_, said) = judged_on(&python, model.path(), case, dir.path(), &words);
                let said: serde_json::Value = serde_json::from_str(&said).expect("a report");
                let layers = said["layers"].as_array().expect("layers");
                // Two convolutions and two products around; two branches, two products of the Loop, one of its If, one of the Scan.
                assert_eq!(layers.len(), 10, "{pattern}: {layers:?}");
                for l in layers {
                    let [before, after] =
                        [0, 1].map(|k| l["weights"][k].as_f64().expect("a count"));
                    assert!((after / before - 0.5).abs() < 0.1, "{pattern}: {l}");
                }
            }
        }
    }
    let words = ["--pattern", "channels", "--sparsity", "0.25", "--json"];
    let (gone, said) = judged_on(&python, model.path(), "no.npz", dir.path(), &words);
    assert!(gone >= 0.25 - 1e-9, "{gone}");
    let said: serde_json::Value = serde_json::from_str(&said).expect("a report");
    let why = |l: &&serde_json::Value| l["why_not"].as_str().is_some_and(|w| w.contains("body"));
    let layers = said["layers"].as_array().expect("layers");
    assert_eq!(layers.iter().filter(why).count(), 6, "{layers:?}");
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

/// The kernels of a model's object.
fn kernels(model: &Path, dir: &Path, more: &[&str]) -> (Vec<String>, u64) {
    let (object, report) = (dir.join("m.o"), dir.join("report.json"));
    let emit = format!("report={}", report.display());
    let mut c = Command::new(onnxc());
    c.arg("compile").arg(model).arg("-o").arg(&object);
    done(c.args(["-q", "--emit", "obj", "--emit", &emit]).args(more));
    let text = std::fs::read(&report).expect("a report");
    let report: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    let layers = report["layers"].as_array().expect("layers").iter();
    let names = layers.flat_map(|l| l["kernels"].as_array().expect("kernels").clone());
    let names = names
        .filter_map(|k| Some(k.as_str()?.to_string()))
        .collect();
    let size = std::fs::metadata(&object).expect("an object").len();
    (names, size)
}

/// Whole masked networks by sparse kernels: the numbers of onnxruntime, at every level and on aarch64.
#[test]
fn masked_networks_by_sparse_kernels() {
    let (Some(python), Some(shared)) = (python(), shared()) else {
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    // Winograd's algorithm is as fast on the second, whose wide windows are to be seen.
    for (name, sparsity, winograd) in [
        ("mobilenet_v2_float", "0.8", "f4"),
        ("resnet20_cifar10", "0.9", "off"),
    ] {
        for (pattern, row) in [("4x1", "_sparse4"), ("unstructured", "_sparse1")] {
            let model = shared.join("models").join(name);
            let words = ["--pattern", pattern, "--sparsity", sparsity];
            judged(&python, &model, dir.path(), &words);
            let file = dir.path().join("p.onnx");
            let mut levels = vec![vec!["--target-cpu", "native"]];
            if cfg!(target_arch = "x86_64") {
                levels.push(vec!["--target-cpu", "x86-64-v3"]);
            }
            if have("qemu-aarch64-static") && name != "mobilenet_v2_float" {
                let far = ["--target", "aarch64-unknown-linux-gnu"];
                levels.push([&far[..], &["--exec", "qemu-aarch64-static"]].concat());
            }
            for mut level in levels {
                level.splice(0..0, ["--winograd", winograd]);
                let (names, _) = kernels(&file, dir.path(), &level[..4]);
                let sparse = names.iter().filter(|n| n.contains(row)).count();
                assert!(sparse >= 3, "{name} {pattern} {level:?}: {names:?}");
                let mut c = Command::new(onnxc());
                c.arg("verify")
                    .arg(&file)
                    .args(["--no-layer", "--reference"]);
                done(c.arg(dir.path().join("io.npz")).args(level));
            }
        }
    }
}

/// Weights of 16 values: a plain file, and an object of four bits for each.
#[test]
fn few_values_of_real_networks() {
    let (Some(python), Some(shared)) = (python(), shared()) else {
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    for (name, most) in [("mobilenet_v2_float", 0.15), ("resnet20_cifar10", 0.25)] {
        let model = shared.join("models").join(name);
        judged(&python, &model, dir.path(), &["--cluster", "16"]);
        let file = dir.path().join("p.onnx");
        let level = ["--target-cpu", "native", "--palettes"];
        let (_, plain) = kernels(&file, dir.path(), &[&level[..], &["off"]].concat());
        let (_, small) = kernels(&file, dir.path(), &[&level[..], &["on"]].concat());
        let share = small as f64 / plain as f64;
        assert!(share <= most, "{name}: {share}");
        let mut levels = vec![vec!["--optimize-for", "size"], vec!["--threads", "2"]];
        if have("qemu-aarch64-static") && name != "mobilenet_v2_float" {
            let far = ["--target", "aarch64-unknown-linux-gnu"];
            levels.push([&far[..], &["--exec", "qemu-aarch64-static"]].concat());
        }
        for level in levels {
            let mut c = Command::new(onnxc());
            c.arg("verify")
                .arg(&file)
                .args(["--palettes", "on", "--no-layer"]);
            c.arg("--reference").arg(dir.path().join("io.npz"));
            done(c.args(level));
        }
    }
}
