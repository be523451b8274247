//! QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear.
//!
//! `q = saturate(round_half_even(x / scale) + zero_point)`, with one scale, one per slice of an axis, or one per block.

use crate::base::attr::Attr;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::kernel::LowerCx;
use crate::loops::build::Builder;
use crate::loops::ir::{ExprId, LoopKind, Ty, UnOp};
use crate::op::{BASE, InferCx, Lower, OpDef, ReadCx, onnx, onnx_in, read_none};
use crate::ops::axes::fold_in_parts;
use crate::ops::cast::{from_ty, to_ty};
use crate::ops::quotient::Quotient;
use crate::ops::requantize::nearest;
use crate::ops::small_float::{self as small, RoundMode};
use crate::ops::util::*;

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&QUANTIZE, &DEQUANTIZE, &DYNAMIC_QUANTIZE];

/// Floats to scaled integers or small floats.
pub static QUANTIZE: OpDef = OpDef {
    name: "QuantizeLinear",
    onnx: &[
        onnx("QuantizeLinear", 10, 12, read_per_tensor),
        since("QuantizeLinear", 13, read_quant),
        // What onnxruntime writes for 4 and 16 bits before opset 21.
        onnx_in("com.microsoft", "QuantizeLinear", 1, i64::MAX, read_quant),
    ],
    inputs: (2, 3),
    infer: infer_quantize,
    lower: Lower::Loops(lower_quantize),
    tails: true,
    ..BASE
};

/// Scaled integers or small floats to floats.
pub static DEQUANTIZE: OpDef = OpDef {
    name: "DequantizeLinear",
    onnx: &[
        onnx("DequantizeLinear", 10, 12, read_per_tensor),
        since("DequantizeLinear", 13, read_quant),
        // What onnxruntime writes for 4 and 16 bits before opset 21.
        onnx_in("com.microsoft", "DequantizeLinear", 1, i64::MAX, read_quant),
    ],
    inputs: (2, 3),
    infer: infer_dequantize,
    lower: Lower::Loops(lower_dequantize),
    tails: true,
    ..BASE
};

fn read_per_tensor(cx: &mut ReadCx) -> Result<()> {
    cx.set("axis", Attr::Int(0));
    cx.set("per_tensor", Attr::Int(1));
    Ok(())
}

fn read_quant(cx: &mut ReadCx) -> Result<()> {
    cx.keep_int("axis", 1)?;
    cx.keep_int("saturate", 1)?;
    cx.keep_int("block_size", 0)?;
    for name in ["output_dtype", "precision"] {
        if cx.opt_int(name)?.unwrap_or(0) != 0
            && let Some(d) = cx.dtype(name)?
        {
            cx.set(name, Attr::Type(d));
        }
    }
    Ok(())
}

/// Types that numbers are quantized to.
fn quantized(d: DType) -> bool {
    (d.is_int() && d.packed_bits() <= 16) || (d.is_small_float() && d != DType::F8E8M0)
}
/// Types that are read back; i32 is what biases and accumulators have.
fn quantized_or_i32(d: DType) -> bool {
    quantized(d) || d == DType::I32
}

/// Checks the shapes of scale and zero point against that of the data.
fn check_shapes(cx: &InferCx) -> Result<()> {
    let (x, s) = (cx.shape(0)?, cx.shape(1)?);
    if let Some(z) = cx.opt(2)
        && z.ty.elements() != cx.input(1)?.ty.elements()
    {
        return bad("scale and zero point have different shapes");
    }
    if is_scalar(&s) {
        return Ok(());
    }
    if cx.attrs.flag("per_tensor") {
        return bad("one scale is needed before opset 13");
    }
    let axis = cx.axis(cx.attrs.int("axis", 1), x.len())?;
    let block = cx.attrs.int("block_size", 0);
    if block < 0 {
        return bad("`block_size` is negative");
    }
    if block == 0 {
        return if s.len() == 1 && s[0] == x[axis] {
            Ok(())
        } else {
            bad("the scale does not fit the data's axis")
        };
    }
    let fits = s.len() == x.len()
        && s.iter().zip(&x).enumerate().all(|(i, (s, x))| {
            if i == axis {
                x.ceil_div(&Dim::Fixed(block)).as_ref() == Some(s)
            } else {
                s == x
            }
        });
    if fits {
        Ok(())
    } else {
        bad("the blocks of the scale do not fit the data")
    }
}

fn is_scalar(s: &[Dim]) -> bool {
    s.is_empty() || (s.len() == 1 && s[0].is(1))
}

fn infer_quantize(cx: &mut InferCx) -> Result<()> {
    accept(cx, 0, |d| d.is_float() || d == DType::I32)?;
    accept(cx, 1, |d| d.is_float())?;
    check_shapes(cx)?;
    let asked = cx.attrs.dtype("output_dtype");
    let to = match cx.opt(2) {
        Some(z) if asked.is_some_and(|a| a != z.ty.dtype) => {
            return Err(mismatch(z.ty.dtype, asked.unwrap_or(z.ty.dtype)));
        }
        Some(z) => z.ty.dtype,
        None => asked.unwrap_or(DType::U8),
    };
    if !quantized(to) {
        return Err(Diagnostic::unsupported(
            "ONNX014",
            format!("quantizing to {to}"),
        ));
    }
    let shape = cx.shape(0)?;
    cx.out(0, to, shape);
    Ok(())
}

fn infer_dequantize(cx: &mut InferCx) -> Result<()> {
    let from = accept(cx, 0, quantized_or_i32)?;
    let scale = accept(cx, 1, |d| d.is_float())?;
    if cx.opt(2).is_some() && cx.dtype(2)? != from {
        return Err(mismatch(from, cx.dtype(2)?));
    }
    check_shapes(cx)?;
    let to = cx.attrs.dtype("output_dtype").unwrap_or(scale);
    if !to.is_float() {
        return Err(Diagnostic::unsupported("ONNX014", format!("dequantizing to {to}")));
    }
    let shape = cx.shape(0)?;
    cx.out(0, to, shape);
    Ok(())
}

/// The scale or zero point (input `i`) that belongs to element `at` of the data.
fn parameter(cx: &mut LowerCx, i: usize, at: &[ExprId]) -> Result<ExprId> {
    let shape = cx.in_shape(i)?;
    if is_scalar(&shape) {
        let zero = cx.b.i(0);
        let v = const_scalar(cx.input(i)?.konst.as_ref());
        let ty = cx.in_ty(i)?;
        return match v {
            Some(v) => Ok(cx.b.num(ty, v)),
            None => cx.load_flat(i, zero),
        };
    }
    let axis = crate::op::resolve_axis(cx.attrs.int("axis", 1), at.len())?;
    let block = cx.attrs.int("block_size", 0);
    if block == 0 {
        return cx.load(i, &[at[axis]]);
    }
    let mut own = at.to_vec();
    let n = cx.b.i(block);
    own[axis] = cx.b.div(at[axis], n);
    cx.load(i, &own)
}

fn lower_quantize(cx: &mut LowerCx) -> Result<()> {
    let Some(to) = cx.output(0).map(|o| o.ty.dtype) else {
        return Ok(());
    };
    let (from, scale_type) = (cx.input(0)?.ty.dtype, cx.input(1)?.ty.dtype);
    // The quotient's precision is part of the result: it decides ties.
    let precision = cx.attrs.dtype("precision").unwrap_or({
        if from.is_float() && from.size() > scale_type.size() {
            from
        } else {
            scale_type
        }
    });
    let saturate = cx.attrs.int("saturate", 1) != 0;
    let quotient = match (from, precision) {
        (DType::F32, DType::F32) => one_scale(cx)?.and_then(|s| {
            let fused = cx.machine.vector.is_some_and(|v| v.fused);
            Quotient::of(s, to, fused)
        }),
        _ => None,
    };
    map_output(cx, |cx, at| {
        let ty = Ty::of(precision);
        let x = cx.load(0, at)?;
        let x = to_ty(&mut cx.b, from, ty, x);
        let s = parameter(cx, 1, at)?;
        let s = to_ty(&mut cx.b, scale_type, ty, s);
        let (x, s) = if cx.attrs.dtype("precision").is_some() {
            (
                small::round_to(&mut cx.b, precision, x),
                small::round_to(&mut cx.b, precision, s),
            )
        } else {
            (x, s)
        };
        let q = match &quotient {
            Some(q) => q.emit(&mut cx.b, x),
            None => cx.b.div(x, s),
        };
        let q = small::round_to(&mut cx.b, precision, q);
        if let Some(f) = small::format(to) {
            let mut v = q;
            if cx.opt(2).is_some() && to == DType::F4E2M1 {
                let z = parameter(cx, 2, at)?;
                let z = to_ty(&mut cx.b, to, ty, z);
                v = cx.b.add(v, z);
            }
            let v = if ty == Ty::F64 {
                small::to_f32_odd(&mut cx.b, v)
            } else {
                v
            };
            return Ok(small::encode(&mut cx.b, &f, v, saturate, RoundMode::Up));
        }
        let zero = cx.b.int(Ty::I32, 0);
        let z = if cx.opt(2).is_some() {
            parameter(cx, 2, at)?
        } else {
            zero
        };
        Ok(match quotient {
            Some(_) => add_saturating(&mut cx.b, q, z, to),
            None => saturate_add(cx, q, z, to),
        })
    })
}

/// The scale, where there is one for all and it is known.
fn one_scale(cx: &LowerCx) -> Result<Option<f32>> {
    let scale = cx.input(1)?.konst.as_ref().filter(|s| s.len() == 1);
    let scale = scale.and_then(|s| s.to_f64s());
    Ok(scale.map(|s| s[0] as f32))
}

/// round_half_even(q) + z, limited to the range of `to`, for quotients that are limited already.
fn add_saturating(b: &mut Builder, q: ExprId, z: ExprId, to: DType) -> ExprId {
    let (lo, hi) = to.int_range().unwrap_or((0, 255));
    let (lo, hi) = (b.int(Ty::I32, lo as i64), b.int(Ty::I32, hi as i64));
    let r = nearest(b, q);
    let r = b.add(r, z);
    b.clamp(r, lo, hi)
}

/// round_half_even(q) + z, limited to the range of `to`. The limits are applied to the float, so that nothing overflows.
fn saturate_add(cx: &mut LowerCx, q: ExprId, z: ExprId, to: DType) -> ExprId {
    let b = &mut cx.b;
    let ty = b.ty(q);
    let (lo, hi) = to.int_range().unwrap_or((0, 255));
    let r = b.un(UnOp::Round, q);
    let zf = b.cast(ty, z);
    let (lo, hi) = (b.num(ty, lo as f64), b.num(ty, hi as f64));
    let (lo, hi) = (b.sub(lo, zf), b.sub(hi, zf));
    let r = b.clamp(r, lo, hi);
    let r = b.cast(Ty::I32, r);
    b.add(r, z)
}

fn lower_dequantize(cx: &mut LowerCx) -> Result<()> {
    let Some(to) = cx.output(0).map(|o| o.ty.dtype) else {
        return Ok(());
    };
    let (from, scale_type) = (cx.input(0)?.ty.dtype, cx.input(1)?.ty.dtype);
    map_output(cx, |cx, at| {
        let ty = if Ty::of(scale_type) == Ty::F64 || Ty::of(to) == Ty::F64 {
            Ty::F64
        } else {
            Ty::F32
        };
        let mut x = cx.load(0, at)?;
        if cx.opt(2).is_some() && !from.is_small_float() {
            let z = parameter(cx, 2, at)?;
            x = cx.b.sub(x, z);
        }
        let x = to_ty(&mut cx.b, from, ty, x);
        let s = parameter(cx, 1, at)?;
        let s = to_ty(&mut cx.b, scale_type, ty, s);
        let y = cx.b.mul(x, s);
        Ok(from_ty(&mut cx.b, to, y))
    })
}

/// f32 to u8 with a scale and zero point found from the data.
pub static DYNAMIC_QUANTIZE: OpDef = OpDef {
    name: "DynamicQuantizeLinear",
    onnx: &[since("DynamicQuantizeLinear", 11, read_none)],
    outputs: (3, 3),
    infer: |cx| {
        accept(cx, 0, |d| d == DType::F32)?;
        let shape = cx.shape(0)?;
        cx.out(0, DType::U8, shape);
        cx.out(1, DType::F32, vec![]);
        cx.out(2, DType::U8, vec![]);
        Ok(())
    },
    lower: Lower::Loops(lower_dynamic),
    ..BASE
};

fn lower_dynamic(cx: &mut LowerCx) -> Result<()> {
    let n = cx.input(0)?.ty.elements();
    let zero = cx.b.f(0.0);
    let count = cx.b.dim(&n);
    let at = cx.b.i(0);
    // Numbers lie between them and 0.
    let mut farthest = |end: fn(&mut Builder, ExprId, ExprId) -> ExprId| {
        fold_in_parts(cx, std::slice::from_ref(&n), &[0], &[at], zero, &end, &|cx, at, far| {
            let x = cx.load_flat(0, at[0])?;
            Ok(end(&mut cx.b, x, far))
        })
    };
    let (l, h) = (farthest(Builder::min)?, farthest(Builder::max)?);
    let b = &mut cx.b;
    let (one, top) = (b.f(1.0), b.f(255.0));
    let flat = b.eq(l, h);
    let range = b.sub(h, l);
    let range = b.select(flat, one, range);
    let scale = b.div(range, top);
    let scale = b.let_(scale);
    let z = b.div(l, scale);
    let z = b.sub(zero, z);
    let z = b.clamp(z, zero, top);
    let z = b.un(UnOp::Round, z);
    let z = b.let_(z);
    let zi = b.cast(Ty::I32, z);
    cx.store_flat(1, at, scale);
    cx.store_flat(2, at, zi);
    cx.for_(count, LoopKind::Lanes, |cx, i| {
        let x = cx.load_flat(0, i)?;
        let q = cx.b.div(x, scale);
        let q = cx.b.un(UnOp::Round, q);
        let q = cx.b.add(q, z);
        let q = cx.b.clamp(q, zero, top);
        let q = nearest(&mut cx.b, q);
        cx.store_flat(0, i, q);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::attr::Attrs;
    use crate::base::tensor::Tensor;
    use crate::ops::testing::*;

    #[test]
    fn ties_go_to_even_and_ends_saturate() {
        let x = f32s(&[6], &[0.0, 2.0, 3.0, 1000.0, -254.0, -1000.0]);
        let q = |z: Tensor| {
            numbers(
                "QuantizeLinear",
                13,
                &Attrs::default(),
                vec![data(x.clone()), data(f32s(&[], &[2.0])), data(z)],
            )
        };
        let u8s = Tensor::from_f64s(DType::U8, &[], &[128.0]);
        assert_eq!(q(u8s), [128.0, 129.0, 130.0, 255.0, 1.0, 0.0]);
        let i8s = Tensor::from_f64s(DType::I8, &[], &[1.0]);
        assert_eq!(q(i8s), [1.0, 2.0, 3.0, 127.0, -126.0, -128.0]);
    }

    #[test]
    fn axes_and_blocks_have_their_own_scales() {
        let x = Tensor::from_f64s(DType::U8, &[2, 4], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        let a = attrs([("axis", Attr::Int(0))]);
        let y = numbers(
            "DequantizeLinear",
            13,
            &a,
            vec![data(x.clone()), data(f32s(&[2], &[1.0, 10.0]))],
        );
        assert_eq!(y, [1.0, 2.0, 3.0, 4.0, 50.0, 60.0, 70.0, 80.0]);
        let a = attrs([("axis", Attr::Int(1)), ("block_size", Attr::Int(2))]);
        let s = f32s(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
        let z = Tensor::from_f64s(DType::U8, &[2, 2], &[0.0, 1.0, 2.0, 3.0]);
        let y = numbers("DequantizeLinear", 21, &a, vec![data(x), data(s), data(z)]);
        assert_eq!(y, [1.0, 2.0, 4.0, 6.0, 9.0, 12.0, 16.0, 20.0]);
    }

    #[test]
    fn one_scale_before_opset_13() {
        let x = f32s(&[1, 2], &[1.0, 2.0]);
        let r = refused(
            "QuantizeLinear",
            10,
            &Attrs::default(),
            vec![data(x), data(f32s(&[2], &[1.0, 1.0]))],
        );
        assert_eq!(r, Some("ONNX009"));
    }
}
