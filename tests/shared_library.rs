//! `--emit so`: a shared library that the tool makes without a linker, used by the system's linker and loader.

use onnxc_tests::generate::root;
use onnxc_tests::tools::{have, run, text};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const TOOL: &str = env!("CARGO_BIN_EXE_onnxc-in-tests");
const MODEL: &str = "examples/digits/digits.onnx";

fn compile(dir: &Path, words: &[&str]) {
    let model = root().join(MODEL);
    let mut all = vec![
        model.to_str().unwrap(),
        "--emit",
        "so,header",
        "-o",
        "libdigits.so",
    ];
    all.extend(words);
    run(dir, TOOL, &all);
}

/// Looks the model up by name, as programs that load models do.
const LOADER: &str = r#"
#include "digits.h"
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

DIGITS_DECLARE_ARENA(arena);

int main(int argc, char **argv) {
  void *library = dlopen(argv[argc - 1], RTLD_NOW | RTLD_LOCAL);
  if (!library) return puts(dlerror());
  int32_t (*run)(const onnxc_context *) = (int32_t (*)(const onnxc_context *))dlsym(library, "digits_run");
  const onnxc_descriptor *about = dlsym(library, "digits_descriptor");
  if (!run || !about || dlsym(library, "digits_weights")) return puts("symbols");
  if (about->arena_size != DIGITS_ARENA_SIZE) return puts("descriptor");
  float image[DIGITS_INPUT_0_COUNT], scores[DIGITS_OUTPUT_0_COUNT];
  for (int i = 0; i < DIGITS_INPUT_0_COUNT; i++) image[i] = (float)(i % 7) / 7;
  const void *in[] = {image};
  void *out[] = {scores};
  onnxc_context ctx;
  memset(&ctx, 0, sizeof ctx);
  ctx.abi_version = ONNXC_ABI_VERSION;
  ctx.struct_size = sizeof ctx;
  ctx.arena = arena;
  ctx.arena_size = sizeof arena;
  ctx.inputs = in;
  ctx.num_inputs = 1;
  ctx.outputs = out;
  ctx.num_outputs = 1;
  if (run(&ctx)) return puts("status");
  for (int i = 0; i < DIGITS_OUTPUT_0_COUNT; i++) printf("%08x ", *(unsigned *)&scores[i]);
  return dlclose(library);
}
"#;

/// The program of `LOADER`, by a compiler; what it prints when it runs with the library.
fn answers(dir: &Path, cc: &str, runner: &[&str]) -> String {
    fs::write(dir.join("loader.c"), LOADER).unwrap();
    run(
        dir,
        cc,
        &[
            "-O1",
            "-fno-strict-aliasing",
            "loader.c",
            "-o",
            "loader",
            "-ldl",
        ],
    );
    let mut words: Vec<&str> = runner.to_vec();
    words.extend(["./loader", "./libdigits.so"]);
    text(&run(dir, words[0], &words[1..]))
}

/// The same from the object, linked into the program.
fn linked(dir: &Path, cc: &str, runner: &[&str], words: &[&str]) -> String {
    let model = root().join(MODEL);
    let mut all = vec![model.to_str().unwrap(), "-o", "digits.o"];
    all.extend(words);
    run(dir, TOOL, &all);
    // No file at all: the program itself.
    let source = LOADER.replace("dlopen(argv[argc - 1], ", "dlopen(argc < 0 ? argv[0] : 0, ");
    fs::write(dir.join("self.c"), source).unwrap();
    run(
        dir,
        cc,
        &[
            "-O1",
            "-fno-strict-aliasing",
            "-rdynamic",
            "self.c",
            "digits.o",
            "-Wl,-u,digits_run",
            "-Wl,-u,digits_descriptor",
            "-o",
            "whole",
            "-ldl",
        ],
    );
    let mut words: Vec<&str> = runner.to_vec();
    words.push("./whole");
    text(&run(dir, words[0], &words[1..]))
}

#[test]
fn loaded_as_linked() {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        eprintln!("skipped: this wants an x86_64 Linux machine");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    if !have("gcc") {
        return;
    }
    compile(dir.path(), &["--target-cpu", "x86-64"]);
    let words = ["--target-cpu", "x86-64"];
    let loaded = answers(dir.path(), "gcc", &["env"]);
    assert_eq!(loaded.split_whitespace().count(), 10, "{loaded}");
    assert_eq!(loaded, linked(dir.path(), "gcc", &["env"], &words));
}

#[test]
fn loaded_on_aarch64() {
    let (cc, emulator) = ("aarch64-linux-gnu-gcc", "qemu-aarch64-static");
    if !have(cc) || !have(emulator) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let words = [
        "--target",
        "aarch64-unknown-linux-gnu",
        "--target-cpu",
        "cortex-a53",
    ];
    compile(dir.path(), &words);
    let runner = [emulator, "-L", "/usr/aarch64-linux-gnu"];
    let loaded = answers(dir.path(), cc, &runner);
    assert_eq!(loaded.split_whitespace().count(), 10, "{loaded}");
    assert_eq!(loaded, linked(dir.path(), cc, &runner, &words));
}

// Linkers read section headers and the name; a program that was linked with it finds it by that name.
#[test]
fn linkers_take_it() {
    if !have("gcc") || !have("readelf") || !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    compile(dir.path(), &[]);
    let main = root().join("examples/c/main.c");
    run(
        dir.path(),
        "gcc",
        &[
            "-I.",
            main.to_str().unwrap(),
            "-L.",
            "-ldigits",
            "-o",
            "app",
        ],
    );
    let out = Command::new("./app")
        .current_dir(dir.path())
        .env("LD_LIBRARY_PATH", ".")
        .stdin(Stdio::from(
            fs::File::open(root().join("examples/digits/pictures/3.pgm")).unwrap(),
        ))
        .output()
        .unwrap();
    assert!(text(&out).starts_with("3 "), "{out:?}");

    let read = |words: &[&str]| {
        let out = run(dir.path(), "readelf", words);
        assert!(
            out.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        text(&out)
    };
    let all = read(&["-aW", "libdigits.so"]);
    assert!(all.contains("soname: [libdigits.so]"), "{all}");
    assert!(
        !all.contains("NEEDED") && !all.contains("TEXTREL") && !all.contains("RWE"),
        "{all}"
    );
    let names = read(&["--dyn-syms", "-W", "libdigits.so"]);
    let names: Vec<&str> = names
        .lines()
        .filter(|l| l.contains("digits_"))
        .filter_map(|l| l.split_whitespace().last())
        .collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["digits_descriptor", "digits_run"]);
    // Layers have names for profilers.
    assert!(read(&["-sW", "libdigits.so"]).contains("digits_000_"));
}
