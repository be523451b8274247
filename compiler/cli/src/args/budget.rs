//! Flags of `quantize` that say how good, small or fast the result must be.

use std::path::PathBuf;

use clap::Args;

use super::eval::MetricName;
use super::parse::parse_size;

/// At most one goal; layers stay in floats, or become so, until it is met.
#[derive(Args, Debug, Clone)]
pub struct BudgetFlags {
    /// Keep layers in floats until every output has this SQNR against the float model, in decibels
    #[arg(long, value_name = "DB", group = "goal", allow_negative_numbers = true, value_parser = parse_decibels)]
    pub min_sqnr: Option<f64>,
    /// Keep layers in floats until accuracy is no more than this many points (hundredths) below the float model's: --labels, --metric
    #[arg(long, value_name = "POINTS", group = "goal", allow_negative_numbers = true, value_parser = parse_points)]
    pub max_drop: Option<f64>,
    /// Quantize, least harmful layers first, until the file has no more bytes
    #[arg(long, value_name = "SIZE", group = "goal", value_parser = parse_size)]
    pub target_size: Option<u64>,
    /// Quantize, least harmful layers first, until a run on this machine takes no more milliseconds, on one thread
    #[arg(long, value_name = "MS", group = "goal", value_parser = parse_milliseconds)]
    pub target_latency: Option<f64>,
    /// What is right for --max-drop, as `eval` takes it; the array `labels` of the data if absent
    #[arg(long, value_name = "FILE", requires = "max_drop")]
    pub labels: Option<PathBuf>,
    /// What --max-drop measures, of the first output
    #[arg(long, value_enum, value_name = "METRIC", default_value = "top1")]
    pub metric: MetricName,
    /// Labelled data for --max-drop; the calibration data if absent
    #[arg(long, value_name = "DIR|FILE.npz", requires = "max_drop")]
    pub eval_data: Option<PathBuf>,
    /// Use so many labelled cases at most
    #[arg(long, value_name = "N", requires = "max_drop", value_parser = clap::value_parser!(u64).range(1..))]
    pub eval_samples: Option<u64>,
    /// Take from this file which layers stay in floats, without a search
    #[arg(long, value_name = "FILE.toml", conflicts_with = "goal")]
    pub choices: Option<PathBuf>,
    /// Measure each layer, and write which are in 8 bits and which in floats
    #[arg(long, value_name = "FILE.toml")]
    pub write_choices: Option<PathBuf>,
}

/// What is to be reached.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Goal {
    /// SQNR of the worst output, in decibels, at least.
    Sqnr(f64),
    /// Points of accuracy lost, at most.
    Drop(f64),
    /// Bytes of the file, at most.
    Size(u64),
    /// Nanoseconds of a run, at most.
    Latency(f64),
}

impl BudgetFlags {
    /// The goal, if there is one.
    pub fn goal(&self) -> Option<Goal> {
        let quality = self.min_sqnr.map(Goal::Sqnr);
        let quality = quality.or(self.max_drop.map(Goal::Drop));
        let size = self.target_size.map(Goal::Size);
        let latency = self.target_latency.map(|ms| Goal::Latency(ms * 1e6));
        quality.or(size).or(latency)
    }
}

fn number(text: &str, good: impl Fn(f64) -> bool, what: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(v) if v.is_finite() && good(v) => Ok(v),
        _ => Err(what.to_string()),
    }
}

fn parse_decibels(text: &str) -> Result<f64, String> {
    number(text, |_| true, "decibels are a number, such as 25")
}

fn parse_points(text: &str) -> Result<f64, String> {
    number(
        text,
        |v| (0.0..=100.0).contains(&v),
        "points are a number from 0 to 100, such as 0.5",
    )
}

fn parse_milliseconds(text: &str) -> Result<f64, String> {
    number(
        text,
        |v| v > 0.0,
        "milliseconds are a number above 0, such as 2.5",
    )
}
