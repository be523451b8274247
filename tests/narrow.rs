//! Weights that a file stores as narrow numbers stay narrow in the object, and mean what onnxruntime makes of them.
//!
//! `tests/data/narrow.py` makes the files.

use onnxc_tests::generate::root;
use onnxc_tests::tools::{have, onnxc, shared};
use std::path::Path;
use std::process::Command;

/// The files, and what their weights take of what floats would, at most.
const FILES: [(&str, i64, f64); 4] = [
    ("int8", 75 * 131 + 103 * 131 + 103 * 96, 0.29),
    ("nbits", 150 * 97 + 97 * 160, 0.20),
    ("int4", 144 * 121 + 121 * 110, 0.16),
    ("lstm", 288 * 112 + 420 * 142, 0.40),
];

fn tool(args: &[&str]) -> String {
    let out = Command::new(onnxc())
        .args(args)
        .output()
        .expect("the tool runs");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{}: {text}{said}", args.join(" "));
    text
}

fn verify(name: &str, more: &[&str]) {
    let data = root().join("tests/data");
    let file = |end: &str| {
        data.join(format!("narrow_{name}.{end}"))
            .display()
            .to_string()
    };
    let (model, reference) = (file("onnx"), file("npz"));
    let own = [
        "verify",
        &model,
        "--reference",
        &reference,
        "--rtol",
        "0",
        "--atol",
        "2e-4",
    ];
    tool(&[&own[..], more].concat());
}

/// Bytes of weights of a model on a machine.
fn weights(model: &Path, more: &[&str]) -> f64 {
    let path = model.display().to_string();
    let text = tool(
        &[
            &["inspect", &path, "--json", "--target-cpu", "x86-64-v3"],
            more,
        ]
        .concat(),
    );
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    json["weights_bytes"].as_f64().expect("a number of bytes")
}

#[test]
fn narrow_files_compute_what_onnxruntime_does() {
    for (name, ..) in FILES {
        for cpu in ["x86-64", "x86-64-v3", "native"] {
            if cfg!(target_arch = "x86_64") {
                verify(name, &["--target-cpu", cpu]);
            }
        }
        verify(name, &["--optimize-for", "size"]);
    }
}

#[test]
fn narrow_files_on_aarch64() {
    if !have("qemu-aarch64-static") {
        return;
    }
    for (name, ..) in FILES {
        let target = ["--target", "aarch64-unknown-linux-gnu"];
        verify(
            name,
            &[&target[..], &["--exec", "qemu-aarch64-static"]].concat(),
        );
    }
}

#[test]
fn objects_hold_what_files_hold() {
    for (name, numbers, most) in FILES {
        let model = root().join(format!("tests/data/narrow_{name}.onnx"));
        let share = weights(&model, &["--optimize-for", "size"]) / (4 * numbers) as f64;
        assert!(share <= most, "{name}: {share} of the floats");
    }
}

/// Windows whose products Winograd's algorithm saves are stored as the bytes that they are.
#[test]
fn winograd_windows_stay_bytes() {
    let model = root().join("tests/data/digits_qdq.onnx");
    let [plain, winograd] = ["off", "f4"].map(|w| weights(&model, &["--winograd", w]));
    let path = model.display().to_string();
    let said = tool(&["inspect", &path, "--target-cpu", "x86-64-v3", "--json"]);
    assert!(said.contains("conv_i16_winograd_f4"), "{said}");
    assert!(winograd <= 1.1 * plain, "{winograd} after {plain}");
}

/// Weight-only files that this tool writes, of 0.3 and 0.8 million weights; masks of attention are part of the second.
#[test]
fn own_files_stay_small() {
    let Some(dir) = shared() else { return };
    let to = tempfile::tempdir().expect("a folder");
    for (name, dim) in [("byte_sentence_lstm", "length=64"), ("char_lm", "seq=64")] {
        let float = dir.join("models").join(name).join("model.onnx");
        let all = weights(&float, &["--dim", dim]);
        for (precision, most) in [("int8", 0.275), ("int4", 0.16)] {
            let small = to.path().join(format!("{name}_{precision}.onnx"));
            let paths = [&float, &small].map(|p| p.display().to_string());
            tool(&[
                "-q",
                "quantize",
                &paths[0],
                "-o",
                &paths[1],
                "--weight-only",
                "--precision",
                precision,
            ]);
            let share = weights(&small, &["--dim", dim, "--optimize-for", "size"]) / all;
            assert!(share <= most, "{name} {precision}: {share} of the floats");
        }
    }
}
