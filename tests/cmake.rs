//! The CMake package: what it rebuilds and when, what it installs, and what it says to mistakes.
//!
//! Projects are written to a folder of their own and built by the machine's CMake, with Ninja and with make. Skipped, with a
//! line on stderr, where a program is missing.

use onnxc_compiler::onnx::proto::{EXTERNAL, ModelProto, StringStringEntryProto};
use onnxc_tests::generate::root;
use onnxc_tests::tools::{have, run, text};
use prost::Message;
use std::fs;
use std::path::Path;
use std::process::Command;

const TOOL: &str = env!("CARGO_BIN_EXE_onnxc-in-tests");

/// Writes a project in C and C++ that finds the package, with `lines` behind that.
fn project(dir: &Path, lines: &str) {
    let head = "cmake_minimum_required(VERSION 3.20)\nproject(app VERSION 2.3 LANGUAGES C CXX)\nset(CMAKE_CXX_STANDARD 17)\n\
                find_package(onnxc 0.1 CONFIG REQUIRED)\n";
    fs::write(dir.join("CMakeLists.txt"), format!("{head}{lines}")).unwrap();
}

fn configure(dir: &Path, more: &[&str]) -> std::process::Output {
    let mut cmake = Command::new("cmake");
    cmake.args(["-S", ".", "-B", "build"]).current_dir(dir);
    cmake.arg(format!(
        "-Donnxc_DIR={}",
        root().join("targets/cmake").display()
    ));
    cmake.arg(format!("-DONNXC_EXECUTABLE={TOOL}"));
    cmake.args(more).output().unwrap()
}

fn configured(dir: &Path, more: &[&str]) {
    let out = configure(dir, more);
    assert!(
        out.status.success(),
        "{}{}",
        text(&out),
        String::from_utf8_lossy(&out.stderr)
    );
}

/// Builds, and answers how many models and how many C files were compiled.
fn build(dir: &Path) -> (usize, usize) {
    let out = text(&run(dir, "cmake", &["--build", "build"]));
    (
        out.matches("Compiling the model").count(),
        out.matches("Building C").count(),
    )
}

fn digits() -> std::path::PathBuf {
    root().join("examples/digits")
}

/// The digits model with its largest constant in a file `digits.data` beside it.
fn with_external_data(dir: &Path) {
    let mut model = ModelProto::decode(&*fs::read(digits().join("digits.onnx")).unwrap()).unwrap();
    let constants = &mut model.graph.as_mut().unwrap().initializer;
    let largest = constants
        .iter_mut()
        .max_by_key(|t| t.raw_data.as_ref().map_or(0, |d| d.len()))
        .unwrap();
    fs::write(
        dir.join("digits.data"),
        largest.raw_data.take().expect("raw data"),
    )
    .unwrap();
    largest.data_location = EXTERNAL;
    largest.external_data = vec![StringStringEntryProto {
        key: "location".into(),
        value: "digits.data".into(),
    }];
    fs::write(dir.join("digits.onnx"), model.encode_to_vec()).unwrap();
}

#[test]
fn exactly_what_changed_is_compiled_again() {
    if !have("cmake") || !have("cc") {
        return;
    }
    for (generator, program) in [("Ninja", "ninja"), ("Unix Makefiles", "make")] {
        if !have(program) {
            continue;
        }
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path();
        with_external_data(dir);
        fs::create_dir(dir.join("pictures")).unwrap();
        let picture = |from: &str, to: &str| {
            let from = digits().join("pictures").join(from);
            fs::write(dir.join("pictures").join(to), fs::read(from).unwrap()).unwrap();
        };
        picture("1.png", "a.png");
        picture("2.png", "b.png");
        fs::copy(root().join("examples/c/main.c"), dir.join("main.c")).unwrap();
        project(
            dir,
            "onnxc_add_model(digits MODEL digits.onnx QUANTIZE int8 CALIBRATION pictures)\n\
             add_executable(app main.c)\ntarget_link_libraries(app onnxc::digits)\n",
        );
        configured(dir, &["-G", generator]);
        let library = || fs::read(dir.join("build/onnxc/digits/digits.o")).unwrap();
        assert_eq!(build(dir).0, 1, "{generator}");
        assert_eq!(build(dir), (0, 0), "{generator}: nothing changed");

        let before = library();
        let mut data = fs::read(dir.join("digits.data")).unwrap();
        data.chunks_exact_mut(4).for_each(|b| b[3] ^= 0x80);
        fs::write(dir.join("digits.data"), data).unwrap();
        assert_eq!(build(dir).0, 1, "{generator}: external data changed");
        assert_ne!(library(), before, "{generator}");
        assert_eq!(build(dir), (0, 0), "{generator}");

        picture("3.png", "b.png");
        assert_eq!(build(dir).0, 1, "{generator}: calibration data changed");
        assert_eq!(build(dir), (0, 0), "{generator}");
        picture("4.png", "c.png");
        assert_eq!(build(dir).0, 1, "{generator}: calibration data was added");
        assert_eq!(build(dir), (0, 0), "{generator}");

        configured(dir, &["-DONNXC_FLAGS=-O1"]);
        assert_eq!(build(dir).0, 1, "{generator}: a flag changed");
        configured(dir, &[]);
        assert_eq!(build(dir), (0, 0), "{generator}: configured again");
    }
}

const TWO: &str = r#"
#include "first.hpp"
#include "second.h"
#include <cstdio>
SECOND_DECLARE_ARENA(arena);
int main(int argc, char **argv) {
  float image[FIRST_INPUT_0_COUNT], a[10], b[10];
  for (int i = 0; i < FIRST_INPUT_0_COUNT; i++) image[i] = static_cast<float>(i % 7) / 7;
  first::Model model;
  if (argc != 2 || !model.load_weights(argv[1])) return 2;
  if (!model.run(image, a)) return 3;
  if (second_infer(arena, image, b) != ONNXC_OK) return 4;
  for (int i = 0; i < 10; i++) if (a[i] - b[i] > 1e-6f || b[i] - a[i] > 1e-6f) return 5;
  std::puts("same");
}
"#;

// Cross-built and run, installed, found by another project and by pkg-config; and no file tells where it was made.
#[test]
fn cross_built_installed_and_found() {
    let gcc = "aarch64-linux-gnu-gcc";
    if ![
        "cmake",
        gcc,
        "aarch64-linux-gnu-g++",
        "qemu-aarch64-static",
        "pkg-config",
    ]
    .iter()
    .all(|p| have(p))
    {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let (dir, stage) = (temp.path().join("src"), temp.path().join("stage"));
    fs::create_dir(&dir).unwrap();
    fs::copy(digits().join("digits.onnx"), dir.join("digits.onnx")).unwrap();
    fs::write(dir.join("main.cpp"), TWO).unwrap();
    project(
        &dir,
        "onnxc_add_model(one MODEL digits.onnx PREFIX first WEIGHTS file VERSION 7)\n\
         onnxc_add_model(two MODEL digits.onnx PREFIX second TARGET_CPU cortex-a53 REPORT two.json)\n\
         add_executable(app main.cpp)\ntarget_link_libraries(app onnxc::one onnxc::two)\n\
         onnxc_install_model(one EXPORT models)\nonnxc_install_model(two EXPORT models)\n\
         install(EXPORT models DESTINATION lib/cmake/models NAMESPACE models:: FILE modelsConfig.cmake)\n",
    );
    let toolchain = format!(
        "-DCMAKE_TOOLCHAIN_FILE={}",
        root().join("examples/cmake/aarch64.cmake").display()
    );
    configured(&dir, &[&toolchain, "-DCMAKE_INSTALL_LIBDIR=lib"]);
    assert_eq!(build(&dir).0, 2);
    let report = |name: &str| -> serde_json::Value {
        serde_json::from_slice(&fs::read(dir.join("build").join(name)).unwrap()).unwrap()
    };
    assert_eq!(report("onnxc/one/first.json")["cpu"], "cortex-a55");
    assert_eq!(report("two.json")["cpu"], "cortex-a53");
    let stage_text = stage.display().to_string();
    run(
        &dir,
        "cmake",
        &["--install", "build", "--prefix", &stage_text],
    );
    let weights = stage.join("share/onnxc/first.weights");
    let shown = |program: &Path| {
        let args = [program.to_str().unwrap(), weights.to_str().unwrap()];
        text(&run(&dir, "qemu-aarch64-static", &args))
    };
    assert_eq!(shown(&dir.join("build/app")), "same\n");

    let here = temp.path().display().to_string();
    let mut seen = 0;
    for name in [
        "include/first.h",
        "include/first.hpp",
        "include/second.h",
        "lib/libone.a",
        "lib/libtwo.a",
        "lib/pkgconfig/one.pc",
        "share/onnxc/first.weights",
    ] {
        let bytes = fs::read(stage.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let tells = bytes.windows(here.len()).any(|w| w == here.as_bytes());
        assert!(!tells, "{name} holds a path of the build");
        seen += bytes.len();
    }
    assert!(seen > 100_000);

    // The tree may be moved.
    let moved = temp.path().join("moved");
    fs::rename(&stage, &moved).unwrap();
    let weights = moved.join("share/onnxc/first.weights");
    let pc = Command::new("pkg-config")
        .args(["--variable=weights", "one"])
        .env("PKG_CONFIG_PATH", moved.join("lib/pkgconfig"))
        .output()
        .unwrap();
    let told = fs::canonicalize(text(&pc).trim()).unwrap();
    assert_eq!(told, fs::canonicalize(&weights).unwrap());
    let other = temp.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("main.cpp"), TWO).unwrap();
    fs::write(
        other.join("CMakeLists.txt"),
        "cmake_minimum_required(VERSION 3.20)\nproject(other LANGUAGES CXX)\nset(CMAKE_CXX_STANDARD 17)\n\
         find_package(models CONFIG REQUIRED)\nadd_executable(app main.cpp)\ntarget_link_libraries(app models::one models::two)\n",
    )
    .unwrap();
    let models = format!("-Dmodels_DIR={}", moved.join("lib/cmake/models").display());
    configured(&other, &[&toolchain, &models]);
    build(&other);
    let args = ["build/app", weights.to_str().unwrap()];
    assert_eq!(text(&run(&other, "qemu-aarch64-static", &args)), "same\n");
}

#[test]
fn mistakes_are_explained() {
    if !have("cmake") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    fs::copy(digits().join("digits.onnx"), dir.join("m.onnx")).unwrap();
    for (lines, parts) in [
        (
            "onnxc_add_model(m MODEL m.onnx SPEED fast)",
            "not understood: SPEED fast",
        ),
        ("onnxc_add_model(m)", "MODEL is missing"),
        ("onnxc_add_model(m MODEL)", "nothing stands behind MODEL"),
        ("onnxc_add_model(m MODEL none.onnx)", "MODEL: there is no"),
        (
            "onnxc_add_model(m MODEL m.onnx PREFIX 1a)",
            "no C identifier",
        ),
        (
            "onnxc_add_model(m MODEL m.onnx CALIBRATION .)",
            "CALIBRATION without QUANTIZE",
        ),
        (
            "onnxc_add_model(m MODEL m.onnx QUANTIZE int8 CALIBRATION no)",
            "CALIBRATION: there is no",
        ),
        (
            "onnxc_add_model(m MODEL m.onnx WEIGHTS flash)",
            "is not embed, file",
        ),
        (
            "onnxc_add_model(m MODEL m.onnx DIMS batch)",
            "is not NAME=N",
        ),
        (
            "add_library(m INTERFACE)\nonnxc_add_model(m MODEL m.onnx)",
            "another target of this name",
        ),
        (
            "set(CMAKE_SYSTEM_PROCESSOR mips)\nonnxc_add_model(m MODEL m.onnx)",
            "no code for the processor \"mips\"",
        ),
        (
            "set(CMAKE_SYSTEM_NAME Plan9)\nonnxc_add_model(m MODEL m.onnx)",
            "no target is known for the system \"Plan9\"",
        ),
        (
            "onnxc_install_model(nobody)",
            "no target of onnxc_add_model()",
        ),
    ] {
        project(dir, lines);
        let out = configure(dir, &[]);
        // CMake breaks lines as it likes.
        let said = String::from_utf8_lossy(&out.stderr);
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            !out.status.success() && said.contains(parts),
            "{lines}: {said}"
        );
    }
    // A tool that is none.
    project(dir, "");
    let out = configure(dir, &["-DONNXC_EXECUTABLE=/bin/false"]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(
        !out.status.success() && said.contains("does not run here"),
        "{said}"
    );
    // A CPU that nobody knows is an error of the build, not a guess.
    project(dir, "onnxc_add_model(m MODEL m.onnx)");
    configured(
        dir,
        &[
            &format!("-DONNXC_EXECUTABLE={TOOL}"),
            "-DONNXC_TARGET=aarch64-linux-gnu",
            "-DONNXC_TARGET_CPU=cortex-a999",
        ],
    );
    let out = Command::new("cmake")
        .args(["--build", "build"])
        .current_dir(dir)
        .output()
        .unwrap();
    let said = text(&out) + &String::from_utf8_lossy(&out.stderr);
    assert!(
        !out.status.success() && said.contains("cortex-a999"),
        "{said}"
    );
}

#[test]
fn the_package_has_the_version_of_the_tool() {
    let file = fs::read_to_string(root().join("targets/cmake/onnxcConfigVersion.cmake")).unwrap();
    assert!(file.contains(&format!(
        "(PACKAGE_VERSION \"{}\")",
        env!("CARGO_PKG_VERSION")
    )));
}
