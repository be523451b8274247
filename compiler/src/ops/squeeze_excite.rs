//! Squeeze-excite as one operator: a gate for each channel is computed from the channels' means, and scales them.
//!
//! It is no ONNX operator; the fusion `squeeze_excite` makes it. The source is Hu et al., "Squeeze-and-Excitation Networks"
//! (2018): `y = x * gate(excite(middle(squeeze(mean(x)))))`, two matrix products with a bias each.
//!
//! - Inputs: x [N, C, spatial..], or [N, spatial.., C] where `channels_last` is set; squeeze [C, R] and its bias [R]; excite
//!   [R, C] and its bias [C]. All are f32. The matrices lie so that neighbouring results read neighbouring elements.
//! - Attributes: `channels_last` (0); `middle` and `gate`, names of activations (none where empty) with their numbers
//!   `middle_params` and `gate_params`.
//!
//! The means, the squeezed channels and the gates lie in memory of the layer's own; x is read twice.

use super::axes::{count, fold_n, origin, over};
use super::util::bad;
use crate::base::attr::Attrs;
use crate::base::diag::Result;
use crate::base::dim::{Dim, elements};
use crate::base::dtype::DType;
use crate::contracts::finish::Activation;
use crate::kernel::LowerCx;
use crate::loops::build::Builder;
use crate::loops::ir::{BufId, ExprId, LoopKind, Ty, UnOp};
use crate::op::{BASE, InferCx, Lower, OpDef};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&SQUEEZE_EXCITE];

/// The operator.
pub static SQUEEZE_EXCITE: OpDef = OpDef {
    name: "SqueezeExcite",
    inputs: (5, 5),
    infer,
    lower: Lower::Loops(lower),
    tails: true,
    sums: true,
    ..BASE
};

/// Sums in turn, so that additions need not wait for each other.
const TURNS: i64 = 4;
/// The same for a plane of a channel, whose elements lie side by side.
const PLANE: i64 = 16;

/// What is applied to a channel.
enum Function {
    /// The value itself.
    None,
    /// x * min(1, max(0, x / 6 + 1/2)).
    HardSwish,
    /// x * sigmoid(alpha * x).
    Swish(f32),
    /// An activation of the fused operators.
    Known(Activation),
}

impl Function {
    /// By the names of attributes; an error where no such function is known.
    fn of(attrs: &Attrs, name: &str, params: &str) -> Result<Function> {
        let numbers = attrs.floats(params).unwrap_or(&[]);
        let number = |i: usize, default: f32| numbers.get(i).copied().unwrap_or(default);
        Ok(match attrs.str(name, "") {
            "" => Function::None,
            "HardSwish" => Function::HardSwish,
            "Swish" => Function::Swish(number(0, 1.0)),
            known => {
                let mut a = Activation::of(known)?;
                a.alpha = number(0, a.alpha);
                a.beta = number(1, a.beta);
                Function::Known(a)
            }
        })
    }
    fn apply(&self, b: &mut Builder, x: ExprId) -> ExprId {
        match self {
            Function::None => x,
            Function::HardSwish => {
                let sigmoid = Activation {
                    name: "HardSigmoid",
                    alpha: 1.0 / 6.0,
                    beta: 0.5,
                };
                let s = sigmoid.apply(b, x);
                b.mul(x, s)
            }
            Function::Swish(alpha) => {
                let alpha = b.num(Ty::F32, f64::from(*alpha));
                let s = b.mul(x, alpha);
                let s = b.un(UnOp::Sigmoid, s);
                b.mul(x, s)
            }
            Function::Known(a) => a.apply(b, x),
        }
    }
}

/// The axis of channels, and the spatial ones.
fn axes(attrs: &Attrs, rank: usize) -> (usize, Vec<usize>) {
    match attrs.flag("channels_last") {
        true => (rank - 1, (1..rank - 1).collect()),
        false => (1, (2..rank).collect()),
    }
}

fn infer(cx: &mut InferCx) -> Result<()> {
    for i in 0..5 {
        if cx.dtype(i)? != DType::F32 {
            return bad("squeeze-excite takes f32");
        }
    }
    let x = cx.shape(0)?;
    if x.len() < 3 {
        return bad("an input without spatial axes");
    }
    let c = &x[axes(cx.attrs, x.len()).0];
    let (squeeze, excite) = (cx.shape(1)?, cx.shape(3)?);
    let fits = squeeze.len() == 2
        && squeeze[0] == *c
        && cx.shape(2)? == [squeeze[1].clone()]
        && excite == [squeeze[1].clone(), c.clone()]
        && cx.shape(4)? == [c.clone()];
    if !fits {
        return bad("the matrices of squeeze-excite do not fit its channels");
    }
    for (name, params) in [("middle", "middle_params"), ("gate", "gate_params")] {
        Function::of(cx.attrs, name, params)?;
    }
    cx.out(0, DType::F32, x);
    Ok(())
}

fn lower(cx: &mut LowerCx) -> Result<()> {
    let x = cx.in_shape(0)?;
    let (channel, spatial) = axes(cx.attrs, x.len());
    let (c, r) = (x[channel].clone(), cx.in_shape(1)?[1].clone());
    let middle = Function::of(cx.attrs, "middle", "middle_params")?;
    let gate = Function::of(cx.attrs, "gate", "gate_params")?;
    let means = cx.scratch("means", DType::F32, c.clone());
    let squeezed = cx.scratch("squeezed", DType::F32, r.clone());
    let gates = cx.scratch("gates", DType::F32, c.clone());
    let plane = match channel == 1 {
        true => Some(cx.scratch("plane", DType::F32, Dim::Fixed(PLANE))),
        false => None,
    };
    let start = origin(cx, x.len());
    over(cx, &x, &[0], LoopKind::Seq, &start, |cx, at| {
        let image = cx.b.dim(&elements(&x[1..]));
        let image = cx.b.mul(at[0], image);
        let size = count(&x, &spatial);
        match plane {
            Some(plane) => mean_planes(cx, image, &c, &size, plane, means)?,
            None => mean_rows(cx, image, &c, &size, means)?,
        }
        dense(cx, (means, &c), 1, (squeezed, &r), &middle)?;
        dense(cx, (squeezed, &r), 3, (gates, &c), &gate)?;
        let mut order = spatial.clone();
        match plane {
            Some(_) => order.insert(0, channel),
            None => order.push(channel),
        }
        over(cx, &x, &order, LoopKind::Lanes, at, |cx, at| {
            let v = cx.load(0, at)?;
            let g = cx.b.load(gates, at[channel]);
            let v = cx.b.mul(v, g);
            cx.store(0, at, v);
            Ok(())
        })
    })
}

/// Channel-first means: `size` elements side by side for each of `c` channels, from element `image` on.
fn mean_planes(
    cx: &mut LowerCx,
    image: ExprId,
    c: &Dim,
    size: &Dim,
    plane: BufId,
    means: BufId,
) -> Result<()> {
    let (channels, n) = (cx.b.dim(c), cx.b.dim(size));
    let (lanes, zero) = (cx.b.i(PLANE), cx.b.f(0.0));
    let blocks = cx.b.div(n, lanes);
    cx.for_(channels, LoopKind::Seq, |cx, i| {
        let from = cx.b.mul(i, n);
        let from = cx.b.add(image, from);
        let from = cx.b.let_(from);
        cx.for_(lanes, LoopKind::Lanes, |cx, l| {
            cx.b.store(plane, l, zero);
            Ok(())
        })?;
        cx.for_(blocks, LoopKind::Seq, |cx, block| {
            let at = cx.b.mul(block, lanes);
            let at = cx.b.add(from, at);
            let at = cx.b.let_(at);
            cx.for_(lanes, LoopKind::Lanes, |cx, l| {
                let v = cx.b.add(at, l);
                let v = cx.load_flat(0, v)?;
                let old = cx.b.load(plane, l);
                let sum = cx.b.add(old, v);
                cx.b.store(plane, l, sum);
                Ok(())
            })
        })?;
        let sum = fold_n(cx, lanes, zero, |cx, l, sum| {
            let v = cx.b.load(plane, l);
            Ok(cx.b.add(sum, v))
        })?;
        let done = cx.b.mul(blocks, lanes);
        let rest = cx.b.sub(n, done);
        let from = cx.b.add(from, done);
        let sum = fold_n(cx, rest, sum, |cx, k, sum| {
            let v = cx.b.add(from, k);
            let v = cx.load_flat(0, v)?;
            Ok(cx.b.add(sum, v))
        })?;
        let divisor = cx.b.cast(Ty::F32, n);
        let mean = cx.b.div(sum, divisor);
        cx.b.store(means, i, mean);
        Ok(())
    })
}

/// Channel-last means: `size` rows of `c` channels, from element `image` on.
fn mean_rows(cx: &mut LowerCx, image: ExprId, c: &Dim, size: &Dim, means: BufId) -> Result<()> {
    let (channels, n) = (cx.b.dim(c), cx.b.dim(size));
    let zero = cx.b.f(0.0);
    cx.for_(channels, LoopKind::Lanes, |cx, i| {
        cx.b.store(means, i, zero);
        Ok(())
    })?;
    // So many rows at once, then the rest one by one: each adds to the sums in memory.
    let turns = cx.b.i(TURNS);
    let blocks = cx.b.div(n, turns);
    let done = cx.b.mul(blocks, turns);
    let rest = cx.b.sub(n, done);
    let zero = cx.b.i(0);
    for (count, rows, first) in [(blocks, TURNS, zero), (rest, 1, done)] {
        cx.for_(count, LoopKind::Seq, |cx, block| {
            let rows_at_once = cx.b.i(rows);
            let row = cx.b.mul(block, rows_at_once);
            let row = cx.b.add(first, row);
            let at = cx.b.mul(row, channels);
            let at = cx.b.add(image, at);
            let at = cx.b.let_(at);
            cx.for_(channels, LoopKind::Lanes, |cx, i| {
                let mut sum = cx.b.load(means, i);
                for k in 0..rows {
                    let k = cx.b.i(k);
                    let v = cx.b.mul(k, channels);
                    let v = cx.b.add(at, v);
                    let v = cx.b.add(v, i);
                    let v = cx.load_flat(0, v)?;
                    sum = cx.b.add(sum, v);
                }
                cx.b.store(means, i, sum);
                Ok(())
            })
        })?;
    }
    cx.for_(channels, LoopKind::Lanes, |cx, i| {
        let sum = cx.b.load(means, i);
        let divisor = cx.b.cast(Ty::F32, n);
        let mean = cx.b.div(sum, divisor);
        cx.b.store(means, i, mean);
        Ok(())
    })
}

/// A vector times the matrix of input `weights`, plus the bias behind it, through a function.
fn dense(
    cx: &mut LowerCx,
    (from, k): (BufId, &Dim),
    weights: usize,
    (to, n): (BufId, &Dim),
    f: &Function,
) -> Result<()> {
    let (depth, results) = (cx.b.dim(k), cx.b.dim(n));
    let turns = cx.b.i(TURNS);
    let blocks = cx.b.div(depth, turns);
    let done = cx.b.mul(blocks, turns);
    let rest = cx.b.sub(depth, done);
    let zero = cx.b.f(0.0);
    let product = move |cx: &mut LowerCx, k: ExprId, j: ExprId, sum: ExprId| {
        let v = cx.b.load(from, k);
        let w = cx.b.mul(k, results);
        let w = cx.b.add(w, j);
        let w = cx.load_flat(weights, w)?;
        Ok(cx.b.fma(v, w, sum))
    };
    cx.for_(results, LoopKind::Lanes, |cx, j| {
        let sums: Vec<_> = (0..TURNS).map(|_| cx.b.var(zero)).collect();
        cx.for_(blocks, LoopKind::Seq, |cx, block| {
            for (turn, &sum) in sums.iter().enumerate() {
                let k = cx.b.mul(block, turns);
                let turn = cx.b.i(turn as i64);
                let k = cx.b.add(k, turn);
                let old = cx.b.get(sum);
                let new = product(cx, k, j, old)?;
                cx.b.set(sum, new);
            }
            Ok(())
        })?;
        let mut total = cx.load_flat(weights + 1, j)?;
        for sum in sums {
            let v = cx.b.get(sum);
            total = cx.b.add(total, v);
        }
        let total = fold_n(cx, rest, total, |cx, k, sum| {
            let k = cx.b.add(done, k);
            product(cx, k, j, sum)
        })?;
        let v = f.apply(&mut cx.b, total);
        cx.b.store(to, j, v);
        Ok(())
    })
}
