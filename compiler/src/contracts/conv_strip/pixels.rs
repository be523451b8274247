//! Windows of one element: products over the pixels of an image.

use super::{Job, Rows};
use crate::base::diag::Result;
use crate::contracts::row_blocks::{row_blocks, row_parts};
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{BufId, ExprId, LoopKind};

impl Job<'_> {
    /// Windows of one element: a product over all pixels of an image.
    pub(super) fn pixels(
        &self,
        cx: &mut LowerCx,
        n: ExprId,
        x: BufId,
        base: ExprId,
        pixels: Option<i64>,
        all: ExprId,
    ) -> Result<()> {
        let m = self.panels.first().map_or(1, |p| p.m);
        row_parts(cx, pixels, all, m, &mut |cx, from, known, here| {
            self.pixels_from(cx, n, x, base, from, known, here)
        })
    }

    /// Pixels `from..from + here` of an image.
    #[allow(clippy::too_many_arguments)]
    fn pixels_from(
        &self,
        cx: &mut LowerCx,
        n: ExprId,
        x: BufId,
        base: ExprId,
        from: ExprId,
        known: Option<i64>,
        here: ExprId,
    ) -> Result<()> {
        let block = self.row_block(cx);
        let rank = self.v.window.rank();
        for g in 0..self.v.group {
            // All panels of a block of rows before the next block: A stays near. They have the same tiles where that is so.
            for (at, p) in self.panels.iter().enumerate() {
                row_blocks(cx, known, here, p.m, block, &mut |cx, row, tiles, m| {
                    let first = cx.b.add(from, row);
                    let c = cx.b.i(self.pitch);
                    let a = ex!(cx.b; ((first * c) + base) + {cx.b.i(g * self.v.cin)});
                    let a = cx.b.let_(a);
                    let mut index = vec![n];
                    index.extend((1..rank).map(|_| cx.b.i(0)));
                    index.push(first);
                    let rows = Rows {
                        buf: x,
                        calls: vec![a],
                        row: c,
                        seg: cx.b.i(0),
                        index,
                        axis: rank,
                        tiles,
                        m,
                    };
                    let count = cx.b.i(self.panels[at].count);
                    cx.for_(count, LoopKind::Seq, |cx, t| {
                        self.panel(cx, g, at, t, &rows)
                    })
                })?;
            }
        }
        Ok(())
    }

    /// Rows of A that stay in a cache while all panels pass over them.
    pub(super) fn row_block(&self, cx: &LowerCx) -> i64 {
        let row = (self.plan.k * self.form.a_type.size() as i64).max(1);
        let weights = self.per_window * self.v.cout * self.form.b_type.size() as i64;
        let (l1, l2) = (
            i64::from(cx.machine.l1d.max(16 << 10)),
            i64::from(cx.machine.l2.max(128 << 10)),
        );
        let near = if weights <= l2 / 2 { l1 / 2 } else { l2 / 2 };
        (near / row).max(24)
    }
}
