//! Window functions of a known length: they become literals.

use super::{Expansion, ExpandCx};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
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
    let size = cx.ints(size, "size")?;
    let dtype = cx.attrs.dtype("output_datatype")?.unwrap_or(DType::F32);
    let periodic = cx.attrs.int("periodic", 1)? != 0;
    let n = match size.as_slice() {
        [n] if (0..=MAX).contains(n) => *n,
        _ => return Err(Diagnostic::model("ONNX009", format!("a window of size {size:?}"))),
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
