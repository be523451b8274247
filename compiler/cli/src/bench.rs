//! `bench`: how long a run takes.
//!
//! After a warm-up, single runs are timed until the time is up, at least ten of them. What is reported: the shortest, the
//! median and the 99th percentile, since the mean is at the mercy of whatever else the machine does.

use std::time::{Duration, Instant};

use onnxc_abi::status;
use onnxc_compiler::base::tensor::Tensor;
use onnxc_compiler::onnx::read_tensor;
use serde_json::json;

use crate::args::flags::Bench;
use crate::cases::Cases;
use crate::compare::{compare, default_rule};
use crate::data::bind;
use crate::data::preprocess::Preprocess;
use crate::engine::{self, Engine, failed_run};
use crate::failure::{Outcome, Status};
use crate::files::Source;
use crate::job::Job;
use crate::machine::{self, Purpose};
use crate::outputs;
use crate::progress::Bar;
use crate::ui::Ui;

/// Runs before time is taken, at least.
const WARM_UP: usize = 3;
/// Runs that are timed, at least.
const LEAST: usize = 10;
/// Runs that are timed, at most.
const MOST: usize = 10_000_000;

/// Measures a model.
pub fn run(flags: &Bench, ui: &Ui) -> Outcome {
    let source = Source::open(&flags.model, &flags.model_flags)?;
    let machine = machine::choose(&flags.target, Purpose::RunNow, ui)?;
    let job = Job::new(&source, &flags.model_flags, &flags.code, &machine, ui)?;
    let wanted = job.wanted()?;
    let mut expected = Vec::new();
    let data = match &flags.reference {
        Some(path) if flags.inputs.is_empty() => {
            let mut cases = Cases::open(std::slice::from_ref(path))?;
            let first = cases.numbers().first().copied().unwrap_or(0);
            let case = cases.get(first, wanted.len(), job.signature.outputs.len())?;
            expected = case.outputs;
            for (w, t) in wanted.iter().zip(&case.inputs) {
                bind::check(w, t)?;
            }
            case.inputs
        }
        _ => {
            let preprocess = Preprocess::load(flags.data.preprocess.as_deref())?;
            let words = match flags.inputs.as_slice() {
                [] => vec!["random:0".to_string()],
                some => some.to_vec(),
            };
            bind::inputs(&words, &wanted, &preprocess, &|b| {
                read_tensor(b.to_vec().into())
            })?
        }
    };
    let started = Instant::now();
    let mut known = Vec::new();
    let artifact = job.compile_for(&data, &mut known)?;
    let compile_ms = started.elapsed().as_secs_f64() * 1e3;
    let named: Vec<(&str, &Tensor)> = wanted.iter().map(|w| w.name.as_str()).zip(&data).collect();
    let mut engine = Engine::new(artifact, &machine, None)?;
    engine.use_threads(flags.threads as usize)?;
    let Some(mut loaded) = engine.load_here(&engine::in_order(artifact, &named)?)? else {
        return Err(onnxc_compiler::base::diag::Diagnostic::usage(
            "USE003",
            "this machine can't run code for that target",
        )
        .into());
    };
    let once = |loaded: &mut engine::Loaded| match loaded.run() {
        status::OK => Ok(()),
        s => Err(failed_run(s)),
    };
    once(&mut loaded)?;
    let mut wrong = Vec::new();
    let results = loaded.outputs()?;
    for (o, want) in &expected {
        let border = &job.signature.outputs[*o];
        let rule = default_rule(want.dtype, border.quantized, job.signature.half, 1);
        if results
            .get(*o)
            .is_none_or(|got| !compare(got, want, rule).pass)
        {
            wrong.push(border.name.clone());
        }
    }

    let bar = Bar::new(ui);
    bar.say("measuring");
    let warm = Instant::now();
    let mut runs = 1;
    while runs < WARM_UP || warm.elapsed() < Duration::from_secs_f64((flags.seconds / 5.0).min(0.5))
    {
        once(&mut loaded)?;
        runs += 1;
    }
    let mut times = Vec::new();
    let begin = Instant::now();
    while times.len() < LEAST
        || (begin.elapsed().as_secs_f64() < flags.seconds && times.len() < MOST)
    {
        let t = Instant::now();
        once(&mut loaded)?;
        times.push(t.elapsed().as_nanos() as u64);
    }
    drop(bar);
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part).round() as usize] as f64 / 1e6;
    let info = &artifact.info;
    let macs: u64 = info
        .layers
        .iter()
        .map(|l| l.macs)
        .fold(0, u64::saturating_add);
    let (min, median, p99) = (at(0.0), at(0.5), at(0.99));
    let gflops = 2.0 * macs as f64 / (min * 1e6);
    let text = if flags.json {
        let verified = (!expected.is_empty()).then_some(wrong.is_empty());
        json!({
            "model": info.model, "min_ms": min, "median_ms": median, "p99_ms": p99,
            "runs": times.len(), "threads": flags.threads, "arena_bytes": info.arena_bytes,
            "weights_bytes": info.weights_bytes, "code_bytes": info.code_bytes,
            "stack_bytes": info.stack_bytes, "macs": macs, "gflops": gflops,
            "compile_ms": compile_ms, "cpu": info.cpu_text(), "verified": verified,
        })
        .to_string()
            + "\n"
    } else {
        format!(
            "min {min:.4} ms, median {median:.4} ms, p99 {p99:.4} ms ({} runs, threads {}, {gflops:.2} GFLOP/s)\n\
             arena {} bytes, weights {} bytes, code {} bytes, compiled in {compile_ms:.0} ms\n",
            times.len(),
            flags.threads,
            info.arena_bytes,
            info.weights_bytes,
            info.code_bytes
        )
    };
    outputs::print(&text)?;
    if wrong.is_empty() {
        Ok(Status::Done)
    } else {
        Err(crate::data::bad_data(
            format!("outputs {}", wrong.join(", ")),
            "they miss the reference; `onnxc verify` says where",
        )
        .into())
    }
}
