//! Det: determinants by elimination with row exchanges.

use super::axes::fold_n;
use super::util::{accept, bad, float, since};
use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{LoopKind, Ty, UnOp};
use crate::op::{BASE, InferCx, Lower, OpDef, read_none};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&DET];

/// The determinant of the last two axes.
pub static DET: OpDef = OpDef {
    name: "Det",
    onnx: &[since("Det", 11, read_none)],
    infer,
    lower: Lower::Loops(lower),
    tails: true,
    ..BASE
};

fn infer(cx: &mut InferCx) -> Result<()> {
    let d = accept(cx, 0, float)?;
    let x = cx.shape(0)?;
    let r = x.len();
    if r < 2 || x[r - 1] != x[r - 2] {
        return bad("determinants need square matrices");
    }
    cx.out(0, d, x[..r - 2].to_vec());
    Ok(())
}

fn lower(cx: &mut LowerCx) -> Result<()> {
    let x = cx.in_shape(0)?;
    let (outer, size) = (x[..x.len() - 2].to_vec(), x[x.len() - 1].clone());
    let ty = cx.in_ty(0)?;
    let dtype = if ty == Ty::F64 {
        DType::F64
    } else {
        DType::F32
    };
    let m = cx.scratch_per_thread("matrix", dtype, size.clone() * size.clone());
    cx.each(&outer, LoopKind::Seq, |cx, at| {
        let n = cx.b.dim(&size);
        cx.for_(n, LoopKind::Seq, |cx, i| {
            cx.for_(n, LoopKind::Lanes, |cx, j| {
                let v = cx.load(0, &[at, &[i, j]].concat())?;
                let to = ex!(cx.b; (i * n) + j);
                cx.b.store(m, to, v);
                Ok(())
            })
        })?;
        let (zero, one) = (cx.b.num(ty, 0.0), cx.b.num(ty, 1.0));
        let det = cx.b.var(one);
        cx.for_(n, LoopKind::Seq, |cx, p| {
            // The largest element of the column, at the diagonal or below.
            let below = cx.b.sub(n, p);
            let best = fold_n(cx, below, p, |cx, k, best| {
                let b = &mut cx.b;
                let row = b.add(p, k);
                let here = ex!(b; (row * n) + p);
                let (v, t) = (b.load(m, here), ex!(b; (best * n) + p));
                let t = b.load(m, t);
                let (v, t) = (b.un(UnOp::Abs, v), b.un(UnOp::Abs, t));
                let more = b.lt(t, v);
                Ok(b.select(more, row, best))
            })?;
            let b = &mut cx.b;
            let at = ex!(b; (best * n) + p);
            let pivot = b.load(m, at);
            let pivot = b.let_(pivot);
            let neg = b.un(UnOp::Neg, pivot);
            let swapped = b.ne(best, p);
            let factor = b.select(swapped, neg, pivot);
            let old = b.get(det);
            let new = b.mul(old, factor);
            b.set(det, new);
            b.for_(n, LoopKind::Lanes, |b, j| {
                let (x, y) = (ex!(b; (p * n) + j), ex!(b; (best * n) + j));
                let (u, v) = (b.load(m, x), b.load(m, y));
                let (u, v) = (b.let_(u), b.let_(v));
                b.store(m, x, v);
                b.store(m, y, u);
            });
            let single = ex!(b; pivot == {zero});
            let divisor = b.select(single, one, pivot);
            let divisor = b.let_(divisor);
            let rest = ex!(b; below - 1);
            b.for_(rest, LoopKind::Seq, |b, k| {
                let row = ex!(b; (p + 1) + k);
                let at = ex!(b; (row * n) + p);
                let f = ex!(b; {b.load(m, at)} / divisor);
                let f = b.let_(f);
                b.for_(rest, LoopKind::Lanes, |b, j| {
                    let col = ex!(b; (p + 1) + j);
                    let (x, y) = (ex!(b; (row * n) + col), ex!(b; (p * n) + col));
                    let v = ex!(b; {b.load(m, x)} - (f * {b.load(m, y)}));
                    b.store(m, x, v);
                });
            });
            Ok(())
        })?;
        let v = cx.b.get(det);
        cx.store(0, at, v);
        Ok(())
    })
}
