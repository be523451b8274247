//! The CPU that this program runs on, for `--target-cpu native`.
//!
//! The standard library asks CPUID with XGETBV on x86_64 and the auxiliary vector on aarch64, so a feature that the system
//! does not save on a context switch is not reported. Caches are not asked: they would make the plan, and with it the
//! object's bytes, depend on what can't be named on another machine. Whether the widest vectors are done in halves can be: by `znver4`.

use onnxc_compiler::base::diag::{Diagnostic, Result};

use crate::Arch;
use crate::cpu::Cpu;
use crate::features::FeatureSet;

/// The architecture of this program, if it is one that code can be made for.
pub fn arch() -> Option<Arch> {
    if cfg!(target_arch = "x86_64") {
        Some(Arch::X86_64)
    } else if cfg!(all(target_arch = "aarch64", target_endian = "little")) {
        Some(Arch::Aarch64)
    } else {
        None
    }
}

/// The host as a row; an error if it is not of the wanted architecture.
pub fn host(wanted: Arch) -> Result<Cpu> {
    if arch() != Some(wanted) {
        return Err(Diagnostic::usage(
            "USE003",
            format!("`native` is the CPU of this machine, which is not {wanted}"),
        )
        .help("name a CPU; `--print target-cpus` lists them"));
    }
    let features = detect().with(FeatureSet::base(wanted)).closed();
    let like = match (wanted, features.f32_lanes()) {
        (Arch::X86_64, 16) if in_halves() => "znver4",
        (Arch::X86_64, 16) => "x86-64-v4",
        (Arch::X86_64, 8) => "x86-64-v3",
        (Arch::X86_64, _) => "x86-64-v2",
        // A core with dot products that is not told to be small is more likely a big one.
        (Arch::Aarch64, _) if features.has(crate::features::Feature::Dotprod) => "cortex-a76",
        (Arch::Aarch64, _) => "generic",
    };
    let like = crate::cpu::find(wanted, like)?;
    Ok(Cpu {
        name: "native",
        features,
        ..like
    })
}

/// Whether vectors of 512 bits are done in two halves: AMD's family 25, of which those that have such vectors are of the fourth Zen.
#[cfg(target_arch = "x86_64")]
fn in_halves() -> bool {
    use std::arch::x86_64::__cpuid;
    let maker = __cpuid(0);
    let amd =
        [maker.ebx, maker.edx, maker.ecx].map(u32::to_le_bytes) == [*b"Auth", *b"enti", *b"cAMD"];
    let version = __cpuid(1).eax;
    let family = ((version >> 8) & 0xf) + ((version >> 20) & 0xff);
    amd && family == 25
}

#[cfg(not(target_arch = "x86_64"))]
fn in_halves() -> bool {
    false
}

#[cfg(target_arch = "x86_64")]
fn detect() -> FeatureSet {
    use crate::features::Feature::*;
    macro_rules! ask {
        ($($name:tt $feature:ident),*) => {
            [$(if std::arch::is_x86_feature_detected!($name) { FeatureSet::of(&[$feature]) } else { FeatureSet::EMPTY }),*]
        };
    }
    let found = ask!(
        "sse3" Sse3, "ssse3" Ssse3, "sse4.1" Sse41, "sse4.2" Sse42, "popcnt" Popcnt, "avx" Avx, "avx2" Avx2, "fma" Fma, "f16c" F16c, "bmi1" Bmi1,
        "bmi2" Bmi2, "lzcnt" Lzcnt, "avx512f" Avx512f, "avx512cd" Avx512cd, "avx512bw" Avx512bw, "avx512dq" Avx512dq, "avx512vl" Avx512vl,
        "avx512vnni" Avx512vnni, "avx512vbmi" Avx512vbmi, "avxvnni" AvxVnni
    );
    only_whole(found.into_iter().fold(FeatureSet::EMPTY, FeatureSet::with))
}

#[cfg(target_arch = "aarch64")]
fn detect() -> FeatureSet {
    use crate::features::Feature::*;
    macro_rules! ask {
        ($($name:tt $feature:ident),*) => {
            [$(if std::arch::is_aarch64_feature_detected!($name) { FeatureSet::of(&[$feature]) } else { FeatureSet::EMPTY }),*]
        };
    }
    let found = ask!(
        "neon" Neon, "crc" Crc, "aes" Crypto, "lse" Lse, "rdm" Rdm, "fp16" Fp16, "dotprod" Dotprod, "i8mm" I8mm, "bf16" Bf16, "sve" Sve, "sve2" Sve2
    );
    only_whole(found.into_iter().fold(FeatureSet::EMPTY, FeatureSet::with))
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn detect() -> FeatureSet {
    FeatureSet::EMPTY
}

/// Drops what a virtual machine shows without what it implies: code that uses the one would use the other.
fn only_whole(found: FeatureSet) -> FeatureSet {
    let whole = found
        .iter()
        .filter(|f| found.covers(FeatureSet::of(&[*f]).closed()));
    whole.fold(FeatureSet::EMPTY, |s, f| s.with(FeatureSet::of(&[f])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_closed_and_foreign_ones_are_refused() {
        for wanted in [Arch::X86_64, Arch::Aarch64] {
            match host(wanted) {
                Ok(cpu) => assert!(Some(wanted) == arch() && cpu.features == cpu.features.closed()),
                Err(e) => assert!(Some(wanted) != arch() && !e.help.is_empty()),
            }
        }
    }

    #[test]
    fn half_features_are_dropped() {
        use crate::features::Feature::*;
        assert_eq!(
            only_whole(FeatureSet::of(&[Sse3, Avx2])),
            FeatureSet::of(&[Sse3])
        );
    }
}
