//! LayerNormalization, RMSNormalization and their kin with a residual in front: the last axes are brought to mean 0 (where
//! centred) and variance 1, then scaled and shifted.

use super::axes::{count, fold_in_parts, origin, over, store_plain};
use super::util::{accept, bad, float, since};
use crate::base::attr::Attr;
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::build::Builder;
use crate::loops::ir::{BufId, ExprId, LoopKind, Ty, UnOp};
use crate::op::{BASE, InferCx, Lower, OpDef, ReadCx, broadcast, onnx_in, resolve_axis};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&LAYER_NORM, &RMS_NORM, &SKIP_LAYER_NORM];

/// Centred; the inputs are X, scale, bias.
pub static LAYER_NORM: OpDef = OpDef {
    name: "LayerNormalization",
    onnx: &[
        since("LayerNormalization", 1, read),
        onnx_in("com.microsoft", "LayerNormalization", 1, i64::MAX, read),
    ],
    inputs: (2, 3),
    outputs: (1, 3),
    infer,
    lower: Lower::Loops(lower),
    tails: true,
    sums: true,
    ..BASE
};

/// Not centred; the inputs are X, scale. The second output is the inverse root of the mean square.
pub static RMS_NORM: OpDef = OpDef {
    name: "RMSNormalization",
    onnx: &[
        since("RMSNormalization", 23, read),
        since("SimplifiedLayerNormalization", 1, read),
        onnx_in(
            "com.microsoft",
            "SimplifiedLayerNormalization",
            1,
            i64::MAX,
            read,
        ),
    ],
    inputs: (2, 2),
    outputs: (1, 2),
    infer,
    lower: Lower::Loops(lower_rms),
    tails: true,
    sums: true,
    ..BASE
};

/// The same over input + skip + bias; inputs: input, skip, gamma, beta, bias; the fourth output is the sum.
pub static SKIP_LAYER_NORM: OpDef = OpDef {
    name: "SkipLayerNormalization",
    onnx: &[
        onnx_in(
            "com.microsoft",
            "SkipLayerNormalization",
            1,
            i64::MAX,
            read_skip,
        ),
        onnx_in(
            "com.microsoft",
            "SkipSimplifiedLayerNormalization",
            1,
            i64::MAX,
            read_skip_rms,
        ),
    ],
    inputs: (3, 5),
    outputs: (1, 4),
    infer: infer_skip,
    lower: Lower::Loops(lower_skip),
    tails: true,
    sums: true,
    ..BASE
};

fn read(cx: &mut ReadCx) -> Result<()> {
    cx.keep_int("axis", -1)?;
    cx.keep_float("epsilon", 1e-5)?;
    cx.keep_int("stash_type", 1)
}

fn read_skip(cx: &mut ReadCx) -> Result<()> {
    cx.keep_float("epsilon", 1e-12)
}

fn read_skip_rms(cx: &mut ReadCx) -> Result<()> {
    cx.set("rms", Attr::Int(1));
    cx.keep_float("epsilon", 1e-12)
}

/// The type in which statistics are computed and given out.
fn stash(cx_stash: i64, x: DType) -> DType {
    match (DType::from_onnx(cx_stash as i32), x) {
        (Some(d), _) if d.is_float() => d,
        _ => DType::F32,
    }
}

fn infer(cx: &mut InferCx) -> Result<()> {
    let d = accept(cx, 0, float)?;
    let x = cx.shape(0)?;
    let axis = resolve_axis(cx.attrs.int("axis", -1), x.len())?;
    for i in 1..cx.inputs.len() {
        if cx.opt(i).is_some() {
            accept(cx, i, float)?;
            if broadcast(&[&x, &cx.shape(i)?])?.len() != x.len() {
                return bad(format!("input {i} does not broadcast to the first"));
            }
        }
    }
    // The scale's type is the output's: mixed precision is allowed.
    let _ = d;
    cx.out(0, cx.dtype(1)?, x.clone());
    let mut stats = x;
    stats[axis..].fill(Dim::Fixed(1));
    let s = stash(cx.attrs.int("stash_type", 1), d);
    cx.out(1, s, stats.clone());
    cx.out(2, s, stats);
    Ok(())
}

/// What to normalise, and over which axes.
struct Norm<'n> {
    shape: &'n [Dim],
    axes: &'n [usize],
    ty: Ty,
    centred: bool,
    epsilon: f32,
}

impl Norm<'_> {
    /// Mean (where centred) and inverse deviation of the elements at `at`.
    fn stats(
        &self,
        cx: &mut LowerCx,
        at: &[ExprId],
        load: &dyn Fn(&mut LowerCx, &[ExprId]) -> Result<ExprId>,
    ) -> Result<(Option<ExprId>, ExprId)> {
        let n = cx.b.dim(&count(self.shape, self.axes));
        let n = cx.b.cast(self.ty, n);
        let zero = cx.b.num(self.ty, 0.0);
        let mean = if self.centred {
            let sum = fold_in_parts(cx, self.shape, self.axes, at, zero, &Builder::add, &|cx, at, sum| {
                let v = load(cx, at)?;
                Ok(cx.b.add(sum, v))
            })?;
            let m = cx.b.div(sum, n);
            Some(cx.b.let_(m))
        } else {
            None
        };
        let square = fold_in_parts(cx, self.shape, self.axes, at, zero, &Builder::add, &|cx, at, sum| {
            let mut v = load(cx, at)?;
            if let Some(m) = mean {
                v = cx.b.sub(v, m);
            }
            let v = cx.b.let_(v);
            Ok(cx.b.fma(v, v, sum))
        })?;
        let eps = cx.b.num(self.ty, f64::from(self.epsilon));
        let var = ex!(cx.b; (square / n) + eps);
        let sd = cx.b.un(UnOp::Sqrt, var);
        let inv = ex!(cx.b; 1.0 / sd);
        Ok((mean, cx.b.let_(inv)))
    }
}

fn lower(cx: &mut LowerCx) -> Result<()> {
    layers(cx, true)
}
fn lower_rms(cx: &mut LowerCx) -> Result<()> {
    layers(cx, false)
}

fn layers(cx: &mut LowerCx, centred: bool) -> Result<()> {
    let x = cx.in_shape(0)?;
    let axis = resolve_axis(cx.attrs.int("axis", -1), x.len())?;
    let ty = cx.in_ty(0)?;
    let axes: Vec<usize> = (axis..x.len()).collect();
    let outer: Vec<usize> = (0..axis).collect();
    let norm = Norm {
        shape: &x,
        axes: &axes,
        ty,
        centred,
        epsilon: cx.attrs.float("epsilon", 1e-5),
    };
    let start = origin(cx, x.len());
    over(cx, &x, &outer, LoopKind::Seq, &start, |cx, at| {
        let (mean, inv) = norm.stats(cx, at, &|cx, at| cx.load(0, at))?;
        let first = match mean {
            Some(m) => {
                store_plain(cx, 1, at, m);
                2
            }
            None => 1,
        };
        store_plain(cx, first, at, inv);
        over(cx, &x, &axes, LoopKind::Lanes, at, |cx, at| {
            let mut v = cx.load(0, at)?;
            if let Some(m) = mean {
                v = cx.b.sub(v, m);
            }
            v = cx.b.mul(v, inv);
            let s = cx.load_broadcast(1, at)?;
            let s = cx.b.cast(ty, s);
            v = cx.b.mul(v, s);
            if cx.opt(2).is_some() {
                let c = cx.load_broadcast(2, at)?;
                let c = cx.b.cast(ty, c);
                v = cx.b.add(v, c);
            }
            super::axes::store_as(cx, 0, at, v);
            Ok(())
        })
    })
}

fn infer_skip(cx: &mut InferCx) -> Result<()> {
    let d = super::util::accept_same(cx, 0, float)?;
    let x = cx.shape(0)?;
    if x.is_empty() {
        return bad("a scalar has nothing to normalise");
    }
    for i in 1..cx.inputs.len() {
        if cx.opt(i).is_some() && broadcast(&[&x, &cx.shape(i)?])?.len() != x.len() {
            return bad(format!("input {i} does not broadcast to the first"));
        }
    }
    let mut stats = x.clone();
    if let Some(last) = stats.last_mut() {
        *last = Dim::Fixed(1);
    }
    cx.out(0, d, x.clone());
    cx.out(1, DType::F32, stats.clone());
    cx.out(2, DType::F32, stats);
    cx.out(3, d, x);
    Ok(())
}

fn lower_skip(cx: &mut LowerCx) -> Result<()> {
    let x = cx.in_shape(0)?;
    let last = x.len() - 1;
    let ty = cx.in_ty(0)?;
    let rms = cx.attrs.flag("rms");
    // The simplified form has no beta: its fourth input is the bias.
    let (beta, bias) = if rms { (None, 3) } else { (Some(3), 4) };
    let dtype = if ty == Ty::F64 {
        DType::F64
    } else {
        DType::F32
    };
    let row: BufId = cx.scratch_per_thread("sum", dtype, x[last].clone());
    let norm = Norm {
        shape: &x,
        axes: &[last],
        ty,
        centred: !rms,
        epsilon: cx.attrs.float("epsilon", 1e-12),
    };
    let outer: Vec<usize> = (0..last).collect();
    let start = origin(cx, x.len());
    over(cx, &x, &outer, LoopKind::Seq, &start, |cx, at| {
        over(cx, &x, &[last], LoopKind::Lanes, at, |cx, at| {
            let (a, s) = (cx.load(0, at)?, cx.load_broadcast(1, at)?);
            let mut v = cx.b.add(a, s);
            if cx.opt(bias).is_some() {
                let c = cx.load_broadcast(bias, at)?;
                v = cx.b.add(v, c);
            }
            let v = cx.b.let_(v);
            cx.b.store(row, at[last], v);
            store_plain(cx, 3, at, v);
            Ok(())
        })?;
        let (mean, inv) = norm.stats(cx, at, &|cx, at| Ok(cx.b.load(row, at[last])))?;
        if let Some(m) = mean {
            store_plain(cx, 1, at, m);
        }
        store_plain(cx, 2, at, inv);
        over(cx, &x, &[last], LoopKind::Lanes, at, |cx, at| {
            let mut v = cx.b.load(row, at[last]);
            if let Some(m) = mean {
                v = cx.b.sub(v, m);
            }
            let g = cx.load_broadcast(2, at)?;
            v = ex!(cx.b; (v * inv) * g);
            if let Some(i) = beta
                && cx.opt(i).is_some()
            {
                let c = cx.load_broadcast(i, at)?;
                v = cx.b.add(v, c);
            }
            cx.store(0, at, v);
            Ok(())
        })
    })
}
