//! Window functions: literals where the length is known, else computed from it.

use super::{Expansion, ExpandCx};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::graph::ir::ValueId;
use std::f64::consts::PI;

/// Operators of this file.
pub const EXPANSIONS: &[Expansion] = &[
    super::onnx("HannWindow", 17, |cx| window(cx, &[0.5, -0.5])),
    super::onnx("HammingWindow", 17, |cx| window(cx, &[25.0 / 46.0, -21.0 / 46.0])),
    super::onnx("BlackmanWindow", 17, |cx| window(cx, &[0.42, -0.5, 0.08])),
];

/// Longest window that is written out.
const MAX: i64 = 1 << 24;

/// Sum of `terms[k] * cos(2 pi k n / N)`.
fn window(cx: &mut ExpandCx, terms: &[f64]) -> Result<()> {
    let size = cx.input(0)?;
    let dtype = cx.attrs.dtype("output_datatype")?.unwrap_or(DType::F32);
    let periodic = cx.attrs.int("periodic", 1)? != 0;
    let Ok(known) = cx.ints(size, "size") else {
        let v = computed(cx, size, terms, periodic)?;
        let v = if dtype == DType::F32 { v } else { cx.cast(v, dtype)? };
        cx.set(0, v);
        return Ok(());
    };
    let n = match known.as_slice() {
        [n] if (0..=MAX).contains(n) => *n,
        _ => return Err(Diagnostic::model("ONNX009", format!("a window of size {known:?}"))),
    };
    let whole = (if periodic { n } else { n - 1 }).max(1) as f64;
    let values: Vec<f64> = (0..n)
        .map(|i| {
            let angle = 2.0 * PI * i as f64 / whole;
            let term = |(k, c): (usize, &f64)| c * libm::cos(k as f64 * angle);
            terms.iter().enumerate().map(term).sum()
        })
        .collect();
    let v = cx.konst(Tensor::from_f64s(dtype, &[n], &values));
    cx.set(0, v);
    Ok(())
}

/// The same where the length comes from data; in f32.
fn computed(cx: &mut ExpandCx, size: ValueId, terms: &[f64], periodic: bool) -> Result<ValueId> {
    let size = cx.cast(size, DType::I64)?;
    let (zero, one) = (cx.scalar(DType::I64, 0.0), cx.scalar(DType::I64, 1.0));
    let n = cx.plain("Range", &[zero, size, one])?;
    let n = cx.cast(n, DType::F32)?;
    let whole = if periodic {
        size
    } else {
        cx.plain("Sub", &[size, one])?
    };
    // A symmetric window of one element is all there is of it: its angle is 0 whatever the divisor.
    let whole = cx.plain("Max", &[whole, one])?;
    let whole = cx.cast(whole, DType::F32)?;
    let share = cx.plain("Div", &[n, whole])?;
    let mut sum = cx.scalar(DType::F32, terms[0]);
    for (k, &c) in terms.iter().enumerate().skip(1) {
        let turn = cx.scalar(DType::F32, 2.0 * PI * k as f64);
        let angle = cx.plain("Mul", &[share, turn])?;
        let cos = cx.plain("Cos", &[angle])?;
        let factor = cx.scalar(DType::F32, c);
        let term = cx.plain("Mul", &[cos, factor])?;
        sum = cx.plain("Add", &[sum, term])?;
    }
    Ok(sum)
}
