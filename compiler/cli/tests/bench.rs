//! `bench` from the outside: what it prints, writes and refuses. No test looks at how long anything took.

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::{MODEL, onnxc};
use onnxc::data::npz;
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::base::tensor::Tensor;
use serde_json::Value;

/// Puts `io.npz` there: the first test picture with its scores, which come from training.
fn reference(dir: &Path) {
    let path = Path::new(MODEL).with_file_name("test.npz");
    let mut file = npz::Npz::open(&path).unwrap();
    let (images, scores) = (file.get("images").unwrap(), file.get("scores").unwrap());
    let pixels: Vec<f64> = (0..64).map(|i| images.get_f64(i).unwrap() / 16.0).collect();
    let row: Vec<f64> = (0..10).map(|i| scores.get_f64(i).unwrap()).collect();
    let arrays = [
        (
            "c0_in0".to_string(),
            Tensor::from_f64s(DType::F32, &[1, 1, 8, 8], &pixels),
        ),
        (
            "c0_out0".to_string(),
            Tensor::from_f64s(DType::F32, &[1, 10], &row),
        ),
    ];
    std::fs::write(dir.join("io.npz"), npz::write(&arrays).unwrap()).unwrap();
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a command printed, one JSON object a line.
fn objects(o: &Output) -> Vec<Value> {
    assert!(o.status.success(), "{}{}", text(&o.stdout), text(&o.stderr));
    let lines = text(&o.stdout);
    lines
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

fn above_zero(v: &Value, keys: &[&str]) {
    for k in keys {
        assert!(v[k].as_f64().is_some_and(|x| x > 0.0), "{k} of {v}");
    }
}

fn script(dir: &Path, name: &str, lines: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, lines).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    path.display().to_string()
}

#[test]
fn threads_and_records() {
    let dir = tempfile::tempdir().unwrap();
    reference(dir.path());
    let words = [
        "bench",
        MODEL,
        "--reference",
        "io.npz",
        "--json",
        "--seconds",
        "0.01",
        "--threads",
        "1,2",
        "--record",
        "r.csv",
    ];
    for _ in 0..2 {
        let list = objects(&onnxc(dir.path(), &words));
        assert_eq!(
            (&list[0]["threads"], &list[1]["threads"]),
            (&1.into(), &2.into())
        );
        above_zero(
            &list[1],
            &["min_ms", "median_ms", "p99_ms", "runs", "macs", "gflops"],
        );
        assert_eq!(list[0]["verified"], true);
    }
    let record = std::fs::read_to_string(dir.path().join("r.csv")).unwrap();
    let lines: Vec<&str> = record.lines().collect();
    assert_eq!(lines.len(), 5, "{record}");
    assert!(lines[0].starts_with("date,cpu,level,threads,what,"));
    assert!(lines[4].contains(",digits,"));
    std::fs::write(dir.path().join("r.csv"), "a,b\n").unwrap();
    let o = onnxc(dir.path(), &words);
    assert!(text(&o.stderr).contains("USE002"), "{}", text(&o.stderr));
}

#[test]
fn layers_and_their_page() {
    let dir = tempfile::tempdir().unwrap();
    let words = ["bench", MODEL, "--layers", "--seconds", "0.01"];
    let list = objects(&onnxc(
        dir.path(),
        &[&words[..], &["--json", "--html", "p.html"]].concat(),
    ));
    above_zero(&list[0], &["whole_ns", "layers_ns", "share_of_roofline"]);
    above_zero(&list[0]["roofline"], &["peak_gflops"]);
    let peaks = list[0]["roofline"]["peaks"].as_array().unwrap();
    peaks.iter().for_each(|p| above_zero(p, &["peak_gops"]));
    let layers = list[0]["layers"].as_array().unwrap();
    assert!(layers.len() > 2);
    assert!(layers.iter().any(|l| l["macs"].as_u64() > Some(1000)));
    for l in layers {
        // Products are judged by a peak that was measured, of floats here.
        let of = |p: &&Value| p["instruction"] == l["instruction"];
        let peak = peaks.iter().find(of);
        assert_eq!(peak.is_some(), l["macs"].as_u64() > Some(0), "{l}");
        let at_least = peak.map_or(0.0, |p| {
            assert_eq!(p["numbers"], "f32");
            2.0 * l["macs"].as_f64().unwrap() / p["peak_gops"].as_f64().unwrap()
        });
        assert!(l["least_ns"].as_f64() >= Some(at_least * 0.999), "{l}");
    }
    layers
        .iter()
        .for_each(|l| above_zero(l, &["value_bytes", "least_ns"]));
    let page = std::fs::read_to_string(dir.path().join("p.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.matches("<svg").count() == 2);
    let o = onnxc(dir.path(), &words);
    assert!(
        text(&o.stdout).contains("% of roofline"),
        "{}",
        text(&o.stdout)
    );
}

#[test]
fn the_machine_alone() {
    let dir = tempfile::tempdir().unwrap();
    let words = [
        "bench",
        "--roofline",
        "--seconds",
        "0.1",
        "--json",
        "--html",
        "m.html",
    ];
    let list = objects(&onnxc(dir.path(), &words));
    above_zero(&list[0], &["peak_gflops"]);
    let peaks = list[0]["peaks"].as_array().unwrap();
    peaks.iter().for_each(|p| above_zero(p, &["peak_gops"]));
    for numbers in ["f32", "i16"] {
        assert!(peaks.iter().any(|p| p["numbers"] == numbers), "{peaks:?}");
    }
    let levels = list[0]["levels"].as_array().unwrap();
    assert_eq!(levels.last().unwrap()["name"], "DRAM");
    levels
        .iter()
        .for_each(|l| above_zero(l, &["read_gb_s", "copy_gb_s"]));
    assert!(dir.path().join("m.html").exists());
}

/// A peer that answers every request with what all of them ask for.
#[cfg(unix)]
#[test]
fn turns_with_a_peer() {
    let dir = tempfile::tempdir().unwrap();
    reference(dir.path());
    let peer = script(
        dir.path(),
        "peer.sh",
        "#!/bin/sh\nwhile read line; do\n  echo '{\"peer\": \"p\", \"version\": \"'$VERSION'\", \"ns\": [1000, 3000], \"outputs\": []}'\ndone\n",
    );
    let runner = format!("other=sh {peer}");
    let words = [
        "bench",
        MODEL,
        "--reference",
        "io.npz",
        "--seconds",
        "0.01",
        "--against",
        "other",
        "--peer-runner",
        &runner,
        "--peer-env",
        "VERSION=7",
    ];
    let list = objects(&onnxc(dir.path(), &[&words[..], &["--json"]].concat()));
    let other = &list[0]["peers"][0];
    assert_eq!(&other["name"], "other 7");
    assert_eq!(other["min_ms"], 0.001);
    above_zero(other, &["ratio_min", "ratio_median"]);

    // A folder, with a model that is none.
    for name in ["good", "bad"] {
        std::fs::create_dir_all(dir.path().join("models").join(name)).unwrap();
    }
    std::fs::copy(MODEL, dir.path().join("models/good/model.onnx")).unwrap();
    std::fs::write(dir.path().join("models/bad/model.onnx"), "nonsense").unwrap();
    let mut folder = words;
    folder[1] = "models";
    folder[2] = "--threads";
    folder[3] = "1";
    let o = onnxc(dir.path(), &folder);
    assert_eq!(o.status.code(), Some(1));
    assert!(text(&o.stderr).contains("bad: "), "{}", text(&o.stderr));
    let table = text(&o.stdout);
    assert!(table.contains("| good | float | 1 |"), "{table}");
    assert!(
        table.contains("| float, peer < 0.9 ms | 1 | 1 |"),
        "{table}"
    );
}

#[cfg(unix)]
#[test]
fn peers_that_fail() {
    let dir = tempfile::tempdir().unwrap();
    for (name, lines) in [
        (
            "says.sh",
            "#!/bin/sh\nread line; echo '{\"error\": \"no such thing\"}'\n",
        ),
        ("ends.sh", "#!/bin/sh\nexit 3\n"),
        ("chatter.sh", "#!/bin/sh\nread line; echo hello\n"),
    ] {
        let runner = format!("other={}", script(dir.path(), name, lines));
        let words = [
            "bench",
            MODEL,
            "--against",
            "other",
            "--peer-runner",
            &runner,
        ];
        let o = onnxc(dir.path(), &words);
        assert_eq!(o.status.code(), Some(1), "{name}");
        assert!(
            text(&o.stderr).contains("USE007"),
            "{name}: {}",
            text(&o.stderr)
        );
    }
    let o = onnxc(dir.path(), &["bench", MODEL, "--against", "no-such-peer"]);
    assert!(
        text(&o.stderr).contains("onnxc-peer-no-such-peer"),
        "{}",
        text(&o.stderr)
    );
    let o = onnxc(dir.path(), &["bench", MODEL, "--peer-lib", "x"]);
    assert_eq!(o.status.code(), Some(2));
}

/// Programs that time themselves: through a command here, through one that is called `ssh`, and for another architecture.
#[cfg(target_os = "linux")]
#[test]
fn elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    reference(dir.path());
    let words = |rest: &[&str]| {
        let words = [
            "bench",
            MODEL,
            "--reference",
            "io.npz",
            "--seconds",
            "0.01",
            "--json",
        ];
        onnxc(dir.path(), &[&words[..], rest].concat())
    };
    let check = |o: &Output| {
        let list = objects(o);
        above_zero(&list[0], &["min_ms", "median_ms", "runs", "macs"]);
        assert_eq!(list[0]["verified"], true);
    };
    if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        check(&words(&["--exec", "env"]));
        // As ssh does: all words behind the machine's name, joined, go to a shell there.
        let ssh = script(dir.path(), "ssh", "#!/bin/sh\nshift\nexec sh -c \"$*\"\n");
        check(&words(&["--exec", &format!("{ssh} board")]));
        let broken = script(dir.path(), "ssh", "#!/bin/sh\nexit 255\n");
        let o = words(&["--exec", &format!("{broken} board")]);
        assert!(text(&o.stderr).contains("USE002"), "{}", text(&o.stderr));
    }
    let emulator = "qemu-aarch64-static";
    if Command::new(emulator).arg("--version").output().is_ok() {
        let target = [
            "--target",
            "aarch64-unknown-linux-gnu",
            "--target-cpu",
            "cortex-a72",
        ];
        check(&words(&[&target[..], &["--exec", emulator]].concat()));
    }
    let o = onnxc(dir.path(), &["bench", MODEL, "--exec", "false"]);
    assert_eq!(o.status.code(), Some(1), "{}", text(&o.stderr));
}
