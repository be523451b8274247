/* Runs a model without threads, on pools of several sizes, and on hooks that do strange but allowed things: the same bits each
   time. Then measures that runs cost no page fault, and says when nothing but runs happens, for a tracer of system calls.
   Prints "calls N faults F bits B", B a digest of the results (FNV-1a). */
#define _GNU_SOURCE
#define ONNXC_POOL_SPINS 2000000000
#include HEADER

#include "onnxc_pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MAX = 16 };

static void *memory(uint64_t size) {
  void *p = aligned_alloc(64, (size + 4096) / 64 * 64);
  if (p == NULL) exit(90);
  memset(p, 0, size);
  return p;
}

static long calls;

static int32_t backwards(void *user, onnxc_parallel_body body, void *arg, int64_t count) {
  int64_t i;
  int32_t status = 0, s;
  (void)user;
  calls++;
  for (i = count; i-- > 0;)
    if ((s = body(arg, i, i + 1)) != 0) status = s;
  return status;
}

static int32_t broken(void *user, onnxc_parallel_body body, void *arg, int64_t count) {
  (void)body;
  (void)arg;
  (void)count;
  return *(int32_t *)user;
}

static long faults(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return u.ru_minflt + u.ru_majflt;
}

int main(void) {
  const onnxc_descriptor *d = P(describe)();
  static onnxc_pool pool;
  const void *inputs[MAX];
  void *outputs[MAX], *first[MAX];
  onnxc_context ctx;
  const int sizes[] = {1, 2, 3, 7};
  int32_t code = 77;
  uint32_t i;
  uint64_t at, bits = 0xcbf29ce484222325u;
  long before;
  int k, n;
  if (d->num_inputs > MAX || d->num_outputs > MAX || d->threads != UP(THREADS)) return 91;
  for (i = 0; i < d->num_inputs; i++) {
    uint64_t bytes = onnxc_input(d, i)->max_bytes, j;
    float *x = memory(bytes);
    for (j = 0; j < bytes / 4; j++) x[j] = (float)(j * 37 % 101) / 50 - 1;
    inputs[i] = x;
  }
  for (i = 0; i < d->num_outputs; i++) {
    outputs[i] = memory(onnxc_output(d, i)->max_bytes);
    first[i] = memory(onnxc_output(d, i)->max_bytes);
  }
  P(init_context)(&ctx, memory(UP(ARENA_SIZE)), inputs, outputs);
  onnxc_prefault(&ctx);
  if (P(run)(&ctx) != 0) return 92;
  for (i = 0; i < d->num_outputs; i++) memcpy(first[i], outputs[i], onnxc_output(d, i)->max_bytes);
  for (k = -1; k < 4; k++) {
    if (k < 0) {
      ctx.parallel_for = backwards;
    } else {
      if (onnxc_pool_start(&pool, sizes[k]) != 0) return 93;
      ctx.parallel_for = onnxc_pool_for;
      ctx.parallel_user = &pool;
    }
    for (n = 0; n < 3; n++) {
      for (i = 0; i < d->num_outputs; i++) memset(outputs[i], 0xa5, onnxc_output(d, i)->max_bytes);
      memset(ctx.arena, 0x5a, UP(ARENA_SIZE));
      if (P(run)(&ctx) != 0) return 94;
      for (i = 0; i < d->num_outputs; i++)
        if (memcmp(first[i], outputs[i], onnxc_output(d, i)->max_bytes) != 0) return 95;
    }
    if (k >= 0) onnxc_pool_stop(&pool);
  }
  ctx.parallel_for = broken;
  ctx.parallel_user = &code;
  if (calls > 0 && P(run)(&ctx) != 77) return 96;

  if (onnxc_pool_start(&pool, 2) != 0) return 93;
  ctx.parallel_for = onnxc_pool_for;
  ctx.parallel_user = &pool;
  for (n = 0; n < 3; n++) P(run)(&ctx);
  before = faults();
  if (write(2, "begin\n", 6) != 6) return 97;
  for (n = 0; n < 50; n++) P(run)(&ctx);
  if (write(2, "end\n", 4) != 4) return 97;
  before = faults() - before;
  onnxc_pool_stop(&pool);
  for (i = 0; i < d->num_outputs; i++)
    for (at = 0; at < onnxc_output(d, i)->max_bytes; at++)
      bits = (bits ^ ((const unsigned char *)first[i])[at]) * 0x100000001b3u;
  printf("calls %ld faults %ld bits %016llx\n", calls / 3, before, (unsigned long long)bits);
  return 0;
}
