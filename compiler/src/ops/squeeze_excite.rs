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
//! The means, the squeezed channels and the gates lie in memory of the layer's own; x is read twice. Sums are made in a few shares, each over
//! rows that lie one behind the other: threads may take them, and weights stream through once. How many shares there are depends on the
//! sizes alone, so results are the same for any number of threads.

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

/// Rows that are added at once: the sums are loaded and stored once for so many.
const TURNS: i64 = 4;
/// Channels whose neighbours may be another share's: a cache line.
const LINE: i64 = 16;
/// Shares of the channels, and of most maps.
const SHARES: i64 = 4;
/// Shares of a large map: threads of 2, 3, 4, 6 or 12 have equally many.
const MANY: i64 = 12;
/// Sums in turn over the plane of a channel, whose elements lie side by side.
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
        true => Some(cx.scratch_per_thread("plane", DType::F32, Dim::Fixed(PLANE))),
        false => None,
    };
    let size = count(&x, &spatial);
    let shares = shares(&size);
    let sums = match channel == 1 {
        true => None,
        false => Some(cx.scratch("sums", DType::F32, c.clone() * Dim::Fixed(shares))),
    };
    let parts = cx.scratch("parts", DType::F32, r.clone() * Dim::Fixed(SHARES));
    let start = origin(cx, x.len());
    over(cx, &x, &[0], LoopKind::Seq, &start, |cx, at| {
        let image = cx.b.dim(&elements(&x[1..]));
        let image = cx.b.mul(at[0], image);
        match (plane, sums) {
            (Some(plane), _) => mean_planes(cx, image, &c, &size, plane, means)?,
            (_, Some(sums)) => {
                sum_rows(cx, image, &c, &size, (shares, sums))?;
            }
            _ => {}
        }
        let from_sums = sums.map(|s| (shares, s, &size));
        squeeze(cx, from_sums, (means, &c), parts, &r)?;
        finish(cx, parts, (squeezed, &r), &middle)?;
        excite(cx, (squeezed, &r), (gates, &c), &gate)?;
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
    cx.parallel(channels, |cx, i| {
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

/// Shares of so many rows: their sums take as long to add up as so many rows.
fn shares(rows: &Dim) -> i64 {
    match rows.fixed() {
        Some(n) if n < 8 * SHARES => 1,
        Some(n) if n >= 64 * MANY => MANY,
        _ => SHARES,
    }
}

/// Where share `i` of `shares` of `n` elements begins and how many it has, `unit` elements staying together.
fn share(cx: &mut LowerCx, i: ExprId, shares: i64, n: &Dim, unit: i64) -> (ExprId, ExprId) {
    if let Some(each) = n.fixed().filter(|n| n % (shares * unit) == 0) {
        let each = cx.b.i(each / shares);
        let from = cx.b.mul(i, each);
        return (cx.b.let_(from), each);
    }
    let (all, unit_e, more) = (cx.b.dim(n), cx.b.i(unit), cx.b.i(unit - 1));
    let (shares, one) = (cx.b.i(shares), cx.b.i(1));
    let units = cx.b.add(all, more);
    let units = cx.b.div(units, unit_e);
    let at = |cx: &mut LowerCx, i: ExprId| {
        let at = cx.b.mul(i, units);
        let at = cx.b.div(at, shares);
        let at = cx.b.mul(at, unit_e);
        cx.b.min(at, all)
    };
    let from = at(cx, i);
    let next = cx.b.add(i, one);
    let to = at(cx, next);
    let from = cx.b.let_(from);
    let count = cx.b.sub(to, from);
    (from, cx.b.let_(count))
}

/// Rows of an input that are added up.
#[derive(Clone, Copy)]
struct Rows {
    input: usize,
    /// The first element of row 0, and elements from one row to the next.
    first: ExprId,
    pitch: ExprId,
    /// Factors of the rows.
    factors: Option<BufId>,
}

/// Adds rows `from` to `from + count`, `width` elements of each, to the elements of `sums` that begin at the second.
fn add_rows(
    cx: &mut LowerCx,
    rows: Rows,
    (from, count): (ExprId, ExprId),
    width: ExprId,
    (sums, at): (BufId, ExprId),
) -> Result<()> {
    let turns = cx.b.i(TURNS);
    let blocks = cx.b.div(count, turns);
    let done = cx.b.mul(blocks, turns);
    let rest = cx.b.sub(count, done);
    let behind = cx.b.add(from, done);
    for (count, rows_at_once, first) in [(blocks, TURNS, from), (rest, 1, behind)] {
        cx.for_(count, LoopKind::Seq, |cx, block| {
            let n = cx.b.i(rows_at_once);
            let row = cx.b.mul(block, n);
            let row = cx.b.add(first, row);
            let row = cx.b.let_(row);
            let mut each = vec![];
            for k in 0..rows_at_once {
                let k = cx.b.i(k);
                let row = cx.b.add(row, k);
                let start = cx.b.mul(row, rows.pitch);
                let start = cx.b.add(rows.first, start);
                let factor = rows.factors.map(|f| {
                    let v = cx.b.load(f, row);
                    cx.b.let_(v)
                });
                each.push((cx.b.let_(start), factor));
            }
            cx.for_(width, LoopKind::Lanes, |cx, i| {
                let to = cx.b.add(at, i);
                let mut sum = cx.b.load(sums, to);
                for (start, factor) in each {
                    let v = cx.b.add(start, i);
                    let v = cx.load_flat(rows.input, v)?;
                    sum = match factor {
                        Some(f) => cx.b.fma(v, f, sum),
                        None => cx.b.add(sum, v),
                    };
                }
                cx.b.store(sums, to, sum);
                Ok(())
            })
        })?;
    }
    Ok(())
}

/// Channel-last sums: `size` rows of `c` channels, from element `image` on, in so many shares.
fn sum_rows(
    cx: &mut LowerCx,
    image: ExprId,
    c: &Dim,
    size: &Dim,
    (shares, sums): (i64, BufId),
) -> Result<()> {
    let (channels, all, zero) = (cx.b.dim(c), cx.b.i(shares), cx.b.f(0.0));
    cx.parallel(all, |cx, i| {
        let rows = share(cx, i, shares, size, 1);
        let at = cx.b.mul(i, channels);
        let at = cx.b.let_(at);
        cx.for_(channels, LoopKind::Lanes, |cx, j| {
            let to = cx.b.add(at, j);
            cx.b.store(sums, to, zero);
            Ok(())
        })?;
        let of = Rows {
            input: 0,
            first: image,
            pitch: channels,
            factors: None,
        };
        add_rows(cx, of, rows, channels, (sums, at))
    })
}

/// What shares of the channels come to, `n` sums each: products with the means, which are made of the `sums` of so many rows where they
/// are not there yet.
fn squeeze(
    cx: &mut LowerCx,
    sums: Option<(i64, BufId, &Dim)>,
    (means, c): (BufId, &Dim),
    parts: BufId,
    n: &Dim,
) -> Result<()> {
    let (channels, results, zero) = (cx.b.dim(c), cx.b.dim(n), cx.b.f(0.0));
    let (all, first) = (cx.b.i(SHARES), cx.b.i(0));
    cx.parallel(all, |cx, i| {
        let (from, count) = share(cx, i, SHARES, c, LINE);
        if let Some((shares, sums, size)) = sums {
            let size = cx.b.dim(size);
            let divisor = cx.b.cast(Ty::F32, size);
            cx.for_(count, LoopKind::Lanes, |cx, j| {
                let at = cx.b.add(from, j);
                let mut sum = cx.b.load(sums, at);
                for k in 1..shares {
                    let k = cx.b.i(k);
                    let v = cx.b.mul(k, channels);
                    let v = cx.b.add(v, at);
                    let v = cx.b.load(sums, v);
                    sum = cx.b.add(sum, v);
                }
                let mean = cx.b.div(sum, divisor);
                cx.b.store(means, at, mean);
                Ok(())
            })?;
        }
        let at = cx.b.mul(i, results);
        let at = cx.b.let_(at);
        cx.for_(results, LoopKind::Lanes, |cx, j| {
            let to = cx.b.add(at, j);
            cx.b.store(parts, to, zero);
            Ok(())
        })?;
        let of = Rows {
            input: 1,
            first,
            pitch: results,
            factors: Some(means),
        };
        add_rows(cx, of, (from, count), results, (parts, at))
    })
}

/// The squeezed channels: the shares of their sums and the bias, through a function.
fn finish(
    cx: &mut LowerCx,
    parts: BufId,
    (squeezed, n): (BufId, &Dim),
    f: &Function,
) -> Result<()> {
    let results = cx.b.dim(n);
    cx.for_(results, LoopKind::Lanes, |cx, j| {
        let mut sum = cx.load_flat(2, j)?;
        for k in 0..SHARES {
            let k = cx.b.i(k);
            let v = cx.b.mul(k, results);
            let v = cx.b.add(v, j);
            let v = cx.b.load(parts, v);
            sum = cx.b.add(sum, v);
        }
        let v = f.apply(&mut cx.b, sum);
        cx.b.store(squeezed, j, v);
        Ok(())
    })
}

/// The gates: shares of the channels, each a product of the squeezed ones with their part of the matrix, the bias, and a function.
fn excite(
    cx: &mut LowerCx,
    (squeezed, k): (BufId, &Dim),
    (gates, c): (BufId, &Dim),
    f: &Function,
) -> Result<()> {
    let (depth, channels) = (cx.b.dim(k), cx.b.dim(c));
    let (all, first) = (cx.b.i(SHARES), cx.b.i(0));
    cx.parallel(all, |cx, i| {
        let (from, count) = share(cx, i, SHARES, c, LINE);
        cx.for_(count, LoopKind::Lanes, |cx, j| {
            let at = cx.b.add(from, j);
            let bias = cx.load_flat(4, at)?;
            cx.b.store(gates, at, bias);
            Ok(())
        })?;
        let of = Rows {
            input: 3,
            first: from,
            pitch: channels,
            factors: Some(squeezed),
        };
        add_rows(cx, of, (first, depth), count, (gates, from))?;
        cx.for_(count, LoopKind::Lanes, |cx, j| {
            let at = cx.b.add(from, j);
            let v = cx.b.load(gates, at);
            let v = f.apply(&mut cx.b, v);
            cx.b.store(gates, at, v);
            Ok(())
        })
    })
}
