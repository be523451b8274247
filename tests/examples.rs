//! Every example does what its README says: the commands there are run, word for word, in a copy of `examples/` beside one of
//! `targets/cmake/`.
//!
//! A block of commands (```sh) is skipped, with a line on stderr, where the machine lacks a program that it names or can't run
//! what it builds. A command that ends in `# prints TEXT` must print that, up to white space.

use onnxc_tests::generate::root;
use onnxc_tests::tools::have;
use std::fs;
use std::path::Path;
use std::process::Command;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

// The ```sh blocks of a page, each a list of commands; a backslash at the end of a line joins it with the next.
fn blocks(page: &str) -> Vec<Vec<String>> {
    let mut out = vec![];
    let mut block: Option<Vec<String>> = None;
    for line in page.replace("\\\n", " ").lines() {
        match &mut block {
            None if line == "```sh" => block = Some(vec![]),
            Some(_) if line == "```" => out.extend(block.take()),
            Some(commands) if !line.trim().is_empty() => commands.push(line.to_string()),
            _ => {}
        }
    }
    out
}

// Programs that the machine must have: the first word of each command, and of what follows `&&`.
fn programs(block: &[String]) -> Vec<&str> {
    block
        .iter()
        .flat_map(|line| line.split("&&"))
        .filter_map(|command| command.split_whitespace().next())
        .filter(|program| {
            !program.starts_with("./")
                && !matches!(*program, "onnxc" | "ln")
                && !program.contains(['=', '/'])
        })
        .collect()
}

fn run_readme(example: &str) {
    let dir = tempfile::tempdir().unwrap();
    copy(&root().join("examples"), &dir.path().join("examples"));
    copy(
        &root().join("targets/cmake"),
        &dir.path().join("targets/cmake"),
    );
    let here = dir.path().join("examples").join(example);
    // The commands call the tool by its name.
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_onnxc-in-tests"), bin.join("onnxc")).unwrap();
    let path = format!(
        "{}:{}",
        bin.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let page = fs::read_to_string(here.join("README.md")).unwrap();
    let blocks = blocks(&page);
    assert!(!blocks.is_empty(), "{example}/README.md shows no commands");
    for block in blocks {
        let cross = block.iter().any(|l| l.contains("aarch64"));
        if !cross && !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
            eprintln!("skipped: {example} wants an x86_64 Linux machine");
            continue;
        }
        if !programs(&block).into_iter().all(have) {
            continue;
        }
        // Named by a toolchain file, not by the commands.
        let gcc = "aarch64-linux-gnu-gcc";
        if block
            .iter()
            .any(|l| l.contains("-arm64") || l.contains(gcc))
            && !have(gcc)
        {
            continue;
        }
        for line in block {
            let (command, comment) = line.split_once(" # ").unwrap_or((&line, ""));
            let out = Command::new("timeout")
                .args(["120", "sh", "-c"])
                .arg(command)
                .current_dir(&here)
                .env("PATH", &path)
                .output()
                .unwrap();
            let (stdout, stderr) = (
                String::from_utf8_lossy(&out.stdout),
                String::from_utf8_lossy(&out.stderr),
            );
            assert!(
                out.status.success(),
                "{example}: `{command}` ended with {}\n{stdout}{stderr}",
                out.status
            );
            if let Some(expected) = comment.trim().strip_prefix("prints ") {
                // A bare machine's text comes on standard error.
                let shown = if stdout.is_empty() { &stderr } else { &stdout };
                let words = |s: &str| s.split_whitespace().collect::<Vec<_>>().join(" ");
                assert_eq!(
                    words(shown),
                    words(expected),
                    "{example}: `{command}`\n{stderr}"
                );
            }
        }
    }
}

macro_rules! examples {
    ($($name:ident)*) => {
        $(#[test] fn $name() { run_readme(stringify!($name)); })*
        // A folder without a test would go stale.
        #[test]
        fn every_example_has_a_test() {
            for entry in fs::read_dir(root().join("examples")).unwrap() {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                // The template of a driver needs the runtime alone: `runtime/tests/offload_c.rs` and cargo's own build of examples hold it.
                // The service is a cargo package, which `tests/service.rs` builds in its place.
                let apart = ["npu_template", "service"].contains(&&*name);
                let known = apart || [$(stringify!($name)),*].contains(&name.as_str());
                assert!(known || !entry.path().is_dir(), "examples/{name} has no test");
            }
        }
    };
}

examples! { baremetal c cmake cpp digits make meson mmap rust_nostd streaming two_models }
