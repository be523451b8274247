//! The C side of accelerators: the text of `runtime/include/onnxc_npu.h`, for those who write drivers or run models with them.

use crate::c::{CStruct, write_struct};
use crate::{npu, region};
use core::fmt::{Result, Write};

/// All structs, in the order in which C must see them.
pub const STRUCTS: &[CStruct] = &[
    region::RawRegionPort::C,
    region::RawReloc::C,
    region::RawRegion::C,
    npu::NpuCaps::C,
    npu::NpuBuf::C,
    npu::NpuBackend::C,
    npu::NpuCounters::C,
    npu::NpuConfig::C,
    npu::NpuSlot::C,
];

/// Writes the header.
pub fn write_header(out: &mut dyn Write) -> Result {
    out.write_str(HEAD)?;
    writeln!(out, "#define ONNXC_NPU_ABI {:#x}u\n", region::NPU_ABI)?;
    out.write_str("/* Statuses of drivers: 0, 1 for not yet, below 0 for errors. */\ntypedef int32_t onnxc_npu_status;\n")?;
    for s in npu::STATUSES {
        let e = if s.code < 0 { "E_" } else { "" };
        writeln!(
            out,
            "#define ONNXC_NPU_{e}{} {} /* {} */",
            s.name, s.code, s.text
        )?;
    }
    let numbers: [(&str, &[(&str, u32)]); 8] = [
        (
            "Flags of a region",
            &[("REGION_REQUIRED", region::REQUIRED)],
        ),
        (
            "Ports: direction and layout",
            &[
                ("REGION_IN", region::IN as u32),
                ("REGION_OUT", region::OUT as u32),
                ("REGION_ROW_MAJOR", region::ROW_MAJOR as u32),
                ("REGION_CHANNELS_LAST", region::CHANNELS_LAST as u32),
            ],
        ),
        (
            "Memories of a device",
            &[
                ("REGION_MEM_CONST", region::MEM_CONST as u32),
                ("REGION_MEM_ARENA", region::MEM_ARENA as u32),
                ("REGION_MEM_FAST", region::MEM_FAST as u32),
                ("REGION_MEM_PORT", region::MEM_PORT as u32),
            ],
        ),
        (
            "Kinds of buffers",
            &[
                ("NPU_BUF_DEVICE", npu::BUF_DEVICE),
                ("NPU_BUF_DMABUF", npu::BUF_DMABUF),
            ],
        ),
        (
            "Capabilities",
            &[
                ("NPU_CAN_CANCEL", npu::CAN_CANCEL),
                ("NPU_HAS_EVENT_FD", npu::HAS_EVENT_FD),
            ],
        ),
        (
            "Directions of sync",
            &[
                ("NPU_TO_DEVICE", npu::TO_DEVICE),
                ("NPU_FROM_DEVICE", npu::FROM_DEVICE),
            ],
        ),
        (
            "Flags of a configuration",
            &[
                ("NPU_NO_SELFTEST", npu::NO_SELFTEST),
                ("NPU_NO_DIGEST", npu::NO_DIGEST),
                ("NPU_OWN_TIMEOUT", npu::OWN_TIMEOUT),
            ],
        ),
        (
            "Health of a region",
            &[
                ("NPU_NEW", npu::Health::New as u32),
                ("NPU_READY", npu::Health::Ready as u32),
                ("NPU_QUARANTINED", npu::Health::Quarantined as u32),
                ("NPU_CPU_ONLY", npu::Health::CpuOnly as u32),
                ("NPU_IS_LOST", npu::Health::Lost as u32),
            ],
        ),
    ];
    for (what, list) in numbers {
        writeln!(out, "\n/* {what}. */")?;
        for (name, n) in list {
            writeln!(out, "#define ONNXC_{name} {n}u")?;
        }
    }
    writeln!(
        out,
        "\n/* Digests of golden outputs: where they begin, and their factor. */\n#define ONNXC_GOLDEN_BEGIN {:#x}u\n#define ONNXC_GOLDEN_PRIME {:#x}u",
        region::GOLDEN_BEGIN,
        region::GOLDEN_PRIME
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
    out.write_str(ACCESSORS)?;
    out.write_str("\n/* One line for a person. */\nstatic inline const char *onnxc_npu_status_text(onnxc_npu_status status) {\n  switch (status) {\n")?;
    for s in npu::STATUSES {
        writeln!(out, "  case {}: return \"{}\";", s.code, s.text)?;
    }
    out.write_str("  default: return \"unknown status of a driver\";\n  }\n}\n")?;
    out.write_str(CORE)
}

const HEAD: &str = "\
/* onnxc: accelerators. The table of functions that a driver provides, regions as they lie in a model, and the runtime
   core's functions. Generated from the crate onnxc-abi; do not edit. C99 and C++. docs/npu.md explains it. */
#ifndef ONNXC_NPU_H
#define ONNXC_NPU_H 1

#include \"onnxc.h\"

#ifdef __cplusplus
extern \"C\" {
#endif

/* Version: majors (the high half) must be equal; structs of later minors are longer. */
";

const TYPES: &str = "
/* The time in nanoseconds, of the clock that deadlines mean: CLOCK_MONOTONIC on Linux. */
typedef int64_t (*onnxc_npu_clock)(void *user);
";

const ACCESSORS: &str = "
/* Region k of a model, or NULL. */
static inline const onnxc_region *onnxc_region_at(const onnxc_descriptor *d, uint32_t k) {
  const onnxc_region *first = (const onnxc_region *)onnxc_at(&d->offloads);
  if (first == 0 || k >= d->num_offloads) return 0;
  return (const onnxc_region *)(const void *)((const char *)first + (size_t)k * first->struct_size);
}
/* Port i of a region: inputs first. */
static inline const onnxc_region_port *onnxc_region_port_at(const onnxc_region *r, uint32_t i) {
  return (const onnxc_region_port *)onnxc_at(&r->ports) + i;
}
/* Golden vectors. Each byte of the inputs is the highest one of the next state; the seed comes before the first. */
static inline uint32_t onnxc_golden_next(uint32_t state) { return state * 1664525u + 1013904223u; }
/* The digest of the outputs begins with ONNXC_GOLDEN_BEGIN; one byte further (FNV-1a): */
static inline uint64_t onnxc_golden_add(uint64_t hash, uint8_t byte) { return (hash ^ byte) * ONNXC_GOLDEN_PRIME; }
";

const CORE: &str = "
/* The usual configuration: a second for a run where the region has no limit of its own, one for a drain, ten for the self-test. */
static inline onnxc_npu_config onnxc_npu_defaults(onnxc_npu_clock clock, void *clock_user) {
  onnxc_npu_config c = {sizeof(onnxc_npu_config), 0, clock, clock_user, 1000000000u, 1000000000u, 10000000000u, 3, 0, 0};
  return c;
}

/* The runtime core, in the library that the crate onnxc-runtime makes (feature c). None allocates or blocks longer than said.

   open: takes region, which names backend, for slot, and bufs, one for each port; asks the driver, loads, runs the self-test. OK, or why
   the CPU computes the region from now on: the slot's table may be given to the model in either case.
   close: waits for a job that is still under way for drain_ns at most, and lets go of everything. The slot may be opened again.
   start, finish: one run in two halves; finish answers as onnxc_run_region does. A start that does not answer OK needs no finish. */
onnxc_npu_status onnxc_npu_open(onnxc_npu_slot *slot, const onnxc_region *region, const onnxc_npu_backend *backend,
                                onnxc_npu_buf *bufs, uint32_t num_bufs, const onnxc_npu_config *config);
void onnxc_npu_close(onnxc_npu_slot *slot);
int32_t onnxc_npu_start(onnxc_npu_slot *slot, const onnxc_context *ctx, const void *const *inputs);
int32_t onnxc_npu_finish(onnxc_npu_slot *slot, void *const *outputs);

/* The driver a region names, in a list of count, or NULL. */
static inline const onnxc_npu_backend *onnxc_npu_find(const onnxc_region *region, const onnxc_npu_backend *const *list, size_t count) {
  size_t i;
  for (i = 0; i < count; i++) {
    const char *a = onnxc_text(&region->backend), *b = list[i] == 0 ? 0 : list[i]->name;
    if (b == 0) continue;
    while (*a != 0 && *a == *b) a++, b++;
    if (*a == *b) return list[i];
  }
  return 0;
}

#ifdef __cplusplus
}
#endif
#endif /* ONNXC_NPU_H */
";
