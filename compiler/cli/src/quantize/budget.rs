//! Mixed precision: which groups stay in floats for a budget to hold.
//!
//! Every figure is that of a compiled program or of its file. Groups are ranked by what each does alone; how many of the ranked must be in
//! floats, or need be in 8 bits, is found by doubling and halving; then those in between are tried one by one.

use onnxc_compiler::base::diag::Diagnostic;
use onnxc_compiler::graph::ir::NodeId;
use std::collections::BTreeSet;
use std::time::Duration;

use super::accuracy::Accuracy;
use super::calibrate::{Built, Calibration};
use super::compare::{compare, worst};
use super::groups::Group;
use crate::args::budget::Goal;
use crate::bench::clock::{self, Times};
use crate::engine::{self, Engine};
use crate::failure::Outcome;
use crate::job::Job;
use crate::probe::written;
use crate::progress::Bar;
use crate::table::thousands;
use crate::ui::Ui;

/// Cases that groups are ranked by.
const RANKED: usize = 8;
/// Groups that are tried one by one, at most.
const TRIES: usize = 16;
/// How many of them in a row may be in vain.
const MISSES: usize = 6;
/// How long a run's time is taken.
const CLOCKED: Duration = Duration::from_millis(400);

/// What a group does alone in 8 bits.
#[derive(Clone, Copy, Debug)]
pub struct Alone {
    /// SQNR of the worst output in decibels; infinite if nothing of it can be quantized alone.
    pub sqnr: f64,
    /// Bytes of the model's file.
    pub bytes: usize,
}

/// The search under way.
pub struct Search<'s, 'a> {
    /// The float model.
    pub calibration: &'s mut Calibration<'a>,
    /// Its groups.
    pub groups: &'s [Group],
    /// The compilation for candidates, which says nothing.
    pub quiet: &'s Job<'a>,
    /// Labelled cases, where the goal is accuracy.
    pub accuracy: Option<Accuracy>,
    /// Where progress goes.
    pub ui: &'a Ui,
}

/// The nodes of the groups that are kept in floats.
pub fn nodes(groups: &[Group], kept: &[bool]) -> BTreeSet<NodeId> {
    let kept = groups.iter().zip(kept).filter(|g| *g.1);
    kept.flat_map(|g| g.0.nodes.iter().copied()).collect()
}

impl Search<'_, '_> {
    /// Quantizes each group alone.
    pub fn rank(&mut self) -> Outcome<Vec<Alone>> {
        self.calibration.observe_each(self.groups)?;
        let bar = Bar::counted(self.ui, Some(self.groups.len() as u64));
        bar.say("measuring each layer alone");
        let mut all = vec![];
        for k in 0..self.groups.len() {
            let kept: Vec<bool> = (0..self.groups.len()).map(|i| i != k).collect();
            let mut alone = Alone {
                sqnr: f64::INFINITY,
                bytes: usize::MAX,
            };
            if let Some(b) = self.built(&kept)? {
                let errors = compare(&b.file, self.calibration, self.quiet, RANKED, None)?;
                alone = Alone {
                    sqnr: worst(&errors),
                    bytes: b.file.len(),
                };
            }
            all.push(alone);
            bar.step();
        }
        Ok(all)
    }

    /// Which groups stay in floats, and what each does alone if that was measured.
    pub fn run(&mut self, goal: Goal) -> Outcome<(Vec<bool>, Option<Vec<Alone>>)> {
        let n = self.groups.len();
        let bar = Bar::new(self.ui);
        bar.say("measuring everything in 8 bits");
        let full = self.value(goal, &vec![false; n])?;
        drop(bar);
        let quality = matches!(goal, Goal::Sqnr(_) | Goal::Drop(_));
        if holds(goal, full) && quality {
            return Ok((vec![false; n], None));
        }
        if !quality {
            let float = self.float(goal)?;
            if holds(goal, float) {
                let text = format!(
                    "the float model meets the budget already, with {}",
                    spelled(goal, float)
                );
                let help = "a smaller budget, or none, quantizes it";
                return Err(Diagnostic::usage("USE009", text).help(help).into());
            }
            if !holds(goal, full) {
                return Err(unmet(goal, full, "with everything in 8 bits"));
            }
        }
        let alone = self.rank()?;
        let order = match quality {
            true => by_harm(&alone),
            false => self.by_price(goal, &alone)?,
        };
        // The first `k` of the order are in floats, or in 8 bits where less is to be quantized.
        let kept = |k: usize| {
            let mut kept = vec![!quality; n];
            order[..k].iter().for_each(|i| kept[*i] = quality);
            kept
        };
        let bar = Bar::new(self.ui);
        let most = if quality { n - 1 } else { n };
        let (mut fails, mut best) = (0, f64::NEG_INFINITY);
        let mut try_first = |s: &mut Self, k: usize| -> Outcome<bool> {
            bar.say(&format!("trying {k} of {n} layers"));
            let v = s.value(goal, &kept(k))?;
            best = best.max(v);
            Ok(holds(goal, v))
        };
        let mut good = 1.min(most);
        while !try_first(self, good)? {
            if good >= most {
                let what = format!("with up to {most} of {n} layers in floats");
                return Err(unmet(goal, best.max(full), &what));
            }
            fails = good;
            good = (good * 2).min(most);
        }
        while good - fails > 1 {
            let k = fails + (good - fails) / 2;
            match try_first(self, k)? {
                true => good = k,
                false => fails = k,
            }
        }
        drop(bar);
        let mut chosen = kept(good);
        self.trim(goal, &mut chosen, &order[..good.saturating_sub(1)], quality)?;
        Ok((chosen, Some(alone)))
    }

    /// Turns back what need not be in floats, the least harmful first, or in 8 bits, the most harmful first. Without the last of the order the budget
    /// does not hold, as is known.
    fn trim(
        &mut self,
        goal: Goal,
        chosen: &mut [bool],
        turned: &[usize],
        quality: bool,
    ) -> Outcome<()> {
        let bar = Bar::counted(self.ui, Some(turned.len().min(TRIES) as u64));
        bar.say("trying layers one by one");
        let mut misses = 0;
        for &k in turned.iter().rev().take(TRIES) {
            chosen[k] = !quality;
            let v = self.value(goal, chosen)?;
            misses = match holds(goal, v) {
                true => 0,
                false => misses + 1,
            };
            if misses > 0 {
                chosen[k] = quality;
            }
            if misses >= MISSES {
                break;
            }
            bar.step();
        }
        Ok(())
    }

    /// The least harm for each byte or multiply-accumulate first: the order in which to quantize.
    fn by_price(&mut self, goal: Goal, alone: &[Alone]) -> Outcome<Vec<usize>> {
        let float = match goal {
            Goal::Size(_) => -self.float(goal)?,
            _ => 0.0,
        };
        let price = |k: usize| {
            // The noise that it adds, in parts of the signal.
            let harm = libm::pow(10.0, -alone[k].sqnr / 10.0);
            let saved = match goal {
                Goal::Size(_) => float - alone[k].bytes as f64,
                _ => self.groups[k].macs,
            };
            if saved > 0.0 { harm / saved } else { f64::MAX }
        };
        let mut order: Vec<usize> = (0..alone.len()).collect();
        order.sort_by(|a, b| price(*a).total_cmp(&price(*b)));
        Ok(order)
    }

    fn built(&mut self, kept: &[bool]) -> Outcome<Option<Built>> {
        self.calibration.built(&nodes(self.groups, kept))
    }

    /// What the goal is measured by, of the model with some groups in floats; more is better.
    fn value(&mut self, goal: Goal, kept: &[bool]) -> Outcome<f64> {
        match self.built(kept)? {
            Some(b) => self.value_of(goal, &b.file),
            None => self.float(goal),
        }
    }

    fn float(&mut self, goal: Goal) -> Outcome<f64> {
        match goal {
            Goal::Sqnr(_) => Ok(f64::INFINITY),
            Goal::Drop(_) => Ok(0.0),
            Goal::Size(_) | Goal::Latency(_) => {
                let file = written(&self.calibration.model, &mut Default::default())?;
                self.value_of(goal, &file)
            }
        }
    }

    fn value_of(&mut self, goal: Goal, file: &[u8]) -> Outcome<f64> {
        Ok(match goal {
            Goal::Sqnr(_) => worst(&compare(
                file,
                self.calibration,
                self.quiet,
                usize::MAX,
                None,
            )?),
            Goal::Drop(_) => {
                let source = self.quiet.source.of_bytes(file.to_vec());
                let job = self.quiet.over(&source)?;
                let a = self.accuracy.as_mut();
                let a = a.ok_or_else(|| Diagnostic::internal("accuracy without labels"))?;
                100.0 * (a.of(&job, &Bar::hidden())? - a.float)
            }
            Goal::Size(_) => -(file.len() as f64),
            Goal::Latency(_) => -self.nanoseconds(file)?,
        })
    }

    /// The shortest time of a run: what other programs do to longer ones is not the choice of layers.
    fn nanoseconds(&self, file: &[u8]) -> Outcome<f64> {
        let source = self.quiet.source.of_bytes(file.to_vec());
        let job = self.quiet.over(&source)?;
        let Some(data) = self.calibration.inputs.first() else {
            return Err(Diagnostic::internal("no case to take the time of").into());
        };
        let (wanted, mut compiled) = (job.wanted()?, vec![]);
        let artifact = job.compile_for(data, &mut compiled)?;
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
}

/// The most sensitive first.
fn by_harm(alone: &[Alone]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..alone.len()).collect();
    order.sort_by(|a, b| alone[*a].sqnr.total_cmp(&alone[*b].sqnr));
    order
}

fn holds(goal: Goal, value: f64) -> bool {
    match goal {
        Goal::Sqnr(db) => value >= db,
        // Points are differences of shares: what is a rounding error beside one case is none.
        Goal::Drop(points) => value >= -points - 1e-9,
        Goal::Size(bytes) => -value <= bytes as f64,
        Goal::Latency(ns) => -value <= ns,
    }
}

fn spelled(goal: Goal, value: f64) -> String {
    match goal {
        Goal::Sqnr(_) => format!("{value:.1} dB"),
        Goal::Drop(_) => format!("a drop of {:.2} points", (-value).max(0.0)),
        Goal::Size(_) => format!("{} bytes", thousands((-value).max(0.0) as u64)),
        Goal::Latency(_) => format!("{:.3} ms", -value / 1e6),
    }
}

fn unmet(goal: Goal, best: f64, what: &str) -> crate::failure::Failure {
    let wanted = match goal {
        Goal::Sqnr(db) => format!("{db} dB"),
        Goal::Drop(points) => format!("a drop of {points} points"),
        Goal::Size(bytes) => format!("{} bytes", thousands(bytes)),
        Goal::Latency(ns) => format!("{} ms", ns / 1e6),
    };
    let text = format!(
        "no choice of layers gives {wanted}; the best was {}, {what}",
        spelled(goal, best)
    );
    Diagnostic::usage("USE009", text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_hold_at_their_ends() {
        assert!(holds(Goal::Sqnr(20.0), 20.0) && !holds(Goal::Sqnr(20.0), 19.99));
        assert!(holds(Goal::Sqnr(20.0), f64::INFINITY));
        assert!(holds(Goal::Drop(0.0), 0.5) && holds(Goal::Drop(0.5), -0.5));
        assert!(!holds(Goal::Drop(0.5), -0.51));
        assert!(holds(Goal::Size(100), -100.0) && !holds(Goal::Size(100), -101.0));
        assert!(holds(Goal::Latency(5.0), -4.0) && !holds(Goal::Latency(5.0), -6.0));
        assert_eq!(spelled(Goal::Size(1), -1234567.0), "1,234,567 bytes");
    }

    #[test]
    fn the_most_harmful_comes_first() {
        let alone = |sqnr| Alone { sqnr, bytes: 0 };
        let list = [alone(30.0), alone(f64::INFINITY), alone(7.0), alone(30.0)];
        assert_eq!(by_harm(&list), [2, 0, 3, 1]);
    }
}
