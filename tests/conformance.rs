//! The official ONNX backend tests, as the package `onnx` 1.22.0 brings them, in compiled code.
//!
//! `tests/onnx/todo.txt` names the tests that do not pass yet; all of them must be reported as unsupported, none may be
//! wrong, and one that passes must leave the list. Skipped where `ONNXC_ONNX_TESTS` names no folder (`tests/all.sh` sets
//! it). `BLESS=1` rewrites the list.

use onnxc_tests::generate::root;
use onnxc_tests::tools::{have, onnxc};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

const FOLDERS: &[&str] = &[
    "node",
    "simple",
    "pytorch-operator",
    "pytorch-converted",
    "real",
];

fn data() -> Option<PathBuf> {
    let dir: PathBuf = std::env::var_os("ONNXC_ONNX_TESTS")?.into();
    dir.join("node").is_dir().then_some(dir)
}

/// Runs tests; the names of those that fail, those that are no mere "unsupported", and the closing line.
fn run(more: &[&str]) -> Option<(BTreeSet<String>, Vec<String>, String)> {
    let Some(data) = data() else {
        eprintln!("skipped: ONNXC_ONNX_TESTS names no folder of ONNX backend tests");
        return None;
    };
    let out = Command::new(onnxc())
        .args(["test-onnx", "--list", "-j2"])
        .args(FOLDERS.iter().map(|f| data.join(f)))
        .args(more)
        .output()
        .expect("the tool runs");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let (mut failed, mut wrong) = (BTreeSet::new(), vec![]);
    for line in text.lines() {
        let Some((letter, rest)) = line.split_once(' ') else {
            continue;
        };
        if !matches!(letter, "U" | "W" | "E") {
            continue;
        }
        let name = rest.split(':').next().unwrap_or(rest);
        failed.insert(name.trim().to_string());
        if letter != "U" {
            wrong.push(line.to_string());
        }
    }
    let last = text.lines().last().unwrap_or_default().to_string();
    eprintln!("{last}");
    assert!(
        last.contains(" passed, "),
        "test-onnx ended early: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    Some((failed, wrong, last))
}

#[test]
fn on_this_machine() {
    let Some((failed, wrong, last)) = run(&[]) else {
        return;
    };
    assert!(wrong.is_empty(), "{last}\n{}", wrong.join("\n"));
    let path = root().join("tests/onnx/todo.txt");
    if std::env::var_os("BLESS").is_some() {
        let list: Vec<&str> = failed.iter().map(String::as_str).collect();
        std::fs::write(&path, list.join("\n") + "\n").expect("the list can be written");
        return;
    }
    let todo: BTreeSet<String> = std::fs::read_to_string(&path)
        .expect("the list is committed")
        .lines()
        .map(str::to_string)
        .collect();
    let new: Vec<&String> = failed.difference(&todo).collect();
    let fixed: Vec<&String> = todo.difference(&failed).collect();
    assert!(new.is_empty(), "these tests passed before: {new:?}");
    assert!(
        fixed.is_empty(),
        "these tests pass now; take them out of tests/onnx/todo.txt: {fixed:?}"
    );
}

/// A fixed sample of 200 under an emulator: every ninth of those that pass here.
#[test]
fn a_sample_on_aarch64() {
    if !have("qemu-aarch64-static") {
        return;
    }
    let path = root().join("tests/onnx/sample.txt");
    let names = std::fs::read_to_string(path).expect("the sample is committed");
    let list: Vec<&str> = names.lines().collect();
    assert_eq!(list.len(), 200);
    let filter: Vec<String> = list.iter().map(|n| format!("={n}")).collect();
    let filter = filter.join(",");
    let more = [
        "--filter",
        &filter,
        "--target",
        "aarch64-unknown-linux-gnu",
        "--exec",
        "qemu-aarch64-static",
    ];
    let Some((failed, _, last)) = run(&more) else {
        return;
    };
    assert!(failed.is_empty(), "{last}: {failed:?}");
    assert!(last.starts_with("200 passed"), "{last}");
}
