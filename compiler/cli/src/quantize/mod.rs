//! `quantize`: runs a float model on calibration data, writes it in fewer bits, and says how far the compiled integer program is from the float one.
//!
//! With a budget, layers are measured one by one ([`budget`]) and some stay in floats; which, a file of choices keeps ([`choices`]).

pub mod accuracy;
pub mod budget;
pub mod calibrate;
pub mod choices;
pub mod compare;
pub mod groups;
pub mod print;

use onnxc_compiler::base::diag::{Diagnostic, Diagnostics, Result};
use onnxc_compiler::compress::quantize::{self, Recipe};
use onnxc_compiler::graph::ir::Model;
use std::collections::BTreeSet;

use crate::args::budget::Goal;
use crate::args::flags::TargetFlags;
use crate::args::quantize::{Quantize, QuantizeFlags};
use crate::data::preprocess::Preprocess;
use crate::failure::{Outcome, Status};
use crate::files::Source;
use crate::job::Job;
use crate::machine::{self, Purpose};
use crate::outputs::{self, Outputs};
use crate::precision::{self, Form};
use crate::progress::Bar;
use crate::ui::Ui;
use accuracy::Accuracy;
use budget::{Alone, Search, nodes};
use calibrate::Calibration;
use choices::{Choice, Precision};
use groups::{Group, groups};
use print::Report;

/// Quantizes a model.
pub fn run(flags: &Quantize, ui: &Ui) -> Outcome {
    let source = Source::open(&flags.model, &flags.model_flags)?;
    let machine = machine::choose(&TargetFlags::default(), Purpose::RunNow, ui)?;
    let mut job = Job::new(&source, &flags.model_flags, &flags.code, &machine, ui)?;
    job.options.passes.npu = Default::default();
    let (file, report) = quantized(&flags.how, &job, ui)?;
    let mut outputs = Outputs::default();
    outputs.add(&flags.output, &file)?;
    if let Some(path) = &flags.how.budget.write_choices {
        outputs.add(path, choices::text(&report.choices).as_bytes())?;
    }
    outputs.commit()?;
    outputs::print(&match flags.json {
        true => report.json() + "\n",
        false => report.text(),
    })?;
    Ok(Status::Done)
}

/// The quantized file of a model that runs on this machine, and what is to be said of it.
pub fn quantized(flags: &QuantizeFlags, job: &Job, ui: &Ui) -> Outcome<(Vec<u8>, Report)> {
    let form = Form::of(flags)?;
    let silent = ui.silent();
    let quiet = job.clone().telling(&silent);
    let preprocess = Preprocess::load(flags.data.preprocess.as_deref())?;
    let samples = precision::samples(flags, job.wanted()?, preprocess.clone(), ui)?;
    let goal = flags.budget.goal();
    let budget =
        goal.is_some() || flags.budget.choices.is_some() || flags.budget.write_choices.is_some();
    if budget && form != Form::Both {
        let text = "layers are chosen where activations are quantized by data: not with --weight-only, --dynamic, int4, fp16 or bf16";
        return Err(Diagnostic::usage("USE001", text).into());
    }
    let accuracy = match (goal, &flags.calibration) {
        (Some(Goal::Drop(_)), Some(path)) => {
            Some(Accuracy::open(&flags.budget, path, preprocess, &quiet, ui)?)
        }
        (Some(Goal::Drop(_)), None) => {
            let text = "accuracy is measured on data with labels: name calibration data";
            return Err(Diagnostic::usage("USE001", text).into());
        }
        _ => None,
    };
    let mut model = job.load_plain()?;
    quantized_already(&model)?;
    quantize::apart(&mut model, &mut Diagnostics::default())?;
    let recipe = precision::recipe(flags);
    precision::equalize(flags, &recipe, &mut model, ui)?;
    let mut calibration = Calibration::new(job, model, recipe, form, samples, flags.samples, ui);
    if let Some(alpha) = flags.smooth {
        calibration.smooth(alpha)?;
    }
    // Equalization and smoothing move sizes between layers: values are no longer those that were normalized.
    if flags.no_data.is_some() && form == Form::Both && !flags.equalize && flags.smooth.is_none() {
        calibration.trust(quantize::statistics(&job.load_folded()?.graph));
    }
    let groups = match form {
        Form::Both => groups(
            &calibration.model.graph,
            &calibration.sites(&BTreeSet::new()).nodes,
        ),
        _ => vec![],
    };
    if groups.is_empty() && form == Form::Both {
        let text = "no operator of the model can be quantized, or none that was asked for";
        return Err(Diagnostic::model("ONNX008", text).into());
    }
    let search = Search {
        calibration: &mut calibration,
        groups: &groups,
        quiet: &quiet,
        accuracy,
        ui,
    };
    let choices = chosen(flags, goal, search)?;
    let kept: Vec<bool> = match choices.is_empty() {
        true => vec![false; groups.len()],
        false => choices
            .iter()
            .map(|c| c.precision == Precision::Float)
            .collect(),
    };
    let Some(built) = calibration.built(&nodes(&groups, &kept))? else {
        let text = "all layers stay in floats: nothing is left to quantize";
        return Err(Diagnostic::usage("USE009", text).into());
    };
    ui.diagnostics(&built.diags.list);
    let bar = Bar::counted(ui, Some(calibration.inputs.len() as u64));
    bar.say("comparing");
    let errors = compare::compare(&built.file, &calibration, job, usize::MAX, Some(&bar))?;
    drop(bar);
    let report = Report {
        says: form.says(&built.summary, &calibration.recipe),
        summary: built.summary,
        errors,
        choices,
        cases: calibration.count,
        bytes: built.file.len(),
    };
    Ok((built.file, report))
}

/// What each group computes in, by a file, by a search, or all in 8 bits; empty where there was nothing to choose.
fn chosen(flags: &QuantizeFlags, goal: Option<Goal>, mut s: Search) -> Outcome<Vec<Choice>> {
    if let Some(path) = &flags.budget.choices {
        // Names that --only and --exclude leave out are known too.
        let everything = Recipe::default();
        let g = &s.calibration.model.graph;
        let all = quantize::sites(g, &everything, &BTreeSet::new());
        return Ok(choices::read(path, s.groups, &groups(g, &all.nodes))?);
    }
    let (kept, alone) = match goal {
        Some(goal) => s.run(goal)?,
        None => (vec![false; s.groups.len()], None),
    };
    let written = flags.budget.write_choices.is_some();
    if goal.is_none() && !written {
        return Ok(vec![]);
    }
    let alone = match alone {
        None if written => Some(s.rank()?),
        alone => alone,
    };
    Ok(listed(s.groups, &kept, alone.as_deref()))
}

fn listed(groups: &[Group], kept: &[bool], alone: Option<&[Alone]>) -> Vec<Choice> {
    let choice = |(k, g): (usize, &Group)| Choice {
        name: g.name.clone(),
        precision: match kept[k] {
            true => Precision::Float,
            false => Precision::Int8,
        },
        sqnr: alone.map(|a| a[k].sqnr),
    };
    groups.iter().enumerate().map(choice).collect()
}

/// An error if a model holds quantized values.
pub fn quantized_already(model: &Model) -> Result<()> {
    let g = &model.graph;
    // A QuantizeLinear alone stands at an edge.
    let quantized = |n: &str| {
        n == "DequantizeLinear" || n == "DynamicQuantizeLinear" || n.starts_with("QLinear")
    };
    match g.order().iter().find(|n| quantized(g.node(**n).op.name)) {
        None => Ok(()),
        Some(&n) => {
            Err(Diagnostic::model("ONNX008", "the model is quantized already").at(g.describe(n)))
        }
    }
}
