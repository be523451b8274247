//! LinearClassifier and LinearRegressor of ai.onnx.ml. Labels are numbers.

use super::axes::{fold_n, store_plain};
use super::ml_post;
use super::util::{accept, bad, number};
use crate::base::attr::Attr;
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{BufId, ExprId, LoopKind, Ty};
use crate::op::{BASE, InferCx, Lower, OpDef, ReadCx, onnx_in};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&CLASSIFIER, &REGRESSOR];

/// Outputs: the label of the best score, all scores.
pub static CLASSIFIER: OpDef = OpDef {
    name: "LinearClassifier",
    onnx: &[onnx_in(
        "ai.onnx.ml",
        "LinearClassifier",
        1,
        i64::MAX,
        read_classifier,
    )],
    outputs: (2, 2),
    infer: infer_classifier,
    lower: Lower::Loops(classifier),
    ..BASE
};

/// Output: scores.
pub static REGRESSOR: OpDef = OpDef {
    name: "LinearRegressor",
    onnx: &[onnx_in(
        "ai.onnx.ml",
        "LinearRegressor",
        1,
        i64::MAX,
        read_regressor,
    )],
    infer: infer_regressor,
    lower: Lower::Loops(regressor),
    ..BASE
};

/// Numeric class labels; texts are refused.
pub fn labels(cx: &mut ReadCx, ints: &str, strings: &str) -> Result<Vec<i64>> {
    if cx.strs(strings)?.is_some_and(|s| !s.is_empty()) {
        return cx.unsupported("labels that are texts are not done");
    }
    Ok(cx.ints(ints)?.unwrap_or_default())
}

/// The labels of a classifier: texts are given by their places, which the importer says where they leave the model.
pub fn class_labels(cx: &mut ReadCx, ints: &str, strings: &str) -> Result<Vec<i64>> {
    match cx.strs(strings)? {
        Some(names) if !names.is_empty() => {
            cx.ignore(ints);
            Ok((0..names.len() as i64).collect())
        }
        _ => labels(cx, ints, strings),
    }
}

fn read_classifier(cx: &mut ReadCx) -> Result<()> {
    ml_post::read(cx)?;
    cx.ignore("multi_class");
    let labels = class_labels(cx, "classlabels_ints", "classlabels_strings")?;
    cx.set("labels", Attr::Ints(labels));
    for name in ["coefficients", "intercepts"] {
        let v = cx.floats(name)?.unwrap_or_default();
        cx.set(name, Attr::Floats(v));
    }
    Ok(())
}

fn read_regressor(cx: &mut ReadCx) -> Result<()> {
    ml_post::read(cx)?;
    cx.keep_int("targets", 1)?;
    for name in ["coefficients", "intercepts"] {
        let v = cx.floats(name)?.unwrap_or_default();
        cx.set(name, Attr::Floats(v));
    }
    Ok(())
}

/// Samples and features of an input of one or two axes.
pub fn samples(shape: &[Dim]) -> Result<(Dim, i64)> {
    let (n, f) = match shape {
        [f] => (Dim::Fixed(1), f),
        [n, f] => (n.clone(), f),
        _ => return bad("the input must be a matrix of samples and features"),
    };
    match f.fixed() {
        Some(f) => Ok((n, f)),
        None => bad("the number of features must be known"),
    }
}

/// Number of score rows in the coefficients.
fn rows(cx_attrs: &crate::base::attr::Attrs, features: i64) -> Result<i64> {
    let n = cx_attrs.floats("coefficients").unwrap_or(&[]).len() as i64;
    if features < 1 || n % features != 0 || n == 0 {
        return bad(format!("{n} coefficients for {features} features"));
    }
    Ok(n / features)
}

fn infer_classifier(cx: &mut InferCx) -> Result<()> {
    accept(cx, 0, number)?;
    let (n, f) = samples(&cx.shape(0)?)?;
    let scores = rows(cx.attrs, f)?;
    let labels = cx.attrs.ints("labels").unwrap_or(&[]).len() as i64;
    if labels != scores && !(scores == 1 && labels == 2) {
        return bad(format!("{labels} labels for {scores} scores"));
    }
    cx.out(0, DType::I64, vec![n.clone()]);
    cx.out(1, DType::F32, vec![n, Dim::Fixed(labels)]);
    Ok(())
}

/// Computes the scores of sample `row` into scratch.
fn scores(
    cx: &mut LowerCx,
    features: i64,
    n: i64,
    w: BufId,
    row: ExprId,
    into: BufId,
) -> Result<()> {
    let intercepts = cx.attrs.floats("intercepts").unwrap_or(&[]).to_vec();
    let b = cx.constant(
        "intercepts",
        Tensor::f32(&[n], &{
            let mut v = intercepts;
            v.resize(n as usize, 0.0);
            v
        }),
    );
    let (count, f) = (cx.b.i(n), cx.b.i(features));
    cx.for_(count, LoopKind::Seq, |cx, c| {
        let init = cx.b.load(b, c);
        let sum = fold_n(cx, f, init, |cx, k, sum| {
            let at = ex!(cx.b; (row * f) + k);
            let x = cx.load_flat(0, at)?;
            let x = cx.b.cast(Ty::F32, x);
            let at = ex!(cx.b; (c * f) + k);
            let w = cx.b.load(w, at);
            Ok(cx.b.fma(x, w, sum))
        })?;
        cx.b.store(into, c, sum);
        Ok(())
    })
}

fn classifier(cx: &mut LowerCx) -> Result<()> {
    let (samples, features) = samples(&cx.in_shape(0)?)?;
    let n = rows(cx.attrs, features)?;
    let labels = cx.attrs.ints("labels").unwrap_or(&[]).to_vec();
    let w = cx.attrs.floats("coefficients").unwrap_or(&[]).to_vec();
    let w = cx.constant("coefficients", Tensor::f32(&[w.len() as i64], &w));
    let names = cx.constant("labels", Tensor::i64(&[labels.len() as i64], &labels));
    let buf = cx.scratch("scores", DType::F32, Dim::Fixed(n.max(2)));
    let count = cx.b.dim(&samples);
    cx.for_(count, LoopKind::Seq, |cx, row| {
        scores(cx, features, n, w, row, buf)?;
        if n == 1 {
            // One score of two labels: the second where it is positive.
            let zero = cx.b.i(0);
            let s = cx.b.load(buf, zero);
            let s = cx.b.let_(s);
            let post = cx.attrs.str("post_transform", "NONE").to_string();
            let (s, other, limit) = match post.as_str() {
                "LOGISTIC" => {
                    let p = ml_post::logistic(&mut cx.b, s);
                    let p = cx.b.let_(p);
                    (p, ex!(cx.b; 1.0 - p), 0.5)
                }
                _ => (s, cx.b.un(crate::loops::ir::UnOp::Neg, s), 0.0),
            };
            let limit = cx.b.f(limit);
            let second = cx.b.lt(limit, s);
            let one = cx.b.i(1);
            let which = cx.b.select(second, one, zero);
            let label = cx.b.load(names, which);
            store_plain(cx, 0, &[row], label);
            store_plain(cx, 1, &[row, zero], other);
            store_plain(cx, 1, &[row, one], s);
            return Ok(());
        }
        let which = best(cx, buf, n)?;
        let label = cx.b.load(names, which);
        store_plain(cx, 0, &[row], label);
        ml_post::store(cx, 1, row, buf, n)
    })
}

/// Position of the first largest of `n` scores.
pub fn best(cx: &mut LowerCx, scores: BufId, n: i64) -> Result<ExprId> {
    let (first, count) = (cx.b.i(0), cx.b.i(n));
    fold_n(cx, count, first, |cx, i, best| {
        let (v, top) = (cx.b.load(scores, i), cx.b.load(scores, best));
        let more = cx.b.lt(top, v);
        Ok(cx.b.select(more, i, best))
    })
}

fn infer_regressor(cx: &mut InferCx) -> Result<()> {
    accept(cx, 0, number)?;
    let (n, f) = samples(&cx.shape(0)?)?;
    let targets = cx.attrs.int("targets", 1);
    if rows(cx.attrs, f)? != targets {
        return bad("the coefficients do not fit the targets");
    }
    cx.out(0, DType::F32, vec![n, Dim::Fixed(targets)]);
    Ok(())
}

fn regressor(cx: &mut LowerCx) -> Result<()> {
    let (samples, features) = samples(&cx.in_shape(0)?)?;
    let n = rows(cx.attrs, features)?;
    let w = cx.attrs.floats("coefficients").unwrap_or(&[]).to_vec();
    let w = cx.constant("coefficients", Tensor::f32(&[w.len() as i64], &w));
    let buf = cx.scratch("scores", DType::F32, Dim::Fixed(n));
    let count = cx.b.dim(&samples);
    cx.for_(count, LoopKind::Seq, |cx, row| {
        scores(cx, features, n, w, row, buf)?;
        ml_post::store(cx, 0, row, buf, n)
    })
}
