//! Rows of results of a window that is gone through: where each begins, and what its calls read.

use super::{Job, row_blocks};
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{BufId, ExprId, LoopKind};

/// Where windows read: the input itself, or a copy with its border.
pub(super) struct Source {
    pub buf: BufId,
    /// First element of the image or band.
    pub base: ExprId,
    /// Elements from one index to the next along each spatial axis.
    pub strides: Vec<ExprId>,
    /// The last of them as a number.
    pub pitch: i64,
    /// Results along the last axis: where the first lies, and how many. `base` belongs to the first.
    pub from: i64,
    #[allow(missing_docs)]
    pub width: Dim,
}

/// A block of rows of results.
pub(super) struct Rows {
    /// Where A lies.
    pub buf: BufId,
    /// First element of A for each call of the window.
    pub calls: Vec<ExprId>,
    /// From one row to the next.
    pub row: ExprId,
    /// From one segment to the next.
    pub seg: ExprId,
    /// Index of the first result, without the channel, and the axis along which rows lie.
    pub index: Vec<ExprId>,
    pub axis: usize,
    /// Tiles, and rows of each.
    pub tiles: ExprId,
    pub m: i64,
}

impl Job<'_> {
    /// Rows `first..first + rows` of the output along the first axis.
    pub(super) fn rows(
        &self,
        cx: &mut LowerCx,
        n: ExprId,
        s: &Source,
        first: ExprId,
        rows: ExprId,
    ) -> Result<()> {
        let w = &self.v.window;
        let last = w.rank() - 1;
        let (width, from) = (cx.b.dim(&s.width), cx.b.i(s.from));
        for g in 0..self.v.group {
            for (at, p) in self.panels.iter().enumerate() {
                // The rows of a band pass under one panel before the next: its weights stay near. Each row and panel has sums of its own, which
                // calls may add to.
                let count = cx.b.i(p.count);
                cx.for_(count, LoopKind::Parallel, |cx, t| {
                    let mut sizes: Vec<Dim> = w.out[..last].to_vec();
                    let one_axis = sizes.is_empty();
                    if !one_axis {
                        sizes.remove(0);
                    }
                    let row_count = if one_axis { cx.b.i(1) } else { rows };
                    cx.for_(row_count, LoopKind::Parallel, |cx, r| {
                        cx.each(&sizes, LoopKind::Seq, |cx, more| {
                            // Output index, and where its window begins, for all axes but the last.
                            let mut index = vec![n];
                            let mut base = s.base;
                            if !one_axis {
                                let oy = cx.b.add(first, r);
                                index.push(oy);
                                let y = ex!(cx.b; (r * {cx.b.i(w.stride[0])}) * {s.strides[0]});
                                base = cx.b.add(base, y);
                            }
                            for (i, &o) in more.iter().enumerate() {
                                index.push(o);
                                let y =
                                    ex!(cx.b; (o * {cx.b.i(w.stride[i + 1])}) * {s.strides[i + 1]});
                                base = cx.b.add(base, y);
                            }
                            let base = ex!(cx.b; base + {cx.b.i(g * self.v.cin)});
                            let base = cx.b.let_(base);
                            row_blocks(
                                cx,
                                s.width.fixed(),
                                width,
                                p.m,
                                i64::MAX / 4,
                                &mut |cx, ox, tiles, m| {
                                    let mut index = index.clone();
                                    index.push(cx.b.add(ox, from));
                                    let step = cx.b.i(w.stride[last] * s.pitch);
                                    let a = ex!(cx.b; base + (ox * step));
                                    let a = cx.b.let_(a);
                                    let dilation = cx.b.i(w.dilation[self.plan.seg_axis]);
                                    let rows = Rows {
                                        buf: s.buf,
                                        calls: self.calls(cx, s, a),
                                        row: step,
                                        seg: cx.b.mul(s.strides[self.plan.seg_axis], dilation),
                                        index,
                                        axis: w.rank(),
                                        tiles,
                                        m,
                                    };
                                    self.panel(cx, g, at, t, &rows)
                                },
                            )
                        })
                    })
                })?;
            }
        }
        Ok(())
    }

    /// Where each call of the window begins, the window's first element being at `a`.
    pub(super) fn calls(&self, cx: &mut LowerCx, s: &Source, a: ExprId) -> Vec<ExprId> {
        let w = &self.v.window;
        let calls: i64 = self.plan.outer.iter().map(|&x| w.kernel[x]).product();
        (0..calls)
            .map(|c| {
                let mut rest = c;
                let mut at = a;
                for &axis in self.plan.outer.iter().rev() {
                    let k = rest % w.kernel[axis];
                    rest /= w.kernel[axis];
                    let by = ex!(cx.b; {s.strides[axis]} * {cx.b.i(k * w.dilation[axis])});
                    at = cx.b.add(at, by);
                }
                at
            })
            .collect()
    }
}
