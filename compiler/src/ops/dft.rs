//! DFT and STFT: discrete Fourier transforms by definition, with tables of the unit circle made at compile time.

use super::axes::fold_n;
use super::util::{accept, bad, const_int, float};
use crate::base::attr::Attr;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{BufId, ExprId, LoopKind, Ty};
use crate::op::{BASE, InferCx, LATEST, Lower, OpDef, ReadCx, onnx, resolve_axis};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&DFT, &STFT];

/// Inputs: X `[.., 1 or 2]`, length, axis.
pub static DFT: OpDef = OpDef {
    name: "DFT",
    onnx: &[
        onnx("DFT", 17, 19, |cx| {
            let axis = cx.int("axis", 1)?;
            cx.input(2, Tensor::i64(&[], &[axis]));
            read(cx)
        }),
        onnx("DFT", 20, LATEST, read),
    ],
    inputs: (1, 3),
    infer,
    lower: Lower::Loops(lower),
    ..BASE
};

/// Inputs: signal `[batch, samples, 1 or 2]` or, as exporters write it, `[batch, samples]`, step, window, frame length.
pub static STFT: OpDef = OpDef {
    name: "STFT",
    onnx: &[onnx("STFT", 17, LATEST, |cx| cx.keep_int("onesided", 1))],
    inputs: (2, 4),
    infer: infer_stft,
    lower: Lower::Loops(lower_stft),
    ..BASE
};

fn read(cx: &mut ReadCx) -> Result<()> {
    for name in ["inverse", "onesided"] {
        let v = cx.int(name, 0)?;
        cx.set(name, Attr::Int(i64::from(v != 0)));
    }
    Ok(())
}

/// Longest transform: the tables take as many elements.
const MAX_LENGTH: i64 = 1 << 22;

fn complex(shape: &[Dim]) -> Result<bool> {
    match shape.last().and_then(Dim::fixed) {
        Some(1) => Ok(false),
        Some(2) => Ok(true),
        _ => bad("the last axis must be a real number or a pair"),
    }
}

fn check_length(n: i64) -> Result<i64> {
    if (1..=MAX_LENGTH).contains(&n) {
        Ok(n)
    } else {
        bad(format!("a transform over {n} elements"))
    }
}

fn infer(cx: &mut InferCx) -> Result<()> {
    let d = accept(cx, 0, float)?;
    let x = cx.shape(0)?;
    complex(&x)?;
    let axis = if cx.opt(2).is_some() {
        const_int(cx, 2, "axis")?
    } else {
        -2
    };
    let axis = resolve_axis(axis, x.len())?;
    if axis + 1 == x.len() {
        return bad("a transform along the axis of pairs");
    }
    let (inverse, onesided) = (cx.attrs.flag("inverse"), cx.attrs.flag("onesided"));
    let length = match (cx.opt(1), x[axis].fixed()) {
        (Some(_), _) => const_int(cx, 1, "dft_length")?,
        (None, Some(n)) if inverse && onesided => 2 * (n - 1),
        (None, Some(n)) => n,
        (None, None) => {
            return Err(Diagnostic::unsupported(
                "ONNX012",
                "a transform over an axis of unknown size",
            ));
        }
    };
    let length = check_length(length)?;
    let mut out = x;
    out[axis] = Dim::Fixed(if onesided && !inverse {
        length / 2 + 1
    } else {
        length
    });
    if let Some(last) = out.last_mut() {
        *last = Dim::Fixed(if onesided && inverse { 1 } else { 2 });
    }
    cx.out(0, d, out);
    Ok(())
}

/// Cosine and sine of the n-th parts of the circle.
fn circle(cx: &mut LowerCx, n: i64, dtype: DType) -> (BufId, BufId) {
    let angle = |i: i64| 2.0 * std::f64::consts::PI * i as f64 / n as f64;
    let cos: Vec<f64> = (0..n).map(|i| libm::cos(angle(i))).collect();
    let sin: Vec<f64> = (0..n).map(|i| libm::sin(angle(i))).collect();
    let dtype = if dtype == DType::F64 {
        DType::F64
    } else {
        DType::F32
    };
    (
        cx.constant("cosines", Tensor::from_f64s(dtype, &[n], &cos)),
        cx.constant("sines", Tensor::from_f64s(dtype, &[n], &sin)),
    )
}

/// Real and imaginary part of element t.
type Sample<'f> = &'f dyn Fn(&mut LowerCx, ExprId) -> Result<(ExprId, ExprId)>;

/// Real and imaginary part of sum over t below `count` of `x(t)` times the unit at -k t / n (or +k t / n).
#[allow(clippy::too_many_arguments)]
fn transform(
    cx: &mut LowerCx,
    ty: Ty,
    n: i64,
    tables: (BufId, BufId),
    k: ExprId,
    count: ExprId,
    inverse: bool,
    x: Sample,
) -> Result<(ExprId, ExprId)> {
    let zero = cx.b.num(ty, 0.0);
    let im = cx.b.var(zero);
    let re = fold_n(cx, count, zero, |cx, t, sum| {
        let at = ex!(cx.b; (k * t) % {cx.b.i(n)});
        let at = cx.b.let_(at);
        let (c, s) = (cx.b.load(tables.0, at), cx.b.load(tables.1, at));
        let s = if inverse {
            cx.b.un(crate::loops::ir::UnOp::Neg, s)
        } else {
            s
        };
        let (c, s) = (cx.b.let_(c), cx.b.let_(s));
        let (a, b) = x(cx, t)?;
        let (a, b) = (cx.b.let_(a), cx.b.let_(b));
        let old = cx.b.get(im);
        let new = ex!(cx.b; old + ((b * c) - (a * s)));
        cx.b.set(im, new);
        Ok(ex!(cx.b; sum + ((a * c) + (b * s))))
    })?;
    let im = cx.b.get(im);
    Ok((re, cx.b.let_(im)))
}

fn lower(cx: &mut LowerCx) -> Result<()> {
    let (x, out) = (cx.in_shape(0)?, cx.out_shape()?);
    let pairs = complex(&x)?;
    let axis = match cx.opt(2) {
        Some(o) => o.konst.as_ref().and_then(|t| t.get_i64(0)),
        None => Some(-2),
    };
    let axis =
        axis.ok_or_else(|| Diagnostic::unsupported("ONNX012", "`axis` is not a constant"))?;
    let axis = resolve_axis(axis, x.len())?;
    let last = x.len() - 1;
    let (inverse, onesided) = (cx.attrs.flag("inverse"), cx.attrs.flag("onesided"));
    let given = cx
        .opt(1)
        .and_then(|o| o.konst.as_ref())
        .and_then(|t| t.get_i64(0));
    let n = match (given, x[axis].fixed(), out[axis].fixed()) {
        (Some(n), ..) => n,
        (None, Some(n), _) if onesided && !inverse => n,
        (None, _, Some(n)) => n,
        _ => return Err(Diagnostic::internal("a transform of unknown length")),
    };
    let n = check_length(n)?;
    let dtype = cx.input(0)?.ty.dtype;
    let ty = Ty::of(dtype);
    let tables = circle(cx, n, dtype);
    let half = inverse && onesided;
    cx.each(&out[..last], LoopKind::Seq, |cx, at| {
        let k = at[axis];
        let most = cx.b.i(if half { n / 2 + 1 } else { n });
        let size = cx.b.dim(&x[axis]);
        let count = cx.b.min(size, most);
        let (re, im) = transform(cx, ty, n, tables, k, count, inverse, &|cx, t| {
            let mut index = at.to_vec();
            index[axis] = t;
            let (zero, one) = (cx.b.i(0), cx.b.i(1));
            index.push(zero);
            let mut a = cx.load(0, &index)?;
            let mut b = cx.b.num(ty, 0.0);
            if pairs {
                index[last] = one;
                b = cx.load(0, &index)?;
            }
            if half {
                // The missing half mirrors what is there, all but the ends.
                let double = ex!(cx.b; (zero < t) & ((t * 2) < {cx.b.i(n)}));
                let (two, single) = (cx.b.num(ty, 2.0), cx.b.num(ty, 1.0));
                let w = cx.b.select(double, two, single);
                // The imaginary part of an end stands for nothing.
                let none = cx.b.num(ty, 0.0);
                b = cx.b.select(double, b, none);
                a = cx.b.mul(a, w);
                b = cx.b.mul(b, w);
            }
            Ok((a, b))
        })?;
        let parts = if half { vec![re] } else { vec![re, im] };
        for (i, v) in parts.into_iter().enumerate() {
            let v = if inverse {
                ex!(cx.b; v / {cx.b.num(ty, n as f64)})
            } else {
                v
            };
            let mut index = at.to_vec();
            index.push(cx.b.i(i as i64));
            cx.store(0, &index, v);
        }
        Ok(())
    })
}

/// Whether a signal's elements are pairs.
fn pairs_of(signal: &[Dim]) -> Result<bool> {
    match signal.len() {
        2 => Ok(false),
        3 => complex(signal),
        _ => bad("the signal must be [batch, samples, 1 or 2] or [batch, samples]"),
    }
}

fn infer_stft(cx: &mut InferCx) -> Result<()> {
    let d = accept(cx, 0, float)?;
    let x = cx.shape(0)?;
    pairs_of(&x)?;
    let step = const_int(cx, 1, "frame_step")?;
    let length = match (cx.opt(3), cx.opt(2)) {
        (Some(_), _) => const_int(cx, 3, "frame_length")?,
        (None, Some(w)) => w.ty.shape.first().and_then(Dim::fixed).unwrap_or(0),
        (None, None) => x[1].fixed().unwrap_or(0),
    };
    let length = check_length(length)?;
    if let Some(w) = cx.opt(2)
        && (w.ty.dtype != d || w.ty.shape != vec![Dim::Fixed(length)])
    {
        return bad("the window does not fit the frames");
    }
    let frames = (x[1].clone() - Dim::Fixed(length))
        .floor_div(&Dim::Fixed(step))
        .map(|f| f + Dim::Fixed(1));
    let Some(frames) = frames.filter(|f| f.fixed().is_none_or(|f| f >= 0)) else {
        return bad("the frames do not fit the signal");
    };
    let bins = if cx.attrs.flag("onesided") {
        length / 2 + 1
    } else {
        length
    };
    cx.out(
        0,
        d,
        vec![x[0].clone(), frames, Dim::Fixed(bins), Dim::Fixed(2)],
    );
    Ok(())
}

fn lower_stft(cx: &mut LowerCx) -> Result<()> {
    let (x, out) = (cx.in_shape(0)?, cx.out_shape()?);
    let pairs = pairs_of(&x)?;
    let konst = |i: usize| {
        cx.opt(i)
            .and_then(|o| o.konst.as_ref())
            .and_then(|t| t.get_i64(0))
    };
    let window = cx
        .opt(2)
        .and_then(|w| w.ty.shape.first())
        .and_then(Dim::fixed);
    let length = konst(3).or(window).or(x[1].fixed());
    let (Some(step), Some(n)) = (konst(1), length) else {
        return Err(Diagnostic::unsupported(
            "ONNX012",
            "step and frame length must be constants",
        ));
    };
    let n = check_length(n)?;
    let dtype = cx.input(0)?.ty.dtype;
    let ty = Ty::of(dtype);
    let tables = circle(cx, n, dtype);
    cx.each(&out[..3], LoopKind::Seq, |cx, at| {
        let count = cx.b.i(n);
        let first = ex!(cx.b; {at[1]} * {cx.b.i(step)});
        let (re, im) = transform(cx, ty, n, tables, at[2], count, false, &|cx, t| {
            let from = cx.b.add(first, t);
            let (zero, one) = (cx.b.i(0), cx.b.i(1));
            let mut a = cx.load(0, &[at[0], from, zero][..x.len()])?;
            let mut b = cx.b.num(ty, 0.0);
            if pairs {
                b = cx.load(0, &[at[0], from, one])?;
            }
            if cx.opt(2).is_some() {
                let w = cx.load(2, &[t])?;
                a = cx.b.mul(a, w);
                b = cx.b.mul(b, w);
            }
            Ok((a, b))
        })?;
        for (i, v) in [re, im].into_iter().enumerate() {
            let mut index = at.to_vec();
            index.push(cx.b.i(i as i64));
            cx.store(0, &index, v);
        }
        Ok(())
    })
}
