//! Which machine code is made for: triple, CPU, features, and whether this process can run it.

use std::path::Path;

use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::kernel::{Palettes, Sparse, Winograd};
use onnxc_compiler::target::Target;
use onnxc_targets::costs::Table;
use onnxc_targets::flags::{Selection, Words};
use onnxc_targets::{Arch, machine, native, triple};

use crate::args::flags::{
    Palettes as WhenPalettes, Sparse as WhenSparse, TargetFlags, Winograd as WinogradTiles,
};
use crate::args::words::split;
use crate::failure::file_error;
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
    /// Where several CPUs are named and the code is to be kept: all of them, the base first, the best last.
    pub levels: Vec<Target>,
}

/// Reads the flags, and says what was chosen where they name no CPU.
pub fn choose(flags: &TargetFlags, purpose: Purpose, ui: &Ui) -> Result<Machine> {
    let triple = match &flags.target {
        Some(text) => triple::Target::parse(text)?,
        None => triple::Target::host()?,
    };
    let host = native::arch() == Some(triple.arch);
    let table = match &flags.cost {
        Some(path) => Some(cost_table(path, triple.arch)?),
        None => None,
    };
    if let Some(list) = flags.target_cpu.as_deref().filter(|c| c.contains(',')) {
        let mut machine = several(flags, &triple, list, purpose, host, ui)?;
        if let Some(t) = &table {
            machine.levels.iter_mut().for_each(|l| use_table(l, t, ui));
            use_table(&mut machine.target, t, ui);
        }
        return Ok(machine);
    }
    let mut selection = Selection::base(triple.arch);
    program(flags, &mut selection, ui);
    compilers_words(flags, &mut selection)?;
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
    let mut target = target(flags, &triple, &selection);
    if let Some(t) = &table {
        use_table(&mut target, t, ui);
    }
    Ok(Machine {
        target,
        host,
        levels: vec![],
    })
}

// What a build system passes on comes first, so that a person's word decides.
fn compilers_words(flags: &TargetFlags, selection: &mut Selection) -> Result<()> {
    let choice = |w: &String| {
        ["-mcpu=", "-march=", "-mtune="]
            .iter()
            .any(|p| w.starts_with(p))
    };
    let named = flags.target_cpu.is_some() || flags.machine_flag.iter().any(choice);
    let scanned: Vec<String> = flags
        .target_cflags
        .iter()
        .flat_map(|f| split(f))
        .filter(|w| !(named && choice(w)))
        .collect();
    selection.set_gcc(scanned.iter().map(String::as_str), Words::Scanned)?;
    selection.set_gcc(flags.machine_flag.iter().map(String::as_str), Words::Given)
}

// What the rest of the program is compiled for. Compilers know more names than there are here, and those decide nothing.
fn program(flags: &TargetFlags, selection: &mut Selection, ui: &Ui) {
    let arch = selection.arch;
    if let Some(cpu) = &flags.program_cpu
        && (cpu != "native" || native::arch() == Some(arch))
        && let Err(d) = selection.set_cpu(cpu)
    {
        let text = format!(
            "the program is compiled for `{cpu}`, which is not known here; its features are used"
        );
        ui.note(&Diagnostic::warning("USE003", text).help(d.help));
    }
    for word in flags.program_feature.iter().flat_map(|l| l.split(',')) {
        let (name, on) = match word.strip_prefix('-') {
            Some(name) => (name, false),
            None => (word.strip_prefix('+').unwrap_or(word), true),
        };
        let mut features = selection.features;
        if features.switch(arch, name, on).is_ok() && features != selection.features {
            selection.features = features;
            selection.named = true;
        }
    }
}

fn cost_table(path: &Path, arch: Arch) -> Result<Table> {
    let text = std::fs::read(path).map_err(|e| file_error("read", path, e))?;
    let table = Table::parse(&String::from_utf8_lossy(&text))
        .map_err(|d| d.at(path.display().to_string()))?;
    if table.arch != arch {
        let why = format!(
            "the cost table is for {}, and the target is {arch}",
            table.arch
        );
        return Err(Diagnostic::usage("USE008", why).at(path.display().to_string()));
    }
    Ok(table)
}

// Rates that the table lacks stay those of the level. Times of single queries are true of the code that was measured only.
fn use_table(target: &mut Target, table: &Table, ui: &Ui) {
    let same = table.features == target.machine.features;
    if !same {
        let theirs = table.features.join(" ");
        ui.note(&Diagnostic::remark(
            "USE008",
            format!(
                "the cost table was measured with other features than those of {} ({theirs}): its rates count, its times of single queries don't",
                target.cpu
            ),
        ));
    }
    let costs = &mut target.machine.costs;
    let rates = table.costs.rates.iter().map(|(k, v)| (k.clone(), *v));
    costs.rates.extend(rates);
    if same {
        costs.measured = table.costs.measured.clone();
    }
}

fn target(flags: &TargetFlags, triple: &triple::Target, selection: &Selection) -> Target {
    let mut target = machine::target(triple, selection);
    target.machine.winograd = Winograd {
        tile: match flags.winograd {
            WinogradTiles::Off => 0,
            WinogradTiles::F2 => 2,
            WinogradTiles::F4 => 4,
        },
        error: flags.winograd_error.unwrap_or(Winograd::default().error),
        ..Winograd::default()
    };
    target.machine.sparse = Sparse {
        used: flags.sparse == WhenSparse::Auto,
        code: flags.sparse_code.into(),
    };
    target.machine.palettes = match flags.palettes {
        WhenPalettes::Auto => Palettes::Auto,
        WhenPalettes::On => Palettes::On,
        WhenPalettes::Off => Palettes::Off,
    };
    if flags.palettes == WhenPalettes::On {
        // Transformed weights have as many values as elements.
        target.machine.winograd.tile = 0;
    }
    target
}

// One target for each CPU of a list. To be kept: all of them. To be run now: the best that this machine can run.
fn several(
    flags: &TargetFlags,
    triple: &triple::Target,
    list: &str,
    purpose: Purpose,
    host: bool,
    ui: &Ui,
) -> Result<Machine> {
    let mut all = vec![];
    for name in list.split(',').map(str::trim) {
        if name.is_empty() {
            return Err(Diagnostic::usage(
                "USE003",
                format!("`--target-cpu {list}` has an empty name"),
            ));
        }
        let mut one = Selection::base(triple.arch);
        compilers_words(flags, &mut one)?;
        one.set_cpu(name)?;
        for list in &flags.target_feature {
            one.set_features(list)?;
        }
        all.push(one);
    }
    // From few features to many; of as many the one named first.
    all.sort_by_key(|s| s.features.iter().count());
    if let Some([a, b]) = all.windows(2).find_map(|w| match w {
        [a, b] if a.features == b.features => Some([a, b]),
        _ => None,
    }) {
        return Err(Diagnostic::usage(
            "USE003",
            format!(
                "`{}` and `{}` have the same features, so no program could tell them apart",
                a.cpu, b.cpu
            ),
        )
        .help("name one of them"));
    }
    let base = &all[0];
    if let Some(other) = all.iter().find(|s| !s.features.covers(base.features)) {
        let lacks: Vec<&str> = base
            .features
            .iter()
            .filter(|f| !other.features.has(*f))
            .map(|f| f.name())
            .collect();
        return Err(Diagnostic::usage(
            "USE003",
            format!(
                "none of the CPUs is a base of the others: `{}` lacks {} of `{}`",
                other.cpu,
                lacks.join(", "),
                base.cpu
            ),
        )
        .help("name one that has only what all of them have, such as x86-64 or generic"));
    }
    if purpose == Purpose::Keep {
        let best = all.last().unwrap_or(base);
        return Ok(Machine {
            target: target(flags, triple, best),
            host,
            levels: all.iter().map(|s| target(flags, triple, s)).collect(),
        });
    }
    let mut here = Selection::base(triple.arch);
    if host {
        here.set_cpu("native")?;
    }
    let can = |s: &&Selection| !host || here.features.covers(s.features);
    let best = all.iter().rev().find(can).unwrap_or(base);
    ui.note(&Diagnostic::remark(
        "USE006",
        format!("of the levels, code for {} was made", best.cpu),
    ));
    Ok(Machine {
        target: target(flags, triple, best),
        host,
        levels: vec![],
    })
}
