//! Loops over some axes of a tensor, and sums over others: what normalisations, softmax and pooling are made of.

use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::kernel::LowerCx;
use crate::loops::ir::{ExprId, LoopKind, Stmt, Ty};

/// An index whose every axis is 0.
pub fn origin(cx: &mut LowerCx, rank: usize) -> Vec<ExprId> {
    let zero = cx.b.i(0);
    vec![zero; rank]
}

/// Loops over `axes` of `shape`, the innermost of kind `inner`; `f` gets `index` with those axes replaced.
pub fn over(
    cx: &mut LowerCx,
    shape: &[Dim],
    axes: &[usize],
    inner: LoopKind,
    index: &[ExprId],
    f: impl FnOnce(&mut LowerCx, &[ExprId]) -> Result<()>,
) -> Result<()> {
    let mut index = index.to_vec();
    let mut open = vec![];
    for &a in axes {
        let extent = cx.b.dim(&shape[a]);
        let (var, i) = cx.b.loop_var();
        cx.b.open_block();
        open.push((var, extent));
        index[a] = i;
    }
    let r = f(cx, &index);
    for (depth, (var, extent)) in open.into_iter().enumerate().rev() {
        let body = cx.b.close_block();
        let kind = if depth + 1 == axes.len() {
            inner
        } else {
            LoopKind::Seq
        };
        cx.b.stmt(Stmt::For {
            var,
            extent,
            kind,
            body,
        });
    }
    r
}

/// Folds the elements along `axes`: `f` gets the index and the value so far.
pub fn fold(
    cx: &mut LowerCx,
    shape: &[Dim],
    axes: &[usize],
    index: &[ExprId],
    init: ExprId,
    f: impl FnOnce(&mut LowerCx, &[ExprId], ExprId) -> Result<ExprId>,
) -> Result<ExprId> {
    let acc = cx.b.var(init);
    over(cx, shape, axes, LoopKind::Seq, index, |cx, at| {
        let old = cx.b.get(acc);
        let new = f(cx, at, old)?;
        cx.b.set(acc, new);
        Ok(())
    })?;
    let v = cx.b.get(acc);
    Ok(cx.b.let_(v))
}

/// Folds over `count` whole numbers from 0.
pub fn fold_n(
    cx: &mut LowerCx,
    count: ExprId,
    init: ExprId,
    f: impl FnOnce(&mut LowerCx, ExprId, ExprId) -> Result<ExprId>,
) -> Result<ExprId> {
    let acc = cx.b.var(init);
    cx.for_(count, LoopKind::Seq, |cx, i| {
        let old = cx.b.get(acc);
        let new = f(cx, i, old)?;
        cx.b.set(acc, new);
        Ok(())
    })?;
    let v = cx.b.get(acc);
    Ok(cx.b.let_(v))
}

/// The axes of `0..rank` that are not in `axes`.
pub fn others(rank: usize, axes: &[usize]) -> Vec<usize> {
    (0..rank).filter(|a| !axes.contains(a)).collect()
}

/// The number of elements along `axes`.
pub fn count(shape: &[Dim], axes: &[usize]) -> Dim {
    axes.iter().map(|&a| shape[a].clone()).product()
}

/// Stores element `index` of output `o`, past any tail, converted to its type: for outputs beside the first.
pub fn store_plain(cx: &mut LowerCx, o: usize, index: &[ExprId], value: ExprId) {
    if let Some((shape, ty)) = cx
        .output(o)
        .map(|t| (t.ty.shape.clone(), Ty::of(t.ty.dtype)))
    {
        let at = cx.b.offset(&shape, index);
        let value = cx.b.cast(ty, value);
        cx.store_flat(o, at, value);
    }
}

/// Stores element `index` of output `o`, converted to its type.
pub fn store_as(cx: &mut LowerCx, o: usize, index: &[ExprId], value: ExprId) {
    if let Some(ty) = cx.output(o).map(|t| Ty::of(t.ty.dtype)) {
        let value = cx.b.cast(ty, value);
        cx.store(o, index, value);
    }
}
