/* Runs a model whose weights lie in a file of their own: mapped, so that they are shared between processes, are read in only
   as they are used, and can be replaced by retrained ones without touching the program. */
#include "digits.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

DIGITS_DECLARE_ARENA(arena);

/* Maps a weights file and answers where the weights begin, or a null pointer if it is not one for this model. */
static const void *map_weights(const char *path) {
  const size_t size = ONNXC_WEIGHTS_DATA_OFFSET + DIGITS_WEIGHTS_SIZE;
  const onnxc_weights_header *h;
  struct stat st;
  void *file = MAP_FAILED;
  int fd = open(path, O_RDONLY);
  if (fd < 0) return NULL;
  if (fstat(fd, &st) == 0 && (size_t)st.st_size == size) file = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
  close(fd);
  if (file == MAP_FAILED) return NULL;
  h = (const onnxc_weights_header *)file;
  if (memcmp(h->magic, ONNXC_WEIGHTS_MAGIC, sizeof h->magic) != 0 || h->abi_version != ONNXC_ABI_VERSION ||
      memcmp(h->layout_digest, digits_describe()->layout_digest, sizeof h->layout_digest) != 0) {
    munmap(file, size);
    return NULL;
  }
  return (const char *)file + ONNXC_WEIGHTS_DATA_OFFSET;
}

int main(int argc, char **argv) {
  float image[DIGITS_INPUT_0_COUNT], scores[DIGITS_OUTPUT_0_COUNT];
  const void *weights = argc == 2 ? map_weights(argv[1]) : NULL;
  int32_t status;
  int i, grey, best = 0;
  if (weights == NULL) {
    fprintf(stderr, "no weights for this model\n");
    return 2;
  }
  if (scanf("P2 8 8 16") != 0) return 2;
  for (i = 0; i < DIGITS_INPUT_0_COUNT; i++) {
    if (scanf("%d", &grey) != 1) return 2;
    image[i] = (float)grey / 16;
  }
  status = digits_infer(arena, weights, image, scores);
  if (status != ONNXC_OK) {
    fprintf(stderr, "digits: %s\n", onnxc_status_text(status));
    return 1;
  }
  for (i = 1; i < DIGITS_OUTPUT_0_COUNT; i++)
    if (scores[i] > scores[best]) best = i;
  printf("digit %d\n", best);
  return 0;
}
