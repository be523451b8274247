//! Convolutions of one input that are added up become one convolution: the unfused training form of RepVGG, MobileOne, ACNet (Ding et al., 2021,
//! "RepVGG: Making VGG-style ConvNets Great Again"). A smaller window is padded into the larger one, and a BatchNormalization of the input is a window with a
//! single element on the diagonal.
//!
//! Weights and biases are added in f64 and rounded once. An input that is added as it is (a residual) stays apart: it costs nothing behind a
//! kernel, and keeps all of its bits.

use super::conv_affine::batch_norm;
use super::engine::*;
use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::contracts::window::Window;
use crate::graph::ir::{Graph, NodeId};
use crate::ops::spatial::conv_window;
use crate::ops::util::unravel;
use crate::pass::{Pass, PassCx};

/// The fusion.
pub static PASS: Pass = Pass {
    name: "parallel_convs",
    doc: "Convs and BatchNormalizations of one input that are added up become one Conv",
    run,
};

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    let conv = |w, name| op("Conv", [any("x"), konst(w)]).named(name);
    let lists = ["scale", "bias", "mean", "variance"].map(konst);
    let norm = Pat::Op(
        "BatchNormalization",
        [&[any("x")], &lists[..]].concat(),
        Some("norm"),
    );
    let patterns = [
        conv("w", "conv") + conv("v", "other"),
        conv("w", "conv") + norm,
    ];
    rewrite(g, cx, &patterns, add)
}

/// A convolution with known weights and bias.
struct Conv {
    window: Window,
    group: i64,
    shape: Vec<i64>,
    weights: Vec<f64>,
    bias: Option<Vec<f64>>,
}

impl Conv {
    /// Reads a Conv of f32 without an activation or a sum of its own.
    fn read(g: &Graph, n: NodeId) -> Option<Conv> {
        let node = g.node(n);
        let (x, w) = (g.ty(node.ins[0]?)?, g.konst(node.ins[1]?)?);
        let more = node.ins.iter().skip(3).any(Option::is_some);
        if w.dtype != DType::F32 || more || node.attrs.get("activation").is_some() {
            return None;
        }
        let bias = match node.ins.get(2).copied().flatten() {
            None => None,
            Some(b) => Some(g.konst(b)?.to_f64s()?),
        };
        Some(Conv {
            window: conv_window(&node.attrs, &x.shape, &g.ty(node.ins[1]?)?.shape).ok()?,
            group: node.attrs.int("group", 1),
            shape: w.shape.clone(),
            weights: w.to_f64s()?,
            bias,
        })
    }
    /// Which element of this window looks where `other`'s element `k` does.
    fn element(&self, other: &Window, k: &[i64]) -> Option<usize> {
        let w = &self.window;
        let mut at = 0;
        for (i, &k) in k.iter().enumerate() {
            let from = k * other.dilation[i] - other.begin[i] + w.begin[i];
            let own = from / w.dilation[i];
            if from % w.dilation[i] != 0 || !(0..w.kernel[i]).contains(&own) {
                return None;
            }
            at = at * w.kernel[i] + own;
        }
        Some(at as usize)
    }
    /// Elements of a window.
    fn taps(&self) -> usize {
        self.window.kernel.iter().product::<i64>() as usize
    }
    /// Adds a convolution whose window is inside of this one's; `false`: it isn't.
    fn add(&mut self, other: &Conv) -> bool {
        let (a, b) = (&self.window, &other.window);
        if self.group != other.group || self.shape[..2] != other.shape[..2] || a.stride != b.stride
        {
            return false;
        }
        let places: Option<Vec<usize>> = (0..other.taps() as i64)
            .map(|t| self.element(b, &unravel(&b.kernel, t)))
            .collect();
        let Some(places) = places else { return false };
        let own = self
            .weights
            .chunks_mut(a.kernel.iter().product::<i64>().max(1) as usize);
        for (to, from) in own.zip(other.weights.chunks(places.len().max(1))) {
            for (&at, v) in places.iter().zip(from) {
                to[at] += v;
            }
        }
        if let Some(b) = &other.bias {
            self.add_bias(b);
        }
        true
    }
    /// Adds the input times a factor for each channel; `false`: it isn't as large as the output.
    fn add_scaled(&mut self, factor: &[f64]) -> bool {
        let n = self.window.rank();
        let one = Window {
            kernel: vec![1; n],
            dilation: vec![1; n],
            begin: vec![0; n],
            ..self.window.clone()
        };
        let (outs, ins) = (self.shape[0], self.shape[1]);
        let Some(at) = self.element(&one, &vec![0; n]) else {
            return false;
        };
        if ins * self.group != outs || self.window.stride.iter().any(|&s| s != 1) {
            return false;
        }
        let taps = self.taps();
        for (c, f) in factor.iter().enumerate() {
            self.weights[(c * ins as usize + c % ins as usize) * taps + at] += f;
        }
        true
    }
    fn add_bias(&mut self, b: &[f64]) {
        let own = self.bias.get_or_insert_with(|| vec![0.0; b.len()]);
        own.iter_mut().zip(b).for_each(|(a, b)| *a += b);
    }
}

fn add(g: &mut Graph, cx: &mut PassCx, m: &Match) -> Result<Outcome> {
    let skip = |why: &str| Ok(Outcome::Skip(why.to_string()));
    let mut conv = m.node("conv")?;
    let Some(mut sum) = Conv::read(g, conv) else {
        return skip("the Conv's numbers are not known");
    };
    let shape = |n: NodeId| g.ty(g.node(n).outs[0]).map(|t| t.shape.clone());
    if let Ok(norm) = m.node("norm") {
        let channels = sum.shape[0];
        let Some((factor, shift)) = batch_norm(g, m, norm, channels)? else {
            return skip("the BatchNormalization is not one number per channel");
        };
        if shape(norm) != shape(conv) || !sum.add_scaled(&factor) {
            return skip("the BatchNormalization does not fit the Conv's window");
        }
        sum.add_bias(&shift);
    } else {
        let other = m.node("other")?;
        let Some(mut second) = Conv::read(g, other) else {
            return skip("the other Conv's numbers are not known");
        };
        if shape(conv) != shape(other) {
            return skip("the sum broadcasts");
        }
        if second.taps() > sum.taps() {
            std::mem::swap(&mut sum, &mut second);
            conv = other;
        }
        if !sum.add(&second) {
            return skip("neither window is inside of the other's");
        }
    }
    let floats = |v: &[f64]| v.iter().map(|&v| v as f32).collect::<Vec<f32>>();
    let node = g.node(conv);
    let (attrs, mut ins) = (node.attrs.clone(), node.ins[..2].to_vec());
    let name = node.ins[1]
        .map(|w| g.value(w).name.clone())
        .unwrap_or_default();
    ins[1] = Some(g.add_const(&name, Tensor::f32(&sum.shape, &floats(&sum.weights))));
    if let Some(b) = &sum.bias {
        let b = Tensor::f32(&[b.len() as i64], &floats(b));
        ins.push(Some(g.add_const(&format!("{name}_bias"), b)));
    }
    let loc = place(g, m);
    let y = make(g, cx, m.root(), "Conv", attrs, &ins, loc)?;
    Ok(Outcome::Replace(y))
}
