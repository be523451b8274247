//! Generated files are fresh, and what is generated for users compiles and means what it says.

use onnxc_compiler::artifact::info::LevelInfo;
use onnxc_compiler::artifact::{ModelInfo, Placement, descriptor, header, rust_module};
use onnxc_tests::generate::{c_header, check_fresh, npu_header};
use onnxc_tests::models::wild;
use onnxc_tests::tools::{have, run, text};
use std::fmt::Write as _;
use std::fs;

const C_FLAGS: &[&str] = &["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror"];
const CXX_FLAGS: &[&str] = &["-std=c++17", "-Wall", "-Wextra", "-pedantic", "-Werror"];

#[test]
fn c_header_is_fresh() {
    check_fresh("runtime/include/onnxc.h", &c_header());
    check_fresh("runtime/include/onnxc_npu.h", &npu_header());
    check_fresh("runtime/include/onnxc.hpp", onnxc_abi::CPP_HEADER);
}

#[test]
fn documents_are_fresh() {
    check_fresh("docs/support.md", &onnxc_tests::docs::support());
    check_fresh("docs/diagnostics.md", &onnxc_tests::docs::diagnostics());
    check_fresh("docs/options.md", &onnxc_tests::docs::options());
}

// The same layout in C as in Rust, for every field.
#[test]
fn c_layout_is_the_rust_layout() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = String::from(
        "#include \"onnxc_npu.h\"\n#include \"onnxc.h\"\n#include \"onnxc_npu.h\"\n#include <string.h>\n",
    );
    for s in [onnxc_abi::c::STRUCTS, onnxc_abi::c_npu::STRUCTS].concat() {
        writeln!(
            source,
            "typedef char s_{0}[sizeof({0}) == {1} ? 1 : -1];",
            s.name, s.size
        )
        .unwrap();
        for f in s.fields {
            let (name, field, at) = (s.name, f.name, f.offset);
            writeln!(
                source,
                "typedef char o_{name}_{field}[offsetof({name}, {field}) == {at} ? 1 : -1];"
            )
            .unwrap();
        }
    }
    source.push_str("int main(void) { return strcmp(onnxc_status_text(0), \"success\"); }\n");
    fs::write(dir.path().join("onnxc.h"), c_header()).unwrap();
    fs::write(dir.path().join("onnxc_npu.h"), npu_header()).unwrap();
    fs::write(dir.path().join("layout.c"), &source).unwrap();
    fs::write(dir.path().join("layout.cpp"), &source).unwrap();
    for (compiler, flags, file) in [
        ("gcc", C_FLAGS, "layout.c"),
        ("aarch64-linux-gnu-gcc", C_FLAGS, "layout.c"),
        ("g++", CXX_FLAGS, "layout.cpp"),
    ] {
        if have(compiler) {
            run(
                dir.path(),
                compiler,
                &[flags, &["-c", file, "-o", "layout.o"]].concat(),
            );
        }
    }
}

// A stand-in for a compiled model: checks what it is given and answers with it.
fn fake_model(info: &ModelInfo) -> String {
    let bytes = descriptor::descriptor(info).unwrap();
    let list: Vec<String> = bytes.iter().map(u8::to_string).collect();
    let (p, up) = (&info.prefix, info.upper_prefix());
    let free = !info.symbols.is_empty();
    let file = info.placement == Placement::File;
    format!(
        "#include \"{p}.h\"
extern const unsigned char {p}_descriptor[{}] __attribute__((aligned(16)));
const unsigned char {p}_descriptor[{}] = {{ {} }};
int32_t {p}_run(const onnxc_context *ctx) {{
  if (ctx->abi_version != 1 || ctx->struct_size != sizeof *ctx) return ONNXC_BAD_VERSION;
  if (ctx->arena_size < {up}_ARENA_SIZE) return ONNXC_ARENA_TOO_SMALL;
  if ((uintptr_t)ctx->arena % {up}_ARENA_ALIGN) return ONNXC_MISALIGNED;
  if (ctx->num_inputs != 3 || ctx->num_outputs != 2 || ctx->num_dims != {}) return ONNXC_BAD_COUNT;
  if ((ctx->weights != 0) != {}) return ONNXC_WEIGHTS_MISMATCH;
  int64_t n = ctx->num_dims ? ctx->dims[0] : 4;
  const float *x = (const float *)ctx->inputs[0];
  float *y = (float *)ctx->outputs[0];
  for (int64_t i = 0; i < 2 * n; i++) y[i] = x[i / 2] + ((const uint8_t *)ctx->inputs[1])[1];
  *(int64_t *)ctx->outputs[1] = ((const int8_t *)ctx->inputs[2])[1];
  if (ctx->out_dims) {{ ctx->out_dims[0] = 1; ctx->out_dims[1] = 2 * n; }}
  return ONNXC_OK;
}}
",
        bytes.len(),
        bytes.len(),
        list.join(","),
        u32::from(free),
        u32::from(file)
    )
}

// A program that runs the model through everything its header offers.
fn c_program(info: &ModelInfo) -> String {
    let (p, up) = (&info.prefix, info.upper_prefix());
    let free = !info.symbols.is_empty();
    let file = info.placement == Placement::File;
    format!(
        "#include <stdio.h>
#include <string.h>
#include \"{p}.h\"
#include \"{p}.h\"
{up}_DECLARE_ARENA(arena);
static const int shape[{up}_OUTPUT_0_RANK] = {up}_OUTPUT_0_SHAPE;
static const float scales[] = {up}_INPUT_2_SCALES;
int main(void) {{
  {up}_INPUT_0_TYPE x[{up}_INPUT_0_COUNT] = {{ 1, 2, 3, 4 }};
  {up}_INPUT_1_TYPE q[{up}_INPUT_1_COUNT] = {{ 0, 10 }};
  {up}_INPUT_2_TYPE r[{up}_INPUT_2_COUNT] = {{ 0, -7 }};
  {up}_OUTPUT_0_TYPE y[{up}_OUTPUT_0_COUNT];
  {up}_OUTPUT_1_TYPE z[{up}_OUTPUT_1_COUNT];
  int64_t dims[1] = {{ 2 }}, sizes[{up}_NUM_OUT_DIMS];
  const onnxc_descriptor *d = {p}_describe();
  const onnxc_port *in2 = onnxc_input(d, {up}_INPUT_INDEX_GR_E);
  uint32_t i;
  (void)dims; (void)sizes;
  if ({p}_infer(arena{}{}, x, q, r, y, z{}) != ONNXC_OK) return 1;
  printf(\"%g %g %d %g\\n\", y[0], y[3], (int)z[0], scales[1]);
  printf(\"%s|%s|%u|%d\\n\", onnxc_text(&d->name), {up}_INPUT_0_NAME, d->magic == ONNXC_DESCRIPTOR_MAGIC, shape[1]);
  printf(\"%s %g %d\\n\", onnxc_text(&in2->name), onnxc_quant_scale(onnxc_port_quant(in2), 0), onnxc_quant_zero_point(onnxc_port_quant(in2), 1));
  for (i = 0; i < d->num_layers; i++)
    printf(\"%s %s\\n\", onnxc_text(&onnxc_layer_at(d, i)->symbol), onnxc_layer_node(onnxc_layer_at(d, i), 1));
  for (i = 0; i < onnxc_output(d, 0)->rank; i++)
    printf(\"%d,%d \", (int)onnxc_port_dim(onnxc_output(d, 0), i)->size, (int)(onnxc_port_dim(onnxc_output(d, 0), i)->expr != 0));
  return strcmp(onnxc_text(&onnxc_output(d, 0)->name), {up}_OUTPUT_0_NAME);
}}
",
        if file { ", arena" } else { "" },
        if free { ", dims" } else { "" },
        if free { ", sizes" } else { "" },
    )
}

fn variants() -> [ModelInfo; 4] {
    let level = |cpu: &str, needs, first| LevelInfo {
        cpu: cpu.into(),
        features: vec![],
        needs,
        arena_bytes: 64,
        weights_bytes: 0,
        code_bytes: 100,
        layers: (first, 1),
    };
    let mut levels = wild("levels", Placement::Embed, false);
    levels.levels = vec![level("x86-64", 0, 0), level("x86-64-v3", 0x8000_0fff, 1)];
    [
        levels,
        wild("fixed", Placement::Embed, false),
        wild("free", Placement::Section(".weights".into()), true),
        wild("file", Placement::File, true),
    ]
}

#[test]
fn model_headers_compile_and_tell_the_truth() {
    let dir = tempfile::tempdir().unwrap();
    for info in variants() {
        let p = &info.prefix;
        fs::write(dir.path().join(format!("{p}.h")), header::header(&info)).unwrap();
        for ext in ["c", "cpp"] {
            fs::write(dir.path().join(format!("{p}.{ext}")), fake_model(&info)).unwrap();
            fs::write(dir.path().join(format!("{p}_main.{ext}")), c_program(&info)).unwrap();
        }
        for (compiler, flags, ext) in [("gcc", C_FLAGS, "c"), ("g++", CXX_FLAGS, "cpp")] {
            if !have(compiler) {
                continue;
            }
            let (model, main) = (format!("{p}.{ext}"), format!("{p}_main.{ext}"));
            run(
                dir.path(),
                compiler,
                &[flags, &["-O1", &model, &main, "-o", "program"]].concat(),
            );
            let out = text(&run(
                dir.path(),
                dir.path().join("program").to_str().unwrap(),
                &[],
            ));
            let (largest, moving) = if info.symbols.is_empty() {
                (8, 0)
            } else {
                (18, 1)
            };
            let expected = format!(
                "11 12 -7 1e-09\nwild*/ \"one\"\n|x*/ \"??/\\|1|{largest}\ngröße 0.5 -3\n{p}_000_conv other/0\n{p}_001_relu other/1\n1,0 {largest},{moving} "
            );
            assert_eq!(out, expected, "{compiler} {p}");
        }
    }
    // All of them in one translation unit.
    let all: String = variants()
        .iter()
        .map(|i| format!("#include \"{}.h\"\n", i.prefix))
        .collect();
    fs::write(
        dir.path().join("all.c"),
        all + "int main(void) { return 0; }\n",
    )
    .unwrap();
    if have("gcc") {
        run(
            dir.path(),
            "gcc",
            &[C_FLAGS, &["-c", "all.c", "-o", "all.o"]].concat(),
        );
    }
}

#[test]
fn rust_modules_compile_and_run() {
    let rustc = std::env::var("RUSTC").unwrap_or("rustc".into());
    if !have(&rustc) || !have("gcc") || !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for info in variants() {
        let p = &info.prefix;
        fs::write(dir.path().join(format!("{p}.h")), header::header(&info)).unwrap();
        fs::write(dir.path().join(format!("{p}.c")), fake_model(&info)).unwrap();
        fs::write(
            dir.path().join(format!("{p}.rs")),
            rust_module::rust_module(&info).unwrap(),
        )
        .unwrap();
        let free = !info.symbols.is_empty();
        let prepare = if info.placement == Placement::File {
            "let mut page = vec![0u8; 65536 + 64 + 32];
    let skip = page.as_ptr().align_offset(64);
    let page = &mut page[skip..];
    page[..8].copy_from_slice(b\"ONNXCWTS\");
    page[8] = 1; page[14] = 1; page[16] = 32;
    page[40..72].fill(0xab);
    let weights = unsafe { m::Weights::new(page) }.unwrap();
    assert!(unsafe { m::Weights::new(&page[..65536 + 31]) }.is_err());"
        } else {
            ""
        };
        let (args, after) = match (info.placement == Placement::File, free) {
            (true, _) => (
                "weights, m::Dims { seq_len: 2 }, ",
                "assert_eq!(r.x, [1, 4]);",
            ),
            (false, true) => ("m::Dims { seq_len: 2 }, ", "assert_eq!(r.x, [1, 4]);"),
            _ => ("", "let () = r;"),
        };
        let small = if free {
            "assert!(m::run(&mut arena.0, ARGS &x[..1], &[0, 10], &[0, -7], &mut y, &mut z).is_err());"
                .replace("ARGS", args)
        } else {
            String::new()
        };
        let x = if free { "&x[..2]" } else { "&x" };
        let name = &info.inputs[0].name;
        let main = format!(
            "#![deny(warnings)]
mod m {{ include!(\"{p}.rs\"); }}
fn main() {{
    let mut arena = Box::new(m::Arena::NEW);
    let (x, mut y, mut z) = ([1.0, 2.0, 3.0, 4.0], [0.0; m::OUTPUT_X_LEN], [0; 1]);
    {prepare}
    let r = m::run(&mut arena.0, {args}{x}, &[0, 10], &[0, -7], &mut y, &mut z).unwrap();
    {after}
    {small}
    assert_eq!((y[0], y[3], z[0]), (11.0, 12.0, -7));
    assert_eq!(m::INPUT_GR_E_QUANT[1], (1e-9, -3));
    assert_eq!(m::INPUT_X_NAME, {name:?});
    assert_eq!(m::run(&mut arena.0[64..], {args}{x}, &[0, 10], &[0, -7], &mut y, &mut z).unwrap_err().0, 3);
    assert!(m::model().1.len() > 184);
}}
"
        );
        fs::write(dir.path().join("main.rs"), main).unwrap();
        run(
            dir.path(),
            "gcc",
            &["-c", &format!("{p}.c"), "-o", "model.o"],
        );
        run(
            dir.path(),
            &rustc,
            &[
                "--edition=2024",
                "main.rs",
                "-Clink-arg=model.o",
                "-o",
                "program",
            ],
        );
        run(
            dir.path(),
            dir.path().join("program").to_str().unwrap(),
            &[],
        );
    }
}
