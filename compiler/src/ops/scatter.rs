//! ScatterElements, ScatterND, Scatter, TensorScatter: a copy of the data with elements replaced or combined.
//!
//! Updates are applied one after another, so the last one wins where indices repeat. An index that is outside ends the
//! run with a status.

use crate::base::attr::Attr;
use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::kernel::{LowerCx, wrap};
use crate::loops::ir::{ExprId, LoopKind};
use crate::op::{BASE, InferCx, Lower, OpDef, ReadCx, onnx};
use crate::ops::gather::{element_shapes, guard_shapes};
use crate::ops::util::*;

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&SCATTER_ELEMENTS, &SCATTER_ND, &TENSOR_SCATTER];

/// `out[i with indices[i] in place of its axis] = updates[i]`.
pub static SCATTER_ELEMENTS: OpDef = OpDef {
    name: "ScatterElements",
    onnx: &[
        // Scatter is the older name of the same operator.
        onnx("Scatter", 9, 10, read_elements),
        since("Scatter", 11, read_elements),
        since("ScatterElements", 11, read_elements),
    ],
    inputs: (3, 3),
    infer: |cx| {
        infer_scatter(cx)?;
        let (s, i, u) = (cx.shape(0)?, cx.shape(1)?, cx.shape(2)?);
        let axis = cx.axis(cx.attrs.int("axis", 0), s.len())?;
        element_shapes(cx, &s, &i, axis)?;
        if i.len() != u.len() {
            return bad("indices and updates have different shapes");
        }
        for (a, b) in i.iter().zip(&u) {
            unify(cx, a, b)?;
        }
        Ok(())
    },
    lower: Lower::Loops(lower_elements),
    ..BASE
};

fn read_elements(cx: &mut ReadCx) -> Result<()> {
    cx.keep_int("axis", 0)?;
    read_reduction(cx)
}

fn read_reduction(cx: &mut ReadCx) -> Result<()> {
    let r = cx.str("reduction", "none")?;
    if !matches!(r.as_str(), "none" | "add" | "mul" | "max" | "min") {
        return bad(format!("`reduction` = {r:?}"));
    }
    cx.set("reduction", Attr::Str(r));
    Ok(())
}

fn infer_scatter(cx: &mut InferCx) -> Result<()> {
    let ok = if cx.attrs.str("reduction", "none") == "none" {
        any
    } else {
        number
    };
    let d = accept(cx, 0, ok)?;
    accept(cx, 1, index)?;
    if cx.dtype(2)? != d {
        return Err(mismatch(d, cx.dtype(2)?));
    }
    crate::op::same_as_first(cx)
}

/// Output 0 is input 0.
fn copy(cx: &mut LowerCx) -> Result<()> {
    let n = cx.input(0)?.ty.elements();
    let n = cx.b.dim(&n);
    cx.for_(n, LoopKind::Lanes, |cx, i| {
        let v = cx.load_flat(0, i)?;
        cx.store_flat(0, i, v);
        Ok(())
    })
}

/// Puts `v` at `at` of the output, combined with what is there.
fn put(cx: &mut LowerCx, d: DType, at: &[ExprId], v: ExprId) {
    let how = cx.attrs.str("reduction", "none");
    let Some((buf, shape)) = cx.output(0).map(|o| (o.buf, o.ty.shape.clone())) else {
        return;
    };
    let at = cx.b.offset(&shape, at);
    if how == "none" {
        return cx.b.store(buf, at, v);
    }
    let old = cx.b.load(buf, at);
    let b = &mut cx.b;
    let new = match how {
        "add" => b.add(old, v),
        "mul" => b.mul(old, v),
        "max" => larger(b, d, old, v),
        _ => smaller(b, d, old, v),
    };
    let new = wrap(b, d, new);
    cx.b.store(buf, at, new);
}

fn lower_elements(cx: &mut LowerCx) -> Result<()> {
    copy(cx)?;
    let (d, s, i) = (cx.input(0)?.ty.dtype, cx.in_shape(0)?, cx.in_shape(1)?);
    let axis = crate::op::resolve_axis(cx.attrs.int("axis", 0), s.len())?;
    guard_shapes(cx, &s, &i, axis);
    let u = cx.in_shape(2)?;
    guard_shapes(cx, &u, &i, usize::MAX);
    cx.each(&i, LoopKind::Seq, |cx, at| {
        let v = load_index(cx, 1, at)?;
        let mut to = at.to_vec();
        to[axis] = checked_index(cx, v, &s[axis]);
        let v = cx.load(2, at)?;
        put(cx, d, &to, v);
        Ok(())
    })
}

/// The last axis of the indices names places in the data's leading axes; updates are what goes there.
pub static SCATTER_ND: OpDef = OpDef {
    name: "ScatterND",
    onnx: &[since("ScatterND", 11, read_reduction)],
    inputs: (3, 3),
    infer: |cx| {
        infer_scatter(cx)?;
        let (s, i, u) = (cx.shape(0)?, cx.shape(1)?, cx.shape(2)?);
        let Some((last, lead)) = i.split_last() else {
            return bad("the indices of ScatterND need an axis");
        };
        let Some(k) = last.fixed().filter(|&k| k >= 0 && k <= s.len() as i64) else {
            return bad("the last axis of the indices does not fit the data");
        };
        let want = [lead, &s[k as usize..]].concat();
        if want.len() != u.len() {
            return bad("the updates of ScatterND do not fit");
        }
        for (a, b) in want.iter().zip(&u) {
            unify(cx, a, b)?;
        }
        Ok(())
    },
    lower: Lower::Loops(lower_scatter_nd),
    ..BASE
};

fn lower_scatter_nd(cx: &mut LowerCx) -> Result<()> {
    copy(cx)?;
    let (d, s, i) = (cx.input(0)?.ty.dtype, cx.in_shape(0)?, cx.in_shape(1)?);
    let Some((k, lead)) = i.split_last() else {
        return bad("the indices of ScatterND need an axis");
    };
    let k = k.fixed().unwrap_or(0) as usize;
    let rest = s[k..].to_vec();
    let u = cx.in_shape(2)?;
    guard_shapes(cx, &u, &[lead, &rest].concat(), usize::MAX);
    cx.each(lead, LoopKind::Seq, |cx, at| {
        let mut to = vec![];
        for (n, size) in s[..k].iter().enumerate() {
            let last = cx.b.i(n as i64);
            let v = load_index(cx, 1, &[at, &[last]].concat())?;
            to.push(checked_index(cx, v, size));
        }
        // Places of one update are apart from each other.
        cx.each(&rest, LoopKind::Lanes, |cx, after| {
            let v = cx.load(2, &[at, after].concat())?;
            put(cx, d, &[&to, after].concat(), v);
            Ok(())
        })
    })
}

/// A cache update: `update` is written into `past_cache` along `axis` from a position per batch on.
pub static TENSOR_SCATTER: OpDef = OpDef {
    name: "TensorScatter",
    onnx: &[since("TensorScatter", 24, |cx| {
        cx.keep_int("axis", -2)?;
        let mode = cx.str("mode", "linear")?;
        if !matches!(mode.as_str(), "linear" | "circular") {
            return bad(format!("`mode` = {mode:?} of TensorScatter"));
        }
        cx.set("mode", Attr::Str(mode));
        Ok(())
    })],
    inputs: (2, 3),
    infer: |cx| {
        let d = accept(cx, 0, any)?;
        if cx.dtype(1)? != d {
            return Err(mismatch(d, cx.dtype(1)?));
        }
        let (s, u) = (cx.shape(0)?, cx.shape(1)?);
        let axis = cx.axis(cx.attrs.int("axis", -2), s.len())?;
        if axis == 0 || s.len() != u.len() {
            return bad("cache and update do not fit");
        }
        for k in (0..s.len()).filter(|&k| k != axis) {
            unify(cx, &s[k], &u[k])?;
        }
        if dim_lt(cx, &s[axis], &u[axis]) == Some(true) {
            return bad("the update is longer than the cache");
        }
        if cx.opt(2).is_some() {
            accept(cx, 2, index)?;
            let w = cx.shape(2)?;
            if w.len() != 1 {
                return bad("`write_indices` must be a list");
            }
            unify(cx, &w[0], &s[0])?;
        }
        crate::op::same_as_first(cx)
    },
    lower: Lower::Loops(lower_tensor_scatter),
    ..BASE
};

fn lower_tensor_scatter(cx: &mut LowerCx) -> Result<()> {
    copy(cx)?;
    let (d, s, u) = (cx.input(0)?.ty.dtype, cx.in_shape(0)?, cx.in_shape(1)?);
    let axis = crate::op::resolve_axis(cx.attrs.int("axis", -2), s.len())?;
    let circular = cx.attrs.str("mode", "linear") == "circular";
    guard_shapes(cx, &s, &u, usize::MAX);
    cx.each(&u[..=axis], LoopKind::Seq, |cx, at| {
        let start = match cx.opt(2) {
            Some(_) => load_index(cx, 2, &at[..1])?,
            None => cx.b.i(0),
        };
        let n = cx.b.dim(&s[axis]);
        let zero = cx.b.i(0);
        let place = cx.b.add(start, at[axis]);
        let place = if circular {
            cx.b.floor_mod(place, n)
        } else {
            place
        };
        let inside = cx.b.in_range(place, zero, n);
        let outside = cx.b.un(crate::loops::ir::UnOp::Not, inside);
        cx.b.fail_if(outside, DATA_OUT_OF_RANGE);
        let place = cx.b.select(inside, place, zero);
        let place = cx.b.let_(place);
        let mut to = at.to_vec();
        to[axis] = place;
        cx.each(&u[axis + 1..], LoopKind::Lanes, |cx, after| {
            let v = cx.load(1, &[at, after].concat())?;
            put(cx, d, &[&to, after].concat(), v);
            Ok(())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::*;

    #[test]
    fn updates_combine_in_order() {
        let run = |how: &str| {
            let a = attrs([("reduction", Attr::Str(how.into()))]);
            let x = data(f32s(&[3], &[1.0, 2.0, 3.0]));
            let (i, u) = (data(i64s(&[3], &[1, -2, 0])), data(f32s(&[3], &[5.0, 4.0, 0.0])));
            numbers("ScatterElements", 18, &a, vec![x, i, u])
        };
        assert_eq!(run("none"), [0.0, 4.0, 3.0]);
        assert_eq!(run("add"), [1.0, 11.0, 3.0]);
        assert_eq!(run("mul"), [0.0, 40.0, 3.0]);
        assert_eq!(run("max"), [1.0, 5.0, 3.0]);
        assert_eq!(run("min"), [0.0, 2.0, 3.0]);
    }

    #[test]
    fn places_outside_end_the_run() {
        let a = attrs([]);
        let x = || data(f32s(&[3], &[1.0, 2.0, 3.0]));
        let u = || data(f32s(&[1], &[5.0]));
        let s = status("ScatterElements", 18, &a, vec![x(), data(i64s(&[1], &[3])), u()]);
        assert_eq!(s, Some(DATA_OUT_OF_RANGE));
        let s = status("ScatterND", 18, &a, vec![x(), data(i64s(&[1, 1], &[-4])), u()]);
        assert_eq!(s, Some(DATA_OUT_OF_RANGE));
    }
}
