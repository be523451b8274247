//! Taps that only ever meet padding are cut away, and the numbers stay: `tests/taps.py` makes the models, onnxruntime the answers.

use onnxc_tests::oracle::Models;

#[test]
fn cut_windows() {
    if let Some(models) = Models::of("taps.py", 28) {
        models.verified_here(&[]);
        models.verified_on_aarch64(&[]);
    }
}
