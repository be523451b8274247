//! Notes what the integers of a model's inputs and outputs stand for: the scale and zero point of the DequantizeLinear that reads an
//! input, or of the QuantizeLinear that makes an output. Later passes dissolve both.

use crate::base::diag::Result;
use crate::base::types::Quant;
use crate::graph::ir::{Graph, NodeId};
use crate::op::Lower;
use crate::pass::{Pass, PassCx};

/// The pass.
pub static PASS: Pass = Pass {
    name: "ports",
    doc: "notes the scales of quantized inputs and outputs of the model",
    run: |g: &mut Graph, _: &mut PassCx| -> Result<()> {
        g.input_quants = (0..g.inputs.len()).map(|k| of_input(g, k)).collect();
        g.output_quants = (0..g.outputs().len()).map(|k| of_output(g, k)).collect();
        Ok(())
    },
};

/// Of input `k`, where everything that uses it, reshaped or not, dequantizes it in the same way.
fn of_input(g: &Graph, k: usize) -> Option<Quant> {
    let mut found: Option<Quant> = None;
    let mut todo = vec![(*g.inputs.get(k)?, false)];
    while let Some((v, viewed)) = todo.pop() {
        if g.is_output(v) {
            return None;
        }
        for &n in g.users(v) {
            let node = g.node(n);
            let moves = matches!(node.op.lower, Lower::View) || node.op.name == "Transpose";
            if moves && node.ins.first() == Some(&Some(v)) {
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

/// Of output `k`, also where it was only moved since it was quantized.
fn of_output(g: &Graph, k: usize) -> Option<Quant> {
    let mut v = *g.outputs().get(k)?;
    let mut viewed = false;
    loop {
        let (n, _) = g.maker(v)?;
        let node = g.node(n);
        if matches!(node.op.lower, Lower::View) || node.op.name == "Transpose" {
            v = (*node.ins.first()?)?;
            viewed = true;
            continue;
        }
        // An axis means nothing any more behind a reshape.
        return scales(g, n, "QuantizeLinear").filter(|q| !viewed || q.axis.is_none());
    }
}

/// Scale and zero point of a node, if it is of that operator, they are constants, and they are not blocked.
fn scales(g: &Graph, n: NodeId, op: &str) -> Option<Quant> {
    let node = g.node(n);
    if node.op.name != op || node.attrs.int("block_size", 0) != 0 {
        return None;
    }
    let scale = g.konst((*node.ins.get(1)?)?)?.clone();
    let zero_point = match node.ins.get(2).copied().flatten() {
        None => None,
        Some(z) => Some(g.konst(z)?.clone()),
    };
    let x = (*node.ins.first()?)?;
    let axis = match scale.shape.is_empty() || scale.len() == 1 {
        true => None,
        false => Some(crate::op::resolve_axis(node.attrs.int("axis", 1), g.ty(x)?.rank()).ok()?),
    };
    let fits = zero_point.as_ref().is_none_or(|z| z.len() == scale.len());
    (!scale.is_empty() && fits).then_some(Quant {
        scale,
        zero_point,
        axis,
        block: 0,
    })
}
