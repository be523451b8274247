//! Sums, products, and functions of one number.

use super::products::End;
use super::real::{Bounds, Real, Target};
use super::{Goal, Integers, Spot, less};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::fusions::engine::infer;
use crate::graph::ir::{NodeId, ValueId};
use crate::op::{Lower, resolve_axis};
use crate::ops::quantized::{byte, byte_or_word};
use crate::ops::quantized_layer_norm::MOST;
use std::collections::HashMap;

/// Operators in a function of one number at most.
const MOST_NODES: usize = 32;
/// A power of e in a softmax's table is in units of 2^-40: sums of up to 2^13 of them are exact in f64.
const POWER: f64 = (1u64 << 40) as f64;

impl Integers<'_, '_, '_> {
    /// Both inputs of a node.
    fn two(&self, n: NodeId) -> Option<[ValueId; 2]> {
        let ins = &self.g.node(n).ins;
        Some([(*ins.first()?)?, (*ins.get(1)?)?])
    }
    /// Numbers of one scale.
    fn single(&self, v: ValueId) -> Option<(Real, f64)> {
        let r = Real::of(self.g, v).filter(|r| byte_or_word(r.dtype))?;
        let (s, _) = r.single()?;
        Some((r, s))
    }

    /// Add, Sub: of two quantized values, of one and a constant, or of a matrix product and its bias.
    pub(super) fn sum(&mut self, n: NodeId, to: &Goal) -> Result<Option<ValueId>> {
        let Goal { t, bounds, spot } = *to;
        let minus = self.g.node(n).op.name == "Sub";
        let Some([a, b]) = self.two(n).filter(|_| self.alone(self.g.node(n).outs[0])) else {
            return Ok(None);
        };
        if !minus {
            let end = End::straight(t, bounds);
            if let Some(v) = self.biased(n, &end, spot)? {
                return Ok(Some(v));
            }
        }
        if let (Some((x, sx)), Some((y, sy))) = (self.single(a), self.single(b)) {
            let sy = if minus { -sy } else { sy };
            let (mx, my) = (
                self.reals(&[], &[sx / t.scale]),
                self.reals(&[], &[sy / t.scale]),
            );
            let mut attrs = self.finishing(t, bounds);
            less(&mut attrs, "zero_a", x.zero[0]);
            less(&mut attrs, "zero_b", y.zero[0]);
            let most = x.most() * sx.abs() + y.most() * sy.abs();
            super::promise(&mut attrs, most / t.scale);
            let ins = [Some(x.q), Some(mx), Some(y.q), Some(my)];
            return self.make("RescaledSum", attrs, &ins, spot).map(Some);
        }
        for (k, (x, c)) in [(a, b), (b, a)].into_iter().enumerate() {
            let (Some((x, s)), Some(c_values)) = (self.single(x), self.known(c)) else {
                continue;
            };
            // x - c, or c - x.
            let (sx, sc) = match (minus, k) {
                (false, _) => (s, 1.0),
                (true, 0) => (s, -1.0),
                (true, _) => (-s, 1.0),
            };
            let Some(shape) = self.g.ty(c).and_then(|t| t.fixed_shape()) else {
                return Ok(None);
            };
            let all: Vec<f64> = c_values.iter().map(|c| sc * c / t.scale).collect();
            let (m, offset) = (self.reals(&[], &[sx / t.scale]), self.reals(&shape, &all));
            return self
                .requantize(x.q, x.zero[0], x.most(), m, Some(offset), to)
                .map(Some);
        }
        Ok(None)
    }

    /// Mul: of two quantized values in bytes, or of one and a constant.
    pub(super) fn product(&mut self, n: NodeId, to: &Goal) -> Result<Option<ValueId>> {
        let Goal { t, bounds, spot } = *to;
        let Some([a, b]) = self.two(n).filter(|_| self.alone(self.g.node(n).outs[0])) else {
            return Ok(None);
        };
        if let (Some((x, sx)), Some((y, sy))) = (self.single(a), self.single(b))
            && byte(x.dtype)
            && byte(y.dtype)
        {
            if x.q == y.q {
                // A square is a function of one number.
                return Ok(None);
            }
            let m = self.reals(&[], &[sx * sy / t.scale]);
            let mut attrs = self.finishing(t, bounds);
            less(&mut attrs, "zero_a", x.zero[0]);
            less(&mut attrs, "zero_b", y.zero[0]);
            super::promise(&mut attrs, x.most() * y.most() * (sx * sy / t.scale));
            let ins = [Some(x.q), Some(y.q), Some(m)];
            return self.make("RescaledProduct", attrs, &ins, spot).map(Some);
        }
        for (x, c) in [(a, b), (b, a)] {
            let (Some((x, s)), Some(values)) = (self.single(x), self.known(c)) else {
                continue;
            };
            let Some(shape) = self.g.ty(c).and_then(|t| t.fixed_shape()) else {
                return Ok(None);
            };
            let all: Vec<f64> = values.iter().map(|c| s * c / t.scale).collect();
            let m = self.reals(&shape, &all);
            return self
                .requantize(x.q, x.zero[0], x.most(), m, None, to)
                .map(Some);
        }
        Ok(None)
    }

    /// Max, Min and Where choose among numbers. Rounding never lets numbers pass each other, so each operand may go into the target's before.
    pub(super) fn chosen(&mut self, n: NodeId, to: &Goal) -> Result<Option<ValueId>> {
        let Goal { t, bounds, spot } = *to;
        let node = self.g.node(n);
        let (op, attrs, ins) = (node.op.name, node.attrs.clone(), node.ins.clone());
        let choice = usize::from(op == "Where");
        if !self.alone(node.outs[0]) || ins.len() < 2 {
            return Ok(None);
        }
        let numbers = |l: &Self, v: ValueId| {
            l.single(v).is_some()
                || (l.known(v).is_some_and(|c| c.iter().all(|c| !c.is_nan()))
                    && l.g.ty(v).is_some_and(|t| t.fixed_shape().is_some()))
        };
        let all = ins[choice..]
            .iter()
            .all(|v| v.is_some_and(|v| numbers(self, v)));
        let any = ins[choice..]
            .iter()
            .flatten()
            .any(|&v| self.single(v).is_some());
        if !all || !any {
            return Ok(None);
        }
        let mut whole = ins[..choice].to_vec();
        for &v in ins[choice..].iter().flatten() {
            let q = match self.known(v) {
                Some(values) => {
                    let shape = self.g.ty(v).and_then(|t| t.fixed_shape());
                    let number = |v: &f64| {
                        let (lo, hi) = t.limits(bounds, self.cx.rounding);
                        t.number(*v, self.cx.rounding).clamp(lo, hi) as f64
                    };
                    let values: Vec<f64> = values.iter().map(number).collect();
                    let numbers = Tensor::from_f64s(t.dtype, &shape.unwrap_or_default(), &values);
                    Some(self.g.add_const("", numbers))
                }
                None => match Real::of(self.g, v) {
                    Some(r) => self.rescaled(&r, to)?,
                    None => None,
                },
            };
            let Some(q) = q else { return Ok(None) };
            whole.push(Some(q));
        }
        self.make(op, attrs, &whole, spot).map(Some)
    }

    /// A BatchNormalization that no convolution took: a line for each channel.
    pub(super) fn normalized(&mut self, n: NodeId, to: &Goal) -> Result<Option<ValueId>> {
        let Goal { t, .. } = *to;
        let node = self.g.node(n);
        let epsilon = f64::from(node.attrs.float("epsilon", 1e-5));
        let [Some(x), scale, bias, mean, variance] =
            [0, 1, 2, 3, 4].map(|i| node.ins.get(i).copied().flatten())
        else {
            return Ok(None);
        };
        let known = [scale, bias, mean, variance].map(|v| v.and_then(|v| self.known(v)));
        let (Some((r, s)), [Some(scale), Some(bias), Some(mean), Some(variance)]) =
            (self.single(x), known)
        else {
            return Ok(None);
        };
        let rank = self.g.ty(x).map_or(0, |t| t.rank());
        if rank < 2 || !self.alone(node.outs[0]) {
            return Ok(None);
        }
        let lines = (0..scale.len()).map(|c| {
            let by = scale[c] / libm::sqrt(variance[c] + epsilon);
            (s * by / t.scale, (bias[c] - mean[c] * by) / t.scale)
        });
        let (m, offset): (Vec<f64>, Vec<f64>) = lines.unzip();
        if m.iter().chain(&offset).any(|v| !v.is_finite()) {
            return Ok(None);
        }
        let mut shape = vec![1; rank - 1];
        shape[0] = m.len() as i64;
        let (m, offset) = (self.reals(&shape, &m), self.reals(&shape, &offset));
        self.requantize(r.q, r.zero[0], r.most(), m, Some(offset), to)
            .map(Some)
    }

    /// A LayerNormalization or InstanceNormalization whose scale and bias are known.
    pub(super) fn row_normalized(&mut self, n: NodeId, to: &Goal) -> Result<Option<ValueId>> {
        let Goal { t, bounds, spot } = *to;
        let node = self.g.node(n);
        let epsilon = f64::from(node.attrs.float("epsilon", 1e-5));
        let instance = node.op.name == "InstanceNormalization";
        let axis = match instance {
            true => 2,
            false => node.attrs.int("axis", -1),
        };
        let [Some(x), Some(scale), bias] = [0, 1, 2].map(|i| node.ins.get(i).copied().flatten())
        else {
            return Ok(None);
        };
        let others = node.outs[1..].iter().any(|&v| self.g.is_used(v));
        let mut shape = self.g.ty(scale).and_then(|t| t.fixed_shape());
        let alike = bias.is_none_or(|b| self.g.ty(b).and_then(|t| t.fixed_shape()) == shape);
        // One for each channel, which is no axis that is normalized.
        if instance && let (Some(shape), Some(rank)) = (&mut shape, self.g.ty(x).map(|t| t.rank()))
        {
            shape.resize(rank.max(2) - 1, 1);
        }
        let all = self.g.ty(x).and_then(|t| {
            let axis = resolve_axis(axis, t.rank()).ok()?;
            t.shape[axis..].iter().cloned().product::<Dim>().fixed()
        });
        let fits =
            !others && alike && epsilon > 0.0 && all.is_some_and(|n| (1..=MOST).contains(&n));
        let (Some((r, s)), Some(scale), Some(shape), Some(all), true) = (
            self.single(x),
            self.known(scale),
            shape,
            all,
            fits && self.alone(node.outs[0]),
        ) else {
            return Ok(None);
        };
        if !byte(r.dtype) || !byte(t.dtype) {
            return Ok(None);
        }
        let bias = match bias {
            Some(b) => self.known(b),
            None => Some(vec![0.0; scale.len()]),
        };
        let Some(bias) = bias else {
            return Ok(None);
        };
        let mut over = |values: Vec<f64>| {
            let all: Vec<f32> = values.iter().map(|v| (v / t.scale) as f32).collect();
            all.iter()
                .all(|v| v.is_finite())
                .then(|| self.g.add_const("", Tensor::f32(&shape, &all)))
        };
        let (Some(scale), Some(bias)) = (over(scale), over(bias)) else {
            return Ok(None);
        };
        let steps = all as f64 / s;
        let epsilon = self.reals(&[1], &[epsilon * steps * steps]);
        let attrs = self.finishing(t, bounds).with("axis", Attr::Int(axis));
        let ins = [r.q, scale, bias, epsilon].map(Some);
        self.make("QuantizedLayerNorm", attrs, &ins, spot).map(Some)
    }

    /// PRelu of many constant slopes; with one it is a table.
    pub(super) fn prelu(&mut self, n: NodeId, to: &Goal) -> Result<Option<ValueId>> {
        let Goal { t, bounds, spot } = *to;
        let Some([x, slope]) = self.two(n).filter(|_| self.alone(self.g.node(n).outs[0])) else {
            return Ok(None);
        };
        let shape = self.g.ty(slope).and_then(|t| t.fixed_shape());
        let (Some((x, scale)), Some(slopes), Some(shape)) =
            (self.single(x), self.known(slope), shape)
        else {
            return Ok(None);
        };
        if slopes.len() == 1 || slopes.iter().any(|s| !s.is_finite()) {
            return Ok(None);
        }
        let by = scale / t.scale;
        let all: Vec<f64> = slopes.iter().map(|s| s * by).collect();
        let largest = all.iter().fold(by, |a, s| a.max(s.abs()));
        let mut attrs = self.finishing(t, bounds);
        less(&mut attrs, "zero_x", x.zero[0]);
        super::promise(&mut attrs, x.most() * largest);
        let (m, below) = (self.reals(&[], &[by]), self.reals(&shape, &all));
        let ins = [Some(x.q), Some(m), Some(below)];
        self.make("RescaledPRelu", attrs, &ins, spot).map(Some)
    }

    pub(super) fn softmax(&mut self, n: NodeId, to: &Goal) -> Result<Option<ValueId>> {
        let Goal { t, bounds, spot } = *to;
        let node = self.g.node(n);
        let attrs = node.attrs.clone();
        let found = Real::of_first(self.g, n);
        let Some((r, scale)) = found.and_then(|r| r.single().map(|(s, _)| (r, s))) else {
            return Ok(None);
        };
        if attrs.flag("flat") || bounds != Bounds::default() || !byte(t.dtype) {
            return Ok(None);
        }
        let powers: Vec<i64> = (0..256)
            .map(|d| libm::rint(libm::exp(-f64::from(d) * scale) * POWER) as i64)
            .collect();
        let powers = self.g.add_const("", Tensor::i64(&[256], &powers));
        let m = self.reals(&[], &[1.0 / t.scale]);
        let z = self.whole(t.dtype, t.zero);
        let mut own = Attrs::default().with("axis", Attr::Int(attrs.int("axis", -1)));
        self.round(&mut own);
        let ins = [Some(r.q), Some(powers), Some(m), Some(z)];
        self.make("QuantizedSoftmax", own, &ins, spot).map(Some)
    }

    /// A function of one 8-bit number, all of whose 256 results are computed here, in f64.
    pub(super) fn table(&mut self, x: ValueId, t: &Target, n: NodeId) -> Result<Option<ValueId>> {
        let Some((nodes, r)) = self.function(x) else {
            return Ok(None);
        };
        let spot = {
            let mut names = nodes.clone();
            names.push(n);
            self.spot(n, &names)
        };
        let (scale, zero) = (r.scale[0], r.zero[0]);
        let least: i64 = if r.dtype == DType::I8 { -128 } else { 0 };
        let reals: Vec<f64> = (least..least + 256)
            .map(|q| (q - zero) as f64 * scale)
            .collect();
        let source = self.g.node(r.node).outs[0];
        let mut known = HashMap::from([(source, self.reals(&[256], &reals))]);
        for m in nodes {
            let Some(v) = self.evaluated(m, &mut known, &spot)? else {
                return Ok(None);
            };
            known.insert(self.g.node(m).outs[0], v);
        }
        let values = known.get(&x).and_then(|&v| self.g.konst(v)?.to_f64s());
        let Some(values) = values.filter(|v| v.len() == 256 && v.iter().all(|v| !v.is_nan()))
        else {
            return Ok(None);
        };
        let rounding = self.cx.rounding;
        let table: Vec<f64> = values
            .iter()
            .map(|&v| t.number(v, rounding) as f64)
            .collect();
        let table = self
            .g
            .add_const("", Tensor::from_f64s(t.dtype, &[256], &table));
        self.make("Lookup", Attrs::default(), &[Some(r.q), Some(table)], &spot)
            .map(Some)
    }

    /// The pointwise operators, in order, that make a value out of one quantized value and single constants.
    fn function(&self, x: ValueId) -> Option<(Vec<NodeId>, Real)> {
        let mut found: Option<Real> = None;
        let (mut nodes, mut todo) = (vec![], vec![x]);
        while let Some(v) = todo.pop() {
            // A single constant, quantized.
            if self.known(v).is_some_and(|c| c.len() == 1) {
                continue;
            }
            if let Some(r) = Real::of(self.g, v) {
                if !byte(r.dtype)
                    || r.single().is_none()
                    || found.as_ref().is_some_and(|f| f.q != r.q)
                {
                    return None;
                }
                found = Some(r);
                continue;
            }
            if let Some(c) = self.g.konst(v) {
                if c.len() != 1 || !c.dtype.is_float() {
                    return None;
                }
                continue;
            }
            let (n, 0) = self.g.maker(v)? else {
                return None;
            };
            let node = self.g.node(n);
            let float = self.g.ty(v)?.dtype.is_float();
            let own = ["Cast", "CastLike", "DequantizeLinear", "QuantizeLinear"];
            if !matches!(node.op.lower, Lower::Pointwise(_))
                || !float
                || own.contains(&node.op.name)
            {
                return None;
            }
            if !nodes.contains(&n) {
                nodes.push(n);
                todo.extend(node.ins.iter().flatten());
            }
            if nodes.len() > MOST_NODES {
                return None;
            }
        }
        nodes.sort_by_key(|&n| self.g.position(n));
        // What enlarges the value is no function of its elements.
        let found = found?;
        let shape = self.g.ty(found.q)?.shape.clone();
        let same = |n: &NodeId| {
            self.g
                .ty(self.g.node(*n).outs[0])
                .is_some_and(|t| t.shape == shape)
        };
        nodes.iter().all(same).then_some((nodes, found))
    }

    /// A pointwise operator over constants, in f64.
    fn evaluated(
        &mut self,
        n: NodeId,
        known: &mut HashMap<ValueId, ValueId>,
        spot: &Spot,
    ) -> Result<Option<ValueId>> {
        let node = self.g.node(n);
        let (op, attrs, ins) = (node.op, node.attrs.clone(), node.ins.clone());
        let mut own = vec![];
        for v in ins {
            own.push(match v {
                None => None,
                Some(v) => match known.get(&v) {
                    Some(&k) => Some(k),
                    None => {
                        let value = self.known(v).and_then(|l| l.first().copied());
                        let Some(value) = value else { return Ok(None) };
                        let k = self.reals(&[], &[value]);
                        known.insert(v, k);
                        Some(k)
                    }
                },
            });
        }
        let made = self
            .g
            .add_before(spot.before, op, attrs, own, 1, spot.loc.clone());
        let out = self.g.node(made).outs[0];
        // Used, or it would not be computed.
        self.g.add_output(out);
        let done = match infer(self.g, self.cx, made) {
            Ok(()) => crate::plan::eval::eval(self.g, made, self.cx.symbols)?,
            Err(_) => None,
        };
        let last = self.g.outputs().len() - 1;
        self.g.remove_output(last);
        self.g.remove_node(made);
        let value = done.and_then(|mut list| list.pop().flatten());
        Ok(value.map(|t| self.g.add_const("", t)))
    }
}
