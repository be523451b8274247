//! SVMRegressor of ai.onnx.ml: y = sum of coefficient x kernel(x, support vector) + rho.
//!
//! Without support vectors the coefficients are the weights of a linear model. With `one_class` the answer is 1 where y is positive, else -1.

use super::axes::{fold_n, store_plain};
use super::ml_linear::samples;
use super::svm_kernel::{self, Kernel};
use super::util::{accept, bad, number};
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::kernel::LowerCx;
use crate::loops::ir::LoopKind;
use crate::op::{BASE, InferCx, Lower, OpDef, ReadCx, onnx_in};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&SVM_REGRESSOR];

/// Input: samples x features. Output: samples x 1, f32.
pub static SVM_REGRESSOR: OpDef = OpDef {
    name: "SVMRegressor",
    onnx: &[onnx_in("ai.onnx.ml", "SVMRegressor", 1, i64::MAX, read)],
    infer,
    lower: Lower::Loops(lower),
    ..BASE
};

fn read(cx: &mut ReadCx) -> Result<()> {
    if cx.str("post_transform", "NONE")? != "NONE" {
        return cx.unsupported("a `post_transform` of SVMRegressor");
    }
    cx.keep_int("n_supports", 0)?;
    cx.keep_int("one_class", 0)?;
    svm_kernel::read(cx, &["coefficients", "rho", "support_vectors"])
}

fn infer(cx: &mut InferCx) -> Result<()> {
    accept(cx, 0, number)?;
    let (n, features) = samples(&cx.shape(0)?)?;
    let len = |name| cx.attrs.floats(name).unwrap_or(&[]).len() as i64;
    let supports = cx.attrs.int("n_supports", 0);
    let weights = if supports == 0 { features } else { supports };
    if supports < 0
        || len("coefficients") != weights
        || supports.checked_mul(features) != Some(len("support_vectors"))
    {
        return bad("coefficients and support vectors do not fit the features");
    }
    svm_kernel::check(cx.attrs)?;
    cx.out(0, DType::F32, vec![n, Dim::Fixed(1)]);
    Ok(())
}

fn lower(cx: &mut LowerCx) -> Result<()> {
    let (rows, features) = samples(&cx.in_shape(0)?)?;
    let floats = |cx: &LowerCx, name: &str| cx.attrs.floats(name).unwrap_or(&[]).to_vec();
    let supports = cx.attrs.int("n_supports", 0);
    let kernel = Kernel::of(cx.attrs, supports == 0);
    let rho = floats(cx, "rho").first().copied().unwrap_or(0.0);
    let one_class = cx.attrs.flag("one_class");
    let coefficients = floats(cx, "coefficients");
    let vectors = floats(cx, "support_vectors");
    let list = |v: &[f32]| Tensor::f32(&[v.len() as i64], v);
    // A linear model is one support vector, its weights, with coefficient 1.
    let (count, coefficients, vectors) = match supports {
        0 => (1, list(&[1.0]), list(&coefficients)),
        n => (n, list(&coefficients), list(&vectors)),
    };
    let coefficients = cx.constant("coefficients", coefficients);
    let vectors = cx.constant("support_vectors", vectors);
    let extent = cx.b.dim(&rows);
    let (f, count) = (cx.b.i(features), cx.b.i(count));
    cx.for_(extent, LoopKind::Seq, |cx, row| {
        let init = cx.b.f(rho);
        let y = fold_n(cx, count, init, |cx, s, sum| {
            let k = kernel.value(cx, row, vectors, s, f)?;
            let c = cx.b.load(coefficients, s);
            Ok(cx.b.fma(c, k, sum))
        })?;
        let y = if one_class {
            let (zero, one, minus) = (cx.b.f(0.0), cx.b.f(1.0), cx.b.f(-1.0));
            let positive = cx.b.lt(zero, y);
            cx.b.select(positive, one, minus)
        } else {
            y
        };
        let zero = cx.b.i(0);
        store_plain(cx, 0, &[row, zero], y);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::attr::{Attr, Attrs};
    use crate::ops::testing::{data, numbers};

    // Answers of onnxruntime.
    #[test]
    fn kernels() {
        for (kernel, one_class, want) in [
            ("LINEAR", 0, [2.9375, 2.34375, -1.0]),
            ("POLY", 0, [0.974_121_1, 1.820_739_7, -1.174_804_7]),
            ("RBF", 0, [0.331_456_2, 0.554_024_7, 0.377_154_9]),
            ("SIGMOID", 0, [1.188_571_1, 0.773_68, -0.314_913_3]),
            ("RBF", 1, [1.0, 1.0, 1.0]),
        ] {
            let attrs = Attrs::default()
                .with("kernel_type", Attr::Str(kernel.into()))
                .with("one_class", Attr::Int(one_class))
                .with("n_supports", Attr::Int(2))
                .with("coefficients", Attr::Floats(vec![0.75, -1.25]))
                .with("support_vectors", Attr::Floats(vec![1.0, 0.5, -0.5, 2.0]))
                .with("rho", Attr::Floats(vec![0.125]))
                .with("kernel_params", Attr::Floats(vec![0.5, 0.25, 3.0]));
            let x = Tensor::f32(&[3, 2], &[0.5, -1.0, 2.0, 0.25, 1.5, 1.5]);
            let got = numbers("SVMRegressor", 3, &attrs, vec![data(x)]);
            let close = got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-5);
            assert!(close && got.len() == 3, "{kernel}: {got:?}, not {want:?}");
        }
    }
}
