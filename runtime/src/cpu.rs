//! What the CPU can do, found once: for objects that hold code of several levels.

use core::sync::atomic::{AtomicU32, Ordering};

/// The word of this CPU ([`onnxc_abi::cpu`]); 0, which runs the base level, where there is no way to ask: on aarch64 without the feature `std`
/// (`onnxc_abi::cpu::of_hwcap` makes a word of what the system says) and on other architectures.
pub fn level() -> u32 {
    static KNOWN: AtomicU32 = AtomicU32::new(0);
    match KNOWN.load(Ordering::Relaxed) {
        0 => {
            let word = detect();
            KNOWN.store(word, Ordering::Relaxed);
            word
        }
        word => word,
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> u32 {
    use core::arch::x86_64::__cpuid_count;
    let cpuid = |leaf, sub| {
        // SAFETY: every CPU of this architecture has the instruction. (Newer compilers know that it is safe.)
        #[allow(unused_unsafe)]
        let r = unsafe { __cpuid_count(leaf, sub) };
        [r.eax, r.ebx, r.ecx, r.edx]
    };
    let xcr0 = || {
        let (low, _high): (u32, u32);
        // SAFETY: asked only where OSXSAVE says that the instruction is there; it touches nothing but these registers.
        unsafe {
            core::arch::asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") _high, options(nomem, nostack));
        }
        low
    };
    onnxc_abi::cpu::of_x86(cpuid, xcr0)
}

#[cfg(all(target_arch = "aarch64", any(feature = "std", test)))]
fn detect() -> u32 {
    use std::arch::is_aarch64_feature_detected as has;
    let all = [
        ("crc", has!("crc")),
        ("crypto", has!("aes") && has!("sha2")),
        ("lse", has!("lse")),
        ("rdm", has!("rdm")),
        ("fp16", has!("fp16")),
        ("dotprod", has!("dotprod")),
        ("i8mm", has!("i8mm")),
        ("bf16", has!("bf16")),
        ("sve", has!("sve")),
        ("sve2", has!("sve2")),
    ];
    onnxc_abi::cpu::word(true, all.iter().filter(|f| f.1).map(|f| f.0))
}

#[cfg(not(any(
    target_arch = "x86_64",
    all(target_arch = "aarch64", any(feature = "std", test))
)))]
fn detect() -> u32 {
    0
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_cpu_is_known() {
        let word = super::level();
        assert_eq!(word, super::level());
        if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
            assert!(word & onnxc_abi::cpu::DETECTED != 0);
        }
        #[cfg(target_arch = "x86_64")]
        for (name, has) in [
            ("avx2", std::arch::is_x86_feature_detected!("avx2")),
            ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
        ] {
            let bit = onnxc_abi::cpu::word(false, [name].into_iter()) & !onnxc_abi::cpu::DETECTED;
            assert_eq!(word & bit != 0, has, "{name}");
        }
    }
}
