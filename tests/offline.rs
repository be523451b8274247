//! Nothing that the tool writes says where it was made, and nothing of it takes a network.
//!
//! Where `unshare` may take the network away, it is taken away; without that the paths are looked at alone.

use onnxc_tests::generate::root;
use onnxc_tests::tools::{done, onnxc};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What begins a command without a network, as root or as a user who may have a space of names.
fn without_network() -> &'static [&'static str] {
    let ways: [&[&str]; 2] = [
        &["unshare", "--net"],
        &["unshare", "--map-root-user", "--net"],
    ];
    let works = |way: &&&[&str]| {
        let mut probe = Command::new(way[0]);
        let out = probe.args(&way[1..]).arg("true").output();
        out.is_ok_and(|o| o.status.success())
    };
    ways.iter().find(works).copied().unwrap_or_else(|| {
        eprintln!("skipped in part: the network can't be taken away here");
        &[]
    })
}

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, into),
            false => into.push(path),
        }
    }
}

#[test]
fn nothing_says_where_it_was_made() {
    let dir = tempfile::tempdir().unwrap();
    // A name that stands nowhere else, in every path that the tool is given.
    let word = "where-it-was-made";
    let here = dir.path().join(word).join("deep");
    let made = here.join("made");
    fs::create_dir_all(made.join("man")).unwrap();
    let pictures = here.join("pictures");
    fs::create_dir(&pictures).unwrap();
    for k in 0..4 {
        let name = format!("{k}.png");
        let from = root().join("examples/digits/pictures").join(&name);
        fs::copy(from, pictures.join(name)).unwrap();
    }
    let model = here.join("digits.onnx");
    fs::copy(root().join("examples/digits/digits.onnx"), &model).unwrap();
    let prefix = without_network();
    let tool = |words: &[&str]| {
        let at = |w: &str| w.replace('@', &format!("{}/", here.display()));
        let words = words.iter().map(|w| at(w));
        let mut command = match prefix.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(onnxc());
                command
            }
            None => Command::new(onnxc()),
        };
        done(command.args(words).current_dir(&here))
    };
    let kinds = "obj,header,hpp,rust,report,html,graph,loops,clif,asm,dot,bench-c,dep-info";
    tool(&[
        "@digits.onnx",
        "-o",
        "@made/m.o",
        "--emit",
        kinds,
        "--report",
        "@made/r.html",
    ]);
    tool(&["@digits.onnx", "-o", "@made/lib.so", "--emit", "so"]);
    tool(&["@digits.onnx", "-o", "@made/lib.a", "--emit", "staticlib"]);
    let quantize = ["--quantize", "int8", "--calibration", "@pictures"];
    let npu = [
        "--npu",
        "sim",
        "--npu-min-gain",
        "0",
        "--npu-report",
        "@made/npu.html",
    ];
    let apart = [
        "--weights",
        "file=@made/q.weights",
        "--target",
        "aarch64-unknown-linux-gnu",
    ];
    let more = [&quantize[..], &npu, &apart].concat();
    tool(&[&["@digits.onnx", "-o", "@made/q.o"][..], &more].concat());
    tool(&[
        "quantize",
        "@digits.onnx",
        "-o",
        "@made/q.onnx",
        "--calibration",
        "@pictures",
    ]);
    let prune = [
        "--pattern",
        "channels",
        "--sparsity",
        "0.25",
        "--calibration",
        "@pictures",
    ];
    tool(&[&["prune", "@digits.onnx", "-o", "@made/p.onnx"][..], &prune].concat());
    let pages = ["--html", "@made/p.html", "--trace", "@made/t.json"];
    tool(
        &[
            &["profile", "@digits.onnx", "--seconds", "0.05"][..],
            &pages,
        ]
        .concat(),
    );
    let explained = ["--data", "@pictures", "--html", "@made/x.html"];
    tool(
        &[
            &["explain-quantization", "@digits.onnx", "@made/q.onnx"][..],
            &explained,
        ]
        .concat(),
    );
    tool(&[
        "delta",
        "@digits.onnx",
        "@made/q.onnx",
        "-o",
        "@made/d.patch",
    ]);
    tool(&["--print", "man", "-o", "@made/man/"]);
    let mut all = vec![];
    files(&made, &mut all);
    assert!(all.len() > 25, "{all:?}");
    for file in all {
        // Rules for make are made of paths.
        if file.extension().is_some_and(|e| e == "d") {
            continue;
        }
        let bytes = fs::read(&file).unwrap();
        let tells = bytes.windows(word.len()).any(|w| w == word.as_bytes());
        assert!(!tells, "{} says where it was made", file.display());
    }
}
