//! How much is to go: a share, or as little as meets a size or a time. Every figure is that of a compiled program. With data a goal is met in two ways, by one
//! share for all and by shares that follow what each layer does to the outputs ([`allocate`]); the one whose outputs are nearer counts.

use onnxc_compiler::base::diag::{Diagnostic, Diagnostics};
use onnxc_compiler::compress::prune::Pattern;
use std::time::Duration;

use super::allocate::{self, Gain};
use super::cutting::{Cut, Cutting};
use super::float::Float;
use super::sensitivity::Curve;
use crate::args::prune::{PruneFlags, PruneGoals};
use crate::bench::clock::{self, Times};
use crate::engine::{self, Engine};
use crate::failure::Outcome;
use crate::job::Job;
use crate::probe::written;
use crate::progress::Bar;
use crate::quantize::compare::{compare_with, worst};
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

/// A pruned model that meets a goal: what it takes, and how it was chosen.
struct Met {
    cut: Cut,
    value: f64,
    how: String,
}

/// The pruned model, and what met the goal if there was one. `curves`: what each layer does alone, where that says how shares are spread.
pub fn cut(
    amount: Amount,
    cutting: &Cutting,
    float: &Float,
    curves: &[Curve],
    quiet: &Job,
    ui: &Ui,
) -> Outcome<(Cut, Option<String>)> {
    let (wanted, gain) = match amount {
        Amount::Share(s) => return Ok((cutting.cut(s, float)?, None)),
        Amount::Size(b) => (b as f64, Gain::Weights),
        Amount::Latency(ns) => (ns, Gain::Macs),
    };
    let steps = allocate::steps(curves, gain);
    let ways = if steps.is_empty() { 1 } else { 2 };
    let bar = Bar::counted(ui, Some(ways * (STEPS + 1) + 1));
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
    // The least part of a way that meets the goal, or what is reached at its end.
    let search = |make: &dyn Fn(f64) -> Outcome<Cut>, how: &dyn Fn(f64) -> String| {
        let last = make(1.0)?;
        let least = value(&last)?;
        if least > wanted {
            return Ok(Err(least));
        }
        let (mut lo, mut hi, mut best) = (0.0, 1.0, (last, least));
        for _ in 0..STEPS {
            let mid = (lo + hi) / 2.0;
            let cut = make(mid)?;
            let v = value(&cut)?;
            if v <= wanted {
                (hi, best) = (mid, (cut, v));
            } else {
                lo = mid;
            }
        }
        let (cut, value) = best;
        let how = how(hi);
        Outcome::Ok(Ok(Met { cut, value, how }))
    };
    let one = search(&|part| cutting.cut(part * MOST, float), &|part| {
        format!("a share of {:.2}", part * MOST)
    })?;
    let own = |part: f64| {
        let n = libm::ceil(part * steps.len() as f64) as usize;
        let shares = allocate::shares(curves, &steps[..n.min(steps.len())]);
        curves
            .iter()
            .map(|c| &c.piece)
            .zip(shares)
            .collect::<Vec<_>>()
    };
    let each = match steps.is_empty() {
        true => Err(f64::INFINITY),
        false => search(&|part| cutting.each(&own(part), float), &|part| {
            let shares: Vec<f64> = own(part).iter().map(|s| s.1).collect();
            let all = |pick: fn(f64, f64) -> f64| shares.iter().copied().fold(shares[0], pick);
            let (least, most) = (all(f64::min), all(f64::max));
            format!("shares by sensitivity, {least:.2} to {most:.2}")
        })?,
    };
    let best = match (one, each) {
        (Ok(a), Ok(b)) => {
            let (one, each) = (errors(&a.cut, float, quiet)?, errors(&b.cut, float, quiet)?);
            if each >= one { b } else { a }
        }
        (Ok(a), Err(_)) => a,
        (Err(_), Ok(b)) => b,
        (Err(a), Err(b)) => {
            let text = format!(
                "no share gives {}; the best was {}, with {:.0} % gone",
                amount.spelled(wanted),
                amount.spelled(a.min(b)),
                100.0 * MOST
            );
            return Err(Diagnostic::usage("USE009", text).into());
        }
    };
    let text = format!(
        "{} with {}, {} before",
        amount.spelled(best.value),
        best.how,
        amount.spelled(full)
    );
    Ok((best.cut, Some(text)))
}

/// SQNR of the worst output of a pruned model, in decibels.
fn errors(cut: &Cut, float: &Float, quiet: &Job) -> Outcome<f64> {
    let file = written(&cut.model, &mut Diagnostics::default())?;
    let cases = (&float.inputs[..], &float.outputs[..]);
    Ok(worst(&compare_with(&file, cases, quiet, usize::MAX, None)?))
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
