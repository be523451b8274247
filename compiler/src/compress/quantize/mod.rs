//! Post-training quantization: a float graph becomes one that says, by QuantizeLinear and DequantizeLinear, in which whole numbers it is to
//! be computed. Any runtime reads that; our own pass `integers` computes in them.
//!
//! Other forms of a model: weights stored small and computed with in floats ([`store`], [`halves`]), and products that find their input's range while they run
//! ([`dynamic()`]). [`apart()`], [`equalize()`] and [`smooth()`] prepare a float model so that more can be quantized and rounding costs less.
//!
//! Three steps: [`sites`] says which values are to be quantized and therefore observed; whoever runs the float model on calibration data fills an
//! [`Observer`] for each; [`apply()`] chooses scales and rewrites the graph. Weights are symmetric, of one scale for each output channel (Krishnamoorthi
//! 2018, "Quantizing deep convolutional networks for efficient inference"); what rounding them adds to a layer's mean output comes off its
//! bias (Nagel et al. 2019, "Data-free quantization through weight equalization and bias correction", section 4.2).

mod adaround;
mod apart;
mod apply;
mod bias;
mod dynamic;
mod equalize;
pub(crate) mod gptq;
pub(super) mod moments;
mod observe;
mod range;
mod scan;
mod seen;
mod sites;
mod smooth;
mod statistics;
mod stored;
mod weights;

pub use apart::apart;
pub use apply::{Layer, Summary, apply};
pub use dynamic::dynamic;
pub use equalize::equalize;
pub use observe::Observer;
pub use range::{Method, Range, Scale};
pub use seen::Seen;
pub use sites::{Site, Sites, sites};
pub use smooth::{smooth, smooth_sites};
pub use statistics::{Known, Normal, statistics};
pub use stored::{halves, store, stored_sites};

use crate::base::dtype::DType;
use crate::graph::ir::NodeId;
use std::collections::BTreeSet;

/// How weights become whole numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WeightRounding {
    /// Each to the nearest.
    Nearest,
    /// Each makes up for those before it (Frantar et al. 2022).
    Gptq,
    /// Up or down by what it does to the layer's result, learned (Nagel et al. 2020).
    AdaRound,
}

/// How a model is quantized.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Type of activations: i8, u8 or i16.
    pub activations: DType,
    /// Type of weights: i8 or i4.
    pub weights: DType,
    /// Bits of it that weights use, from 2 on: with fewer than the type has, numbers are smaller and the type is the same.
    pub weight_bits: u32,
    /// So many weights of a matrix product's sum have a step of their own; `None`: one step for all of an output channel.
    pub block: Option<usize>,
    /// How weights become whole numbers.
    pub weight_rounding: WeightRounding,
    /// Zero points of activations are that of the type's middle.
    pub symmetric: bool,
    /// A scale for each output channel of weights, or one for all.
    pub per_channel: bool,
    /// How ranges of activations are chosen.
    pub method: Method,
    /// Whether values between a product and its LeakyRelu or PRelu have scales of their own.
    pub every_value: bool,
    /// Whether biases take back what rounding weights adds.
    pub bias_correction: bool,
    /// Nodes by name that stay in floats: patterns with `*`.
    pub exclude: Vec<String>,
    /// If there are any, only nodes by these names are quantized.
    pub only: Vec<String>,
    /// Nodes of the graph that stay in floats, whatever their names.
    pub keep: BTreeSet<NodeId>,
}

impl Default for Recipe {
    fn default() -> Self {
        Recipe {
            activations: DType::I8,
            weights: DType::I8,
            weight_bits: 8,
            block: None,
            weight_rounding: WeightRounding::Nearest,
            symmetric: false,
            per_channel: true,
            method: Method::MinMax,
            bias_correction: true,
            every_value: false,
            exclude: vec![],
            only: vec![],
            keep: BTreeSet::new(),
        }
    }
}

impl Recipe {
    /// Whether moments of what layers read are to be observed.
    pub fn needs_moments(&self) -> bool {
        self.weight_rounding != WeightRounding::Nearest
    }
    /// Whether nodes of a name are to be quantized.
    fn wants(&self, name: &str) -> bool {
        let any = |list: &[String]| list.iter().any(|p| matches(p, name));
        (self.only.is_empty() || any(&self.only)) && !any(&self.exclude)
    }
}

/// Whether a name is that of a pattern, in which `*` stands for any letters.
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        for (p, n, yes) in [
            ("conv1", "conv1", true),
            ("conv1", "conv12", false),
            ("conv*", "conv12", true),
            ("*/dw/*", "net/dw/3", true),
            ("*/dw/*", "net/pw/3", false),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1c", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(p, n), yes, "{p} {n}");
        }
    }
}
