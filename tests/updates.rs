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
