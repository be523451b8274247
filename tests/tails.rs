//! What follows a convolution or a product is computed before its result is stored, however many tensors it takes: machines have few address
//! registers. `tests/tails.py` makes the models, onnxruntime the answers.

use onnxc_tests::oracle::Models;

#[test]
fn long_tails() {
    if let Some(models) = Models::of("tails.py", 40) {
        models.verified_here(&[]);
        models.verified_on_aarch64(&[]);
    }
}
