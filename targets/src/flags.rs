//! From what a user or a build system says to a chosen CPU: `--target-cpu`, `--target-feature`, and gcc's `-m` flags.
//!
//! gcc's spelling is taken because build systems carry the truth about a machine in it (OpenEmbedded: `TUNE_CCARGS`).
//! Words that can't be obeyed (32-bit, big-endian, no floating point) are errors; words that change nothing here are
//! dropped; unknown `-m` words are errors for a person and dropped for a build system ([`Words`]).

use onnxc_compiler::base::diag::{Diagnostic, Result};

use crate::aarch64::arch;
use crate::cpu::{self, Cpu, Tuning};
use crate::features::{FEATURES, FeatureSet};
use crate::{Arch, native, suggest};

/// Control-flow protection of the code made.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Protection {
    /// Landing pads: `bti c` or `endbr64` at every place that a pointer can lead to.
    pub landing: bool,
    /// Return addresses: signed on aarch64, compatible with a shadow stack on x86_64.
    pub returns: bool,
}

/// What code is made for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selection {
    /// The architecture.
    pub arch: Arch,
    /// The name of the CPU or architecture version as given, or of the base.
    pub cpu: String,
    /// Whether the user named a CPU, version or feature, so that no remark about the base level is due.
    pub named: bool,
    /// The instructions that may be used.
    pub features: FeatureSet,
    /// What code is arranged for.
    pub tuning: Tuning,
    /// Landing pads and the like.
    pub protection: Protection,
}

/// Where `-m` words come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Words {
    /// A person's command line: what is not known is an error.
    Given,
    /// A build system's compiler flags: words that are not about the CPU are dropped.
    Scanned,
}

impl Selection {
    /// The base of an architecture.
    pub fn base(arch: Arch) -> Selection {
        let base = Cpu::base(arch);
        Selection {
            arch,
            cpu: base.name.to_string(),
            named: false,
            features: base.features,
            tuning: base.tuning,
            protection: Protection::default(),
        }
    }

    /// Sets the CPU by name; `native` is the host's.
    pub fn set_cpu(&mut self, name: &str) -> Result<()> {
        let cpu = if name == "native" {
            native::host(self.arch)?
        } else {
            cpu::find(self.arch, name)?
        };
        self.features = cpu.features;
        self.tuning = cpu.tuning;
        self.cpu = name.to_string();
        self.named = true;
        Ok(())
    }

    /// Switches features on and off: `+avx2,-fma`.
    pub fn set_features(&mut self, list: &str) -> Result<()> {
        self.features.apply(self.arch, list)?;
        self.named |= !list.trim().is_empty();
        Ok(())
    }

    /// Takes gcc's words, left to right; other words than `-m...` and `-fcf-protection` are skipped.
    ///
    /// As in gcc, on aarch64 `-march` decides the instructions where both it and `-mcpu` are given, and switches such as `-mavx2`
    /// hold wherever they stand.
    pub fn set_gcc<'a>(
        &mut self,
        words: impl IntoIterator<Item = &'a str>,
        from: Words,
    ) -> Result<()> {
        let words: Vec<&str> = words.into_iter().collect();
        let last = |prefix: &str| words.iter().rev().find_map(|w| w.strip_prefix(prefix));
        let (mcpu, march, mtune) = (last("-mcpu="), last("-march="), last("-mtune="));
        if let Some(value) = mcpu {
            self.set_named(value, false)?;
        }
        if let Some(value) = march {
            let before = (self.tuning, self.cpu.clone());
            self.set_named(value, true)?;
            if mcpu.is_some() {
                (self.tuning, self.cpu) = before;
            }
        }
        // What is only tuned for may be spelt in ways that no table has; it can do no harm.
        if let Some(tuned) = mtune.and_then(|name| cpu::find(self.arch, name).ok()) {
            self.tuning = tuned.tuning;
        }
        words
            .iter()
            .try_for_each(|word| self.set_switch(word, from))
    }

    /// `cortex-a55+crypto+nofp16` or `armv8.2-a+dotprod`.
    fn set_named(&mut self, value: &str, march: bool) -> Result<()> {
        let mut parts = value.split('+');
        let name = parts.next().unwrap_or_default();
        match (self.arch, arch::find(name)) {
            (Arch::Aarch64, Some(features)) if march => {
                let base = Cpu::base(Arch::Aarch64);
                (self.features, self.tuning) = (features, base.tuning);
                self.cpu = name.to_string();
                self.named = true;
            }
            (Arch::Aarch64, None) if march && name != "native" => {
                let known = arch::VERSIONS.iter().map(|(n, _)| *n);
                let help = match cpu::find(self.arch, name) {
                    Ok(_) => format!("it is a CPU: write `-mcpu={name}`"),
                    Err(_) => "armv8-a to armv9.5-a are known".to_string(),
                };
                return Err(match help.starts_with("it is") {
                    true => suggest::unknown("architecture version", name, [], &help),
                    false => suggest::unknown("architecture version", name, known, &help),
                });
            }
            _ => self.set_cpu(name)?,
        }
        for extension in parts {
            // Before names with the prefix, since `nofp` must not be looked up as it stands.
            match extension.strip_prefix("no") {
                Some(name) if !name.is_empty() => self.features.switch(self.arch, name, false)?,
                _ => self.features.switch(self.arch, extension, true)?,
            }
        }
        Ok(())
    }

    fn set_switch(&mut self, word: &str, from: Words) -> Result<()> {
        if let Some(kinds) = word.strip_prefix("-fcf-protection") {
            return self.set_cf_protection(kinds.strip_prefix('=').unwrap_or("full"), word);
        }
        let Some(body) = word.strip_prefix("-m") else {
            return Ok(());
        };
        if let Some(kinds) = body.strip_prefix("branch-protection=") {
            return self.set_branch_protection(kinds);
        }
        if ["cpu=", "arch=", "tune="]
            .iter()
            .any(|p| body.starts_with(p))
            || self.is_neutral(body)
        {
            return Ok(());
        }
        let refused = match body {
            "32" | "16" | "x32" | "iamcu" | "abi=ilp32" => Some("pointers have 64 bits here"),
            "big-endian" => Some("only little-endian code is made"),
            "general-regs-only" | "soft-float" | "no-sse" | "no-sse2" | "no-80387" => {
                Some("all code uses vector registers")
            }
            "strict-align" => {
                Some("vectors are loaded from addresses aligned to their elements only")
            }
            _ => None,
        };
        if let Some(why) = refused {
            return Err(
                Diagnostic::usage("USE003", format!("`{word}` can't be obeyed: {why}"))
                    .help("choose a target that allows it"),
            );
        }
        if self.arch == Arch::X86_64 {
            let (name, on) = body
                .strip_prefix("no-")
                .map_or((body, true), |name| (name, false));
            let mut features = self.features;
            if features.switch(self.arch, name, on).is_ok() {
                self.named |= features != self.features;
                self.features = features;
                return Ok(());
            }
        }
        match from {
            Words::Scanned => Ok(()),
            Words::Given => {
                let known: Vec<String> = match self.arch {
                    Arch::X86_64 => FEATURES
                        .iter()
                        .filter(|f| f.arch == Arch::X86_64)
                        .map(|f| format!("-m{}", f.name))
                        .collect(),
                    Arch::Aarch64 => Vec::new(),
                };
                let known = known.iter().map(String::as_str).chain([
                    "-mcpu=",
                    "-march=",
                    "-mtune=",
                    "-mbranch-protection=",
                ]);
                Err(suggest::unknown(
                    &format!("flag for {}", self.arch),
                    word,
                    known,
                    "of gcc's flags, those that choose a CPU or a feature are read",
                ))
            }
        }
    }

    /// gcc flags that say what holds anyway, or that concern what is not made here.
    fn is_neutral(&self, body: &str) -> bool {
        let common = [
            "64",
            "little-endian",
            "abi=lp64",
            "abi=sysv",
            "omit-leaf-frame-pointer",
            "no-omit-leaf-frame-pointer",
            "hard-float",
            "red-zone",
            "no-red-zone",
        ];
        let prefixes = [
            "cmodel=",
            "fpmath=",
            "tls-dialect=",
            "stack-protector-guard",
            "prefer-vector-width=",
            "fix-cortex-a53-",
            "no-fix-cortex-a53-",
            "no-outline-atomics",
            "outline-atomics",
            "low-precision-",
            "sve-vector-bits=",
            "msve-vector-bits=",
            "indirect-branch",
            "function-return=",
            "harden-sls=",
            "track-speculation",
            "pc-relative-literal-loads",
            "incoming-stack-boundary=",
            "preferred-stack-boundary=",
        ];
        common.contains(&body) || prefixes.iter().any(|p| body.starts_with(p))
    }

    fn set_branch_protection(&mut self, kinds: &str) -> Result<()> {
        if self.arch != Arch::Aarch64 {
            return Err(
                Diagnostic::usage("USE003", "`-mbranch-protection` is for aarch64")
                    .help("on x86_64 write `-fcf-protection`"),
            );
        }
        let mut p = Protection::default();
        for kind in kinds.split('+') {
            match kind {
                "none" => {}
                "standard" => {
                    p = Protection {
                        landing: true,
                        returns: true,
                    }
                }
                "bti" => p.landing = true,
                "pac-ret" | "leaf" | "b-key" | "pc" => p.returns = true,
                "gcs" => {}
                _ => {
                    let known = ["none", "standard", "bti", "pac-ret", "leaf", "b-key", "gcs"];
                    return Err(suggest::unknown(
                        "kind of branch protection",
                        kind,
                        known,
                        "none, standard, bti and pac-ret are known",
                    ));
                }
            }
        }
        self.protection = p;
        Ok(())
    }

    fn set_cf_protection(&mut self, kind: &str, word: &str) -> Result<()> {
        if self.arch != Arch::X86_64 {
            return Err(
                Diagnostic::usage("USE003", format!("`{word}` is for x86_64"))
                    .help("on aarch64 write `-mbranch-protection=standard`"),
            );
        }
        self.protection = match kind {
            "none" => Protection::default(),
            "branch" => Protection {
                landing: true,
                returns: false,
            },
            "return" => Protection {
                landing: false,
                returns: true,
            },
            "full" | "check" => Protection {
                landing: true,
                returns: true,
            },
            _ => {
                return Err(suggest::unknown(
                    "kind of control-flow protection",
                    kind,
                    ["none", "branch", "return", "full"],
                    "none, branch, return and full are known",
                ));
            }
        };
        Ok(())
    }
}
