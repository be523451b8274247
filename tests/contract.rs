//! The contract of compiled models, measured: statuses, guard pages around every buffer, stack, symbols.
//!
//! `tests/c/contract.c` is linked with the models of the examples and run, natively and under qemu.

use onnxc_compiler::artifact::{Placement, header};
use onnxc_compiler::codegen::object::audit;
use onnxc_tests::compile::compile;
use onnxc_tests::generate::root;
use onnxc_tests::tools::{have, run, text};
use std::fs;

fn check(target: &str, cpu: &str, gcc: &str, emulator: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    for (file, prefix) in [
        ("digits/digits.onnx", "digits"),
        ("streaming/onset.onnx", "onset"),
    ] {
        let model = fs::read(root().join("examples").join(file)).unwrap();
        let made = compile(model, prefix, target, cpu, Placement::Embed);
        assert_eq!(
            audit(&made.object, prefix),
            Vec::<String>::new(),
            "{prefix} for {target}"
        );
        fs::write(dir.path().join(format!("{prefix}.o")), &made.object).unwrap();
        fs::write(
            dir.path().join(format!("{prefix}.h")),
            header::header(&made.info),
        )
        .unwrap();
        let needed: Vec<&str> = [gcc].into_iter().chain(emulator.first().copied()).collect();
        if !needed.into_iter().all(have) {
            continue;
        }
        let source = root().join("tests/c/contract.c");
        run(
            dir.path(),
            gcc,
            &[
                "-O1",
                "-static",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-I.",
                &format!("-DHEADER=\"{prefix}.h\""),
                &format!("-DP(x)={prefix}_##x"),
                &format!("-DUP(x)={}_##x", prefix.to_uppercase()),
                source.to_str().unwrap(),
                &format!("{prefix}.o"),
                "-o",
                "program",
            ],
        );
        let program = dir.path().join("program");
        let words: Vec<&str> = emulator.iter().copied().chain(program.to_str()).collect();
        let out = text(&run(dir.path(), words[0], &words[1..]));
        eprint!("{prefix} for {target} {cpu}: {out}");
    }
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
