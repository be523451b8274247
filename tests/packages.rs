//! What is shipped, installed into clean folders and used from there: Debian package, Python wheel, completion, manual pages; and what
//! lists the parts.
//!
//! A part is skipped, with a line on stderr, where the machine lacks what makes the package: cargo-deb, cargo-cyclonedx; a Python (`ONNXC_PYTHON`) with
//! maturin and numpy.

use onnxc_tests::generate::root;
use onnxc_tests::tools::{done, have, onnxc, run, text};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TOOL: &str = env!("CARGO_BIN_EXE_onnxc-in-tests");

/// The tool's commands, from its help.
fn verbs() -> Vec<String> {
    let help = text(&run(Path::new("."), TOOL, &["--help"]));
    let list = help.split("Commands:").nth(1).unwrap();
    let list = list.split("Options:").next().unwrap();
    let verbs = list
        .lines()
        .filter(|l| l.starts_with("  ") && !l.starts_with("   "));
    let verbs = verbs.filter_map(|l| l.split_whitespace().next());
    verbs.filter(|v| *v != "help").map(String::from).collect()
}

#[test]
fn a_manual_page_for_each_command() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap();
    run(dir.path(), TOOL, &["--print", "man", "-o", folder]);
    let mut pages: Vec<String> = verbs().iter().map(|v| format!("onnxc-{v}.1")).collect();
    pages.push("onnxc.1".into());
    assert!(pages.len() > 10, "{pages:?}");
    pages.sort();
    let mut written: Vec<String> = fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    written.sort();
    assert_eq!(written, pages);
    for page in &pages {
        let page = fs::read_to_string(dir.path().join(page)).unwrap();
        assert!(page.contains(".TH onnxc"), "{page}");
        assert!(
            page.contains(".SH NAME") && page.contains(".SH OPTIONS"),
            "{page}"
        );
    }
    let compile = fs::read_to_string(dir.path().join("onnxc-compile.1")).unwrap();
    assert!(compile.contains("target\\-cpu"), "{compile}");
    // Hidden words are for build systems.
    assert!(!compile.contains("machine\\-flag"), "{compile}");
    let whole = text(&run(dir.path(), TOOL, &["--print", "man"]));
    assert_eq!(
        whole,
        fs::read_to_string(dir.path().join("onnxc.1")).unwrap()
    );
}

#[test]
fn words_are_completed() {
    let dir = tempfile::tempdir().unwrap();
    if !have("bash") {
        return;
    }
    let script = text(&run(dir.path(), TOOL, &["--print", "completions-bash"]));
    fs::write(dir.path().join("onnxc"), script).unwrap();
    let complete = |words: &[&str]| {
        let list: Vec<String> = words.iter().map(|w| format!("'{w}'")).collect();
        let command = format!(
            "source ./onnxc; COMP_WORDS=({}); COMP_CWORD={}; _onnxc onnxc '{}' '{}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            list.join(" "),
            words.len() - 1,
            words[words.len() - 1],
            words[words.len() - 2]
        );
        text(&run(dir.path(), "bash", &["-euc", &command]))
    };
    let all = complete(&["onnxc", ""]);
    for verb in verbs() {
        assert!(all.lines().any(|l| l == verb), "{verb} is not in {all}");
    }
    assert_eq!(complete(&["onnxc", "veri"]).trim(), "verify");
    assert!(complete(&["onnxc", "compile", "--target-c"]).contains("--target-cpu"));
    let goals = complete(&["onnxc", "compile", "--optimize-for", ""]);
    assert_eq!(
        goals.split_whitespace().collect::<Vec<_>>(),
        ["latency", "memory", "size"]
    );
    for (list, word) in [
        ("completions-zsh", "#compdef onnxc"),
        ("completions-fish", "complete -c onnxc"),
    ] {
        let script = text(&run(dir.path(), TOOL, &["--print", list]));
        assert!(
            script.contains(word) && script.contains("target-cpu"),
            "{script}"
        );
    }
}

/// A folder for cargo's outputs in which the tool of these tests is the release build.
fn built(dir: &Path) -> PathBuf {
    let release = dir.join("built/release");
    fs::create_dir_all(&release).unwrap();
    fs::copy(onnxc(), release.join("onnxc")).unwrap();
    dir.join("built")
}

#[test]
fn debian_package() {
    if !have("cargo-deb") || !have("dpkg-deb") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    run(root(), "targets/debian/stage.sh", &[TOOL]);
    done(
        Command::new("cargo-deb")
            .args(["-p", "onnxc", "--no-build", "--fast", "--output"])
            .arg(dir.path().join("onnxc.deb"))
            .current_dir(root())
            .env("CARGO_TARGET_DIR", built(dir.path())),
    );
    let deb = dir.path().join("onnxc.deb");
    let deb = deb.to_str().unwrap();
    let field = |name: &str| text(&run(dir.path(), "dpkg-deb", &["-f", deb, name]));
    assert_eq!(field("Package").trim(), "onnxc");
    assert!(field("Version").starts_with(env!("CARGO_PKG_VERSION")));
    assert!(field("Depends").contains("libc6"), "{}", field("Depends"));
    run(dir.path(), "dpkg-deb", &["-x", deb, "root"]);
    let usr = dir.path().join("root/usr");
    for file in [
        "bin/onnxc",
        "include/onnxc.h",
        "lib/cmake/onnxc/onnxcConfig.cmake",
        "share/bash-completion/completions/onnxc",
        "share/doc/onnxc/LICENSE-MIT",
        "share/doc/onnxc/changelog.Debian.gz",
        "share/doc/onnxc/copyright",
        "share/fish/vendor_completions.d/onnxc.fish",
        "share/man/man1/onnxc-compile.1.gz",
        "share/man/man1/onnxc.1.gz",
        "share/zsh/vendor-completions/_onnxc",
    ] {
        assert!(usr.join(file).exists(), "the package has no {file}");
    }
    // The installed tool with the installed header.
    let tool = usr.join("bin/onnxc");
    let model = root().join("examples/digits/digits.onnx");
    run(
        dir.path(),
        tool.to_str().unwrap(),
        &[model.to_str().unwrap(), "-o", "digits.o"],
    );
    assert!(dir.path().join("digits.h").exists());
    cmake_package(dir.path(), &usr);
}

/// A project that finds the package in its prefix, and with it the tool.
fn cmake_package(dir: &Path, usr: &Path) {
    if !have("cmake") || !have("make") || !have("cc") {
        return;
    }
    let examples = root().join("examples");
    let lists = format!(
        "cmake_minimum_required(VERSION 3.20)\nproject(app C)\nfind_package(onnxc CONFIG REQUIRED)\n\
         onnxc_add_model(digits MODEL {0}/digits/digits.onnx)\nadd_executable(app {0}/c/main.c)\n\
         target_link_libraries(app PRIVATE onnxc::digits)\n",
        examples.display()
    );
    fs::write(dir.join("CMakeLists.txt"), lists).unwrap();
    let prefix = format!("-DCMAKE_PREFIX_PATH={}", usr.display());
    run(
        dir,
        "cmake",
        &["-S", ".", "-B", "b", "-G", "Unix Makefiles", &prefix],
    );
    run(dir, "cmake", &["--build", "b"]);
    let picture = fs::File::open(examples.join("digits/pictures/3.pgm")).unwrap();
    let out = Command::new(dir.join("b/app"))
        .stdin(picture)
        .output()
        .unwrap();
    assert!(text(&out).starts_with("3 "), "{}", text(&out));
}

/// Builds the wheel by maturin around the profile of these tests, installs it into a new environment, and runs `tests/packages/wheel.py` there.
#[test]
fn python_wheel() {
    let python = std::env::var("ONNXC_PYTHON").unwrap_or("python3".into());
    let has = |module: &str| {
        let import = Command::new(&python)
            .args(["-c", &format!("import {module}")])
            .output();
        let found = import.is_ok_and(|o| o.status.success());
        if !found {
            eprintln!("skipped: {python} has no {module}");
        }
        found
    };
    if !has("numpy") || !has("maturin") || !has("venv") {
        return;
    }
    let tool = onnxc();
    let profile = tool.parent().unwrap();
    let name = match profile.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        other => other,
    };
    let dir = tempfile::tempdir().unwrap();
    let out = Command::new(&python)
        .args([
            "-m",
            "maturin",
            "build",
            "--offline",
            "--locked",
            "--profile",
            name,
            "--out",
        ])
        .arg(dir.path())
        .current_dir(root().join("targets/python"))
        .env("CARGO_TARGET_DIR", profile.parent().unwrap())
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let wheel = fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.extension().is_some_and(|e| e == "whl"));
    let wheel = wheel.expect("a wheel");

    // A new environment; numpy is lent to it, as there may be no network.
    run(dir.path(), &python, &["-m", "venv", "env"]);
    let inside = dir.path().join("env/bin/python");
    let inside = inside.to_str().unwrap();
    run(
        dir.path(),
        inside,
        &[
            "-m",
            "pip",
            "install",
            "-q",
            "--no-index",
            "--no-deps",
            wheel.to_str().unwrap(),
        ],
    );
    let lent = "import numpy, os; print(os.path.dirname(os.path.dirname(numpy.__file__)))";
    let lent = text(&run(dir.path(), &python, &["-c", lent]));
    let site = text(&run(
        dir.path(),
        inside,
        &[
            "-c",
            "import sysconfig; print(sysconfig.get_path('purelib'))",
        ],
    ));
    for part in ["numpy", "numpy.libs"] {
        let from = Path::new(lent.trim()).join(part);
        if from.exists() {
            std::os::unix::fs::symlink(from, Path::new(site.trim()).join(part)).unwrap();
        }
    }
    let script = root().join("tests/packages/wheel.py");
    let examples = root().join("examples");
    let data = root().join("tests/data");
    let [script, examples, data] = [&script, &examples, &data].map(|p| p.to_str().unwrap());
    let out = run(dir.path(), inside, &[script, examples, data]);
    assert!(text(&out).ends_with("all is well\n"), "{}", text(&out));
}

/// Name and version of each package, from lines that begin `NAME vVERSION`.
fn named(tree: &str) -> BTreeSet<(String, String)> {
    let lines = tree.lines().filter_map(|l| l.split_once(" v"));
    let pairs = lines.map(|(name, rest)| (name, rest.split_whitespace().next().unwrap()));
    pairs.map(|(n, v)| (n.to_string(), v.to_string())).collect()
}

/// The list of parts has each crate that the lock file puts into the tool, none that it does not have, and every one with a licence.
#[test]
fn list_of_parts() {
    if !have("cargo-cyclonedx") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let list = |name: &str| {
        let to = dir.path().join(name);
        run(root(), "targets/sbom.sh", &[to.to_str().unwrap()]);
        fs::read_to_string(to).unwrap()
    };
    let text = list("a.json");
    assert!(text == list("b.json"), "it is another one each time");
    assert!(
        !text.contains(root().to_str().unwrap()),
        "it names a folder"
    );
    let list: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(list["bomFormat"], "CycloneDX");
    assert_eq!(list["metadata"]["component"]["name"], "onnxc");
    let parts = list["components"].as_array().unwrap();
    let word = |part: &serde_json::Value, key: &str| part[key].as_str().unwrap().to_string();
    let listed: BTreeSet<(String, String)> = parts
        .iter()
        .map(|p| (word(p, "name"), word(p, "version")))
        .collect();
    let edges = [
        "tree",
        "--locked",
        "--offline",
        "-p",
        "onnxc",
        "-e",
        "normal,build",
    ];
    let tree = [&edges[..], &["--target", "all", "--prefix", "none"]].concat();
    let mut used = named(&of_cargo(&tree));
    used.remove(&("onnxc".into(), env!("CARGO_PKG_VERSION").into()));
    let missing: Vec<_> = used.difference(&listed).collect();
    assert!(used.len() > 100 && missing.is_empty(), "{missing:?}");
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    for (name, version) in &listed {
        let entry = format!("name = \"{name}\"\nversion = \"{version}\"\n");
        assert!(
            lock.contains(&entry),
            "{name} {version} is not in Cargo.lock"
        );
    }
    let bare: Vec<String> = parts
        .iter()
        .filter(|p| p["licenses"].as_array().is_none_or(Vec::is_empty))
        .map(|p| word(p, "name"))
        .collect();
    assert!(bare.is_empty(), "no licence: {bare:?}");
}

fn of_cargo(words: &[&str]) -> String {
    let cargo = std::env::var("CARGO").unwrap_or("cargo".into());
    text(&run(root(), &cargo, words))
}

/// What would be uploaded: a file for each crate, with its sources and licences, and no data of tests.
#[test]
fn crates_are_packed_whole() {
    let dir = tempfile::tempdir().unwrap();
    let words = "package --workspace --allow-dirty --offline --locked --exclude onnxc-tests --exclude onnxc-peers";
    let words: Vec<&str> = words.split_whitespace().collect();
    let target = dir.path().to_str().unwrap();
    of_cargo(&[&words[..], &["--no-verify", "--target-dir", target]].concat());
    let packed = fs::read_dir(dir.path().join("package")).unwrap();
    let packed = packed.map(|e| e.unwrap().path());
    let packed = packed
        .filter(|p| p.extension().is_some_and(|e| e == "crate"))
        .count();
    let list = of_cargo(&[&words[..], &["--list"]].concat());
    let count = |name: &str| {
        list.lines()
            .filter(|f| f.rsplit('/').next() == Some(name))
            .count()
    };
    assert_eq!(count("Cargo.toml"), 7, "{list}");
    assert_eq!(packed, 7);
    for name in ["lib.rs", "LICENSE-MIT", "LICENSE-APACHE"] {
        assert!(count(name) >= 7, "{name}: {list}");
    }
    let data = [".onnx", ".npz", ".npy"];
    let data = list.lines().filter(|f| data.iter().any(|d| f.ends_with(d)));
    assert_eq!(data.count(), 0, "{list}");
}
