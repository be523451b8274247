//! What a run does with denormal numbers: by default a sum of products takes them as zero, and nothing else does.

use onnxc::loader::Model;
use onnxc_compiler::base::denormals::Denormals;
use onnxc_compiler::codegen::exec::{Drive, executable};
use onnxc_compiler::codegen::{Options, generate};
use onnxc_compiler::plan::{build, program::Program};
use onnxc_compiler::target::{Arch, Target};
use onnxc_tests::graphs::read;
use onnxc_tests::run::{execute, native_targets, object, target};
use onnxc_tests::tools::have;

// The product alone is a denormal, and so is half of the input; both are representable.
const TEXT: &str = "graph @g(%x: f32[3,4]) -> (%y, %z) {
  %w = lit f32[4,2] [1.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
  %h = lit f32[] [0.5]
  %m = MatMul(%x, %w)
  %y = Relu(%m)
  %z = Mul(%x, %h)
}";

const TINY: f32 = 1e-39;

fn program(target: &Target) -> Program {
    let model = read(TEXT).expect("a model");
    let made = build::build(&model, &target.machine, &build::Options::default());
    made.unwrap_or_else(|e| panic!("{:?}", e.list))
}

fn options(denormals: Denormals) -> Options {
    Options {
        denormals,
        ..Options::default()
    }
}

fn input() -> Vec<u8> {
    [TINY; 12].iter().flat_map(|v| v.to_le_bytes()).collect()
}

// What must come out: the products, then the halves.
fn expected(mode: Denormals) -> (f32, f32) {
    let y = if mode == Denormals::Keep { TINY } else { 0.0 };
    let z = if mode == Denormals::Flush {
        0.0
    } else {
        TINY / 2.0
    };
    (y, z)
}

fn check(bytes: &[u8], mode: Denormals, what: &str) {
    let all: Vec<f32> = bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    let (y, z) = expected(mode);
    assert_eq!(all.len(), 6 + 12, "{what}");
    for (k, v) in all.iter().enumerate() {
        let want = match (k < 6, k % 2) {
            (true, 0) => y,
            (true, _) => y / 2.0,
            _ => z,
        };
        assert_eq!(v.to_bits(), want.to_bits(), "{what}: element {k}");
    }
}

#[test]
fn only_sums_flush_unless_all_is_asked_for() {
    for t in native_targets() {
        let p = program(&t);
        for denormals in Denormals::ALL {
            let options = options(denormals);
            let bytes = object(&p, &t, &options).expect("an object");
            let model = Model::load(&bytes, "model").expect("loads");
            let mut session = model.session(&Default::default()).expect("a session");
            session.input_mut(0).expect("x").copy_from_slice(&input());
            assert_eq!(session.run(), 0);
            let out: Vec<u8> = (0..2)
                .flat_map(|k| session.output(k).expect("an output").to_vec())
                .collect();
            check(&out, denormals, &format!("{} {}", t.cpu, denormals.name()));
        }
    }
}

#[test]
fn the_same_on_aarch64() {
    const EMULATOR: &str = "qemu-aarch64-static";
    if !have(EMULATOR) {
        return;
    }
    let t = target(Arch::Aarch64, "cortex-a53");
    let p = program(&t);
    for denormals in Denormals::ALL {
        let options = options(denormals);
        let bytes = object(&p, &t, &options).expect("an object");
        let exe = executable(&bytes, &p, &t, &options, None, Drive::Answer).expect("a program");
        let out = execute(&exe, Some(EMULATOR), &input());
        // The status, and the sizes of two outputs of two axes.
        check(&out[4 + 4 * 8..], denormals, denormals.name());
    }
}

#[test]
fn code_without_sums_never_changes_the_mode() {
    let t = target(Arch::X86_64, "");
    let model = read("graph @g(%x: f32[64]) -> (%y) { %y = Neg(%x) }").expect("a model");
    let made = build::build(&model, &t.machine, &build::Options::default());
    let p = made.unwrap_or_else(|e| panic!("{:?}", e.list));
    let with = |denormals| {
        let options = options(denormals);
        generate(&p, &t, &options).expect("code").code_bytes
    };
    assert_eq!(with(Denormals::Auto), with(Denormals::Keep));
}
