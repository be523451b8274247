//! MatMul, Gemm and their fused kin: products of matrices.

use super::util::{accept_product, bad, float, since};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::contracts::finish::Activation;
use crate::contracts::gemm::GEMM;
use crate::kernel::LowerCx;
use crate::op::{BASE, InferCx, Lower, OpDef, ReadCx, broadcast, onnx_in, read_none};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&MATMUL, &GEMM_OP];

/// Product of the last two axes, the others broadcast.
pub static MATMUL: OpDef = OpDef {
    name: "MatMul",
    onnx: &[
        since("MatMul", 1, read_none),
        onnx_in("com.microsoft", "FusedMatMul", 1, i64::MAX, read_fused),
        onnx_in("com.microsoft", "TransposeMatMul", 1, i64::MAX, read_fused),
    ],
    inputs: (2, 2),
    infer: infer_matmul,
    lower: Lower::Contract(&GEMM, attrs),
    tails: true,
    sums: true,
    ..BASE
};

/// alpha * A' * B' + beta * C.
pub static GEMM_OP: OpDef = OpDef {
    name: "Gemm",
    onnx: &[
        since("Gemm", 7, read_gemm),
        onnx_in("com.microsoft", "FusedGemm", 1, i64::MAX, read_fused_gemm),
    ],
    inputs: (2, 3),
    infer: infer_gemm,
    lower: Lower::Contract(&GEMM, attrs),
    tails: true,
    sums: true,
    ..BASE
};

fn attrs(cx: &LowerCx) -> Result<Attrs> {
    Ok(cx.attrs.clone())
}

fn flag(cx: &mut ReadCx, from: &str, to: &str) -> Result<()> {
    let v = cx.int(from, 0)?;
    cx.set(to, Attr::Int(i64::from(v != 0)));
    Ok(())
}

fn read_fused(cx: &mut ReadCx) -> Result<()> {
    flag(cx, "transA", "trans_a")?;
    flag(cx, "transB", "trans_b")?;
    cx.keep_float("alpha", 1.0)?;
    if cx.int("transBatchA", 0)? != 0 || cx.int("transBatchB", 0)? != 0 {
        return cx.unsupported("transposed batch axes are not done");
    }
    Ok(())
}

fn read_gemm(cx: &mut ReadCx) -> Result<()> {
    flag(cx, "transA", "trans_a")?;
    flag(cx, "transB", "trans_b")?;
    cx.keep_float("alpha", 1.0)?;
    cx.keep_float("beta", 1.0)
}

fn read_fused_gemm(cx: &mut ReadCx) -> Result<()> {
    read_gemm(cx)?;
    let name = cx.str("activation", "")?;
    if name.is_empty() {
        return Ok(());
    }
    let a = Activation::of(&name)?;
    let alpha = cx.float("activation_alpha", a.alpha)?;
    let beta = cx.float("activation_beta", a.beta)?;
    cx.ignore("activation_gamma");
    cx.set("activation", Attr::Str(a.name.to_string()));
    cx.set("activation_params", Attr::Floats(vec![alpha, beta]));
    Ok(())
}

fn summable(d: DType) -> bool {
    float(d) || matches!(d, DType::I32 | DType::I64 | DType::U32 | DType::U64)
}

/// The shape of a matrix product by numpy's rules.
pub fn matmul_shape(a: &[Dim], b: &[Dim], ta: bool, tb: bool) -> Result<Vec<Dim>> {
    if a.is_empty() || b.is_empty() {
        return bad("a matrix product of a scalar");
    }
    let (mut a, mut b) = (a.to_vec(), b.to_vec());
    let (ra, rb) = (a.len(), b.len());
    if ra == 1 {
        a.insert(0, Dim::Fixed(1));
    } else if ta {
        a.swap(ra - 2, ra - 1);
    }
    if rb == 1 {
        b.push(Dim::Fixed(1));
    } else if tb {
        b.swap(rb - 2, rb - 1);
    }
    let (ia, ib) = (a.len() - 2, b.len() - 2);
    if let (Some(x), Some(y)) = (a[ia + 1].fixed(), b[ib].fixed())
        && x != y
    {
        return Err(Diagnostic::model(
            "ONNX010",
            format!("a matrix product over {x} and {y} elements"),
        ));
    }
    let mut out = broadcast(&[&a[..ia], &b[..ib]])?;
    if ra > 1 {
        out.push(a[ia].clone());
    }
    if rb > 1 {
        out.push(b[ib + 1].clone());
    }
    Ok(out)
}

fn infer_matmul(cx: &mut InferCx) -> Result<()> {
    let d = accept_product(cx, summable)?;
    let (ta, tb) = (cx.attrs.flag("trans_a"), cx.attrs.flag("trans_b"));
    let shape = matmul_shape(&cx.shape(0)?, &cx.shape(1)?, ta, tb)?;
    cx.out(0, d, shape);
    Ok(())
}

fn infer_gemm(cx: &mut InferCx) -> Result<()> {
    let d = accept_product(cx, summable)?;
    let (a, b) = (cx.shape(0)?, cx.shape(1)?);
    if a.len() != 2 || b.len() != 2 {
        return bad("Gemm needs matrices");
    }
    let whole = |v: f32| v == libm::truncf(v);
    let scales = [cx.attrs.float("alpha", 1.0), cx.attrs.float("beta", 1.0)];
    if !d.is_float() && scales.into_iter().any(|v| !whole(v)) {
        return Err(Diagnostic::unsupported(
            "ONNX008",
            "a fractional `alpha` or `beta` over integers",
        ));
    }
    let shape = matmul_shape(&a, &b, cx.attrs.flag("trans_a"), cx.attrs.flag("trans_b"))?;
    if cx.opt(2).is_some() {
        let c = cx.shape(2)?;
        if c.len() > 2 || broadcast(&[&shape, &c])?.len() != 2 {
            return bad("C of Gemm does not broadcast to the product");
        }
    }
    cx.out(0, d, shape);
    Ok(())
}
