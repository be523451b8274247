//! Slice: every step-th element between start and end, axis by axis, by numpy's rules.
//!
//! Starts and ends may be constants, expressions of sizes, or values known only when the model runs; in the last case
//! the output's size is data-dependent, bounded by the input's.

use crate::base::diag::Result;
use crate::base::dim::{Dim, fixed_shape};
use crate::base::tensor::Tensor;
use crate::contracts::strides::{MOST, STEP};
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{Arg, ExprId, LoopKind};
use crate::op::{BASE, InferCx, Lower, OpDef, onnx, read_none};
use crate::ops::util::*;

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&SLICE];

/// Inputs: data, starts, ends, axes (optional), steps (optional).
pub static SLICE: OpDef = OpDef {
    name: "Slice",
    onnx: &[
        onnx("Slice", 1, 9, |cx| {
            let (Some(starts), Some(ends)) = (cx.ints("starts")?, cx.ints("ends")?) else {
                return bad("Slice without `starts` or `ends`");
            };
            cx.input(1, Tensor::i64(&[starts.len() as i64], &starts));
            cx.input(2, Tensor::i64(&[ends.len() as i64], &ends));
            if let Some(axes) = cx.ints("axes")? {
                cx.input(3, Tensor::i64(&[axes.len() as i64], &axes));
            }
            Ok(())
        }),
        since("Slice", 10, read_none),
    ],
    inputs: (3, 5),
    infer: infer_slice,
    lower: Lower::Loops(lower_slice),
    tails: true,
    ..BASE
};

/// Which axes are cut, and with which steps.
fn cuts(
    rank: usize,
    count: usize,
    axes: Option<Vec<i64>>,
    steps: Option<Vec<i64>>,
) -> Result<Vec<(usize, i64)>> {
    let axes = match axes {
        Some(a) => resolve_axes(&a, rank)?,
        None => (0..count).collect(),
    };
    let steps = steps.unwrap_or_else(|| vec![1; count]);
    if axes.len() != count || steps.len() != count || count > rank {
        return bad("starts, ends, axes and steps of Slice differ in length");
    }
    if steps.contains(&0) {
        return bad("a step of Slice is 0");
    }
    Ok(axes.into_iter().zip(steps).collect())
}

fn infer_slice(cx: &mut InferCx) -> Result<()> {
    let d = accept(cx, 0, any)?;
    accept(cx, 1, index)?;
    accept(cx, 2, index)?;
    let mut shape = cx.shape(0)?;
    let count = match cx.shape(1)?.as_slice() {
        [n] => n.fixed(),
        _ => None,
    };
    let Some(count) = count.filter(|&n| (0..=64).contains(&n)) else {
        return bad("`starts` of Slice must be a list of fixed length");
    };
    if cx.shape(2)? != [Dim::Fixed(count)] {
        return bad("starts and ends of Slice differ in length");
    }
    let axes = cx.opt(3).map(|_| cx.const_ints(3, "axes")).transpose()?;
    let steps = cx.opt(4).map(|_| cx.const_ints(4, "steps")).transpose()?;
    let cuts = cuts(shape.len(), count as usize, axes, steps)?;
    let (starts, ends) = (contents(cx, 1), contents(cx, 2));
    for (k, &(axis, step)) in cuts.iter().enumerate() {
        let size = shape[axis].clone();
        let known = match (&starts, &ends) {
            (Some(s), Some(e)) => length(cx, &size, &s[k], &e[k], step),
            // Only the end decides where nothing is cut off before it, and the other way round.
            _ => None,
        };
        shape[axis] = match known {
            Some(n) => n,
            None => {
                let hi = cx.max(&size).max(0);
                cx.data_size("slice", 0, hi)
            }
        };
    }
    let old = cx.shape(0)?;
    cx.out(0, d, shape);
    if let (Some(old), Some(all), Some(s), Some(e)) =
        (fixed_shape(&old), contents(cx, 0), starts, ends)
    {
        let dims = sliced(&old, &all, &cuts, &s, &e);
        cx.set_dims(0, dims);
    }
    Ok(())
}

/// What is left of known contents of a fixed shape, if every cut is known.
fn sliced(
    shape: &[i64],
    all: &[Dim],
    cuts: &[(usize, i64)],
    starts: &[Dim],
    ends: &[Dim],
) -> Option<Vec<Dim>> {
    let (mut shape, mut all) = (shape.to_vec(), all.to_vec());
    for ((&(axis, step), s), e) in cuts.iter().zip(starts).zip(ends) {
        let (first, len) = fixed_cut(shape[axis], s.fixed()?, e.fixed()?, step);
        let inner = shape[axis + 1..].iter().product::<i64>();
        let outer = shape[..axis].iter().product::<i64>();
        let mut left = vec![];
        for (o, i) in (0..outer).flat_map(|o| (0..len).map(move |i| (o, i))) {
            let at = (o * shape[axis] + first + i * step) * inner;
            left.extend_from_slice(all.get(at as usize..(at + inner) as usize)?);
        }
        (shape[axis], all) = (len, left);
    }
    Some(all)
}

/// First element and number of elements for numbers.
fn fixed_cut(n: i64, start: i64, end: i64, step: i64) -> (i64, i64) {
    let norm = |v: i64| if v < 0 { v.saturating_add(n) } else { v };
    let (lo, hi) = if step > 0 { (0, n) } else { (-1, n - 1) };
    let (s, e) = (norm(start).clamp(lo, hi.max(lo)), norm(end).clamp(lo, hi.max(lo)));
    let span = if step > 0 { e - s } else { s - e };
    let step = step.saturating_abs();
    (s, if span <= 0 { 0 } else { (span - 1) / step + 1 })
}

/// The number of elements, if it can be told.
fn length(cx: &InferCx, size: &Dim, start: &Dim, end: &Dim, step: i64) -> Option<Dim> {
    if let (Some(n), Some(s), Some(e)) = (size.fixed(), start.fixed(), end.fixed()) {
        return Some(Dim::Fixed(fixed_cut(n, s, e, step).1));
    }
    let (lo, hi) = if step > 0 {
        (Dim::Fixed(0), size.clone())
    } else {
        (Dim::Fixed(-1), size.clone() - Dim::Fixed(1))
    };
    let norm = |v: &Dim| -> Option<Dim> {
        let (a, b) = v.bounds(cx.symbols);
        // Huge numbers stand for the ends; they must not enter sums.
        let v = if a >= i64::from(i32::MAX) && step > 0 {
            return Some(hi.clone());
        } else if b <= i64::from(i32::MIN) + 1 {
            return Some(lo.clone());
        } else if a >= 0 {
            v.clone()
        } else if b < 0 {
            v.clone() + size.clone()
        } else {
            return None;
        };
        Some(dim_max(cx.symbols, &lo, &dim_min(cx.symbols, &v, &hi)))
    };
    let (s, e) = (norm(start)?, norm(end)?);
    let span = if step > 0 { e - s } else { s - e };
    let n = span.ceil_div(&Dim::Fixed(step.saturating_abs()))?;
    Some(dim_max(cx.symbols, &n, &Dim::Fixed(0)))
}

/// Element `k` of an integer input, as a constant where it is one.
fn element(cx: &mut LowerCx, i: usize, k: usize) -> Result<ExprId> {
    if let Some(v) = cx.input(i)?.konst.as_ref().and_then(|t| t.get_i64(k)) {
        return Ok(cx.b.i(v));
    }
    let at = cx.b.i(k as i64);
    let v = load_index(cx, i, &[at])?;
    Ok(cx.b.let_(v))
}

/// An axis, the first element that is left of it, the step, whether the start is a constant, and how long the axis was.
type Cut = (usize, ExprId, i64, bool, ExprId);

fn lower_slice(cx: &mut LowerCx) -> Result<()> {
    let (shape, out) = (cx.in_shape(0)?, cx.out_shape()?);
    let count = cx.in_shape(1)?.first().and_then(Dim::fixed).unwrap_or(0) as usize;
    let ints = |cx: &LowerCx, i: usize| -> Result<Option<Vec<i64>>> {
        match cx.opt(i) {
            None => Ok(None),
            Some(o) => match o.konst.as_ref().and_then(Tensor::to_i64s) {
                Some(v) => Ok(Some(v)),
                None => bad("axes and steps of Slice must be constants"),
            },
        }
    };
    let (axes, steps) = (ints(cx, 3)?, ints(cx, 4)?);
    let cuts = cuts(shape.len(), count, axes, steps)?;
    let mut begin: Vec<Cut> = vec![];
    for (k, &(axis, step)) in cuts.iter().enumerate() {
        let sizes = out[axis].clone();
        let (s, e) = (element(cx, 1, k)?, element(cx, 2, k)?);
        let constant = cx.b.as_i64(s).is_some();
        let n = cx.b.dim(&shape[axis]);
        let (zero, one) = (cx.b.i(0), cx.b.i(1));
        let (lo, hi) = if step > 0 {
            (zero, n)
        } else {
            (cx.b.i(-1), cx.b.sub(n, one))
        };
        let mut norm = |v: ExprId| {
            let b = &mut cx.b;
            let neg = b.lt(v, zero);
            let moved = b.add(v, n);
            let v = b.select(neg, moved, v);
            let v = b.min(v, hi);
            b.max(v, lo)
        };
        let (s, e) = (norm(s), norm(e));
        let s = cx.b.let_(s);
        if let Some(&sym) = cx.syms.iter().find(|&&y| Dim::sym(y) == sizes) {
            let span = if step > 0 {
                cx.b.sub(e, s)
            } else {
                cx.b.sub(s, e)
            };
            let size = step.saturating_abs();
            let by = cx.b.i(size);
            let some = cx.b.lt(zero, span);
            let len = cx.b.sub(span, one);
            let len = cx.b.div(len, by);
            let len = cx.b.add(len, one);
            let len = cx.b.select(some, len, zero);
            let len = cx.b.let_(len);
            cx.b.set_sym(sym, len);
        }
        begin.push((axis, s, step, constant, n));
    }
    let last = begin.iter().find(|c| c.0 + 1 == out.len());
    let constant = begin.iter().all(|c| c.3);
    if let Some(&(_, _, step, ..)) = last.filter(|_| constant)
        && strided(cx, &begin, step)?
    {
        return Ok(());
    }
    map_output(cx, |cx, at| {
        let mut from = at.to_vec();
        for &(axis, s, step, constant, n) in &begin {
            let b = &mut cx.b;
            let k = b.i(step);
            let t = b.mul(at[axis], k);
            let mut i = b.add(t, s);
            if !constant {
                // The size was told by shape arithmetic, the start is data: they agree, and if not, nothing outside is read.
                let (zero, one) = (b.i(0), b.i(1));
                let last = b.sub(n, one);
                i = b.min(i, last);
                i = b.max(i, zero);
            }
            from[axis] = i;
        }
        cx.load(0, &from)
    })
}

/// Columns at which a tile takes what one by one would take.
const COLUMNS: i64 = 16;

/// Bytes of each row that lie `step` apart are for a tile. `cuts`: axis, first element and step of each axis that is cut, the last one among them.
fn strided(cx: &mut LowerCx, cuts: &[Cut], step: i64) -> Result<bool> {
    let (x, shape) = (cx.in_shape(0)?, cx.out_shape()?);
    let bytes = cx.input(0)?.ty.dtype.size() == 1 && cx.store_hook.is_none();
    let Some((columns, outer)) = shape.split_last() else {
        return Ok(false);
    };
    let many = columns.fixed().is_none_or(|n| n >= COLUMNS);
    let fits = bytes && many && (2..=MOST).contains(&step);
    let tile = cx.machine.tile("byte_strides").filter(|_| fits);
    let (Some(tile), Some(out)) = (tile, cx.output(0).map(|o| o.buf)) else {
        return Ok(false);
    };
    let callee = tile.callee(vec![(STEP.to_string(), step)]);
    let input = cx.input(0)?.buf;
    cx.each(outer, LoopKind::Parallel, |cx, at| {
        let to = [at, &[cx.b.i(0)]].concat();
        let mut from = to.clone();
        for &(axis, s, step, ..) in cuts {
            from[axis] = ex!(cx.b; ({to[axis]} * {cx.b.i(step)}) + s);
        }
        let (from, to) = (cx.b.offset(&x, &from), cx.b.offset(&shape, &to));
        let ptr = |buf, offset| Arg::Ptr { buf, offset };
        let args = vec![ptr(input, from), ptr(out, to), Arg::Int(cx.b.dim(columns))];
        cx.b.call(callee, args);
        Ok(())
    })?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::attr::Attrs;
    use crate::base::dtype::DType::F32;
    use crate::ops::testing::*;

    fn slice(n: i64, s: i64, e: i64, step: i64, known: bool) -> Vec<f64> {
        let x: Vec<f32> = (0..n).map(|v| v as f32).collect();
        let one = |v| if known { konst(i64s(&[1], &[v])) } else { data(i64s(&[1], &[v])) };
        let (axes, step) = (konst(i64s(&[1], &[-1])), konst(i64s(&[1], &[step])));
        numbers(
            "Slice",
            13,
            &Attrs::default(),
            vec![data(f32s(&[n], &x)), one(s), one(e), axes, step],
        )
    }

    #[test]
    fn the_rules_are_numpys() {
        for known in [true, false] {
            assert_eq!(slice(5, 1, 4, 2, known), [1.0, 3.0]);
            assert_eq!(slice(5, -3, i64::MAX, 1, known), [2.0, 3.0, 4.0]);
            assert_eq!(slice(5, 4, i64::MIN, -2, known), [4.0, 2.0, 0.0]);
            assert_eq!(slice(5, 20, 0, -4, known), [4.0]);
            assert!(slice(5, 3, 1, 1, known).is_empty());
            assert!(slice(0, 0, 3, 1, known).is_empty());
        }
    }

    #[test]
    fn symbolic_sizes() {
        let cut = |s: i64, e: i64, step: i64| {
            symbolic_shape("Slice", 13, &Attrs::default(), |_, m| {
                let c = |v: i64| sizes(vec![Dim::Fixed(v)]);
                vec![typed(F32, vec![m]), c(s), c(e), c(0), c(step)]
            })
            .expect("a shape")
        };
        assert_eq!(cut(1, i64::MAX, 1), "f32[-1+M]");
        assert_eq!(cut(0, -1, 1), "f32[-1+M]");
        assert_eq!(cut(0, 2, 1), "f32[2]");
        assert_eq!(cut(-1, i64::MAX, 1), "f32[1]");
        assert_eq!(cut(-1, i64::MIN, -1), "f32[M]");
    }
}
