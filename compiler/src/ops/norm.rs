//! InstanceNormalization, GroupNormalization, MeanVarianceNormalization, LpNormalization, LRN.

use super::axes::{count, fold, fold_in_parts, origin, others, over};
use super::pool::{add_power, root};
use super::util::{accept, accept_same, bad, float, float_unary, resolve_axes, since};
use crate::base::attr::Attr;
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::build::Builder;
use crate::loops::ir::{BinOp, ExprId, LoopKind, UnOp};
use crate::op::{BASE, InferCx, LATEST, Lower, OpDef, ReadCx, onnx, resolve_axis};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&INSTANCE, &GROUP, &MEAN_VARIANCE, &LP, &LRN];

/// Every channel of every sample by its own statistics.
pub static INSTANCE: OpDef = OpDef {
    name: "InstanceNormalization",
    onnx: &[since("InstanceNormalization", 6, |cx| {
        cx.keep_float("epsilon", 1e-5)
    })],
    inputs: (3, 3),
    infer: infer_channels,
    lower: Lower::Loops(instance),
    tails: true,
    sums: true,
    ..BASE
};

/// Groups of channels of every sample by their own statistics.
pub static GROUP: OpDef = OpDef {
    name: "GroupNormalization",
    onnx: &[
        onnx("GroupNormalization", 18, 20, |cx| read_group(cx, 1)),
        onnx("GroupNormalization", 21, LATEST, |cx| read_group(cx, 0)),
    ],
    inputs: (3, 3),
    infer: infer_channels,
    lower: Lower::Loops(group),
    tails: true,
    sums: true,
    ..BASE
};

/// Mean 0 and deviation 1 over some axes.
pub static MEAN_VARIANCE: OpDef = OpDef {
    name: "MeanVarianceNormalization",
    onnx: &[since("MeanVarianceNormalization", 9, |cx| {
        let axes = cx.ints("axes")?.unwrap_or_else(|| vec![0, 2, 3]);
        cx.set("axes", Attr::Ints(axes));
        Ok(())
    })],
    infer: |cx| {
        float_unary(cx)?;
        resolve_axes(cx.attrs.ints("axes").unwrap_or(&[]), cx.shape(0)?.len()).map(|_| ())
    },
    lower: Lower::Loops(mean_variance),
    tails: true,
    sums: true,
    ..BASE
};

/// Norm 1 along an axis.
pub static LP: OpDef = OpDef {
    name: "LpNormalization",
    onnx: &[since("LpNormalization", 1, |cx| {
        cx.keep_int("axis", -1)?;
        cx.keep_int("p", 2)?;
        match cx.out.int("p", 2) {
            1 | 2 => Ok(()),
            _ => bad("`p` must be 1 or 2"),
        }
    })],
    infer: |cx| {
        float_unary(cx)?;
        resolve_axis(cx.attrs.int("axis", -1), cx.shape(0)?.len()).map(|_| ())
    },
    lower: Lower::Loops(lp),
    tails: true,
    sums: true,
    ..BASE
};

/// Local response: every element by the squares of its neighbours over the channels.
pub static LRN: OpDef = OpDef {
    name: "LRN",
    onnx: &[since("LRN", 1, |cx| {
        cx.keep_float("alpha", 0.0001)?;
        cx.keep_float("beta", 0.75)?;
        cx.keep_float("bias", 1.0)?;
        cx.keep_int("size", 1)?;
        if cx.out.int("size", 1) < 1 {
            return bad("`size` must be positive");
        }
        Ok(())
    })],
    infer: |cx| {
        float_unary(cx)?;
        if cx.shape(0)?.len() < 2 {
            return bad("an input without channels");
        }
        Ok(())
    },
    lower: Lower::Loops(lrn),
    tails: true,
    sums: true,
    ..BASE
};

fn read_group(cx: &mut ReadCx, per_group: i64) -> Result<()> {
    cx.keep_float("epsilon", 1e-5)?;
    cx.keep_int("num_groups", 1)?;
    cx.ignore("stash_type");
    cx.set("per_group", Attr::Int(per_group));
    Ok(())
}

fn infer_channels(cx: &mut InferCx) -> Result<()> {
    accept_same(cx, 0, float)?;
    let d = accept(cx, 0, float)?;
    let x = cx.shape(0)?;
    if x.len() < 2 {
        return bad("an input without channels");
    }
    let groups = cx.attrs.opt_int("num_groups");
    if let Some(g) = groups
        && (g < 1 || x[1].fixed().is_none_or(|c| c % g != 0))
    {
        return bad(format!("{g} groups do not divide the channels"));
    }
    let per = match groups {
        Some(g) if cx.attrs.flag("per_group") => Dim::Fixed(g),
        _ => x[1].clone(),
    };
    for i in 1..3 {
        let s = cx.shape(i)?;
        if s.len() != 1 || (s[0].fixed().is_some() && per.fixed().is_some() && s[0] != per) {
            return bad(format!("input {i} does not fit the channels"));
        }
    }
    cx.out(0, d, x);
    Ok(())
}

/// Mean and variance of the elements of input 0 along `axes`, read at `place(index)`.
fn moments(
    cx: &mut LowerCx,
    shape: &[Dim],
    axes: &[usize],
    at: &[ExprId],
    load: &dyn Fn(&mut LowerCx, &[ExprId]) -> Result<ExprId>,
) -> Result<(ExprId, ExprId)> {
    let ty = cx.in_ty(0)?;
    let zero = cx.b.num(ty, 0.0);
    let n = cx.b.dim(&count(shape, axes));
    let n = cx.b.cast(ty, n);
    let sum = fold_in_parts(cx, shape, axes, at, zero, &Builder::add, &|cx, at, sum| {
        let v = load(cx, at)?;
        Ok(cx.b.add(sum, v))
    })?;
    let mean = cx.b.div(sum, n);
    let mean = cx.b.let_(mean);
    let square = fold_in_parts(cx, shape, axes, at, zero, &Builder::add, &|cx, at, sum| {
        let v = load(cx, at)?;
        let d = cx.b.sub(v, mean);
        let d = cx.b.let_(d);
        Ok(cx.b.fma(d, d, sum))
    })?;
    let var = cx.b.div(square, n);
    Ok((mean, cx.b.let_(var)))
}

fn deviation(cx: &mut LowerCx, var: ExprId) -> Result<ExprId> {
    let eps =
        cx.b.num(cx.b.ty(var), f64::from(cx.attrs.float("epsilon", 1e-5)));
    let v = cx.b.add(var, eps);
    let v = cx.b.un(UnOp::Sqrt, v);
    Ok(cx.b.let_(v))
}

fn instance(cx: &mut LowerCx) -> Result<()> {
    let x = cx.in_shape(0)?;
    let axes: Vec<usize> = (2..x.len()).collect();
    let start = origin(cx, x.len());
    over(cx, &x, &[0, 1], LoopKind::Seq, &start, |cx, at| {
        let (mean, var) = moments(cx, &x, &axes, at, &|cx, at| cx.load(0, at))?;
        let sd = deviation(cx, var)?;
        let (scale, bias) = (cx.load(1, &at[1..2])?, cx.load(2, &at[1..2])?);
        let factor = cx.b.div(scale, sd);
        let (factor, bias) = (cx.b.let_(factor), cx.b.let_(bias));
        over(cx, &x, &axes, LoopKind::Lanes, at, |cx, at| {
            let v = cx.load(0, at)?;
            let v = ex!(cx.b; ((v - mean) * factor) + bias);
            cx.store(0, at, v);
            Ok(())
        })
    })
}

fn group(cx: &mut LowerCx) -> Result<()> {
    let x = cx.in_shape(0)?;
    let groups = cx.attrs.int("num_groups", 1).max(1);
    let per = x[1].fixed().unwrap_or(groups) / groups;
    // [N, groups, channels of a group, spatial..]
    let mut shape = vec![x[0].clone(), Dim::Fixed(groups), Dim::Fixed(per)];
    shape.extend_from_slice(&x[2..]);
    let flat = |cx: &mut LowerCx, at: &[ExprId]| {
        let c = ex!(cx.b; ({at[1]} * {cx.b.i(per)}) + {at[2]});
        let mut index = vec![at[0], c];
        index.extend_from_slice(&at[3..]);
        index
    };
    let axes: Vec<usize> = (2..shape.len()).collect();
    let inner: Vec<usize> = (3..shape.len()).collect();
    let start = origin(cx, shape.len());
    over(cx, &shape, &[0, 1], LoopKind::Seq, &start, |cx, at| {
        let (mean, var) = moments(cx, &shape, &axes, at, &|cx, at| {
            let index = flat(cx, at);
            cx.load(0, &index)
        })?;
        let sd = deviation(cx, var)?;
        let kind = if inner.is_empty() {
            LoopKind::Lanes
        } else {
            LoopKind::Seq
        };
        over(cx, &shape, &[2], kind, at, |cx, at| {
            let index = flat(cx, at);
            let which = if cx.attrs.flag("per_group") {
                at[1]
            } else {
                index[1]
            };
            let (scale, bias) = (cx.load(1, &[which])?, cx.load(2, &[which])?);
            let factor = cx.b.div(scale, sd);
            let (factor, bias) = (cx.b.let_(factor), cx.b.let_(bias));
            over(cx, &shape, &inner, LoopKind::Lanes, at, |cx, at| {
                let index = flat(cx, at);
                let v = cx.load(0, &index)?;
                let v = ex!(cx.b; ((v - mean) * factor) + bias);
                cx.store(0, &index, v);
                Ok(())
            })
        })
    })
}

fn mean_variance(cx: &mut LowerCx) -> Result<()> {
    let x = cx.in_shape(0)?;
    let axes = resolve_axes(cx.attrs.ints("axes").unwrap_or(&[]), x.len())?;
    let rest = others(x.len(), &axes);
    let start = origin(cx, x.len());
    over(cx, &x, &rest, LoopKind::Seq, &start, |cx, at| {
        let (mean, var) = moments(cx, &x, &axes, at, &|cx, at| cx.load(0, at))?;
        let sd = cx.b.un(UnOp::Sqrt, var);
        let sd = ex!(cx.b; sd + 1e-9);
        let sd = cx.b.let_(sd);
        over(cx, &x, &axes, LoopKind::Lanes, at, |cx, at| {
            let v = cx.load(0, at)?;
            let v = ex!(cx.b; (v - mean) / sd);
            cx.store(0, at, v);
            Ok(())
        })
    })
}

fn lp(cx: &mut LowerCx) -> Result<()> {
    let x = cx.in_shape(0)?;
    let axis = resolve_axis(cx.attrs.int("axis", -1), x.len())?;
    let p = cx.attrs.int("p", 2);
    let rest = others(x.len(), &[axis]);
    let zero = cx.b.num(cx.in_ty(0)?, 0.0);
    let start = origin(cx, x.len());
    let (outer, inner) = if axis + 1 == x.len() {
        (LoopKind::Seq, LoopKind::Lanes)
    } else {
        (LoopKind::Lanes, LoopKind::Seq)
    };
    over(cx, &x, &rest, outer, &start, |cx, at| {
        let sum = fold(cx, &x, &[axis], at, zero, |cx, at, sum| {
            let v = cx.load(0, at)?;
            Ok(add_power(cx, p, v, sum))
        })?;
        let norm = root(cx, p, sum);
        let norm = cx.b.let_(norm);
        over(cx, &x, &[axis], inner, at, |cx, at| {
            let v = cx.load(0, at)?;
            // A row of zeros stays one.
            let q = cx.b.div(v, norm);
            let empty = cx.b.eq(norm, zero);
            let v = cx.b.select(empty, zero, q);
            cx.store(0, at, v);
            Ok(())
        })
    })
}

fn lrn(cx: &mut LowerCx) -> Result<()> {
    let x = cx.in_shape(0)?;
    let ty = cx.in_ty(0)?;
    let size = cx.attrs.int("size", 1);
    let (alpha, exponent, bias) = (
        cx.attrs.float("alpha", 0.0001),
        cx.attrs.float("beta", 0.75),
        cx.attrs.float("bias", 1.0),
    );
    let zero = cx.b.num(ty, 0.0);
    cx.each(&x, LoopKind::Lanes, |cx, at| {
        let n = cx.b.i(size);
        let sum = super::axes::fold_n(cx, n, zero, |cx, k, sum| {
            let c = ex!(cx.b; ({at[1]} + k) - {cx.b.i((size - 1) / 2)});
            let (none, channels) = (cx.b.i(0), cx.b.dim(&x[1]));
            let ok = cx.b.in_range(c, none, channels);
            let mut index = at.to_vec();
            index[1] = c;
            let v = cx.load_if(0, ok, &index, zero)?;
            Ok(cx.b.fma(v, v, sum))
        })?;
        let scale = cx.b.num(ty, f64::from(alpha) / size as f64);
        let (bias, beta) = (cx.b.num(ty, f64::from(bias)), cx.b.num(ty, f64::from(exponent)));
        let base = ex!(cx.b; bias + (sum * scale));
        // The usual exponent is two roots.
        let power = match exponent == 0.75 {
            true => {
                let root = cx.b.un(UnOp::Sqrt, base);
                let fourth = cx.b.un(UnOp::Sqrt, root);
                cx.b.mul(root, fourth)
            }
            false => cx.b.bin(BinOp::Pow, base, beta),
        };
        let v = cx.load(0, at)?;
        let v = cx.b.div(v, power);
        cx.store(0, at, v);
        Ok(())
    })
}
