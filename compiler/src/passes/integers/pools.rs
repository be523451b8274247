//! Sums and means: sums of whole numbers, with the count in the multiplier.

use super::real::Real;
use super::{Goal, Integers};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::base::dim::fixed_shape;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::graph::ir::{NodeId, ValueId};
use crate::op::resolve_axis;

impl Integers<'_, '_, '_> {
    /// GlobalAveragePool, ReduceMean, AveragePool over bytes, and ReduceSum, which divides by nothing.
    pub(super) fn mean(&mut self, n: NodeId, to: &Goal) -> Result<Option<ValueId>> {
        let Goal { t, spot, .. } = *to;
        let node = self.g.node(n);
        let (name, attrs) = (node.op.name, node.attrs.clone());
        let out = node.outs[0];
        let found = Real::of_first(self.g, n);
        let Some((r, scale)) = found.and_then(|r| r.single().map(|(s, _)| (r, s))) else {
            return Ok(None);
        };
        let Some(shape) = self.g.ty(r.q).and_then(|t| t.fixed_shape()) else {
            return Ok(None);
        };
        if !self.alone(out) || shape.contains(&0) {
            return Ok(None);
        }
        let rank = shape.len();
        let (axes, keep) = match name {
            "GlobalAveragePool" => ((2..rank).collect(), true),
            "ReduceMean" | "ReduceSum" => {
                let Some(axes) = self.axes(n, rank)? else {
                    return Ok(None);
                };
                (axes, attrs.int("keepdims", 1) != 0)
            }
            _ => {
                let (kernel, pads) = (attrs.ints("kernel_shape"), attrs.ints("pads"));
                let padded = pads.is_some_and(|p| p.iter().any(|&p| p != 0))
                    || !["NOTSET", "VALID", ""].contains(&attrs.str("auto_pad", "NOTSET"));
                let whole = kernel.is_some_and(|k| *k == shape[2..]) && !padded;
                if !whole {
                    return self.windows(n, &r, scale, padded, to);
                }
                ((2..rank).collect(), true)
            }
        };
        let count: i64 = axes.iter().map(|&a: &usize| shape[a]).product();
        // A sum of bytes that an i32 holds.
        if axes.is_empty() || count > i64::from(i32::MAX) / 255 {
            return Ok(None);
        }
        let zero = count * r.zero[0];
        let axes: Vec<i64> = axes.iter().map(|&a| a as i64).collect();
        let axes = self
            .g
            .add_const("", Tensor::i64(&[axes.len() as i64], &axes));
        let own = Attrs::default()
            .with("keepdims", Attr::Int(i64::from(keep)))
            .with("wide", Attr::Int(1));
        let sum = self.make("ReduceSum", own, &[Some(r.q), Some(axes)], spot)?;
        let divisor = if name == "ReduceSum" {
            1.0
        } else {
            count as f64
        };
        let m = self.reals(&[], &[scale / (divisor * t.scale)]);
        let most = count as f64 * r.most();
        self.requantize(sum, zero, most, m, None, to).map(Some)
    }

    /// The axes that a reduction is over, if they are known.
    pub(super) fn axes(&self, n: NodeId, rank: usize) -> Result<Option<Vec<usize>>> {
        let node = self.g.node(n);
        let list = node.ins.get(1).copied().flatten();
        match list.map(|v| self.g.konst(v)?.to_i64s()) {
            None if node.attrs.flag("noop_with_empty_axes") => Ok(None),
            None => Ok(Some((0..rank).collect())),
            Some(None) => Ok(None),
            Some(Some(list)) if list.is_empty() => Ok(None),
            Some(Some(list)) => {
                let axes: Result<Vec<usize>> =
                    list.iter().map(|&a| resolve_axis(a, rank)).collect();
                axes.map(Some)
            }
        }
    }

    /// Windows are a convolution with ones, channel by channel, and what is counted of each is in the multiplier.
    fn windows(
        &mut self,
        n: NodeId,
        r: &Real,
        scale: f64,
        padded: bool,
        to: &Goal,
    ) -> Result<Option<ValueId>> {
        let Goal { t, spot, .. } = *to;
        let attrs = self.g.node(n).attrs.clone();
        let Some(kernel) = attrs.ints("kernel_shape").map(<[i64]>::to_vec) else {
            return Ok(None);
        };
        let out = self
            .g
            .ty(self.g.node(n).outs[0])
            .and_then(|t| fixed_shape(&t.shape));
        let channels = self.g.ty(r.q).and_then(|t| t.shape.get(1)?.fixed());
        let (Some(channels), Some(out)) = (channels, out) else {
            return Ok(None);
        };
        let shape = self.g.ty(r.q).and_then(|t| fixed_shape(&t.shape));
        let Some(windows) = shape.and_then(|s| Windows::of(&attrs, &s, &out, padded)) else {
            return Ok(None);
        };
        let count: i64 = kernel.iter().product();
        let mut shape = vec![channels, 1];
        shape.extend(&kernel);
        let ones = vec![1.0; (channels * count) as usize];
        let ones = Tensor::from_f64s(DType::I8, &shape, &ones);
        let ones = self.g.add_const("", ones);
        let mut own = Attrs::default().with("group", Attr::Int(channels));
        for name in ["strides", "dilations", "auto_pad", "kernel_shape"] {
            if let Some(a) = attrs.get(name) {
                own.set(name, a.clone());
            }
        }
        own.set("pads", Attr::Ints(windows.pads));
        let mut ins = vec![Some(r.q), Some(ones)];
        ins.extend(self.zero(r.dtype, r.zero[0]).map(Some));
        let sum = self.make("ConvInteger", own, &ins, spot)?;
        if self.g.ty(sum).and_then(|t| t.fixed_shape()) != Some(out.clone()) {
            return Ok(None);
        }
        let each = |count: &f64| scale / (count * t.scale);
        let counts: Vec<f64> = windows.counts.iter().map(each).collect();
        let m = match counts.iter().all(|c| *c == counts[0]) {
            true => self.reals(&[], &counts[..1]),
            false => self.reals(&out[2..], &counts),
        };
        let most = count as f64 * r.most();
        self.requantize(sum, 0, most, m, None, to).map(Some)
    }
}

/// Where the windows of an average pool stand.
struct Windows {
    /// Of a convolution with as many results.
    pads: Vec<i64>,
    /// How many elements count, for each result of a channel.
    counts: Vec<f64>,
}

impl Windows {
    /// Those of a pool over `shape` that gives `out`. `None`: some window counts nothing, or padding is to be found out by `auto_pad`.
    fn of(attrs: &Attrs, shape: &[i64], out: &[i64], padded: bool) -> Option<Windows> {
        let kernel = attrs.ints("kernel_shape")?;
        let n = kernel.len();
        if n + 2 != shape.len() || out.len() != shape.len() || out.contains(&0) {
            return None;
        }
        let automatic = !["NOTSET", "VALID", ""].contains(&attrs.str("auto_pad", "NOTSET"));
        if automatic && padded && !attrs.flag("count_include_pad") {
            return None;
        }
        let list = |name: &str, len: usize, none: i64| match attrs.ints(name) {
            Some(l) => l.to_vec(),
            None => vec![none; len],
        };
        let (strides, dilations) = (list("strides", n, 1), list("dilations", n, 1));
        let mut pads = list("pads", 2 * n, 0);
        let mut counts = vec![1.0];
        for i in 0..n {
            let (size, begin, end) = (shape[2 + i], pads[i], pads[n + i]);
            // `ceil_mode` lets windows reach beyond the padding, which is never counted.
            let (from, to) = match attrs.flag("count_include_pad") {
                true => (-begin, size + end),
                false => (0, size),
            };
            let inside = |o: i64| {
                let at = |k: i64| o * strides[i] - begin + k * dilations[i];
                (0..kernel[i])
                    .filter(|&k| automatic || (from..to).contains(&at(k)))
                    .count() as f64
            };
            let along: Vec<f64> = (0..out[2 + i]).map(inside).collect();
            counts = (counts.iter().flat_map(|c| along.iter().map(move |a| c * a))).collect();
            let reach = (out[2 + i] - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1;
            pads[n + i] = end.max(reach - size - begin);
        }
        let counted = counts.iter().all(|c| *c > 0.0);
        counted.then_some(Windows { pads, counts })
    }
}
