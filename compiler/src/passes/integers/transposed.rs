//! Transposed convolutions: convolutions of whole numbers for the positions modulo the stride, brought together by what only moves numbers.

use super::products::{Bias, End};
use super::real::Real;
use super::{Integers, Spot};
use crate::base::diag::Result;
use crate::base::tensor::Tensor;
use crate::fusions::conv_transpose::{Builder, read};
use crate::graph::ir::{NodeId, ValueId};

impl Integers<'_, '_, '_> {
    /// A ConvTranspose of numbers with constant weights, which have one scale for all or one for each output channel of a group (axis 1).
    pub(super) fn conv_transpose(
        &mut self,
        n: NodeId,
        end: &End,
        spot: &Spot,
    ) -> Result<Option<ValueId>> {
        let node = self.g.node(n);
        let ins = node.ins.clone();
        let input = |i: usize| ins.get(i).copied().flatten();
        let (Some(x), Some(w)) = (self.bytes(input(0)), self.bytes(input(1))) else {
            return Ok(None);
        };
        let Some(numbers) = self.g.konst(w.q) else {
            return Ok(None);
        };
        let along = w.scale.len() == 1 || w.axis == 1;
        let Ok(split) = read(self.g, n, numbers) else {
            return Ok(None);
        };
        let bias = match input(2) {
            None => None,
            Some(v) => match self.known(v) {
                Some(values) => Some(values),
                None => return Ok(None),
            },
        };
        let (Some((runs, together)), true) = (split.runs(), along && self.alone(node.outs[0]))
        else {
            return Ok(None);
        };
        let channels = split.channels() as usize;
        let each = |l: &[f64]| [1, channels].contains(&l.len());
        let fits = bias.as_deref().is_none_or(each) && (end.slopes.is_empty() || each(&end.slopes));
        // Phases without elements are no sums.
        if !fits || runs.iter().any(|r| r.is_empty()) {
            return Ok(None);
        }
        let blank: Vec<f32> = w.zero.iter().map(|&z| z as f32).collect();
        let name = self.g.value(w.q).name.clone();
        let mut parts = vec![];
        for run in &runs {
            let (shape, values) = split.weights(run, &blank);
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let q = Tensor::from_f64s(w.dtype, &shape, &values);
            let several = w.scale.len() > 1;
            let part = Real {
                q: self.g.add_const(&name, q),
                dtype: w.dtype,
                scale: match several {
                    true => split.arranged(run, &w.scale),
                    false => w.scale.clone(),
                },
                zero: match several {
                    true => split.arranged(run, &w.zero),
                    false => w.zero.clone(),
                },
                axis: 0,
                node: w.node,
            };
            let arranged = |l: &[f64]| match l.len() {
                0 | 1 => l.to_vec(),
                _ => split.arranged(run, l),
            };
            let end = End {
                t: end.t,
                bounds: end.bounds,
                slopes: arranged(&end.slopes),
            };
            let bias = bias
                .as_deref()
                .map_or(Bias::None, |b| Bias::Real(arranged(b)));
            let attrs = split.attributes(run);
            match self.convolution(&attrs, &x, &part, bias, &end, spot)? {
                Some(v) => parts.push(v),
                None => return Ok(None),
            }
        }
        let mut b = Builder {
            g: self.g,
            cx: self.cx,
            root: spot.before,
            loc: spot.loc.clone(),
        };
        b.bring_together(&split, &parts, together).map(Some)
    }
}
