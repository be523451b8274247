//! Times of runs: how they are taken, and what is said of them.
//!
//! What is reported: the shortest, the median, the 99th percentile and the longest, since the mean is at the mercy of whatever
//! else the machine does. Runs too short for a clock are timed several at once.

use std::time::{Duration, Instant};

use crate::engine::{Loaded, failed_run};
use onnxc_abi::status;
use onnxc_compiler::base::diag::Result;

/// Runs before time is taken, at least.
const WARM_UP: usize = 3;
/// Samples, at least.
pub const LEAST: usize = 10;
/// Samples, at most.
const MOST: usize = 1_000_000;
/// Nanoseconds that a sample should take at least.
const SAMPLE: f64 = 20_000.0;

/// Times of single runs in nanoseconds, sorted.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<f64>);

impl Times {
    /// Of samples in any order.
    pub fn of(mut samples: Vec<f64>) -> Times {
        samples.sort_by(f64::total_cmp);
        Times(samples)
    }
    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// The sample below which this part of all lies: 0 is the shortest, 0.5 the median; 0 if there is none.
    pub fn at(&self, part: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let at = (last as f64 * part).round() as usize;
        self.0.get(at).copied().unwrap_or(0.0)
    }
    /// The shortest.
    pub fn min(&self) -> f64 {
        self.at(0.0)
    }
    /// The median.
    pub fn median(&self) -> f64 {
        self.at(0.5)
    }
}

fn checked(s: i32) -> Result<()> {
    match s {
        status::OK => Ok(()),
        s => Err(failed_run(s)),
    }
}

/// Runs until caches and threads are warm, and says how many runs make a sample.
pub fn warm_up(loaded: &mut Loaded, seconds: f64) -> Result<u32> {
    let begin = Instant::now();
    let long = Duration::from_secs_f64((seconds / 5.0).min(0.5));
    let mut shortest = f64::MAX;
    let mut runs = 0;
    while runs < WARM_UP || begin.elapsed() < long {
        let t = Instant::now();
        checked(loaded.run())?;
        shortest = shortest.min(t.elapsed().as_nanos() as f64);
        runs += 1;
    }
    Ok(batch(shortest))
}

/// Runs of so many nanoseconds that make a sample.
pub fn batch(ns: f64) -> u32 {
    (SAMPLE / ns.max(1.0)).ceil().clamp(1.0, 10_000.0) as u32
}

/// Samples for so many seconds, at least `least`.
pub fn sample(loaded: &mut Loaded, batch: u32, seconds: f64, least: usize) -> Result<Vec<f64>> {
    let mut samples = Vec::new();
    let begin = Instant::now();
    while samples.len() < least || (begin.elapsed().as_secs_f64() < seconds && samples.len() < MOST)
    {
        let t = Instant::now();
        checked(loaded.run_times(batch))?;
        samples.push(t.elapsed().as_nanos() as f64 / f64::from(batch));
    }
    Ok(samples)
}

/// The time of each of so many runs: for what the slowest are, which samples of several runs hide.
pub fn single(loaded: &mut Loaded, runs: usize) -> Result<Vec<f64>> {
    // Written beforehand: no run waits for the memory of the list.
    let mut times = vec![1.0; runs];
    for slot in &mut times {
        let t = Instant::now();
        checked(loaded.run())?;
        *slot = t.elapsed().as_nanos() as f64;
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_ranked() {
        let t = Times::of((1..=101).rev().map(f64::from).collect());
        assert_eq!((t.min(), t.median(), t.at(0.99)), (1.0, 51.0, 100.0));
        assert_eq!(Times::default().median(), 0.0);
        assert_eq!((batch(1e6), batch(1000.0), batch(0.0)), (1, 20, 10_000));
    }
}
