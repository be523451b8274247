//! Flags of `quantize`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use onnxc_compiler::compress::quantize::Method;

use super::budget::BudgetFlags;
use super::flags::{CodeFlags, DataFlags, ModelFlags};

/// Flags of `quantize`.
#[derive(Args, Debug)]
pub struct Quantize {
    /// The model, in floats
    pub model: PathBuf,
    /// Where the quantized model goes
    #[arg(short, long, value_name = "FILE.onnx")]
    pub output: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// How.
    #[command(flatten)]
    pub how: QuantizeFlags,
    /// Model.
    #[command(flatten)]
    pub model_flags: ModelFlags,
    /// Code that the float model runs by.
    #[command(flatten)]
    pub code: CodeFlags,
}

/// How a model is quantized.
#[derive(Args, Debug, Clone)]
pub struct QuantizeFlags {
    /// Data that ranges are measured on: a folder of pictures, sounds or .npy files, or an .npz with cases or with arrays whose first axis counts them
    #[arg(long, value_name = "DIR|FILE.npz")]
    pub calibration: Option<PathBuf>,
    /// Use so many cases at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub samples: u64,
    /// How the ranges of activations are chosen
    #[arg(long, value_enum, default_value = "minmax", value_name = "METHOD")]
    pub calibration_method: CalibrationMethod,
    /// For `percentile`: how many of a hundred values lie within
    #[arg(long, value_name = "P", default_value_t = 99.99, value_parser = parse_percentile)]
    pub percentile: f64,
    /// Type of activations
    #[arg(long, value_enum, default_value = "i8", value_name = "TYPE")]
    pub activation_type: ActivationType,
    /// Put the zero points of activations in the middle
    #[arg(long)]
    pub symmetric: bool,
    /// One scale for all output channels of weights
    #[arg(long)]
    pub per_tensor: bool,
    /// Leave biases as they are: by default they take back what rounding the weights adds to a layer's mean
    #[arg(long)]
    pub no_bias_correction: bool,
    /// Leave nodes in floats: names, in which `*` stands for any letters
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    pub exclude: Vec<String>,
    /// Quantize these nodes alone
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    pub only: Vec<String>,
    /// How good, small or fast.
    #[command(flatten)]
    pub budget: BudgetFlags,
    /// Data.
    #[command(flatten)]
    pub data: DataFlags,
}

/// How ranges are chosen.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum CalibrationMethod {
    /// All that was seen
    Minmax,
    /// All but the outermost values: --percentile
    Percentile,
    /// What loses least to rounding and limits together
    Mse,
    /// What keeps the distribution nearest
    Entropy,
    /// The mean of each case's smallest and largest
    MovingAverage,
}

/// Type of activations.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum ActivationType {
    I8,
    U8,
}

impl QuantizeFlags {
    /// Files that the result depends on. Folders of data are none: build systems can't watch what is in them.
    pub fn files(&self) -> Vec<&Path> {
        let b = &self.budget;
        let all = [
            &self.calibration,
            &self.data.preprocess,
            &b.choices,
            &b.labels,
            &b.eval_data,
        ];
        let all = all.into_iter().flatten().map(PathBuf::as_path);
        all.filter(|p| !p.is_dir()).collect()
    }
    /// The method with its number.
    pub fn method(&self) -> Method {
        match self.calibration_method {
            CalibrationMethod::Minmax => Method::MinMax,
            CalibrationMethod::Percentile => Method::Percentile(self.percentile),
            CalibrationMethod::Mse => Method::Mse,
            CalibrationMethod::Entropy => Method::Entropy,
            CalibrationMethod::MovingAverage => Method::MovingAverage,
        }
    }
}

fn parse_percentile(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(v) if v > 50.0 && v <= 100.0 => Ok(v),
        _ => Err("a share of a hundred is a number above 50 up to 100, such as 99.99".to_string()),
    }
}
