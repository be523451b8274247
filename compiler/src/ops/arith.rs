//! Arithmetic on numbers: two operands or many, with broadcasting, and the unary kin.

use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::loops::build::Builder;
use crate::loops::ir::{BinOp, CastKind, Const, ExprId, Ty, UnOp};
use crate::op::{BASE, InferCx, Lower, OpDef, PointCx, read_none};
use crate::ops::util::*;

/// Operators of this file.
pub static OPS: &[&OpDef] = &[
    &ADD, &SUB, &MUL, &DIV, &MOD, &POW, &NEG, &ABS, &SIGN, &RECIPROCAL, &MIN, &MAX, &SUM, &MEAN,
];

const MANY: (usize, usize) = (1, usize::MAX);

/// a + b; integers wrap.
pub static ADD: OpDef = OpDef {
    name: "Add",
    onnx: &[since("Add", 7, read_none)],
    inputs: (2, 2),
    infer: |cx| {
        elementwise(cx, number)?;
        propagate(cx, |d| Some(d[0].clone() + d[1].clone()));
        Ok(())
    },
    lower: Lower::Pointwise(|cx, x| Ok(cx.b.add(x[0], x[1]))),
    ..BASE
};

/// a - b; integers wrap.
pub static SUB: OpDef = OpDef {
    name: "Sub",
    onnx: &[since("Sub", 7, read_none)],
    inputs: (2, 2),
    infer: |cx| {
        elementwise(cx, number)?;
        propagate(cx, |d| Some(d[0].clone() - d[1].clone()));
        Ok(())
    },
    lower: Lower::Pointwise(|cx, x| Ok(cx.b.sub(x[0], x[1]))),
    ..BASE
};

/// a * b; integers wrap.
pub static MUL: OpDef = OpDef {
    name: "Mul",
    onnx: &[since("Mul", 7, read_none)],
    inputs: (2, 2),
    infer: |cx| {
        elementwise(cx, number)?;
        propagate(cx, |d| Some(d[0].clone() * d[1].clone()));
        Ok(())
    },
    lower: Lower::Pointwise(|cx, x| Ok(cx.b.mul(x[0], x[1]))),
    ..BASE
};

/// a / b; integers truncate, and x / 0 is 0.
pub static DIV: OpDef = OpDef {
    name: "Div",
    onnx: &[since("Div", 7, read_none)],
    inputs: (2, 2),
    infer: infer_div,
    lower: Lower::Pointwise(|cx, x| {
        let op = if is_u64(cx) { BinOp::DivU } else { BinOp::Div };
        Ok(cx.b.bin(op, x[0], x[1]))
    }),
    ..BASE
};

fn infer_div(cx: &mut InferCx) -> Result<()> {
    elementwise(cx, number)?;
    let (a, b) = (contents(cx, 0), contents(cx, 1));
    if let (Some(a), Some(b)) = (a, b) {
        let n = a.len().max(b.len());
        // One against one, or one against many: no other form occurs in shape arithmetic.
        if (a.len() == n || a.len() == 1) && (b.len() == n || b.len() == 1) {
            let dims = (0..n)
                .map(|i| dim_div(cx, &a[i % a.len()], &b[i % b.len()]))
                .collect();
            cx.set_dims(0, dims);
        }
    }
    Ok(())
}

/// Remainder: with the sign of the divisor (`fmod` = 0, integers) or of the dividend (`fmod` = 1).
pub static MOD: OpDef = OpDef {
    name: "Mod",
    onnx: &[since("Mod", 10, |cx| cx.keep_int("fmod", 0))],
    inputs: (2, 2),
    infer: infer_mod,
    lower: Lower::Pointwise(modulo),
    ..BASE
};

fn infer_mod(cx: &mut InferCx) -> Result<()> {
    let d = elementwise(cx, number)?;
    if d.is_float() && !cx.attrs.flag("fmod") {
        return bad("Mod of floats needs `fmod` = 1");
    }
    // The remainder of floor division, unless the file asks for the dividend's sign.
    let floor = !cx.attrs.flag("fmod");
    propagate(cx, |d| match (d[0].fixed(), d[1].fixed()) {
        (Some(a), Some(b)) if a >= 0 && b > 0 => Some(Dim::Fixed(a % b)),
        (None, Some(b)) if floor && b > 0 => d[0].modulo(&d[1]),
        _ => None,
    });
    Ok(())
}

fn modulo(cx: &mut PointCx, x: &[ExprId]) -> Result<ExprId> {
    if is_u64(cx) {
        return Ok(cx.b.bin(BinOp::RemU, x[0], x[1]));
    }
    if cx.out_type.is_float() {
        return Ok(fmod(cx, x[0], x[1]));
    }
    let r = cx.b.rem(x[0], x[1]);
    if cx.attrs.flag("fmod") {
        return Ok(r);
    }
    let zero = cx.b.int(cx.b.ty(r), 0);
    let some = cx.b.ne(r, zero);
    let (neg_r, neg_d) = (cx.b.lt(r, zero), cx.b.lt(x[1], zero));
    let differ = cx.b.xor(neg_r, neg_d);
    let fix = cx.b.and(some, differ);
    let moved = cx.b.add(r, x[1]);
    Ok(cx.b.select(fix, moved, r))
}

/// The exact remainder of floats. F32 whose quotient is not too large is divided in F64: the quotient is rounded to no other whole number, its product with
/// the divisor and the difference are exact. Else the divisor times falling powers of two is subtracted; every step is exact, too. So the result
/// is that of C's `fmod` for all magnitudes.
fn fmod(cx: &mut PointCx, a: ExprId, d: ExprId) -> ExprId {
    let b = &mut *cx.b;
    let ty = b.ty(a);
    let (zero, inf) = (b.num(ty, 0.0), b.num(ty, f64::INFINITY));
    let (mag_a, mag_d) = (b.un(UnOp::Abs, a), b.un(UnOp::Abs, d));
    let finite = b.lt(mag_a, inf);
    let divides = b.lt(zero, mag_d);
    let valid = b.and(finite, divides);
    let valid = b.let_(valid);
    let (mag_a, mag_d) = (b.let_(mag_a), b.let_(mag_d));
    if ty != Ty::F32 {
        let r = fmod_in_steps(b, valid, mag_a, mag_d);
        return signed_remainder(b, a, valid, r);
    }
    let (x, y) = (b.cast(Ty::F64, mag_a), b.cast(Ty::F64, mag_d));
    // An infinite divisor is like a very large one: it leaves all.
    let huge = b.num(Ty::F64, 1e300);
    let y = b.min(y, huge);
    let (x, y) = (b.let_(x), b.let_(y));
    let q = b.div(x, y);
    let q = b.un(UnOp::Trunc, q);
    let q = b.let_(q);
    let p = b.mul(q, y);
    let r = b.sub(x, p);
    let r = b.cast(Ty::F32, r);
    let r = b.var(r);
    // 24 bits of the divisor and 28 of the quotient fit into the 53 of a product.
    let most = b.num(Ty::F64, (1i64 << 28) as f64);
    let large = b.lt(most, q);
    let steps = b.and(valid, large);
    b.if_(
        steps,
        |b| {
            let v = fmod_in_steps(b, valid, mag_a, mag_d);
            b.set(r, v);
        },
        |_| {},
    );
    let r = b.get(r);
    signed_remainder(b, a, valid, r)
}

/// With the sign of the dividend; NaN where there is none.
fn signed_remainder(b: &mut Builder, a: ExprId, valid: ExprId, r: ExprId) -> ExprId {
    let nan = b.num(b.ty(a), f64::NAN);
    // Signs are as good as random: bits, no branches.
    let (of, to) = (b.un(UnOp::ToBits, a), b.un(UnOp::ToBits, r));
    let sign = match b.ty(of) {
        Ty::I32 => b.int(Ty::I32, i64::from(i32::MIN)),
        _ => b.i(i64::MIN),
    };
    let sign = b.and(of, sign);
    let bits = b.or(to, sign);
    let signed = b.un(UnOp::FromBits, bits);
    let out = b.select(valid, signed, nan);
    b.let_(out)
}

/// The remainder of magnitudes, step by step; 0 where it is not valid.
fn fmod_in_steps(b: &mut Builder, valid: ExprId, mag_a: ExprId, mag_d: ExprId) -> ExprId {
    let ty = b.ty(mag_a);
    let (zero, one, half) = (b.num(ty, 0.0), b.num(ty, 1.0), b.num(ty, 0.5));
    let start = b.select(valid, mag_a, zero);
    let r = b.var(start);
    let y = b.select(valid, mag_d, one);
    let y = b.let_(y);
    let t = b.var(y);
    let (rv, tv) = (b.get(r), b.get(t));
    let twice = b.add(tv, tv);
    let grow = b.le(twice, rv);
    b.while_(grow, |b| b.set(t, twice));
    let more = b.le(y, tv);
    b.while_(more, |b| {
        let fits = b.le(tv, rv);
        let less = b.sub(rv, tv);
        let next = b.select(fits, less, rv);
        b.set(r, next);
        let shorter = b.mul(tv, half);
        b.set(t, shorter);
    });
    b.let_(rv)
}

/// x to the power y; the types may differ, the result has the base's.
pub static POW: OpDef = OpDef {
    name: "Pow",
    onnx: &[since("Pow", 7, read_none)],
    inputs: (2, 2),
    infer: |cx| {
        let d = accept(cx, 0, number)?;
        accept(cx, 1, number)?;
        let shape = broadcast_inputs(cx)?;
        cx.out(0, d, shape);
        Ok(())
    },
    lower: Lower::Pointwise(pow),
    ..BASE
};

fn pow(cx: &mut PointCx, x: &[ExprId]) -> Result<ExprId> {
    let exp_type = cx.in_types.get(1).copied().flatten().unwrap_or(cx.out_type);
    let out = cx.out_type;
    let ty = Ty::of(out);
    let b = &mut *cx.b;
    let kind = |d| {
        if d == DType::U64 {
            CastKind::Unsigned
        } else {
            CastKind::Signed
        }
    };
    if out.is_float() {
        let y = b.cast_as(ty, kind(exp_type), x[1]);
        let known = match b.as_const(y) {
            Some(Const::F32(v)) => Some(f32::from_bits(v) as f64),
            Some(Const::F64(v)) => Some(f64::from_bits(v)),
            _ => b.as_i64(x[1]).map(|v| v as f64),
        };
        return Ok(match known {
            Some(1.0) => x[0],
            Some(2.0) => b.mul(x[0], x[0]),
            Some(-1.0) => {
                let one = b.num(ty, 1.0);
                b.div(one, x[0])
            }
            _ => b.bin(BinOp::Pow, x[0], y),
        });
    }
    if !exp_type.is_float() {
        let (base, e) = (b.cast(Ty::I64, x[0]), b.cast(Ty::I64, x[1]));
        let r = int_pow(cx, base, e);
        return Ok(cx.b.cast(ty, r));
    }
    let base = b.cast_as(Ty::F64, kind(out), x[0]);
    let y = b.cast(Ty::F64, x[1]);
    let p = b.bin(BinOp::Pow, base, y);
    // A whole result may come out a few ulp below the whole number, and truncating would lose 1.
    let r = b.un(UnOp::Round, p);
    let off = b.sub(p, r);
    let off = b.un(UnOp::Abs, off);
    let mag = b.un(UnOp::Abs, p);
    let eps = b.num(Ty::F64, f64::EPSILON * 16.0);
    let near = b.mul(mag, eps);
    let close = b.le(off, near);
    let p = b.select(close, r, p);
    Ok(b.cast_as(ty, kind(out), p))
}

/// Whole powers by squaring, wrapping. A negative exponent gives the truncated reciprocal.
fn int_pow(cx: &mut PointCx, base: ExprId, e: ExprId) -> ExprId {
    let b = &mut *cx.b;
    let (zero, one, minus) = (b.i(0), b.i(1), b.i(-1));
    let left = b.max(e, zero);
    let left = b.var(left);
    let p = b.var(base);
    let r = b.var(one);
    let (lv, pv, rv) = (b.get(left), b.get(p), b.get(r));
    let more = b.lt(zero, lv);
    b.while_(more, |b| {
        let low = b.and(lv, one);
        let odd = b.ne(low, zero);
        let times = b.mul(rv, pv);
        let next = b.select(odd, times, rv);
        b.set(r, next);
        let square = b.mul(pv, pv);
        b.set(p, square);
        let half = b.shr(lv, one);
        b.set(left, half);
    });
    let negative = b.lt(e, zero);
    let low = b.and(e, one);
    let odd = b.ne(low, zero);
    let is_one = b.eq(base, one);
    let is_minus = b.eq(base, minus);
    let alternating = b.select(odd, minus, one);
    let inverse = b.select(is_minus, alternating, zero);
    let inverse = b.select(is_one, one, inverse);
    let out = b.select(negative, inverse, rv);
    b.let_(out)
}

/// -x.
pub static NEG: OpDef = OpDef {
    name: "Neg",
    onnx: &[since("Neg", 6, read_none)],
    infer: |cx| {
        number_unary(cx)?;
        propagate(cx, |d| Some(Dim::Fixed(0) - d[0].clone()));
        Ok(())
    },
    lower: Lower::Pointwise(|cx, x| Ok(cx.b.un(UnOp::Neg, x[0]))),
    ..BASE
};

/// |x|.
pub static ABS: OpDef = OpDef {
    name: "Abs",
    onnx: &[since("Abs", 6, read_none)],
    infer: |cx| {
        number_unary(cx)?;
        propagate(cx, |d| Some(Dim::Fixed(d[0].fixed()?.checked_abs()?)));
        Ok(())
    },
    lower: Lower::Pointwise(|cx, x| {
        Ok(if cx.out_type.is_unsigned() {
            x[0]
        } else {
            cx.b.un(UnOp::Abs, x[0])
        })
    }),
    ..BASE
};

/// -1, 0 or 1; NaN stays NaN.
pub static SIGN: OpDef = OpDef {
    name: "Sign",
    onnx: &[since("Sign", 9, read_none)],
    infer: number_unary,
    lower: Lower::Pointwise(|cx, x| {
        let ty = cx.b.ty(x[0]);
        let (zero, one, minus) = (cx.b.int(ty, 0), cx.b.int(ty, 1), cx.b.int(ty, -1));
        let is_pos = if cx.out_type.is_unsigned() {
            cx.b.ne(x[0], zero)
        } else {
            cx.b.lt(zero, x[0])
        };
        let is_neg = if cx.out_type.is_unsigned() {
            cx.b.bool(false)
        } else {
            cx.b.lt(x[0], zero)
        };
        let low = cx.b.select(is_neg, minus, x[0]);
        Ok(cx.b.select(is_pos, one, low))
    }),
    ..BASE
};

/// 1 / x.
pub static RECIPROCAL: OpDef = OpDef {
    name: "Reciprocal",
    onnx: &[since("Reciprocal", 6, read_none)],
    infer: float_unary,
    lower: Lower::Pointwise(|cx, x| {
        let one = cx.b.num(cx.b.ty(x[0]), 1.0);
        Ok(cx.b.div(one, x[0]))
    }),
    ..BASE
};

/// The smallest of all inputs; NaN where one is NaN.
pub static MIN: OpDef = OpDef {
    name: "Min",
    onnx: &[since("Min", 6, read_none)],
    inputs: MANY,
    infer: |cx| {
        elementwise(cx, number)?;
        propagate(cx, |d| d.iter().cloned().reduce(|a, b| a.smaller(&b)));
        Ok(())
    },
    lower: Lower::Pointwise(|cx, x| {
        let d = cx.out_type;
        Ok(fold(cx, x, |cx, a, b| smaller(cx.b, d, a, b)))
    }),
    ..BASE
};

/// The largest of all inputs; NaN where one is NaN.
pub static MAX: OpDef = OpDef {
    name: "Max",
    onnx: &[since("Max", 6, read_none)],
    inputs: MANY,
    infer: |cx| {
        elementwise(cx, number)?;
        propagate(cx, |d| d.iter().cloned().reduce(|a, b| a.larger(&b)));
        Ok(())
    },
    lower: Lower::Pointwise(|cx, x| {
        let d = cx.out_type;
        Ok(fold(cx, x, |cx, a, b| larger(cx.b, d, a, b)))
    }),
    ..BASE
};

/// The sum of all inputs.
pub static SUM: OpDef = OpDef {
    name: "Sum",
    onnx: &[since("Sum", 6, read_none)],
    inputs: MANY,
    infer: |cx| elementwise(cx, float).map(|_| ()),
    lower: Lower::Pointwise(|cx, x| Ok(fold(cx, x, |cx, a, b| cx.b.add(a, b)))),
    ..BASE
};

/// The mean of all inputs.
pub static MEAN: OpDef = OpDef {
    name: "Mean",
    onnx: &[since("Mean", 6, read_none)],
    inputs: MANY,
    infer: |cx| elementwise(cx, float).map(|_| ()),
    lower: Lower::Pointwise(|cx, x| {
        let sum = fold(cx, x, |cx, a, b| cx.b.add(a, b));
        let n = cx.b.num(cx.b.ty(sum), x.len() as f64);
        Ok(cx.b.div(sum, n))
    }),
    ..BASE
};

fn fold(
    cx: &mut PointCx,
    x: &[ExprId],
    f: impl Fn(&mut PointCx, ExprId, ExprId) -> ExprId,
) -> ExprId {
    let mut acc = x[0];
    for &v in &x[1..] {
        acc = f(cx, acc, v);
    }
    acc
}

#[cfg(test)]
mod tests {
    use crate::base::attr::{Attr, Attrs};
    use crate::base::dtype::DType::*;
    use crate::ops::testing::*;

    fn two(name: &str, d: crate::base::dtype::DType, a: &[f64], b: &[f64]) -> Vec<f64> {
        numbers(name, 13, &Attrs::default(), vec![data(list(d, a)), data(list(d, b))])
    }

    #[test]
    fn integers_wrap_and_truncate() {
        assert_eq!(two("Add", U8, &[250.0, 1.0], &[10.0, 2.0]), [4.0, 3.0]);
        assert_eq!(two("Sub", U32, &[1.0], &[2.0]), [4294967295.0]);
        assert_eq!(two("Div", I32, &[-7.0, 7.0, 5.0], &[2.0, -2.0, 0.0]), [-3.0, -3.0, 0.0]);
        assert_eq!(two("Div", U64, &[18446744073709549568.0], &[2.0]), [9223372036854774784.0]);
    }

    #[test]
    fn remainders_take_the_right_sign() {
        let (a, b) = ([-4.0, 7.0, 5.0, 4.0, -7.0, 8.0], [2.0, -3.0, 8.0, -2.0, 3.0, 5.0]);
        assert_eq!(two("Mod", I64, &a, &b), [0.0, -2.0, 5.0, 0.0, 2.0, 3.0]);
        let fmod = attrs([("fmod", Attr::Int(1))]);
        let run = |d, a: &[f64], b: &[f64]| {
            numbers("Mod", 13, &fmod, vec![data(list(d, a)), data(list(d, b))])
        };
        assert_eq!(run(I32, &a, &b), [0.0, 1.0, 5.0, 0.0, -1.0, 3.0]);
        // C's fmod of numbers that are far apart: 1e30f mod 7f = 6, 1e300 mod 3.7.
        assert_eq!(run(F32, &[1e30, -5.5], &[7.0, 2.0]), [(1e30f32 as f64) % 7.0, -1.5]);
        assert_eq!(run(F64, &[1e300], &[3.7]), [1e300f64 % 3.7]);
        // Quotients on both sides of what is divided at once, and next to whole numbers.
        let many: Vec<(f64, f64)> = (1..2000i32)
            .map(|i| {
                let d = f64::from((1.0 + i as f32 * 0.37).sqrt() * [1.0, 1e-7, 3e5][i as usize % 3]);
                let q = libm::ldexp(1.0 + f64::from(i % 7), i % 40);
                let a = (q * d) as f32;
                let near = [a, f32::from_bits(a.to_bits() + 1), f32::from_bits(a.to_bits() - 1), -a];
                (f64::from(near[i as usize % 4]), if i % 5 == 0 { -d } else { d })
            })
            .collect();
        let (a, d): (Vec<f64>, Vec<f64>) = many.iter().copied().unzip();
        let want: Vec<f64> = many.iter().map(|(a, d)| a % d).collect();
        assert_eq!(run(F32, &a, &d), want);
        assert_eq!(run(F32, &[-3.0, 0.0], &[f64::INFINITY, -f64::INFINITY]), [-3.0, 0.0]);
        assert!(run(F32, &[1.0, f64::INFINITY], &[0.0, 2.0]).iter().all(|v| v.is_nan()));
    }

    #[test]
    fn powers_of_mixed_types() {
        let run = |a, b| numbers("Pow", 15, &Attrs::default(), vec![data(a), data(b)]);
        assert_eq!(run(list(I32, &[2.0, -3.0, 5.0]), list(I64, &[10.0, 3.0, -1.0])), [1024.0, -27.0, 0.0]);
        assert_eq!(run(list(I64, &[4.0, 10.0]), list(F32, &[0.5, 3.0])), [2.0, 1000.0]);
        assert_eq!(run(list(F32, &[1.5, -2.0]), list(I32, &[2.0, 3.0])), [2.25, -8.0]);
    }

    #[test]
    fn extremes_pass_nan_on() {
        let nan = f64::NAN;
        for name in ["Min", "Max"] {
            let r = two(name, F32, &[nan, 1.0, 1.0], &[1.0, nan, 1.0]);
            assert!(r[0].is_nan() && r[1].is_nan() && r[2] == 1.0, "{name}");
        }
        assert_eq!(two("Max", U64, &[18446744073709549568.0], &[1.0]), [18446744073709549568.0]);
    }

    #[test]
    fn strings_are_refused() {
        let s = crate::base::tensor::Tensor::strings(vec![1], vec!["a".into()]);
        let r = refused("Add", 13, &Attrs::default(), vec![data(s.clone()), data(s)]);
        assert_eq!(r, Some("ONNX014"));
    }
}
