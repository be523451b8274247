//! Flags of `explain-quantization`.

use std::path::PathBuf;

use clap::Args;

use super::flags::{CodeFlags, DataFlags, ModelFlags};

/// Flags of `explain-quantization`.
#[derive(Args, Debug)]
pub struct ExplainQuantization {
    /// The model in floats
    pub float: PathBuf,
    /// The quantized model: with QuantizeLinear and DequantizeLinear, or QLinear operators, by whatever tool
    pub quantized: PathBuf,
    /// Cases: a folder of pictures, sounds or .npy files, or an .npz with cases or with arrays whose first axis counts them
    #[arg(long, value_name = "DIR|FILE.npz")]
    pub data: PathBuf,
    /// Use so many cases at most
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..))]
    pub samples: u64,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// Write the result as a page of HTML, complete in one file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Data.
    #[command(flatten)]
    pub input: DataFlags,
    /// Models.
    #[command(flatten)]
    pub model_flags: ModelFlags,
    /// Code that both run by.
    #[command(flatten)]
    pub code: CodeFlags,
}
