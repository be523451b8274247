//! Loops over some axes of a tensor, and sums over others: what normalisations, softmax and pooling are made of.

use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::kernel::LowerCx;
use crate::loops::build::Builder;
use crate::loops::ir::{ExprId, LoopKind, Stmt, Ty, VarId};

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

/// Elements of a row from which on it is folded in parts.
const LONG: i64 = 32;

/// One step of a fold: the value so far with the element at an index.
pub type FoldStep<'s> = &'s dyn Fn(&mut LowerCx, &[ExprId], ExprId) -> Result<ExprId>;

/// Partial results of a row.
pub fn parts_of(count: &Dim) -> i64 {
    match count.fixed() {
        Some(n) if n >= 128 => 32,
        _ => 16,
    }
}

/// Whether [`fold_in_parts`] keeps partial results: rows of 32 bits that lie in one piece and are long, or of unknown length.
pub fn in_parts(shape: &[Dim], axes: &[usize], ty: Ty) -> bool {
    let last = axes.last().filter(|a| **a + 1 == shape.len());
    let long = |d: &Dim| d.fixed().is_none_or(|n| n >= LONG);
    matches!(ty, Ty::F32 | Ty::I32) && last.is_some() && long(&piece(shape, axes).1)
}

/// How many of `axes`, the last ones of `shape`, lie in one piece, and how long it is.
fn piece(shape: &[Dim], axes: &[usize]) -> (usize, Dim) {
    let joined = (axes.iter().rev().zip((0..shape.len()).rev()))
        .take_while(|(a, last)| **a == *last)
        .count();
    (joined, count(shape, &axes[axes.len() - joined..]))
}

/// Folds the elements along `axes` as [`fold`] does, in parts where [`in_parts`] says so: element `i` of a piece goes
/// into part `i` modulo 16 (32 for pieces of 128 and more), and `join` brings the second half of the parts onto the first
/// until one is left. The order is the same on every machine, whatever its vectors hold. `init` is what changes nothing;
/// `step` is written down twice. Where several of the last axes make a piece, `step` gets the element's number in it as the index of the last axis, and 0
/// for the others: it must read tensors that have all of `shape`.
pub fn fold_in_parts(
    cx: &mut LowerCx,
    shape: &[Dim],
    axes: &[usize],
    index: &[ExprId],
    init: ExprId,
    join: &dyn Fn(&mut Builder, ExprId, ExprId) -> ExprId,
    step: FoldStep,
) -> Result<ExprId> {
    if !in_parts(shape, axes, cx.b.ty(init)) {
        return fold(cx, shape, axes, index, init, step);
    }
    let (joined, count) = piece(shape, axes);
    let Some(&last) = axes.last() else {
        return Ok(init);
    };
    let outer = &axes[..axes.len() - joined];
    let mut index = index.to_vec();
    for &a in &axes[outer.len()..] {
        index[a] = cx.b.i(0);
    }
    let index = &index[..];
    let parts = parts_of(&count);
    let n = cx.b.dim(&count);
    let p = cx.b.i(parts);
    let rounds = cx.b.floor_div(n, p);
    let rest = cx.b.floor_mod(n, p);
    let dtype = match cx.b.ty(init) {
        Ty::I32 => DType::I32,
        _ => DType::F32,
    };
    let buf = cx.scratch_per_thread("parts", dtype, Dim::Fixed(parts));
    let whole = cx.b.mul(rounds, p);
    cx.for_(p, LoopKind::Lanes, |cx, l| {
        let acc = cx.b.var(init);
        over(cx, shape, outer, LoopKind::Seq, index, |cx, at| {
            cx.for_(rounds, LoopKind::Seq, |cx, r| {
                let r = cx.b.mul(r, p);
                one(cx, at, last, (r, l), acc, step)
            })
        })?;
        let v = cx.b.get(acc);
        cx.b.store(buf, l, v);
        Ok(())
    })?;
    cx.for_(rest, LoopKind::Lanes, |cx, l| {
        let v = cx.b.load(buf, l);
        let acc = cx.b.var(v);
        over(cx, shape, outer, LoopKind::Seq, index, |cx, at| {
            one(cx, at, last, (whole, l), acc, step)
        })?;
        let v = cx.b.get(acc);
        cx.b.store(buf, l, v);
        Ok(())
    })?;
    halves(cx, parts, |cx, l, second| {
        let (a, b) = (cx.b.load(buf, l), cx.b.load(buf, second));
        let v = join(&mut cx.b, a, b);
        cx.b.store(buf, l, v);
    })?;
    let four = [0, 2, 1, 3].map(|i| {
        let i = cx.b.i(i);
        cx.b.load(buf, i)
    });
    let (a, b) = (
        join(&mut cx.b, four[0], four[1]),
        join(&mut cx.b, four[2], four[3]),
    );
    let v = join(&mut cx.b, a, b);
    Ok(cx.b.let_(v))
}

/// Brings the second half of so many parts onto the first, until four are left: `f` gets the numbers of two parts, and puts both into the first.
pub fn halves(
    cx: &mut LowerCx,
    parts: i64,
    f: impl Fn(&mut LowerCx, ExprId, ExprId),
) -> Result<()> {
    let mut half = parts / 2;
    while half >= 4 {
        let h = cx.b.i(half);
        cx.for_(h, LoopKind::Lanes, |cx, l| {
            let second = cx.b.add(l, h);
            f(cx, l, second);
            Ok(())
        })?;
        half /= 2;
    }
    Ok(())
}

// Takes element `i` of axis `last` in.
fn one(
    cx: &mut LowerCx,
    at: &[ExprId],
    last: usize,
    (a, b): (ExprId, ExprId),
    acc: VarId,
    step: FoldStep,
) -> Result<()> {
    let mut at = at.to_vec();
    at[last] = cx.b.add(a, b);
    let old = cx.b.get(acc);
    let new = step(cx, &at, old)?;
    cx.b.set(acc, new);
    Ok(())
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
