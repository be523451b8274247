//! Models that were compiled for several threads: the same bits on any number of them, no page fault and no system call.
//!
//! `tests/c/threads.c` is linked with a model of many kinds of layers and run, natively and under qemu.

use onnxc_compiler::artifact::header;
use onnxc_compiler::base::diag::Diagnostics;
use onnxc_compiler::codegen::object::audit;
use onnxc_compiler::loops::ir::{LoopKind, Stmt};
use onnxc_compiler::loops::walk::visit;
use onnxc_compiler::plan::parallel::is_spread;
use onnxc_compiler::target::{Arch, Target};
use onnxc_compiler::{Artifact, Options, Quiet};
use onnxc_tests::generate::root;
use onnxc_tests::graphs::{optimised, read};
use onnxc_tests::run::{native_targets, target};
use onnxc_tests::tools::{have, run, text};
use std::path::Path;

// Layers large enough to be spread: convolutions dense, depthwise and with a gate, pooling, a product of rows, softmax,
// normalisation, a resize, a transpose, sums, and pointwise work.
const NET: &str = "graph @net(%x: f32[1,3,48,48], %s: f32[96,128]) -> (%y, %p, %q, %r, %z) {
  %w1 = lit f32[24,3,3,3] rand(1)
  %b1 = lit f32[24] rand(2)
  %w2 = lit f32[24,1,3,3] rand(3)
  %w3 = lit f32[40,24,1,1] rand(4)
  %w4 = lit f32[128,96] rand(5)
  %g = lit f32[128] rand(6)
  %c1 = Conv(%x, %w1, %b1) { strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1], group = 1 } @\"first\"
  %a1 = Relu(%c1) @\"relu\"
  %c2 = Conv(%a1, %w2) { strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1], group = 24 } @\"depthwise\"
  %c3 = Conv(%c2, %w3) { group = 1 } @\"pointwise\"
  %w5 = lit f32[32,24,3,3] rand(7)
  %c4 = Conv(%a1, %w5) { strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1], group = 1 } @\"wide\"
  %d = MaxPool(%c4) { kernel_shape = [6, 6], strides = [6, 6], pads = [0, 0, 0, 0], dilations = [1, 1] } @\"small\"
  %w6 = lit f32[128,32,3,3] rand(8)
  %z = Conv(%d, %w6) { strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1], group = 1 } @\"few\"
  %m = GlobalAveragePool(%c3) @\"mean\"
  %h = Sigmoid(%m) @\"gate\"
  %y = Mul(%c3, %h) @\"scale\"
  %k = MatMul(%s, %w4) @\"product\"
  %p = Softmax(%k) { axis = -1 } @\"softmax\"
  %n = LayerNormalization(%s, %g) { axis = -1, epsilon = 0.00001 } @\"norm\"
  %q = Transpose(%n) { perm = [1, 0] } @\"transpose\"
  %e = Exp(%s) @\"exp\"
  %r = ReduceSum(%e) { keepdims = 1 } @\"sum\"
}
";

// Recurrent operators: two directions with activations of their own, samples in even and uneven blocks, one sequence alone.
const SEQUENCES: &str = "graph @net(%x: f32[24,3,40], %o: f32[12,1,40], %v: f32[9,6,40]) -> (%y, %yh, %yc, %g, %gh, %r, %a, %b, %c) {
  %w = lit f32[2,96,40] rand(1)
  %h = lit f32[2,96,24] rand(2)
  %s = lit f32[2,192] rand(3)
  %y, %yh, %yc = LSTM(%x, %w, %h, %s) { hidden_size = 24, direction = \"bidirectional\",
    activations = strs [\"Sigmoid\", \"Tanh\", \"Tanh\", \"HardSigmoid\", \"Softsign\", \"Tanh\"],
    activation_params = floats [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.2, 0.5, 0.0, 0.0, 0.0, 0.0] } @\"lstm\"
  %w2 = lit f32[2,96,40] rand(4)
  %h2 = lit f32[2,96,32] rand(5)
  %g, %gh = GRU(%x, %w2, %h2) { hidden_size = 32, direction = \"bidirectional\", linear_before_reset = 1,
    activations = strs [\"Sigmoid\", \"Tanh\", \"Sigmoid\", \"Tanh\"], activation_params = floats [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0] } @\"gru\"
  %w3 = lit f32[1,64,40] rand(6)
  %h3 = lit f32[1,64,64] rand(7)
  %r = RNN(%v, %w3, %h3) { hidden_size = 64, direction = \"reverse\", activations = strs [\"Tanh\"], activation_params = floats [0.0, 0.0] } @\"rnn\"
  %w4 = lit f32[1,1600,40] rand(8)
  %h4 = lit f32[1,1600,400] rand(9)
  %a, %b = LSTM(%o, %w4, %h4) { hidden_size = 400, direction = \"forward\",
    activations = strs [\"Sigmoid\", \"Tanh\", \"Tanh\"], activation_params = floats [0.0, 0.0, 0.0, 0.0, 0.0, 0.0] } @\"alone\"
  %w5 = lit f32[1,672,40] rand(10)
  %h5 = lit f32[1,672,224] rand(11)
  %c = GRU(%o, %w5, %h5) { hidden_size = 224, direction = \"forward\",
    activations = strs [\"Sigmoid\", \"Tanh\"], activation_params = floats [0.0, 0.0, 0.0, 0.0] } @\"alone too\"
}
";

// Layers that fill scratch in several loops before they use it: a product of two activations whose columns don't come out even, and a
// transposed convolution to few channels, whose rows have two phases.
const FILLED: &str = "graph @net(%x: f32[127,333], %z: f32[333,77], %i: f32[1,32,56,56]) -> (%y, %c) {
  %w = lit f32[32,3,3,3] rand(1)
  %y = MatMul(%x, %z) @\"product\"
  %c = ConvTranspose(%i, %w) { strides = [2, 2], pads = [1, 1, 1, 1], output_padding = [1, 1] } @\"up\"
}
";

// Gates of channels over a large map and a small one, and what runs along an axis that is not the last.
const GATES: &str = "graph @net(%x: f32[1,3,56,56]) -> (%y, %p) {
  %w0 = lit f32[96,3,3,3] rand(1)
  %w1 = lit f32[24,96,1,1] rand(2)
  %b1 = lit f32[24] rand(3)
  %w2 = lit f32[96,24,1,1] rand(4)
  %b2 = lit f32[96] rand(5)
  %c = Conv(%x, %w0) { strides = [2, 2], pads = [1, 1, 1, 1], dilations = [1, 1], group = 1 } @\"first\"
  %m = GlobalAveragePool(%c) @\"mean\"
  %s = Conv(%m, %w1, %b1) { group = 1 } @\"squeeze\"
  %r = Relu(%s) @\"relu\"
  %e = Conv(%r, %w2, %b2) { group = 1 } @\"excite\"
  %g = HardSigmoid(%e) { alpha = 0.16666667, beta = 0.5 } @\"gate\"
  %k = Mul(%c, %g) @\"scale\"
  %w3 = lit f32[256,96,2,2] rand(6)
  %w4 = lit f32[64,256,1,1] rand(7)
  %b4 = lit f32[64] rand(8)
  %w5 = lit f32[256,64,1,1] rand(9)
  %b5 = lit f32[256] rand(10)
  %d = Conv(%k, %w3) { strides = [4, 4], pads = [0, 0, 0, 0], dilations = [1, 1], group = 1 } @\"second\"
  %m2 = GlobalAveragePool(%d) @\"mean2\"
  %s2 = Conv(%m2, %w4, %b4) { group = 1 } @\"squeeze2\"
  %r2 = Relu(%s2) @\"relu2\"
  %e2 = Conv(%r2, %w5, %b5) { group = 1 } @\"excite2\"
  %g2 = HardSigmoid(%e2) { alpha = 0.16666667, beta = 0.5 } @\"gate2\"
  %y = Mul(%d, %g2) @\"scale2\"
  %p = Softmax(%x) { axis = 1 } @\"planes\"
}
";

fn made(target: &Target, threads: u32) -> Artifact {
    made_of(NET, target, threads)
}

fn made_of(net: &str, target: &Target, threads: u32) -> Artifact {
    let model = read(net).and_then(|m| optimised(&m)).expect("a model");
    let mut options = Options {
        prefix: "net".into(),
        ..Options::default()
    };
    options.plan.threads = threads;
    let mut diags = Diagnostics::default();
    let program = onnxc_compiler::plan(&model, target, &options, &mut diags);
    let program = program.unwrap_or_else(|| panic!("{:?}", diags.list));
    let made = onnxc_compiler::emit(model, program, target, &options, &mut Quiet, &mut diags);
    made.unwrap_or_else(|| panic!("{:?}", diags.list))
}

/// Builds `tests/c/threads.c` with the model in a folder.
fn build(dir: &Path, artifact: &Artifact, gcc: &str) {
    assert_eq!(audit(&artifact.object, "net"), Vec::<String>::new());
    std::fs::write(dir.join("net.o"), &artifact.object).unwrap();
    std::fs::write(dir.join("net.h"), header::header(&artifact.info)).unwrap();
    let source = root().join("tests/c/threads.c");
    let include = format!("-I{}", root().join("runtime/include").display());
    let args = [
        "-O1",
        "-static",
        "-pthread",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-I.",
        &include,
        "-DHEADER=\"net.h\"",
        "-DP(x)=net_##x",
        "-DUP(x)=NET_##x",
        source.to_str().unwrap(),
        "net.o",
        "-o",
        "program",
    ];
    run(dir, gcc, &args);
}

// What the program prints: two numbers, and a digest of the results.
fn numbers(out: &str) -> (i64, i64) {
    let words: Vec<&str> = out.split_whitespace().collect();
    let number = |i: usize| words.get(i).and_then(|w| w.parse().ok());
    (number(1).expect("calls"), number(3).expect("faults"))
}

fn digest(out: &str) -> String {
    let word = out.split_whitespace().nth(5);
    word.expect("a digest").to_string()
}

#[test]
fn the_same_bits_and_no_faults() {
    if !cfg!(target_os = "linux") || !have("gcc") {
        return;
    }
    for (net, least) in [(NET, 6), (SEQUENCES, 4), (FILLED, 2), (GATES, 6)] {
        for target in native_targets() {
            let dir = tempfile::tempdir().unwrap();
            let mut digests = vec![];
            for threads in [1, 2, 5] {
                build(dir.path(), &made_of(net, &target, threads), "gcc");
                let program = dir.path().join("program");
                let out = text(&run(dir.path(), program.to_str().unwrap(), &[]));
                let (calls, faults) = numbers(&out);
                assert_eq!(calls >= least, threads > 1, "{threads} threads: {out}");
                assert_eq!(faults, 0, "{threads} threads");
                digests.push(digest(&out));
            }
            digests.dedup();
            assert_eq!(digests.len(), 1, "{}: {digests:?}", target.cpu);
        }
    }
}

// All of a gate is shared but what it makes of the squeezed channels.
#[test]
fn every_part_of_a_gate_is_shared() {
    let p = made_of(GATES, &target(Arch::X86_64, "x86-64-v3"), 2).program;
    let gates = (p.layers.iter()).filter(|(_, l)| l.name.contains("squeezeexcite"));
    let calls = gates.map(|(_, l)| {
        let mut n = 0;
        visit(&p.funcs[l.func].body, &mut |s| {
            let kind = LoopKind::Parallel;
            n += usize::from(matches!(s, Stmt::For { kind: k, .. } if *k == kind));
        });
        n
    });
    // Sums, what comes of the means, and the gates of the first are too little to be shared; the second has small sums.
    let calls: Vec<_> = calls.collect();
    assert!(
        calls.len() == 2 && calls.iter().all(|n| *n >= 2),
        "{calls:?}"
    );
}

// Sequences are shared, or the products of the only one.
#[test]
fn every_recurrent_layer_is_shared() {
    for threads in [2, 5] {
        let p = made_of(SEQUENCES, &target(Arch::X86_64, "x86-64-v3"), threads).program;
        let shared: Vec<_> = (p.layers.iter())
            .map(|(_, l)| (l.name.as_str(), is_spread(&p.funcs[l.func])))
            .collect();
        assert!(
            shared.len() == 5 && shared.iter().all(|(_, s)| *s),
            "{shared:?}"
        );
    }
}

#[test]
fn the_same_bits_on_aarch64() {
    let gcc = "aarch64-linux-gnu-gcc";
    if !have(gcc) || !have("qemu-aarch64-static") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    build(dir.path(), &made(&target(Arch::Aarch64, ""), 3), gcc);
    let program = dir.path().join("program");
    let out = run(
        dir.path(),
        "qemu-aarch64-static",
        &[program.to_str().unwrap()],
    );
    assert!(numbers(&text(&out)).0 > 5, "{}", text(&out));
}

#[test]
fn no_system_call_between_runs() {
    if !cfg!(target_os = "linux") || !have("gcc") || !have("strace") {
        return;
    }
    let Some(target) = native_targets().pop() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    build(dir.path(), &made(&target, 2), "gcc");
    let words = ["-f", "-o", "trace", "./program"];
    run(dir.path(), "strace", &words);
    let trace = std::fs::read_to_string(dir.path().join("trace")).unwrap();
    let mut lines = trace.lines().skip_while(|l| !l.contains("\"begin"));
    assert!(lines.next().is_some(), "{trace}");
    let between: Vec<&str> = lines.take_while(|l| !l.contains("\"end")).collect();
    assert_eq!(between, Vec::<&str>::new());
}

// Many tiles are shared by blocks, few by columns; a strip by rows.
#[test]
fn every_convolution_is_shared() {
    let made = made(&target(Arch::X86_64, "x86-64-v3"), 2);
    let p = &made.program;
    let convolutions = p
        .layers
        .iter()
        .filter(|(_, l)| l.kernel.starts_with("conv_"));
    let shared: Vec<_> = convolutions
        .map(|(_, l)| (l.kernel.as_str(), is_spread(&p.funcs[l.func])))
        .collect();
    assert!(
        shared
            .iter()
            .filter(|(k, _)| k.contains("winograd"))
            .count()
            == 2,
        "{shared:?}"
    );
    assert!(
        shared.len() == 5 && shared.iter().all(|(_, s)| *s),
        "{shared:?}"
    );
}

// Taps that are written out are counted: a small map of bytes is enough.
#[test]
fn a_depthwise_convolution_of_bytes_is_shared() {
    let net = "graph @net(%x: u8[1,32,32,32]) -> (%y) {
  %w = lit i8[32,1,3,3] rand(1)
  %y = ConvInteger(%x, %w) { strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1], group = 32 } @\"bytes\"
}
";
    let p = made_of(net, &target(Arch::X86_64, "x86-64-v3"), 2).program;
    let layers: Vec<_> = (p.layers.iter())
        .map(|(_, l)| (l.kernel.as_str(), is_spread(&p.funcs[l.func])))
        .collect();
    let depthwise = layers.iter().find(|(k, _)| k.contains("depthwise"));
    assert!(depthwise.is_some_and(|(_, s)| *s), "{layers:?}");
}

#[test]
fn one_thread_is_the_code_without() {
    let target = target(Arch::X86_64, "");
    let one = made(&target, 1);
    let plain: Vec<_> = one.code.parts.iter().map(|p| p.name.clone()).collect();
    assert!(plain.iter().all(|n| !n.contains("_loop_")));
    let five = made(&target, 5);
    assert_eq!((one.info.threads, five.info.threads), (1, 5));
    assert!(five.info.arena_bytes >= one.info.arena_bytes);
}
