/* Runs the toy accelerator: a region made by hand, and what a compiled model does with it. */
#include "onnxc_npu.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

extern const onnxc_npu_backend toy_backend;

/* A region as the compiler lays it out in a descriptor: distances, no pointers. */
static struct {
  onnxc_region region;
  char name[8], target[8];
  onnxc_region_port ports[2];
  uint8_t cmd[16];
} r;

#define REL(field, to) r.region.field = (onnxc_rel)((const char *)(to) - (const char *)&r.region.field)

static int64_t now(void *user) {
  struct timespec t;
  (void)user;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int main(void) {
  static onnxc_npu_slot slot;
  onnxc_npu_buf bufs[2];
  onnxc_npu_config config = onnxc_npu_defaults(now, NULL);
  const onnxc_npu_backend *list[1] = {&toy_backend};
  uint8_t x[16], y[16];
  const void *ins[1] = {x};
  void *outs[1] = {y};
  onnxc_context ctx;
  onnxc_npu_status status;
  uint32_t seed = 1;
  int i;

  r.region.struct_size = sizeof r.region;
  r.region.npu_abi = ONNXC_NPU_ABI;
  r.region.num_ports = 2, r.region.num_inputs = 1, r.region.cmd_bytes = 1;
  strcpy(r.name, "toy"), strcpy(r.target, "toy-1");
  for (i = 0; i < 2; i++) {
    r.ports[i].struct_size = sizeof r.ports[i];
    r.ports[i].dir = (uint8_t)i, r.ports[i].dtype = 2, r.ports[i].memory = ONNXC_REGION_MEM_PORT;
    r.ports[i].bytes = r.ports[i].dims[0] = 16, r.ports[i].rank = 1;
  }
  r.cmd[0] = 0x5a;
  /* What the device must answer to 16 made-up bytes, before it is trusted. */
  r.region.golden_seed = seed, r.region.golden_hash = ONNXC_GOLDEN_BEGIN;
  for (i = 0; i < 16; i++) {
    seed = onnxc_golden_next(seed);
    r.region.golden_hash = onnxc_golden_add(r.region.golden_hash, (uint8_t)(seed >> 24 ^ 0x5a));
  }
  REL(backend, r.name), REL(target, r.target), REL(ports, r.ports), REL(cmd, r.cmd);

  config.flags = ONNXC_NPU_NO_DIGEST; /* the compiler makes one; here nobody did */
  status = onnxc_npu_open(&slot, &r.region, onnxc_npu_find(&r.region, list, 1), bufs, 2, &config);
  if (status != ONNXC_NPU_OK) {
    puts(onnxc_npu_status_text(status));
    return 1;
  }
  memset(&ctx, 0, sizeof ctx);
  memset(x, 1, 16);
  for (i = 0; i < 3; i++) {
    if (slot.table.run(&slot.table, &ctx, 0, ins, outs) != ONNXC_OK || y[15] != (1 ^ 0x5a)) return 2;
  }
  printf("%u runs on the device\n", (unsigned)slot.counters.device);
  onnxc_npu_close(&slot);
  return 0;
}
