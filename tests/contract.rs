//! The contract of compiled models, measured: statuses, guard pages around every buffer, stack, symbols.
//!
//! `tests/c/contract.c` is linked with the models of the examples and run, natively and under qemu.

use onnxc::loader::{Model, SessionOptions};
use onnxc_abi::status;
use onnxc_compiler::artifact::{Placement, header};
use onnxc_compiler::base::diag::Diagnostics;
use onnxc_compiler::base::effort::Effort;
use onnxc_compiler::passes::ports;
use onnxc_compiler::pipeline;
use onnxc_compiler::target::Arch;
use onnxc_compiler::{Artifact, Options, Quiet, emit, plan};
use onnxc_tests::compile::compile;
use onnxc_tests::contract::measure;
use onnxc_tests::generate::root;
use onnxc_tests::graphs::read;
use onnxc_tests::run::target;
use onnxc_tests::tools::{have, run, text};
use std::fs;

/// A free dimension and its bounds.
type Bounds = (&'static str, i64, i64);

/// File, prefix, free dimensions.
const MODELS: &[(&str, &str, &[Bounds])] = &[
    ("examples/digits/digits.onnx", "digits", &[]),
    ("examples/streaming/onset.onnx", "onset", &[]),
    ("tests/data/free.onnx", "free", &[("N", 1, 9)]),
];

fn check(target: &str, cpu: &str, gcc: &str, emulator: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    for (file, prefix, dims) in MODELS {
        let model = fs::read(root().join(file)).unwrap();
        let made = compile(model, prefix, target, cpu, Placement::Embed, dims);
        let out = measure(dir.path(), &made, gcc, emulator);
        let out = out.unwrap_or_default();
        eprint!("{prefix} for {target} {cpu}: {out}");
    }
}

// x, relu(x) and its nonzero places, and the first and last of x, worked out by hand.
const FREE: &str = "1: 1 2 2 0 1 2; -1 0;; -1 -1
3: 1 6 2 1 1 2; -1 0 2 0 0 2; 0 2; -1 2
5: 1 10 2 2 1 2; -1 0 2 3 -4 0 0 2 3 0; 0 0 2 3; -1 -4
7: 1 14 2 4 1 2; -1 0 2 3 -4 5 6 0 0 2 3 0 5 6; 0 0 0 0 2 3 5 6; -1 6
9: 1 18 2 6 1 2; -1 0 2 3 -4 5 6 7 8 0 0 2 3 0 5 6 7 8; 0 0 0 0 0 0 2 3 5 6 7 8; -1 8
outside: 8
";

#[test]
fn sizes_stated_and_computed() {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) || !have("gcc") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (file, prefix, dims) = MODELS[2];
    let model = fs::read(root().join(file)).unwrap();
    let target = "x86_64-unknown-linux-gnu";
    let made = compile(model, prefix, target, "", Placement::Embed, dims);
    fs::write(dir.path().join("free.o"), &made.object).unwrap();
    fs::write(dir.path().join("free.h"), header::header(&made.info)).unwrap();
    let source = root().join("tests/c/free.c");
    let args = [
        "-O1",
        "-I.",
        source.to_str().unwrap(),
        "free.o",
        "-o",
        "program",
    ];
    run(dir.path(), "gcc", &args);
    let out = run(
        dir.path(),
        dir.path().join("program").to_str().unwrap(),
        &[],
    );
    assert_eq!(text(&out), FREE);
}

#[test]
fn x86_64_base() {
    if cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        check("x86_64-unknown-linux-gnu", "", "gcc", &[]);
    }
}

#[test]
fn x86_64_v3() {
    if cfg!(all(target_arch = "x86_64", target_os = "linux"))
        && std::arch::is_x86_feature_detected!("fma")
    {
        check("x86_64-unknown-linux-gnu", "x86-64-v3", "gcc", &[]);
    }
}

#[test]
fn aarch64_cortex_a57() {
    check(
        "aarch64-unknown-linux-gnu",
        "cortex-a57",
        "aarch64-linux-gnu-gcc",
        &["qemu-aarch64-static"],
    );
}

#[test]
fn sizes_that_do_not_fit_end_the_run() {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        return;
    }
    let text = "sym N = 1..8 input 0 axis 0
graph @g(%x: f32[$N,6]) -> (%y) {
  %shape = lit i64[2] [-1, 4]
  %y = Reshape(%x, %shape)
}
";
    let model = read(text).unwrap();
    let target = target(Arch::X86_64, "");
    let options = Options::default();
    let mut diags = Diagnostics::default();
    let program = plan(&model, &target, &options, &mut diags).unwrap();
    let made = emit(model, program, &target, &options, &mut Quiet, &mut diags).unwrap();
    let model = Model::load(&made.object, "model").unwrap();
    let guarded = SessionOptions {
        guard: true,
        ..SessionOptions::default()
    };
    let mut s = model.session(&guarded).unwrap();
    for n in 1..=8 {
        s.set_dims(&[n]);
        let fits = (n * 6) % 4 == 0;
        let wanted = if fits {
            status::OK
        } else {
            status::SHAPE_MISMATCH
        };
        assert_eq!(s.run(), wanted, "N = {n}");
        if fits {
            assert_eq!(s.out_dims(), [n * 6 / 4, 4]);
        }
    }
}

/// A model from text, compiled with its weights beside it.
fn beside(text: &str, prefix: &str, effort: Effort) -> Artifact {
    let target = target(Arch::X86_64, "");
    let options = Options {
        prefix: prefix.into(),
        placement: Placement::File,
        ..Options::default()
    }
    .at(effort);
    let mut diags = Diagnostics::default();
    let mut model = read(text).unwrap();
    pipeline::single(&mut model, &ports::PASS, &mut diags).unwrap();
    let program = plan(&model, &target, &options, &mut diags).unwrap();
    emit(model, program, &target, &options, &mut Quiet, &mut diags).unwrap()
}

#[test]
fn weights_of_another_training_fit() {
    let text = "graph @g(%x: f32[1,3,8,8]) -> (%y) {
  %w = lit f32[8,3,3,3] rand(1)
  %b = lit f32[8] rand(2)
  %c = Conv(%x, %w, %b) @\"conv\"
  %y = Relu(%c) @\"relu\"
}
";
    let first = beside(text, "first", Effort::Normal);
    let trained = text
        .replace("rand(1)", "rand(3)")
        .replace("rand(2)", "rand(4)");
    let trained = trained.replace("conv", "features.0");
    let second = beside(&trained, "second", Effort::Most);
    assert_eq!(first.info.layout_digest, second.info.layout_digest);
    assert_ne!(first.info.content_digest, second.info.content_digest);
    // Another stride, another layout: the same weights in other hands.
    let other = text.replace("%b) @", "%b) { strides = [2, 2] } @");
    let other = beside(&other, "first", Effort::Normal);
    assert_ne!(first.info.layout_digest, other.info.layout_digest);
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        return;
    }
    // The first object with the second's weights computes what the second does.
    let run = |object: &Artifact, prefix: &str, weights: &Artifact| {
        let file = weights.weights_file();
        let model = Model::load(&object.object, prefix).unwrap();
        let options = SessionOptions {
            guard: true,
            weights: Some(&file[onnxc_abi::weights::DATA_OFFSET..]),
            ..SessionOptions::default()
        };
        let mut s = model.session(&options).unwrap();
        let x = s.input_mut(0).unwrap();
        x.chunks_exact_mut(4)
            .for_each(|v| v.copy_from_slice(&1.5f32.to_le_bytes()));
        assert_eq!(s.run(), status::OK);
        s.output(0).unwrap().to_vec()
    };
    let want = run(&second, "second", &second);
    assert_eq!(run(&first, "first", &second), want);
    assert_ne!(run(&first, "first", &first), want);
}

#[test]
fn quantization_is_stated_through_reshapes() {
    let text = |second: &str| {
        format!(
            "graph @g(%x: u8[2,6]) -> (%y, %z) {{
  %shape = lit i64[2] [3, 4]
  %r = Reshape(%x, %shape)
  %s = lit f32[] [0.5]
  %t = lit f32[] [0.25]
  %p = lit u8[] [7]
  %d = DequantizeLinear(%r, %s, %p)
  %y = Relu(%d)
  %e = DequantizeLinear(%x, {second}, %p)
  %z = Neg(%e)
}}
"
        )
    };
    let made = beside(&text("%s"), "model", Effort::Normal);
    let quant = made.info.inputs[0].quant.as_ref().expect("a quantization");
    assert_eq!(
        (&quant.scales[..], &quant.zero_points[..], quant.axis),
        (&[0.5][..], &[7][..], None)
    );
    // Two scales: the input has none of its own.
    let made = beside(&text("%t"), "model", Effort::Normal);
    assert!(made.info.inputs[0].quant.is_none());
}
