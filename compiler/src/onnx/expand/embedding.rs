//! What optimizers make of BERT-like models (com.microsoft): EmbedLayerNormalization, and Attention, which multiplies with the packed weights of
//! queries, keys and values itself.

use super::attention::{Core, attend, join_heads, positions, split_heads};
use super::{Expansion, ExpandCx};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::graph::ir::ValueId;

/// Operators of this file.
pub const EXPANSIONS: &[Expansion] = &[
    Expansion {
        domain: "com.microsoft",
        name: "Attention",
        since: 1,
        until: 1,
        expand: packed,
    },
    Expansion {
        domain: "com.microsoft",
        name: "EmbedLayerNormalization",
        since: 1,
        until: 1,
        expand: embed,
    },
];

/// Inputs: x `[batch, sequence, features]`, weights, bias, mask, past `[2, batch, heads, past, head size]`, attention bias, length of the past
/// in a shared cache. Outputs: y, present.
fn packed(cx: &mut ExpandCx) -> Result<()> {
    if cx.opt(6).is_some() {
        return cx.attrs.unsupported("shared caches are not supported");
    }
    let (x, w) = (cx.input(0)?, cx.input(1)?);
    let mut x = cx.plain("MatMul", &[x, w])?;
    if let Some(bias) = cx.opt(2) {
        x = cx.plain("Add", &[x, bias])?;
    }
    let (mask, past, bias) = (cx.opt(3), cx.opt(4), cx.opt(5));
    of_products(cx, x, mask, past, bias)
}

/// The same from the products: queries, keys and values side by side. The attributes are those of the node.
pub(super) fn of_products(
    cx: &mut ExpandCx,
    x: ValueId,
    mask: Option<ValueId>,
    past: Option<ValueId>,
    bias: Option<ValueId>,
) -> Result<()> {
    let heads = cx.attrs.int("num_heads", 0)?;
    let causal = cx.attrs.int("unidirectional", 0)? != 0;
    let scale = cx.attrs.opt_float("scale")?.filter(|s| *s != 0.0);
    let filter = cx.attrs.float("mask_filter_value", -10000.0)?;
    let sizes = cx.attrs.ints("qkv_hidden_sizes")?.unwrap_or_default();
    let rotary = cx.attrs.int("do_rotary", 0)? != 0;
    cx.attrs.ignore("rotary_embedding_dim");
    if rotary || cx.attrs.int("past_present_share_buffer", 0)? != 0 {
        return cx.attrs.unsupported("rotary embeddings and shared caches are not supported");
    }
    let all = cx.fixed(x, 2)?;
    let ends = match sizes.as_slice() {
        [] if all % 3 == 0 => [all / 3, all / 3 * 2, all],
        [q, k, v] if q.checked_add(*k).and_then(|n| n.checked_add(*v)) == Some(all) => {
            [*q, q + k, all]
        }
        _ => {
            return Err(Diagnostic::model(
                "ONNX010",
                format!("{all} columns of weights are not those of query, key and value"),
            ));
        }
    };
    let mut parts = [x; 3];
    let mut start = 0;
    for (part, end) in parts.iter_mut().zip(ends) {
        let own = cx.slice(x, 2, start, end)?;
        *part = split_heads(cx, own, heads)?;
        start = end;
    }
    let [q, mut k, mut v] = parts;
    let first = cx.list(&[0]);
    let mut earlier = None;
    if let Some(p) = past {
        for (i, to) in [&mut k, &mut v].into_iter().enumerate() {
            let one = cx.slice(p, 0, i as i64, i as i64 + 1)?;
            let one = cx.plain("Squeeze", &[one, first])?;
            earlier = earlier.or(Some(one));
            *to = cx.concat(&[one, *to], 2)?;
        }
    }
    let mask = match mask {
        Some(m) => Some(padding(cx, m, k, filter)?),
        None => None,
    };
    let mask = sum(cx, mask, bias)?;
    let core = Core {
        q,
        k,
        v,
        scale,
        softcap: 0.0,
        causal,
        mask,
        past: earlier,
        lengths: None,
        precision: None,
        sink: None,
    };
    let parts = attend(cx, &core)?;
    let y = join_heads(cx, parts.y)?;
    cx.set(0, y);
    if cx.wants(1) {
        let (k, v) = (cx.plain("Unsqueeze", &[k, first])?, cx.plain("Unsqueeze", &[v, first])?);
        let present = cx.concat(&[k, v], 0)?;
        cx.set(1, present);
    }
    Ok(())
}

/// What a padding mask adds to scores: `filter` where a key takes no part. The mask is the number of keys of each sample, or has a number for
/// each key (and each query). `keys`: `[batch, heads, keys, head size]`.
pub(super) fn padding(
    cx: &mut ExpandCx,
    mask: ValueId,
    keys: ValueId,
    filter: f32,
) -> Result<ValueId> {
    let shape = cx.ty(mask)?.shape;
    let dtype = cx.ty(keys)?.dtype;
    let (zero, filter) = (cx.scalar(dtype, 0.0), cx.scalar(dtype, f64::from(filter)));
    let mask = cx.cast(mask, DType::I64)?;
    let taken = match shape.as_slice() {
        [batch] if *batch == cx.ty(keys)?.shape[0] => {
            let axes = cx.list(&[1, 2, 3]);
            let lengths = cx.plain("Unsqueeze", &[mask, axes])?;
            let at = positions(cx, keys, 2)?;
            cx.plain("Less", &[at, lengths])?
        }
        [_, _] | [_, _, _] => {
            let axes: &[i64] = if shape.len() == 2 { &[1, 2] } else { &[1] };
            let axes = cx.list(axes);
            let mask = cx.plain("Unsqueeze", &[mask, axes])?;
            let none = cx.scalar(DType::I64, 0.0);
            cx.plain("Greater", &[mask, none])?
        }
        _ => {
            return cx.attrs.unsupported(
                "the mask is neither a number for each sample nor one for each key",
            );
        }
    };
    cx.plain("Where", &[taken, zero, filter])
}

/// The sum of what there is.
pub(super) fn sum(
    cx: &mut ExpandCx,
    a: Option<ValueId>,
    b: Option<ValueId>,
) -> Result<Option<ValueId>> {
    Ok(match (a, b) {
        (Some(a), Some(b)) => Some(cx.plain("Add", &[a, b])?),
        (a, b) => a.or(b),
    })
}

/// Inputs: words, segments, tables of words, positions and segments, gamma, beta, mask, positions. Outputs: the normalized sum of what the
/// tables have, how many words of each sample the mask keeps, the sum.
fn embed(cx: &mut ExpandCx) -> Result<()> {
    let places = cx.opt(8);
    summed(cx, places, |_, _, v| Ok(v))
}

/// What tables hold: of input `i` of the node, rows or a vector, as floats.
type Floats = fn(&mut ExpandCx, usize, ValueId) -> Result<ValueId>;

/// The first inputs are those of [`embed`]; `places`: positions of the words.
pub(super) fn summed(
    cx: &mut ExpandCx,
    places: Option<ValueId>,
    floats: Floats,
) -> Result<()> {
    let epsilon = cx.attrs.float("epsilon", 1e-12)?;
    cx.attrs.ignore("mask_index_type");
    let words = cx.input(0)?;
    let at = match places {
        Some(p) => p,
        None => positions(cx, words, 1)?,
    };
    let mut total = rows(cx, 2, words, floats)?;
    let place = rows(cx, 3, at, floats)?;
    total = cx.plain("Add", &[total, place])?;
    if let (Some(segments), Some(_)) = (cx.opt(1), cx.opt(4)) {
        let segment = rows(cx, 4, segments, floats)?;
        total = cx.plain("Add", &[total, segment])?;
    }
    let (gamma, beta) = (cx.input(5)?, cx.input(6)?);
    let (gamma, beta) = (floats(cx, 5, gamma)?, floats(cx, 6, beta)?);
    let attrs = Attrs::default()
        .with("axis", Attr::Int(-1))
        .with("epsilon", Attr::Float(epsilon));
    let y = cx.op("LayerNormalization", &[total, gamma, beta], attrs)?;
    cx.set(0, y);
    if cx.wants(1) {
        let count = match cx.opt(7) {
            Some(mask) => {
                let mask = cx.cast(mask, DType::I32)?;
                let one = cx.scalar(DType::I32, 1.0);
                let kept = cx.plain("Equal", &[mask, one])?;
                let kept = cx.cast(kept, DType::I32)?;
                let axes = cx.list(&[1]);
                let attrs = Attrs::default().with("keepdims", Attr::Int(0));
                cx.op("ReduceSum", &[kept, axes], attrs)?
            }
            None => {
                let none = cx.konst(Tensor::from_f64s(DType::I32, &[1], &[0.0]));
                let samples = cx.size_of(words, 0)?;
                cx.plain("Expand", &[none, samples])?
            }
        };
        cx.set(1, count);
    }
    cx.set(2, total);
    Ok(())
}

/// Rows of the table that is input `i`.
fn rows(cx: &mut ExpandCx, i: usize, at: ValueId, floats: Floats) -> Result<ValueId> {
    let table = cx.input(i)?;
    let rows = cx.plain("Gather", &[table, at])?;
    floats(cx, i, rows)
}
