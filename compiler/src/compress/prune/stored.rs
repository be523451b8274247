//! Weights that a DequantizeLinear makes of whole numbers: what a number stands for, and which number a weight becomes.

use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::graph::ir::{Graph, ValueId};

/// Scales and zero points of a tensor.
#[derive(Clone, PartialEq, Debug)]
pub struct Stored {
    /// One, or one for each index of an axis.
    scale: Vec<f64>,
    /// As many.
    zero: Vec<f64>,
    /// Elements from one index of the axis to the next, and how many indices it has.
    step: usize,
}

impl Stored {
    /// Those of a value, with the constant behind it; `None`: it is no constant that is dequantized as a whole or along an axis.
    pub fn of(g: &Graph, value: ValueId) -> Option<(ValueId, Stored)> {
        let node = g.node(g.maker(value)?.0);
        if node.op.name != "DequantizeLinear" || node.attrs.int("block_size", 0) != 0 {
            return None;
        }
        let known = |k: usize| node.ins.get(k).copied().flatten();
        let from = known(0)?;
        let t = g.konst(from).filter(|t| !t.dtype.is_float())?;
        let scale = g.konst(known(1)?).and_then(Tensor::to_f64s)?;
        let zero = match known(2) {
            Some(v) => g.konst(v).and_then(Tensor::to_f64s)?,
            None => vec![0.0; scale.len()],
        };
        let rank = t.shape.len() as i64;
        let axis = match node.attrs.int("axis", 1) {
            a if a < 0 => a + rank,
            a => a,
        };
        let axis = usize::try_from(axis).ok()?;
        let along = t.shape.get(axis);
        let whole = scale.len() == 1 || along.is_some_and(|n| *n as usize == scale.len());
        let sound = scale.iter().all(|s| s.is_finite() && *s > 0.0) && zero.len() == scale.len();
        if !whole || !sound {
            return None;
        }
        let behind = t.shape.iter().skip(axis + 1);
        let step = behind.product::<i64>().max(1) as usize;
        Some((from, Stored { scale, zero, step }))
    }
    fn channel(&self, at: usize) -> usize {
        at / self.step % self.scale.len()
    }
    /// What number `q` at a place of the tensor stands for.
    pub fn real(&self, at: usize, q: f64) -> f64 {
        let c = self.channel(at);
        (q - self.zero[c]) * self.scale[c]
    }
    /// The number nearest to a weight: that which stood for it, if it is one of those that numbers stand for.
    pub fn whole(&self, at: usize, w: f64, dtype: DType) -> f64 {
        let c = self.channel(at);
        let (lo, hi) = dtype.int_range().unwrap_or((-128, 127));
        let q = libm::rint(w / self.scale[c]) + self.zero[c];
        q.clamp(lo as f64, hi as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_what_they_were() {
        let s = Stored {
            scale: vec![0.1, 0.03],
            zero: vec![-3.0, 7.0],
            step: 2,
        };
        for at in 0..8 {
            for q in -128..128 {
                let q = f64::from(q);
                assert_eq!(s.whole(at, s.real(at, q), DType::I8), q);
            }
        }
        assert_eq!(s.whole(2, 0.0, DType::I8), 7.0);
        assert_eq!(s.whole(1, 1e9, DType::I8), 127.0);
    }
}
