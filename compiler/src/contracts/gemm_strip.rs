//! `gemm_f32_strip`: matrix products by strips. Constant B is packed at compile time; other B is packed into scratch once per
//! matrix where many rows use it, and read where it lies where few do. `gemm_narrow_strip`: the same where constant B stays in narrow numbers.

use super::gemm::{View, macs};
use super::narrow_weights::{Grid, Packed, may_be, worth};
use super::row_blocks::{row_blocks, row_parts};
use super::strip::{Numbers, Strip};
use super::strip_plan::{
    At, Call, Panels, call, constant_of, from_afar, machine, narrow_panels, pack, packed_before,
    panels, panels_with_halves, weight_bytes, weight_type,
};
use super::tail::{Element, Found};
use crate::base::costs::Work;
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::ex;
use crate::kernel::{Kernel, LowerCx, Query, Tile};
use crate::loops::build::Builder;
use crate::loops::ir::{BufId, ExprId, LoopKind, Ty};

/// The row.
pub const ROW: Kernel = Kernel {
    name: "gemm_f32_strip",
    needs: &[],
    accepts,
    work: |q| Work::of(macs(q)).with_weights(weight_bytes(q), q.machine.l2),
    tails: true,
    emit,
};

/// The row for weights that stay as narrow as the file has them. It accepts where that is worth it, so that it costs nothing.
pub const NARROW: Kernel = Kernel {
    name: "gemm_narrow_strip",
    needs: &[],
    accepts: accepts_narrow,
    work: |_| Work::default(),
    tails: true,
    emit: emit_narrow,
};

/// Rows from which on packing B pays, where B comes from far away.
const PACK_ROWS: i64 = 24;
/// The same where it stays near: lines that vectors share cost less than copying them.
const PACK_ROWS_NEAR: i64 = 256;
/// Rows of B so many bytes apart meet in few places of the caches.
const CROWDED: i64 = 2048;

fn accepts(q: &Query) -> bool {
    let operand = |i: usize| match q.inputs.get(i) {
        Some(Some((t, _))) if t.dtype == DType::F32 && t.rank() >= 2 => Some(t),
        // Halves that are known are packed.
        Some(Some((t, Some(_))))
            if i == 1 && t.rank() >= 2 && matches!(t.dtype, DType::F16 | DType::BF16) =>
        {
            Some(t)
        }
        _ => None,
    };
    let (Some(a), Some(b)) = (operand(0), operand(1)) else {
        return false;
    };
    let size = |d: Option<&Dim>| d.and_then(Dim::fixed);
    let tb = q.attrs.flag("trans_b");
    let n = if tb {
        size(b.shape.get(b.rank() - 2))
    } else {
        size(b.shape.last())
    };
    q.machine.tile("gemm_strip").is_some()
        && q.machine.vector.is_some()
        && !q.attrs.flag("trans_a")
        && size(a.shape.last()).is_none_or(|k| k > 0)
        && n.is_some_and(|n| (1..1 << 24).contains(&n))
}

/// How B is read.
enum Columns {
    /// Packed panels in a buffer, from this element on.
    Packed(BufId, ExprId),
    /// Where it lies.
    Rows(BufId, ExprId),
}

/// The sizes of a product with one matrix of B: rows, where they are known, k and n.
fn sizes(q: &Query) -> Option<(Option<i64>, i64, i64)> {
    let given = |i: usize| q.inputs.get(i).and_then(Option::as_ref);
    let (a, b) = (&given(0)?.0, &given(1)?.0);
    let out = &q.outputs.first()?.as_ref()?.shape;
    let v = View::of(&q.attrs, &a.shape, &b.shape, out).ok()?;
    let rows = v.batch.iter().cloned().product::<Dim>() * v.m.clone();
    Some((rows.fixed(), v.k.fixed()?, v.n.fixed()?))
}

fn accepts_narrow(q: &Query) -> bool {
    let matrix = match q.inputs.get(1) {
        Some(Some((b, Some(_)))) => b.rank() == 2 && may_be(b),
        _ => false,
    };
    let worth = |(rows, k, n)| worth(q.machine, q.effort, rows, k, n);
    matrix && accepts(q) && sizes(q).is_some_and(worth)
}

fn emit_narrow(cx: &mut LowerCx, q: &Query) -> Result<()> {
    let b = cx.input(1)?.clone();
    let tb = q.attrs.flag("trans_b");
    let grid = match (&b.konst, sizes(q)) {
        (Some(t), Some((_, k, n))) => Grid::of(&b.ty, t, (k, n), |p, j| match tb {
            true => j * k + p,
            false => p * n + j,
        }),
        _ => None,
    };
    emit_with(cx, q, grid)
}

fn emit(cx: &mut LowerCx, q: &Query) -> Result<()> {
    emit_with(cx, q, None)
}

/// `grid`: what B is made of, where its numbers stay narrow.
fn emit_with(cx: &mut LowerCx, q: &Query, grid: Option<Grid>) -> Result<()> {
    let v = View::of_cx(cx, q)?;
    let (_, vector) = machine(cx)?;
    let n = v.n.fixed().unwrap_or(1);
    let b_in = cx.input(1)?.clone();
    // One B for all: the batch is more rows.
    let rank = v.batch.len() + 2;
    let flat = b_in.ty.rank() == 2 && v.a.len() == rank && v.a[..rank - 2] == v.batch[..];
    let rows: Dim = match flat {
        true => v.batch.iter().cloned().product::<Dim>() * v.m.clone(),
        false => v.m.clone(),
    };
    let panels = match &grid {
        Some(grid) => narrow_panels(&vector, n, rows.fixed(), grid),
        None if half_tile(cx).is_some() => panels_with_halves(&vector, n, rows.fixed()),
        None => panels(&vector, n, rows.fixed()),
    };
    let sizes: Vec<Option<i64>> = cx.out_shape()?.iter().map(Dim::fixed).collect();
    let mut element = Element::new(&mut cx.b, &sizes, rank - 2);
    if flat {
        let mut step = Dim::Fixed(1);
        for axis in (0..rank - 2).rev() {
            step = step * cx.out_shape()?[axis + 1].clone();
            let rows = cx.b.dim(&step);
            element.over.insert(0, (axis, rows));
        }
    }
    let found = element.probe(cx, |cx, index, sum| {
        v.store(
            cx,
            &index[..rank - 2],
            index[rank - 2],
            index[rank - 1],
            sum,
        )
    })?;
    // Pixels of a flat product may not run on in an operand that broadcasts along the batch.
    let b_type = match b_in.konst.is_some() && v.k.fixed().is_some() {
        true => weight_type(cx, b_in.ty.dtype),
        false => DType::F32,
    };
    let narrow = grid.map(|g| g.pack(cx, &panels)).transpose()?;
    let job = Job {
        v: &v,
        narrow,
        b_type,
        panels: &panels,
        finish: found,
        flat,
        rows: &rows,
    };
    let packed = match (&b_in.konst, v.k.fixed()) {
        (Some(t), Some(k)) if narrow.is_none() => t.to_f32s().map(|w| {
            let matrix = (k * n) as usize;
            let mut all = vec![];
            for m in w.chunks_exact(matrix.max(1)) {
                all.extend(pack(&panels, k, |p, j| {
                    m[if v.tb { j * k + p } else { p * n + j } as usize]
                }));
            }
            constant_of(cx, b_type, all)
        }),
        _ => None,
    };
    let packed = packed.transpose()?;
    let few = rows.fixed().is_some_and(|r| r < pack_rows(cx, &v));
    let padded: i64 = panels.iter().map(|p| p.count * p.padded).sum();
    let scratch = (packed.is_none() && narrow.is_none() && (v.tb || !few)).then(|| {
        let len = v.k.clone() * Dim::Fixed(padded);
        cx.scratch_per_thread("b_panels", DType::F32, len)
    });
    if flat {
        let zero = cx.b.i(0);
        let columns = match (packed, scratch) {
            (Some(buf), _) => Columns::Packed(buf, zero),
            (_, Some(buf)) => {
                job.pack(cx, b_in.buf, zero, buf);
                Columns::Packed(buf, zero)
            }
            _ => Columns::Rows(b_in.buf, zero),
        };
        let index: Vec<ExprId> = (0..rank - 2).map(|_| cx.b.i(0)).collect();
        return job.matrix(cx, zero, &columns, &index);
    }
    let batch = v.batch.clone();
    cx.each(&batch, LoopKind::Seq, |cx, bi| {
        let a_base = v.a_base(&mut cx.b, bi);
        let a_base = cx.b.let_(a_base);
        let b_base = v.b_base(&mut cx.b, bi);
        let b_base = cx.b.let_(b_base);
        let columns = match (packed, scratch) {
            (Some(buf), _) => {
                // The panels of a matrix take padded * k elements where the matrix takes n * k.
                let k = cx.b.dim(&v.k);
                let matrix = ex!(cx.b; {cx.b.i(n)} * k);
                let base = ex!(cx.b; (b_base / matrix) * (k * {cx.b.i(padded)}));
                Columns::Packed(buf, cx.b.let_(base))
            }
            (_, Some(buf)) => {
                job.pack(cx, b_in.buf, b_base, buf);
                Columns::Packed(buf, cx.b.i(0))
            }
            _ => Columns::Rows(b_in.buf, b_base),
        };
        job.matrix(cx, a_base, &columns, bi)
    })
}

/// Rows from which on packing a B pays that isn't known.
fn pack_rows(cx: &LowerCx, v: &View) -> i64 {
    let l2 = i64::from(cx.machine.l2.max(128 << 10));
    let row = v.n.fixed().map_or(i64::MAX, |n| n * 4);
    let near = v.k.fixed().is_some_and(|k| k.saturating_mul(row) <= l2 / 4);
    match near && row % CROWDED != 0 {
        true => PACK_ROWS_NEAR,
        false => PACK_ROWS,
    }
}

/// The tile of half the lanes.
fn half_tile(cx: &LowerCx) -> Option<&'static Tile> {
    cx.machine.half_tile(Numbers::Floats.contract())
}

struct Job<'a> {
    v: &'a View,
    /// B, where it stays narrow.
    narrow: Option<Packed>,
    /// How B is stored in panels.
    b_type: DType,
    panels: &'a [Panels],
    finish: Option<Found>,
    flat: bool,
    rows: &'a Dim,
}

impl Job<'_> {
    /// Copies one matrix of B into panels.
    fn pack(&self, cx: &mut LowerCx, from: BufId, base: ExprId, into: BufId) {
        let (n, k) = (cx.b.dim(&self.v.n), cx.b.dim(&self.v.k));
        let tb = self.v.tb;
        let columns = self.v.n.fixed().unwrap_or(1).max(1);
        for (at, p) in self.panels.iter().enumerate() {
            let b = &mut cx.b;
            // Elements before this group: the k of symbolic length is a factor.
            let before: i64 = packed_before(self.panels, at, 1);
            let start = b.i(before);
            let start = b.mul(start, k);
            let (count, width, padded) = (b.i(p.count), b.i(p.n), b.i(p.padded));
            let first = b.i(p.first);
            // Behind the last column stands what follows in memory, which no result depends on, but in the last rows.
            let behind = match (tb, p.padded - p.n) {
                (_, 0) => 0,
                (false, more) => (more + columns - 1) / columns,
                (true, _) => i64::MAX,
            };
            b.for_(count, LoopKind::Seq, |b, t| {
                let column = ex!(b; (t * width) + first);
                let column = b.let_(column);
                let to = ex!(b; start + ((t * padded) * k));
                let to = b.let_(to);
                let rows = |b: &mut Builder, from_row: ExprId, count: ExprId, careful: bool| {
                    b.for_(count, LoopKind::Seq, |b, q| {
                        let q = b.add(from_row, q);
                        b.for_(padded, LoopKind::Lanes, |b, j| {
                            let c = b.add(column, j);
                            let at = match tb {
                                true => ex!(b; (base + (c * k)) + q),
                                false => ex!(b; (base + (q * n)) + c),
                            };
                            let x = if careful {
                                let zero = b.num(Ty::F32, 0.0);
                                let inside = b.lt(j, width);
                                b.load_if(from, inside, at, zero)
                            } else {
                                b.load(from, at)
                            };
                            let to = ex!(b; (to + (q * padded)) + j);
                            b.store(into, to, x);
                        });
                    });
                };
                let zero = b.i(0);
                match behind {
                    0 => rows(b, zero, k, false),
                    i64::MAX => rows(b, zero, k, true),
                    last => {
                        let last = b.i(last);
                        let whole = b.sub(k, last);
                        let whole = b.max(whole, zero);
                        let rest = b.sub(k, whole);
                        rows(b, zero, whole, false);
                        rows(b, whole, rest, true);
                    }
                }
            });
        }
    }

    /// One product: all its rows under all panels. `batch`: index of the outer axes.
    fn matrix(
        &self,
        cx: &mut LowerCx,
        a_base: ExprId,
        columns: &Columns,
        batch: &[ExprId],
    ) -> Result<()> {
        let rows = cx.b.dim(self.rows);
        let rows = cx.b.let_(rows);
        // Several matrices are shared as such.
        match batch.iter().all(|i| cx.b.as_i64(*i) == Some(0)) {
            true => {
                let m = self.panels.first().map_or(1, |p| p.m);
                let whole = self.rows.fixed();
                row_parts(cx, whole, rows, m, &mut |cx, first, known, here| {
                    self.part(cx, a_base, columns, batch, first, known, here)
                })
            }
            false => {
                let zero = cx.b.i(0);
                self.part(cx, a_base, columns, batch, zero, self.rows.fixed(), rows)
            }
        }
    }

    /// Rows `from..from + rows` under all panels.
    #[allow(clippy::too_many_arguments)]
    fn part(
        &self,
        cx: &mut LowerCx,
        a_base: ExprId,
        columns: &Columns,
        batch: &[ExprId],
        from: ExprId,
        known: Option<i64>,
        rows: ExprId,
    ) -> Result<()> {
        let block = self.row_block(cx);
        let k = cx.b.dim(&self.v.k);
        let a_buf = cx.input(0)?.buf;
        for (at, p) in self.panels.iter().enumerate() {
            row_blocks(cx, known, rows, p.m, block, &mut |cx, row, tiles, m| {
                let first = cx.b.add(from, row);
                let a = ex!(cx.b; a_base + (first * k));
                let a = At {
                    buf: a_buf,
                    at: cx.b.let_(a),
                    row: k,
                };
                let count = cx.b.i(p.count);
                cx.for_(count, LoopKind::Seq, |cx, t| {
                    self.panel(cx, at, t, a, columns, batch, first, tiles, m)
                })
            })?;
        }
        Ok(())
    }

    fn row_block(&self, cx: &LowerCx) -> i64 {
        let k = self.v.k.fixed().unwrap_or(256).max(1);
        let weights = k * self.v.n.fixed().unwrap_or(256) * 4;
        let (l1, l2) = (
            i64::from(cx.machine.l1d.max(16 << 10)),
            i64::from(cx.machine.l2.max(128 << 10)),
        );
        let near = if weights <= l2 / 2 { l1 / 2 } else { l2 / 2 };
        (near / (k * 4)).max(24)
    }

    #[allow(clippy::too_many_arguments)]
    fn panel(
        &self,
        cx: &mut LowerCx,
        at: usize,
        t: ExprId,
        a: At,
        columns: &Columns,
        batch: &[ExprId],
        first: ExprId,
        tiles: ExprId,
        m: i64,
    ) -> Result<()> {
        let (tile, vector) = machine(cx)?;
        let p = self.panels[at];
        let tile = match p.padded % vector.lanes {
            0 => tile,
            _ => half_tile(cx).unwrap_or(tile),
        };
        let k = cx.b.dim(&self.v.k);
        let column = ex!(cx.b; (t * {cx.b.i(p.n)}) + {cx.b.i(p.first)});
        let column = cx.b.let_(column);
        let mut scales = vec![];
        let (b, b_row) = match (self.narrow, columns) {
            (Some(narrow), _) => {
                let (b, more) = narrow.panel(cx, self.panels, at, t);
                scales = more;
                (b, p.padded)
            }
            (_, Columns::Packed(buf, base)) => {
                let before = cx.b.i(packed_before(self.panels, at, 1));
                let size = cx.b.i(p.padded);
                let at = ex!(cx.b; {*base} + ((before + (t * size)) * k));
                let b = At {
                    buf: *buf,
                    at: cx.b.let_(at),
                    row: size,
                };
                (b, p.padded)
            }
            (_, Columns::Rows(buf, base)) => {
                let b = At {
                    buf: *buf,
                    at: cx.b.add(*base, column),
                    row: cx.b.dim(&self.v.n),
                };
                (b, 0)
            }
        };
        let mut strip = Strip {
            m,
            n: p.n,
            split: p.split,
            b_row,
            b_type: self.narrow.map_or(self.b_type, |n| n.stored),
            narrow: self.narrow.map(|n| n.narrow),
            ahead: b_row > 0
                && self.narrow.is_none()
                && self.v.k.fixed().is_some_and(|k| {
                    from_afar(cx, self.rows.fixed(), k * self.v.n.fixed().unwrap_or(0))
                }),
            ..Strip::floats()
        };
        let seg = cx.b.i(0);
        let mut index = batch.to_vec();
        index.extend([first, column]);
        if let Some(finish) = &self.finish {
            let (operands, c) = finish.block(cx, &index);
            strip.tail = finish.tail.clone();
            let c = Call {
                a,
                b,
                c,
                scales,
                operands,
                k,
                seg,
                tiles,
            };
            call(cx, tile, &strip, c);
            return Ok(());
        }
        // Sums go to scratch, a tile at a time, and from there through the row's stores.
        let sums = cx.scratch_per_thread("sums", DType::F32, Dim::Fixed(m * p.n));
        let (n_e, m_e) = (cx.b.i(p.n), cx.b.i(m));
        cx.for_(tiles, LoopKind::Seq, |cx, t| {
            let row = cx.b.mul(t, m_e);
            let row = cx.b.let_(row);
            let by = cx.b.mul(row, a.row);
            let (one, zero) = (cx.b.i(1), cx.b.i(0));
            let c = Call {
                a: At {
                    at: cx.b.add(a.at, by),
                    ..a
                },
                b,
                c: At {
                    buf: sums,
                    at: zero,
                    row: n_e,
                },
                scales: scales.clone(),
                operands: vec![],
                k,
                seg,
                tiles: one,
            };
            call(cx, tile, &strip, c);
            cx.for_(m_e, LoopKind::Seq, |cx, i| {
                cx.for_(n_e, LoopKind::Lanes, |cx, j| {
                    let at = ex!(cx.b; (i * n_e) + j);
                    let sum = cx.b.load(sums, at);
                    let i = ex!(cx.b; (first + row) + i);
                    let j = cx.b.add(column, j);
                    self.store(cx, batch, i, j, sum)
                })
            })
        })
    }

    /// Stores a sum. Rows of a flat product are told apart by batch here.
    fn store(
        &self,
        cx: &mut LowerCx,
        batch: &[ExprId],
        i: ExprId,
        j: ExprId,
        sum: ExprId,
    ) -> Result<()> {
        if !self.flat {
            return self.v.store(cx, batch, i, j, sum);
        }
        let mut axes = self.v.batch.clone();
        axes.push(self.v.m.clone());
        let all = cx.b.unoffset(&axes, i);
        let (row, batch) = all
            .split_last()
            .ok_or_else(|| crate::base::diag::Diagnostic::internal("a product without rows"))?;
        self.v.store(cx, batch, *row, j, sum)
    }
}
