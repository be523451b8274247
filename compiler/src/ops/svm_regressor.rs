//! SVMRegressor of ai.onnx.ml: y = sum of coefficient x kernel(x, support vector) + rho.
//!
//! Kernels, with gamma, coef0 and degree from `kernel_params`: LINEAR x.s, POLY (gamma x.s + coef0)^degree,
//! RBF exp(-gamma |x - s|^2), SIGMOID tanh(gamma x.s + coef0). Without support vectors the coefficients are the weights of a
//! linear model. With `one_class` the answer is 1 where y is positive, else -1.

use super::axes::{fold_n, store_plain};
use super::ml_linear::samples;
use super::util::{accept, bad, number};
use crate::base::attr::Attr;
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::build::Builder;
use crate::loops::ir::{ExprId, LoopKind, Ty, UnOp};
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

const KERNELS: &[&str] = &["LINEAR", "POLY", "RBF", "SIGMOID"];

fn read(cx: &mut ReadCx) -> Result<()> {
    if cx.str("post_transform", "NONE")? != "NONE" {
        return cx.unsupported("a `post_transform` of SVMRegressor");
    }
    cx.keep_int("n_supports", 0)?;
    cx.keep_int("one_class", 0)?;
    cx.keep_str("kernel_type", "LINEAR")?;
    for name in ["coefficients", "kernel_params", "rho", "support_vectors"] {
        let v = cx.floats(name)?.unwrap_or_default();
        cx.set(name, Attr::Floats(v));
    }
    Ok(())
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
    if !KERNELS.contains(&cx.attrs.str("kernel_type", "LINEAR")) {
        return bad("`kernel_type` is none of LINEAR, POLY, RBF, SIGMOID");
    }
    cx.out(0, DType::F32, vec![n, Dim::Fixed(1)]);
    Ok(())
}

fn lower(cx: &mut LowerCx) -> Result<()> {
    let (rows, features) = samples(&cx.in_shape(0)?)?;
    let floats = |cx: &LowerCx, name: &str| cx.attrs.floats(name).unwrap_or(&[]).to_vec();
    let supports = cx.attrs.int("n_supports", 0);
    let kernel = cx.attrs.str("kernel_type", "LINEAR").to_string();
    let mut params = floats(cx, "kernel_params");
    params.resize(3, 0.0);
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
    let linear = supports == 0 || kernel == "LINEAR";
    let coefficients = cx.constant("coefficients", coefficients);
    let vectors = cx.constant("support_vectors", vectors);
    let extent = cx.b.dim(&rows);
    let (f, count) = (cx.b.i(features), cx.b.i(count));
    cx.for_(extent, LoopKind::Seq, |cx, row| {
        let init = cx.b.f(rho);
        let y = fold_n(cx, count, init, |cx, s, sum| {
            let zero = cx.b.f(0.0);
            let inner = fold_n(cx, f, zero, |cx, k, sum| {
                let at = ex!(cx.b; (row * f) + k);
                let x = cx.load_flat(0, at)?;
                let x = cx.b.cast(Ty::F32, x);
                let at = ex!(cx.b; (s * f) + k);
                let v = cx.b.load(vectors, at);
                if kernel == "RBF" && !linear {
                    let d = cx.b.sub(x, v);
                    return Ok(cx.b.fma(d, d, sum));
                }
                Ok(cx.b.fma(x, v, sum))
            })?;
            let k = if linear { inner } else { apply(&mut cx.b, &kernel, &params, inner) };
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

/// The kernel's value from x.s, or for RBF from |x - s|^2.
fn apply(b: &mut Builder, kernel: &str, params: &[f32], inner: ExprId) -> ExprId {
    let (gamma, coef0, degree) = (b.f(params[0]), b.f(params[1]), b.f(params[2]));
    match kernel {
        "RBF" => {
            let e = b.mul(gamma, inner);
            let e = b.un(UnOp::Neg, e);
            b.un(UnOp::Exp, e)
        }
        "SIGMOID" => {
            let e = b.fma(gamma, inner, coef0);
            b.un(UnOp::Tanh, e)
        }
        _ => {
            let e = b.fma(gamma, inner, coef0);
            b.bin(crate::loops::ir::BinOp::Pow, e, degree)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::attr::Attrs;
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
