//! Transposed convolutions, average pools whose windows count differently, choices between quantized numbers and planes that grow are computed from whole
//! numbers, and are what their definitions over real numbers say, rounded once: `tests/byte_windows.py` computes these in f64.

use onnxc_tests::oracle::Models;

#[test]
fn windows_of_bytes() {
    if let Some(models) = Models::of("byte_windows.py", 118) {
        let exact = ["--steps", "0", "--require-int8"];
        models.verified_here(&exact);
        models.verified_on_aarch64(&exact);
    }
}
