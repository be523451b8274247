//! Gather, GatherElements, GatherND: elements picked by indices.
//!
//! Indices count from the end where they are negative. One that is outside ends the run with a status, or is an error
//! where it is a constant.

use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::tensor::Tensor;
use crate::kernel::LowerCx;
use crate::loops::ir::LoopKind;
use crate::op::{BASE, InferCx, Lower, OpDef};
use crate::ops::util::*;

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&GATHER, &GATHER_ELEMENTS, &GATHER_ND];

/// `out[before, i, after] = data[before, indices[i], after]`.
pub static GATHER: OpDef = OpDef {
    name: "Gather",
    onnx: &[since("Gather", 1, read_axis0)],
    inputs: (2, 2),
    infer: infer_gather,
    lower: Lower::Loops(lower_gather),
    tails: true,
    ..BASE
};

fn infer_gather(cx: &mut InferCx) -> Result<()> {
    let d = accept(cx, 0, any)?;
    accept(cx, 1, index)?;
    let (s, i) = (cx.shape(0)?, cx.shape(1)?);
    let axis = cx.axis(cx.attrs.int("axis", 0), s.len())?;
    if let (Some(n), Some(v)) = (s[axis].fixed(), cx.input(1)?.konst.as_ref()) {
        check_indices(v, n)?;
    }
    let dims = match (s.len(), contents(cx, 0), cx.input(1)?.konst.as_ref()) {
        (1, Some(all), Some(at)) => at.to_i64s().and_then(|at| {
            at.into_iter()
                .map(|i| {
                    let i = if i < 0 { i + all.len() as i64 } else { i };
                    all.get(usize::try_from(i).ok()?).cloned()
                })
                .collect()
        }),
        _ => None,
    };
    let out = [&s[..axis], &i, &s[axis + 1..]].concat();
    cx.out(0, d, out);
    cx.set_dims(0, dims);
    Ok(())
}

fn check_indices(v: &Tensor, n: i64) -> Result<()> {
    let wrong = (0..v.len())
        .filter_map(|k| v.get_i64(k))
        .find(|&i| i < -n || i >= n);
    match wrong {
        Some(i) => bad(format!("index {i} is outside an axis of size {n}")),
        None => Ok(()),
    }
}

fn lower_gather(cx: &mut LowerCx) -> Result<()> {
    let (s, i) = (cx.in_shape(0)?, cx.in_shape(1)?);
    let axis = crate::op::resolve_axis(cx.attrs.int("axis", 0), s.len())?;
    let known = match (&cx.input(1)?.konst, s[axis].fixed()) {
        (Some(t), Some(n)) if t.len() == 1 => t
            .get_i64(0)
            .map(|i| if i < 0 { i + n } else { i }),
        _ => None,
    };
    let outer: Vec<Dim> = [&s[..axis], &i].concat();
    let rest = s[axis + 1..].to_vec();
    cx.each(&outer, LoopKind::Seq, |cx, at| {
        let (before, own) = at.split_at(axis);
        let pick = match known {
            Some(k) => cx.b.i(k),
            None => {
                let v = load_index(cx, 1, own)?;
                checked_index(cx, v, &s[axis])
            }
        };
        cx.each(&rest, LoopKind::Lanes, |cx, after| {
            let from = [before, &[pick], after].concat();
            let v = cx.load(0, &from)?;
            cx.store(0, &[at, after].concat(), v);
            Ok(())
        })
    })
}

/// `out[i] = data[i with indices[i] in place of its axis]`.
pub static GATHER_ELEMENTS: OpDef = OpDef {
    name: "GatherElements",
    onnx: &[since("GatherElements", 11, read_axis0)],
    inputs: (2, 2),
    infer: |cx| {
        let d = accept(cx, 0, any)?;
        accept(cx, 1, index)?;
        let (s, i) = (cx.shape(0)?, cx.shape(1)?);
        let axis = cx.axis(cx.attrs.int("axis", 0), s.len())?;
        element_shapes(cx, &s, &i, axis)?;
        cx.out(0, d, i);
        Ok(())
    },
    lower: Lower::Loops(|cx| {
        let (s, i) = (cx.in_shape(0)?, cx.in_shape(1)?);
        let axis = crate::op::resolve_axis(cx.attrs.int("axis", 0), s.len())?;
        guard_shapes(cx, &s, &i, axis);
        cx.each(&i, LoopKind::Seq, |cx, at| {
            let v = load_index(cx, 1, at)?;
            let mut from = at.to_vec();
            from[axis] = checked_index(cx, v, &s[axis]);
            let v = cx.load(0, &from)?;
            cx.store(0, at, v);
            Ok(())
        })
    }),
    tails: true,
    ..BASE
};

/// Indices lie within the data in every axis but `axis`.
pub fn element_shapes(cx: &InferCx, data: &[Dim], indices: &[Dim], axis: usize) -> Result<()> {
    if data.len() != indices.len() {
        return bad("data and indices have different numbers of axes");
    }
    for k in (0..data.len()).filter(|&k| k != axis) {
        if dim_lt(cx, &data[k], &indices[k]) == Some(true) {
            return bad(format!("axis {k} of the indices is longer than the data's"));
        }
    }
    Ok(())
}

/// The same at run time, where sizes are symbolic.
pub fn guard_shapes(cx: &mut LowerCx, data: &[Dim], indices: &[Dim], axis: usize) {
    for k in (0..data.len()).filter(|&k| k != axis && data[k] != indices[k]) {
        let (d, i) = (cx.b.dim(&data[k]), cx.b.dim(&indices[k]));
        let longer = cx.b.lt(d, i);
        cx.b.fail_if(longer, DATA_OUT_OF_RANGE);
    }
}

/// The last axis of the indices names a place in the data's axes behind the first `batch_dims`.
pub static GATHER_ND: OpDef = OpDef {
    name: "GatherND",
    onnx: &[since("GatherND", 11, |cx| cx.keep_int("batch_dims", 0))],
    inputs: (2, 2),
    infer: |cx| {
        let d = accept(cx, 0, any)?;
        accept(cx, 1, index)?;
        let (s, i) = (cx.shape(0)?, cx.shape(1)?);
        let batch = cx.attrs.int("batch_dims", 0);
        let Some((last, lead)) = i.split_last() else {
            return bad("the indices of GatherND need an axis");
        };
        let Some(k) = last.fixed() else {
            return bad("the last axis of the indices of GatherND must be fixed");
        };
        if batch < 0 || batch as usize > lead.len() || batch + k > s.len() as i64 || k < 1 {
            return bad("`batch_dims` and the indices do not fit the data");
        }
        for (a, b) in s.iter().zip(lead).take(batch as usize) {
            unify(cx, a, b)?;
        }
        let out = [lead, &s[(batch + k) as usize..]].concat();
        cx.out(0, d, out);
        Ok(())
    },
    lower: Lower::Loops(lower_gather_nd),
    tails: true,
    ..BASE
};

fn lower_gather_nd(cx: &mut LowerCx) -> Result<()> {
    let (s, i) = (cx.in_shape(0)?, cx.in_shape(1)?);
    let batch = cx.attrs.int("batch_dims", 0).max(0) as usize;
    let (lead, k) = match i.split_last() {
        Some((k, lead)) => (lead.to_vec(), k.fixed().unwrap_or(0) as usize),
        None => return bad("the indices of GatherND need an axis"),
    };
    guard_shapes(cx, &s[..batch], &lead[..batch], batch);
    let rest = s[batch + k..].to_vec();
    cx.each(&lead, LoopKind::Seq, |cx, at| {
        let mut from = at[..batch].to_vec();
        for n in 0..k {
            let last = cx.b.i(n as i64);
            let v = load_index(cx, 1, &[at, &[last]].concat())?;
            from.push(checked_index(cx, v, &s[batch + n]));
        }
        cx.each(&rest, LoopKind::Lanes, |cx, after| {
            let v = cx.load(0, &[&from, after].concat())?;
            cx.store(0, &[at, after].concat(), v);
            Ok(())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::attr::Attrs;
    use crate::ops::testing::*;

    #[test]
    fn indices_from_data_are_checked() {
        let x = || data(f32s(&[3], &[1.0, 2.0, 3.0]));
        let none = Attrs::default();
        for name in ["Gather", "GatherElements"] {
            let at = |v: &[i64]| data(i64s(&[v.len() as i64], v));
            assert_eq!(numbers(name, 13, &none, vec![x(), at(&[-1, 0])]), [3.0, 1.0]);
            for wrong in [3, -4, i64::MIN, i64::MAX] {
                let s = status(name, 13, &none, vec![x(), at(&[wrong])]);
                assert_eq!(s, Some(DATA_OUT_OF_RANGE));
            }
        }
        let s = status("GatherND", 13, &none, vec![x(), data(i64s(&[1, 1], &[3]))]);
        assert_eq!(s, Some(DATA_OUT_OF_RANGE));
        let r = refused("Gather", 13, &none, vec![x(), konst(i64s(&[1], &[5]))]);
        assert_eq!(r, Some("ONNX009"));
    }
}
