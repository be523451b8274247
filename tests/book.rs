//! The book in docs/: complete, without dead links, and its commands do what they say.

use onnxc_tests::generate::root;
use onnxc_tests::tools::{have, run};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// All pages, by their paths in docs/.
fn pages() -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for (folder, prefix) in [("docs", ""), ("docs/decisions", "decisions/")] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".md") && name != "SUMMARY.md" {
                out.insert(format!("{prefix}{name}"));
            }
        }
    }
    out
}

/// Targets of the links of a page, code left out.
fn links(page: &str) -> Vec<String> {
    let mut out = vec![];
    let mut code = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        }
        let plain: String = line.split('`').step_by(2).collect();
        if !code {
            out.extend(
                plain
                    .split("](")
                    .skip(1)
                    .filter_map(|l| l.split(')').next())
                    .map(String::from),
            );
        }
    }
    out
}

/// How a heading is named in a link.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_page_is_in_the_book() {
    let summary = fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    let listed = links(&summary);
    let once: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(listed.len(), once.len(), "a page is listed twice");
    assert_eq!(once, pages());
}

#[test]
fn links_lead_somewhere() {
    let mut dead = vec![];
    let files = pages().into_iter().map(|p| format!("docs/{p}"));
    let more = ["README.md", "CHANGELOG.md", "docs/SUMMARY.md"].map(String::from);
    for file in files.chain(more) {
        let path = root().join(&file);
        let text = fs::read_to_string(&path).unwrap();
        for link in links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (to, part) = link.split_once('#').unwrap_or((&link, ""));
            let target = match to {
                "" => path.clone(),
                _ => path.parent().unwrap().join(to),
            };
            let there = match part {
                "" => target.exists(),
                _ => fs::read_to_string(&target)
                    .is_ok_and(|t| t.lines().any(|l| l.starts_with('#') && anchor(l) == part)),
            };
            if !there {
                dead.push(format!("{file}: {link}"));
            }
        }
    }
    assert!(dead.is_empty(), "{}", dead.join("\n"));
}

/// A block of commands that a test runs.
struct Block {
    heading: String,
    commands: Vec<String>,
}

/// The ```sh blocks of a page. Those behind `<!-- not run: WHY -->` are left out, and must say why.
fn blocks(page: &str) -> (Vec<Block>, usize) {
    let (mut out, mut left) = (vec![], 0);
    let (mut heading, mut skip) = (String::new(), false);
    let mut block: Option<Vec<String>> = None;
    for line in page.replace("\\\n", " ").lines() {
        match &mut block {
            None if line == "```sh" => block = Some(vec![]),
            None if line.starts_with("<!-- not run: ") => skip = true,
            None if line.starts_with('#') => heading = line.trim_start_matches('#').trim().into(),
            Some(_) if line == "```" => {
                let commands = block.take().unwrap_or_default();
                match std::mem::take(&mut skip) {
                    true => left += 1,
                    false => out.push(Block {
                        heading: heading.clone(),
                        commands,
                    }),
                }
            }
            Some(commands) if !line.trim().is_empty() => commands.push(line.into()),
            _ => {}
        }
    }
    (out, left)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            if entry.file_name() != "target" {
                copy(&entry.path(), &target);
            }
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// A stand-in for a checkout: what commands may touch is a copy. Where cargo puts its outputs is kept from run to run.
fn scratch() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().join("checkout");
    for part in [
        "benches",
        "compiler",
        "examples",
        "runtime",
        "targets",
        "tests/data",
    ] {
        copy(&root().join(part), &here.join(part));
    }
    for file in ["Cargo.toml", "Cargo.lock"] {
        fs::copy(root().join(file), here.join(file)).unwrap();
    }
    let kept = root().join("target/book");
    for (place, name) in [("out", "out"), ("examples/service/target", "service")] {
        fs::create_dir_all(kept.join(name)).unwrap();
        std::os::unix::fs::symlink(kept.join(name), here.join(place)).unwrap();
    }
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_onnxc-in-tests"), bin.join("onnxc")).unwrap();
    if let Some(python) = std::env::var_os("ONNXC_PYTHON") {
        let start = format!("#!/bin/sh\nexec '{}' \"$@\"\n", python.to_string_lossy());
        fs::write(bin.join("python3"), start).unwrap();
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(bin.join("python3"), fs::Permissions::from_mode(0o755)).unwrap();
    }
    (dir, here)
}

/// What pages of reference call files of the reader's.
fn stand_ins(here: &Path) {
    let digits = here.join("examples/digits");
    for name in ["m.onnx", "digits.onnx", "resnet20.onnx"] {
        fs::copy(digits.join("digits.onnx"), here.join(name)).unwrap();
    }
    let python = std::env::var("ONNXC_PYTHON").unwrap_or("python3".into());
    let arrays = "import numpy as n; d = n.load('examples/digits/test.npz'); k = 100; x = (d['images'][:k, None] / 16).astype('float32'); \
                  n.savez('calib.npz', image=x); n.savez('test.npz', image=x, labels=d['labels'][:k].astype('int64'))";
    let _ = Command::new(python)
        .args(["-c", arrays])
        .current_dir(here)
        .output();
    let mut labels = String::new();
    for folder in ["pictures", "test"] {
        fs::create_dir(here.join(folder)).unwrap();
        for digit in 0..10 {
            let name = format!("{digit}.png");
            let to = here.join(folder).join(&name);
            fs::copy(digits.join("pictures").join(&name), to).unwrap();
            labels += &format!("{name},{digit}\n");
        }
    }
    fs::write(here.join("labels.csv"), labels).unwrap();
    fs::write(here.join("m.pre.toml"), "").unwrap();
    for (name, to) in [
        ("narrow_int8.onnx", "model.onnx"),
        ("narrow_int8.npz", "io.npz"),
    ] {
        fs::copy(here.join("tests/data").join(name), here.join(to)).unwrap();
    }
    let tool = |words: &[&str]| run(here, env!("CARGO_BIN_EXE_onnxc-in-tests"), words);
    for report in ["before.json", "after.json"] {
        tool(&["digits.onnx", "-o", "digits.o", "--report", report]);
    }
    fs::copy(here.join("digits.o"), here.join("model.o")).unwrap();
    for name in ["old.weights", "new.weights"] {
        fs::write(here.join(name), name.repeat(1000)).unwrap();
    }
    fs::copy(here.join("examples/c/main.c"), here.join("main.c")).unwrap();
}

/// Whether all is there that a block needs; says on stderr what is not.
fn can_run(block: &Block, page: &str, here: &Path, sh: &dyn Fn(&str, &Path) -> Output) -> bool {
    let skipped = |why: &str| {
        eprintln!("skipped: {page}, {}: {why}", block.heading);
        false
    };
    let line = |what: &str| block.commands.iter().any(|l| l.contains(what));
    let works = |command: &str| sh(command, root()).status.success();
    if line("python3") && !works("python3 -c 'import numpy'") {
        return skipped("there is no numpy");
    }
    let native = !line("aarch64") && cfg!(not(all(target_arch = "x86_64", target_os = "linux")));
    if native {
        return skipped("this wants an x86_64 Linux machine");
    }
    if line("calib.npz") && !here.join("calib.npz").exists() {
        return skipped("there is no numpy");
    }
    if line("$ONNXC_ONNX_TESTS") && std::env::var_os("ONNXC_ONNX_TESTS").is_none() {
        return skipped("there are no official tests (ONNXC_ONNX_TESTS)");
    }
    if line("chroot ") && !works("chroot / true") {
        return skipped("chroot is not permitted");
    }
    if line("cargo ") {
        for package in ["examples/service", "targets/containers/classifier"] {
            if !works(&format!(
                "cargo fetch -q --locked --manifest-path {package}/Cargo.toml"
            )) {
                return skipped("the packages are not at hand");
            }
        }
    }
    let own = |t: &str| t.contains(['/', '=']) || ["onnxc", "cd", "mkdir", "python3"].contains(&t);
    let parts = block.commands.iter().flat_map(|l| l.split("&&"));
    let tools = parts.filter_map(|l| l.split_whitespace().next());
    let mut tools: Vec<&str> = tools.filter(|t| !own(t)).collect();
    for (words, tool) in [
        ("qemu-aarch64-static", "qemu-aarch64-static"),
        ("aarch64.cmake", "aarch64-linux-gnu-gcc"),
        ("curl ", "curl"),
    ] {
        tools.extend(Some(tool).filter(|_| line(words)));
    }
    tools.into_iter().all(have)
}

/// Runs the blocks of a page, of which there are `least` at least; each in a checkout of its own, or all in one with files for the page's names.
fn run_page(name: &str, least: usize, shared: bool) {
    let page = fs::read_to_string(root().join("docs").join(name)).unwrap();
    let (blocks, _) = blocks(&page);
    assert!(
        blocks.len() >= least,
        "{name} runs too little: {}",
        blocks.len()
    );
    let mut place = scratch();
    if shared {
        stand_ins(&place.1);
    }
    for block in blocks {
        if !shared {
            place = scratch();
        }
        let bin = place.0.path().join("bin");
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", bin.display());
        let sh = |command: &str, folder: &Path| {
            let mut sh = Command::new("timeout");
            sh.args(["900", "sh", "-c", command])
                .current_dir(folder)
                .env("PATH", &path)
                .env("PYTHONPATH", root().join("targets/python"))
                .env("PYTHONDONTWRITEBYTECODE", "1")
                // What is tested is the same without the last percent.
                .env("CARGO_PROFILE_RELEASE_LTO", "false")
                .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
                .env_remove("RUSTFLAGS")
                .env_remove("CARGO_TARGET_DIR")
                .env("ONNXC", env!("CARGO_BIN_EXE_onnxc-in-tests"));
            sh.output().unwrap()
        };
        if !can_run(&block, name, &place.1, &sh) {
            continue;
        }
        let mut here = place.1.clone();
        for line in &block.commands {
            let (command, comment) = line.split_once(" # ").unwrap_or((line, ""));
            // A size that is the reader's too.
            let command = &command.replace("1200K", "30K");
            if let Some(folder) = command.strip_prefix("cd ").filter(|f| !f.contains("&&")) {
                here.push(folder.trim());
                continue;
            }
            let out = sh(command, &here);
            let stdout = String::from_utf8_lossy(&out.stdout);
            let stderr = String::from_utf8_lossy(&out.stderr);
            assert!(
                out.status.success(),
                "{name}, {}: `{command}`: {}\n{stdout}{stderr}",
                block.heading,
                out.status
            );
            if let Some(expected) = comment.trim().strip_prefix("prints ") {
                let words = |s: &str| s.split_whitespace().collect::<Vec<_>>().join(" ");
                assert_eq!(
                    words(&stdout),
                    words(expected),
                    "{name}: `{command}`\n{stderr}"
                );
            }
        }
    }
}

#[test]
fn quick_start() {
    run_page("quick-start.md", 5, false);
    // What it promises: at most three commands for each user.
    let page = fs::read_to_string(root().join("docs/quick-start.md")).unwrap();
    let all = page.replace("<!-- not run", "<!--");
    for block in blocks(&all).0 {
        assert!(
            block.commands.len() <= 3,
            "{}: {:?}",
            block.heading,
            block.commands
        );
    }
}

#[test]
fn recipes() {
    run_page("recipes.md", 8, false);
}

#[test]
fn packaging() {
    run_page("packaging.md", 1, false);
}

#[test]
fn containers() {
    run_page("containers.md", 1, false);
}

/// Pages that explain options, by commands on files of the reader's.
#[test]
fn pages_of_reference() {
    for (page, least) in [
        ("abi.md", 1),
        ("cmake.md", 2),
        ("profiling.md", 1),
        ("pruning.md", 2),
        ("quantization.md", 4),
        ("reports.md", 2),
        ("testing.md", 1),
        ("updates.md", 1),
    ] {
        run_page(page, least, true);
    }
}

/// No page has commands that no test runs, unless it says why.
#[test]
fn every_page_with_commands_is_run() {
    let own = fs::read_to_string(root().join("tests/book.rs")).unwrap();
    for page in pages() {
        let text = fs::read_to_string(root().join("docs").join(&page)).unwrap();
        let run = own.contains(&format!("(\"{page}\", "));
        assert!(
            run || blocks(&text).0.is_empty(),
            "{page} has commands that no test runs"
        );
    }
}

/// Where the tool that makes the book is at hand, it makes it without a complaint.
#[test]
fn the_book_is_made() {
    if !have("mdbook") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let out = Command::new("mdbook")
        .arg("build")
        .arg(root().join("docs"))
        .arg("-d")
        .arg(dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{said}");
    assert!(!said.contains("WARN") && !said.contains("ERROR"), "{said}");
    for page in pages() {
        let html = dir.path().join(page.replace(".md", ".html"));
        assert!(html.exists(), "{page} is not in the book");
    }
}
