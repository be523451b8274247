/* Holds a compiled model to its contract: wrong contexts are refused with the right status and nothing written, a right one touches
   nothing but its buffers, which lie between pages that can't be touched, all of its arena, and no more stack than promised.

   Built with -DHEADER, -DP(x)=prefix_##x, -DUP(x)=PREFIX_##x and -DSTACK_LEAST, the bytes that a run along the deepest chain of calls
   must have used (tests/support/contract.rs); prints what it measured. */
#define _GNU_SOURCE
#include HEADER
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t page;

static size_t whole_pages(size_t n) { return (n + page - 1) / page * page; }

/* n bytes that end (or begin, at_start) at a page that can't be touched. */
static unsigned char *guarded(size_t n, size_t align, int at_start) {
  size_t room = whole_pages(n ? n : 1);
  unsigned char *p = mmap(NULL, room + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED || mprotect(p + page, room, PROT_READ | PROT_WRITE) != 0) exit(99);
  return at_start ? p + page : p + page + (room - n) / align * align;
}

static int failures = 0;
static void expect(const char *what, int32_t found, int32_t wanted) {
  if (found == wanted) return;
  printf("%s: status %d instead of %d\n", what, (int)found, (int)wanted);
  failures++;
}

/* Runs on a painted stack and answers how many bytes of it were touched. */
static size_t stack_used(const onnxc_context *ctx, int32_t *status) {
  enum { SIZE = 1 << 20 };
  unsigned char *stack = guarded(SIZE, 16, 1);
  size_t i;
  memset(stack, 0xa5, SIZE);
#if defined(__x86_64__)
  {
    long result;
    __asm__ volatile("mov %%rsp, %%rbx\n mov %2, %%rsp\n call *%1\n mov %%rbx, %%rsp"
                     : "=a"(result)
                     : "r"(P(run)), "r"(stack + SIZE), "D"(ctx)
                     : "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "memory", "cc", "xmm0", "xmm1", "xmm2",
                       "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",
                       "xmm14", "xmm15");
    *status = (int32_t)result;
  }
#elif defined(__aarch64__)
  {
    register const onnxc_context *x0 __asm__("x0") = ctx;
    __asm__ volatile("mov x19, sp\n mov sp, %2\n blr %1\n mov sp, x19"
                     : "+r"(x0)
                     : "r"(P(run)), "r"(stack + SIZE)
                     : "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15",
                       "x16", "x17", "x19", "x30", "memory", "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7",
                       "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21",
                       "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31");
    *status = (int32_t)(intptr_t)x0;
  }
#endif
  for (i = 0; i < SIZE && stack[i] == 0xa5; i++) {}
  munmap(stack, SIZE);
  return SIZE - i;
}

int main(void) {
  const onnxc_descriptor *d = P(describe)();
  enum { MAX = 64 };
  const void *inputs[MAX], *changed_in[MAX];
  void *outputs[MAX], *changed_out[MAX];
  unsigned char *arena, *first[MAX];
  onnxc_context good, c;
  int64_t dims[MAX];
  uint32_t i;
  int side;
  int32_t status;
  page = (size_t)sysconf(_SC_PAGESIZE);
  if (d->num_inputs > MAX || d->num_outputs > MAX || d->num_free_symbols > MAX || d->num_inputs == 0) return 98;
  if (d->arena_size != UP(ARENA_SIZE) || d->stack_bytes != UP(STACK_SIZE) || d->weights_size != UP(WEIGHTS_SIZE)) return 97;

  /* A run between guard pages: buffers that end at one, then buffers that begin at one. */
  for (side = 0; side < 2; side++) {
    size_t used, again, touched;
    arena = guarded(UP(ARENA_SIZE), UP(ARENA_ALIGN), side);
    for (i = 0; i < d->num_inputs; i++) {
      const onnxc_port *p = onnxc_input(d, i);
      unsigned char *b = guarded(p->max_bytes, p->elem_size, side);
      memset(b, 0, p->max_bytes);
      mprotect((void *)((uintptr_t)b / page * page), whole_pages(p->max_bytes), PROT_READ);
      inputs[i] = b;
    }
    for (i = 0; i < d->num_outputs; i++) outputs[i] = guarded(onnxc_output(d, i)->max_bytes, onnxc_output(d, i)->elem_size, side);
    for (i = 0; i < d->num_free_symbols; i++) dims[i] = onnxc_symbol_at(d, i)->hi;
    P(init_context)(&good, arena, inputs, outputs);
    good.dims = dims;
    good.num_dims = d->num_free_symbols;
    for (i = 0; i < d->num_outputs; i++) memset(outputs[i], 0x5a, onnxc_output(d, i)->max_bytes);
    memset(arena, 0xff, UP(ARENA_SIZE)); /* NaN: a run must not depend on what lies there */
    used = stack_used(&good, &status);
    expect("a good context", status, ONNXC_OK);
    for (touched = UP(ARENA_SIZE); touched > 0 && arena[touched - 1] == 0xff; touched--) {}
    for (i = 0; i < d->num_outputs; i++) {
      size_t n = onnxc_output(d, i)->max_bytes;
      first[i] = malloc(n + 1);
      memcpy(first[i], outputs[i], n);
      memset(outputs[i], 0x5a, n);
    }
    memset(arena, 0, UP(ARENA_SIZE));
    again = stack_used(&good, &status);
    for (i = 0; i < d->num_outputs; i++)
      if (memcmp(first[i], outputs[i], onnxc_output(d, i)->max_bytes) != 0) {
        printf("output %u depends on what lay in the arena\n", i);
        failures++;
      }
    if (again > used) used = again;
    printf("stack %u of %u, arena %u of %u\n", (unsigned)used, (unsigned)UP(STACK_SIZE), (unsigned)touched,
           (unsigned)UP(ARENA_SIZE));
    /* Sizes are rounded up to whole cache lines. */
    if (used > UP(STACK_SIZE) || used < STACK_LEAST || touched + 64 < UP(ARENA_SIZE)) failures++;
  }

  /* Wrong contexts. Outputs hold a pattern that must stay. */
  for (i = 0; i < d->num_outputs; i++) memset(outputs[i], 0x5a, onnxc_output(d, i)->max_bytes);
#define WRONG(wanted, change)              \
  do {                                     \
    c = good;                              \
    change;                                \
    expect(#change, P(run)(&c), (wanted)); \
  } while (0)
  expect("no context", P(run)(NULL), ONNXC_NULL_POINTER);
  WRONG(ONNXC_BAD_VERSION, c.abi_version = 0);
  WRONG(ONNXC_BAD_VERSION, c.abi_version = 2);
  WRONG(ONNXC_BAD_VERSION, c.struct_size = sizeof c - 1);
  WRONG(ONNXC_NULL_POINTER, c.arena = NULL);
  WRONG(ONNXC_ARENA_TOO_SMALL, c.arena_size = UP(ARENA_SIZE) - 1);
  WRONG(ONNXC_ARENA_TOO_SMALL, c.arena_size = 0);
  WRONG(ONNXC_MISALIGNED, c.arena = arena + 32);
  WRONG(ONNXC_MISALIGNED, c.arena = arena + 1);
  WRONG(ONNXC_NULL_POINTER, c.inputs = NULL);
  WRONG(ONNXC_NULL_POINTER, c.outputs = NULL);
  WRONG(ONNXC_BAD_COUNT, c.num_inputs++);
  WRONG(ONNXC_BAD_COUNT, c.num_inputs = 0);
  WRONG(ONNXC_BAD_COUNT, c.num_outputs++);
  WRONG(ONNXC_BAD_COUNT, c.num_outputs = 0);
  WRONG(ONNXC_BAD_COUNT, c.num_dims++);
  WRONG(ONNXC_BAD_COUNT, c.num_out_dims = 1);
  if (d->num_out_dims != 1) WRONG(ONNXC_BAD_COUNT, (c.out_dims = dims, c.num_out_dims = d->num_out_dims + 1));
  if (UP(WEIGHTS_SIZE) > 0) {
    WRONG(ONNXC_WEIGHTS_MISMATCH, (c.weights = arena, c.weights_size = UP(WEIGHTS_SIZE) - 1));
    WRONG(ONNXC_MISALIGNED, (c.weights = arena + 4, c.weights_size = UP(WEIGHTS_SIZE)));
  }
  for (i = 0; i < d->num_inputs; i++) {
    memcpy(changed_in, inputs, sizeof inputs);
    changed_in[i] = NULL;
    WRONG(ONNXC_NULL_POINTER, c.inputs = changed_in);
    changed_in[i] = (const unsigned char *)inputs[i] + 1;
    if (onnxc_input(d, i)->elem_size > 1) WRONG(ONNXC_MISALIGNED, c.inputs = changed_in);
  }
  for (i = 0; i < d->num_outputs; i++) {
    memcpy(changed_out, outputs, sizeof outputs);
    changed_out[i] = NULL;
    WRONG(ONNXC_NULL_POINTER, c.outputs = changed_out);
    changed_out[i] = (unsigned char *)outputs[i] + 1;
    if (onnxc_output(d, i)->elem_size > 1) WRONG(ONNXC_MISALIGNED, c.outputs = changed_out);
  }
  for (i = 0; i < d->num_free_symbols; i++) {
    const onnxc_symbol *s = onnxc_symbol_at(d, i);
    int64_t wrong[MAX];
    memcpy(wrong, dims, sizeof dims);
    wrong[i] = s->hi + 1;
    WRONG(ONNXC_BAD_DIM, c.dims = wrong);
    wrong[i] = s->lo - 1;
    WRONG(ONNXC_BAD_DIM, c.dims = wrong);
    wrong[i] = INT64_MIN;
    WRONG(ONNXC_BAD_DIM, c.dims = wrong);
    WRONG(ONNXC_NULL_POINTER, c.dims = NULL);
  }
  for (i = 0; i < d->num_outputs; i++) {
    const unsigned char *o = outputs[i];
    size_t n = onnxc_output(d, i)->max_bytes, k;
    for (k = 0; k < n && o[k] == 0x5a; k++) {}
    if (k < n) {
      printf("output %u was written although the context was refused\n", i);
      failures++;
    }
  }
  /* A longer context is one of a later version that appended fields. */
  c = good;
  c.struct_size += 64;
  expect("a longer context", P(run)(&c), ONNXC_OK);
  return failures != 0;
}
