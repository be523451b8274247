//! What tools besides PyTorch's exporter write: `tests/others.py` makes the models, onnxruntime the answers.

use onnxc_tests::oracle::Models;

#[test]
fn others() {
    if let Some(models) = Models::of("others.py", 68) {
        models.verified_here(&[]);
        models.verified_here(&["--optimize-for", "memory", "--threads", "2"]);
        models.verified_on_aarch64(&[]);
    }
}
