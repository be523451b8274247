//! `explain-quantization` from the outside: our own files, files of other tools, and what can't be compared.

mod common;

use std::path::Path;
use std::process::Output;

use common::{MODEL, onnxc};
use onnxc::data::npz;
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::base::tensor::Tensor;

/// `digits_qdq.onnx` and `digits_qop.onnx`, which `digits_quantized.py` beside them makes, are those of another tool.
const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data");

fn err(o: &Output) -> String {
    String::from_utf8_lossy(&o.stderr).into_owned()
}

fn json(o: &Output) -> serde_json::Value {
    serde_json::from_slice(&o.stdout).unwrap_or_else(|e| panic!("{e}: {}", err(o)))
}

/// A folder with `c.npz` of 16 pictures of digits, and `q.onnx` calibrated on them.
fn folder(more: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut file = npz::Npz::open(&Path::new(MODEL).with_file_name("test.npz")).unwrap();
    let all = file.get("images").unwrap();
    let values: Vec<f64> = (0..16 * 64)
        .map(|i| all.get_f64(i).unwrap() / 16.0)
        .collect();
    let pictures = Tensor::from_f64s(DType::F32, &[16, 8, 8], &values);
    let file = npz::write(&[("image".to_string(), pictures)]).unwrap();
    std::fs::write(dir.path().join("c.npz"), file).unwrap();
    let words = [
        "quantize",
        MODEL,
        "-o",
        "q.onnx",
        "--calibration",
        "c.npz",
        "--json",
    ];
    let o = onnxc(dir.path(), &[&words, more].concat());
    assert!(o.status.success(), "{}", err(&o));
    dir
}

fn explain(dir: &Path, quantized: &str, more: &[&str]) -> Output {
    let words = ["explain-quantization", MODEL, quantized, "--data", "c.npz"];
    onnxc(dir, &[&words, more].concat())
}

fn number(v: &serde_json::Value) -> f64 {
    v.as_f64().unwrap_or(f64::INFINITY)
}

#[test]
fn every_value_of_ours_is_matched() {
    let dir = folder(&["--calibration-method", "minmax"]);
    let o = explain(dir.path(), "q.onnx", &["--json", "--html", "p.html"]);
    let all = json(&o);
    assert_eq!(all["unmatched"].as_array().unwrap().len(), 0, "{all}");
    assert_eq!(all["cases"], 16);
    let values = all["values"].as_array().unwrap();
    assert_eq!(values[0]["name"], "image");
    assert!(values.len() >= 5, "{all}");
    for v in values {
        // Rounding the value alone costs no more than that and all before; minmax on the same data clips nothing but shares of 1.
        let (sqnr, alone) = (number(&v["sqnr_db"]), number(&v["alone_sqnr_db"]));
        assert!(sqnr > 20.0 && alone > sqnr - 1.0, "{v}");
        assert!(number(&v["cosine"]) > 0.99, "{v}");
        assert!(
            v["clipped"].as_f64() == Some(0.0) || v["operator"] == "Softmax",
            "{v}"
        );
        let counts = v["histogram"]["counts"].as_array().unwrap();
        assert!(counts.iter().map(number).sum::<f64>() > 0.0, "{v}");
    }
    let weights = all["weights"].as_array().unwrap();
    assert_eq!(weights.len(), 3, "{all}");
    assert!(weights.iter().all(|w| number(&w["sqnr_db"]) > 30.0));
    let output = &all["outputs"][0];
    assert!(number(&output["sqnr_db"]) > 25.0 && output["rows"] == 16);
    // The page is complete in itself.
    let page = std::fs::read_to_string(dir.path().join("p.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.matches("<svg").count() >= 8);
    assert!(!page.contains("http") && !page.contains("<script"));
    assert!(!page.contains("NaN") && page.contains("class=\"range\""));
    // As a table.
    let o = explain(dir.path(), "q.onnx", &["--samples", "3"]);
    let text = String::from_utf8_lossy(&o.stdout).into_owned();
    assert!(
        text.contains("clipped %") && text.contains("on 3 cases; 0 without"),
        "{text}"
    );
}

#[test]
fn ranges_that_cut_are_seen() {
    let dir = folder(&["--calibration-method", "percentile", "--percentile", "90"]);
    let all = json(&explain(dir.path(), "q.onnx", &["--json"]));
    let values = all["values"].as_array().unwrap();
    let clipped = values.iter().filter(|v| number(&v["clipped"]) > 0.01);
    assert!(clipped.count() > 0, "{all}");
}

#[test]
fn files_of_other_tools() {
    let dir = folder(&[]);
    for (name, values) in [("digits_qdq.onnx", 7), ("digits_qop.onnx", 5)] {
        let all = json(&explain(dir.path(), &format!("{DATA}/{name}"), &["--json"]));
        assert_eq!(all["values"].as_array().unwrap().len(), values, "{all}");
        assert_eq!(all["weights"].as_array().unwrap().len(), 3, "{all}");
        let list = all["values"].as_array().unwrap();
        assert!(list.iter().all(|v| number(&v["sqnr_db"]) > 25.0), "{all}");
        assert_eq!(all["outputs"][0]["same_class"], 16, "{name}");
    }
}

#[test]
fn what_can_not_be_compared_is_said() {
    let dir = folder(&[]);
    // The float model is no quantized form of itself.
    for (quantized, more, says) in [
        (MODEL, &[][..], "no quantized value"),
        ("missing.onnx", &[], "missing.onnx"),
        ("c.npz", &[], "error"),
        ("q.onnx", &["--samples", "0"], "samples"),
        ("q.onnx", &["--html", "none/p.html"], "none"),
    ] {
        let o = explain(dir.path(), quantized, more);
        assert!([1, 2].contains(&o.status.code().unwrap()), "{quantized}");
        assert!(err(&o).contains(says), "{quantized}: {}", err(&o));
        assert!(o.stdout.is_empty(), "{quantized}");
    }
}
