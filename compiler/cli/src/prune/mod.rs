//! `prune`: removes weights, channels or heads of a model, lets what stays make up for it, and says how far the compiled result is from the whole model.
//!
//! What goes together and what it costs is the compiler's (`compress::prune`); here models are run ([`float`], [`recover`]), goals are met ([`goal`]),
//! and results are told ([`print`], [`sensitivity`]).

pub mod allocate;
pub mod clusters;
pub mod cutting;
pub mod float;
pub mod goal;
pub mod print;
pub mod recover;
pub mod scope;
pub mod sensitivity;

use onnxc_compiler::base::diag::{Diagnostic, Diagnostics};
use onnxc_compiler::compress::prune::{Criterion, Pattern};

use crate::args::flags::TargetFlags;
use crate::args::prune::{CriterionName, Prune, PruneData, PruneFlags, PruneGoals};
use crate::failure::{Outcome, Status};
use crate::files::Source;
use crate::job::Job;
use crate::machine::{self, Purpose};
use crate::outputs::{self, Outputs};
use crate::probe::written;
use crate::ui::Ui;
use clusters::Clusters;
use cutting::{Cutting, Saved};
use float::Float;
use goal::Amount;
use print::Report;

/// Prunes a model.
pub fn run(flags: &Prune, ui: &Ui) -> Outcome {
    let source = Source::open(&flags.model, &flags.model_flags)?;
    let machine = machine::choose(&TargetFlags::default(), Purpose::RunNow, ui)?;
    let job = Job::new(&source, &flags.model_flags, &flags.code, &machine, ui)?;
    let done = pruned(&flags.how, &flags.goals, &flags.data, &job, ui)?;
    let mut outputs = Outputs::default();
    outputs.add(&flags.output, &done.file)?;
    if let (Some(path), Some(page)) = (&flags.goals.sensitivity, &done.page) {
        outputs.add(path, page.as_bytes())?;
    }
    outputs.commit()?;
    outputs::print(&match flags.json {
        true => done.report.json() + "\n",
        false => done.report.text(),
    })?;
    Ok(Status::Done)
}

/// A pruned model.
pub struct Done {
    /// Its file.
    pub file: Vec<u8>,
    /// What is to be said.
    pub report: Report,
    /// The page on sensitivity, if one was asked for.
    pub page: Option<String>,
}

/// Prunes a model that runs on this machine.
pub fn pruned(
    flags: &PruneFlags,
    goals: &PruneGoals,
    data: &PruneData,
    job: &Job,
    ui: &Ui,
) -> Outcome<Done> {
    let silent = ui.silent();
    let quiet = job.clone().telling(&silent);
    check(flags, goals, data)?;
    let mut float = Float::open(
        job,
        data,
        !flags.pattern.cuts() && flags.cluster.is_none(),
        ui,
    )?;
    let criterion = match flags.criterion {
        Some(CriterionName::Magnitude) => Criterion::Magnitude,
        Some(CriterionName::L2) => Criterion::L2,
        Some(CriterionName::Activation) => Criterion::Activation,
        None if float.has_data() => Criterion::Activation,
        None => Criterion::L2,
    };
    float.observe()?;
    let scope = scope::Scope::open(&flags.scope, &float)?;
    let cutting = Cutting::new(flags, criterion, scope, &float)?;
    let amount = Amount::of(flags, goals)?;
    // `uniform` means just that.
    let spread = !matches!(amount, Amount::Share(_)) && flags.scope == "global" && float.has_data();
    let curves = match goals.sensitivity.is_some() || spread {
        true => sensitivity::measure(&cutting, &float, &quiet, ui)?,
        false => vec![],
    };
    let page = goals
        .sensitivity
        .is_some()
        .then(|| sensitivity::page(&curves));
    let curves = if spread { &curves[..] } else { &[] };
    let (mut cut, met) = goal::cut(amount, &cutting, &float, curves, &quiet, ui)?;
    let saved = cutting.saved(&cut, &float);
    short_of(flags, amount, saved, ui);
    let clusters = (flags.cluster).map(|n| Clusters::new(n, criterion, &flags.keep, &float));
    let bare = cut.model.clone();
    if let Some(c) = &clusters {
        c.settle_all(&mut cut.model.graph, &float);
    }
    let plain = written(&cut.model, &mut Diagnostics::default())?;
    let before = float.compare(&plain, &quiet, ui)?;
    let mut after = None;
    let mut file = plain;
    if float.has_data() && !flags.no_reconstruct && float.quantized {
        let text = "weights are whole numbers with scales: they are not reconstructed";
        ui.note(&Diagnostic::remark("PRUNE002", text));
    } else if float.has_data() && !flags.no_reconstruct && float.layers.is_empty() {
        let text = "layers in bodies of If, Loop and Scan are not reconstructed";
        ui.note(&Diagnostic::remark("PRUNE002", text));
    } else if float.has_data() && !flags.no_reconstruct {
        let whole = std::mem::replace(&mut cut.model, bare);
        let skipped = recover::recover(&mut float, &mut cut, clusters.as_ref(), &quiet, ui)?;
        for d in skipped {
            ui.note(&d);
        }
        let better = written(&cut.model, &mut Diagnostics::default())?;
        let errors = float.compare(&better, &quiet, ui)?;
        // What makes it worse is not kept: few cases can mislead.
        if crate::quantize::compare::worst(&errors) >= crate::quantize::compare::worst(&before) {
            file = better;
            after = Some(errors);
        } else {
            cut.model = whole;
            let text = "reconstruction made the outputs worse, so the weights stay as they were";
            ui.note(&Diagnostic::remark("PRUNE002", text));
        }
    }
    let report = Report {
        pattern: flags.pattern,
        layers: cutting.layers(&cut, &float),
        saved: cutting.saved(&cut, &float),
        clusters: clusters.map(|c| c.said()),
        before,
        after,
        cases: float.count,
        bytes: (job.source.bytes.len(), file.len()),
        met,
    };
    Ok(Done { file, report, page })
}

/// Says so where less could go than was asked for.
fn short_of(flags: &PruneFlags, amount: Amount, saved: Saved, ui: &Ui) {
    let even = ["global", "uniform"].contains(&&*flags.scope);
    let Amount::Share(asked) = amount else { return };
    let gone = 1.0 - saved.macs.1 / saved.macs.0.max(1.0);
    if flags.pattern.cuts() && even && gone < asked - 1e-9 {
        let text = format!(
            "{:.1} % of the multiply-accumulates were to go, but no more than {:.1} % can",
            100.0 * asked,
            100.0 * gone
        );
        let help = "the table says of each layer why it can't be cut";
        ui.note(&Diagnostic::warning("PRUNE002", text).help(help));
    }
}

fn check(flags: &PruneFlags, goals: &PruneGoals, data: &PruneData) -> Outcome<()> {
    let usage = |text: &str| Err(Diagnostic::usage("USE001", text).into());
    let goal = goals.target_size.is_some() || goals.target_latency.is_some();
    if let Pattern::Some { keep, of } = flags.pattern {
        let own = 1.0 - keep as f64 / of as f64;
        if flags.sparsity.is_some_and(|s| (s - own).abs() > 1e-9) {
            let text = format!("{keep}:{of} is a sparsity of {own}, no other one");
            return Err(Diagnostic::usage("USE001", text).into());
        }
        if goal {
            return usage("N:M has one sparsity, so no goal can be met by choosing it");
        }
    } else if flags.sparsity.is_none()
        && flags.cluster.is_none()
        && !goal
        && ["global", "uniform"].contains(&&*flags.scope)
    {
        return usage(
            "how much is to go is not said: --sparsity, --target-size or --target-latency; or --cluster",
        );
    }
    if flags.cluster.is_some() && goal {
        return usage("a goal is met by what goes: --cluster comes with --sparsity, or alone");
    }
    if flags.sparsity.is_some() && goal {
        return usage("--sparsity says how much goes, and so does the target: one of both");
    }
    if goal && !["global", "uniform"].contains(&&*flags.scope) {
        return usage("a file gives the shares of layers, so no goal can be met by choosing them");
    }
    if data.calibration.is_some() {
        return Ok(());
    }
    if flags.criterion == Some(CriterionName::Activation) {
        return usage("`--criterion activation` judges by data: --calibration");
    }
    if flags.reconstruct {
        return usage("--reconstruct needs data: --calibration");
    }
    if goals.sensitivity.is_some() {
        return usage("--sensitivity measures on data: --calibration");
    }
    if goals.target_latency.is_some() {
        return usage("--target-latency takes the time of a run on data: --calibration");
    }
    Ok(())
}
