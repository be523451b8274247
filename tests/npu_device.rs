//! Models on the simulated device, through the tool: the bits are those of the build without accelerators, whatever the device does; and
//! the object keeps its promises. Needs the models of `ONNXC_SHARED`.

use object::{Object, ObjectSection, ObjectSymbol, SectionFlags};
use onnxc_tests::tools::{have, onnxc, shared};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

const QUANTIZED: &[&str] = &[
    "kws_dscnn_qdq",
    "resnet8_cifar10_qdq",
    "mobilenet_v2_qdq",
    "shufflenet_v2_qop",
];

/// Whatever can be offloaded is.
const SIM: &[&str] = &["--npu", "sim", "--npu-min-gain", "0"];

fn folder(model: &str) -> Option<PathBuf> {
    Some(shared()?.join("models").join(model))
}

fn tool(words: &[&str], more: &[&str]) -> (bool, String, String) {
    let out = Command::new(onnxc())
        .args(words)
        .args(more)
        .output()
        .expect("the tool runs");
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    (out.status.success(), text(&out.stdout), text(&out.stderr))
}

fn verify(dir: &Path, more: &[&str]) -> Value {
    let [model, io, exact] =
        ["model.onnx", "io.npz", "exact.npz"].map(|n| dir.join(n).to_string_lossy().into_owned());
    let words = [
        "verify",
        &model,
        "--reference",
        &io,
        "--reference",
        &exact,
        "--json",
        "--no-layer",
    ]
    .map(str::to_string);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (ok, out, err) = tool(&words, more);
    assert!(ok, "{}: {out}{err}", dir.display());
    serde_json::from_str(&out).expect("JSON")
}

fn counts(v: &Value, name: &str) -> u64 {
    let regions = v["npu"]["regions"].as_array().expect("regions");
    regions.iter().filter_map(|r| r[name].as_u64()).sum()
}

#[test]
fn every_quantized_model_runs_on_the_device() {
    for model in QUANTIZED {
        let Some(dir) = folder(model) else { return };
        let v = verify(&dir, SIM);
        assert_eq!(v["npu"]["differ_from_cpu"], 0, "{model}: {v}");
        assert!(
            counts(&v, "device_runs") > 0 && counts(&v, "cpu_runs") == 0,
            "{model}: {v}"
        );
    }
}

/// The outputs of a build with accelerators and of one without are the same bytes.
#[test]
fn the_bits_are_those_of_the_cpu_only_build() {
    let tmp = tempfile::tempdir().expect("a folder");
    for model in ["kws_dscnn_qdq", "resnet8_cifar10_qdq", "shufflenet_v2_qop"] {
        let Some(dir) = folder(model) else { return };
        let path = dir.join("model.onnx");
        let run = |name: &str, more: &[&str]| {
            let to = tmp.path().join(name);
            let words = [
                "run",
                &path.to_string_lossy(),
                "random:3",
                "-o",
                &to.to_string_lossy(),
            ]
            .map(str::to_string);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let (ok, _, err) = tool(&words, more);
            assert!(ok, "{model}: {err}");
            std::fs::read(to).expect("outputs")
        };
        assert!(run("a.npz", &[]) == run("b.npz", SIM), "{model}");
    }
}

#[test]
fn whatever_the_device_does_the_answer_is_right() {
    let Some(dir) = folder("kws_dscnn_qdq") else {
        return;
    };
    for faults in [
        "absent",
        "refuse",
        "ok/error",
        "ok/hang",
        "ok/silent",
        // Later than any region is given.
        "script=ok/late,late-ms=4000",
        "ok/lost",
        "wrong",
        "seed=5",
    ] {
        let v = verify(&dir, &[SIM, &["--npu-faults", faults]].concat());
        assert_eq!(v["npu"]["differ_from_cpu"], 0, "{faults}: {v}");
        if faults != "seed=5" {
            let regions = v["npu"]["regions"].as_array().expect("regions");
            let of = |r: &Value| r["events"].as_object().map_or(0, |e| e.len());
            let events: usize = regions.iter().map(of).sum();
            assert!(counts(&v, "cpu_runs") > 0 && events > 0, "{faults}: {v}");
        }
    }
}

/// The twin is all there is in an emulator of another machine.
#[test]
fn the_twin_runs_on_aarch64() {
    if !have("qemu-aarch64-static") {
        return;
    }
    let Some(dir) = folder("kws_dscnn_qdq") else {
        return;
    };
    let far = [
        "--target",
        "aarch64-unknown-linux-gnu",
        "--exec",
        "qemu-aarch64-static",
    ];
    let v = verify(&dir, &[SIM, &far].concat());
    assert_eq!(v["npu"]["differ_from_cpu"], 0, "{v}");
    assert_eq!(counts(&v, "device_runs"), 0);
}

/// `bench --layers` has a row for each region, with the device's time; layers of the twin did not run.
#[test]
fn regions_have_rows_among_layers() {
    let Some(dir) = folder("kws_dscnn_qdq") else {
        return;
    };
    let model = dir.join("model.onnx").to_string_lossy().into_owned();
    let words = ["bench", &model, "--layers", "--json", "--seconds", "0.05"];
    let (ok, out, err) = tool(&words, SIM);
    assert!(ok, "{err}");
    let v: Value = serde_json::from_str(&out).expect("JSON");
    let layers = v["layers"].as_array().expect("layers");
    let region = |l: &&Value| {
        l["name"]
            .as_str()
            .is_some_and(|n| n.contains("region 0 on sim"))
    };
    let row = layers.iter().find(region).expect("a row");
    assert!(row["ns"].as_f64().expect("a time") > 0.0, "{row}");
    assert!(row["macs"].as_u64().expect("a number") > 1_000_000, "{row}");
}

#[test]
fn objects_keep_their_promises() {
    let tmp = tempfile::tempdir().expect("a folder");
    let Some(dir) = folder("resnet8_cifar10_qdq") else {
        return;
    };
    let path = dir.join("model.onnx");
    let make = |name: &str, more: &[&str]| {
        let to = tmp.path().join(name);
        let words = [
            "compile",
            &path.to_string_lossy(),
            "-o",
            &to.to_string_lossy(),
        ]
        .map(str::to_string);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (ok, _, err) = tool(&words, &[SIM, more].concat());
        assert!(ok, "{err}");
        std::fs::read(to).expect("an object")
    };
    for target in ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"] {
        let bytes = make("a.o", &["--target", target]);
        assert!(
            bytes == make("b.o", &["--target", target, "-j", "1"]),
            "{target}: two compilations differ"
        );
        let file = object::File::parse(&*bytes).expect("ELF");
        let undefined: Vec<_> = file
            .symbols()
            .filter(|s| s.is_undefined() && s.name() != Ok(""))
            .collect();
        assert!(undefined.is_empty(), "{target}");
        for s in file.sections() {
            let SectionFlags::Elf { sh_flags } = s.flags() else {
                continue;
            };
            assert_eq!(
                sh_flags & u64::from(object::elf::SHF_WRITE),
                0,
                "{target}: {:?} is writable",
                s.name()
            );
        }
    }
}

/// What must run on the device and can't is an error, when compiling and when running.
#[test]
fn requirements_are_kept() {
    let Some(dir) = folder("kws_dscnn_qdq") else {
        return;
    };
    let [model, io, exact] =
        ["model.onnx", "io.npz", "exact.npz"].map(|n| dir.join(n).to_string_lossy().into_owned());
    let words = ["verify", &model, "--reference", &io, "--reference", &exact].map(str::to_string);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let all = [SIM, &["--npu-required", "*conv2d_1*"]].concat();
    assert!(tool(&words, &all).0);
    let (ok, _, err) = tool(&words, &[&all[..], &["--npu-faults", "absent"]].concat());
    assert!(!ok && err.contains("accelerator"), "{err}");
    let float = folder("kws_dscnn").expect("models").join("model.onnx");
    let (ok, _, err) = tool(
        &["compile", &float.to_string_lossy(), "-o", "/dev/null"],
        &all,
    );
    assert!(!ok && err.contains("NPU001"), "{err}");
}
