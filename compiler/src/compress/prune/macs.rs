//! Multiply-accumulates of a graph, as products of sizes, so that they can be told for any choice of what goes.

use super::relations::Axis;
use crate::base::dim::{Dim, Origin, Symbols};
use crate::graph::ir::{Graph, NodeId, ValueId};

/// Free sizes are taken as this, or their bound if that is smaller; free numbers of cases as one.
const FREE: i64 = 128;

/// Those of one node: `base` times what is left of each axis.
#[derive(Clone, Debug)]
pub struct Cost {
    /// The node.
    pub node: NodeId,
    /// Multiply-accumulates of the whole node.
    pub base: f64,
    /// Axes in whose sizes they are linear.
    pub axes: Vec<Axis>,
}

/// Those of all convolutions and products.
pub fn costs(g: &Graph, symbols: &Symbols) -> Vec<Cost> {
    let values: Vec<i64> = symbols
        .iter()
        .map(|(_, s)| match s.origin {
            Origin::Input { axis: 0, .. } => s.lo.max(1),
            _ => FREE.clamp(s.lo, s.hi.max(s.lo)),
        })
        .collect();
    let number = |d: &Dim| d.fixed().unwrap_or_else(|| d.eval(&values)).max(1) as f64;
    let shape = |v: ValueId| -> Vec<f64> {
        g.ty(v)
            .map(|t| t.shape.iter().map(number).collect())
            .unwrap_or_default()
    };
    let all = |s: &[f64]| s.iter().product::<f64>();
    let mut out = vec![];
    for &n in g.order() {
        let node = g.node(n);
        let (Some(Some(x)), Some(Some(w))) = (node.ins.first(), node.ins.get(1)) else {
            continue;
        };
        let (xs, ws, ys) = (shape(*x), shape(*w), shape(node.outs[0]));
        let (base, axes) = match node.op.name {
            "Conv" if ys.len() > 2 => (all(&ws) * ys[0] * all(&ys[2..]), vec![(*w, 0), (*w, 1)]),
            "ConvTranspose" if xs.len() > 2 => {
                (all(&ws) * xs[0] * all(&xs[2..]), vec![(*w, 0), (*w, 1)])
            }
            "Gemm" | "MatMul" if g.konst(*w).is_some() && ws.len() == 2 => {
                let columns = ys.last().copied().unwrap_or(1.0);
                (all(&ws) * all(&ys) / columns, vec![(*w, 0), (*w, 1)])
            }
            "MatMul" if ws.len() >= 2 && !xs.is_empty() => {
                let (y, rank) = (node.outs[0], ys.len());
                let turned = node.attrs.flag("trans_b");
                let k = ws.len() - if turned { 1 } else { 2 };
                let mut axes: Vec<Axis> = (0..rank).map(|a| (y, a)).collect();
                axes.push((*w, k));
                (all(&ys) * ws[k], axes)
            }
            _ => continue,
        };
        out.push(Cost {
            node: n,
            base,
            axes,
        });
    }
    out
}

/// Their sum where `share` of each axis is left.
pub fn total(costs: &[Cost], share: &dyn Fn(&Axis) -> f64) -> f64 {
    let one = |c: &Cost| c.base * c.axes.iter().map(share).product::<f64>();
    costs.iter().map(one).sum()
}
