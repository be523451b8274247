//! `quantize` from the outside: what the file computes, and what is refused without leaving anything behind.

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

/// Pictures of digits from the examples, as the model takes them, and the float model's scores.
fn digits(range: std::ops::Range<usize>) -> (Vec<f64>, Vec<f64>) {
    let mut file = npz::Npz::open(&Path::new(MODEL).with_file_name("test.npz")).unwrap();
    let mut part = |name: &str, each: usize, by: f64| -> Vec<f64> {
        let t = file.get(name).unwrap();
        let all = range.start * each..range.end * each;
        all.map(|i| t.get_f64(i).unwrap() / by).collect()
    };
    (part("images", 64, 16.0), part("scores", 10, 1.0))
}

fn store(path: &Path, arrays: &[(&str, &[i64], &[f64])]) {
    let made = |(name, shape, values): &(&str, &[i64], &[f64])| {
        (
            name.to_string(),
            Tensor::from_f64s(DType::F32, shape, values),
        )
    };
    let arrays: Vec<(String, Tensor)> = arrays.iter().map(made).collect();
    std::fs::write(path, npz::write(&arrays).unwrap()).unwrap();
}

/// A folder with `calib.npz` of 64 pictures.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (pictures, _) = digits(0..64);
    store(
        &dir.path().join("calib.npz"),
        &[("image", &[64, 8, 8], &pictures)],
    );
    dir
}

/// Of 200 pictures that calibration has not seen, how many get the same class as from the float model.
fn same_class(dir: &Path, file: &str) -> u64 {
    let (pictures, scores) = digits(200..400);
    let mut arrays: Vec<(String, Tensor)> = vec![];
    for k in 0..200 {
        let x = &pictures[k * 64..(k + 1) * 64];
        let y = &scores[k * 10..(k + 1) * 10];
        arrays.push((
            format!("c{k}_in0"),
            Tensor::from_f64s(DType::F32, &[1, 1, 8, 8], x),
        ));
        arrays.push((
            format!("c{k}_out0"),
            Tensor::from_f64s(DType::F32, &[1, 10], y),
        ));
    }
    std::fs::write(dir.join("io.npz"), npz::write(&arrays).unwrap()).unwrap();
    let o = onnxc(
        dir,
        &[
            "verify",
            file,
            "--reference",
            "io.npz",
            "--json",
            "--no-layer",
        ],
    );
    let all = json(&o);
    let outputs = all["outputs"].as_array().unwrap();
    outputs
        .iter()
        .map(|o| o["top1_agree"].as_u64().unwrap())
        .sum()
}

#[test]
fn digits_classify_as_before() {
    let dir = folder();
    let float = std::fs::metadata(MODEL).unwrap().len();
    for more in [
        &[][..],
        &["--activation-type", "u8"],
        &["--symmetric", "--per-tensor", "--no-bias-correction"],
        &["--calibration-method", "percentile", "--percentile", "99.9"],
        &["--calibration-method", "mse"],
        &["--calibration-method", "entropy"],
        &["--calibration-method", "moving-average", "--samples", "20"],
    ] {
        let words = [
            &[
                "quantize",
                MODEL,
                "-o",
                "q.onnx",
                "--calibration",
                "calib.npz",
                "--json",
            ],
            more,
        ]
        .concat();
        let o = onnxc(dir.path(), &words);
        assert!(o.status.success(), "{more:?}: {}", err(&o));
        let report = json(&o);
        assert_eq!(report["layers"].as_array().unwrap().len(), 3, "{report}");
        let bytes = report["bytes"].as_u64().unwrap();
        assert!(bytes < float * 2 / 5, "{bytes} of {float} bytes");
        // Everything that the file quantizes computes in whole numbers.
        let o = onnxc(
            dir.path(),
            &["compile", "q.onnx", "-o", "q.o", "--require-int8"],
        );
        assert!(o.status.success(), "{more:?}: {}", err(&o));
        let same = same_class(dir.path(), "q.onnx");
        assert!(same >= 196, "{more:?}: {same} of 200");
    }
}

#[test]
fn the_same_data_gives_the_same_file() {
    let dir = folder();
    for name in ["a.onnx", "b.onnx"] {
        let o = onnxc(
            dir.path(),
            &["quantize", MODEL, "-o", name, "--calibration", "calib.npz"],
        );
        assert!(o.status.success(), "{}", err(&o));
    }
    let read = |n: &str| std::fs::read(dir.path().join(n)).unwrap();
    assert_eq!(read("a.onnx"), read("b.onnx"));
}

#[test]
fn layers_are_chosen_by_name() {
    let dir = folder();
    let report = |more: &[&str]| {
        let words = [
            &[
                "quantize",
                MODEL,
                "-o",
                "q.onnx",
                "--calibration",
                "calib.npz",
                "--json",
            ],
            more,
        ]
        .concat();
        let o = onnxc(dir.path(), &words);
        assert!(o.status.success(), "{}", err(&o));
        let names = json(&o)["layers"].as_array().unwrap().clone();
        names
            .iter()
            .map(|l| l["name"].as_str().unwrap().to_string())
            .collect::<Vec<_>>()
    };
    let all = report(&[]);
    assert_eq!(report(&["--exclude", &all[0]]), all[1..]);
    assert_eq!(report(&["--only", &all[0]]), all[..1]);
    assert_eq!(report(&["--only", "*", "--exclude", &all[2]]), all[..2]);
}

#[test]
fn bad_data_leaves_nothing() {
    let dir = folder();
    let at = |n: &str| dir.path().join(n);
    let (mut pictures, _) = digits(0..4);
    store(&at("shape.npz"), &[("image", &[4, 4, 16], &pictures)]);
    store(&at("empty.npz"), &[("image", &[0, 8, 8], &[])]);
    store(
        &at("two.npz"),
        &[("a", &[4, 8, 8], &pictures), ("b", &[4, 8, 8], &pictures)],
    );
    pictures[70] = f64::NAN;
    store(&at("nan.npz"), &[("image", &[4, 8, 8], &pictures)]);
    pictures[70] = f64::INFINITY;
    store(&at("inf.npz"), &[("image", &[4, 8, 8], &pictures)]);
    std::fs::write(at("text.npz"), "no archive").unwrap();
    std::fs::create_dir(at("nothing")).unwrap();
    for (data, more, says) in [
        ("missing.npz", &[][..], "missing.npz"),
        ("text.npz", &[], "text.npz"),
        ("nothing", &[], "no data"),
        ("empty.npz", &[], "no data"),
        ("shape.npz", &[], "image"),
        ("two.npz", &[], "one must"),
        ("nan.npz", &[], "not a number"),
        ("inf.npz", &[], "infinite"),
        ("calib.npz", &["--only", "nosuch"], "no operator"),
        ("calib.npz", &["--percentile", "30"], "above 50"),
        ("calib.npz", &["--samples", "0"], "samples"),
        ("calib.npz", &["--calibration-method", "guess"], "guess"),
    ] {
        let words = [
            &["quantize", MODEL, "-o", "q.onnx", "--calibration", data],
            more,
        ]
        .concat();
        let o = onnxc(dir.path(), &words);
        let code = o.status.code().unwrap();
        assert!(
            code == 1 || code == 2,
            "{data} {more:?}: {code}: {}",
            err(&o)
        );
        assert!(err(&o).contains(says), "{data} {more:?}: {}", err(&o));
        assert!(!at("q.onnx").exists(), "{data} {more:?}");
    }
    let o = onnxc(dir.path(), &["quantize", MODEL, "-o", "q.onnx"]);
    assert_eq!(o.status.code(), Some(2));
    // A file that is there stays as it was where its successor fails.
    std::fs::write(at("q.onnx"), "precious").unwrap();
    let o = onnxc(
        dir.path(),
        &[
            "quantize",
            MODEL,
            "-o",
            "q.onnx",
            "--calibration",
            "nan.npz",
        ],
    );
    assert_eq!(o.status.code(), Some(1));
    assert_eq!(std::fs::read(at("q.onnx")).unwrap(), b"precious");
}

#[test]
fn what_is_quantized_is_not_quantized_again() {
    let dir = folder();
    let quantize = |from: &str, to: &str| {
        onnxc(
            dir.path(),
            &["quantize", from, "-o", to, "--calibration", "calib.npz"],
        )
    };
    assert!(quantize(MODEL, "q.onnx").status.success());
    let o = quantize("q.onnx", "qq.onnx");
    assert_eq!(o.status.code(), Some(1));
    assert!(err(&o).contains("quantized already"), "{}", err(&o));
}
