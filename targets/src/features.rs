//! Instruction-set features: names in every tool's spelling, what implies what, and sets of them.
//!
//! Only features that decide which code is made have a [`Feature`]; others that tools know are accepted and change nothing.
//! A set is always closed: whatever holds `avx2` holds `avx`. Floating point with SSE2 or Advanced SIMD is the base of
//! each architecture and can't be switched off.

use std::fmt;

use onnxc_compiler::base::diag::{Diagnostic, Result};

use crate::Arch;
use crate::feature_names::{BASE_A64, BASE_X86, UNUSED_A64, UNUSED_X86};
use crate::suggest;

macro_rules! features {
    ($($id:ident $arch:ident $name:literal [$($alias:literal)*] implies [$($imp:ident)*] $about:literal;)*) => {
        /// A feature that decides which instructions may be used.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Feature { $(#[doc = $about] $id),* }

        /// All features, those of one architecture together.
        pub const FEATURES: &[FeatureInfo] = &[$(FeatureInfo {
            id: Feature::$id, arch: Arch::$arch, name: $name, aliases: &[$($alias),*], implies: &[$(Feature::$imp),*], about: $about,
        }),*];
    };
}

/// A row of the table of features.
pub struct FeatureInfo {
    /// Which feature.
    pub id: Feature,
    /// The architecture it belongs to.
    pub arch: Arch,
    /// The name used here: LLVM's and gcc's where they agree.
    pub name: &'static str,
    /// Spellings of other tools and of `/proc/cpuinfo`.
    pub aliases: &'static [&'static str],
    /// What every CPU that has this one has as well.
    pub implies: &'static [Feature],
    /// One line for `--print target-features`.
    pub about: &'static str,
}

features! {
    Sse3 X86_64 "sse3" ["pni"] implies [] "SSE3";
    Ssse3 X86_64 "ssse3" [] implies [Sse3] "SSSE3: byte shuffles";
    Sse41 X86_64 "sse4.1" ["sse4_1" "sse41"] implies [Ssse3] "SSE4.1: rounding, blends, 32-bit multiplies";
    Sse42 X86_64 "sse4.2" ["sse4_2" "sse42" "sse4"] implies [Sse41] "SSE4.2: 64-bit compares";
    Popcnt X86_64 "popcnt" [] implies [] "count of one bits";
    Avx X86_64 "avx" [] implies [Sse42] "256-bit floating point";
    Avx2 X86_64 "avx2" [] implies [Avx] "256-bit integers";
    Fma X86_64 "fma" ["fma3"] implies [Avx] "fused multiply-add";
    F16c X86_64 "f16c" [] implies [Avx] "half-precision conversions";
    Bmi1 X86_64 "bmi1" ["bmi"] implies [] "bit manipulation 1";
    Bmi2 X86_64 "bmi2" [] implies [] "bit manipulation 2";
    Lzcnt X86_64 "lzcnt" ["abm"] implies [] "count of leading zeros";
    Avx512f X86_64 "avx512f" [] implies [Avx2 Fma F16c] "512-bit foundation";
    Avx512cd X86_64 "avx512cd" [] implies [Avx512f] "512-bit conflict detection";
    Avx512bw X86_64 "avx512bw" [] implies [Avx512f] "512-bit bytes and words";
    Avx512dq X86_64 "avx512dq" [] implies [Avx512f] "512-bit doublewords and quadwords";
    Avx512vl X86_64 "avx512vl" [] implies [Avx512f] "512-bit instructions at 128 and 256 bits";
    Avx512vnni X86_64 "avx512vnni" ["avx512_vnni"] implies [Avx512f] "512-bit dot products of bytes";
    Avx512vbmi X86_64 "avx512vbmi" [] implies [Avx512bw] "permutations of bytes across 512 bits";
    AvxVnni X86_64 "avxvnni" ["avx_vnni"] implies [Avx2] "256-bit dot products of bytes";
    Neon Aarch64 "neon" ["asimd" "simd" "fp" "fp-armv8"] implies [] "Advanced SIMD, always there";
    Crc Aarch64 "crc" ["crc32"] implies [] "CRC32";
    Crypto Aarch64 "crypto" ["aes" "sha2" "sha1" "pmull"] implies [Neon] "AES and SHA";
    Lse Aarch64 "lse" ["atomics"] implies [] "atomic instructions of Armv8.1";
    Rdm Aarch64 "rdm" ["rdma" "asimdrdm"] implies [Neon] "rounding doubling multiply-accumulate";
    Fp16 Aarch64 "fp16" ["fullfp16" "fphp" "asimdhp" "half"] implies [Neon] "half-precision arithmetic";
    Dotprod Aarch64 "dotprod" ["asimddp"] implies [Neon] "dot products of bytes";
    I8mm Aarch64 "i8mm" [] implies [Neon] "matrix products of bytes";
    Bf16 Aarch64 "bf16" [] implies [Neon] "bfloat16 dot and matrix products";
    Sve Aarch64 "sve" [] implies [Fp16] "Scalable Vector Extension";
    Sve2 Aarch64 "sve2" [] implies [Sve] "Scalable Vector Extension 2";
}

/// What a name means.
enum Meaning {
    Known(Feature),
    Base,
    Unused,
}

fn look_up(arch: Arch, word: &str) -> Option<Meaning> {
    let word = word.to_ascii_lowercase();
    let (base, unused) = match arch {
        Arch::X86_64 => (BASE_X86, UNUSED_X86),
        Arch::Aarch64 => (BASE_A64, UNUSED_A64),
    };
    if base.split(' ').any(|w| w == word) {
        return Some(Meaning::Base);
    }
    let row = FEATURES
        .iter()
        .find(|f| f.arch == arch && (f.name == word || f.aliases.contains(&word.as_str())));
    match row {
        Some(f) => Some(Meaning::Known(f.id)),
        None => unused
            .split(' ')
            .any(|w| w == word)
            .then_some(Meaning::Unused),
    }
}

/// Every name that a feature of `arch` can have, for suggestions.
fn names(arch: Arch) -> impl Iterator<Item = &'static str> {
    let unused = match arch {
        Arch::X86_64 => UNUSED_X86,
        Arch::Aarch64 => UNUSED_A64,
    };
    FEATURES
        .iter()
        .filter(move |f| f.arch == arch)
        .flat_map(|f| std::iter::once(f.name).chain(f.aliases.iter().copied()))
        .chain(unused.split(' '))
}

impl Feature {
    /// Its row.
    pub fn info(self) -> &'static FeatureInfo {
        &FEATURES[self as usize] // declared by the same macro in the same order
    }
    /// Its name.
    pub fn name(self) -> &'static str {
        self.info().name
    }
    /// The feature of this name, in any tool's spelling; `None` for those that change nothing here and for unknown ones.
    pub fn parse(arch: Arch, word: &str) -> Option<Feature> {
        match look_up(arch, word) {
            Some(Meaning::Known(f)) => Some(f),
            Some(Meaning::Base) if arch == Arch::Aarch64 => Some(Feature::Neon),
            _ => None,
        }
    }
}

/// A closed set of features.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct FeatureSet(u64);

impl FeatureSet {
    /// No feature.
    pub const EMPTY: FeatureSet = FeatureSet(0);

    /// The listed features, not yet closed: for constant tables, which [`FeatureSet::closed`] completes.
    pub const fn of(list: &[Feature]) -> FeatureSet {
        let mut bits = 0;
        let mut i = 0;
        while i < list.len() {
            bits |= 1 << list[i] as u32;
            i += 1;
        }
        FeatureSet(bits)
    }
    /// What either set has.
    pub const fn with(self, other: FeatureSet) -> FeatureSet {
        FeatureSet(self.0 | other.0)
    }
    /// What both sets have.
    pub const fn common(self, other: FeatureSet) -> FeatureSet {
        FeatureSet(self.0 & other.0)
    }
    /// Whether `f` is in it.
    pub const fn has(self, f: Feature) -> bool {
        self.0 >> f as u32 & 1 == 1
    }
    /// Whether all of `other` is in it.
    pub const fn covers(self, other: FeatureSet) -> bool {
        other.0 & !self.0 == 0
    }
    /// The base of an architecture.
    pub const fn base(arch: Arch) -> FeatureSet {
        match arch {
            Arch::X86_64 => FeatureSet::EMPTY,
            Arch::Aarch64 => FeatureSet::of(&[Feature::Neon]),
        }
    }
    /// With everything that its members imply.
    pub fn closed(self) -> FeatureSet {
        // Implications only point up the table, so one pass from the end is enough.
        FEATURES.iter().rev().fold(self, |s, f| {
            if s.has(f.id) {
                s.with(FeatureSet::of(f.implies))
            } else {
                s
            }
        })
    }
    /// Adds a feature and what it implies.
    pub fn add(&mut self, f: Feature) {
        *self = self.with(FeatureSet::of(&[f])).closed();
    }
    /// Removes a feature and everything that implies it; the base stays.
    pub fn remove(&mut self, f: Feature) {
        let keep = self
            .iter()
            .filter(|g| *g == Feature::Neon || !FeatureSet::of(&[*g]).closed().has(f));
        *self = keep.fold(FeatureSet::EMPTY, |s, g| s.with(FeatureSet::of(&[g])));
    }
    /// The members in the order of the table.
    pub fn iter(self) -> impl Iterator<Item = Feature> {
        FEATURES.iter().map(|f| f.id).filter(move |f| self.has(*f))
    }
    /// The members' names in the order of the table.
    pub fn names(self) -> Vec<&'static str> {
        self.iter().map(Feature::name).collect()
    }
    /// Lanes of the widest vector of f32 that the features offer with fused multiply-add, or of the base.
    pub fn f32_lanes(self) -> u32 {
        if self.has(Feature::Avx512f) && self.has(Feature::Avx512vl) {
            16
        } else if self.has(Feature::Avx2) && self.has(Feature::Fma) {
            8
        } else {
            4
        }
    }

    /// Switches the named feature on or off, in any tool's spelling.
    pub fn switch(&mut self, arch: Arch, name: &str, on: bool) -> Result<()> {
        match look_up(arch, name) {
            Some(Meaning::Known(f)) if on => self.add(f),
            Some(Meaning::Known(f)) => self.remove(f),
            Some(Meaning::Base) if !on => {
                return Err(Diagnostic::usage(
                    "USE003",
                    format!(
                        "the feature `{name}` can't be switched off: all code for {arch} uses it"
                    ),
                ));
            }
            Some(Meaning::Base | Meaning::Unused) => {}
            None => {
                let other = match arch {
                    Arch::X86_64 => Arch::Aarch64,
                    Arch::Aarch64 => Arch::X86_64,
                };
                let help = match look_up(other, name) {
                    Some(_) => format!("it is a feature of {other}, and the target is {arch}"),
                    None => "`--print target-features` lists them".to_string(),
                };
                return Err(suggest::unknown(
                    &format!("feature of {arch}"),
                    name,
                    names(arch),
                    &help,
                ));
            }
        }
        Ok(())
    }

    /// Applies a list such as `+avx2,-fma` (rustc, LLVM) or `avx2,fma` (a bare name is switched on), left to right.
    pub fn apply(&mut self, arch: Arch, list: &str) -> Result<()> {
        for word in list
            .split([',', ' '])
            .map(str::trim)
            .filter(|w| !w.is_empty())
        {
            match word.strip_prefix('-') {
                Some(name) => self.switch(arch, name, false)?,
                None => self.switch(arch, word.strip_prefix('+').unwrap_or(word), true)?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for FeatureSet {
    /// `+sse3,+ssse3`, which [`FeatureSet::apply`] reads; nothing if empty.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in self.names().into_iter().enumerate() {
            write!(f, "{}+{name}", if i > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn x86(list: &str) -> FeatureSet {
        let mut s = FeatureSet::EMPTY;
        s.apply(Arch::X86_64, list).unwrap();
        s
    }

    #[test]
    fn table_is_in_order_and_names_are_unique() {
        for (i, f) in FEATURES.iter().enumerate() {
            assert_eq!(f.id as usize, i);
            assert!(
                f.implies
                    .iter()
                    .all(|g| (*g as usize) < i && g.info().arch == f.arch),
                "{}",
                f.name
            );
        }
        for arch in [Arch::X86_64, Arch::Aarch64] {
            let mut all: Vec<_> = names(arch).collect();
            let n = all.len();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), n, "a name means two things on {arch}");
        }
    }

    #[test]
    fn implications_both_ways() {
        assert_eq!(
            x86("avx2").names(),
            ["sse3", "ssse3", "sse4.1", "sse4.2", "avx", "avx2"]
        );
        assert_eq!(
            x86("+avx512vnni,-avx2").names(),
            ["sse3", "ssse3", "sse4.1", "sse4.2", "avx", "fma", "f16c"]
        );
        assert_eq!(x86("avx2,fma,-sse4.2").names(), ["sse3", "ssse3", "sse4.1"]);
    }

    #[test]
    fn spellings() {
        let mut s = FeatureSet::base(Arch::Aarch64);
        s.apply(Arch::Aarch64, "+asimddp,+fullfp16,+rcpc,atomics")
            .unwrap();
        assert_eq!(s.to_string(), "+neon,+lse,+fp16,+dotprod");
        assert_eq!(x86("sse4_1").names(), x86("+sse4.1").names());
    }

    #[test]
    fn errors_help() {
        let mut s = FeatureSet::EMPTY;
        let e = s.apply(Arch::X86_64, "+axv2").unwrap_err();
        assert!(e.help.contains("`avx2`"), "{e}");
        let e = s.apply(Arch::X86_64, "+dotprod").unwrap_err();
        assert!(e.help.contains("aarch64"), "{e}");
        let e = s.apply(Arch::Aarch64, "-neon").unwrap_err();
        assert!(e.message.contains("can't be switched off"), "{e}");
    }

    #[test]
    fn print_parse_round_trip() {
        for arch in [Arch::X86_64, Arch::Aarch64] {
            for f in FEATURES.iter().filter(|f| f.arch == arch) {
                let mut s = FeatureSet::base(arch);
                s.add(f.id);
                let mut t = FeatureSet::EMPTY;
                t.apply(arch, &s.to_string()).unwrap();
                t = t.with(FeatureSet::base(arch));
                assert_eq!(s, t);
                s.remove(f.id);
                assert!(f.id == Feature::Neon || !s.has(f.id));
            }
        }
    }
}
