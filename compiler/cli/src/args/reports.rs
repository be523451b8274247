//! Flags of verbs that look at what was built: `diff`, `profile`.

use std::path::PathBuf;

use clap::Args;

use super::flags::{CodeFlags, DataFlags, ModelFlags, TargetFlags, ThreadFlags};
use super::parse::parse_seconds;

/// Flags of `diff`.
#[derive(Args, Debug)]
pub struct Diff {
    /// The report of the build before, as `--emit report` writes it
    pub before: PathBuf,
    /// The report of the build after
    pub after: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// End with 1 where the builds differ
    #[arg(long)]
    pub exit_code: bool,
}

/// Flags of `profile`.
#[derive(Args, Debug)]
pub struct Profile {
    /// The model
    pub model: PathBuf,
    /// FILE, NAME=FILE, or random:SEED (the default is random:0)
    #[arg(value_name = "INPUT")]
    pub inputs: Vec<String>,
    /// Seconds to measure
    #[arg(long, default_value_t = 1.0, value_parser = parse_seconds)]
    pub seconds: f64,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// Write a page of HTML with charts, complete in one file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write a few runs as a trace, which chrome://tracing and Perfetto show
    #[arg(long, value_name = "FILE.json")]
    pub trace: Option<PathBuf>,
    /// Data.
    #[command(flatten)]
    pub data: DataFlags,
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
