//! Sums to results: the output transform with a tail, or through loops.

use super::{Block, Job, store};
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::contracts::strip_plan::At;
use crate::contracts::winograd_tiles::Out;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{Arg, ExprId, LoopKind};
use crate::loops::tail::Tail;

impl Job<'_> {
    /// Sums to results, from an output channel on.
    pub(super) fn back(
        &self,
        cx: &mut LowerCx,
        k: &Block,
        channel: ExprId,
        columns: i64,
        row: i64,
        plane: i64,
    ) -> Result<()> {
        let Some(finish) = &self.finish else {
            return self.through_loops(cx, k, channel, columns, row, plane);
        };
        let zero = cx.b.i(0);
        let index = [k.first[0], zero, zero, channel];
        let (operands, out) = finish.block(cx, &index);
        let shape = Out {
            m: self.m,
            lanes: self.vector.lanes,
            rest: columns % self.vector.lanes,
            whole: self.whole(cx.b.func().bufs[out.buf].dtype),
            tail: finish.tail.clone(),
        };
        let [_, y, x] = k.first;
        let pixel = ex!(cx.b; ((y * {cx.b.i(self.m * self.out[1])}) + (x * {cx.b.i(self.m)})));
        let to = Target {
            first: [y, x],
            grid: self.grid,
            size: self.out,
            pixel,
            out,
        };
        self.call_out(cx, &shape, k.tiles, columns, [row, plane], operands, to);
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn call_out(
        &self,
        cx: &mut LowerCx,
        shape: &Out,
        tiles: i64,
        columns: i64,
        [row, plane]: [i64; 2],
        operands: Vec<At>,
        to: Target,
    ) {
        let ptr = |buf, offset| Arg::Ptr { buf, offset };
        let zero = cx.b.i(0);
        let mut args = vec![ptr(self.sums, zero), ptr(to.out.buf, to.out.at)];
        args.extend(operands.iter().map(|o| ptr(o.buf, o.at)));
        args.extend([plane, row, columns, tiles].map(|n| Arg::Int(cx.b.i(n))));
        args.extend(to.first.map(Arg::Int));
        let [gy, gx] = to.grid;
        let [h, w] = to.size;
        args.extend([gy, gx, h, w].map(|n| Arg::Int(cx.b.i(n))));
        args.extend([to.pixel, to.out.row, zero, zero].map(Arg::Int));
        args.extend(operands.iter().map(|o| Arg::Int(o.row)));
        cx.b.call(shape.callee(self.tout), args);
    }

    /// Results go to scratch, each tile as an image of its own, and from there through the row's stores.
    fn through_loops(
        &self,
        cx: &mut LowerCx,
        k: &Block,
        channel: ExprId,
        columns: i64,
        row: i64,
        plane: i64,
    ) -> Result<()> {
        let m = self.m;
        let len = k.tiles * m * m * columns;
        let results = cx.scratch_per_thread("results", self.form.numbers.sums(), Dim::Fixed(len));
        let shape = Out {
            m,
            lanes: self.vector.lanes,
            rest: columns % self.vector.lanes,
            whole: self.whole(DType::I32),
            tail: Tail::default(),
        };
        let zero = cx.b.i(0);
        let out = At {
            buf: results,
            at: zero,
            row: cx.b.i(columns),
        };
        let to = Target {
            first: [zero, zero],
            grid: [1, 1],
            size: [m, m],
            pixel: zero,
            out,
        };
        self.call_out(cx, &shape, k.tiles, columns, [row, plane], vec![], to);
        let sizes = [k.tiles, m, m].map(Dim::Fixed);
        let [n, y, x] = k.first;
        cx.each(&sizes, LoopKind::Seq, |cx, at| {
            let (tile, i, j) = (at[0], at[1], at[2]);
            let cols = cx.b.i(self.grid[1]);
            let rows = cx.b.i(self.grid[0]);
            let number = ex!(cx.b; ((y * cols) + x) + tile);
            let number = cx.b.let_(number);
            let (line, tx) = (cx.b.div(number, cols), cx.b.rem(number, cols));
            let (image, ty) = (cx.b.div(line, rows), cx.b.rem(line, rows));
            let oy = ex!(cx.b; (ty * {cx.b.i(m)}) + i);
            let ox = ex!(cx.b; (tx * {cx.b.i(m)}) + j);
            let (oy, ox) = (cx.b.let_(oy), cx.b.let_(ox));
            let image = cx.b.add(n, image);
            let image = cx.b.let_(image);
            let (h, w) = (cx.b.i(self.out[0]), cx.b.i(self.out[1]));
            let inside = (cx.b.lt(oy, h), cx.b.lt(ox, w));
            let inside = cx.b.and(inside.0, inside.1);
            let columns_e = cx.b.i(columns);
            cx.if_(
                inside,
                |cx| {
                    cx.for_(columns_e, LoopKind::Lanes, |cx, c| {
                        let from = ex!(cx.b; (((((tile * {cx.b.i(m)}) + i) * {cx.b.i(m)}) + j) * columns_e) + c);
                        let sum = cx.b.load(results, from);
                        let c = cx.b.add(channel, c);
                        store(cx, self.v, &[image, oy, ox, c], sum)
                    })
                },
                |_| Ok(()),
            )
        })
    }
}

/// Where results go.
struct Target {
    /// Row and column of the first tile.
    first: [ExprId; 2],
    /// Rows and columns of tiles.
    grid: [i64; 2],
    /// Pixels of an image.
    size: [i64; 2],
    /// Number of the first tile's first pixel.
    pixel: ExprId,
    out: At,
}
