//! `conv_f32_depthwise_wide`: depthwise convolution over channels-last data by windows, steps and borders of any size, all of them loops.
//!
//! The window of a pixel is cut to what exists, once for all its channels, which are lanes. Large windows hang over the border by about half, and what lies
//! outside costs nothing.

use super::conv::{View, cut, macs, seq_of, tap};
use super::strip_plan::constant;
use crate::base::costs::Work;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::ex;
use crate::kernel::{Kernel, LowerCx, Query};
use crate::loops::ir::{ExprId, LoopKind};

/// The row.
pub const ROW: Kernel = Kernel {
    name: "conv_f32_depthwise_wide",
    needs: &[],
    accepts,
    work: |q| Work::of(macs(q)),
    tails: true,
    emit,
};

fn accepts(q: &Query) -> bool {
    // Weights may be halves: they are known, and packed as f32.
    let weights = |d: DType| matches!(d, DType::F32 | DType::F16 | DType::BF16);
    let given = |i: usize| q.inputs.get(i).and_then(Option::as_ref);
    let f32s = |i: usize| given(i).is_none_or(|(t, _)| t.dtype == DType::F32);
    let known = given(1).is_some_and(|(t, w)| w.is_some() && weights(t.dtype));
    let Ok(v) = View::of(q) else { return false };
    let depthwise = v.channels_last && v.group > 1 && v.cin == 1 && v.cout == 1;
    known && depthwise && [0, 2, 3].into_iter().all(f32s)
}

fn emit(cx: &mut LowerCx, q: &Query) -> Result<()> {
    let v = View::of(q)?;
    let w = &v.window;
    let (taps, c) = (v.taps(), v.group);
    let known = cx.input(1)?.konst.as_ref().and_then(|t| t.to_f32s());
    let known = known.ok_or_else(|| Diagnostic::internal("weights that are not known"))?;
    // `[taps, channels]`.
    let of_tap = |t: i64| (0..c).map(move |c| (c * taps + t) as usize);
    let packed = (0..taps).flat_map(of_tap).map(|at| known[at]).collect();
    let weights = constant(cx, packed);
    let pixels = [std::slice::from_ref(&v.n), &w.out[..]].concat();
    let window: Vec<Dim> = w.kernel.iter().map(|&k| Dim::Fixed(k)).collect();
    cx.each(&pixels, LoopKind::Seq, |cx, o| {
        let cuts = cut(cx, w, &v.input, &o[1..]);
        let counts: Vec<ExprId> = cuts.iter().map(|c| c.1).collect();
        let channels = cx.b.i(c);
        cx.for_(channels, LoopKind::Lanes, |cx, channel| {
            let zero = cx.b.f(0.0);
            let sum = cx.b.var(zero);
            seq_of(cx, &counts, |cx, k| {
                let (mut at, mut place) = (vec![o[0]], vec![]);
                for (i, &k) in k.iter().enumerate() {
                    let k = cx.b.add(cuts[i].0, k);
                    at.push(tap(&mut cx.b, w, i, o[1 + i], k));
                    place.push(k);
                }
                at.push(channel);
                let place = cx.b.offset(&window, &place);
                let place = ex!(cx.b; (place * {cx.b.i(c)}) + channel);
                let (x, weight) = (cx.load(0, &at)?, cx.b.load(weights, place));
                let old = cx.b.get(sum);
                let new = cx.b.fma(x, weight, old);
                cx.b.set(sum, new);
                Ok(())
            })?;
            let sum = cx.b.get(sum);
            let index = [o, &[channel]].concat();
            v.store(cx, &index, sum)
        })
    })
}
