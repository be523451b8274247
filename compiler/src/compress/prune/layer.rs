//! Layers with constant weights, and where each weight stands: for every output channel (a row) the weights of its sum.

use super::stored::Stored;
use crate::base::diag::{Diagnostic, Result};
use crate::base::tensor::Tensor;
use crate::graph::ir::{Graph, NodeId, ValueId};

/// A Conv, ConvTranspose, Gemm or MatMul whose weights are a constant of real numbers.
#[derive(Clone, PartialEq, Debug)]
pub struct Layer {
    /// The node.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Its operator.
    pub op: &'static str,
    /// The weights.
    pub value: ValueId,
    /// Output channels.
    pub rows: usize,
    /// Weights of one: input channels of a group, times taps; taps run fastest.
    pub depth: usize,
    /// Groups of channels.
    pub groups: usize,
    /// Elements of the spatial window.
    pub taps: usize,
    /// Axis of the tensor along output channels (of a group, for ConvTranspose).
    pub out_axis: usize,
    /// Axis along input channels (of a group, for Conv).
    pub in_axis: usize,
    /// How whole numbers stand for the weights; `None`: they are floats.
    pub stored: Option<Stored>,
}

impl Layer {
    /// That of a node; an error if a weight is not finite.
    pub fn of(g: &Graph, n: NodeId) -> Result<Option<Layer>> {
        let node = g.node(n);
        let Some(value) = node.ins.get(1).copied().flatten() else {
            return Ok(None);
        };
        let (value, stored) = match Stored::of(g, value) {
            Some((value, stored)) => (value, Some(stored)),
            None => (value, None),
        };
        let Some(t) = g.konst(value) else {
            return Ok(None);
        };
        if !t.dtype.is_float() && stored.is_none() || t.is_empty() {
            return Ok(None);
        }
        let size = |a: usize| t.shape[a] as usize;
        let rank = t.shape.len();
        let group = node.attrs.int("group", 1).max(1) as usize;
        let taps = || t.shape[2..].iter().product::<i64>() as usize;
        let (rows, depth, groups, taps, out_axis, in_axis) = match node.op.name {
            "Conv" if rank > 2 => (size(0), size(1) * taps(), group, taps(), 0, 1),
            "ConvTranspose" if rank > 2 => (
                size(1) * group,
                size(0) / group * taps(),
                group,
                taps(),
                1,
                0,
            ),
            "Gemm" | "MatMul" if rank == 2 && !node.attrs.flag("trans_a") => {
                match node.attrs.flag("trans_b") {
                    true => (size(0), size(1), 1, 1, 0, 1),
                    false => (size(1), size(0), 1, 1, 1, 0),
                }
            }
            _ => return Ok(None),
        };
        if rows % groups != 0 || depth == 0 || rows == 0 {
            return Ok(None);
        }
        let finite = |v: Vec<f64>| v.iter().all(|v| v.is_finite());
        if !t.to_f64s().is_some_and(finite) {
            let text = "weights that are not finite";
            return Err(Diagnostic::model("ONNX004", text).at(g.describe(n)));
        }
        Ok(Some(Layer {
            node: n,
            name: node.loc.to_string(),
            op: node.op.name,
            value,
            rows,
            depth,
            groups,
            taps,
            out_axis,
            in_axis,
            stored,
        }))
    }
    /// All of a graph, in its order; of several that share weights the first.
    pub fn all(g: &Graph) -> Result<Vec<Layer>> {
        let mut out: Vec<Layer> = vec![];
        for &n in g.order() {
            if let Some(l) = Layer::of(g, n)?
                && out.iter().all(|o| o.value != l.value)
            {
                out.push(l);
            }
        }
        Ok(out)
    }
    /// Whether each output channel reads one input channel.
    pub fn depthwise(&self) -> bool {
        self.groups > 1 && self.depth == self.taps
    }
    /// Where weight `k` of a row stands in the tensor.
    pub fn at(&self, row: usize, k: usize) -> usize {
        match self.op {
            "Conv" => row * self.depth + k,
            "ConvTranspose" => {
                let each = self.rows / self.groups;
                let channel = row / each * (self.depth / self.taps) + k / self.taps;
                (channel * each + row % each) * self.taps + k % self.taps
            }
            _ if self.out_axis == 0 => row * self.depth + k,
            _ => k * self.rows + row,
        }
    }
    /// The input channel that weight `k` of a row reads.
    pub fn channel(&self, row: usize, k: usize) -> usize {
        row / (self.rows / self.groups) * (self.depth / self.taps) + k / self.taps
    }
    /// Input channels.
    pub fn channels(&self) -> usize {
        self.groups * (self.depth / self.taps)
    }
    /// The weights, row by row.
    pub fn weights(&self, g: &Graph) -> Vec<f64> {
        let all = g
            .konst(self.value)
            .and_then(Tensor::to_f64s)
            .unwrap_or_default();
        let at = |i: usize| {
            let at = self.at(i / self.depth, i % self.depth);
            let v = all.get(at).copied()?;
            Some(self.stored.as_ref().map_or(v, |s| s.real(at, v)))
        };
        (0..self.rows * self.depth)
            .map(|i| at(i).unwrap_or(0.0))
            .collect()
    }
    /// Puts weights in place, row by row.
    pub fn put(&self, g: &mut Graph, weights: &[f64]) {
        let Some(t) = g.konst(self.value) else { return };
        let (dtype, shape) = (t.dtype, t.shape.clone());
        let mut all = vec![0.0; t.len()];
        for (i, w) in weights.iter().enumerate() {
            let at = self.at(i / self.depth, i % self.depth);
            all[at] = match &self.stored {
                Some(s) => s.whole(at, *w, dtype),
                None => *w,
            };
        }
        let t = Tensor::from_f64s(dtype, &shape, &all);
        g.make_const(self.value, t);
    }
    /// The axis of the node's result along output channels.
    pub fn result_axis(&self, g: &Graph) -> usize {
        match self.op {
            "Conv" | "ConvTranspose" => 1,
            _ => {
                let out = g.node(self.node).outs[0];
                g.ty(out).map_or(0, |t| t.rank().saturating_sub(1))
            }
        }
    }
}
