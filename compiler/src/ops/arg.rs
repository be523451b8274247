//! ArgMax and ArgMin: where the largest or smallest element of an axis stands.
//!
//! Of equal elements the first counts, or the last with `select_last_index`. NaN counts as the extreme, as in numpy.

use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{ExprId, LoopKind, Ty, UnOp};
use crate::op::{BASE, InferCx, Lower, OpDef, ReadCx};
use crate::ops::axes::{halves, parts_of};
use crate::ops::util::*;

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&ARG_MAX, &ARG_MIN];

macro_rules! rows {
    ($($id:ident $name:literal $max:literal;)*) => {$(
        #[doc = concat!($name, " along `axis`.")]
        pub static $id: OpDef = OpDef {
            name: $name,
            onnx: &[since($name, 1, read)],
            infer,
            lower: Lower::Loops(|cx| lower(cx, $max)),
            tails: true,
            ..BASE
        };
    )*};
}

rows! {
    ARG_MAX "ArgMax" true;
    ARG_MIN "ArgMin" false;
}

fn read(cx: &mut ReadCx) -> Result<()> {
    cx.keep_int("axis", 0)?;
    cx.keep_int("keepdims", 1)?;
    cx.keep_int("select_last_index", 0)
}

fn infer(cx: &mut InferCx) -> Result<()> {
    accept(cx, 0, number)?;
    let mut shape = cx.shape(0)?;
    let axis = cx.axis(cx.attrs.int("axis", 0), shape.len())?;
    if shape[axis].is(0) {
        return bad("an empty axis has no largest or smallest element");
    }
    if cx.attrs.int("keepdims", 1) != 0 {
        shape[axis] = Dim::Fixed(1);
    } else {
        shape.remove(axis);
    }
    cx.out(0, DType::I64, shape);
    Ok(())
}

fn lower(cx: &mut LowerCx, max: bool) -> Result<()> {
    let shape = cx.in_shape(0)?;
    let axis = crate::op::resolve_axis(cx.attrs.int("axis", 0), shape.len())?;
    let keep = cx.attrs.int("keepdims", 1) != 0;
    let mut kept = shape.clone();
    kept.remove(axis);
    let row = Row {
        d: cx.input(0)?.ty.dtype,
        n: shape[axis].clone(),
        max,
        last: cx.attrs.flag("select_last_index"),
        in_one_piece: axis + 1 == shape.len(),
        long: 128,
    };
    let kind = if row.in_parts(cx) { LoopKind::Seq } else { LoopKind::Lanes };
    cx.each(&kept, kind, |cx, at| {
        let v = row.place(cx, &|cx, i| {
            let mut p = at.to_vec();
            p.insert(axis, i);
            cx.load(0, &p)
        })?;
        let v = cx.b.cast(Ty::I64, v);
        let mut to = at.to_vec();
        if keep {
            let zero = cx.b.i(0);
            to.insert(axis, zero);
        }
        cx.store(0, &to, v);
        Ok(())
    })
}

/// Element i of a row.
pub type Element<'f> = &'f dyn Fn(&mut LowerCx, ExprId) -> Result<ExprId>;

/// A row whose largest (or smallest) element is looked for.
pub struct Row {
    /// Type of its elements.
    pub d: DType,
    /// How many there are.
    pub n: Dim,
    /// The largest, not the smallest.
    pub max: bool,
    /// Of equals the last, not the first.
    pub last: bool,
    /// Neighbours in the row are neighbours in memory.
    pub in_one_piece: bool,
    /// Elements of a row from which on it is looked through in parts.
    pub long: i64,
}

impl Row {
    // Positions are counted in 32 bits where they fit: then several are looked for at once.
    fn is_narrow(&self, cx: &LowerCx) -> bool {
        self.n.bounds(cx.symbols).1 <= i64::from(i32::MAX)
    }
    /// Whether memory of its own holds what is found so far: rows are then looked through one after another.
    pub fn in_parts(&self, cx: &LowerCx) -> bool {
        let long = self.n.fixed().is_none_or(|n| n >= self.long);
        let keyed = matches!(Ty::of(self.d), Ty::F32 | Ty::I32);
        long && keyed && self.in_one_piece && self.is_narrow(cx)
    }
    /// Where it stands: I32 where the length fits, else I64.
    pub fn place(&self, cx: &mut LowerCx, x: Element) -> Result<ExprId> {
        if self.in_parts(cx) {
            return self.place_in_parts(cx, x);
        }
        let count = if self.is_narrow(cx) { Ty::I32 } else { Ty::I64 };
        let (d, max, last) = (self.d, self.max, self.last);
        let n = cx.b.dim(&self.n);
        let zero = cx.b.i(0);
        let first = match self.n.fixed() {
            Some(n) if n > 0 => x(cx, zero)?,
            // Nothing may be read of a row without elements.
            _ => {
                let nothing = cx.b.int(Ty::of(d), 0);
                let first = cx.b.var(nothing);
                let one = cx.b.i(1);
                let some = cx.b.min(n, one);
                cx.for_(some, LoopKind::Seq, |cx, i| {
                    let v = x(cx, i)?;
                    cx.b.set(first, v);
                    Ok(())
                })?;
                cx.b.get(first)
            }
        };
        let start = cx.b.int(count, 0);
        let (best, where_) = (cx.b.var(first), cx.b.var(start));
        cx.for_(n, LoopKind::Seq, |cx, i| {
            let x = x(cx, i)?;
            let x = cx.b.let_(x);
            let (old, at) = (cx.b.get(best), cx.b.get(where_));
            let better = beats(cx, d, x, old, max, last);
            let better = cx.b.let_(better);
            let i = cx.b.cast(count, i);
            let (x, i) = (cx.b.select(better, x, old), cx.b.select(better, i, at));
            cx.b.set(best, x);
            cx.b.set(where_, i);
            Ok(())
        })?;
        let v = cx.b.get(where_);
        Ok(cx.b.let_(v))
    }
    /// A whole number, larger where an element is better: NaN the best, zeros equal.
    fn key(&self, cx: &mut LowerCx, x: ExprId) -> ExprId {
        let b = &mut cx.b;
        if !self.d.is_float() {
            let all = b.int(Ty::I32, -1);
            return if self.max { x } else { b.xor(x, all) };
        }
        let zero = b.num(Ty::F32, 0.0);
        // 0 - 0 and 0 + -0 are 0.
        let x = if self.max { b.add(zero, x) } else { b.sub(zero, x) };
        let key = float_key(b, x, Nan::Largest);
        let nan = b.int(Ty::I32, ANY_NAN);
        b.min(key, nan)
    }
    /// The same where a row lies in one piece: element i goes into part i modulo their number, each of which keeps the best and
    /// the round in which it came.
    fn place_in_parts(&self, cx: &mut LowerCx, x: Element) -> Result<ExprId> {
        let parts = parts_of(&self.n);
        let iota: Vec<f64> = (0..parts).map(|i| i as f64).collect();
        let own = cx.constant("numbers", Tensor::from_f64s(DType::I32, &[parts], &iota));
        let (n, p) = (cx.b.dim(&self.n), cx.b.i(parts));
        let (rounds, rest) = (cx.b.floor_div(n, p), cx.b.floor_mod(n, p));
        let rounds = cx.b.let_(rounds);
        let size = Dim::Fixed(parts);
        let keys = cx.scratch_per_thread("keys", DType::I32, size.clone());
        let places = cx.scratch_per_thread("places", DType::I32, size);
        let step = |cx: &mut LowerCx, best, round, r: ExprId, l| -> Result<()> {
            let at = ex!(cx.b; (r * p) + l);
            let x = x(cx, at)?;
            let key = self.key(cx, x);
            let key = cx.b.let_(key);
            let (old, was) = (cx.b.get(best), cx.b.get(round));
            let better = match self.last {
                true => cx.b.le(old, key),
                false => cx.b.lt(old, key),
            };
            let better = cx.b.let_(better);
            let r = cx.b.cast(Ty::I32, r);
            let (key, r) = (cx.b.select(better, key, old), cx.b.select(better, r, was));
            cx.b.set(best, key);
            cx.b.set(round, r);
            Ok(())
        };
        cx.for_(p, LoopKind::Lanes, |cx, l| {
            // A part that nothing went into is behind those of as small a key: its place is larger, or negative.
            let none = if self.last { -1 } else { 0 };
            let (least, none) = (cx.b.int(Ty::I32, i64::from(i32::MIN)), cx.b.int(Ty::I32, none));
            let (best, round) = (cx.b.var(least), cx.b.var(none));
            cx.for_(rounds, LoopKind::Seq, |cx, r| step(cx, best, round, r, l))?;
            let (key, round) = (cx.b.get(best), cx.b.get(round));
            cx.b.store(keys, l, key);
            cx.b.store(places, l, round);
            Ok(())
        })?;
        cx.for_(rest, LoopKind::Lanes, |cx, l| {
            let (key, round) = (cx.b.load(keys, l), cx.b.load(places, l));
            let (best, round) = (cx.b.var(key), cx.b.var(round));
            step(cx, best, round, rounds, l)?;
            let (key, round) = (cx.b.get(best), cx.b.get(round));
            cx.b.store(keys, l, key);
            cx.b.store(places, l, round);
            Ok(())
        })?;
        // Rounds become places.
        cx.for_(p, LoopKind::Lanes, |cx, l| {
            let (round, own) = (cx.b.load(places, l), cx.b.load(own, l));
            let parts = cx.b.int(Ty::I32, parts);
            let place = ex!(cx.b; (round * parts) + own);
            cx.b.store(places, l, place);
            Ok(())
        })?;
        halves(cx, parts, |cx, l, second| {
            let one = |cx: &mut LowerCx, i| {
                let (key, place) = (cx.b.load(keys, i), cx.b.load(places, i));
                (cx.b.let_(key), cx.b.let_(place))
            };
            let (a, b) = (one(cx, l), one(cx, second));
            let better = self.second(cx, a, b);
            let better = cx.b.let_(better);
            let (key, place) = (cx.b.select(better, b.0, a.0), cx.b.select(better, b.1, a.1));
            cx.b.store(keys, l, key);
            cx.b.store(places, l, place);
        })?;
        let mut best = None;
        for i in 0..4 {
            let i = cx.b.i(i);
            let (key, place) = (cx.b.load(keys, i), cx.b.load(places, i));
            let new = (cx.b.let_(key), cx.b.let_(place));
            best = Some(match best {
                None => new,
                Some(old) => {
                    let better = self.second(cx, old, new);
                    let better = cx.b.let_(better);
                    let key = cx.b.select(better, new.0, old.0);
                    let place = cx.b.select(better, new.1, old.1);
                    (cx.b.let_(key), cx.b.let_(place))
                }
            });
        }
        Ok(best.map_or_else(|| cx.b.int(Ty::I32, 0), |b| b.1))
    }
    /// Whether the second of two keys with places is the better one.
    fn second(&self, cx: &mut LowerCx, a: (ExprId, ExprId), b: (ExprId, ExprId)) -> ExprId {
        let (x, y) = if self.last { (a.1, b.1) } else { (b.1, a.1) };
        ex!(cx.b; ({a.0} < {b.0}) | (({a.0} == {b.0}) & (x < y)))
    }
}

/// The key that every NaN gets: above that of infinity.
const ANY_NAN: i64 = 0x7f00_0002;

/// Whether a later element `x` takes the place of the best so far.
fn beats(cx: &mut LowerCx, d: DType, x: ExprId, best: ExprId, max: bool, last: bool) -> ExprId {
    let b = &mut cx.b;
    let (lo, hi) = if max { (best, x) } else { (x, best) };
    let more = if last {
        let less = less(b, d, hi, lo);
        b.un(UnOp::Not, less)
    } else {
        less(b, d, lo, hi)
    };
    if !d.is_float() {
        return more;
    }
    let (x_nan, best_nan) = (b.ne(x, x), b.ne(best, best));
    let best_ok = b.un(UnOp::Not, best_nan);
    let more = b.and(more, best_ok);
    let by_nan = if last { x_nan } else { b.and(x_nan, best_ok) };
    b.or(more, by_nan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::attr::Attr;
    use crate::ops::testing::*;

    /// Rows that are looked through in parts, and short ones: the first or last of equals, NaN of either sign as the extreme, zeros equal.
    #[test]
    fn as_a_search_from_the_front_says() {
        let mut seed = 7u32;
        let mut random = || {
            seed = seed.wrapping_mul(1664525).wrapping_add(1013904223);
            f64::from((seed >> 24) % 23) - 11.0
        };
        for n in [1usize, 5, 31, 32, 33, 47, 64, 127, 128, 131, 300] {
            let plain: Vec<f64> = (0..n).map(|_| random()).collect();
            let mut odd = plain.clone();
            odd[n / 2] = -f64::NAN;
            odd[n * 3 / 4] = f64::NAN;
            let low = vec![f64::NEG_INFINITY; n];
            let zeros: Vec<f64> = (0..n).map(|i| if i % 3 == 0 { -0.0 } else { 0.0 }).collect();
            for (v, d) in [
                (&plain, DType::F32),
                (&odd, DType::F32),
                (&low, DType::F32),
                (&zeros, DType::F32),
                (&odd, DType::F16),
                (&plain, DType::I32),
                (&plain, DType::I8),
                (&odd, DType::F64),
            ] {
                for (name, last) in [("ArgMax", 0), ("ArgMax", 1), ("ArgMin", 0), ("ArgMin", 1)] {
                    let mut best = 0;
                    for (i, x) in v.iter().enumerate() {
                        let b = v[best];
                        let more = if name == "ArgMax" { *x > b } else { *x < b };
                        let better = (x.is_nan() && !b.is_nan()) || (!b.is_nan() && more);
                        let same = *x == b || x.is_nan() && b.is_nan();
                        if better || last == 1 && same {
                            best = i;
                        }
                    }
                    let how = attrs([
                        ("axis", Attr::Int(-1)),
                        ("select_last_index", Attr::Int(last)),
                    ]);
                    let two = [v.clone(), v.clone()].concat();
                    let x = data(Tensor::from_f64s(d, &[2, n as i64], &two));
                    let got = numbers(name, 13, &how, vec![x]);
                    assert_eq!(got, [best as f64; 2], "{name} {last} of {n} {d}: {v:?}");
                }
            }
        }
    }
}
