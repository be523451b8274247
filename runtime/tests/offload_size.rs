//! How much code the runtime core is: built for size without `std`, for both architectures where the toolchain has them.

use object::{Object, ObjectSymbol, SymbolKind};
use std::path::Path;
use std::process::Command;

/// Bytes of code of the core; SHA-256, which weights files use too, apart.
const MOST: u64 = 3 * 1024;

fn measure(target: &str) -> Option<(u64, u64)> {
    let dir = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = Command::new(env!("CARGO"))
        .args([
            "rustc",
            "--offline",
            "-q",
            "--release",
            "--lib",
            "--features",
            "c",
            "--target",
            target,
            "--target-dir",
        ])
        .arg(dir.path())
        // Code that functions share counts for each: it would not bear the name of any.
        .args([
            "--",
            "--emit=obj",
            "-Cllvm-args=-enable-machine-outliner=never",
        ])
        .current_dir(root)
        .envs(
            [
                ("OPT_LEVEL", "z"),
                ("PANIC", "abort"),
                ("CODEGEN_UNITS", "1"),
                ("INCREMENTAL", "false"),
                ("LTO", "off"),
            ]
            .map(|(k, v)| (format!("CARGO_PROFILE_RELEASE_{k}"), v)),
        )
        .output()
        .unwrap();
    if !out.status.success() {
        eprintln!("skipped {target}: {}", String::from_utf8_lossy(&out.stderr));
        return None;
    }
    let deps = dir.path().join(target).join("release/deps");
    let (mut core, mut sha) = (0, 0);
    for e in std::fs::read_dir(deps).unwrap().flatten() {
        let name = e.file_name().to_string_lossy().into_owned();
        if !(name.starts_with("onnxc_runtime") && name.ends_with(".o")) {
            continue;
        }
        let bytes = std::fs::read(e.path()).unwrap();
        let file = object::File::parse(&bytes[..]).unwrap();
        for s in file
            .symbols()
            .filter(|s| s.kind() == SymbolKind::Text && s.is_definition())
        {
            match s.name().unwrap_or("") {
                // What drivers read regions with is theirs.
                n if n.contains("offload5parts") => {}
                n if n.contains("sha256") => sha += s.size(),
                n if n.contains("offload") || n.starts_with("onnxc_npu_") => core += s.size(),
                _ => {}
            }
        }
    }
    assert!(core > 1000 && sha > 500, "nothing was found: {core} {sha}");
    Some((core, sha))
}

#[test]
fn the_core_is_small() {
    for target in ["x86_64-unknown-linux-gnu", "aarch64-unknown-none"] {
        if let Some((core, sha)) = measure(target) {
            eprintln!("{target}: {core} bytes, and {sha} of SHA-256");
            assert!(core <= MOST, "{target}: {core}");
        }
    }
}
