//! What convolutions and pooling share: reading the window attributes, and channels-first shapes.

use crate::base::attr::{Attr, Attrs};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::contracts::window::Window;
use crate::op::ReadCx;

/// Reads `auto_pad`, `strides`, `dilations`, `pads`, `kernel_shape`.
pub fn read_window(cx: &mut ReadCx) -> Result<()> {
    cx.keep_str("auto_pad", "NOTSET")?;
    for name in ["strides", "dilations", "pads", "kernel_shape"] {
        cx.keep_ints(name)?;
    }
    Ok(())
}

/// The spatial axes of a channels-first shape.
pub fn spatial(shape: &[Dim]) -> Result<&[Dim]> {
    match shape.get(2..) {
        Some(s) if !s.is_empty() => Ok(s),
        _ => Err(Diagnostic::model(
            "ONNX010",
            format!("an input of {} axes has no spatial ones", shape.len()),
        )),
    }
}

/// The spatial axes of a shape: channels-last where the attribute `channels_last` says so.
pub fn spatial_of<'s>(attrs: &Attrs, shape: &'s [Dim]) -> Result<&'s [Dim]> {
    spatial(shape)?;
    Ok(match attrs.flag("channels_last") {
        true => &shape[1..shape.len() - 1],
        false => &shape[2..],
    })
}

/// A shape like `like`, its spatial axes replaced.
pub fn with_spatial(attrs: &Attrs, like: &[Dim], out: Vec<Dim>) -> Vec<Dim> {
    let mut shape = like.to_vec();
    let first = if attrs.flag("channels_last") { 1 } else { 2 };
    for (d, o) in shape[first..].iter_mut().zip(out) {
        *d = o;
    }
    shape
}

/// The window that the attributes describe over an input; its size is `kernel_shape`.
pub fn pool_window(attrs: &Attrs, shape: &[Dim]) -> Result<Window> {
    let kernel = attrs
        .ints("kernel_shape")
        .ok_or_else(|| Diagnostic::model("ONNX009", "attribute `kernel_shape` is missing"))?;
    Window::of(attrs, kernel, spatial_of(attrs, shape)?)
}

/// The window of a convolution; its size is that of the weights.
pub fn conv_window(attrs: &Attrs, x: &[Dim], w: &[Dim]) -> Result<Window> {
    let input = spatial_of(attrs, x)?;
    let kernel = kernel_shape(attrs, x, w)?;
    Window::of(attrs, &kernel, input)
}

/// The spatial size of convolution weights, checked against `kernel_shape`.
pub fn kernel_shape(attrs: &Attrs, x: &[Dim], w: &[Dim]) -> Result<Vec<i64>> {
    if w.len() != x.len() {
        return Err(Diagnostic::model(
            "ONNX010",
            format!("weights of {} axes for an input of {}", w.len(), x.len()),
        ));
    }
    let kernel = crate::base::dim::fixed_shape(w).ok_or_else(|| {
        Diagnostic::unsupported("ONNX012", "weights of unknown size are not done")
    })?[2..]
        .to_vec();
    match attrs.ints("kernel_shape") {
        Some(k) if !k.is_empty() && k != kernel => Err(Diagnostic::model(
            "ONNX010",
            format!("`kernel_shape` {k:?} and weights of {kernel:?}"),
        )),
        _ => Ok(kernel),
    }
}

/// The window as plain attributes of a contract: explicit pads, nothing left to default.
pub fn explicit(w: &Window) -> Attrs {
    Attrs::default()
        .with("strides", Attr::Ints(w.stride.clone()))
        .with("dilations", Attr::Ints(w.dilation.clone()))
        .with(
            "pads",
            Attr::Ints([w.begin.clone(), w.end.clone()].concat()),
        )
}
