//! MelWeightMatrix, from constants, and hence a constant itself.

use super::util::{const_int, map_output, number, since};
use crate::base::attr::Attr;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::kernel::LowerCx;
use crate::op::{BASE, InferCx, Lower, OpDef};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&MEL];

/// Inputs: number of bands, transform length, sample rate, lowest and highest frequency.
pub static MEL: OpDef = OpDef {
    name: "MelWeightMatrix",
    onnx: &[since("MelWeightMatrix", 17, |cx| {
        let d = cx.dtype("output_datatype")?.unwrap_or(DType::F32);
        cx.set("output_datatype", Attr::Type(d));
        Ok(())
    })],
    inputs: (5, 5),
    infer,
    lower: Lower::Loops(lower),
    tails: true,
    ..BASE
};

fn infer(cx: &mut InferCx) -> Result<()> {
    for i in 0..5 {
        super::util::accept(cx, i, number)?;
    }
    let (bands, length) = (
        const_int(cx, 0, "num_mel_bins")?,
        const_int(cx, 1, "dft_length")?,
    );
    if !(0..1 << 16).contains(&bands) || !(0..1 << 24).contains(&length) {
        return super::util::bad("the number of bands or the transform length is out of range");
    }
    let d = cx.attrs.dtype("output_datatype").unwrap_or(DType::F32);
    if !number(d) {
        return super::util::bad("`output_datatype` must be numbers");
    }
    cx.out(0, d, vec![Dim::Fixed(length / 2 + 1), Dim::Fixed(bands)]);
    Ok(())
}

/// The matrix `[bins][bands]`.
fn matrix(bands: i64, length: i64, rate: f64, low: f64, high: f64) -> Vec<f64> {
    let bins = length / 2 + 1;
    let mel = |hz: f64| 2595.0 * libm::log10(1.0 + hz / 700.0);
    let step = (mel(high) - mel(low)) / (bands + 2) as f64;
    let edge = |i: i64| {
        let hz = 700.0 * (libm::pow(10.0, (i as f64 * step + mel(low)) / 2595.0) - 1.0);
        libm::floor((length + 1) as f64 * hz / rate) as i64
    };
    let mut out = vec![0.0; (bins * bands) as usize];
    let mut set = |j: i64, i: i64, v: f64| {
        if (0..bins).contains(&j) {
            out[(j * bands + i) as usize] = v;
        }
    };
    for i in 0..bands {
        let (left, center, right) = (edge(i), edge(i + 1), edge(i + 2));
        if center == left {
            set(center, i, 1.0);
        } else {
            for j in left.max(0)..=center.min(bins) {
                set(j, i, (j - left) as f64 / (center - left) as f64);
            }
        }
        for j in center.max(0)..right.min(bins) {
            set(j, i, (right - j) as f64 / (right - center) as f64);
        }
    }
    out
}

fn lower(cx: &mut LowerCx) -> Result<()> {
    let konst = |i: usize| {
        cx.opt(i)
            .and_then(|o| o.konst.as_ref())
            .and_then(|t| t.get_f64(0))
            .ok_or_else(|| {
                Diagnostic::unsupported("ONNX012", format!("input {i} is not a constant"))
            })
    };
    let (bands, length) = (konst(0)? as i64, konst(1)? as i64);
    let values = matrix(bands, length, konst(2)?, konst(3)?, konst(4)?);
    let d = cx.output(0).map_or(DType::F32, |o| o.ty.dtype);
    let shape = cx.out_shape()?;
    let t = cx.constant(
        "matrix",
        Tensor::from_f64s(d, &[values.len() as i64], &values),
    );
    map_output(cx, |cx, at| {
        let from = cx.b.offset(&shape, at);
        Ok(cx.b.load(t, from))
    })
}
