//! Flags that speak of accelerators.

use std::path::PathBuf;

use clap::Args;

/// What accelerators are asked for, and how they are treated.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Accelerators")]
pub struct NpuFlags {
    /// Let an accelerator compute what it can; several take turns in this order, each from what is left. Known: sim
    #[arg(long, value_name = "NAME[:OPTIONS]")]
    pub npu: Vec<String>,
    /// Fail where a node like this (`*` stands for any letters) would run on the CPU, when compiling and when running
    #[arg(long, value_name = "PATTERN", requires = "npu")]
    pub npu_required: Vec<String>,
    /// How many times faster than the CPU a region must be, by the estimates; 0: whatever can be offloaded is
    #[arg(long, value_name = "X", value_parser = parse_gain)]
    pub npu_min_gain: Option<f64>,
    /// Most regions of one accelerator
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub npu_max_regions: Option<u32>,
    /// Write what runs where and why: as a page for .html, as JSON for .json, else as text
    #[arg(long, value_name = "FILE", requires = "npu")]
    pub npu_report: Option<PathBuf>,
    /// Faults of a simulated device: a script, or seed=N
    #[arg(long, value_name = "SCRIPT", requires = "npu")]
    pub npu_faults: Option<String>,
    /// Let the CPU compute every so many runs of the device too, and compare
    #[arg(long, value_name = "N", requires = "npu")]
    pub npu_shadow: Option<u32>,
}

fn parse_gain(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|v| v.is_finite() && *v >= 0.0)
        .ok_or_else(|| "expected a number of at least 0".to_string())
}

/// Where a bench runs.
pub fn parse_device(text: &str) -> Result<String, String> {
    match text {
        "cpu" | "npu" => Ok(text.into()),
        t if t.starts_with("npu:") => Ok(text.into()),
        _ => Err("expected cpu, npu or npu:NAME".into()),
    }
}
