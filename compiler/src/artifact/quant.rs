//! What the integers of a model's inputs and outputs stand for: the scale and zero point of the DequantizeLinear that reads an
//! input, or of the QuantizeLinear that makes an output.

use super::info::PortQuant;
use crate::graph::ir::{Graph, NodeId};

/// Of input `k`, where everything that uses it, reshaped or not, dequantizes it in the same way.
pub fn of_input(g: &Graph, k: usize) -> Option<PortQuant> {
    let mut found: Option<PortQuant> = None;
    let mut todo = vec![(*g.inputs.get(k)?, false)];
    while let Some((v, viewed)) = todo.pop() {
        if g.is_output(v) {
            return None;
        }
        for &n in g.users(v) {
            let node = g.node(n);
            if matches!(node.op.lower, crate::op::Lower::View) && node.ins.first() == Some(&Some(v))
            {
                todo.extend(node.outs.iter().map(|&out| (out, true)));
                continue;
            }
            // An axis means nothing any more behind a reshape.
            let own = scales(g, n, "DequantizeLinear").filter(|q| !viewed || q.axis.is_none())?;
            if found.get_or_insert_with(|| own.clone()) != &own {
                return None;
            }
        }
    }
    found
}

/// Of output `k`, also where it was only reshaped since it was quantized.
pub fn of_output(g: &Graph, k: usize) -> Option<PortQuant> {
    let mut v = *g.outputs().get(k)?;
    let mut viewed = false;
    loop {
        let (n, _) = g.maker(v)?;
        if matches!(g.node(n).op.lower, crate::op::Lower::View) {
            v = (*g.node(n).ins.first()?)?;
            viewed = true;
            continue;
        }
        // An axis means nothing any more behind a reshape.
        return scales(g, n, "QuantizeLinear").filter(|q| !viewed || q.axis.is_none());
    }
}

/// Scale and zero point of a node, if it is of that operator, they are constants, and they are not blocked.
fn scales(g: &Graph, n: NodeId, op: &str) -> Option<PortQuant> {
    let node = g.node(n);
    if node.op.name != op || node.attrs.int("block_size", 0) != 0 {
        return None;
    }
    let scale = g.konst((*node.ins.get(1)?)?)?;
    let scales: Vec<f32> = scale.to_f64s()?.into_iter().map(|s| s as f32).collect();
    let zero_points = match node.ins.get(2).copied().flatten() {
        None => vec![0; scales.len()],
        Some(z) => {
            let list = g.konst(z)?.to_i64s()?;
            list.into_iter()
                .map(|z| i32::try_from(z).ok())
                .collect::<Option<Vec<_>>>()?
        }
    };
    let x = (*node.ins.first()?)?;
    let axis = match scale.shape.is_empty() || scales.len() == 1 {
        true => None,
        false => Some(crate::op::resolve_axis(node.attrs.int("axis", 1), g.ty(x)?.rank()).ok()?),
    };
    (!scales.is_empty() && scales.len() == zero_points.len()).then_some(PortQuant {
        scales,
        zero_points,
        axis,
    })
}
