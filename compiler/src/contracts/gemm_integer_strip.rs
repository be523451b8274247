//! `gemm_i8_strip`, `gemm_i16_strip`: products of matrices of bytes by strips. Weights that are known are packed at compile time; other B is packed
//! into scratch as words, once for each matrix. Rows of A are read where they lie where their form allows it, else copied a block at a time.

use super::form::Form;
use super::gemm::{View, macs};
use super::picked::{Picks, REACH, Stored, pack, share};
use super::row_blocks::{row_blocks, row_parts};
use super::strip::{Numbers, Strip};
use super::strip_plan::{
    At, Call, Panels, Way, call_before, eights, from_afar, machine_for, panels_of, picked_panels,
    weight_bytes,
};
use super::tail::{Element, Found};
use crate::base::attr::Attrs;
use crate::base::costs::Work;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::ex;
use crate::kernel::{Kernel, LowerCx, Query};
use crate::loops::ir::{BufId, ExprId, LoopKind};

/// Products of bytes, B known.
pub const BYTES: Kernel = Kernel {
    name: "gemm_i8_strip",
    needs: &[],
    accepts: |q| accepts(q, Numbers::Bytes),
    work: |q| Work::of(macs(q)).with_weights(weight_bytes(q), q.machine.l2),
    tails: true,
    emit: |cx, q| emit(cx, q, Numbers::Bytes),
};

/// Products of bytes that are picked and added in pairs, B known.
pub const PICKED: Kernel = Kernel {
    name: "gemm_i8_picked",
    needs: &[],
    accepts: |q| accepts(q, Numbers::Picked),
    work: |q| Work::of(macs(q) * picked_share(q)).with_weights(weight_bytes(q), q.machine.l2),
    tails: true,
    emit: |cx, q| emit(cx, q, Numbers::Picked),
};

/// Products of matrices of bytes, B known.
pub const MATRICES: Kernel = Kernel {
    name: "gemm_i8_matrices",
    needs: &[],
    accepts: |q| accepts(q, Numbers::Matrices),
    work: |q| Work::of(macs(q) * paired(q)).with_weights(weight_bytes(q), q.machine.l2),
    tails: true,
    emit: |cx, q| emit(cx, q, Numbers::Matrices),
};

/// What matrices of two rows and eight elements do over products in fours: rows without another, and elements that fill eights up.
fn paired(q: &Query) -> f64 {
    view(q).map_or(1.0, |v| {
        let rows = v.m.fixed().unwrap_or(2).max(1);
        (rows + rows % 2) as f64 / rows as f64 * eights(v.k.fixed().unwrap_or(8))
    })
}

/// Products of words.
pub const WORDS: Kernel = Kernel {
    name: "gemm_i16_strip",
    needs: &[],
    accepts: |q| accepts(q, Numbers::Words),
    work: |q| Work::of(macs(q)).with_weights(weight_bytes(q), q.machine.l2),
    tails: true,
    emit: |cx, q| emit(cx, q, Numbers::Words),
};

/// So many bytes a product must save to take part in the list of masks: products whose weights are picked are few beside those of many rows of a transformer.
const SHARE_OF_LIST: usize = 2000;

/// Rows of a block whose A is copied, where their number is not known.
const BLOCK: i64 = 48;

fn view(q: &Query) -> Option<View> {
    let shape = |i: usize| Some(&q.inputs.get(i)?.as_ref()?.0.shape);
    let out = &q.outputs.first()?.as_ref()?.shape;
    View::of(&Attrs::default(), shape(0)?, shape(1)?, out).ok()
}

fn form(q: &Query, v: &View, numbers: Numbers) -> Option<Form> {
    let n = v.n.fixed()?.max(1) as usize;
    if matches!(q.inputs.get(1), Some(Some((_, Some(_))))) {
        return Form::of(q, numbers, |at| at % n);
    }
    // B comes at run time: words hold it less any zero point.
    let byte = |i: usize| matches!(q.inputs.get(i), Some(Some((t, _))) if matches!(t.dtype, DType::U8 | DType::I8));
    let v = q.machine.vector?;
    q.machine.tile(numbers.contract())?;
    (numbers == Numbers::Words && byte(0) && byte(1)).then(|| Form {
        numbers,
        a_type: DType::I16,
        b_type: DType::I16,
        apart: if v.by_lane { v.lanes } else { 0 },
        shift: 0,
        zero: 0,
        weights: vec![],
        start: vec![],
    })
}

/// How many matrices a form holds, the places of a row's elements, and the weight of matrix, element and column.
fn picked_matrices(
    form: &Form,
    k: i64,
    n: i64,
) -> (i64, Vec<i64>, impl Fn(i64, usize, i64) -> i32) {
    let matrices = form.weights.len() as i64 / (k * n).max(1);
    let weight = move |matrix: i64, p: usize, j: i64| {
        form.weights[((matrix * k + p as i64) * n + j) as usize]
    };
    (matrices, (0..k).collect(), weight)
}

/// What steps do over the products that there are.
fn picked_share(q: &Query) -> f64 {
    let of = || {
        let (v, machine) = (view(q)?, q.machine.vector?);
        let form = form(q, &v, Numbers::Picked)?;
        let (k, n) = (v.k.fixed()?, v.n.fixed()?);
        let (matrices, places, weight) = picked_matrices(&form, k, n);
        let panels = picked_panels(&machine, n, v.m.fixed());
        Some(share(&panels, matrices, &places, weight))
    };
    of().unwrap_or(1.0)
}

fn accepts(q: &Query, numbers: Numbers) -> bool {
    let Some(v) = view(q) else { return false };
    let size = |d: &Dim| d.fixed().is_some_and(|d| (1..1 << 24).contains(&d));
    // One zero point of A, and of B one or one for each column.
    let single = |i: usize| match q.inputs.get(i) {
        Some(Some((t, _))) => t.elements().is(1) || t.rank() == 0,
        _ => true,
    };
    v.a.len() >= 2
        && v.b.len() >= 2
        && size(&v.k)
        && size(&v.n)
        && (numbers != Numbers::Picked || v.k.fixed().is_some_and(|k| k >= REACH))
        && single(2)
        && form(q, &v, numbers).is_some()
}

fn emit(cx: &mut LowerCx, q: &Query, numbers: Numbers) -> Result<()> {
    let missing = || Diagnostic::internal("operands without a form");
    let v = view(q).ok_or_else(missing)?;
    let form = form(q, &v, numbers).ok_or_else(missing)?;
    let (_, vector) = machine_for(cx, &form)?;
    let (k, n) = (v.k.fixed().unwrap_or(1), v.n.fixed().unwrap_or(1));
    let pitch = form.whole(k);
    let rank = v.batch.len() + 2;
    // One B for all: the batch is more rows.
    let flat = v.b.len() == 2 && v.a.len() == rank && v.a[..rank - 2] == v.batch[..];
    let rows: Dim = match flat {
        true => v.batch.iter().cloned().product::<Dim>() * v.m.clone(),
        false => v.m.clone(),
    };
    let panels = panels_of(
        &vector,
        numbers,
        n,
        rows.fixed(),
        false,
        Way::of(cx, k, form.b_type),
    );
    let sizes: Vec<Option<i64>> = cx.out_shape()?.iter().map(Dim::fixed).collect();
    let mut element = Element::whole(&mut cx.b, &sizes, rank - 2);
    if flat {
        let mut step = Dim::Fixed(1);
        for axis in (0..rank - 2).rev() {
            step = step * cx.out_shape()?[axis + 1].clone();
            let rows = cx.b.dim(&step);
            element.over.insert(0, (axis, rows));
        }
    }
    let known = !form.weights.is_empty();
    let mut bytes = vec![];
    let mut sums = vec![];
    for w in form.weights.chunks_exact((k * n) as usize) {
        let at = |p: i64, j: i64| if p < k { w[(p * n + j) as usize] } else { 0 };
        if numbers != Numbers::Picked {
            form.pack_into(&mut bytes, &panels, pitch, &at);
        }
        sums.extend((0..n).map(|j| (0..k).map(|p| i64::from(at(p, j))).sum::<i64>()));
    }
    let correction = form.correction(cx, &sums)?;
    let found = element.probe(cx, |cx, index, sum| finish(cx, &v, correction, index, sum))?;
    let padded: i64 = panels.iter().map(|p| p.count * p.padded).sum();
    let stored = match (numbers, known) {
        (Numbers::Picked, _) => {
            let (matrices, places, weight) = picked_matrices(&form, k, n);
            let named = cx.names_masks().then_some(SHARE_OF_LIST);
            let packed = pack(&panels, matrices, &places, named, weight).ok_or_else(missing)?;
            Stored::picked(cx, packed)?
        }
        (_, true) => Stored::plain(form.constant(cx, bytes, rows.fixed())?, pitch),
        (_, false) => {
            let len = Dim::Fixed(padded * pitch);
            let buf = cx.scratch_per_thread("b_panels", form.b_type, len);
            Stored::plain(buf, pitch)
        }
    };
    let zero_of_a = form.zero_of_a(cx)?;
    let job = Job {
        v: &v,
        form: &form,
        panels: &panels,
        pitch,
        correction,
        zero_of_a,
        stored,
        finish: found,
        flat,
        rows: &rows,
        ahead: known && from_afar(cx, rows.fixed(), k * n / 4),
    };
    if flat {
        let zero = cx.b.i(0);
        if !known {
            job.pack(cx, zero)?;
        }
        let index: Vec<ExprId> = (0..rank - 2).map(|_| cx.b.i(0)).collect();
        return job.matrix(cx, zero, zero, &index);
    }
    let batch = v.batch.clone();
    cx.each(&batch, LoopKind::Seq, |cx, bi| {
        let a_base = v.a_base(&mut cx.b, bi);
        let a_base = cx.b.let_(a_base);
        let b_base = v.b_base(&mut cx.b, bi);
        let b_base = cx.b.let_(b_base);
        let base = match known {
            true => {
                // Which of the matrices of B.
                let matrix = cx.b.i(n * k);
                let which = cx.b.div(b_base, matrix);
                cx.b.let_(which)
            }
            false => {
                job.pack(cx, b_base)?;
                cx.b.i(0)
            }
        };
        job.matrix(cx, a_base, base, bi)
    })
}

/// What becomes of a sum: of products of matrices with a matrix for each batch the correction lies behind the batch's number.
fn finish(
    cx: &mut LowerCx,
    v: &View,
    correction: Option<BufId>,
    index: &[ExprId],
    sum: ExprId,
) -> Result<()> {
    let mut sum = sum;
    let rank = v.batch.len() + 2;
    if let Some(buf) = correction {
        let column = index[rank - 1];
        let at = match v.b.len() {
            2 => column,
            _ => {
                let base = v.b_base(&mut cx.b, &index[..rank - 2]);
                let k = cx.b.dim(&v.k);
                let before = cx.b.div(base, k);
                cx.b.add(before, column)
            }
        };
        let c = cx.b.load(buf, at);
        sum = cx.b.add(sum, c);
    }
    cx.store(
        0,
        &v.index(&index[..rank - 2], index[rank - 2], index[rank - 1]),
        sum,
    );
    Ok(())
}

/// A product as it is lowered.
pub(super) struct Job<'a> {
    pub(super) v: &'a View,
    pub(super) form: &'a Form,
    pub(super) panels: &'a [Panels],
    /// Elements from one row of A to the next, as it is copied.
    pub(super) pitch: i64,
    correction: Option<BufId>,
    zero_of_a: Option<ExprId>,
    pub(super) stored: Stored,
    finish: Option<Found>,
    flat: bool,
    rows: &'a Dim,
    ahead: bool,
}

impl Job<'_> {
    /// One product: all its rows under all panels.
    fn matrix(
        &self,
        cx: &mut LowerCx,
        a_base: ExprId,
        matrix: ExprId,
        batch: &[ExprId],
    ) -> Result<()> {
        let k = self.v.k.fixed().unwrap_or(1);
        let rows = cx.b.dim(self.rows);
        let rows = cx.b.let_(rows);
        let a_buf = cx.input(0)?.buf;
        if self.form.in_place() && k == self.pitch {
            let mut part = |cx: &mut LowerCx, first: ExprId, known: Option<i64>, here: ExprId| {
                let at = ex!(cx.b; a_base + (first * {cx.b.i(k)}));
                let a = At {
                    buf: a_buf,
                    at: cx.b.let_(at),
                    row: cx.b.i(k),
                };
                self.block(cx, a, matrix, batch, first, known, here)
            };
            // Several matrices are shared as such.
            if batch.iter().all(|i| cx.b.as_i64(*i) == Some(0)) {
                let m = self.panels.first().map_or(1, |p| p.m);
                return row_parts(cx, self.rows.fixed(), rows, m, &mut part);
            }
            let zero = cx.b.i(0);
            return part(cx, zero, self.rows.fixed(), rows);
        }
        let m = self.panels.first().map_or(1, |p| p.m);
        let near = i64::from(cx.machine.l1d.max(16 << 10))
            / 2
            / (self.pitch * self.form.a_type.size() as i64);
        let most = near.max(BLOCK);
        let size = match self.rows.fixed() {
            Some(r) => {
                // As many blocks to each thread.
                let blocks = ((r + most - 1) / most.max(1)).max(1);
                let blocks = (blocks + cx.threads - 1) / cx.threads * cx.threads;
                ((r + blocks - 1) / blocks + m - 1) / m * m
            }
            None => (most / m).max(1) * m,
        }
        .max(1);
        let buf = cx.scratch_per_thread("rows", self.form.a_type, Dim::Fixed(size * self.pitch));
        let size_e = cx.b.i(size);
        let count = cx.b.div(rows, size_e);
        let count = cx.b.let_(count);
        let copied = |cx: &mut LowerCx, first: ExprId, known: Option<i64>, here: ExprId| {
            let b = &mut cx.b;
            let (k_e, pitch) = (b.i(k), b.i(self.pitch));
            let from = ex!(b; a_base + (first * k_e));
            let from = b.let_(from);
            b.for_(here, LoopKind::Seq, |b, r| {
                let (from, to) = (ex!(b; from + (r * k_e)), b.mul(r, pitch));
                let (from, to) = (b.let_(from), b.let_(to));
                b.for_(k_e, LoopKind::Lanes, |b, i| {
                    let at = b.add(from, i);
                    let x = b.load(a_buf, at);
                    let x = self.form.copied(b, x, self.zero_of_a);
                    let at = b.add(to, i);
                    b.store(buf, at, x);
                });
                let none = self.form.nothing(b);
                for i in k..self.pitch {
                    let at = ex!(b; to + {b.i(i)});
                    b.store(buf, at, none);
                }
            });
            let a = At {
                buf,
                at: cx.b.i(0),
                row: cx.b.i(self.pitch),
            };
            self.block(cx, a, matrix, batch, first, known, here)
        };
        cx.for_(count, LoopKind::Seq, |cx, t| {
            let first = cx.b.mul(t, size_e);
            let first = cx.b.let_(first);
            copied(cx, first, Some(size), size_e)
        })?;
        let rest = self.rows.fixed().map(|r| r % size);
        if rest == Some(0) {
            return Ok(());
        }
        let first = cx.b.mul(count, size_e);
        let first = cx.b.let_(first);
        let here = cx.b.sub(rows, first);
        let here = cx.b.let_(here);
        cx.left_over(|cx| copied(cx, first, rest, here))
    }

    /// Rows of A from `a` on, which are rows `first..` of the product.
    #[allow(clippy::too_many_arguments)]
    fn block(
        &self,
        cx: &mut LowerCx,
        a: At,
        matrix: ExprId,
        batch: &[ExprId],
        first: ExprId,
        known: Option<i64>,
        rows: ExprId,
    ) -> Result<()> {
        for (at, p) in self.panels.iter().enumerate() {
            row_blocks(
                cx,
                known,
                rows,
                p.m,
                i64::MAX / 4,
                &mut |cx, row, tiles, m| {
                    let own = ex!(cx.b; {a.at} + (row * {a.row}));
                    let own = At {
                        at: cx.b.let_(own),
                        ..a
                    };
                    let row = cx.b.add(first, row);
                    let row = cx.b.let_(row);
                    let count = cx.b.i(p.count);
                    cx.for_(count, LoopKind::Seq, |cx, t| {
                        self.panel(cx, at, t, own, matrix, batch, row, tiles, m)
                    })
                },
            )?;
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn panel(
        &self,
        cx: &mut LowerCx,
        at: usize,
        t: ExprId,
        a: At,
        matrix: ExprId,
        batch: &[ExprId],
        first: ExprId,
        tiles: ExprId,
        m: i64,
    ) -> Result<()> {
        let (tile, _) = machine_for(cx, self.form)?;
        let p = self.panels[at];
        let column = ex!(cx.b; (t * {cx.b.i(p.n)}) + {cx.b.i(p.first)});
        let column = cx.b.let_(column);
        let w = &self.stored;
        let size = w.size(self.panels, at);
        let panel = w.panel(cx, self.panels, at, matrix, t);
        let picks = panel.picks;
        let b = At {
            buf: w.buf,
            at: panel.at,
            row: cx.b.i(p.padded),
        };
        let mut strip = Strip {
            m,
            n: p.n,
            split: p.split,
            b_row: p.padded,
            numbers: self.form.numbers,
            a_type: self.form.a_type,
            b_type: self.form.b_type,
            c_type: DType::I32,
            order: self.stored.each,
            apart: self.form.apart,
            ahead: self.ahead,
            ..Strip::floats()
        };
        let k = match picks {
            Some(p) => p.steps,
            None => cx.b.i(self.pitch / self.form.group()),
        };
        let scales: Vec<At> = picks.iter().flat_map(Picks::tables).collect();
        let next = size / self.form.numbers.group();
        let seg = cx.b.i(0);
        let mut index = batch.to_vec();
        index.extend([first, column]);
        if let Some(found) = &self.finish {
            let (operands, c) = found.block(cx, &index);
            strip.tail = found.tail.clone();
            strip.c_type = cx.b.func().bufs[c.buf].dtype;
            let c = Call {
                a,
                b,
                c,
                scales: scales.clone(),
                operands,
                k,
                seg,
                tiles,
            };
            call_before(cx, tile, &strip, c, next);
            return Ok(());
        }
        // Sums go to scratch, a tile at a time, and from there through the row's stores.
        let sums = cx.scratch_per_thread("sums", DType::I32, Dim::Fixed(m * p.n));
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
            call_before(cx, tile, &strip, c, next);
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
        let mut index = batch.to_vec();
        index.push(i);
        if self.flat {
            let mut axes = self.v.batch.clone();
            axes.push(self.v.m.clone());
            index = cx.b.unoffset(&axes, i);
        }
        index.push(j);
        finish(cx, self.v, self.correction, &index, sum)
    }
}
