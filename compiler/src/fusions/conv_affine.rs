//! A Conv or ConvTranspose with constant weights takes in what follows it per channel: BatchNormalization, a product
//! with a constant, the sum with a constant.
//!
//! Weights and bias are scaled in f64 and rounded once.

use super::engine::*;
use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::graph::ir::{Graph, NodeId, ValueId};
use crate::pass::{Pass, PassCx};

/// The fusion.
pub static PASS: Pass = Pass {
    name: "conv_affine",
    doc: "a Conv takes in the BatchNormalization, scale or bias behind it",
    run,
};

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    for conv in ["Conv", "ConvTranspose"] {
        let c = || op(conv, [any("x"), konst("w")]).named("conv");
        let patterns = [
            Pat::Op(
                "BatchNormalization",
                vec![
                    c(),
                    konst("scale"),
                    konst("bias"),
                    konst("mean"),
                    konst("variance"),
                ],
                Some("norm"),
            ),
            c() * konst("factor"),
            c() + konst("term"),
        ];
        rewrite(g, cx, &patterns, |g, cx, m| fold(g, cx, m, conv))?;
    }
    Ok(())
}

fn fold(g: &mut Graph, cx: &mut PassCx, m: &Match, conv: &str) -> Result<Outcome> {
    let skip = |why: &str| Ok(Outcome::Skip(why.to_string()));
    let n = m.node("conv")?;
    let node = g.node(n);
    if node.attrs.get("activation").is_some() || node.ins.iter().skip(3).any(Option::is_some) {
        return skip("the Conv has an activation or a sum of its own");
    }
    let group = g.node(n).attrs.int("group", 1).max(1);
    let Some(w) = g
        .konst(m.value("w")?)
        .cloned()
        .filter(|w| w.dtype == DType::F32 && w.shape.len() >= 3)
    else {
        return skip("the weights are not f32");
    };
    let channels = if conv == "Conv" {
        w.shape[0]
    } else {
        w.shape[1] * group
    };
    let (Some(factor), Some(term)) = (factors(g, m, channels)?, terms(g, m, channels)?) else {
        return skip("the constant is not one number per channel");
    };
    let bias = match g.node(n).ins.get(2).copied().flatten() {
        None => vec![0.0; channels as usize],
        Some(v) => match g.konst(v).and_then(|t| t.to_f64s()) {
            Some(b) if b.len() == channels as usize => b,
            _ => return skip("the bias is not a constant"),
        },
    };
    let had_bias = g.node(n).ins.get(2).is_some_and(Option::is_some);
    let bias: Vec<f32> = (0..channels as usize)
        .map(|c| (bias[c] * factor[c] + term[c]) as f32)
        .collect();
    let mut values = w.to_f32s().unwrap_or_default();
    if factor.iter().any(|&f| f != 1.0) {
        let per = (w.len() / w.shape[0].max(1) as usize).max(1);
        // Conv: [out, in/group, kernel]. ConvTranspose: [in, out/group, kernel], the inputs divided into groups.
        let taps: usize = w.shape[2..].iter().product::<i64>() as usize;
        let (outs, ins) = (w.shape[1] as usize, w.shape[0] as usize / group as usize);
        for (i, v) in values.iter_mut().enumerate() {
            let c = if conv == "Conv" {
                i / per
            } else {
                (i / per / ins.max(1)) * outs + (i / taps.max(1)) % outs
            };
            *v = (*v as f64 * factor[c]) as f32;
        }
    }
    let name = g.value(m.value("w")?).name.clone();
    let weights = g.add_const(&name, Tensor::f32(&w.shape, &values));
    let bias = (had_bias || bias.iter().any(|&b| b != 0.0))
        .then(|| g.add_const(&format!("{name}_bias"), Tensor::f32(&[channels], &bias)));
    let attrs = g.node(n).attrs.clone();
    let mut ins = vec![Some(m.value("x")?), Some(weights)];
    ins.extend(bias.map(Some));
    let loc = place(g, m);
    Ok(Outcome::Replace(make(
        g,
        cx,
        m.root(),
        conv,
        attrs,
        &ins,
        loc,
    )?))
}

/// The factor of every channel.
fn factors(g: &Graph, m: &Match, channels: i64) -> Result<Option<Vec<f64>>> {
    if let Ok(norm) = m.node("norm") {
        return Ok(batch_norm(g, m, norm, channels)?.map(|(f, _)| f));
    }
    match m.value("factor") {
        Ok(v) => Ok(per_channel(g, v, m.root(), channels)),
        Err(_) => Ok(Some(vec![1.0; channels as usize])),
    }
}

/// What is added to every channel, after the factor.
fn terms(g: &Graph, m: &Match, channels: i64) -> Result<Option<Vec<f64>>> {
    if let Ok(norm) = m.node("norm") {
        return Ok(batch_norm(g, m, norm, channels)?.map(|(_, t)| t));
    }
    match m.value("term") {
        Ok(v) => Ok(per_channel(g, v, m.root(), channels)),
        Err(_) => Ok(Some(vec![0.0; channels as usize])),
    }
}

/// What a BatchNormalization whose lists are `scale`, `bias`, `mean`, `variance` in the match does to each channel: a factor and a term.
pub(super) fn batch_norm(
    g: &Graph,
    m: &Match,
    norm: NodeId,
    channels: i64,
) -> Result<Option<(Vec<f64>, Vec<f64>)>> {
    let list = |name| -> Result<Vec<f64>> {
        Ok(g.konst(m.value(name)?)
            .and_then(|t| t.to_f64s())
            .unwrap_or_default())
    };
    let (scale, bias, mean, var) = (
        list("scale")?,
        list("bias")?,
        list("mean")?,
        list("variance")?,
    );
    let node = g.node(norm);
    if [&scale, &bias, &mean, &var]
        .iter()
        .any(|l| l.len() != channels as usize)
        || node.attrs.flag("training_mode")
        || node.outs[1..].iter().any(|&v| g.is_used(v))
    {
        return Ok(None);
    }
    let epsilon = node.attrs.float("epsilon", 1e-5) as f64;
    let f: Vec<f64> = scale
        .iter()
        .zip(&var)
        .map(|(s, v)| s / (v + epsilon).sqrt())
        .collect();
    let t = (0..f.len()).map(|c| bias[c] - mean[c] * f[c]).collect();
    Ok(Some((f, t)))
}

/// A constant that broadcasts along the channel axis alone.
fn per_channel(g: &Graph, v: ValueId, root: NodeId, channels: i64) -> Option<Vec<f64>> {
    let rank = g.ty(g.node(root).outs[0])?.rank();
    let t = g.konst(v).filter(|t| t.dtype == DType::F32)?;
    let values = t.to_f64s()?;
    if values.len() == 1 && t.shape.len() <= rank {
        return Some(vec![values[0]; channels as usize]);
    }
    // Aligned at the end: the channel axis is the second of the output.
    let skip = rank.checked_sub(t.shape.len())?;
    let fits = t
        .shape
        .iter()
        .enumerate()
        .all(|(i, &d)| if i + skip == 1 { d == channels } else { d == 1 });
    (fits && skip <= 1).then_some(values)
}
