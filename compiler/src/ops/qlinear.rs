//! ConvInteger, QLinearConv, MatMulInteger, QLinearMatMul: products of 8-bit integers, summed exactly.

use super::quantized::{byte, check, fits, one, quantize, scale, zero_point};
use super::spatial::explicit;
use super::util::{accept, bad, since};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::contracts::conv;
use crate::contracts::conv_integer::CONV_INTEGER as CONV_INTEGER_CONTRACT;
use crate::contracts::gemm;
use crate::contracts::gemm_integer::GEMM_INTEGER;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{ExprId, LoopKind, Ty};
use crate::op::{BASE, InferCx, Lower, OpDef, ReadCx, read_none};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[
    &CONV_INTEGER,
    &QLINEAR_CONV,
    &MATMUL_INTEGER,
    &QLINEAR_MATMUL,
];

/// Inputs: X, W, zero points of both; not of ONNX: what the sums of each channel begin with. The output is i32.
pub static CONV_INTEGER: OpDef = OpDef {
    name: "ConvInteger",
    onnx: &[since("ConvInteger", 10, read_conv_integer)],
    inputs: (2, 5),
    infer: infer_conv_integer,
    lower: Lower::Contract(&CONV_INTEGER_CONTRACT, |cx| {
        let window = super::spatial::conv_window(cx.attrs, &cx.in_shape(0)?, &cx.in_shape(1)?)?;
        let last = Attr::Int(cx.attrs.int("channels_last", 0));
        let group = Attr::Int(cx.attrs.int("group", 1));
        Ok(explicit(&window).with("group", group).with("channels_last", last))
    }),
    tails: true,
    ..BASE
};

/// Inputs: X, its scale and zero point, W, its scale and zero point, the output's scale and zero point, bias.
pub static QLINEAR_CONV: OpDef = OpDef {
    name: "QLinearConv",
    onnx: &[
        since("QLinearConv", 10, read_conv),
        crate::op::onnx_in("com.microsoft", "QLinearConv", 1, i64::MAX, read_conv),
    ],
    inputs: (8, 9),
    infer: infer_qlinear_conv,
    lower: Lower::Loops(|cx| convolve(cx, &QLINEAR_PLACES)),
    tails: true,
    ..BASE
};

/// Inputs: A, B, zero points of both; not of ONNX: what the sums of each column begin with. The output is i32.
pub static MATMUL_INTEGER: OpDef = OpDef {
    name: "MatMulInteger",
    onnx: &[since("MatMulInteger", 10, given_by_onnx)],
    inputs: (2, 5),
    infer: infer_matmul_integer,
    lower: Lower::Contract(&GEMM_INTEGER, |_| Ok(Attrs::default())),
    tails: true,
    ..BASE
};

/// Inputs: A, its scale and zero point, B, its scale and zero point, the output's scale and zero point.
pub static QLINEAR_MATMUL: OpDef = OpDef {
    name: "QLinearMatMul",
    onnx: &[since("QLinearMatMul", 10, read_none)],
    inputs: (8, 8),
    infer: infer_qlinear_matmul,
    lower: Lower::Loops(|cx| multiply(cx, &QLINEAR_PLACES)),
    tails: true,
    ..BASE
};

/// Which inputs are what.
struct Places {
    second: usize,
    zeros: (usize, usize),
    /// Scales of both operands and the output, and its zero point.
    scales: Option<(usize, usize, usize, usize)>,
    bias: usize,
}

const QLINEAR_PLACES: Places = Places {
    second: 3,
    zeros: (2, 5),
    scales: Some((1, 4, 6, 7)),
    bias: 8,
};

/// What sums begin with is for passes to say.
fn given_by_onnx(cx: &mut ReadCx) -> Result<()> {
    match cx.has_input(4) {
        true => bad(format!("{} has four inputs at most", cx.name)),
        false => Ok(()),
    }
}

fn read_conv_integer(cx: &mut ReadCx) -> Result<()> {
    given_by_onnx(cx)?;
    read_conv(cx)
}

fn read_conv(cx: &mut ReadCx) -> Result<()> {
    super::spatial::read_window(cx)?;
    if cx.int("channels_last", 0)? != 0 {
        return cx.unsupported("channels last is not done");
    }
    cx.keep_int("group", 1)
}

fn infer_conv_integer(cx: &mut InferCx) -> Result<()> {
    let (x, w) = (accept(cx, 0, byte)?, accept(cx, 1, byte)?);
    for (i, d) in [(2, x), (3, w)] {
        if cx.opt(i).is_some() && cx.dtype(i)? != d {
            return Err(super::util::mismatch(d, cx.dtype(i)?));
        }
    }
    one(cx, 2)?;
    let ws = cx.shape(1)?;
    let (_, shape) = super::conv::shapes(cx.attrs, &cx.shape(0)?, &ws, None)?;
    if cx.opt(3).is_some_and(|z| !fits(&z.ty.shape, ws[0].fixed())) {
        return bad("the zero point of the weights does not fit them");
    }
    cx.out(0, DType::I32, shape);
    Ok(())
}

fn infer_qlinear_conv(cx: &mut InferCx) -> Result<()> {
    let (x, w) = (accept(cx, 0, byte)?, accept(cx, 3, byte)?);
    let y = accept(cx, 7, byte)?;
    check(cx, 1, 2, x)?;
    check(cx, 4, 5, w)?;
    check(cx, 6, 7, y)?;
    for i in [1, 2, 6, 7] {
        one(cx, i)?;
    }
    let ws = cx.shape(3)?;
    let bias = cx.opt(8).map(|b| b.ty.shape.clone());
    if cx.opt(8).is_some() {
        accept(cx, 8, |d| d == DType::I32)?;
    }
    let (_, shape) = super::conv::shapes(cx.attrs, &cx.shape(0)?, &ws, bias.as_deref())?;
    for i in [4, 5] {
        if cx.opt(i).is_some_and(|s| !fits(&s.ty.shape, ws[0].fixed())) {
            return bad(format!("input {i} does not fit the output channels"));
        }
    }
    cx.out(0, y, shape);
    Ok(())
}

fn convolve(cx: &mut LowerCx, p: &Places) -> Result<()> {
    let (x, w) = (cx.in_shape(0)?, cx.in_shape(p.second)?);
    let window = super::spatial::conv_window(cx.attrs, &x, &w)?;
    let attrs: Attrs = explicit(&window).with("group", Attr::Int(cx.attrs.int("group", 1)));
    let v = conv::View::of_shapes(&attrs, &x, &w)?;
    let xz = zero_point(cx, p.zeros.0, None)?;
    let xz = cx.b.let_(xz);
    let out = cx.output(0).map(|o| o.ty.dtype).unwrap_or(DType::I32);
    conv::sums(
        cx,
        &v,
        Ty::I32,
        // Padding stands for the real number 0.
        &|cx, at, ok| {
            let x = cx.load_if(0, ok, at, xz)?;
            Ok(cx.b.sub(x, xz))
        },
        &|cx, at| {
            let w = cx.load(p.second, at)?;
            let z = zero_point(cx, p.zeros.1, Some(at[0]))?;
            Ok(ex!(cx.b; w - z))
        },
        &|cx, at, sum| {
            let mut sum = sum;
            if cx.opt(p.bias).is_some() {
                let bias = cx.load(p.bias, &at[1..2])?;
                sum = cx.b.add(sum, bias);
            }
            let v = finish(cx, p, out, sum, None, Some(at[1]))?;
            cx.store(0, at, v);
            Ok(())
        },
    )
}

/// The sum itself, or its quantized value.
fn finish(
    cx: &mut LowerCx,
    p: &Places,
    out: DType,
    sum: ExprId,
    row: Option<ExprId>,
    column: Option<ExprId>,
) -> Result<ExprId> {
    let Some((a, b, y, z)) = p.scales else {
        return Ok(sum);
    };
    let (a, b, y) = (
        scale(cx, a, row)?,
        scale(cx, b, column)?,
        scale(cx, y, None)?,
    );
    let z = zero_point(cx, z, None)?;
    let sum = cx.b.cast(Ty::F64, sum);
    let real = ex!(cx.b; sum * (a * b));
    Ok(quantize(&mut cx.b, out, real, y, z))
}

fn infer_matmul_integer(cx: &mut InferCx) -> Result<()> {
    let (a, b) = (accept(cx, 0, byte)?, accept(cx, 1, byte)?);
    for (i, d) in [(2, a), (3, b)] {
        if cx.opt(i).is_some() && cx.dtype(i)? != d {
            return Err(super::util::mismatch(d, cx.dtype(i)?));
        }
    }
    let (a, b) = (cx.shape(0)?, cx.shape(1)?);
    let out = super::matmul::matmul_shape(&a, &b, false, false)?;
    rows_and_columns(cx, &a, &b, [2, 2], [3, 3])?;
    cx.out(0, DType::I32, out);
    Ok(())
}

fn infer_qlinear_matmul(cx: &mut InferCx) -> Result<()> {
    let (a, b, y) = (
        accept(cx, 0, byte)?,
        accept(cx, 3, byte)?,
        accept(cx, 7, byte)?,
    );
    check(cx, 1, 2, a)?;
    check(cx, 4, 5, b)?;
    check(cx, 6, 7, y)?;
    one(cx, 6)?;
    one(cx, 7)?;
    let (a, b) = (cx.shape(0)?, cx.shape(3)?);
    let out = super::matmul::matmul_shape(&a, &b, false, false)?;
    rows_and_columns(cx, &a, &b, [1, 2], [4, 5])?;
    cx.out(0, y, out);
    Ok(())
}

/// Scales and zero points of A are one number or one per row, those of B one number or one per column.
fn rows_and_columns(
    cx: &InferCx,
    a: &[Dim],
    b: &[Dim],
    of_a: [usize; 2],
    of_b: [usize; 2],
) -> Result<()> {
    let rows = (a.len() > 1).then(|| a[a.len() - 2].fixed()).flatten();
    let columns = (b.len() > 1).then(|| b[b.len() - 1].fixed()).flatten();
    for (inputs, n) in [(of_a, rows), (of_b, columns)] {
        for i in inputs {
            if let Some(v) = cx.opt(i)
                && !fits(&v.ty.shape, n)
            {
                return Err(Diagnostic::unsupported(
                    "ONNX008",
                    format!("input {i} must be one number, or one per row or column"),
                ));
            }
        }
    }
    Ok(())
}

fn multiply(cx: &mut LowerCx, p: &Places) -> Result<()> {
    let (a, b) = (cx.in_shape(0)?, cx.in_shape(p.second)?);
    let v = gemm::View::of(&Attrs::default(), &a, &b, &cx.out_shape()?)?;
    let (ab, bb) = (cx.input(0)?.buf, cx.input(p.second)?.buf);
    let out = cx.output(0).map(|o| o.ty.dtype).unwrap_or(DType::I32);
    let mut shape = v.batch.clone();
    shape.extend([v.m.clone(), v.n.clone()]);
    let (ars, aks) = v.a_strides();
    cx.each(&shape, LoopKind::Lanes, |cx, at| {
        let (batch, i, j) = (&at[..at.len() - 2], at[at.len() - 2], at[at.len() - 1]);
        let (a0, b0) = (v.a_base(&mut cx.b, batch), v.b_base(&mut cx.b, batch));
        let (ars, aks) = (cx.b.dim(&ars), cx.b.dim(&aks));
        let (n, k) = (cx.b.dim(&v.n), cx.b.dim(&v.k));
        let az = zero_point(cx, p.zeros.0, Some(i))?;
        let bz = zero_point(cx, p.zeros.1, Some(j))?;
        let (az, bz) = (cx.b.let_(az), cx.b.let_(bz));
        let zero = cx.b.int(Ty::I32, 0);
        let sum = super::axes::fold_n(cx, k, zero, |cx, k, sum| {
            let e = &mut cx.b;
            let x_at = ex!(e; (a0 + (i * ars)) + (k * aks));
            let y_at = ex!(e; (b0 + (k * n)) + j);
            let (x, y) = (e.load(ab, x_at), e.load(bb, y_at));
            Ok(ex!(e; sum + ((x - az) * (y - bz))))
        })?;
        let value = finish(cx, p, out, sum, Some(i), Some(j))?;
        let mut index = batch.to_vec();
        if a.len() > 1 {
            index.push(i);
        }
        if b.len() > 1 {
            index.push(j);
        }
        cx.store(0, &index, value);
        Ok(())
    })
}
