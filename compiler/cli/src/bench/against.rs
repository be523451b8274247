//! Taking turns with peers: all run the same model on the same data, one after the other and again, so that all meet the same
//! machine.

use std::time::Duration;

use onnxc_compiler::base::tensor::Tensor;
use serde_json::{Value, json};

use super::clock::{self, Times};
use super::peer::Peer;
use super::subject::{FAR, Subject, apart};
use crate::args::bench::PeerFlags;
use crate::failure::Outcome;

/// Seconds of one turn, for models that are faster than that.
const TURN: f64 = 0.05;
/// Turns of each side, at least.
const LEAST: usize = 6;
/// Between turns where threads run: those of the other side may still spin. onnxruntime's do for more than 4 ms, and cost the next turn up
/// to half of its speed.
const PAUSE: Duration = Duration::from_millis(60);

/// What came of it.
#[derive(Clone, Debug)]
pub struct Duel {
    /// Our times.
    pub ours: Times,
    /// The peers, in the order in which they were named.
    pub sides: Vec<Side>,
    /// Outputs of ours that miss their reference.
    pub wrong: Vec<String>,
}

/// A peer's part.
#[derive(Clone, Debug)]
pub struct Side {
    /// Its name and version.
    pub name: String,
    /// Its figures, or why there are none.
    pub result: Result<Figures, String>,
}

/// A peer's figures.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Its times.
    pub times: Times,
    /// Our shortest time over its.
    pub ratio_min: f64,
    /// Median of our time over its, turn by turn.
    pub ratio_median: f64,
    /// How far its floats are from ours at most, over the largest value.
    pub difference: Option<f64>,
}

impl Side {
    /// As a JSON object.
    pub fn json(&self) -> Value {
        match &self.result {
            Ok(f) => json!({
                "name": self.name, "min_ms": f.times.min() / 1e6, "median_ms": f.times.median() / 1e6,
                "runs": f.times.len(), "ratio_min": f.ratio_min, "ratio_median": f.ratio_median,
                "difference": f.difference,
            }),
            Err(e) => json!({ "name": self.name, "error": e }),
        }
    }
}

impl Duel {
    /// The fastest peer of those that compute the same.
    pub fn best(&self) -> Option<(&str, &Figures)> {
        let good = self.sides.iter();
        let good = good.filter_map(|s| Some((s.name.as_str(), s.result.as_ref().ok()?)));
        let good = good.filter(|(_, f)| f.difference.is_none_or(|d| d <= FAR));
        good.min_by(|a, b| a.1.times.min().total_cmp(&b.1.times.min()))
    }
}

/// A peer while it is measured.
struct Running {
    peer: Peer,
    batch: u32,
    times: Vec<f64>,
    ratios: Vec<f64>,
    difference: Option<f64>,
}

/// Measures all for about `seconds` each. Peers are started anew, so that one that fails takes nothing with it.
pub fn duel(
    subject: &Subject,
    threads: u32,
    seconds: f64,
    names: &[String],
    flags: &PeerFlags,
) -> Outcome<Duel> {
    subject.loaded(threads, |loaded| {
        let ours_batch = clock::warm_up(loaded, seconds)?;
        let results = loaded.outputs()?;
        let mut sides: Vec<(String, Result<Running, String>)> = Vec::new();
        for name in names {
            let started = start(subject, threads, seconds, name, flags, &results);
            let label = match &started {
                Ok(r) => format!("{} {}", r.peer.name, r.peer.version)
                    .trim()
                    .to_string(),
                Err(_) => name.clone(),
            };
            sides.push((label, started.map_err(|e| e.message.clone())));
        }
        let pause = || {
            if threads > 1 {
                std::thread::sleep(PAUSE);
            }
        };
        let mut ours = Vec::new();
        let turns = ((seconds / TURN).ceil() as usize).max(LEAST);
        let mut spent = 0.0;
        for turn in 0..turns {
            // Slow models get fewer turns, but enough for a median.
            if spent > seconds * 1e9 && turn >= LEAST {
                break;
            }
            pause();
            let mine = clock::sample(loaded, ours_batch, TURN, 1)?;
            spent += mine.iter().sum::<f64>() * f64::from(ours_batch);
            let median = Times::of(mine.clone()).median();
            ours.extend(mine);
            // Each goes first as often as last.
            let count = sides.len();
            for k in 0..count {
                let (_, side) = &mut sides[(k + turn) % count];
                let Ok(r) = side else { continue };
                pause();
                match r.peer.run(TURN, r.batch) {
                    Ok(theirs) => {
                        r.ratios.push(median / Times::of(theirs.clone()).median());
                        r.times.extend(theirs);
                    }
                    Err(e) => *side = Err(e.message.clone()),
                }
            }
        }
        let ours = Times::of(ours);
        let sides = sides.into_iter().map(|(name, side)| {
            let result = side.map(|r| {
                let times = Times::of(r.times);
                Figures {
                    ratio_min: ours.min() / times.min(),
                    ratio_median: Times::of(r.ratios).median(),
                    difference: r.difference,
                    times,
                }
            });
            Side { name, result }
        });
        Ok(Duel {
            sides: sides.collect(),
            ours,
            wrong: subject.wrong(&results),
        })
    })
}

fn start(
    subject: &Subject,
    threads: u32,
    seconds: f64,
    name: &str,
    flags: &PeerFlags,
    results: &[Tensor],
) -> onnxc_compiler::base::diag::Result<Running> {
    let mut peer = Peer::start(name, flags)?;
    let mut given = subject.named();
    let constants = &subject.job.options.import.constants;
    given.extend(constants.iter().map(|(name, t)| (name.as_str(), t)));
    peer.load(subject.path, threads, &given)?;
    let first = Times::of(peer.run(TURN.min(seconds), 1)?).min();
    let difference = difference(subject, results, &peer.outputs()?);
    Ok(Running {
        peer,
        batch: clock::batch(first),
        times: Vec::new(),
        ratios: Vec::new(),
        difference,
    })
}

/// The largest distance of a float, over the largest value, of all outputs that both have.
fn difference(subject: &Subject, ours: &[Tensor], theirs: &[(String, Tensor)]) -> Option<f64> {
    let mut worst: Option<f64> = None;
    let ports = subject.artifact.info.outputs.iter().zip(ours);
    for (k, (port, mine)) in ports.enumerate() {
        // Some runtimes name outputs as they like; then the order says which is which.
        let named = theirs.iter().find(|(name, _)| *name == port.name);
        let placed = theirs.get(k).filter(|_| theirs.len() == ours.len());
        let Some((_, other)) = named.or(placed) else {
            continue;
        };
        if !mine.dtype.is_float() {
            continue;
        }
        if let Some(far) = apart(mine, other) {
            worst = Some(worst.unwrap_or(0.0).max(far));
        }
    }
    worst
}
