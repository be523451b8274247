//! The flags, as clap declares them. Groups that several verbs share are structs of their own.
//!
//! Values are read into types here where that needs nothing but the text; what needs the model or the machine is
//! decided by the verb.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use onnxc_compiler::onnx::DimSpec;

pub use super::bench::Bench;
pub use super::choices::{Denormals, OptLevel, OptimizeFor, Palettes, Rounding, Sparse};
pub use super::eval::Eval;
pub use super::explain::ExplainQuantization;
use super::parse::*;
pub use super::prune::{Prune, PruneFlags};
pub use super::quantize::{Quantize, QuantizeFlags};
pub use super::reports::{Diff, Profile};
pub use super::tune::TuneKernels;
pub use super::updates::{Delta, Patch};
use super::weights::{Weights, parse_weights};

/// Compiles ONNX models to native object files.
#[derive(Parser, Debug)]
#[command(
    name = "onnxc",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = false,
    after_help = "`onnxc model.onnx` is `onnxc compile model.onnx`. `@file` reads further words from a file.\n\
                  Exit codes: 0 done; 1 the model, a file or a check failed; 2 usage; 3 a bug of onnxc."
)]
pub struct Cli {
    /// Flags of all verbs.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// How messages are given.
#[derive(Args, Debug, Clone)]
pub struct Global {
    /// How messages are printed: for people, or one JSON object a line
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "human",
        value_name = "FORMAT"
    )]
    pub message_format: MessageFormat,
    /// Whether messages have colour
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "auto",
        value_name = "WHEN"
    )]
    pub color: Color,
    /// Print what each pass did
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Print errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// Form of messages.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// When to colour.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Verb {
    /// Compile a model to an object file and a C header (the default)
    Compile(Box<Compile>),
    /// Compile, run once, and print or store the outputs
    Run(Run),
    /// Compile, run, and compare with reference outputs
    Verify(Verify),
    /// Compile and measure the time of a run
    Bench(Bench),
    /// Show layers, shapes, work, parameters and memory
    Inspect(Inspect),
    /// Measure each layer: time, speed, share of what the machine can do, hardware counters
    Profile(Profile),
    /// Say what changed between two builds, by their JSON reports
    Diff(Diff),
    /// Write a file as its difference from an older one, for updates of weights over thin links
    Delta(Delta),
    /// Make the new file of the old one and a difference
    Patch(Patch),
    /// Run tests in the layout of ONNX's own
    TestOnnx(TestOnnx),
    /// Quantize a float model, by calibration data or without, and write it as ONNX
    Quantize(Quantize),
    /// Remove weights, channels or heads of a float model, and write it as ONNX
    Prune(Prune),
    /// Compare a quantized model with the float one, value by value
    ExplainQuantization(ExplainQuantization),
    /// Measure how right a compiled model is on labelled data
    Eval(Eval),
    /// Measure kernels on a machine, and write the table by which they are chosen
    TuneKernels(TuneKernels),
}

/// Which model, and what is free in it.
#[derive(Args, Debug, Clone, Default)]
pub struct ModelFlags {
    /// Fix a free dimension, or bound it: NAME=8, NAME=1..512; NAME may be INPUT:AXIS
    #[arg(long, value_name = "NAME=N|LO..HI", value_parser = parse_dim)]
    pub dim: Vec<(String, DimSpec)>,
    /// Fix the shape of an input
    #[arg(long = "input", value_name = "NAME:1,3,224,224", value_parser = parse_shape)]
    pub shapes: Vec<(String, Vec<i64>)>,
    /// Make an input a constant: numbers parted by commas, or a .npy or .pb file
    #[arg(long = "const", value_name = "NAME=VALUE", value_parser = parse_const)]
    pub constants: Vec<(String, String)>,
    /// Most memory that constants and buffers of the compiler may take
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub max_memory: Option<u64>,
    /// Largest model file
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub max_model_size: Option<u64>,
    /// Most nodes, functions inlined
    #[arg(long, value_name = "N")]
    pub max_nodes: Option<usize>,
    /// Deepest nesting of bodies and functions
    #[arg(long, value_name = "N")]
    pub max_depth: Option<usize>,
}

/// Which machine.
#[derive(Args, Debug, Clone, Default)]
pub struct TargetFlags {
    /// Target triple; the host's if absent
    #[arg(long, value_name = "TRIPLE")]
    pub target: Option<String>,
    /// CPU to make code for: a name of `--print target-cpus`, or `native`. gcc's -mcpu= and -march= work too. A list (x86-64-v2,x86-64-v3) puts code for each into one object, which chooses when it runs
    #[arg(long, value_name = "CPU[,CPU]..")]
    pub target_cpu: Option<String>,
    /// Choose kernels by this table, as `tune-kernels` wrote it
    #[arg(long, value_name = "FILE")]
    pub cost: Option<PathBuf>,
    /// Flags of a C compiler: those that choose a CPU or a feature are obeyed, the rest is dropped. A CPU named by --target-cpu or -mcpu= goes before theirs
    #[arg(long, value_name = "FLAGS", allow_hyphen_values = true)]
    pub target_cflags: Vec<String>,
    /// Features to switch on or off: +avx2,-fma
    #[arg(long, value_name = "LIST", allow_hyphen_values = true)]
    pub target_feature: Vec<String>,
    /// gcc's -m words, put here by the first pass over argv.
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub machine_flag: Vec<String>,
    /// The CPU that a build system compiles the rest of the program for; a name that is not known is left out with a warning.
    #[arg(long, hide = true)]
    pub program_cpu: Option<String>,
    /// Its features, as `--target-feature` lists them; those that are not known are left out.
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub program_feature: Vec<String>,
    /// Winograd's algorithm for 3x3 convolutions: none, tiles of 2x2 results, or of 4x4 too
    #[arg(long, value_enum, default_value = "f4", value_name = "TILES")]
    pub winograd: Winograd,
    /// Error that it may be expected to make, relative to a layer's largest output (1e-5 if absent)
    #[arg(long, value_name = "E", value_parser = parse_error)]
    pub winograd_error: Option<f64>,
    /// Kernels that leave out weights which are zero: where they are faster, or nowhere
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN")]
    pub sparse: Sparse,
    /// Bytes of straight-line code that a layer with sparse weights may take
    #[arg(long, value_name = "BYTES", default_value_t = 262_144, value_parser = clap::value_parser!(u32).range(0..=1 << 24))]
    pub sparse_code: u32,
    /// Weights of at most 16 or 256 values (`prune --cluster`) as numbers of four or eight bits into a table, looked up as a layer's run begins: the same results from a smaller object, a little later
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN")]
    pub palettes: Palettes,
}

/// Tiles of Winograd's algorithm.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Winograd {
    /// Not used.
    Off,
    /// 2x2 results at a time.
    F2,
    /// 4x4 results at a time where the error allows.
    #[default]
    F4,
}

fn parse_error(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(v) if v >= 0.0 => Ok(v),
        _ => Err("an error is a number from 0 up, such as 1e-5".to_string()),
    }
}

/// How to make code.
#[derive(Args, Debug, Clone)]
pub struct CodeFlags {
    /// Optimization: 0 (each node by itself, for finding faults), 1 (compiles quickly), 2, 3 (loops written out further), s (smallest code)
    #[arg(
        short = 'O',
        long = "opt-level",
        value_enum,
        default_value = "2",
        value_name = "LEVEL"
    )]
    pub opt_level: OptLevel,
    /// What to be best at: time of a run, bytes of the arena, or bytes of code and weights
    #[arg(long, value_enum, default_value = "latency", value_name = "GOAL")]
    pub optimize_for: OptimizeFor,
    /// What all global symbols begin with; the file's stem if absent
    #[arg(long, value_name = "NAME")]
    pub prefix: Option<String>,
    /// Threads of the compiler
    #[arg(short = 'j', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub jobs: Option<u32>,
    /// What a run does with denormal numbers
    #[arg(long, value_enum, default_value = "auto", value_name = "MODE")]
    pub denormals: Denormals,
    /// Which way halves go where whole numbers are requantized
    #[arg(long, value_enum, default_value = "even", value_name = "WAY")]
    pub rounding: Rounding,
    /// Fail where an operator that the file quantizes would compute in floats
    #[arg(long)]
    pub require_int8: bool,
    /// Where weights go: embed, section=NAME, or file[=PATH]
    #[arg(long, default_value = "embed", value_name = "WHERE", value_parser = parse_weights)]
    pub weights: Weights,
    /// Leave out a pass or fusion of `--print pipeline`
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub disable_pass: Vec<String>,
    /// Run a pass or fusion that is off by default
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub enable_pass: Vec<String>,
    /// Stop optimizing after this many edits, to find a faulty one by halving
    #[arg(long, value_name = "N")]
    pub max_edits: Option<u64>,
    /// Accelerators.
    #[command(flatten)]
    pub npu: super::npu::NpuFlags,
}

/// For how many threads to make code.
#[derive(Args, Debug, Clone)]
pub struct ThreadFlags {
    /// Threads that loops are cut for; the caller brings them
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub threads: u32,
}

/// Flags of `compile`.
#[derive(Args, Debug)]
pub struct Compile {
    /// The model, or `-` for standard input
    #[arg(required_unless_present = "print")]
    pub model: Option<PathBuf>,
    /// Where the object goes; other outputs lie beside it
    #[arg(short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// What to write: obj, staticlib, so, header, rust, dep-info, report, html, graph, loops, clif, asm, dot, bench-c, hpp; each may be KIND=PATH
    #[arg(long, value_name = "KIND[=PATH]", value_delimiter = ',', value_parser = crate::emit::parse_emit)]
    pub emit: Vec<crate::emit::Emit>,
    /// Write the report beside all else: a page of HTML or JSON, by the ending; both, where it is given twice
    #[arg(long, value_name = "FILE.html|FILE.json")]
    pub report: Vec<PathBuf>,
    /// Print a list and end
    #[arg(long, value_enum, value_name = "LIST")]
    pub print: Option<Print>,
    /// Write the dependencies in make's form (as -MD does); the path is set by -MF, targets by -MT, phony targets by -MP
    #[arg(long, hide = true, action = ArgAction::SetTrue)]
    pub make_depfile: bool,
    /// The path given by -MF.
    #[arg(long, hide = true)]
    pub make_depfile_path: Option<PathBuf>,
    /// The targets given by -MT.
    #[arg(long, hide = true)]
    pub make_target: Vec<String>,
    /// Whether -MP was given.
    #[arg(long, hide = true)]
    pub make_phony: bool,
    /// Prune the model first, as the verb `prune` does; --calibration and --samples say by which data
    #[arg(long)]
    pub prune: bool,
    /// How it is pruned.
    #[command(flatten, next_help_heading = "With --prune")]
    pub less: PruneFlags,
    /// Quantize the model first, by calibration data, as the verb `quantize` does
    #[arg(long, value_enum, value_name = "TYPE")]
    pub quantize: Option<QuantizeTo>,
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
    /// How it is quantized.
    #[command(flatten, next_help_heading = "With --quantize")]
    pub how: QuantizeFlags,
}

/// Numbers that a model is quantized to.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum QuantizeTo {
    /// 8 bits.
    Int8,
}

/// What `--print` prints.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Print {
    /// Well-known target triples.
    TargetList,
    /// CPUs of the target.
    TargetCpus,
    /// Features of the target.
    TargetFeatures,
    /// Operators.
    SupportedOps,
    /// Passes and stages in order.
    Pipeline,
    /// Every command and option, as a page of the book.
    Options,
    /// Completion for bash.
    CompletionsBash,
    /// Completion for zsh.
    CompletionsZsh,
    /// Completion for fish.
    CompletionsFish,
    /// Manual pages: one for each command, into the folder of -o; that of the tool to standard output without.
    Man,
}

/// Where data for inputs comes from.
#[derive(Args, Debug, Clone, Default)]
pub struct DataFlags {
    /// How pictures and sound become tensors: a TOML file
    #[arg(long, value_name = "FILE")]
    pub preprocess: Option<PathBuf>,
}

/// How the code runs that was made.
#[derive(Args, Debug, Clone)]
pub struct ExecFlags {
    /// Run through this command, for other architectures: 'qemu-aarch64-static'
    #[arg(long, value_name = "CMD")]
    pub exec: Option<String>,
}

/// Flags of `run`.
#[derive(Args, Debug)]
pub struct Run {
    /// The model
    pub model: PathBuf,
    /// FILE, NAME=FILE (.npy .npz .png .jpg .wav .pb), or random:SEED for all inputs
    #[arg(value_name = "INPUT")]
    pub inputs: Vec<String>,
    /// Store the outputs here
    #[arg(short, value_name = "out.npz")]
    pub output: Option<PathBuf>,
    /// Names of classes, one a line; the best ones are printed
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// How many of the best classes are printed
    #[arg(long, value_name = "K", default_value_t = 5)]
    pub top: usize,
    /// Print the outputs as JSON
    #[arg(long)]
    pub json: bool,
    /// Data.
    #[command(flatten)]
    pub data: DataFlags,
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

/// Flags of `verify`.
#[derive(Args, Debug)]
pub struct Verify {
    /// The model
    pub model: PathBuf,
    /// Cases: arrays c0_in0, c0_in1, .. c0_out0, .. c1_in0, ..; of several files, later arrays count
    #[arg(long, value_name = "io.npz", required = true)]
    pub reference: Vec<PathBuf>,
    /// Relative tolerance of floats: |a - b| <= atol + rtol * |b|, instead of the default rule
    #[arg(long, value_parser = parse_tolerance)]
    pub rtol: Option<f64>,
    /// Absolute tolerance of floats
    #[arg(long, value_parser = parse_tolerance)]
    pub atol: Option<f64>,
    /// Quantization steps by which outputs that leave a QuantizeLinear may differ
    #[arg(long, default_value_t = 1)]
    pub steps: u32,
    /// On a miss, don't look for the first layer that differs from the interpreter (it can take minutes)
    #[arg(long)]
    pub no_layer: bool,
    /// Only these cases
    #[arg(long, value_name = "K", value_delimiter = ',')]
    pub case: Vec<usize>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
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

/// Flags of `inspect`.
#[derive(Args, Debug)]
pub struct Inspect {
    /// The model
    pub model: PathBuf,
    /// Show the nodes of the file, not the layers that they become
    #[arg(long)]
    pub nodes: bool,
    /// Show the functions of the object, and the layers and nodes that each computes: what `perf` shows by symbol
    #[arg(long, conflicts_with_all = ["nodes", "json"])]
    pub symbols: bool,
    /// Say which layers cost most, and what a cheaper equivalent would save by the cost table
    #[arg(long, conflicts_with_all = ["nodes", "symbols"])]
    pub advise: bool,
    /// Write the graph for Graphviz
    #[arg(long, value_name = "FILE")]
    pub dot: Option<PathBuf>,
    /// Draw the graph
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Write the report as a page of HTML: graph, layers, memory over time, precision
    #[arg(long, value_name = "FILE", conflicts_with = "nodes")]
    pub html: Option<PathBuf>,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
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

/// Flags of `test-onnx`.
#[derive(Args, Debug)]
pub struct TestOnnx {
    /// Folders of tests, or of folders of tests: model.onnx and test_data_set_*/input_*.pb, output_*.pb
    #[arg(value_name = "DIR", required_unless_present = "worker")]
    pub dirs: Vec<PathBuf>,
    /// Only tests whose name holds one of these, or is one of these where it begins with `=`
    #[arg(long, value_name = "TEXT", value_delimiter = ',')]
    pub filter: Vec<String>,
    /// Print each test that failed, and why
    #[arg(long)]
    pub list: bool,
    /// Print the result of each test as JSON
    #[arg(long)]
    pub json: bool,
    /// Seconds that a test may take
    #[arg(long, default_value_t = 60.0, value_parser = parse_seconds)]
    pub timeout: f64,
    /// Reads the names of tests from standard input, as the tool asks of its own children.
    #[arg(long, hide = true)]
    pub worker: bool,
    /// Execution.
    #[command(flatten)]
    pub exec: ExecFlags,
    /// Machine.
    #[command(flatten)]
    pub target: TargetFlags,
    /// Code.
    #[command(flatten)]
    pub code: CodeFlags,
}
