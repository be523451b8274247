//! Floor 6: what an accelerator must answer. Accelerators plug in from above like targets; the compiler itself names none.
//!
//! The pass `offload` asks which nodes a device can compute, cuts out regions, and has each of them encoded. The accelerator sees graphs as they are
//! before values are laid out for the CPU: operators over whole numbers (`passes/integers`), spatial ones with channels on axis 1. What it
//! encodes must give the bits that the graph means: the graph stays in the object as the CPU twin, and the two are compared at run time.

use crate::base::diag::Result;
use crate::base::offload::Layout;
use crate::base::rounding::Rounding;
use crate::base::tensor::Tensor;
use crate::base::types::TensorType;
use crate::graph::ir::{Graph, Model, NodeId};
use bytes::Bytes;
use std::fmt::Debug;
use std::sync::Arc;

/// Whether a device can compute a node.
#[derive(Clone, PartialEq, Debug)]
pub enum Claim {
    /// It can, and it is what the device is there for.
    Work,
    /// It can, but it only moves numbers about: not worth a region by itself.
    Move,
    /// It can't; why, in half a sentence for a person.
    No(String),
}

/// Why a region could not be encoded.
#[derive(Clone, PartialEq, Debug)]
pub struct Refusal {
    /// The node of the body at which it failed, if it was one: the region is split there.
    pub node: Option<NodeId>,
    /// Why.
    pub why: String,
}

/// A region as its device reads it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Encoded {
    /// Commands.
    pub blob: Bytes,
    /// Weights.
    pub constants: Bytes,
    /// Bytes of the device's own memory for what lies in between.
    pub device_bytes: u64,
    /// Cycles of a run.
    pub cycles: u64,
}

/// How fast a device is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Speed {
    /// Cycles in a second.
    pub hertz: u64,
    /// Bytes in a second across the border.
    pub bytes_per_second: u64,
    /// Nanoseconds from a submission to its answer, beside the work.
    pub overhead_ns: u64,
    /// Multiply-accumulates in a second at the slowest: a run that takes longer counts as lost.
    pub least_macs_per_second: u64,
}

/// An accelerator.
pub trait Accelerator: Debug + Send + Sync {
    /// Its name: what `--npu` calls it and what its driver registers as.
    fn name(&self) -> &str;
    /// For which device exactly, as its driver compares it.
    fn target(&self) -> String;
    /// How it was asked for: name and options in one line.
    fn options(&self) -> String;
    /// Which way halves must go where numbers are requantized; none: the device does both.
    fn rounding(&self) -> Option<Rounding>;
    /// Whether a value of that type may cross the border of a region, or why not.
    fn border(&self, ty: &TensorType) -> std::result::Result<(), String>;
    /// How the device wants a value to lie that crosses the border.
    fn layout(&self, ty: &TensorType) -> Layout;
    /// Whether it computes a node.
    fn claim(&self, g: &Graph, n: NodeId) -> Claim;
    /// The blob of a region. Inputs and outputs of the body lie as its types say, in its order of ports.
    fn encode(&self, body: &Graph) -> std::result::Result<Encoded, Refusal>;
    /// How fast it is.
    fn speed(&self) -> Speed;
}

/// Runs the CPU twin of a region: the interpreter's bits, but faster.
pub trait Twin: Debug + Send + Sync {
    /// The outputs of a body for inputs in its order; none where this host can't run it.
    fn run(&self, body: &Model, inputs: &[Tensor]) -> Result<Option<Vec<Tensor>>>;
}

/// What the caller asks of accelerators.
#[derive(Clone, Debug)]
pub struct Request {
    /// In order: the first takes what it can, the next from what is left.
    pub accelerators: Vec<Arc<dyn Accelerator>>,
    /// Patterns over names of nodes that must not run on the CPU: `*` stands for any letters.
    pub required: Vec<String>,
    /// How many times faster than the CPU a region must be; 0: as many as can be offloaded are.
    pub min_gain: f64,
    /// Most regions of one accelerator: each costs a copy and a wait.
    pub max_regions: usize,
    /// Works out golden vectors; none, or where it can't: the interpreter does.
    pub twin: Option<Arc<dyn Twin>>,
    /// Multiply-accumulates up to which the interpreter does: it takes a second for three million. Larger regions get no self-test then.
    pub golden_macs: u64,
}

impl Default for Request {
    fn default() -> Request {
        Request {
            accelerators: vec![],
            required: vec![],
            min_gain: 1.25,
            max_regions: 4,
            twin: None,
            golden_macs: 16_000_000,
        }
    }
}

/// Nanoseconds that our own kernels take, for the comparison with a device.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CpuRates {
    /// For each layer.
    pub call: f64,
    /// For each multiply-accumulate of whole numbers.
    pub mac: f64,
    /// The same of depthwise convolutions.
    pub depthwise_mac: f64,
    /// For each byte that is read or written.
    pub byte: f64,
}

impl Default for CpuRates {
    fn default() -> CpuRates {
        CpuRates {
            call: 100.0,
            mac: 0.06,
            depthwise_mac: 0.12,
            byte: 0.1,
        }
    }
}
