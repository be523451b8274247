//! Flags of `prune`.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, ValueEnum};
use onnxc_compiler::compress::prune::Pattern;

use super::flags::{CodeFlags, DataFlags, ModelFlags};
use super::parse::parse_size;

/// Flags of `prune`.
#[derive(Args, Debug)]
pub struct Prune {
    /// The model, in floats
    pub model: PathBuf,
    /// Where the pruned model goes
    #[arg(short, long, value_name = "FILE.onnx")]
    pub output: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// How.
    #[command(flatten)]
    pub how: PruneFlags,
    /// Goals.
    #[command(flatten)]
    pub goals: PruneGoals,
    /// Data.
    #[command(flatten)]
    pub data: PruneData,
    /// Model.
    #[command(flatten)]
    pub model_flags: ModelFlags,
    /// Code that the models run by.
    #[command(flatten)]
    pub code: CodeFlags,
}

/// What is removed, and how it is chosen.
#[derive(Args, Debug, Clone)]
pub struct PruneFlags {
    /// How much goes: of channels and heads the share of multiply-accumulates, else that of weights
    #[arg(long, value_name = "SHARE", value_parser = parse_sparsity)]
    pub sparsity: Option<f64>,
    /// Let the weights of each layer take so many values at most, 2 to 256: up to 16, objects store four bits for each, above, eight. Alone or after pruning
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=256))]
    pub cluster: Option<u16>,
    /// What goes together: unstructured, N:M, 4x1, 8x1, 1x4, 4x4, channels, heads
    #[arg(long, value_name = "PATTERN", default_value = "unstructured", value_parser = parse_pattern)]
    pub pattern: Pattern,
    /// What is least important in the whole model, the same share of each layer, or the shares that a file gives
    #[arg(
        long,
        value_name = "global|uniform|FILE.toml",
        default_value = "global"
    )]
    pub scope: String,
    /// What importance is: `activation` with calibration data, else `l2`
    #[arg(long, value_enum, value_name = "CRITERION")]
    pub criterion: Option<CriterionName>,
    /// Leave layers as they are: names, in which `*` stands for any letters
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    pub keep: Vec<String>,
    /// Channels that stay are a multiple of this, where there are more: `auto` is 8 from 16 on, or 1 if too little could go so
    #[arg(long, value_name = "auto|N", default_value = "auto", value_parser = parse_round)]
    pub round_to: Round,
    /// Let the weights that stay make up for those that went, by calibration data, without labels (the default where there is data)
    #[arg(long, conflicts_with = "no_reconstruct")]
    pub reconstruct: bool,
    /// Leave the weights that stay as they are
    #[arg(long)]
    pub no_reconstruct: bool,
}

/// What is to be reached, or found out.
#[derive(Args, Debug, Clone, Default)]
#[command(group = ArgGroup::new("prune_goal").args(["target_size", "target_latency"]))]
pub struct PruneGoals {
    /// Write a page on what each layer does to the outputs at several shares
    #[arg(long, value_name = "FILE.html")]
    pub sensitivity: Option<PathBuf>,
    /// Remove as little as gives an object for this machine of no more bytes
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub target_size: Option<u64>,
    /// Remove as little as gives a run on this machine of no more milliseconds, on one thread
    #[arg(long, value_name = "MS", value_parser = parse_milliseconds)]
    pub target_latency: Option<f64>,
}

/// Where data comes from.
#[derive(Args, Debug, Clone)]
pub struct PruneData {
    /// Data that the model is run on: a folder of pictures, sounds or .npy files, or an .npz with cases or with arrays whose first axis counts them
    #[arg(long, value_name = "DIR|FILE.npz")]
    pub calibration: Option<PathBuf>,
    /// Use so many cases at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub samples: u64,
    /// Preprocessing.
    #[command(flatten)]
    pub data: DataFlags,
}

/// By what weights are judged.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum CriterionName {
    /// Their magnitudes
    Magnitude,
    /// Their squares
    L2,
    /// Their squares times those of what they are multiplied by, on calibration data
    Activation,
}

/// How numbers of channels are rounded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Round {
    /// By the number of channels.
    Auto,
    /// To multiples.
    To(usize),
}

impl PruneFlags {
    /// Files that the result depends on.
    pub fn files(&self) -> Vec<&Path> {
        match ["global", "uniform"].contains(&&*self.scope) {
            true => vec![],
            false => vec![Path::new(&self.scope)],
        }
    }
}

fn parse_sparsity(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(v) if v > 0.0 && v < 1.0 => Ok(v),
        _ => Err("a share is a number above 0 and below 1, such as 0.5".to_string()),
    }
}

fn parse_pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).ok_or_else(|| {
        "a pattern is unstructured, 4x1, 8x1, 1x4, 4x4, channels, heads, or N:M such as 2:4 with N below M and M up to 64".to_string()
    })
}

fn parse_round(text: &str) -> Result<Round, String> {
    match text.parse::<usize>() {
        _ if text == "auto" => Ok(Round::Auto),
        Ok(n) if (1..=1024).contains(&n) => Ok(Round::To(n)),
        _ => Err("`auto`, or a number from 1 to 1024".to_string()),
    }
}

fn parse_milliseconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(v) if v.is_finite() && v > 0.0 => Ok(v),
        _ => Err("milliseconds are a number above 0, such as 2.5".to_string()),
    }
}
