//! Which nodes the device computes, and why not the others. What depends on sizes alone is left to the encoder, which refuses.

use super::sums::{chain, constant};
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::graph::ir::{Graph, NodeId, ValueId};
use onnxc_compiler::npu::Claim;
use onnxc_compiler::op::Lower;

/// The answer for a node.
pub fn claim(g: &Graph, n: NodeId) -> Claim {
    let node = g.node(n);
    let input = |k: usize| node.ins.get(k).copied().flatten();
    let dtype = |v: Option<ValueId>| v.and_then(|v| g.ty(v)).map(|t| t.dtype);
    let byte = |v: Option<ValueId>| matches!(dtype(v), Some(DType::I8 | DType::U8));
    if node
        .outs
        .iter()
        .any(|&v| g.ty(v).is_none_or(|t| t.fixed_shape().is_none()))
    {
        return no("its sizes are known at run time only");
    }
    let out = node.outs.first().copied();
    let answer: Result<Claim, String> = match node.op.name {
        "ConvInteger" => product(g, n, 1),
        "MatMulInteger" => product(
            g,
            n,
            g.ty(node.outs[0]).map_or(0, |t| t.rank().saturating_sub(1)),
        ),
        "Requantize" => match byte(out) {
            true if byte(input(0)) || dtype(input(0)) == Some(DType::I32) => Ok(Claim::Work),
            _ => Err("it gives or takes numbers wider than bytes".into()),
        },
        "RescaledSum" | "RescaledProduct" => {
            let b = if node.op.name == "RescaledSum" { 2 } else { 1 };
            match byte(input(0)) && byte(input(b)) && byte(out) {
                true => Ok(Claim::Work),
                false => Err("it gives or takes numbers wider than bytes".into()),
            }
        }
        "ReduceSum" => match (byte(input(0)), dtype(out)) {
            (true, Some(DType::I32)) => chain(g, node.outs[0], usize::MAX).map(|_| Claim::Work),
            _ => Err("it sums what are not bytes".into()),
        },
        // What is added to sums.
        "Add" if dtype(out) == Some(DType::I32) => {
            let made = [0, 1].iter().any(|&k| {
                let m = input(k).and_then(|v| g.maker(v));
                m.is_some_and(|(m, _)| {
                    ["ConvInteger", "MatMulInteger"].contains(&g.node(m).op.name)
                })
            });
            match made {
                true => Ok(Claim::Work),
                false => Err("it adds numbers wider than bytes".into()),
            }
        }
        "Lookup" => match byte(out) && input(1).is_some_and(|v| g.konst(v).is_some()) {
            true => Ok(Claim::Work),
            false => Err("its table gives numbers wider than bytes".into()),
        },
        "QuantizedSoftmax" => Ok(Claim::Work),
        "MaxPool" if byte(input(0)) => match node.outs.get(1).is_some_and(|&v| g.is_used(v)) {
            true => Err("it gives positions".into()),
            false => Ok(Claim::Work),
        },
        "Resize" if byte(input(0)) => match node.attrs.str("mode", "nearest") {
            "nearest" => Ok(Claim::Work),
            mode => Err(format!("the device resizes to the nearest, not by {mode}")),
        },
        "Pad" if byte(input(0)) => match node.attrs.str("mode", "constant") {
            "constant" => Ok(Claim::Move),
            mode => Err(format!("the device pads with constants, not by {mode}")),
        },
        "Concat" | "Split" | "Slice" | "Transpose" if byte(input(0)) => Ok(Claim::Move),
        _ if matches!(node.op.lower, Lower::View) && byte(input(0)) && byte(out) => Ok(Claim::Move),
        _ => {
            let real =
                node.ins.iter().flatten().find(|&&v| {
                    g.konst(v).is_none() && g.ty(v).is_some_and(|t| t.dtype.is_float())
                });
            Err(match real {
                Some(&v) => format!(
                    "it computes with {} and the device with bytes",
                    name(dtype(Some(v)))
                ),
                None => "the device has no such command".into(),
            })
        }
    };
    answer.unwrap_or_else(Claim::No)
}

fn no(why: &str) -> Claim {
    Claim::No(why.into())
}

fn name(d: Option<DType>) -> String {
    d.map_or("nothing".into(), |d| d.to_string())
}

/// A convolution or product of bytes whose sums become bytes at once.
fn product(g: &Graph, n: NodeId, axis: usize) -> Result<Claim, String> {
    let node = g.node(n);
    let input = |k: usize| node.ins.get(k).copied().flatten();
    let conv = node.op.name == "ConvInteger";
    let weights = input(1).and_then(|v| g.konst(v));
    if conv {
        let rank = input(0).and_then(|v| g.ty(v)).map_or(0, |t| t.rank());
        if !(3..=4).contains(&rank) {
            return Err(format!(
                "the device convolves images and rows, not {} axes",
                rank
            ));
        }
        if weights.is_none() {
            return Err("its weights are no constants".into());
        }
    }
    if let Some(z) = input(2)
        && constant(g, z).is_none_or(|z| z.len() != 1)
    {
        return Err("the zero point of its input is no single constant".into());
    }
    for k in [3, 4] {
        if let Some(z) = input(k)
            && constant(g, z).is_none()
        {
            return Err(
                "the zero points of its weights, or what its sums begin with, are no constants"
                    .into(),
            );
        }
    }
    chain(g, node.outs[0], axis).map(|_| Claim::Work)
}
