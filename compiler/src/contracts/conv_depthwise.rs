//! `conv_f32_depthwise`: one input channel per group, over one or two spatial axes.
//!
//! Each channel is copied into a plane with its zero border, so that the loops along the output row need no guards.

use super::conv::{View, macs};
use crate::base::costs::Work;
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::ex;
use crate::kernel::{Kernel, LowerCx, Query};
use crate::loops::ir::{BufId, ExprId, LoopKind};

/// The row.
pub const ROW: Kernel = Kernel {
    name: "conv_f32_depthwise",
    needs: &[],
    accepts,
    work: |q| Work::of(macs(q)),
    tails: true,
    emit,
};

/// Windows up to this many elements are written out, larger ones are loops.
const UNROLLED: i64 = 32;

fn accepts(q: &Query) -> bool {
    // Halves become f32 when they are read.
    let f32s = |i: usize| matches!(q.inputs.get(i), Some(Some((t, _))) if matches!(t.dtype, DType::F32 | DType::F16 | DType::BF16));
    let Ok(v) = View::of(q) else { return false };
    let crops = v.window.begin.iter().chain(&v.window.end).any(|&p| p < 0);
    f32s(0)
        && f32s(1)
        && !v.channels_last
        && v.cin == 1
        && v.group > 1
        && (1..=2).contains(&v.window.rank())
        && !crops
}

/// Where the windows read: rows of `width` elements from `base` on.
struct Plane {
    buf: BufId,
    base: ExprId,
    width: ExprId,
}

fn emit(cx: &mut LowerCx, q: &Query) -> Result<()> {
    let v = View::of(q)?;
    let w = &v.window;
    let last = w.rank() - 1;
    // One spatial axis is an image of one row.
    let two = w.rank() == 2;
    let (h, wd) = (
        if two {
            v.input[0].clone()
        } else {
            Dim::Fixed(1)
        },
        v.input[last].clone(),
    );
    // What the windows span can be more than the padded input where it is rounded up, never is for explicit pads.
    let (top, bottom) = if two { (w.begin[0], w.end[0]) } else { (0, 0) };
    let ph = h.clone() + Dim::Fixed(top + bottom);
    let pw = wd.clone() + Dim::Fixed(w.begin[last] + w.end[last]);
    let pad = (!w.is_unpadded())
        .then(|| cx.scratch_per_thread("plane", DType::F32, ph.clone() * pw.clone()));
    let x_buf = cx.input(0)?.buf;
    let outer = [v.n.clone(), Dim::Fixed(v.group)];
    cx.each(&outer, LoopKind::Seq, |cx, at| {
        let (n, g) = (at[0], at[1]);
        let (he, we, pwe, phe) = (cx.b.dim(&h), cx.b.dim(&wd), cx.b.dim(&pw), cx.b.dim(&ph));
        let base = ex!(cx.b; (((n * {cx.b.i(v.group)}) + g) * he) * we);
        let base = cx.b.let_(base);
        let plane = match pad {
            None => Plane {
                buf: x_buf,
                base,
                width: we,
            },
            Some(buf) => {
                let zero = cx.b.f(0.0);
                let all = cx.b.mul(phe, pwe);
                cx.b.for_(all, LoopKind::Lanes, |b, i| b.store(buf, i, zero));
                let left = w.begin[last];
                cx.b.for_(he, LoopKind::Seq, |b, y| {
                    b.for_(we, LoopKind::Lanes, |b, x| {
                        let from = ex!(b; (base + (y * we)) + x);
                        let value = b.load(x_buf, from);
                        let to = ex!(b; (((y + {b.i(top)}) * pwe) + x) + {b.i(left)});
                        b.store(buf, to, value);
                    });
                });
                Plane {
                    buf,
                    base: cx.b.i(0),
                    width: pwe,
                }
            }
        };
        let mult = cx.b.i(v.cout);
        cx.for_(mult, LoopKind::Seq, |cx, m| {
            let oc = ex!(cx.b; (g * mult) + m);
            channel(cx, &v, &plane, n, oc)
        })
    })
}

fn channel(cx: &mut LowerCx, v: &View, plane: &Plane, n: ExprId, oc: ExprId) -> Result<()> {
    let w = &v.window;
    let last = w.rank() - 1;
    let two = w.rank() == 2;
    let (kh, sh, dh) = if two {
        (w.kernel[0], w.stride[0], w.dilation[0])
    } else {
        (1, 1, 1)
    };
    let (kw, sw, dw) = (w.kernel[last], w.stride[last], w.dilation[last]);
    let taps = v.taps();
    let written_out = taps <= UNROLLED;
    let w_buf = cx.input(1)?.buf;
    let mut weights = vec![];
    if written_out {
        for t in 0..taps {
            let at = ex!(cx.b; (oc * {cx.b.i(taps)}) + {cx.b.i(t)});
            let x = cx.b.load(w_buf, at);
            weights.push(cx.b.let_(x));
        }
    }
    let rows = if two { w.out[0].clone() } else { Dim::Fixed(1) };
    let (rows, cols) = (cx.b.dim(&rows), cx.b.dim(&w.out[last]));
    cx.for_(rows, LoopKind::Seq, |cx, oy| {
        let row = ex!(cx.b; {plane.base} + ((oy * {cx.b.i(sh)}) * {plane.width}));
        let row = cx.b.let_(row);
        cx.for_(cols, LoopKind::Lanes, |cx, ox| {
            let zero = cx.b.f(0.0);
            let sum = cx.b.var(zero);
            let tap = |cx: &mut LowerCx, y: ExprId, x: ExprId, weight: ExprId| {
                let at = ex!(cx.b; (row + (y * {plane.width})) + ((ox * {cx.b.i(sw)}) + x));
                let value = cx.b.load(plane.buf, at);
                let old = cx.b.get(sum);
                let new = cx.b.fma(value, weight, old);
                cx.b.set(sum, new);
            };
            if written_out {
                for (t, &weight) in weights.iter().enumerate() {
                    let t = t as i64;
                    let (y, x) = (cx.b.i(t / kw * dh), cx.b.i(t % kw * dw));
                    tap(cx, y, x, weight);
                }
            } else {
                super::conv::seq(cx, &[kh, kw], |cx, k| {
                    let at = ex!(cx.b; ((oc * {cx.b.i(taps)}) + ({k[0]} * {cx.b.i(kw)})) + {k[1]});
                    let weight = cx.b.load(w_buf, at);
                    let y = ex!(cx.b; {k[0]} * {cx.b.i(dh)});
                    let x = ex!(cx.b; {k[1]} * {cx.b.i(dw)});
                    tap(cx, y, x, weight);
                    Ok(())
                })?;
            }
            let s = cx.b.get(sum);
            let index = if two {
                vec![n, oc, oy, ox]
            } else {
                vec![n, oc, ox]
            };
            v.store(cx, &index, s)
        })
    })
}
