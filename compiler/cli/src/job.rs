//! One compilation: flags become options, the model is read once, and each set of input shapes is compiled once.

use std::path::PathBuf;

use onnxc_compiler::artifact::Placement;
use onnxc_compiler::artifact::info::c_identifier;
use onnxc_compiler::base::diag::{Diagnostic, Diagnostics, Kind, Result};
use onnxc_compiler::base::tensor::Tensor;
use onnxc_compiler::onnx::signature::{Axis, Border};
use onnxc_compiler::onnx::{ImportOptions, Limits, Signature, signature};
use onnxc_compiler::{Artifact, Options};

use crate::args::flags::{CodeFlags, ModelFlags};
use crate::args::weights::Weights;
use crate::constants;
use crate::data::wanted::Wanted;
use crate::failure::{Failure, Outcome};
use crate::files::Source;
use crate::machine::Machine;
use crate::ui::Ui;

/// A model with the flags of its compilation.
#[derive(Clone)]
pub struct Job<'a> {
    /// The model.
    pub source: &'a Source,
    /// What it says of its border.
    pub signature: Signature,
    /// For which machine.
    pub machine: &'a Machine,
    /// All options; free dimensions as the user gave them.
    pub options: Options,
    npu_report: Option<PathBuf>,
    ui: &'a Ui,
}

impl<'a> Job<'a> {
    /// Prepares a compilation.
    pub fn new(
        source: &'a Source,
        model: &ModelFlags,
        code: &CodeFlags,
        machine: &'a Machine,
        ui: &'a Ui,
    ) -> Outcome<Job<'a>> {
        let mut options = options(source, model, code)?;
        let signature = signature(source.bytes.clone(), &options.import)?;
        for (name, value) in &model.constants {
            let tensor = constants::value(&signature, name, value)?;
            options.import.constants.push((name.clone(), tensor));
        }
        Ok(Job {
            source,
            signature,
            machine,
            options,
            npu_report: code.npu.npu_report.clone(),
            ui,
        })
    }

    /// The same compilation of another form of the model, which may be as large as it must.
    pub fn over<'s>(&self, source: &'s Source) -> Outcome<Job<'s>>
    where
        'a: 's,
    {
        let mut options = self.options.clone();
        // What was said of free sizes is in this form already; what is still free comes with the data.
        options.import.dims.clear();
        options.import.inputs.clear();
        options.import.constants.clear();
        let limits = &mut options.import.limits;
        limits.max_model_size = limits.max_model_size.max(source.bytes.len() as u64);
        let signature = signature(source.bytes.clone(), &options.import)?;
        Ok(Job {
            source,
            signature,
            machine: self.machine,
            options,
            npu_report: self.npu_report.clone(),
            ui: self.ui,
        })
    }
    /// The same, whatever the file leaves free staying free.
    fn with_free_sizes(&self, most: i64) -> Job<'a> {
        let mut job = self.clone();
        for b in &self.signature.inputs {
            for (k, axis) in b.axes.iter().flatten().enumerate() {
                let fixed = self.options.import.inputs.iter().any(|i| i.0 == b.name);
                if let Axis::Free(id) = axis
                    && !fixed
                    && self.spec(b, k, id).is_none()
                    && !job.options.import.dims.iter().any(|d| d.0 == *id)
                {
                    let any = onnxc_compiler::onnx::DimSpec::Range(1, most);
                    job.options.import.dims.push((id.clone(), any));
                }
            }
        }
        job
    }
    /// The same, with messages going elsewhere.
    pub fn telling(mut self, ui: &'a Ui) -> Job<'a> {
        self.ui = ui;
        self
    }
    /// Where messages go.
    pub fn ui(&self) -> &'a Ui {
        self.ui
    }

    /// The inputs that a caller gives, as the file declares them and the flags fix them.
    pub fn wanted(&self) -> Result<Vec<Wanted>> {
        let import = &self.options.import;
        self.given()
            .map(|b| {
                let dtype = b.dtype.ok_or_else(|| {
                    Diagnostic::unsupported(
                        "ONNX014",
                        format!("{} can't be an input; only tensors can", b.kind),
                    )
                    .at(format!("input \"{}\"", b.name))
                })?;
                let fixed = import.inputs.iter().find(|i| i.0 == b.name).map(|i| &i.1);
                let axes = b.axes.as_ref();
                let rank = axes.map(Vec::len).or(fixed.map(Vec::len));
                let size = |k: usize| match axes.and_then(|a| a.get(k)) {
                    Some(Axis::Known(n)) => Some(*n),
                    Some(Axis::Free(id)) => {
                        let spec = self.spec(b, k, id);
                        fixed
                            .and_then(|f| f.get(k).copied().filter(|n| *n >= 0))
                            .or(spec.and_then(|s| match s {
                                onnxc_compiler::onnx::DimSpec::Fixed(n) => Some(n),
                                onnxc_compiler::onnx::DimSpec::Range(..) => None,
                            }))
                    }
                    None => fixed.and_then(|f| f.get(k).copied().filter(|n| *n >= 0)),
                };
                Ok(Wanted {
                    name: b.name.clone(),
                    dtype,
                    shape: rank.map(|r| (0..r).map(size).collect()),
                    divisor: b.divisor,
                    places: b.places,
                })
            })
            .collect()
    }

    /// Inputs without a default, and those whose shape the user gave.
    fn given(&self) -> impl Iterator<Item = &Border> {
        let import = &self.options.import;
        self.signature
            .inputs
            .iter()
            .filter(|b| !b.default || import.inputs.iter().any(|i| i.0 == b.name))
            .filter(|b| import.constants.iter().all(|c| c.0 != b.name))
    }

    /// What `--dim` says of an axis.
    fn spec(&self, b: &Border, axis: usize, id: &str) -> Option<onnxc_compiler::onnx::DimSpec> {
        let place = format!("{}:{axis}", b.name);
        let dims = &self.options.import.dims;
        dims.iter().find(|d| d.0 == id || d.0 == place).map(|d| d.1)
    }

    /// What is left free by file and flags, bound to the shapes of data.
    fn bind(&self, data: &[Tensor]) -> Binding {
        let mut shapes = self.options.import.inputs.clone();
        for (b, t) in self.given().zip(data) {
            let by_user = shapes.iter().position(|s| s.0 == b.name);
            let shape: Vec<i64> = t
                .shape
                .iter()
                .enumerate()
                .map(|(k, n)| {
                    let axis = b.axes.as_ref().and_then(|a| a.get(k));
                    let user = by_user.and_then(|i| shapes[i].1.get(k).copied());
                    match (user, axis) {
                        (Some(n), _) if n >= 0 => n,
                        (_, Some(Axis::Known(_))) => -1,
                        (_, Some(Axis::Free(id))) if self.spec(b, k, id).is_some() => -1,
                        _ => *n,
                    }
                })
                .collect();
            if b.default || b.axes.is_none() || shape.iter().any(|n| *n >= 0) {
                match by_user {
                    Some(i) => shapes[i].1 = shape,
                    None => shapes.push((b.name.clone(), shape)),
                }
            }
        }
        Binding {
            shapes,
            constants: Vec::new(),
        }
    }

    /// The same compilation with loops cut for so many threads.
    pub fn for_threads(mut self, threads: u32) -> Job<'a> {
        self.options.plan.threads = threads;
        self
    }

    /// Compiles as the flags say.
    pub fn compile(&self) -> Outcome<Artifact> {
        Ok(self.compile_telling()?.0)
    }

    /// The same with what was said of it: remarks and warnings, which are also printed.
    pub fn compile_telling(&self) -> Outcome<(Artifact, Vec<Diagnostic>)> {
        let binding = Binding {
            shapes: self.options.import.inputs.clone(),
            constants: Vec::new(),
        };
        let (artifact, diags) = self.attempt(&binding);
        let said = diags.list.clone();
        Ok((self.finish(artifact, diags)?, said))
    }

    /// Compiles for data: free dimensions are those of the data, and inputs on whose values shapes depend become
    /// constants, at least one input staying. `known` holds what was compiled before.
    pub fn compile_for<'k>(
        &self,
        data: &[Tensor],
        known: &'k mut Vec<(Binding, Artifact)>,
    ) -> Outcome<&'k Artifact> {
        let at = self.compiled_for(data, known, Ok)?;
        Ok(&known[at].1)
    }

    /// The same of whatever is `made` of what was compiled; gives the place in `known`.
    pub fn compiled_for<T>(
        &self,
        data: &[Tensor],
        known: &mut Vec<(Binding, T)>,
        made: impl FnOnce(Artifact) -> Outcome<T>,
    ) -> Outcome<usize> {
        let binding = self.bind(data);
        let names: Vec<&str> = self.given().map(|b| b.name.as_str()).collect();
        let holds = |c: &(String, Tensor)| {
            (names.iter().zip(data)).any(|(name, t)| *name == c.0 && *t == c.1)
        };
        let found = known
            .iter()
            .position(|(b, _)| b.shapes == binding.shapes && b.constants.iter().all(holds));
        let at = match found {
            Some(at) => at,
            None => {
                let (binding, artifact) = self.compile_bound(binding, &names, data)?;
                known.push((binding, made(artifact)?));
                known.len() - 1
            }
        };
        Ok(at)
    }

    fn compile_bound(
        &self,
        binding: Binding,
        names: &[&str],
        data: &[Tensor],
    ) -> Outcome<(Binding, Artifact)> {
        let (artifact, first) = self.attempt(&binding);
        let asks = |d: &Diagnostics| {
            let mut errors = d.list.iter().filter(|d| d.is_error()).peekable();
            errors.peek().is_some()
                && errors.all(|d| d.kind == Kind::Unsupported)
                && d.list.iter().any(|d| d.code == "ONNX012")
        };
        if artifact.is_some() || !asks(&first) {
            return Ok((binding, self.finish(artifact, first)?));
        }
        for group in constants::candidates(data) {
            let mut fixed = binding.clone();
            let name = |k: &usize| names[*k].to_string();
            fixed.constants = group.iter().map(|k| (name(k), data[*k].clone())).collect();
            fixed
                .shapes
                .retain(|s| fixed.constants.iter().all(|c| c.0 != s.0));
            let (artifact, diags) = self.attempt(&fixed);
            if artifact.is_some() {
                let list: Vec<String> = group.iter().map(|k| format!("`{}`", names[*k])).collect();
                self.ui.note(
                    &Diagnostic::remark(
                        "ONNX015",
                        format!(
                            "shapes depend on the values of {}, so these are constants here",
                            list.join(", ")
                        ),
                    )
                    .help("`compile` takes constants by --const NAME=VALUE"),
                );
                return Ok((fixed, self.finish(artifact, diags)?));
            }
        }
        Ok((binding, self.finish(None, first)?))
    }

    fn attempt(&self, binding: &Binding) -> (Option<Artifact>, Diagnostics) {
        let mut options = self.options.clone();
        options.import.inputs = binding.shapes.clone();
        options
            .import
            .constants
            .extend(binding.constants.iter().cloned());
        let mut progress = crate::progress::Bar::new(self.ui);
        let mut diags = Diagnostics::default();
        let bytes = self.source.bytes.clone();
        let (files, machine) = (&self.source.folder, self.machine);
        let artifact = if machine.levels.is_empty() {
            onnxc_compiler::compile(
                bytes,
                files,
                &machine.target,
                &options,
                &mut progress,
                &mut diags,
            )
        } else {
            onnxc_compiler::compile_levels(
                bytes,
                files,
                &machine.levels,
                &options,
                &mut progress,
                &mut diags,
            )
        };
        if let Some(a) = artifact.as_ref().filter(|a| a.info.offload.asked()) {
            diags.push(crate::npu::remark(&a.info.offload));
            if let Some(Err(d)) = self.npu_report.as_ref().map(|p| crate::npu::write(p, a)) {
                diags.push(d);
            }
        }
        (artifact, diags)
    }

    /// Reads the model and infers types, without any other pass.
    pub fn load_typed(&self) -> Outcome<onnxc_compiler::graph::ir::Model> {
        self.load_with(&["resolve"])
    }

    /// Reads the model, folds what is constant, and does the rewrites that leave operators of ONNX. What the file leaves free stays free, up to a bound
    /// at which values are not too large.
    pub fn load_plain(&self) -> Outcome<onnxc_compiler::graph::ir::Model> {
        self.load_free(&[
            "resolve",
            "inline_if",
            "fold",
            "no_op",
            "merge",
            "dead",
            "conv_affine",
            "pad_conv",
            "hard_swish",
            "gelu",
            "layer_norm",
        ])
    }

    /// Reads the model as it is written. What the file leaves free stays free, as [`Job::load_plain`] has it.
    pub fn load_written(&self) -> Outcome<onnxc_compiler::graph::ir::Model> {
        self.load_free(&["resolve"])
    }

    /// The same with what is constant folded, so that it can be written again.
    pub fn load_folded(&self) -> Outcome<onnxc_compiler::graph::ir::Model> {
        self.load_free(&["resolve", "fold", "dead"])
    }

    fn load_free(&self, passes: &[&str]) -> Outcome<onnxc_compiler::graph::ir::Model> {
        let mut last = self.with_free_sizes(1 << 16).load_with(passes);
        for most in [1 << 11, 1 << 8] {
            let too_large = matches!(&last, Err(f) if f.0.iter().any(|d| d.code == "ONNX006"));
            if !too_large {
                break;
            }
            last = self.with_free_sizes(most).load_with(passes);
        }
        last
    }

    fn load_with(&self, passes: &[&str]) -> Outcome<onnxc_compiler::graph::ir::Model> {
        let mut options = self.options.clone();
        let others = crate::print::passes()
            .into_iter()
            .filter(|p| !passes.contains(p));
        options.passes.off = others.map(str::to_string).collect();
        let mut diags = Diagnostics::default();
        let model = onnxc_compiler::load(
            self.source.bytes.clone(),
            &self.source.folder,
            &options,
            &mut diags,
        );
        self.finish(model, diags)
    }

    fn finish<T>(&self, result: Option<T>, diags: Diagnostics) -> Outcome<T> {
        match result {
            Some(t) if !diags.has_errors() => {
                self.ui.diagnostics(&diags.list);
                Ok(t)
            }
            _ => Err(Failure::from(diags)),
        }
    }
}

/// What data decides of a compilation.
#[derive(Clone, PartialEq, Debug)]
pub struct Binding {
    /// Shapes of inputs, as `--input` gives them.
    pub shapes: Vec<(String, Vec<i64>)>,
    /// Values of inputs, as `--const` gives them.
    pub constants: Vec<(String, Tensor)>,
}

/// Flags as options of the compiler.
pub fn options(source: &Source, model: &ModelFlags, code: &CodeFlags) -> Result<Options> {
    let prefix = match &code.prefix {
        Some(p) if c_identifier(p, "model").eq_ignore_ascii_case(p) => p.clone(),
        Some(p) => {
            return Err(Diagnostic::usage(
                "USE001",
                format!("`{p}` can't begin the name of a symbol"),
            )
            .help(format!(
                "for instance --prefix {}",
                c_identifier(p, "model")
            )));
        }
        None => c_identifier(&source.stem(), "model"),
    };
    let known = crate::print::passes();
    for name in code.disable_pass.iter().chain(&code.enable_pass) {
        if !known.contains(&name.as_str()) {
            return Err(onnxc_targets::suggest::unknown(
                "pass",
                name,
                known.iter().copied(),
                "`--print pipeline` lists them",
            ));
        }
    }
    if let Some(name) = code
        .enable_pass
        .iter()
        .find(|n| code.disable_pass.contains(n))
    {
        return Err(Diagnostic::usage(
            "USE001",
            format!("the pass `{name}` is both enabled and disabled"),
        ));
    }
    let limits = Limits::default();
    let mut options = Options {
        import: ImportOptions {
            dims: model.dim.clone(),
            inputs: model.shapes.clone(),
            constants: Vec::new(),
            limits: Limits {
                max_model_size: model.max_model_size.unwrap_or(limits.max_model_size),
                max_nodes: model.max_nodes.unwrap_or(limits.max_nodes),
                max_depth: model.max_depth.unwrap_or(limits.max_depth),
                max_memory: model.max_memory.unwrap_or(limits.max_memory),
                ..limits
            },
        },
        prefix,
        placement: match &code.weights {
            Weights::Embed => Placement::Embed,
            Weights::Section(name) => Placement::Section(name.clone()),
            Weights::File(_) => Placement::File,
        },
        denormals: code.denormals.0,
        jobs: jobs(code),
        ..Options::default()
    };
    options.aim(code.optimize_for.0);
    options.max_memory = model.max_memory.unwrap_or(options.max_memory);
    options.passes.off.retain(|p| !code.enable_pass.contains(p));
    options.passes.off.extend(code.disable_pass.iter().cloned());
    options.passes.rounding = code.rounding.0;
    options.passes.require_integers = code.require_int8;
    options.passes.npu = crate::npu::request(&code.npu)?;
    // An accelerator that can't do it the other way decides, so that the CPU has its bits.
    let ways = options.passes.npu.accelerators.iter();
    if let Some(way) = ways.filter_map(|a| a.rounding()).next() {
        options.passes.rounding = way;
    }
    if let Some(n) = code.max_edits {
        options.passes.max_edits = usize::try_from(n).unwrap_or(usize::MAX);
    }
    Ok(options.at(code.opt_level.effort()))
}

/// Threads of the compiler: what was asked for, or all there are.
pub fn jobs(code: &CodeFlags) -> usize {
    code.jobs
        .map(|j| j as usize)
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
}
