/* onnxc: accelerators. The table of functions that a driver provides, regions as they lie in a model, and the runtime
   core's functions. Generated from the crate onnxc-abi; do not edit. C99 and C++. docs/npu.md explains it. */
#ifndef ONNXC_NPU_H
#define ONNXC_NPU_H 1

#include "onnxc.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Version: majors (the high half) must be equal; structs of later minors are longer. */
#define ONNXC_NPU_ABI 0x20000u

/* Statuses of drivers: 0, 1 for not yet, below 0 for errors. */
typedef int32_t onnxc_npu_status;
#define ONNXC_NPU_OK 0 /* done */
#define ONNXC_NPU_PENDING 1 /* not yet done */
#define ONNXC_NPU_E_ABSENT -1 /* there is no device */
#define ONNXC_NPU_E_ABI -2 /* the region or the driver is of another version */
#define ONNXC_NPU_E_TARGET -3 /* the region was compiled for another device */
#define ONNXC_NPU_E_NOMEM -4 /* there is not enough memory */
#define ONNXC_NPU_E_INVAL -5 /* the device or its driver takes the region for malformed */
#define ONNXC_NPU_E_BUSY -6 /* the device is busy, or still owns the buffers */
#define ONNXC_NPU_E_TIMEOUT -7 /* the device did not answer in time */
#define ONNXC_NPU_E_DEVICE -8 /* the device reported an error */
#define ONNXC_NPU_E_LOST -9 /* the device is lost */
#define ONNXC_NPU_E_UNSUPPORTED -10 /* the driver can't do that */
#define ONNXC_NPU_E_SELFTEST -11 /* the device computed the golden vector wrong */
#define ONNXC_NPU_E_SILENT -12 /* the device said it was done and wrote nothing */
#define ONNXC_NPU_E_DIGEST -13 /* the region's data are damaged */
#define ONNXC_NPU_E_MISMATCH -14 /* the device's outputs were not those of the CPU */

/* Flags of a region. */
#define ONNXC_REGION_REQUIRED 1u

/* Ports: direction and layout. */
#define ONNXC_REGION_IN 0u
#define ONNXC_REGION_OUT 1u
#define ONNXC_REGION_ROW_MAJOR 0u
#define ONNXC_REGION_CHANNELS_LAST 1u

/* Memories of a device. */
#define ONNXC_REGION_MEM_CONST 0u
#define ONNXC_REGION_MEM_ARENA 1u
#define ONNXC_REGION_MEM_FAST 2u
#define ONNXC_REGION_MEM_PORT 3u

/* Kinds of buffers. */
#define ONNXC_NPU_BUF_DEVICE 0u
#define ONNXC_NPU_BUF_DMABUF 1u

/* Capabilities. */
#define ONNXC_NPU_CAN_CANCEL 1u
#define ONNXC_NPU_HAS_EVENT_FD 2u

/* Directions of sync. */
#define ONNXC_NPU_TO_DEVICE 0u
#define ONNXC_NPU_FROM_DEVICE 1u

/* Flags of a configuration. */
#define ONNXC_NPU_NO_SELFTEST 1u
#define ONNXC_NPU_NO_DIGEST 2u
#define ONNXC_NPU_OWN_TIMEOUT 4u

/* Health of a region. */
#define ONNXC_NPU_NEW 0u
#define ONNXC_NPU_READY 1u
#define ONNXC_NPU_QUARANTINED 2u
#define ONNXC_NPU_CPU_ONLY 3u
#define ONNXC_NPU_IS_LOST 4u

/* Digests of golden outputs: where they begin, and their factor. */
#define ONNXC_GOLDEN_BEGIN 0xcbf29ce484222325u
#define ONNXC_GOLDEN_PRIME 0x100000001b3u

/* The time in nanoseconds, of the clock that deadlines mean: CLOCK_MONOTONIC on Linux. */
typedef int64_t (*onnxc_npu_clock)(void *user);

/* A tensor that crosses the border of a region. */
typedef struct onnxc_region_port {
  /* sizeof(onnxc_region_port). */
  uint32_t struct_size;
  /* ONNXC_REGION_IN or _OUT. */
  uint8_t dir;
  /* Element type: the number in ONNX's TensorProto.DataType. */
  uint8_t dtype;
  /* ONNXC_REGION_ROW_MAJOR or _CHANNELS_LAST. */
  uint8_t layout;
  /* Memory of the device: ONNXC_REGION_MEM_PORT, or another one in which it lies at offset. */
  uint8_t memory;
  /* Where in that memory. */
  uint64_t offset;
  /* Its bytes: the product of dims times the size of an element. */
  uint64_t bytes;
  /* Number of dimensions, at most 6. */
  uint32_t rank;
  /* Dimensions as ONNX orders them; those behind rank are 1. */
  uint32_t dims[6];
  /* Real number = scale * (integer - zero_point); 0 where it is not known. */
  float scale;
  /* The integer that stands for 0. */
  int32_t zero_point;
  /* Zero. */
  uint32_t reserved;
} onnxc_region_port;

/* For commands that hold addresses: 64 bits at at of the commands become the address of the memory plus addend. */
typedef struct onnxc_reloc {
  /* Bytes from the beginning of the commands. */
  uint32_t at;
  /* ONNXC_REGION_MEM_..; for _MEM_PORT plus 256 times the number of the port. */
  uint32_t memory;
  /* What is added. */
  int64_t addend;
} onnxc_reloc;

/* A region. Structs of later versions of the same major are longer; the next one lies struct_size bytes behind. */
typedef struct onnxc_region {
  /* sizeof(onnxc_region). */
  uint32_t struct_size;
  /* ONNXC_NPU_ABI it was compiled for. */
  uint32_t npu_abi;
  /* Name of the backend, such as sim. */
  onnxc_rel backend;
  /* What the commands are for, such as sim-256;format-1: the device must say the same text. */
  onnxc_rel target;
  /* SHA-256 of the payload. */
  uint8_t digest[32];
  /* Ports, relocations, commands and constants, in one piece. */
  onnxc_rel payload;
  /* ONNXC_REGION_REQUIRED. */
  uint32_t flags;
  /* Bytes of the payload. */
  uint64_t payload_bytes;
  /* onnxc_region_port[num_ports]. */
  onnxc_rel ports;
  /* Number of ports: inputs, then outputs. */
  uint32_t num_ports;
  /* How many of them are inputs. */
  uint32_t num_inputs;
  /* Number of relocations. */
  uint32_t num_relocs;
  /* onnxc_reloc[num_relocs]. */
  onnxc_rel relocs;
  /* Commands. */
  onnxc_rel cmd;
  /* Bytes of the commands. */
  uint64_t cmd_bytes;
  /* Constants. */
  onnxc_rel cst;
  /* Its name, for people. */
  onnxc_rel name;
  /* Bytes of the constants. */
  uint64_t cst_bytes;
  /* Bytes of working memory that the device needs. */
  uint64_t arena_bytes;
  /* Bytes of fast working memory. */
  uint64_t fast_bytes;
  /* What the device's outputs for the golden inputs must have as their digest; 0 = no self-test. */
  uint64_t golden_hash;
  /* Beginning of the golden inputs. */
  uint32_t golden_seed;
  /* First layer of the twin, a number of the descriptor's (of the first level, where there are several). */
  uint32_t first_layer;
  /* The layer behind the twin's last. */
  uint32_t end_layer;
  /* Zero. */
  uint32_t reserved;
  /* Multiply-accumulate operations. */
  uint64_t macs;
  /* What the compiler thinks a run takes, in nanoseconds. */
  uint64_t est_ns;
  /* When a run has failed, in nanoseconds from its submission; 0 = the runtime's own limit. */
  uint64_t timeout_ns;
  /* Zero. */
  uint64_t reserved_8[4];
} onnxc_region;

/* What a driver says about its device. */
typedef struct onnxc_npu_caps {
  /* sizeof(onnxc_npu_caps) of who fills it. */
  uint32_t struct_size;
  /* ONNXC_NPU_ABI of the driver. */
  uint32_t npu_abi;
  /* Bit k: buffers of kind k. */
  uint32_t buf_kinds;
  /* ONNXC_NPU_CAN_CANCEL, _HAS_EVENT_FD. */
  uint32_t caps;
  /* Jobs that may be under way at a time, at least 1. */
  uint32_t max_inflight;
  /* Alignment of buffers. */
  uint32_t align;
  /* Bytes of fast memory. */
  uint64_t fast_bytes;
  /* Multiply-accumulate operations in a second at its best; 0 = not known. */
  uint64_t macs_per_second;
  /* What regions must be compiled for; a zero byte ends it. */
  char target[64];
} onnxc_npu_caps;

/* A buffer of a port. */
typedef struct onnxc_npu_buf {
  /* sizeof(onnxc_npu_buf). */
  uint32_t struct_size;
  /* ONNXC_NPU_BUF_... */
  uint32_t kind;
  /* _DMABUF: the descriptor; else -1. */
  int32_t fd;
  /* Number of the port. */
  uint32_t port;
  /* Where in the device's object it begins. */
  uint64_t offset;
  /* Its bytes: those of the port, set before buf_get, which leaves them so. */
  uint64_t bytes;
  /* Where the CPU sees it. */
  void *host;
  /* The driver's own. */
  void *driver;
} onnxc_npu_buf;

/* A driver. Append only: functions that a shorter table lacks are absent. Only event_fd may be null. */
typedef struct onnxc_npu_backend {
  /* Bytes of the table. */
  uint32_t struct_size;
  /* ONNXC_NPU_ABI it was built for. */
  uint32_t npu_abi;
  /* Its name; regions name it. */
  const char *name;
  /* First argument of its functions. */
  void *self_;
  /* Looks for the device and says what it can: cheap, and may be repeated. ABSENT if there is none. */
  onnxc_npu_status (*query)(void *self_, onnxc_npu_caps *out);
  /* Takes a region, which stays where it is until unload. May refuse: ABI, TARGET, INVAL, NOMEM. */
  onnxc_npu_status (*load)(void *self_, const onnxc_region *region, void **out);
  /* Lets go of it. If the device still owns buffers, their memory stays until the device has let go of them, or for ever. */
  void (*unload)(void *self_, void *model);
  /* Gives the buffer of a port: port and bytes are set before, fd is -1 and all else zero. It must have a host address. */
  onnxc_npu_status (*buf_get)(void *self_, void *model, onnxc_npu_buf *io);
  /* Takes it back. */
  void (*buf_put)(void *self_, void *model, onnxc_npu_buf *buf);
  /* Makes caches coherent: called for every buffer before a submission, and for outputs after it. direction: ONNXC_NPU_TO_DEVICE or _FROM_DEVICE. */
  onnxc_npu_status (*sync)(void *self_, const onnxc_npu_buf *buf, uint32_t direction);
  /* Begins a run over the buffers of all ports, in their order, and returns. BUSY if there is no room in its queue. */
  onnxc_npu_status (*submit)(void *self_, void *model, const onnxc_npu_buf *bufs, uint32_t n, void **out);
  /* Waits until the job is done or the clock reaches deadline_ns (0: asks and returns). PENDING if it is not done. Any other answer
     is final: it is given once, the job is gone, and the device has let go of the buffers; except LOST, after which it may never let go. */
  onnxc_npu_status (*wait)(void *self_, void *job, int64_t deadline_ns);
  /* Stops a job. OK: the job is gone and the device will not touch the buffers any more. Anything else: it goes on. */
  onnxc_npu_status (*cancel)(void *self_, void *job);
  /* A file descriptor that becomes readable when wait may answer, or -1; may be null. */
  int32_t (*event_fd)(void *self_, void *job);
} onnxc_npu_backend;

/* What happened to a region since it was opened. Every run counts in exactly one of device and cpu. */
typedef struct onnxc_npu_counters {
  /* Runs whose outputs are the device's. */
  uint32_t device;
  /* Runs that were left to the CPU, whatever the reason; shadow runs too. */
  uint32_t cpu;
  /* Openings that found no device or no driver. */
  uint32_t absent;
  /* Refusals, at the opening as a rule: ABI, target, digest, malformed, no memory. */
  uint32_t refused;
  /* Jobs that overran their time. */
  uint32_t timeout;
  /* Jobs that ended with an error. */
  uint32_t error;
  /* How often the device was lost. */
  uint32_t lost;
  /* Jobs that ended well and left an output unwritten. */
  uint32_t silent;
  /* Self-tests and shadow runs with other outputs than expected. */
  uint32_t mismatch;
  /* Runs that found the device or the buffers busy. */
  uint32_t busy;
  /* Shadow runs: both computed, and were compared. */
  uint32_t shadow;
  /* Jobs that were cancelled. */
  uint32_t cancelled;
  /* Jobs that ended after their time, in quarantine. */
  uint32_t drained;
  /* Jobs given to the device. */
  uint32_t submitted;
  /* Times the device's runs took, summed, in nanoseconds: from submission to the end. */
  uint64_t device_ns;
  /* Zero. */
  uint64_t reserved;
} onnxc_npu_counters;

/* How the runtime treats a region. */
typedef struct onnxc_npu_config {
  /* sizeof(onnxc_npu_config). */
  uint32_t struct_size;
  /* Every so many device runs the CPU computes too, and outputs are compared; 0 = never. */
  uint32_t shadow_every;
  /* The clock; never null. */
  onnxc_npu_clock clock;
  /* Its argument. */
  void *clock_user;
  /* Time-out of a run where the region has none: 0 there. */
  uint64_t timeout_ns;
  /* How long an overrun job may go on until the device counts as lost. */
  uint64_t drain_ns;
  /* Time-out of the self-test. */
  uint64_t selftest_ns;
  /* Errors one after the other that leave the region to the CPU. */
  uint32_t max_errors;
  /* ONNXC_NPU_NO_SELFTEST, _NO_DIGEST, _OWN_TIMEOUT. */
  uint32_t flags;
  /* Zero. */
  uint64_t reserved;
} onnxc_npu_config;

/* All that the runtime keeps for a region, in memory of the caller, who does not move it while it is open, and reads only what is marked so. Zero before it is opened. */
typedef struct onnxc_npu_slot {
  /* What the context's offload refers to. (may be read) */
  onnxc_offload_table table;
  /* How it is treated. (may be read) */
  onnxc_npu_config config;
  /* What happened. (may be read) */
  onnxc_npu_counters counters;
  /* The region. (may be read) */
  const onnxc_region *region;
  /* Its driver. (may be read) */
  const onnxc_npu_backend *backend;
  /* Buffers of the ports, in the caller's memory. */
  onnxc_npu_buf *bufs;
  /* Length of bufs. */
  uint32_t num_bufs;
  /* How many the driver gave. */
  uint32_t held_bufs;
  /* What the driver's load gave. */
  void *model;
  /* The job under way. */
  void *job;
  /* A number of [Health]. (may be read) */
  uint32_t health;
  /* Last status of the driver that was not OK. (may be read) */
  onnxc_npu_status last;
  /* Errors one after the other. */
  uint32_t errors;
  /* Device runs since the last shadow run. */
  uint32_t since_shadow;
  /* What marks outputs that nobody wrote. */
  uint64_t mark;
  /* When the job under way was submitted. */
  int64_t began_ns;
  /* When it has failed, or in quarantine when the device counts as lost. */
  int64_t deadline_ns;
  /* Who uses the slot: 0 = nobody; else the address of a context, made odd. */
  uintptr_t owner;
  /* 1: a job is under way. 2: outputs wait for the twin's. */
  uint32_t busy;
  /* Whether the driver has loaded the region. */
  uint32_t loaded;
  /* What generated code was told of last. */
  int32_t code;
  /* Zero. */
  uint32_t reserved_4;
  /* Zero. */
  uint64_t reserved[5];
} onnxc_npu_slot;

/* Sizes are part of the contract. */
typedef char onnxc_region_port_size_is_64[sizeof(onnxc_region_port) == 64 ? 1 : -1];
typedef char onnxc_reloc_size_is_16[sizeof(onnxc_reloc) == 16 ? 1 : -1];
typedef char onnxc_region_size_is_208[sizeof(onnxc_region) == 208 ? 1 : -1];
typedef char onnxc_npu_caps_size_is_104[sizeof(onnxc_npu_caps) == 104 ? 1 : -1];
typedef char onnxc_npu_buf_size_is_48[sizeof(onnxc_npu_buf) == 48 ? 1 : -1];
typedef char onnxc_npu_backend_size_is_104[sizeof(onnxc_npu_backend) == 104 ? 1 : -1];
typedef char onnxc_npu_counters_size_is_72[sizeof(onnxc_npu_counters) == 72 ? 1 : -1];
typedef char onnxc_npu_config_size_is_64[sizeof(onnxc_npu_config) == 64 ? 1 : -1];
typedef char onnxc_npu_slot_size_is_320[sizeof(onnxc_npu_slot) == 320 ? 1 : -1];

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

/* One line for a person. */
static inline const char *onnxc_npu_status_text(onnxc_npu_status status) {
  switch (status) {
  case 0: return "done";
  case 1: return "not yet done";
  case -1: return "there is no device";
  case -2: return "the region or the driver is of another version";
  case -3: return "the region was compiled for another device";
  case -4: return "there is not enough memory";
  case -5: return "the device or its driver takes the region for malformed";
  case -6: return "the device is busy, or still owns the buffers";
  case -7: return "the device did not answer in time";
  case -8: return "the device reported an error";
  case -9: return "the device is lost";
  case -10: return "the driver can't do that";
  case -11: return "the device computed the golden vector wrong";
  case -12: return "the device said it was done and wrote nothing";
  case -13: return "the region's data are damaged";
  case -14: return "the device's outputs were not those of the CPU";
  default: return "unknown status of a driver";
  }
}

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
