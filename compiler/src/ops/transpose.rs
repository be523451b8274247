//! Operators that permute elements: Transpose, DepthToSpace, SpaceToDepth, ReverseSequence.

use crate::base::attr::Attr;
use crate::base::diag::Result;
use crate::base::dim::{Dim, fixed_shape};
use crate::contracts::pixels::CHANNELS;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{Arg, ExprId, LoopKind};
use crate::op::{BASE, InferCx, Lower, OpDef, ReadCx, onnx};
use crate::ops::turned::{turned, turned_as};
use crate::ops::util::*;

/// Operators of this file.
pub static OPS: &[&OpDef] = &[
    &TRANSPOSE,
    &DEPTH_TO_SPACE,
    &SPACE_TO_DEPTH,
    &REVERSE_SEQUENCE,
];

/// Last axes up to this length are written out.
const SHORT: i64 = 8;

/// Known contents in the order of the output.
fn transposed(all: &[Dim], shape: &[i64], perm: &[usize]) -> Option<Vec<Dim>> {
    let mut out = vec![];
    for number in 0..all.len() as i64 {
        // The index in the output, the last axis first, gives the place in the input.
        let (mut rest, mut at) = (number, 0);
        for &p in perm.iter().rev() {
            let step = shape[p + 1..].iter().product::<i64>();
            at += rest % shape[p] * step;
            rest /= shape[p];
        }
        out.push(all.get(at as usize)?.clone());
    }
    Some(out)
}

/// Axis i of the output is axis `perm[i]` of the input; without `perm` the axes are reversed.
pub static TRANSPOSE: OpDef = OpDef {
    name: "Transpose",
    onnx: &[since("Transpose", 1, |cx| cx.keep_ints("perm"))],
    infer: |cx| {
        let d = accept(cx, 0, any)?;
        let old = cx.shape(0)?;
        let perm = perm(cx.attrs.ints("perm"), old.len())?;
        let shape = perm.iter().map(|&p| old[p].clone()).collect();
        cx.out(0, d, shape);
        let dims = contents(cx, 0).and_then(|v| transposed(&v, &fixed_shape(&old)?, &perm));
        cx.set_dims(0, dims);
        Ok(())
    },
    lower: Lower::Loops(|cx| {
        let perm = perm(cx.attrs.ints("perm"), cx.in_shape(0)?.len())?;
        let shape = cx.out_shape()?;
        if zipped(cx, &perm, &shape)? || pixels(cx, &perm, &shape)? || turned(cx, &perm)? {
            return Ok(());
        }
        // Short last axes are written out: a loop over them would cost more than what it does. Those of size 1 are none.
        let len = shape.iter().rposition(|d| !d.is(1)).map_or(0, |last| last + 1);
        let (axes, ones) = shape.split_at(len);
        let short = |from: &usize| {
            let all: Dim = axes[*from..].iter().cloned().product();
            all.fixed().is_some_and(|n| n <= SHORT)
        };
        let (outer, last) = axes.split_at((0..len).find(short).unwrap_or(len));
        let element = |cx: &mut LowerCx, at: &[ExprId]| {
            let mut at = at.to_vec();
            at.extend(ones.iter().map(|_| cx.b.i(0)));
            let mut from = at.clone();
            for (&p, &i) in perm.iter().zip(&at) {
                from[p] = i;
            }
            let v = cx.load(0, &from)?;
            cx.store(0, &at, v);
            Ok(())
        };
        if last.is_empty() {
            return cx.each(outer, LoopKind::Lanes, element);
        }
        cx.each(outer, LoopKind::Seq, |cx, at| {
            cx.each(last, LoopKind::Unroll, |cx, more| element(cx, &[at, more].concat()))
        })
    }),
    tails: true,
    ..BASE
};

/// Two rows of bytes that take turns are for a tile: the last axes change places, the new last one having two.
fn zipped(cx: &mut LowerCx, perm: &[usize], shape: &[Dim]) -> Result<bool> {
    let bytes = cx.input(0)?.ty.dtype.size() == 1;
    let tile = cx.machine.tile("byte_zip");
    let (Some(tile), [outer @ .., n, two]) = (tile, shape) else {
        return Ok(false);
    };
    let k = outer.len();
    let swaps = perm[..k].iter().enumerate().all(|(i, p)| *p == i) && perm[k] == k + 1;
    let out = cx.output(0).map(|o| o.buf);
    let (true, Some(out), None) = (bytes && swaps && two.is(2), out, &cx.store_hook) else {
        return Ok(false);
    };
    let callee = tile.callee(vec![]);
    let x = cx.input(0)?.buf;
    let (at, n) = (cx.b.i(0), cx.b.dim(n));
    let count = cx.b.dim(&outer.iter().cloned().product());
    let ptr = |buf| Arg::Ptr { buf, offset: at };
    let args = vec![ptr(x), ptr(out), Arg::Int(n), Arg::Int(count)];
    cx.b.call(callee, args);
    Ok(true)
}

/// Pixels in a piece of work for one thread.
const PIECE: i64 = 1 << 12;

/// Pictures of three channels of bytes whose channels become the last axis are for a tile.
fn pixels(cx: &mut LowerCx, perm: &[usize], shape: &[Dim]) -> Result<bool> {
    let bytes = cx.input(0)?.ty.dtype.size() == 1;
    let [n, picture @ .., last] = shape else {
        return Ok(false);
    };
    let rank = shape.len();
    let channels_last = perm[0] == 0
        && perm[rank - 1] == 1
        && perm[1..rank - 1].iter().enumerate().all(|(i, p)| *p == i + 2);
    let fits = bytes && channels_last && last.is(CHANNELS) && cx.store_hook.is_none();
    let tile = cx.machine.tile("byte_pixels").filter(|_| fits);
    let (Some(tile), Some(out)) = (tile, cx.output(0).map(|o| o.buf)) else {
        return Ok(false);
    };
    let callee = tile.callee(vec![]);
    let x = cx.input(0)?.buf;
    let all: Dim = picture.iter().cloned().product();
    let n = cx.b.dim(n);
    cx.for_(n, LoopKind::Seq, |cx, i| {
        let plane = cx.b.dim(&all);
        let base = ex!(cx.b; (i * plane) * {cx.b.i(CHANNELS)});
        let base = cx.b.let_(base);
        in_pieces(cx, &all, PIECE, |cx, first, n| {
            let b = &mut cx.b;
            let from = ex!(b; base + first);
            let to = ex!(b; base + (first * {b.i(CHANNELS)}));
            let ptr = |buf, offset| Arg::Ptr { buf, offset };
            let args = vec![ptr(x, from), ptr(out, to), Arg::Int(plane), Arg::Int(n)];
            b.call(callee.clone(), args);
        })
    })?;
    Ok(true)
}

fn perm(attr: Option<&[i64]>, rank: usize) -> Result<Vec<usize>> {
    let p = match attr {
        None => (0..rank).rev().collect(),
        Some(p) => resolve_axes(p, rank)?,
    };
    if p.len() != rank {
        return bad(format!("`perm` has {} axes, the input {rank}", p.len()));
    }
    Ok(p)
}

/// Blocks of channels become blocks of pixels.
pub static DEPTH_TO_SPACE: OpDef = OpDef {
    name: "DepthToSpace",
    onnx: &[
        onnx("DepthToSpace", 1, 10, |cx| {
            cx.set("mode", Attr::Str("DCR".into()));
            read_block(cx)
        }),
        since("DepthToSpace", 11, |cx| {
            let mode = cx.str("mode", "DCR")?;
            if !matches!(mode.as_str(), "DCR" | "CRD") {
                return bad(format!("`mode` = {mode:?} is not DCR or CRD"));
            }
            cx.set("mode", Attr::Str(mode));
            read_block(cx)
        }),
    ],
    infer: |cx| {
        let (d, s, b) = image(cx)?;
        let c = exact(cx, &s[1], b.clone() * b.clone())?;
        let shape = vec![
            s[0].clone(),
            c,
            s[2].clone() * b.clone(),
            s[3].clone() * b,
        ];
        cx.out(0, d, shape);
        Ok(())
    },
    lower: Lower::Loops(lower_depth_to_space),
    tails: true,
    ..BASE
};

/// Blocks of pixels become blocks of channels.
pub static SPACE_TO_DEPTH: OpDef = OpDef {
    name: "SpaceToDepth",
    onnx: &[since("SpaceToDepth", 1, read_block)],
    infer: |cx| {
        let (d, s, b) = image(cx)?;
        let (h, w) = (
            exact(cx, &s[2], b.clone())?,
            exact(cx, &s[3], b.clone())?,
        );
        let shape = vec![s[0].clone(), s[1].clone() * b.clone() * b, h, w];
        cx.out(0, d, shape);
        Ok(())
    },
    lower: Lower::Loops(lower_space_to_depth),
    tails: true,
    ..BASE
};

fn read_block(cx: &mut ReadCx) -> Result<()> {
    match cx.opt_int("blocksize")? {
        Some(b) if (1..=1 << 20).contains(&b) => {
            cx.set("blocksize", Attr::Int(b));
            Ok(())
        }
        b => bad(format!("`blocksize` = {b:?}")),
    }
}

fn image(cx: &InferCx) -> Result<(crate::base::dtype::DType, Vec<Dim>, Dim)> {
    let d = accept(cx, 0, any)?;
    let s = cx.shape(0)?;
    if s.len() != 4 {
        return bad("an input of 4 axes is needed");
    }
    Ok((d, s, Dim::Fixed(cx.attrs.int("blocksize", 1))))
}

fn exact(cx: &InferCx, size: &Dim, by: Dim) -> Result<Dim> {
    match size.exact_div(&by) {
        Some(d) => Ok(d),
        None if size.fixed().is_none() => Ok(size.floor_div(&by).unwrap_or(size.clone())),
        None => bad(format!(
            "size {} is no multiple of {}",
            size.text(cx.symbols),
            by.text(cx.symbols)
        )),
    }
}

fn lower_depth_to_space(cx: &mut LowerCx) -> Result<()> {
    let (s, out) = (cx.in_shape(0)?, cx.out_shape()?);
    let bs = cx.attrs.int("blocksize", 1);
    let block = Dim::Fixed(bs);
    let crd = cx.attrs.str("mode", "DCR") == "CRD";
    let [n, c, h, w] = [&s[0], &out[1], &s[2], &s[3]].map(Dim::clone);
    let (rows, columns) = (block.clone(), block.clone());
    let (from, perm) = match crd {
        true => ([n, c, rows, columns, h, w], [0, 1, 4, 2, 5, 3]),
        false => ([n, rows, columns, c, h, w], [0, 3, 4, 1, 5, 2]),
    };
    if turned_as(cx, &perm, &from)? {
        return Ok(());
    }
    let space = vec![
        s[0].clone(),
        out[1].clone(),
        s[2].clone(),
        block.clone(),
        s[3].clone(),
        block,
    ];
    cx.each(&space, LoopKind::Lanes, |cx, at| {
        let [n, c, h, i, w, j] = *at else {
            return Ok(());
        };
        let b = &mut cx.b;
        let (k, channels) = (b.i(bs), b.dim(&out[1]));
        let ij = b.mul(i, k);
        let ij = b.add(ij, j);
        let from = if crd {
            let kk = b.i(bs * bs);
            let t = b.mul(c, kk);
            b.add(t, ij)
        } else {
            let t = b.mul(ij, channels);
            b.add(t, c)
        };
        let (y, x) = (b.mul(h, k), b.mul(w, k));
        let (y, x) = (b.add(y, i), b.add(x, j));
        let v = cx.load(0, &[n, from, h, w])?;
        cx.store(0, &[n, c, y, x], v);
        Ok(())
    })
}

fn lower_space_to_depth(cx: &mut LowerCx) -> Result<()> {
    let (s, out) = (cx.in_shape(0)?, cx.out_shape()?);
    let bs = cx.attrs.int("blocksize", 1);
    let block = Dim::Fixed(bs);
    let [n, c, h, w] = [&s[0], &s[1], &out[2], &out[3]].map(Dim::clone);
    let from = [n, c, h, block.clone(), w, block.clone()];
    if turned_as(cx, &[0, 3, 5, 1, 2, 4], &from)? {
        return Ok(());
    }
    let space = vec![
        s[0].clone(),
        block.clone(),
        block,
        s[1].clone(),
        out[2].clone(),
        out[3].clone(),
    ];
    cx.each(&space, LoopKind::Lanes, |cx, at| {
        let [n, i, j, c, h, w] = *at else {
            return Ok(());
        };
        let b = &mut cx.b;
        let (k, channels) = (b.i(bs), b.dim(&s[1]));
        let to = b.mul(i, k);
        let to = b.add(to, j);
        let to = b.mul(to, channels);
        let to = b.add(to, c);
        let (y, x) = (b.mul(h, k), b.mul(w, k));
        let (y, x) = (b.add(y, i), b.add(x, j));
        let v = cx.load(0, &[n, c, y, x])?;
        cx.store(0, &[n, to, h, w], v);
        Ok(())
    })
}

/// Reverses the first `sequence_lens[batch]` steps of every sequence.
pub static REVERSE_SEQUENCE: OpDef = OpDef {
    name: "ReverseSequence",
    onnx: &[since("ReverseSequence", 10, |cx| {
        cx.keep_int("batch_axis", 1)?;
        cx.keep_int("time_axis", 0)
    })],
    inputs: (2, 2),
    infer: |cx| {
        accept(cx, 0, any)?;
        accept(cx, 1, index)?;
        let s = cx.shape(0)?;
        let (batch, time) = (cx.attrs.int("batch_axis", 1), cx.attrs.int("time_axis", 0));
        let axes = resolve_axes(&[batch, time], s.len())?;
        let lens = cx.shape(1)?;
        if lens.len() != 1 {
            return bad("`sequence_lens` must be a list");
        }
        unify(cx, &lens[0], &s[axes[0]])?;
        crate::op::same_as_first(cx)
    },
    lower: Lower::Loops(|cx| {
        let s = cx.in_shape(0)?;
        let (batch, time) = (cx.attrs.int("batch_axis", 1), cx.attrs.int("time_axis", 0));
        let axes = resolve_axes(&[batch, time], s.len())?;
        let (batch, time) = (axes[0], axes[1]);
        // The length is checked apart, so that the copying loop promises what it says.
        cx.each(&[s[batch].clone()], LoopKind::Seq, |cx, at| {
            let len = load_index(cx, 1, at)?;
            let (zero, t) = (cx.b.i(0), cx.b.dim(&s[time]));
            let (short, long) = (cx.b.lt(len, zero), cx.b.lt(t, len));
            let wrong = cx.b.or(short, long);
            cx.b.fail_if(wrong, DATA_OUT_OF_RANGE);
            Ok(())
        })?;
        map_output(cx, |cx, at| {
            let len = load_index(cx, 1, &[at[batch]])?;
            let inside = cx.b.lt(at[time], len);
            let back = cx.b.sub(len, at[time]);
            let one = cx.b.i(1);
            let back = cx.b.sub(back, one);
            let mut from = at.to_vec();
            from[time] = cx.b.select(inside, back, at[time]);
            cx.load(0, &from)
        })
    }),
    tails: true,
    ..BASE
};
