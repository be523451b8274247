//! Infers every type, folding what is small and constant on the way, since later shapes hang on it.

use crate::base::diag::Result;
use crate::base::dim::{Dim, Symbols};
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::graph::infer::Infer;
use crate::graph::ir::{Graph, NodeId};
use crate::op::Lower;
use crate::pass::{Pass, PassCx};

/// Results of more elements are left to `fold`.
const SMALL: i64 = 4096;

/// The pass.
pub static PASS: Pass = Pass {
    name: "resolve",
    doc: "infers all types and sizes; folds what shapes are computed from",
    run,
};

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    let mut after = |g: &mut Graph, n: NodeId, symbols: &Symbols| known(g, n, symbols);
    Infer {
        symbols: cx.symbols,
        after: &mut after,
        diags: cx.diags,
        depth: 0,
    }
    .graph(g);
    Ok(())
}

/// Turns small outputs into constants where their contents are known.
fn known(g: &mut Graph, n: NodeId, symbols: &Symbols) -> Result<()> {
    let node = g.node(n);
    let outs = node.outs.clone();
    for &v in &outs {
        let value = g.value(v);
        let Some(ty) = &value.ty else { continue };
        let contents = value
            .dims
            .as_ref()
            .and_then(|d| d.iter().map(Dim::fixed).collect::<Option<Vec<i64>>>());
        if let (Some(contents), Some(shape), DType::I64 | DType::I32) =
            (contents, ty.fixed_shape(), ty.dtype)
            && shape.iter().product::<i64>() == contents.len() as i64
        {
            let floats: Vec<f64> = contents.iter().map(|&c| c as f64).collect();
            let t = match ty.dtype {
                DType::I64 => Tensor::i64(&shape, &contents),
                d => Tensor::from_f64s(d, &shape, &floats),
            };
            g.make_const(v, t);
        }
    }
    let node = g.node(n);
    // No size hangs on dequantized numbers, and as they are they serve the pass `integers`.
    let real = node.op.name == "DequantizeLinear";
    if matches!(node.op.lower, Lower::Control(_)) || !node.op.pure || real {
        return Ok(());
    }
    let small = |v| {
        g.ty(v)
            .and_then(|t| t.elements().fixed())
            .is_some_and(|e| e <= SMALL)
    };
    let constant = node
        .ins
        .iter()
        .flatten()
        .all(|&v| g.konst(v).is_some_and(|t| t.len() as i64 <= 4 * SMALL));
    let wanted = outs.iter().any(|&v| g.is_used(v) && g.konst(v).is_none());
    if !constant || !wanted || !outs.iter().all(|&v| small(v) || !g.is_used(v)) {
        return Ok(());
    }
    if let Some(results) = crate::plan::eval::eval(g, n, symbols)? {
        for (&v, t) in outs.iter().zip(results) {
            if let Some(t) = t {
                g.make_const(v, t);
            }
        }
    }
    Ok(())
}
