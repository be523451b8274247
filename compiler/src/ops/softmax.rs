//! Softmax, LogSoftmax, Hardmax. Before opset 13 they took all axes from `axis` on as one.

use super::arg::Row;
use super::axes::{count, fold_in_parts, fold_n, in_parts, origin, others, over};
use super::columns::{Columns, Rows};
use super::softmax_planes::soft_planes;
use super::sort::rises;
use super::util::float_unary;
use crate::base::attr::Attr;
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::build::Builder;
use crate::loops::math::exp_down;
use crate::loops::ir::{BufId, ExprId, LoopKind, Ty, UnOp};
use crate::op::{BASE, InferCx, LATEST, Lower, OpDef, ReadCx, onnx, resolve_axis};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&SOFTMAX, &LOG_SOFTMAX, &HARDMAX];

/// exp(x) over its sum.
pub static SOFTMAX: OpDef = OpDef {
    name: "Softmax",
    onnx: &[
        onnx("Softmax", 1, 12, read_flat),
        onnx("Softmax", 13, LATEST, read),
    ],
    infer,
    lower: Lower::Loops(|cx| soft(cx, false)),
    tails: true,
    sums: true,
    ..BASE
};

/// The logarithm of softmax.
pub static LOG_SOFTMAX: OpDef = OpDef {
    name: "LogSoftmax",
    onnx: &[
        onnx("LogSoftmax", 1, 12, read_flat),
        onnx("LogSoftmax", 13, LATEST, read),
    ],
    infer,
    lower: Lower::Loops(|cx| soft(cx, true)),
    tails: true,
    sums: true,
    ..BASE
};

/// 1 at the first largest element, else 0.
pub static HARDMAX: OpDef = OpDef {
    name: "Hardmax",
    onnx: &[
        onnx("Hardmax", 1, 12, read_flat),
        onnx("Hardmax", 13, LATEST, read),
    ],
    infer,
    lower: Lower::Loops(hard),
    tails: true,
    ..BASE
};

fn read_flat(cx: &mut ReadCx) -> Result<()> {
    cx.set("flat", Attr::Int(1));
    cx.keep_int("axis", 1)
}

fn read(cx: &mut ReadCx) -> Result<()> {
    cx.keep_int("axis", -1)
}

fn infer(cx: &mut InferCx) -> Result<()> {
    float_unary(cx)?;
    let rank = cx.shape(0)?.len();
    if rank == 0 {
        return Ok(());
    }
    // Flattening may name the place behind the last axis.
    let axis = cx.attrs.int("axis", -1);
    if cx.attrs.flag("flat") && axis == rank as i64 {
        return Ok(());
    }
    resolve_axis(axis, rank).map(|_| ())
}

/// The axes over which the sum runs.
fn summed(cx: &LowerCx, rank: usize) -> Result<Vec<usize>> {
    let axis = cx.attrs.int("axis", -1);
    if rank == 0 || (cx.attrs.flag("flat") && axis == rank as i64) {
        return Ok(vec![]);
    }
    let axis = resolve_axis(axis, rank)?;
    Ok(if cx.attrs.flag("flat") {
        (axis..rank).collect()
    } else {
        vec![axis]
    })
}

/// The largest element along `axes`.
fn largest(
    cx: &mut LowerCx,
    shape: &[Dim],
    axes: &[usize],
    at: &[ExprId],
    ty: Ty,
) -> Result<ExprId> {
    let low = cx.b.num(ty, f64::NEG_INFINITY);
    fold_in_parts(cx, shape, axes, at, low, &Builder::max, &|cx, at, best| {
        let x = cx.load(0, at)?;
        Ok(cx.b.max(x, best))
    })
}

/// Bytes of exponentials of rows that are worked on together, at most, and how many rows that may be.
const TOGETHER: i64 = 1 << 14;
const MOST_ROWS: i64 = 8;

/// Exponentials over their sum, or their logarithms, of one row after another.
struct Soft {
    shape: Vec<Dim>,
    axes: Vec<usize>,
    ty: Ty,
    log: bool,
    /// Whether rows lie in one piece.
    rows: bool,
    /// Sizes of a row's axes.
    own: Vec<Dim>,
    /// Exponentials of the rows at hand.
    kept: Option<BufId>,
}

impl Soft {
    /// Where an element of a row is kept. `base`: where the row begins.
    fn place(&self, cx: &mut LowerCx, at: &[ExprId], base: ExprId) -> ExprId {
        let index: Vec<ExprId> = self.axes.iter().map(|&a| at[a]).collect();
        let place = cx.b.offset(&self.own, &index);
        cx.b.add(base, place)
    }
    fn shifted(&self, cx: &mut LowerCx, at: &[ExprId], top: ExprId) -> Result<ExprId> {
        let x = cx.load(0, at)?;
        Ok(cx.b.sub(x, top))
    }
    /// The largest element.
    fn top(&self, cx: &mut LowerCx, at: &[ExprId]) -> Result<ExprId> {
        largest(cx, &self.shape, &self.axes, at, self.ty)
    }
    /// What all elements of a row are multiplied by, or the logarithm that is subtracted.
    fn part(&self, cx: &mut LowerCx, at: &[ExprId], top: ExprId, base: ExprId) -> Result<ExprId> {
        let parts = in_parts(&self.shape, &self.axes, self.ty);
        if let Some(buf) = self.kept
            && !parts
        {
            over(cx, &self.shape, &self.axes, LoopKind::Lanes, at, |cx, at| {
                let x = self.shifted(cx, at, top)?;
                let e = exp_down(&mut cx.b, x);
                let to = self.place(cx, at, base);
                cx.b.store(buf, to, e);
                Ok(())
            })?;
        }
        let step = |cx: &mut LowerCx, at: &[ExprId], sum: ExprId| -> Result<ExprId> {
            let e = match self.kept {
                Some(buf) if parts => {
                    let x = self.shifted(cx, at, top)?;
                    let e = exp_down(&mut cx.b, x);
                    let e = cx.b.let_(e);
                    let to = self.place(cx, at, base);
                    cx.b.store(buf, to, e);
                    e
                }
                Some(buf) => {
                    let from = self.place(cx, at, base);
                    cx.b.load(buf, from)
                }
                None => {
                    let x = self.shifted(cx, at, top)?;
                    exp_down(&mut cx.b, x)
                }
            };
            Ok(cx.b.add(sum, e))
        };
        let zero = cx.b.num(self.ty, 0.0);
        let sum = fold_in_parts(cx, &self.shape, &self.axes, at, zero, &Builder::add, &step)?;
        let part = if self.log {
            cx.b.un(UnOp::Log, sum)
        } else {
            // One division for all: the sum is 1 or more, or NaN.
            let one = cx.b.num(self.ty, 1.0);
            cx.b.div(one, sum)
        };
        Ok(cx.b.let_(part))
    }
    /// Stores a row.
    fn store(
        &self,
        cx: &mut LowerCx,
        at: &[ExprId],
        (top, part): (ExprId, ExprId),
        base: ExprId,
    ) -> Result<()> {
        let kind = if self.rows { LoopKind::Lanes } else { LoopKind::Seq };
        over(cx, &self.shape, &self.axes, kind, at, |cx, at| {
            let v = match (self.log, self.kept) {
                (true, _) => {
                    let x = self.shifted(cx, at, top)?;
                    cx.b.sub(x, part)
                }
                (false, Some(buf)) => {
                    let from = self.place(cx, at, base);
                    ex!(cx.b; {cx.b.load(buf, from)} * part)
                }
                (false, None) => {
                    let x = self.shifted(cx, at, top)?;
                    let e = exp_down(&mut cx.b, x);
                    cx.b.mul(e, part)
                }
            };
            cx.store(0, at, v);
            Ok(())
        })
    }
    /// Several rows step by step: what joins the parts of one takes long, but need not be waited for by the next.
    fn together(
        &self,
        cx: &mut LowerCx,
        (axis, rows): (usize, i64),
        at: &[ExprId],
        (tops, parts): (BufId, BufId),
    ) -> Result<()> {
        let (n, most, one) = (cx.b.dim(&self.shape[axis]), cx.b.i(rows), cx.b.i(1));
        let up = ex!(cx.b; (n + most) - one);
        let blocks = cx.b.floor_div(up, most);
        let length = cx.b.dim(&count(&self.shape, &self.axes));
        cx.for_(blocks, LoopKind::Seq, |cx, block| {
            let first = cx.b.mul(block, most);
            let first = cx.b.let_(first);
            let left = cx.b.sub(n, first);
            let now = cx.b.min(most, left);
            let now = cx.b.let_(now);
            let row = |cx: &mut LowerCx, r: ExprId| {
                let mut at = at.to_vec();
                at[axis] = cx.b.add(first, r);
                (at, cx.b.mul(r, length))
            };
            cx.for_(now, LoopKind::Seq, |cx, r| {
                let (at, _) = row(cx, r);
                let top = self.top(cx, &at)?;
                cx.b.store(tops, r, top);
                Ok(())
            })?;
            cx.for_(now, LoopKind::Seq, |cx, r| {
                let (at, base) = row(cx, r);
                let top = cx.b.load(tops, r);
                let top = cx.b.let_(top);
                let part = self.part(cx, &at, top, base)?;
                cx.b.store(parts, r, part);
                Ok(())
            })?;
            cx.for_(now, LoopKind::Seq, |cx, r| {
                let (at, base) = row(cx, r);
                let (top, part) = (cx.b.load(tops, r), cx.b.load(parts, r));
                let (top, part) = (cx.b.let_(top), cx.b.let_(part));
                self.store(cx, &at, (top, part), base)
            })
        })
    }
}

fn soft(cx: &mut LowerCx, log: bool) -> Result<()> {
    let shape = cx.in_shape(0)?;
    let rank = shape.len();
    let axes = summed(cx, rank)?;
    let mut rest = others(rank, &axes);
    let ty = cx.in_ty(0)?;
    let last = axes.last().is_some_and(|&a| a + 1 == rank);
    if last
        && cx.input(0)?.ty.dtype == DType::F32
        && let Some(columns) = Columns::of(cx, axes.len())
    {
        return columns.each(cx, |cx, rows| {
            soft_columns(cx, &columns, rows, log)?;
            columns.put_back(cx, rows);
            Ok(())
        });
    }
    if let [axis] = axes[..]
        && !last
        && soft_planes(cx, axis, log)?
    {
        return Ok(());
    }
    // Rows that lie in one piece keep their exponentials; columns side by side are taken in lanes.
    let rows = axes.last().is_none_or(|&a| a + 1 == rank);
    let length = count(&shape, &axes);
    let parts = rows && in_parts(&shape, &axes, ty) && !cx.effort.optimize_for_size();
    let together = match (length.fixed(), rest.last()) {
        (Some(n), Some(a)) if parts && !shape[*a].is(1) => {
            Some((*a, (TOGETHER / (4 * n.max(1))).min(MOST_ROWS))).filter(|(_, k)| *k > 1)
        }
        _ => None,
    };
    let at_once = Dim::Fixed(together.map_or(1, |(_, k)| k));
    let dtype = if ty == Ty::F64 { DType::F64 } else { DType::F32 };
    let kept = (rows && !log).then(|| {
        let all = length * at_once.clone();
        cx.scratch_per_thread("exponentials", dtype, all)
    });
    let own: Vec<Dim> = axes.iter().map(|&a| shape[a].clone()).collect();
    let start = origin(cx, rank);
    let soft = Soft { shape: shape.clone(), axes, ty, log, rows, own, kept };
    if let Some(together) = together {
        rest.pop();
        let tops = cx.scratch_per_thread("tops", dtype, at_once.clone());
        let parts = cx.scratch_per_thread("sums", dtype, at_once);
        return over(cx, &shape, &rest, LoopKind::Seq, &start, |cx, at| {
            soft.together(cx, together, at, (tops, parts))
        });
    }
    let kind = if rows { LoopKind::Seq } else { LoopKind::Lanes };
    over(cx, &shape, &rest, kind, &start, |cx, at| {
        let top = soft.top(cx, at)?;
        let zero = cx.b.i(0);
        let part = soft.part(cx, at, top, zero)?;
        soft.store(cx, at, (top, part), zero)
    })
}

/// The same of short rows, one in each lane.
fn soft_columns(cx: &mut LowerCx, columns: &Columns, rows: Rows, log: bool) -> Result<()> {
    let n = cx.b.i(columns.n);
    cx.for_(rows.count, LoopKind::Lanes, |cx, r| {
        let low = cx.b.num(Ty::F32, f64::NEG_INFINITY);
        let top = fold_n(cx, n, low, |cx, k, best| {
            let at = rows.place(cx, k, r);
            let x = cx.b.load(rows.columns, at);
            Ok(cx.b.max(x, best))
        })?;
        let zero = cx.b.num(Ty::F32, 0.0);
        let sum = fold_n(cx, n, zero, |cx, k, sum| {
            let at = rows.place(cx, k, r);
            let x = cx.b.load(rows.columns, at);
            let x = cx.b.sub(x, top);
            let x = cx.b.let_(x);
            let e = exp_down(&mut cx.b, x);
            let e = cx.b.let_(e);
            cx.b.store(rows.columns, at, if log { x } else { e });
            Ok(cx.b.add(sum, e))
        })?;
        let part = match log {
            true => cx.b.un(UnOp::Log, sum),
            false => ex!(cx.b; 1.0 / sum),
        };
        let part = cx.b.let_(part);
        cx.for_(n, LoopKind::Seq, |cx, k| {
            let at = rows.place(cx, k, r);
            let v = cx.b.load(rows.columns, at);
            let v = match log {
                true => cx.b.sub(v, part),
                false => cx.b.mul(v, part),
            };
            cx.b.store(rows.columns, at, v);
            Ok(())
        })
    })
}

/// 1 at the first largest element of short rows, one in each lane.
fn hard_columns(cx: &mut LowerCx, columns: &Columns, rows: Rows) -> Result<()> {
    let n = cx.b.i(columns.n);
    cx.for_(rows.count, LoopKind::Lanes, |cx, r| {
        let x = cx.b.load(rows.columns, r);
        let (none, one) = (cx.b.int(Ty::I32, 0), cx.b.i(1));
        let (best, place) = (cx.b.var(x), cx.b.var(none));
        let rest = cx.b.sub(n, one);
        let count = cx.b.var(none);
        cx.for_(rest, LoopKind::Seq, |cx, k| {
            let k = cx.b.add(k, one);
            let at = rows.place(cx, k, r);
            let x = cx.b.load(rows.columns, at);
            let x = cx.b.let_(x);
            let b = &mut cx.b;
            let number = b.get(count);
            let unit = ex!(b; number + {b.int(Ty::I32, 1)});
            let unit = b.let_(unit);
            b.set(count, unit);
            let (old, was) = (b.get(best), b.get(place));
            let better = rises(b, DType::F32, old, x);
            let better = b.let_(better);
            let (v, p) = (b.select(better, x, old), b.select(better, unit, was));
            b.set(place, p);
            b.set(best, v);
            Ok(())
        })?;
        let first = cx.b.get(place);
        let first = cx.b.let_(first);
        cx.b.set(count, none);
        cx.for_(n, LoopKind::Seq, |cx, k| {
            let at = rows.place(cx, k, r);
            let b = &mut cx.b;
            let number = b.get(count);
            let v = ex!(b; select((number == first), {b.f(1.0)}, {b.f(0.0)}));
            b.store(rows.columns, at, v);
            let next = ex!(b; number + {b.int(Ty::I32, 1)});
            b.set(count, next);
            Ok(())
        })
    })
}

/// Elements of a row up to which their numbers are kept.
const SHORT: i64 = 1024;

fn hard(cx: &mut LowerCx) -> Result<()> {
    let shape = cx.in_shape(0)?;
    let rank = shape.len();
    let axes = summed(cx, rank)?;
    let rest = others(rank, &axes);
    let ty = cx.in_ty(0)?;
    let last = axes.last().is_some_and(|&a| a + 1 == rank);
    if last
        && cx.input(0)?.ty.dtype == DType::F32
        && let Some(columns) = Columns::of(cx, axes.len())
    {
        return columns.each(cx, |cx, rows| {
            hard_columns(cx, &columns, rows)?;
            columns.put_back(cx, rows);
            Ok(())
        });
    }
    let (one, zero) = (cx.b.num(ty, 1.0), cx.b.num(ty, 0.0));
    let own: Vec<Dim> = axes.iter().map(|&a| shape[a].clone()).collect();
    let row = Row {
        d: cx.input(0)?.ty.dtype,
        n: own.iter().cloned().product(),
        max: true,
        last: false,
        in_one_piece: axes.last().is_none_or(|&a| a + 1 == rank),
        long: 32,
    };
    // The numbers of a short row's elements: one loop then does it.
    let numbers = match row.n.fixed() {
        Some(n @ 1..=SHORT) if row.in_one_piece && axes.len() == 1 => {
            let all: Vec<f64> = (0..n).map(|i| i as f64).collect();
            Some(cx.constant("numbers", Tensor::from_f64s(DType::I32, &[n], &all)))
        }
        _ => None,
    };
    let start = origin(cx, rank);
    // Columns side by side are taken in lanes.
    let kind = if row.in_one_piece { LoopKind::Seq } else { LoopKind::Lanes };
    over(cx, &shape, &rest, kind, &start, |cx, at| {
        let index = |cx: &mut LowerCx, i: ExprId| {
            let inner = match own.len() {
                1 => vec![i],
                _ => cx.b.unoffset(&own, i),
            };
            let mut index = at.to_vec();
            for (a, i) in axes.iter().zip(inner) {
                index[*a] = i;
            }
            index
        };
        let flat = cx.b.offset(&shape, at);
        let input = cx.input(0)?.buf;
        let first = row.place(cx, &|cx, i| {
            if !row.in_one_piece {
                let at = index(cx, i);
                return cx.load(0, &at);
            }
            let place = cx.b.add(flat, i);
            Ok(cx.b.load(input, place))
        })?;
        let first = cx.b.let_(first);
        if !row.in_one_piece {
            let n = cx.b.dim(&row.n);
            return cx.for_(n, LoopKind::Seq, |cx, i| {
                let here = cx.b.cast(cx.b.ty(first), i);
                let hit = cx.b.eq(here, first);
                let v = cx.b.select(hit, one, zero);
                let at = index(cx, i);
                cx.store(0, &at, v);
                Ok(())
            });
        }
        if let Some(numbers) = numbers {
            let n = cx.b.dim(&row.n);
            let first = cx.b.cast(Ty::I32, first);
            let first = cx.b.let_(first);
            return cx.for_(n, LoopKind::Lanes, |cx, i| {
                let here = cx.b.load(numbers, i);
                let v = ex!(cx.b; select((here == first), one, zero));
                let at = index(cx, i);
                cx.store(0, &at, v);
                Ok(())
            });
        }
        // What stands before it, itself, and what stands behind. Of nothing nothing is stored.
        let (first, n) = (cx.b.cast(Ty::I64, first), cx.b.dim(&row.n));
        let (none, single) = (cx.b.i(0), cx.b.i(1));
        let behind = cx.b.add(first, single);
        let left = cx.b.sub(n, behind);
        let some = cx.b.min(n, single);
        for (from, count, v) in [(none, first, zero), (first, some, one), (behind, left, zero)] {
            cx.for_(count, LoopKind::Lanes, |cx, i| {
                let i = cx.b.add(from, i);
                let at = index(cx, i);
                cx.store(0, &at, v);
                Ok(())
            })?;
        }
        Ok(())
    })
}
