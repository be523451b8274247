//! (x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) * scale + bias over the last axes is LayerNormalization.

use super::engine::*;
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::graph::ir::{Graph, NodeId};
use crate::pass::{Pass, PassCx};

/// The fusion.
pub static PASS: Pass = Pass {
    name: "layer_norm",
    doc: "mean, variance, division, scale and bias become LayerNormalization",
    run,
};

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    let centred = || any("x") - op("ReduceMean", [any("x")]).named("mean");
    let square = [op("Pow", [centred(), num(2.0)]), centred() * centred()];
    let mut patterns = vec![];
    for s in square {
        let deviation = op(
            "Sqrt",
            [op("ReduceMean", [s]).named("variance") + konst("epsilon")],
        );
        let normal = centred() / deviation;
        patterns.push(normal * konst("scale") + konst("bias"));
    }
    rewrite(g, cx, &patterns, |g, cx, m| {
        let x = m.value("x")?;
        let rank = g.ty(x).map_or(0, |t| t.rank());
        let (Some(a), Some(b)) = (
            axes(g, m.node("mean")?, rank),
            axes(g, m.node("variance")?, rank),
        ) else {
            return Ok(Outcome::Skip(
                "the axes are not constants, or keepdims is off".into(),
            ));
        };
        let first = rank - a.len();
        if a != b || a.is_empty() || a != (first..rank).collect::<Vec<_>>() {
            return Ok(Outcome::Skip("the means are not over the last axes".into()));
        }
        let want: Vec<_> = g
            .ty(x)
            .map(|t| t.shape[first..].to_vec())
            .unwrap_or_default();
        for p in ["scale", "bias"] {
            if g.ty(m.value(p)?).is_none_or(|t| t.shape != want) {
                return Ok(Outcome::Skip(format!(
                    "the {p} does not have the shape of the normalised axes"
                )));
            }
        }
        let Some(epsilon) = g
            .konst(m.value("epsilon")?)
            .filter(|t| t.len() == 1)
            .and_then(|t| t.get_f64(0))
        else {
            return Ok(Outcome::Skip("epsilon is not one number".into()));
        };
        let attrs = Attrs::default()
            .with("axis", Attr::Int(first as i64 - rank as i64))
            .with("epsilon", Attr::Float(epsilon as f32))
            .with("stash_type", Attr::Int(1));
        let ins = [Some(x), Some(m.value("scale")?), Some(m.value("bias")?)];
        let loc = place(g, m);
        Ok(Outcome::Replace(make(
            g,
            cx,
            m.root(),
            "LayerNormalization",
            attrs,
            &ins,
            loc,
        )?))
    })
}

/// The reduced axes in order, if known and kept as size 1.
fn axes(g: &Graph, n: NodeId, rank: usize) -> Option<Vec<usize>> {
    let node = g.node(n);
    if node.attrs.int("keepdims", 1) == 0 {
        return None;
    }
    let list = g.konst(node.ins.get(1).copied().flatten()?)?.to_i64s()?;
    let mut out = list
        .into_iter()
        .map(|a| crate::op::resolve_axis(a, rank).ok())
        .collect::<Option<Vec<_>>>()?;
    out.sort_unstable();
    Some(out)
}
