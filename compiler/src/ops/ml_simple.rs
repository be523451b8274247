//! The small operators of ai.onnx.ml: Normalizer, Scaler, Binarizer, Imputer, ArrayFeatureExtractor, OneHotEncoder,
//! FeatureVectorizer. Texts are not done.

use super::axes::fold_n;
use super::util::{accept, bad, load_index, number, wrap_index};
use crate::base::attr::Attr;
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{ExprId, LoopKind, Ty, UnOp};
use crate::op::{BASE, InferCx, Lower, OnnxRow, OpDef, PointCx, ReadCx, onnx_in};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[
    &NORMALIZER,
    &SCALER,
    &BINARIZER,
    &IMPUTER,
    &EXTRACTOR,
    &ONE_HOT,
    &VECTORIZER,
];

const fn ml(name: &'static str, read: fn(&mut ReadCx) -> Result<()>) -> OnnxRow {
    onnx_in("ai.onnx.ml", name, 1, i64::MAX, read)
}

/// Rows over their largest element, sum, or length.
pub static NORMALIZER: OpDef = OpDef {
    name: "Normalizer",
    onnx: &[ml("Normalizer", |cx| {
        cx.keep_str("norm", "MAX")?;
        match cx.out.str("norm", "") {
            "MAX" | "L1" | "L2" => Ok(()),
            n => bad(format!("`norm` = {n} is not known")),
        }
    })],
    infer: floats,
    lower: Lower::Loops(normalizer),
    tails: true,
    ..BASE
};

/// (x - offset) * scale.
pub static SCALER: OpDef = OpDef {
    name: "Scaler",
    onnx: &[ml("Scaler", |cx| {
        for name in ["offset", "scale"] {
            let v = cx.floats(name)?.unwrap_or_default();
            cx.set(name, Attr::Floats(v));
        }
        Ok(())
    })],
    infer: infer_scaler,
    lower: Lower::Loops(scaler),
    tails: true,
    ..BASE
};

/// 1 where x is above the threshold, else 0.
pub static BINARIZER: OpDef = OpDef {
    name: "Binarizer",
    onnx: &[ml("Binarizer", |cx| cx.keep_float("threshold", 0.0))],
    infer: |cx| {
        let d = accept(cx, 0, number)?;
        let s = cx.shape(0)?;
        cx.out(0, d, s);
        Ok(())
    },
    lower: Lower::Pointwise(|cx: &mut PointCx, x: &[ExprId]| {
        let ty = cx.b.ty(x[0]);
        let t = f64::from(cx.attrs.float("threshold", 0.0));
        let (one, zero) = (cx.b.num(ty, 1.0), cx.b.num(ty, 0.0));
        let above = if ty.is_float() {
            let t = cx.b.num(ty, t);
            cx.b.lt(t, x[0])
        } else {
            let v = cx.b.cast(Ty::F64, x[0]);
            let t = cx.b.num(Ty::F64, t);
            cx.b.lt(t, v)
        };
        Ok(cx.b.select(above, one, zero))
    }),
    ..BASE
};

/// Missing values replaced.
pub static IMPUTER: OpDef = OpDef {
    name: "Imputer",
    onnx: &[ml("Imputer", |cx| {
        let floats = cx.floats("imputed_value_floats")?.unwrap_or_default();
        let ints = cx.ints("imputed_value_int64s")?.unwrap_or_default();
        let replaced = (
            cx.float("replaced_value_float", 0.0)?,
            cx.int("replaced_value_int64", 0)?,
        );
        cx.set("imputed_floats", Attr::Floats(floats));
        cx.set("imputed_ints", Attr::Ints(ints));
        cx.set("replaced_float", Attr::Float(replaced.0));
        cx.set("replaced_int", Attr::Int(replaced.1));
        Ok(())
    })],
    infer: |cx| {
        let d = accept(cx, 0, number)?;
        let s = cx.shape(0)?;
        let n = if d.is_float() {
            cx.attrs.floats("imputed_floats").map_or(0, <[f32]>::len)
        } else {
            cx.attrs.ints("imputed_ints").map_or(0, <[i64]>::len)
        };
        if n != 1 && s.last().and_then(Dim::fixed) != Some(n as i64) {
            return bad(format!("{n} imputed values do not fit the features"));
        }
        cx.out(0, d, s);
        Ok(())
    },
    lower: Lower::Loops(imputer),
    tails: true,
    ..BASE
};

/// Columns of the last axis, picked by index.
pub static EXTRACTOR: OpDef = OpDef {
    name: "ArrayFeatureExtractor",
    onnx: &[ml("ArrayFeatureExtractor", |_| Ok(()))],
    inputs: (2, 2),
    infer: |cx| {
        let d = accept(cx, 0, number)?;
        accept(cx, 1, super::util::index)?;
        let (x, y) = (cx.shape(0)?, cx.shape(1)?);
        let n = crate::base::dim::elements(&y);
        let mut out = if x.len() == 1 {
            vec![Dim::Fixed(1)]
        } else {
            x[..x.len().saturating_sub(1)].to_vec()
        };
        out.push(n);
        cx.out(0, d, out);
        Ok(())
    },
    lower: Lower::Loops(extractor),
    tails: true,
    ..BASE
};

/// A row of zeros with a one at the category.
pub static ONE_HOT: OpDef = OpDef {
    name: "OneHotEncoder",
    onnx: &[ml("OneHotEncoder", |cx| {
        let cats = super::ml_linear::labels(cx, "cats_int64s", "cats_strings")?;
        cx.set("cats", Attr::Ints(cats));
        cx.keep_int("zeros", 1)
    })],
    infer: |cx| {
        accept(cx, 0, number)?;
        let mut s = cx.shape(0)?;
        s.push(Dim::Fixed(
            cx.attrs.ints("cats").map_or(0, <[i64]>::len) as i64
        ));
        cx.out(0, DType::F32, s);
        Ok(())
    },
    lower: Lower::Loops(one_hot),
    tails: true,
    ..BASE
};

/// Inputs side by side as floats.
pub static VECTORIZER: OpDef = OpDef {
    name: "FeatureVectorizer",
    onnx: &[ml("FeatureVectorizer", |cx| {
        cx.keep_ints("inputdimensions")
    })],
    inputs: (1, usize::MAX),
    infer: infer_vectorizer,
    lower: Lower::Loops(vectorizer),
    ..BASE
};

fn floats(cx: &mut InferCx) -> Result<()> {
    accept(cx, 0, number)?;
    let s = cx.shape(0)?;
    if s.is_empty() {
        return bad("a scalar has no features");
    }
    cx.out(0, DType::F32, s);
    Ok(())
}

fn f32_of(cx: &mut LowerCx, at: &[ExprId]) -> Result<ExprId> {
    let v = cx.load(0, at)?;
    Ok(cx.b.cast(Ty::F32, v))
}

fn normalizer(cx: &mut LowerCx) -> Result<()> {
    let x = cx.in_shape(0)?;
    let last = x.len() - 1;
    let norm = cx.attrs.str("norm", "MAX").to_string();
    cx.each(&x[..last], LoopKind::Seq, |cx, at| {
        let n = cx.b.dim(&x[last]);
        let zero = cx.b.f(0.0);
        let low = cx.b.f(f32::NEG_INFINITY);
        let init = if norm == "MAX" { low } else { zero };
        let row = |at: &[ExprId], i: ExprId| [at, &[i]].concat();
        let total = fold_n(cx, n, init, |cx, i, sum| {
            let v = f32_of(cx, &row(at, i))?;
            let a = cx.b.un(UnOp::Abs, v);
            Ok(match norm.as_str() {
                "MAX" => cx.b.max(v, sum),
                "L1" => cx.b.add(sum, a),
                _ => cx.b.fma(v, v, sum),
            })
        })?;
        let total = if norm == "L2" {
            cx.b.un(UnOp::Sqrt, total)
        } else {
            total
        };
        let total = cx.b.let_(total);
        cx.for_(n, LoopKind::Lanes, |cx, i| {
            let v = f32_of(cx, &row(at, i))?;
            let q = cx.b.div(v, total);
            // A row of zeros stays one.
            let v = ex!(cx.b; select((total == 0.0), v, q));
            cx.store(0, &row(at, i), v);
            Ok(())
        })
    })
}

fn infer_scaler(cx: &mut InferCx) -> Result<()> {
    floats(cx)?;
    let last = cx.shape(0)?.last().and_then(Dim::fixed);
    for name in ["offset", "scale"] {
        let n = cx.attrs.floats(name).map_or(0, <[f32]>::len);
        if n != 1 && Some(n as i64) != last {
            return bad(format!("`{name}` does not fit the features"));
        }
    }
    Ok(())
}

/// Element of a constant list that belongs to the last index: the only one, or its own.
fn of_last(cx: &mut LowerCx, name: &str, t: Tensor, at: &[ExprId]) -> ExprId {
    let single = t.len() == 1;
    let buf = cx.constant(name, t);
    let i = match at.last() {
        Some(&i) if !single => i,
        _ => cx.b.i(0),
    };
    cx.b.load(buf, i)
}

fn scaler(cx: &mut LowerCx) -> Result<()> {
    let x = cx.in_shape(0)?;
    let list = |v: Option<&[f32]>| {
        let v = v.unwrap_or(&[0.0]);
        Tensor::f32(&[v.len() as i64], v)
    };
    let (offset, scale) = (
        list(cx.attrs.floats("offset")),
        list(cx.attrs.floats("scale")),
    );
    cx.each(&x, LoopKind::Lanes, |cx, at| {
        let v = f32_of(cx, at)?;
        let (o, s) = (
            of_last(cx, "offset", offset, at),
            of_last(cx, "scale", scale, at),
        );
        let v = ex!(cx.b; (v - o) * s);
        cx.store(0, at, v);
        Ok(())
    })
}

fn imputer(cx: &mut LowerCx) -> Result<()> {
    let x = cx.in_shape(0)?;
    let d = cx.input(0)?.ty.dtype;
    let ty = Ty::of(d);
    let a = cx.attrs;
    let (values, replaced) = if d.is_float() {
        let v: Vec<f64> = a
            .floats("imputed_floats")
            .unwrap_or(&[])
            .iter()
            .map(|&v| f64::from(v))
            .collect();
        (v, f64::from(a.float("replaced_float", 0.0)))
    } else {
        let v: Vec<f64> = a
            .ints("imputed_ints")
            .unwrap_or(&[])
            .iter()
            .map(|&v| v as f64)
            .collect();
        (v, a.int("replaced_int", 0) as f64)
    };
    let t = Tensor::from_f64s(d, &[values.len() as i64], &values);
    cx.each(&x, LoopKind::Lanes, |cx, at| {
        let v = cx.load(0, at)?;
        let missing = if replaced.is_nan() {
            cx.b.ne(v, v)
        } else {
            let r = cx.b.num(ty, replaced);
            cx.b.eq(v, r)
        };
        let other = of_last(cx, "imputed", t, at);
        let v = cx.b.select(missing, other, v);
        cx.store(0, at, v);
        Ok(())
    })
}

fn extractor(cx: &mut LowerCx) -> Result<()> {
    let (x, out) = (cx.in_shape(0)?, cx.out_shape()?);
    let last = out.len() - 1;
    let size = match x.last() {
        Some(d) => cx.b.dim(d),
        None => cx.b.i(1),
    };
    let at_flat = |cx: &mut LowerCx, i: ExprId| -> Result<ExprId> {
        let v = cx.load_flat(1, i)?;
        Ok(cx.b.cast(Ty::I64, v))
    };
    let n = cx.b.dim(&out[last]);
    cx.for_(n, LoopKind::Seq, |cx, j| {
        let i = at_flat(cx, j)?;
        let (_, outside) = wrap_index(&mut cx.b, i, size);
        cx.b.fail_if(outside, super::util::DATA_OUT_OF_RANGE);
        Ok(())
    })?;
    cx.each(&out, LoopKind::Seq, |cx, at| {
        let i = at_flat(cx, at[last])?;
        let (i, _) = wrap_index(&mut cx.b, i, size);
        let mut index = if x.len() == 1 {
            vec![]
        } else {
            at[..last].to_vec()
        };
        index.push(i);
        let v = cx.load(0, &index)?;
        cx.store(0, at, v);
        Ok(())
    })
}

fn one_hot(cx: &mut LowerCx) -> Result<()> {
    let out = cx.out_shape()?;
    let last = out.len() - 1;
    let cats = cx.attrs.ints("cats").unwrap_or(&[]).to_vec();
    let cats = cx.constant("categories", Tensor::i64(&[cats.len() as i64], &cats));
    let strict = !cx.attrs.flag("zeros");
    cx.each(&out[..last], LoopKind::Seq, |cx, at| {
        let v = load_index(cx, 0, at)?;
        let v = cx.b.let_(v);
        let n = cx.b.dim(&out[last]);
        if strict {
            let none = cx.b.bool(false);
            let known = fold_n(cx, n, none, |cx, i, any| {
                let c = cx.b.load(cats, i);
                let hit = cx.b.eq(c, v);
                Ok(cx.b.or(any, hit))
            })?;
            let unknown = cx.b.un(UnOp::Not, known);
            cx.b.fail_if(unknown, super::util::DATA_OUT_OF_RANGE);
        }
        cx.for_(n, LoopKind::Seq, |cx, i| {
            let c = cx.b.load(cats, i);
            let (one, zero) = (cx.b.f(1.0), cx.b.f(0.0));
            let r = ex!(cx.b; select((c == v), one, zero));
            cx.store(0, &[at, &[i]].concat(), r);
            Ok(())
        })
    })
}

/// Samples and features of one input.
fn part(shape: &[Dim]) -> Result<(Dim, i64)> {
    super::ml_linear::samples(shape)
}

fn infer_vectorizer(cx: &mut InferCx) -> Result<()> {
    let mut total = 0i64;
    let mut rows = Dim::Fixed(1);
    for i in 0..cx.inputs.len() {
        accept(cx, i, number)?;
        let (n, f) = part(&cx.shape(i)?)?;
        if i > 0 && n != rows {
            return bad("the inputs have different numbers of samples");
        }
        rows = n;
        total = total.saturating_add(f);
    }
    cx.out(0, DType::F32, vec![rows, Dim::Fixed(total)]);
    Ok(())
}

fn vectorizer(cx: &mut LowerCx) -> Result<()> {
    let mut first = 0i64;
    for i in 0..cx.inputs.len() {
        let (n, f) = part(&cx.in_shape(i)?)?;
        cx.each(&[n, Dim::Fixed(f)], LoopKind::Lanes, |cx, at| {
            let from = ex!(cx.b; ({at[0]} * {cx.b.i(f)}) + {at[1]});
            let v = cx.load_flat(i, from)?;
            let v = cx.b.cast(Ty::F32, v);
            let to = ex!(cx.b; {at[1]} + {cx.b.i(first)});
            cx.store(0, &[at[0], to], v);
            Ok(())
        })?;
        first = first.saturating_add(f);
    }
    Ok(())
}
