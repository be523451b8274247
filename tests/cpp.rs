//! The C++17 face: generated headers compile, with every flag they promise to bear, and do what they say on real models.

use onnxc_compiler::artifact::{Placement, cpp, header};
use onnxc_compiler::onnx::proto::{DimensionValue, ModelProto, TypeValue};
use onnxc_tests::generate::root;
use onnxc_tests::models::wild;
use onnxc_tests::tools::{have, run, text};
use prost::Message;
use std::fs;
use std::path::Path;

const TOOL: &str = env!("CARGO_BIN_EXE_onnxc-in-tests");
const FLAGS: &[&str] = &[
    "-std=c++17",
    "-Wall",
    "-Wextra",
    "-pedantic",
    "-Wconversion",
    "-Werror",
    "-O1",
];

#[test]
fn headers_of_all_kinds_of_models_compile() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = String::new();
    for (prefix, placement, free) in [
        ("fixed", Placement::Embed, false),
        ("free_sizes", Placement::Section(".flash".into()), true),
        ("file", Placement::File, true),
        ("class", Placement::File, false),
        ("std", Placement::Embed, false),
    ] {
        let info = wild(prefix, placement, free);
        let name = format!("{prefix}.h");
        fs::write(dir.path().join(&name), header::header(&info)).unwrap();
        let text = cpp::cpp(&info, &name);
        fs::write(dir.path().join(format!("{prefix}.hpp")), text).unwrap();
        all += &format!("#include \"{prefix}.hpp\"\n");
    }
    all += "int main() { return sizeof(fixed::Model) + sizeof(free_sizes::Model) + sizeof(class_::Model) + sizeof(std_::Model) == 0; }\n";
    fs::write(dir.path().join("all.cpp"), all).unwrap();
    for compiler in ["g++", "aarch64-linux-gnu-g++", "clang++"] {
        if !have(compiler) {
            continue;
        }
        for more in [
            &["-c"][..],
            &["-c", "-fno-exceptions", "-fno-rtti"],
            &["-c", "-std=c++20", "-DONNXC_NO_FILES"],
        ] {
            run(dir.path(), compiler, &[FLAGS, more, &["all.cpp"]].concat());
        }
    }
}

/// The digits model with a free number of pictures.
fn free_batch(dir: &Path) {
    let file = fs::read(root().join("examples/digits/digits.onnx")).unwrap();
    let mut model = ModelProto::decode(&*file).unwrap();
    let graph = model.graph.as_mut().unwrap();
    graph.value_info.clear();
    for port in [&mut graph.input[0], &mut graph.output[0]] {
        match port.r#type.as_mut().unwrap().value.as_mut().unwrap() {
            TypeValue::Tensor(t) => {
                let first = &mut t.shape.as_mut().unwrap().dim[0];
                first.value = Some(DimensionValue::DimParam("n".into()));
            }
            other => panic!("{other:?}"),
        }
    }
    fs::write(dir.join("batch.onnx"), model.encode_to_vec()).unwrap();
}

const PROGRAM: &str = r#"
#include "batch.hpp"
#include "digits.hpp"
#include <array>
#include <cstdio>
#include <vector>
#define CHECK(x) do { if (!(x)) { std::printf("line %d: %s\n", __LINE__, #x); return 1; } } while (0)

DIGITS_DECLARE_ARENA(arena);

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  std::array<float, 64> image{};
  for (std::size_t i = 0; i < image.size(); i++) image[i] = static_cast<float>(i % 5) / 5;
  float scores[10];

  // Weights: none, no file, a file that is something else, the right one.
  digits::Model model;
  CHECK(model.status().ok());
  CHECK(model.run(image, scores) == onnxc::Status(ONNXC_NULL_POINTER));
  CHECK(model.load_weights("no such file") == onnxc::Status(onnxc::Status::no_file));
  CHECK(model.load_weights(argv[2]) == onnxc::Status(onnxc::Status::wrong_weights));
  CHECK(model.load_weights(argv[1]).ok());
  CHECK(model.run(image, scores).ok());

  // Sizes that are known when it runs are checked.
  std::vector<float> few(9), enough(10);
  CHECK(model.run(image, few) == onnxc::Status(onnxc::Status::short_buffer));
  CHECK(model.run(image, enough).ok());
  for (std::size_t i = 0; i < 10; i++) CHECK(enough[i] == scores[i]);
  CHECK(model.run(onnxc::Span<const float, 64>(image.data(), 63), scores).code() == onnxc::Status::short_buffer);

  // Moved: the new one runs, the old one says that it can't.
  digits::Model moved = std::move(model);
  CHECK(moved.run(image, scores).ok());
  CHECK(!model.run(image, scores).ok());
  model = std::move(moved);
  CHECK(model.run(image, scores).ok());

  // An arena of the caller's, and weights that two models share.
  const onnxc::Weights weights(argv[1], digits::Model::describe());
  digits::Model second(arena);
  CHECK(second.use_weights(weights).ok());
  CHECK(second.run(image, enough).ok());
  for (std::size_t i = 0; i < 10; i++) CHECK(enough[i] == scores[i]);
  digits::Model odd(arena + 1, sizeof arena - 1);
  CHECK(odd.use_weights(weights).ok());
  CHECK(!odd.run(image, scores).ok());

  // A free size: within its bounds, and buffers that hold it.
  batch::Model many;
  std::vector<float> images(3 * 64), answers(3 * 10);
  for (std::size_t i = 0; i < images.size(); i++) images[i] = image[i % 64];
  std::int64_t sizes[BATCH_NUM_OUT_DIMS];
  CHECK(many.run(batch::Dims{3}, images, answers, &sizes).ok());
  CHECK(sizes[0] == 3 && sizes[1] == 10);
  for (std::size_t i = 0; i < answers.size(); i++) CHECK(answers[i] - scores[i % 10] < 1e-5f && scores[i % 10] - answers[i] < 1e-5f);
  CHECK(many.run(batch::Dims{2}, images, answers).ok());
  CHECK(many.run(batch::Dims{4}, images, answers).code() == onnxc::Status::short_buffer);
  CHECK(many.run(batch::Dims{5}, images, answers).code() == ONNXC_BAD_DIM);
  CHECK(many.run(batch::Dims{0}, images, answers).code() == ONNXC_BAD_DIM);

#ifdef ONNXC_EXCEPTIONS
  bool thrown = false;
  try {
    many.run(batch::Dims{5}, images, answers).or_throw();
  } catch (const onnxc::Error &e) {
    thrown = e.status().code() == ONNXC_BAD_DIM;
  }
  CHECK(thrown);
#endif
  std::puts("fine");
}
"#;

#[test]
fn models_own_check_and_move() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    free_batch(dir);
    let digits = root().join("examples/digits/digits.onnx");
    fs::write(dir.join("main.cpp"), PROGRAM).unwrap();
    for (triple, compiler, runner) in [
        ("x86_64-unknown-linux-gnu", "g++", ""),
        (
            "aarch64-unknown-linux-gnu",
            "aarch64-linux-gnu-g++",
            "qemu-aarch64-static",
        ),
    ] {
        let native = triple.starts_with(std::env::consts::ARCH);
        if !have(compiler) || (!native && (runner.is_empty() || !have(runner))) {
            continue;
        }
        let compile = |model: &Path, name: &str, more: &[&str]| {
            let object = format!("{name}.o");
            let model = model.to_str().unwrap();
            let words = [
                &[
                    model, "-o", &object, "--emit", "obj,hpp", "--target", triple, "-q",
                ],
                more,
            ];
            run(dir, TOOL, &words.concat());
        };
        compile(&digits, "digits", &["--weights", "file=digits.weights"]);
        compile(&dir.join("batch.onnx"), "batch", &["--dim", "n=1..4"]);
        fs::write(dir.join("other.weights"), vec![b'x'; 200_000]).unwrap();
        for more in [&[][..], &["-fno-exceptions", "-fno-rtti"]] {
            let link = [
                "-static", "main.cpp", "digits.o", "batch.o", "-o", "program",
            ];
            run(dir, compiler, &[FLAGS, more, &link].concat());
            let command = format!(
                "{} ./program digits.weights other.weights",
                if native { "" } else { runner }
            );
            assert_eq!(
                text(&run(dir, "sh", &["-c", &command])),
                "fine\n",
                "{triple} {more:?}"
            );
        }
        // What can be known when it is compiled is an error there.
        let wrong = "#include \"digits.hpp\"\nint main() { digits::Model m; float image[63], scores[10]; return m.run(image, scores).code(); }\n";
        fs::write(dir.join("wrong.cpp"), wrong).unwrap();
        let out = std::process::Command::new(compiler)
            .args(FLAGS)
            .args(["-c", "wrong.cpp"])
            .current_dir(dir)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(
            !out.status.success() && said.contains("the array's length is not that"),
            "{said}"
        );
    }
}
