//! How much is to go: a share, or as little as meets a size or a time. Every figure is that of a compiled program.

use onnxc_compiler::base::diag::{Diagnostic, Diagnostics};
use onnxc_compiler::compress::prune::Pattern;
use std::time::Duration;

use super::cutting::{Cut, Cutting};
use super::float::Float;
use crate::args::prune::{PruneFlags, PruneGoals};
use crate::bench::clock::{self, Times};
use crate::engine::{self, Engine};
use crate::failure::Outcome;
use crate::job::Job;
use crate::probe::written;
use crate::progress::Bar;
use crate::table::thousands;
use crate::ui::Ui;

/// Shares that are tried between none and all.
const STEPS: u64 = 6;
/// The largest share that is tried.
const MOST: f64 = 0.95;
/// How long a run's time is taken.
const CLOCKED: Duration = Duration::from_millis(400);

/// How much is to go.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Amount {
    /// This share.
    Share(f64),
    /// Until the object has no more bytes.
    Size(u64),
    /// Until a run takes no more nanoseconds.
    Latency(f64),
}

impl Amount {
    /// What the flags say.
    pub fn of(flags: &PruneFlags, goals: &PruneGoals) -> Outcome<Amount> {
        if let Some(bytes) = goals.target_size {
            return Ok(Amount::Size(bytes));
        }
        if let Some(ms) = goals.target_latency {
            return Ok(Amount::Latency(ms * 1e6));
        }
        Ok(match flags.pattern {
            Pattern::Some { keep, of } => Amount::Share(1.0 - keep as f64 / of as f64),
            // Layers that a file does not name stay.
            _ => Amount::Share(flags.sparsity.unwrap_or(0.0)),
        })
    }

    fn spelled(self, value: f64) -> String {
        match self {
            Amount::Share(_) => format!("{value}"),
            Amount::Size(_) => format!("{} bytes", thousands(value as u64)),
            Amount::Latency(_) => format!("{:.3} ms", value / 1e6),
        }
    }
}

/// The pruned model, and what met the goal if there was one.
pub fn cut(
    amount: Amount,
    cutting: &Cutting,
    float: &Float,
    quiet: &Job,
    ui: &Ui,
) -> Outcome<(Cut, Option<String>)> {
    let wanted = match amount {
        Amount::Share(s) => return Ok((cutting.cut(s, float)?, None)),
        Amount::Size(b) => b as f64,
        Amount::Latency(ns) => ns,
    };
    let bar = Bar::counted(ui, Some(STEPS + 2));
    bar.say("measuring");
    let value = |cut: &Cut| -> Outcome<f64> {
        let file = written(&cut.model, &mut Diagnostics::default())?;
        let v = measured(amount, &file, float, quiet)?;
        bar.step();
        Ok(v)
    };
    let whole = written(&float.model, &mut Diagnostics::default())?;
    let full = measured(amount, &whole, float, quiet)?;
    bar.step();
    if full <= wanted {
        let text = format!(
            "the whole model meets the goal already, with {}",
            amount.spelled(full)
        );
        let help = "a smaller goal, or --sparsity, prunes it";
        return Err(Diagnostic::usage("USE009", text).help(help).into());
    }
    let last = cutting.cut(MOST, float)?;
    let least = value(&last)?;
    if least > wanted {
        let text = format!(
            "no share gives {}; the best was {}, with {:.0} % gone",
            amount.spelled(wanted),
            amount.spelled(least),
            100.0 * MOST
        );
        return Err(Diagnostic::usage("USE009", text).into());
    }
    let (mut lo, mut hi, mut best) = (0.0, MOST, (last, least));
    for _ in 0..STEPS {
        let mid = (lo + hi) / 2.0;
        let cut = cutting.cut(mid, float)?;
        let v = value(&cut)?;
        if v <= wanted {
            (hi, best) = (mid, (cut, v));
        } else {
            lo = mid;
        }
    }
    let text = format!(
        "{} with a share of {hi:.2}, {} before",
        amount.spelled(best.1),
        amount.spelled(full)
    );
    Ok((best.0, Some(text)))
}

fn measured(amount: Amount, file: &[u8], float: &Float, quiet: &Job) -> Outcome<f64> {
    let source = quiet.source.of_bytes(file.to_vec());
    let job = quiet.over(&source)?;
    let mut compiled = vec![];
    let Some(data) = float.inputs.first() else {
        return Ok(job.compile()?.object.len() as f64);
    };
    let artifact = job.compile_for(data, &mut compiled)?;
    if matches!(amount, Amount::Size(_)) {
        return Ok(artifact.object.len() as f64);
    }
    let wanted = job.wanted()?;
    let named: Vec<_> = wanted.iter().map(|w| w.name.as_str()).zip(data).collect();
    let inputs = engine::in_order(artifact, &named)?;
    let engine = Engine::new(artifact, job.machine, None)?;
    let Some(mut loaded) = engine.load_here(&inputs)? else {
        return Err(Diagnostic::internal("code that is not here was asked for").into());
    };
    let seconds = CLOCKED.as_secs_f64();
    let batch = clock::warm_up(&mut loaded, seconds)?;
    let samples = clock::sample(&mut loaded, batch, seconds, clock::LEAST)?;
    Ok(Times::of(samples).min())
}
