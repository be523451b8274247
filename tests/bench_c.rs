//! Benchmark programs in C: they compile without a warning, run, here and for AArch64, and compute what the model computes.

use onnxc::data::random;
use onnxc::loader::{Model, SessionOptions, host_arch};
use onnxc_compiler::Artifact;
use onnxc_compiler::artifact::{Placement, bench_c, header};
use onnxc_compiler::target::Arch;
use onnxc_tests::compile::compile;
use onnxc_tests::generate::root;
use onnxc_tests::tools::{have, run, text};
use serde_json::Value;
use std::fs;

/// Builds and runs the program; the answer is what it printed.
fn measure(made: &Artifact, gcc: &str, emulator: Option<&str>) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    write("m.o", &made.object);
    write("m.h", header::header(&made.info).as_bytes());
    write("m.bench.c", bench_c::bench_c(&made.info, "m.h").as_bytes());
    write("m.weights", &made.weights_file());
    let words =
        "-std=c99 -O1 -static -Wall -Wextra -Werror -DONNXC_BENCH_RUNS=7 m.bench.c m.o -o program";
    run(dir.path(), gcc, &words.split(' ').collect::<Vec<_>>());
    let program = dir.path().join("program").display().to_string();
    let file = made.info.placement == Placement::File;
    let mut words: Vec<&str> = emulator.into_iter().chain([program.as_str()]).collect();
    words.extend(file.then_some("m.weights"));
    let out = run(dir.path(), words[0], &words[1..]);
    let v: Value = serde_json::from_str(&text(&out)).unwrap();
    assert_eq!(v["runs"], 7);
    let times = ["min_ns", "median_ns", "p99_ns", "max_ns"].map(|k| v[k].as_u64().unwrap());
    assert!(times.is_sorted(), "{v}");
    assert_eq!(v["arena_bytes"], made.info.arena_bytes);
    v
}

/// The checksum of the outputs, of a run in this process.
fn expected(made: &Artifact) -> String {
    let model = Model::load(&made.object, &made.info.prefix).unwrap();
    let mut session = model.session(&SessionOptions::default()).unwrap();
    for (k, port) in made.info.inputs.iter().enumerate() {
        let shape: Vec<i64> = port.shape.iter().map(|d| made.info.largest(d)).collect();
        let data = random::tensor(0, k, port.dtype, &shape).unwrap().data;
        session.input_mut(k).unwrap()[..data.len()].copy_from_slice(&data);
    }
    assert_eq!(session.run(), 0);
    let mut sum = 14_695_981_039_346_656_037u64;
    for k in 0..made.info.outputs.len() {
        for b in session.output(k).unwrap() {
            sum = (sum ^ u64::from(*b)).wrapping_mul(1_099_511_628_211);
        }
    }
    format!("{sum:016x}")
}

/// File, prefix, and a free dimension with its bounds.
const MODELS: [(&str, &str, &[(&str, i64, i64)]); 2] = [
    ("examples/digits/digits.onnx", "digits", &[]),
    ("tests/data/free.onnx", "free", &[("N", 1, 9)]),
];

#[test]
fn here() {
    if host_arch() != Some(Arch::X86_64) || !cfg!(target_os = "linux") || !have("gcc") {
        return;
    }
    for (file, prefix, dims) in MODELS {
        let bytes = fs::read(root().join(file)).unwrap();
        let make = |placement| {
            let target = "x86_64-unknown-linux-gnu";
            compile(bytes.clone(), prefix, target, "", placement, dims)
        };
        let made = make(Placement::Embed);
        let v = measure(&made, "gcc", None);
        assert_eq!(v["checksum"], expected(&made), "{prefix}");
        assert_eq!(v["model"], made.info.model);
        let v = measure(&make(Placement::File), "gcc", None);
        assert_eq!(v["checksum"], expected(&made), "{prefix}");
    }
}

#[test]
fn aarch64() {
    let (gcc, emulator) = ("aarch64-linux-gnu-gcc", "qemu-aarch64-static");
    if !have(gcc) || !have(emulator) {
        return;
    }
    for (file, prefix, dims) in MODELS {
        let bytes = fs::read(root().join(file)).unwrap();
        let target = "aarch64-unknown-linux-gnu";
        let made = compile(bytes, prefix, target, "cortex-a53", Placement::Embed, dims);
        let v = measure(&made, gcc, Some(emulator));
        assert!(v["cpu"].as_str().unwrap().starts_with("cortex-a53"), "{v}");
    }
}
