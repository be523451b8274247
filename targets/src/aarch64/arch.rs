//! Versions of the Arm architecture: what `-march=armv8.2-a` and its kin promise.
//!
//! Source: the Arm Architecture Reference Manual (DDI 0487), chapter A2, and gcc's `aarch64-arches.def`. Only what is
//! mandatory counts; where manual and compilers differ (fp16 in Armv8.4), the smaller set is taken.

use crate::features::Feature::*;
use crate::features::FeatureSet;

/// Armv8-A: the base.
pub const V8: FeatureSet = FeatureSet::of(&[Neon]);
/// Armv8.1-A.
pub const V8_1: FeatureSet = V8.with(FeatureSet::of(&[Crc, Lse, Rdm]));
/// Armv8.2-A and 8.3-A: all that is of interest here is optional.
pub const V8_2: FeatureSet = V8_1;
/// Armv8.4-A and 8.5-A: dot products became mandatory.
pub const V8_4: FeatureSet = V8_2.with(FeatureSet::of(&[Dotprod]));
/// Armv8.6-A to 8.9-A: matrix products of bytes and bfloat16 became mandatory.
pub const V8_6: FeatureSet = V8_4.with(FeatureSet::of(&[I8mm, Bf16]));
/// Armv9-A = 8.5 with SVE2, as compilers take it.
pub const V9: FeatureSet = V8_4.with(FeatureSet::of(&[Sve2, Sve, Fp16]));
/// Armv9.1-A to 9.5-A = 8.6 and later with SVE2.
pub const V9_1: FeatureSet = V9.with(V8_6);

/// Names of `-march=` and what they have.
pub const VERSIONS: &[(&str, FeatureSet)] = &[
    ("armv8-a", V8),
    ("armv8.1-a", V8_1),
    ("armv8.2-a", V8_2),
    ("armv8.3-a", V8_2),
    ("armv8.4-a", V8_4),
    ("armv8.5-a", V8_4),
    ("armv8.6-a", V8_6),
    ("armv8.7-a", V8_6),
    ("armv8.8-a", V8_6),
    ("armv8.9-a", V8_6),
    ("armv8-r", V8_4),
    ("armv9-a", V9),
    ("armv9.1-a", V9_1),
    ("armv9.2-a", V9_1),
    ("armv9.3-a", V9_1),
    ("armv9.4-a", V9_1),
    ("armv9.5-a", V9_1),
];

/// What a version has, closed; `armv8a` and `armv9.0-a` are read as well.
pub fn find(name: &str) -> Option<FeatureSet> {
    let lower = name.to_ascii_lowercase();
    let name = match lower.as_str() {
        "armv8a" | "armv8.0-a" => "armv8-a",
        "armv9a" | "armv9.0-a" => "armv9-a",
        other => other,
    };
    VERSIONS
        .iter()
        .find(|(n, _)| *n == name)
        .map(|(_, f)| f.closed())
}
