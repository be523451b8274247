//! Weights that are stored small and computed with in floats: as whole numbers of 8 or 4 bits, or in half precision. Values in between stay as they
//! are, so that no data is needed; with data, weights are rounded to suit it and biases take back what that adds.

use super::apply::{Layer, Summary};
use super::bias::{self, Place};
use super::moments::Moments;
use super::sites::{PRODUCTS, Site, Sites, channels, layers};
use super::weights::{self, Weights};
use super::{Observer, Recipe};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::{Diagnostic, Diagnostics, Result};
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::fusions::engine::make;
use crate::graph::ir::{Graph, Model, NodeId, ValueId};
use crate::pass::PassCx;
use std::collections::{BTreeSet, HashMap};

/// Numbers below which a constant is not worth it.
const FEW: usize = 16;

/// What is to be observed for [`store`], if there is data: the inputs of Conv, Gemm and MatMul with constant weights. Its `nodes` are these layers.
pub fn stored_sites(g: &Graph, recipe: &Recipe) -> Sites {
    let mut sites = Sites::default();
    for &n in g.order() {
        let node = g.node(n);
        let product = PRODUCTS.contains(&node.op.name) && recipe.wants(&node.loc.to_string());
        if product && matches!(Weights::of(g, n), Ok(Some(_))) {
            sites.nodes.insert(n);
        }
    }
    let nodes = sites.nodes.clone();
    for &n in &nodes {
        let Some(v) = g.node(n).ins[0] else { continue };
        let float = g.ty(v).is_some_and(|t| t.dtype == DType::F32);
        if !float || g.konst(v).is_some() || sites.list.iter().any(|s| s.value == v) {
            continue;
        }
        sites.list.push(Site {
            value: v,
            class: sites.list.len(),
            channels: channels(g, v, &nodes),
            peaks: false,
            result: false,
            known: None,
            layers: match recipe.needs_moments() {
                true => layers(g, v, &nodes),
                false => vec![],
            },
        });
    }
    sites.classes = sites.list.len();
    sites
}

/// Inputs of other operators that hold weights: the input's number and the axis whose indices have steps of their own.
fn others(g: &Graph, n: NodeId) -> Vec<(usize, usize)> {
    let node = g.node(n);
    match node.op.name {
        "LSTM" | "GRU" | "RNN" => vec![(1, 1), (2, 1)],
        // Rows of a table, looked up.
        "Gather" if node.attrs.int("axis", 0) == 0 => vec![(0, 0)],
        _ => vec![],
    }
}

/// Stores the weights of a model as whole numbers of `recipe.weights` behind DequantizeLinear. `sites` are those of [`stored_sites`], with an observer for
/// each, or none where there is no data.
pub fn store(
    model: &mut Model,
    sites: &Sites,
    observed: &[Observer],
    recipe: &Recipe,
    diags: &mut Diagnostics,
) -> Result<Summary> {
    let g = &mut model.graph;
    let off = BTreeSet::new();
    let cx = &mut PassCx::outside("quantize", &mut model.symbols, diags, &off);
    let mut summary = Summary::default();
    let means: HashMap<ValueId, Vec<f64>> = (sites.list.iter().zip(observed))
        .map(|(s, o)| (s.value, o.means()))
        .collect();
    let moments: HashMap<NodeId, &Moments> = observed.iter().flat_map(Observer::moments).collect();
    // A constant that several nodes read is stored once.
    let mut done: HashMap<ValueId, ValueId> = HashMap::new();
    for n in g.order().to_vec() {
        let (op, loc) = (g.node(n).op.name, g.node(n).loc.to_string());
        if !recipe.wants(&loc) {
            continue;
        }
        if sites.nodes.contains(&n)
            && let Some(w) = Weights::of(g, n)?
            && w.values.len() >= FEW
            && !done.contains_key(&w.value)
        {
            let alone = g.users(w.value).len() == 1;
            let place = Place::of(g, n, |_| false);
            let own = moments.get(&n).copied().filter(|_| alone);
            let corrects = recipe.bias_correction && alone && place != Place::None;
            let r = weights::rounded(&w, recipe, own, corrects);
            if let Some(d) = r.remark(&w, &loc) {
                cx.diags.push(d);
            }
            let real = weights::store(g, cx, n, &w, &r, recipe.weights)?;
            let x = g.node(n).ins[0];
            let channels = x.and_then(|x| means.get(&x)).map_or(&[][..], Vec::as_slice);
            let shift = match corrects {
                true => weights::shift(&w, &r, own, channels),
                false => None,
            };
            bias::correct(g, cx, n, place, w.rows, &[], shift.as_deref())?;
            g.replace_uses(w.value, real);
            done.insert(w.value, real);
            summary.layers.push(Layer {
                name: loc,
                op,
                weight_sqnr: r.sqnr,
                correction: 0.0,
            });
            continue;
        }
        for (k, axis) in others(g, n) {
            let axis = recipe.per_channel.then_some(axis);
            let Some(w) = Weights::along(g, n, k, axis)? else {
                continue;
            };
            if w.values.len() < FEW || w.shape.len() < 2 || done.contains_key(&w.value) {
                continue;
            }
            let r = weights::rounded(&w, recipe, None, false);
            let real = weights::store(g, cx, n, &w, &r, recipe.weights)?;
            g.replace_uses(w.value, real);
            done.insert(w.value, real);
            summary.layers.push(Layer {
                name: loc.clone(),
                op,
                weight_sqnr: r.sqnr,
                correction: 0.0,
            });
        }
    }
    summary.nodes = summary.layers.len();
    Ok(summary)
}

/// Stores constants of a model in half precision, f16 or bf16, behind a Cast to f32. Those that f16 can't hold stay, which is said.
pub fn halves(
    model: &mut Model,
    to: DType,
    recipe: &Recipe,
    diags: &mut Diagnostics,
) -> Result<Summary> {
    let g = &mut model.graph;
    let off = BTreeSet::new();
    let cx = &mut PassCx::outside("quantize", &mut model.symbols, diags, &off);
    let mut summary = Summary::default();
    let mut seen = BTreeSet::new();
    for n in g.order().to_vec() {
        let (op, loc) = (g.node(n).op.name, g.node(n).loc.clone());
        for v in g.node(n).ins.clone().into_iter().flatten() {
            let fits = |t: &&Tensor| t.dtype == DType::F32 && t.len() >= FEW;
            let Some(t) = g.konst(v).filter(fits).cloned() else {
                continue;
            };
            if !recipe.wants(&loc.to_string()) || g.is_output(v) || !seen.insert(v) {
                continue;
            }
            let values = t.to_f64s().unwrap_or_default();
            let half = Tensor::from_f64s(to, &t.shape, &values);
            let back = half.to_f64s().unwrap_or_default();
            let lost = |(a, b): (&f64, &f64)| a.is_finite() && !b.is_finite();
            if values.iter().zip(&back).any(lost) {
                let name = g.value(v).name.clone();
                let text = format!("\"{name}\" has numbers too large for {to}: it stays in f32");
                cx.diags.push(Diagnostic::remark("ONNX016", text).at(&loc));
                continue;
            }
            let name = format!("{}_{to}", g.value(v).name);
            let q = g.add_const(&name, half);
            let attrs = Attrs::default()
                .with("to", Attr::Type(DType::F32))
                .with("saturate", Attr::Int(1))
                .with("round_mode", Attr::Str("up".into()));
            let real = make(g, cx, n, "Cast", attrs, &[Some(q)], loc.clone())?;
            g.replace_uses(v, real);
            let square = |l: &mut dyn Iterator<Item = f64>| l.map(|v| v * v).sum::<f64>();
            let noise = square(&mut values.iter().zip(&back).map(|(a, b)| a - b));
            let signal = square(&mut values.iter().copied());
            summary.layers.push(Layer {
                name: loc.to_string(),
                op,
                weight_sqnr: match noise > 0.0 {
                    true => 10.0 * libm::log10(signal / noise),
                    false => f64::INFINITY,
                },
                correction: 0.0,
            });
        }
    }
    summary.nodes = summary.layers.len();
    Ok(summary)
}
