//! Dynamic quantization: matrix products with constant weights measure their input's range while they run, so that no data is needed beforehand.
//!
//! `Gemm` and `MatMul` become DynamicQuantizeLinear (u8, one scale for all of the input), MatMulInteger with weights of 8 bits, and a Mul by both scales.

use super::apply::{Layer, Summary};
use super::moments::Moments;
use super::sites::Sites;
use super::weights::{self, Weights};
use super::{Observer, Recipe};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::{Diagnostic, Diagnostics, Result};
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::fusions::engine::{infer, make};
use crate::graph::ir::{Graph, Model, NodeId, ValueId};
use crate::pass::PassCx;
use std::collections::{BTreeSet, HashMap};

/// Quantizes a model so. `sites` are those of `stored_sites`, with an observer for each where weights are rounded by data, else none.
pub fn dynamic(
    model: &mut Model,
    sites: &Sites,
    observed: &[Observer],
    recipe: &Recipe,
    diags: &mut Diagnostics,
) -> Result<Summary> {
    let g = &mut model.graph;
    let off = BTreeSet::new();
    let cx = &mut PassCx::outside("quantize", &mut model.symbols, diags, &off);
    let moments: HashMap<NodeId, &Moments> = observed.iter().flat_map(Observer::moments).collect();
    let mut summary = Summary::default();
    // Layers with the same input share its numbers.
    let mut known = HashMap::new();
    for &n in &sites.nodes {
        let node = g.node(n);
        let plain = |name: &str| node.attrs.float(name, 1.0) == 1.0;
        let usual = plain("alpha") && plain("beta") && !node.attrs.flag("trans_a");
        let fused = !node.attrs.str("activation", "").is_empty();
        if !["Gemm", "MatMul"].contains(&node.op.name) || !usual || fused {
            continue;
        }
        let Some(w) = Weights::of(g, n)?.filter(|w| w.shape.len() == 2) else {
            continue;
        };
        let r = weights::rounded(&w, recipe, moments.get(&n).copied(), false);
        rewrite(g, cx, n, &w, &r, &mut known)?;
        summary.layers.push(Layer {
            name: g.node(n).loc.to_string(),
            op: g.node(n).op.name,
            weight_sqnr: r.sqnr,
            correction: 0.0,
        });
    }
    crate::passes::dead::left_behind(g);
    summary.nodes = summary.layers.len();
    Ok(summary)
}

fn rewrite(
    g: &mut Graph,
    cx: &mut PassCx,
    n: NodeId,
    w: &Weights,
    r: &weights::Rounded,
    known: &mut HashMap<ValueId, [ValueId; 3]>,
) -> Result<()> {
    let (ins, loc) = (g.node(n).ins.clone(), g.node(n).loc.clone());
    let Some(Some(x)) = ins.first().copied() else {
        return Ok(());
    };
    let [q, scale, zero] = match known.get(&x) {
        // Nodes come in the order they were made in, which need not be that of the graph.
        Some(k)
            if g.maker(k[0])
                .is_some_and(|m| g.position(m.0) < g.position(n)) =>
        {
            *k
        }
        _ => {
            let op = crate::ops::find("DynamicQuantizeLinear")
                .ok_or_else(|| Diagnostic::internal("no DynamicQuantizeLinear"))?;
            let m = g.add_before(n, op, Attrs::default(), vec![Some(x)], 3, loc.clone());
            infer(g, cx, m)?;
            let outs = &g.node(m).outs;
            let k = [outs[0], outs[1], outs[2]];
            known.insert(x, k);
            k
        }
    };
    // `[depth, rows]`, whatever way round the file has them.
    let turned = (0..w.depth * w.rows).map(|i| r.numbers[w.at(i % w.rows, i / w.rows)]);
    let turned: Vec<f64> = turned.collect();
    let name = format!("{}_quantized", g.value(w.value).name);
    let shape = [w.depth as i64, w.rows as i64];
    let numbers = g.add_const(&name, Tensor::from_f64s(DType::I8, &shape, &turned));
    let of_weights = match r.steps.len() {
        1 => Tensor::f32(&[], &r.steps),
        n => Tensor::f32(&[n as i64], &r.steps),
    };
    let of_weights = g.add_const(&format!("{}_scale", g.value(w.value).name), of_weights);
    let plain = Attrs::default;
    let mut node = |g: &mut Graph, op: &str, attrs: Attrs, ins: &[ValueId]| {
        let mut ins: Vec<Option<ValueId>> = ins.iter().copied().map(Some).collect();
        if op == "MatMulInteger" {
            ins.push(Some(zero));
        }
        make(g, cx, n, op, attrs, &ins, loc.clone())
    };
    let sum = node(g, "MatMulInteger", plain(), &[q, numbers])?;
    let to = plain()
        .with("to", Attr::Type(DType::F32))
        .with("saturate", Attr::Int(1))
        .with("round_mode", Attr::Str("up".into()));
    let sum = node(g, "Cast", to, &[sum])?;
    let both = node(g, "Mul", plain(), &[scale, of_weights])?;
    let mut out = node(g, "Mul", plain(), &[sum, both])?;
    if let Some(Some(b)) = ins.get(2).copied() {
        out = node(g, "Add", plain(), &[out, b])?;
    }
    let old = g.node(n).outs[0];
    g.value_mut(out).name = g.value(old).name.clone();
    g.replace_uses(old, out);
    Ok(())
}
