//! Operators of com.microsoft over quantized numbers that are no products of their own: spelled as dequantize, operator, quantize. The pass
//! `integers` makes whole-number operators of that, as of any such pattern.

use super::{Expansion, ExpandCx};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::{Diagnostic, Result};
use crate::graph::ir::ValueId;

/// Operators of this file.
pub const EXPANSIONS: &[Expansion] = &[
    Expansion::microsoft("QLinearAveragePool", average_pool),
    Expansion::microsoft("QLinearConcat", concat),
    Expansion::microsoft("QLinearGlobalAveragePool", global_average_pool),
    Expansion::microsoft("QLinearReduceMean", reduce_mean),
    Expansion::microsoft("QLinearSoftmax", softmax),
    Expansion::microsoft("QLinearWhere", select),
    Expansion::microsoft("QGemm", gemm),
];

fn axis(axis: i64) -> Attrs {
    Attrs::default().with("axis", Attr::Int(axis))
}

/// The numbers of inputs `at` (value), `at + 1` (scale), `at + 2` (zero point); several scales lie along an axis.
fn real(cx: &mut ExpandCx, at: usize, along: i64) -> Result<ValueId> {
    let mut ins = vec![Some(cx.input(at)?), Some(cx.input(at + 1)?)];
    ins.extend(cx.opt(at + 2).map(Some));
    let several = cx.ty(cx.input(at + 1)?)?.rank() > 0;
    let attrs = if several { axis(along) } else { axis(0) };
    Ok(cx.many("DequantizeLinear", &ins, attrs, 1)?[0])
}

/// Makes the output: numbers by the scale of input `at` and the zero point behind it.
fn quantized(cx: &mut ExpandCx, v: ValueId, at: usize) -> Result<()> {
    let mut ins = vec![Some(v), Some(cx.input(at)?)];
    ins.extend(cx.opt(at + 1).map(Some));
    let q = cx.many("QuantizeLinear", &ins, axis(0), 1)?[0];
    cx.set(0, q);
    Ok(())
}

/// Images with channels last, as channels first and back.
fn channels_first(
    cx: &mut ExpandCx,
    x: ValueId,
    f: impl FnOnce(&mut ExpandCx, ValueId) -> Result<ValueId>,
) -> Result<ValueId> {
    if cx.attrs.int("channels_last", 0)? == 0 {
        return f(cx, x);
    }
    let rank = cx.ty(x)?.rank() as i64;
    if rank < 3 {
        return Err(Diagnostic::model("ONNX010", "the input must have 3 axes or more"));
    }
    let first: Vec<i64> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
    let last: Vec<i64> = [0].into_iter().chain(2..rank).chain([1]).collect();
    let x = cx.transpose(x, &first)?;
    let y = f(cx, x)?;
    cx.transpose(y, &last)
}

fn average_pool(cx: &mut ExpandCx) -> Result<()> {
    let mut attrs = Attrs::default();
    for name in ["auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides"] {
        if let Some(a) = cx.attrs.raw(name) {
            attrs.set(name, a.clone());
        }
    }
    let x = real(cx, 0, 0)?;
    let y = channels_first(cx, x, |cx, x| cx.op("AveragePool", &[x], attrs))?;
    quantized(cx, y, 3)
}

fn global_average_pool(cx: &mut ExpandCx) -> Result<()> {
    let x = real(cx, 0, 0)?;
    let y = channels_first(cx, x, |cx, x| cx.plain("GlobalAveragePool", &[x]))?;
    quantized(cx, y, 3)
}

/// Inputs: scale and zero point of the output, then value, scale and zero point of each part.
fn concat(cx: &mut ExpandCx) -> Result<()> {
    let Some(along) = cx.attrs.opt_int("axis")? else {
        return Err(Diagnostic::model("ONNX009", "`axis` is missing"));
    };
    // A last zero point may be left out.
    if cx.ins.len() < 4 || cx.ins.len().is_multiple_of(3) {
        return Err(Diagnostic::model("ONNX009", "each part has a value, a scale and a zero point"));
    }
    let mut parts = vec![];
    for at in (2..cx.ins.len()).step_by(3) {
        parts.push(real(cx, at, 0)?);
    }
    let y = cx.concat(&parts, along)?;
    quantized(cx, y, 0)
}

fn reduce_mean(cx: &mut ExpandCx) -> Result<()> {
    let keep = cx.attrs.int("keepdims", 1)?;
    let axes = cx.attrs.ints("axes")?;
    let x = real(cx, 0, 0)?;
    let mut ins = vec![x];
    ins.extend(axes.map(|a| cx.list(&a)));
    let y = cx.op("ReduceMean", &ins, Attrs::default().with("keepdims", Attr::Int(keep)))?;
    quantized(cx, y, 3)
}

/// `opset` says whose Softmax is meant: before 13, that over all axes from `axis` on.
fn softmax(cx: &mut ExpandCx) -> Result<()> {
    let along = cx.attrs.int("axis", -1)?;
    let old = cx.attrs.int("opset", 13)? < 13;
    let x = real(cx, 0, 0)?;
    let rank = cx.ty(x)?.rank();
    let last = crate::op::resolve_axis(along, rank)? + 1 == rank;
    let y = match old && !last {
        false => cx.op("Softmax", &[x], axis(along))?,
        true => {
            let sizes = cx.shape_of(x)?;
            let flat = cx.op("Flatten", &[x], axis(along))?;
            let y = cx.op("Softmax", &[flat], axis(-1))?;
            cx.plain("Reshape", &[y, sizes])?
        }
    };
    quantized(cx, y, 3)
}

/// Inputs: condition, then value, scale and zero point of both sides, then scale and zero point of the output.
fn select(cx: &mut ExpandCx) -> Result<()> {
    let condition = cx.input(0)?;
    let (a, b) = (real(cx, 1, 0)?, real(cx, 4, 0)?);
    let y = cx.plain("Where", &[condition, a, b])?;
    quantized(cx, y, 7)
}

/// `alpha * (A * B + C)`, C in whole numbers of scale `a_scale * b_scale`. Without a scale for the output it stays real.
fn gemm(cx: &mut ExpandCx) -> Result<()> {
    let alpha = cx.attrs.float("alpha", 1.0)?;
    let trans = [cx.attrs.int("transA", 0)?, cx.attrs.int("transB", 0)?];
    let a = real(cx, 0, 0)?;
    let b = real(cx, 3, i64::from(trans[1] == 0))?;
    let mut ins = vec![a, b];
    if let Some(c) = cx.opt(6) {
        let scale = cx.plain("Mul", &[cx.input(1)?, cx.input(4)?])?;
        let several = cx.ty(scale)?.rank() > 0 && cx.ty(c)?.rank() > 0;
        let along = cx.ty(c)?.rank() as i64 - 1;
        let attrs = if several { axis(along) } else { axis(0) };
        ins.push(cx.op("DequantizeLinear", &[c, scale], attrs)?);
    }
    let mut attrs = Attrs::default();
    for (name, v) in ["transA", "transB"].into_iter().zip(trans) {
        attrs.set(name, Attr::Int(v));
    }
    if alpha != 1.0 {
        attrs.set("alpha", Attr::Float(alpha));
        attrs.set("beta", Attr::Float(alpha));
    }
    let y = cx.op("Gemm", &ins, attrs)?;
    match cx.opt(7) {
        Some(_) => quantized(cx, y, 7),
        None => {
            cx.set(0, y);
            Ok(())
        }
    }
}
