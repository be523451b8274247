//! A Transpose as calls of the tile `turn`: the axis that is last before and the one that is last behind make matrices.

use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::contracts::turn::{BLOCK, Shape};
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{Arg, ExprId, LoopKind};
use crate::ops::util::in_pieces;

/// Elements that a piece of work for one thread has, roughly: they stay in the first cache.
const PIECE: i64 = 1 << 13;

/// An axis of the result, or several that follow one another on both sides: its size, and the distance of its elements on each side.
#[derive(Clone, Debug)]
struct Axis {
    size: Dim,
    from: Dim,
    to: Dim,
}

/// Axes of the result, neighbours on both sides in one, without those of size 1.
fn axes(perm: &[usize], shape: &[Dim], out: &[Dim]) -> Vec<Axis> {
    let after = |shape: &[Dim], axis: usize| shape[axis + 1..].iter().cloned().product::<Dim>();
    let mut all: Vec<(usize, Axis)> = vec![];
    for (k, &p) in perm.iter().enumerate().filter(|(k, _)| !out[*k].is(1)) {
        // What lies between the last axis and this one has one element.
        let behind = |last: usize| last < p && shape[last + 1..p].iter().all(|d| d.is(1));
        match all.last_mut() {
            Some((last, axis)) if behind(*last) => {
                axis.size = axis.size.clone() * out[k].clone();
                (axis.from, axis.to) = (after(shape, p), after(out, k));
                *last = p;
            }
            _ => {
                let axis = Axis {
                    size: out[k].clone(),
                    from: after(shape, p),
                    to: after(out, k),
                };
                all.push((p, axis));
            }
        }
    }
    all.into_iter().map(|(_, a)| a).collect()
}

/// Whether a tile took a transpose of elements of one, two or four bytes whose last axis goes elsewhere.
pub fn turned(cx: &mut LowerCx, perm: &[usize]) -> Result<bool> {
    let shape = cx.in_shape(0)?;
    turned_as(cx, perm, &shape)
}

/// The same where input and output are looked at as tensors of other axes: those of the input are `shape`.
pub fn turned_as(cx: &mut LowerCx, perm: &[usize], shape: &[Dim]) -> Result<bool> {
    let size = cx.input(0)?.ty.dtype.size() as i64;
    let out: Vec<Dim> = perm.iter().map(|&p| shape[p].clone()).collect();
    let mut others = axes(perm, shape, &out);
    let fits = matches!(size, 1 | 2 | 4) && cx.store_hook.is_none();
    let tile = cx.machine.tile("turn").filter(|_| fits);
    let (Some(tile), Some(out), Some(rows)) = (tile, cx.output(0).map(|o| o.buf), others.pop())
    else {
        return Ok(false);
    };
    let Some(at) = others.iter().position(|a| a.from.is(1)) else {
        return Ok(false);
    };
    let cols = others.remove(at);
    let count = others.pop();
    let few = |a: &Axis, apart: &Dim| {
        let n = a.size.fixed().filter(|n| (2..BLOCK).contains(n));
        n.filter(|n| apart.is(*n)).unwrap_or(0)
    };
    let mut shape = Shape {
        size,
        rows: few(&rows, &cols.to),
        cols: few(&cols, &rows.from),
    };
    if shape.rows > 0 {
        shape.cols = 0;
    }
    let callee = shape.callee(tile);
    let x = cx.input(0)?.buf;
    let one = Axis {
        size: Dim::Fixed(1),
        from: Dim::Fixed(0),
        to: Dim::Fixed(0),
    };
    let inner = [rows, cols, count.unwrap_or(one)];
    let sizes: Vec<Dim> = others.iter().map(|a| a.size.clone()).collect();
    cx.each(&sizes, LoopKind::Seq, |cx, at| {
        let (mut from, mut to) = (cx.b.i(0), cx.b.i(0));
        for (a, &i) in others.iter().zip(at) {
            let b = &mut cx.b;
            from = ex!(b; from + (i * {b.dim(&a.from)}));
            to = ex!(b; to + (i * {b.dim(&a.to)}));
        }
        let (from, to) = (cx.b.let_(from), cx.b.let_(to));
        matrices(cx, &inner, [from, to], |cx, from, to, sizes| {
            let ptr = |buf, offset| Arg::Ptr { buf, offset };
            let [rows, cols, count] = &inner;
            let mut args = vec![ptr(x, from), ptr(out, to)];
            args.extend(sizes[..2].iter().map(|&n| Arg::Int(n)));
            args.extend([&rows.from, &cols.to].map(|d| Arg::Int(cx.b.dim(d))));
            args.push(Arg::Int(sizes[2]));
            args.extend([&count.from, &count.to].map(|d| Arg::Int(cx.b.dim(d))));
            cx.b.call(callee.clone(), args);
        })
    })?;
    Ok(true)
}

/// Rows, columns and matrices in pieces along the longest of the three: `call` gets where a piece begins on each side, and its three sizes.
fn matrices(
    cx: &mut LowerCx,
    inner: &[Axis; 3],
    start: [ExprId; 2],
    mut call: impl FnMut(&mut LowerCx, ExprId, ExprId, [ExprId; 3]),
) -> Result<()> {
    let fixed = inner.each_ref().map(|a| a.size.fixed().unwrap_or(i64::MAX));
    let longest = (0..3).max_by_key(|&k| fixed[k]).unwrap_or(0);
    let others = (0..3).filter(|&k| k != longest).map(|k| fixed[k].max(1));
    let others = others.fold(1i64, i64::saturating_mul);
    // Whole blocks, but for the last.
    let piece = (PIECE / others).max(4 * BLOCK) / BLOCK * BLOCK;
    let axis = &inner[longest];
    in_pieces(cx, &axis.size, piece, |cx, first, n| {
        let b = &mut cx.b;
        let from = ex!(b; {start[0]} + (first * {b.dim(&axis.from)}));
        let to = ex!(b; {start[1]} + (first * {b.dim(&axis.to)}));
        let mut sizes = inner.each_ref().map(|a| b.dim(&a.size));
        sizes[longest] = n;
        call(cx, from, to, sizes);
    })
}
