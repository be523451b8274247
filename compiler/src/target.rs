//! Floor 6: what a target must say. Targets are handed in by the caller; the compiler itself names no machine.

use crate::kernel::Machine;

/// The architectures that code is made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[allow(missing_docs)]
pub enum Arch {
    X86_64,
    Aarch64,
}

impl Arch {
    /// The name in a triple.
    pub fn name(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::Aarch64 => "aarch64",
        }
    }
}

impl std::fmt::Display for Arch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A machine to compile for.
pub struct Target {
    /// Architecture.
    pub arch: Arch,
    /// The triple as the user gave it, normalised.
    pub triple: String,
    /// CPU name, for the report.
    pub cpu: String,
    /// Cranelift's settings for the declared features: names of boolean flags to enable.
    pub isa_flags: Vec<&'static str>,
    /// Features, tiles, caches.
    pub machine: Machine,
    /// Begin functions with a landing pad and note it in the object (`-mbranch-protection`, `-fcf-protection`).
    pub landing_pads: bool,
}

impl Target {
    /// What code for it needs of a CPU, as the context's `cpu_level` says it.
    pub fn cpu_word(&self) -> u32 {
        let names = self.machine.features.iter().map(String::as_str);
        onnxc_abi::cpu::word(self.arch == Arch::Aarch64, names)
    }
}
