//! Files that are written from the sources, committed, and checked to be fresh. `BLESS=1` rewrites them.

use std::path::{Path, PathBuf};

/// The root of the checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `runtime/include/onnxc.h`.
pub fn c_header() -> String {
    let mut out = String::new();
    onnxc_abi::c::write_header(&mut out).expect("a string takes everything");
    out
}

/// `runtime/include/onnxc_npu.h`.
pub fn npu_header() -> String {
    let mut out = String::new();
    onnxc_abi::c_npu::write_header(&mut out).expect("a string takes everything");
    out
}

/// Compares a committed file with what it should be; with `BLESS=1` in the environment writes it.
pub fn check_fresh(path: &str, text: &str) {
    let full: PathBuf = root().join(path);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&full, text).unwrap_or_else(|e| panic!("{path}: {e}"));
        return;
    }
    let found = std::fs::read_to_string(&full).unwrap_or_default();
    assert!(
        found == text,
        "{path} is stale: run the test again with BLESS=1 and commit the file"
    );
}
