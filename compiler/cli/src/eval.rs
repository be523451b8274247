//! `eval`: how right a compiled model is on labelled data.

use onnxc_compiler::Artifact;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::base::tensor::Tensor;
use onnxc_compiler::onnx::read_tensor;
use serde_json::json;

use crate::args::eval::{Eval, MetricName};
use crate::data::bad_data;
use crate::data::labels::Labels;
use crate::data::preprocess::Preprocess;
use crate::data::samples::Samples;
use crate::data::wanted::Wanted;
use crate::engine::{self, Engine};
use crate::failure::{Outcome, Status};
use crate::files::Source;
use crate::job::{Binding, Job};
use crate::machine::{self, Purpose};
use crate::metric::{Measured, Metric};
use crate::outputs;
use crate::probe::Probe;
use crate::progress::Bar;
use crate::table::{Align, Table};
use crate::ui::Ui;

/// Runs the model on all cases and prints what each metric says.
pub fn run(flags: &Eval, ui: &Ui) -> Outcome {
    let source = Source::open(&flags.model, &flags.model_flags)?;
    let machine = machine::choose(&flags.target, Purpose::RunNow, ui)?;
    let job = Job::new(&source, &flags.model_flags, &flags.code, &machine, ui)?
        .for_threads(flags.threads.threads);
    crate::devices::left_out(&job, ui);
    let output = output(flags, &job)?;
    let preprocess = Preprocess::load(flags.input.preprocess.as_deref())?;
    let mut samples = Samples::open(&flags.data, job.wanted()?, preprocess)?;
    let labels = Labels::open(flags.labels.as_deref(), &flags.data, &samples)?;
    let most = flags.samples.unwrap_or(u64::MAX);
    let count = samples
        .len()
        .min(usize::try_from(most).unwrap_or(usize::MAX));
    let mut metrics: Vec<Metric> = flags.metric.iter().map(|m| Metric::new(*m)).collect();
    let bar = Bar::counted(ui, Some(count as u64));
    bar.say("evaluating");
    let cases = (&mut samples, &labels);
    let exec = flags.exec.exec.as_deref();
    measured(&job, exec, cases, count, output, &mut metrics, &bar)?;
    drop(bar);
    let results: Vec<(MetricName, Option<Measured>)> = flags
        .metric
        .iter()
        .copied()
        .zip(metrics.iter().map(Metric::measured))
        .collect();
    let text = match flags.json {
        true => as_json(&results, count) + "\n",
        false => as_text(&results, count),
    };
    outputs::print(&text)?;
    Ok(Status::Done)
}

/// Runs a model on the first `count` cases, here or through a command, and hands its output number `output` to each metric.
pub fn measured(
    job: &Job,
    exec: Option<&str>,
    cases: (&mut Samples, &Labels),
    count: usize,
    output: usize,
    metrics: &mut [Metric],
    bar: &Bar,
) -> Outcome<()> {
    let (samples, labels) = cases;
    let mut subject = match exec {
        None => Subject::Here(Probe::new(job)?),
        Some(command) => Subject::There(command, job.wanted()?, vec![]),
    };
    let name = job.signature.outputs.get(output).map(|o| o.name.as_str());
    for k in 0..count {
        let data = samples.get(k, &|b| read_tensor(b.to_vec().into()))?;
        let got = subject.answers(job, &data)?;
        for m in &mut *metrics {
            let taken = got.get(output).map_or(Ok(()), |t| m.take(t, labels.get(k)));
            taken.map_err(|why| {
                bad_data(format!("case {k}, output `{}`", name.unwrap_or("")), why)
            })?;
        }
        bar.step();
    }
    Ok(())
}

/// What runs case after case.
enum Subject<'j> {
    /// In this process, where it stays loaded.
    Here(Probe<'j>),
    /// Through a command, which takes one case at a time; with what was compiled for sets of shapes.
    There(&'j str, Vec<Wanted>, Vec<(Binding, Artifact)>),
}

impl Subject<'_> {
    fn answers(&mut self, job: &Job, data: &[Tensor]) -> Outcome<Vec<Tensor>> {
        let (command, wanted, compiled) = match self {
            Subject::Here(probe) => return probe.answers(data),
            Subject::There(command, wanted, compiled) => (*command, wanted, compiled),
        };
        let artifact = job.compile_for(data, compiled)?;
        let names = wanted.iter().map(|w| w.name.as_str());
        let named: Vec<(&str, &Tensor)> = names.zip(data).collect();
        let inputs = engine::in_order(artifact, &named)?;
        Ok(Engine::new(artifact, job.machine, Some(command))?.run(&inputs)?)
    }
}

fn output(flags: &Eval, job: &Job) -> Result<usize> {
    let names = job.signature.outputs.iter().map(|o| o.name.as_str());
    match &flags.output {
        None => Ok(0),
        Some(name) => names.clone().position(|n| n == name).ok_or_else(|| {
            let all: Vec<&str> = names.collect();
            let text = format!("there is no output `{name}`");
            Diagnostic::usage("USE001", text).help(format!("outputs: {}", all.join(", ")))
        }),
    }
}

fn name(m: MetricName) -> String {
    let value = clap::ValueEnum::to_possible_value(&m);
    value.map_or_else(String::new, |v| v.get_name().to_string())
}

fn as_text(results: &[(MetricName, Option<Measured>)], cases: usize) -> String {
    let mut t = Table::new(&[
        ("metric", Align::Left),
        ("value", Align::Right),
        ("95% interval", Align::Right),
        ("over", Align::Right),
    ]);
    for (m, r) in results {
        let number = |v: f64| format!("{v:.5}");
        let row = match r {
            None => vec!["-".to_string(), "-".to_string(), "0".to_string()],
            Some(r) => vec![
                number(r.value),
                r.interval.map_or("-".into(), |(lo, hi)| {
                    format!("{} .. {}", number(lo), number(hi))
                }),
                r.count.to_string(),
            ],
        };
        t.row([vec![name(*m)], row].concat());
    }
    format!("{}{cases} cases\n", t.text(48))
}

fn as_json(results: &[(MetricName, Option<Measured>)], cases: usize) -> String {
    let list: Vec<_> = (results.iter())
        .map(|(m, r)| {
            json!({
                "metric": name(*m),
                "value": r.map(|r| r.value),
                "interval": r.and_then(|r| r.interval),
                "over": r.map_or(0, |r| r.count),
            })
        })
        .collect();
    json!({"metrics": list, "cases": cases}).to_string()
}
