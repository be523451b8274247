/* Two models in one program: their symbols carry their prefixes, and as they don't run at the same time they share one arena.

   Reads a picture like ../c/main.c, and prints the digit, the layers of both models as they ran, and their number. */
#include "digits.h"
#include "onset.h"
#include <stdio.h>

#define LARGER(a, b) ((a) > (b) ? (a) : (b))
static unsigned char arena[LARGER(DIGITS_ARENA_SIZE, ONSET_ARENA_SIZE) + 1] __attribute__((aligned(ONNXC_ARENA_ALIGN)));

/* Told of each layer: `user` is the descriptor. */
static void trace(void *user, uint32_t layer, uint32_t begin) {
  const onnxc_descriptor *d = (const onnxc_descriptor *)user;
  if (begin) fprintf(stderr, "%s\n", onnxc_text(&onnxc_layer_at(d, layer)->symbol));
}

static int fail(const char *model, int32_t status) {
  fprintf(stderr, "%s: %s\n", model, onnxc_status_text(status));
  return 1;
}

int main(void) {
  float image[DIGITS_INPUT_0_COUNT], scores[DIGITS_OUTPUT_0_COUNT];
  float frame[ONSET_INPUT_0_COUNT], state[ONSET_INPUT_1_COUNT] = {0}, onset[1], next[ONSET_OUTPUT_1_COUNT];
  const void *digits_in[] = {image}, *onset_in[] = {frame, state};
  void *digits_out[] = {scores}, *onset_out[] = {onset, next};
  onnxc_context ctx;
  int32_t status;
  int i, grey, best = 0;
  if (scanf("P2 8 8 16") != 0) return 2;
  for (i = 0; i < DIGITS_INPUT_0_COUNT; i++) {
    if (scanf("%d", &grey) != 1) return 2;
    image[i] = (float)grey / 16;
  }
  for (i = 0; i < ONSET_INPUT_0_COUNT; i++) frame[i] = 0;

  digits_init_context(&ctx, arena, digits_in, digits_out);
  ctx.trace = trace;
  ctx.trace_user = (void *)(uintptr_t)digits_describe();
  status = digits_run(&ctx);
  if (status != ONNXC_OK) return fail("digits", status);

  onset_init_context(&ctx, arena, onset_in, onset_out);
  ctx.trace = trace;
  ctx.trace_user = (void *)(uintptr_t)onset_describe();
  status = onset_run(&ctx);
  if (status != ONNXC_OK) return fail("onset", status);

  for (i = 1; i < DIGITS_OUTPUT_0_COUNT; i++)
    if (scores[i] > scores[best]) best = i;
  printf("digit %d, silence %.2f\n", best, (double)onset[0]);
  return 0;
}
