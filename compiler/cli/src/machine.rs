//! Which machine code is made for: triple, CPU, features, and whether this process can run it.

use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::kernel::Winograd;
use onnxc_compiler::target::Target;
use onnxc_targets::flags::{Selection, Words};
use onnxc_targets::{Arch, machine, native, triple};

use crate::args::flags::{TargetFlags, Winograd as WinogradTiles};
use crate::ui::Ui;

/// What the code is made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// To be kept: without a CPU named it is for the base level.
    Keep,
    /// To be run now: without a CPU named it is for this machine's.
    RunNow,
}

/// A chosen machine.
pub struct Machine {
    /// What the compiler is told.
    pub target: Target,
    /// Whether this process can run the code.
    pub host: bool,
}

/// Reads the flags, and says what was chosen where they name no CPU.
pub fn choose(flags: &TargetFlags, purpose: Purpose, ui: &Ui) -> Result<Machine> {
    let triple = match &flags.target {
        Some(text) => triple::Target::parse(text)?,
        None => triple::Target::host()?,
    };
    let host = native::arch() == Some(triple.arch);
    let mut selection = Selection::base(triple.arch);
    selection.set_gcc(flags.machine_flag.iter().map(String::as_str), Words::Given)?;
    if let Some(cpu) = &flags.target_cpu {
        selection.set_cpu(cpu)?;
    }
    let named = selection.named;
    if !named && purpose == Purpose::RunNow && host {
        selection.set_cpu("native")?;
        let features = selection.features.names().join(" ");
        ui.note(&Diagnostic::remark(
            "USE006",
            format!("code for this machine's CPU was made ({features})"),
        ));
    }
    for list in &flags.target_feature {
        selection.set_features(list)?;
    }
    if !selection.named && purpose == Purpose::Keep {
        let (base, better) = match triple.arch {
            Arch::X86_64 => (
                "x86-64 (SSE2)",
                "`--target-cpu x86-64-v3` (AVX2 and FMA, most machines since 2013)",
            ),
            Arch::Aarch64 => (
                "armv8-a (NEON)",
                "the CPU's name, as in `--target-cpu cortex-a55`",
            ),
        };
        ui.note(
            &Diagnostic::remark("USE005", format!("code for the base level {base} was made")).help(
                format!("{better}, or `native` for this machine, gives faster code"),
            ),
        );
    }
    let mut target = machine::target(&triple, &selection);
    target.machine.winograd = Winograd {
        tile: match flags.winograd {
            WinogradTiles::Off => 0,
            WinogradTiles::F2 => 2,
            WinogradTiles::F4 => 4,
        },
        error: flags.winograd_error.unwrap_or(Winograd::default().error),
    };
    Ok(Machine { target, host })
}
