//! Operators that become others, or have ways of their own by size: `tests/rewrites.py` makes the models, onnxruntime the answers.

use onnxc_tests::oracle::Models;

#[test]
fn rewritten() {
    if let Some(models) = Models::of("rewrites.py", 198) {
        models.verified_here(&[]);
        models.verified_on_aarch64(&[]);
    }
}
