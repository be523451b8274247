//! The aarch64 CPUs, as gcc and LLVM name them.
//!
//! Source of features: the cores' technical reference manuals by way of gcc's `aarch64-cores.def`; optional cryptography is
//! left out where a core may lack it (`+crypto` adds it). Source of caches: the same manuals, the common configuration.

use super::arch::{V8, V8_1, V8_2, V8_4, V8_6, V9, V9_1};
use crate::Arch;
use crate::cpu::Cpu;
use crate::features::Feature::*;
use crate::features::FeatureSet;

const V8_CRC: FeatureSet = V8.with(FeatureSet::of(&[Crc]));
const V8_CRYPTO: FeatureSet = V8_CRC.with(FeatureSet::of(&[Crypto]));
const V8_1_CRYPTO: FeatureSet = V8_1.with(FeatureSet::of(&[Crypto]));
/// The Armv8.2 cores from Cortex-A55 on: half precision and dot products.
const A55: FeatureSet = V8_2.with(FeatureSet::of(&[Fp16, Dotprod]));
const A55_CRYPTO: FeatureSet = A55.with(FeatureSet::of(&[Crypto]));
const V8_2_FP16: FeatureSet = V8_2.with(FeatureSet::of(&[Fp16]));
const A64FX: FeatureSet = V8_2.with(FeatureSet::of(&[Fp16, Sve]));
const N1: FeatureSet = A55;
const V1: FeatureSet = V8_4.with(FeatureSet::of(&[Fp16, Sve, I8mm, Bf16]));
const M1: FeatureSet = V8_4.with(FeatureSet::of(&[Fp16, Crypto]));
const M2: FeatureSet = V8_6.with(FeatureSet::of(&[Fp16, Crypto]));
/// The first Armv9 cores have the matrix products before they became mandatory.
const A510: FeatureSet = V9.with(FeatureSet::of(&[I8mm, Bf16]));
/// Armv9.2 cores.
const A520: FeatureSet = V9_1;
const AMPERE1: FeatureSet = V8_6.with(FeatureSet::of(&[Fp16, Crypto]));
const R82: FeatureSet = V8_4.with(FeatureSet::of(&[Fp16]));

const fn cpu(name: &'static str, features: FeatureSet, l1d: u32, l2: u32) -> Cpu {
    Cpu::row(name, Arch::Aarch64, features, l1d, l2)
}

/// All rows, the base first.
pub const CPUS: &[Cpu] = &[
    // The base stands for any core, so it is laid out for the ones that suffer most.
    cpu("generic", V8, 32, 256).in_order(),
    // Small cores.
    cpu("cortex-a34", V8_CRC, 32, 256).in_order(),
    cpu("cortex-a35", V8_CRC, 32, 256).in_order(),
    cpu("cortex-a53", V8_CRC, 32, 256).in_order(),
    cpu("cortex-a55", A55, 32, 128).in_order(),
    cpu("cortex-a320", A520, 32, 128).in_order(),
    cpu("cortex-a510", A510, 32, 128).in_order(),
    cpu("cortex-a520", A520, 32, 128).in_order(),
    cpu("cortex-a520ae", A520, 32, 128).in_order(),
    cpu("cortex-r82", R82, 32, 256).in_order(),
    cpu("cortex-r82ae", R82, 32, 256).in_order(),
    // Middle and big cores.
    cpu("cortex-a57", V8_CRC, 32, 512),
    cpu("cortex-a65", A55, 32, 256),
    cpu("cortex-a65ae", A55, 32, 256),
    cpu("cortex-a72", V8_CRC, 32, 512),
    cpu("cortex-a73", V8_CRC, 32, 256),
    cpu("cortex-a75", A55, 64, 256),
    cpu("cortex-a76", A55, 64, 256),
    cpu("cortex-a76ae", A55, 64, 256),
    cpu("cortex-a77", A55, 64, 256),
    cpu("cortex-a78", A55, 64, 256),
    cpu("cortex-a78ae", A55, 64, 256),
    cpu("cortex-a78c", A55, 64, 256),
    cpu("cortex-a710", A510, 64, 256),
    cpu("cortex-a715", A510, 64, 256),
    cpu("cortex-a720", A520, 64, 256),
    cpu("cortex-a720ae", A520, 64, 256),
    cpu("cortex-a725", A520, 64, 256),
    cpu("cortex-x1", A55, 64, 512),
    cpu("cortex-x1c", A55, 64, 512),
    cpu("cortex-x2", A510, 64, 512),
    cpu("cortex-x3", A510, 64, 512),
    cpu("cortex-x4", A520, 64, 1024),
    cpu("cortex-x925", A520, 64, 2048),
    // Server cores.
    cpu("neoverse-e1", A55, 32, 128),
    cpu("neoverse-n1", N1, 64, 1024),
    cpu("neoverse-n2", A510, 64, 1024),
    cpu("neoverse-n3", A520, 64, 1024),
    cpu("neoverse-v1", V1, 64, 1024),
    cpu("neoverse-v2", A510, 64, 1024),
    cpu("neoverse-v3", A520, 64, 2048),
    cpu("neoverse-v3ae", A520, 64, 2048),
    cpu("ampere1", AMPERE1, 64, 2048),
    cpu("ampere1a", AMPERE1, 64, 2048),
    cpu("ampere1b", AMPERE1, 64, 2048),
    cpu("a64fx", A64FX, 64, 512),
    cpu("thunderx", V8_CRYPTO, 32, 512).in_order(),
    cpu("thunderx2t99", V8_1_CRYPTO, 32, 256),
    cpu("thunderx3t110", V8_1_CRYPTO, 32, 256),
    cpu("octeontx2", V8_2, 40, 256),
    cpu("tsv110", A55_CRYPTO, 64, 512),
    cpu("xgene1", V8, 32, 128),
    cpu("emag", V8_CRYPTO, 32, 128),
    cpu("falkor", V8_CRYPTO, 32, 512),
    cpu("saphira", V8_2.with(FeatureSet::of(&[Crypto])), 32, 512),
    cpu("phecda", V8_CRYPTO, 32, 512),
    // Phones, cars and desks.
    cpu(
        "carmel",
        V8_2_FP16.with(FeatureSet::of(&[Crypto])),
        64,
        1024,
    ),
    cpu("kryo", V8_CRYPTO, 24, 512),
    cpu("oryon-1", M2, 96, 2048),
    cpu("exynos-m3", V8_CRYPTO, 64, 512),
    cpu("exynos-m4", A55_CRYPTO, 64, 512),
    cpu("exynos-m5", A55_CRYPTO, 64, 512),
    cpu("apple-a7", V8.with(FeatureSet::of(&[Crypto])), 64, 512),
    cpu(
        "apple-a10",
        V8_CRYPTO.with(FeatureSet::of(&[Rdm])),
        64,
        1024,
    ),
    cpu(
        "apple-a11",
        V8_2_FP16.with(FeatureSet::of(&[Crypto])),
        64,
        1024,
    ),
    cpu(
        "apple-a12",
        V8_2_FP16.with(FeatureSet::of(&[Crypto])),
        64,
        1024,
    ),
    cpu("apple-a13", M1, 64, 1024),
    cpu("apple-m1", M1, 64, 3072),
    cpu("apple-m2", M2, 64, 4096),
    cpu("apple-m3", M2, 64, 4096),
    cpu("apple-m4", M2, 64, 4096),
];

/// Other names of the same.
pub const ALIASES: &[(&str, &str)] = &[
    ("generic-armv8-a", "generic"),
    ("grace", "neoverse-v2"),
    ("olympus", "neoverse-v3"),
    ("cobalt-100", "neoverse-n2"),
    ("ares", "neoverse-n1"),
    ("zeus", "neoverse-v1"),
    ("demeter", "neoverse-v2"),
    ("neoverse-512tvb", "neoverse-v1"),
    ("vulcan", "thunderx2t99"),
    ("thunderxt81", "thunderx"),
    ("thunderxt83", "thunderx"),
    ("thunderxt88", "thunderx"),
    ("octeontx", "thunderx"),
    ("octeontx81", "thunderx"),
    ("octeontx83", "thunderx"),
    ("octeontx2t98", "octeontx2"),
    ("octeontx2t96", "octeontx2"),
    ("octeontx2t93", "octeontx2"),
    ("octeontx2f95", "octeontx2"),
    ("octeontx2f95n", "octeontx2"),
    ("octeontx2f95mm", "octeontx2"),
    ("qdf24xx", "falkor"),
    ("cyclone", "apple-a7"),
    ("apple-a8", "apple-a7"),
    ("apple-a9", "apple-a7"),
    ("apple-a14", "apple-m1"),
    ("apple-a15", "apple-m2"),
    ("apple-a16", "apple-m2"),
    ("apple-a17", "apple-m3"),
    ("apple-latest", "apple-m4"),
];
