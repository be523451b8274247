//! Depthwise convolutions with several outputs for each input channel ("depth multiplier"): each channel is repeated first, so that every output
//! channel has an input channel of its own and the depthwise kernels take it. A copy of the input costs far less than what these gain over grouped products.

use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::base::tensor::Tensor;
use crate::fusions::engine::make;
use crate::graph::ir::{Graph, NodeId, ValueId};
use crate::pass::{Pass, PassCx};

/// The pass.
pub static PASS: Pass = Pass {
    name: "multiplier",
    doc: "depthwise convolutions with several outputs for each channel read each channel repeated",
    run,
};

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    for n in g.order().to_vec() {
        if let Some((x, channels, times)) = several(g, n)
            && cx.edit()
        {
            let repeated = repeated(g, cx, n, x, channels, times)?;
            g.set_input(n, 0, Some(repeated));
            let attrs = &mut g.node_mut(n).attrs;
            attrs.set("group", Attr::Int(channels * times));
        }
    }
    Ok(())
}

/// The input of a channels-last convolution whose groups are one channel each, how many these are, and how many outputs each has, if several.
fn several(g: &Graph, n: NodeId) -> Option<(ValueId, i64, i64)> {
    let node = g.node(n);
    let conv = matches!(node.op.name, "Conv" | "ConvInteger");
    if !conv || !node.attrs.flag("channels_last") {
        return None;
    }
    let (x, w) = (node.ins[0]?, node.ins[1]?);
    let channels = g.ty(x)?.shape.last()?.fixed()?;
    let outputs = g.ty(w)?.shape.first()?.fixed()?;
    let alone = node.attrs.int("group", 1) == channels && channels > 1;
    (alone && outputs > channels).then_some((x, channels, outputs / channels))
}

/// Each channel so many times, one behind the other.
fn repeated(
    g: &mut Graph,
    cx: &mut PassCx,
    n: NodeId,
    x: ValueId,
    channels: i64,
    times: i64,
) -> Result<ValueId> {
    let others = g.ty(x).map_or(0, |t| t.rank().saturating_sub(1));
    let loc = g.node(n).loc.clone();
    let mut step = |op: &str, v: ValueId, sizes: Vec<i64>| {
        let sizes = Tensor::i64(&[sizes.len() as i64], &sizes);
        let sizes = g.add_const("", sizes);
        make(
            g,
            cx,
            n,
            op,
            Attrs::default(),
            &[Some(v), Some(sizes)],
            loc.clone(),
        )
    };
    // A size of 0 is that of the input.
    let kept = |last: &[i64]| [&vec![0; others][..], last].concat();
    let apart = step("Reshape", x, kept(&[channels, 1]))?;
    let mut ones = vec![1; others + 1];
    ones.push(times);
    let wide = step("Expand", apart, ones)?;
    step("Reshape", wide, kept(&[channels * times]))
}
