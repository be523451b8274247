//! The C side of [`crate::cpu`]: names of bits, and a function that finds the word.

use crate::cpu::{AARCH64, DETECTED, X86_64, bit};
use core::fmt::{Result, Write};

/// Writes constants and functions.
pub fn write(out: &mut dyn Write) -> Result {
    writeln!(
        out,
        "\n/* What a CPU can do: bits of cpu_level. 0 is \"not known\" and runs the base level of an object. */\n\
         #define ONNXC_CPU_DETECTED {DETECTED:#x}u"
    )?;
    let x86 = X86_64.iter().map(|f| ("X86", f.name));
    let a64 = AARCH64.iter().map(|f| ("A64", f.name));
    for (place, (arch, name)) in x86.enumerate().chain(a64.enumerate()) {
        write!(out, "#define ONNXC_CPU_{arch}_")?;
        for c in name.chars().map(|c| {
            if c == '.' {
                '_'
            } else {
                c.to_ascii_uppercase()
            }
        }) {
            out.write_char(c)?;
        }
        writeln!(out, " {:#x}u", bit(place))?;
    }
    out.write_str(X86_HEAD)?;
    for (place, f) in X86_64.iter().enumerate() {
        writeln!(
            out,
            "  word |= onnxc_cpu_bit({:#x}u, {}u, {}, {}, (saved & {:#x}u) == {:#x}u, {:#x}u);",
            f.leaf.0,
            f.leaf.1,
            f.register,
            f.bit,
            f.state,
            f.state,
            bit(place)
        )?;
    }
    out.write_str(X86_TAIL)?;
    for (place, f) in AARCH64.iter().enumerate() {
        let word = ["hwcap", "hwcap2"].get(f.word).copied().unwrap_or("hwcap");
        writeln!(
            out,
            "  if (({word} & {:#x}u) == {:#x}u) word |= {:#x}u;",
            f.bits,
            f.bits,
            bit(place)
        )?;
    }
    out.write_str(A64_TAIL)
}

const X86_HEAD: &str = "
/* Finds the word of the CPU that runs this: 0 where there is no way to ask. It takes a microsecond or more under a hypervisor: ask
   once. Define ONNXC_NO_DETECT where neither cpuid nor getauxval may be used. */
#if defined(__x86_64__) && !defined(ONNXC_NO_DETECT)
static inline void onnxc_cpuid(uint32_t leaf, uint32_t sub, uint32_t r[4]) {
  __asm__ volatile(\"cpuid\" : \"=a\"(r[0]), \"=b\"(r[1]), \"=c\"(r[2]), \"=d\"(r[3]) : \"a\"(leaf), \"c\"(sub));
}
static inline uint32_t onnxc_cpu_bit(uint32_t leaf, uint32_t sub, int reg, int bit, int kept, uint32_t found) {
  uint32_t r[4];
  onnxc_cpuid(leaf & 0x80000000u, 0, r);
  if (!kept || r[0] < leaf) return 0;
  if (sub != 0) {
    onnxc_cpuid(leaf, 0, r);
    if (r[0] < sub) return 0;
  }
  onnxc_cpuid(leaf, sub, r);
  return (r[reg] >> bit) & 1u ? found : 0;
}
static inline uint32_t onnxc_detect_cpu(void) {
  uint32_t r[4], saved = 0, high, word = ONNXC_CPU_DETECTED;
  onnxc_cpuid(0, 0, r);
  if (r[0] < 1) return 0;
  onnxc_cpuid(1, 0, r);
  if ((r[2] >> 27) & 1u) __asm__ volatile(\"xgetbv\" : \"=a\"(saved), \"=d\"(high) : \"c\"(0));
";

const X86_TAIL: &str = "  return word;
}
#elif defined(__aarch64__)
/* The word that AT_HWCAP and AT_HWCAP2 of the auxiliary vector of Linux stand for. */
static inline uint32_t onnxc_cpu_of_hwcap(uint64_t hwcap, uint64_t hwcap2) {
  uint32_t word = ONNXC_CPU_DETECTED;
";

const A64_TAIL: &str = "  return word;
}
#if defined(__linux__) && !defined(ONNXC_NO_DETECT)
/* The C library's function under a name of ours, whatever headers say of it. */
extern unsigned long onnxc_getauxval(unsigned long type) __asm__(\"getauxval\");
static inline uint32_t onnxc_detect_cpu(void) {
  return onnxc_cpu_of_hwcap(onnxc_getauxval(16), onnxc_getauxval(26));
}
#else
static inline uint32_t onnxc_detect_cpu(void) { return 0; }
#endif
#else
static inline uint32_t onnxc_detect_cpu(void) { return 0; }
#endif
/* The same, asked once. A program may define ONNXC_CPU_LEVEL as something else before it includes this. */
#ifndef ONNXC_CPU_LEVEL
#define ONNXC_CPU_LEVEL onnxc_cpu_level()
#endif
static inline uint32_t onnxc_cpu_level(void) {
  static uint32_t known = 0;
  uint32_t word = __atomic_load_n(&known, __ATOMIC_RELAXED);
  if (word == 0) {
    word = onnxc_detect_cpu();
    __atomic_store_n(&known, word, __ATOMIC_RELAXED);
  }
  return word;
}
";
