//! The tool as its users meet it: exit codes, messages, files. Runs the program itself on the digits model of the examples.

mod common;

use std::path::{Path, PathBuf};
use std::process::Output;

use common::{MODEL, onnxc};
use onnxc::data::{npy, npz};
use onnxc_compiler::base::tensor::Tensor;

fn model() -> PathBuf {
    PathBuf::from(MODEL)
}

fn picture(k: usize) -> PathBuf {
    model().with_file_name(format!("pictures/{k}.png"))
}

fn code(o: &Output) -> i32 {
    o.status.code().unwrap()
}

fn err(o: &Output) -> String {
    String::from_utf8_lossy(&o.stderr).into_owned()
}

fn out(o: &Output) -> String {
    String::from_utf8_lossy(&o.stdout).into_owned()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut v: Vec<String> = entries
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    v.sort();
    v
}

fn temp() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn the_default_writes_object_and_header() {
    let dir = temp();
    std::fs::copy(model(), dir.path().join("net-1.onnx")).unwrap();
    let o = onnxc(dir.path(), &["net-1.onnx"]);
    assert_eq!(code(&o), 0, "{}", err(&o));
    assert!(err(&o).contains("USE005"), "{}", err(&o));
    assert_eq!(names(dir.path()), ["net-1.h", "net-1.o", "net-1.onnx"]);
    let header = std::fs::read_to_string(dir.path().join("net-1.h")).unwrap();
    assert!(header.contains("net_1_run"));
    let object = std::fs::read(dir.path().join("net-1.o")).unwrap();
    // Another folder, another number of threads: the same bytes.
    let other = temp();
    let m = dir.path().join("net-1.onnx").display().to_string();
    let o = onnxc(other.path(), &["compile", &m, "-o", "x.o", "-j1"]);
    assert_eq!(code(&o), 0);
    assert_eq!(std::fs::read(other.path().join("x.o")).unwrap(), object);
}

#[test]
fn all_outputs_of_emit() {
    let dir = temp();
    let m = model().display().to_string();
    let kinds = "obj,staticlib,header,rust,dep-info,report=r.json,graph,loops,clif,asm,dot";
    let args = ["-o", "d.o", "--emit", kinds, "-O", "--weights=file", &m];
    for target in ["x86_64-linux-gnu", "aarch64-poky-linux"] {
        let o = onnxc(dir.path(), &[&args[..], &["--target", target]].concat());
        assert_eq!(code(&o), 0, "{}", err(&o));
        let want = [
            "d.clif",
            "d.d",
            "d.dot",
            "d.graph",
            "d.h",
            "d.loops",
            "d.o",
            "d.rs",
            "d.s",
            "d.weights",
            "libd.a",
            "r.json",
        ];
        assert_eq!(names(dir.path()), want);
        let read = |n: &str| std::fs::read_to_string(dir.path().join(n)).unwrap();
        assert!(read("d.d").starts_with("d.o "));
        assert!(read("d.s").contains("digits_run:"), "{}", read("d.s"));
        assert!(!read("d.clif").is_empty());
        let report: serde_json::Value = serde_json::from_str(&read("r.json")).unwrap();
        assert_eq!(report["prefix"], "digits");
        assert!(read("d.graph").contains("Conv"));
    }
}

#[test]
fn make_and_response_files() {
    let dir = temp();
    std::fs::copy(model(), dir.path().join("m.onnx")).unwrap();
    std::fs::write(
        dir.path().join("flags"),
        "-mcpu=cortex-a55 --target 'aarch64-none-elf'\n",
    )
    .unwrap();
    let o = onnxc(
        dir.path(),
        &["m.onnx", "@flags", "-MD", "-MF", "x.d", "-MT", "all", "-MP"],
    );
    assert_eq!(code(&o), 0, "{}", err(&o));
    assert!(!err(&o).contains("USE005"));
    let deps = std::fs::read_to_string(dir.path().join("x.d")).unwrap();
    assert_eq!(deps, "all: \\\n  m.onnx\n");
    assert_eq!(code(&onnxc(dir.path(), &["m.onnx", "@none"])), 2);
}

#[test]
fn usage_is_2() {
    let dir = temp();
    let m = model().display().to_string();
    let o = onnxc(dir.path(), &["verfy", &m]);
    assert_eq!(code(&o), 2);
    assert!(err(&o).contains("did you mean `verify`?"), "{}", err(&o));
    for args in [
        &["--target", "riscv64-linux-gnu", &m][..],
        &[
            "--target-cpu",
            "cortex-a55",
            "--target",
            "x86_64-linux-gnu",
            &m,
        ],
        &["--target-cpu", "x86-64-v2,,x86-64-v3", &m],
        &["--target-cpu", "x86-64-v2,nehalem,x86-64-v2", &m],
        &["--target-cpu", "x86-64-v3,x86-64-v33", &m],
        &[
            "--target-cpu",
            "cortex-a53,cortex-a72",
            "--target",
            "aarch64-linux-gnu",
            &m,
        ],
        &["--emit", "everything", &m],
        &["--weights", "nowhere", &m],
        &["--dim", "N=x", &m],
        &["--disable-pass", "no_such_pass", &m],
        &["--enable-pass", "no_such_pass", &m],
        &["--enable-pass", "gelu", "--disable-pass", "gelu", &m],
        &["--prefix", "9 lives", &m],
        &["-o", "x", "--emit", "header,report", &m],
        &["-mwrong", &m],
        &["compile"],
        &["run", &m, "--no-such-flag"],
        &[],
    ] {
        let o = onnxc(dir.path(), args);
        assert_eq!(code(&o), 2, "{args:?}: {}", err(&o));
        assert!(!err(&o).is_empty(), "{args:?}");
    }
    assert!(names(dir.path()).is_empty());
    assert_eq!(code(&onnxc(dir.path(), &["--version"])), 0);
    assert_eq!(code(&onnxc(dir.path(), &["compile", "--help"])), 0);
}

#[test]
fn bad_models_are_1_and_leave_nothing() {
    let dir = temp();
    let good = std::fs::read(model()).unwrap();
    std::fs::write(dir.path().join("cut.onnx"), &good[..good.len() / 2]).unwrap();
    std::fs::write(dir.path().join("empty.onnx"), b"").unwrap();
    std::fs::write(dir.path().join("text.onnx"), b"hello, world").unwrap();
    let before = names(dir.path());
    for name in ["cut.onnx", "empty.onnx", "text.onnx", "missing.onnx", "./"] {
        let o = onnxc(dir.path(), &[name]);
        assert_eq!(code(&o), 1, "{name}: {}", err(&o));
        assert!(err(&o).contains("error"), "{name}: {}", err(&o));
    }
    let m = model().display().to_string();
    let o = onnxc(dir.path(), &[&m, "-o", "no/such/folder/x.o"]);
    assert_eq!(code(&o), 1);
    assert!(err(&o).contains("no folder"), "{}", err(&o));
    let o = onnxc(
        dir.path(),
        &[&m, "-o", "x.o", "--emit", "obj,header=no/x.h"],
    );
    assert_eq!(code(&o), 1);
    assert_eq!(names(dir.path()), before);
}

#[test]
fn messages_as_json() {
    let dir = temp();
    let o = onnxc(dir.path(), &["--message-format", "json", "missing.onnx"]);
    let lines: Vec<serde_json::Value> = err(&o)
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines.len(), 1);
    assert_eq!(
        (lines[0]["code"].as_str(), lines[0]["level"].as_str()),
        (Some("USE002"), Some("error"))
    );
    let o = onnxc(dir.path(), &["--message-format=json", "--nonsense"]);
    let line: serde_json::Value = serde_json::from_str(err(&o).trim()).unwrap();
    assert_eq!((code(&o), line["code"].as_str()), (2, Some("USE001")));
}

#[test]
fn lists() {
    let dir = temp();
    for (list, word) in [
        ("target-list", "aarch64-unknown-linux-gnu"),
        ("target-cpus", "native"),
        ("target-features", "what it is"),
        ("supported-ops", "Conv "),
        ("pipeline", "resolve"),
    ] {
        let o = onnxc(dir.path(), &["--print", list]);
        assert_eq!(code(&o), 0);
        assert!(out(&o).contains(word), "{list}: {}", out(&o));
    }
    let o = onnxc(
        dir.path(),
        &["--print", "target-cpus", "--target", "aarch64-linux-gnu"],
    );
    assert!(out(&o).contains("cortex-a55"));
}

/// The model's input, made from a picture as its README says, and the answers of onnxruntime.
fn case(k: usize) -> (Tensor, Tensor) {
    let mut file = npz::Npz::open(&model().with_file_name("test.npz")).unwrap();
    let (images, scores) = (file.get("images").unwrap(), file.get("scores").unwrap());
    let pixels: Vec<f64> = (0..64)
        .map(|i| images.get_f64(k * 64 + i).unwrap() / 16.0)
        .collect();
    let row: Vec<f64> = (0..10)
        .map(|i| scores.get_f64(k * 10 + i).unwrap())
        .collect();
    let f32s = |shape: &[i64], v: &[f64]| {
        Tensor::from_f64s(onnxc_compiler::base::dtype::DType::F32, shape, v)
    };
    (f32s(&[1, 1, 8, 8], &pixels), f32s(&[1, 10], &row))
}

#[test]
fn run_prints_and_stores() {
    let dir = temp();
    let m = model().display().to_string();
    for k in [0, 3, 7] {
        let o = onnxc(
            dir.path(),
            &["run", &m, &picture(k).display().to_string(), "--top", "1"],
        );
        assert_eq!(code(&o), 0, "{}", err(&o));
        let best = out(&o)
            .lines()
            .nth(1)
            .unwrap()
            .split_whitespace()
            .next()
            .unwrap()
            .to_string();
        assert_eq!(best, k.to_string(), "{}", out(&o));
    }
    let (x, y) = case(5);
    std::fs::write(dir.path().join("x.npy"), npy::write(&x)).unwrap();
    let o = onnxc(
        dir.path(),
        &["run", &m, "image=x.npy", "-o", "y.npz", "--json"],
    );
    assert_eq!(code(&o), 0, "{}", err(&o));
    let got = npz::Npz::open(&dir.path().join("y.npz"))
        .unwrap()
        .get("scores")
        .unwrap();
    let rule = onnxc::compare::Rule::OfLargest(1e-4);
    assert!(onnxc::compare::compare(&got, &y, rule).pass);
    let json: serde_json::Value = serde_json::from_str(&out(&o)).unwrap();
    assert_eq!(json["outputs"][0]["shape"], serde_json::json!([1, 10]));
    for bad in [
        &["run", &m][..],
        &["run", &m, "missing.npy"],
        &["run", &m, "nosuch=x.npy"],
        &["run", &m, "y.npz"],
    ] {
        let o = onnxc(dir.path(), bad);
        assert_ne!(code(&o), 0, "{bad:?}");
        assert_ne!(code(&o), 3, "{bad:?}: {}", err(&o));
    }
}

#[test]
fn verify_passes_and_misses() {
    let dir = temp();
    let m = model().display().to_string();
    let store = |name: &str, cases: &[(Tensor, Tensor)]| {
        let arrays: Vec<(String, Tensor)> = cases
            .iter()
            .enumerate()
            .flat_map(|(k, (x, y))| {
                [
                    (format!("c{k}_in0"), x.clone()),
                    (format!("c{k}_out0"), y.clone()),
                ]
            })
            .collect();
        std::fs::write(dir.path().join(name), npz::write(&arrays).unwrap()).unwrap();
    };
    let (a, b) = (case(1), case(2));
    store("good.npz", &[a.clone(), b.clone()]);
    store("bad.npz", &[a.clone(), (b.0.clone(), a.1.clone())]);
    let o = onnxc(dir.path(), &["verify", &m, "--reference", "good.npz"]);
    assert_eq!(code(&o), 0, "{}{}", out(&o), err(&o));
    assert!(out(&o).ends_with("verified: 2 outputs agree\n"));
    let o = onnxc(dir.path(), &["verify", &m, "--reference", "bad.npz"]);
    assert_eq!(code(&o), 1, "{}{}", out(&o), err(&o));
    assert!(
        out(&o).contains("miss: case 1, output `scores`: worst element"),
        "{}",
        out(&o)
    );
    assert!(
        out(&o).contains("every layer agrees with the interpreter"),
        "{}",
        out(&o)
    );
    let o = onnxc(
        dir.path(),
        &[
            "verify",
            &m,
            "--reference",
            "bad.npz",
            "--json",
            "--no-layer",
        ],
    );
    let json: serde_json::Value = serde_json::from_str(&out(&o)).unwrap();
    assert_eq!(json["pass"], false);
    assert_eq!(json["outputs"][0]["pass"], true);
    // A wide tolerance lets it pass; later files replace arrays of earlier ones.
    let o = onnxc(
        dir.path(),
        &["verify", &m, "--reference", "bad.npz", "--atol", "2"],
    );
    assert_eq!(code(&o), 0);
    let o = onnxc(
        dir.path(),
        &[
            "verify",
            &m,
            "--reference",
            "bad.npz",
            "--reference",
            "good.npz",
        ],
    );
    assert_eq!(code(&o), 0);
    let o = onnxc(dir.path(), &["verify", &m, "--reference", "missing.npz"]);
    assert_eq!(code(&o), 1);
}

#[test]
fn inspect_and_bench() {
    let dir = temp();
    let m = model().display().to_string();
    let o = onnxc(
        dir.path(),
        &["inspect", &m, "--svg", "g.svg", "--dot", "g.dot"],
    );
    assert_eq!(code(&o), 0, "{}", err(&o));
    assert!(out(&o).contains("arena") && out(&o).contains("MACs"));
    assert_eq!(names(dir.path()), ["g.dot", "g.svg"]);
    let o = onnxc(dir.path(), &["inspect", &m, "--nodes"]);
    assert!(out(&o).contains("f32[1,10]"), "{}", out(&o));
    let o = onnxc(
        dir.path(),
        &["bench", &m, "--json", "--runs", "20", "--threads", "2"],
    );
    assert_eq!(code(&o), 0, "{}", err(&o));
    let json: serde_json::Value = serde_json::from_str(&out(&o)).unwrap();
    for key in [
        "min_ms",
        "median_ms",
        "p99_ms",
        "max_ms",
        "threads",
        "arena_bytes",
    ] {
        assert!(json[key].is_number(), "{key}");
    }
    assert!(json["min_ms"].as_f64() <= json["median_ms"].as_f64());
}

#[test]
fn official_tests_are_counted() {
    // Two tests in the official layout: one right, one with a wrong answer; and a folder that is no test.
    let dir = temp();
    let (x, y) = case(4);
    for (name, answer) in [("test_right", &y), ("test_wrong", &x)] {
        let set = dir.path().join(name).join("test_data_set_0");
        std::fs::create_dir_all(&set).unwrap();
        std::fs::copy(model(), dir.path().join(name).join("model.onnx")).unwrap();
        std::fs::write(set.join("input_0.pb"), proto(&x)).unwrap();
        std::fs::write(set.join("output_0.pb"), proto(answer)).unwrap();
    }
    std::fs::create_dir_all(dir.path().join("test_empty/test_data_set_0")).unwrap();
    let o = onnxc(dir.path(), &["test-onnx", ".", "--list", "-j2"]);
    assert_eq!(code(&o), 1, "{}", err(&o));
    assert!(
        out(&o).ends_with("\n1 passed, 1 failed (0 unsupported, 1 wrong, 0 internal), 1 skipped\n"),
        "{}",
        out(&o)
    );
    assert!(out(&o).starts_with("W test_wrong: "), "{}", out(&o));
    let o = onnxc(dir.path(), &["test-onnx", ".", "--filter", "right"]);
    assert_eq!(code(&o), 0);
    assert_eq!(
        out(&o),
        "1 passed, 0 failed (0 unsupported, 0 wrong, 0 internal), 0 skipped\n"
    );
}

/// A `TensorProto` of an f32 tensor: fields 1 (dims), 2 (data_type), 9 (raw_data).
fn proto(t: &Tensor) -> Vec<u8> {
    let mut out = Vec::new();
    for d in &t.shape {
        out.extend([0x08, *d as u8]);
    }
    out.extend([0x10, 1, 0x4a]);
    let n = t.data.len();
    out.extend([(n & 0x7f) as u8 | 0x80, (n >> 7) as u8]);
    out.extend(t.data.iter());
    out
}

#[test]
fn made_up_inputs_are_the_same_everywhere() {
    let dir = temp();
    let m = model().display().to_string();
    let run = |args: &[&str]| {
        let o = onnxc(dir.path(), &[&["run", &m, "--json"], args].concat());
        assert_eq!(code(&o), 0, "{}", err(&o));
        out(&o)
    };
    let first = run(&["random:7"]);
    assert_eq!(first, run(&["random:7", "-j1"]));
    assert_ne!(first, run(&["random:8"]));
    let o = onnxc(dir.path(), &["run", &m, "random:seven"]);
    assert_eq!(code(&o), 2);
}

#[test]
fn an_input_can_be_a_constant() {
    let dir = temp();
    let m = model().display().to_string();
    let (x, y) = case(6);
    std::fs::write(dir.path().join("x.npy"), npy::write(&x)).unwrap();
    let o = onnxc(
        dir.path(),
        &["run", &m, "--const", "image=x.npy", "-o", "y.npz"],
    );
    assert_eq!(code(&o), 0, "{}", err(&o));
    let got = npz::Npz::open(&dir.path().join("y.npz"))
        .unwrap()
        .get("scores")
        .unwrap();
    assert!(onnxc::compare::compare(&got, &y, onnxc::compare::Rule::OfLargest(1e-4)).pass);
    for bad in ["image=1,2,3", "nosuch=1", "image=missing.npy", "image=a,b"] {
        let o = onnxc(dir.path(), &["compile", &m, "--const", bad]);
        assert!(matches!(code(&o), 1 | 2), "{bad}: {}", err(&o));
    }
    assert_eq!(names(dir.path()), ["x.npy", "y.npz"]);
}

#[test]
fn another_machine_through_a_command() {
    // `env PROGRAM` runs the program: what an emulator does, without one.
    let dir = temp();
    let m = model().display().to_string();
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return;
    }
    let here = onnxc(dir.path(), &["run", &m, "random:1", "--json"]);
    for weights in ["embed", "file"] {
        let args = [
            "run",
            &m,
            "random:1",
            "--json",
            "--exec",
            "env",
            "--weights",
            weights,
        ];
        let there = onnxc(dir.path(), &args);
        assert_eq!(code(&there), 0, "{}", err(&there));
        assert_eq!(out(&here), out(&there));
    }
    let o = onnxc(
        dir.path(),
        &["run", &m, "random:1", "--exec", "/no/such/emulator"],
    );
    assert_eq!(code(&o), 1);
    let o = onnxc(dir.path(), &["run", &m, "random:1", "--exec", "true"]);
    assert_eq!(code(&o), 3, "a program that gives no answer: {}", err(&o));
    let o = onnxc(
        dir.path(),
        &["run", &m, "random:1", "--target", "aarch64-linux-gnu"],
    );
    assert_eq!(code(&o), 2);
    assert!(err(&o).contains("--exec"));
}

#[test]
fn passes_are_switched_by_name() {
    let dir = temp();
    let m = model().display().to_string();
    let o = onnxc(dir.path(), &["--enable-pass", "atention", &m]);
    assert_eq!(code(&o), 2);
    assert!(err(&o).contains("did you mean `attention`?"), "{}", err(&o));
    let o = onnxc(dir.path(), &["--print", "pipeline"]);
    let text = out(&o);
    let off: Vec<&str> = text
        .lines()
        .filter(|l| l.contains("off by default"))
        .collect();
    assert_eq!(off.len(), 1, "{text}");
    assert!(off[0].trim_start().starts_with("attention"), "{text}");
    assert!(off[0].contains("--enable-pass attention"), "{text}");
    // softmax(Q K) V is several layers without the fusion, and one with it.
    let attention = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/attention.onnx");
    let attention = attention.display().to_string();
    let layers = |more: &[&str]| {
        let o = onnxc(dir.path(), &[&["inspect", &attention], more].concat());
        assert_eq!(code(&o), 0, "{}", err(&o));
        out(&o).matches("ScaledDotProductAttention").count()
    };
    assert_eq!(layers(&[]), 0);
    assert_eq!(layers(&["--enable-pass", "attention"]), 1);
}

#[test]
fn levels_differ_in_size_and_agree_in_results() {
    let dir = temp();
    let m = model().display().to_string();
    let run = |level: &str| {
        let o = onnxc(
            dir.path(),
            &[
                level,
                &m,
                "--target-cpu",
                "x86-64-v2",
                "-o",
                "d.o",
                "--emit",
                "obj,report",
            ],
        );
        assert_eq!(code(&o), 0, "{}", err(&o));
        let report = std::fs::read_to_string(dir.path().join("d.json")).unwrap();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        let number = |key: &str| {
            report[key]
                .as_u64()
                .unwrap_or_else(|| panic!("{key}: {report}"))
        };
        (
            number("code_bytes"),
            report["layers"].as_array().unwrap().len(),
        )
    };
    let [none, quick, normal, most, size] = ["-O0", "-O1", "-O2", "-O3", "-Os"].map(run);
    assert!(size.0 < normal.0, "{size:?} {normal:?}");
    assert!(normal.0 < most.0, "{normal:?} {most:?}");
    assert!(quick.0 != normal.0, "{quick:?} {normal:?}");
    assert!(none.1 > normal.1, "{none:?} {normal:?}");
    // The same numbers, but for the order of sums.
    let results = ["-O0", "-O1", "-O2", "-O3", "-Os"].map(|level| {
        let o = onnxc(dir.path(), &["run", level, &m, "random:1", "-o", "r.npz"]);
        assert_eq!(code(&o), 0, "{}", err(&o));
        let mut r = npz::Npz::open(&dir.path().join("r.npz")).unwrap();
        let name = r.names().remove(0);
        r.get(&name).unwrap().to_f32s().unwrap()
    });
    let largest = results[2].iter().fold(0f32, |m, v| m.max(v.abs()));
    for r in &results {
        let far = r
            .iter()
            .zip(&results[2])
            .filter(|(a, b)| (*a - *b).abs() > 1e-5 * largest);
        assert_eq!((far.count(), r.len()), (0, results[2].len()));
    }
}
