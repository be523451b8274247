//! The rules of the house that can be read off the tree.

use onnxc_tests::generate::root;
use std::path::{Path, PathBuf};

fn sources(dir: &str, ending: &str) -> Vec<(String, String)> {
    fn walk(dir: &Path, ending: &str, out: &mut Vec<PathBuf>) {
        for e in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let p = e.path();
            let name = e.file_name().to_string_lossy().into_owned();
            if p.is_dir() && name != "target" && !name.starts_with('.') {
                walk(&p, ending, out);
            } else if name.ends_with(ending) {
                out.push(p);
            }
        }
    }
    let mut list = vec![];
    walk(&root().join(dir), ending, &mut list);
    list.sort();
    list.into_iter()
        .map(|p| {
            let text = std::fs::read_to_string(&p).unwrap_or_default();
            let name = p
                .strip_prefix(root())
                .expect("below the root")
                .to_string_lossy()
                .into_owned();
            (name, text)
        })
        .collect()
}

/// Lines of code: comments left out.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|l| !l.trim_start().starts_with("//"))
}

/// Floor of a file of the compiler, by its folder.
fn floor(path: &str) -> Option<u32> {
    let inner = path.strip_prefix("compiler/src/")?;
    let first = inner.split(['/', '.']).next()?;
    floor_of(first)
}

fn floor_of(module: &str) -> Option<u32> {
    Some(match module {
        "base" => 1,
        "loops" => 2,
        "kernel" => 3,
        "op" | "contracts" => 4,
        "ops" | "graph" => 5,
        "pass" | "onnx" | "target" | "npu" => 6,
        "passes" | "fusions" | "compress" | "plan" | "codegen" => 7,
        "pipeline" | "artifact" => 8,
        "lib" => 9,
        _ => return None,
    })
}

#[test]
fn every_arrow_points_down() {
    let mut wrong = vec![];
    for (path, text) in sources("compiler/src", ".rs") {
        let Some(own) = floor(&path) else { continue };
        // What only tests use may come from anywhere below the tests.
        let body = text.split("#[cfg(test)]").next().unwrap_or_default();
        for line in code(body) {
            for (at, _) in line.match_indices("crate::") {
                let module: String = line[at + 7..]
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                if let Some(other) = floor_of(&module)
                    && other > own
                {
                    wrong.push(format!(
                        "{path} (floor {own}) sees {module} (floor {other}): {}",
                        line.trim()
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn operators_and_graph_are_strangers() {
    for (path, text) in sources("compiler/src/ops", ".rs") {
        let body = text.split("#[cfg(test)]").next().unwrap_or_default();
        assert!(
            !code(body).any(|l| l.contains("crate::graph")),
            "{path} sees the graph"
        );
    }
    for (path, text) in sources("compiler/src/graph", ".rs") {
        let body = text.split("#[cfg(test)]").next().unwrap_or_default();
        // Reading text is the one place where an operator is looked up by its name.
        let allowed = path.ends_with("parse.rs");
        assert!(
            allowed || !code(body).any(|l| l.contains("crate::ops")),
            "{path} sees operators"
        );
    }
}

#[test]
fn libraries_stay_in_their_folders() {
    for (path, text) in sources("compiler/src", ".rs") {
        let own = |folder: &str| path.starts_with(&format!("compiler/src/{folder}/"));
        for line in code(&text) {
            assert!(
                own("codegen") || !line.contains("cranelift_"),
                "{path} names Cranelift: {line}"
            );
            assert!(
                own("onnx") || !line.contains("prost::"),
                "{path} reads protobuf: {line}"
            );
            assert!(
                !line.contains("std::fs::") && !line.contains("std::net::"),
                "{path} touches the outside: {line}"
            );
            assert!(
                !line.contains("HashMap::iter") && !line.contains("SystemTime"),
                "{path}: {line}"
            );
        }
    }
}

#[test]
fn files_begin_with_what_they_are() {
    for dir in ["compiler", "runtime", "targets", "tests"] {
        for (path, text) in sources(dir, ".rs") {
            if path.ends_with("/tests.rs") {
                continue;
            }
            let first = text.lines().next().unwrap_or_default();
            assert!(
                first.starts_with("//!") || first.starts_with("#!"),
                "{path} has no module documentation"
            );
        }
    }
}

#[test]
fn nothing_unfinished() {
    for dir in ["compiler", "runtime", "targets", "tests", "examples"] {
        for (path, text) in sources(dir, ".rs") {
            if path == "tests/tidy.rs" {
                continue;
            }
            for word in ["todo!", "unimplemented!", "FIXME", "XXX", "#[ignore"] {
                assert!(!text.contains(word), "{path} holds {word}");
            }
        }
    }
}

#[test]
fn the_roll_of_operators_is_complete() {
    let roll = std::fs::read_to_string(root().join("compiler/src/ops/mod.rs")).expect("the roll");
    for (path, text) in sources("compiler/src/ops", ".rs") {
        if !text.contains("pub static OPS") {
            continue;
        }
        let name = path
            .rsplit('/')
            .next()
            .and_then(|n| n.strip_suffix(".rs"))
            .unwrap_or_default();
        assert!(
            roll.lines().any(|l| l.trim() == format!("{name},")),
            "{path} is not on the roll"
        );
    }
}

#[test]
fn documents_name_files_that_exist() {
    for (path, text) in sources("docs", ".md")
        .into_iter()
        .chain(sources("", "README.md"))
    {
        for word in text.split('`').skip(1).step_by(2) {
            let is_path = word.contains('/')
                && !word.contains([' ', '<', '*', '$', ':', '(', '"', '{'])
                && [
                    "compiler/",
                    "runtime/",
                    "targets/",
                    "tests/",
                    "examples/",
                    "docs/",
                    "benches/",
                ]
                .iter()
                .any(|d| word.starts_with(d));
            if is_path {
                assert!(
                    root().join(word).exists(),
                    "{path} names {word}, which does not exist"
                );
            }
        }
    }
}

/// The stated minimum of Rust is what clippy lints for and no less than what any dependency asks.
#[test]
fn the_minimum_of_rust_holds_for_all_dependencies() {
    let number = |v: &str| {
        let mut parts: Vec<u32> = v.split('.').filter_map(|n| n.parse().ok()).collect();
        parts.resize(3, 0);
        parts
    };
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("the workspace");
    let stated = manifest
        .lines()
        .find_map(|l| l.strip_prefix("rust-version = "));
    let stated = stated.expect("a minimum").trim_matches('"');
    let clippy = std::fs::read_to_string(root().join("clippy.toml")).expect("clippy's settings");
    assert!(clippy.contains(&format!("msrv = \"{stated}\"")), "{clippy}");
    let out = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let all: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    let packages = all["packages"].as_array().expect("packages");
    assert!(packages.len() > 50);
    let newer: Vec<String> = packages
        .iter()
        .filter_map(|p| Some((p["name"].as_str()?, p["rust_version"].as_str()?)))
        .filter(|(_, v)| number(v) > number(stated))
        .map(|(n, v)| format!("{n} asks for {v}"))
        .collect();
    assert!(newer.is_empty(), "{newer:?}");
}
