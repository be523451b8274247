//! Looking inside of a model: a form of it that also hands out values, and what it answers in this process.

use onnxc_compiler::base::diag::{Diagnostics, Result};
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::base::tensor::Tensor;
use onnxc_compiler::graph::ir::{Model, ValueId};
use onnxc_compiler::onnx::write::write;

use crate::data::bad_data;
use crate::data::wanted::Wanted;
use crate::engine;
use crate::failure::{Failure, Outcome};
use crate::job::{Binding, Job};
use crate::ready::{Look, Ready};

/// The model with further outputs, behind its own.
pub fn with_outputs(model: &Model, values: &[ValueId]) -> Model {
    let mut m = model.clone();
    for v in values {
        m.graph.add_output(*v);
        let k = m.graph.outputs().len() - 1;
        m.graph.output_names.resize(k + 1, String::new());
        m.graph.output_names[k] = format!("observed_{}", v.0);
    }
    m
}

/// The model's file.
pub fn written(model: &Model, diags: &mut Diagnostics) -> Outcome<Vec<u8>> {
    let file = write(model, diags);
    file.ok_or_else(|| Failure::from(std::mem::take(diags)))
}

/// What was compiled for sets of shapes, and stays loaded.
pub type Loaded = Vec<(Binding, Ready)>;

/// All outputs of a run in this process. Compiles for shapes that are not `known` yet; the memory of other shapes is given back.
pub fn answers(
    job: &Job,
    wanted: &[Wanted],
    data: &[Tensor],
    known: &mut Loaded,
    look: Look,
) -> Outcome<Vec<Tensor>> {
    let at = job.compiled_for(data, known, |artifact| Ok(Ready::new(artifact)))?;
    let others = known.iter_mut().enumerate();
    others.filter(|o| o.0 != at).for_each(|(_, o)| o.1.rest());
    let ready = &mut known[at].1;
    let names = wanted.iter().map(|w| w.name.as_str());
    let named: Vec<(&str, &Tensor)> = names.zip(data).collect();
    let inputs = engine::in_order(&ready.artifact, &named)?;
    Ok(ready.run(job.machine, &inputs, look)?)
}

/// A model that runs in this process, case after case: compiled once for each set of shapes, and loaded as long as shapes stay.
pub struct Probe<'j> {
    job: &'j Job<'j>,
    wanted: Vec<Wanted>,
    known: Loaded,
}

impl<'j> Probe<'j> {
    /// Nothing is compiled yet.
    pub fn new(job: &'j Job<'j>) -> Result<Probe<'j>> {
        Ok(Probe {
            job,
            wanted: job.wanted()?,
            known: vec![],
        })
    }

    /// All outputs of a run.
    pub fn answers(&mut self, data: &[Tensor]) -> Outcome<Vec<Tensor>> {
        self.watch(data, &mut |_, _| Ok(()))
    }

    /// The same, where watched values are looked at as they come.
    pub fn watch(&mut self, data: &[Tensor], look: Look) -> Outcome<Vec<Tensor>> {
        answers(self.job, &self.wanted, data, &mut self.known, look)
    }
}

/// Data of real numbers must have only such.
pub fn finite(data: &[Tensor], wanted: &[Wanted], k: usize) -> Result<()> {
    for (t, w) in data.iter().zip(wanted) {
        let odd = match t.dtype {
            DType::F32 => {
                let real = |b: &[u8; 4]| f32::from_le_bytes(*b);
                t.data.as_chunks().0.iter().any(|b| !real(b).is_finite())
            }
            d if d.is_float() => (t.to_f32s().into_iter().flatten()).any(|v| !v.is_finite()),
            _ => false,
        };
        if odd {
            return Err(bad_data(
                format!("input `{}`, case {k}", w.name),
                "a value is infinite or not a number",
            ));
        }
    }
    Ok(())
}
