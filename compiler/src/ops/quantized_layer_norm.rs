//! QuantizedLayerNorm: a layer normalization of 8-bit numbers. Not an operator of ONNX: the pass `integers` makes it.

use super::axes::{count, fold_in_parts, origin, over};
use super::quantized::{byte, rounded, rounding};
use super::util::{accept, bad};
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::build::Builder;
use crate::loops::ir::{ExprId, LoopKind, Ty, UnOp};
use crate::op::{BASE, InferCx, Lower, OpDef, resolve_axis};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&LAYER_NORM];

/// Inputs: x (8 bits); scale and bias (f32, of a shape that broadcasts to that of x), over the scale of the result; epsilon (f64, one) in steps
/// of x, times the square of their number n. Attributes: `axis`, `to`, `zero`, `lo`, `hi`, `rounding`.
/// Output, with the sums S1 and S2 of x and of its squares, which are exact: `r = 1 / sqrt(n S2 - S1^2 + epsilon)` in f64, then in f32, each step
/// rounded, `round((n x - S1) * r * scale + bias) + zero` within the bounds. A zero point of x takes no part.
pub static LAYER_NORM: OpDef = OpDef {
    name: "QuantizedLayerNorm",
    inputs: (4, 4),
    infer,
    lower: Lower::Loops(lower),
    ..BASE
};

/// The most elements that are normalized together: `n x` and sums are exact in f32 then.
pub const MOST: i64 = 1 << 16;
/// The most of which sums of squares are.
const EXACT: i64 = 1 << 10;

fn infer(cx: &mut InferCx) -> Result<()> {
    let d = accept(cx, 0, byte)?;
    accept(cx, 1, |d| d == DType::F32)?;
    accept(cx, 2, |d| d == DType::F32)?;
    accept(cx, 3, |d| d == DType::F64)?;
    let shape = cx.shape(0)?;
    let axis = cx.axis(cx.attrs.int("axis", -1), shape.len())?;
    let n: Dim = shape[axis..].iter().cloned().product();
    if n.fixed().is_none_or(|n| n > MOST) {
        return bad(format!("more than {MOST} elements, or an unknown number, are normalized together"));
    }
    cx.out(0, cx.attrs.dtype("to").unwrap_or(d), shape);
    Ok(())
}

/// An element as a whole number of a type, near 0.
fn element(cx: &mut LowerCx, at: &[ExprId], ty: Ty) -> Result<ExprId> {
    let middle = match cx.input(0)?.ty.dtype {
        DType::U8 => 128,
        _ => 0,
    };
    let x = cx.load(0, at)?;
    let middle = cx.b.int(Ty::I32, middle);
    let x = cx.b.sub(x, middle);
    Ok(cx.b.cast(ty, x))
}

/// The sums of the elements along axes and of their squares, in f64.
fn sums(cx: &mut LowerCx, shape: &[Dim], axes: &[usize], at: &[ExprId], n: i64) -> Result<[ExprId; 2]> {
    let ty = if n > EXACT { Ty::I64 } else { Ty::F32 };
    let zero = match ty {
        Ty::F32 => cx.b.num(ty, 0.0),
        _ => cx.b.int(ty, 0),
    };
    let mut sum = |squares: bool| -> Result<ExprId> {
        let v = fold_in_parts(cx, shape, axes, at, zero, &Builder::add, &|cx, at, sum| {
            let x = element(cx, at, ty)?;
            let x = cx.b.let_(x);
            let v = if squares { cx.b.mul(x, x) } else { x };
            Ok(cx.b.add(sum, v))
        })?;
        let v = cx.b.cast(Ty::F64, v);
        Ok(cx.b.let_(v))
    };
    Ok([sum(false)?, sum(true)?])
}

fn lower(cx: &mut LowerCx) -> Result<()> {
    let Some(to) = cx.output(0).map(|o| o.ty.dtype) else {
        return Ok(());
    };
    let shape = cx.in_shape(0)?;
    let axis = resolve_axis(cx.attrs.int("axis", -1), shape.len())?;
    let axes: Vec<usize> = (axis..shape.len()).collect();
    let rows: Vec<usize> = (0..axis).collect();
    let n = count(&shape, &axes).fixed().unwrap_or(MOST);
    let (zero, way) = (cx.attrs.int("zero", 0), rounding(cx.attrs));
    let (least, most) = to.int_range().unwrap_or((0, 255));
    let limits = [("lo", least), ("hi", most)].map(|(name, v)| cx.attrs.int(name, v as i64) - zero);
    let start = origin(cx, shape.len());
    over(cx, &shape, &rows, LoopKind::Parallel, &start, |cx, at| {
        let [sum, squares] = sums(cx, &shape, &axes, at, n)?;
        let none = cx.b.i(0);
        let epsilon = cx.load_flat(3, none)?;
        let count = cx.b.num(Ty::F64, n as f64);
        let spread = ex!(cx.b; ((count * squares) - (sum * sum)) + epsilon);
        let root = cx.b.un(UnOp::Sqrt, spread);
        let by = ex!(cx.b; 1.0 / root);
        let (by, sum) = (cx.b.cast(Ty::F32, by), cx.b.cast(Ty::F32, sum));
        let (by, sum) = (cx.b.let_(by), cx.b.let_(sum));
        over(cx, &shape, &axes, LoopKind::Lanes, at, |cx, at| {
            let x = element(cx, at, Ty::F32)?;
            let (scale, bias) = (cx.load_broadcast(1, at)?, cx.load_broadcast(2, at)?);
            let b = &mut cx.b;
            let count = b.num(Ty::F32, n as f64);
            let v = ex!(b; (((((x * count) - sum) * by) * scale) + bias));
            let [lo, hi] = limits.map(|v| b.num(Ty::F32, v as f64));
            let v = b.clamp(v, lo, hi);
            let v = rounded(b, way, v);
            let v = b.cast(Ty::I32, v);
            let zero = b.int(Ty::I32, zero);
            let v = b.add(v, zero);
            cx.store(0, at, v);
            Ok(())
        })
    })
}
