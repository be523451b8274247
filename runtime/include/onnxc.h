/* onnxc: the contract between compiled models and those who call them.
   Generated from the crate onnxc-abi; do not edit. C99 and C++; every machine with 64-bit pointers. */
#if defined(ONNXC_H) && ONNXC_H != 1
#error "two versions of the onnxc ABI in one translation unit"
#endif
#ifndef ONNXC_H
#define ONNXC_H 1

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Version of this contract. */
#define ONNXC_ABI_VERSION 1
/* Alignment that every arena must have. */
#define ONNXC_ARENA_ALIGN 64

/* Status codes: what PREFIX_run answers. */
#define ONNXC_OK 0 /* success */
#define ONNXC_NULL_POINTER 1 /* the context, the arena, an input or an output is null, or the weights are null and not in the object */
#define ONNXC_BAD_VERSION 2 /* abi_version or struct_size of the context is not one this model was compiled for */
#define ONNXC_ARENA_TOO_SMALL 3 /* arena_size is smaller than the model needs */
#define ONNXC_MISALIGNED 4 /* the arena, the weights, an input or an output is not aligned as the descriptor says */
#define ONNXC_WEIGHTS_MISMATCH 5 /* the weights given are not of the size or layout of this model */
#define ONNXC_BAD_COUNT 6 /* num_inputs, num_outputs, num_dims or num_out_dims is not the model's */
#define ONNXC_BAD_DIM 7 /* a value in dims is outside the bounds the model was compiled for */
#define ONNXC_DATA_OUT_OF_RANGE 8 /* an index or a size that was computed from the input data is out of range */
#define ONNXC_LIMIT 9 /* a loop or a data-dependent size passed its limit */
#define ONNXC_UNSUPPORTED 10 /* the run reached a part of the model that could not be compiled */
#define ONNXC_SHAPE_MISMATCH 11 /* sizes that were free when the model was compiled do not fit together where a tensor gets another shape */
#define ONNXC_OFFLOAD_ABSENT 32 /* a region that must run on an accelerator found none */
#define ONNXC_OFFLOAD_REFUSED 33 /* the accelerator refused the compiled region */
#define ONNXC_OFFLOAD_TIMEOUT 34 /* the accelerator did not answer in time */
#define ONNXC_OFFLOAD_DEVICE 35 /* the accelerator reported an error */
#define ONNXC_OFFLOAD_LOST 36 /* the accelerator is lost */
#define ONNXC_OFFLOAD_BUSY 37 /* the accelerator is busy, or still owns its buffers */
#define ONNXC_OFFLOAD_SHADOW 38 /* the accelerator's outputs wait for those of the CPU, to be compared; no run ends with it */

/* Where a model's weights are. */
#define ONNXC_WEIGHTS_EMBEDDED 0
#define ONNXC_WEIGHTS_SECTION 1
#define ONNXC_WEIGHTS_FILE 2

/* A weights file: first bytes, and where the weights begin. */
#define ONNXC_WEIGHTS_MAGIC "ONNXCWTS"
#define ONNXC_WEIGHTS_DATA_OFFSET 65536

/* First word of a descriptor. */
#define ONNXC_DESCRIPTOR_MAGIC 0x44584e4fu

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

/* What generated code calls for a region. Tables grow at the end only; struct_size says how far one goes. Code that meets a table of
   another abi_version, or a shorter one than it knows, runs the twin. */
typedef struct onnxc_offload_table {
  /* Bytes of the table. */
  uint32_t struct_size;
  /* ONNXC_ABI_VERSION it was built for. */
  uint32_t abi_version;
  /* For those behind the functions: generated code does not look at it. */
  void *self_;
  /* Computes the region; never null. */
  onnxc_run_region run;
  /* Told of the twin's outputs; may be null. */
  onnxc_twin_done twin_done;
} onnxc_offload_table;

/* What a run needs. Zero it, set abi_version and struct_size, then what the model needs; zero is right for the rest. */
typedef struct onnxc_context {
  /* ONNXC_ABI_VERSION. */
  uint32_t abi_version;
  /* sizeof(onnxc_context). A model accepts a larger one: fields are only appended. */
  uint32_t struct_size;
  /* Memory for everything in between, aligned to 64 bytes; its contents need no preparation and mean nothing after a run. */
  void *arena;
  /* Bytes of the arena. */
  uint64_t arena_size;
  /* The weights; null = those in the object. */
  const void *weights;
  /* Bytes of the weights; 0 if null. */
  uint64_t weights_size;
  /* One pointer for each input, aligned to its element. */
  const void *const *inputs;
  /* One pointer for each output, aligned to its element; must not overlap an input, the arena or each other. */
  void *const *outputs;
  /* Length of inputs. */
  uint32_t num_inputs;
  /* Length of outputs. */
  uint32_t num_outputs;
  /* Values of the free input symbols in the order of the descriptor; null if there are none. */
  const int64_t *dims;
  /* Receives the sizes of all outputs, one output after the other; may be null. */
  int64_t *out_dims;
  /* Length of dims. */
  uint32_t num_dims;
  /* Length of out_dims: the sum of the outputs' ranks, or 0 if it is null. */
  uint32_t num_out_dims;
  /* Spreads loops over threads; null = one thread. */
  onnxc_parallel_for parallel_for;
  /* First argument of parallel_for. */
  void *parallel_user;
  /* Told of the begin and end of each layer; may be null. */
  onnxc_trace trace;
  /* First argument of trace. */
  void *trace_user;
  /* A table for each offloaded region, null where the CPU computes it; may be null. */
  const onnxc_offload_table *const *offload;
  /* Length of offload. */
  uint32_t num_offload;
  /* What the CPU can do ([crate::cpu]), for objects that hold code of several levels; 0 = not known: the base level. */
  uint32_t cpu_level;
  /* Zero. */
  uint64_t reserved[3];
} onnxc_context;

/* A dimension. */
typedef struct onnxc_dim {
  /* The size, or the largest possible one where it is not fixed. */
  int64_t size;
  /* The symbol whose value it is, or -1. */
  int32_t symbol;
  /* Text of the expression; absent where the size is fixed. */
  onnxc_rel expr;
} onnxc_dim;

/* How integers of an input or output stand for real numbers: real = scale * (integer - zero point). */
typedef struct onnxc_quant {
  /* The axis along which scales differ; -1 if there is one scale. */
  int32_t axis;
  /* Number of scales and zero points. */
  uint32_t count;
  /* float[count]. */
  onnxc_rel scales;
  /* int32_t[count]. */
  onnxc_rel zero_points;
} onnxc_quant;

/* An input or output. */
typedef struct onnxc_port {
  /* Its name in the model. */
  onnxc_rel name;
  /* Its name in generated sources. */
  onnxc_rel c_name;
  /* Element type: the number in ONNX's TensorProto.DataType. */
  uint32_t dtype;
  /* Bytes of an element; types below a byte take one byte each. */
  uint32_t elem_size;
  /* Number of dimensions. */
  uint32_t rank;
  /* onnxc_dim[rank]. */
  onnxc_rel dims;
  /* Bytes at the largest size. */
  uint64_t max_bytes;
  /* onnxc_quant, if known. */
  onnxc_rel quant;
  /* Zero. */
  uint32_t reserved;
} onnxc_port;

/* A size that is known when the model runs. */
typedef struct onnxc_symbol {
  /* Its name. */
  onnxc_rel name;
  /* 0: the caller states it in dims; 1: the model computes it. */
  uint32_t origin;
  /* Smallest value. */
  int64_t lo;
  /* Largest value: memory is planned for it. */
  int64_t hi;
  /* Origin 0: the input whose size it is. */
  uint32_t input;
  /* Origin 0: the axis of that input. */
  uint32_t axis;
} onnxc_symbol;

/* A layer: what one function of the object computes. */
typedef struct onnxc_layer {
  /* Symbol of its function. */
  onnxc_rel symbol;
  /* Operators in it, joined by +. */
  onnxc_rel op;
  /* onnxc_rel[num_nodes], each the name of an ONNX node. */
  onnxc_rel nodes;
  /* Number of ONNX nodes. */
  uint32_t num_nodes;
  /* Multiply-accumulate operations, at the largest size. */
  uint64_t macs;
  /* Bytes of its weights. */
  uint64_t param_bytes;
} onnxc_layer;

/* A model. */
typedef struct onnxc_descriptor {
  /* ONNXC_DESCRIPTOR_MAGIC. */
  uint32_t magic;
  /* ONNXC_ABI_VERSION. */
  uint32_t abi_version;
  /* sizeof(onnxc_descriptor). */
  uint32_t struct_size;
  /* Bytes of the whole blob. */
  uint32_t total_size;
  /* Name of the model. */
  onnxc_rel name;
  /* What all its symbols begin with. */
  onnxc_rel prefix;
  /* Target triple. */
  onnxc_rel target;
  /* CPU and features it was compiled for. */
  onnxc_rel cpu;
  /* onnxc_port[num_inputs]. */
  onnxc_rel inputs;
  /* Number of inputs. */
  uint32_t num_inputs;
  /* onnxc_port[num_outputs]. */
  onnxc_rel outputs;
  /* Number of outputs. */
  uint32_t num_outputs;
  /* onnxc_symbol[num_symbols]; those of origin 0 stand first. */
  onnxc_rel symbols;
  /* Number of symbols. */
  uint32_t num_symbols;
  /* Number of symbols of origin 0: the length of dims in the context. */
  uint32_t num_free_symbols;
  /* Sum of the ranks of all outputs: the length of out_dims in the context. */
  uint32_t num_out_dims;
  /* onnxc_layer[num_layers]. */
  onnxc_rel layers;
  /* Number of layers. */
  uint32_t num_layers;
  /* onnxc_region[num_offloads]: what accelerators compute, in the order in which they run. */
  onnxc_rel offloads;
  /* Number of offloaded regions. */
  uint32_t num_offloads;
  /* Bytes of arena a run needs. */
  uint64_t arena_size;
  /* Bytes of weights. */
  uint64_t weights_size;
  /* Alignment of the arena. */
  uint32_t arena_align;
  /* Alignment of the weights. */
  uint32_t weights_align;
  /* Bytes of stack a run needs at most, PREFIX_run included. */
  uint64_t stack_bytes;
  /* ONNXC_WEIGHTS_EMBEDDED, _SECTION or _FILE. */
  uint32_t weights_placement;
  /* Threads that a run can keep busy through parallel_for; 1 where no loop is spread. */
  uint32_t threads;
  /* SHA-256 of how the weights are laid out: weights files with the same one fit. */
  uint8_t layout_digest[32];
  /* SHA-256 of the weights the model was compiled with. */
  uint8_t content_digest[32];
} onnxc_descriptor;

/* How a weights file begins; the rest of its first 65536 bytes is zero. */
typedef struct onnxc_weights_header {
  /* "ONNXCWTS". */
  uint8_t magic[8];
  /* ONNXC_ABI_VERSION. */
  uint32_t abi_version;
  /* Where the weights begin: 65536. */
  uint32_t data_offset;
  /* Bytes of the weights. */
  uint64_t data_size;
  /* Alignment the weights need in memory. */
  uint32_t data_align;
  /* Zero. */
  uint32_t reserved[3];
  /* SHA-256 of how the weights are laid out: the one in the model's descriptor. */
  uint8_t layout_digest[32];
  /* SHA-256 of the weights. */
  uint8_t content_digest[32];
} onnxc_weights_header;

/* Sizes are part of the contract. */
typedef char onnxc_offload_table_size_is_32[sizeof(onnxc_offload_table) == 32 ? 1 : -1];
typedef char onnxc_context_size_is_160[sizeof(onnxc_context) == 160 ? 1 : -1];
typedef char onnxc_dim_size_is_16[sizeof(onnxc_dim) == 16 ? 1 : -1];
typedef char onnxc_quant_size_is_16[sizeof(onnxc_quant) == 16 ? 1 : -1];
typedef char onnxc_port_size_is_40[sizeof(onnxc_port) == 40 ? 1 : -1];
typedef char onnxc_symbol_size_is_32[sizeof(onnxc_symbol) == 32 ? 1 : -1];
typedef char onnxc_layer_size_is_32[sizeof(onnxc_layer) == 32 ? 1 : -1];
typedef char onnxc_descriptor_size_is_184[sizeof(onnxc_descriptor) == 184 ? 1 : -1];
typedef char onnxc_weights_header_size_is_104[sizeof(onnxc_weights_header) == 104 ? 1 : -1];

/* What a CPU can do: bits of cpu_level. 0 is "not known" and runs the base level of an object. */
#define ONNXC_CPU_DETECTED 0x80000000u
#define ONNXC_CPU_X86_SSE3 0x1u
#define ONNXC_CPU_X86_SSSE3 0x2u
#define ONNXC_CPU_X86_SSE4_1 0x4u
#define ONNXC_CPU_X86_SSE4_2 0x8u
#define ONNXC_CPU_X86_POPCNT 0x10u
#define ONNXC_CPU_X86_AVX 0x20u
#define ONNXC_CPU_X86_AVX2 0x40u
#define ONNXC_CPU_X86_FMA 0x80u
#define ONNXC_CPU_X86_F16C 0x100u
#define ONNXC_CPU_X86_BMI1 0x200u
#define ONNXC_CPU_X86_BMI2 0x400u
#define ONNXC_CPU_X86_LZCNT 0x800u
#define ONNXC_CPU_X86_AVX512F 0x1000u
#define ONNXC_CPU_X86_AVX512CD 0x2000u
#define ONNXC_CPU_X86_AVX512BW 0x4000u
#define ONNXC_CPU_X86_AVX512DQ 0x8000u
#define ONNXC_CPU_X86_AVX512VL 0x10000u
#define ONNXC_CPU_X86_AVX512VNNI 0x20000u
#define ONNXC_CPU_X86_AVXVNNI 0x40000u
#define ONNXC_CPU_X86_AVX512VBMI 0x80000u
#define ONNXC_CPU_A64_CRC 0x1u
#define ONNXC_CPU_A64_CRYPTO 0x2u
#define ONNXC_CPU_A64_LSE 0x4u
#define ONNXC_CPU_A64_RDM 0x8u
#define ONNXC_CPU_A64_FP16 0x10u
#define ONNXC_CPU_A64_DOTPROD 0x20u
#define ONNXC_CPU_A64_I8MM 0x40u
#define ONNXC_CPU_A64_BF16 0x80u
#define ONNXC_CPU_A64_SVE 0x100u
#define ONNXC_CPU_A64_SVE2 0x200u

/* Finds the word of the CPU that runs this: 0 where there is no way to ask. It takes a microsecond or more under a hypervisor: ask
   once. Define ONNXC_NO_DETECT where neither cpuid nor getauxval may be used. */
#if defined(__x86_64__) && !defined(ONNXC_NO_DETECT)
static inline void onnxc_cpuid(uint32_t leaf, uint32_t sub, uint32_t r[4]) {
  __asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(sub));
}
static inline uint32_t onnxc_cpu_bit(uint32_t leaf, uint32_t sub, int reg, int bit, int kept, uint32_t found) {
  uint32_t r[4];
  onnxc_cpuid(leaf & 0x80000000u, 0, r);
  if (!kept || r[0] < leaf) return 0;
  if (sub != 0) {
    onnxc_cpuid(leaf, 0, r);
    if (r[0] < sub) return 0;
  }
  onnxc_cpuid(leaf, sub, r);
  return (r[reg] >> bit) & 1u ? found : 0;
}
static inline uint32_t onnxc_detect_cpu(void) {
  uint32_t r[4], saved = 0, high, word = ONNXC_CPU_DETECTED;
  onnxc_cpuid(0, 0, r);
  if (r[0] < 1) return 0;
  onnxc_cpuid(1, 0, r);
  if ((r[2] >> 27) & 1u) __asm__ volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
  word |= onnxc_cpu_bit(0x1u, 0u, 2, 0, (saved & 0x0u) == 0x0u, 0x1u);
  word |= onnxc_cpu_bit(0x1u, 0u, 2, 9, (saved & 0x0u) == 0x0u, 0x2u);
  word |= onnxc_cpu_bit(0x1u, 0u, 2, 19, (saved & 0x0u) == 0x0u, 0x4u);
  word |= onnxc_cpu_bit(0x1u, 0u, 2, 20, (saved & 0x0u) == 0x0u, 0x8u);
  word |= onnxc_cpu_bit(0x1u, 0u, 2, 23, (saved & 0x0u) == 0x0u, 0x10u);
  word |= onnxc_cpu_bit(0x1u, 0u, 2, 28, (saved & 0x6u) == 0x6u, 0x20u);
  word |= onnxc_cpu_bit(0x7u, 0u, 1, 5, (saved & 0x6u) == 0x6u, 0x40u);
  word |= onnxc_cpu_bit(0x1u, 0u, 2, 12, (saved & 0x6u) == 0x6u, 0x80u);
  word |= onnxc_cpu_bit(0x1u, 0u, 2, 29, (saved & 0x6u) == 0x6u, 0x100u);
  word |= onnxc_cpu_bit(0x7u, 0u, 1, 3, (saved & 0x0u) == 0x0u, 0x200u);
  word |= onnxc_cpu_bit(0x7u, 0u, 1, 8, (saved & 0x0u) == 0x0u, 0x400u);
  word |= onnxc_cpu_bit(0x80000001u, 0u, 2, 5, (saved & 0x0u) == 0x0u, 0x800u);
  word |= onnxc_cpu_bit(0x7u, 0u, 1, 16, (saved & 0xe6u) == 0xe6u, 0x1000u);
  word |= onnxc_cpu_bit(0x7u, 0u, 1, 28, (saved & 0xe6u) == 0xe6u, 0x2000u);
  word |= onnxc_cpu_bit(0x7u, 0u, 1, 30, (saved & 0xe6u) == 0xe6u, 0x4000u);
  word |= onnxc_cpu_bit(0x7u, 0u, 1, 17, (saved & 0xe6u) == 0xe6u, 0x8000u);
  word |= onnxc_cpu_bit(0x7u, 0u, 1, 31, (saved & 0xe6u) == 0xe6u, 0x10000u);
  word |= onnxc_cpu_bit(0x7u, 0u, 2, 11, (saved & 0xe6u) == 0xe6u, 0x20000u);
  word |= onnxc_cpu_bit(0x7u, 1u, 0, 4, (saved & 0x6u) == 0x6u, 0x40000u);
  word |= onnxc_cpu_bit(0x7u, 0u, 2, 1, (saved & 0xe6u) == 0xe6u, 0x80000u);
  return word;
}
#elif defined(__aarch64__)
/* The word that AT_HWCAP and AT_HWCAP2 of the auxiliary vector of Linux stand for. */
static inline uint32_t onnxc_cpu_of_hwcap(uint64_t hwcap, uint64_t hwcap2) {
  uint32_t word = ONNXC_CPU_DETECTED;
  if ((hwcap & 0x80u) == 0x80u) word |= 0x1u;
  if ((hwcap & 0x78u) == 0x78u) word |= 0x2u;
  if ((hwcap & 0x100u) == 0x100u) word |= 0x4u;
  if ((hwcap & 0x1000u) == 0x1000u) word |= 0x8u;
  if ((hwcap & 0x600u) == 0x600u) word |= 0x10u;
  if ((hwcap & 0x100000u) == 0x100000u) word |= 0x20u;
  if ((hwcap2 & 0x2000u) == 0x2000u) word |= 0x40u;
  if ((hwcap2 & 0x4000u) == 0x4000u) word |= 0x80u;
  if ((hwcap & 0x400000u) == 0x400000u) word |= 0x100u;
  if ((hwcap2 & 0x2u) == 0x2u) word |= 0x200u;
  return word;
}
#if defined(__linux__) && !defined(ONNXC_NO_DETECT)
/* The C library's function under a name of ours, whatever headers say of it. */
extern unsigned long onnxc_getauxval(unsigned long type) __asm__("getauxval");
static inline uint32_t onnxc_detect_cpu(void) {
  return onnxc_cpu_of_hwcap(onnxc_getauxval(16), onnxc_getauxval(26));
}
#else
static inline uint32_t onnxc_detect_cpu(void) { return 0; }
#endif
#else
static inline uint32_t onnxc_detect_cpu(void) { return 0; }
#endif
/* The same, asked once. A program may define ONNXC_CPU_LEVEL as something else before it includes this. */
#ifndef ONNXC_CPU_LEVEL
#define ONNXC_CPU_LEVEL onnxc_cpu_level()
#endif
static inline uint32_t onnxc_cpu_level(void) {
  static uint32_t known = 0;
  uint32_t word = __atomic_load_n(&known, __ATOMIC_RELAXED);
  if (word == 0) {
    word = onnxc_detect_cpu();
    __atomic_store_n(&known, word, __ATOMIC_RELAXED);
  }
  return word;
}

/* What a self-relative field refers to, or NULL. */
static inline const void *onnxc_at(const onnxc_rel *field) {
  return *field == 0 ? (const void *)0 : (const void *)((const char *)field + *field);
}
/* The same for text; "" for nothing. */
static inline const char *onnxc_text(const onnxc_rel *field) {
  return *field == 0 ? "" : (const char *)onnxc_at(field);
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

/* One line for a person. */
static inline const char *onnxc_status_text(int32_t status) {
  switch (status) {
  case 0: return "success";
  case 1: return "the context, the arena, an input or an output is null, or the weights are null and not in the object";
  case 2: return "abi_version or struct_size of the context is not one this model was compiled for";
  case 3: return "arena_size is smaller than the model needs";
  case 4: return "the arena, the weights, an input or an output is not aligned as the descriptor says";
  case 5: return "the weights given are not of the size or layout of this model";
  case 6: return "num_inputs, num_outputs, num_dims or num_out_dims is not the model's";
  case 7: return "a value in dims is outside the bounds the model was compiled for";
  case 8: return "an index or a size that was computed from the input data is out of range";
  case 9: return "a loop or a data-dependent size passed its limit";
  case 10: return "the run reached a part of the model that could not be compiled";
  case 11: return "sizes that were free when the model was compiled do not fit together where a tensor gets another shape";
  case 32: return "a region that must run on an accelerator found none";
  case 33: return "the accelerator refused the compiled region";
  case 34: return "the accelerator did not answer in time";
  case 35: return "the accelerator reported an error";
  case 36: return "the accelerator is lost";
  case 37: return "the accelerator is busy, or still owns its buffers";
  case 38: return "the accelerator's outputs wait for those of the CPU, to be compared; no run ends with it";
  default: return "unknown status";
  }
}

#ifdef __cplusplus
}
#endif
#endif /* ONNXC_H */
