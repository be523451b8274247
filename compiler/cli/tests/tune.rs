//! `tune-kernels` and `--cost`: a table is written, read, and decides; what is no table is named.

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::{MODEL, onnxc};

fn fine(o: &Output) -> String {
    assert!(o.status.success(), "{}", String::from_utf8_lossy(&o.stderr));
    String::from_utf8_lossy(&o.stdout).into_owned()
}

// The kernels of a report, in order.
fn kernels(dir: &Path, report: &str) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join(report)).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let layers = report["layers"].as_array().expect("layers");
    let of = |l: &serde_json::Value| l["kernels"][0].as_str().map(str::to_string);
    layers.iter().filter_map(of).collect()
}

#[test]
fn a_table_for_a_model_decides_and_gives_the_same_bytes() {
    let dir = tempfile::tempdir().expect("a folder");
    let (dir, m) = (dir.path(), MODEL);
    let words = [
        "tune-kernels",
        m,
        "--only",
        "--seconds",
        "0.001",
        "-o",
        "cpu.toml",
    ];
    fine(&onnxc(dir, &words));
    let table = std::fs::read_to_string(dir.join("cpu.toml")).expect("a table");
    assert!(table.contains("conv 1x1x8x8 16x1x3x3 pad=1"), "{table}");
    for name in ["a.o", "b.o"] {
        fine(&onnxc(
            dir,
            &[
                "compile",
                m,
                "--target-cpu",
                "native",
                "--cost",
                "cpu.toml",
                "-o",
                name,
            ],
        ));
    }
    let read = |name: &str| std::fs::read(dir.join(name)).expect("an object");
    assert_eq!(read("a.o"), read("b.o"));
}

#[test]
fn a_dear_row_is_not_taken() {
    let dir = tempfile::tempdir().expect("a folder");
    let (dir, m) = (dir.path(), MODEL);
    let dear = "format = 1\narch = \"x86_64\"\ncpu = \"x\"\nmachine = \"\"\nfeatures = []\n\
        [rates.gemm_f32_strip]\nmac = 1000.0\n";
    std::fs::write(dir.join("dear.toml"), dear).expect("written");
    let report = |name: &str, more: &[&str]| {
        let emit = format!("--emit=obj=x.o,report={name}");
        let words = [
            "compile",
            m,
            "--target",
            "x86_64-linux-gnu",
            "--target-cpu",
            "x86-64-v3",
            &emit,
        ];
        let o = onnxc(dir, &[&words, more].concat());
        fine(&o);
        String::from_utf8_lossy(&o.stderr).into_owned()
    };
    report("plain.json", &[]);
    let said = report("dear.json", &["--cost", "dear.toml"]);
    assert!(said.contains("USE008"), "{said}");
    assert!(kernels(dir, "plain.json").contains(&"gemm_f32_strip".to_string()));
    assert!(!kernels(dir, "dear.json").contains(&"gemm_f32_strip".to_string()));
    // The report says among what was chosen.
    let text = std::fs::read_to_string(dir.join("dear.json")).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let gemm = report["layers"].as_array().expect("layers").iter();
    let gemm = gemm
        .clone()
        .find(|l| l["query"].as_str().is_some_and(|q| q.starts_with("gemm")));
    let candidates = gemm.expect("a product")["candidates"]
        .as_array()
        .expect("rows");
    assert!(candidates.len() > 1 && candidates.iter().all(|c| c["cost"].as_f64().is_some()));
}

#[test]
fn what_is_no_table_is_named_and_nothing_is_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let (dir, m) = (dir.path(), MODEL);
    let head =
        "format = 1\narch = \"aarch64\"\ncpu = \"x\"\nmachine = \"\"\nfeatures = []\n[rates]\n";
    for (name, text) in [
        ("empty.toml", ""),
        ("other.toml", head),
        (
            "rows.toml",
            "format = 1\narch = \"x86_64\"\ncpu = \"\"\nmachine = \"\"\nfeatures = []\n[rates.no_such_row]\nmac = 1.0\n",
        ),
        ("bytes.toml", "\u{0}\u{1}"),
    ] {
        std::fs::write(dir.join(name), text).expect("written");
        let words = [
            "compile",
            m,
            "--target",
            "x86_64-linux-gnu",
            "--cost",
            name,
            "-o",
            "x.o",
        ];
        let o = onnxc(dir, &words);
        let said = String::from_utf8_lossy(&o.stderr).into_owned();
        assert_eq!(o.status.code(), Some(1), "{name}: {said}");
        assert!(
            said.contains("USE008") && said.contains(name),
            "{name}: {said}"
        );
        assert!(!dir.join("x.o").exists());
    }
    let o = onnxc(dir, &["compile", m, "--cost", "absent.toml", "-o", "x.o"]);
    assert_eq!(o.status.code(), Some(1));
    let o = onnxc(dir, &["tune-kernels", "--only", "-o", "x.toml"]);
    assert_eq!(o.status.code(), Some(2));
    assert!(!dir.join("x.toml").exists());
}

#[test]
fn kernels_are_measured_through_a_command() {
    let emulator = "qemu-aarch64-static";
    if Command::new(emulator).arg("--version").output().is_err() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    std::fs::write(
        dir.join("few.txt"),
        "gemm 2x8 8x8 # small\nconv 1x4x4x4 4x4x3x3 pad=1 last=1\n",
    )
    .expect("written");
    let target = [
        "--target",
        "aarch64-linux-gnu",
        "--target-cpu",
        "cortex-a53",
    ];
    let words = [
        "tune-kernels",
        "--only",
        "--queries",
        "few.txt",
        "--exec",
        emulator,
        "--seconds",
        "0.001",
        "-o",
        "a53.toml",
    ];
    fine(&onnxc(dir, &[&words[..], &target].concat()));
    let table = std::fs::read_to_string(dir.join("a53.toml")).expect("a table");
    assert!(
        table.contains("gemm 2x8 8x8") && table.contains("aarch64"),
        "{table}"
    );
    let m = MODEL;
    let o = onnxc(
        dir,
        &[
            &["compile", m, "--cost", "a53.toml", "-o", "x.o"][..],
            &target,
        ]
        .concat(),
    );
    fine(&o);
}
