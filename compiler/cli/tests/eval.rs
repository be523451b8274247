//! `eval` from the outside: the share of digits that the example reads, and what is refused.

mod common;

use std::path::Path;
use std::process::Output;

use common::{MODEL, onnxc};
use onnxc::data::npz;
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::base::tensor::Tensor;

fn err(o: &Output) -> String {
    String::from_utf8_lossy(&o.stderr).into_owned()
}

fn beside(name: &str) -> String {
    Path::new(MODEL).with_file_name(name).display().to_string()
}

/// A folder with `d.npz`: the first 100 test pictures with pixels from 0 to 16, their labels and the float model's scores; `how.toml` scales them.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut file = npz::Npz::open(Path::new(&beside("test.npz"))).unwrap();
    let mut part = |name: &str, to: &str, d: DType, shape: &[i64]| {
        let all = file.get(name).unwrap();
        let count: i64 = shape.iter().product();
        let values: Vec<f64> = (0..count as usize)
            .map(|i| all.get_f64(i).unwrap())
            .collect();
        (to.to_string(), Tensor::from_f64s(d, shape, &values))
    };
    let arrays = [
        part("images", "image", DType::U8, &[100, 8, 8]),
        part("labels", "labels", DType::U8, &[100]),
    ];
    let scores = [part("scores", "labels", DType::F32, &[100, 10])];
    std::fs::write(dir.path().join("d.npz"), npz::write(&arrays).unwrap()).unwrap();
    std::fs::write(dir.path().join("scores.npz"), npz::write(&scores).unwrap()).unwrap();
    std::fs::write(dir.path().join("how.toml"), "[array]\nscale = 0.0625\n").unwrap();
    dir
}

fn metric(o: &Output) -> (f64, u64) {
    let all: serde_json::Value =
        serde_json::from_slice(&o.stdout).unwrap_or_else(|e| panic!("{e}: {}", err(o)));
    let m = &all["metrics"][0];
    (m["value"].as_f64().unwrap(), m["over"].as_u64().unwrap())
}

#[test]
fn the_share_of_right_digits() {
    let dir = folder();
    let words = [
        "eval",
        MODEL,
        "--data",
        "d.npz",
        "--preprocess",
        "how.toml",
        "--json",
    ];
    let eval = |more: &[&str]| onnxc(dir.path(), &[&words[..], more].concat());
    // The float model's own scores say how many are right.
    let mut file = npz::Npz::open(Path::new(&beside("test.npz"))).unwrap();
    let (scores, labels) = (file.get("scores").unwrap(), file.get("labels").unwrap());
    let right = (0..100).filter(|&k| {
        let row: Vec<f64> = (0..10)
            .map(|c| scores.get_f64(k * 10 + c).unwrap())
            .collect();
        onnxc::data::topk::top(&row, 1)[0] as f64 == labels.get_f64(k).unwrap()
    });
    let right = right.count() as f64 / 100.0;
    assert_eq!(metric(&eval(&[])), (right, 100));
    assert_eq!(metric(&eval(&["--samples", "10"])).1, 10);
    assert!(metric(&eval(&["--metric", "top5,top1"])).0 >= right);
    // Scores as labels: the square of the difference is that of rounding.
    let (mse, over) = metric(&eval(&["--labels", "scores.npz", "--metric", "mse"]));
    assert!(mse < 1e-10 && over == 1000, "{mse} over {over}");
}

#[test]
fn pictures_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let table: String = (0..10).map(|k| format!("{k}.png,{k}\n")).collect();
    std::fs::write(dir.path().join("l.csv"), format!("file,class\n{table}")).unwrap();
    let pictures = beside("pictures");
    let words = [
        "eval", MODEL, "--data", &pictures, "--labels", "l.csv", "--json",
    ];
    let o = onnxc(dir.path(), &words);
    assert_eq!(metric(&o), (1.0, 10), "{}", err(&o));
    let words = [&words[..6], &["--samples", "4"]].concat();
    let o = onnxc(dir.path(), &words);
    let text = String::from_utf8_lossy(&o.stdout).into_owned();
    assert!(
        text.contains("top1") && text.contains("4 cases"),
        "{text}{}",
        err(&o)
    );
}

#[test]
fn what_does_not_fit_is_said() {
    let dir = folder();
    let at = |n: &str, text: &str| std::fs::write(dir.path().join(n), text).unwrap();
    at("short.txt", "1\n2\n3\n");
    at("words.txt", "one\ntwo\n");
    at("names.txt", "0.png 0\nother.png 1\n");
    at("mixed.txt", "0.png 0\n1\n");
    at("std.toml", "[array]\nstd = 0\n");
    let pictures = beside("pictures");
    for (data, more, says) in [
        ("d.npz", &["--labels", "short.txt"][..], "3 of them for 100"),
        ("d.npz", &["--labels", "words.txt"], "no class"),
        ("d.npz", &["--labels", "none.txt"], "none.txt"),
        ("d.npz", &["--metric", "auc"], "not two"),
        ("d.npz", &["--metric", "guess"], "guess"),
        ("d.npz", &["--output", "nosuch"], "scores"),
        ("d.npz", &["--preprocess", "std.toml"], "std"),
        ("scores.npz", &[], "fit"),
        (&pictures, &[], "--labels"),
        (&pictures, &["--labels", "names.txt"], "no line for"),
        (&pictures, &["--labels", "mixed.txt"], "others have none"),
    ] {
        let words = [&["eval", MODEL, "--data", data], more].concat();
        let o = onnxc(dir.path(), &words);
        assert!([1, 2].contains(&o.status.code().unwrap()), "{words:?}");
        assert!(err(&o).contains(says), "{words:?}: {}", err(&o));
    }
}
