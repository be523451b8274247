//! Products with the weights of recurrent operators: by strips where weights are known and the machine has them, else in loops
//! with lanes along the gates.

use super::axes::fold_n;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::contracts::gemm::transposed;
use crate::contracts::narrow_weights::{Grid, Packed, may_be, worth};
use crate::contracts::strip::{Start, Strip};
use crate::contracts::strip_plan::{
    At, Call, Panels, call, constant, machine, narrow_panels, pack, packed_before, panels,
    row_blocks,
};
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{BufId, ExprId, LoopKind};

/// Whether products with input `i` go by strips.
pub fn strips(cx: &LowerCx, i: usize) -> bool {
    let known = cx.opt(i).is_some_and(|o| o.konst.is_some());
    let narrow = cx.opt(0).is_some_and(|x| x.ty.dtype == DType::F32);
    known && narrow && machine(cx).is_ok()
}

/// How weights are packed.
enum Stored {
    Floats(BufId),
    Narrow(Packed),
}

/// Some rows of a direction's weights, packed.
pub struct Matrix {
    panels: Stored,
    groups: Vec<Panels>,
    k: i64,
}

impl Matrix {
    /// Rows `from..to` of direction `d` of input `i`, `[dirs, rows, k]`, for products with `left` rows (`None`: not known).
    pub fn of(
        cx: &mut LowerCx,
        i: usize,
        d: i64,
        (from, to): (i64, i64),
        left: Option<i64>,
    ) -> Result<Matrix> {
        let (_, vector) = machine(cx)?;
        let missing = || Diagnostic::internal("weights that are not known");
        let t = cx.input(i)?.konst.clone().ok_or_else(missing)?;
        let w = t.to_f32s().ok_or_else(missing)?;
        let (rows, k) = (t.shape[1], t.shape[2]);
        let n = to - from;
        let of = |p: i64, j: i64| (d * rows + from + j) * k + p;
        let ty = cx.input(i)?.ty.clone();
        let grid = match may_be(&ty) && worth(cx.machine, cx.effort, left, k, n) {
            true => Grid::of(&ty, &t, (k, n), of),
            false => None,
        };
        if let Some(grid) = grid {
            let groups = narrow_panels(&vector, n, left, &grid);
            return Ok(Matrix {
                panels: Stored::Narrow(grid.pack(cx, &groups)?),
                groups,
                k,
            });
        }
        let groups = panels(&vector, n, left);
        let values = pack(&groups, k, |p, j| w[of(p, j) as usize]);
        Ok(Matrix {
            panels: Stored::Floats(constant(cx, values)),
            groups,
            k,
        })
    }
    /// C = A B, or C + A B: `count` rows of A.
    pub fn multiply(
        &self,
        cx: &mut LowerCx,
        count: &Dim,
        a: At,
        c: At,
        start: Start,
    ) -> Result<()> {
        let (tile, _) = machine(cx)?;
        let rows = cx.b.dim(count);
        for (at, p) in self.groups.iter().enumerate() {
            let before = packed_before(&self.groups, at, self.k);
            row_blocks(
                cx,
                count.fixed(),
                rows,
                p.m,
                48,
                &mut |cx, first, tiles, m| {
                    let panels = cx.b.i(p.count);
                    cx.for_(panels, LoopKind::Seq, |cx, t| {
                        let (panel, scales) = match &self.panels {
                            Stored::Narrow(packed) => packed.panel(cx, &self.groups, at, t),
                            Stored::Floats(buf) => {
                                let b = &mut cx.b;
                                let at = ex!(b; (t * {b.i(p.padded * self.k)}) + {b.i(before)});
                                let row = b.i(p.padded);
                                (At { buf: *buf, at, row }, vec![])
                            }
                        };
                        let narrow = match &self.panels {
                            Stored::Narrow(packed) => Some(packed),
                            Stored::Floats(_) => None,
                        };
                        let b = &mut cx.b;
                        let column = ex!(b; (t * {b.i(p.n)}) + {b.i(p.first)});
                        let a_at = ex!(b; {a.at} + (first * {a.row}));
                        let c_at = ex!(b; ({c.at} + (first * {c.row})) + column);
                        let strip = Strip {
                            m,
                            n: p.n,
                            split: p.split,
                            b_row: p.padded,
                            start,
                            b_type: narrow.map_or(DType::F32, |n| n.stored),
                            narrow: narrow.map(|n| n.narrow),
                            ..Strip::floats()
                        };
                        let operands = Call {
                            a: At { at: a_at, ..a },
                            b: panel,
                            c: At { at: c_at, ..c },
                            scales,
                            operands: vec![],
                            k: b.i(self.k),
                            seg: b.i(0),
                            tiles,
                        };
                        call(cx, tile, &strip, operands);
                        Ok(())
                    })
                },
            )?;
        }
        Ok(())
    }
}

/// Weights as loops read them: element (k, j) at `base(dir) + k * ks + j * js`.
#[derive(Clone, Copy)]
pub struct Weights {
    input: usize,
    buf: BufId,
    ks: i64,
    js: i64,
    /// Rows of one direction times its columns.
    size: i64,
    k: i64,
    strips: bool,
}

impl Weights {
    /// Of input `i`, `[dirs, rows, k]`; constant ones that loops read are transposed at compile time, so that lanes along rows
    /// are contiguous.
    pub fn of(cx: &mut LowerCx, i: usize, rows: i64, k: i64) -> Result<Weights> {
        let o = cx.input(i)?.clone();
        let strips = strips(cx, i);
        let flipped: Option<Tensor> = match strips {
            true => None,
            false => o.konst.as_ref().and_then(transposed),
        };
        let (buf, ks, js) = match flipped {
            Some(t) => (cx.constant("weights", t), rows, 1),
            None => (o.buf, 1, k),
        };
        Ok(Weights {
            input: i,
            buf,
            ks,
            js,
            size: rows * k,
            k,
            strips,
        })
    }
    /// Adds rows `from..to` times a vector (its first element at `x`) to as many elements of `into`, from element `at` on.
    #[allow(clippy::too_many_arguments)]
    pub fn add_product(
        &self,
        cx: &mut LowerCx,
        d: usize,
        (from, to): (i64, i64),
        x: (BufId, ExprId),
        into: BufId,
        at: i64,
    ) -> Result<()> {
        if self.strips {
            let zero = cx.b.i(0);
            let a = At {
                buf: x.0,
                at: x.1,
                row: zero,
            };
            let c = At {
                buf: into,
                at: cx.b.i(at),
                row: zero,
            };
            let matrix = Matrix::of(cx, self.input, d as i64, (from, to), Some(1))?;
            return matrix.multiply(cx, &Dim::Fixed(1), a, c, Start::Sum);
        }
        let count = cx.b.i(to - from);
        cx.for_(count, LoopKind::Lanes, |cx, j| {
            let place = ex!(cx.b; j + {cx.b.i(at)});
            let so_far = cx.b.load(into, place);
            let k = cx.b.i(self.k);
            let sum = fold_n(cx, k, so_far, |cx, k, sum| {
                let b = &mut cx.b;
                let at_x = b.add(x.1, k);
                let v = b.load(x.0, at_x);
                let row = ex!(b; j + {b.i(from)});
                let base = b.i(d as i64 * self.size);
                let w = ex!(b; (base + (k * {b.i(self.ks)})) + (row * {b.i(self.js)}));
                let w = b.load(self.buf, w);
                Ok(b.fma(v, w, sum))
            })?;
            cx.b.store(into, place, sum);
            Ok(())
        })
    }
}
