//! Concat and Split.

use crate::base::attr::Attr;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::tensor::Tensor;
use crate::kernel::LowerCx;
use crate::loops::ir::LoopKind;
use crate::op::{BASE, InferCx, Lower, OpDef, ReadCx, onnx};
use crate::ops::util::*;

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&CONCAT, &SPLIT];

/// Inputs one behind the other along `axis`.
pub static CONCAT: OpDef = OpDef {
    name: "Concat",
    onnx: &[since("Concat", 4, |cx| match cx.opt_int("axis")? {
        Some(axis) => {
            cx.set("axis", Attr::Int(axis));
            Ok(())
        }
        None => bad("Concat without `axis`"),
    })],
    inputs: (1, usize::MAX),
    infer: infer_concat,
    lower: Lower::Loops(lower_concat),
    tails: true,
    ..BASE
};

fn infer_concat(cx: &mut InferCx) -> Result<()> {
    let d = accept_same(cx, 0, any)?;
    let mut shape = cx.shape(0)?;
    let axis = cx.axis(cx.attrs.int("axis", 0), shape.len())?;
    for i in 1..cx.inputs.len() {
        let s = cx.shape(i)?;
        if s.len() != shape.len() {
            return Err(Diagnostic::model(
                "ONNX010",
                "the inputs of Concat have different numbers of axes",
            ));
        }
        for (k, (a, b)) in shape.iter_mut().zip(&s).enumerate() {
            *a = if k == axis {
                a.clone() + b.clone()
            } else {
                unify(cx, a, b)?
            };
        }
    }
    let dims = if shape.len() == 1 {
        (0..cx.inputs.len())
            .map(|i| contents(cx, i))
            .collect::<Option<Vec<_>>>()
            .map(|v| v.concat())
    } else {
        None
    };
    cx.out(0, d, shape);
    cx.set_dims(0, dims);
    Ok(())
}

fn lower_concat(cx: &mut LowerCx) -> Result<()> {
    let rank = cx.out_shape()?.len();
    let axis = crate::op::resolve_axis(cx.attrs.int("axis", 0), rank)?;
    let mut start = Dim::Fixed(0);
    for i in 0..cx.inputs.len() {
        let shape = cx.in_shape(i)?;
        if shape[axis].is(0) {
            continue;
        }
        let offset = cx.b.dim(&start);
        cx.each(&shape, LoopKind::Lanes, |cx, at| {
            let v = cx.load(i, at)?;
            let mut to = at.to_vec();
            to[axis] = cx.b.add(at[axis], offset);
            cx.store(0, &to, v);
            Ok(())
        })?;
        start = start + shape[axis].clone();
    }
    Ok(())
}

/// Parts along `axis`: of given sizes, or equal ones, the last one smaller from opset 18 on.
pub static SPLIT: OpDef = OpDef {
    name: "Split",
    onnx: &[
        onnx("Split", 2, 12, |cx| {
            if let Some(s) = cx.ints("split")? {
                cx.input(1, Tensor::i64(&[s.len() as i64], &s));
            }
            read_split(cx)
        }),
        onnx("Split", 13, 17, read_split),
        since("Split", 18, |cx| {
            if let Some(n) = cx.opt_int("num_outputs")? {
                if cx.has_input(1) {
                    return bad("Split with both `split` and `num_outputs`");
                }
                if n != cx.num_outputs as i64 {
                    return bad(format!(
                        "`num_outputs` = {n}, but the node has {} outputs",
                        cx.num_outputs
                    ));
                }
                cx.set("uneven", Attr::Int(1));
            }
            cx.keep_int("axis", 0)
        }),
    ],
    inputs: (1, 2),
    outputs: (1, usize::MAX),
    infer: infer_split,
    lower: Lower::Loops(lower_split),
    ..BASE
};

fn read_split(cx: &mut ReadCx) -> Result<()> {
    cx.keep_int("axis", 0)
}

fn infer_split(cx: &mut InferCx) -> Result<()> {
    let d = accept(cx, 0, any)?;
    let shape = cx.shape(0)?;
    let axis = cx.axis(cx.attrs.int("axis", 0), shape.len())?;
    let n = cx.num_outputs;
    let sizes = if cx.opt(1).is_some() {
        let sizes = known_dims(cx, 1, "split")?;
        if sizes.len() != n {
            return bad(format!("`split` has {} sizes for {n} outputs", sizes.len()));
        }
        for s in &sizes {
            check_size(cx, s, "a size of `split`")?;
        }
        let total: Dim = sizes.iter().cloned().sum();
        unify(cx, &total, &shape[axis])?;
        sizes
    } else {
        equal_parts(cx, &shape[axis], n as i64)?
    };
    let content = if shape.len() == 1 {
        contents(cx, 0)
    } else {
        None
    };
    let mut at = 0;
    for (o, size) in sizes.iter().enumerate() {
        let mut part = shape.clone();
        part[axis] = size.clone();
        cx.out(o, d, part);
        if let (Some(all), Some(len)) = (&content, size.fixed()) {
            let dims = all.get(at..at + len as usize).map(<[Dim]>::to_vec);
            at += len as usize;
            cx.set_dims(o, dims);
        }
    }
    Ok(())
}

fn equal_parts(cx: &InferCx, size: &Dim, n: i64) -> Result<Vec<Dim>> {
    let by = Dim::Fixed(n);
    if !cx.attrs.flag("uneven") {
        let part = match size.exact_div(&by) {
            Some(p) => p,
            None if size.fixed().is_none() => size.floor_div(&by).unwrap_or(size.clone()),
            None => {
                return bad(format!(
                    "size {} does not split into {n} equal parts",
                    size.text(cx.symbols)
                ));
            }
        };
        return Ok(vec![part; n as usize]);
    }
    let part = size.ceil_div(&by).unwrap_or(size.clone());
    Ok((0..n)
        .map(|i| {
            let left = size.clone() - part.clone() * Dim::Fixed(i);
            let left = dim_max(cx.symbols, &left, &Dim::Fixed(0));
            dim_min(cx.symbols, &part, &left)
        })
        .collect())
}

fn lower_split(cx: &mut LowerCx) -> Result<()> {
    let shape = cx.in_shape(0)?;
    let axis = crate::op::resolve_axis(cx.attrs.int("axis", 0), shape.len())?;
    let n = cx.outputs.len();
    let total = cx.b.dim(&shape[axis]);
    let mut start = cx.b.i(0);
    for o in 0..n {
        let Some(part) = cx.output(o).map(|t| t.ty.shape.clone()) else {
            // Nobody wants this part, so its size must be found without its type.
            let size = if cx.opt(1).is_some() {
                let at = cx.b.i(o as i64);
                let v = match cx.input(1)?.konst.as_ref().and_then(|t| t.get_i64(o)) {
                    Some(v) => cx.b.i(v),
                    None => load_index(cx, 1, &[at])?,
                };
                let zero = cx.b.i(0);
                cx.b.clamp(v, zero, total)
            } else {
                let k = cx.b.i(n as i64);
                let up = cx.b.i(if cx.attrs.flag("uneven") { n as i64 - 1 } else { 0 });
                let t = cx.b.add(total, up);
                cx.b.div(t, k)
            };
            start = cx.b.add(start, size);
            start = cx.b.min(start, total);
            continue;
        };
        cx.each_apart(&part, |cx, at| {
            let mut from = at.to_vec();
            from[axis] = cx.b.add(at[axis], start);
            let v = cx.load(0, &from)?;
            cx.store(o, at, v);
            Ok(())
        })?;
        let size = cx.b.dim(&part[axis]);
        start = cx.b.add(start, size);
    }
    Ok(())
}
