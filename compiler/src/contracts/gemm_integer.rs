//! `gemm_integer`: products of matrices of 8-bit numbers, batched with broadcasting, summed exactly in i32.
//!
//! Inputs A, B, optional zero points of A (one, or one for each row) and B (one, or one for each column), optional numbers that
//! the sums of each column begin with (i32 `[N]`); output i32 `start + (A - az) * (B - bz)`. A and B
//! with one axis are a row and a column, and the output lacks that axis.

use super::conv_integer::{begun, zero};
use super::gemm::{View, macs};
use super::{gemm_integer_strip, sparse};
use crate::base::attr::Attrs;
use crate::base::costs::Work;
use crate::base::diag::Result;
use crate::ex;
use crate::kernel::{Contract, Kernel, LowerCx, Query};
use crate::loops::ir::{LoopKind, Ty};

/// The contract.
pub static GEMM_INTEGER: Contract = Contract {
    name: "gemm_integer",
    doc: "Products of matrices of 8-bit numbers with zero points, summed exactly",
    reference: None,
    rows: &[
        gemm_integer_strip::MATRICES,
        gemm_integer_strip::BYTES,
        gemm_integer_strip::PICKED,
        gemm_integer_strip::WORDS,
        sparse::integer::GEMM_FOUR,
        sparse::integer::GEMM_ONE,
        sparse::integer::GEMM_FOUR_NEAR,
        sparse::integer::GEMM_ONE_NEAR,
        LOOPS,
    ],
};

/// Plain loops, for every type and size.
pub const LOOPS: Kernel = Kernel {
    name: "gemm_integer_loops",
    needs: &[],
    accepts: |_| true,
    work: |q| Work::of(macs(q)),
    tails: true,
    emit,
};

fn emit(cx: &mut LowerCx, _: &Query) -> Result<()> {
    let (a, b) = (cx.in_shape(0)?, cx.in_shape(1)?);
    let v = View::of(&Attrs::default(), &a, &b, &cx.out_shape()?)?;
    let (ab, bb) = (cx.input(0)?.buf, cx.input(1)?.buf);
    let mut shape = v.batch.clone();
    shape.extend([v.m.clone(), v.n.clone()]);
    let (ars, aks) = v.a_strides();
    cx.each(&shape, LoopKind::Lanes, |cx, at| {
        let (batch, i, j) = (&at[..at.len() - 2], at[at.len() - 2], at[at.len() - 1]);
        let (a0, b0) = (v.a_base(&mut cx.b, batch), v.b_base(&mut cx.b, batch));
        let (ars, aks) = (cx.b.dim(&ars), cx.b.dim(&aks));
        let (n, k) = (cx.b.dim(&v.n), cx.b.dim(&v.k));
        let az = zero(cx, 2, Some(i))?;
        let bz = zero(cx, 3, Some(j))?;
        let (az, bz) = (cx.b.let_(az), cx.b.let_(bz));
        let none = cx.b.int(Ty::I32, 0);
        let sum = cx.b.var(none);
        cx.for_(k, LoopKind::Seq, |cx, k| {
            let e = &mut cx.b;
            let x_at = ex!(e; (a0 + (i * ars)) + (k * aks));
            let y_at = ex!(e; (b0 + (k * n)) + j);
            let (x, y, so_far) = (e.load(ab, x_at), e.load(bb, y_at), e.get(sum));
            let next = ex!(e; so_far + ((x - az) * (y - bz)));
            e.set(sum, next);
            Ok(())
        })?;
        let sum = cx.b.get(sum);
        let sum = begun(cx, sum, j)?;
        cx.store(0, &v.index(batch, i, j), sum);
        Ok(())
    })
}
