//! DFT and STFT: discrete Fourier transforms, with tables of the unit circle made at compile time.
//!
//! A row is brought into memory of its own, is transformed there factor by factor ([`super::fourier`]), and its frequencies are
//! stored. Lengths with a large prime factor are transformed by definition.

use super::axes::fold_n;
use super::fourier::Fourier;
use super::util::{accept, bad, const_int, float};
use crate::base::attr::Attr;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{BufId, ExprId, LoopKind, Ty, UnOp};
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

/// Part 0 (real) or 1 (imaginary) of element t.
type Sample<'f> = &'f dyn Fn(&mut LowerCx, ExprId, i64) -> Result<ExprId>;
/// Stores such a part of frequency k.
type Keep<'f> = &'f dyn Fn(&mut LowerCx, ExprId, i64, ExprId);

/// What is done with each row.
struct Job {
    /// Elements of the transform.
    n: i64,
    ty: Ty,
    inverse: bool,
    /// Whether elements have imaginary parts.
    pairs: bool,
    /// Elements that are given; the others are 0.
    count: Dim,
    /// Frequencies that are wanted.
    bins: Dim,
    /// The elements are one half of a row whose other half mirrors it, and the results are real.
    half: bool,
}

/// How it is done.
enum Plan {
    Factors(Fourier),
    /// By definition, with these tables.
    Sums((BufId, BufId)),
}

impl Job {
    fn prepare(&self, cx: &mut LowerCx, dtype: DType) -> Plan {
        match Fourier::new(cx, self.n, self.ty, self.inverse) {
            Some(f) => Plan::Factors(f),
            None => Plan::Sums(circle(cx, self.n, dtype)),
        }
    }
    /// Transforms one row.
    fn transform(&self, cx: &mut LowerCx, plan: &Plan, load: Sample, keep: Keep) -> Result<()> {
        let bins = cx.b.dim(&self.bins);
        match plan {
            Plan::Factors(f) => {
                self.bring(cx, f, load)?;
                f.run(cx, !self.pairs);
                cx.for_(bins, LoopKind::Seq, |cx, k| {
                    let (re, im) = f.at(cx, k);
                    self.store(cx, k, re, im, keep);
                    Ok(())
                })
            }
            Plan::Sums(tables) => cx.for_(bins, LoopKind::Seq, |cx, k| {
                let (re, im) = self.by_definition(cx, *tables, k, load)?;
                self.store(cx, k, re, im, keep);
                Ok(())
            }),
        }
    }
    fn store(&self, cx: &mut LowerCx, k: ExprId, re: ExprId, im: ExprId, keep: Keep) {
        let parts = if self.half { vec![re] } else { vec![re, im] };
        for (i, v) in parts.into_iter().enumerate() {
            let v = if self.inverse {
                ex!(cx.b; v / {cx.b.num(self.ty, self.n as f64)})
            } else {
                v
            };
            keep(cx, k, i as i64, v);
        }
    }
    /// The row in the transform's own memory.
    fn bring(&self, cx: &mut LowerCx, f: &Fourier, load: Sample) -> Result<()> {
        let (re, im) = f.row;
        let (n, count) = (cx.b.i(self.n), cx.b.dim(&self.count));
        let zero = cx.b.num(self.ty, 0.0);
        let parts = if self.pairs { 2 } else { 1 };
        let copied = if self.pairs { LoopKind::Seq } else { LoopKind::Lanes };
        cx.for_(count, copied, |cx, t| {
            for (part, buf) in [(0, re), (1, im)].into_iter().take(parts) {
                let v = load(cx, t, part)?;
                cx.b.store(buf, t, v);
            }
            Ok(())
        })?;
        let missing = cx.b.sub(n, count);
        cx.for_(missing, LoopKind::Lanes, |cx, t| {
            let t = cx.b.add(count, t);
            for buf in [re, im].into_iter().take(parts) {
                cx.b.store(buf, t, zero);
            }
            Ok(())
        })?;
        if !self.half {
            return Ok(());
        }
        // The missing half mirrors what is there, all but the ends, whose imaginary parts stand for nothing.
        if parts == 2 {
            let ends = [0].into_iter().chain((self.n % 2 == 0).then_some(self.n / 2));
            for end in ends {
                let end = cx.b.i(end);
                cx.b.store(im, end, zero);
            }
        }
        let mirrored = cx.b.i((self.n - 1) / 2);
        cx.for_(mirrored, LoopKind::Seq, |cx, t| {
            let t = ex!(cx.b; t + 1);
            let to = cx.b.sub(n, t);
            let a = cx.b.load(re, t);
            cx.b.store(re, to, a);
            if parts == 2 {
                let b = cx.b.load(im, t);
                let b = cx.b.un(UnOp::Neg, b);
                cx.b.store(im, to, b);
            }
            Ok(())
        })
    }
    /// The sum over t of `x(t)` times the unit at -k t / n (or +k t / n).
    fn by_definition(
        &self,
        cx: &mut LowerCx,
        tables: (BufId, BufId),
        k: ExprId,
        load: Sample,
    ) -> Result<(ExprId, ExprId)> {
        let (ty, n) = (self.ty, self.n);
        let zero = cx.b.num(ty, 0.0);
        let im = cx.b.var(zero);
        let count = cx.b.dim(&self.count);
        let re = fold_n(cx, count, zero, |cx, t, sum| {
            let at = ex!(cx.b; (k * t) % {cx.b.i(n)});
            let at = cx.b.let_(at);
            let (c, s) = (cx.b.load(tables.0, at), cx.b.load(tables.1, at));
            let s = if self.inverse {
                cx.b.un(UnOp::Neg, s)
            } else {
                s
            };
            let (c, s) = (cx.b.let_(c), cx.b.let_(s));
            let mut a = load(cx, t, 0)?;
            let mut b = match self.pairs {
                true => load(cx, t, 1)?,
                false => cx.b.num(ty, 0.0),
            };
            if self.half {
                // The missing half mirrors what is there, all but the ends.
                let double = ex!(cx.b; (0 < t) & ((t * 2) < {cx.b.i(n)}));
                let (two, single) = (cx.b.num(ty, 2.0), cx.b.num(ty, 1.0));
                let w = cx.b.select(double, two, single);
                // The imaginary part of an end stands for nothing.
                let none = cx.b.num(ty, 0.0);
                b = cx.b.select(double, b, none);
                a = cx.b.mul(a, w);
                b = cx.b.mul(b, w);
            }
            let (a, b) = (cx.b.let_(a), cx.b.let_(b));
            let old = cx.b.get(im);
            let new = ex!(cx.b; old + ((b * c) - (a * s)));
            cx.b.set(im, new);
            Ok(ex!(cx.b; sum + ((a * c) + (b * s))))
        })?;
        let im = cx.b.get(im);
        Ok((re, cx.b.let_(im)))
    }
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
    let half = inverse && onesided;
    let kept = if half { n / 2 + 1 } else { n };
    let job = Job {
        n,
        ty,
        inverse,
        pairs,
        bins: out[axis].clone(),
        count: x[axis].clone().smaller(&Dim::Fixed(kept)),
        half,
    };
    let mut outer = out[..last].to_vec();
    outer.remove(axis);
    let plan = job.prepare(cx, dtype);
    cx.each(&outer, LoopKind::Parallel, |cx, at| {
        let index = |t: ExprId, part: ExprId| {
            let mut index = at.to_vec();
            index.insert(axis, t);
            index.push(part);
            index
        };
        let load = |cx: &mut LowerCx, t: ExprId, part: i64| {
            let part = cx.b.i(part);
            cx.load(0, &index(t, part))
        };
        job.transform(cx, &plan, &load, &|cx, k, part, v| {
            let part = cx.b.i(part);
            cx.store(0, &index(k, part), v);
        })
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
    let job = Job {
        n,
        ty,
        inverse: false,
        pairs,
        bins: out[2].clone(),
        count: Dim::Fixed(n),
        half: false,
    };
    let plan = job.prepare(cx, dtype);
    cx.each(&out[..2], LoopKind::Parallel, |cx, at| {
        let first = ex!(cx.b; {at[1]} * {cx.b.i(step)});
        let load = |cx: &mut LowerCx, t: ExprId, part: i64| {
            let from = cx.b.add(first, t);
            let part = cx.b.i(part);
            let v = cx.load(0, &[at[0], from, part][..x.len()])?;
            Ok(match cx.opt(2).is_some() {
                true => {
                    let w = cx.load(2, &[t])?;
                    cx.b.mul(v, w)
                }
                false => v,
            })
        };
        job.transform(cx, &plan, &load, &|cx, k, part, v| {
            let part = cx.b.i(part);
            cx.store(0, &[at[0], at[1], k, part], v);
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::*;

    /// Real and imaginary parts by definition, in f64.
    fn definition(n: usize, x: &[(f64, f64)], inverse: bool) -> Vec<f64> {
        let sign = if inverse { 1.0 } else { -1.0 };
        let one = |k: usize| {
            let terms = x.iter().enumerate().map(|(t, (a, b))| {
                let at = sign * 2.0 * std::f64::consts::PI * (k * t % n) as f64 / n as f64;
                let (c, s) = (libm::cos(at), libm::sin(at));
                (a * c - b * s, a * s + b * c)
            });
            let (re, im) = terms.fold((0.0, 0.0), |(a, b), (c, d)| (a + c, b + d));
            let by = if inverse { n as f64 } else { 1.0 };
            [re / by, im / by]
        };
        (0..n).flat_map(one).collect()
    }

    #[test]
    fn as_the_definition_says() {
        let mut seed = 3u32;
        let mut random = || {
            seed = seed.wrapping_mul(1664525).wrapping_add(1013904223);
            f64::from(seed >> 8) / f64::from(1u32 << 23) - 1.0
        };
        // One stage, several, odd factors, a factor that is too large; more and fewer elements than the transform has.
        for (n, given) in [
            (1, 1), (2, 2), (3, 3), (5, 8), (16, 16), (17, 17), (30, 30), (64, 40), (97, 97),
            (100, 100), (128, 128), (202, 202), (210, 210), (262, 262), (400, 400), (512, 600),
        ] {
            let x: Vec<(f64, f64)> = (0..given)
                .map(|_| (f64::from(random() as f32), f64::from(random() as f32)))
                .collect();
            for (pairs, inverse, d) in [
                (true, false, DType::F32),
                (true, true, DType::F32),
                (false, false, DType::F32),
                (true, false, DType::F64),
            ] {
                let used: Vec<(f64, f64)> = x
                    .iter()
                    .take(n)
                    .map(|(a, b)| (*a, if pairs { *b } else { 0.0 }))
                    .collect();
                let want = definition(n, &used, inverse);
                let flat: Vec<f64> = match pairs {
                    true => x.iter().flat_map(|(a, b)| [*a, *b]).collect(),
                    false => x.iter().map(|(a, _)| *a).collect(),
                };
                let parts = if pairs { 2 } else { 1 };
                let x = data(Tensor::from_f64s(d, &[1, given as i64, parts], &flat));
                let length = konst(Tensor::i64(&[], &[n as i64]));
                let how = attrs([("inverse", Attr::Int(i64::from(inverse)))]);
                let got = numbers("DFT", 20, &how, vec![x, length]);
                let size = want.iter().fold(1e-9f64, |m, v| m.max(v.abs()));
                let worst = got.iter().zip(&want).fold(0f64, |m, (a, b)| m.max((a - b).abs()));
                assert_eq!(got.len(), want.len());
                let most = if d == DType::F64 { 1e-13 } else { 1e-6 };
                assert!(worst <= most * size, "{n} of {given} {pairs} {inverse} {d}: {worst} of {size}");
            }
        }
    }

    #[test]
    fn half_a_row_gives_back_real_numbers() {
        for n in [6i64, 7, 32, 50, 262] {
            let x: Vec<(f64, f64)> = (0..n).map(|i| (f64::from((i * 37 % 11) as i32) - 5.0, 0.0)).collect();
            let all = definition(n as usize, &x, false);
            let half = n / 2 + 1;
            let x_half = Tensor::from_f64s(DType::F32, &[1, half, 2], &all[..2 * half as usize]);
            let length = konst(Tensor::i64(&[], &[n]));
            let how = attrs([("inverse", Attr::Int(1)), ("onesided", Attr::Int(1))]);
            let got = numbers("DFT", 20, &how, vec![data(x_half), length]);
            for (g, (w, _)) in got.iter().zip(&x) {
                assert!((g - w).abs() < 1e-5, "{n}: {g} {w}");
            }
        }
    }
}
