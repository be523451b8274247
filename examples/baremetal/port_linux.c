/* A static Linux program without a C library, for x86_64 and aarch64: start code and two system calls. */
#include "port.h"

#if defined(__x86_64__)
enum { SYS_WRITE = 1, SYS_EXIT = 60 };
__asm__(".text\n.global _start\n_start:\n  xor %ebp, %ebp\n  and $-16, %rsp\n  call port_main\n  hlt\n");
static long call(long number, long a, long b, long c) {
  long result;
  __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
  return result;
}
#elif defined(__aarch64__)
enum { SYS_WRITE = 64, SYS_EXIT = 93 };
__asm__(".text\n.global _start\n_start:\n  mov x29, xzr\n  bl port_main\n  brk #0\n");
static long call(long number, long a, long b, long c) {
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
  return x0;
}
#else
#error "no start code for this machine"
#endif

void port_write(const char *text) {
  long length = 0;
  while (text[length] != 0) length++;
  call(SYS_WRITE, 1, (long)text, length);
}

void port_exit(int code) {
  for (;;) call(SYS_EXIT, code, 0, 0);
}

void port_main(void);
void port_main(void) { port_exit(main()); }
