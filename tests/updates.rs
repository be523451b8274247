//! `delta` and `patch`: weights files of two builds, through the tool; what does not fit is refused and leaves what was there.

use onnxc_tests::generate::root;
use onnxc_tests::tools::{says, tool};

#[test]
fn weights_go_over_the_line_as_their_difference() {
    let dir = tempfile::tempdir().expect("a folder");
    let d = dir.path();
    let model = root().join("examples/digits/digits.onnx");
    let model = model.to_string_lossy().into_owned();
    says(
        d,
        &[
            "compile",
            &model,
            "-o",
            "m.o",
            "--weights",
            "file=old.weights",
        ],
    );
    let old = std::fs::read(d.join("old.weights")).expect("weights");
    // Another training of the last layer, so to say.
    let mut new = old.clone();
    let at = new.len() - 400;
    new[at..]
        .iter_mut()
        .step_by(4)
        .for_each(|b| *b = b.wrapping_add(3));
    std::fs::write(d.join("new.weights"), &new).expect("weights");
    let said = says(d, &["delta", "old.weights", "new.weights", "-o", "p"]);
    assert!(said.contains("bytes in place of"), "{said}");
    let p = std::fs::read(d.join("p")).expect("a patch");
    assert!(p.len() < new.len() / 10, "{} of {}", p.len(), new.len());
    says(d, &["patch", "old.weights", "p", "-o", "out"]);
    assert_eq!(std::fs::read(d.join("out")).expect("a file"), new);
    // Refused, each with its reason; what lies there stays.
    std::fs::write(d.join("there"), "untouched").expect("a file");
    let refused = |args: &[&str], words: &str| {
        let out = tool(d, args).output().expect("the tool runs");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(1), "{said}");
        assert!(said.contains(words), "{said}");
        assert_eq!(
            std::fs::read(d.join("there")).expect("a file"),
            b"untouched"
        );
        assert!(!d.join("none").exists());
    };
    for to in ["there", "none"] {
        refused(
            &["patch", "new.weights", "p", "-o", to],
            "is not the file that `p` was made from",
        );
        refused(
            &["patch", "old.weights", "old.weights", "-o", to],
            "is no patch",
        );
        let mut bad = p.clone();
        let last = bad.len() - 20;
        bad[last] ^= 0x40;
        std::fs::write(d.join("bad"), &bad).expect("a patch");
        refused(&["patch", "old.weights", "bad", "-o", to], "damaged");
        std::fs::write(d.join("cut"), &p[..p.len() / 2]).expect("a patch");
        refused(&["patch", "old.weights", "cut", "-o", to], "damaged");
        refused(&["patch", "missing", "p", "-o", to], "missing");
    }
    // In place.
    says(d, &["patch", "old.weights", "p", "-o", "old.weights"]);
    assert_eq!(std::fs::read(d.join("old.weights")).expect("a file"), new);
}

/// A model trained on, and one quantized again with other data: every number moves a little, and the patch is smaller than the file.
#[test]
fn numbers_that_moved_a_little_take_little() {
    let dir = tempfile::tempdir().expect("a folder");
    let d = dir.path();
    let examples = root().join("examples/digits");
    let model = examples.join("digits.onnx").to_string_lossy().into_owned();
    let weights = |name: &str, model: &str| {
        let weights = format!("file={name}.weights");
        says(d, &["compile", model, "-o", "m.o", "--weights", &weights]);
        std::fs::read(d.join(format!("{name}.weights"))).expect("weights")
    };
    let sent = |old: &str, new: &str| {
        let files = [old, new].map(|n| format!("{n}.weights"));
        says(d, &["delta", &files[0], &files[1], "-o", "p"]);
        says(d, &["patch", &files[0], "p", "-o", "out"]);
        let new = std::fs::read(d.join(&files[1])).expect("weights");
        assert!(std::fs::read(d.join("out")).expect("a file") == new);
        std::fs::metadata(d.join("p")).expect("a patch").len() as usize
    };
    // Each float by up to a tenth of a percent.
    let old = weights("old", &model);
    let mut new = old.clone();
    for (k, number) in new[4096..].chunks_exact_mut(4).enumerate() {
        let was = f32::from_le_bytes(number.try_into().expect("four"));
        let now = was * (1.0 + 1e-3 * libm::sinf(k as f32 * 1.7));
        number.copy_from_slice(&now.to_le_bytes());
    }
    std::fs::write(d.join("tuned.weights"), &new).expect("weights");
    let patch = sent("old", "tuned");
    assert!(patch * 10 < new.len() * 6, "{patch} of {}", new.len());
    // The same, quantized with the first five pictures and with all ten.
    let few = d.join("few");
    std::fs::create_dir(&few).expect("a folder");
    for digit in 0..5 {
        let name = format!("{digit}.png");
        std::fs::copy(examples.join("pictures").join(&name), few.join(&name)).expect("a copy");
    }
    let all = examples.join("pictures");
    for (name, data) in [("few", few), ("all", all)] {
        let onnx = format!("{name}.onnx");
        let data = data.to_string_lossy().into_owned();
        says(
            d,
            &["quantize", &model, "-o", &onnx, "--calibration", &data],
        );
        weights(name, &onnx);
    }
    let size = std::fs::metadata(d.join("all.weights"))
        .expect("weights")
        .len() as usize;
    let patch = sent("few", "all");
    assert!(patch * 4 < size, "{patch} of {size}");
}
