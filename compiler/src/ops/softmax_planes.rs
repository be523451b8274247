//! Softmax and LogSoftmax along an axis behind which others lie: what is side by side there is worked on together, so that every line of the planes is
//! read whole, and each exponential is computed once.

use super::util::in_pieces;
use crate::base::diag::Result;
use crate::base::dim::{Dim, fixed_shape};
use crate::base::dtype::DType;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{BufId, ExprId, LoopKind, Ty, UnOp};
use crate::loops::math::exp_down;

/// Elements of a plane that are worked on together.
const SIDE_BY_SIDE: i64 = 64;
/// Planes at most: what is kept of so many elements of each has to stay near.
const PLANES: i64 = 1024;
/// Elements of a plane below which it is not worth it.
const LEAST: i64 = 8;

/// Elements of so many planes.
struct Planes {
    /// How many there are, elements of one, and how many of these are worked on together.
    n: i64,
    plane: i64,
    width: i64,
    /// The largest, and the sums of exponentials or what is made of them, of the columns at hand.
    tops: BufId,
    sums: BufId,
    /// Exponentials, or what they are of.
    kept: BufId,
    log: bool,
}

/// Lowers input 0 along `axis`; `false`: it is not for this form.
pub fn soft_planes(cx: &mut LowerCx, axis: usize, log: bool) -> Result<bool> {
    let x = cx.input(0)?;
    let (float, shape) = (x.ty.dtype == DType::F32, fixed_shape(&x.ty.shape));
    let product = |d: &[i64]| d.iter().try_fold(1i64, |a, &d| a.checked_mul(d));
    let sizes = shape.and_then(|s| {
        let (before, behind) = (product(&s[..axis])?, product(s.get(axis + 1..)?)?);
        Some((before, s[axis], behind))
    });
    let lone = cx.store_hook.is_none() && !cx.effort.optimize_for_size();
    let Some((before, n, plane)) = sizes.filter(|_| float && lone) else {
        return Ok(false);
    };
    if !(1..=PLANES).contains(&n) || plane < LEAST {
        return Ok(false);
    }
    let width = plane.min(SIDE_BY_SIDE);
    let mut scratch =
        |name: &str, n: i64| cx.scratch_per_thread(name, DType::F32, Dim::Fixed(n * width));
    let planes = Planes {
        n,
        plane,
        width,
        tops: scratch("tops", 1),
        sums: scratch("sums", 1),
        kept: scratch("kept", n),
        log,
    };
    let before = cx.b.i(before);
    cx.parallel(before, |cx, i| {
        let base = ex!(cx.b; i * {cx.b.i(n * plane)});
        let base = cx.b.let_(base);
        let mut done = Ok(());
        in_pieces(cx, &Dim::Fixed(plane), width, |cx, first, count| {
            let first = cx.b.add(base, first);
            let first = cx.b.let_(first);
            if done.is_ok() {
                done = planes.columns(cx, first, count);
            }
        })?;
        done
    })?;
    Ok(true)
}

impl Planes {
    /// `f` with each of `count` columns in lanes: the column, and where element `k` of it lies, and what is kept of it.
    fn each(
        &self,
        cx: &mut LowerCx,
        (first, k, count): (ExprId, ExprId, ExprId),
        f: impl FnOnce(&mut LowerCx, ExprId, ExprId, ExprId) -> Result<()>,
    ) -> Result<()> {
        let start = ex!(cx.b; first + (k * {cx.b.i(self.plane)}));
        let start = cx.b.let_(start);
        let own = ex!(cx.b; k * {cx.b.i(self.width)});
        cx.for_(count, LoopKind::Lanes, |cx, j| {
            let (at, own) = (cx.b.add(start, j), cx.b.add(own, j));
            f(cx, j, at, own)
        })
    }

    /// Columns that begin side by side at an element of the first plane.
    fn columns(&self, cx: &mut LowerCx, first: ExprId, count: ExprId) -> Result<()> {
        let (n, low, zero) = (
            cx.b.i(self.n),
            cx.b.num(Ty::F32, f64::NEG_INFINITY),
            cx.b.f(0.0),
        );
        let (tops, sums, kept) = (self.tops, self.sums, self.kept);
        cx.for_(count, LoopKind::Lanes, |cx, j| {
            cx.b.store(tops, j, low);
            cx.b.store(sums, j, zero);
            Ok(())
        })?;
        cx.for_(n, LoopKind::Seq, |cx, k| {
            self.each(cx, (first, k, count), |cx, j, at, _| {
                let x = cx.load_flat(0, at)?;
                let best = cx.b.load(tops, j);
                let best = cx.b.max(x, best);
                cx.b.store(tops, j, best);
                Ok(())
            })
        })?;
        cx.for_(n, LoopKind::Seq, |cx, k| {
            self.each(cx, (first, k, count), |cx, j, at, own| {
                let x = cx.load_flat(0, at)?;
                let top = cx.b.load(tops, j);
                let x = cx.b.sub(x, top);
                let x = cx.b.let_(x);
                let e = exp_down(&mut cx.b, x);
                let e = cx.b.let_(e);
                cx.b.store(kept, own, if self.log { x } else { e });
                let sum = cx.b.load(sums, j);
                let sum = cx.b.add(sum, e);
                cx.b.store(sums, j, sum);
                Ok(())
            })
        })?;
        cx.for_(count, LoopKind::Lanes, |cx, j| {
            let sum = cx.b.load(sums, j);
            let part = match self.log {
                true => cx.b.un(UnOp::Log, sum),
                // One division for all: the sum is 1 or more, or NaN.
                false => ex!(cx.b; 1.0 / sum),
            };
            cx.b.store(sums, j, part);
            Ok(())
        })?;
        cx.for_(n, LoopKind::Seq, |cx, k| {
            self.each(cx, (first, k, count), |cx, j, at, own| {
                let (v, part) = (cx.b.load(kept, own), cx.b.load(sums, j));
                let v = match self.log {
                    true => cx.b.sub(v, part),
                    false => cx.b.mul(v, part),
                };
                cx.store_flat(0, at, v);
                Ok(())
            })
        })
    }
}
