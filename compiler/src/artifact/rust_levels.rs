//! The part of a Rust module that finds the CPU's level, for objects that hold several.

use super::info::ModelInfo;
use onnxc_abi::cpu::{DETECTED, X86_64, bit};
use std::fmt::{self, Write};

/// Writes `cpu_level` and `set_cpu_level`.
pub fn write(out: &mut String, info: &ModelInfo) -> fmt::Result {
    let list: Vec<String> = info.levels.iter().map(|l| format!("{:?}", l.cpu)).collect();
    writeln!(
        out,
        "
/// The CPUs that the object holds code for; the first is the base.
pub const LEVELS: [&str; {}] = [{}];

static CPU_LEVEL: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(0);

/// Says what the CPU can do, as a word of `onnxc_abi::cpu`: chooses the code of the following runs. 0: look again.
pub fn set_cpu_level(word: u32) {{
    CPU_LEVEL.store(word, core::sync::atomic::Ordering::Relaxed);
}}

/// The word: as it was set, or else what this CPU says of itself, asked once. On other architectures than x86_64 it must be set (the
/// crate `onnxc-runtime` finds it): 0 runs the code of the base.
pub fn cpu_level() -> u32 {{
    match CPU_LEVEL.load(core::sync::atomic::Ordering::Relaxed) {{
        0 => {{
            let word = detect_cpu();
            set_cpu_level(word);
            word
        }}
        word => word,
    }}
}}

#[cfg(not(target_arch = \"x86_64\"))]
fn detect_cpu() -> u32 {{
    0
}}

#[cfg(target_arch = \"x86_64\")]
fn detect_cpu() -> u32 {{
    let cpuid = |leaf: u32, sub: u32| -> [u32; 4] {{
        // SAFETY: every CPU of this architecture has the instruction.
        #[allow(unused_unsafe)]
        let r = unsafe {{ core::arch::x86_64::__cpuid_count(leaf, sub) }};
        [r.eax, r.ebx, r.ecx, r.edx]
    }};
    let most = [cpuid(0, 0)[0], cpuid(0x8000_0000, 0)[0]];
    let exists = |leaf: u32| leaf <= most[(leaf >> 31) as usize];
    if !exists(1) {{
        return 0;
    }}
    let mut saved = 0u32;
    if cpuid(1, 0)[2] >> 27 & 1 == 1 {{
        // SAFETY: OSXSAVE says that the instruction is there; it writes these registers only.
        unsafe {{
            core::arch::asm!(\"xgetbv\", in(\"ecx\") 0, out(\"eax\") saved, out(\"edx\") _, options(nomem, nostack));
        }}
    }}
    let subleaves = if exists(7) {{ cpuid(7, 0)[0] }} else {{ 0 }};
    // Leaf, subleaf, register, bit, registers that the system must keep.
    const FEATURES: [(u32, u32, usize, u32, u32); {}] = [",
        list.len(),
        list.join(", "),
        X86_64.len()
    )?;
    for f in X86_64 {
        writeln!(
            out,
            "        ({:#x}, {}, {}, {}, {:#x}),",
            f.leaf.0, f.leaf.1, f.register, f.bit, f.state
        )?;
    }
    let last = bit(X86_64.len());
    writeln!(
        out,
        "    ];
    let mut word = {DETECTED:#x};
    for (place, (leaf, sub, register, bit, state)) in FEATURES.into_iter().enumerate() {{
        let there = exists(leaf) && (sub == 0 || sub <= subleaves) && saved & state == state;
        if there && cpuid(leaf, sub)[register] >> bit & 1 == 1 {{
            word |= 1 << place;
        }}
    }}
    debug_assert!(word & !{DETECTED:#x} < {last:#x});
    word
}}"
    )
}
