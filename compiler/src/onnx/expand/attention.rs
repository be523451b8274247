//! Scaled dot product attention: Attention (ai.onnx 23 and 24) and MultiHeadAttention (com.microsoft). `embedding` has what optimizers of
//! BERT-like models make besides.
//!
//! `softmax(softcap(sqrt(s) Q * (sqrt(s) K)^T) + bias) * V`, where the bias sums the mask, the causal triangle and the
//! lengths of padded caches. Where several query heads share a key head, their rows stand below each other in one product.

use super::{Expansion, ExpandCx};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::graph::ir::ValueId;

/// Operators of this file.
pub const EXPANSIONS: &[Expansion] = &[
    super::onnx("Attention", 23, attention),
    Expansion {
        domain: "com.microsoft",
        name: "MultiHeadAttention",
        since: 1,
        until: 1,
        expand: multi_head,
    },
];

/// Heads apart: `[batch, heads, sequence, head size]`.
pub(super) struct Core {
    /// Queries.
    pub q: ValueId,
    /// Keys.
    pub k: ValueId,
    /// Values.
    pub v: ValueId,
    /// Of the products; 1 / sqrt(head size) if not given.
    pub scale: Option<f32>,
    /// Bound of the scores, 0: none.
    pub softcap: f32,
    /// Keys behind the query take no part.
    pub causal: bool,
    /// Added to the scores, or a bool mask of what takes part.
    pub mask: Option<ValueId>,
    /// Positions of keys before the first query.
    pub past: Option<ValueId>,
    /// Valid keys per sample.
    pub lengths: Option<ValueId>,
    /// Type of the softmax.
    pub precision: Option<DType>,
    /// `[1, heads or 1, 1, 1]`: one more score of each query, whose value is 0.
    pub sink: Option<ValueId>,
}

/// What the middle of the computation gives.
pub(super) struct Parts {
    /// The result, heads apart.
    pub y: ValueId,
    /// Raw scores, after softcap, after bias, after softmax.
    pub scores: [ValueId; 4],
}

fn attention(cx: &mut ExpandCx) -> Result<()> {
    let (q, k, v) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let flat = cx.ty(q)?.rank() == 3;
    let heads = (cx.attrs.opt_int("q_num_heads")?, cx.attrs.opt_int("kv_num_heads")?);
    let (q, mut k, mut v) = if flat {
        let (Some(qh), Some(kh)) = heads else {
            return Err(Diagnostic::model(
                "ONNX009",
                "inputs of 3 axes need `q_num_heads` and `kv_num_heads`",
            ));
        };
        (split_heads(cx, q, qh)?, split_heads(cx, k, kh)?, split_heads(cx, v, kh)?)
    } else {
        (q, k, v)
    };
    let (past_k, past_v) = (cx.opt(4), cx.opt(5));
    if let Some(p) = past_k {
        k = cx.concat(&[p, k], 2)?;
    }
    if let Some(p) = past_v {
        v = cx.concat(&[p, v], 2)?;
    }
    let core = Core {
        q,
        k,
        v,
        scale: cx.attrs.opt_float("scale")?,
        softcap: cx.attrs.float("softcap", 0.0)?,
        causal: cx.attrs.int("is_causal", 0)? != 0,
        mask: cx.opt(3),
        past: past_k,
        lengths: cx.opt(6),
        precision: cx.attrs.dtype("softmax_precision")?,
        sink: None,
    };
    let mode = cx.attrs.int("qk_matmul_output_mode", 0)?;
    let parts = attend(cx, &core)?;
    let y = if flat { join_heads(cx, parts.y)? } else { parts.y };
    cx.set(0, y);
    cx.set(1, k);
    cx.set(2, v);
    if cx.wants(3) {
        let Some(&s) = usize::try_from(mode).ok().and_then(|m| parts.scores.get(m)) else {
            return Err(Diagnostic::model(
                "ONNX009",
                format!("`qk_matmul_output_mode` = {mode} is none of 0 to 3"),
            ));
        };
        cx.set(3, s);
    }
    Ok(())
}

/// com.microsoft: inputs query, key, value, bias, key padding mask, attention bias, past key, past value.
fn multi_head(cx: &mut ExpandCx) -> Result<()> {
    let heads = cx.attrs.int("num_heads", 0)?;
    let scale = cx.attrs.opt_float("scale")?.filter(|s| *s != 0.0);
    let causal = cx.attrs.int("unidirectional", 0)? != 0;
    let filter = cx.attrs.float("mask_filter_value", -10000.0)?;
    if cx.ins.len() > 8 {
        return cx.attrs.unsupported("a shared cache is not supported");
    }
    let mut parts = [cx.input(0)?, cx.input(1)?, cx.input(2)?];
    for (i, p) in parts.iter_mut().enumerate() {
        if cx.ty(*p)?.rank() != 3 {
            if i > 0 && cx.ty(*p)?.rank() == 4 && cx.opt(3).is_none() {
                continue;
            }
            return cx.attrs.unsupported("packed query, key and value are not supported");
        }
        if let Some(b) = cx.opt(3) {
            let n = cx.fixed(*p, 2)?;
            let start: i64 = if i == 2 {
                cx.fixed(b, 0)?.saturating_sub(n)
            } else {
                n.saturating_mul(i as i64)
            };
            let b = cx.slice(b, 0, start, start.saturating_add(n))?;
            *p = cx.plain("Add", &[*p, b])?;
        }
        *p = split_heads(cx, *p, heads)?;
    }
    let [q, mut k, mut v] = parts;
    if let Some(p) = cx.opt(6) {
        k = cx.concat(&[p, k], 2)?;
    }
    if let Some(p) = cx.opt(7) {
        v = cx.concat(&[p, v], 2)?;
    }
    let mask = match cx.opt(4) {
        Some(m) => Some(super::embedding::padding(cx, m, k, filter)?),
        None => None,
    };
    let mask = super::embedding::sum(cx, mask, cx.opt(5))?;
    let core = Core {
        q,
        k,
        v,
        scale,
        softcap: 0.0,
        causal,
        mask,
        past: cx.opt(6),
        lengths: None,
        precision: None,
        sink: None,
    };
    let parts = attend(cx, &core)?;
    let y = join_heads(cx, parts.y)?;
    cx.set(0, y);
    cx.set(1, k);
    cx.set(2, v);
    cx.set(3, parts.scores[0]);
    Ok(())
}

/// `[batch, sequence, heads * size]` to `[batch, heads, sequence, size]`.
pub(super) fn split_heads(cx: &mut ExpandCx, x: ValueId, heads: i64) -> Result<ValueId> {
    if heads < 1 {
        return Err(Diagnostic::model("ONNX009", format!("{heads} heads")));
    }
    let x = cx.reshape(x, &[0, 0, heads, -1])?;
    cx.transpose(x, &[0, 2, 1, 3])
}

/// The way back.
pub(super) fn join_heads(cx: &mut ExpandCx, x: ValueId) -> Result<ValueId> {
    let x = cx.transpose(x, &[0, 2, 1, 3])?;
    cx.reshape(x, &[0, 0, -1])
}

/// The rows of queries that share a key head below each other, or apart again: `[batch, heads, queries * times, columns]`. `like`: a value whose
/// axis `axis` has as many columns.
fn rows_of(
    cx: &mut ExpandCx,
    x: ValueId,
    (heads, times): (i64, i64),
    queries: ValueId,
    (like, axis): (ValueId, usize),
) -> Result<ValueId> {
    if let Some(columns) = cx.ty(like)?.shape[axis].fixed() {
        return cx.reshape(x, &[0, heads, -1, columns]);
    }
    if let Some(rows) = cx.ty(queries)?.shape[2].fixed() {
        return cx.reshape(x, &[0, heads, rows.saturating_mul(times), -1]);
    }
    let (first, times) = (cx.list(&[0, heads]), cx.list(&[times]));
    let rows = cx.size_of(queries, 2)?;
    let rows = cx.plain("Mul", &[rows, times])?;
    let columns = cx.size_of(like, axis as i64)?;
    let shape = cx.concat(&[first, rows, columns], 0)?;
    cx.plain("Reshape", &[x, shape])
}

/// The computation with heads apart.
pub(super) fn attend(cx: &mut ExpandCx, c: &Core) -> Result<Parts> {
    let dtype = cx.ty(c.q)?.dtype;
    if cx.ty(c.q)?.rank() != 4 || cx.ty(c.k)?.rank() != 4 || cx.ty(c.v)?.rank() != 4 {
        return Err(Diagnostic::model("ONNX010", "query, key and value must have 3 or 4 axes"));
    }
    let (qh, kh) = (cx.fixed(c.q, 1)?, cx.fixed(c.k, 1)?);
    let (k, v) = (c.k, c.v);
    let shared = qh != kh;
    if shared && (kh < 1 || qh % kh != 0) {
        return Err(Diagnostic::model(
            "ONNX010",
            format!("{qh} query heads can't share {kh} key heads"),
        ));
    }
    let (joined, apart) = ((kh, if shared { qh / kh } else { 1 }), (qh, 1));
    let scale = match c.scale {
        Some(s) => f64::from(s),
        None => 1.0 / libm::sqrt(cx.fixed(c.q, 3)?.max(1) as f64),
    };
    // Both factors get the root of the scale, so that products of narrow floats stay in range; others need it once.
    let wide = dtype == DType::F32;
    let root = cx.scalar(dtype, if wide { scale } else { libm::sqrt(scale) });
    let mut q = cx.plain("Mul", &[c.q, root])?;
    if shared {
        q = rows_of(cx, q, joined, c.q, (c.q, 3))?;
    }
    let mut kt = cx.transpose(k, &[0, 1, 3, 2])?;
    if !wide {
        kt = cx.plain("Mul", &[kt, root])?;
    }
    let mut raw = cx.plain("MatMul", &[q, kt])?;
    if shared {
        raw = rows_of(cx, raw, apart, c.q, (k, 2))?;
    }
    let mut capped = raw;
    if c.softcap > 0.0 {
        let cap = cx.scalar(dtype, f64::from(c.softcap));
        let x = cx.plain("Div", &[raw, cap])?;
        let x = cx.plain("Tanh", &[x])?;
        capped = cx.plain("Mul", &[x, cap])?;
    }
    let mut biased = capped;
    for b in biases(cx, c, dtype)? {
        biased = cx.plain("Add", &[biased, b])?;
    }
    let precision = c.precision.unwrap_or(dtype);
    let x = cast(cx, biased, dtype, precision)?;
    let soft = match c.sink {
        Some(sink) => {
            let sink = cast(cx, sink, dtype, precision)?;
            sunk_softmax(cx, x, sink)?
        }
        None => cx.op("Softmax", &[x], last_axis())?,
    };
    let soft = cast(cx, soft, precision, dtype)?;
    let to = cx.ty(v)?.dtype;
    let mut weights = cast(cx, soft, dtype, to)?;
    if shared {
        weights = rows_of(cx, weights, joined, c.q, (k, 2))?;
    }
    let mut y = cx.plain("MatMul", &[weights, v])?;
    if shared {
        y = rows_of(cx, y, apart, c.q, (v, 3))?;
    }
    let y = cast(cx, y, to, dtype)?;
    Ok(Parts {
        y,
        scores: [raw, capped, biased, soft],
    })
}

fn last_axis() -> Attrs {
    Attrs::default().with("axis", Attr::Int(-1))
}

/// Softmax of scores and one more, which is left out afterwards.
fn sunk_softmax(cx: &mut ExpandCx, scores: ValueId, sink: ValueId) -> Result<ValueId> {
    let size = cx.shape_of(scores)?;
    let rows = cx.slice(size, 0, 0, 3)?;
    let one = cx.list(&[1]);
    let rows = cx.concat(&[rows, one], 0)?;
    let sink = cx.plain("Expand", &[sink, rows])?;
    let all = cx.concat(&[sink, scores], 3)?;
    let soft = cx.op("Softmax", &[all], last_axis())?;
    cx.slice(soft, 3, 1, i64::MAX)
}

fn cast(cx: &mut ExpandCx, x: ValueId, from: DType, to: DType) -> Result<ValueId> {
    if from == to { Ok(x) } else { cx.cast(x, to) }
}

/// What is added to the scores.
fn biases(cx: &mut ExpandCx, c: &Core, dtype: DType) -> Result<Vec<ValueId>> {
    let mut out = vec![];
    let zero = cx.scalar(dtype, 0.0);
    let never = cx.scalar(dtype, f64::NEG_INFINITY);
    if let Some(mut m) = c.mask {
        let ty = cx.ty(m)?;
        if ty.dtype == DType::Bool {
            m = cx.plain("Where", &[m, zero, never])?;
        }
        // A mask may end before the keys do: what it leaves out takes no part.
        let have = ty.shape.last().cloned();
        let want = cx.ty(c.k)?.shape[2].clone();
        if let (Some(have), Some(want)) = (have.as_ref().and_then(|d| d.fixed()), want.fixed())
            && have < want
            && have > 0
        {
            let mut pads = vec![0; 2 * ty.rank()];
            pads[2 * ty.rank() - 1] = want - have;
            let pads = cx.list(&pads);
            m = cx.plain("Pad", &[m, pads, never])?;
        }
        out.push(m);
    }
    let keys = if c.causal || c.lengths.is_some() {
        Some(positions(cx, c.k, 2)?)
    } else {
        None
    };
    if let Some(keys) = keys.filter(|_| c.causal) {
        let mut rows = positions(cx, c.q, 2)?;
        if let Some(p) = c.past {
            let n = cx.size_of(p, 2)?;
            rows = cx.plain("Add", &[rows, n])?;
        }
        let axis = cx.list(&[1]);
        let rows = cx.plain("Unsqueeze", &[rows, axis])?;
        let later = cx.plain("Greater", &[keys, rows])?;
        out.push(cx.plain("Where", &[later, never, zero])?);
    }
    if let (Some(keys), Some(lengths)) = (keys, c.lengths) {
        let axes = cx.list(&[1, 2, 3]);
        let lengths = cx.cast(lengths, DType::I64)?;
        let lengths = cx.plain("Unsqueeze", &[lengths, axes])?;
        let valid = cx.plain("Less", &[keys, lengths])?;
        out.push(cx.plain("Where", &[valid, zero, never])?);
    }
    Ok(out)
}

/// 0, 1, ... along an axis of a value.
pub(super) fn positions(cx: &mut ExpandCx, x: ValueId, axis: usize) -> Result<ValueId> {
    let (start, step) = (cx.scalar(DType::I64, 0.0), cx.scalar(DType::I64, 1.0));
    let end = match cx.ty(x)?.shape[axis].fixed() {
        Some(n) => cx.konst(Tensor::i64(&[], &[n])),
        None => {
            let n = cx.size_of(x, axis as i64)?;
            let axis = cx.list(&[0]);
            cx.plain("Squeeze", &[n, axis])?
        }
    };
    cx.plain("Range", &[start, end, step])
}
