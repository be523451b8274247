/* Feeds sound to a model with state, 10 ms at a time, and prints the times in seconds at which a sound begins.

   State is an input and an output like any other: two buffers, which change places after each frame. */
#include "onset.h"
#include <stdio.h>

enum { RATE = 16000, FRAME = ONSET_INPUT_0_COUNT, STATE = ONSET_INPUT_1_COUNT };

ONSET_DECLARE_ARENA(arena);

/* Sample n of the test sound: quiet noise with three tones in it. */
static float sample(int n) {
  static uint32_t seed = 1;
  int tone = (n >= 8000 && n < 10400) || (n >= 16000 && n < 17600) || (n >= 25600 && n < 27200);
  float noise;
  seed = seed * 1103515245u + 12345u;
  noise = (float)((int)(seed >> 16) % 1024 - 512) / 262144;
  return tone ? noise + (n / 18 % 2 ? 0.125f : -0.125f) : noise;
}

int main(void) {
  float frame[FRAME], onset[1], states[2][STATE];
  int n, i, now = 0, before = 0;
  for (i = 0; i < STATE; i++) states[0][i] = -0.5f; /* silence */
  for (n = 0; n < 2 * RATE; n += FRAME) {
    int32_t status;
    for (i = 0; i < FRAME; i++) frame[i] = sample(n + i);
    status = onset_infer(arena, frame, states[now], onset, states[1 - now]);
    if (status != ONNXC_OK) {
      fprintf(stderr, "onset: %s\n", onnxc_status_text(status));
      return 1;
    }
    if (onset[0] > 0.5f && !before) printf("%.2f\n", (double)n / RATE);
    before = onset[0] > 0.5f;
    now = 1 - now;
  }
  return 0;
}
