//! `compile`: a model to an object, and whatever else `--emit` asks for.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use onnxc_compiler::Artifact;
use onnxc_compiler::artifact::{archive, bench_c, cpp, depfile, header, rust_module};
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::codegen::shared;
use onnxc_compiler::plan::program::{Program, Step};

use crate::args::flags::{Compile, Palettes, QuantizeFlags, TargetFlags};
use crate::args::prune::{PruneData, PruneGoals};
use crate::args::weights::Weights;
use crate::emit::{EmitKind, Plan};
use crate::failure::{Outcome, Status};
use crate::files::Source;
use crate::job::Job;
use crate::machine::{self, Purpose};
use crate::outputs::Outputs;
use crate::quantize::{self, choices};
use crate::ui::Ui;
use crate::{account, disasm, picture, prune};

/// Compiles a model.
pub fn run(flags: &Compile, ui: &Ui) -> Outcome {
    let Some(path) = &flags.model else {
        return Err(Diagnostic::usage("USE001", "no model is given").into());
    };
    let source = Source::open(path, &flags.model_flags)?;
    for path in &flags.report {
        account::page_or_json(path)?;
    }
    let plan = Plan::new(&flags.emit, flags.output.as_deref(), &source.stem())?;
    let mut target = flags.target.clone();
    if flags.less.cluster.is_some() && target.palettes == Palettes::Auto {
        target.palettes = Palettes::On;
    }
    let machine = machine::choose(&target, Purpose::Keep, ui)?;
    let job = Job::new(&source, &flags.model_flags, &flags.code, &machine, ui)?;
    let pruned = pruned(flags, &source, ui)?;
    let quantized = quantized(flags, &source, pruned.as_ref(), ui)?;
    let job = match (&quantized, &pruned) {
        (Some((file, _)), _) | (None, Some(file)) => job.over(file)?,
        (None, None) => job,
    };
    let mut job = job.for_threads(flags.threads.threads);
    job.options.keep_clif = plan.path(EmitKind::Clif).is_some();
    let (artifact, said) = job.compile_telling()?;

    let mut outputs = Outputs::default();
    for (kind, path) in &plan.files {
        let contents = contents(*kind, &artifact, &said, &plan, &source, flags)?;
        outputs.add(path, &contents)?;
    }
    for path in &flags.report {
        let text = account::of(&artifact, &said).by_ending(path)?;
        outputs.add(path, text.as_bytes())?;
    }
    if let Weights::File(path) = &flags.code.weights {
        let beside = with_ending(&plan.stem, "weights");
        outputs.add(path.as_ref().unwrap_or(&beside), &artifact.weights_file())?;
    }
    if flags.make_depfile || flags.make_depfile_path.is_some() {
        let beside = with_ending(&plan.stem, "d");
        let path = flags.make_depfile_path.as_ref().unwrap_or(&beside);
        outputs.add(path, dependencies(&plan, &source, flags).as_bytes())?;
    }
    if let (Some(path), Some((_, choices))) = (&flags.how.budget.write_choices, &quantized) {
        outputs.add(path, choices.as_bytes())?;
    }
    outputs.commit()?;
    Ok(Status::Done)
}

/// The pruned form of the model, if one is asked for. Data runs through it on this machine, whatever it is compiled for.
fn pruned(flags: &Compile, source: &Source, ui: &Ui) -> Outcome<Option<Source>> {
    if !flags.prune {
        let text = match (flags.less.sparsity, flags.less.cluster) {
            (Some(_), _) => "--sparsity without --prune",
            (None, Some(_)) => "--cluster without --prune",
            (None, None) => return Ok(None),
        };
        return Err(Diagnostic::usage("USE001", text).into());
    }
    let silent = ui.silent();
    let machine = machine::choose(&TargetFlags::default(), Purpose::RunNow, &silent)?;
    let mut job = Job::new(source, &flags.model_flags, &flags.code, &machine, ui)?;
    // Accelerators come when all is pruned.
    job.options.passes.npu = Default::default();
    let data = PruneData {
        calibration: flags.how.calibration.clone(),
        samples: flags.how.samples,
        data: flags.how.data.clone(),
    };
    let done = prune::pruned(&flags.less, &PruneGoals::default(), &data, &job, ui)?;
    ui.note(&Diagnostic::remark("PRUNE002", done.report.line()));
    Ok(Some(source.of_bytes(done.file)))
}

/// The quantized form of the model and its file of choices, if one is asked for. It is calibrated on this machine, whatever it is compiled for. `pruned`: the
/// form that is quantized.
fn quantized(
    flags: &Compile,
    source: &Source,
    pruned: Option<&Source>,
    ui: &Ui,
) -> Outcome<Option<(Source, String)>> {
    let how = &flags.how;
    if flags.quantize.is_none() {
        let budget = &how.budget;
        let meant = (how.calibration.is_some() && pruned.is_none())
            || budget.goal().is_some()
            || budget.choices.is_some()
            || budget.write_choices.is_some();
        return match meant {
            true => {
                let text = "flags of quantization without --quantize";
                Err(Diagnostic::usage("USE001", text).into())
            }
            false => Ok(None),
        };
    }
    let silent = ui.silent();
    let machine = machine::choose(&TargetFlags::default(), Purpose::RunNow, &silent)?;
    let job = Job::new(source, &flags.model_flags, &flags.code, &machine, ui)?;
    let mut job = match pruned {
        Some(file) => job.over(file)?,
        None => job,
    };
    // Accelerators come when all is quantized.
    job.options.passes.npu = Default::default();
    let how = QuantizeFlags {
        every_value: how.every_value || !flags.code.npu.npu.is_empty(),
        ..how.clone()
    };
    let (file, report) = quantize::quantized(&how, &job, ui)?;
    ui.note(&Diagnostic::remark("USE012", report.line()));
    let choices = choices::text(&report.choices);
    Ok(Some((source.of_bytes(file), choices)))
}

/// `a.b` and `weights` give `a.b.weights`.
fn with_ending(stem: &Path, ending: &str) -> PathBuf {
    let name = stem.file_name().unwrap_or_default().to_string_lossy();
    stem.with_file_name(format!("{name}.{ending}"))
}

fn contents(
    kind: EmitKind,
    artifact: &Artifact,
    said: &[Diagnostic],
    plan: &Plan,
    source: &Source,
    flags: &Compile,
) -> Result<Vec<u8>> {
    let info = &artifact.info;
    Ok(match kind {
        EmitKind::Obj => artifact.object.clone(),
        EmitKind::Staticlib => {
            archive::archive(&[(&format!("{}.o", info.prefix), &artifact.object)])?
        }
        EmitKind::So => {
            let name = plan.path(kind).and_then(Path::file_name);
            let name = name.filter(|n| *n != "-").and_then(|n| n.to_str());
            let usual = format!("lib{}.so", info.prefix);
            shared::shared(&artifact.object, name.unwrap_or(&usual))?
        }
        EmitKind::Header => header::header(info).into_bytes(),
        EmitKind::Rust => rust_module::rust_module(info)?.into_bytes(),
        EmitKind::DepInfo => dependencies(plan, source, flags).into_bytes(),
        EmitKind::Report => account::of(artifact, said).json()?.into_bytes(),
        EmitKind::Html => account::page::html(&account::of(artifact, said)).into_bytes(),
        EmitKind::Graph => onnxc_compiler::graph::print::print(&artifact.model).into_bytes(),
        EmitKind::Loops => loops(&artifact.program).into_bytes(),
        EmitKind::Clif => clif(artifact).into_bytes(),
        EmitKind::Asm => disasm::listing(&artifact.object)?.into_bytes(),
        EmitKind::Dot => picture::dot(&artifact.model).into_bytes(),
        EmitKind::BenchC => bench_c::bench_c(info, &header_name(plan)).into_bytes(),
        EmitKind::Hpp => cpp::cpp(info, &header_name(plan)).into_bytes(),
    })
}

// The C header, as files beside it include it.
fn header_name(plan: &Plan) -> String {
    let header = plan.path(EmitKind::Header).and_then(Path::file_name);
    header.unwrap_or_default().to_string_lossy().into_owned()
}

fn dependencies(plan: &Plan, source: &Source, flags: &Compile) -> String {
    // The rule is for what is built, not for the rule's own file.
    let made: Vec<String> = if flags.make_target.is_empty() {
        plan.files
            .iter()
            .filter(|f| f.0 != EmitKind::DepInfo && f.1 != Path::new("-"))
            .map(|f| f.1.display().to_string())
            .collect()
    } else {
        flags.make_target.clone()
    };
    let made: Vec<&str> = made.iter().map(String::as_str).collect();
    let mut from = source.dependencies();
    let mut more: Vec<&Path> = flags.target.cost.iter().map(PathBuf::as_path).collect();
    if flags.quantize.is_some() || flags.prune {
        more.extend(flags.how.files());
    }
    if flags.prune {
        more.extend(flags.less.files());
    }
    let constants = flags.model_flags.constants.iter();
    more.extend(constants.map(|c| Path::new(&c.1)).filter(|p| p.is_file()));
    for path in more {
        from.push(path.display().to_string());
        from.extend(within(path).iter().map(|p| p.display().to_string()));
    }
    let from: Vec<&str> = from.iter().map(String::as_str).collect();
    depfile::depfile(&made, &from, flags.make_phony)
}

// The files of a folder of data. The folder itself is a dependency too: it changes when files come and go.
fn within(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|e| e.path()).filter(|p| p.is_file()).collect();
    files.sort();
    files
}

/// The program as text: layers and steps, then the functions.
pub fn loops(p: &Program) -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    let _ = writeln!(
        out,
        "; {} layers, {} functions, arena {} bytes, weights {} bytes",
        p.layers.len(),
        p.funcs.len(),
        p.arena_bytes,
        p.weights_bytes
    );
    for (_, l) in p.layers.iter() {
        let args: Vec<String> = l.args.iter().map(|a| format!("{a:?}")).collect();
        let _ = writeln!(
            out,
            "; layer {} = {}({})",
            l.name,
            p.funcs[l.func].name,
            args.join(", ")
        );
    }
    steps(p, &p.steps, 0, &mut out);
    for (_, f) in p.funcs.iter() {
        out.push('\n');
        out += &onnxc_compiler::loops::print::print(f, &p.symbols);
    }
    out
}

fn steps(p: &Program, list: &[Step], depth: usize, out: &mut String) {
    let pad = "  ".repeat(depth);
    for s in list {
        let _ = match s {
            Step::Layer(l) => writeln!(out, "; {pad}run {}", p.layers[*l].name),
            Step::If { cond, then, els } => {
                let _ = writeln!(out, "; {pad}if {cond:?}");
                steps(p, then, depth + 1, out);
                let _ = writeln!(out, "; {pad}else");
                steps(p, els, depth + 1, out);
                Ok(())
            }
            Step::Loop {
                trips,
                max_trips,
                cond,
                body,
                ..
            } => {
                let _ = writeln!(
                    out,
                    "; {pad}loop at most {max_trips}, trips {trips:?}, condition {cond:?}"
                );
                steps(p, body, depth + 1, out);
                Ok(())
            }
            Step::Offload {
                slot,
                ins,
                outs,
                twin,
                ..
            } => {
                let _ = writeln!(out, "; {pad}offload {slot} {ins:?} -> {outs:?}, or");
                steps(p, twin, depth + 1, out);
                Ok(())
            }
            Step::Fail(code) => writeln!(out, "; {pad}fail {code}"),
        };
    }
}

fn clif(artifact: &Artifact) -> String {
    let mut out = String::new();
    for part in artifact
        .code
        .parts
        .iter()
        .filter(|p| !p.machine.clif.is_empty())
    {
        let _ = writeln!(out, "; {}\n{}", part.name, part.machine.clif);
    }
    out
}
