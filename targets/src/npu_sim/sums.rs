//! Sums and what becomes of them: a convolution, product or sum of 32 bits, a constant added to it, and what requantizes it, as one.

use onnxc_compiler::base::attr::Attrs;
use onnxc_compiler::base::rounding::Rounding;
use onnxc_compiler::base::tensor::Tensor;
use onnxc_compiler::graph::ir::{Graph, NodeId, ValueId};
use onnxc_compiler::ops::quantized::rounding;
use onnxc_sim::constants::Constants;
use onnxc_sim::format::{Elem, Finish, Limits};

/// What becomes of sums.
pub struct Chain {
    /// Added to the sum: none, one, or one for each channel.
    pub bias: Vec<i64>,
    /// What it is multiplied by: one, or one for each channel.
    pub scale: Vec<f64>,
    /// Added to the product: none, one, or one for each channel.
    pub offset: Vec<f64>,
    /// Attributes of what requantizes.
    pub attrs: Attrs,
    /// The result in bytes.
    pub out: ValueId,
    /// Nodes behind the one that makes the sums.
    pub nodes: Vec<NodeId>,
}

/// The chain behind sums whose channels lie on that axis.
pub fn chain(g: &Graph, sums: ValueId, axis: usize) -> Result<Chain, String> {
    let rank = g.ty(sums).map_or(0, |t| t.rank());
    let channels = g.ty(sums).and_then(|t| t.shape.get(axis)?.fixed());
    let mut v = sums;
    let mut nodes = vec![];
    let mut bias = vec![];
    loop {
        let [u] = g.users(v) else {
            return Err(
                "its sums are used in more than one place, and the device keeps none".into(),
            );
        };
        if g.is_output(v) {
            return Err("its sums leave the model, and the device keeps none".into());
        }
        let node = g.node(*u);
        let input = |k: usize| node.ins.get(k).copied().flatten();
        let list = |v: ValueId| -> Result<Vec<f64>, String> {
            let t = constant(g, v).ok_or("a scale or bias is no constant")?;
            per_channel(&t, rank, axis, channels)
                .ok_or_else(|| "a scale or bias is not that of channels".into())
        };
        match node.op.name {
            "Add" if bias.is_empty() && nodes.is_empty() => {
                let other = if input(0) == Some(v) {
                    input(1)
                } else {
                    input(0)
                };
                let other = other
                    .filter(|&o| o != v)
                    .ok_or("its sums are added to themselves")?;
                bias = list(other)?.into_iter().map(|b| b as i64).collect();
                nodes.push(*u);
                v = node.outs[0];
            }
            "Requantize" if input(0) == Some(v) => {
                nodes.push(*u);
                let shape = |v: ValueId| g.ty(v).map(|t| t.shape.clone());
                if shape(node.outs[0]) != shape(sums) {
                    return Err("its sums are repeated as they are requantized".into());
                }
                let less = node.attrs.int("zero_x", 0);
                if less != 0 {
                    bias = match bias.is_empty() {
                        true => vec![-less],
                        false => bias.iter().map(|b| b - less).collect(),
                    };
                }
                return Ok(Chain {
                    bias,
                    scale: input(1).map_or(Ok(vec![1.0]), list)?,
                    offset: input(2).map_or(Ok(vec![]), list)?,
                    attrs: node.attrs.clone(),
                    out: node.outs[0],
                    nodes,
                });
            }
            other => {
                return Err(format!(
                    "its sums go to {other}, and the device requantizes them at once"
                ));
            }
        }
    }
}

/// A constant.
pub fn constant(g: &Graph, v: ValueId) -> Option<Tensor> {
    g.konst(v).cloned()
}

/// The numbers of a constant that broadcasts to `rank` axes: one, or one for each channel.
fn per_channel(t: &Tensor, rank: usize, axis: usize, channels: Option<i64>) -> Option<Vec<f64>> {
    let all = t.to_f64s()?;
    if all.len() == 1 {
        return Some(all);
    }
    let from = rank.checked_sub(t.shape.len())?;
    let alone = t
        .shape
        .iter()
        .enumerate()
        .all(|(k, &n)| n == 1 || from + k == axis);
    (alone && Some(all.len() as i64) == channels).then_some(all)
}

/// Bounds of a result, as the operators over whole numbers have them in their attributes.
pub fn limits(attrs: &Attrs, elem: Elem) -> Limits {
    let least = i64::from(elem.least());
    let number =
        |name: &str, default: i64| attrs.int(name, default).clamp(-1 << 30, 1 << 30) as i32;
    Limits {
        zero: number("zero", 0),
        lo: number("lo", least),
        hi: number("hi", least + 255),
        up: rounding(attrs) == Rounding::Up,
    }
}

/// What follows sums, as the device has it.
pub fn finish(
    c: &Chain,
    elem: Elem,
    more: &[i64],
    constants: &mut Constants,
) -> Result<Finish, String> {
    let l = limits(&c.attrs, elem);
    let bias = added(&c.bias, more)?;
    Ok(Finish {
        bias: (!bias.is_empty()).then(|| constants.ints(&bias)),
        scale: constants.reals(&c.scale),
        offset: (!c.offset.is_empty()).then(|| constants.reals(&c.offset)),
        zero: l.zero,
        lo: l.lo,
        hi: l.hi,
        up: l.up,
    })
}

/// Two lists of one number, or one for each channel, or none, added.
fn added(a: &[i64], b: &[i64]) -> Result<Vec<i32>, String> {
    let n = a.len().max(b.len());
    let get = |l: &[i64], k: usize| match l {
        [] => 0,
        [one] => *one,
        l => l.get(k).copied().unwrap_or(0),
    };
    (0..n)
        .map(|k| {
            i32::try_from(get(a, k) + get(b, k))
                .map_err(|_| "what is added to a sum leaves 32 bits".to_string())
        })
        .collect()
}
