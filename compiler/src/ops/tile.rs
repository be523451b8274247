//! Tile and Expand: elements repeated along axes.

use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::tensor::Tensor;
use crate::contracts::repeat::{MOST, TIMES};
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{Arg, LoopKind};
use crate::op::{BASE, InferCx, Lower, OpDef, broadcast, read_none};
use crate::ops::util::*;

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&TILE, &EXPAND];

/// The whole tensor repeated `repeats[axis]` times along every axis.
pub static TILE: OpDef = OpDef {
    name: "Tile",
    onnx: &[since("Tile", 6, read_none)],
    inputs: (2, 2),
    infer: infer_tile,
    lower: Lower::Loops(lower_tile),
    tails: true,
    ..BASE
};

fn infer_tile(cx: &mut InferCx) -> Result<()> {
    let d = accept(cx, 0, any)?;
    let shape = cx.shape(0)?;
    let repeats = known_dims(cx, 1, "repeats")?;
    if repeats.len() != shape.len() {
        return bad(format!(
            "{} repeats for {} axes",
            repeats.len(),
            shape.len()
        ));
    }
    for r in &repeats {
        check_size(cx, r, "a repeat")?;
    }
    let dims = match (contents(cx, 0), repeats.first().and_then(Dim::fixed)) {
        (Some(v), Some(n)) if shape.len() == 1 && n.saturating_mul(v.len() as i64) <= 1024 => {
            Some((0..n).flat_map(|_| v.clone()).collect())
        }
        _ => None,
    };
    let out = shape
        .iter()
        .zip(&repeats)
        .map(|(s, r)| s.clone() * r.clone())
        .collect();
    cx.out(0, d, out);
    cx.set_dims(0, dims);
    Ok(())
}

fn lower_tile(cx: &mut LowerCx) -> Result<()> {
    let (shape, out) = (cx.in_shape(0)?, cx.out_shape()?);
    let Some(repeats) = cx.input(1)?.konst.as_ref().and_then(Tensor::to_i64s) else {
        return map_output(cx, |cx, at| {
            let mut from = vec![];
            for (s, &i) in shape.iter().zip(at) {
                let n = cx.b.dim(s);
                from.push(cx.b.rem(i, n));
            }
            cx.load(0, &from)
        });
    };
    debug_assert_eq!(repeats.len(), out.len());
    // Repeat and element are loops of their own: no division, and the innermost loop is contiguous.
    let space: Vec<Dim> = shape
        .iter()
        .zip(&repeats)
        .flat_map(|(s, &r)| [Dim::Fixed(r), s.clone()])
        .collect();
    cx.each(&space, LoopKind::Lanes, |cx, at| {
        let (mut from, mut to) = (vec![], vec![]);
        for (pair, s) in at.chunks_exact(2).zip(&shape) {
            let n = cx.b.dim(s);
            let start = cx.b.mul(pair[0], n);
            to.push(cx.b.add(start, pair[1]));
            from.push(pair[1]);
        }
        let v = cx.load(0, &from)?;
        cx.store(0, &to, v);
        Ok(())
    })
}

/// The input broadcast with the shape in the second input.
pub static EXPAND: OpDef = OpDef {
    name: "Expand",
    onnx: &[since("Expand", 8, read_none)],
    inputs: (2, 2),
    infer: |cx| {
        let d = accept(cx, 0, any)?;
        let shape = cx.shape(0)?;
        let target = known_dims(cx, 1, "shape")?;
        for t in &target {
            check_size(cx, t, "a size of `shape`")?;
        }
        let out = broadcast(&[&shape, &target])?;
        cx.out(0, d, out);
        let dims = expanded(cx);
        cx.set_dims(0, dims);
        Ok(())
    },
    lower: Lower::Loops(|cx| match repeated(cx)? {
        true => Ok(()),
        false => map_output(cx, |cx, at| cx.load_broadcast(0, at)),
    }),
    tails: true,
    ..BASE
};

/// Bytes in a piece of work for one thread.
const PIECE: i64 = 1 << 12;

/// Bytes each of which is repeated along a new last axis are for a tile.
fn repeated(cx: &mut LowerCx) -> Result<bool> {
    let (x, to) = (cx.in_shape(0)?, cx.out_shape()?);
    let bytes = cx.input(0)?.ty.dtype.size() == 1 && cx.store_hook.is_none();
    let (Some((one, rest)), Some((times, all))) = (x.split_last(), to.split_last()) else {
        return Ok(false);
    };
    let times = times.fixed().filter(|n| (2..=MOST).contains(n));
    let fits = bytes && one.is(1) && rest == all;
    let tile = cx.machine.tile("byte_repeat").filter(|_| fits);
    let (Some(tile), Some(times), Some(out)) = (tile, times, cx.output(0).map(|o| o.buf)) else {
        return Ok(false);
    };
    let callee = tile.callee(vec![(TIMES.to_string(), times)]);
    let x = cx.input(0)?.buf;
    let n: Dim = all.iter().cloned().product();
    in_pieces(cx, &n, PIECE, |cx, from, n| {
        let to = ex!(cx.b; from * {cx.b.i(times)});
        let ptr = |buf, offset| Arg::Ptr { buf, offset };
        let args = vec![
            ptr(x, from),
            ptr(out, to),
            Arg::Int(n),
            Arg::Int(cx.b.i(1)),
        ];
        cx.b.call(callee.clone(), args);
    })?;
    Ok(true)
}

/// Contents of an expanded list.
fn expanded(cx: &InferCx) -> Option<Vec<Dim>> {
    let v = contents(cx, 0)?;
    let n = cx.outputs[0].as_ref()?.elements().fixed()?;
    match v.as_slice() {
        [one] if n <= 1024 => Some(vec![one.clone(); n as usize]),
        many if many.len() as i64 == n => Some(v),
        _ => None,
    }
}
