/* Reads a picture of 8x8 pixels (plain PGM) from standard input and says which digit it shows.

   All the model needs is its header, its object and the arena below: no library, no allocation. */
#include "digits.h"
#include <stdio.h>

DIGITS_DECLARE_ARENA(arena);

/* Reads "P2 8 8 MAX" and 64 grey values, as shares of MAX. Answers 0 if it is something else. */
static int read_picture(float *image) {
  int width, height, max, i, grey;
  if (scanf("P2 %d %d %d", &width, &height, &max) != 3 || width != 8 || height != 8 || max < 1) return 0;
  for (i = 0; i < DIGITS_INPUT_0_COUNT; i++) {
    if (scanf("%d", &grey) != 1) return 0;
    image[i] = (float)grey / (float)max;
  }
  return 1;
}

int main(void) {
  float image[DIGITS_INPUT_0_COUNT], scores[DIGITS_OUTPUT_0_COUNT];
  int32_t status;
  int i, best = 0;
  if (!read_picture(image)) {
    fprintf(stderr, "not a plain PGM picture of 8x8 pixels\n");
    return 2;
  }
  status = digits_infer(arena, image, scores);
  if (status != ONNXC_OK) {
    fprintf(stderr, "digits: %s\n", onnxc_status_text(status));
    return 1;
  }
  for (i = 1; i < DIGITS_OUTPUT_0_COUNT; i++)
    if (scores[i] > scores[best]) best = i;
  printf("%d (%.4f)\n", best, (double)scores[best]);
  return 0;
}
