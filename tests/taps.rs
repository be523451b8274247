//! Taps that only ever meet padding are cut away, windows that leave a map at its edges alone read the map itself, and the numbers stay: `tests/taps.py` makes the models, onnxruntime the answers.

use onnxc_tests::oracle::Models;

#[test]
fn cut_windows() {
    if let Some(models) = Models::of("taps.py", 67) {
        models.verified_here(&[]);
        models.verified(&["--threads", "3"]);
        models.verified_on_aarch64(&[]);
    }
}
