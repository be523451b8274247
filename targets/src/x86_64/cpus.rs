//! The x86_64 CPUs, as gcc and LLVM name them.
//!
//! Source of features: gcc's `i386.h` PTA masks and LLVM's `X86.td`, reduced to what decides code here; the levels are those
//! of the x86-64 psABI. Source of caches: the vendors' optimisation manuals, the smallest common configuration.

use crate::Arch;
use crate::cpu::Cpu;
use crate::features::Feature::*;
use crate::features::FeatureSet;

const NONE: FeatureSet = FeatureSet::EMPTY;
const SSE3: FeatureSet = FeatureSet::of(&[Sse3]);
const SSSE3: FeatureSet = FeatureSet::of(&[Ssse3]);
const SSE41: FeatureSet = FeatureSet::of(&[Sse41]);
const AMD10: FeatureSet = FeatureSet::of(&[Sse3, Popcnt, Lzcnt]);
const BTVER1: FeatureSet = AMD10.with(SSSE3);
const V2: FeatureSet = FeatureSet::of(&[Sse42, Popcnt]);
const BTVER2: FeatureSet = V2.with(FeatureSet::of(&[Avx, F16c, Bmi1, Lzcnt]));
const SNB: FeatureSet = V2.with(FeatureSet::of(&[Avx]));
const IVB: FeatureSet = SNB.with(FeatureSet::of(&[F16c]));
const BDVER1: FeatureSet = SNB.with(FeatureSet::of(&[Lzcnt]));
const BDVER2: FeatureSet = BDVER1.with(FeatureSet::of(&[Bmi1, F16c, Fma]));
const BDVER4: FeatureSet = BDVER2.with(FeatureSet::of(&[Avx2, Bmi2]));
const V3: FeatureSet = V2.with(FeatureSet::of(&[Avx2, Bmi1, Bmi2, F16c, Fma, Lzcnt]));
const KNL: FeatureSet = V3.with(FeatureSet::of(&[Avx512f, Avx512cd]));
const V4: FeatureSet = V3.with(FeatureSet::of(&[
    Avx512f, Avx512bw, Avx512cd, Avx512dq, Avx512vl,
]));
const CLX: FeatureSet = V4.with(FeatureSet::of(&[Avx512vnni]));
const ADL: FeatureSet = V3.with(FeatureSet::of(&[AvxVnni]));
const CNL: FeatureSet = V4.with(FeatureSet::of(&[Avx512vbmi]));
const ICL: FeatureSet = CLX.with(FeatureSet::of(&[Avx512vbmi]));
const SPR: FeatureSet = ICL.with(FeatureSet::of(&[AvxVnni]));

const fn cpu(name: &'static str, features: FeatureSet, l1d: u32, l2: u32) -> Cpu {
    Cpu::row(name, Arch::X86_64, features, l1d, l2)
}

/// All rows, the base first.
pub const CPUS: &[Cpu] = &[
    cpu("x86-64", NONE, 32, 256),
    cpu("x86-64-v2", V2, 32, 256),
    cpu("x86-64-v3", V3, 32, 256),
    cpu("x86-64-v4", V4, 32, 1024),
    // Intel, big cores.
    cpu("nocona", SSE3, 16, 1024),
    cpu("core2", SSSE3, 32, 2048),
    cpu("penryn", SSE41, 32, 3072),
    cpu("nehalem", V2, 32, 256),
    cpu("westmere", V2, 32, 256),
    cpu("sandybridge", SNB, 32, 256),
    cpu("ivybridge", IVB, 32, 256),
    cpu("haswell", V3, 32, 256),
    cpu("broadwell", V3, 32, 256),
    cpu("skylake", V3, 32, 256),
    cpu("skylake-avx512", V4, 32, 1024),
    cpu("cannonlake", CNL, 32, 256),
    cpu("cascadelake", CLX, 32, 1024),
    cpu("cooperlake", CLX, 32, 1024),
    cpu("icelake-client", ICL, 48, 512),
    cpu("icelake-server", ICL, 48, 1280),
    cpu("tigerlake", ICL, 48, 1280),
    cpu("rocketlake", ICL, 48, 512),
    cpu("alderlake", ADL, 32, 512),
    cpu("raptorlake", ADL, 32, 1024),
    cpu("meteorlake", ADL, 32, 512),
    cpu("arrowlake", ADL, 32, 1024),
    cpu("arrowlake-s", ADL, 32, 1024),
    cpu("lunarlake", ADL, 32, 1024),
    cpu("pantherlake", ADL, 32, 1024),
    cpu("sapphirerapids", SPR, 48, 2048),
    cpu("emeraldrapids", SPR, 48, 2048),
    cpu("graniterapids", SPR, 48, 2048),
    cpu("graniterapids-d", SPR, 48, 2048),
    cpu("diamondrapids", SPR, 48, 2048),
    cpu("knl", KNL, 32, 512),
    cpu("knm", KNL, 32, 512),
    // Intel, small cores.
    cpu("bonnell", SSSE3, 24, 512).in_order(),
    cpu("silvermont", V2, 24, 512),
    cpu("goldmont", V2, 24, 512),
    cpu("goldmont-plus", V2, 24, 1024),
    cpu("tremont", V2, 32, 1024),
    cpu("gracemont", ADL, 32, 512),
    cpu("sierraforest", ADL, 32, 1024),
    cpu("grandridge", ADL, 32, 1024),
    cpu("clearwaterforest", ADL, 32, 1024),
    // AMD.
    cpu("k8", NONE, 64, 512),
    cpu("k8-sse3", SSE3, 64, 512),
    cpu("amdfam10", AMD10, 64, 512),
    cpu("btver1", BTVER1, 32, 512),
    cpu("btver2", BTVER2, 32, 512),
    cpu("bdver1", BDVER1, 16, 1024),
    cpu("bdver2", BDVER2, 16, 1024),
    cpu("bdver3", BDVER2, 16, 1024),
    cpu("bdver4", BDVER4, 32, 1024),
    cpu("znver1", V3, 32, 512),
    cpu("znver2", V3, 32, 512),
    cpu("znver3", V3, 32, 512),
    cpu("znver4", ICL, 32, 1024).halves(),
    cpu("znver5", SPR, 48, 1024),
    // Zhaoxin.
    cpu("lujiazui", IVB, 32, 256),
    cpu("yongfeng", V3, 32, 256),
];

/// Other names of the same.
pub const ALIASES: &[(&str, &str)] = &[
    ("generic", "x86-64"),
    ("x86_64", "x86-64"),
    ("x86_64-v2", "x86-64-v2"),
    ("x86_64-v3", "x86-64-v3"),
    ("x86_64-v4", "x86-64-v4"),
    ("corei7", "nehalem"),
    ("corei7-avx", "sandybridge"),
    ("core-avx-i", "ivybridge"),
    ("core-avx2", "haswell"),
    ("skx", "skylake-avx512"),
    ("atom", "bonnell"),
    ("slm", "silvermont"),
    ("opteron", "k8"),
    ("athlon64", "k8"),
    ("athlon-fx", "k8"),
    ("opteron-sse3", "k8-sse3"),
    ("athlon64-sse3", "k8-sse3"),
    ("barcelona", "amdfam10"),
];
