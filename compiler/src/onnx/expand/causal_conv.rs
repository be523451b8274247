//! CausalConvWithState: a depthwise convolution that sees only the past, whose last inputs are kept for the next call.

use super::{Expansion, ExpandCx};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dtype::DType;

/// Operators of this file.
pub const EXPANSIONS: &[Expansion] = &[super::onnx("CausalConvWithState", 27, causal_conv)];

fn causal_conv(cx: &mut ExpandCx) -> Result<()> {
    let (x, w) = (cx.input(0)?, cx.input(1)?);
    let (bias, past) = (cx.opt(2), cx.opt(3));
    let activation = cx.attrs.str("activation", "none")?;
    if cx.ty(x)?.rank() != 3 || cx.ty(w)?.rank() != 3 {
        return Err(Diagnostic::model("ONNX010", "input and weights must have 3 axes"));
    }
    let dtype = cx.ty(x)?.dtype;
    let (channels, k) = (cx.fixed(w, 0)?, cx.fixed(w, 2)?);
    let before = k.saturating_sub(1);
    let padded = match past {
        Some(p) => cx.concat(&[p, x], 2)?,
        None if before > 0 => {
            let pads = cx.list(&[0, 0, before, 0, 0, 0]);
            cx.plain("Pad", &[x, pads])?
        }
        None => x,
    };
    let mut ins = vec![Some(padded), Some(w)];
    ins.extend(bias.map(Some));
    let attrs = Attrs::default().with("group", Attr::Int(channels));
    let mut y = cx.many("Conv", &ins, attrs, 1)?[0];
    match activation.as_str() {
        "none" => {}
        "silu" | "swish" => {
            // In f32 as the definition says.
            if dtype != DType::F32 {
                y = cx.cast(y, DType::F32)?;
            }
            let s = cx.plain("Sigmoid", &[y])?;
            y = cx.plain("Mul", &[y, s])?;
            if dtype != DType::F32 {
                y = cx.cast(y, dtype)?;
            }
        }
        a => return Err(Diagnostic::model("ONNX009", format!("`activation` = {a:?}"))),
    }
    cx.set(0, y);
    if cx.wants(1) {
        let state = if before > 0 {
            cx.slice(padded, 2, -before, i64::MAX)?
        } else {
            cx.slice(padded, 2, 0, 0)?
        };
        cx.set(1, state);
    }
    Ok(())
}
