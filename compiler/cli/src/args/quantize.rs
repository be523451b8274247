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
    /// What becomes small, and how small
    #[arg(long, value_enum, default_value = "int8", value_name = "PRECISION")]
    pub precision: Precision,
    /// Quantize weights alone: activations stay floats, and no data is needed
    #[arg(long)]
    pub weight_only: bool,
    /// Quantize matrix products with constant weights, whose inputs find their range while they run; no data is needed
    #[arg(long, conflicts_with = "weight_only")]
    pub dynamic: bool,
    /// So many weights of a matrix product's sum have a scale of their own
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=65536))]
    pub block: Option<u32>,
    /// Use so many bits of each weight, fewer than it takes in the file: an experiment, or a limit of an accelerator's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=8))]
    pub weight_bits: Option<u32>,
    /// How weights become whole numbers
    #[arg(long, value_enum, default_value = "nearest", value_name = "METHOD")]
    pub weight_rounding: WeightMethod,
    /// Scale channels between layers so that both sides have like ranges, before anything else
    #[arg(long)]
    pub equalize: bool,
    /// Move large channels behind a LayerNormalization into the weights that read them: the share, 0.5 is usual
    #[arg(long, value_name = "ALPHA", value_parser = parse_share)]
    pub smooth: Option<f64>,
    /// Data that ranges are measured on: a folder of pictures, sounds or .npy files, or an .npz with cases or with arrays whose first axis counts them
    #[arg(long, value_name = "DIR|FILE.npz")]
    pub calibration: Option<PathBuf>,
    /// Measure ranges on made-up inputs, normally distributed
    #[arg(long, value_name = "MEAN,DEVIATION", num_args = 0..=1, require_equals = true, default_missing_value = "0,1",
          value_parser = parse_normal, conflicts_with = "calibration")]
    pub no_data: Option<(f64, f64)>,
    /// Use so many cases at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub samples: u64,
    /// How the ranges of activations are chosen: by default `minmax`
    #[arg(long, value_enum, value_name = "METHOD")]
    pub calibration_method: Option<CalibrationMethod>,
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
    /// Give values between a product and its LeakyRelu or PRelu a scale too, as accelerators expect; `compile --npu` does
    #[arg(long)]
    pub every_value: bool,
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

/// What becomes small, and how small.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Precision {
    /// Weights and activations in 8 bits
    Int8,
    /// Weights in 4 bits, activations in floats
    Int4,
    /// Weights in 4 bits, activations in 8
    W4a8,
    /// Weights in 8 bits, activations in 16 (the same as w8a16)
    Int16,
    /// Weights in 8 bits, activations in 16
    W8a16,
    /// Weights in half precision, activations in floats
    Fp16,
    /// Weights in bfloat16, activations in floats
    Bf16,
    /// 8 bits, and floats where a budget asks for them: --min-sqnr, --max-drop, --target-size or --target-latency
    Mixed,
}

impl Precision {
    /// Its name as a flag's value.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Int8 => "int8",
            Precision::Int4 => "int4",
            Precision::W4a8 => "w4a8",
            Precision::Int16 => "int16",
            Precision::W8a16 => "w8a16",
            Precision::Fp16 => "fp16",
            Precision::Bf16 => "bf16",
            Precision::Mixed => "mixed",
        }
    }
    /// Bits that a weight takes in the file.
    pub fn weight_bits(self) -> u32 {
        match self {
            Precision::Int4 | Precision::W4a8 => 4,
            Precision::Fp16 | Precision::Bf16 => 16,
            Precision::Int8 | Precision::Int16 | Precision::W8a16 | Precision::Mixed => 8,
        }
    }
}

/// How weights become whole numbers.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum WeightMethod {
    /// Each to the nearest
    Nearest,
    /// Each makes up for the error of those before it
    Gptq,
    /// Each up or down, by what that does to the layer's result
    Adaround,
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
        all.into_iter().flatten().map(PathBuf::as_path).collect()
    }
    /// The method with its number.
    pub fn method(&self) -> Method {
        match self.calibration_method.unwrap_or(CalibrationMethod::Minmax) {
            CalibrationMethod::Minmax => Method::MinMax,
            CalibrationMethod::Percentile => Method::Percentile(self.percentile),
            CalibrationMethod::Mse => Method::Mse,
            CalibrationMethod::Entropy => Method::Entropy,
            CalibrationMethod::MovingAverage => Method::MovingAverage,
        }
    }
}

fn parse_normal(text: &str) -> Result<(f64, f64), String> {
    let numbers = text.split_once(',').and_then(|(mean, deviation)| {
        let (mean, deviation) = (
            mean.trim().parse::<f64>().ok()?,
            deviation.trim().parse::<f64>().ok()?,
        );
        (mean.is_finite() && deviation.is_finite() && deviation > 0.0).then_some((mean, deviation))
    });
    numbers.ok_or_else(|| {
        "mean and standard deviation are two numbers, such as 127.5,60; the second is above 0"
            .to_string()
    })
}

fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(v) if (0.0..=1.0).contains(&v) => Ok(v),
        _ => Err("a share is a number from 0 to 1, such as 0.5".to_string()),
    }
}

fn parse_percentile(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(v) if v > 50.0 && v <= 100.0 => Ok(v),
        _ => Err("a share of a hundred is a number above 50 up to 100, such as 99.99".to_string()),
    }
}
