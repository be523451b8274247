//! How each kind of operator meets laid-out inputs.

use super::{Laid, Layout, channels_last};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::base::types::TensorType;
use crate::contracts::conv::View;
use crate::contracts::conv_planes::fits;
use crate::graph::ir::{NodeId, ValueId};
use crate::op::{Lower, resolve_axis};

impl Layout<'_, '_, '_> {
    /// Makes the node anew over stored values; `false`: it has to work on plain ones.
    pub(super) fn node(&mut self, n: NodeId) -> Result<bool> {
        let node = self.g.node(n);
        let (name, attrs) = (node.op.name, node.attrs.clone());
        let (ins, outs) = (node.ins.clone(), node.outs.clone());
        if node.ins.is_empty() || !node.bodies.is_empty() {
            return Ok(false);
        }
        let Some(Some(first)) = ins.first().copied() else {
            return Ok(false);
        };
        let used = |l: &Self, k: usize| outs.get(k).is_some_and(|&v| l.g.is_used(v));
        match name {
            "Conv" | "ConvInteger" if self.convolves_fast(&ins, &attrs) => {
                self.spatial(n, &ins, attrs)
            }
            "MaxPool" if !used(self, 1) => self.spatial(n, &ins, attrs),
            "AveragePool" | "LpPool" => self.spatial(n, &ins, attrs),
            "GlobalAveragePool" | "GlobalMaxPool" => self.global(n, first, name),
            "SqueezeExcite" => self.squeeze_excite(n, &ins, attrs),
            "BatchNormalization" => self.batch_norm(n, &ins, &attrs),
            "Transpose" => self.transpose(n, first, &attrs),
            "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => self.reshape(n, first),
            "Concat" => self.concat(n, &ins, attrs),
            "Softmax" | "LogSoftmax" if !attrs.flag("flat") => self.along(n, &ins, attrs, -1),
            "Split" => self.along(n, &ins, attrs, 0),
            "QuantizedSoftmax" => self.along(n, &ins, attrs, -1),
            "Lookup" => self.elementwise(n, &ins, attrs),
            "QuantizeLinear" | "DequantizeLinear" if attrs.int("block_size", 0) == 0 => {
                self.scaled(n, &ins, attrs)
            }
            "ArgMax" | "ArgMin" => self.arg(n, &ins, attrs),
            "Slice" => self.listed(n, ins, attrs, 3, 1),
            "Pad" => self.pad(n, ins, attrs),
            "Resize" => self.resize(n, ins, attrs),
            _ if name.starts_with("Reduce") => self.reduce(n, ins, attrs),
            _ if matches!(self.g.node(n).op.lower, Lower::Pointwise(_)) && outs.len() == 1 => {
                self.pointwise(n, &ins, attrs)
            }
            _ => Ok(false),
        }
    }

    fn laid(&self, v: ValueId) -> Option<Laid> {
        self.laid.get(&v).cloned()
    }

    /// Whether there are kernels for the convolution in that order.
    fn convolves_fast(&self, ins: &[Option<ValueId>], attrs: &Attrs) -> bool {
        let (Some(Some(x)), Some(Some(w))) = (ins.first(), ins.get(1)) else {
            return false;
        };
        let (Some(xt), Some(w)) = (self.g.ty(*x), self.g.konst(*w)) else {
            return false;
        };
        let group = attrs.int("group", 1);
        let negative = attrs.ints("pads").is_some_and(|p| p.iter().any(|&p| p < 0));
        let each = w.shape[0] / group.max(1);
        matches!(xt.dtype, DType::F32 | DType::I8 | DType::U8)
            && !self.better_in_planes(*x, w, attrs)
            && (3..=5).contains(&xt.rank())
            && !negative
            && (group == 1 || each >= 4 || w.shape[1] == 1)
    }

    /// Whether a convolution has so few output channels that lanes of pixels are better, in the order of the model
    /// ([`crate::contracts::conv_planes`]). What lies channels-last already is brought into it where its elements are used often enough.
    fn better_in_planes(&self, x: ValueId, w: &Tensor, attrs: &Attrs) -> bool {
        let Some(xt) = self.g.ty(x) else { return false };
        let Ok(v) = View::of_shapes(attrs, &xt.shape, &TensorType::of(w).shape) else {
            return false;
        };
        [xt.dtype, w.dtype] == [DType::F32; 2]
            && !v.channels_last
            && fits(self.cx.lanes, &v)
            && (self.laid(x).is_none() || v.taps() >= 3)
    }

    /// Convolution, pooling: input and output channels-last; a fourth input of a Conv lies as the output.
    fn spatial(&mut self, n: NodeId, ins: &[Option<ValueId>], attrs: Attrs) -> Result<bool> {
        let Some(x) = ins.first().copied().flatten() else {
            return Ok(false);
        };
        let Some(rank) = self.rank(x).filter(|r| (3..=5).contains(r)) else {
            return Ok(false);
        };
        if attrs.flag("channels_last") {
            return Ok(false);
        }
        let conv = self.g.node(n).op.name.starts_with("Conv");
        // Pooling alone is no reason to transpose.
        if !conv && self.laid(x).is_none() {
            return Ok(false);
        }
        let perm = channels_last(rank);
        let mut new = ins.to_vec();
        new[0] = Some(self.ordered(x, &perm)?);
        if let Some(Some(z)) = ins.get(3)
            && self.g.node(n).op.name == "Conv"
        {
            new[3] = Some(self.ordered(*z, &perm)?);
        }
        let attrs = attrs.with("channels_last", Attr::Int(1));
        let outs = self.again(n, attrs, new)?;
        self.lay(n, 0, outs[0], perm)?;
        Ok(true)
    }

    /// A pool over the whole image is a reduction of stored axes.
    fn global(&mut self, n: NodeId, x: ValueId, name: &str) -> Result<bool> {
        let (Some(l), Some(rank)) = (self.laid(x), self.rank(x)) else {
            return Ok(false);
        };
        let axes: Vec<i64> = (2..rank).map(|a| l.at(a) as i64).collect();
        let axes = self.list(&axes);
        let op = match name {
            "GlobalMaxPool" => "ReduceMax",
            _ => "ReduceMean",
        };
        let attrs = Attrs::default().with("keepdims", Attr::Int(1));
        let out = self.make(op, attrs, &[Some(l.stored), Some(axes)])?;
        self.lay(n, 0, out, l.perm)?;
        Ok(true)
    }

    /// Channels are scaled where they lie.
    fn squeeze_excite(&mut self, n: NodeId, ins: &[Option<ValueId>], attrs: Attrs) -> Result<bool> {
        let Some(l) = ins[0].and_then(|x| self.laid(x)) else {
            return Ok(false);
        };
        if l.perm != channels_last(l.perm.len()) {
            return Ok(false);
        }
        let mut new = ins.to_vec();
        new[0] = Some(l.stored);
        let outs = self.again(n, attrs.with("channels_last", Attr::Int(1)), new)?;
        self.lay(n, 0, outs[0], l.perm)?;
        Ok(true)
    }

    /// At inference a scale and a shift for each channel.
    fn batch_norm(&mut self, n: NodeId, ins: &[Option<ValueId>], attrs: &Attrs) -> Result<bool> {
        let Some(Some(x)) = ins.first().copied() else {
            return Ok(false);
        };
        let used = self.g.node(n).outs[1..].iter().any(|&v| self.g.is_used(v));
        let Some(l) = self
            .laid(x)
            .filter(|_| !used && !attrs.flag("training_mode"))
        else {
            return Ok(false);
        };
        let lists: Option<Vec<Vec<f64>>> = ins[1..]
            .iter()
            .map(|v| self.g.konst((*v)?)?.to_f64s())
            .collect();
        let float = self.g.ty(x).is_some_and(|t| t.dtype == DType::F32);
        let Some([scale, bias, mean, variance]) = lists.as_deref().filter(|_| float) else {
            return Ok(false);
        };
        let epsilon = f64::from(attrs.float("epsilon", 1e-5));
        let mut shape = vec![1; l.perm.len()];
        shape[l.at(1)] = scale.len() as i64;
        let factor: Vec<f64> = scale
            .iter()
            .zip(variance)
            .map(|(s, v)| s / libm::sqrt(v + epsilon))
            .collect();
        let shift: Vec<f32> = (0..scale.len())
            .map(|c| (bias[c] - mean[c] * factor[c]) as f32)
            .collect();
        let factor: Vec<f32> = factor.iter().map(|&f| f as f32).collect();
        let factor = self.g.add_const("", Tensor::f32(&shape, &factor));
        let shift = self.g.add_const("", Tensor::f32(&shape, &shift));
        let scaled = self.make("Mul", Attrs::default(), &[Some(l.stored), Some(factor)])?;
        let out = self.make("Add", Attrs::default(), &[Some(scaled), Some(shift)])?;
        self.lay(n, 0, out, l.perm)?;
        Ok(true)
    }

    /// Axes get other names; nothing moves.
    fn transpose(&mut self, n: NodeId, x: ValueId, attrs: &Attrs) -> Result<bool> {
        let Some(rank) = self.rank(x) else {
            return Ok(false);
        };
        // A plain value too: whoever needs it in the old order finds it.
        let l = self.laid(x).unwrap_or(Laid {
            stored: x,
            perm: (0..rank).collect(),
        });
        let p: Vec<usize> = match attrs.ints("perm") {
            Some(p) => p.iter().map(|&a| a as usize).collect(),
            None => (0..rank).rev().collect(),
        };
        // Axis j of the output is axis p[j] of the input.
        let perm = l
            .perm
            .iter()
            .map(|own| p.iter().position(|a| a == own).unwrap_or(0))
            .collect();
        self.lay(n, 0, l.stored, perm)?;
        Ok(true)
    }

    /// Operators whose output has the input's axes, one of them named by an attribute.
    fn along(
        &mut self,
        n: NodeId,
        ins: &[Option<ValueId>],
        attrs: Attrs,
        default: i64,
    ) -> Result<bool> {
        let Some(l) = ins[0].and_then(|x| self.laid(x)) else {
            return Ok(false);
        };
        let axis = resolve_axis(attrs.int("axis", default), l.perm.len())?;
        let mut new = ins.to_vec();
        new[0] = Some(l.stored);
        let attrs = attrs.with("axis", Attr::Int(l.at(axis) as i64));
        for (k, v) in self.again(n, attrs, new)?.into_iter().enumerate() {
            self.lay(n, k, v, l.perm.clone())?;
        }
        Ok(true)
    }

    /// Operators that work on the first input's elements one by one, whatever their order.
    fn elementwise(&mut self, n: NodeId, ins: &[Option<ValueId>], attrs: Attrs) -> Result<bool> {
        let Some(l) = ins[0].and_then(|x| self.laid(x)) else {
            return Ok(false);
        };
        let mut new = ins.to_vec();
        new[0] = Some(l.stored);
        let outs = self.again(n, attrs, new)?;
        self.lay(n, 0, outs[0], l.perm)?;
        Ok(true)
    }

    /// The same with one scale, or one for each index of an axis.
    fn scaled(&mut self, n: NodeId, ins: &[Option<ValueId>], attrs: Attrs) -> Result<bool> {
        let scale = ins.get(1).copied().flatten();
        let one = scale
            .and_then(|v| self.shape(v))
            .is_some_and(|s| s.iter().all(|d| d.is(1)));
        match one {
            true => self.elementwise(n, ins, attrs),
            false => self.along(n, ins, attrs, 1),
        }
    }

    fn concat(&mut self, n: NodeId, ins: &[Option<ValueId>], attrs: Attrs) -> Result<bool> {
        // The order in which most elements lie already.
        let mut sizes: Vec<(i64, Vec<usize>)> = vec![];
        for v in ins.iter().flatten() {
            let perm = match self.laid(*v) {
                Some(l) => l.perm,
                None => (0..self.rank(*v).unwrap_or(0)).collect(),
            };
            let bytes = self.bytes(*v);
            match sizes.iter_mut().find(|s| s.1 == perm) {
                Some(s) => s.0 += bytes,
                None => sizes.push((bytes, perm)),
            }
        }
        let Some((_, perm)) = sizes.into_iter().max_by_key(|s| s.0) else {
            return Ok(false);
        };
        if super::is_identity(&perm) {
            return Ok(false);
        }
        let axis = resolve_axis(attrs.int("axis", 0), perm.len())?;
        let mut new = vec![];
        for v in ins.iter().flatten() {
            new.push(Some(self.ordered(*v, &perm)?));
        }
        let at = perm.iter().position(|&p| p == axis).unwrap_or(axis);
        let outs = self.again(n, attrs.with("axis", Attr::Int(at as i64)), new)?;
        self.lay(n, 0, outs[0], perm)?;
        Ok(true)
    }

    fn bytes(&self, v: ValueId) -> i64 {
        let symbols = &*self.cx.symbols;
        self.g.ty(v).map_or(0, |t| t.max_bytes(symbols))
    }

    fn arg(&mut self, n: NodeId, ins: &[Option<ValueId>], attrs: Attrs) -> Result<bool> {
        let Some(l) = ins[0].and_then(|x| self.laid(x)) else {
            return Ok(false);
        };
        let axis = resolve_axis(attrs.int("axis", 0), l.perm.len())?;
        let keep = attrs.int("keepdims", 1) != 0;
        let attrs = attrs.with("axis", Attr::Int(l.at(axis) as i64));
        let outs = self.again(n, attrs, vec![Some(l.stored)])?;
        let gone = if keep { vec![] } else { vec![axis] };
        self.lay(n, 0, outs[0], without(&l.perm, &gone))?;
        Ok(true)
    }

    /// Operators that name axes in an input (all of them, in order, where it is absent): `axes` is its number, `first`
    /// that of a list with an entry for each.
    fn listed(
        &mut self,
        n: NodeId,
        ins: Vec<Option<ValueId>>,
        attrs: Attrs,
        axes: usize,
        first: usize,
    ) -> Result<bool> {
        let Some(l) = ins[0].and_then(|x| self.laid(x)) else {
            return Ok(false);
        };
        let names = match ins.get(axes).copied().flatten() {
            Some(v) => self.g.konst(v).and_then(|t| t.to_i64s()),
            None => {
                let list = ins.get(first).copied().flatten();
                let count = list.and_then(|v| self.shape(v)?.first()?.fixed());
                count.map(|c| (0..c).collect())
            }
        };
        let Some(names) = names else { return Ok(false) };
        let mut moved = vec![];
        for a in names {
            moved.push(l.at(resolve_axis(a, l.perm.len())?) as i64);
        }
        let mut new = ins;
        new.resize(new.len().max(axes + 1), None);
        new[0] = Some(l.stored);
        new[axes] = Some(self.list(&moved));
        let outs = self.again(n, attrs, new)?;
        self.lay(n, 0, outs[0], l.perm)?;
        Ok(true)
    }

    fn reduce(&mut self, n: NodeId, ins: Vec<Option<ValueId>>, attrs: Attrs) -> Result<bool> {
        let Some(l) = ins[0].and_then(|x| self.laid(x)) else {
            return Ok(false);
        };
        let Some(Some(list)) = ins.get(1) else {
            return Ok(false);
        };
        let Some(axes) = self.g.konst(*list).and_then(|t| t.to_i64s()) else {
            return Ok(false);
        };
        if axes.is_empty() {
            return Ok(false);
        }
        let mut gone = vec![];
        for a in axes {
            gone.push(resolve_axis(a, l.perm.len())?);
        }
        let moved: Vec<i64> = gone.iter().map(|&a| l.at(a) as i64).collect();
        let moved = self.list(&moved);
        let keep = attrs.int("keepdims", 1) != 0;
        let outs = self.again(n, attrs, vec![Some(l.stored), Some(moved)])?;
        let gone = if keep { vec![] } else { gone };
        self.lay(n, 0, outs[0], without(&l.perm, &gone))?;
        Ok(true)
    }

    fn pad(&mut self, n: NodeId, ins: Vec<Option<ValueId>>, attrs: Attrs) -> Result<bool> {
        if ins.get(3).copied().flatten().is_some() {
            // Pairs go with the names.
            return self.listed(n, ins, attrs, 3, 1);
        }
        let Some(l) = ins[0].and_then(|x| self.laid(x)) else {
            return Ok(false);
        };
        let pads = ins.get(1).copied().flatten();
        let Some(pads) = pads.and_then(|v| self.g.konst(v)?.to_i64s()) else {
            return Ok(false);
        };
        let rank = l.perm.len();
        if pads.len() != 2 * rank {
            return Ok(false);
        }
        let moved: Vec<i64> = (0..2)
            .flat_map(|end| l.perm.iter().map(move |&p| end * rank + p))
            .map(|at| pads[at])
            .collect();
        let mut new = ins;
        new[0] = Some(l.stored);
        new[1] = Some(self.list(&moved));
        let outs = self.again(n, attrs, new)?;
        self.lay(n, 0, outs[0], l.perm)?;
        Ok(true)
    }

    fn resize(&mut self, n: NodeId, ins: Vec<Option<ValueId>>, attrs: Attrs) -> Result<bool> {
        let Some(l) = ins[0].and_then(|x| self.laid(x)) else {
            return Ok(false);
        };
        let named = attrs.ints("axes").is_some_and(|a| !a.is_empty());
        let rank = l.perm.len();
        let mut new = ins.clone();
        new[0] = Some(l.stored);
        for v in new.iter_mut().skip(1) {
            let Some(old) = *v else { continue };
            let Some(t) = self.g.konst(old).cloned() else {
                return Ok(false);
            };
            if t.is_empty() {
                continue;
            }
            let size = t.dtype.size();
            let (n, per) = (t.len(), rank);
            if named || n % per != 0 {
                return Ok(false);
            }
            let mut data = vec![];
            for part in 0..n / per {
                for &p in &l.perm {
                    let at = (part * per + p) * size;
                    data.extend_from_slice(&t.data[at..at + size]);
                }
            }
            let t = Tensor::new(t.dtype, t.shape.clone(), data.into())?;
            *v = Some(self.g.add_const("", t));
        }
        let outs = self.again(n, attrs, new)?;
        self.lay(n, 0, outs[0], l.perm)?;
        Ok(true)
    }

    /// Elements meet their own kind: all operands are brought into the order of the largest.
    fn pointwise(&mut self, n: NodeId, ins: &[Option<ValueId>], attrs: Attrs) -> Result<bool> {
        let Some(out) = self.shape(self.g.node(n).outs[0]) else {
            return Ok(false);
        };
        let rank = out.len();
        // Whose elements are as many as the output's decides.
        let leader = ins
            .iter()
            .flatten()
            .filter(|&&v| self.shape(v).as_deref() == Some(&out[..]))
            .find_map(|&v| self.laid(v));
        let Some(l) = leader else { return Ok(false) };
        let mut new = vec![];
        for v in ins {
            let Some(v) = *v else {
                new.push(None);
                continue;
            };
            let Some(own) = self.shape(v) else {
                return Ok(false);
            };
            if own.iter().all(|d| d.is(1)) && self.laid(v).is_none() && own.len() <= 1 {
                new.push(Some(v));
                continue;
            }
            let v = if own.len() == rank {
                v
            } else {
                // Lower ranks broadcast from the end: axes of 1 in front.
                let plain = self.plain(v)?;
                let Some(mut shape) = own.iter().map(Dim::fixed).collect::<Option<Vec<i64>>>()
                else {
                    return Ok(false);
                };
                let mut all = vec![1; rank - shape.len()];
                all.append(&mut shape);
                self.reshaped(plain, &all)?
            };
            new.push(Some(self.ordered(v, &l.perm)?));
        }
        let outs = self.again(n, attrs, new)?;
        self.lay(n, 0, outs[0], l.perm)?;
        Ok(true)
    }
}

/// An order without some axes, the rest renumbered.
fn without(perm: &[usize], gone: &[usize]) -> Vec<usize> {
    perm.iter()
        .filter(|p| !gone.contains(p))
        .map(|p| p - gone.iter().filter(|g| *g < p).count())
        .collect()
}
