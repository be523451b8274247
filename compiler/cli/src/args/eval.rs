//! Flags of `eval`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::flags::{CodeFlags, DataFlags, ExecFlags, ModelFlags, TargetFlags, ThreadFlags};

/// Flags of `eval`.
#[derive(Args, Debug)]
pub struct Eval {
    /// The model
    pub model: PathBuf,
    /// Cases: a folder of pictures, sounds or .npy files, or an .npz with arrays whose first axis counts them
    #[arg(long, value_name = "DIR|FILE.npz")]
    pub data: PathBuf,
    /// What is right, case by case: .npy, .npz (array `labels`), or text with a class, or a file's name and its class, on each line; the array
    /// `labels` of the data if absent
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// What is measured
    #[arg(long, value_enum, value_delimiter = ',', default_value = "top1")]
    pub metric: Vec<MetricName>,
    /// Measure this output; the first if absent
    #[arg(long, value_name = "NAME")]
    pub output: Option<String>,
    /// Use so many cases at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub samples: Option<u64>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// Data.
    #[command(flatten)]
    pub input: DataFlags,
    /// Execution.
    #[command(flatten)]
    pub exec: ExecFlags,
    /// Model.
    #[command(flatten)]
    pub model_flags: ModelFlags,
    /// Machine.
    #[command(flatten)]
    pub target: TargetFlags,
    /// Code.
    #[command(flatten)]
    pub code: CodeFlags,
    /// Threads.
    #[command(flatten)]
    pub threads: ThreadFlags,
}

/// What is measured.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum MetricName {
    /// Share of rows whose largest score is that of the right class
    Top1,
    /// Share of rows whose five largest scores have the right class among them
    Top5,
    /// Area under the ROC curve; classes are 0 and 1
    Auc,
    /// Mean over the classes of intersection over union, of maps of classes
    Miou,
    /// Mean square of the difference
    Mse,
}
