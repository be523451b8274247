//! LinearAttention: a matrix of state per head, decayed, corrected, written and read at every position.
//!
//! Positions are spelled out one after the other, so their number must be known; a decoding step has one.

use super::{Expansion, ExpandCx};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::graph::ir::ValueId;

/// Operators of this file.
pub const EXPANSIONS: &[Expansion] = &[super::onnx("LinearAttention", 27, linear_attention)];

/// Most positions that are spelled out.
const MAX_STEPS: i64 = 256;

/// `[batch, time, heads * size]` to f32 `[batch, heads, time, size]`.
fn unpack(cx: &mut ExpandCx, x: ValueId, heads: i64) -> Result<ValueId> {
    let ty = cx.ty(x)?;
    if ty.rank() != 3 {
        return Err(Diagnostic::model("ONNX010", "inputs must have 3 axes"));
    }
    let x = if ty.dtype == DType::F32 { x } else { cx.cast(x, DType::F32)? };
    let x = cx.reshape(x, &[0, 0, heads, -1])?;
    cx.transpose(x, &[0, 2, 1, 3])
}

fn linear_attention(cx: &mut ExpandCx) -> Result<()> {
    let (q, k, v) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (past, decay, beta) = (cx.opt(3), cx.opt(4), cx.opt(5));
    cx.attrs.ignore("chunk_size");
    let rule = cx.attrs.str("update_rule", "gated_delta")?;
    let (qh, kh) = (cx.attrs.int("q_num_heads", 0)?, cx.attrs.int("kv_num_heads", 0)?);
    let scale = cx.attrs.float("scale", 0.0)?;
    let (gated, delta) = match rule.as_str() {
        "linear" => (false, false),
        "gated" => (true, false),
        "delta" => (false, true),
        "gated_delta" => (true, true),
        r => return Err(Diagnostic::model("ONNX009", format!("`update_rule` = {r:?}"))),
    };
    if gated != decay.is_some() || delta != beta.is_some() {
        return Err(Diagnostic::model("ONNX009", format!("the rule {rule:?} does not fit the inputs")));
    }
    if kh < 1 || qh < 1 || qh % kh != 0 {
        return Err(Diagnostic::model("ONNX009", format!("{qh} query heads over {kh} heads")));
    }
    let dtype = cx.ty(q)?.dtype;
    let (batch, time) = (cx.fixed(q, 0)?, cx.fixed(q, 1)?);
    if !(1..=MAX_STEPS).contains(&time) {
        return cx.attrs.unsupported(format!("{time} positions; 1 to {MAX_STEPS} are supported"));
    }
    let (q, k, v) = (unpack(cx, q, qh)?, unpack(cx, k, kh)?, unpack(cx, v, kh)?);
    let (dk, dv) = (cx.fixed(k, 3)?, cx.fixed(v, 3)?);
    let decay = match decay {
        Some(d) => Some(unpack(cx, d, kh)?),
        None => None,
    };
    let beta = match beta {
        Some(b) => {
            let heads = cx.fixed(b, 2)?;
            Some(unpack(cx, b, heads)?)
        }
        None => None,
    };
    let state_type = match past {
        Some(p) => cx.ty(p)?.dtype,
        None => dtype,
    };
    let mut state = match past {
        Some(p) if state_type == DType::F32 => p,
        Some(p) => cx.cast(p, DType::F32)?,
        None => {
            let zeros = Tensor::zeros(DType::F32, vec![batch, kh, dk, dv])?;
            cx.konst(zeros)
        }
    };
    let scale = match scale {
        0.0 => 1.0 / libm::sqrt(dk.max(1) as f64),
        s => f64::from(s),
    };
    let scale = cx.scalar(DType::F32, scale);
    let mut outs = vec![];
    for t in 0..time {
        // Rows [batch, heads, 1, size], columns [batch, heads, size, 1].
        let row = |cx: &mut ExpandCx, x| cx.slice(x, 2, t, t + 1);
        let kt = row(cx, k)?;
        let mut vt = row(cx, v)?;
        if let Some(d) = decay {
            let g = row(cx, d)?;
            let g = cx.plain("Exp", &[g])?;
            let g = cx.transpose(g, &[0, 1, 3, 2])?;
            state = cx.plain("Mul", &[state, g])?;
        }
        if let Some(b) = beta {
            let known = cx.plain("MatMul", &[kt, state])?;
            let new = cx.plain("Sub", &[vt, known])?;
            let bt = row(cx, b)?;
            vt = cx.plain("Mul", &[bt, new])?;
        }
        let kc = cx.transpose(kt, &[0, 1, 3, 2])?;
        let written = cx.plain("Mul", &[kc, vt])?;
        state = cx.plain("Add", &[state, written])?;
        let mut qt = row(cx, q)?;
        // Query heads that share a state are rows of one product.
        let group = qh / kh;
        if group > 1 {
            let size = cx.fixed(q, 3)?;
            qt = cx.reshape(qt, &[0, kh, group, size])?;
        }
        let y = cx.plain("MatMul", &[qt, state])?;
        let y = cx.plain("Mul", &[y, scale])?;
        outs.push(cx.reshape(y, &[0, qh, 1, dv])?);
    }
    let y = if outs.len() == 1 { outs[0] } else { cx.concat(&outs, 2)? };
    let y = cx.transpose(y, &[0, 2, 1, 3])?;
    let mut y = cx.reshape(y, &[0, 0, -1])?;
    if dtype != DType::F32 {
        y = cx.cast(y, dtype)?;
    }
    cx.set(0, y);
    if state_type != DType::F32 {
        state = cx.cast(state, state_type)?;
    }
    cx.set(1, state);
    Ok(())
}
