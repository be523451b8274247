//! `run`: compiles, runs once, and prints or stores the outputs.

use std::path::Path;

use onnxc_compiler::base::tensor::Tensor;
use onnxc_compiler::onnx::read_tensor;
use serde_json::json;

use crate::args::flags::Run;
use crate::data::preprocess::Preprocess;
use crate::data::{bind, npz, topk};
use crate::devices::{self, Devices};
use crate::engine::{self, Engine};
use crate::failure::{Outcome, Status};
use crate::files::Source;
use crate::job::Job;
use crate::machine::{self, Purpose};
use crate::outputs::{self, Outputs};
use crate::ui::Ui;

/// How many elements of an output are printed.
const SHOWN: usize = 8;

/// Runs a model once.
pub fn run(flags: &Run, ui: &Ui) -> Outcome {
    let source = Source::open(&flags.model, &flags.model_flags)?;
    let machine = machine::choose(&flags.target, Purpose::RunNow, ui)?;
    let job = Job::new(&source, &flags.model_flags, &flags.code, &machine, ui)?
        .for_threads(flags.threads.threads);
    let preprocess = Preprocess::load(flags.data.preprocess.as_deref())?;
    let labels = match &flags.labels {
        Some(path) => topk::labels(path)?,
        None => Vec::new(),
    };
    let wanted = job.wanted()?;
    let data = bind::inputs(&flags.inputs, &wanted, &preprocess, &|b| {
        read_tensor(b.to_vec().into())
    })?;
    let mut known = Vec::new();
    let artifact = job.compile_for(&data, &mut known)?;
    let named: Vec<(&str, &Tensor)> = wanted.iter().map(|w| w.name.as_str()).zip(&data).collect();
    let engine = Engine::new(artifact, &machine, flags.exec.exec.as_deref())?
        .with_devices(&Devices::new(&flags.code.npu)?);
    let results = engine.run(&engine::in_order(artifact, &named)?)?;
    let done = engine.devices();
    devices::tell(&done, ui);
    let names: Vec<String> = artifact
        .info
        .outputs
        .iter()
        .map(|p| p.name.clone())
        .collect();

    let text = if flags.json {
        let list: Vec<_> = names
            .iter()
            .zip(&results)
            .map(|(name, t)| {
                let values: Option<Vec<serde_json::Value>> = match t.to_i64s() {
                    Some(v) => Some(v.into_iter().map(Into::into).collect()),
                    None => t.to_f64s().map(|v| v.into_iter().map(Into::into).collect()),
                };
                json!({"name": name, "dtype": t.dtype.name(), "shape": t.shape, "values": values})
            })
            .collect();
        let mut all = json!({ "outputs": list });
        if !done.is_empty() {
            all["npu"] = devices::as_json(&done);
        }
        all.to_string() + "\n"
    } else {
        describe(&names, &results, &labels, flags.top)
    };
    if let Some(path) = &flags.output {
        store(path, names, results)?;
    }
    outputs::print(&text)?;
    Ok(Status::Done)
}

fn describe(names: &[String], results: &[Tensor], labels: &[String], top: usize) -> String {
    let mut out = String::new();
    for (name, t) in names.iter().zip(results) {
        let shape: Vec<String> = t.shape.iter().map(i64::to_string).collect();
        out += &format!("{name}: {}[{}]", t.dtype, shape.join(","));
        match topk::classes(t, labels, top).filter(|_| t.len() > SHOWN || !labels.is_empty()) {
            Some(classes) => out += &format!("\n{classes}"),
            None => out += &format!(" = {}\n", topk::sample(t, SHOWN)),
        }
    }
    out
}

fn store(path: &Path, names: Vec<String>, results: Vec<Tensor>) -> Outcome<()> {
    let arrays: Vec<(String, Tensor)> = names.into_iter().zip(results).collect();
    let mut outputs = Outputs::default();
    outputs.add(path, &npz::write(&arrays)?)?;
    Ok(outputs.commit()?)
}
