//! The whole model: its graph, its layers, the cases, and what it makes of them.

use onnxc_compiler::base::diag::{Diagnostic, Diagnostics};
use onnxc_compiler::base::tensor::Tensor;
use onnxc_compiler::compress::prune::seen::Seen;
use onnxc_compiler::compress::prune::{Inner, Layer, plain};
use onnxc_compiler::graph::ir::{Model, NodeId, ValueId};
use onnxc_compiler::onnx::read_tensor;
use std::collections::BTreeMap;

use crate::args::prune::PruneData;
use crate::data::preprocess::Preprocess;
use crate::data::samples::Samples;
use crate::failure::Outcome;
use crate::job::Job;
use crate::probe::{Probe, finite, with_outputs, written};
use crate::progress::Bar;
use crate::quantize::compare::{OutputError, compare_with};
use crate::quantize::quantized_already;
use crate::ui::Ui;

/// Cases that models are compared on.
const COMPARED: usize = 32;

/// The whole model and what is known of it.
pub struct Float<'a> {
    /// Its compilation.
    pub job: &'a Job<'a>,
    /// Its graph, in operators of ONNX.
    pub model: Model,
    /// Layers with weights, in the graph's order.
    pub layers: Vec<Layer>,
    /// Those in bodies.
    pub inner: Vec<Inner>,
    /// What they read, by node.
    pub seen: BTreeMap<NodeId, Seen>,
    /// Inputs of the first cases.
    pub inputs: Vec<Vec<Tensor>>,
    /// Outputs for them.
    pub outputs: Vec<Vec<Tensor>>,
    /// Cases in use.
    pub count: usize,
    samples: Option<Samples>,
    /// Whether weights are whole numbers with scales.
    pub quantized: bool,
    ui: &'a Ui,
}

impl<'a> Float<'a> {
    /// Reads the model and finds the data.
    /// `zeros`: weights become zeros and nothing else, so they may be whole numbers.
    pub fn open(job: &'a Job<'a>, data: &PruneData, zeros: bool, ui: &'a Ui) -> Outcome<Float<'a>> {
        let preprocess = Preprocess::load(data.data.preprocess.as_deref())?;
        let samples = match &data.calibration {
            Some(path) => Some(Samples::open(path, job.wanted()?, preprocess)?),
            None => None,
        };
        let mut model = job.load_plain()?;
        let mut diags = Diagnostics::default();
        plain(&mut model, &mut diags)?;
        let mut layers = Layer::all(&model.graph)?;
        let mut quantized = false;
        if quantized_already(&model).is_err() {
            // Nothing is folded, so that whole numbers stay what they are.
            let written = job.load_written()?;
            let stored = Layer::all(&written.graph)?;
            quantized = stored.iter().any(|l| l.stored.is_some());
            if zeros && quantized {
                (model, layers) = (written, stored);
            }
        }
        if !(zeros && quantized) {
            let help = match quantized {
                true => {
                    "patterns of zeros can be pruned as they are; else prune the float model, and quantize what is left"
                }
                false => "prune the float model, and quantize what is left",
            };
            quantized_already(&model).map_err(|d| d.help(help))?;
        }
        let inner = Inner::all(&model.graph, &model.symbols)?;
        if layers.is_empty() && (inner.is_empty() || !zeros) {
            if !inner.is_empty() {
                return Err(only_inner(&inner).into());
            }
            let text = "the model has no convolution or product with constant weights in floats: there is nothing to prune";
            return Err(Diagnostic::model("PRUNE001", text).into());
        }
        let most = usize::try_from(data.samples).unwrap_or(usize::MAX);
        let count = samples.as_ref().map_or(0, Samples::len).min(most);
        if samples.is_some() && count == 0 {
            return Err(Diagnostic::usage("USE004", "the calibration data holds no case").into());
        }
        Ok(Float {
            job,
            model,
            layers,
            inner,
            seen: BTreeMap::new(),
            inputs: vec![],
            outputs: vec![],
            count,
            samples,
            quantized,
            ui,
        })
    }

    /// Whether there is data.
    pub fn has_data(&self) -> bool {
        self.count > 0
    }

    /// The inputs of a case.
    pub fn case(&mut self, k: usize) -> Outcome<Vec<Tensor>> {
        let wanted = self.job.wanted()?;
        let Some(samples) = &mut self.samples else {
            return Err(Diagnostic::internal("a case of no data").into());
        };
        let data = samples.get(k, &|b| read_tensor(b.to_vec().into()))?;
        finite(&data, &wanted, k)?;
        Ok(data)
    }

    /// Runs the model on all cases, and keeps how strong what layers read is.
    pub fn observe(&mut self) -> Outcome<()> {
        if !self.has_data() {
            return Ok(());
        }
        let own = self.model.graph.outputs().len();
        let read = |l: &Layer| self.model.graph.node(l.node).ins[0];
        let mut values: Vec<ValueId> = self.layers.iter().filter_map(read).collect();
        values.retain(|v| self.model.graph.konst(*v).is_none());
        values.sort();
        values.dedup();
        let mut diags = Diagnostics::default();
        let bytes = written(&with_outputs(&self.model, &values), &mut diags)?;
        let source = self.job.source.of_bytes(bytes);
        let job = self.job.over(&source)?;
        let mut probe = Probe::new(&job)?;
        let bar = Bar::counted(self.ui, Some(self.count as u64));
        bar.say("running the whole model");
        for k in 0..self.count {
            let data = self.case(k)?;
            let outputs = probe.answers(&data)?;
            for l in &self.layers {
                let x = self.model.graph.node(l.node).ins[0];
                let Some(at) = x.and_then(|x| values.binary_search(&x).ok()) else {
                    continue;
                };
                let t = &outputs[own + at];
                let numbers = t.to_f32s().unwrap_or_default();
                let seen = self.seen.entry(l.node).or_default();
                if !seen.take(l, &numbers, &t.shape) {
                    return Err(odd(&l.name, k).into());
                }
            }
            if k < COMPARED {
                self.inputs.push(data);
                self.outputs.push(outputs[..own].to_vec());
            }
            bar.step();
        }
        Ok(())
    }

    /// How far a pruned file is from the whole model on the first cases; nothing without data.
    pub fn compare(&self, file: &[u8], job: &Job, ui: &Ui) -> Outcome<Vec<OutputError>> {
        if self.inputs.is_empty() {
            return Ok(vec![]);
        }
        let bar = Bar::counted(ui, Some(self.inputs.len() as u64));
        bar.say("comparing");
        compare_with(
            file,
            (&self.inputs, &self.outputs),
            job,
            usize::MAX,
            Some(&bar),
        )
    }
}

/// Why nothing is cut where all layers are in bodies.
fn only_inner(inner: &[Inner]) -> Box<Diagnostic> {
    let text = "every layer is in a body of an If, Loop or Scan: channels, heads and clusters of those stay";
    let names: Vec<&str> = inner
        .iter()
        .map(|i| i.layer.name.as_str())
        .take(8)
        .collect();
    let help = format!(
        "single weights, N:M and blocks can become zeros there, and `--const NAME=VALUE` takes a branch: {}",
        names.join("; ")
    );
    Diagnostic::model("PRUNE001", text).help(help)
}

/// A number that is none.
pub fn odd(layer: &str, case: usize) -> Box<Diagnostic> {
    let text = "what the layer reads or makes is infinite or not a number";
    Diagnostic::usage("USE004", text).at(format!("layer \"{layer}\", case {case}"))
}
