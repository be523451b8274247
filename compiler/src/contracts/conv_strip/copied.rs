//! Windows of one element over pixels that are copied first, a block at a time.

use super::rows::Rows;
use super::{Job, row_blocks};
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::build::Builder;
use crate::loops::ir::{BufId, ExprId, LoopKind};

impl Job<'_> {
    /// A product over all pixels of an image.
    pub(super) fn copied_pixels(
        &self,
        cx: &mut LowerCx,
        n: ExprId,
        x: BufId,
        base: ExprId,
        pixels: Option<i64>,
        all: ExprId,
    ) -> Result<()> {
        let m = self.panels.first().map_or(1, |p| p.m);
        let block = self.row_block(cx);
        // Blocks of equal size in whole tiles, as many to each thread.
        let size = match pixels {
            Some(p) => {
                let blocks = (p + block - 1) / block;
                let blocks = (blocks + cx.threads - 1) / cx.threads * cx.threads;
                ((p + blocks - 1) / blocks + m - 1) / m * m
            }
            None => (block / m).max(1) * m,
        };
        let len = Dim::Fixed(size * self.pitch + self.form.beyond());
        let buf = cx.scratch_per_thread("pixels", self.form.a_type, len);
        let size_e = cx.b.i(size);
        let count = cx.b.div(all, size_e);
        let count = cx.b.let_(count);
        cx.for_(count, LoopKind::Seq, |cx, t| {
            let first = cx.b.mul(t, size_e);
            let first = cx.b.let_(first);
            self.copied_block(cx, n, x, base, buf, first, Some(size), size_e)
        })?;
        let rest = pixels.map(|p| p % size);
        if rest == Some(0) {
            return Ok(());
        }
        let first = cx.b.mul(count, size_e);
        let first = cx.b.let_(first);
        let here = cx.b.sub(all, first);
        let here = cx.b.let_(here);
        cx.left_over(|cx| self.copied_block(cx, n, x, base, buf, first, rest, here))
    }

    /// Pixels from number `first` on, so many.
    #[allow(clippy::too_many_arguments)]
    fn copied_block(
        &self,
        cx: &mut LowerCx,
        n: ExprId,
        x: BufId,
        base: ExprId,
        buf: BufId,
        first: ExprId,
        known: Option<i64>,
        here: ExprId,
    ) -> Result<()> {
        let channels = self.channels();
        let b = &mut cx.b;
        let from = ex!(b; base + (first * {b.i(channels)}));
        let from = b.let_(from);
        if self.pitch == channels {
            let all = ex!(b; here * {b.i(channels)});
            let zero = b.i(0);
            self.copy(b, x, from, buf, zero, all);
        } else {
            let (c, pitch) = (b.i(channels), b.i(self.pitch));
            b.for_(here, LoopKind::Seq, |b, p| {
                let (from, to) = (ex!(b; from + (p * c)), b.mul(p, pitch));
                let (from, to) = (b.let_(from), b.let_(to));
                self.copy_pixel(b, x, from, buf, to);
            });
        }
        let rank = self.v.window.rank();
        for g in 0..self.v.group {
            for (at, p) in self.panels.iter().enumerate() {
                let most = i64::MAX / 4;
                row_blocks(cx, known, here, p.m, most, &mut |cx, row, tiles, m| {
                    let pitch = cx.b.i(self.pitch);
                    let a = ex!(cx.b; (row * pitch) + {cx.b.i(g * self.v.cin)});
                    let a = cx.b.let_(a);
                    let mut index = vec![n];
                    index.extend((1..rank).map(|_| cx.b.i(0)));
                    index.push(cx.b.add(first, row));
                    let rows = Rows {
                        buf,
                        calls: vec![a],
                        row: pitch,
                        seg: cx.b.i(0),
                        index,
                        axis: rank,
                        tiles,
                        m,
                    };
                    let count = cx.b.i(p.count);
                    cx.for_(count, LoopKind::Seq, |cx, t| {
                        self.panel(cx, g, at, t, &rows)
                    })
                })?;
            }
        }
        Ok(())
    }

    /// Copies the channels of a pixel; what lies behind them up to the next group counts nothing, since the weights there are 0.
    pub(super) fn copy_pixel(
        &self,
        b: &mut Builder,
        x: BufId,
        from: ExprId,
        buf: BufId,
        to: ExprId,
    ) {
        let copy = |b: &mut Builder, i: ExprId| {
            let at = b.add(from, i);
            let v = b.load(x, at);
            let v = self.form.copied(b, v, self.zero_of_a);
            let at = b.add(to, i);
            b.store(buf, at, v);
        };
        // A loop costs more than a few elements.
        match self.channels() {
            few @ 0..=4 => {
                for i in 0..few {
                    let i = b.i(i);
                    copy(b, i);
                }
            }
            all => {
                let c = b.i(all);
                b.for_(c, LoopKind::Lanes, copy);
            }
        }
        let none = self.form.nothing(b);
        for i in self.channels()..self.pitch {
            let at = ex!(b; to + {b.i(i)});
            b.store(buf, at, none);
        }
    }
}
