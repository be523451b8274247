//! Short rows, many of which are turned at once, so that each is a column: what is done along a row is then done for one row in each lane.

use super::util::in_pieces;
use crate::base::diag::Result;
use crate::base::dim::{Dim, fixed_shape};
use crate::base::dtype::DType;
use crate::contracts::turn::{BLOCK, Shape};
use crate::ex;
use crate::kernel::{LowerCx, Tile};
use crate::loops::ir::{Arg, BufId, ExprId};

/// Rows that are turned at once, and elements of a row at most.
const AT_ONCE: i64 = 64;

/// The input of an operator as short rows.
pub struct Columns {
    tile: &'static Tile,
    /// How many rows there are, and elements of one.
    rows: i64,
    pub n: i64,
    dtype: DType,
}

/// Some rows: their columns, 64 elements from one element of a row to the next; the first of them, and how many they are.
#[derive(Clone, Copy)]
pub struct Rows {
    pub columns: BufId,
    pub first: ExprId,
    pub count: ExprId,
}

impl Rows {
    /// Where element `k` of row `r` of them lies.
    pub fn place(self, cx: &mut LowerCx, k: ExprId, r: ExprId) -> ExprId {
        ex!(cx.b; (k * {cx.b.i(AT_ONCE)}) + r)
    }
}

impl Columns {
    /// Input 0 as rows of its last `axes` axes, where these have 2 to 64 elements and what is stored is the operator's own.
    pub fn of(cx: &LowerCx, axes: usize) -> Option<Columns> {
        let x = cx.input(0).ok()?;
        let shape = fixed_shape(&x.ty.shape)?;
        let (outer, own) = shape.split_at(shape.len().checked_sub(axes)?);
        let product = |d: &[i64]| d.iter().try_fold(1i64, |a, &d| a.checked_mul(d));
        let (rows, n) = (product(outer)?, product(own)?);
        let fits = (2..=AT_ONCE).contains(&n) && rows >= AT_ONCE / 2 && x.ty.dtype.size() <= 4;
        let lone = cx.store_hook.is_none() && !cx.effort.optimize_for_size();
        let tile = cx.machine.tile("turn").filter(|_| fits && lone)?;
        Some(Columns {
            tile,
            rows,
            n,
            dtype: x.ty.dtype,
        })
    }
    /// Calls `f` for all rows, some at a time.
    pub fn each(
        &self,
        cx: &mut LowerCx,
        f: impl Fn(&mut LowerCx, Rows) -> Result<()>,
    ) -> Result<()> {
        let x = cx.input(0)?.buf;
        let all = Dim::Fixed(self.n * AT_ONCE);
        let columns = cx.scratch_per_thread("columns", self.dtype, all);
        let mut done = Ok(());
        in_pieces(cx, &Dim::Fixed(self.rows), AT_ONCE, |cx, first, count| {
            let start = self.start(cx, first);
            let zero = cx.b.i(0);
            let sizes = [(count, 0), (cx.b.i(self.n), self.n)];
            self.turn(cx, [(x, start, self.n), (columns, zero, AT_ONCE)], sizes);
            if done.is_ok() {
                done = f(
                    cx,
                    Rows {
                        columns,
                        first,
                        count,
                    },
                );
            }
        })?;
        done
    }
    /// Writes rows to where they belong in the output.
    pub fn put_back(&self, cx: &mut LowerCx, rows: Rows) {
        let Some(out) = cx.output(0).map(|o| o.buf) else {
            return;
        };
        let start = self.start(cx, rows.first);
        let zero = cx.b.i(0);
        let sizes = [(cx.b.i(self.n), self.n), (rows.count, 0)];
        self.turn(
            cx,
            [(rows.columns, zero, AT_ONCE), (out, start, self.n)],
            sizes,
        );
    }
    // Where a row begins.
    fn start(&self, cx: &mut LowerCx, row: ExprId) -> ExprId {
        ex!(cx.b; row * {cx.b.i(self.n)})
    }
    // Turns a matrix. `sides`: the memory of each side, where it begins there, and how far its rows are apart. `sizes`: its rows and columns, as the call
    // is told and as far as they are known to be few.
    fn turn(&self, cx: &mut LowerCx, sides: [(BufId, ExprId, i64); 2], sizes: [(ExprId, i64); 2]) {
        let few = |n: i64| if (2..BLOCK).contains(&n) { n } else { 0 };
        let shape = Shape {
            size: self.dtype.size() as i64,
            rows: few(sizes[0].1),
            cols: few(sizes[1].1),
        };
        let b = &mut cx.b;
        let mut args: Vec<Arg> = sides
            .iter()
            .map(|&(buf, offset, _)| Arg::Ptr { buf, offset })
            .collect();
        args.extend(sizes.map(|(n, _)| Arg::Int(n)));
        args.extend(sides.map(|(_, _, apart)| Arg::Int(b.i(apart))));
        // One matrix.
        args.extend([1, 0, 0].map(|n| Arg::Int(b.i(n))));
        b.call(shape.callee(self.tile), args);
    }
}
