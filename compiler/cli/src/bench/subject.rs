//! What is measured: a model, compiled for data, with what its outputs should be.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Instant;

use onnxc_compiler::Artifact;
use onnxc_compiler::base::diag::Diagnostic;
use onnxc_compiler::base::tensor::Tensor;
use onnxc_compiler::onnx::read_tensor;

use crate::args::flags::{Bench, CodeFlags, DataFlags, ModelFlags};
use crate::args::npu::NpuFlags;
use crate::cases::Cases;
use crate::compare::{compare, default_rule};
use crate::data::bind;
use crate::data::preprocess::Preprocess;
use crate::data::wanted::Wanted;
use crate::devices::{Devices, RegionState};
use crate::engine::{self, Engine, Loaded};
use crate::failure::Outcome;
use crate::files::Source;
use crate::job::Job;
use crate::machine::Machine;
use crate::ui::Ui;

/// A compiled model with its data.
pub struct Subject<'a> {
    /// The file.
    pub path: &'a Path,
    /// How it was compiled.
    pub job: &'a Job<'a>,
    /// For which machine.
    pub machine: &'a Machine,
    /// What it takes.
    pub wanted: Vec<Wanted>,
    /// Data for that.
    pub data: Vec<Tensor>,
    /// Outputs there are references for.
    pub expected: Vec<(usize, Tensor)>,
    /// The result of compiling.
    pub artifact: &'a Artifact,
    /// How long that took.
    pub compile_ms: f64,
    /// Accelerators.
    pub npu: &'a NpuFlags,
    /// What they did, once it was measured.
    pub devices: RefCell<Vec<RegionState>>,
}

/// What of the flags of a verb decides how a model is compiled and run.
pub struct Asked<'a> {
    /// Words for inputs.
    pub inputs: &'a [String],
    /// How files become tensors.
    pub data: &'a DataFlags,
    /// Model.
    pub model_flags: &'a ModelFlags,
    /// Code.
    pub code: &'a CodeFlags,
}

impl<'a> From<&'a Bench> for Asked<'a> {
    fn from(flags: &'a Bench) -> Asked<'a> {
        Asked {
            inputs: &flags.inputs,
            data: &flags.data,
            model_flags: &flags.model_flags,
            code: &flags.code,
        }
    }
}

/// Compiles a model for the flags' data and hands it to `f`.
pub fn with<T>(
    flags: &Asked,
    path: &Path,
    references: &[PathBuf],
    machine: &Machine,
    ui: &Ui,
    f: impl FnOnce(&Subject) -> Outcome<T>,
) -> Outcome<T> {
    let source = Source::open(path, flags.model_flags)?;
    let job = Job::new(&source, flags.model_flags, flags.code, machine, ui)?;
    let wanted = job.wanted()?;
    let mut expected = Vec::new();
    let data = match references {
        [_, ..] if flags.inputs.is_empty() => {
            let mut cases = Cases::open(references)?;
            let first = cases.numbers().first().copied().unwrap_or(0);
            let case = cases.get(first, wanted.len(), job.signature.outputs.len())?;
            expected = case.outputs;
            for (w, t) in wanted.iter().zip(&case.inputs) {
                bind::check(w, t)?;
            }
            case.inputs
        }
        _ => {
            let preprocess = Preprocess::load(flags.data.preprocess.as_deref())?;
            let words = match flags.inputs {
                [] => vec!["random:0".to_string()],
                some => some.to_vec(),
            };
            bind::inputs(&words, &wanted, &preprocess, &|b| {
                read_tensor(b.to_vec().into())
            })?
        }
    };
    let started = Instant::now();
    let mut known = Vec::new();
    let artifact = job.compile_for(&data, &mut known)?;
    let compile_ms = started.elapsed().as_secs_f64() * 1e3;
    f(&Subject {
        path,
        job: &job,
        machine,
        wanted,
        data,
        expected,
        artifact,
        compile_ms,
        npu: &flags.code.npu,
        devices: RefCell::default(),
    })
}

impl Subject<'_> {
    /// Inputs by name.
    pub fn named(&self) -> Vec<(&str, &Tensor)> {
        let names = self.wanted.iter().map(|w| w.name.as_str());
        names.zip(&self.data).collect()
    }

    /// Its name: the file's, or its folder's if the file is called `model`.
    pub fn name(&self) -> String {
        let stem = self.path.file_stem().unwrap_or_default();
        let parent = self.path.parent().and_then(Path::file_name);
        let name = match parent {
            Some(folder) if stem == "model" => folder,
            _ => stem,
        };
        name.to_string_lossy().into_owned()
    }

    /// Multiply-accumulates of a run.
    pub fn macs(&self) -> u64 {
        let layers = self.artifact.info.layers.iter().map(|l| l.macs);
        layers.fold(0, u64::saturating_add)
    }

    /// Whether it computes with quantized numbers: beyond one conversion for each input and output.
    pub fn quantized(&self) -> bool {
        let info = &self.artifact.info;
        let ops = info.layers.iter().flat_map(|l| &l.ops).map(String::as_str);
        let integer = |o: &str| {
            o.contains("QuantizeLinear") || o.contains("QLinear") || o.ends_with("Integer")
        };
        ops.filter(|o| integer(o)).count() > info.inputs.len() + info.outputs.len()
    }

    /// Hands the model, compiled for so many threads and ready to run in this process, to `f`.
    pub fn loaded<T>(&self, threads: u32, f: impl FnOnce(&mut Loaded) -> Outcome<T>) -> Outcome<T> {
        let mut known = Vec::new();
        let artifact = match threads {
            1 => self.artifact,
            n => {
                let job = self.job.clone().for_threads(n);
                job.compile_for(&self.data, &mut known)?
            }
        };
        let engine =
            Engine::new(artifact, self.machine, None)?.with_devices(&Devices::new(self.npu)?);
        let inputs = engine::in_order(artifact, &self.named())?;
        let Some(mut loaded) = engine.load_here(&inputs)? else {
            return Err(Diagnostic::internal("code that is not here was asked for").into());
        };
        let result = f(&mut loaded);
        crate::devices::tell(&engine.devices(), self.job.ui());
        *self.devices.borrow_mut() = engine.devices();
        result
    }

    /// Names of outputs that miss their reference. Floats that quantized numbers were computed to may come from a runtime that rounds elsewhere, and a step
    /// early in a network is many at its end: there only what is [`FAR`] off is wrong. `onnxc verify` is the way to judge them.
    pub fn wrong(&self, results: &[Tensor]) -> Vec<String> {
        let mut wrong = Vec::new();
        for (o, want) in &self.expected {
            let border = &self.job.signature.outputs[*o];
            let rule = default_rule(want.dtype, border.quantized, self.job.signature.half, 1);
            let near = |got: &Tensor| apart(got, want).is_some_and(|far| far <= FAR);
            let loose = self.quantized() && want.dtype.is_float();
            let good = |got: &Tensor| compare(got, want, rule).pass || loose && near(got);
            if !results.get(*o).is_some_and(good) {
                wrong.push(border.name.clone());
            }
        }
        wrong
    }
}

/// Results of quantized networks that are farther apart than this are those of different networks.
pub const FAR: f64 = 0.1;

/// The largest distance of two tensors' numbers, over the largest number of the first; infinite where shapes differ, `None` where there are no numbers.
pub fn apart(a: &Tensor, b: &Tensor) -> Option<f64> {
    if a.shape != b.shape {
        return Some(f64::INFINITY);
    }
    let (x, y) = (a.to_f64s()?, b.to_f64s()?);
    let largest = x.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let far = x.iter().zip(&y);
    let far = far.fold(0.0f64, |m, (a, b)| m.max((a - b).abs()));
    (largest > 0.0).then_some(far / largest)
}
