//! `quantize` with fewer bits, with other ways to round, and without data, from the outside: sizes of files, what they compute, and what is refused.

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

fn array(name: &str) -> Tensor {
    let path = Path::new(MODEL).with_file_name("test.npz");
    npz::Npz::open(&path).unwrap().get(name).unwrap()
}

/// A folder with `calib.npz` of 64 pictures, and with `io.npz`: 200 others and the float model's scores.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (images, scores) = (array("images"), array("scores"));
    let part = |t: &Tensor, from: usize, count: usize, by: f64| -> Vec<f64> {
        (from..from + count)
            .map(|i| t.get_f64(i).unwrap() / by)
            .collect()
    };
    let calibration = Tensor::from_f64s(DType::F32, &[64, 8, 8], &part(&images, 0, 64 * 64, 16.0));
    let file = npz::write(&[("image".to_string(), calibration)]).unwrap();
    std::fs::write(dir.path().join("calib.npz"), file).unwrap();
    let mut arrays = vec![];
    for k in 0..200 {
        let x = part(&images, (200 + k) * 64, 64, 16.0);
        let y = part(&scores, (200 + k) * 10, 10, 1.0);
        arrays.push((
            format!("c{k}_in0"),
            Tensor::from_f64s(DType::F32, &[1, 1, 8, 8], &x),
        ));
        arrays.push((
            format!("c{k}_out0"),
            Tensor::from_f64s(DType::F32, &[1, 10], &y),
        ));
    }
    std::fs::write(dir.path().join("io.npz"), npz::write(&arrays).unwrap()).unwrap();
    dir
}

/// Of 200 pictures how many get the same class as from the float model.
fn same_class(dir: &Path, file: &str) -> u64 {
    let words = [
        "verify",
        file,
        "--reference",
        "io.npz",
        "--json",
        "--no-layer",
    ];
    let all = json(&onnxc(dir, &words));
    let outputs = all["outputs"].as_array().unwrap();
    outputs
        .iter()
        .map(|o| o["top1_agree"].as_u64().unwrap())
        .sum()
}

fn quantize(dir: &Path, more: &[&str]) -> Output {
    let words = [&["quantize", MODEL, "-o", "q.onnx", "--json"], more].concat();
    onnxc(dir, &words)
}

const DATA: [&str; 2] = ["--calibration", "calib.npz"];

#[test]
fn every_precision_keeps_classes_and_makes_files_small() {
    let dir = folder();
    let float = std::fs::metadata(MODEL).unwrap().len() as f64;
    // Size as a share of the float file, and of 200 pictures those that must stay in their class.
    for (words, share, same) in [
        (&["--precision", "int8", "--weight-only"][..], 0.35, 198),
        (&["--precision", "int4"], 0.25, 190),
        (&["--precision", "int4", "--block", "16"], 0.25, 190),
        (&["--precision", "fp16"], 0.56, 199),
        (&["--precision", "bf16"], 0.56, 198),
        (&["--dynamic"], 1.0, 198),
        (&["--no-data"], 0.4, 190),
        (&["--no-data=0.3,0.4", "--equalize"], 0.4, 190),
        (
            &[
                "--precision",
                "int4",
                "--weight-rounding",
                "gptq",
                DATA[0],
                DATA[1],
            ],
            0.25,
            195,
        ),
        (
            &[
                "--precision",
                "w4a8",
                "--weight-rounding",
                "gptq",
                DATA[0],
                DATA[1],
            ],
            0.3,
            195,
        ),
        (
            &[
                "--precision",
                "w4a8",
                "--weight-rounding",
                "adaround",
                DATA[0],
                DATA[1],
            ],
            0.3,
            195,
        ),
        (
            &[
                "--precision",
                "int8",
                "--weight-rounding",
                "gptq",
                DATA[0],
                DATA[1],
            ],
            0.4,
            196,
        ),
        (&["--precision", "int16", DATA[0], DATA[1]], 0.4, 198),
        (
            &[
                "--precision",
                "w8a16",
                "--symmetric",
                "--equalize",
                DATA[0],
                DATA[1],
            ],
            0.4,
            198,
        ),
    ] {
        let o = quantize(dir.path(), words);
        assert!(o.status.success(), "{words:?}: {}", err(&o));
        let bytes = json(&o)["bytes"].as_u64().unwrap() as f64;
        assert!(bytes < share * float, "{words:?}: {bytes} of {float} bytes");
        let got = same_class(dir.path(), "q.onnx");
        assert!(got >= same, "{words:?}: {got} of 200");
    }
}

#[test]
fn four_bit_weights_compute_in_whole_numbers() {
    let dir = folder();
    let o = quantize(dir.path(), &["--precision", "w4a8", DATA[0], DATA[1]]);
    assert!(o.status.success(), "{}", err(&o));
    let compile = |name: &str| {
        onnxc(
            dir.path(),
            &["compile", name, "-o", "q.o", "--require-int8"],
        )
    };
    let o = compile("q.onnx");
    assert!(o.status.success(), "{}", err(&o));
    // Activations of 16 bits compute in floats, which is said.
    let o = quantize(dir.path(), &["--precision", "int16", DATA[0], DATA[1]]);
    assert!(o.status.success(), "{}", err(&o));
    let o = compile("q.onnx");
    assert_eq!(o.status.code(), Some(1));
    assert!(err(&o).contains("ONNX016"), "{}", err(&o));
}

#[test]
fn rounding_by_data_costs_less_than_to_the_nearest() {
    let dir = folder();
    let sqnr = |method: &str| {
        let words = [
            "--precision",
            "int4",
            "--weight-rounding",
            method,
            DATA[0],
            DATA[1],
        ];
        let o = quantize(dir.path(), &words);
        assert!(o.status.success(), "{method}: {}", err(&o));
        json(&o)["outputs"][0]["sqnr_db"].as_f64().unwrap()
    };
    let nearest = sqnr("nearest");
    for method in ["gptq", "adaround"] {
        let own = sqnr(method);
        assert!(
            own > nearest + 1.0,
            "{method}: {own} dB, nearest: {nearest} dB"
        );
    }
}

#[test]
fn fewer_bits_cost_more() {
    let dir = folder();
    let mut last = f64::INFINITY;
    for bits in ["4", "3", "2"] {
        let words = [
            "--precision",
            "w4a8",
            "--weight-bits",
            bits,
            DATA[0],
            DATA[1],
        ];
        let o = quantize(dir.path(), &words);
        assert!(o.status.success(), "{bits}: {}", err(&o));
        let own = json(&o)["outputs"][0]["sqnr_db"].as_f64().unwrap();
        assert!(own < last - 2.0, "{bits} bits: {own} dB after {last} dB");
        last = own;
    }
}

#[test]
fn made_up_data_is_the_same_every_time() {
    let dir = folder();
    let file = || {
        let o = quantize(dir.path(), &["--no-data=0.3,0.4", "--samples", "20"]);
        assert!(o.status.success(), "{}", err(&o));
        assert!(err(&o).contains("made-up inputs"), "{}", err(&o));
        std::fs::read(dir.path().join("q.onnx")).unwrap()
    };
    assert_eq!(file(), file());
}

/// A convolution with what batch normalization learned behind it.
const NORMALIZED: &str = "graph @g(%x: f32[1,2,8,8]) -> (%y) {
  %w = lit f32[2,2,1,1] [1.0, 0.5, -0.5, 1.0]
  %s = lit f32[2] [2.0, 0.5]
  %b = lit f32[2] [1.0, -3.0]
  %m = lit f32[2] [40.0, 70.0]
  %v = lit f32[2] [4.0, 9.0]
  %c = Conv(%x, %w) { group = 1 } : f32[1,2,8,8]
  %n = BatchNormalization(%c, %s, %b, %m, %v) { epsilon = 0.0, momentum = 0.9, training_mode = 0 } : f32[1,2,8,8]
  %r = Relu(%n) : f32[1,2,8,8]
  %k = lit f32[1,2,1,1] [1.0, 1.0]
  %y = Conv(%r, %k) { group = 1 } : f32[1,1,8,8]
}";

#[test]
fn without_data_ranges_are_those_of_batch_normalization() {
    let dir = tempfile::tempdir().unwrap();
    let model = onnxc_compiler::graph::parse::parse(NORMALIZED, onnxc_compiler::ops::find).unwrap();
    let mut diags = onnxc_compiler::base::diag::Diagnostics::default();
    let file = onnxc_compiler::onnx::write::write(&model, &mut diags).unwrap();
    std::fs::write(dir.path().join("m.onnx"), file).unwrap();
    let scales = |more: &[&str]| -> Vec<f32> {
        let words = ["quantize", "m.onnx", "-o", "q.onnx", "--no-data"];
        let o = onnxc(dir.path(), &[&words, more].concat());
        assert!(o.status.success(), "{}", err(&o));
        assert!(err(&o).contains("of 3 values are those of batch normalization") || more.len() > 2);
        let bytes = std::fs::read(dir.path().join("q.onnx")).unwrap();
        let options = onnxc_compiler::onnx::ImportOptions::default();
        let mut diags = onnxc_compiler::base::diag::Diagnostics::default();
        let files = onnxc_compiler::onnx::NoFiles;
        let q = onnxc_compiler::onnx::import(bytes.into(), &files, &options, &mut diags).unwrap();
        let g = &q.graph;
        let scale = |n| {
            let node = g.node(n);
            let own = node.op.name == "QuantizeLinear";
            own.then(|| g.konst(node.ins[1].unwrap()).unwrap().get_f64(0).unwrap() as f32)
        };
        g.order().iter().filter_map(|n| scale(*n)).collect()
    };
    // The Relu's: from 0 to the mean 1 and 6 deviations of 2.
    let all = scales(&["--calibration-method", "minmax"]);
    assert!((all[1] - 13.0 / 255.0).abs() < 1e-6, "{all:?}");
    // By least squares what is so rare is cut off.
    let own = scales(&["--calibration-method", "mse"]);
    assert!(own[1] < all[1] && own[1] > 5.0 / 255.0, "{own:?}");
    // Equalized channels are not those that were normalized.
    let moved = scales(&["--calibration-method", "minmax", "--equalize"]);
    assert_ne!(moved[1], all[1]);
}

#[test]
fn ranges_by_default_are_what_was_seen() {
    let dir = folder();
    let file = |words: &[&str]| {
        let o = quantize(
            dir.path(),
            &[&["--calibration", "calib.npz"], words].concat(),
        );
        assert!(o.status.success(), "{}", err(&o));
        std::fs::read(dir.path().join("q.onnx")).unwrap()
    };
    let own = file(&[]);
    assert_eq!(own, file(&["--calibration-method", "minmax"]));
    assert_ne!(own, file(&["--calibration-method", "mse"]));
    let words = ["--precision", "int16"];
    let all = ["--precision", "int16", "--calibration-method", "minmax"];
    assert_eq!(file(&words), file(&all));
}

#[test]
fn what_does_not_go_together_is_refused() {
    let dir = folder();
    for (words, says) in [
        (&["--precision", "int16"][..], "no calibration data"),
        (&["--precision", "w4a8"], "no calibration data"),
        (&["--precision", "int3"], "int3"),
        (
            &["--weight-rounding", "gptq", "--weight-only"],
            "needs calibration data",
        ),
        (
            &["--smooth", "0.5", "--weight-only"],
            "needs calibration data",
        ),
        (&["--smooth", "2"], "0 to 1"),
        (&["--dynamic", "--weight-only"], "--weight-only"),
        (&["--dynamic", "--precision", "int4"], "--dynamic"),
        (&["--precision", "w8a16", "--weight-only"], "w8a16"),
        (&["--precision", "fp16", "--block", "16"], "--block"),
        (
            &["--precision", "int4", "--block", "16", "--per-tensor"],
            "--block",
        ),
        (&["--precision", "int4", "--block", "0"], "--block"),
        (&["--precision", "mixed", "--no-data"], "--min-sqnr"),
        (
            &["--precision", "int4", "--weight-bits", "5"],
            "--weight-bits 5",
        ),
        (
            &["--precision", "fp16", "--weight-bits", "4"],
            "--weight-bits",
        ),
        (&["--weight-bits", "1", "--no-data"], "2..=8"),
        (&["--no-data=1,-1"], "above 0"),
        (&["--no-data", "--calibration", "calib.npz"], "--no-data"),
        (
            &[
                "--precision",
                "int16",
                "--activation-type",
                "u8",
                "--no-data",
            ],
            "--activation-type",
        ),
        (
            &[
                "--precision",
                "int16",
                "--calibration-method",
                "mse",
                "--no-data",
            ],
            "mse",
        ),
    ] {
        let o = quantize(dir.path(), words);
        assert_eq!(o.status.code(), Some(2), "{words:?}: {}", err(&o));
        assert!(err(&o).contains(says), "{words:?}: {}", err(&o));
        assert!(!dir.path().join("q.onnx").exists(), "{words:?}");
    }
    let o = quantize(dir.path(), &["--weight-only", "--only", "nosuch"]);
    assert_eq!(o.status.code(), Some(1));
    assert!(err(&o).contains("no operator"), "{}", err(&o));
}
