//! The runs with faults by chance on aarch64: built for it and run in an emulator, the device's process too.
//!
//! Needs qemu-aarch64-static, aarch64-linux-gnu-gcc (it links) and Rust's library for aarch64; skipped without.
#![cfg(all(target_os = "linux", not(target_arch = "aarch64")))]

use std::path::Path;
use std::process::Command;

const EMULATOR: &str = "qemu-aarch64-static";
const LINKER: &str = "aarch64-linux-gnu-gcc";
const TARGET: &str = "aarch64-unknown-linux-gnu";

fn has_library() -> bool {
    let words = ["--print", "target-libdir", "--target", TARGET];
    let out = Command::new("rustc").args(words).output();
    out.is_ok_and(|o| Path::new(String::from_utf8_lossy(&o.stdout).trim()).exists())
}

#[test]
fn a_hundred_runs_on_aarch64() {
    for tool in [EMULATOR, LINKER] {
        if Command::new(tool).arg("--version").output().is_err() {
            return eprintln!("skipped: no {tool}");
        }
    }
    if !has_library() {
        return eprintln!("skipped: no library for {TARGET}");
    }
    let dir = tempfile::tempdir().unwrap();
    let mut c = Command::new(env!("CARGO"));
    c.args([
        "test",
        "--offline",
        "-q",
        "--features",
        "device",
        "--target",
        TARGET,
    ])
    .args(["--test", "random_faults", "--target-dir"])
    .arg(dir.path())
    .current_dir(env!("CARGO_MANIFEST_DIR"))
    .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER)
    .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", EMULATOR)
    // Linked whole: the emulator needs no libraries of aarch64 then.
    .env(
        "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
        "-Ctarget-feature=+crt-static",
    )
    .env("ONNXC_TEST_EMULATOR", EMULATOR);
    let out = c.output().unwrap();
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    let said = text(&out.stdout);
    assert!(out.status.success(), "{said}{}", text(&out.stderr));
    assert!(said.contains("1 passed"), "{said}");
}
