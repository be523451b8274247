//! Words that say what a CPU can do: `cpu_level` of the context, and what each level of an object needs.
//!
//! A bit is a feature, [`DETECTED`] that somebody looked. Bits are appended, never moved, so a word that was found once serves every
//! object. The tables say where each feature is found: in `cpuid` on x86_64, in the auxiliary vector of Linux on aarch64.

/// Set in every word that comes from a CPU; 0 is "not known" and runs the base level.
pub const DETECTED: u32 = 1 << 31;

/// What an operating system must keep for a feature of x86_64: bits of XCR0.
pub const XMM_YMM: u32 = 0x06;
/// The same with the registers of AVX-512.
pub const ZMM: u32 = 0xe6;

/// A feature of x86_64.
#[derive(Clone, Copy, Debug)]
pub struct X86 {
    /// Its name, as `--target-feature` takes it.
    pub name: &'static str,
    /// `cpuid` leaf and subleaf.
    pub leaf: (u32, u32),
    /// Which of EAX, EBX, ECX, EDX.
    pub register: usize,
    /// Bit of the register.
    pub bit: u32,
    /// Bits of XCR0 that must be set.
    pub state: u32,
}

const fn x86(name: &'static str, leaf: (u32, u32), register: usize, bit: u32, state: u32) -> X86 {
    X86 {
        name,
        leaf,
        register,
        bit,
        state,
    }
}

/// Features of x86_64 in the order of their bits (Intel SDM volume 2A, CPUID).
pub const X86_64: &[X86] = &[
    x86("sse3", (1, 0), 2, 0, 0),
    x86("ssse3", (1, 0), 2, 9, 0),
    x86("sse4.1", (1, 0), 2, 19, 0),
    x86("sse4.2", (1, 0), 2, 20, 0),
    x86("popcnt", (1, 0), 2, 23, 0),
    x86("avx", (1, 0), 2, 28, XMM_YMM),
    x86("avx2", (7, 0), 1, 5, XMM_YMM),
    x86("fma", (1, 0), 2, 12, XMM_YMM),
    x86("f16c", (1, 0), 2, 29, XMM_YMM),
    x86("bmi1", (7, 0), 1, 3, 0),
    x86("bmi2", (7, 0), 1, 8, 0),
    x86("lzcnt", (0x8000_0001, 0), 2, 5, 0),
    x86("avx512f", (7, 0), 1, 16, ZMM),
    x86("avx512cd", (7, 0), 1, 28, ZMM),
    x86("avx512bw", (7, 0), 1, 30, ZMM),
    x86("avx512dq", (7, 0), 1, 17, ZMM),
    x86("avx512vl", (7, 0), 1, 31, ZMM),
    x86("avx512vnni", (7, 0), 2, 11, ZMM),
    x86("avxvnni", (7, 1), 0, 4, XMM_YMM),
    x86("avx512vbmi", (7, 0), 2, 1, ZMM),
];

/// A feature of aarch64.
#[derive(Clone, Copy, Debug)]
pub struct A64 {
    /// Its name, as `--target-feature` takes it.
    pub name: &'static str,
    /// Which word of the auxiliary vector: `AT_HWCAP` (0) or `AT_HWCAP2` (1).
    pub word: usize,
    /// Bits of it that must all be set.
    pub bits: u64,
}

const fn a64(name: &'static str, word: usize, bits: u64) -> A64 {
    A64 { name, word, bits }
}

/// Features of aarch64 in the order of their bits (Linux, `asm/hwcap.h`).
pub const AARCH64: &[A64] = &[
    a64("crc", 0, 1 << 7),
    a64("crypto", 0, 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6),
    a64("lse", 0, 1 << 8),
    a64("rdm", 0, 1 << 12),
    a64("fp16", 0, 1 << 9 | 1 << 10),
    a64("dotprod", 0, 1 << 20),
    a64("i8mm", 1, 1 << 13),
    a64("bf16", 1, 1 << 14),
    a64("sve", 0, 1 << 22),
    a64("sve2", 1, 1 << 1),
];

/// The bit of the feature at a place of its table.
pub const fn bit(place: usize) -> u32 {
    1 << place
}

/// The word of a CPU with these features; names that no table has need nothing.
pub fn word<'a>(aarch64: bool, features: impl Iterator<Item = &'a str>) -> u32 {
    features.fold(DETECTED, |w, name| {
        let place = match aarch64 {
            true => AARCH64.iter().position(|f| f.name == name),
            false => X86_64.iter().position(|f| f.name == name),
        };
        place.map_or(w, |p| w | bit(p))
    })
}

/// The word of an x86_64 CPU. `cpuid` answers leaf and subleaf with EAX, EBX, ECX, EDX; `xcr0` reads extended control register 0
/// and is asked only where that is allowed.
pub fn of_x86(cpuid: impl Fn(u32, u32) -> [u32; 4], xcr0: impl Fn() -> u32) -> u32 {
    let most = [cpuid(0, 0)[0], cpuid(0x8000_0000, 0)[0]];
    let exists = |leaf: u32| leaf <= most[(leaf >> 31) as usize & 1];
    if !exists(1) {
        return 0;
    }
    // OSXSAVE.
    let saved = match cpuid(1, 0)[2] >> 27 & 1 {
        1 => xcr0(),
        _ => 0,
    };
    let subleaves = if exists(7) { cpuid(7, 0)[0] } else { 0 };
    let has = |f: &X86| {
        exists(f.leaf.0)
            && (f.leaf.1 == 0 || f.leaf.1 <= subleaves)
            && saved & f.state == f.state
            && cpuid(f.leaf.0, f.leaf.1)
                .get(f.register)
                .is_some_and(|r| r >> f.bit & 1 == 1)
    };
    let found = X86_64.iter().enumerate().filter(|(_, f)| has(f));
    found.fold(DETECTED, |w, (place, _)| w | bit(place))
}

/// The word of an aarch64 CPU by the auxiliary vector's `AT_HWCAP` and `AT_HWCAP2`.
pub fn of_hwcap(hwcap: u64, hwcap2: u64) -> u32 {
    let words = [hwcap, hwcap2];
    let has = |f: &A64| words.get(f.word).is_some_and(|w| w & f.bits == f.bits);
    let found = AARCH64.iter().enumerate().filter(|(_, f)| has(f));
    found.fold(DETECTED, |w, (place, _)| w | bit(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_hold_what_is_there_and_kept() {
        // A CPU with AVX-512 whose operating system keeps AVX registers only.
        let cpuid = |leaf: u32, sub: u32| match (leaf, sub) {
            (0, _) => [7, 0, 0, 0],
            (0x8000_0000, _) => [0x8000_0001, 0, 0, 0],
            (1, _) => [0, 0, u32::MAX, 0],
            (7, 0) => [0, u32::MAX, u32::MAX, 0],
            _ => [u32::MAX; 4],
        };
        let kept = of_x86(cpuid, || XMM_YMM);
        let names = ["avx2", "fma", "lzcnt", "avx512f", "avxvnni"];
        let has = names.map(|n| kept & word(false, [n].into_iter()) & !DETECTED != 0);
        assert_eq!(has, [true, true, true, false, false]);
        assert_eq!(of_x86(cpuid, || ZMM) & bit(12), bit(12));
        assert_eq!(of_x86(|_, _| [0; 4], || ZMM), 0);
        assert_eq!(
            of_hwcap(1 << 20, 0),
            word(true, ["dotprod", "neon"].into_iter())
        );
    }

    #[test]
    fn tables_fit_beside_the_mark() {
        assert!(X86_64.len() < 31 && AARCH64.len() < 31);
    }
}
