//! Machine code of the vector machine against its interpreter: every operation, random programs, templates.

#[path = "vector/depthwise.rs"]
mod depthwise;
#[path = "vector/each.rs"]
mod each;
#[path = "vector/harness.rs"]
mod harness;
#[path = "vector/long.rs"]
mod long;
#[path = "vector/narrow.rs"]
mod narrow;
#[path = "vector/picked.rs"]
mod picked;
#[path = "vector/random.rs"]
mod random;
#[path = "vector/templates.rs"]
mod templates;
#[path = "vector/whole.rs"]
mod whole;

use onnxc_compiler::contracts::strip::Numbers;
use onnxc_targets::Arch;
use onnxc_targets::audit::audit;
use onnxc_targets::features::{Feature, FeatureSet};

use onnxc_targets::vector::ir::{Dot, Level};
use onnxc_targets::vector::rows;

/// Whether code for a level runs here or in an emulator.
fn runs(level: Level) -> bool {
    #[cfg(target_arch = "x86_64")]
    return match level {
        Level::Neon | Level::Sse2 => true,
        Level::Avx2 => {
            std::arch::is_x86_feature_detected!("avx2")
                && std::arch::is_x86_feature_detected!("fma")
                && std::arch::is_x86_feature_detected!("f16c")
        }
        Level::Avx512 => {
            std::arch::is_x86_feature_detected!("avx512f")
                && std::arch::is_x86_feature_detected!("avx512vl")
        }
    };
    #[cfg(not(target_arch = "x86_64"))]
    return level == Level::Neon;
}

fn check(level: Level, cases: &[harness::Case]) {
    if !runs(level) {
        return eprintln!("skipped: this CPU has no {level:?}");
    }
    if let Err(why) = harness::run(level, cases) {
        eprintln!("skipped: {why}");
    }
}

macro_rules! levels {
    ($($level:ident $each:ident $random:ident $strips:ident $narrow:ident;)*) => {
        $(
            #[test]
            fn $each() {
                check(Level::$level, &each::cases(Level::$level.isa()));
            }
            #[test]
            fn $random() {
                check(Level::$level, &random::cases(Level::$level.isa()));
            }
            #[test]
            fn $strips() {
                let tile = rows::strip(Level::$level, "strip", &[]);
                check(Level::$level, &templates::cases(Level::$level.isa(), &tile));
            }
            #[test]
            fn $narrow() {
                let tile = rows::strip(Level::$level, "strip", &[]);
                check(Level::$level, &narrow::cases(Level::$level.isa(), &tile));
            }
        )*
    };
}

levels! {
    Neon every_operation_neon random_programs_neon strips_neon narrow_strips_neon;
    Sse2 every_operation_sse2 random_programs_sse2 strips_sse2 narrow_strips_sse2;
    Avx2 every_operation_avx2 random_programs_avx2 strips_avx2 narrow_strips_avx2;
    Avx512 every_operation_avx512 random_programs_avx512 strips_avx512 narrow_strips_avx512;
}

/// Strips of words and the products they are made of.
fn words(level: Level) {
    let isa = level.isa();
    let tile = rows::strip_words(level, "words", &[]);
    check(level, &each::dots(isa, Dot::Words));
    check(level, &each::quads_of_words(isa));
    check(level, &whole::cases(isa, &tile, Numbers::Words));
}

#[test]
fn strips_of_words_neon() {
    words(Level::Neon);
}
#[test]
fn strips_of_words_sse2() {
    words(Level::Sse2);
}
#[test]
fn strips_of_words_avx2() {
    words(Level::Avx2);
}
#[test]
fn strips_of_words_avx512() {
    #[cfg(target_arch = "x86_64")]
    if !std::arch::is_x86_feature_detected!("avx512bw") {
        return eprintln!("skipped: this CPU has no AVX512BW");
    }
    words(Level::Avx512);
}

/// The same where one instruction multiplies words and adds.
fn fused_words(level: Level, there: bool) {
    let isa = level.isa().with_fused_words();
    let tile = rows::strip_fused_words(level, "words", &[]);
    let cases = whole::cases(isa, &tile, Numbers::Words);
    if !there {
        return eprintln!("skipped: this CPU has no VNNI for {level:?}");
    }
    check(level, &each::dots(isa, Dot::Words));
    check(level, &cases);
}

#[test]
fn strips_of_fused_words() {
    #[cfg(target_arch = "x86_64")]
    let there = [
        std::arch::is_x86_feature_detected!("avxvnni"),
        std::arch::is_x86_feature_detected!("avx512vnni"),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let there = [false; 2];
    fused_words(Level::Avx2, there[0]);
    fused_words(Level::Avx512, there[1]);
}

/// The same of bytes, where the machine multiplies them.
fn bytes(level: Level, dot: Dot) {
    let isa = level.isa();
    let tile = rows::strip_bytes(level, "bytes", &[]);
    let cases = whole::cases(isa, &tile, Numbers::Bytes);
    #[cfg(target_arch = "x86_64")]
    match level {
        Level::Avx2 if !std::arch::is_x86_feature_detected!("avxvnni") => {
            return eprintln!("skipped: this CPU has no AVX-VNNI");
        }
        Level::Avx512 if !std::arch::is_x86_feature_detected!("avx512vnni") => {
            return eprintln!("skipped: this CPU has no AVX512-VNNI");
        }
        _ => {}
    }
    check(level, &each::dots(isa, dot));
    check(level, &cases);
}

#[test]
fn strips_of_bytes_neon() {
    bytes(Level::Neon, Dot::BytesS);
}
#[test]
fn strips_of_bytes_avx2() {
    bytes(Level::Avx2, Dot::BytesU);
}
#[test]
fn strips_of_bytes_avx512() {
    bytes(Level::Avx512, Dot::BytesU);
}

/// Strips of bytes by matrices.
#[test]
fn strips_of_matrices_neon() {
    let isa = Level::Neon.isa();
    let tile = rows::strip_matrices(Level::Neon, "matrices", &[]);
    let cases = whole::cases(isa, &tile, Numbers::Matrices);
    let features = FeatureSet::of(&[Feature::I8mm]).closed();
    for case in &cases {
        let code = onnxc_targets::vector::assemble(&case.program, true).unwrap();
        let found = audit(&code.bytes, Arch::Aarch64, features);
        assert!(found.is_empty(), "{}: {found:?}", case.name);
    }
    check(Level::Neon, &each::matrices(isa));
    check(Level::Neon, &cases);
}

/// Whether a CPU multiplies bytes at a level.
fn multiplies_bytes(level: Level) -> bool {
    #[cfg(target_arch = "x86_64")]
    return match level {
        Level::Avx2 => std::arch::is_x86_feature_detected!("avxvnni"),
        _ => std::arch::is_x86_feature_detected!("avx512vnni"),
    };
    #[cfg(not(target_arch = "x86_64"))]
    return level == Level::Neon;
}

/// Depthwise convolutions of bytes; all are interpreted, whatever the CPU.
fn depthwise_tiles(level: Level, words: bool) {
    let isa = level.isa();
    let mixing = each::mixing(isa);
    let in_words = depthwise::cases(isa, &rows::depthwise_words(level, "words", &[]), 2);
    let in_bytes = depthwise::cases(isa, &rows::depthwise_bytes(level, "bytes", &[]), 4);
    assert!(in_words.len() > 20 && in_bytes.len() > 20);
    if !words {
        return eprintln!("skipped: this CPU has no words at {level:?}");
    }
    check(level, &mixing);
    check(level, &in_words);
    match multiplies_bytes(level) {
        true => check(level, &in_bytes),
        false => eprintln!("skipped: this CPU has no VNNI for {level:?}"),
    }
}

#[test]
fn depthwise_tiles_avx2() {
    depthwise_tiles(Level::Avx2, true);
}
#[test]
fn depthwise_tiles_avx512() {
    #[cfg(target_arch = "x86_64")]
    let words = std::arch::is_x86_feature_detected!("avx512bw");
    #[cfg(not(target_arch = "x86_64"))]
    let words = false;
    depthwise_tiles(Level::Avx512, words);
}

/// Depthwise convolutions by products that are longer than their factors: of the base alone.
#[test]
fn depthwise_tiles_neon() {
    let isa = Level::Neon.isa();
    let tile = rows::depthwise_long(Level::Neon, "long", &[]);
    let cases = long::cases(isa, &tile);
    for case in &cases {
        let code = onnxc_targets::vector::assemble(&case.program, true).unwrap();
        let found = audit(&code.bytes, Arch::Aarch64, FeatureSet::base(Arch::Aarch64));
        assert!(found.is_empty(), "{}: {found:?}", case.name);
    }
    let tile = rows::depthwise_dots(Level::Neon, "dots", &[]);
    let dots = depthwise::cases(isa, &tile, 4);
    assert!(dots.len() > 20);
    check(Level::Neon, &each::long(isa));
    check(Level::Neon, &each::zips(isa));
    check(Level::Neon, &dots);
    check(Level::Neon, &cases);
}

/// Bytes that are picked and multiplied in pairs.
#[test]
fn strips_of_picked_bytes() {
    let isa = Level::Avx2.isa();
    let tile = rows::strip_picked(Level::Avx2, "picked", &[]);
    check(Level::Avx2, &each::picked(isa));
    check(Level::Avx2, &picked::cases(isa, &tile));
}

/// Neither an instruction outside of the base, nor other bytes on a second try.
#[test]
fn neon_stays_within_the_base() {
    let isa = Level::Neon.isa();
    for case in each::cases(isa).iter().chain(&random::cases(isa)) {
        let code = onnxc_targets::vector::assemble(&case.program, true).unwrap();
        let found = audit(&code.bytes, Arch::Aarch64, FeatureSet::base(Arch::Aarch64));
        assert!(found.is_empty(), "{}: {found:?}", case.name);
        assert_eq!(code.bytes[..4], [0x5f, 0x24, 0x03, 0xd5]);
        let again = onnxc_targets::vector::assemble(&case.program, true).unwrap();
        assert_eq!(code, again, "{}", case.name);
    }
}

#[test]
fn x86_stays_within_its_levels() {
    use Feature::*;
    for (level, features) in [
        (Level::Sse2, FeatureSet::base(Arch::X86_64)),
        (Level::Avx2, FeatureSet::of(&[Avx2, Fma, F16c]).closed()),
        (Level::Avx512, FeatureSet::of(&[Avx512f, Avx512vl]).closed()),
    ] {
        for case in each::cases(level.isa())
            .iter()
            .chain(&random::cases(level.isa()))
        {
            // Words at 512 bits are of an extension, which the rows that use them name.
            let words = ["I8x2", "U8x2", "words", "pairs"].iter();
            if level == Level::Avx512 && words.clone().any(|w| case.name.starts_with(w)) {
                continue;
            }
            let code = onnxc_targets::vector::assemble(&case.program, true).unwrap();
            let found = audit(&code.bytes, Arch::X86_64, features);
            assert!(found.is_empty(), "{level:?} {}: {found:?}", case.name);
        }
    }
}
