//! Every pass in order, each line with its reason. `onnxc --print pipeline` shows this list.

use crate::base::diag::{Diagnostic, Diagnostics, Result};
use crate::base::dtype::DType;
use crate::base::rounding::Rounding;
use crate::graph::ir::{Graph, Model, NodeId};
use crate::npu::{CpuRates, Request};
use crate::pass::{Pass, PassCx};
use crate::passes::*;
use std::collections::BTreeSet;

/// A step of the pipeline.
pub enum Step {
    /// Runs once.
    Once(&'static Pass, &'static str),
    /// Runs the passes in turn until none changes anything; more rounds than that are an error.
    Until(&'static [&'static Pass], usize, &'static str),
}

use Step::{Once, Until};

const CLEAN: &[&Pass] = &[&fold::PASS, &no_op::PASS, &merge::PASS, &dead::PASS];

/// The pipeline.
pub const PIPELINE: &[Step] = &[
    Once(
        &resolve::PASS,
        "sizes must be known before anything else can be decided",
    ),
    Once(
        &inline_if::PASS,
        "branches that can't be taken hide what surrounds them",
    ),
    Once(&ports::PASS, "before what says it is dissolved"),
    Once(
        &integers::PASS,
        "before folding, which would make floats of quantized weights",
    ),
    Until(CLEAN, 8, "folding, merging and removing feed each other"),
    Until(
        crate::fusions::ALL,
        16,
        "one fusion uncovers the next: a scale behind a Conv, a transpose behind a scale",
    ),
    Until(CLEAN, 8, "fusions leave dead nodes and constants behind"),
    Once(
        &taps::PASS,
        "behind the fusions, which bring padding to convolutions; before kernels and devices are chosen by the window",
    ),
    Once(
        &offload::PASS,
        "whole numbers and fused operators are what devices claim; before values are laid out for the CPU, so that each side of a border lays out its own",
    ),
    Once(
        &half::PASS,
        "before kernels are chosen, behind the fusions: they see one type throughout",
    ),
    Once(
        &layout::PASS,
        "kernels want channels last; before this, fusions see the operators as the model has them",
    ),
    Once(
        &multiplier::PASS,
        "channels must be last to be repeated one behind the other",
    ),
    Until(
        CLEAN,
        8,
        "the new order leaves transposed constants and dead nodes behind",
    ),
    Once(&signs::PASS, "what makes and what reads a value is settled"),
    Once(
        &singles::PASS,
        "last, when constants lie as kernels read them",
    ),
];

/// What the caller may choose.
#[derive(Clone, Debug)]
pub struct Options {
    /// Passes and fusions by name that must not run.
    pub off: BTreeSet<String>,
    /// Edits after which nothing is changed any more.
    pub max_edits: usize,
    /// Which way halves go where whole numbers are requantized.
    pub rounding: Rounding,
    /// Whether an operator that the file quantizes and that stays a float one is an error.
    pub require_integers: bool,
    /// The kind of bytes that the machine multiplies by weights with a sign; none: it multiplies words.
    pub bytes: Option<DType>,
    /// Lanes of f32 of the vectors that kernels use; 0: not known.
    pub lanes: i64,
    /// What is asked of accelerators.
    pub npu: Request,
    /// What our own kernels take, where it is known.
    pub cpu_rates: Option<CpuRates>,
}

/// Passes and fusions that run only where they are asked for.
pub const OFF: &[&Pass] = &[
    // Trades time for memory.
    &crate::fusions::attention::PASS,
];

impl Default for Options {
    fn default() -> Self {
        Options {
            off: OFF.iter().map(|p| p.name.to_string()).collect(),
            max_edits: usize::MAX,
            rounding: Rounding::default(),
            require_integers: false,
            bytes: None,
            lanes: 0,
            npu: Request::default(),
            cpu_rates: None,
        }
    }
}

/// Runs the pipeline over a model.
pub fn run(model: &mut Model, options: &Options, diags: &mut Diagnostics) -> Result<()> {
    steps(model, PIPELINE, options, diags)
}

/// Every pass and fusion, once each, in the order of its first run.
pub fn passes() -> Vec<&'static Pass> {
    let mut out: Vec<&'static Pass> = vec![];
    for step in PIPELINE {
        let list: &[&'static Pass] = match step {
            Once(pass, _) => &[*pass],
            Until(passes, ..) => passes,
        };
        for &p in list {
            if !out.iter().any(|q| q.name == p.name) {
                out.push(p);
            }
        }
    }
    out
}

/// Runs one pass alone, until it changes nothing more.
pub fn single(model: &mut Model, pass: &'static Pass, diags: &mut Diagnostics) -> Result<()> {
    // Inference finds nothing new in a second round and does not count edits.
    let rounds = if pass.name == resolve::PASS.name {
        1
    } else {
        16
    };
    let options = Options {
        off: BTreeSet::new(),
        bytes: Some(DType::U8),
        ..Options::default()
    };
    for _ in 0..rounds {
        let text = crate::graph::print::print(model);
        steps(model, &[Once(pass, "alone")], &options, diags)?;
        if diags.has_errors() || crate::graph::print::print(model) == text {
            break;
        }
    }
    Ok(())
}

/// Runs one pass once, as the options say.
pub fn single_with(
    model: &mut Model,
    pass: &'static Pass,
    options: &Options,
    diags: &mut Diagnostics,
) -> Result<()> {
    steps(model, &[Once(pass, "alone")], options, diags)
}

fn steps(
    model: &mut Model,
    steps: &[Step],
    options: &Options,
    diags: &mut Diagnostics,
) -> Result<()> {
    let mut symbols = std::mem::take(&mut model.symbols);
    let mut cx = PassCx {
        symbols: &mut symbols,
        offload: std::mem::take(&mut model.offload),
        npu: options.npu.clone(),
        cpu_rates: options.cpu_rates.unwrap_or_default(),
        diags,
        off: &options.off,
        rounding: options.rounding,
        require_integers: options.require_integers,
        bytes: options.bytes,
        lanes: options.lanes,
        name: "",
        edits: 0,
        max_edits: options.max_edits,
    };
    let mut result = Ok(());
    for step in steps {
        result = match step {
            Once(pass, _) => one(&mut model.graph, pass, &mut cx),
            Until(passes, bound, _) => until(&mut model.graph, passes, *bound, &mut cx),
        };
        if result.is_ok() && !cx.diags.has_errors() {
            result = sound(&model.graph, cx.name);
        }
        if result.is_err() || cx.diags.has_errors() {
            break;
        }
    }
    model.offload = std::mem::take(&mut cx.offload);
    model.symbols = symbols;
    result
}

/// An error that names the pass after which the graph is broken.
fn sound(g: &Graph, pass: &str) -> Result<()> {
    match crate::graph::verify::verify(g, true).first() {
        None => Ok(()),
        Some((n, what)) => {
            let at = n.map(|n| g.describe(n)).unwrap_or_default();
            Err(Diagnostic::internal(format!("after pass {pass}: {what}")).at(at))
        }
    }
}

fn until(g: &mut Graph, passes: &[&'static Pass], bound: usize, cx: &mut PassCx) -> Result<()> {
    for _ in 0..bound {
        let before = cx.edits;
        for pass in passes {
            one(g, pass, cx)?;
        }
        if cx.edits == before {
            return Ok(());
        }
    }
    let names: Vec<&str> = passes.iter().map(|p| p.name).collect();
    Err(Diagnostic::internal(format!(
        "the passes {names:?} still change the graph after {bound} rounds"
    )))
}

/// Runs a pass on a graph and, but for the first inference, on its bodies.
fn one(g: &mut Graph, pass: &'static Pass, cx: &mut PassCx) -> Result<()> {
    if !cx.wants(pass.name) {
        return Ok(());
    }
    cx.name = pass.name;
    (pass.run)(g, cx)?;
    // Inference walks into bodies by itself, with what it knows of their inputs.
    // A region's twin is for the CPU.
    if [resolve::PASS.name, offload::PASS.name].contains(&pass.name) {
        return Ok(());
    }
    for n in g.order().to_vec() {
        bodies(g, n, pass, cx)?;
    }
    Ok(())
}

fn bodies(g: &mut Graph, n: NodeId, pass: &'static Pass, cx: &mut PassCx) -> Result<()> {
    if g.node(n).bodies.is_empty() {
        return Ok(());
    }
    let mut list = std::mem::take(&mut g.node_mut(n).bodies);
    let mut result = Ok(());
    for body in &mut list {
        // A branch that inference gave up is never planned.
        if body.outputs().iter().all(|&v| body.ty(v).is_some()) {
            result = result.and_then(|()| one(body, pass, cx));
        }
    }
    g.node_mut(n).bodies = list;
    result
}
