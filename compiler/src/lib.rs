//! onnxc: an ahead-of-time compiler for neural networks.
//!
//! ```text
//! bytes -> onnx::import -> graph -> pipeline -> graph -> plan -> program -> codegen -> object
//! ```
//! [`compile`] is the whole way; [`load`] and [`plan`] are its first parts, for those who only want to look or to
//! interpret. Nothing here touches a file, the network, or any state of the host.
#![forbid(unsafe_code)]

pub mod artifact;
pub mod base;
pub mod codegen;
pub mod compress;
pub mod contracts;
pub mod fusions;
pub mod graph;
pub mod kernel;
pub mod loops;
pub mod npu;
pub mod onnx;
pub mod op;
pub mod ops;
pub mod pass;
pub mod passes;
pub mod pipeline;
pub mod plan;
pub mod target;

use artifact::{ModelInfo, Placement};
use base::denormals::Denormals;
use base::diag::{Diagnostic, Diagnostics, Result};
use base::effort::Effort;
use base::goal::Goal;
use bytes::Bytes;
use graph::ir::Model;
use onnx::Files;
use onnx::ImportOptions;
use plan::program::Program;
use target::Target;

/// What a caller may choose.
#[derive(Clone, Debug)]
pub struct Options {
    /// Free dimensions and limits of the file.
    pub import: ImportOptions,
    /// Passes and fusions.
    pub passes: pipeline::Options,
    /// Grouping, memory, checks.
    pub plan: plan::build::Options,
    /// What all global symbols begin with; a C identifier.
    pub prefix: String,
    /// Where the weights go.
    pub placement: Placement,
    /// How much is done for speed: what `-O` says. [`Options::at`] sets what hangs on it.
    pub effort: Effort,
    /// What a run does with denormal numbers.
    pub denormals: Denormals,
    /// Threads that code generation may use; the result does not depend on it.
    pub jobs: usize,
    /// Keep Cranelift's IR of the layers' bodies as text, for `--emit clif`.
    pub keep_clif: bool,
    /// So many outputs at the end of the model's are not the caller's: they are found by who traces a run, as [`plan::program::Program::watched`] says.
    pub watched: usize,
    /// Most bytes of arena, inputs and outputs that a model may need.
    pub max_memory: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            import: ImportOptions::default(),
            passes: pipeline::Options::default(),
            plan: plan::build::Options::default(),
            prefix: "model".to_string(),
            placement: Placement::Embed,
            effort: Effort::default(),
            denormals: Denormals::default(),
            jobs: 1,
            keep_clif: false,
            watched: 0,
            max_memory: 4 << 30,
        }
    }
}

impl Options {
    /// The same at another level of optimization.
    pub fn at(mut self, effort: Effort) -> Options {
        self.effort = effort;
        self.plan.effort = effort;
        if !effort.rewrites() {
            self.passes.max_edits = 0;
            self.plan.group = false;
            self.plan.in_place = false;
            self.plan.order = false;
            self.plan.scatter = false;
        }
        self
    }
    /// Aims a compilation at a goal: what the plan chooses by it, and the rewrites that trade time for memory.
    pub fn aim(&mut self, goal: Goal) {
        self.plan.goal = goal;
        let attention = fusions::attention::PASS.name;
        match goal {
            Goal::Memory => self.passes.off.remove(attention),
            Goal::Latency | Goal::Size => self.passes.off.insert(attention.to_string()),
        };
    }
}

/// Told how far a compilation is.
pub trait Progress {
    /// A stage begins.
    fn stage(&mut self, name: &'static str);
}

/// For callers who don't want to know.
pub struct Quiet;

impl Progress for Quiet {
    fn stage(&mut self, _: &'static str) {}
}

/// What a compilation gives.
pub struct Artifact {
    /// The relocatable ELF object.
    pub object: Vec<u8>,
    /// All that the header, module, report and descriptor say.
    pub info: ModelInfo,
    /// The optimised graph.
    pub model: Model,
    /// The program that the object is made of.
    pub program: Program,
    /// The code, function by function.
    pub code: codegen::Code,
}

impl Artifact {
    /// The contents of the side file for weights: one page of header, then the weights as the program lays them out.
    pub fn weights_file(&self) -> Vec<u8> {
        artifact::weights::file(&self.info, &self.program)
    }
}

/// Reads a model and runs the pipeline over it. `None` if `diags` holds an error.
pub fn load(
    bytes: Bytes,
    files: &dyn Files,
    options: &Options,
    diags: &mut Diagnostics,
) -> Option<Model> {
    let mut model = onnx::import(bytes, files, &options.import, diags)?;
    let r = pipeline::run(&mut model, &options.passes, diags);
    if let Err(d) = r {
        diags.push(d);
    }
    (!diags.has_errors()).then_some(model)
}

/// Plans a loaded model for a target. `None` if `diags` holds an error.
pub fn plan(
    model: &Model,
    target: &Target,
    options: &Options,
    diags: &mut Diagnostics,
) -> Option<Program> {
    let program = match plan::build::build(model, &target.machine, &options.plan) {
        Ok(p) => p,
        Err(more) => {
            diags.list.extend(more.list);
            return None;
        }
    };
    diags.take(within(&program, options.max_memory))?;
    Some(program)
}

fn within(p: &Program, max: u64) -> Result<()> {
    let io: u64 = p
        .inputs
        .iter()
        .chain(&p.outputs)
        .map(|port| port.ty.max_bytes(&p.symbols).max(0) as u64)
        .fold(0, u64::saturating_add);
    let need = p.arena_bytes.saturating_add(io);
    if need > max {
        return Err(Diagnostic::limit(
            "ONNX006",
            format!("the model needs {need} bytes of memory for one run, the limit is {max}"),
        )
        .help("raise it with --max-memory, or make the bound of a free dimension smaller"));
    }
    Ok(())
}

/// The whole way from a model's bytes to an object. `None` if `diags` holds an error; remarks and warnings may come with a
/// result.
pub fn compile(
    bytes: Bytes,
    files: &dyn Files,
    target: &Target,
    options: &Options,
    progress: &mut dyn Progress,
    diags: &mut Diagnostics,
) -> Option<Artifact> {
    let (model, program) = prepare(bytes, files, target, options, progress, diags)?;
    emit(model, program, target, options, progress, diags)
}

// A model as it is best for a target, and its program.
fn prepare(
    bytes: Bytes,
    files: &dyn Files,
    target: &Target,
    options: &Options,
    progress: &mut dyn Progress,
    diags: &mut Diagnostics,
) -> Option<(Model, Program)> {
    progress.stage("reading");
    let mut own = options.clone();
    own.passes = passes_for(&target.machine, own.passes);
    let mut model = load(bytes, files, &own, diags)?;
    if options.watched > 0 {
        plan::watched::watch(&mut model, options.watched);
        passes::dead::left_behind(&mut model.graph);
    }
    progress.stage("planning");
    let program = plan(&model, target, options, diags)?;
    Some((model, program))
}

/// What the pipeline is asked for on a machine: without the passes that its kernels gain nothing from, or whose results it does not round as they
/// assume.
pub fn passes_for(machine: &kernel::Machine, mut asked: pipeline::Options) -> pipeline::Options {
    // Where no kernel reads channels last, the order of the model is the best there is.
    if machine.tile("gemm_strip").is_none() {
        asked.off.insert(passes::layout::PASS.name.to_string());
    }
    // The proofs of this pass hold where a product and a sum are rounded once.
    if !machine.vector.is_some_and(|v| v.fused) {
        asked.off.insert(passes::singles::PASS.name.to_string());
    }
    let tile = |n: contracts::strip::Numbers| machine.tile(n.contract());
    let tile = tile(contracts::strip::Numbers::Bytes).or(tile(contracts::strip::Numbers::Picked));
    let tile = tile.or(machine.tile(contracts::depthwise_long::DEPTHWISE_LONG.name));
    asked.bytes = tile.and(machine.vector).map(|v| v.multiplied_bytes());
    asked.lanes = machine.vector.map_or(0, |v| v.lanes);
    asked.cpu_rates.get_or_insert(cpu_rates(machine));
    asked
}

/// What the machine's kernels take of whole numbers, by its cost table.
fn cpu_rates(machine: &kernel::Machine) -> npu::CpuRates {
    let words = || machine.tile(contracts::strip::Numbers::Words.contract());
    let bytes = machine.tile(contracts::strip::Numbers::Bytes.contract());
    let row = match (bytes.is_some(), words().is_some()) {
        (true, _) => "conv_i8_strip",
        (_, true) => "conv_i16_strip",
        _ => "conv_integer_loops",
    };
    let [call, mac, ..] = machine.costs.rates_of(row);
    let depthwise = match row {
        "conv_integer_loops" => row,
        _ => "conv_i8_depthwise_last",
    };
    npu::CpuRates {
        call,
        mac,
        depthwise_mac: machine.costs.rates_of(depthwise)[1],
        ..npu::CpuRates::default()
    }
}

/// The same for several levels of CPU in one object: `targets` are of one architecture, the base (whose features all others have) first, the
/// best last. `PREFIX_run` takes the last level whose features the context's `cpu_level` says are there. The model, the
/// program and the layers' IR of the result are those of the best level.
pub fn compile_levels(
    bytes: Bytes,
    files: &dyn Files,
    targets: &[Target],
    options: &Options,
    progress: &mut dyn Progress,
    diags: &mut Diagnostics,
) -> Option<Artifact> {
    let [base, others @ ..] = targets else {
        diags.push(Diagnostic::internal("no level to compile for"));
        return None;
    };
    let mut programs = vec![];
    let mut models = vec![];
    // Regions are the same at every level: the best decides what pays.
    let best = others.last().unwrap_or(base);
    let mut options = options.clone();
    options
        .passes
        .cpu_rates
        .get_or_insert(cpu_rates(&best.machine));
    let options = &options;
    for target in targets {
        let mut own = Diagnostics::default();
        let made = prepare(bytes.clone(), files, target, options, progress, &mut own);
        // Each level says the same of the model.
        own.list.retain(|d| !diags.list.contains(d));
        diags.list.append(&mut own.list);
        let (model, program) = made?;
        models.push(model);
        programs.push(program);
    }
    plan::share::share_weights(&mut programs);
    // Every level asks for the arena that is stated: a program that works on one CPU works on all.
    let own: Vec<u64> = programs.iter().map(|p| p.arena_bytes).collect();
    let arena = own.iter().max().copied().unwrap_or(0);
    programs.iter_mut().for_each(|p| p.arena_bytes = arena);
    progress.stage("generating code");
    let (mut codes, mut infos) = (vec![], vec![]);
    let mut first_layer = 0;
    for ((target, model), program) in targets.iter().zip(&models).zip(&programs) {
        let prefix = format!("{}_{}", options.prefix, level_name(&target.cpu));
        let settings = codegen::Options {
            prefix,
            first_layer,
            ..settings(options)
        };
        let code = diags.take(codegen::generate(program, target, &settings))?;
        infos.push(artifact::fill::info(model, program, &code, target, options));
        codes.push(code);
        first_layer += program.layers.len() as u32;
    }
    for (info, bytes) in infos.iter_mut().zip(own) {
        info.arena_bytes = bytes;
    }
    let needs: Vec<u32> = others.iter().map(Target::cpu_word).collect();
    let settings = settings(options);
    let code = diags.take(codegen::levels::join(codes, &needs, base, &settings))?;
    let info = artifact::fill::levels(infos, &programs, &code, &needs)?;
    let (model, program) = (models.pop()?, programs.pop()?);
    write(model, program, code, info, &settings, progress, diags)
}

/// A level's name in symbols: `x86-64-v3` is `x86_64_v3`.
pub fn level_name(cpu: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    cpu.chars().map(plain).collect()
}

fn settings(options: &Options) -> codegen::Options {
    codegen::Options {
        prefix: options.prefix.clone(),
        weights: match &options.placement {
            Placement::Embed => codegen::Weights::Embed,
            Placement::Section(name) => codegen::Weights::Section(name.clone()),
            Placement::File => codegen::Weights::File,
        },
        denormals: options.denormals,
        effort: options.effort,
        jobs: options.jobs,
        first_layer: 0,
        text: options.keep_clif,
    }
}

/// Makes the object of a planned model.
pub fn emit(
    model: Model,
    program: Program,
    target: &Target,
    options: &Options,
    progress: &mut dyn Progress,
    diags: &mut Diagnostics,
) -> Option<Artifact> {
    progress.stage("generating code");
    let settings = settings(options);
    let code = diags.take(codegen::generate(&program, target, &settings))?;
    let info = artifact::fill::info(&model, &program, &code, target, options);
    write(model, program, code, info, &settings, progress, diags)
}

fn write(
    model: Model,
    program: Program,
    code: codegen::Code,
    info: ModelInfo,
    settings: &codegen::Options,
    progress: &mut dyn Progress,
    diags: &mut Diagnostics,
) -> Option<Artifact> {
    let descriptor = diags.take(artifact::descriptor::descriptor(&info))?;
    progress.stage("writing");
    let object = diags.take(codegen::object::write(
        &code,
        &program,
        settings,
        &descriptor,
    ))?;
    Some(Artifact {
        object,
        info,
        model,
        program,
        code,
    })
}
