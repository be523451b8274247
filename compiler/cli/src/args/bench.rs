//! Flags of `bench`.

use std::path::PathBuf;

use clap::Args;

use super::flags::{CodeFlags, DataFlags, ModelFlags, TargetFlags};
use super::parse::parse_seconds;

/// Flags of `bench`.
#[derive(Args, Debug)]
pub struct Bench {
    /// The model, or a folder of folders with model.onnx and io.npz in each
    #[arg(required_unless_present = "roofline")]
    pub model: Option<PathBuf>,
    /// FILE, NAME=FILE, or random:SEED (the default is random:0)
    #[arg(value_name = "INPUT")]
    pub inputs: Vec<String>,
    /// Take the inputs of case 0 from here, and check the outputs before measuring
    #[arg(long, value_name = "io.npz")]
    pub reference: Option<PathBuf>,
    /// Threads to compile for and to run with; several numbers give several results
    #[arg(long, value_name = "N", default_value = "1", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=64))]
    pub threads: Vec<u32>,
    /// Seconds to measure
    #[arg(long, default_value_t = 1.0, value_parser = parse_seconds)]
    pub seconds: f64,
    /// Time so many single runs, however long they take: what is said of the longest is worth something
    #[arg(long, value_name = "N", conflicts_with_all = ["seconds", "against", "layers", "exec"], value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    pub runs: Option<u32>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// Append the result to this CSV file
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Time each layer, and compare it with what the machine can do
    #[arg(long, conflicts_with_all = ["against", "exec"])]
    pub layers: bool,
    /// Measure joules a run too, by the meters of the system: for a second idle and a second busy, or --seconds if that is longer
    #[arg(long, conflicts_with_all = ["against", "exec", "layers", "roofline"])]
    pub energy: bool,
    /// Measure the machine in place of a model: multiply-adds a second, and bandwidth of each cache
    #[arg(long, conflicts_with_all = ["against", "layers", "model"])]
    pub roofline: bool,
    /// Write layers or machine as a page of HTML, complete in one file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Where it runs: cpu, or npu:NAME, which is --npu NAME
    #[arg(long, value_name = "DEVICE", value_parser = super::npu::parse_device)]
    pub device: Option<String>,
    /// Run through this command: 'qemu-aarch64-static', 'ssh board'
    #[arg(long, value_name = "CMD")]
    pub exec: Option<String>,
    /// Take turns with other runtimes: onnxruntime, or what --peer-runner runs
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        conflicts_with = "exec"
    )]
    pub against: Vec<String>,
    /// Peer.
    #[command(flatten)]
    pub peer: PeerFlags,
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
}

/// How the other runtime is found and started.
#[derive(Args, Debug, Clone, Default)]
pub struct PeerFlags {
    /// The library of a peer without --peer-runner, such as libonnxruntime.so
    #[arg(long, value_name = "FILE", requires = "against")]
    pub peer_lib: Option<PathBuf>,
    /// A Python whose package holds the peer's library
    #[arg(long, value_name = "FILE", requires = "against")]
    pub python: Option<PathBuf>,
    /// A variable in the environment of peers
    #[arg(long, value_name = "NAME=VALUE", requires = "against", value_parser = parse_variable)]
    pub peer_env: Vec<(String, String)>,
    /// The program that runs a peer; if absent onnxc-peer-NAME, beside this program or on the PATH
    #[arg(long, value_name = "NAME=CMD", requires = "against", value_parser = parse_variable)]
    pub peer_runner: Vec<(String, String)>,
}

fn parse_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("expected NAME=VALUE".into()),
    }
}
