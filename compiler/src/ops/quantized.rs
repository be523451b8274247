//! What the operators over quantized numbers share: zero points, scales, and rounding to a quantized output.
//!
//! Sums of integers are exact in I32. A real number is made once, in f64, and rounded once, half to even.

use super::util::{accept, bad, float};
use crate::base::attr::Attrs;
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::rounding::Rounding;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::build::Builder;
use crate::loops::ir::{ExprId, Ty, UnOp};
use crate::op::InferCx;

/// 8-bit integers.
pub fn byte(d: DType) -> bool {
    matches!(d, DType::I8 | DType::U8)
}

/// 8- and 16-bit integers.
pub fn byte_or_word(d: DType) -> bool {
    matches!(d, DType::I8 | DType::U8 | DType::I16 | DType::U16)
}

/// The attribute `rounding`.
pub fn rounding(attrs: &Attrs) -> Rounding {
    match attrs.str("rounding", Rounding::Even.name()) {
        name if name == Rounding::Up.name() => Rounding::Up,
        _ => Rounding::Even,
    }
}

/// The nearest whole number.
pub fn rounded(b: &mut Builder, rounding: Rounding, v: ExprId) -> ExprId {
    match rounding {
        Rounding::Even => b.un(UnOp::Round, v),
        Rounding::Up => {
            let half = b.num(b.ty(v), 0.5);
            let v = b.add(v, half);
            b.un(UnOp::Floor, v)
        }
    }
}

/// Checks scale input `s` and optional zero point input `z` of values of type `d`.
pub fn check(cx: &InferCx, s: usize, z: usize, d: DType) -> Result<()> {
    accept(cx, s, float)?;
    if let Some(v) = cx.opt(z)
        && v.ty.dtype != d
    {
        return Err(super::util::mismatch(d, v.ty.dtype));
    }
    Ok(())
}

/// Whether input `i` holds one number.
pub fn one(cx: &InferCx, i: usize) -> Result<()> {
    match cx.opt(i) {
        Some(v) if v.ty.rank() > 1 || v.ty.shape.iter().any(|d| !d.is(1)) => {
            bad(format!("input {i} must be one number"))
        }
        _ => Ok(()),
    }
}

/// Element of a scale or zero point: the only one, or that of channel `c`. `None` where the input is absent.
pub fn per(cx: &mut LowerCx, i: usize, c: Option<ExprId>) -> Result<Option<ExprId>> {
    let Some(o) = cx.opt(i) else { return Ok(None) };
    let single = o.ty.elements().is(1) || o.ty.rank() == 0;
    let at = match (single, c) {
        (false, Some(c)) => c,
        _ => cx.b.i(0),
    };
    Ok(Some(cx.load_flat(i, at)?))
}

/// The zero point in I32; 0 where there is none.
pub fn zero_point(cx: &mut LowerCx, i: usize, c: Option<ExprId>) -> Result<ExprId> {
    Ok(match per(cx, i, c)? {
        Some(z) => cx.b.cast(Ty::I32, z),
        None => cx.b.int(Ty::I32, 0),
    })
}

/// The scale in F64.
pub fn scale(cx: &mut LowerCx, i: usize, c: Option<ExprId>) -> Result<ExprId> {
    Ok(match per(cx, i, c)? {
        Some(s) => cx.b.cast(Ty::F64, s),
        None => cx.b.num(Ty::F64, 1.0),
    })
}

/// `real / scale + zero point`, rounded half to even and limited to the type.
pub fn quantize(b: &mut Builder, d: DType, real: ExprId, scale: ExprId, zero: ExprId) -> ExprId {
    let q = b.div(real, scale);
    let q = b.un(UnOp::Round, q);
    let z = b.cast(Ty::F64, zero);
    let q = b.add(q, z);
    let (lo, hi) = d.int_range().unwrap_or((0, 255));
    let (lo, hi) = (b.num(Ty::F64, lo as f64), b.num(Ty::F64, hi as f64));
    let q = b.clamp(q, lo, hi);
    b.cast(Ty::of(d), q)
}

/// `(q - zero point) * scale` in F64.
pub fn real(b: &mut Builder, q: ExprId, scale: ExprId, zero: ExprId) -> ExprId {
    let d = ex!(b; q - zero);
    let d = b.cast(Ty::F64, d);
    b.mul(d, scale)
}

/// Whether a shape is that of one number or of `n` channels.
pub fn fits(shape: &[Dim], n: Option<i64>) -> bool {
    match shape {
        [] => true,
        [d] => d.is(1) || d.fixed().is_none() || n.is_none() || d.fixed() == n,
        _ => shape.iter().all(|d| d.is(1)),
    }
}
