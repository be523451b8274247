//! Running a compiled model on tensors: in this process, or through a command for another machine.

use std::sync::Arc;

use onnxc_abi::status;
use onnxc_compiler::Artifact;
use onnxc_compiler::artifact::Placement;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::base::dim::Origin;
use onnxc_compiler::base::tensor::Tensor;
use onnxc_compiler::codegen::exec::Drive;

use crate::devices::{self, Devices, RegionState};
use crate::loader::{Event, Model, Opened, Session, SessionOptions, Threads};
use crate::machine::Machine;
use crate::remote::Remote;

/// A compiled model that can be run.
pub struct Engine<'a> {
    artifact: &'a Artifact,
    place: Where,
    threads: Option<Threads>,
    devices: Option<Opened>,
}

/// Where code runs.
enum Where {
    /// In this process; with the weights, where the object has none.
    Here(Arc<Model>, Option<Vec<u8>>),
    /// Through a command.
    There(Remote),
}

/// Buffers of an engine, with the inputs of one case in them.
pub struct Loaded<'m> {
    artifact: &'m Artifact,
    session: Session<'m>,
}

impl<'a> Engine<'a> {
    /// Makes code ready to run: in this process where it is for this machine, with the threads that it was compiled for, else
    /// through `exec`.
    pub fn new(
        artifact: &'a Artifact,
        machine: &Machine,
        exec: Option<&str>,
    ) -> Result<Engine<'a>> {
        let weights = weights(artifact);
        let place = match exec {
            Some(command) => Where::There(Remote::new(
                artifact,
                &machine.target,
                weights.as_deref(),
                command,
                Drive::Answer,
            )?),
            None if machine.host => {
                let model = Model::load(&artifact.object, &artifact.info.prefix)?;
                Where::Here(Arc::new(model), weights)
            }
            None => return Err(not_here(machine)),
        };
        let threads = match (&place, artifact.info.threads) {
            (Where::Here(..), n @ 2..) => Some(Threads::new(n as usize)?),
            _ => None,
        };
        Ok(Engine {
            artifact,
            place,
            threads,
            devices: None,
        })
    }

    /// The same with devices for its regions. Through a command, and where nothing is asked for, there are none: the CPU
    /// computes everything.
    pub fn with_devices(mut self, devices: &Devices) -> Engine<'a> {
        if let Where::Here(model, _) = &self.place
            && !self.artifact.info.offload.regions.is_empty()
        {
            self.devices = Some(devices.open(model));
        }
        self
    }

    /// What devices did so far, region by region.
    pub fn devices(&self) -> Vec<RegionState> {
        match &self.devices {
            Some(o) => devices::states(o.regions(), &self.artifact.info.offload),
            None => devices::none(&self.artifact.info.offload),
        }
    }

    /// One run: loads the inputs, runs, and gives the outputs.
    pub fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let remote = match &self.place {
            Where::There(remote) => remote,
            Where::Here(model, weights) => {
                let mut loaded = self.load(model, weights.as_deref(), inputs)?;
                return match loaded.run() {
                    status::OK => loaded.outputs(),
                    status => Err(failed_run(status)),
                };
            }
        };
        let sizes = dims(self.artifact, inputs)?;
        let answer = remote.run(&sizes, inputs, self.artifact.info.out_dims())?;
        if answer.status != status::OK {
            return Err(failed_run(answer.status));
        }
        let mut rest = answer.data.as_slice();
        outputs(self.artifact, &answer.dims, |_, n| {
            let (bytes, more) = rest.split_at_checked(n)?;
            rest = more;
            Some(bytes)
        })
    }

    /// Takes the inputs, in the order of the program's, if the code runs in this process.
    pub fn load_here(&self, inputs: &[&Tensor]) -> Result<Option<Loaded<'_>>> {
        match &self.place {
            Where::Here(model, weights) => self.load(model, weights.as_deref(), inputs).map(Some),
            Where::There(_) => Ok(None),
        }
    }

    fn load<'m>(
        &'m self,
        model: &'m Model,
        weights: Option<&'m [u8]>,
        inputs: &[&Tensor],
    ) -> Result<Loaded<'m>> {
        let mut session = model.session(&SessionOptions {
            weights,
            parallel: self.threads.as_ref().map(Threads::hook),
            offload: self.devices.as_ref(),
            ..SessionOptions::default()
        })?;
        session.set_dims(&dims(self.artifact, inputs)?);
        for (k, t) in inputs.iter().enumerate() {
            put(&mut session, k, t)?;
        }
        Ok(Loaded {
            artifact: self.artifact,
            session,
        })
    }
}

/// What is said where code is for another machine and nothing runs it.
pub fn not_here(machine: &Machine) -> Box<Diagnostic> {
    let name = machine.target.arch.name();
    Diagnostic::usage("USE003", format!("this machine can't run code for {name}"))
        .help("name an emulator, as in --exec qemu-aarch64-static")
}

/// Puts a tensor into input `k`.
pub fn put(session: &mut Session, k: usize, t: &Tensor) -> Result<()> {
    let buffer = session.input_mut(k);
    let buffer = buffer.and_then(|b| b.get_mut(..t.data.len()));
    let buffer = buffer.ok_or_else(|| {
        let why = format!(
            "it has shape {:?}, more than the code was made for",
            t.shape
        );
        crate::data::bad_data(format!("input {k}"), why)
    })?;
    buffer.copy_from_slice(&t.data);
    Ok(())
}

/// The weights, of an object that has none in it.
pub fn weights(artifact: &Artifact) -> Option<Vec<u8>> {
    match artifact.info.placement {
        Placement::Embed | Placement::Section(_) => None,
        Placement::File => {
            let mut all = Vec::new();
            onnxc_compiler::artifact::weights::each(&artifact.program, |piece| {
                all.extend_from_slice(piece);
            });
            Some(all)
        }
    }
}

/// Data in the order of the program's inputs, found by name.
pub fn in_order<'t>(artifact: &Artifact, named: &[(&str, &'t Tensor)]) -> Result<Vec<&'t Tensor>> {
    artifact
        .info
        .inputs
        .iter()
        .map(|p| {
            let found = named.iter().find(|n| n.0 == p.name).map(|n| n.1);
            found.ok_or_else(|| {
                crate::data::bad_data(format!("input `{}`", p.name), "it has no data")
            })
        })
        .collect()
}

/// The free sizes, read off the inputs.
pub fn dims(artifact: &Artifact, inputs: &[&Tensor]) -> Result<Vec<i64>> {
    let info = &artifact.info;
    if inputs.len() != info.inputs.len() {
        return Err(Diagnostic::internal(format!(
            "{} inputs for a program with {}",
            inputs.len(),
            info.inputs.len()
        )));
    }
    for (port, t) in info.inputs.iter().zip(inputs) {
        let fits = port.dtype == t.dtype
            && port.shape.len() == t.shape.len()
            && (port.shape.iter().zip(&t.shape)).all(|(d, n)| d.fixed().is_none_or(|d| d == *n));
        if !fits {
            return Err(crate::data::bad_data(
                format!("input `{}`", port.name),
                format!(
                    "the data is {}{:?}, which is not what the code was made for",
                    t.dtype, t.shape
                ),
            ));
        }
    }
    info.free_symbols()
        .into_iter()
        .map(|s| {
            let symbol = &info.symbols[s];
            match symbol.origin {
                Origin::Input { input, axis } => inputs
                    .get(input)
                    .and_then(|t| t.shape.get(axis).copied())
                    .filter(|n| (symbol.lo..=symbol.hi).contains(n))
                    .ok_or_else(|| {
                        crate::data::bad_data(
                            format!("dimension `{}`", symbol.name),
                            format!("the data is not within {}..{}", symbol.lo, symbol.hi),
                        )
                    }),
                Origin::Data => Err(Diagnostic::internal("a size from data is asked for")),
            }
        })
        .collect()
}

/// What a status other than OK means for the user.
pub fn failed_run(status: i32) -> Box<Diagnostic> {
    Diagnostic::model(
        "RUN001",
        format!(
            "the run ended with status {status}: {}",
            onnxc_abi::status_text(status)
        ),
    )
}

impl Loaded<'_> {
    /// One run; the answer is a status.
    pub fn run(&mut self) -> i32 {
        self.session.run()
    }

    /// So many runs, or fewer where one fails; the answer is a status.
    pub fn run_times(&mut self, times: u32) -> i32 {
        self.session.run_times(times)
    }

    /// One run that calls `hook(layer, begin)` before and after each layer.
    pub fn run_clocked(&mut self, hook: &mut dyn FnMut(u32, bool)) -> i32 {
        self.session.run_clocked(hook)
    }

    /// One run, told of each layer.
    pub fn run_traced(&mut self, hook: &mut dyn FnMut(Event)) -> i32 {
        self.session.run_traced(hook)
    }

    /// The outputs of the last run.
    pub fn outputs(&self) -> Result<Vec<Tensor>> {
        let dims = self.session.out_dims().to_vec();
        outputs(self.artifact, &dims, |k, n| {
            self.session.output(k)?.get(..n)
        })
    }
}

/// Output tensors: `dims` are the sizes of all of them, `take` gives so many bytes of one.
pub fn outputs<'b>(
    artifact: &Artifact,
    dims: &[i64],
    mut take: impl FnMut(usize, usize) -> Option<&'b [u8]>,
) -> Result<Vec<Tensor>> {
    let mut dims = dims.iter();
    let mut out = Vec::new();
    for (k, port) in artifact.info.outputs.iter().enumerate() {
        let shape: Vec<i64> = dims.by_ref().take(port.shape.len()).copied().collect();
        let bytes = shape
            .iter()
            .try_fold(port.dtype.size(), |n, d| {
                n.checked_mul(usize::try_from(*d).ok()?)
            })
            .and_then(|n| take(k, n))
            .ok_or_else(|| {
                Diagnostic::internal(format!("output `{}` has the shape {shape:?}", port.name))
            })?;
        out.push(Tensor::new(port.dtype, shape, bytes.to_vec().into())?);
    }
    Ok(out)
}
