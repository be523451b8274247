//! CPUs: what each has, and how a name is looked up.
//!
//! One table per architecture ([`crate::x86_64::cpus`], [`crate::aarch64::cpus`]) serves the tool, build scripts, CMake and
//! Yocto. Names are gcc's and LLVM's. Features are what the compilers of those names may use, caches what is typical:
//! they steer tiling and never correctness.

use onnxc_compiler::base::diag::Result;

use crate::features::FeatureSet;
use crate::{Arch, suggest};

/// Sizes of the caches that one core uses, in KiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caches {
    /// First level, data.
    pub l1d: u32,
    /// Second level, or the share of one core where it is shared.
    pub l2: u32,
}

/// What code is arranged for. It steers tiling and the choice of kernels, never what may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tuning {
    /// Its caches.
    pub caches: Caches,
    /// Whether it issues in program order, so that code must interleave loads with arithmetic.
    pub in_order: bool,
    /// Whether it does vectors of 512 bits in two halves, so that they multiply no faster than those of 256.
    pub halves: bool,
}

/// What is known of a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cpu {
    /// Its name; of a pair of cores, the name of the first.
    pub name: &'static str,
    /// Its architecture.
    pub arch: Arch,
    /// What it has, closed and with the base of the architecture.
    pub features: FeatureSet,
    /// What code for it is arranged for.
    pub tuning: Tuning,
}

impl Tuning {
    /// What suits two cores.
    fn common(self, other: Tuning) -> Tuning {
        Tuning {
            caches: Caches {
                l1d: self.caches.l1d.min(other.caches.l1d),
                l2: self.caches.l2.min(other.caches.l2),
            },
            in_order: self.in_order || other.in_order,
            halves: self.halves || other.halves,
        }
    }
}

impl Cpu {
    /// A row of a table; `features` need not be closed yet.
    pub(crate) const fn row(
        name: &'static str,
        arch: Arch,
        features: FeatureSet,
        l1d: u32,
        l2: u32,
    ) -> Cpu {
        Cpu {
            name,
            arch,
            features,
            tuning: Tuning {
                caches: Caches { l1d, l2 },
                in_order: false,
                halves: false,
            },
        }
    }
    /// The same, issuing in order.
    pub(crate) const fn in_order(mut self) -> Cpu {
        self.tuning.in_order = true;
        self
    }
    /// The same, with vectors of 512 bits in halves.
    pub(crate) const fn halves(mut self) -> Cpu {
        self.tuning.halves = true;
        self
    }
    fn complete(mut self) -> Cpu {
        self.features = self.features.with(FeatureSet::base(self.arch)).closed();
        self
    }
    /// The CPU that stands for an architecture when none is named.
    pub fn base(arch: Arch) -> Cpu {
        rows(arch)[0].complete()
    }
    /// What both CPUs have: of a big.LITTLE pair, whichever core the work lands on.
    fn common(self, other: Cpu) -> Cpu {
        Cpu {
            name: self.name,
            arch: self.arch,
            features: self.features.common(other.features),
            tuning: self.tuning.common(other.tuning),
        }
    }
}

fn rows(arch: Arch) -> &'static [Cpu] {
    match arch {
        Arch::X86_64 => crate::x86_64::cpus::CPUS,
        Arch::Aarch64 => crate::aarch64::cpus::CPUS,
    }
}

fn aliases(arch: Arch) -> &'static [(&'static str, &'static str)] {
    match arch {
        Arch::X86_64 => crate::x86_64::cpus::ALIASES,
        Arch::Aarch64 => crate::aarch64::cpus::ALIASES,
    }
}

/// All CPUs of an architecture, the base first.
pub fn all(arch: Arch) -> impl Iterator<Item = Cpu> {
    rows(arch).iter().map(|c| c.complete())
}

/// All names that [`find`] takes, without the pairs.
pub fn names(arch: Arch) -> impl Iterator<Item = &'static str> {
    rows(arch)
        .iter()
        .map(|c| c.name)
        .chain(aliases(arch).iter().map(|(alias, _)| *alias))
}

/// The CPU of this name; `big.little` spellings of gcc (`cortex-a72.cortex-a53`) give what both cores have.
pub fn find(arch: Arch, name: &str) -> Result<Cpu> {
    let mut found: Option<Cpu> = None;
    for part in name.split('.') {
        let cpu = find_one(arch, part)?;
        found = Some(found.map_or(cpu, |f| f.common(cpu)));
    }
    // `split` gives at least one part, so the base is never reached.
    Ok(found.unwrap_or_else(|| Cpu::base(arch)))
}

fn find_one(arch: Arch, name: &str) -> Result<Cpu> {
    let lower = name.to_ascii_lowercase();
    let real = aliases(arch)
        .iter()
        .find(|(alias, _)| *alias == lower)
        .map_or(lower.as_str(), |(_, real)| real);
    if let Some(cpu) = rows(arch).iter().find(|c| c.name == real) {
        return Ok(cpu.complete());
    }
    let other = match arch {
        Arch::X86_64 => Arch::Aarch64,
        Arch::Aarch64 => Arch::X86_64,
    };
    let help = if names(other).any(|n| n == lower) {
        format!("it is a CPU of {other}, and the target is {arch}")
    } else {
        "`--print target-cpus` lists them".to_string()
    };
    Err(suggest::unknown(
        &format!("CPU of {arch}"),
        name,
        names(arch),
        &help,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Feature;

    #[test]
    fn names_are_unique_and_aliases_lead_somewhere() {
        for arch in [Arch::X86_64, Arch::Aarch64] {
            let mut list: Vec<_> = names(arch).collect();
            let n = list.len();
            list.sort_unstable();
            list.dedup();
            assert_eq!(list.len(), n);
            for name in names(arch) {
                let cpu = find(arch, name).unwrap();
                assert!(cpu.features.closed() == cpu.features && cpu.arch == arch);
                assert!(
                    cpu.tuning.caches.l1d >= 8 && cpu.tuning.caches.l2 >= cpu.tuning.caches.l1d,
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn known_cpus() {
        let has = |arch, cpu, f| find(arch, cpu).unwrap().features.has(f);
        assert!(has(Arch::X86_64, "haswell", Feature::Fma));
        assert!(!has(Arch::X86_64, "ivybridge", Feature::Fma));
        assert!(!has(Arch::X86_64, "skylake-avx512", Feature::Avx512vnni));
        assert!(
            has(Arch::X86_64, "alderlake", Feature::AvxVnni)
                && !has(Arch::X86_64, "alderlake", Feature::Avx512f)
        );
        assert!(
            has(Arch::X86_64, "znver4", Feature::Avx512vnni)
                && !has(Arch::X86_64, "znver4", Feature::AvxVnni)
        );
        assert!(
            has(Arch::Aarch64, "cortex-a55", Feature::Dotprod)
                && !has(Arch::Aarch64, "cortex-a55", Feature::I8mm)
        );
        assert!(
            !has(Arch::Aarch64, "cortex-a72", Feature::Dotprod)
                && has(Arch::Aarch64, "cortex-a72", Feature::Neon)
        );
        assert!(
            has(Arch::Aarch64, "neoverse-v1", Feature::Sve)
                && has(Arch::Aarch64, "neoverse-v1", Feature::I8mm)
        );
        assert!(
            !has(Arch::Aarch64, "apple-m1", Feature::I8mm)
                && has(Arch::Aarch64, "apple-m2", Feature::I8mm)
        );
    }

    #[test]
    fn pairs_take_the_common_part() {
        let pair = find(Arch::Aarch64, "cortex-a72.cortex-a53").unwrap();
        assert!(pair.tuning.in_order && !pair.features.has(Feature::Dotprod));
        assert!(
            find(Arch::Aarch64, "cortex-a76.cortex-a55")
                .unwrap()
                .features
                .has(Feature::Dotprod)
        );
    }

    #[test]
    fn misspelt_names() {
        assert!(
            find(Arch::Aarch64, "cortexa55")
                .unwrap_err()
                .help
                .contains("`cortex-a55`")
        );
        assert!(
            find(Arch::X86_64, "skylak")
                .unwrap_err()
                .help
                .contains("`skylake`")
        );
        assert!(
            find(Arch::X86_64, "cortex-a55")
                .unwrap_err()
                .help
                .contains("aarch64")
        );
        assert!(find(Arch::Aarch64, "").is_err() && find(Arch::Aarch64, ".").is_err());
    }
}
