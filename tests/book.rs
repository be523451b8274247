//! The book in docs/: complete, without dead links, and its commands do what they say.

use onnxc_tests::generate::root;
use onnxc_tests::tools::have;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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

/// A stand-in for a checkout: what commands may touch is a copy.
fn scratch() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().join("checkout");
    copy(&root().join("examples"), &here.join("examples"));
    copy(&root().join("tests/data"), &here.join("tests/data"));
    copy(&root().join("targets/cmake"), &here.join("targets/cmake"));
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

fn run_page(name: &str) {
    let page = fs::read_to_string(root().join("docs").join(name)).unwrap();
    let (blocks, left) = blocks(&page);
    assert!(
        blocks.len() > left / 2 && !blocks.is_empty(),
        "{name} runs too little"
    );
    for block in blocks {
        let (dir, here) = scratch();
        let path = format!(
            "{}:{}",
            dir.path().join("bin").display(),
            std::env::var("PATH").unwrap_or_default()
        );
        let sh = |command: &str| {
            let mut sh = Command::new("timeout");
            sh.args(["240", "sh", "-c", command])
                .current_dir(&here)
                .env("PATH", &path)
                .env("PYTHONPATH", root().join("targets/python"))
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .env("ONNXC", env!("CARGO_BIN_EXE_onnxc-in-tests"));
            sh.output().unwrap()
        };
        let python = block.commands.iter().any(|l| l.starts_with("python3"));
        if python && !sh("python3 -c 'import numpy'").status.success() {
            eprintln!("skipped: {name}, {}: there is no numpy", block.heading);
            continue;
        }
        let native = !block.commands.iter().any(|l| l.contains("aarch64"));
        if native && !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
            eprintln!(
                "skipped: {name}, {}: this wants an x86_64 Linux machine",
                block.heading
            );
            continue;
        }
        let tools = block.commands.iter().flat_map(|l| l.split("&&"));
        let tools = tools.filter_map(|l| l.split_whitespace().next());
        let own = |t: &str| t.contains('/') || ["onnxc", "cd", "mkdir", "python3"].contains(&t);
        let named = block.commands.iter().flat_map(|l| l.split_whitespace());
        let runners = named.filter(|w| *w == "qemu-aarch64-static");
        let cross = (block.commands.iter().any(|l| l.contains("aarch64.cmake")))
            .then_some("aarch64-linux-gnu-gcc");
        if !tools
            .filter(|t| !own(t))
            .chain(runners)
            .chain(cross)
            .all(have)
        {
            continue;
        }
        for line in &block.commands {
            let (command, comment) = line.split_once(" # ").unwrap_or((line, ""));
            let out = sh(command);
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
    run_page("quick-start.md");
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
    run_page("recipes.md");
}

#[test]
fn packaging() {
    run_page("packaging.md");
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
