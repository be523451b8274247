//! Rewriting a float graph by scales.

use super::range::{Method, Range, Scale};
use super::sites::Sites;
use super::{Observer, Recipe};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::{Diagnostic, Diagnostics, Result};
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::fusions::engine::make;
use crate::graph::ir::{Graph, Loc, Model, NodeId, ValueId};
use crate::pass::PassCx;
use std::collections::{BTreeSet, HashMap};

/// What became of a product with weights.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Its name in the file.
    pub name: String,
    /// Operator.
    pub op: &'static str,
    /// Mean square of the weights over that of what rounding changed, in decibels.
    pub weight_sqnr: f64,
    /// The largest that a bias was corrected by, in steps of the layer's result; 0: not at all.
    pub correction: f64,
}

/// What was done.
#[derive(Clone, Default, Debug)]
pub struct Summary {
    /// Products with weights.
    pub layers: Vec<Layer>,
    /// Values with a scale.
    pub values: usize,
    /// Operators in whole numbers.
    pub nodes: usize,
}

/// Quantizes a model by what was observed at its sites, one observer for each.
pub fn apply(
    model: &mut Model,
    sites: &Sites,
    observed: &[Observer],
    recipe: &Recipe,
    diags: &mut Diagnostics,
) -> Result<Summary> {
    let scales = scales(&model.graph, sites, observed, recipe)?;
    let off = BTreeSet::new();
    let mut cx = PassCx {
        symbols: &mut model.symbols,
        diags,
        off: &off,
        rounding: Default::default(),
        require_integers: false,
        bytes: None,
        name: "quantize",
        edits: 0,
        max_edits: usize::MAX,
    };
    let means = sites.list.iter().zip(observed);
    let means = means.map(|(s, o)| (s.value, o.means())).collect();
    let mut q = Quantizer {
        g: &mut model.graph,
        cx: &mut cx,
        recipe,
        scales: sites
            .list
            .iter()
            .map(|s| (s.value, scales[s.class]))
            .collect(),
        means,
        summary: Summary {
            values: sites.list.len(),
            nodes: sites.nodes.len(),
            ..Summary::default()
        },
    };
    for &n in &sites.nodes {
        match q.g.node(n).op.name {
            "Conv" | "Gemm" | "MatMul" => q.weights(n)?,
            "Add" | "Sub" | "Mul" => q.constants(n)?,
            _ => {}
        }
    }
    for s in &sites.list {
        q.value(s.value, &sites.nodes)?;
    }
    Ok(q.summary)
}

/// The scale of each class.
fn scales(g: &Graph, sites: &Sites, observed: &[Observer], recipe: &Recipe) -> Result<Vec<Scale>> {
    let mut ranges: Vec<Option<Range>> = vec![None; sites.classes];
    for (s, o) in sites.list.iter().zip(observed) {
        if o.is_empty() && s.known.is_none() {
            let text = format!("calibration never saw `{}`", g.value(s.value).name);
            return Err(Diagnostic::usage("USE004", text));
        }
        let own = match s.known {
            Some((lo, hi)) => Range::of(lo, hi),
            // The largest score of a result is the one that counts.
            None if s.result => o.range(Method::MinMax),
            None => o.range(recipe.method),
        };
        let r = &mut ranges[s.class];
        *r = Some(r.map_or(own, |r| r.and(own)));
    }
    let nothing = Range::of(0.0, 0.0);
    let of =
        |r: &Option<Range>| Scale::of(r.unwrap_or(nothing), recipe.activations, recipe.symmetric);
    ranges.iter().map(of).collect()
}

struct Quantizer<'g, 'c, 'd> {
    g: &'g mut Graph,
    cx: &'c mut PassCx<'d>,
    recipe: &'c Recipe,
    scales: HashMap<ValueId, Scale>,
    means: HashMap<ValueId, Vec<f64>>,
    summary: Summary,
}

impl Quantizer<'_, '_, '_> {
    fn make(
        &mut self,
        op: &str,
        axis: i64,
        ins: &[ValueId],
        before: NodeId,
        loc: &Loc,
    ) -> Result<ValueId> {
        let mut attrs = Attrs::default()
            .with("axis", Attr::Int(axis))
            .with("block_size", Attr::Int(0));
        if op == "QuantizeLinear" {
            attrs.set("saturate", Attr::Int(1));
        }
        let ins: Vec<_> = ins.iter().copied().map(Some).collect();
        make(self.g, self.cx, before, op, attrs, &ins, loc.clone())
    }
    fn scale(&mut self, s: Scale, d: DType) -> (ValueId, ValueId) {
        let scale = self.g.add_const("", Tensor::f32(&[], &[s.scale]));
        let zero = Tensor::from_f64s(d, &[], &[s.zero as f64]);
        (scale, self.g.add_const("", zero))
    }

    /// Puts QuantizeLinear and DequantizeLinear behind a value, for all that reads it; for what computes in whole numbers alone where it is an
    /// input of the model.
    fn value(&mut self, v: ValueId, nodes: &BTreeSet<NodeId>) -> Result<()> {
        let Some(&s) = self.scales.get(&v) else {
            return Ok(());
        };
        let users: Vec<NodeId> = self.g.users(v).to_vec();
        let maker = self.g.maker(v).map(|m| m.0);
        let order = self.g.order();
        let first = match maker {
            Some(m) => order.get(self.g.position(m) + 1).copied(),
            None => order.first().copied(),
        };
        let loc = maker
            .map(|m| self.g.node(m).loc.clone())
            .unwrap_or_default();
        let d = self.recipe.activations;
        let (scale, zero) = self.scale(s, d);
        let name = self.g.value(v).name.clone();
        // Behind the last node there is none to stand before: what is made moves to the end.
        let before = first.or(maker);
        let Some(before) = before else { return Ok(()) };
        let q = self.make("QuantizeLinear", 0, &[v, scale, zero], before, &loc)?;
        let real = self.make("DequantizeLinear", 0, &[q, scale, zero], before, &loc)?;
        if first.is_none() {
            let made = [q, real].map(|v| self.g.maker(v).map(|m| m.0));
            let mut order: Vec<NodeId> = self.g.order().to_vec();
            order.retain(|n| !made.contains(&Some(*n)));
            order.extend(made.into_iter().flatten());
            self.g.set_order(order);
        }
        self.g.value_mut(q).name = format!("{name}_quantized");
        self.g.value_mut(real).name = format!("{name}_dequantized");
        let quantizes = self.g.maker(q).map(|m| m.0);
        for u in users {
            let wanted = maker.is_some()
                || nodes.contains(&u)
                || crate::passes::integers::moves(self.g.node(u).op.name);
            if !wanted || Some(u) == quantizes {
                continue;
            }
            for k in 0..self.g.node(u).ins.len() {
                if self.g.node(u).ins[k] == Some(v) {
                    self.g.set_input(u, k, Some(real));
                }
            }
        }
        for k in 0..self.g.outputs().len() {
            if self.g.outputs()[k] == v && maker.is_some() {
                self.g.set_output(k, real);
            }
        }
        Ok(())
    }

    /// Constants that meet activations get a scale of their own; single numbers stay as they are.
    fn constants(&mut self, n: NodeId) -> Result<()> {
        for k in 0..2 {
            let Some(Some(v)) = self.g.node(n).ins.get(k).copied() else {
                continue;
            };
            let Some(t) = self.g.konst(v).cloned().filter(|t| t.len() > 1) else {
                continue;
            };
            // A bias behind a product is one for each column, and exact.
            let other = self.g.node(n).ins.get(1 - k).copied().flatten();
            let product = other
                .and_then(|o| self.g.maker(o))
                .map(|m| self.g.node(m.0).op.name);
            if matches!(product, Some("MatMul" | "Gemm"))
                && !other.is_some_and(|o| self.scales.contains_key(&o))
            {
                continue;
            }
            let values = t.to_f64s().unwrap_or_default();
            let range = values
                .iter()
                .fold(Range::of(0.0, 0.0), |r, &v| r.and(Range::of(v, v)));
            let d = self.recipe.activations;
            let s = Scale::of(range, d, false)?;
            let (least, most) = d.int_range().unwrap_or((-128, 127));
            let number = |v: &f64| {
                let q = libm::rint(v / f64::from(s.scale)) + s.zero as f64;
                q.clamp(least as f64, most as f64)
            };
            let numbers: Vec<f64> = values.iter().map(number).collect();
            let q = Tensor::from_f64s(d, &t.shape, &numbers);
            let name = format!("{}_quantized", self.g.value(v).name);
            let q = self.g.add_const(&name, q);
            let (scale, zero) = self.scale(s, d);
            let loc = self.g.node(n).loc.clone();
            let real = self.make("DequantizeLinear", 0, &[q, scale, zero], n, &loc)?;
            self.g.set_input(n, k, Some(real));
        }
        Ok(())
    }

    /// Weights of a product, and its bias.
    fn weights(&mut self, n: NodeId) -> Result<()> {
        let node = self.g.node(n);
        let (op, loc, ins) = (node.op.name, node.loc.clone(), node.ins.clone());
        let tb = node.attrs.flag("trans_b");
        let (Some(Some(x)), Some(Some(w))) = (ins.first().copied(), ins.get(1).copied()) else {
            return Ok(());
        };
        let Some(t) = self.g.konst(w).cloned() else {
            return Ok(());
        };
        let Some(values) = t.to_f64s() else {
            return Ok(());
        };
        if values.iter().any(|v| !v.is_finite()) {
            return Err(
                Diagnostic::model("ONNX004", "weights that are not finite").at(self.g.describe(n))
            );
        }
        let rank = t.shape.len();
        let axis = match (op, tb) {
            ("Conv", _) | ("Gemm", true) => 0,
            _ => rank - 1,
        };
        let per_channel = self.recipe.per_channel && (op == "Conv" || rank == 2);
        let count = t.shape[axis].max(1) as usize;
        let inner: usize = t.shape[axis + 1..].iter().product::<i64>().max(1) as usize;
        let channel = |i: usize| if per_channel { i / inner % count } else { 0 };
        let mut largest = vec![0.0f64; if per_channel { count } else { 1 }];
        for (i, v) in values.iter().enumerate() {
            let l = &mut largest[channel(i)];
            *l = l.max(v.abs());
        }
        let scales: Vec<f32> = largest.iter().map(|&l| Scale::of_weights(l)).collect();
        let number = |(i, v): (usize, &f64)| {
            libm::rint(v / f64::from(scales[channel(i)])).clamp(-127.0, 127.0)
        };
        let numbers: Vec<f64> = values.iter().enumerate().map(number).collect();
        // What rounding changed.
        let errors: Vec<f64> = (numbers.iter().enumerate())
            .map(|(i, q)| q * f64::from(scales[channel(i)]) - values[i])
            .collect();
        let square = |l: &[f64]| l.iter().map(|v| v * v).sum::<f64>();
        let noise = square(&errors);
        let weight_sqnr = match noise > 0.0 {
            true => 10.0 * libm::log10(square(&values) / noise),
            false => f64::INFINITY,
        };
        let name = self.g.value(w).name.clone();
        let q = Tensor::from_f64s(DType::I8, &t.shape, &numbers);
        let q = self.g.add_const(&format!("{name}_quantized"), q);
        let shape: &[i64] = if per_channel { &[count as i64] } else { &[] };
        let scale = self.g.add_const("", Tensor::f32(shape, &scales));
        let zeros = vec![0.0; scales.len()];
        let zero = self
            .g
            .add_const("", Tensor::from_f64s(DType::I8, shape, &zeros));
        let real = self.make("DequantizeLinear", axis as i64, &[q, scale, zero], n, &loc)?;
        self.g.set_input(n, 1, Some(real));
        let shift = match self.recipe.bias_correction {
            true => self.shift(x, op, &t.shape, axis, inner, &errors),
            false => None,
        };
        let correction = self.bias(n, op, x, &scales, count, shift, &loc)?;
        self.summary.layers.push(Layer {
            name: loc.to_string(),
            op,
            weight_sqnr,
            correction,
        });
        Ok(())
    }

    /// What rounding weights adds to the mean of each output channel; `None` where means are not known.
    fn shift(
        &self,
        x: ValueId,
        op: &str,
        shape: &[i64],
        axis: usize,
        inner: usize,
        errors: &[f64],
    ) -> Option<Vec<f64>> {
        let means = self.means.get(&x).filter(|m| !m.is_empty())?;
        let count = shape[axis].max(1) as usize;
        let mut out = vec![0.0; count];
        let taps: usize = shape.get(2..).unwrap_or(&[]).iter().product::<i64>().max(1) as usize;
        for (i, e) in errors.iter().enumerate() {
            let c = i / inner % count;
            let input = match op {
                // Weights of a group see the group's channels.
                "Conv" => {
                    let each = shape[1].max(1) as usize;
                    let group = means.len() / each;
                    let own = count / group.max(1);
                    c / own.max(1) * each + i / taps % each
                }
                _ if axis == 0 => i % shape[1].max(1) as usize,
                _ => i / count % means.len(),
            };
            out[c] += e * means.get(input)?;
        }
        Some(out)
    }

    /// The bias in whole numbers of the sum's scale, corrected. Gives the largest correction in steps of the result.
    #[allow(clippy::too_many_arguments)]
    fn bias(
        &mut self,
        n: NodeId,
        op: &'static str,
        x: ValueId,
        scales: &[f32],
        count: usize,
        shift: Option<Vec<f64>>,
        loc: &Loc,
    ) -> Result<f64> {
        let old = self
            .g
            .node(n)
            .ins
            .get(2)
            .copied()
            .flatten()
            .filter(|_| op != "MatMul");
        let old_values = old.and_then(|b| self.g.konst(b)?.to_f64s());
        let shift = shift.filter(|s| s.iter().any(|s| *s != 0.0));
        // A MatMul has no bias; one behind it stays as it is.
        if op == "MatMul" || (old_values.is_none() && shift.is_none()) {
            return Ok(0.0);
        }
        let Some(&xs) = self.scales.get(&x) else {
            return Ok(0.0);
        };
        let at = |l: &[f64], c: usize| l.get(c % l.len().max(1)).copied().unwrap_or(0.0);
        let bias: Vec<f64> = (0..count)
            .map(|c| {
                let own = old_values.as_deref().map_or(0.0, |b| at(b, c));
                own - shift.as_deref().map_or(0.0, |s| at(s, c))
            })
            .collect();
        let steps: Vec<f32> = scales.iter().map(|w| xs.scale * w).collect();
        let step = |c: usize| f64::from(steps[c % steps.len()]);
        let numbers: Vec<f64> = (bias.iter().enumerate())
            .map(|(c, b)| libm::rint(b / step(c)))
            .collect();
        if steps.iter().any(|s| *s < f32::MIN_POSITIVE)
            || numbers.iter().any(|q| q.abs() > f64::from(i32::MAX))
        {
            // So large beside the weights that no i32 holds it: it stays a float.
            let name = old
                .map(|b| self.g.value(b).name.clone())
                .unwrap_or_default();
            let values: Vec<f32> = bias.iter().map(|b| *b as f32).collect();
            let b = self
                .g
                .add_const(&name, Tensor::f32(&[count as i64], &values));
            self.g.set_input(n, 2, Some(b));
            return Ok(0.0);
        }
        let name = match old.map(|b| self.g.value(b).name.clone()) {
            Some(name) if !name.is_empty() => name,
            _ => format!("{loc}_bias"),
        };
        let q = Tensor::from_f64s(DType::I32, &[count as i64], &numbers);
        let q = self.g.add_const(&format!("{name}_quantized"), q);
        let shape: &[i64] = if steps.len() > 1 {
            &[steps.len() as i64]
        } else {
            &[]
        };
        let scale = self.g.add_const("", Tensor::f32(shape, &steps));
        let real = self.make("DequantizeLinear", 0, &[q, scale], n, loc)?;
        self.g.set_input(n, 2, Some(real));
        let out = self.g.node(n).outs[0];
        let result = self.scales.get(&out).map_or(1.0, |s| f64::from(s.scale));
        let largest = shift.iter().flatten().fold(0.0f64, |a, s| a.max(s.abs()));
        Ok(largest / result)
    }
}
