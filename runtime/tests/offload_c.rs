//! The core and its header from C: the template driver of `examples/npu_template`, linked with the library that this crate makes.

use std::path::Path;
use std::process::Command;

fn run(c: &mut Command) -> String {
    let out = c.output().unwrap_or_else(|e| panic!("{c:?}: {e}"));
    assert!(
        out.status.success(),
        "{c:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8_lossy(&out.stdout).into_owned()
}

#[test]
fn the_template_driver_in_c() {
    if Command::new("gcc").arg("--version").output().is_err() {
        eprintln!("skipped: there is no gcc");
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let dir = tempfile::tempdir().unwrap();
    run(Command::new(env!("CARGO"))
        .args([
            "rustc",
            "--offline",
            "-q",
            "-p",
            "onnxc-runtime",
            "--features",
            "std,c",
            "--crate-type",
            "staticlib",
        ])
        .current_dir(root)
        .arg("--target-dir")
        .arg(dir.path()));
    let template = root.join("examples/npu_template");
    run(Command::new("gcc")
        .args([
            "-std=gnu99",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-fsanitize=address,undefined",
            "-I",
        ])
        .arg(root.join("runtime/include"))
        .args([template.join("toy.c"), template.join("main.c")])
        .arg(dir.path().join("debug/libonnxc_runtime.a"))
        .args(["-lpthread", "-ldl", "-lm", "-o"])
        .arg(dir.path().join("toy")));
    assert_eq!(
        run(&mut Command::new(dir.path().join("toy"))),
        "3 runs on the device\n"
    );
    for driver in ["toy.c", "toy.rs"] {
        let lines = std::fs::read_to_string(template.join(driver))
            .unwrap()
            .lines()
            .count();
        assert!(lines < 150, "{driver} has {lines} lines");
    }
}
