//! The C side: what each declaration of this crate is called in C, and the text of the C header.
//!
//! The text is the one source of `runtime/include/onnxc.h` and of the part of it that every model's own header repeats.
//! It is C99 and C++, includes only `<stdint.h>` and `<stddef.h>`, and guards itself against being included twice.

use crate::{ABI_VERSION, context, descriptor, offload, status, weights};
use core::fmt::{Result, Write};

/// A field of a C struct.
#[derive(Clone, Copy, Debug)]
pub struct CField {
    /// Its name.
    pub name: &'static str,
    /// Its declaration, without the semicolon.
    pub decl: &'static str,
    /// Bytes from the beginning of the struct.
    pub offset: usize,
    /// What it means, one item per line.
    pub doc: &'static [&'static str],
}

/// A struct that crosses the border.
#[derive(Clone, Copy, Debug)]
pub struct CStruct {
    /// Its name in C.
    pub name: &'static str,
    /// Its bytes.
    pub size: usize,
    /// What it is, one item per line.
    pub doc: &'static [&'static str],
    /// Its fields in order.
    pub fields: &'static [CField],
}

/// Declares a `repr(C)` struct with its C name, its size and each field's C declaration and offset, all asserted.
#[macro_export]
#[doc(hidden)]
macro_rules! c_struct {
    ($(#[doc = $sdoc:literal])* $name:ident = $c:literal, $size:literal {
        $($(#[doc = $doc:literal])* $field:ident: $ty:ty = $decl:literal @ $offset:literal,)*
    }) => {
        $(#[doc = $sdoc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug)]
        pub struct $name { $($(#[doc = $doc])* pub $field: $ty,)* }
        const _: () = {
            assert!(core::mem::size_of::<$name>() == $size);
            $(assert!(core::mem::offset_of!($name, $field) == $offset);)*
        };
        impl $name {
            /// The same in C.
            pub const C: $crate::c::CStruct = $crate::c::CStruct {
                name: $c,
                size: $size,
                doc: &[$($sdoc),*],
                fields: &[$($crate::c::CField {
                    name: stringify!($field), decl: $decl, offset: $offset, doc: &[$($doc),*],
                }),*],
            };
        }
    };
}

/// All structs, in the order in which C must see them.
pub const STRUCTS: &[CStruct] = &[
    offload::OffloadTable::C,
    context::Context::C,
    descriptor::RawDim::C,
    descriptor::RawQuant::C,
    descriptor::RawPort::C,
    descriptor::RawSymbol::C,
    descriptor::RawLayer::C,
    descriptor::RawDescriptor::C,
    weights::WeightsHeader::C,
];

/// Writes the header.
pub fn write_header(out: &mut dyn Write) -> Result {
    out.write_str(HEAD)?;
    write!(
        out,
        "/* Version of this contract. */\n#define ONNXC_ABI_VERSION {ABI_VERSION}\n\
         /* Alignment that every arena must have. */\n#define ONNXC_ARENA_ALIGN {}\n\n",
        crate::ARENA_ALIGN
    )?;
    out.write_str("/* Status codes: what PREFIX_run answers. */\n")?;
    for s in status::ALL {
        writeln!(out, "#define ONNXC_{} {} /* {} */", s.name, s.code, s.text)?;
    }
    out.write_str("\n/* Where a model's weights are. */\n")?;
    for (name, n) in descriptor::PLACEMENTS {
        writeln!(out, "#define ONNXC_WEIGHTS_{name} {n}")?;
    }
    write!(
        out,
        "\n/* A weights file: first bytes, and where the weights begin. */\n#define ONNXC_WEIGHTS_MAGIC \"{}\"\n\
         #define ONNXC_WEIGHTS_DATA_OFFSET {}\n\n/* First word of a descriptor. */\n#define ONNXC_DESCRIPTOR_MAGIC {:#x}u\n",
        core::str::from_utf8(&weights::MAGIC).unwrap_or(""),
        weights::DATA_OFFSET,
        descriptor::MAGIC
    )?;
    out.write_str(TYPES)?;
    for s in STRUCTS {
        write_struct(out, s)?;
    }
    out.write_str("\n/* Sizes are part of the contract. */\n")?;
    for s in STRUCTS {
        writeln!(
            out,
            "typedef char {0}_size_is_{1}[sizeof({0}) == {1} ? 1 : -1];",
            s.name, s.size
        )?;
    }
    crate::c_cpu::write(out)?;
    out.write_str(ACCESSORS)?;
    out.write_str(
        "\n/* One line for a person. */\nstatic inline const char *onnxc_status_text(int32_t status) {\n  switch (status) {\n",
    )?;
    for s in status::ALL {
        writeln!(out, "  case {}: return \"{}\";", s.code, s.text)?;
    }
    out.write_str("  default: return \"unknown status\";\n  }\n}\n")?;
    out.write_str(TAIL)
}

pub(crate) fn write_struct(out: &mut dyn Write, s: &CStruct) -> Result {
    out.write_str("\n")?;
    write_doc(out, "", s.doc)?;
    writeln!(out, "typedef struct {} {{", s.name)?;
    for f in s.fields {
        write_doc(out, "  ", f.doc)?;
        writeln!(out, "  {};", f.decl)?;
    }
    writeln!(out, "}} {};", s.name)
}

// Markdown's backquotes mean nothing in C.
fn write_doc(out: &mut dyn Write, indent: &str, doc: &[&str]) -> Result {
    write!(out, "{indent}/*")?;
    for (i, line) in doc.iter().enumerate() {
        if i > 0 {
            write!(out, "\n{indent}  ")?;
        }
        line.split('`').try_for_each(|part| out.write_str(part))?;
    }
    out.write_str(" */\n")
}

const HEAD: &str = "\
/* onnxc: the contract between compiled models and those who call them.
   Generated from the crate onnxc-abi; do not edit. C99 and C++; every machine with 64-bit pointers. */
#if defined(ONNXC_H) && ONNXC_H != 1
#error \"two versions of the onnxc ABI in one translation unit\"
#endif
#ifndef ONNXC_H
#define ONNXC_H 1

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern \"C\" {
#endif

";

const TYPES: &str = "
/* A part of a parallel loop: computes the iterations begin..end and answers a status. */
typedef int32_t (*onnxc_parallel_body)(void *arg, int64_t begin, int64_t end);

/* Calls body so that disjoint ranges cover 0..count exactly once, on any threads and in any order, and returns when all
   have ended. Answers 0, or the status of the lowest range that failed. */
typedef int32_t (*onnxc_parallel_for)(void *user, onnxc_parallel_body body, void *arg, int64_t count);

/* Told of the begin (1) and the end (0) of each layer, on the thread that called PREFIX_run. */
typedef void (*onnxc_trace)(void *user, uint32_t layer, uint32_t begin);

/* Distance in bytes from this very field to what it refers to; 0 = nothing. Descriptors hold no pointers, so they need
   no relocation and live in read-only memory. Never copy a struct that has such a field: use it where it lies. */
typedef int32_t onnxc_rel;

/* Computes region number region of a model on an accelerator, and is told that the CPU did: see onnxc_npu.h. */
struct onnxc_offload_table;
struct onnxc_context;
typedef int32_t (*onnxc_run_region)(const struct onnxc_offload_table *table, const struct onnxc_context *ctx, uint32_t region,
                                    const void *const *inputs, void *const *outputs);
typedef void (*onnxc_twin_done)(const struct onnxc_offload_table *table, const struct onnxc_context *ctx, uint32_t region,
                                void *const *outputs);
";

const ACCESSORS: &str = "
/* What a self-relative field refers to, or NULL. */
static inline const void *onnxc_at(const onnxc_rel *field) {
  return *field == 0 ? (const void *)0 : (const void *)((const char *)field + *field);
}
/* The same for text; \"\" for nothing. */
static inline const char *onnxc_text(const onnxc_rel *field) {
  return *field == 0 ? \"\" : (const char *)onnxc_at(field);
}
/* Inputs and outputs; the index must be below num_inputs or num_outputs. */
static inline const onnxc_port *onnxc_input(const onnxc_descriptor *d, uint32_t i) {
  return (const onnxc_port *)onnxc_at(&d->inputs) + i;
}
static inline const onnxc_port *onnxc_output(const onnxc_descriptor *d, uint32_t i) {
  return (const onnxc_port *)onnxc_at(&d->outputs) + i;
}
/* Symbols: the first num_free_symbols are what dims holds, in this order. */
static inline const onnxc_symbol *onnxc_symbol_at(const onnxc_descriptor *d, uint32_t i) {
  return (const onnxc_symbol *)onnxc_at(&d->symbols) + i;
}
/* Layers, in the order in which they run. */
static inline const onnxc_layer *onnxc_layer_at(const onnxc_descriptor *d, uint32_t i) {
  return (const onnxc_layer *)onnxc_at(&d->layers) + i;
}
/* ONNX node i of a layer. */
static inline const char *onnxc_layer_node(const onnxc_layer *l, uint32_t i) {
  return onnxc_text((const onnxc_rel *)onnxc_at(&l->nodes) + i);
}
/* Dimension i of an input or output. */
static inline const onnxc_dim *onnxc_port_dim(const onnxc_port *p, uint32_t i) {
  return (const onnxc_dim *)onnxc_at(&p->dims) + i;
}
/* Quantization of an input or output, or NULL. */
static inline const onnxc_quant *onnxc_port_quant(const onnxc_port *p) {
  return (const onnxc_quant *)onnxc_at(&p->quant);
}
static inline float onnxc_quant_scale(const onnxc_quant *q, uint32_t i) {
  return ((const float *)onnxc_at(&q->scales))[i];
}
static inline int32_t onnxc_quant_zero_point(const onnxc_quant *q, uint32_t i) {
  return ((const int32_t *)onnxc_at(&q->zero_points))[i];
}
/* Touches every page of the context's arena and of weights that are not in the object, so that no run waits for memory.
   Weights in the object come in with the first run. */
static inline void onnxc_prefault(const onnxc_context *ctx) {
  volatile unsigned char *arena = (volatile unsigned char *)ctx->arena;
  const volatile unsigned char *weights = (const volatile unsigned char *)ctx->weights;
  uint64_t i;
  for (i = 0; i < ctx->arena_size; i += 4096) arena[i] = arena[i];
  if (ctx->arena_size > 0) arena[ctx->arena_size - 1] = arena[ctx->arena_size - 1];
  for (i = 0; i < ctx->weights_size; i += 4096) (void)weights[i];
  if (ctx->weights_size > 0) (void)weights[ctx->weights_size - 1];
}
";

const TAIL: &str = "
#ifdef __cplusplus
}
#endif
#endif /* ONNXC_H */
";
