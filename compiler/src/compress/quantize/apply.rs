//! Rewriting a float graph by scales.

use super::bias::{self, Place};
use super::moments::Moments;
use super::range::{Method, Range, Scale};
use super::sites::Sites;
use super::weights::{self, Weights};
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
    let mut cx = PassCx::outside("quantize", &mut model.symbols, diags, &off);
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
        moments: observed.iter().flat_map(Observer::moments).collect(),
        summary: Summary {
            values: sites.list.len(),
            nodes: sites.nodes.len(),
            ..Summary::default()
        },
    };
    for &n in &sites.nodes {
        match q.g.node(n).op.name {
            "Conv" | "ConvTranspose" | "Gemm" | "MatMul" => q.weights(n)?,
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
            Some((lo, hi)) => {
                // With 16 bits the step below 1 is smaller.
                let hi = match recipe.activations {
                    DType::I16 => 65535.0 / 65536.0,
                    _ => hi,
                };
                // Shares of many are small: the range is that of those seen.
                let seen = o.range(Method::MinMax);
                match o.is_empty() {
                    true => Range::of(lo, hi),
                    false => Range::of(lo.max(seen.lo), hi.min(seen.hi)),
                }
            }
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
    moments: HashMap<NodeId, &'c Moments>,
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
        let Some(w) = Weights::of(self.g, n)? else {
            return Ok(());
        };
        let node = self.g.node(n);
        let (op, loc) = (node.op.name, node.loc.clone());
        let Some(Some(x)) = node.ins.first().copied() else {
            return Ok(());
        };
        let place = Place::of(self.g, n, |v| self.scales.contains_key(&v));
        let moments = self.moments.get(&n).copied();
        let corrects = self.recipe.bias_correction && place != Place::None;
        let r = weights::rounded(&w, self.recipe, moments, corrects);
        if let Some(d) = r.remark(&w, &loc.to_string()) {
            self.cx.diags.push(d);
        }
        let real = weights::store(self.g, self.cx, n, &w, &r, self.recipe.weights)?;
        self.g.set_input(n, 1, Some(real));
        let channels = self.means.get(&x).map_or(&[][..], Vec::as_slice);
        let shift = match corrects {
            true => weights::shift(&w, &r, moments, channels),
            false => None,
        };
        let steps = match (self.scales.get(&x), r.is_blocked(&w)) {
            (Some(xs), false) => r.steps.iter().map(|w| xs.scale * w).collect(),
            _ => vec![],
        };
        let largest = bias::correct(self.g, self.cx, n, place, w.rows, &steps, shift.as_deref())?;
        let out = match place {
            Place::Behind(add, _) => self.g.node(add).outs[0],
            _ => self.g.node(n).outs[0],
        };
        let result = self.scales.get(&out).map_or(1.0, |s| f64::from(s.scale));
        self.summary.layers.push(Layer {
            name: loc.to_string(),
            op,
            weight_sqnr: r.sqnr,
            correction: largest / result,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::sites;
    use super::*;
    use crate::graph::parse::parse;

    #[test]
    fn shares_have_the_range_that_was_seen() {
        let text = "graph @g(%x: f32[1,2]) -> (%y) {
  %s = Softmax(%x) { axis = -1 } : f32[1,2]
  %w = lit f32[2,2] [1.0, -0.25, 0.5, 1.0]
  %y = MatMul(%s, %w) : f32[1,2]
}";
        let m = parse(text, crate::ops::find).unwrap();
        let recipe = Recipe::default();
        let found = sites(&m.graph, &recipe, &BTreeSet::new());
        let step = |seen: &[f32]| {
            let mut observed = vec![Observer::new(Method::MinMax); found.list.len()];
            for (s, o) in found.list.iter().zip(&mut observed) {
                if s.known.is_none() {
                    o.take(&[1.0], None).unwrap();
                } else if !seen.is_empty() {
                    o.take(seen, None).unwrap();
                }
            }
            let at = found.list.iter().find(|s| s.known.is_some()).unwrap();
            scales(&m.graph, &found, &observed, &recipe).unwrap()[at.class]
        };
        assert_eq!(step(&[0.05, 0.1]).scale, 0.1 / 255.0);
        // 1 itself is limited; without data nothing else is known.
        for seen in [&[0.0, 1.0][..], &[]] {
            assert_eq!(step(seen).scale, 1.0 / 256.0);
        }
    }
}
