//! MaxPool, with the positions of the largest elements, and MaxUnpool, which puts elements back there.

use super::pool::windows;
use super::pool_planes::{Fold, Planes};
use super::spatial::{pool_window, read_window, spatial, with_spatial};
use super::util::{accept, bad, float, since};
use crate::base::attr::Attrs;
use crate::base::diag::Result;
use crate::base::dim::{Dim, elements, strides};
use crate::base::dtype::DType;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{ExprId, LoopKind, Ty, UnOp};
use crate::op::{BASE, InferCx, Lower, OpDef, ReadCx};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&MAX_POOL, &MAX_UNPOOL];

/// The largest element of a window, and where it stood.
pub static MAX_POOL: OpDef = OpDef {
    name: "MaxPool",
    onnx: &[since("MaxPool", 1, read)],
    outputs: (1, 2),
    infer,
    lower: Lower::Loops(lower),
    tails: true,
    ..BASE
};

/// Elements put where MaxPool found them, zeros elsewhere.
pub static MAX_UNPOOL: OpDef = OpDef {
    name: "MaxUnpool",
    onnx: &[since("MaxUnpool", 9, read_unpool)],
    inputs: (2, 3),
    infer: infer_unpool,
    lower: Lower::Loops(unpool),
    ..BASE
};

fn read(cx: &mut ReadCx) -> Result<()> {
    read_window(cx)?;
    cx.keep_int("ceil_mode", 0)?;
    cx.keep_int("storage_order", 0)
}

fn element(d: DType) -> bool {
    float(d) || matches!(d, DType::I8 | DType::U8)
}

fn infer(cx: &mut InferCx) -> Result<()> {
    let d = accept(cx, 0, element)?;
    let x = cx.shape(0)?;
    let w = pool_window(cx.attrs, &x)?;
    let shape = with_spatial(cx.attrs, &x, w.out);
    cx.out(0, d, shape.clone());
    cx.out(1, DType::I64, shape);
    Ok(())
}

/// The smallest value of a type.
pub fn lowest(cx: &mut LowerCx, d: DType) -> ExprId {
    match d.int_range() {
        Some((lo, _)) => cx.b.int(Ty::of(d), lo as i64),
        None => cx.b.num(Ty::of(d), f64::NEG_INFINITY),
    }
}

fn lower(cx: &mut LowerCx) -> Result<()> {
    let x = cx.in_shape(0)?;
    let w = pool_window(cx.attrs, &x)?;
    let low = lowest(cx, cx.input(0)?.ty.dtype);
    if cx.output(1).is_none() {
        if let Some(planes) = Planes::of(cx, &w, &[DType::F32, DType::I8, DType::U8])? {
            let fold = Fold {
                init: low,
                join: &|cx, old, v| cx.b.max(v, old),
                finish: &|_, v, _| v,
            };
            return planes.fold(cx, &fold);
        }
        return windows(
            cx,
            &w,
            |cx| cx.b.var(low),
            |cx, best, at, ok, _| {
                let v = cx.load_if(0, ok, at, low)?;
                let old = cx.b.get(best);
                let new = cx.b.max(v, old);
                cx.b.set(best, new);
                Ok(())
            },
            |cx, best, o| {
                let v = cx.b.get(best);
                cx.store(0, o, v);
                Ok(())
            },
        );
    }
    // Positions count planes row-major; inside a plane the order is an attribute.
    let mut steps = strides(&x);
    if cx.attrs.flag("storage_order") {
        let mut step = Dim::Fixed(1);
        for (s, d) in steps[2..].iter_mut().zip(&x[2..]) {
            *s = step.clone();
            step = step * d.clone();
        }
    }
    windows(
        cx,
        &w,
        |cx| {
            let none = cx.b.i(-1);
            (cx.b.var(low), cx.b.var(none))
        },
        |cx, (best, place), at, ok, _| {
            let v = cx.load_if(0, ok, at, low)?;
            let v = cx.b.let_(v);
            let mut here = cx.b.i(0);
            for (s, &i) in steps.iter().zip(at) {
                let s = cx.b.dim(s);
                here = ex!(cx.b; here + (i * s));
            }
            let (old, was) = (cx.b.get(best), cx.b.get(place));
            let better = ex!(cx.b; ok & ((old < v) | (was < 0)));
            let better = cx.b.let_(better);
            let p = cx.b.select(better, here, was);
            cx.b.set(place, p);
            let n = cx.b.select(better, v, old);
            cx.b.set(best, n);
            Ok(())
        },
        |cx, (best, place), o| {
            let (v, p) = (cx.b.get(best), cx.b.get(place));
            cx.store(0, o, v);
            super::axes::store_plain(cx, 1, o, p);
            Ok(())
        },
    )
}

fn read_unpool(cx: &mut ReadCx) -> Result<()> {
    for name in ["strides", "pads", "kernel_shape"] {
        cx.keep_ints(name)?;
    }
    Ok(())
}

/// The output's shape as the window gives it: what the positions count.
fn natural(attrs: &Attrs, x: &[Dim]) -> Result<Vec<Dim>> {
    let n = spatial(x)?.len();
    let kernel = attrs.ints("kernel_shape").unwrap_or(&[]);
    let strides = attrs.ints("strides").unwrap_or(&[]);
    let pads = attrs.ints("pads").unwrap_or(&[]);
    let fits = |v: &[i64], n: usize| v.is_empty() || v.len() == n;
    if kernel.len() != n || !fits(strides, n) || !fits(pads, 2 * n) {
        return bad("the window does not fit the spatial axes");
    }
    let at = |v: &[i64], i: usize, d: i64| v.get(i).copied().unwrap_or(d);
    let mut shape = x[..2].to_vec();
    for i in 0..n {
        let pad = at(pads, i, 0).saturating_add(at(pads, n + i, 0));
        shape.push(
            (x[2 + i].clone() - Dim::Fixed(1)) * Dim::Fixed(at(strides, i, 1))
                + Dim::Fixed(kernel[i].saturating_sub(pad)),
        );
    }
    if shape.iter().any(|d| d.fixed().is_some_and(|d| d < 0)) {
        return bad("the output would have a negative size");
    }
    Ok(shape)
}

fn infer_unpool(cx: &mut InferCx) -> Result<()> {
    let d = accept(cx, 0, float)?;
    accept(cx, 1, |d| d == DType::I64)?;
    let x = cx.shape(0)?;
    if cx.shape(1)? != x {
        return bad("the positions must have the elements' shape");
    }
    let mut shape = natural(cx.attrs, &x)?;
    if cx.opt(2).is_some() {
        let s = cx.const_ints(2, "output_shape")?;
        if s.len() != x.len() || s.iter().any(|&d| d < 0) {
            return bad("`output_shape` does not fit the input");
        }
        shape = s.into_iter().map(Dim::Fixed).collect();
    }
    cx.out(0, d, shape);
    Ok(())
}

fn unpool(cx: &mut LowerCx) -> Result<()> {
    let (x, out) = (cx.in_shape(0)?, cx.out_shape()?);
    let counted = natural(cx.attrs, &x)?;
    let ty = cx.in_ty(0)?;
    let size = cx.b.dim(&elements(&out));
    let zero = cx.b.num(ty, 0.0);
    cx.for_(size, LoopKind::Lanes, |cx, i| {
        cx.store_flat(0, i, zero);
        Ok(())
    })?;
    let n = cx.b.dim(&elements(&x));
    let limit = cx.b.dim(&elements(&counted));
    cx.for_(n, LoopKind::Seq, |cx, i| {
        let p = cx.load_flat(1, i)?;
        let p = cx.b.let_(p);
        let none = cx.b.i(0);
        // A position counts in the shape that the window gives, and must lie in the one that was asked for.
        let mut inside = cx.b.in_range(p, none, limit);
        let mut to = p;
        if counted != out {
            let index = cx.b.unoffset(&counted, p);
            for (&i, d) in index.iter().zip(&out) {
                let d = cx.b.dim(d);
                let c = cx.b.lt(i, d);
                inside = cx.b.and(inside, c);
            }
            to = cx.b.offset(&out, &index);
        }
        let outside = cx.b.un(UnOp::Not, inside);
        cx.b.fail_if(outside, super::util::DATA_OUT_OF_RANGE);
        let v = cx.load_flat(0, i)?;
        cx.store_flat(0, to, v);
        Ok(())
    })
}
