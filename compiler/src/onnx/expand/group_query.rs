//! GroupQueryAttention (com.microsoft): what writers of language models make of attention with rotary positions and caches.
//!
//! A cache is `[batch, key heads, past, head size]`. What stands behind the valid keys of a sample is room: new keys are written behind
//! the valid ones, so that a cache as long as the longest text and one that grows by each run are the same thing.

use super::attention::{Core, attend, join_heads, positions, split_heads};
use super::rotary::{Turn, turned};
use super::{Expansion, ExpandCx};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::graph::ir::ValueId;

/// Operators of this file.
pub const EXPANSIONS: &[Expansion] = &[Expansion {
    domain: "com.microsoft",
    name: "GroupQueryAttention",
    since: 1,
    until: 1,
    expand: group_query,
}];

/// Inputs: query (or all three in a row), key, value, past key, past value, last valid position of each sample, keys of the longest sample,
/// cosines, sines, positions, attention bias, sinks of heads, scales of key and value, weights of norms of query and key.
/// Outputs: y, present key, present value.
fn group_query(cx: &mut ExpandCx) -> Result<()> {
    let heads = cx.attrs.int("num_heads", 0)?;
    let shared = cx.attrs.int("kv_num_heads", 0)?;
    if heads < 1 || shared < 1 {
        return Err(Diagnostic::model("ONNX009", format!("{heads} heads, {shared} of keys")));
    }
    refuse(cx)?;
    let scale = cx.attrs.opt_float("scale")?.filter(|s| *s != 0.0);
    let softcap = cx.attrs.float("softcap", 0.0)?;
    let window = cx.attrs.int("local_window_size", -1)?;
    let causal = cx.attrs.int("causal", 1)? != 0;
    let rotary = cx.attrs.int("do_rotary", 0)? != 0;
    let interleaved = cx.attrs.int("rotary_interleaved", 0)? != 0;
    let smooth = cx.attrs.int("smooth_softmax", 0)? > 0;
    let either = cx.attrs.float("qk_norm_epsilon", 1e-6)?;
    let epsilons =
        [cx.attrs.float("q_norm_epsilon", either)?, cx.attrs.float("k_norm_epsilon", either)?];

    let [q, k, v] = apart(cx, heads, shared)?;
    let past = Past::of(cx, q)?;
    let (q, k) = (normed(cx, q, 14, epsilons[0])?, normed(cx, k, 15, epsilons[1])?);
    let (q, k) = if rotary {
        let turn = Turn {
            cos: cx.input(7)?,
            sin: cx.input(8)?,
            positions: Some(match cx.opt(9) {
                Some(given) => given,
                None => past.queries,
            }),
            interleaved,
            part: 0,
        };
        let part = 2 * cx.fixed(turn.cos, 1)?;
        let turn = Turn { part, ..turn };
        (turned(cx, q, &turn)?, turned(cx, k, &turn)?)
    } else {
        (q, k)
    };
    let (mut k, mut v) = (past.with(cx, k, 3)?, past.with(cx, v, 4)?);
    for (output, cache) in [(1, k), (2, v)] {
        let present = past.present(cx, cache)?;
        cx.set(output, present);
    }
    // A bias has columns for the longest sample alone.
    let bias = cx.opt(10);
    if bias.is_some() {
        let all = cx.list(&[0]);
        let (end, axis) = (past.total, cx.list(&[2]));
        k = cx.plain("Slice", &[k, all, end, axis])?;
        v = cx.plain("Slice", &[v, all, end, axis])?;
    }
    let mask = past.mask(cx, k, causal, window)?;
    let mask = super::embedding::sum(cx, Some(mask), bias)?;
    let dtype = cx.ty(q)?.dtype;
    let sink = match cx.opt(11) {
        Some(s) => Some(cx.reshape(s, &[1, heads, 1, 1])?),
        None if smooth => Some(cx.konst(Tensor::from_f64s(dtype, &[1, 1, 1, 1], &[0.0]))),
        None => None,
    };
    let core = Core {
        q,
        k,
        v,
        scale,
        softcap,
        causal: false,
        mask,
        past: None,
        lengths: None,
        precision: None,
        sink,
    };
    let parts = attend(cx, &core)?;
    let y = join_heads(cx, parts.y)?;
    cx.set(0, y);
    Ok(())
}

/// Caches of whole numbers and those that turn around are refused.
fn refuse(cx: &mut ExpandCx) -> Result<()> {
    for name in ["k_quant_type", "v_quant_type"] {
        let kind = cx.attrs.opt_str(name)?;
        if kind.is_some_and(|k| k != "NONE") {
            return cx.attrs.unsupported("quantized caches are not supported");
        }
    }
    if cx.attrs.int("kv_cache_bit_width", 0)? != 0 || cx.opt(12).is_some() || cx.opt(13).is_some() {
        return cx.attrs.unsupported("quantized caches are not supported");
    }
    if cx.attrs.int("sliding_window_cache", 0)? != 0 || cx.opt(16).is_some() {
        return cx.attrs.unsupported("caches that turn around are not supported");
    }
    if cx.attrs.int("qk_output", 0)? > 0 || cx.wants(3) {
        return cx.attrs.unsupported("scores as an output are not supported");
    }
    Ok(())
}

/// Query, key and value with their heads apart: `[batch, heads, sequence, head size]`.
fn apart(cx: &mut ExpandCx, heads: i64, shared: i64) -> Result<[ValueId; 3]> {
    let q = cx.input(0)?;
    if let Some(k) = cx.opt(1) {
        let v = cx.input(2)?;
        return Ok([
            split_heads(cx, q, heads)?,
            split_heads(cx, k, shared)?,
            split_heads(cx, v, shared)?,
        ]);
    }
    let all = shared.checked_mul(2).and_then(|n| n.checked_add(heads));
    let all = all.ok_or_else(|| Diagnostic::model("ONNX009", format!("{heads} heads")))?;
    let x = split_heads(cx, q, all)?;
    Ok([
        cx.slice(x, 1, 0, heads)?,
        cx.slice(x, 1, heads, heads + shared)?,
        cx.slice(x, 1, heads + shared, all)?,
    ])
}

/// Root mean square norms of heads, where input `i` has weights.
fn normed(cx: &mut ExpandCx, x: ValueId, i: usize, epsilon: f32) -> Result<ValueId> {
    let Some(weights) = cx.opt(i) else {
        return Ok(x);
    };
    let attrs = Attrs::default()
        .with("axis", Attr::Int(-1))
        .with("epsilon", Attr::Float(epsilon));
    cx.op("RMSNormalization", &[x, weights], attrs)
}

/// What the caches hold.
struct Past {
    /// Valid keys of each sample before the first new one: `[batch]`.
    valid: ValueId,
    /// Positions of the queries: `[batch, sequence]`.
    queries: ValueId,
    /// Keys of the longest sample, new ones too: a list of one.
    total: ValueId,
}

impl Past {
    /// `q`: queries, heads apart.
    fn of(cx: &mut ExpandCx, q: ValueId) -> Result<Past> {
        let (last, total) = (cx.input(5)?, cx.input(6)?);
        let last = cx.cast(last, DType::I64)?;
        let last = cx.reshape(last, &[-1])?;
        let total = cx.cast(total, DType::I64)?;
        let total = cx.reshape(total, &[1])?;
        let new = cx.size_of(q, 2)?;
        let (zero, one) = (cx.list(&[0]), cx.list(&[1]));
        // The first run of all has no past, though samples may be shorter than the longest.
        let first = cx.plain("Equal", &[total, new])?;
        let earlier = cx.plain("Sub", &[last, new])?;
        let earlier = cx.plain("Add", &[earlier, one])?;
        let valid = cx.plain("Where", &[first, zero, earlier])?;
        let at = positions(cx, q, 2)?;
        let start = cx.plain("Unsqueeze", &[valid, one])?;
        let queries = cx.plain("Add", &[start, at])?;
        Ok(Past {
            valid,
            queries,
            total,
        })
    }

    /// The cache of input `i` with new rows written behind the valid ones, and room behind them: past and sequence together.
    fn with(&self, cx: &mut ExpandCx, new: ValueId, i: usize) -> Result<ValueId> {
        let Some(past) = cx.opt(i) else {
            return Ok(new);
        };
        if cx.ty(past)?.rank() != 4 {
            return Err(Diagnostic::model("ONNX010", "a cache must have 4 axes"));
        }
        if cx.ty(past)?.shape[2].fixed() == Some(0) {
            return Ok(new);
        }
        let room = cx.plain("Sub", &[new, new])?;
        let cache = cx.concat(&[past, room], 2)?;
        cx.plain("TensorScatter", &[cache, new, self.valid])
    }

    /// What the next run gets: as long as the cache was, or longer where the longest sample is.
    fn present(&self, cx: &mut ExpandCx, cache: ValueId) -> Result<ValueId> {
        let Some(past) = cx.opt(3) else {
            return Ok(cache);
        };
        let had = cx.size_of(past, 2)?;
        let end = cx.plain("Max", &[had, self.total])?;
        let (start, axis) = (cx.list(&[0]), cx.list(&[2]));
        cx.plain("Slice", &[cache, start, end, axis])
    }

    /// Added to scores `[batch, 1, sequence, keys]`: nothing for the keys up to a query, of which a window leaves the last ones.
    fn mask(&self, cx: &mut ExpandCx, k: ValueId, causal: bool, window: i64) -> Result<ValueId> {
        let dtype = cx.ty(k)?.dtype;
        let keys = positions(cx, k, 2)?;
        let axes = cx.list(&[1, 3]);
        let at = cx.plain("Unsqueeze", &[self.queries, axes])?;
        let mut taken = if causal {
            cx.plain("LessOrEqual", &[keys, at])?
        } else {
            let (new, axes) = (cx.size_of(self.queries, 1)?, cx.list(&[1, 2, 3]));
            let end = cx.plain("Add", &[self.valid, new])?;
            let end = cx.plain("Unsqueeze", &[end, axes])?;
            cx.plain("Less", &[keys, end])?
        };
        if window >= 0 {
            let window = cx.list(&[window]);
            let before = cx.plain("Sub", &[at, window])?;
            let near = cx.plain("Greater", &[keys, before])?;
            taken = cx.plain("And", &[taken, near])?;
        }
        let (zero, never) = (cx.scalar(dtype, 0.0), cx.scalar(dtype, f64::NEG_INFINITY));
        cx.plain("Where", &[taken, zero, never])
    }
}
