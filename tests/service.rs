//! The example `examples/service`: its own tests, the command, and the server over a socket.
//!
//! The tool is called from its build script (`ONNXC`), so that no compiler is built once more.

use onnxc_tests::generate::root;
use onnxc_tests::http::ask;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

fn cargo(verb: &str) -> Command {
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or("cargo".into()));
    cargo
        .arg(verb)
        .arg("--locked")
        .current_dir(root().join("examples/service"))
        .env("CARGO_TARGET_DIR", root().join("target/service"))
        .env("ONNXC", env!("CARGO_BIN_EXE_onnxc-in-tests"))
        .env_remove("RUSTFLAGS");
    cargo
}

struct Server {
    process: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    fn start(program: PathBuf) -> Server {
        let mut process = Command::new(program)
            .arg("127.0.0.1:0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = process.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://");
        let address = address.unwrap_or_else(|| panic!("{line}")).to_string();
        Server { process, address }
    }
    /// The status and the body of an answer.
    fn ask(&self, verb: &str, path: &str, body: &[u8]) -> (u16, serde_json::Value) {
        ask(&self.address, verb, path, body).expect("it listens")
    }
}

#[test]
fn pictures_are_read() {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        eprintln!("skipped: this wants an x86_64 Linux machine");
        return;
    }
    let fetched = cargo("fetch").output().unwrap();
    if !fetched.status.success() {
        let said = String::from_utf8_lossy(&fetched.stderr);
        // A dependency of the tool that is new: `cargo fetch` there writes the file anew.
        assert!(!said.contains("--locked"), "Cargo.lock is stale: {said}");
        eprintln!("skipped: the packages of examples/service are not at hand");
        return;
    }
    for verb in ["test", "build"] {
        let out = cargo(verb)
            .args(["--no-default-features", "--offline"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{verb}: {text}");
    }
    let program = |name: &str| root().join("target/service/debug").join(name);
    let picture = |digit: usize| root().join(format!("examples/digits/pictures/{digit}.png"));
    let out = Command::new(program("classify"))
        .args((0..10).map(picture))
        .output()
        .unwrap();
    let printed = String::from_utf8(out.stdout).unwrap();
    let words: Vec<&str> = printed.split_whitespace().collect();
    assert_eq!(words.join(""), "0123456789");

    let server = Server::start(program("service"));
    for digit in [3, 8] {
        let file = std::fs::read(picture(digit)).unwrap();
        let (status, answer) = server.ask("POST", "/classify", &file);
        assert_eq!((status, &answer["digit"]), (200, &digit.into()));
    }
    assert_eq!(server.ask("GET", "/health", b"").1["ok"], true);
    let (status, answer) = server.ask("POST", "/classify", b"no picture");
    assert_eq!(status, 400);
    assert_eq!(answer["error"], "the picture can't be read");
    assert_eq!(server.ask("GET", "/classify", b"").0, 405);
    assert_eq!(server.ask("GET", "/", b"").0, 404);
}
