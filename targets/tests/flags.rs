//! What users and build systems write to choose a CPU, and what is made of it.

use onnxc_targets::Arch;
use onnxc_targets::features::Feature;
use onnxc_targets::flags::{Protection, Selection, Words};

fn given(arch: Arch, words: &str) -> Result<Selection, String> {
    let mut s = Selection::base(arch);
    s.set_gcc(words.split_whitespace(), Words::Given)
        .map_err(|e| e.to_string())?;
    Ok(s)
}

fn scanned(arch: Arch, words: &str) -> Selection {
    let mut s = Selection::base(arch);
    s.set_gcc(words.split_whitespace(), Words::Scanned).unwrap();
    s
}

#[test]
fn gcc_flags_of_aarch64() {
    let s = given(Arch::Aarch64, "-mcpu=cortex-a55").unwrap();
    assert!(
        s.named
            && s.tuning.in_order
            && s.features.has(Feature::Dotprod)
            && !s.features.has(Feature::Crypto)
    );
    assert!(
        given(Arch::Aarch64, "-mcpu=cortex-a55+crypto")
            .unwrap()
            .features
            .has(Feature::Crypto)
    );
    assert!(
        !given(Arch::Aarch64, "-mcpu=cortex-a55+nodotprod")
            .unwrap()
            .features
            .has(Feature::Dotprod)
    );
    let s = given(Arch::Aarch64, "-march=armv8.2-a+dotprod+fp16").unwrap();
    assert_eq!(
        s.features.to_string(),
        "+neon,+crc,+lse,+rdm,+fp16,+dotprod"
    );
    let s = given(Arch::Aarch64, "-march=armv8.6-a").unwrap();
    assert!(
        s.features.has(Feature::I8mm)
            && s.features.has(Feature::Dotprod)
            && !s.features.has(Feature::Sve)
    );
    assert!(
        given(Arch::Aarch64, "-march=armv9-a")
            .unwrap()
            .features
            .has(Feature::Sve2)
    );
    // -march decides the instructions, -mcpu the rest.
    let s = given(Arch::Aarch64, "-mcpu=cortex-a76 -march=armv8-a+crc").unwrap();
    assert!(!s.features.has(Feature::Dotprod) && !s.tuning.in_order && s.cpu == "cortex-a76");
    // What is tuned for changes no instruction.
    let s = given(Arch::X86_64, "-march=x86-64-v4 -mtune=znver4").unwrap();
    assert!(s.tuning.halves && !s.features.has(Feature::Avx512vnni) && s.cpu == "x86-64-v4");
    assert!(
        !given(Arch::X86_64, "-march=x86-64-v4")
            .unwrap()
            .tuning
            .halves
    );
    // The last one wins.
    assert_eq!(
        given(Arch::Aarch64, "-mcpu=cortex-a76 -mcpu=cortex-a53")
            .unwrap()
            .cpu,
        "cortex-a53"
    );
}

#[test]
fn openembedded_tunes() {
    let s = scanned(
        Arch::Aarch64,
        "aarch64-poky-linux-gcc -mcpu=cortex-a72.cortex-a53+crc+crypto -mbranch-protection=standard -fstack-protector-strong -O2 --sysroot=/x",
    );
    assert!(
        s.features.has(Feature::Crypto)
            && s.features.has(Feature::Crc)
            && !s.features.has(Feature::Dotprod)
    );
    assert_eq!(
        s.protection,
        Protection {
            landing: true,
            returns: true
        }
    );
    let s = scanned(
        Arch::X86_64,
        "-m64 -march=core2 -mtune=core2 -msse3 -mfpmath=sse",
    );
    assert_eq!(s.features.names(), ["sse3", "ssse3"]);
    let s = scanned(
        Arch::X86_64,
        "-m64 -march=corei7 -mtune=corei7 -mfpmath=sse -msse4.2",
    );
    assert!(s.features.has(Feature::Sse42) && !s.features.has(Feature::Avx));
    let s = scanned(Arch::X86_64, "-march=x86-64-v3 -mspace-ships=42");
    assert!(s.features.has(Feature::Avx2) && s.features.has(Feature::Fma));
}

#[test]
fn gcc_flags_of_x86_64() {
    let s = given(Arch::X86_64, "-mavx2 -mfma").unwrap();
    assert!(
        s.named
            && s.features.has(Feature::Avx2)
            && s.features.has(Feature::Fma)
            && !s.features.has(Feature::Bmi2)
    );
    assert!(
        !given(Arch::X86_64, "-mno-fma -march=haswell")
            .unwrap()
            .features
            .has(Feature::Fma)
    );
    assert!(
        given(Arch::X86_64, "-march=skylake-avx512 -mavx512vnni")
            .unwrap()
            .features
            .has(Feature::Avx512vnni)
    );
    assert_eq!(
        given(Arch::X86_64, "-fcf-protection").unwrap().protection,
        Protection {
            landing: true,
            returns: true
        }
    );
    assert_eq!(
        given(Arch::X86_64, "-fcf-protection=branch")
            .unwrap()
            .protection,
        Protection {
            landing: true,
            returns: false
        }
    );
}

#[test]
fn what_can_not_be_obeyed_is_said() {
    for (arch, words, part) in [
        (Arch::Aarch64, "-mcpu=cortexa55", "`cortex-a55`"),
        (Arch::Aarch64, "-march=armv8.2a", "`armv8.2-a`"),
        (Arch::Aarch64, "-march=cortex-a55", "-mcpu=cortex-a55"),
        (Arch::Aarch64, "-march=armv8.2-a+dotprd", "`dotprod`"),
        (
            Arch::Aarch64,
            "-mcpu=cortex-a53+nosimd",
            "can't be switched off",
        ),
        (Arch::Aarch64, "-mgeneral-regs-only", "vector registers"),
        (Arch::Aarch64, "-mabi=ilp32", "64 bits"),
        (Arch::Aarch64, "-mbranch-protection=standrd", "`standard`"),
        (Arch::Aarch64, "-fcf-protection", "-mbranch-protection"),
        (Arch::X86_64, "-march=hasswell", "`haswell`"),
        (Arch::X86_64, "-march=cortex-a53", "a CPU of aarch64"),
        (Arch::X86_64, "-mavx3", "`-mavx"),
        (Arch::X86_64, "-m32", "64 bits"),
        (Arch::X86_64, "-mno-sse2", "vector registers"),
    ] {
        let e = given(arch, words).expect_err(words);
        assert!(e.contains(part), "{words}: {e}");
    }
}

#[test]
fn cpu_and_features() {
    let mut s = Selection::base(Arch::X86_64);
    assert!(!s.named);
    s.set_cpu("x86-64-v3").unwrap();
    s.set_features("-fma,+avx512vnni").unwrap();
    assert!(s.named && s.features.has(Feature::Fma) && s.features.has(Feature::Avx512f));
    let foreign = if cfg!(target_arch = "x86_64") {
        Arch::Aarch64
    } else {
        Arch::X86_64
    };
    assert!(Selection::base(foreign).set_cpu("native").is_err());
}
