//! `quantize`: runs a float model on calibration data, writes it in fewer bits, and says how far the compiled integer program is from the float one.

use onnxc_compiler::base::diag::{Diagnostic, Diagnostics, Result};
use onnxc_compiler::base::tensor::Tensor;
use onnxc_compiler::compress::quantize::{self, Observer, Recipe, Site, Sites, Summary};
use onnxc_compiler::graph::ir::{Model, ValueId};
use onnxc_compiler::onnx::{read_tensor, write::write};
use serde_json::json;
use std::collections::BTreeSet;

use crate::args::flags::TargetFlags;
use crate::args::quantize::Quantize;
use crate::data::bad_data;
use crate::data::bind::Wanted;
use crate::data::preprocess::Preprocess;
use crate::data::samples::Samples;
use crate::data::topk::top;
use crate::engine::{self, Engine};
use crate::failure::{Failure, Outcome, Status};
use crate::files::Source;
use crate::job::{Binding, Job};
use crate::machine::{self, Machine, Purpose};
use crate::outputs::{self, Outputs};
use crate::precision::{self, Form};
use crate::progress::Bar;
use crate::table::{Align, Table};
use crate::ui::Ui;
use onnxc_compiler::Artifact;

/// Cases that the quantized model is compared on.
const COMPARED: usize = 32;

/// Quantizes a model.
pub fn run(flags: &Quantize, ui: &Ui) -> Outcome {
    let source = Source::open(&flags.model, &flags.model_flags)?;
    let machine = machine::choose(&TargetFlags::default(), Purpose::RunNow, ui)?;
    let job = Job::new(&source, &flags.model_flags, &flags.code, &machine, ui)?;
    let wanted = job.wanted()?;
    let preprocess = Preprocess::load(flags.data.preprocess.as_deref())?;
    let form = Form::of(flags)?;
    let mut samples = precision::samples(flags, wanted, preprocess, ui)?;
    let seen = samples.as_ref().map_or(0, Samples::len);
    let count = seen.min(flags.samples as usize);
    let recipe = precision::recipe(flags);
    let mut model = job.load_plain()?;
    quantized_already(&model)?;
    precision::equalize(flags, &recipe, &mut model, ui)?;
    let (mut unbounded, mut floats) = (BTreeSet::new(), vec![]);
    if let (Some(alpha), Some(samples)) = (flags.smooth, &mut samples) {
        let sites = quantize::smooth_sites(&model.graph, &recipe);
        let seen = observe(&model, &sites, &recipe, samples, count, &job, &mut floats)?;
        precision::smooth(alpha, &sites, &seen, &mut model, ui);
    }
    let (sites, observed) = loop {
        let sites = match form {
            Form::Both => quantize::sites(&model.graph, &recipe, &unbounded),
            _ => form.sites(&model, &recipe),
        };
        let Some(samples) = &mut samples else {
            break (sites, vec![]);
        };
        if sites.nodes.is_empty() && form == Form::Both {
            let text = "no operator of the model can be quantized, or none that was asked for";
            return Err(Diagnostic::model("ONNX008", text).into());
        }
        floats.clear();
        let observed = observe(&model, &sites, &recipe, samples, count, &job, &mut floats)?;
        let infinite = sites
            .list
            .iter()
            .zip(&observed)
            .filter(|(_, o)| o.is_unbounded());
        let infinite: Vec<_> = infinite.map(|(s, _)| s.value).collect();
        if infinite.is_empty() || form != Form::Both {
            break (sites, observed);
        }
        // Without these, other values may need a scale, which are to be observed in turn.
        stay_in_floats(&model, &infinite, ui);
        unbounded.extend(infinite);
    };
    let mut diags = Diagnostics::default();
    let summary = form.apply(&mut model, &sites, &observed, &recipe, &mut diags)?;
    let file = written(&model, &mut diags)?;
    ui.diagnostics(&diags.list);
    let error = match &mut samples {
        Some(samples) => compare(&file, &source, &job, samples, &floats)?,
        None => vec![],
    };
    let says = form.says(&summary, &recipe);
    let mut outputs = Outputs::default();
    outputs.add(&flags.output, &file)?;
    outputs.commit()?;
    let text = match flags.json {
        true => as_json(&summary, &error, count, file.len()) + "\n",
        false => as_text(&summary, &error, &says, count, file.len()),
    };
    outputs::print(&text)?;
    Ok(Status::Done)
}

/// Says which values are infinite at times.
fn stay_in_floats(model: &Model, infinite: &[ValueId], ui: &Ui) {
    for &v in infinite {
        let name = &model.graph.value(v).name;
        let text =
            format!("value \"{name}\" is infinite at times: what computes with it stays in floats");
        ui.note(&Diagnostic::remark("ONNX016", text));
    }
}

/// Data of real numbers must have only such.
fn finite(data: &[Tensor], wanted: &[Wanted], k: usize) -> Result<()> {
    for (t, w) in data.iter().zip(wanted) {
        let odd = |v: &Vec<f32>| v.iter().any(|v| !v.is_finite());
        if t.dtype.is_float() && t.to_f32s().as_ref().is_some_and(odd) {
            return Err(bad_data(
                format!("input `{}`, case {k}", w.name),
                "a value is infinite or not a number",
            ));
        }
    }
    Ok(())
}

fn quantized_already(model: &Model) -> Result<()> {
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

fn written(model: &Model, diags: &mut Diagnostics) -> Outcome<Vec<u8>> {
    let file = write(model, diags);
    file.ok_or_else(|| Failure::from(std::mem::take(diags)))
}

/// The float model that also hands out what is observed.
fn observed_model(model: &Model, sites: &Sites) -> Model {
    let mut m = model.clone();
    for s in &sites.list {
        m.graph.add_output(s.value);
        let k = m.graph.outputs().len() - 1;
        m.graph.output_names.resize(k + 1, String::new());
        m.graph.output_names[k] = format!("observed_{}", s.value.0);
    }
    m
}

/// Runs the float model on all cases. `floats` gets the outputs of the first.
fn observe(
    model: &Model,
    sites: &Sites,
    recipe: &Recipe,
    samples: &mut Samples,
    count: usize,
    job: &Job,
    floats: &mut Vec<Vec<Tensor>>,
) -> Outcome<Vec<Observer>> {
    let own = model.graph.outputs().len();
    let mut diags = Diagnostics::default();
    let bytes = written(&observed_model(model, sites), &mut diags)?;
    let source = job.source.of_bytes(bytes);
    let job = job.over(&source)?;
    let mut observers: Vec<Observer> = sites
        .list
        .iter()
        .map(|s| Observer::of(s, recipe.method))
        .collect();
    let (wanted, mut compiled) = (job.wanted()?, vec![]);
    let bar = Bar::counted(job.ui(), Some(count as u64));
    bar.say("calibrating");
    for k in 0..count {
        let data = samples.get(k, &|b| read_tensor(b.to_vec().into()))?;
        finite(&data, &wanted, k)?;
        let outputs = answers(&job, &data, &mut compiled)?;
        for ((s, o), t) in sites.list.iter().zip(&mut observers).zip(&outputs[own..]) {
            let values = t.to_f32s().unwrap_or_default();
            let name = || format!("value \"{}\", case {k}", model.graph.value(s.value).name);
            o.take(&values, channels(s, t)).map_err(|d| d.at(name()))?;
            o.learn(&values, &t.shape);
        }
        if k < COMPARED {
            floats.push(outputs[..own].to_vec());
        }
        bar.step();
    }
    Ok(observers)
}

/// Channels of a value, and how many numbers of one lie side by side.
fn channels(s: &Site, t: &Tensor) -> Option<(usize, usize)> {
    let axis = s.channels?;
    let count = usize::try_from(*t.shape.get(axis)?).ok()?;
    let run: i64 = t.shape[axis + 1..].iter().product();
    (count > 0).then_some((count, usize::try_from(run).ok()?))
}

/// All outputs of a run, in this process.
fn answers(
    job: &Job,
    data: &[Tensor],
    compiled: &mut Vec<(Binding, Artifact)>,
) -> Outcome<Vec<Tensor>> {
    let wanted = job.wanted()?;
    let artifact = job.compile_for(data, compiled)?;
    let named: Vec<(&str, &Tensor)> = wanted.iter().map(|w| w.name.as_str()).zip(data).collect();
    let inputs = engine::in_order(artifact, &named)?;
    let machine: &Machine = job.machine;
    Ok(Engine::new(artifact, machine, None)?.run(&inputs)?)
}

/// How far one output of the quantized model is from that of the float one.
struct OutputError {
    name: String,
    /// Squares of the float output over those of the difference, in decibels.
    sqnr: f64,
    /// Rows whose largest is the same, and rows, where the output looks like scores of classes.
    top: Option<(usize, usize)>,
}

fn compare(
    file: &[u8],
    source: &Source,
    job: &Job,
    samples: &mut Samples,
    floats: &[Vec<Tensor>],
) -> Outcome<Vec<OutputError>> {
    let source = source.of_bytes(file.to_vec());
    let job = job.over(&source)?;
    let mut compiled = vec![];
    let names = job.signature.outputs.iter().map(|o| o.name.clone());
    let mut sums: Vec<(f64, f64, usize, usize)> = vec![(0.0, 0.0, 0, 0); names.len()];
    let bar = Bar::counted(job.ui(), Some(floats.len() as u64));
    bar.say("comparing");
    for (k, want) in floats.iter().enumerate() {
        let data = samples.get(k, &|b| read_tensor(b.to_vec().into()))?;
        let got = answers(&job, &data, &mut compiled)?;
        for ((want, got), sum) in want.iter().zip(&got).zip(&mut sums) {
            let (Some(a), Some(b)) = (want.to_f64s(), got.to_f64s()) else {
                continue;
            };
            sum.0 += a.iter().map(|v| v * v).sum::<f64>();
            sum.1 += a
                .iter()
                .zip(&b)
                .map(|(a, b)| (a - b) * (a - b))
                .sum::<f64>();
            let classes = want.shape.last().copied().unwrap_or(0) as usize;
            if want.shape.len() == 2 && classes > 1 {
                let rows = a.chunks_exact(classes).zip(b.chunks_exact(classes));
                for (a, b) in rows {
                    sum.2 += usize::from(top(a, 1) == top(b, 1));
                    sum.3 += 1;
                }
            }
        }
        bar.step();
    }
    let all = names
        .zip(sums)
        .map(|(name, (signal, noise, same, rows))| OutputError {
            name,
            sqnr: match noise > 0.0 {
                true => 10.0 * libm::log10(signal / noise),
                false => f64::INFINITY,
            },
            top: (rows > 0).then_some((same, rows)),
        });
    Ok(all.collect())
}

fn as_text(s: &Summary, errors: &[OutputError], says: &str, cases: usize, bytes: usize) -> String {
    let mut layers = Table::new(&[
        ("layer", Align::Left),
        ("operator", Align::Left),
        ("weights dB", Align::Right),
        ("bias moved", Align::Right),
    ]);
    for l in &s.layers {
        layers.row(vec![
            l.name.clone(),
            l.op.to_string(),
            format!("{:.1}", l.weight_sqnr),
            format!("{:.2}", l.correction),
        ]);
    }
    let mut outputs = Table::new(&[
        ("output", Align::Left),
        ("SQNR dB", Align::Right),
        ("same class", Align::Right),
    ]);
    for e in errors {
        outputs.row(vec![
            e.name.clone(),
            format!("{:.1}", e.sqnr),
            e.top
                .map_or("-".into(), |(same, rows)| format!("{same}/{rows}")),
        ]);
    }
    match cases {
        0 => format!("{}\n{says}; {bytes} bytes\n", layers.text(48)),
        _ => format!(
            "{}\n{}\n{says}, calibrated on {cases} cases; {bytes} bytes\n",
            layers.text(48),
            outputs.text(48),
        ),
    }
}

fn as_json(s: &Summary, errors: &[OutputError], cases: usize, bytes: usize) -> String {
    let finite = |v: f64| v.is_finite().then_some(v);
    let layers: Vec<_> = (s.layers.iter())
        .map(|l| {
            json!({"name": l.name, "operator": l.op, "weight_sqnr_db": finite(l.weight_sqnr), "bias_correction_steps": l.correction})
        })
        .collect();
    let outputs: Vec<_> = (errors.iter())
        .map(|e| {
            let (same, rows) = e.top.unzip();
            json!({"name": e.name, "sqnr_db": finite(e.sqnr), "same_class": same, "rows": rows})
        })
        .collect();
    json!({"layers": layers, "outputs": outputs, "operators": s.nodes, "values": s.values, "cases": cases, "bytes": bytes}).to_string()
}
