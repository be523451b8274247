//! Where a layer's bias stands, or could.

use super::layer::Layer;
use crate::base::tensor::Tensor;
use crate::graph::ir::{Graph, NodeId};

/// A place for one number of each output channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bias {
    /// Input 2 of the layer, which may be absent: what the layer makes holds it.
    Own(NodeId),
    /// This input of an Add right behind the layer.
    Behind(NodeId, usize),
}

impl Bias {
    /// That of a layer, if nothing else reads it.
    pub fn of(g: &Graph, l: &Layer) -> Option<Bias> {
        let node = g.node(l.node);
        let row = |t: &Tensor| t.shape.len() == 1 && t.len() == l.rows && t.dtype.is_float();
        let free = |v| g.konst(v).is_some_and(row) && g.users(v).len() == 1;
        match l.op {
            "Conv" | "Gemm" => {
                let old = node.ins.get(2).copied().flatten();
                old.is_none_or(free).then_some(Bias::Own(l.node))
            }
            "MatMul" => {
                let &[add] = g.users(node.outs[0]) else {
                    return None;
                };
                let behind = g.node(add);
                if behind.op.name != "Add" || g.is_output(node.outs[0]) {
                    return None;
                }
                let k = (behind.ins.iter()).position(|i| *i != Some(node.outs[0]))?;
                free(behind.ins[k]?).then_some(Bias::Behind(add, k))
            }
            _ => None,
        }
    }
    /// Puts what a bias must be in place: numbers of [`super::fit::Fitted::bias`].
    pub fn put(self, g: &mut Graph, l: &Layer, bias: &[f64]) {
        let (n, k) = match self {
            Bias::Own(n) => (n, 2),
            Bias::Behind(n, k) => (n, k),
        };
        let old = g.node(n).ins.get(k).copied().flatten();
        let known = old.and_then(|v| g.konst(v)).and_then(Tensor::to_f64s);
        let dtype = g.konst(l.value).map(|t| t.dtype);
        let Some(dtype) = dtype else { return };
        let behind = matches!(self, Bias::Behind(..));
        let values: Vec<f64> = (bias.iter().enumerate())
            .map(|(i, b)| match (&known, behind) {
                (Some(old), true) => old.get(i).copied().unwrap_or(0.0) + b,
                _ => *b,
            })
            .collect();
        let t = Tensor::from_f64s(dtype, &[values.len() as i64], &values);
        match old {
            Some(v) => g.make_const(v, t),
            None => {
                let name = format!("{}_bias", l.name);
                let v = g.add_const(&name, t);
                g.set_input(n, k, Some(v));
            }
        }
    }
}
