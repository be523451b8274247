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

fn turn(
    cx: &mut ExpandCx,
    x: ValueId,
    mut cos: ValueId,
    mut sin: ValueId,
    positions: Option<ValueId>,
) -> Result<()> {
    let interleaved = cx.attrs.int("interleaved", 0)? != 0;
    let part = cx.attrs.int("rotary_embedding_dim", 0)?;
    let heads = cx.attrs.int("num_heads", 0)?;
    let rank = cx.ty(x)?.rank();
    // To [batch, sequence, heads, size].
    let mut h = match rank {
        4 => cx.transpose(x, &[0, 2, 1, 3])?,
        3 if heads > 0 => cx.reshape(x, &[0, 0, heads, -1])?,
        _ => {
            return Err(Diagnostic::model(
                "ONNX009",
                "the input must have 4 axes, or 3 with `num_heads`",
            ));
        }
    };
    let size = cx.fixed(h, 3)?;
    let part = if part == 0 { size } else { part };
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
    if let Some(p) = positions {
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
    let y = match rank {
        4 => cx.transpose(y, &[0, 2, 1, 3])?,
        _ => cx.reshape(y, &[0, 0, -1])?,
    };
    cx.set(0, y);
    Ok(())
}
