//! What exporters and optimizers write, with sizes that are free until the model runs: `tests/exported.py` makes the models, onnxruntime the answers.

use onnxc_tests::oracle::Models;

#[test]
fn exported() {
    if let Some(models) = Models::of("exported.py", 40) {
        models.verified_here(&[]);
        models.verified_on_aarch64(&[]);
    }
}
