//! DeformConv: convolution whose window elements are read at offsets that are an input, between pixels.

use super::axes::{fold, origin};
use super::deform_columns::Sizes;
use super::spatial::{conv_window, read_window};
use super::util::{accept_same, bad, float, since};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::{Dim, fixed_shape};
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{ExprId, LoopKind, Ty, UnOp};
use crate::op::{BASE, InferCx, Lower, OpDef};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&DEFORM_CONV];

/// Inputs: X, W, offsets `[N, groups * taps * 2, out..]`, bias, mask `[N, groups * taps, out..]`.
pub static DEFORM_CONV: OpDef = OpDef {
    name: "DeformConv",
    onnx: &[since("DeformConv", 19, |cx| {
        read_window(cx)?;
        cx.keep_int("group", 1)?;
        cx.keep_int("offset_group", 1)
    })],
    inputs: (3, 5),
    infer,
    lower: Lower::Loops(lower),
    tails: true,
    sums: true,
    ..BASE
};

fn infer(cx: &mut InferCx) -> Result<()> {
    let d = accept_same(cx, 0, float)?;
    let (x, w) = (cx.shape(0)?, cx.shape(1)?);
    let bias = cx.opt(3).map(|b| b.ty.shape.clone());
    let (window, out) = super::conv::shapes(cx.attrs, &x, &w, bias.as_deref())?;
    if window.rank() != 2 {
        return Err(Diagnostic::unsupported(
            "ONNX008",
            "deformed windows over other than two axes",
        ));
    }
    let taps: i64 = window.kernel.iter().product();
    let groups = cx.attrs.int("offset_group", 1);
    if groups < 1 || x[1].fixed().is_none_or(|c| c % groups != 0) {
        return bad("`offset_group` does not divide the channels");
    }
    for (i, n) in [(2, taps * 2), (4, taps)] {
        let Some(v) = cx.opt(i) else { continue };
        let mut want = vec![x[0].clone(), Dim::Fixed(groups.saturating_mul(n))];
        want.extend_from_slice(&out[2..]);
        if v.ty.shape != want {
            return bad(format!("input {i} does not fit the windows"));
        }
    }
    cx.out(0, d, out);
    Ok(())
}

/// Sizes of what is computed piece by piece, at most.
const LARGEST: i64 = 1 << 15;

fn lower(cx: &mut LowerCx) -> Result<()> {
    let (x, w, out) = (cx.in_shape(0)?, cx.in_shape(1)?, cx.out_shape()?);
    let window = conv_window(cx.attrs, &x, &w)?;
    if let (Some(xs), Some(ws), Some(outs)) = (fixed_shape(&x), fixed_shape(&w), fixed_shape(&out))
        && let ([n, c, h, w], [m, cin, kh, kw], [_, _, oh, ow]) = (&xs[..], &ws[..], &outs[..])
        && [&xs, &ws, &outs].into_iter().flatten().all(|d| (1..=LARGEST).contains(d))
    {
        let group = cx.attrs.int("group", 1).max(1);
        let offset_group = cx.attrs.int("offset_group", 1).max(1);
        let sizes = Sizes {
            images: *n,
            image: (*h, *w),
            channels: *c / offset_group,
            offset_groups: offset_group,
            groups: group,
            outs: *m / group,
            ins: *cin,
            window: (*kh, *kw),
            out: (*oh, *ow),
        };
        return super::deform_columns::lower(cx, &sizes, &window);
    }
    let fixed = |d: &Dim| {
        d.fixed()
            .ok_or_else(|| Diagnostic::internal("channels of unknown size"))
    };
    let (c, m, cin) = (fixed(&x[1])?, fixed(&w[0])?, fixed(&w[1])?);
    let per_out = (m / cx.attrs.int("group", 1).max(1)).max(1);
    let per_offset = (c / cx.attrs.int("offset_group", 1).max(1)).max(1);
    let (kh, kw) = (window.kernel[0], window.kernel[1]);
    let ty = cx.in_ty(0)?;
    let sizes = [Dim::Fixed(cin), Dim::Fixed(kh), Dim::Fixed(kw)];
    cx.each(&out, LoopKind::Seq, |cx, o| {
        let start = origin(cx, 3);
        let zero = cx.b.num(ty, 0.0);
        let sum = fold(cx, &sizes, &[0, 1, 2], &start, zero, |cx, k, sum| {
            let ci = ex!(cx.b; (({o[1]} / {cx.b.i(per_out)}) * {cx.b.i(cin)}) + {k[0]});
            let ci = cx.b.let_(ci);
            let tap = ex!(cx.b; (({ci} / {cx.b.i(per_offset)}) * {cx.b.i(kh * kw)}) + (({k[1]} * {cx.b.i(kw)}) + {k[2]}));
            let tap = cx.b.let_(tap);
            let mut at = vec![];
            for i in 0..2 {
                let row = ex!(cx.b; (tap * 2) + {cx.b.i(i as i64)});
                let offset = cx.load(2, &[o[0], row, o[2], o[3]])?;
                let base = crate::contracts::conv::tap(&mut cx.b, &window, i, o[2 + i], k[1 + i]);
                let base = cx.b.cast(ty, base);
                let p = cx.b.add(base, offset);
                at.push(cx.b.let_(p));
            }
            let mut v = between(cx, &x, o[0], ci, at[0], at[1])?;
            if cx.opt(4).is_some() {
                let mask = cx.load(4, &[o[0], tap, o[2], o[3]])?;
                v = cx.b.mul(v, mask);
            }
            let weight = cx.load(1, &[o[1], k[0], k[1], k[2]])?;
            Ok(cx.b.fma(v, weight, sum))
        })?;
        let mut v = sum;
        if cx.opt(3).is_some() {
            let bias = cx.load(3, &o[1..2])?;
            v = cx.b.add(v, bias);
        }
        cx.store(0, o, v);
        Ok(())
    })
}

/// The image between its pixels; 0 outside.
fn between(
    cx: &mut LowerCx,
    x: &[Dim],
    n: ExprId,
    c: ExprId,
    py: ExprId,
    px: ExprId,
) -> Result<ExprId> {
    let ty = cx.b.ty(py);
    let mut sides = vec![];
    for p in [py, px] {
        let low = cx.b.un(UnOp::Floor, p);
        let low = cx.b.let_(low);
        let far = cx.b.sub(p, low);
        let far = cx.b.let_(far);
        let near = ex!(cx.b; 1.0 - far);
        let i = cx.b.cast(Ty::I64, low);
        let i = cx.b.let_(i);
        // Saturated positions must not wrap round to the other side.
        let one = cx.b.i(1);
        let top = cx.b.i(i64::MAX - 1);
        let next = cx.b.min(i, top);
        let next = cx.b.add(next, one);
        sides.push([(i, near), (next, far)]);
    }
    let zero = cx.b.num(ty, 0.0);
    let mut sum = zero;
    for (y, wy) in sides[0] {
        for (xx, wx) in sides[1] {
            let (none, h, w) = (cx.b.i(0), cx.b.dim(&x[2]), cx.b.dim(&x[3]));
            let (a, b) = (cx.b.in_range(y, none, h), cx.b.in_range(xx, none, w));
            let ok = cx.b.and(a, b);
            let v = cx.load_if(0, ok, &[n, c, y, xx], zero)?;
            sum = ex!(cx.b; sum + (v * (wy * wx)));
        }
    }
    Ok(cx.b.let_(sum))
}
