//! From a triple and a selection to what the compiler is handed.

use onnxc_compiler::kernel::{Machine, MakeLaneLoop, Palettes, Sparse, Vector, Winograd};
use onnxc_compiler::target::Target;

use crate::features::{Feature, FeatureSet};
use crate::flags::Selection;
use crate::vector::ir::Level;
use crate::vector::lanes;
use crate::{Arch, aarch64, costs, triple, x86_64};

/// Cranelift's settings for features that it makes use of.
const ISA_FLAGS: &[(Feature, &str)] = &[
    (Feature::Sse3, "has_sse3"),
    (Feature::Ssse3, "has_ssse3"),
    (Feature::Sse41, "has_sse41"),
    (Feature::Sse42, "has_sse42"),
    (Feature::Popcnt, "has_popcnt"),
    (Feature::Avx, "has_avx"),
    (Feature::Avx2, "has_avx2"),
    (Feature::Fma, "has_fma"),
    (Feature::Bmi1, "has_bmi1"),
    (Feature::Bmi2, "has_bmi2"),
    (Feature::Lzcnt, "has_lzcnt"),
    (Feature::Avx512f, "has_avx512f"),
    (Feature::Avx512dq, "has_avx512dq"),
    (Feature::Avx512vl, "has_avx512vl"),
    (Feature::Lse, "has_lse"),
    (Feature::Fp16, "has_fp16"),
    (Feature::Dotprod, "has_dotprod"),
];

/// The vector machine that a set of features makes up.
pub fn level(arch: Arch, features: FeatureSet) -> Level {
    let all = |list: &[Feature]| list.iter().all(|f| features.has(*f));
    match arch {
        Arch::Aarch64 => Level::Neon,
        Arch::X86_64 if all(&[Feature::Avx512f, Feature::Avx512vl]) => Level::Avx512,
        Arch::X86_64 if all(&[Feature::Avx2, Feature::Fma, Feature::F16c]) => Level::Avx2,
        Arch::X86_64 => Level::Sse2,
    }
}

// The maker of kernels of `Lanes` loops, where registers are wider than those that the compiler itself uses. It must round
// products and sums as the compiler does.
fn lane_loop(selection: &Selection) -> Option<MakeLaneLoop> {
    let level = level(selection.arch, selection.features);
    let fused = selection.arch == Arch::Aarch64 || selection.features.has(Feature::Fma);
    if level.isa().fma != fused {
        return None;
    }
    match level {
        Level::Avx2 => Some(|l, pad| lanes::make(l, Level::Avx2.isa(), pad)),
        Level::Avx512 => Some(|l, pad| lanes::make(l, Level::Avx512.isa(), pad)),
        Level::Sse2 | Level::Neon => None,
    }
}

/// What the compiler may use of a selection.
pub fn machine(selection: &Selection) -> Machine {
    let mut features: Vec<String> = selection
        .features
        .names()
        .into_iter()
        .map(String::from)
        .collect();
    features.sort_unstable();
    Machine {
        features,
        tiles: match selection.arch {
            Arch::X86_64 => x86_64::kernels::TILES.to_vec(),
            Arch::Aarch64 => aarch64::kernels::TILES.to_vec(),
        },
        // Code that the compiler writes itself has 128-bit vectors on both.
        lanes: 4,
        vector: Some({
            let isa = level(selection.arch, selection.features).isa();
            Vector {
                lanes: isa.lanes as i64,
                registers: isa.vregs as i64,
                by_lane: isa.by_lane,
                rounds: isa.rounds,
                fused: isa.fma,
                halves: isa.halves,
                bytes: isa.bytes,
                rows: 16,
            }
        }),
        lane_loop: lane_loop(selection),
        l1d: selection.tuning.caches.l1d.saturating_mul(1024),
        l2: selection.tuning.caches.l2.saturating_mul(1024),
        winograd: Winograd::default(),
        sparse: Sparse::default(),
        palettes: Palettes::default(),
        costs: costs::of(
            level(selection.arch, selection.features),
            selection.tuning.halves,
        ),
    }
}

/// The whole of it.
pub fn target(triple: &triple::Target, selection: &Selection) -> Target {
    let mut isa_flags: Vec<&'static str> = ISA_FLAGS
        .iter()
        .filter(|(f, _)| selection.features.has(*f))
        .map(|(_, flag)| *flag)
        .collect();
    if selection.arch == Arch::Aarch64 {
        if selection.protection.landing {
            isa_flags.push("use_bti");
        }
        if selection.protection.returns {
            isa_flags.push("sign_return_address");
        }
    }
    Target {
        arch: selection.arch,
        triple: triple.lexicon().to_string(),
        cpu: selection.cpu.clone(),
        isa_flags,
        machine: machine(selection),
        landing_pads: selection.protection.landing,
    }
}

/// The features of a machine as a set: what an audit allows.
pub fn features(arch: Arch, machine: &Machine) -> FeatureSet {
    let named = machine
        .features
        .iter()
        .filter_map(|name| Feature::parse(arch, name));
    named.fold(FeatureSet::base(arch), |s, f| s.with(FeatureSet::of(&[f])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_says_it_all() {
        let triple = triple::Target::parse("aarch64-poky-linux-gnu").unwrap();
        let mut s = Selection::base(Arch::Aarch64);
        s.set_gcc(
            ["-mcpu=cortex-a76", "-mbranch-protection=standard"],
            crate::flags::Words::Given,
        )
        .unwrap();
        let t = target(&triple, &s);
        assert_eq!(t.triple, "aarch64-unknown-linux-gnu");
        assert!(
            t.landing_pads
                && t.isa_flags.contains(&"use_bti")
                && t.isa_flags.contains(&"has_dotprod")
        );
        assert!(
            t.machine.has("dotprod") && t.machine.features.is_sorted() && t.machine.l1d == 65536
        );
        assert_eq!(
            t.machine.tile("gemm_tile").map(|t| t.name),
            Some("gemm_tile_f32_8x12_neon")
        );
        assert_eq!(features(t.arch, &t.machine), s.features);
    }

    #[test]
    fn tiles_need_their_features() {
        let mut s = Selection::base(Arch::X86_64);
        assert!(machine(&s).tile("gemm_tile").is_none());
        s.set_cpu("haswell").unwrap();
        assert_eq!(
            machine(&s).tile("gemm_tile").map(|t| t.name),
            Some("gemm_tile_f32_6x16_avx2fma")
        );
    }
}
