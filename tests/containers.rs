//! The container images of `targets/containers`, without an engine: the same files, started by chroot as another user on a read-only root.
//!
//! The service is built statically with the machine's own C library; its build script calls the tool of these tests. Parts are skipped, with a
//! line on stderr, where this is no x86_64 Linux machine, the packages are not at hand, or chroot is not permitted.

use onnxc_tests::generate::root;
use onnxc_tests::http::ask;
use onnxc_tests::tools::{done, onnxc, run};
use serde_json::Value;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const HOST: &str = "x86_64-unknown-linux-gnu";
const ROOTFS: &str = "targets/containers/rootfs.sh";

/// Folder with the service, its weights and the report of its model.
fn service() -> Option<PathBuf> {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        eprintln!("skipped: this wants an x86_64 Linux machine");
        return None;
    }
    let cargo = |verb: &str| {
        let mut cargo = Command::new(std::env::var("CARGO").unwrap_or("cargo".into()));
        cargo
            .args([verb, "--locked"])
            .current_dir(root().join("targets/containers/classifier"))
            .env("CARGO_TARGET_DIR", root().join("target/containers"))
            .env("ONNXC", env!("CARGO_BIN_EXE_onnxc-in-tests"))
            .env("RUSTFLAGS", "-C target-feature=+crt-static");
        cargo
    };
    let fetched = cargo("fetch").output().unwrap();
    if !fetched.status.success() {
        let said = String::from_utf8_lossy(&fetched.stderr);
        // A dependency of the tool that is new: `cargo fetch` there writes the file anew.
        assert!(!said.contains("--locked"), "Cargo.lock is stale: {said}");
        eprintln!("skipped: the packages of targets/containers/classifier are not at hand");
        return None;
    }
    done(
        cargo("build")
            .args(["--release", "--offline", "--target", HOST])
            // What is tested is the same without the last percent of size.
            .args(["--config", "profile.release.lto=false"])
            .args(["--config", "profile.release.codegen-units=16"]),
    );
    Some(root().join("target/containers").join(HOST).join("release"))
}

/// A process of ours that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command in a root: in a mount space of its own where the root is read-only, as a user who owns nothing.
fn inside(folder: &Path, words: &[&str]) -> Command {
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec chroot --userspec=65532:65532 \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private", "sh", "-c", script])
        .arg(folder)
        .args(words);
    command
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap_or_default());
    command
}

#[test]
fn a_service_in_a_root_of_its_own() {
    let Some(built) = service() else { return };
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().join("root");
    run(
        root(),
        ROOTFS,
        &[
            built.join("classifier").to_str().unwrap(),
            here.to_str().unwrap(),
        ],
    );
    let mut files: Vec<_> = fs::read_dir(&here)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    files.sort();
    assert_eq!(
        files,
        ["classifier", "weights"],
        "a static program brings no library"
    );
    // The first start has no weights, which is said.
    let probe = inside(&here, &["/classifier"]).output();
    let Ok(out) = probe else {
        eprintln!("skipped: there is no unshare");
        return;
    };
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    if !said.starts_with("classifier: ") {
        eprintln!("skipped: chroot is not permitted here: {said}");
        return;
    }
    assert!(
        said.contains("/weights/digits.weights") && !out.status.success(),
        "{said}"
    );
    // Weights of another kind, and damaged ones.
    let good = fs::read(built.join("digits.weights")).unwrap();
    let place = here.join("weights/digits.weights");
    for (bytes, why) in [
        (vec![0; 70_000], "none"),
        (
            {
                let mut b = good.clone();
                *b.last_mut().unwrap() ^= 1;
                b
            },
            "damaged",
        ),
    ] {
        fs::write(&place, bytes).unwrap();
        let out = inside(&here, &["/classifier"]).output().unwrap();
        assert!(
            !out.status.success()
                && String::from_utf8_lossy(&out.stderr).contains("digits.weights"),
            "{why}"
        );
    }
    fs::write(&place, good).unwrap();

    // A port that is free now.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let address = format!("127.0.0.1:{port}");
    let mut start = inside(&here, &["/classifier"]);
    start
        .env("CLASSIFIER_ADDRESS", &address)
        .stdout(Stdio::null());
    let mut server = Running(start.spawn().unwrap());
    let ready = loop {
        if let Some(answer) = ask(&address, "GET", "/ready", b"") {
            break answer;
        }
        let ended = server.0.try_wait().unwrap();
        assert!(ended.is_none(), "the service ended: {ended:?}");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(ready.0, 200, "{ready:?}");
    let check = |address: &str| {
        let mut check = inside(&here, &["/classifier", "check"]);
        check
            .env("CLASSIFIER_ADDRESS", address)
            .output()
            .unwrap()
            .status
            .success()
    };
    assert!(check(&address));
    assert!(!check("127.0.0.1:1"), "nobody listens there");
    for digit in 0..10 {
        let picture =
            fs::read(root().join(format!("examples/digits/pictures/{digit}.png"))).unwrap();
        let (status, answer) = ask(&address, "POST", "/classify", &picture).unwrap();
        assert_eq!((status, &answer["digit"]), (200, &digit.into()), "{answer}");
    }
    assert_eq!(
        ask(&address, "POST", "/classify", b"no picture").unwrap().0,
        400
    );
    assert_eq!(
        ask(&address, "POST", "/classify", &vec![0; (1 << 20) + 1])
            .unwrap()
            .0,
        413
    );
    assert_eq!(ask(&address, "GET", "/classify", b"").unwrap().0, 405);
    assert_eq!(ask(&address, "GET", "/elsewhere", b"").unwrap().0, 404);
    // Not root, and what it holds in memory is within what the manifest asks for.
    let status = fs::read_to_string(format!("/proc/{}/status", server.0.id())).unwrap();
    let line = |name: &str| {
        status
            .lines()
            .find(|l| l.starts_with(name))
            .unwrap()
            .to_string()
    };
    assert_eq!(
        line("Uid:").split_whitespace().nth(1),
        Some("65532"),
        "{status}"
    );
    let resident: u64 = line("VmHWM:")
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let manifest = fs::read_to_string(root().join("targets/containers/k3s.yaml")).unwrap();
    let asked = |kind: &str| -> u64 {
        let line = manifest
            .lines()
            .find(|l| l.trim().starts_with(kind))
            .unwrap();
        line.split("memory: ")
            .nth(1)
            .unwrap()
            .split("Mi")
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    assert!(resident < asked("limits:") << 10, "{resident} KiB");
    // The manifest's figures are those of the report.
    let report: Value =
        serde_json::from_slice(&fs::read(built.join("digits.json")).unwrap()).unwrap();
    for name in ["arena_bytes", "stack_bytes", "weights_bytes"] {
        let number = report[name].as_u64().unwrap();
        let with_comma = match number / 1000 {
            0 => number.to_string(),
            thousands => format!("{thousands},{:03}", number % 1000),
        };
        assert!(
            manifest.contains(&format!("{name} {with_comma}")),
            "{name} is {with_comma}"
        );
        assert!(number * 2 < asked("requests:") << 20, "{name}");
    }
}

/// The tool, with the libraries of its own that a dynamic one needs, compiles a model in a root without anything else.
#[test]
fn the_tool_in_a_root_of_its_own() {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        eprintln!("skipped: this wants an x86_64 Linux machine");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().join("root");
    run(
        root(),
        ROOTFS,
        &[onnxc().to_str().unwrap(), here.to_str().unwrap()],
    );
    fs::copy(
        root().join("examples/digits/digits.onnx"),
        here.join("digits.onnx"),
    )
    .unwrap();
    // The root is read-only; what is made goes to standard output.
    let out = inside(
        &here,
        &[
            "/onnxc",
            "digits.onnx",
            "--emit",
            "obj",
            "-o",
            "-",
            "--target",
            "aarch64-unknown-linux-gnu",
        ],
    )
    .output();
    let permitted = |e: &str| !e.contains("not permitted") && !e.contains("Permission denied");
    match out {
        Ok(out) if permitted(&String::from_utf8_lossy(&out.stderr)) => {
            assert!(
                out.status.success(),
                "{}",
                String::from_utf8_lossy(&out.stderr)
            );

            let model = root().join("examples/digits/digits.onnx");
            run(
                dir.path(),
                onnxc().to_str().unwrap(),
                &[
                    model.to_str().unwrap(),
                    "--emit",
                    "obj",
                    "-o",
                    "digits.o",
                    "--target",
                    "aarch64-unknown-linux-gnu",
                ],
            );
            assert_eq!(out.stdout, fs::read(dir.path().join("digits.o")).unwrap());
        }
        Ok(out) => eprintln!(
            "skipped: chroot is not permitted here: {}",
            String::from_utf8_lossy(&out.stderr)
        ),
        Err(e) => eprintln!("skipped: unshare: {e}"),
    }
}

/// What both images and the manifest promise, in their files.
#[test]
fn images_hold_one_program_and_no_root() {
    for name in ["Dockerfile.tool", "Dockerfile.classifier"] {
        let text = fs::read_to_string(root().join("targets/containers").join(name)).unwrap();
        let last = text.rsplit("\nFROM ").next().unwrap();
        assert!(
            last.starts_with("scratch\n") && last.contains("\nUSER 65532:65532\n"),
            "{name}"
        );
        assert!(
            text.contains("--platform=$BUILDPLATFORM")
                && text.contains("amd64)")
                && text.contains("arm64)"),
            "{name}"
        );
    }
    let manifest = fs::read_to_string(root().join("targets/containers/k3s.yaml")).unwrap();
    for promise in [
        "runAsNonRoot: true",
        "readOnlyRootFilesystem: true",
        "allowPrivilegeEscalation: false",
        "drop: [\"ALL\"]",
        "path: /ready",
        "readOnly: true",
    ] {
        assert!(manifest.contains(promise), "{promise}");
    }
}
