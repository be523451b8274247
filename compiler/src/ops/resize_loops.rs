//! The loops of Resize: what is done along each axis is known, and elements are made of the input's, row by row where it can be.

use super::resize_table::How;
use super::util::{in_pieces, unravel};
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::contracts::repeat::{LINES, MOST, SIZE, TIMES};
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{Arg, BufId, ExprId, LoopKind, Ty, UnOp};

/// What is done along one axis.
pub(super) enum Axis {
    /// Nothing.
    Same,
    /// Every element this many times.
    Repeat(i64),
    /// A table.
    Table {
        n: i64,
        index: BufId,
        weight: Option<BufId>,
        outside: Option<BufId>,
    },
}

/// Weights of bytes are multiples of 2^-22, or of a larger power where they are so large that their sums with bytes would not fit an i32.
pub(super) const UNITS: f64 = (1 << 22) as f64;

/// Elements of the input in a piece of work for one thread.
const PIECE: i64 = 1 << 12;

/// Taps of an element that are written out, at most: along several axes, and along a single one, where they are what an image shrinks by.
const WRITTEN_OUT: i64 = 16;
const WRITTEN_OUT_ALONG: i64 = 96;

/// Writes the loops of a Resize over a plan for each axis.
pub(super) fn emit(
    cx: &mut LowerCx,
    out: &[Dim],
    plan: &[Axis],
    how: &How,
    dtype: DType,
    ty: Ty,
    units: i64,
) -> Result<()> {
    let sizes: Vec<i64> = plan
        .iter()
        .map(|a| match a {
            Axis::Table { n, .. } if how.mode != "nearest" => *n,
            _ => 1,
        })
        .collect();
    let element = Element {
        plan,
        nearest: how.mode == "nearest",
        dtype,
        ty,
        units,
    };
    let most = match sizes.iter().filter(|&&n| n > 1).count() {
        1 => WRITTEN_OUT_ALONG,
        _ => WRITTEN_OUT,
    };
    let few = sizes.iter().product::<i64>() <= most;
    if let Some((Axis::Same, rest)) = plan.split_last()
        && !rest.is_empty()
        && few
    {
        return element.rows(cx, out, &sizes);
    }
    if let Some((
        Axis::Table {
            n,
            index,
            weight: Some(weight),
            ..
        },
        rest,
    )) = plan.split_last()
        && !rest.is_empty()
        && few
    {
        return element.across(cx, out, &sizes[..rest.len()], (*n, *index, *weight));
    }
    if element.nearest && out.len() > 1 {
        if element.repeated(cx)? {
            return Ok(());
        }
        return element.nearest_rows(cx, out);
    }
    cx.each(out, LoopKind::Lanes, |cx, o| {
        let beyond = element.beyond(cx, o);
        if element.nearest {
            let none = vec![cx.b.i(0); o.len()];
            let (index, _) = element.tap(cx, o, &none);
            let v = cx.load(0, &index)?;
            return element.store(cx, o, v, beyond);
        }
        let zero = element.nothing(cx);
        let sum = cx.b.var(zero);
        crate::contracts::conv::seq(cx, &sizes, |cx, k| {
            let (at, w) = element.tap(cx, o, k);
            let w = element.in_units(cx, w);
            let v = cx.load(0, &at)?;
            let old = cx.b.get(sum);
            let new = element.added(cx, w, v, old);
            cx.b.set(sum, new);
            Ok(())
        })?;
        let v = cx.b.get(sum);
        element.store(cx, o, v, beyond)
    })
}

/// The taps of an element, one number for each axis.
fn written_out(sizes: &[i64]) -> impl Iterator<Item = Vec<i64>> {
    (0..sizes.iter().product::<i64>()).map(|number| unravel(sizes, number))
}

/// How an element of the output is made.
struct Element<'a> {
    plan: &'a [Axis],
    nearest: bool,
    dtype: DType,
    ty: Ty,
    /// Weights of bytes are multiples of 2 to the power of minus this.
    units: i64,
}

impl Element<'_> {
    /// Whether it lies outside of what is resized.
    fn beyond(&self, cx: &mut LowerCx, o: &[ExprId]) -> ExprId {
        let mut beyond = cx.b.bool(false);
        for (a, &o) in self.plan.iter().zip(o) {
            if let Axis::Table {
                outside: Some(buf), ..
            } = a
            {
                let c = cx.b.load(*buf, o);
                beyond = cx.b.or(beyond, c);
            }
        }
        beyond
    }
    /// Index and weight of tap `k` (one number for each axis).
    fn tap(&self, cx: &mut LowerCx, o: &[ExprId], k: &[ExprId]) -> (Vec<ExprId>, ExprId) {
        let mut at = vec![];
        let mut w = cx.b.num(self.ty, 1.0);
        for ((a, &o), &k) in self.plan.iter().zip(o).zip(k) {
            at.push(match a {
                Axis::Same => o,
                Axis::Repeat(k) => ex!(cx.b; o / {cx.b.i(*k)}),
                Axis::Table { index, .. } if self.nearest => position(cx, *index, o),
                Axis::Table {
                    n, index, weight, ..
                } => {
                    let row = ex!(cx.b; (o * {cx.b.i(*n)}) + k);
                    if let Some(weight) = weight {
                        let f = cx.b.load(*weight, row);
                        w = cx.b.mul(w, f);
                    }
                    position(cx, *index, row)
                }
            });
        }
        (at, w)
    }
    /// A weight as it is multiplied with: that of bytes in units.
    fn in_units(&self, cx: &mut LowerCx, w: ExprId) -> ExprId {
        if !self.whole() {
            return w;
        }
        let unit = cx.b.num(self.ty, (1i64 << self.units) as f64);
        let w = cx.b.mul(w, unit);
        let w = cx.b.un(UnOp::Near, w);
        cx.b.cast(Ty::I32, w)
    }
    /// Whether weights are whole numbers of units: those of bytes, whose sums are then the same on every machine.
    fn whole(&self) -> bool {
        !self.nearest && matches!(self.dtype, DType::I8 | DType::U8)
    }
    /// A sum of nothing.
    fn nothing(&self, cx: &mut LowerCx) -> ExprId {
        match self.whole() {
            true => cx.b.int(Ty::I32, 0),
            false => cx.b.num(self.ty, 0.0),
        }
    }
    /// A sum and an element times its weight.
    fn added(&self, cx: &mut LowerCx, w: ExprId, v: ExprId, sum: ExprId) -> ExprId {
        if self.whole() {
            return ex!(cx.b; sum + (w * v));
        }
        let v = cx.b.cast(self.ty, v);
        cx.b.fma(w, v, sum)
    }
    /// The nearest byte of a sum of units; halves go to what is even above the attribute `zero`, which stands for 0.
    fn rounded(&self, cx: &mut LowerCx, sum: ExprId) -> ExprId {
        let units = self.units;
        let mut int = |v: i64| cx.b.int(Ty::I32, v);
        let (by, one, half) = (int(units), int(1), int((1 << (units - 1)) - 1));
        let below = cx.b.shr(sum, by);
        let below = match cx.attrs.int("zero", 0) % 2 {
            0 => below,
            _ => cx.b.add(below, one),
        };
        let odd = cx.b.and(below, one);
        let up = ex!(cx.b; (sum + half) + odd);
        let v = cx.b.shr(up, by);
        let (lo, hi) = self.dtype.int_range().unwrap_or((0, 255));
        let (lo, hi) = (cx.b.int(Ty::I32, lo as i64), cx.b.int(Ty::I32, hi as i64));
        cx.b.clamp(v, lo, hi)
    }
    fn store(&self, cx: &mut LowerCx, o: &[ExprId], value: ExprId, beyond: ExprId) -> Result<()> {
        let own = Ty::of(self.dtype);
        let extra = f64::from(cx.attrs.float("extrapolation_value", 0.0));
        if self.nearest {
            let e = cx.b.num(own, extra);
            let v = cx.b.select(beyond, e, value);
            cx.store(0, o, v);
            return Ok(());
        }
        if self.whole() {
            let (e, v) = (cx.b.num(own, extra), self.rounded(cx, value));
            let v = cx.b.select(beyond, e, v);
            cx.store(0, o, v);
            return Ok(());
        }
        let e = cx.b.num(self.ty, extra);
        let mut v = cx.b.select(beyond, e, value);
        if let Some((lo, hi)) = self.dtype.int_range() {
            v = cx.b.un(UnOp::Round, v);
            let (lo, hi) = (cx.b.num(self.ty, lo as f64), cx.b.num(self.ty, hi as f64));
            v = cx.b.clamp(v, lo, hi);
            v = cx.b.cast(own, v);
        }
        cx.store(0, o, v);
        Ok(())
    }
    /// Rows by the other axes' taps, found once for a row, then along the last axis. `last`: its taps for an element, their positions and weights.
    fn across(
        &self,
        cx: &mut LowerCx,
        out: &[Dim],
        sizes: &[i64],
        (n, index, weight): (i64, BufId, BufId),
    ) -> Result<()> {
        let last = sizes.len();
        cx.each(&out[..last], LoopKind::Seq, |cx, o| {
            let taps: Vec<(Vec<ExprId>, ExprId)> = written_out(sizes)
                .map(|k| {
                    let k: Vec<ExprId> = k.into_iter().map(|k| cx.b.i(k)).collect();
                    let (at, w) = self.tap(cx, o, &k);
                    let at = at.into_iter().map(|i| cx.b.let_(i)).collect();
                    (at, cx.b.let_(w))
                })
                .collect();
            let columns = cx.b.dim(&out[last]);
            cx.for_(columns, LoopKind::Lanes, |cx, c| {
                let mut sum = self.nothing(cx);
                for k in 0..n {
                    let row = ex!(cx.b; (c * {cx.b.i(n)}) + {cx.b.i(k)});
                    let (at_last, w_last) = (position(cx, index, row), cx.b.load(weight, row));
                    let at_last = cx.b.let_(at_last);
                    let mut part = self.nothing(cx);
                    for (at, w) in &taps {
                        let mut at = at.clone();
                        at.push(at_last);
                        let v = cx.load(0, &at)?;
                        if self.whole() {
                            // A tap's weight is rounded, not what it is made of.
                            let w = cx.b.mul(*w, w_last);
                            let w = self.in_units(cx, w);
                            sum = self.added(cx, w, v, sum);
                            continue;
                        }
                        part = self.added(cx, *w, v, part);
                    }
                    if !self.whole() {
                        sum = cx.b.fma(w_last, part, sum);
                    }
                }
                let mut o = o.to_vec();
                o.push(c);
                let beyond = self.beyond(cx, &o);
                self.store(cx, &o, sum, beyond)
            })
        })
    }
    /// Whether a tile took it: elements of the last axis, and of the one before, stand several times, and nothing else is done.
    fn repeated(&self, cx: &mut LowerCx) -> Result<bool> {
        let x = cx.in_shape(0)?;
        let size = self.dtype.size() as i64;
        let fits = (size == 1 || self.dtype == DType::F32) && cx.store_hook.is_none();
        let tile = cx.machine.tile("byte_repeat").filter(|_| fits);
        let (Some(tile), Some(out)) = (tile, cx.output(0).map(|o| o.buf)) else {
            return Ok(false);
        };
        let [outer @ .., above, Axis::Repeat(times)] = self.plan else {
            return Ok(false);
        };
        let lines = match above {
            Axis::Same => 1,
            Axis::Repeat(lines) => *lines,
            Axis::Table { .. } => return Ok(false),
        };
        let whole = outer.iter().all(|a| matches!(a, Axis::Same));
        if !whole || !(2..=MOST).contains(times) || !(1..=MOST).contains(&lines) {
            return Ok(false);
        }
        let shape = [(TIMES, *times), (LINES, lines), (SIZE, size)];
        let callee = tile.callee(shape.map(|(n, v)| (n.to_string(), v)).to_vec());
        let input = cx.input(0)?.buf;
        let (n, rows) = match x.split_last() {
            Some((n, rows)) => (n.clone(), rows.iter().cloned().product::<Dim>()),
            None => return Ok(false),
        };
        let each = n.fixed().unwrap_or(PIECE).max(1);
        in_pieces(cx, &rows, (PIECE / each).max(1), |cx, first, rows| {
            let b = &mut cx.b;
            let n = b.dim(&n);
            let from = ex!(b; first * n);
            let to = ex!(b; from * {b.i(times * lines)});
            let ptr = |buf, offset| Arg::Ptr { buf, offset };
            let args = vec![ptr(input, from), ptr(out, to), Arg::Int(n), Arg::Int(rows)];
            b.call(callee.clone(), args);
        })?;
        Ok(true)
    }
    /// Nearest elements, row by row: one that comes from the same row as the one before it is not made again.
    fn nearest_rows(&self, cx: &mut LowerCx, out: &[Dim]) -> Result<()> {
        let last = out.len() - 1;
        let input = cx.input(0)?.buf;
        let x = cx.in_shape(0)?;
        let row = cx.scratch_per_thread("row", self.dtype, out[last].clone());
        cx.each(&out[..last - 1], LoopKind::Seq, |cx, o| {
            let none = cx.b.i(-1);
            let made = cx.b.var(none);
            let rows = cx.b.dim(&out[last - 1]);
            cx.for_(rows, LoopKind::Seq, |cx, y| {
                let zero = cx.b.i(0);
                let o = [o, &[y, zero]].concat();
                let (mut from, _) = self.tap(cx, &o, &vec![zero; o.len()]);
                from[last] = zero;
                let from = cx.b.offset(&x, &from);
                let from = cx.b.let_(from);
                let was = cx.b.get(made);
                let other = cx.b.ne(was, from);
                cx.if_(
                    other,
                    |cx| {
                        self.make_row(cx, (input, from), (row, &out[last]), &x[last])?;
                        cx.b.set(made, from);
                        Ok(())
                    },
                    |_| Ok(()),
                )?;
                let columns = cx.b.dim(&out[last]);
                cx.for_(columns, LoopKind::Lanes, |cx, c| {
                    let mut o = o.clone();
                    o[last] = c;
                    let v = cx.b.load(row, c);
                    let beyond = self.beyond(cx, &o);
                    self.store(cx, &o, v, beyond)
                })
            })
        })
    }
    /// A row of the output out of a row of the input. `from`: where that begins. `n`: its elements.
    fn make_row(
        &self,
        cx: &mut LowerCx,
        (input, from): (BufId, ExprId),
        (row, columns): (BufId, &Dim),
        n: &Dim,
    ) -> Result<()> {
        let Some(Axis::Repeat(times)) = self.plan.last() else {
            let columns = cx.b.dim(columns);
            return cx.for_(columns, LoopKind::Seq, |cx, c| {
                let at = match self.plan.last() {
                    Some(Axis::Table { index, .. }) => position(cx, *index, c),
                    _ => c,
                };
                let at = cx.b.add(from, at);
                let v = cx.b.load(input, at);
                cx.b.store(row, c, v);
                Ok(())
            });
        };
        let n = cx.b.dim(n);
        let tile = cx.machine.tile("byte_repeat");
        if let Some(tile) = tile.filter(|_| self.dtype == DType::F32 && (2..=MOST).contains(times))
        {
            let shape = vec![(TIMES.to_string(), *times), (SIZE.to_string(), 4)];
            let zero = cx.b.i(0);
            let ptr = |buf, offset| Arg::Ptr { buf, offset };
            let one = Arg::Int(cx.b.i(1));
            let args = vec![ptr(input, from), ptr(row, zero), Arg::Int(n), one];
            cx.b.call(tile.callee(shape), args);
            return Ok(());
        }
        cx.for_(n, LoopKind::Seq, |cx, i| {
            let at = cx.b.add(from, i);
            let v = cx.b.load(input, at);
            let v = cx.b.let_(v);
            for k in 0..*times {
                let to = ex!(cx.b; (i * {cx.b.i(*times)}) + {cx.b.i(k)});
                cx.b.store(row, to, v);
            }
            Ok(())
        })
    }
    /// The last axis stays as it is: what its elements share is found once for all of them.
    fn rows(&self, cx: &mut LowerCx, out: &[Dim], sizes: &[i64]) -> Result<()> {
        let last = out.len() - 1;
        cx.each(&out[..last], LoopKind::Seq, |cx, o| {
            let mut o = o.to_vec();
            let none = cx.b.i(0);
            o.push(none);
            let beyond = self.beyond(cx, &o);
            let beyond = cx.b.let_(beyond);
            let mut taps = vec![];
            for k in written_out(sizes) {
                let k: Vec<ExprId> = k.into_iter().map(|k| cx.b.i(k)).collect();
                let (at, w) = self.tap(cx, &o, &k);
                let w = self.in_units(cx, w);
                let at: Vec<ExprId> = at.into_iter().map(|i| cx.b.let_(i)).collect();
                taps.push((at, cx.b.let_(w)));
            }
            let n = cx.b.dim(&out[last]);
            cx.for_(n, LoopKind::Lanes, |cx, c| {
                let mut o = o.clone();
                o[last] = c;
                let mut sum = self.nothing(cx);
                for (at, w) in &taps {
                    let mut at = at.clone();
                    at[last] = c;
                    let v = cx.load(0, &at)?;
                    if self.nearest {
                        sum = v;
                        break;
                    }
                    sum = self.added(cx, *w, v, sum);
                }
                self.store(cx, &o, sum, beyond)
            })
        })
    }
}

/// Where an element of a table lies in the input.
fn position(cx: &mut LowerCx, index: BufId, at: ExprId) -> ExprId {
    let v = cx.b.load(index, at);
    cx.b.cast(Ty::I64, v)
}
