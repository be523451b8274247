//! `prune` from the outside: what its files hold and compute, and what is refused without leaving anything behind.

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

/// Pictures of digits from the examples, as the model takes them.
fn pictures(range: std::ops::Range<usize>) -> Vec<f64> {
    let mut file = npz::Npz::open(&Path::new(MODEL).with_file_name("test.npz")).unwrap();
    let t = file.get("images").unwrap();
    let all = range.start * 64..range.end * 64;
    all.map(|i| t.get_f64(i).unwrap() / 16.0).collect()
}

fn store(path: &Path, shape: &[i64], values: &[f64]) {
    let t = Tensor::from_f64s(DType::F32, shape, values);
    std::fs::write(path, npz::write(&[("image".to_string(), t)]).unwrap()).unwrap();
}

/// A folder with `calib.npz` of 128 pictures.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    store(
        &dir.path().join("calib.npz"),
        &[128, 8, 8],
        &pictures(0..128),
    );
    dir
}

fn prune(dir: &Path, more: &[&str]) -> Output {
    let words = [&["prune", MODEL, "-o", "p.onnx", "--json"], more].concat();
    onnxc(dir, &words)
}

#[test]
fn weights_go_by_patterns() {
    let dir = folder();
    for (more, least, most) in [
        (&["--sparsity", "0.5"][..], 0.49, 0.51),
        (&["--sparsity", "0.5", "--scope", "uniform"], 0.48, 0.51),
        (&["--sparsity", "0.8", "--pattern", "4x1"], 0.75, 0.82),
        (&["--pattern", "2:4"], 0.40, 0.51),
        (
            &[
                "--sparsity",
                "0.6",
                "--criterion",
                "magnitude",
                "--calibration",
                "calib.npz",
            ],
            0.59,
            0.61,
        ),
    ] {
        let o = prune(dir.path(), more);
        assert!(o.status.success(), "{more:?}: {}", err(&o));
        let report = json(&o);
        let w = |k: usize| report["weights"][k].as_f64().unwrap();
        let gone = 1.0 - w(1) / w(0);
        assert!((least..most).contains(&gone), "{more:?} {gone} {report}");
        let data = more.contains(&"--calibration");
        assert_eq!(report["reconstructed"].as_bool().unwrap(), data);
    }
}

#[test]
fn channels_go_and_the_rest_makes_up_for_them() {
    let dir = folder();
    let words = ["--sparsity", "0.5", "--pattern", "channels"];
    let o = prune(
        dir.path(),
        &[&words[..], &["--calibration", "calib.npz"]].concat(),
    );
    assert!(o.status.success(), "{}", err(&o));
    let report = json(&o);
    let m = |k: usize| report["macs"][k].as_f64().unwrap();
    assert!(m(1) <= 0.5 * m(0), "{report}");
    let first = &report["outputs"][0];
    let plain = first["sqnr_db"].as_f64().unwrap();
    let better = first["reconstructed_sqnr_db"].as_f64().unwrap();
    assert!(better > plain + 3.0, "{plain} {better}");
    let size = |f: &str| std::fs::metadata(dir.path().join(f)).unwrap().len();
    assert!(size("p.onnx") < std::fs::metadata(MODEL).unwrap().len());
    // What is kept by name keeps its channels.
    let name = report["layers"][0]["name"].as_str().unwrap().to_string();
    let o = prune(dir.path(), &[&words[..], &["--keep", &name]].concat());
    assert!(o.status.success(), "{}", err(&o));
    let l = &json(&o)["layers"][0];
    assert_eq!(l["channels"][0], l["channels"][1], "{l}");
    assert!(l["why_not"].as_str().unwrap().contains("kept"));
}

#[test]
fn both_steps_in_one_command() {
    let dir = folder();
    let how = [
        "--sparsity",
        "0.5",
        "--pattern",
        "channels",
        "--calibration",
        "calib.npz",
    ];
    let o = prune(dir.path(), &how);
    assert!(o.status.success(), "{}", err(&o));
    let target = ["--target-cpu", "native", "--prefix", "m"];
    let o = onnxc(
        dir.path(),
        &[&["compile", "p.onnx", "-o", "two.o"], &target[..]].concat(),
    );
    assert!(o.status.success(), "{}", err(&o));
    let o = onnxc(
        dir.path(),
        &[
            &["compile", MODEL, "-o", "one.o", "--prune"],
            &how[..],
            &target,
        ]
        .concat(),
    );
    assert!(o.status.success(), "{}", err(&o));
    assert!(err(&o).contains("PRUNE002"), "{}", err(&o));
    let read = |f: &str| std::fs::read(dir.path().join(f)).unwrap();
    assert!(read("one.o") == read("two.o"));
    // Quantized behind it.
    let both = [
        &[
            "compile",
            MODEL,
            "-o",
            "q.o",
            "--prune",
            "--quantize",
            "int8",
        ],
        &how[..],
    ]
    .concat();
    let o = onnxc(dir.path(), &[&both[..], &target].concat());
    assert!(o.status.success(), "{}", err(&o));
    assert!(read("q.o").len() < read("one.o").len());
}

#[test]
fn goals_and_sensitivity() {
    let dir = folder();
    let o = onnxc(
        dir.path(),
        &["compile", MODEL, "-o", "whole.o", "--target-cpu", "native"],
    );
    assert!(o.status.success(), "{}", err(&o));
    let whole = std::fs::metadata(dir.path().join("whole.o")).unwrap().len();
    let goal = (whole * 8 / 10).to_string();
    let more = [
        "--pattern",
        "channels",
        "--target-size",
        &goal,
        "--calibration",
        "calib.npz",
        "--sensitivity",
        "s.html",
    ];
    let o = prune(dir.path(), &more);
    assert!(o.status.success(), "{}", err(&o));
    let page = std::fs::read_to_string(dir.path().join("s.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("90 %") && !page.contains("http"));
    let o = onnxc(
        dir.path(),
        &["compile", "p.onnx", "-o", "p.o", "--target-cpu", "native"],
    );
    assert!(o.status.success(), "{}", err(&o));
    let size = std::fs::metadata(dir.path().join("p.o")).unwrap().len();
    assert!(size <= whole * 8 / 10 + 512, "{size} {whole}");
    for (goal, says) in [("1", "no share gives"), ("1G", "meets the goal already")] {
        let o = prune(
            dir.path(),
            &["--pattern", "channels", "--target-size", goal],
        );
        assert!(err(&o).contains(says) && !o.status.success(), "{}", err(&o));
    }
}

/// The outputs of two files for the same data, as bytes.
fn same_answers(dir: &Path, a: (&str, &[&str]), b: (&str, &[&str])) -> bool {
    let run = |(model, more): (&str, &[&str]), to: &str| {
        let words = [
            &["run", model, "random:5", "-o", to, "--winograd", "off"],
            more,
        ]
        .concat();
        let o = onnxc(dir, &words);
        assert!(o.status.success(), "{}", err(&o));
        std::fs::read(dir.join(to)).unwrap()
    };
    run(a, "a.npz") == run(b, "b.npz")
}

#[test]
fn weights_take_few_values() {
    let dir = folder();
    let mut sqnr = vec![];
    for more in [
        &["--cluster", "16"][..],
        &["--cluster", "16", "--calibration", "calib.npz"],
        &["--cluster", "256", "--calibration", "calib.npz"],
    ] {
        let o = prune(dir.path(), more);
        assert!(o.status.success(), "{more:?}: {}", err(&o));
        let report = json(&o);
        let values = report["values"].as_u64().unwrap();
        assert_eq!(values.to_string(), more[1], "{report}");
        let data = more.contains(&"--calibration");
        assert_eq!(report["reconstructed"].as_bool().unwrap(), data);
        if data {
            sqnr.push(
                report["outputs"][0]["reconstructed_sqnr_db"]
                    .as_f64()
                    .unwrap(),
            );
            let plain = report["outputs"][0]["sqnr_db"].as_f64().unwrap();
            assert!(sqnr[sqnr.len() - 1] > plain, "{report}");
        }
        // Where weights lie changes no result.
        for threads in ["1", "2"] {
            let stored = ["--palettes", "on", "--threads", threads];
            let plain = ["--palettes", "off", "--threads", threads];
            assert!(same_answers(
                dir.path(),
                ("p.onnx", &stored),
                ("p.onnx", &plain)
            ));
        }
    }
    assert!(sqnr[1] > sqnr[0] + 6.0, "{sqnr:?}");
    // Zeros stay zeros.
    let words = [
        "--cluster",
        "16",
        "--sparsity",
        "0.6",
        "--calibration",
        "calib.npz",
    ];
    let o = prune(dir.path(), &words);
    assert!(o.status.success(), "{}", err(&o));
    let w = &json(&o)["weights"];
    let gone = 1.0 - w[1].as_f64().unwrap() / w[0].as_f64().unwrap();
    assert!(gone >= 0.59, "{gone}");
}

#[test]
fn objects_of_few_values_are_small() {
    let dir = folder();
    let size = |more: &[&str]| {
        let words = [
            &["compile", MODEL, "-o", "m.o", "--target-cpu", "native"],
            more,
        ]
        .concat();
        let o = onnxc(dir.path(), &words);
        assert!(o.status.success(), "{}", err(&o));
        std::fs::metadata(dir.path().join("m.o")).unwrap().len()
    };
    let few = ["--prune", "--cluster", "16"];
    let plain = size(&[&few[..], &["--palettes", "off"]].concat());
    let small = size(&few);
    assert!(small < plain, "{small} {plain}");
}

#[test]
fn shares_of_a_file() {
    let dir = folder();
    let o = prune(dir.path(), &["--sparsity", "0.3"]);
    let name = json(&o)["layers"][1]["name"].as_str().unwrap().to_string();
    let file = format!("[layers]\n\"{name}\" = 0.7\n");
    std::fs::write(dir.path().join("s.toml"), file).unwrap();
    let o = prune(dir.path(), &["--scope", "s.toml"]);
    assert!(o.status.success(), "{}", err(&o));
    let layers = &json(&o)["layers"];
    let share = |k: usize| {
        let w = &layers[k]["weights"];
        1.0 - w[1].as_f64().unwrap() / w[0].as_f64().unwrap()
    };
    assert!(share(0) == 0.0 && (share(1) - 0.7).abs() < 0.02, "{layers}");
    for wrong in [
        "",
        "[layers]\nnone = 0.5\n",
        "[layers]\n\"*\" = 1.5\n",
        "[other]\n",
    ] {
        std::fs::write(dir.path().join("s.toml"), wrong).unwrap();
        let o = prune(dir.path(), &["--scope", "s.toml"]);
        assert!(err(&o).contains("USE010"), "{wrong}: {}", err(&o));
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let dir = folder();
    let mut odd = pictures(0..4);
    odd[70] = f64::NAN;
    store(&dir.path().join("odd.npz"), &[4, 8, 8], &odd);
    for (more, says) in [
        (&["--sparsity", "1.5"][..], "a share is a number"),
        (&["--sparsity", "0"], "a share is a number"),
        (&["--sparsity", "0.5", "--pattern", "3x1"], "a pattern is"),
        (&["--sparsity", "0.5", "--pattern", "4:2"], "a pattern is"),
        (&["--pattern", "channels"], "how much is to go"),
        (
            &["--sparsity", "0.3", "--pattern", "2:4"],
            "is a sparsity of 0.5",
        ),
        (
            &["--sparsity", "0.5", "--criterion", "activation"],
            "--calibration",
        ),
        (&["--sparsity", "0.5", "--reconstruct"], "--calibration"),
        (
            &["--sparsity", "0.5", "--sensitivity", "s.html"],
            "--calibration",
        ),
        (&["--sparsity", "0.5", "--target-size", "9"], "one of both"),
        (&["--sparsity", "0.5", "--keep", "*"], "PRUNE001"),
        (
            &["--sparsity", "0.5", "--pattern", "heads"],
            "no heads of attention",
        ),
        (
            &["--sparsity", "0.5", "--calibration", "odd.npz"],
            "not a number",
        ),
        (&["--sparsity", "0.5", "--scope", "none.toml"], "none.toml"),
        (&["--sparsity", "0.5", "--round-to", "0"], "from 1 to 1024"),
        (&["--cluster", "1"], "2..=256"),
        (&["--cluster", "257"], "2..=256"),
        (
            &["--cluster", "16", "--target-size", "9"],
            "comes with --sparsity",
        ),
    ] {
        let o = prune(dir.path(), more);
        assert!(!o.status.success(), "{more:?}");
        assert!(err(&o).contains(says), "{more:?}: {}", err(&o));
        assert!(!dir.path().join("p.onnx").exists() && !dir.path().join("s.html").exists());
    }
    for more in [["--sparsity", "0.5"], ["--cluster", "16"]] {
        let words = [&["compile", MODEL, "-o", "m.o"], &more[..]].concat();
        let o = onnxc(dir.path(), &words);
        assert!(err(&o).contains("without --prune"), "{}", err(&o));
    }
}
