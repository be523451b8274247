/* Reads a handwritten digit on a machine without an operating system or a C library.

   What the program needs of its surroundings is two functions; port_linux.c and port_virt.c have them. The linker script or the
   start code has room for DIGITS_STACK_SIZE bytes of stack and more. */
#include "digits.h"
#include "port.h"

DIGITS_DECLARE_ARENA(arena);

/* A test picture, grey values from 0 to 16. */
static const unsigned char picture[DIGITS_INPUT_0_COUNT] = {
   0, 0, 7,16,16,14, 0, 0,
   0, 0,16,12,10,15, 1, 0,
   0, 0,10, 4,16,10, 0, 0,
   0, 0, 0, 9,16,11, 1, 0,
   0, 0, 0, 0, 7,16, 8, 0,
   0, 0, 0, 0, 0,16, 7, 0,
   0, 0, 8, 4,10,15, 2, 0,
   0, 0,12,16,16, 6, 0, 0,
};

int main(void) {
  float image[DIGITS_INPUT_0_COUNT], scores[DIGITS_OUTPUT_0_COUNT];
  char line[] = "digit ?\n";
  int32_t status;
  int i, best = 0;
  for (i = 0; i < DIGITS_INPUT_0_COUNT; i++) image[i] = (float)picture[i] / 16;
  status = digits_infer(arena, image, scores);
  if (status != ONNXC_OK) {
    port_write(onnxc_status_text(status));
    port_write("\n");
    return 1;
  }
  for (i = 1; i < DIGITS_OUTPUT_0_COUNT; i++)
    if (scores[i] > scores[best]) best = i;
  line[6] = (char)('0' + best);
  port_write(line);
  return 0;
}
