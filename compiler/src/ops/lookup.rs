//! Lookup and QuantizedSoftmax: functions of 8-bit numbers by tables. Not operators of ONNX: the pass `integers` makes them.

use super::quantized::{byte, rounded, rounding};
use super::util::{accept, bad};
use crate::base::attr::Attrs;
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::contracts::lookup as contract;
use crate::kernel::LowerCx;
use crate::loops::ir::{ExprId, LoopKind, Ty};
use crate::op::{BASE, InferCx, Lower, OpDef, resolve_axis};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&LOOKUP, &SOFTMAX];

/// Inputs: x (8 bits), a table of 256. Output: the table's entry number `x - least value of its type`.
pub static LOOKUP: OpDef = OpDef {
    name: "Lookup",
    inputs: (2, 2),
    infer: |cx| {
        accept(cx, 0, byte)?;
        let d = cx.dtype(1)?;
        if !cx.shape(1)?.iter().map(Dim::fixed).eq([Some(256)]) {
            return bad("a table has 256 entries");
        }
        let shape = cx.shape(0)?;
        cx.out(0, d, shape);
        Ok(())
    },
    lower: Lower::Contract(&contract::LOOKUP, |_| Ok(Attrs::default())),
    in_range: true,
    ..BASE
};

/// Inputs: x (8 bits); powers (i64, 256): `exp(-d * scale)` in units of 2^-40 for the distance d to the largest; multiplier (f64, one): 1 / scale of
/// the result; its zero point. Attributes: `axis`, `to`, `rounding`. Sums are whole numbers, so their order does not matter; each result is
/// the quotient of two of them, in f64, rounded once.
pub static SOFTMAX: OpDef = OpDef {
    name: "QuantizedSoftmax",
    inputs: (4, 4),
    infer: infer_softmax,
    lower: Lower::Loops(lower_softmax),
    ..BASE
};

fn infer_softmax(cx: &mut InferCx) -> Result<()> {
    accept(cx, 0, byte)?;
    accept(cx, 1, |d| d == DType::I64)?;
    accept(cx, 2, |d| d == DType::F64)?;
    let to = accept(cx, 3, byte)?;
    let shape = cx.shape(0)?;
    cx.axis(cx.attrs.int("axis", -1), shape.len())?;
    cx.out(0, to, shape);
    Ok(())
}

fn lower_softmax(cx: &mut LowerCx) -> Result<()> {
    let Some(to) = cx.output(0).map(|o| o.ty.dtype) else {
        return Ok(());
    };
    let shape = cx.in_shape(0)?;
    let axis = resolve_axis(cx.attrs.int("axis", -1), shape.len())?;
    let rounding = rounding(cx.attrs);
    let outer: Dim = shape[..axis].iter().cloned().product();
    let inner: Dim = shape[axis + 1..].iter().cloned().product();
    let (n, inner_e) = (cx.b.dim(&shape[axis]), cx.b.dim(&inner));
    cx.each(&[outer, inner], LoopKind::Seq, |cx, at| {
        let row = cx.b.mul(at[0], n);
        let row = cx.b.mul(row, inner_e);
        let row = cx.b.add(row, at[1]);
        let row = cx.b.let_(row);
        let place = |cx: &mut LowerCx, i| {
            let by = cx.b.mul(i, inner_e);
            cx.b.add(row, by)
        };
        let least = cx.b.int(Ty::I32, -128);
        let most = super::axes::fold_n(cx, n, least, |cx, i, most| {
            let at = place(cx, i);
            let x = cx.load_flat(0, at)?;
            Ok(cx.b.max(most, x))
        })?;
        let most = cx.b.let_(most);
        let power = |cx: &mut LowerCx, i| -> Result<ExprId> {
            let at = place(cx, i);
            let x = cx.load_flat(0, at)?;
            let d = cx.b.sub(most, x);
            let d = cx.b.cast(Ty::I64, d);
            cx.load_flat(1, d)
        };
        let zero = cx.b.int(Ty::I64, 0);
        let sum = super::axes::fold_n(cx, n, zero, |cx, i, sum| {
            let p = power(cx, i)?;
            Ok(cx.b.add(sum, p))
        })?;
        let sum = cx.b.cast(Ty::F64, sum);
        let first = cx.b.i(0);
        let m = cx.load_flat(2, first)?;
        let (sum, m) = (cx.b.let_(sum), cx.b.let_(m));
        let z = cx.load_flat(3, first)?;
        let (lo, hi) = to.int_range().unwrap_or((0, 255));
        let (lo, hi) = (
            cx.b.num(Ty::F64, lo as f64),
            cx.b.num(Ty::F64, hi as f64),
        );
        cx.for_(n, LoopKind::Seq, |cx, i| {
            let p = power(cx, i)?;
            let p = cx.b.cast(Ty::F64, p);
            let v = cx.b.div(p, sum);
            let v = cx.b.mul(v, m);
            let v = rounded(&mut cx.b, rounding, v);
            let zf = cx.b.cast(Ty::F64, z);
            let v = cx.b.add(v, zf);
            let v = cx.b.clamp(v, lo, hi);
            let v = cx.b.cast(Ty::I32, v);
            let at = place(cx, i);
            cx.store_flat(0, at, v);
            Ok(())
        })
    })
}
