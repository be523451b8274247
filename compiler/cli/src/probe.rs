//! Looking inside of a model: a form of it that also hands out values, and what it answers in this process.

use onnxc_compiler::Artifact;
use onnxc_compiler::base::diag::{Diagnostics, Result};
use onnxc_compiler::base::tensor::Tensor;
use onnxc_compiler::graph::ir::{Model, ValueId};
use onnxc_compiler::onnx::write::write;

use crate::data::bad_data;
use crate::data::wanted::Wanted;
use crate::engine::{self, Engine};
use crate::failure::{Failure, Outcome};
use crate::job::{Binding, Job};

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

/// All outputs of a run, in this process.
pub fn answers(
    job: &Job,
    data: &[Tensor],
    compiled: &mut Vec<(Binding, Artifact)>,
) -> Outcome<Vec<Tensor>> {
    let wanted = job.wanted()?;
    let artifact = job.compile_for(data, compiled)?;
    let named: Vec<(&str, &Tensor)> = wanted.iter().map(|w| w.name.as_str()).zip(data).collect();
    let inputs = engine::in_order(artifact, &named)?;
    Ok(Engine::new(artifact, job.machine, None)?.run(&inputs)?)
}

/// Data of real numbers must have only such.
pub fn finite(data: &[Tensor], wanted: &[Wanted], k: usize) -> Result<()> {
    for (t, w) in data.iter().zip(wanted) {
        let odd = |v: &Vec<f32>| v.iter().any(|v| !v.is_finite());
        if t.dtype.is_float() && t.to_f32s().as_ref().is_some_and(odd) {
            return Err(bad_data(
                format!("input `{}`, case {k}", w.name),
                "a value is infinite or not a number",
            ));
        }
    }
    Ok(())
}
