//! Pad and CenterCropPad: axes made longer or shorter at their ends.

use crate::base::attr::Attr;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::tensor::Tensor;
use crate::kernel::LowerCx;
use crate::loops::ir::{ExprId, LoopKind, Ty};
use crate::op::{BASE, InferCx, Lower, OpDef, ReadCx, onnx};
use crate::ops::util::*;

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&PAD, &CENTER_CROP_PAD];

/// Inputs: data, pads, value (optional), axes (optional). Negative pads cut off.
pub static PAD: OpDef = OpDef {
    name: "Pad",
    onnx: &[
        onnx("Pad", 2, 10, |cx| {
            let Some(pads) = cx.ints("pads")? else {
                return bad("Pad without `pads`");
            };
            cx.input(1, Tensor::i64(&[pads.len() as i64], &pads));
            cx.keep_float("value", 0.0)?;
            read_mode(cx)
        }),
        since("Pad", 11, read_mode),
    ],
    inputs: (2, 4),
    infer: infer_pad,
    lower: Lower::Loops(lower_pad),
    tails: true,
    ..BASE
};

fn read_mode(cx: &mut ReadCx) -> Result<()> {
    let mode = cx.str("mode", "constant")?;
    if !matches!(mode.as_str(), "constant" | "reflect" | "edge" | "wrap") {
        return bad(format!("`mode` = {mode:?} of Pad"));
    }
    cx.set("mode", Attr::Str(mode));
    Ok(())
}

/// The axes that are padded.
fn axes(konst: Option<Option<Vec<i64>>>, rank: usize) -> Result<Vec<usize>> {
    match konst {
        None => Ok((0..rank).collect()),
        Some(Some(a)) => resolve_axes(&a, rank),
        Some(None) => Err(Diagnostic::unsupported(
            "ONNX012",
            "the axes of Pad must be constants",
        )),
    }
}

fn infer_pad(cx: &mut InferCx) -> Result<()> {
    let d = accept(cx, 0, any)?;
    let mut shape = cx.shape(0)?;
    if cx.opt(2).is_some() {
        if cx.dtype(2)? != d {
            return Err(mismatch(d, cx.dtype(2)?));
        }
        if !cx.input(2)?.ty.elements().is(1) {
            return bad("the value of Pad must be one number");
        }
    }
    let named = cx.opt(3).map(|_| cx.const_ints(3, "axes")).transpose()?;
    let axes = axes(named.map(Some), shape.len())?;
    let pads = known_dims(cx, 1, "pads")?;
    if pads.len() != 2 * axes.len() {
        return bad(format!(
            "`pads` has {} numbers for {} axes",
            pads.len(),
            axes.len()
        ));
    }
    let fill = cx.attrs.str("mode", "constant") == "constant";
    for (k, &axis) in axes.iter().enumerate() {
        let (before, after) = (&pads[k], &pads[k + axes.len()]);
        let size = before.clone() + shape[axis].clone() + after.clone();
        check_size(cx, &size, "a padded size")?;
        let negative = [before, after]
            .iter()
            .any(|p| p.bounds(cx.symbols).0 < 0);
        if !fill && negative {
            return Err(Diagnostic::unsupported(
                "ONNX008",
                "negative pads with a mode other than constant",
            ));
        }
        if !fill && shape[axis].is(0) && !size.is(0) {
            return bad("an empty axis can only be padded with a constant");
        }
        shape[axis] = size;
    }
    cx.out(0, d, shape);
    Ok(())
}

fn lower_pad(cx: &mut LowerCx) -> Result<()> {
    let shape = cx.in_shape(0)?;
    let named = cx
        .opt(3)
        .map(|o| o.konst.as_ref().and_then(Tensor::to_i64s));
    let axes = axes(named, shape.len())?;
    let mode = cx.attrs.str("mode", "constant");
    let ty = cx.in_ty(0)?;
    let fill = if cx.opt(2).is_some() {
        let zero = cx.b.i(0);
        match cx.input(2)?.konst.clone() {
            Some(t) => match scalar(&mut cx.b, &t) {
                Some(v) => v,
                None => cx.load_flat(2, zero)?,
            },
            None => {
                let v = cx.load_flat(2, zero)?;
                cx.b.let_(v)
            }
        }
    } else {
        cx.b.num(ty, cx.attrs.float("value", 0.0) as f64)
    };
    let mut before = vec![];
    for k in 0..axes.len() {
        let konst = cx.input(1)?.konst.as_ref().and_then(|t| t.get_i64(k));
        before.push(match konst {
            Some(v) => cx.b.i(v),
            None => {
                let at = cx.b.i(k as i64);
                let v = load_index(cx, 1, &[at])?;
                cx.b.let_(v)
            }
        });
    }
    let out = cx.out_shape()?;
    let parts = parts(cx, &axes, &before, &shape, &out);
    for part in &parts {
        map_part(cx, part, &mut |cx, at, behind| {
            if part.side == Side::Outside && mode == "constant" {
                return Ok(fill);
            }
            let mut from = at.to_vec();
            let mut inside = cx.b.bool(true);
            for (&axis, &p) in axes.iter().zip(&before) {
                if cx.b.as_i64(p) == Some(0) && out[axis] == shape[axis] {
                    continue;
                }
                if part.side == Side::Inside && axis + 1 == out.len() {
                    let begin = part.start - cx.b.as_i64(p).unwrap_or(0);
                    let begin = cx.b.i(begin);
                    from[axis] = cx.b.add(behind, begin);
                    continue;
                }
                let n = cx.b.dim(&shape[axis]);
                let i = cx.b.sub(at[axis], p);
                from[axis] = source(cx, mode, i, n);
                // After `source` an index is outside only in constant mode, or where the axis is empty.
                if mode == "constant" || shape[axis].fixed().is_none() {
                    let zero = cx.b.i(0);
                    let ok = cx.b.in_range(from[axis], zero, n);
                    inside = cx.b.and(inside, ok);
                }
            }
            cx.load_if(0, inside, &from, fill)
        })?;
    }
    Ok(())
}

/// Some positions of the last axis of the output.
struct Part {
    start: i64,
    len: Dim,
    side: Side,
}

/// Whether positions of the last axis are those of the input, what was added to it, or may be either.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Inside,
    Outside,
    Either,
}

/// The last axis cut where the input begins and ends, if that is known and it is worth loops of their own: most elements need no question then.
fn parts(
    cx: &LowerCx,
    axes: &[usize],
    before: &[ExprId],
    shape: &[Dim],
    out: &[Dim],
) -> Vec<Part> {
    const LEAST: i64 = 8;
    let all = |len: Dim| {
        vec![Part {
            start: 0,
            len,
            side: Side::Either,
        }]
    };
    let (Some(last), Some(n)) = (out.last(), shape.last()) else {
        return all(Dim::Fixed(1));
    };
    let pad = axes.iter().position(|a| a + 1 == out.len());
    let pad = pad.and_then(|k| cx.b.as_i64(before[k]));
    let (Some(p), Some(n), Some(total)) = (pad, n.fixed(), last.fixed()) else {
        return all(last.clone());
    };
    let (from, to) = (p.clamp(0, total), p.saturating_add(n).clamp(0, total));
    if cx.effort.optimize_for_size() || to - from < LEAST || to - from == total {
        return all(last.clone());
    }
    [
        (0, from, Side::Outside),
        (from, to, Side::Inside),
        (to, total, Side::Outside),
    ]
        .into_iter()
        .filter(|(a, b, _)| a < b)
        .map(|(start, end, side)| Part {
            start,
            len: Dim::Fixed(end - start),
            side,
        })
        .collect()
}

/// Output 0 at the positions of a part is what `f` gives for the index and for the position behind the start of the part.
fn map_part(
    cx: &mut LowerCx,
    part: &Part,
    f: &mut dyn FnMut(&mut LowerCx, &[ExprId], ExprId) -> Result<ExprId>,
) -> Result<()> {
    let mut shape = cx.out_shape()?;
    if let Some(last) = shape.last_mut() {
        *last = part.len.clone();
    }
    cx.each(&shape, LoopKind::Lanes, |cx, at| {
        let mut at = at.to_vec();
        let mut behind = cx.b.i(0);
        if let Some(last) = at.last_mut() {
            let start = cx.b.i(part.start);
            behind = std::mem::replace(last, cx.b.add(*last, start));
        }
        let v = f(cx, &at, behind)?;
        cx.store(0, &at, v);
        Ok(())
    })
}

/// The element that stands at position `i` of an axis of `n` elements continued in both directions.
fn source(cx: &mut LowerCx, mode: &str, i: ExprId, n: ExprId) -> ExprId {
    let b = &mut cx.b;
    let (zero, one) = (b.i(0), b.i(1));
    match mode {
        "edge" => {
            let last = b.sub(n, one);
            b.clamp(i, zero, last)
        }
        "wrap" => b.floor_mod(i, n),
        "reflect" => {
            let last = b.sub(n, one);
            let two = b.i(2);
            let period = b.mul(last, two);
            // One element repeats itself: a period of 0 would divide by 0.
            let period = b.max(period, one);
            let m = b.floor_mod(i, period);
            let back = b.sub(period, m);
            let fore = b.le(m, last);
            let s = b.select(fore, m, back);
            b.min(s, last)
        }
        _ => i,
    }
}

/// Cut or filled with zeros around the middle, to the sizes in the second input.
pub static CENTER_CROP_PAD: OpDef = OpDef {
    name: "CenterCropPad",
    onnx: &[since("CenterCropPad", 18, |cx| cx.keep_ints("axes"))],
    inputs: (2, 2),
    infer: |cx| {
        let d = accept(cx, 0, any)?;
        let mut shape = cx.shape(0)?;
        let axes = axes(cx.attrs.ints("axes").map(|a| Some(a.to_vec())), shape.len())?;
        let sizes = known_dims(cx, 1, "shape")?;
        if sizes.len() != axes.len() {
            return bad("as many sizes as axes are needed");
        }
        for (&axis, size) in axes.iter().zip(sizes) {
            check_size(cx, &size, "a size of `shape`")?;
            shape[axis] = size;
        }
        cx.out(0, d, shape);
        Ok(())
    },
    lower: Lower::Loops(|cx| {
        let (shape, out) = (cx.in_shape(0)?, cx.out_shape()?);
        let zero_value = cx.b.num(cx.in_ty(0)?, 0.0);
        map_output(cx, |cx, at| {
            let mut from = at.to_vec();
            let mut inside = cx.b.bool(true);
            for axis in 0..shape.len() {
                if shape[axis] == out[axis] {
                    continue;
                }
                let b = &mut cx.b;
                let (n, m) = (b.dim(&shape[axis]), b.dim(&out[axis]));
                let (zero, two) = (b.i(0), b.i(2));
                // Half of the difference, rounded towards 0 in both directions.
                let diff = b.sub(n, m);
                let shift = b.div(diff, two);
                from[axis] = b.add(at[axis], shift);
                let ok = b.in_range(from[axis], zero, n);
                inside = b.and(inside, ok);
            }
            cx.load_if(0, inside, &from, zero_value)
        })
    }),
    tails: true,
    ..BASE
};

/// The one element of a constant, as a constant of its computing type.
pub fn scalar(b: &mut crate::loops::build::Builder, t: &Tensor) -> Option<ExprId> {
    if t.len() != 1 {
        return None;
    }
    let ty = Ty::of(t.dtype);
    if t.dtype.is_small_float() {
        return Some(b.int(ty, i64::from(*t.data.first()?)));
    }
    Some(match ty {
        Ty::F32 | Ty::F64 => b.num(ty, t.get_f64(0)?),
        _ => b.int(ty, t.get_i64(0)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::*;

    #[test]
    fn modes_continue_the_axis() {
        let pad = |mode: &str, pads: [i64; 2]| {
            let a = attrs([("mode", Attr::Str(mode.into()))]);
            let x = data(f32s(&[3], &[1.0, 2.0, 3.0]));
            numbers("Pad", 19, &a, vec![x, konst(i64s(&[2], &pads))])
        };
        assert_eq!(pad("constant", [1, 2]), [0.0, 1.0, 2.0, 3.0, 0.0, 0.0]);
        assert_eq!(pad("constant", [-1, 1]), [2.0, 3.0, 0.0]);
        assert_eq!(pad("edge", [2, 1]), [1.0, 1.0, 1.0, 2.0, 3.0, 3.0]);
        // numpy.pad([1, 2, 3], (5, 3), "reflect") and "wrap".
        assert_eq!(pad("reflect", [5, 3]), [2.0, 1.0, 2.0, 3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0, 2.0]);
        assert_eq!(pad("wrap", [2, 4]), [2.0, 3.0, 1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 1.0]);
    }
}
