/* From nothing to the first answer: maps a shared library that holds a compiled model, runs it once, prints microseconds.

   Built with -DHEADER, -DP(x)=prefix_##x and -DUP(x)=PREFIX_##x; argv[1] is the library. The time covers dlopen, the allocation of
   the arena and of inputs and outputs (zeros), and the first run with all its page faults. */
#define _GNU_SOURCE
#include HEADER
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define STR2(x) #x
#define STR(x) STR2(x)

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e6 + t.tv_nsec * 1e-3;
}

int main(int argc, char **argv) {
  double begin = now();
  void *lib = argc > 1 ? dlopen(argv[1], RTLD_NOW) : NULL;
  int32_t (*run)(const onnxc_context *) = lib ? (int32_t (*)(const onnxc_context *))dlsym(lib, STR(P(run))) : NULL;
  onnxc_context c = {0};
  /* Enough for the models this is used with: one input, one output. */
  const void *in[1] = {calloc(1, 1 << 20)};
  void *out[1] = {calloc(1, 1 << 20)};
  int32_t status;
  if (!run) return 2;
  c.abi_version = ONNXC_ABI_VERSION;
  c.struct_size = sizeof c;
  c.arena_size = UP(ARENA_SIZE);
  c.arena = aligned_alloc(ONNXC_ARENA_ALIGN, (size_t)c.arena_size);
  c.inputs = in;
  c.num_inputs = 1;
  c.outputs = out;
  c.num_outputs = 1;
  status = run(&c);
  printf("%.1f %d\n", now() - begin, (int)status);
  return status;
}
