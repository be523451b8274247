/* Runs tests/data/free.onnx, compiled for N = 1..9, at several sizes; built and run by tests/contract.rs. */
#include "free.h"
#include <stdio.h>

FREE_DECLARE_ARENA(arena);

int main(void) {
  const float x[9] = {-1, 0, 2, 3, -4, 5, 6, 7, 8};
  const int64_t first_last[2] = {0, -1}, outside[2] = {0, 3};
  float doubled[FREE_OUTPUT_0_COUNT], picked[FREE_OUTPUT_2_COUNT];
  int64_t found[FREE_OUTPUT_1_COUNT], sizes[FREE_NUM_OUT_DIMS], n;
  int i;
  for (n = FREE_DIM_N_MIN; n <= FREE_DIM_N_MAX; n += 2) {
    int32_t status = free_infer(arena, &n, x, first_last, doubled, found, picked, sizes);
    if (status != ONNXC_OK) {
      printf("status %d at N = %d\n", (int)status, (int)n);
      continue;
    }
    printf("%d:", (int)n);
    for (i = 0; i < FREE_NUM_OUT_DIMS; i++) printf(" %d", (int)sizes[i]);
    printf(";");
    for (i = 0; i < 2 * n; i++) printf(" %g", (double)doubled[i]);
    printf(";");
    for (i = 0; i < 2 * sizes[3]; i++) printf(" %d", (int)found[i]);
    printf("; %g %g\n", (double)picked[0], (double)picked[1]);
  }
  n = 3;
  printf("outside: %d\n", (int)free_infer(arena, &n, x, outside, doubled, found, picked, NULL));
  return 0;
}
