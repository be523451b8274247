//! Rotary position embedding: pairs of features turned by an angle that depends on the position.

use super::{Expansion, ExpandCx};
use crate::base::diag::{Diagnostic, Result};
use crate::graph::ir::ValueId;

/// Operators of this file.
pub const EXPANSIONS: &[Expansion] = &[
    super::onnx("RotaryEmbedding", 23, rotary),
    Expansion {
        domain: "com.microsoft",
        name: "RotaryEmbedding",
        since: 1,
        until: 1,
        expand: rotary_ms,
    },
];

/// Inputs: x, cosines, sines, positions.
fn rotary(cx: &mut ExpandCx) -> Result<()> {
    let (x, cos, sin, positions) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, cx.opt(3));
    turn(cx, x, cos, sin, positions)
}

/// Inputs: x, positions, cosines, sines.
fn rotary_ms(cx: &mut ExpandCx) -> Result<()> {
    let (x, positions, cos, sin) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, cx.input(3)?);
    if cx.attrs.int("is_packed_batching", 0)? != 0 || cx.attrs.float("scale", 1.0)? != 1.0 {
        return cx.attrs.unsupported("packed batches and scales are not supported");
    }
    if cx.ty(positions)?.rank() != 2 {
        return cx.attrs.unsupported("positions as an offset are not supported");
    }
    turn(cx, x, cos, sin, Some(positions))
}

/// By what pairs of features are turned.
pub(super) struct Turn {
    /// Cosines: `[positions, part / 2]`, or of each position of each sample without `positions`.
    pub cos: ValueId,
    /// Sines.
    pub sin: ValueId,
    /// Rows of `cos` and `sin`: `[batch, sequence]`.
    pub positions: Option<ValueId>,
    /// Whether the two of a pair stand side by side, not half of the features apart.
    pub interleaved: bool,
    /// How many features are turned; 0: all.
    pub part: i64,
}

fn turn(
    cx: &mut ExpandCx,
    x: ValueId,
    cos: ValueId,
    sin: ValueId,
    positions: Option<ValueId>,
) -> Result<()> {
    let by = Turn {
        cos,
        sin,
        positions,
        interleaved: cx.attrs.int("interleaved", 0)? != 0,
        part: cx.attrs.int("rotary_embedding_dim", 0)?,
    };
    let heads = cx.attrs.int("num_heads", 0)?;
    let y = match cx.ty(x)?.rank() {
        4 => turned(cx, x, &by)?,
        3 if heads > 0 => {
            let h = cx.reshape(x, &[0, 0, heads, -1])?;
            let h = turned_rows(cx, h, &by)?;
            cx.reshape(h, &[0, 0, -1])?
        }
        _ => {
            return Err(Diagnostic::model(
                "ONNX009",
                "the input must have 4 axes, or 3 with `num_heads`",
            ));
        }
    };
    cx.set(0, y);
    Ok(())
}

/// Of `[batch, heads, sequence, size]`.
pub(super) fn turned(cx: &mut ExpandCx, x: ValueId, by: &Turn) -> Result<ValueId> {
    let h = cx.transpose(x, &[0, 2, 1, 3])?;
    let h = turned_rows(cx, h, by)?;
    cx.transpose(h, &[0, 2, 1, 3])
}

/// Of `[batch, sequence, heads, size]`.
fn turned_rows(cx: &mut ExpandCx, mut h: ValueId, by: &Turn) -> Result<ValueId> {
    let size = cx.fixed(h, 3)?;
    let part = if by.part == 0 { size } else { by.part };
    let interleaved = by.interleaved;
    let (mut cos, mut sin) = (by.cos, by.sin);
    if part < 2 || part > size || part % 2 != 0 {
        return Err(Diagnostic::model(
            "ONNX009",
            format!("{part} of {size} features can't be turned in pairs"),
        ));
    }
    let rest = if part < size {
        let r = cx.slice(h, 3, part, size)?;
        h = cx.slice(h, 3, 0, part)?;
        Some(r)
    } else {
        None
    };
    if let Some(p) = by.positions {
        cos = cx.plain("Gather", &[cos, p])?;
        sin = cx.plain("Gather", &[sin, p])?;
    }
    let axis = cx.list(&[2]);
    cos = cx.plain("Unsqueeze", &[cos, axis])?;
    sin = cx.plain("Unsqueeze", &[sin, axis])?;
    let half = part / 2;
    let (a, b) = if interleaved {
        // [.., half, 2]: the pairs stand side by side.
        let pairs = cx.reshape(h, &[0, 0, 0, half, 2])?;
        let last = cx.list(&[4]);
        let (a, b) = (cx.slice(pairs, 4, 0, 1)?, cx.slice(pairs, 4, 1, 2)?);
        (cx.plain("Squeeze", &[a, last])?, cx.plain("Squeeze", &[b, last])?)
    } else {
        (cx.slice(h, 3, 0, half)?, cx.slice(h, 3, half, part)?)
    };
    let ca = cx.plain("Mul", &[cos, a])?;
    let sb = cx.plain("Mul", &[sin, b])?;
    let re = cx.plain("Sub", &[ca, sb])?;
    let sa = cx.plain("Mul", &[sin, a])?;
    let cb = cx.plain("Mul", &[cos, b])?;
    let im = cx.plain("Add", &[sa, cb])?;
    let mut y = if interleaved {
        let last = cx.list(&[4]);
        let (re, im) = (cx.plain("Unsqueeze", &[re, last])?, cx.plain("Unsqueeze", &[im, last])?);
        let pairs = cx.concat(&[re, im], 4)?;
        cx.reshape(pairs, &[0, 0, 0, part])?
    } else {
        cx.concat(&[re, im], 3)?
    };
    if let Some(r) = rest {
        y = cx.concat(&[y, r], 3)?;
    }
    Ok(y)
}
