//! Budgets of `quantize` from the outside: which layers stay in floats, the file of choices, and `compile --quantize`.

mod common;

use std::path::Path;
use std::process::Output;

use common::{MODEL, onnxc};
use onnxc::data::npz;
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::base::tensor::Tensor;

fn err(o: &Output) -> String {
    String::from_utf8_lossy(&o.stderr).into_owned()
}

fn json(o: &Output) -> serde_json::Value {
    serde_json::from_slice(&o.stdout).unwrap_or_else(|e| panic!("{e}: {}", err(o)))
}

/// A folder with `c.npz`: 64 pictures of digits and their labels.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut file = npz::Npz::open(&Path::new(MODEL).with_file_name("test.npz")).unwrap();
    let mut part = |from: &str, to: &str, shape: &[i64], by: f64| {
        let all = file.get(from).unwrap();
        let count: i64 = shape.iter().product();
        let values: Vec<f64> = (0..count as usize)
            .map(|i| all.get_f64(i).unwrap() / by)
            .collect();
        (
            to.to_string(),
            Tensor::from_f64s(DType::F32, shape, &values),
        )
    };
    let pictures = part("images", "image", &[64, 8, 8], 16.0);
    let labels = part("labels", "labels", &[64], 1.0);
    let write = |name: &str, arrays: &[(String, Tensor)]| {
        std::fs::write(dir.path().join(name), npz::write(arrays).unwrap()).unwrap();
    };
    write("c.npz", &[pictures.clone(), labels]);
    write("bare.npz", &[pictures]);
    dir
}

fn quantize(dir: &Path, more: &[&str]) -> Output {
    let words = [
        &[
            "quantize",
            MODEL,
            "-o",
            "q.onnx",
            "--calibration",
            "c.npz",
            "--json",
        ],
        more,
    ];
    onnxc(dir, &words.concat())
}

/// The least SQNR of the outputs, and the layers in floats.
fn found(o: &Output) -> (f64, Vec<String>) {
    assert!(o.status.success(), "{}", err(o));
    let all = json(o);
    let outputs = all["outputs"].as_array().unwrap();
    let sqnr = outputs.iter().map(|o| o["sqnr_db"].as_f64().unwrap());
    let floats = all["choices"].as_array().unwrap().iter();
    let floats = floats.filter(|c| c["precision"] == "float");
    let name = |c: &serde_json::Value| c["name"].as_str().unwrap().to_string();
    (
        sqnr.fold(f64::INFINITY, f64::min),
        floats.map(name).collect(),
    )
}

#[test]
fn sensitive_layers_stay_in_floats() {
    let dir = folder();
    let (full, none) = found(&quantize(dir.path(), &[]));
    assert!(none.is_empty());
    // What holds already needs no float; half a decibel more needs some, and not all.
    let wanted = format!("{}", full - 1.0);
    assert_eq!(
        found(&quantize(dir.path(), &["--min-sqnr", &wanted])),
        (full, vec![])
    );
    let wanted = format!("{}", full + 0.5);
    let words = ["--min-sqnr", &wanted, "--write-choices", "c.toml"];
    let (better, floats) = found(&quantize(dir.path(), &words));
    assert!(better >= full + 0.5, "{better} after {full}");
    assert!((1..3).contains(&floats.len()), "{floats:?}");
    // The same without a search, to the byte; and a search gives the same again.
    let read = |n: &str| std::fs::read(dir.path().join(n)).unwrap();
    let (file, choices) = (read("q.onnx"), read("c.toml"));
    let again = found(&quantize(dir.path(), &["--choices", "c.toml"]));
    assert_eq!(again, (better, floats));
    assert_eq!(read("q.onnx"), file);
    assert!(quantize(dir.path(), &words).status.success());
    assert_eq!(read("c.toml"), choices);
    // What is in 8 bits computes so.
    let words = ["compile", "q.onnx", "-o", "q.o", "--require-int8"];
    assert!(onnxc(dir.path(), &words).status.success());
}

#[test]
fn accuracy_may_not_drop() {
    let dir = folder();
    let (_, floats) = found(&quantize(dir.path(), &["--max-drop", "0"]));
    assert!(floats.len() < 3, "{floats:?}");
    let words = [
        "--max-drop",
        "100",
        "--metric",
        "top5",
        "--eval-data",
        "c.npz",
        "--eval-samples",
        "20",
    ];
    assert!(found(&quantize(dir.path(), &words)).1.is_empty());
}

#[test]
fn sizes_are_reached_by_the_least_harmful() {
    let dir = folder();
    let float = std::fs::metadata(MODEL).unwrap().len();
    assert!(quantize(dir.path(), &[]).status.success());
    let full = std::fs::metadata(dir.path().join("q.onnx")).unwrap().len();
    let target = (float + full) / 2;
    let o = quantize(dir.path(), &["--target-size", &target.to_string()]);
    let (_, floats) = found(&o);
    assert!((1..3).contains(&floats.len()), "{floats:?}");
    let size = std::fs::metadata(dir.path().join("q.onnx")).unwrap().len();
    assert!(size <= target && json(&o)["bytes"].as_u64() == Some(size));
}

#[test]
fn choices_are_lines_that_are_read_again() {
    let dir = folder();
    let at = |n: &str, text: &str| std::fs::write(dir.path().join(n), text).unwrap();
    // All layers are measured where a file is to be written.
    assert!(
        quantize(dir.path(), &["--write-choices", "all.toml"])
            .status
            .success()
    );
    let text = std::fs::read_to_string(dir.path().join("all.toml")).unwrap();
    let lines: Vec<&str> = text.lines().filter(|l| l.contains("precision")).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines.iter().all(|l| l.contains("sqnr_db")), "{text}");
    // By hand.
    at("hand.toml", &text.replacen("\"int8\"", "\"float\"", 1));
    let (_, floats) = found(&quantize(dir.path(), &["--choices", "hand.toml"]));
    assert_eq!(floats.len(), 1);
    assert!(lines[0].contains(&format!("\"{}\"", floats[0])));
    // Names that other flags leave out are known; others are not.
    let words = ["--choices", "hand.toml", "--exclude", &floats[0]];
    assert!(quantize(dir.path(), &words).status.success());
    at("other.toml", &text.replacen("\"", "\"no-", 1));
    at("all-floats.toml", &text.replace("int8", "float"));
    std::fs::remove_file(dir.path().join("q.onnx")).unwrap();
    for (file, says) in [
        ("other.toml", "`no-"),
        ("all-floats.toml", "nothing is left"),
        ("missing.toml", "missing.toml"),
        ("c.npz", "c.npz"),
    ] {
        let o = quantize(dir.path(), &["--choices", file]);
        assert_eq!(o.status.code(), Some(1), "{file}: {}", err(&o));
        assert!(err(&o).contains(says), "{file}: {}", err(&o));
        assert!(!dir.path().join("q.onnx").exists(), "{file}");
    }
}

#[test]
fn budgets_that_can_not_be_met_leave_nothing() {
    let dir = folder();
    for (more, code, says) in [
        (&["--min-sqnr", "300"][..], 1, "the best was"),
        (&["--min-sqnr", "many"], 2, "decibels"),
        (&["--max-drop", "-1"], 2, "points"),
        (&["--max-drop", "1", "--metric", "mse"], 2, "share"),
        (
            &["--max-drop", "1", "--eval-data", "bare.npz"],
            1,
            "--min-sqnr",
        ),
        (&["--labels", "c.npz"], 2, "--max-drop"),
        (&["--target-size", "100"], 1, "the best was"),
        (&["--target-size", "100M"], 1, "already"),
        (&["--target-size", "little"], 2, "size"),
        (&["--target-latency", "0"], 2, "above 0"),
        (&["--target-latency", "0.00000001"], 1, "the best was"),
        (&["--target-latency", "1e9"], 1, "already"),
        (&["--min-sqnr", "20", "--target-size", "1M"], 2, "cannot"),
        (&["--min-sqnr", "20", "--choices", "c.toml"], 2, "cannot"),
    ] {
        let words = [more, &["--write-choices", "c.toml"]].concat();
        let o = quantize(dir.path(), &words);
        assert_eq!(o.status.code(), Some(code), "{more:?}: {}", err(&o));
        assert!(err(&o).contains(says), "{more:?}: {}", err(&o));
        assert!(!dir.path().join("q.onnx").exists(), "{more:?}");
        assert!(!dir.path().join("c.toml").exists(), "{more:?}");
    }
}

#[test]
fn compile_quantizes_on_the_way() {
    let dir = folder();
    let read = |n: &str| std::fs::read(dir.path().join(n)).unwrap();
    assert!(quantize(dir.path(), &[]).status.success());
    let compile = |model: &str, object: &str, more: &[&str]| {
        let words = [
            "compile",
            model,
            "-o",
            object,
            "--prefix",
            "digits",
            "--target-cpu",
            "x86-64-v3",
            "--target",
            "x86_64-unknown-linux-gnu",
        ];
        onnxc(dir.path(), &[&words, more].concat())
    };
    assert!(compile("q.onnx", "two.o", &[]).status.success());
    let how = [
        "--quantize",
        "int8",
        "--calibration",
        "c.npz",
        "--require-int8",
    ];
    let o = compile(MODEL, "one.o", &how);
    assert!(o.status.success(), "{}", err(&o));
    assert!(err(&o).contains("operators in 8 bits"), "{}", err(&o));
    assert_eq!(read("one.o"), read("two.o"));
    // Its data belongs to what the object depends on.
    let o = compile(
        MODEL,
        "dep.o",
        &[&how[..], &["-MD", "-MF", "dep.d"]].concat(),
    );
    assert!(o.status.success(), "{}", err(&o));
    let text = String::from_utf8(read("dep.d")).unwrap();
    assert!(text.contains("c.npz"), "{text}");
    for (more, says) in [
        (&["--quantize", "int8"][..], "--calibration"),
        (&["--calibration", "c.npz"], "--quantize"),
        (&["--quantize", "int3"], "int3"),
    ] {
        let o = compile(MODEL, "no.o", more);
        assert_eq!(o.status.code(), Some(2), "{more:?}: {}", err(&o));
        assert!(err(&o).contains(says), "{more:?}: {}", err(&o));
        assert!(!dir.path().join("no.o").exists());
    }
}
