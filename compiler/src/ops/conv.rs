//! Conv and FusedConv.

use super::spatial::{conv_window, explicit, read_window};
use super::util::{accept_product, bad, float, since};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::contracts::conv::CONV;
use crate::contracts::finish::Activation;
use crate::contracts::window::Window;
use crate::kernel::LowerCx;
use crate::op::{BASE, InferCx, Lower, OpDef, ReadCx, onnx_in};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&CONV_OP];

/// Convolution; with an activation and a fourth input it is FusedConv.
pub static CONV_OP: OpDef = OpDef {
    name: "Conv",
    onnx: &[
        since("Conv", 1, read),
        onnx_in("com.microsoft", "FusedConv", 1, i64::MAX, read_fused),
    ],
    inputs: (2, 4),
    infer,
    lower: Lower::Contract(&CONV, attrs),
    tails: true,
    sums: true,
    ..BASE
};

fn read(cx: &mut ReadCx) -> Result<()> {
    read_window(cx)?;
    cx.keep_int("group", 1)
}

fn read_fused(cx: &mut ReadCx) -> Result<()> {
    read(cx)?;
    let name = cx.str("activation", "")?;
    let params = cx.floats("activation_params")?.unwrap_or_default();
    if !name.is_empty() {
        let a = Activation::of(&name)?;
        cx.set("activation", Attr::Str(a.name.to_string()));
        cx.set("activation_params", Attr::Floats(params));
    }
    Ok(())
}

/// Checks the shapes of a convolution and gives its window and output shape.
pub fn shapes(
    attrs: &Attrs,
    x: &[Dim],
    w: &[Dim],
    bias: Option<&[Dim]>,
) -> Result<(Window, Vec<Dim>)> {
    let window = conv_window(attrs, x, w)?;
    let group = attrs.int("group", 1);
    let (m, cin) = (w[0].fixed().unwrap_or(0), w[1].fixed().unwrap_or(0));
    if group < 1 || m % group != 0 {
        return bad(format!("{m} output channels in {group} groups"));
    }
    let last = attrs.flag("channels_last");
    let channel = if last { x.len() - 1 } else { 1 };
    if let Some(c) = x[channel].fixed()
        && cin.checked_mul(group) != Some(c)
    {
        return bad(format!(
            "weights for {cin} x {group} channels and an input of {c}"
        ));
    }
    if let Some(b) = bias
        && (b.len() != 1 || b[0].fixed().is_some_and(|b| b != m))
    {
        return bad(format!("a bias that does not fit {m} channels"));
    }
    let mut out = vec![x[0].clone()];
    out.extend(window.out.iter().cloned());
    out.insert(if last { out.len() } else { 1 }, Dim::Fixed(m));
    Ok((window, out))
}

fn infer(cx: &mut InferCx) -> Result<()> {
    let d = accept_product(cx, float)?;
    let bias = cx.opt(2).map(|b| b.ty.shape.clone());
    let (_, shape) = shapes(cx.attrs, &cx.shape(0)?, &cx.shape(1)?, bias.as_deref())?;
    if cx.opt(3).is_some_and(|z| z.ty.shape != shape) {
        return bad("the added tensor must have the output's shape");
    }
    cx.out(0, d, shape);
    Ok(())
}

fn attrs(cx: &LowerCx) -> Result<Attrs> {
    let w = conv_window(cx.attrs, &cx.in_shape(0)?, &cx.in_shape(1)?)?;
    let mut out = explicit(&w).with("group", Attr::Int(cx.attrs.int("group", 1)));
    for name in ["activation", "activation_params", "channels_last"] {
        if let Some(a) = cx.attrs.get(name) {
            out.set(name, a.clone());
        }
    }
    Ok(out)
}
