//! Quantized layers of random shape, types, zero points and full-range numbers: at every level of this machine, and on AArch64 in an emulator, each
//! gives what exact arithmetic gives, and none computes in floats.
//!
//! `ONNXC_LAYERS=10000` checks so many.

#[path = "integers/layers.rs"]
mod layers;

use layers::{Byte, Layer, conv, matmul, pairs, pairs_of, points, sigmoids};
use onnxc::loader::Model as Loaded;
use onnxc_compiler::codegen::Options;
use onnxc_compiler::codegen::exec::{Drive, executable};
use onnxc_compiler::contracts::picked_masks;
use onnxc_compiler::graph::ir::Model;
use onnxc_compiler::kernel::Machine;
use onnxc_compiler::plan::{build, program::Program};
use onnxc_compiler::target::{Arch, Target};
use onnxc_tests::graphs::{Rng, optimised_for, read};
use onnxc_tests::run::{execute, native_targets, object, target};
use onnxc_tests::tools::have;

/// Layers of one model.
const TOGETHER: usize = 12;

/// A model of several layers, their inputs one after another, and what must come out.
fn model(seed: u64) -> (Model, Vec<Layer>) {
    let mut r = Rng::new(seed);
    let layers: Vec<Layer> = (0..TOGETHER)
        .map(|n| match r.below(4) {
            0 => matmul(&mut r, n),
            1 => points(&mut r, n),
            _ => conv(&mut r, n),
        })
        .collect();
    let model = joined(&layers, &format!("seed {seed}"));
    (model, layers)
}

/// Layers side by side in one model.
fn joined(layers: &[Layer], what: &str) -> Model {
    let inputs: Vec<&str> = layers.iter().map(|l| l.input.as_str()).collect();
    let outputs: Vec<String> = (0..layers.len()).map(|n| format!("%y{n}")).collect();
    let bodies: String = layers.iter().map(|l| l.text.as_str()).collect();
    let text = format!(
        "graph @g({}) -> ({}) {{\n{bodies}}}",
        inputs.join(", "),
        outputs.join(", ")
    );
    read(&text).unwrap_or_else(|e| panic!("{what}: {e}"))
}

/// The model as it is for a machine, all of it in whole numbers.
fn integers(model: &Model, what: &str, machine: &Machine) -> Model {
    let model = optimised_for(model, machine).unwrap_or_else(|e| panic!("{what}: {e}"));
    for &n in model.graph.order() {
        let name = model.graph.node(n).op.name;
        assert!(
            !["Conv", "MatMul", "DequantizeLinear", "QuantizeLinear"].contains(&name),
            "{what}: {} computes in floats",
            model.graph.describe(n)
        );
    }
    model
}

fn program(model: &Model, target: &Target) -> Program {
    let made = build::build(model, &target.machine, &build::Options::default());
    made.unwrap_or_else(|e| panic!("{:?}", e.list))
}

fn check(layers: &[Layer], got: &[u8], what: &str) {
    let mut at = 0;
    for l in layers {
        let own = &got[at..at + l.want.len()];
        let differ = own.iter().zip(&l.want).filter(|(a, b)| a != b).count();
        assert_eq!(
            differ,
            0,
            "{what}: {differ} of {} differ, the first at {:?}: {}\n{}",
            l.want.len(),
            own.iter().zip(&l.want).position(|(a, b)| a != b),
            l.input,
            // Without its numbers.
            l.text
                .lines()
                .map(|l| l.chars().take(160).collect::<String>() + "\n")
                .collect::<String>()
        );
        at += l.want.len();
    }
    assert_eq!(at, got.len());
}

fn models(least: usize) -> u64 {
    let asked = std::env::var("ONNXC_LAYERS")
        .ok()
        .and_then(|n| n.parse().ok());
    asked.unwrap_or(least).div_ceil(TOGETHER) as u64
}

/// Runs a program here.
fn answers(program: &Program, t: &Target, layers: &[Layer]) -> Vec<u8> {
    let bytes = object(program, t, &Options::default()).expect("an object");
    let loaded = Loaded::load(&bytes, "model").expect("loads");
    let mut session = loaded.session(&Default::default()).expect("a session");
    for (k, l) in layers.iter().enumerate() {
        session
            .input_mut(k)
            .expect("an input")
            .copy_from_slice(&l.data);
    }
    assert_eq!(session.run(), 0);
    let outputs = (0..layers.len()).map(|k| session.output(k).expect("an output"));
    outputs.flat_map(|o| o.to_vec()).collect()
}

#[test]
fn random_layers_are_exact_on_this_machine() {
    let targets = native_targets();
    for seed in 0..models(240) {
        let (model, layers) = model(seed);
        for t in &targets {
            let what = format!("seed {seed}, {}", t.cpu);
            let model = integers(&model, &what, &t.machine);
            let got = answers(&program(&model, t), t, &layers);
            check(&layers, &got, &what);
        }
    }
}

#[test]
fn pairs_of_bytes_never_pass_sixteen_bits() {
    let layers = [
        // No two fit: each stands alone. Signs that take turns: any two fit. Large ones side by side: each needs a small one.
        pairs(0, |_, _| 127),
        pairs(1, |k, j| if (k + j) % 2 == 0 { 127 } else { -128 }),
        pairs(2, |k, _| if k % 4 < 2 { 127 } else { 1 }),
        pairs(3, |k, j| if k % 4 < 2 { -128 } else { j as i64 % 2 }),
        pairs(4, |_, j| if j % 2 == 0 { 64 } else { -64 }),
        pairs(5, |k, j| [64, 65][usize::from(k == 9 && j == 7)]),
        pairs(6, |k, j| (k as i64 * 37 + j as i64 * 11) % 130 - 64),
    ];
    let model = joined(&layers, "pairs");
    for t in &native_targets() {
        let model = integers(&model, "pairs", &t.machine);
        let program = program(&model, t);
        let kernels = program.layers.iter().map(|(_, l)| l.kernel.as_str());
        let picked = kernels.filter(|k| *k == "gemm_i8_picked").count();
        // Words serve where none has a partner.
        let wanted = if t.cpu == "x86-64-v3" { 4..7 } else { 0..1 };
        assert!(wanted.contains(&picked), "{}: {picked} are picked", t.cpu);
        let got = answers(&program, t, &layers);
        check(&layers, &got, &format!("pairs, {}", t.cpu));
    }
}

#[test]
fn layers_of_large_models_are_stored_short() {
    let mut r = Rng::new(7);
    let mut weights = |bound: u64| -> Vec<i64> {
        let of = |_| r.below(2 * bound as usize) as i64 - bound as i64;
        (0..1040 * 520).map(of).collect()
    };
    // Together they have more bytes than half a megabyte. Small weights, large ones, and rows that end in the middle of a step.
    let (small, large) = (weights(60), weights(90));
    let of = |w: &[i64], k: usize, j: usize| w[k * 520 + j];
    let layers = [
        pairs_of(0, [3, 1040, 520], |k, j| of(&small, k, j)),
        pairs_of(1, [13, 1040, 520], |k, j| of(&large, k, j)),
        pairs_of(2, [9, 117, 40], |k, j| of(&small, k, 2 * j)),
        pairs_of(3, [5, 17, 24], |k, j| of(&small, k + 5, j) / 2),
        pairs_of(4, [6, 512, 16], |k, j| of(&small, k, j)),
        // One element in twelve: steps lie far apart.
        pairs_of(5, [7, 960, 24], |k, j| {
            if k % 48 < 4 { of(&small, k, j) } else { 0 }
        }),
        sigmoids(6, Byte::U8),
        sigmoids(7, Byte::I8),
    ];
    let model = joined(&layers, "large");
    let masks = picked_masks::all();
    for t in &native_targets() {
        let model = integers(&model, "large", &t.machine);
        let program = program(&model, t);
        let named = program.weights.iter().any(|(_, w)| w[..] == masks[..]);
        assert_eq!(named, t.cpu == "x86-64-v3", "{}", t.cpu);
        // Tables of 256 by two bits an entry, behind the first and the least rise.
        let short = program.weights.iter().filter(|(_, w)| w.len() == 66);
        let tables = t.machine.tile("byte_table").is_some();
        assert_eq!(short.count(), if tables { 2 } else { 0 }, "{}", t.cpu);
        check(
            &layers,
            &answers(&program, t, &layers),
            &format!("large, {}", t.cpu),
        );
    }
}

#[test]
fn random_layers_are_exact_on_aarch64() {
    if !have("qemu-aarch64-static") {
        return eprintln!("skipped: qemu-aarch64-static is not installed");
    }
    for seed in 0..models(48) {
        let (model, layers) = model(seed);
        for cpu in ["", "cortex-a76", "neoverse-v1"] {
            let t = target(Arch::Aarch64, cpu);
            let model = integers(&model, &format!("seed {seed}"), &t.machine);
            let p = program(&model, &t);
            let options = Options::default();
            let bytes = object(&p, &t, &options).expect("an object");
            let exe = executable(&bytes, &p, &t, &options, None, Drive::Answer).expect("a program");
            let input: Vec<u8> = layers.iter().flat_map(|l| l.data.clone()).collect();
            let got = execute(&exe, Some("qemu-aarch64-static"), &input);
            // The status, and the sizes of each output.
            let axes: usize = layers
                .iter()
                .map(|l| {
                    if l.input.matches(',').count() == 3 {
                        4
                    } else {
                        3
                    }
                })
                .sum();
            check(
                &layers,
                &got[4 + 8 * axes..],
                &format!("seed {seed}, aarch64 {cpu}"),
            );
        }
    }
}
