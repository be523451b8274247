//! SmoothQuant: large channels of what a matrix product reads move into its weights (Xiao et al. 2022, "SmoothQuant: accurate and efficient post-training
//! quantization for large language models", section 4). What the model computes stays the same but for rounding in f32.
//!
//! The factors go into the LayerNormalization before the products, where they cost nothing; values that anything else makes or reads stay as they are.

use super::Recipe;
use super::observe::Observer;
use super::sites::{Site, Sites};
use super::weights::Weights;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::graph::ir::{Graph, NodeId, ValueId};

/// Factors are no smaller than this and no larger than its inverse.
const LEAST: f64 = 1e-4;

/// What is to be observed: results of LayerNormalization that only products with constant weights read.
pub fn smooth_sites(g: &Graph, recipe: &Recipe) -> Sites {
    let mut sites = Sites::default();
    for &n in g.order() {
        let Some(v) = normalized(g, n) else { continue };
        let products = products(g, v);
        if products.is_empty()
            || !products
                .iter()
                .all(|p| recipe.wants(&g.node(*p).loc.to_string()))
        {
            continue;
        }
        sites.nodes.extend(products);
        sites.list.push(Site {
            value: v,
            class: sites.list.len(),
            channels: g.ty(v).and_then(|t| t.rank().checked_sub(1)),
            peaks: true,
            result: false,
            known: None,
            layers: vec![],
        });
    }
    sites.classes = sites.list.len();
    sites
}

/// The result of a LayerNormalization over the last axis with constant factors.
fn normalized(g: &Graph, n: NodeId) -> Option<ValueId> {
    let node = g.node(n);
    let out = *node.outs.first()?;
    let ty = g.ty(out)?;
    let (rank, channels) = (ty.rank() as i64, ty.shape.last()?.fixed()?);
    let axis = node.attrs.int("axis", -1);
    let last = axis == -1 || axis == rank - 1;
    let row = |v: ValueId| {
        let t = g.konst(v).filter(|t| t.dtype == DType::F32)?;
        (t.shape == [channels]).then_some(())
    };
    let own = |k: usize| node.ins.get(k).copied().flatten();
    let others = node.outs[1..].iter().any(|o| g.is_used(*o));
    if node.op.name != "LayerNormalization" || !last || others || ty.dtype != DType::F32 {
        return None;
    }
    row(own(1)?)?;
    if let Some(b) = own(2) {
        row(b)?;
    }
    Some(out)
}

/// All that reads a value, if these are products that sum over its last axis with weights of their own; else none.
fn products(g: &Graph, v: ValueId) -> Vec<NodeId> {
    let channels = g.ty(v).and_then(|t| t.shape.last()?.fixed());
    let fits = |n: &NodeId| {
        let node = g.node(*n);
        let product = ["MatMul", "Gemm"].contains(&node.op.name);
        let plain = !node.attrs.flag("trans_a") && node.ins.first() == Some(&Some(v));
        let Ok(Some(w)) = Weights::of(g, *n) else {
            return false;
        };
        let own = g.users(w.value).len() == 1 && node.ins.get(2) != Some(&Some(v));
        product && plain && own && w.shape.len() == 2 && Some(w.depth as i64) == channels
    };
    let users = g.users(v);
    match !g.is_output(v) && users.iter().all(fits) {
        true => users.to_vec(),
        false => vec![],
    }
}

/// Moves channels' sizes at the sites of [`smooth_sites`], an observer for each: `alpha` of them from values to weights, 0 none, 1 all. Gives how many
/// values were smoothed.
pub fn smooth(g: &mut Graph, sites: &Sites, observed: &[Observer], alpha: f64) -> usize {
    let mut count = 0;
    for (s, o) in sites.list.iter().zip(observed) {
        let largest = o.largest();
        let layers = products(g, s.value);
        let weights: Vec<(NodeId, Weights)> = (layers.iter())
            .filter_map(|n| Some((*n, Weights::of(g, *n).ok().flatten()?)))
            .collect();
        let Some((maker, _)) = g.maker(s.value) else {
            continue;
        };
        if o.is_unbounded() || weights.is_empty() || weights[0].1.depth != largest.len() {
            continue;
        }
        let factor = |k: usize| {
            let own = weights
                .iter()
                .flat_map(|(_, w)| (0..w.rows).map(move |r| w.values[w.at(r, k)].abs()));
            let w = own.fold(0.0, f64::max);
            factor(largest[k], w, alpha)
        };
        let factors: Vec<f64> = (0..largest.len()).map(factor).collect();
        for (n, w) in &weights {
            let mut values = w.values.clone();
            for r in 0..w.rows {
                for (k, f) in factors.iter().enumerate() {
                    values[w.at(r, k)] *= f;
                }
            }
            put(g, *n, 1, &w.shape, &values);
        }
        for k in [1, 2] {
            let old = g.node(maker).ins.get(k).copied().flatten();
            if let Some(values) = old.and_then(|v| g.konst(v)?.to_f64s()) {
                let new: Vec<f64> = values.iter().zip(&factors).map(|(v, f)| v / f).collect();
                put(g, maker, k, &[new.len() as i64], &new);
            }
        }
        count += 1;
    }
    count
}

/// What a channel is divided by and its weights are multiplied by (equation 4). Channels without values or weights stay.
fn factor(value: f64, weight: f64, alpha: f64) -> f64 {
    let f = libm::pow(value, alpha) / libm::pow(weight, 1.0 - alpha);
    match value > 0.0 && weight > 0.0 && f.is_finite() {
        true => f.clamp(LEAST, 1.0 / LEAST),
        false => 1.0,
    }
}

/// A constant with other numbers, for one node.
pub(super) fn put(g: &mut Graph, n: NodeId, k: usize, shape: &[i64], values: &[f64]) {
    let name = match g.node(n).ins.get(k).copied().flatten() {
        Some(v) => g.value(v).name.clone(),
        None => String::new(),
    };
    let values: Vec<f32> = values.iter().map(|v| *v as f32).collect();
    let v = g.add_const(&name, Tensor::f32(shape, &values));
    g.set_input(n, k, Some(v));
}

#[cfg(test)]
mod tests {
    use super::super::Method;
    use super::*;
    use crate::graph::parse::parse;

    #[test]
    fn an_outlier_moves_into_the_weights() {
        let text = "graph @g(%x: f32[1,2]) -> (%y) {
  %s = lit f32[2] [64.0, 1.0]
  %b = lit f32[2] [8.0, 0.5]
  %v = LayerNormalization(%x, %s, %b) { axis = -1 } : f32[1,2]
  %w = lit f32[2,2] [1.0, -0.25, 0.5, 1.0]
  %y = MatMul(%v, %w) : f32[1,2]
}";
        let mut m = parse(text, crate::ops::find).unwrap();
        let g = &mut m.graph;
        let sites = smooth_sites(g, &Recipe::default());
        assert_eq!(sites.list.len(), 1);
        let mut o = Observer::new(Method::MinMax);
        o.take(&[64.0, 0.5, -16.0, 1.0], Some((2, 1))).unwrap();
        assert_eq!(smooth(g, &sites, &[o], 0.5), 1);
        // By hand: sqrt(64) / sqrt(1) = 8 for the first channel, 1 for the second.
        let konst = |g: &Graph, at: usize, k: usize| {
            let v = g.node(g.order()[at]).ins[k].unwrap();
            g.konst(v).unwrap().to_f64s().unwrap()
        };
        assert_eq!(konst(g, 0, 1), [8.0, 1.0]);
        assert_eq!(konst(g, 0, 2), [1.0, 0.5]);
        assert_eq!(konst(g, 1, 1), [8.0, -2.0, 0.5, 1.0]);
    }

    #[test]
    fn factors_are_those_of_the_paper() {
        // numpy: 9**.5 / 4**.5, 16**.75 / 16**.25
        assert!((factor(9.0, 4.0, 0.5) - 1.5).abs() < 1e-12);
        assert!((factor(16.0, 16.0, 0.75) - 4.0).abs() < 1e-12);
        assert_eq!(factor(0.0, 4.0, 0.5), 1.0);
        assert_eq!(factor(3.0, 0.0, 0.5), 1.0);
    }
}
