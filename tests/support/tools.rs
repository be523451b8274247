//! Programs that tests use where the machine has them.

use std::path::Path;
use std::process::{Command, Output};

/// Whether a program can be run; says so on stderr where not, since the test is then skipped.
pub fn have(program: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .output()
        .is_ok_and(|o| o.status.success());
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

/// The Python with onnx and onnxruntime that `ONNXC_PYTHON` names; says so where there is none, since the test is then skipped.
pub fn python() -> Option<String> {
    let found = std::env::var("ONNXC_PYTHON").ok();
    if found.is_none() {
        eprintln!("skipped: ONNXC_PYTHON names no Python with onnx and onnxruntime");
    }
    found.filter(|p| have(p))
}

/// Runs a program in a folder and demands success; its whole output is the message otherwise.
pub fn run(dir: &Path, program: &str, args: &[&str]) -> Output {
    done(Command::new(program).args(args).current_dir(dir))
}

/// The same of a command that is written out.
pub fn done(command: &mut Command) -> Output {
    let out = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        out.status.success(),
        "{command:?} ended with {}\n{}{}",
        out.status,
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    out
}

/// The tool with these words, in a folder.
pub fn tool(dir: &Path, args: &[&str]) -> Command {
    let mut tool = Command::new(onnxc());
    tool.args(args).current_dir(dir);
    tool
}

/// What the tool prints; demands success.
pub fn says(dir: &Path, args: &[&str]) -> String {
    text(&done(&mut tool(dir, args)))
}

/// What a program printed.
pub fn text(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// The tool, built in the profile of the tests; builds it where it is missing.
pub fn onnxc() -> std::path::PathBuf {
    let exe = std::env::current_exe().expect("a running test has a path");
    let dir = exe
        .parent()
        .and_then(Path::parent)
        .expect("target/PROFILE/deps/test");
    let tool = dir.join("onnxc");
    if !tool.exists() {
        let mut cargo = Command::new(std::env::var("CARGO").unwrap_or("cargo".into()));
        cargo.args(["build", "-p", "onnxc", "--bin", "onnxc"]);
        if dir.ends_with("release") {
            cargo.arg("--release");
        }
        let done = cargo.status().expect("cargo runs");
        assert!(done.success(), "onnxc does not build");
    }
    tool
}

/// Where the real models and data are, if they are at hand: `ONNXC_SHARED`, or `../shared` beside the checkout.
pub fn shared() -> Option<std::path::PathBuf> {
    let dir = match std::env::var_os("ONNXC_SHARED") {
        Some(dir) => dir.into(),
        None => crate::generate::root().join("../shared"),
    };
    let found = dir.join("models").is_dir();
    if !found {
        eprintln!("skipped: no models at {}", dir.display());
    }
    found.then_some(dir)
}
