//! Writes a benchmark program in C: what measures a model on a board, compiled there or by the board's compiler.
//!
//! One file, C99, which includes the model's header and is linked with its object. It fills the inputs with made-up values,
//! warms up, times single runs, and prints one JSON object: shortest, median, 99th percentile, longest, and a checksum of all
//! outputs. The clock is clock_gettime, or whatever function `ONNXC_BENCH_NOW` names (`uint64_t now(void)`, nanoseconds), so that
//! it also works without an operating system. No memory is allocated.

use super::header::c_string;
use super::info::{ModelInfo, Placement, Port};
use crate::base::dtype::DType;
use std::fmt::Write;

/// The program's text; `header` is the name of the model's header file.
pub fn bench_c(info: &ModelInfo, header: &str) -> String {
    let (p, up) = (&info.prefix, info.upper_prefix());
    let mut out = format!(
        "/* Measures a model compiled by onnxc. Generated; do not edit.\n   \
         cc -O1 this.c model.o; -DONNXC_BENCH_RUNS=N, -DONNXC_BENCH_WARM_UP=N, -DONNXC_BENCH_NOW=function change what is done. */\n\
         #if !defined(_POSIX_C_SOURCE) && !defined(ONNXC_BENCH_NOW)\n#define _POSIX_C_SOURCE 199309L\n#endif\n\
         #include {}\n#include <inttypes.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n",
        c_string(header)
    );
    out += HEAD;
    for (kind, ports) in [("INPUT", &info.inputs), ("OUTPUT", &info.outputs)] {
        for k in 0..ports.len() {
            let name = kind.to_ascii_lowercase();
            // Writing to a String can't fail.
            let _ = writeln!(
                out,
                "static unsigned char {name}_{k}[{up}_{kind}_{k}_SIZE ? {up}_{kind}_{k}_SIZE : 1] __attribute__((aligned(64)));"
            );
        }
    }
    let _ = writeln!(out, "{up}_DECLARE_ARENA(arena);");
    let file = info.placement == Placement::File && info.weights_bytes > 0;
    if file {
        let _ = writeln!(
            out,
            "static unsigned char weights[{up}_WEIGHTS_SIZE] __attribute__((aligned({up}_WEIGHTS_ALIGN)));"
        );
    }
    let (given, used) = match file {
        true => ("int argc, char **argv", WEIGHTS.replace("@UP@", &up)),
        false => ("void", String::new()),
    };
    let _ = write!(
        out,
        "\nint main({given}) {{\n  onnxc_context ctx;\n  uint64_t begin, sum = 14695981039346656037u;\n  int64_t i;\n  int32_t status;\n"
    );
    out += &lists(info);
    out += &used;
    for (k, port) in info.inputs.iter().enumerate() {
        let _ = writeln!(
            out,
            "  fill(input_{k}, {up}_INPUT_{k}_COUNT, {}, {k});",
            kind(port)
        );
    }
    let _ = write!(
        out,
        "  memset(&ctx, 0, sizeof ctx);\n  ctx.abi_version = ONNXC_ABI_VERSION;\n  ctx.struct_size = (uint32_t)sizeof ctx;\n  \
         ctx.arena = arena;\n  ctx.arena_size = sizeof arena;\n  ctx.num_inputs = {up}_NUM_INPUTS;\n  ctx.num_outputs = {up}_NUM_OUTPUTS;\n"
    );
    for (field, list, n) in [
        ("inputs", "inputs", info.inputs.len()),
        ("outputs", "outputs", info.outputs.len()),
        ("dims", "dims", info.free_symbols().len()),
    ] {
        if n > 0 {
            let _ = writeln!(out, "  ctx.{field} = {list};");
        }
    }
    let _ = writeln!(out, "  ctx.num_dims = {up}_NUM_DIMS;");
    if file {
        let _ = writeln!(
            out,
            "  ctx.weights = weights;\n  ctx.weights_size = sizeof weights;"
        );
    }
    let _ = write!(
        out,
        "  for (i = 0; i < ONNXC_BENCH_WARM_UP + ONNXC_BENCH_RUNS; i++) {{\n    begin = ONNXC_BENCH_NOW();\n    \
         status = {p}_run(&ctx);\n    if (i >= ONNXC_BENCH_WARM_UP) samples[i - ONNXC_BENCH_WARM_UP] = ONNXC_BENCH_NOW() - begin;\n    \
         if (status != ONNXC_OK) {{\n      printf(\"{{\\\"error\\\": \\\"%s\\\"}}\\n\", onnxc_status_text(status));\n      return 1;\n    }}\n  }}\n  \
         qsort(samples, ONNXC_BENCH_RUNS, sizeof samples[0], earlier);\n"
    );
    for k in 0..info.outputs.len() {
        let _ = writeln!(
            out,
            "  sum = checksum(sum, output_{k}, {up}_OUTPUT_{k}_SIZE);"
        );
    }
    let macs = info
        .run()
        .iter()
        .map(|l| l.macs)
        .fold(0, u64::saturating_add);
    let text = |s: &str| c_string(&json_text(s));
    let _ = writeln!(
        out,
        "  printf(\"{{\\\"model\\\": %s, \\\"target\\\": %s, \\\"cpu\\\": %s, \\\"runs\\\": %d, \", {}, {}, {}, ONNXC_BENCH_RUNS);",
        text(&info.model),
        text(&info.triple),
        text(&info.cpu_text()),
    );
    let _ = write!(
        out,
        "  printf(\"\\\"min_ns\\\": %\" PRIu64 \", \\\"median_ns\\\": %\" PRIu64 \", \\\"p99_ns\\\": %\" PRIu64 \", \\\"max_ns\\\": %\" PRIu64 \", \",\n         \
         at(0), at(50), at(99), at(100));\n  \
         printf(\"\\\"macs\\\": {macs}, \\\"arena_bytes\\\": {}, \\\"checksum\\\": \\\"%016\" PRIx64 \"\\\"}}\\n\", sum);\n  return 0;\n}}\n",
        info.arena_bytes,
    );
    out
}

/// Lists of pointers and sizes, those that are not empty.
fn lists(info: &ModelInfo) -> String {
    let list = |n: usize, name: &str| -> String {
        let items: Vec<String> = (0..n).map(|k| format!("{name}_{k}")).collect();
        items.join(", ")
    };
    let mut out = String::new();
    if !info.inputs.is_empty() {
        out += &format!(
            "  const void *inputs[] = {{{}}};\n",
            list(info.inputs.len(), "input")
        );
    }
    if !info.outputs.is_empty() {
        out += &format!(
            "  void *outputs[] = {{{}}};\n",
            list(info.outputs.len(), "output")
        );
    }
    let free = info.free_symbols();
    if !free.is_empty() {
        let sizes = free.iter().map(|s| info.symbols[*s].hi.to_string());
        let sizes: Vec<String> = sizes.collect();
        out += &format!("  const int64_t dims[] = {{{}}};\n", sizes.join(", "));
    }
    out
}

/// How `fill` makes the elements of a port: see there.
fn kind(port: &Port) -> &'static str {
    match port.dtype {
        DType::F32 => "'f'",
        DType::F64 => "'d'",
        DType::F16 => "'h'",
        DType::BF16 => "'b'",
        DType::Bool => "'?'",
        DType::I8 | DType::U8 => "'1'",
        DType::I16 | DType::U16 => "'2'",
        DType::I32 | DType::U32 => "'4'",
        DType::I64 | DType::U64 => "'8'",
        // Elements of less than a byte, and small floats, take one byte each: what all of them can hold.
        _ => "'0'",
    }
}

/// A JSON string.
fn json_text(s: &str) -> String {
    let mut out = "\"".to_string();
    for c in s.chars() {
        match c {
            '"' => out += "\\\"",
            '\\' => out += "\\\\",
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out + "\""
}

const HEAD: &str = r#"
#ifndef ONNXC_BENCH_RUNS
#define ONNXC_BENCH_RUNS 200
#endif
#ifndef ONNXC_BENCH_WARM_UP
#define ONNXC_BENCH_WARM_UP 5
#endif
#ifdef ONNXC_BENCH_NOW
uint64_t ONNXC_BENCH_NOW(void);
#else
#include <time.h>
#define ONNXC_BENCH_NOW now
static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
#endif

static uint64_t samples[ONNXC_BENCH_RUNS];

static int earlier(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

static uint64_t at(unsigned part) { return samples[(uint64_t)(ONNXC_BENCH_RUNS - 1) * part / 100]; }

/* FNV-1a, 64 bits. */
static inline uint64_t checksum(uint64_t sum, const unsigned char *bytes, uint64_t n) {
  uint64_t i;
  for (i = 0; i < n; i++) sum = (sum ^ bytes[i]) * 1099511628211u;
  return sum;
}

static uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

/* The values of `onnxc run m.onnx random:0`, but that f16 and bf16 lie in [0.5, 1) with either sign. */
static inline void fill(unsigned char *to, uint64_t count, char kind, uint64_t number) {
  uint64_t i, start = mix(number), bits, u, v;
  for (i = 0; i < count; i++) {
    bits = mix(start + (i + 1) * 0x9E3779B97F4A7C15u);
    u = bits >> 40;
    v = u % 10;
    if (kind == 'f') {
      float f = (float)((double)u / 8388608.0 - 1.0);
      memcpy(to + 4 * i, &f, 4);
    } else if (kind == 'd') {
      double d = (double)u / 8388608.0 - 1.0;
      memcpy(to + 8 * i, &d, 8);
    } else if (kind == 'h' || kind == 'b') {
      uint16_t h = (uint16_t)(kind == 'h' ? 0x3800u | (bits & 0x83ffu) : 0x3f00u | (bits & 0x807fu));
      memcpy(to + 2 * i, &h, 2);
    } else if (kind == '?') {
      to[i] = (unsigned char)(bits >> 63);
    } else if (kind == '1') {
      to[i] = (unsigned char)(bits >> 56);
    } else if (kind == '2') {
      uint16_t w = (uint16_t)v;
      memcpy(to + 2 * i, &w, 2);
    } else if (kind == '4') {
      uint32_t w = (uint32_t)v;
      memcpy(to + 4 * i, &w, 4);
    } else if (kind == '8') {
      memcpy(to + 8 * i, &v, 8);
    } else {
      to[i] = (unsigned char)(u % 2);
    }
  }
}

"#;

const WEIGHTS: &str = r#"  FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
  if (file == NULL || fseek(file, ONNXC_WEIGHTS_DATA_OFFSET, SEEK_SET) != 0 || fread(weights, 1, @UP@_WEIGHTS_SIZE, file) != @UP@_WEIGHTS_SIZE) {
    fprintf(stderr, "the weights file of the model is needed\n");
    return 2;
  }
  fclose(file);
"#;

#[cfg(test)]
mod tests {
    use super::super::info::sample;
    use super::*;

    #[test]
    fn names_stay_inside_of_strings() {
        let mut info = sample();
        info.model = "a\"b\\c */ \n".into();
        let text = bench_c(&info, "speech.h");
        assert!(text.contains("#include \"speech.h\""));
        assert!(text.contains(r#""\"a\\\"b\\\\c */  \"""#), "{text}");
        assert!(text.contains("const int64_t dims[] = {100};"));
        assert!(!text.contains("fread"));
        info.placement = Placement::File;
        assert!(bench_c(&info, "speech.h").contains("fread"));
    }
}
