//! `explain-quantization`: where a quantized model departs from the float one, value by value.
//!
//! Both run compiled on the same data. Values are matched by name ([`pairs`]), so files of other quantizers can be looked at too; what has no match is
//! said and left out.

pub mod measure;
pub mod page;
pub mod pairs;
pub mod print;

use onnxc_compiler::base::diag::{Diagnostic, Diagnostics, Result};
use onnxc_compiler::graph::ir::{Model, ValueId};
use onnxc_compiler::onnx::read_tensor;
use std::path::Path;

use crate::args::explain::ExplainQuantization;
use crate::args::flags::TargetFlags;
use crate::data::bad_data;
use crate::data::preprocess::Preprocess;
use crate::data::samples::Samples;
use crate::data::wanted::Wanted;
use crate::failure::{Outcome, Status};
use crate::files::Source;
use crate::job::Job;
use crate::machine::{self, Purpose};
use crate::outputs::{self, Outputs};
use crate::probe::{Probe, finite, with_outputs, written};
use crate::progress::Bar;
use crate::report;
use crate::ui::Ui;
use measure::{Measured, MeasuredOutput, MeasuredWeights};
use pairs::{Pairs, pairs};

/// Names that are listed in a remark, at most.
const NAMED: usize = 6;

/// All that was found.
pub struct Explained {
    /// Name of the quantized model's file.
    pub name: String,
    /// Cases.
    pub cases: usize,
    /// Outputs of both models.
    pub outputs: Vec<MeasuredOutput>,
    /// Values of both.
    pub values: Vec<Measured>,
    /// Weights of both.
    pub weights: Vec<MeasuredWeights>,
    /// What the float model has nothing for.
    pub unmatched: Vec<String>,
}

/// Explains.
pub fn run(flags: &ExplainQuantization, ui: &Ui) -> Outcome {
    let machine = machine::choose(&TargetFlags::default(), Purpose::RunNow, ui)?;
    let (float, quantized) = (
        Source::open(&flags.float, &flags.model_flags)?,
        Source::open(&flags.quantized, &flags.model_flags)?,
    );
    // What each of both compilations has to say was said when the models were made.
    let silent = ui.silent();
    let job = |s| Job::new(s, &flags.model_flags, &flags.code, &machine, &silent);
    let (float, quantized) = (job(&float)?, job(&quantized)?);
    same_inputs(&float.wanted()?, &quantized.wanted()?)?;
    let preprocess = Preprocess::load(flags.input.preprocess.as_deref())?;
    let mut samples = Samples::open(&flags.data, float.wanted()?, preprocess)?;
    let most = usize::try_from(flags.samples).unwrap_or(usize::MAX);
    let count = samples.len().min(most);
    let integers = quantized.load_folded()?;
    let (reals, found) = matched(&float, &integers, &quantized.load_written()?)?;
    if found.values.is_empty() && found.weights.is_empty() {
        let text = "no quantized value of it has the name of a value of the float model";
        let d = Diagnostic::usage("USE004", format!("`{}`: {text}", flags.quantized.display()));
        return Err(d
            .help("it must be a quantized form of the same model")
            .into());
    }
    let sides = [(&float, &reals), (&quantized, &integers)];
    let mut explained = measured(sides, found, &mut samples, count, ui)?;
    explained.name = name(&flags.quantized);
    tell_unmatched(&explained.unmatched, ui);
    if let Some(path) = &flags.html {
        let mut files = Outputs::default();
        files.add(path, report::html(&page::page(&explained)).as_bytes())?;
        files.commit()?;
    }
    outputs::print(&match flags.json {
        true => print::json(&explained).to_string() + "\n",
        false => print::text(&explained),
    })?;
    Ok(Status::Done)
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn same_inputs(float: &[Wanted], quantized: &[Wanted]) -> Result<()> {
    for w in quantized {
        let text = match float.iter().find(|f| f.name == w.name) {
            None => "the float model has no such input".to_string(),
            Some(f) if f.dtype != w.dtype => {
                format!("it takes {}, that of the float model {}", w.dtype, f.dtype)
            }
            Some(_) => continue,
        };
        return Err(bad_data(
            format!("input `{}` of the quantized model", w.name),
            text,
        ));
    }
    Ok(())
}

/// The form of the float model that more names match: as our own quantizer reads it, or as it is written.
fn matched(float: &Job, integers: &Model, as_written: &Model) -> Outcome<(Model, Pairs)> {
    let plain = float.load_plain()?;
    let found = pairs(&plain.graph, &integers.graph, &as_written.graph);
    let all = |p: &Pairs| p.values.len() + p.weights.len();
    if !found.unmatched.is_empty()
        && let Ok(raw) = float.load_folded()
    {
        let more = pairs(&raw.graph, &integers.graph, &as_written.graph);
        // It must be possible to hand out its values.
        let writable = written(&raw, &mut Diagnostics::default()).is_ok();
        if all(&more) > all(&found) && writable {
            return Ok((raw, more));
        }
    }
    Ok((plain, found))
}

/// Runs both models on all cases; the float one first.
fn measured(
    sides: [(&Job, &Model); 2],
    found: Pairs,
    samples: &mut Samples,
    count: usize,
    ui: &Ui,
) -> Outcome<Explained> {
    let values = |of: fn(&pairs::Pair) -> ValueId| found.values.iter().map(of).collect::<Vec<_>>();
    let more = [values(|p| p.float), values(|p| p.codes)];
    let mut bytes = vec![];
    for ((_, model), values) in sides.iter().zip(&more) {
        let model = with_outputs(model, values);
        bytes.push(written(&model, &mut Diagnostics::default())?);
    }
    let sources: Vec<Source> = (sides.iter().zip(bytes))
        .map(|((job, _), b)| job.source.of_bytes(b))
        .collect();
    let float = sides[0].0.over(&sources[0])?;
    let quantized = sides[1].0.over(&sources[1])?;
    let own = sides.map(|(_, m)| m.graph.outputs().len());
    let names = [&sides[0].0.signature, &sides[1].0.signature];
    let mut outputs = outputs_of(names);
    let mut measured: Vec<Measured> = found.values.into_iter().map(Measured::new).collect();
    let mut differ = vec![false; measured.len()];
    let (ports, theirs) = (float.wanted()?, quantized.wanted()?);
    let (mut a, mut b) = (Probe::new(&float)?, Probe::new(&quantized)?);
    let bar = Bar::counted(ui, Some(count as u64));
    bar.say("running both models");
    for k in 0..count {
        let data = samples.get(k, &|b| read_tensor(b.to_vec().into()))?;
        finite(&data, &ports, k)?;
        let want = a.answers(&data)?;
        // By name: the order of inputs may be another.
        let port = |w: &Wanted| ports.iter().position(|p| p.name == w.name);
        let data: Vec<_> = (theirs.iter().filter_map(port))
            .map(|i| data[i].clone())
            .collect();
        let got = b.answers(&data)?;
        for (m, at) in &mut outputs {
            if let (Some(a), Some(b)) = (want.get(at.0), got.get(at.1)) {
                m.take(a, b);
            }
        }
        let pairs = want[own[0]..].iter().zip(&got[own[1]..]);
        for ((m, d), (a, b)) in measured.iter_mut().zip(&mut differ).zip(pairs) {
            let name = m.pair.name.clone();
            let taken = m.take(a, b);
            *d |= !taken.map_err(|e| e.at(format!("value \"{name}\", case {k}")))?;
        }
        bar.step();
    }
    let mut unmatched = found.unmatched;
    let mut same = differ.iter().map(|d| !d);
    measured.retain(|m| {
        let keep = same.next().unwrap_or(false);
        if !keep {
            unmatched.push(m.pair.name.clone());
        }
        keep
    });
    Ok(Explained {
        name: String::new(),
        cases: count,
        outputs: outputs.into_iter().map(|o| o.0).collect(),
        values: measured,
        weights: found.weights.iter().map(MeasuredWeights::of).collect(),
        unmatched,
    })
}

/// Outputs of one name, or of one place where names differ, each with its place in both models.
fn outputs_of(
    [float, quantized]: [&onnxc_compiler::onnx::Signature; 2],
) -> Vec<(MeasuredOutput, (usize, usize))> {
    let place = |(k, o): (usize, &onnxc_compiler::onnx::signature::Border)| {
        let named = quantized.outputs.iter().position(|q| q.name == o.name);
        let counted = float.outputs.len() == quantized.outputs.len();
        let at = named.or(counted.then_some(k))?;
        Some((MeasuredOutput::new(&o.name), (k, at)))
    };
    float.outputs.iter().enumerate().filter_map(place).collect()
}

fn tell_unmatched(names: &[String], ui: &Ui) {
    if names.is_empty() {
        return;
    }
    let list: Vec<String> = names.iter().take(NAMED).map(|n| format!("`{n}`")).collect();
    let more = match names.len() - list.len() {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let text = format!(
        "the float model has no value or layer by the name of {}{more}: left out",
        list.join(", ")
    );
    ui.note(&Diagnostic::remark("USE011", text));
}
