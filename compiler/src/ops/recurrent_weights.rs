//! Products with the weights of recurrent operators: by strips where weights are known and the machine has them, else in loops
//! with lanes along the gates.

use super::axes::fold_n;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::contracts::gemm::transposed;
use crate::contracts::narrow_weights::{Grid, Packed, may_be, worth};
use crate::contracts::row_blocks::row_blocks;
use crate::contracts::strip::{Start, Strip};
use crate::contracts::strip_plan::{
    At, Call, Panels, call, constant, machine, narrow_panels, pack, packed_before, panels,
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

/// Some rows of the weights of all directions, packed one direction behind the other.
pub struct Matrix {
    panels: Stored,
    /// Of one direction.
    groups: Vec<Panels>,
    k: i64,
}

impl Matrix {
    /// Rows `from..to` of each direction of input `i`, `[dirs, rows, k]`, for products with `left` rows (`None`: not known).
    pub fn of(
        cx: &mut LowerCx,
        i: usize,
        (from, to): (i64, i64),
        left: Option<i64>,
    ) -> Result<Matrix> {
        let (_, vector) = machine(cx)?;
        let missing = || Diagnostic::internal("weights that are not known");
        let t = cx.input(i)?.konst.clone().ok_or_else(missing)?;
        let w = t.to_f32s().ok_or_else(missing)?;
        let (dirs, rows, k) = (t.shape[0], t.shape[1], t.shape[2]);
        let n = to - from;
        // Columns of all directions are numbered one behind the other.
        let of = |p: i64, j: i64| (j / n * rows + from + j % n) * k + p;
        let every = |groups: &[Panels]| -> Vec<Panels> {
            let of = |d: i64| {
                let moved = move |p: &Panels| Panels {
                    first: d * n + p.first,
                    ..*p
                };
                groups.iter().map(moved)
            };
            (0..dirs).flat_map(of).collect()
        };
        let ty = cx.input(i)?.ty.clone();
        let grid = match may_be(&ty) && worth(cx.machine, cx.effort, left, k, n) {
            true => Grid::of(&ty, &t, (k, dirs * n), of),
            false => None,
        };
        if let Some(grid) = grid {
            let groups = narrow_panels(&vector, n, left, &grid);
            return Ok(Matrix {
                panels: Stored::Narrow(grid.pack(cx, &every(&groups))?),
                groups,
                k,
            });
        }
        let groups = panels(&vector, n, left);
        let values = pack(&every(&groups), k, |p, j| w[of(p, j) as usize]);
        Ok(Matrix {
            panels: Stored::Floats(constant(cx, values)),
            groups,
            k,
        })
    }
    /// C = A B, or C + A B, with the B of a direction: `count` rows of A. Threads may share the columns where C is not private to one.
    pub fn multiply(
        &self,
        cx: &mut LowerCx,
        dir: ExprId,
        count: &Dim,
        a: At,
        c: At,
        start: Start,
    ) -> Result<()> {
        let (tile, _) = machine(cx)?;
        let rows = cx.b.dim(count);
        for (at, p) in self.groups.iter().enumerate() {
            row_blocks(
                cx,
                count.fixed(),
                rows,
                p.m,
                48,
                &mut |cx, first, tiles, m| {
                    let panels = cx.b.i(p.count);
                    cx.parallel(panels, |cx, t| {
                        let (panel, scales) = self.panel(cx, dir, at, t);
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
    /// Panel `t` of a group of a direction, with the scales and zeros of narrow weights.
    fn panel(&self, cx: &mut LowerCx, dir: ExprId, group: usize, t: ExprId) -> (At, Vec<At>) {
        let buf = match &self.panels {
            Stored::Narrow(packed) => return packed.panel_of(cx, dir, &self.groups, group, t),
            Stored::Floats(buf) => *buf,
        };
        let p = &self.groups[group];
        let before = packed_before(&self.groups, group, self.k);
        let each = packed_before(&self.groups, self.groups.len(), self.k);
        let b = &mut cx.b;
        let at = ex!(b; ((dir * {b.i(each)}) + {b.i(before)}) + (t * {b.i(p.padded * self.k)}));
        let row = b.i(p.padded);
        (At { buf, at, row }, vec![])
    }
}

/// Weights for products of vectors: element (k, j) at `base(dir) + k * ks + j * js`, or packed.
pub struct Weights {
    buf: BufId,
    ks: i64,
    js: i64,
    /// Rows of one direction times its columns.
    size: i64,
    k: i64,
    /// Rows that are multiplied at once, packed; none where loops read them.
    strips: Vec<((i64, i64), Matrix)>,
}

impl Weights {
    /// Of input `i`, `[dirs, rows, k]`; `parts`: the rows that are multiplied at once, by `left` vectors at most. Constant ones that loops read are transposed at
    /// compile time, so that lanes along rows are contiguous.
    pub fn of(
        cx: &mut LowerCx,
        i: usize,
        (rows, k): (i64, i64),
        parts: &[(i64, i64)],
        left: i64,
    ) -> Result<Weights> {
        let o = cx.input(i)?.clone();
        let mut packed = vec![];
        if strips(cx, i) {
            for part in parts {
                packed.push((*part, Matrix::of(cx, i, *part, Some(left))?));
            }
        }
        let flipped: Option<Tensor> = match packed.is_empty() {
            true => o.konst.as_ref().and_then(transposed),
            false => None,
        };
        let (buf, ks, js) = match flipped {
            Some(t) => (cx.constant("weights", t), rows, 1),
            None => (o.buf, 1, k),
        };
        Ok(Weights {
            buf,
            ks,
            js,
            size: rows * k,
            k,
            strips: packed,
        })
    }
    /// Adds rows `from..to`, one of the parts, of a direction times each of `count` vectors to as many elements of `into`: a buffer, from
    /// one vector of it to the next, and the first of those elements. Only where strips are can there be several vectors.
    pub fn add_product(
        &self,
        cx: &mut LowerCx,
        dir: ExprId,
        (from, to): (i64, i64),
        count: i64,
        x: At,
        (into, step, first): (BufId, i64, i64),
    ) -> Result<()> {
        if let Some((_, matrix)) = self.strips.iter().find(|s| s.0 == (from, to)) {
            let c = At {
                buf: into,
                at: cx.b.i(first),
                row: cx.b.i(step),
            };
            return matrix.multiply(cx, dir, &Dim::Fixed(count), x, c, Start::Sum);
        }
        let count = cx.b.i(to - from);
        cx.for_(count, LoopKind::Lanes, |cx, j| {
            let place = ex!(cx.b; j + {cx.b.i(first)});
            let so_far = cx.b.load(into, place);
            let k = cx.b.i(self.k);
            let sum = fold_n(cx, k, so_far, |cx, k, sum| {
                let b = &mut cx.b;
                let at_x = b.add(x.at, k);
                let v = b.load(x.buf, at_x);
                let row = ex!(b; j + {b.i(from)});
                let base = ex!(b; dir * {b.i(self.size)});
                let w = ex!(b; (base + (k * {b.i(self.ks)})) + (row * {b.i(self.js)}));
                let w = b.load(self.buf, w);
                Ok(b.fma(v, w, sum))
            })?;
            cx.b.store(into, place, sum);
            Ok(())
        })
    }
}
