//! `gemm`: products of matrices, batched with broadcasting.
//!
//! Inputs A, B, optional C; output `activation(alpha * A' * B' + beta * C)`, where A' and B' are the last two axes of A and B,
//! transposed where `trans_a`, `trans_b` say so. A and B with one axis are a row and a column, and the output lacks that
//! axis. Sums run over k ascending.
//!
//! Attributes: `trans_a`, `trans_b`, `alpha`, `beta`, `activation`, `activation_params`.

use super::finish::Activation;
use super::strip_plan::weight_bytes;
use super::{gemm_blocked, gemm_strip, sparse};
use crate::base::attr::Attrs;
use crate::base::costs::Work;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::{Dim, elements, strides};
use crate::base::tensor::Tensor;
use crate::base::types::TensorType;
use crate::ex;
use crate::kernel::{Contract, Kernel, LowerCx, Query, broadcast_load};
use crate::loops::build::Builder;
use crate::loops::ir::{BufId, ExprId, LoopKind, Ty};

/// The contract.
pub static GEMM: Contract = Contract {
    name: "gemm",
    doc: "Matrix products, batched with broadcasting, with scale, bias and activation",
    reference: None,
    rows: &[
        gemm_strip::NARROW,
        // As fast, they are smaller.
        sparse::gemm::FOUR,
        sparse::gemm::ONE,
        gemm_strip::ROW,
        gemm_blocked::ROW,
        LOOPS,
    ],
};

/// Plain loops, for every type and size.
pub const LOOPS: Kernel = Kernel {
    name: "gemm_loops",
    needs: &[],
    accepts: |_| true,
    work: |q| Work::of(macs(q)).with_weights(weight_bytes(q), q.machine.l2),
    tails: true,
    emit: emit_loops,
};

/// Multiply-accumulates of a query; symbolic sizes count as 64.
pub fn macs(q: &Query) -> f64 {
    let size = |t: Option<&TensorType>| -> f64 {
        t.map_or(1.0, |t| {
            t.shape
                .iter()
                .map(|d| d.fixed().unwrap_or(64) as f64)
                .product()
        })
    };
    let out = size(q.outputs.first().and_then(Option::as_ref));
    let k = q.inputs.first().and_then(Option::as_ref).map_or(1, |a| {
        let s = &a.0.shape;
        let last = if q.attrs.flag("trans_a") && s.len() > 1 {
            s.len() - 2
        } else {
            s.len().saturating_sub(1)
        };
        s.get(last).and_then(Dim::fixed).unwrap_or(64)
    });
    out * k as f64
}

/// A matrix product's sizes and how its operands lie.
pub struct View {
    /// Batch axes of the output.
    pub batch: Vec<Dim>,
    /// Rows, columns, summed length.
    pub m: Dim,
    /// Columns.
    pub n: Dim,
    /// Summed length.
    pub k: Dim,
    /// Shape of A.
    pub a: Vec<Dim>,
    /// Shape of B.
    pub b: Vec<Dim>,
    /// A is transposed.
    pub ta: bool,
    /// B is transposed.
    pub tb: bool,
    /// Scale of the product.
    pub alpha: f32,
    /// Scale of C.
    pub beta: f32,
    /// What follows.
    pub activation: Option<Activation>,
}

impl View {
    /// From attributes and shapes.
    pub fn of(attrs: &Attrs, a: &[Dim], b: &[Dim], out: &[Dim]) -> Result<View> {
        let (ta, tb) = (
            attrs.flag("trans_a") && a.len() > 1,
            attrs.flag("trans_b") && b.len() > 1,
        );
        let bad = || Diagnostic::internal("a matrix product of scalars");
        let last = |s: &[Dim], back: usize| -> Result<Dim> {
            s.len()
                .checked_sub(back)
                .map(|i| s[i].clone())
                .ok_or_else(bad)
        };
        let one = Dim::Fixed(1);
        let (m, k) = match a.len() {
            1 => (one.clone(), last(a, 1)?),
            _ if ta => (last(a, 1)?, last(a, 2)?),
            _ => (last(a, 2)?, last(a, 1)?),
        };
        let n = match b.len() {
            1 => one,
            _ if tb => last(b, 2)?,
            _ => last(b, 1)?,
        };
        let inner = usize::from(a.len() > 1) + usize::from(b.len() > 1);
        let batch = out
            .len()
            .checked_sub(inner)
            .map(|r| out[..r].to_vec())
            .ok_or_else(bad)?;
        Ok(View {
            batch,
            m,
            n,
            k,
            a: a.to_vec(),
            b: b.to_vec(),
            ta,
            tb,
            alpha: attrs.float("alpha", 1.0),
            beta: attrs.float("beta", 1.0),
            activation: Activation::of_attrs(attrs)?,
        })
    }
    /// For a kernel row.
    pub fn of_cx(cx: &LowerCx, q: &Query) -> Result<View> {
        View::of(
            &q.attrs,
            &cx.in_shape(0)?,
            &cx.in_shape(1)?,
            &cx.out_shape()?,
        )
    }
    /// Element strides of A over rows and k.
    pub fn a_strides(&self) -> (Dim, Dim) {
        match (self.a.len(), self.ta) {
            (1, _) => (Dim::Fixed(0), Dim::Fixed(1)),
            (_, true) => (Dim::Fixed(1), self.m.clone()),
            _ => (self.k.clone(), Dim::Fixed(1)),
        }
    }
    /// First element of A for a batch index.
    pub fn a_base(&self, b: &mut Builder, batch: &[ExprId]) -> ExprId {
        batch_base(b, &self.a, batch)
    }
    /// First element of B for a batch index.
    pub fn b_base(&self, b: &mut Builder, batch: &[ExprId]) -> ExprId {
        batch_base(b, &self.b, batch)
    }
    /// The index of the output for row `i` and column `j` of a product of the batch.
    pub fn index(&self, batch: &[ExprId], i: ExprId, j: ExprId) -> Vec<ExprId> {
        let mut index = batch.to_vec();
        if self.a.len() > 1 {
            index.push(i);
        }
        if self.b.len() > 1 {
            index.push(j);
        }
        index
    }
    /// Scales, adds C, activates and stores the sum of row `i`, column `j`.
    pub fn store(
        &self,
        cx: &mut LowerCx,
        batch: &[ExprId],
        i: ExprId,
        j: ExprId,
        sum: ExprId,
    ) -> Result<()> {
        let ty = cx.b.ty(sum);
        let mut v = sum;
        if self.alpha != 1.0 {
            let alpha = cx.b.num(ty, f64::from(self.alpha));
            v = cx.b.mul(v, alpha);
        }
        let index = self.index(batch, i, j);
        if self.beta != 0.0
            && let Some(c) = cx.opt(2).cloned()
        {
            let mut x = broadcast_load(&mut cx.b, c.buf, &c.ty.shape, &index);
            if self.beta != 1.0 {
                let beta = cx.b.num(ty, f64::from(self.beta));
                x = cx.b.mul(x, beta);
            }
            v = cx.b.add(v, x);
        }
        if let Some(a) = &self.activation {
            v = a.apply(&mut cx.b, v);
        }
        cx.store(0, &index, v);
        Ok(())
    }
}

fn batch_base(b: &mut Builder, shape: &[Dim], batch: &[ExprId]) -> ExprId {
    let inner = shape.len().min(2);
    let own = &shape[..shape.len() - inner];
    let matrix = b.dim(&elements(&shape[shape.len() - inner..]));
    let at = broadcast_offset(b, own, batch);
    b.mul(at, matrix)
}

/// Element number in a tensor of `shape` that belongs to `index` of a shape to which it broadcasts.
pub fn broadcast_offset(b: &mut Builder, shape: &[Dim], index: &[ExprId]) -> ExprId {
    let skip = index.len().saturating_sub(shape.len());
    let mut at = b.i(0);
    for ((d, s), i) in shape.iter().zip(strides(shape)).zip(&index[skip..]) {
        if d.is(1) {
            continue;
        }
        let i = match d {
            Dim::Fixed(_) => *i,
            // A symbolic size may turn out to be 1.
            d => {
                let n = b.dim(d);
                let zero = b.i(0);
                ex!(b; select((n == 1), zero, {*i}))
            }
        };
        let s = b.dim(&s);
        let t = b.mul(i, s);
        at = b.add(at, t);
    }
    at
}

/// The last two axes of a constant exchanged.
pub fn transposed(t: &Tensor) -> Option<Tensor> {
    let r = t.shape.len();
    let (rows, cols) = (*t.shape.get(r.checked_sub(2)?)?, *t.shape.last()?);
    let (rows, cols, size) = (rows as usize, cols as usize, t.dtype.size());
    let mut data = Vec::with_capacity(t.data.len());
    for m in t.data.chunks_exact((rows * cols * size).max(1)) {
        for c in 0..cols {
            for r in 0..rows {
                let at = (r * cols + c) * size;
                data.extend_from_slice(&m[at..at + size]);
            }
        }
    }
    let mut shape = t.shape.clone();
    shape.swap(r - 2, r - 1);
    Tensor::new(t.dtype, shape, data.into()).ok()
}

/// Where the k-by-n matrix of a batch element is read: rows of columns, contiguous over columns.
pub struct Rows {
    /// Buffer.
    pub buf: BufId,
    /// First element.
    pub base: ExprId,
    /// From one k to the next.
    pub stride: ExprId,
}

/// Copies B' of one batch element into scratch as `[k][ld]`, `ld >= n`, zeros behind column n.
pub fn copy_rows(cx: &mut LowerCx, v: &View, base: ExprId, into: BufId, ld: ExprId) -> Result<()> {
    let buf = cx.input(1)?.buf;
    let (n, k) = (cx.b.dim(&v.n), cx.b.dim(&v.k));
    let tb = v.tb;
    let padded = cx.b.as_i64(ld).is_none() || ld != n;
    cx.b.for_(k, LoopKind::Seq, |b, p| {
        b.for_(ld, LoopKind::Lanes, |b, j| {
            let at = if tb {
                ex!(b; (base + (j * k)) + p)
            } else {
                ex!(b; (base + (p * n)) + j)
            };
            let x = if padded {
                let zero = b.num(Ty::of(b.func().bufs[buf].dtype), 0.0);
                let inside = b.lt(j, n);
                b.load_if(buf, inside, at, zero)
            } else {
                b.load(buf, at)
            };
            let to = ex!(b; (p * ld) + j);
            b.store(into, to, x);
        });
    });
    Ok(())
}

fn emit_loops(cx: &mut LowerCx, q: &Query) -> Result<()> {
    let v = View::of_cx(cx, q)?;
    let b_in = cx.input(1)?.clone();
    let flipped = match (&b_in.konst, v.tb) {
        (Some(t), true) => transposed(t).map(|t| cx.constant("b_transposed", t)),
        _ => None,
    };
    let scratch = (v.tb && flipped.is_none()).then(|| {
        let len = v.k.clone() * v.n.clone();
        cx.scratch_per_thread("b_transposed", b_in.ty.dtype, len)
    });
    let batch = v.batch.clone();
    cx.each(&batch, LoopKind::Seq, |cx, bi| {
        let a_base = v.a_base(&mut cx.b, bi);
        let a_base = cx.b.let_(a_base);
        let b_base = v.b_base(&mut cx.b, bi);
        let b_base = cx.b.let_(b_base);
        let n = cx.b.dim(&v.n);
        let rows = match (flipped, scratch) {
            (Some(buf), _) => Rows {
                buf,
                base: b_base,
                stride: n,
            },
            (None, Some(buf)) => {
                copy_rows(cx, &v, b_base, buf, n)?;
                Rows {
                    buf,
                    base: cx.b.i(0),
                    stride: n,
                }
            }
            _ => Rows {
                buf: b_in.buf,
                base: b_base,
                stride: n,
            },
        };
        const BLOCK: i64 = 4;
        let m = cx.b.dim(&v.m);
        let full = ex!(cx.b; m / {cx.b.i(BLOCK)});
        cx.for_(full, LoopKind::Seq, |cx, t| {
            let i = ex!(cx.b; t * {cx.b.i(BLOCK)});
            row_block(cx, &v, bi, a_base, &rows, i, BLOCK)
        })?;
        let done = ex!(cx.b; full * {cx.b.i(BLOCK)});
        match v.m.fixed() {
            Some(m) if m % BLOCK != 0 => row_block(cx, &v, bi, a_base, &rows, done, m % BLOCK),
            Some(_) => Ok(()),
            None => {
                let rest = cx.b.sub(m, done);
                cx.for_(rest, LoopKind::Seq, |cx, t| {
                    let i = cx.b.add(done, t);
                    row_block(cx, &v, bi, a_base, &rows, i, 1)
                })
            }
        }
    })
}

fn row_block(
    cx: &mut LowerCx,
    v: &View,
    bi: &[ExprId],
    a_base: ExprId,
    rows: &Rows,
    first: ExprId,
    count: i64,
) -> Result<()> {
    let a_buf = cx.input(0)?.buf;
    let (n, k) = (cx.b.dim(&v.n), cx.b.dim(&v.k));
    let (ars, aks) = v.a_strides();
    let (ars, aks) = (cx.b.dim(&ars), cx.b.dim(&aks));
    let ty = Ty::of(cx.input(0)?.ty.dtype);
    cx.for_(n, LoopKind::Lanes, |cx, j| {
        let zero = cx.b.num(ty, 0.0);
        let sums: Vec<_> = (0..count).map(|_| cx.b.var(zero)).collect();
        cx.b.for_(k, LoopKind::Seq, |b, p| {
            let at = ex!(b; ({rows.base} + (p * {rows.stride})) + j);
            let y = b.load(rows.buf, at);
            let y = b.let_(y);
            for (r, &s) in sums.iter().enumerate() {
                let i = ex!(b; first + {b.i(r as i64)});
                let at = ex!(b; (a_base + (i * ars)) + (p * aks));
                let x = b.load(a_buf, at);
                let old = b.get(s);
                let new = if ty.is_float() {
                    b.fma(x, y, old)
                } else {
                    ex!(b; old + (x * y))
                };
                b.set(s, new);
            }
        });
        for (r, &s) in sums.iter().enumerate() {
            let i = ex!(cx.b; first + {cx.b.i(r as i64)});
            let sum = cx.b.get(s);
            v.store(cx, bi, i, j, sum)?;
        }
        Ok(())
    })
}
