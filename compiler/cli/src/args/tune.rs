//! Flags of `tune-kernels`.

use std::path::PathBuf;

use clap::Args;

use super::flags::{CodeFlags, ModelFlags, TargetFlags};
use super::parse::parse_seconds;

/// Flags of `tune-kernels`.
#[derive(Args, Debug)]
pub struct TuneKernels {
    /// Models: what their layers ask of kernels is measured too, and held in the table
    #[arg(value_name = "MODEL")]
    pub models: Vec<PathBuf>,
    /// The table
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// More queries, one a line, in the form of a report's: conv 1x24x56x56 144x24x1x1 last=1
    #[arg(long, value_name = "FILE")]
    pub queries: Option<PathBuf>,
    /// Leave out the queries of common networks, which rates are fitted to; rates stay those of the level
    #[arg(long)]
    pub only: bool,
    /// Seconds for each kernel and query
    #[arg(long, default_value_t = 0.1, value_parser = parse_seconds)]
    pub seconds: f64,
    /// Run through this command: 'qemu-aarch64-static', 'ssh board'
    #[arg(long, value_name = "CMD")]
    pub exec: Option<String>,
    /// Models' sizes and limits.
    #[command(flatten)]
    pub model_flags: ModelFlags,
    /// Code.
    #[command(flatten)]
    pub code: CodeFlags,
    /// Machine.
    #[command(flatten)]
    pub target: TargetFlags,
}
