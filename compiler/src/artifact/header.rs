//! Writes a model's C header: all a C or C++ program needs beside the object.
//!
//! It repeats the ABI part of `onnxc.h` under the same guard, so no other file is needed and several models' headers go
//! into one translation unit. C99 and C++; includes only `<stdint.h>` and `<stddef.h>`. Names from the model reach the text
//! only escaped: in string literals, or as C identifiers.

use super::info::{ModelInfo, Port, c_names};
use crate::base::dtype::DType;
use std::fmt::{self, Write};

/// The header's text.
pub fn header(info: &ModelInfo) -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    let _ = write_header(&mut out, info);
    out
}

fn write_header(out: &mut String, info: &ModelInfo) -> fmt::Result {
    let up = info.upper_prefix();
    writeln!(
        out,
        "/* Model {}, compiled by onnxc for {}, {}. Generated; do not edit. */",
        comment(&info.model),
        comment(&info.triple),
        comment(&info.cpu_text())
    )?;
    writeln!(
        out,
        "#ifndef ONNXC_MODEL_{up}_H\n#define ONNXC_MODEL_{up}_H\n"
    )?;
    onnxc_abi::c::write_header(out)?;
    writeln!(
        out,
        "\n#if ONNXC_ABI_VERSION != {}\n#error \"this model was compiled for another version of the onnxc ABI\"\n#endif\n\
         \n#ifdef __cplusplus\nextern \"C\" {{\n#endif\n",
        onnxc_abi::ABI_VERSION
    )?;
    writeln!(
        out,
        "/* Memory: the caller gives the arena; nothing is allocated. Sizes and alignments in bytes. */"
    )?;
    for (name, value) in [
        ("ARENA_SIZE", info.arena_bytes),
        ("ARENA_ALIGN", u64::from(info.arena_align)),
        ("WEIGHTS_SIZE", info.weights_bytes),
        ("WEIGHTS_ALIGN", u64::from(info.weights_align)),
        ("WEIGHTS_PLACEMENT", u64::from(info.placement.number())),
        ("STACK_SIZE", info.stack_bytes),
        ("THREADS", u64::from(info.threads)),
        ("NUM_INPUTS", info.inputs.len() as u64),
        ("NUM_OUTPUTS", info.outputs.len() as u64),
        ("NUM_DIMS", info.free_symbols().len() as u64),
        ("NUM_OUT_DIMS", info.out_dims() as u64),
        ("NUM_LAYERS", info.layers.len() as u64),
    ] {
        writeln!(out, "#define {up}_{name} {value}")?;
    }
    if !info.levels.is_empty() {
        writeln!(
            out,
            "\n/* Levels of CPU, the base first: bits of cpu_level that each needs, its first layer, and how many it has. */\n\
             #define {up}_NUM_LEVELS {}",
            info.levels.len()
        )?;
        for (i, l) in info.levels.iter().enumerate() {
            writeln!(
                out,
                "#define {up}_LEVEL_{i}_CPU {}\n#define {up}_LEVEL_{i}_NEEDS {:#x}u\n\
                 #define {up}_LEVEL_{i}_FIRST_LAYER {}\n#define {up}_LEVEL_{i}_NUM_LAYERS {}",
                c_string(&l.cpu),
                l.needs,
                l.layers.0,
                l.layers.1
            )?;
        }
        writeln!(out)?;
    }
    writeln!(out, "#define {up}_MODEL_NAME {}", c_string(&info.model))?;
    let digest: String = info
        .layout_digest
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    writeln!(out, "#define {up}_LAYOUT_DIGEST \"{digest}\"")?;
    writeln!(
        out,
        "\n/* Declares static memory for the arena. */\n#define {up}_DECLARE_ARENA(name) \\\n  \
         static unsigned char name[{up}_ARENA_SIZE ? {up}_ARENA_SIZE : 1] __attribute__((aligned({up}_ARENA_ALIGN)))"
    )?;
    let free = info.free_symbols();
    if !free.is_empty() {
        writeln!(
            out,
            "\n/* Sizes that the caller states in dims: place, smallest, largest. */"
        )?;
        let names = c_names(free.iter().map(|s| info.symbols[*s].name.as_str()), "dim");
        for (i, (s, name)) in free.iter().zip(names).enumerate() {
            let (s, name) = (&info.symbols[*s], name.to_ascii_uppercase());
            writeln!(out, "#define {up}_DIM_{name}_INDEX {i}")?;
            writeln!(out, "#define {up}_DIM_{name}_MIN {}", s.lo)?;
            writeln!(out, "#define {up}_DIM_{name}_MAX {}", s.hi)?;
        }
    }
    for (kind, ports) in [("INPUT", &info.inputs), ("OUTPUT", &info.outputs)] {
        for (i, port) in ports.iter().enumerate() {
            write_port(out, info, kind, i, port)?;
        }
    }
    write_functions(out, info)?;
    writeln!(
        out,
        "\n#ifdef __cplusplus\n}}\n#endif\n#endif /* ONNXC_MODEL_{up}_H */"
    )
}

fn write_port(
    out: &mut String,
    info: &ModelInfo,
    kind: &str,
    i: usize,
    port: &Port,
) -> fmt::Result {
    let m = format!("{}_{kind}_{i}", info.upper_prefix());
    let dims: Vec<i64> = port.shape.iter().map(|d| info.largest(d)).collect();
    let text: Vec<String> = port.shape.iter().map(|d| d.text(&info.symbols)).collect();
    writeln!(
        out,
        "\n/* {} {i}: {}, {}[{}] */",
        kind.to_ascii_lowercase(),
        comment(&port.name),
        port.dtype,
        comment(&text.join(", "))
    )?;
    writeln!(
        out,
        "#define {}_{kind}_INDEX_{} {i}",
        info.upper_prefix(),
        port.c_name.to_ascii_uppercase()
    )?;
    writeln!(out, "#define {m}_NAME {}", c_string(&port.name))?;
    writeln!(out, "#define {m}_TYPE {}", c_type(port.dtype))?;
    writeln!(
        out,
        "#define {m}_DTYPE {} /* {} */",
        port.dtype.onnx(),
        port.dtype
    )?;
    writeln!(out, "#define {m}_SIZE {}", port.max_bytes)?;
    writeln!(
        out,
        "#define {m}_COUNT {}",
        port.max_bytes / (port.dtype.size().max(1) as u64)
    )?;
    writeln!(out, "#define {m}_RANK {}", dims.len())?;
    if !dims.is_empty() {
        writeln!(out, "#define {m}_SHAPE {{ {} }}", list(&dims))?;
    }
    let Some(q) = &port.quant else { return Ok(()) };
    if !q.scales.iter().all(|s| s.is_finite()) {
        return Ok(());
    }
    match (q.axis, q.scales.as_slice(), q.zero_points.as_slice()) {
        (None, [scale, ..], [zero, ..]) => {
            writeln!(
                out,
                "#define {m}_SCALE {scale:?}f\n#define {m}_ZERO_POINT ({zero})"
            )
        }
        (Some(axis), scales, zeros) => {
            let scales: Vec<String> = scales.iter().map(|s| format!("{s:?}f")).collect();
            writeln!(
                out,
                "#define {m}_QUANT_AXIS {axis}\n#define {m}_SCALES {{ {} }}",
                scales.join(", ")
            )?;
            writeln!(out, "#define {m}_ZERO_POINTS {{ {} }}", list(zeros))
        }
        _ => Ok(()),
    }
}

fn write_functions(out: &mut String, info: &ModelInfo) -> fmt::Result {
    let (p, up) = (&info.prefix, info.upper_prefix());
    let symbolic = !info.free_symbols().is_empty();
    // Field by field: compilers make a call of memset out of a loop or an initialiser, and programs may have none.
    let mut zeros = String::new();
    for f in onnxc_abi::Context::C.fields {
        match f
            .decl
            .split_once('[')
            .and_then(|(_, n)| n.strip_suffix(']')?.parse().ok())
        {
            None => writeln!(zeros, "  ctx->{} = 0;", f.name)?,
            Some(n) => {
                (0..n).try_for_each(|i: usize| writeln!(zeros, "  ctx->{}[{i}] = 0;", f.name))?
            }
        }
    }
    let level = match info.levels.is_empty() {
        true => "",
        false => "  ctx->cpu_level = ONNXC_CPU_LEVEL;\n",
    };
    let (file, moving) = (
        info.placement == super::Placement::File,
        has_moving_outputs(info),
    );
    write!(
        out,
        "
/* Runs the model once. Answers ONNXC_OK or another status code; see onnxc_status_text. Needs nothing but the context. */
int32_t {p}_run(const onnxc_context *ctx);

/* The descriptor: all of the above at run time. */
extern const unsigned char {p}_descriptor[];
static inline const onnxc_descriptor *{p}_describe(void) {{
  return (const onnxc_descriptor *)(const void *){p}_descriptor;
}}

/* Prepares a context. Threads, tracing, weights and dims are set afterwards where they are needed. */
static inline void {p}_init_context(onnxc_context *ctx, void *arena, const void *const *inputs, void *const *outputs) {{
{zeros}  ctx->abi_version = ONNXC_ABI_VERSION;
  ctx->struct_size = (uint32_t)sizeof *ctx;
  ctx->arena = arena;
  ctx->arena_size = {up}_ARENA_SIZE;
  ctx->inputs = inputs;
  ctx->outputs = outputs;
  ctx->num_inputs = {up}_NUM_INPUTS;
  ctx->num_outputs = {up}_NUM_OUTPUTS;
{level}}}

/* Runs the model once on one thread. arena has {up}_ARENA_SIZE bytes, aligned to {up}_ARENA_ALIGN.
"
    )?;
    if file {
        writeln!(
            out,
            "   weights has {up}_WEIGHTS_SIZE bytes: a weights file from its byte ONNXC_WEIGHTS_DATA_OFFSET on."
        )?;
    }
    if symbolic {
        writeln!(out, "   dims has {up}_NUM_DIMS values.")?;
    }
    if moving {
        writeln!(
            out,
            "   sizes receives {up}_NUM_OUT_DIMS sizes, or is null."
        )?;
    }
    let mut args = vec!["void *arena".to_string()];
    args.extend(file.then(|| "const void *weights".to_string()));
    args.extend(symbolic.then(|| "const int64_t *dims".to_string()));
    args.extend(
        info.inputs
            .iter()
            .map(|i| format!("const {} *in_{}", c_type(i.dtype), i.c_name)),
    );
    args.extend(
        info.outputs
            .iter()
            .map(|o| format!("{} *out_{}", c_type(o.dtype), o.c_name)),
    );
    args.extend(moving.then(|| "int64_t *sizes".to_string()));
    write!(
        out,
        "   Outputs must not overlap inputs, the arena or each other. */\nstatic inline int32_t {p}_infer("
    )?;
    writeln!(out, "{}) {{\n  onnxc_context ctx;", args.join(", "))?;
    let pointers = |ports: &[Port], dir: &str| {
        let names: Vec<String> = ports
            .iter()
            .map(|p| format!("{dir}_{}", p.c_name))
            .collect();
        // An array must not be empty.
        if names.is_empty() {
            "NULL".to_string()
        } else {
            names.join(", ")
        }
    };
    writeln!(
        out,
        "  const void *inputs[] = {{ {} }};",
        pointers(&info.inputs, "in")
    )?;
    writeln!(
        out,
        "  void *outputs[] = {{ {} }};",
        pointers(&info.outputs, "out")
    )?;
    writeln!(out, "  {p}_init_context(&ctx, arena, inputs, outputs);")?;
    if file {
        writeln!(
            out,
            "  ctx.weights = weights;\n  ctx.weights_size = {up}_WEIGHTS_SIZE;"
        )?;
    }
    if symbolic {
        writeln!(out, "  ctx.dims = dims;\n  ctx.num_dims = {up}_NUM_DIMS;")?;
    }
    if moving {
        writeln!(
            out,
            "  ctx.out_dims = sizes;\n  ctx.num_out_dims = sizes ? {up}_NUM_OUT_DIMS : 0;"
        )?;
    }
    writeln!(out, "  return {p}_run(&ctx);\n}}")
}

/// Whether any output's size is known only when the model has run.
pub fn has_moving_outputs(info: &ModelInfo) -> bool {
    info.outputs.iter().any(|p| p.fixed_shape().is_none())
}

/// The C type of an element. Types that C lacks travel as integers of the same width.
pub fn c_type(t: DType) -> &'static str {
    match t {
        DType::F32 | DType::Complex64 => "float",
        DType::F64 | DType::Complex128 => "double",
        DType::F16 | DType::BF16 | DType::U16 => "uint16_t",
        DType::I16 => "int16_t",
        DType::I32 => "int32_t",
        DType::I64 => "int64_t",
        DType::U32 => "uint32_t",
        DType::U64 => "uint64_t",
        DType::I8 | DType::I4 | DType::I2 => "int8_t",
        _ => "uint8_t",
    }
}

fn list<T: ToString>(items: &[T]) -> String {
    items
        .iter()
        .map(T::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

// A string literal, the same in every C and C++: octal for all that is not plain ASCII, no trigraphs.
pub(super) fn c_string(s: &str) -> String {
    let mut out = String::from("\"");
    for b in s.bytes() {
        match b {
            b'"' | b'\\' | b'?' => {
                out.push('\\');
                out.push(b as char);
            }
            0x20..=0x7e => out.push(b as char),
            _ => out.push_str(&format!("\\{b:03o}")),
        }
    }
    out + "\""
}

// Text inside a comment: it can't end the comment, nor the line.
pub(super) fn comment(s: &str) -> String {
    let printable = |c: char| if c == '\\' || c.is_control() { '?' } else { c };
    s.replace("*/", "*?")
        .replace("/*", "/?")
        .chars()
        .map(printable)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::info::sample;

    #[test]
    fn macros_and_signature() {
        let text = header(&sample());
        for line in [
            "#define SPEECH_ARENA_SIZE 4096",
            "#define SPEECH_INPUT_0_SHAPE { 1, 100 }",
            "#define SPEECH_INPUT_1_SCALES { 0.5f, 0.25f }",
            "#define SPEECH_INPUT_INDEX_IN_PUT_0 0",
            "#define SPEECH_DIM_N_MAX 100",
            "#define SPEECH_OUTPUT_1_TYPE int64_t",
            "int32_t speech_run(const onnxc_context *ctx);",
            "static inline int32_t speech_infer(void *arena, const int64_t *dims, const float *in_in_put_0, \
             const int8_t *in_q, float *out_out, int64_t *out_label, int64_t *sizes) {",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }

    #[test]
    fn names_from_the_model_stay_inside_their_place() {
        let mut info = sample();
        info.inputs[0].name = "*/ int x; /* \"??/\\\n".into();
        info.model = info.inputs[0].name.clone();
        let text = header(&info);
        assert!(
            text.contains("/* Model *? int x; /? \"??/??, compiled"),
            "{text}"
        );
        assert!(
            text.contains(r#"#define SPEECH_INPUT_0_NAME "*/ int x; /* \"\?\?/\\\012""#),
            "{text}"
        );
    }
}
