//! Conversions between element types.
//!
//! Float to whole number truncates; what does not fit is undefined in ONNX, and wraps from 32 (64) bits here as numpy
//! does. Whole numbers wrap. Small floats saturate, or not, as the attribute says.

use crate::base::attr::{Attr, Attrs};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dtype::DType;
use crate::loops::build::Builder;
use crate::loops::ir::{CastKind, ExprId, Ty};
use crate::op::{BASE, InferCx, Lower, OpDef, PointCx, ReadCx, onnx};
use crate::ops::small_float::{self as small, RoundMode};
use crate::ops::util::*;

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&CAST, &CAST_LIKE];

/// Conversion to the type `to`.
pub static CAST: OpDef = OpDef {
    name: "Cast",
    onnx: &[since("Cast", 6, |cx| {
        let Some(to) = cx.dtype("to")? else {
            return bad("Cast without `to`");
        };
        cx.set("to", Attr::Type(to));
        read_rounding(cx)
    })],
    infer: |cx| {
        let to = cx.attrs.dtype("to").unwrap_or(DType::F32);
        infer_cast(cx, to)
    },
    lower: Lower::Pointwise(|cx: &mut PointCx, x: &[ExprId]| {
        let from = cx.in_types[0].unwrap_or(cx.out_type);
        let how = How::of(cx.attrs);
        Ok(convert(cx.b, from, cx.out_type, x[0], how))
    }),
    ..BASE
};

/// Conversion to the type of the second input.
pub static CAST_LIKE: OpDef = OpDef {
    name: "CastLike",
    onnx: &[onnx("CastLike", 15, crate::op::LATEST, read_rounding)],
    inputs: (2, 2),
    infer: |cx| {
        let to = cx.dtype(1)?;
        infer_cast(cx, to)
    },
    lower: Lower::Loops(|cx| {
        let from = cx.input(0)?.ty.dtype;
        let Some(to) = cx.output(0).map(|o| o.ty.dtype) else {
            return Ok(());
        };
        let how = How::of(cx.attrs);
        map_output(cx, |cx, at| {
            let v = cx.load(0, at)?;
            let v = convert(&mut cx.b, from, to, v, how);
            Ok(crate::kernel::wrap(&mut cx.b, to, v))
        })
    }),
    tails: true,
    ..BASE
};

fn read_rounding(cx: &mut ReadCx) -> Result<()> {
    cx.keep_int("saturate", 1)?;
    let mode = cx.str("round_mode", "up")?;
    if !matches!(mode.as_str(), "up" | "down" | "nearest") {
        return cx.unsupported(format!("`round_mode` = {mode:?}"));
    }
    cx.set("round_mode", Attr::Str(mode));
    Ok(())
}

fn infer_cast(cx: &mut InferCx, to: DType) -> Result<()> {
    accept(cx, 0, any)?;
    if !any(to) {
        return Err(Diagnostic::unsupported(
            "ONNX014",
            format!("conversion to {to} is not supported"),
        ));
    }
    let shape = cx.shape(0)?;
    cx.out(0, to, shape);
    // Wider or equal integers keep sizes as they are; narrower ones could wrap.
    if matches!(to, DType::I64 | DType::I32 | DType::U64) {
        let dims = contents(cx, 0);
        cx.set_dims(0, dims);
    }
    Ok(())
}

/// How small floats are rounded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct How {
    /// Numbers that are too large become the largest.
    pub saturate: bool,
    /// For the exponent-only type.
    pub round: RoundMode,
}

impl How {
    /// As the attributes say.
    pub fn of(attrs: &Attrs) -> How {
        How {
            saturate: attrs.int("saturate", 1) != 0,
            round: match attrs.str("round_mode", "up") {
                "down" => RoundMode::Down,
                "nearest" => RoundMode::Nearest,
                _ => RoundMode::Up,
            },
        }
    }
}

/// An element of type `from` as a number of computing type `ty`.
pub fn to_ty(b: &mut Builder, from: DType, ty: Ty, v: ExprId) -> ExprId {
    if let Some(f) = small::format(from) {
        let v = small::decode(b, &f, v);
        return b.cast(ty, v);
    }
    let kind = if from == DType::U64 {
        CastKind::Unsigned
    } else {
        CastKind::Signed
    };
    b.cast_as(ty, kind, v)
}

/// A float `v` (F32 or F64) as an element of type `to`.
pub fn from_ty(b: &mut Builder, to: DType, v: ExprId) -> ExprId {
    let from = if b.ty(v) == Ty::F64 {
        DType::F64
    } else {
        DType::F32
    };
    let how = How {
        saturate: true,
        round: RoundMode::Up,
    };
    convert(b, from, to, v, how)
}

/// Converts an element. The result may be out of the range of a narrow integer type `to`: storing wraps it.
pub fn convert(b: &mut Builder, from: DType, to: DType, v: ExprId, how: How) -> ExprId {
    if from == to {
        return v;
    }
    let (from, v) = match small::format(from) {
        Some(f) => (DType::F32, small::decode(b, &f, v)),
        None => (from, v),
    };
    if let Some(f) = small::format(to) {
        let x = match from {
            DType::F64 => small::to_f32_odd(b, v),
            _ => to_ty(b, from, Ty::F32, v),
        };
        return small::encode(b, &f, x, how.saturate, how.round);
    }
    match to {
        // Two roundings, to f32 and on, are not one.
        DType::F16 | DType::BF16 if from == DType::F64 => small::to_f32_odd(b, v),
        DType::U64 if from.is_float() => b.cast_as(Ty::I64, CastKind::Unsigned, v),
        _ => to_ty(b, from, Ty::of(to), v),
    }
}

#[cfg(test)]
mod tests {
    use crate::base::attr::Attr;
    use crate::base::dtype::DType::{self, *};
    use crate::ops::testing::*;

    fn cast(from: DType, to: DType, v: &[f64]) -> Vec<f64> {
        let a = attrs([("to", Attr::Int(to.onnx() as i64))]);
        numbers("Cast", 21, &a, vec![data(list(from, v))])
    }

    #[test]
    fn numbers_truncate_and_wrap() {
        assert_eq!(cast(F32, I32, &[1.9, -1.9, 0.4]), [1.0, -1.0, 0.0]);
        assert_eq!(cast(I32, U8, &[300.0, -1.0]), [44.0, 255.0]);
        assert_eq!(cast(F32, I4, &[-20.0, 9.0, 7.5]), [-4.0, -7.0, 7.0]);
        assert_eq!(cast(I64, U2, &[5.0]), [1.0]);
        assert_eq!(cast(U64, F64, &[18446744073709549568.0]), [18446744073709549568.0]);
        assert_eq!(cast(F32, Bool, &[0.0, -0.0, 0.4, f64::NAN]), [0.0, 0.0, 1.0, 1.0]);
        assert_eq!(cast(Bool, F16, &[1.0, 0.0]), [1.0, 0.0]);
    }

    #[test]
    fn doubles_are_rounded_once() {
        // 1 + 2^-11 + 2^-40 lies above the middle of two halves, but f32 would bring it onto the middle.
        let two = |n: i32| libm::ldexp(1.0, n);
        let x = 1.0 + two(-11) + two(-40);
        assert_eq!(cast(F64, F16, &[x, -x]), [1.0 + two(-10), -1.0 - two(-10)]);
    }
}
