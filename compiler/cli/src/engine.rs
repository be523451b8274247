//! Running a compiled model on tensors: in this process, or through a command for another machine.

use onnxc_compiler::Artifact;
use onnxc_compiler::artifact::Placement;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::base::dim::Origin;
use onnxc_compiler::base::tensor::Tensor;

use crate::loader::{Event, Model, Session, SessionOptions};
use crate::machine::Machine;

/// A compiled model that can be run.
pub struct Engine<'a> {
    artifact: &'a Artifact,
    model: Model,
    weights: Option<Vec<u8>>,
}

/// Buffers of an engine, with the inputs of one case in them.
pub struct Loaded<'m> {
    artifact: &'m Artifact,
    session: Session<'m>,
}

impl<'a> Engine<'a> {
    /// Makes code ready to run: in this process where it is for this machine, else through `exec`.
    pub fn new(
        artifact: &'a Artifact,
        machine: &Machine,
        exec: Option<&str>,
    ) -> Result<Engine<'a>> {
        let model = Model::load(&artifact.object, &artifact.info.prefix)?;
        let weights = match artifact.info.placement {
            Placement::Embed | Placement::Section(_) => None,
            Placement::File => {
                let mut all = Vec::new();
                onnxc_compiler::artifact::weights::each(&artifact.program, |piece| {
                    all.extend_from_slice(piece);
                });
                Some(all)
            }
        };
        Ok(Engine {
            artifact,
            model,
            weights,
        })
    }

    /// One run: loads the inputs, runs, and gives the outputs.
    pub fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let mut loaded = self.load(inputs)?;
        match loaded.run() {
            onnxc_abi::status::OK => loaded.outputs(),
            status => Err(failed_run(status)),
        }
    }

    /// Takes the inputs, if the code runs in this process.
    pub fn load_here(&self, inputs: &[&Tensor]) -> Result<Option<Loaded<'_>>> {
        self.load(inputs).map(Some)
    }

    /// Takes the inputs, in the order of the program's.
    pub fn load(&self, inputs: &[&Tensor]) -> Result<Loaded<'_>> {
        let mut session = self.model.session(&SessionOptions {
            weights: self.weights.as_deref(),
            ..SessionOptions::default()
        })?;
        session.set_dims(&dims(self.artifact, inputs)?);
        for (k, t) in inputs.iter().enumerate() {
            let buffer = session
                .input_mut(k)
                .and_then(|b| b.get_mut(..t.data.len()))
                .ok_or_else(|| {
                    let why = format!(
                        "it has shape {:?}, more than the code was made for",
                        t.shape
                    );
                    crate::data::bad_data(format!("input {k}"), why)
                })?;
            buffer.copy_from_slice(&t.data);
        }
        Ok(Loaded {
            artifact: self.artifact,
            session,
        })
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

    /// One run, told of each layer.
    pub fn run_traced(&mut self, hook: &mut dyn FnMut(Event)) -> i32 {
        self.session.run_traced(hook)
    }

    /// The outputs of the last run.
    pub fn outputs(&self) -> Result<Vec<Tensor>> {
        let mut dims = self.session.out_dims().iter();
        let mut out = Vec::new();
        for (k, port) in self.artifact.info.outputs.iter().enumerate() {
            let shape: Vec<i64> = dims.by_ref().take(port.shape.len()).copied().collect();
            let count = shape
                .iter()
                .try_fold(1usize, |n, d| n.checked_mul(usize::try_from(*d).ok()?));
            let bytes = count
                .and_then(|n| n.checked_mul(port.dtype.size()))
                .and_then(|n| self.session.output(k)?.get(..n))
                .ok_or_else(|| {
                    Diagnostic::internal(format!("output `{}` has the shape {shape:?}", port.name))
                })?;
            out.push(Tensor::new(port.dtype, shape, bytes.to_vec().into())?);
        }
        Ok(out)
    }
}
