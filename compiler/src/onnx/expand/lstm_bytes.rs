//! DynamicQuantizeLSTM (com.microsoft): an LSTM whose weights are bytes.
//!
//! onnxruntime multiplies them with bytes, into which it turns what comes in by scales of each run; here they are multiplied with the floats
//! themselves, which lie nearer to what was trained.

use super::{Expansion, ExpandCx};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::{Diagnostic, Result};
use crate::graph::ir::ValueId;

/// Operators of this file.
pub const EXPANSIONS: &[Expansion] = &[Expansion {
    domain: "com.microsoft",
    name: "DynamicQuantizeLSTM",
    since: 1,
    until: 1,
    expand,
}];

/// Inputs: x, weights `[directions, inputs, 4 hidden]`, recurrent weights `[directions, hidden, 4 hidden]`, bias, lengths, first h and c, peepholes, then
/// scale and zero point of both weights, of each direction or of each column. Outputs are those of LSTM.
fn expand(cx: &mut ExpandCx) -> Result<()> {
    let w = weights(cx, 1, 8)?;
    let r = weights(cx, 2, 10)?;
    let ins: Vec<Option<ValueId>> = [Some(cx.input(0)?), Some(w), Some(r)]
        .into_iter()
        .chain((3..8).map(|i| cx.opt(i)))
        .collect();
    let mut attrs = Attrs::default();
    for name in [
        "activation_alpha",
        "activation_beta",
        "activations",
        "clip",
        "direction",
        "hidden_size",
        "input_forget",
    ] {
        if let Some(a) = cx.attrs.raw(name) {
            attrs = attrs.with(name, a.clone());
        }
    }
    let outs = cx.many("LSTM", &ins, attrs, cx.num_outputs)?;
    for (k, v) in outs.into_iter().enumerate() {
        cx.set(k, v);
    }
    Ok(())
}

/// Input `i`, whose scale is input `s` and whose zero point is the next, as LSTM takes it: `[directions, 4 hidden, features]`.
fn weights(cx: &mut ExpandCx, i: usize, s: usize) -> Result<ValueId> {
    let (w, scale, zero) = (cx.input(i)?, cx.input(s)?, cx.opt(s + 1));
    let w = cx.transpose(w, &[0, 2, 1])?;
    let rank = cx.ty(scale)?.rank();
    if !(1..=2).contains(&rank) {
        return Err(Diagnostic::model(
            "ONNX010",
            "a scale must be one of each direction, or of each of its columns",
        ));
    }
    let (directions, columns) = (cx.fixed(w, 0)?, cx.fixed(w, 1)?);
    // One scale for all, for each direction, or for each column: numbers along a first axis that holds both.
    let (axis, view) = match (rank, directions) {
        (1, _) => (0, None),
        (_, 1) => (1, None),
        _ => (0, Some(directions.saturating_mul(columns))),
    };
    let features = cx.fixed(w, 2)?;
    let flat = match view {
        Some(rows) => cx.reshape(w, &[rows, features])?,
        None => w,
    };
    let mut numbers = vec![flat, cx.reshape(scale, &[-1])?];
    if let Some(zero) = zero {
        numbers.push(cx.reshape(zero, &[-1])?);
    }
    let attrs = Attrs::default().with("axis", Attr::Int(axis));
    let made = cx.op("DequantizeLinear", &numbers, attrs)?;
    match view {
        Some(_) => cx.reshape(made, &[directions, columns, features]),
        None => Ok(made),
    }
}
