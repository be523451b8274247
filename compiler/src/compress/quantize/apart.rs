//! Fused operators taken apart: a Conv or Gemm with an activation or an added tensor (com.microsoft FusedConv, FusedGemm) becomes the operators of
//! ONNX that it stands for, each of which can be quantized.

use crate::base::attr::{Attr, Attrs};
use crate::base::diag::{Diagnostics, Result};
use crate::base::tensor::Tensor;
use crate::contracts::finish::Activation;
use crate::fusions::engine::make;
use crate::graph::ir::{Graph, Model, NodeId, ValueId};
use crate::pass::PassCx;
use std::collections::BTreeSet;

/// Takes apart what can be: others stay. What the model computes is the same.
pub fn apart(model: &mut Model, diags: &mut Diagnostics) -> Result<()> {
    let off = BTreeSet::new();
    let mut cx = PassCx::outside("quantize", &mut model.symbols, diags, &off);
    let g = &mut model.graph;
    for n in g.order().to_vec() {
        if let Some(v) = split(g, &mut cx, n)? {
            let old = g.node(n).outs[0];
            g.replace_uses(old, v);
        }
    }
    crate::passes::dead::left_behind(g);
    Ok(())
}

fn split(g: &mut Graph, cx: &mut PassCx, n: NodeId) -> Result<Option<ValueId>> {
    let node = g.node(n);
    let (name, mut ins, loc) = (node.op.name, node.ins.clone(), node.loc.clone());
    if !["Conv", "Gemm"].contains(&name) {
        return Ok(None);
    }
    let activation = Activation::of_attrs(&node.attrs)?;
    let known = activation.as_ref().is_none_or(|a| spelled(a).is_some());
    let added = match name {
        "Conv" if ins.len() > 3 => ins.split_off(3).pop().flatten(),
        _ => None,
    };
    if !known || activation.is_none() && added.is_none() {
        return Ok(None);
    }
    let mut attrs = node.attrs.clone();
    attrs.remove("activation");
    attrs.remove("activation_params");
    let mut v = make(g, cx, n, name, attrs, &ins, loc.clone())?;
    if let Some(z) = added {
        let ins = [Some(v), Some(z)];
        v = make(g, cx, n, "Add", Attrs::default(), &ins, loc.clone())?;
    }
    if let Some((op, attrs, bounds)) = activation.as_ref().and_then(spelled) {
        let mut ins = vec![Some(v)];
        for bound in bounds {
            ins.push(Some(g.add_const("", Tensor::f32(&[], &[bound]))));
        }
        v = make(g, cx, n, op, attrs, &ins, loc)?;
    }
    Ok(Some(v))
}

/// An activation as an operator of ONNX: its name, attributes, and what it reads beside its input.
fn spelled(a: &Activation) -> Option<(&'static str, Attrs, Vec<f32>)> {
    let own = Attrs::default();
    let alpha = |own: Attrs| own.with("alpha", Attr::Float(a.alpha));
    let attrs = match a.name {
        "Relu" | "Tanh" | "Sigmoid" | "Softplus" | "Softsign" | "Clip" => own,
        "LeakyRelu" | "Elu" | "ThresholdedRelu" => alpha(own),
        "HardSigmoid" => alpha(own).with("beta", Attr::Float(a.beta)),
        _ => return None,
    };
    let bounds = match a.name {
        "Clip" => vec![a.alpha, a.beta],
        _ => vec![],
    };
    Some((a.name, attrs, bounds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::parse::parse;

    #[test]
    fn a_fused_convolution_becomes_three_operators() {
        let text = "graph @g(%x: f32[1,1,2,2], %z: f32[1,2,2,2]) -> (%y) {
  %w = lit f32[2,1,1,1] [8.0, 0.5]
  %b = lit f32[2] [4.0, 1.0]
  %y = Conv(%x, %w, %b, %z) { activation = \"Clip\", activation_params = floats [0.0, 6.0], group = 1 } : f32[1,2,2,2]
}";
        let mut m = parse(text, crate::ops::find).unwrap();
        apart(&mut m, &mut Diagnostics::default()).unwrap();
        let g = &m.graph;
        let names: Vec<_> = g.order().iter().map(|&n| g.node(n).op.name).collect();
        assert_eq!(names, ["Conv", "Add", "Clip"]);
        let clip = g.node(g.order()[2]);
        let bound = |i: usize| g.konst(clip.ins[i].unwrap()).unwrap().to_f64s().unwrap()[0];
        assert_eq!((bound(1), bound(2)), (0.0, 6.0));
        assert!(g.node(g.order()[0]).attrs.get("activation").is_none());
    }

    #[test]
    fn what_is_plain_stays() {
        let text = "graph @g(%x: f32[1,1,2,2]) -> (%y) {
  %w = lit f32[2,1,1,1] [8.0, 0.5]
  %y = Conv(%x, %w) { group = 1 } : f32[1,2,2,2]
}";
        let mut m = parse(text, crate::ops::find).unwrap();
        let before = m.graph.order().to_vec();
        apart(&mut m, &mut Diagnostics::default()).unwrap();
        assert_eq!(m.graph.order(), before);
    }
}
