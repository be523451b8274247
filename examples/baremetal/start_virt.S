/* Start code for QEMU's "virt" machine, aarch64, from reset at EL1.

   The MMU is switched on with memory as normal memory: while it is off all memory counts as device memory, where vector
   loads that are not aligned to their size fault. Then floating point, the stack, zeroed data, and main. */
  .section .text.start, "ax"
  .global _start
_start:
  mov   x0, #(3 << 20)              /* CPACR_EL1.FPEN: floating point and vectors don't trap */
  msr   cpacr_el1, x0
  ldr   x0, =0xff00                 /* attribute 0: device-nGnRnE, attribute 1: normal, write-back */
  msr   mair_el1, x0
  ldr   x0, =0x100803519            /* T0SZ 25: 39 bits, walks cached and inner shareable, 4 KiB pages, no TTBR1, 36-bit physical */
  msr   tcr_el1, x0
  adrp  x0, tables
  add   x0, x0, :lo12:tables
  msr   ttbr0_el1, x0
  isb
  tlbi  vmalle1
  dsb   sy
  isb
  mrs   x0, sctlr_el1
  mov   x1, #0x1005                 /* MMU, data cache, instruction cache */
  orr   x0, x0, x1
  bic   x0, x0, #2                  /* no alignment checks */
  msr   sctlr_el1, x0
  isb

  ldr   x0, =stack_top
  mov   sp, x0
  ldr   x0, =bss_begin
  ldr   x1, =bss_end
1:
  cmp   x0, x1
  b.hs  2f
  str   xzr, [x0], #8
  b     1b
2:
  mov   x29, xzr
  bl    main
  bl    port_exit
3:
  wfi
  b     3b

/* Blocks of 1 GiB, mapped to themselves: devices, then memory. Access flag set, inner shareable. */
  .section .rodata.tables, "a"
  .balign 4096
tables:
  .quad 0x00000000 | 0x401 | (0 << 2) | (3 << 53)     /* never executed */
  .quad 0x40000000 | 0x701 | (1 << 2)
  .zero 4096 - 16
