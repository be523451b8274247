//! Cranelift's view of a target: settings, and what must be written out because the machine lacks it.

use crate::base::diag::{Diagnostic, Result};
use crate::base::effort::Effort;
use crate::kernel::MakeLaneLoop;
use crate::target::{Arch, Target};
use cranelift_codegen::isa::{OwnedTargetIsa, lookup};
use cranelift_codegen::settings::{self, Configurable};
use target_lexicon::{Aarch64Architecture, Architecture, BinaryFormat, Triple};

/// A target that functions are compiled for.
#[derive(Clone)]
pub struct Isa {
    /// Cranelift's.
    pub(super) isa: OwnedTargetIsa,
    /// The architecture.
    pub arch: Arch,
    /// Fused multiply-add is there.
    pub fma: bool,
    /// Rounding to whole numbers is there; else it is written out.
    pub round: bool,
    /// An integer division by a variable may be given to Cranelift without a trap instruction; else a helper function does it.
    pub divides: bool,
    /// Makes kernels of `Lanes` loops.
    pub lane_loop: Option<MakeLaneLoop>,
    /// Functions begin with a landing pad.
    pub landing_pads: bool,
    /// How much code may be written for speed.
    pub effort: Effort,
}

impl Isa {
    /// For a target.
    pub fn new(target: &Target, effort: Effort) -> Result<Isa> {
        let mut flags = settings::builder();
        let opt = match effort {
            // The optimiser moves work out of loops and duplicates what is cheap: with `speed_and_size` too its code is larger
            // than without it (245,607 bytes for 230,531 in openseeface_lm0, 79,026 for 78,463 in mobilenet_v2_float).
            Effort::None | Effort::Quick | Effort::Size => "none",
            Effort::Normal | Effort::Most => "speed",
        };
        let verify = if cfg!(debug_assertions) {
            "true"
        } else {
            "false"
        };
        for (name, value) in [
            ("opt_level", opt),
            ("enable_verifier", verify),
            ("is_pic", "true"),
            ("unwind_info", "false"),
            ("preserve_frame_pointers", "true"),
            ("enable_probestack", "false"),
            ("regalloc_algorithm", "backtracking"),
            ("log2_min_function_alignment", "5"),
        ] {
            flags.set(name, value).map_err(|e| setting(name, e))?;
        }
        // The object format and the calling convention are ours to choose; vendor and system say nothing here.
        let mut triple = Triple::unknown();
        triple.architecture = match target.arch {
            Arch::X86_64 => Architecture::X86_64,
            Arch::Aarch64 => Architecture::Aarch64(Aarch64Architecture::Aarch64),
        };
        triple.binary_format = BinaryFormat::Elf;
        let mut isa = lookup(triple).map_err(|e| setting(target.arch.name(), e))?;
        for flag in &target.isa_flags {
            isa.enable(flag).map_err(|e| setting(flag, e))?;
        }
        let x86 = target.arch == Arch::X86_64;
        if target.landing_pads && !x86 {
            isa.enable("use_bti").map_err(|e| setting("use_bti", e))?;
        }
        let has = |flag: &str| target.isa_flags.contains(&flag);
        Ok(Isa {
            arch: target.arch,
            fma: !x86 || has("has_fma"),
            round: !x86 || has("has_sse41"),
            divides: x86,
            lane_loop: target.machine.lane_loop,
            landing_pads: target.landing_pads,
            effort,
            isa: isa
                .finish(settings::Flags::new(flags))
                .map_err(|e| setting("instruction set", e))?,
        })
    }
}

fn setting(name: &str, e: impl std::fmt::Display) -> Box<Diagnostic> {
    Diagnostic::internal(format!("code generator setting '{name}': {e}"))
}
