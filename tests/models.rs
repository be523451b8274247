//! Real networks with stored answers: compiled for this machine and for AArch64, run, and compared.
//!
//! Skipped where the models are not at hand (see `tools::shared`).

use onnxc_tests::tools::{have, onnxc, shared};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Models whose weights and activations are integers: run as written here, judged by what they classify.
const QUANTIZED: &[&str] = &["_qdq", "_qop", "_dynq", "_quint8"];

/// Multiply-adds that an emulator gets through in a test.
const SMALL: &[&str] = &[
    "byte_sentence_lstm",
    "dtln_1",
    "dtln_2",
    "fsmn_vad_online",
    "go1_policy",
    "kws_dscnn",
    "linear_classifier",
    "mnist8",
    "oww_embedding",
    "oww_melspectrogram",
    "ppocr_cls",
    "resnet20_cifar10",
    "resnet8_cifar10",
    "silero_vad",
    "xgboost_wine",
];

fn models(shared: &Path, quantized: bool) -> Vec<PathBuf> {
    let mut list: Vec<PathBuf> = std::fs::read_dir(shared.join("models"))
        .expect("the folder was there")
        .filter_map(|e| e.ok().map(|e| e.path()))
        .filter(|p| p.join("model.onnx").exists())
        .filter(|p| QUANTIZED.iter().any(|q| name(p).ends_with(q)) == quantized)
        .collect();
    list.sort();
    list
}

fn name(p: &Path) -> String {
    p.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// `onnxc verify` with these words; the message if it does not pass.
fn verify(model: &Path, references: &[&str], more: &[&str]) -> Option<String> {
    let mut c = Command::new(onnxc());
    c.arg("verify")
        .arg(model.join("model.onnx"))
        .arg("--no-layer")
        .args(more);
    for r in references {
        c.arg("--reference").arg(model.join(r));
    }
    let out = c.output().expect("the tool runs");
    (!out.status.success()).then(|| {
        let text = [out.stdout, out.stderr].concat();
        format!("{}: {}", name(model), String::from_utf8_lossy(&text))
    })
}

fn all_pass(wrong: Vec<String>) {
    assert!(
        wrong.is_empty(),
        "{} models fail:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn float_models_on_this_machine() {
    let Some(dir) = shared() else { return };
    let list = models(&dir, false);
    assert!(list.len() > 20, "models are missing");
    all_pass(
        list.iter()
            .filter_map(|m| verify(m, &["io.npz"], &[]))
            .collect(),
    );
}

#[test]
fn small_float_models_on_base_x86_64() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let Some(dir) = shared() else { return };
    let list = models(&dir, false)
        .into_iter()
        .filter(|m| SMALL.contains(&name(m).as_str()));
    all_pass(
        list.filter_map(|m| verify(&m, &["io.npz"], &["--target-cpu", "x86-64"]))
            .collect(),
    );
}

#[test]
fn small_float_models_on_aarch64() {
    if !have("qemu-aarch64-static") {
        return;
    }
    let Some(dir) = shared() else { return };
    let list = models(&dir, false)
        .into_iter()
        .filter(|m| SMALL.contains(&name(m).as_str()));
    let more = [
        "--target",
        "aarch64-unknown-linux-gnu",
        "--exec",
        "qemu-aarch64-static",
    ];
    all_pass(
        list.filter_map(|m| verify(&m, &["io.npz"], &more))
            .collect(),
    );
}

/// Every operator that the file quantizes runs in whole numbers, and every output is what exact arithmetic gives, on all levels.
#[test]
fn statically_quantized_models_are_exact() {
    let Some(dir) = shared() else { return };
    let mut levels: Vec<Vec<&str>> = vec![vec![]];
    if cfg!(target_arch = "x86_64") {
        levels.push(vec!["--target-cpu", "x86-64"]);
        if std::arch::is_x86_feature_detected!("fma") {
            levels.push(vec!["--target-cpu", "x86-64-v3"]);
        }
    }
    if have("qemu-aarch64-static") {
        for cpu in ["generic", "cortex-a76"] {
            levels.push(vec![
                "--target",
                "aarch64-unknown-linux-gnu",
                "--target-cpu",
                cpu,
                "--exec",
                "qemu-aarch64-static",
            ]);
        }
    }
    let list = models(&dir, true).into_iter();
    let list: Vec<PathBuf> = list.filter(|m| m.join("exact.npz").exists()).collect();
    assert!(list.len() >= 4, "models are missing");
    let mut wrong = vec![];
    for more in levels {
        let more = [&more[..], &["--steps", "0", "--require-int8"]].concat();
        wrong.extend((list.iter()).filter_map(|m| verify(m, &["io.npz", "exact.npz"], &more)));
    }
    all_pass(wrong);
}

#[test]
fn quantized_models_classify_as_written() {
    for rounding in ["even", "up"] {
        quantized_models_classify(rounding);
    }
}

fn quantized_models_classify(rounding: &str) {
    let Some(dir) = shared() else { return };
    for m in models(&dir, true) {
        let mut c = Command::new(onnxc());
        c.args(["verify", "--no-layer", "--json", "--rounding", rounding])
            .arg(m.join("model.onnx"));
        for r in ["io.npz", "exact.npz"] {
            if m.join(r).exists() {
                c.arg("--reference").arg(m.join(r));
            }
        }
        let out = c.output().expect("the tool runs");
        let text = String::from_utf8_lossy(&out.stdout);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| {
            panic!(
                "{}: {e}: {text}{}",
                name(&m),
                String::from_utf8_lossy(&out.stderr)
            )
        });
        let outputs = json["outputs"].as_array().expect("a list of outputs");
        for o in outputs {
            match o["rows"].is_null() {
                false => assert_eq!(o["top1_agree"], o["rows"], "{}: {o}", name(&m)),
                // Scores per position: steps of dynamic quantization flip with the last bit of a float before them.
                true => {
                    let (error, largest) = (o["max_error"].as_f64(), o["largest"].as_f64());
                    assert!(error <= largest.map(|l| 0.02 * l), "{}: {o}", name(&m));
                }
            }
        }
    }
}

/// Runs the tool; what it prints as JSON.
fn json(words: &[&std::ffi::OsStr]) -> serde_json::Value {
    let out = Command::new(onnxc()).args(words).arg("--json").output();
    let out = out.expect("the tool runs");
    serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out.stderr)))
}

/// `eval` finds the accuracies that onnxruntime has on labelled data, and what `quantize` makes is at most a point of a hundred below the float
/// model, and no worse than the 8-bit file that was published with it.
#[test]
fn accuracies_are_known_and_kept() {
    let Some(dir) = shared() else { return };
    let data = dir.join("data/labelled");
    let to = tempfile::tempdir().expect("a folder");
    let sounds = to.path().join("sounds.toml");
    std::fs::write(&sounds, "[array]\nmean = 83.0\nstd = 1.7102703\n").expect("a file");
    let plain = to.path().join("plain.toml");
    std::fs::write(&plain, "").expect("a file");
    let tests = [
        (
            "kws_dscnn",
            &sounds,
            "kws_mfcc994.npz",
            "kws_mfcc994.npz",
            895,
            896,
        ),
        (
            "resnet8_cifar10",
            &plain,
            "cifar10_calib520.npz",
            "cifar10_test2000.npz",
            1528,
            1522,
        ),
    ];
    for (name, how, calibration, test, float, published) in tests {
        let model = dir.join("models").join(name).join("model.onnx");
        let (calibration, test, q) = (
            data.join(calibration),
            data.join(test),
            to.path().join("q.onnx"),
        );
        let right = |model: &Path| {
            let words = [
                "eval".as_ref(),
                model.as_os_str(),
                "--data".as_ref(),
                test.as_os_str(),
            ];
            let words = [&words[..], &["--preprocess".as_ref(), how.as_os_str()]].concat();
            let m = &json(&words)["metrics"][0];
            let (value, over) = (m["value"].as_f64(), m["over"].as_f64());
            (value.expect("a share") * over.expect("a count")).round_ties_even() as u64
        };
        assert_eq!(right(&model), float, "{name} in floats");
        let words = [
            "quantize".as_ref(),
            model.as_os_str(),
            "-o".as_ref(),
            q.as_os_str(),
        ];
        let more = [
            "--calibration".as_ref(),
            calibration.as_os_str(),
            "--preprocess".as_ref(),
            how.as_os_str(),
        ];
        let samples = ["--samples".as_ref(), "520".as_ref()];
        json(&[&words[..], &more, &samples].concat());
        let ours = right(&q);
        eprintln!(
            "{name}: {float} right in floats, {published} as published in 8 bits, {ours} as quantized here"
        );
        assert!(ours >= published, "{name}: {ours} right, {published} were");
        assert!(
            ours * 100 >= float * 99,
            "{name}: {ours} right, {float} in floats"
        );
    }
}
