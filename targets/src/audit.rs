//! Reads machine code back and lists what must not be in it: instructions outside the declared features, and traps.
//!
//! For tests and for anyone who doubts an object. Code is followed from its entry along branches, so constants behind it are
//! not taken for instructions; calls are taken to return. Disassembly is by independent decoders; which features
//! an A64 instruction needs is decided by its encoding class ([`crate::aarch64::classes`]), as no decoder at hand says it.

use std::collections::BTreeSet;

use iced_x86::{
    Code as Op, CpuidFeature as Cpuid, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic,
};

use crate::Arch;
use crate::aarch64::classes;
use crate::features::{Feature, FeatureSet};

/// Something that must not be there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Where, in bytes from the start.
    pub offset: usize,
    /// The instruction as text, or its bytes if it is none.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

/// Audits the code that can be reached from its first byte.
pub fn audit(code: &[u8], arch: Arch, features: FeatureSet) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    let mut todo = vec![0usize];
    while let Some(at) = todo.pop() {
        if at >= code.len() || !seen.insert(at) {
            continue;
        }
        let step = match arch {
            Arch::X86_64 => x86(code, at, features),
            Arch::Aarch64 => a64(code, at, features),
        };
        todo.extend(step.next);
        findings.extend(step.bad.map(|(text, why)| Finding {
            offset: at,
            text,
            why,
        }));
    }
    findings.sort_by_key(|f| f.offset);
    findings
}

/// What one instruction leads to, and what is wrong with it.
struct Step {
    next: Vec<usize>,
    bad: Option<(String, String)>,
}

/// What an x86 feature of the decoder's table needs: `None` if it is not known here.
fn x86_needs(f: Cpuid) -> Option<FeatureSet> {
    use Feature::*;
    let one = |f| Some(FeatureSet::of(&[f]));
    match f {
        Cpuid::INTEL8086
        | Cpuid::INTEL186
        | Cpuid::INTEL286
        | Cpuid::INTEL386
        | Cpuid::INTEL486
        | Cpuid::X64 => Some(FeatureSet::EMPTY),
        Cpuid::CMOV
        | Cpuid::FPU
        | Cpuid::SSE
        | Cpuid::SSE2
        | Cpuid::MULTIBYTENOP
        | Cpuid::PAUSE => Some(FeatureSet::EMPTY),
        // Landing pads are no-ops on CPUs that do not know them.
        Cpuid::CET_IBT => Some(FeatureSet::EMPTY),
        Cpuid::SSE3 => one(Sse3),
        Cpuid::SSSE3 => one(Ssse3),
        Cpuid::SSE4_1 => one(Sse41),
        Cpuid::SSE4_2 => one(Sse42),
        Cpuid::POPCNT => one(Popcnt),
        Cpuid::AVX => one(Avx),
        Cpuid::AVX2 => one(Avx2),
        Cpuid::FMA => one(Fma),
        Cpuid::F16C => one(F16c),
        Cpuid::BMI1 => one(Bmi1),
        Cpuid::BMI2 => one(Bmi2),
        Cpuid::LZCNT => one(Lzcnt),
        Cpuid::AVX512F => one(Avx512f),
        Cpuid::AVX512CD => one(Avx512cd),
        Cpuid::AVX512BW => one(Avx512bw),
        Cpuid::AVX512DQ => one(Avx512dq),
        Cpuid::AVX512VL => one(Avx512vl),
        Cpuid::AVX512_VNNI => one(Avx512vnni),
        Cpuid::AVX512_VBMI => one(Avx512vbmi),
        Cpuid::AVX_VNNI => one(AvxVnni),
        _ => None,
    }
}

fn x86_bad(i: &Instruction, features: FeatureSet) -> Option<String> {
    if i.is_invalid() {
        return Some("not an instruction".to_string());
    }
    if matches!(
        i.mnemonic(),
        Mnemonic::Ud0
            | Mnemonic::Ud1
            | Mnemonic::Ud2
            | Mnemonic::Int
            | Mnemonic::Int1
            | Mnemonic::Int3
            | Mnemonic::Hlt
    ) {
        return Some("a trap".to_string());
    }
    if matches!(i.code(), Op::Jmp_rm64 | Op::Jmp_rm32 | Op::Jmp_rm16) {
        return Some("a jump to where this can't see".to_string());
    }
    let outside = i
        .cpuid_features()
        .iter()
        .find(|f| !x86_needs(**f).is_some_and(|n| features.covers(n)));
    outside.map(|f| format!("needs {f:?}, which was not declared"))
}

fn x86(code: &[u8], at: usize, features: FeatureSet) -> Step {
    let mut decoder = Decoder::with_ip(64, &code[at..], at as u64, DecoderOptions::NONE);
    let i = decoder.decode();
    let after = at + i.len().max(1);
    // A branch to outside of the code (a tail call) leads to code that is audited as its own.
    let target = || usize::try_from(i.near_branch_target()).ok();
    let next = match i.flow_control() {
        FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall => vec![after],
        FlowControl::ConditionalBranch => target().into_iter().chain([after]).collect(),
        FlowControl::UnconditionalBranch => target().into_iter().collect(),
        _ => vec![],
    };
    let text = if i.is_invalid() {
        format!("{:02x?}", &code[at..code.len().min(at + 15)])
    } else {
        i.to_string()
    };
    Step {
        next,
        bad: x86_bad(&i, features).map(|why| (text, why)),
    }
}

/// The text of an A64 word, if the decoder knows it.
pub fn a64_text(word: u32) -> Option<String> {
    use yaxpeax_arch::{Decoder as _, U8Reader};
    let bytes = word.to_le_bytes();
    let decoder = <yaxpeax_arm::armv8::a64::ARMv8 as yaxpeax_arch::Arch>::Decoder::default();
    decoder
        .decode(&mut U8Reader::new(&bytes))
        .ok()
        .map(|i| i.to_string())
}

fn a64(code: &[u8], at: usize, features: FeatureSet) -> Step {
    let Some(bytes) = code.get(at..at + 4) else {
        return Step {
            next: vec![],
            bad: Some((
                format!("{:02x?}", &code[at..]),
                "the code ends inside an instruction".to_string(),
            )),
        };
    };
    let word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let to = |bits: u32, shift: u32| {
        let by = ((word >> shift) << (32 - bits)) as i32 >> (32 - bits);
        usize::try_from(at as i64 + i64::from(by) * 4).ok()
    };
    let after = at + 4;
    let both = |t: Option<usize>| t.into_iter().chain([after]).collect();
    let next = match word {
        w if w >> 26 == 0b00_0101 => to(26, 0).into_iter().collect(),
        w if w >> 24 == 0x54 => both(to(19, 5)),
        w if w & 0x7E00_0000 == 0x3400_0000 => both(to(19, 5)),
        w if w & 0x7E00_0000 == 0x3600_0000 => both(to(14, 5)),
        w if classes::is_return(w) || classes::is_indirect_jump(w) || classes::is_trap(w) => vec![],
        _ => vec![after],
    };
    let text = a64_text(word);
    let why = if classes::is_trap(word) {
        Some("a trap".to_string())
    } else if classes::is_indirect_jump(word) {
        Some("a jump to where this can't see".to_string())
    } else {
        match classes::needs(word) {
            Some(class) if class.feature.is_some_and(|f| features.has(f)) => None,
            Some(class) => Some(format!("needs {}, which was not declared", class.name)),
            None if text.is_none() => Some("not an instruction".to_string()),
            None => None,
        }
    };
    Step {
        next,
        bad: why.map(|why| (text.unwrap_or_else(|| format!("{word:08x}")), why)),
    }
}
