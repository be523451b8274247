//! Real networks with stored answers: compiled for this machine and for AArch64, run, and compared.
//!
//! Skipped where the models are not at hand (see `tools::shared`).

use onnxc::data::npz;
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::base::tensor::Tensor;
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

/// Labelled cases of a model: what it takes, of which shape, and the right classes.
struct Labelled {
    inputs: Vec<f64>,
    each: Vec<i64>,
    labels: Vec<usize>,
}

impl Labelled {
    fn read(path: &Path, array: &str, number: impl Fn(f64) -> f64) -> Labelled {
        let mut file = npz::Npz::open(path).expect("labelled data");
        let (x, y) = (file.get(array), file.get("labels"));
        let (x, y) = (x.expect("inputs"), y.expect("labels"));
        Labelled {
            inputs: x
                .to_f64s()
                .expect("numbers")
                .into_iter()
                .map(number)
                .collect(),
            each: x.shape[1..].to_vec(),
            labels: y
                .to_f64s()
                .expect("numbers")
                .iter()
                .map(|v| *v as usize)
                .collect(),
        }
    }
    /// Stores a range of cases as one batch; with them scores by which the right class is largest.
    fn store(&self, path: &Path, range: std::ops::Range<usize>, classes: usize) {
        let each = self.inputs.len() / self.labels.len();
        let count = range.len() as i64;
        let shape = [&[count], &self.each[..]].concat();
        let x = &self.inputs[range.start * each..range.end * each];
        let mut scores = vec![0.0; range.len() * classes];
        for (k, &label) in self.labels[range].iter().enumerate() {
            scores[k * classes + label] = 1.0;
        }
        let arrays = [
            (
                "c0_in0".to_string(),
                Tensor::from_f64s(DType::F32, &shape, x),
            ),
            (
                "c0_out0".to_string(),
                Tensor::from_f64s(DType::F32, &[count, classes as i64], &scores),
            ),
        ];
        std::fs::write(path, npz::write(&arrays).expect("arrays")).expect("a file");
    }
}

/// How many rows of a batch get the right class.
fn right(model: &Path, batch: &Path) -> u64 {
    let mut c = Command::new(onnxc());
    c.args(["verify", "--no-layer", "--json"]).arg(model);
    let out = c
        .arg("--reference")
        .arg(batch)
        .output()
        .expect("the tool runs");
    let json: serde_json::Value = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out.stderr)));
    json["outputs"][0]["top1_agree"].as_u64().expect("a count")
}

/// What `quantize` makes is as good as the float model, to a point of a hundred, on pictures and sounds that calibration has not seen.
#[test]
fn quantizing_keeps_accuracy() {
    let Some(dir) = shared() else { return };
    let data = dir.join("data/labelled");
    let sounds = Labelled::read(&data.join("kws_mfcc994.npz"), "features", |v| {
        (v - 83.0) * 0.5847029
    });
    let calibration = Labelled::read(&data.join("cifar10_calib520.npz"), "images", |v| v);
    let pictures = Labelled::read(&data.join("cifar10_test2000.npz"), "images", |v| v);
    let rest = 100..sounds.labels.len();
    let tests = [
        ("kws_dscnn", &sounds, &sounds, rest, 12),
        ("resnet8_cifar10", &calibration, &pictures, 0..1000, 10),
    ];
    for (name, calibration, test, range, classes) in tests {
        let to = tempfile::tempdir().expect("a folder");
        let at = |n: &str| to.path().join(n);
        let float = dir.join("models").join(name).join("model.onnx");
        calibration.store(&at("calib.npz"), 0..100, classes);
        let count = range.len() as u64;
        test.store(&at("test.npz"), range, classes);
        let mut c = Command::new(onnxc());
        c.arg("quantize").arg(&float).arg("-o").arg(at("q.onnx"));
        let out = c
            .arg("--calibration")
            .arg(at("calib.npz"))
            .output()
            .expect("the tool runs");
        assert!(
            out.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        let (before, after) = (
            right(&float, &at("test.npz")),
            right(&at("q.onnx"), &at("test.npz")),
        );
        eprintln!("{name}: {before} of {count} in floats, {after} in 8 bits");
        assert!(
            after + count / 100 >= before,
            "{name}: {before} of {count}, then {after}"
        );
    }
}
