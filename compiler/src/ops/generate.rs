//! Operators that make values out of sizes and numbers: Constant, ConstantOfShape, Shape, Size, Range, EyeLike, Trilu, OneHot.

use crate::base::attr::Attr;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::{Dim, elements};
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::base::types::TensorType;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{ExprId, LoopKind, Ty};
use crate::op::{BASE, InferCx, Lower, OpDef, ReadCx, onnx, read_none};
use crate::ops::pad::scalar;
use crate::ops::util::*;

/// Operators of this file.
pub static OPS: &[&OpDef] = &[
    &CONSTANT,
    &CONSTANT_OF_SHAPE,
    &SHAPE,
    &SIZE,
    &RANGE,
    &EYE_LIKE,
    &TRILU,
    &ONE_HOT,
];

/// A value given by an attribute. Importing makes literals of these; one that is left is a copy of its attribute.
pub static CONSTANT: OpDef = OpDef {
    name: "Constant",
    onnx: &[since("Constant", 1, read_constant)],
    inputs: (0, 0),
    infer: |cx| match cx.attrs.tensor("value") {
        Some(t) if any(t.dtype) => {
            let (ty, dims) = (TensorType::of(t), small_dims(t));
            cx.set(0, ty);
            cx.set_dims(0, dims);
            Ok(())
        }
        Some(t) => Err(Diagnostic::unsupported(
            "ONNX014",
            format!("a constant of type {}", t.dtype),
        )),
        None => bad("Constant without a value"),
    },
    lower: Lower::Loops(|cx| {
        let Some(t) = cx.attrs.tensor("value").cloned() else {
            return bad("Constant without a value");
        };
        let n = cx.b.i(t.len() as i64);
        let buf = cx.constant("value", t);
        cx.for_(n, LoopKind::Lanes, |cx, i| {
            let v = cx.b.load(buf, i);
            cx.store_flat(0, i, v);
            Ok(())
        })
    }),
    ..BASE
};

fn small_dims(t: &Tensor) -> Option<Vec<Dim>> {
    if t.len() > 1024 || !t.dtype.is_int() {
        return None;
    }
    Some(t.to_i64s()?.into_iter().map(Dim::Fixed).collect())
}

fn read_constant(cx: &mut ReadCx) -> Result<()> {
    let mut found = vec![];
    if let Some(t) = cx.tensor("value")? {
        found.push(t);
    }
    if let Some(v) = cx.opt_float("value_float")? {
        found.push(Tensor::f32(&[], &[v]));
    }
    if let Some(v) = cx.floats("value_floats")? {
        found.push(Tensor::f32(&[v.len() as i64], &v));
    }
    if let Some(v) = cx.opt_int("value_int")? {
        found.push(Tensor::i64(&[], &[v]));
    }
    if let Some(v) = cx.ints("value_ints")? {
        found.push(Tensor::i64(&[v.len() as i64], &v));
    }
    if let Some(v) = cx.opt_str("value_string")? {
        found.push(Tensor::strings(vec![], vec![v]));
    }
    if let Some(v) = cx.strs("value_strings")? {
        found.push(Tensor::strings(vec![v.len() as i64], v));
    }
    if cx.raw("sparse_value").is_some() {
        return cx.unsupported("sparse constants");
    }
    match <[Tensor; 1]>::try_from(found) {
        Ok([t]) => {
            cx.set("value", Attr::Tensor(t));
            Ok(())
        }
        Err(v) => bad(format!("Constant with {} values", v.len())),
    }
}

/// A tensor of the shape in the input, every element the same.
pub static CONSTANT_OF_SHAPE: OpDef = OpDef {
    name: "ConstantOfShape",
    onnx: &[since("ConstantOfShape", 9, |cx| {
        let t = cx.tensor("value")?.unwrap_or(Tensor::f32(&[1], &[0.0]));
        if t.len() != 1 || !any(t.dtype) {
            return cx.unsupported("the value of ConstantOfShape must be one number");
        }
        cx.set("value", Attr::Tensor(t));
        Ok(())
    })],
    infer: |cx| {
        let Some(t) = cx.attrs.tensor("value").cloned() else {
            return bad("ConstantOfShape without a value");
        };
        let shape = known_dims(cx, 0, "input")?;
        for s in &shape {
            check_size(cx, s, "a size")?;
        }
        let n = elements(&shape).fixed().filter(|n| *n <= 1024);
        let dims = small_dims(&t).zip(n).map(|(d, n)| vec![d[0].clone(); n as usize]);
        cx.out(0, t.dtype, shape);
        cx.set_dims(0, dims);
        Ok(())
    },
    lower: Lower::Loops(|cx| {
        let v = cx.attrs.tensor("value").cloned();
        let Some(v) = v.and_then(|t| scalar(&mut cx.b, &t)) else {
            return bad("ConstantOfShape without a value");
        };
        map_output(cx, |_, _| Ok(v))
    }),
    tails: true,
    ..BASE
};

/// The sizes of the axes `start..end`.
pub static SHAPE: OpDef = OpDef {
    name: "Shape",
    onnx: &[
        onnx("Shape", 1, 14, read_none),
        since("Shape", 15, |cx| {
            cx.keep_int("start", 0)?;
            if let Some(end) = cx.opt_int("end")? {
                cx.set("end", Attr::Int(end));
            }
            Ok(())
        }),
    ],
    infer: |cx| {
        accept(cx, 0, any)?;
        let dims = asked(cx.attrs, &cx.shape(0)?);
        cx.out(0, DType::I64, vec![Dim::Fixed(dims.len() as i64)]);
        cx.set_dims(0, Some(dims));
        Ok(())
    },
    lower: Lower::Loops(|cx| {
        let dims = asked(cx.attrs, &cx.in_shape(0)?);
        for (k, d) in dims.iter().enumerate() {
            let (at, v) = (cx.b.i(k as i64), cx.b.dim(d));
            cx.store_flat(0, at, v);
        }
        Ok(())
    }),
    ..BASE
};

fn asked(attrs: &crate::base::attr::Attrs, shape: &[Dim]) -> Vec<Dim> {
    let r = shape.len() as i64;
    let norm = |v: i64| if v < 0 { v.saturating_add(r) } else { v }.clamp(0, r) as usize;
    let (start, end) = (norm(attrs.int("start", 0)), norm(attrs.int("end", r)));
    shape.get(start..end).unwrap_or(&[]).to_vec()
}

/// The number of elements.
pub static SIZE: OpDef = OpDef {
    name: "Size",
    onnx: &[since("Size", 1, read_none)],
    infer: |cx| {
        accept(cx, 0, any)?;
        let n = elements(&cx.shape(0)?);
        cx.out(0, DType::I64, vec![]);
        cx.set_dims(0, Some(vec![n]));
        Ok(())
    },
    lower: Lower::Loops(|cx| {
        let n = elements(&cx.in_shape(0)?);
        let (at, v) = (cx.b.i(0), cx.b.dim(&n));
        cx.store_flat(0, at, v);
        Ok(())
    }),
    ..BASE
};

/// start, start + delta, ... below limit.
pub static RANGE: OpDef = OpDef {
    name: "Range",
    onnx: &[since("Range", 11, read_none)],
    inputs: (3, 3),
    infer: infer_range,
    lower: Lower::Loops(lower_range),
    tails: true,
    ..BASE
};

fn infer_range(cx: &mut InferCx) -> Result<()> {
    let d = accept_same(cx, 0, number)?;
    for i in 0..3 {
        if !cx.input(i)?.ty.elements().is(1) {
            return bad("start, limit and delta of Range must be scalars");
        }
    }
    let konst = |i: usize| const_scalar(cx.input(i).ok()?.konst.as_ref());
    if d.is_float() {
        let (Some(start), Some(limit), Some(delta)) = (konst(0), konst(1), konst(2)) else {
            return Err(unknown_range());
        };
        let n = libm::ceil((limit - start) / delta);
        if delta == 0.0 || !n.is_finite() || n > 1e15 {
            return bad("Range without an end");
        }
        cx.out(0, d, vec![Dim::Fixed((n as i64).max(0))]);
        return Ok(());
    }
    let one = |i: usize| contents(cx, i)?.first().cloned();
    let (Some(start), Some(limit), Some(delta)) = (one(0), one(1), one(2)) else {
        return Err(unknown_range());
    };
    let Some(step) = delta.fixed().filter(|&s| s != 0) else {
        return Err(unknown_range());
    };
    let span = if step > 0 {
        limit - start.clone()
    } else {
        start.clone() - limit
    };
    let n = span
        .ceil_div(&Dim::Fixed(step.saturating_abs()))
        .ok_or_else(unknown_range)?;
    let n = dim_max(cx.symbols, &n, &Dim::Fixed(0));
    let dims = n.fixed().filter(|n| *n <= 1024).map(|n| {
        (0..n)
            .map(|i| start.clone() + Dim::Fixed(i.saturating_mul(step)))
            .collect()
    });
    cx.out(0, d, vec![n]);
    cx.set_dims(0, dims);
    Ok(())
}

fn unknown_range() -> Box<Diagnostic> {
    Diagnostic::unsupported(
        "ONNX012",
        "the length of Range depends on data and has no bound",
    )
    .help("fix the dimensions it is computed from with --dim or --input")
}

fn lower_range(cx: &mut LowerCx) -> Result<()> {
    let ty = cx.in_ty(0)?;
    let zero = cx.b.i(0);
    let one = |cx: &mut LowerCx, i: usize| -> Result<_> {
        match cx.input(i)?.konst.clone().and_then(|t| scalar(&mut cx.b, &t)) {
            Some(v) => Ok(v),
            None => {
                let v = cx.load_flat(i, zero)?;
                Ok(cx.b.let_(v))
            }
        }
    };
    let (start, delta) = (one(cx, 0)?, one(cx, 2)?);
    map_output(cx, |cx, at| {
        let i = cx.b.cast(ty, at[0]);
        let step = cx.b.mul(i, delta);
        Ok(cx.b.add(start, step))
    })
}

/// Ones on the `k`-th diagonal of a matrix of the input's shape.
pub static EYE_LIKE: OpDef = OpDef {
    name: "EyeLike",
    onnx: &[since("EyeLike", 9, |cx| {
        cx.keep_int("k", 0)?;
        if let Some(d) = cx.dtype("dtype")? {
            cx.set("dtype", Attr::Type(d));
        }
        Ok(())
    })],
    infer: |cx| {
        let d = accept(cx, 0, any)?;
        let d = cx.attrs.dtype("dtype").unwrap_or(d);
        if !number_or_bool(d) {
            return Err(Diagnostic::unsupported("ONNX014", format!("EyeLike of type {d}")));
        }
        let s = cx.shape(0)?;
        if s.len() != 2 {
            return bad("EyeLike needs a matrix");
        }
        cx.out(0, d, s);
        Ok(())
    },
    lower: Lower::Loops(|cx| {
        let Some(d) = cx.output(0).map(|o| o.ty.dtype) else {
            return Ok(());
        };
        let ty = Ty::of(d);
        let (none, one) = (cx.b.int(ty, 0), cx.b.int(ty, 1));
        let shape = cx.out_shape()?;
        let (rows, columns) = (&shape[..1], cx.b.dim(&shape[1]));
        let k = cx.b.i(cx.attrs.int("k", 0));
        cx.each(rows, LoopKind::Seq, |cx, at| {
            // The one lies behind so many; before the first or behind the last column it is not there.
            let (near, far) = (ex!(cx.b; {cx.b.i(-1)} - {at[0]}), cx.b.sub(columns, at[0]));
            let k = cx.b.clamp(k, near, far);
            let on = cx.b.add(at[0], k);
            let on = cx.b.let_(on);
            let zero = cx.b.i(0);
            let before = cx.b.max(on, zero);
            let behind = ex!(cx.b; on + 1);
            let there = ex!(cx.b; (on >= 0) & (on < columns));
            let there = cx.b.cast(Ty::I64, there);
            let left = cx.b.sub(columns, behind);
            for (from, count, v) in [(zero, before, none), (on, there, one), (behind, left, none)] {
                cx.for_(count, LoopKind::Lanes, |cx, i| {
                    let column = cx.b.add(from, i);
                    cx.store(0, &[at[0], column], v);
                    Ok(())
                })?;
            }
            Ok(())
        })
    }),
    tails: true,
    ..BASE
};

/// The upper or lower triangle of matrices, the rest 0.
pub static TRILU: OpDef = OpDef {
    name: "Trilu",
    onnx: &[since("Trilu", 14, |cx| cx.keep_int("upper", 1))],
    inputs: (1, 2),
    infer: |cx| {
        accept(cx, 0, any)?;
        if cx.shape(0)?.len() < 2 {
            return bad("Trilu needs matrices");
        }
        if cx.opt(1).is_some() {
            accept(cx, 1, |d| d == DType::I64)?;
            if !cx.input(1)?.ty.elements().is(1) {
                return bad("`k` of Trilu must be a scalar");
            }
        }
        crate::op::same_as_first(cx)
    },
    lower: Lower::Loops(|cx| {
        let ty = cx.in_ty(0)?;
        let at0 = cx.b.i(0);
        let k = match cx.opt(1).map(|o| o.konst.clone()) {
            None => at0,
            Some(Some(t)) => cx.b.i(t.get_i64(0).unwrap_or(0)),
            Some(None) => {
                let v = cx.load_flat(1, at0)?;
                cx.b.let_(v)
            }
        };
        let upper = cx.attrs.int("upper", 1) != 0;
        let zero = cx.b.int(ty, 0);
        let shape = cx.out_shape()?;
        let (last, rows) = (shape.len() - 1, &shape[..shape.len() - 1]);
        let columns = cx.b.dim(&shape[last]);
        cx.each(rows, LoopKind::Seq, |cx, at| {
            // So many columns stand before the diagonal, or up to it where the lower triangle is kept.
            let row = at[last - 1];
            let first = if upper { row } else { ex!(cx.b; row + 1) };
            // A far k is brought near, so that nothing overflows.
            let (near, far) = (ex!(cx.b; 0 - first), cx.b.sub(columns, first));
            let k = cx.b.clamp(k, near, far);
            let before = cx.b.add(first, k);
            let before = cx.b.let_(before);
            let behind = cx.b.sub(columns, before);
            for (from, count, keep) in [(at0, before, !upper), (before, behind, upper)] {
                cx.for_(count, LoopKind::Lanes, |cx, i| {
                    let column = cx.b.add(from, i);
                    let index = [at, &[column]].concat();
                    let v = if keep { cx.load(0, &index)? } else { zero };
                    cx.store(0, &index, v);
                    Ok(())
                })?;
            }
            Ok(())
        })
    }),
    tails: true,
    ..BASE
};

/// Along a new axis of `depth` elements, `values[1]` where the index is, `values[0]` elsewhere.
pub static ONE_HOT: OpDef = OpDef {
    name: "OneHot",
    onnx: &[since("OneHot", 9, read_axis_last)],
    inputs: (3, 3),
    infer: |cx| {
        accept(cx, 0, number)?;
        accept(cx, 1, number)?;
        let d = accept(cx, 2, any)?;
        let mut shape = cx.shape(0)?;
        if cx.shape(2)? != [Dim::Fixed(2)] {
            return bad("`values` of OneHot must be two numbers");
        }
        let axis = cx.axis(cx.attrs.int("axis", -1), shape.len() + 1)?;
        let depth = depth(cx)?;
        check_size(cx, &depth, "`depth`")?;
        shape.insert(axis, depth);
        cx.out(0, d, shape);
        Ok(())
    },
    lower: Lower::Loops(lower_one_hot),
    tails: true,
    ..BASE
};

fn depth(cx: &InferCx) -> Result<Dim> {
    let v = cx.input(1)?;
    if let Some(t) = v.konst.as_ref().filter(|t| t.dtype.is_float()) {
        // A depth may come as a float.
        return match const_scalar(Some(t)) {
            Some(n) => Ok(Dim::Fixed(n as i64)),
            None => bad("`depth` of OneHot must be one number"),
        };
    }
    match known_dims(cx, 1, "depth")?.as_slice() {
        [d] => Ok(d.clone()),
        _ => bad("`depth` of OneHot must be one number"),
    }
}

fn lower_one_hot(cx: &mut LowerCx) -> Result<()> {
    let out = cx.out_shape()?;
    let from = cx.input(0)?.ty.dtype;
    let axis = crate::op::resolve_axis(cx.attrs.int("axis", -1), out.len())?;
    let (zero, one) = (cx.b.i(0), cx.b.i(1));
    let (off, on) = (cx.load_flat(2, zero)?, cx.load_flat(2, one)?);
    let (off, on) = (cx.b.let_(off), cx.b.let_(on));
    let n = cx.b.dim(&out[axis]);
    let mut own = out.clone();
    own.remove(axis);
    // Where it is 1, or -1: indices below 0 count from the end; those outside match nothing.
    let place = |cx: &mut LowerCx, at: &[ExprId]| -> Result<ExprId> {
        let i = cx.load(0, at)?;
        let i = crate::ops::cast::to_ty(&mut cx.b, from, Ty::I64, i);
        let i = cx.b.let_(i);
        let neg = cx.b.lt(i, zero);
        let end = cx.b.add(i, n);
        let i = cx.b.select(neg, end, i);
        let i = cx.b.let_(i);
        let (none, there) = (cx.b.i(-1), cx.b.in_range(i, zero, n));
        let i = cx.b.select(there, i, none);
        Ok(cx.b.let_(i))
    };
    if axis + 1 == out.len() {
        return cx.each(&own, LoopKind::Seq, |cx, at| {
            let hot = place(cx, at)?;
            let before = cx.b.max(hot, zero);
            let behind = cx.b.add(hot, one);
            let left = cx.b.sub(n, behind);
            let there = cx.b.min(behind, one);
            for (from, count, v) in [(zero, before, off), (hot, there, on), (behind, left, off)] {
                cx.for_(count, LoopKind::Lanes, |cx, i| {
                    let i = cx.b.add(from, i);
                    cx.store(0, &[at, &[i]].concat(), v);
                    Ok(())
                })?;
            }
            Ok(())
        });
    }
    // Elements side by side have indices of their own: found once, in 32 bits where they fit.
    let narrow = out[axis].bounds(cx.symbols).1 <= i64::from(i32::MAX);
    let (dtype, ty) = match narrow {
        true => (DType::I32, Ty::I32),
        false => (DType::I64, Ty::I64),
    };
    let hot = cx.scratch("hot", dtype, elements(&own));
    cx.each(&own, LoopKind::Seq, |cx, at| {
        let i = place(cx, at)?;
        let (i, at) = (cx.b.cast(ty, i), cx.b.offset(&own, at));
        cx.b.store(hot, at, i);
        Ok(())
    })?;
    map_output(cx, |cx, at| {
        let mut other = at.to_vec();
        let here = other.remove(axis);
        let here = cx.b.cast(ty, here);
        let at = cx.b.offset(&own, &other);
        let i = cx.b.load(hot, at);
        let hit = cx.b.eq(i, here);
        Ok(cx.b.select(hit, on, off))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::attr::Attrs;
    use crate::ops::testing::*;

    #[test]
    fn ranges_of_sizes() {
        let none = Attrs::default();
        let one = |v| konst(Tensor::i64(&[], &[v]));
        assert_eq!(numbers("Range", 11, &none, vec![one(10), one(4), one(-2)]), [10.0, 8.0, 6.0]);
        assert!(numbers("Range", 11, &none, vec![one(1), one(0), one(1)]).is_empty());
        let r = symbolic_shape("Range", 11, &none, |n, _| {
            let s = |d: Dim| crate::op::InValue {
                ty: TensorType::new(DType::I64, vec![]),
                konst: None,
                dims: Some(vec![d]),
            };
            vec![s(Dim::Fixed(0)), s(n), s(Dim::Fixed(1))]
        });
        assert_eq!(r.expect("a shape"), "i64[N]");
    }
}
