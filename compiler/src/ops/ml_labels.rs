//! LabelEncoder of ai.onnx.ml: numbers looked up among keys. Texts are not done.
//!
//! The keys are known while compiling, so they are put in order then. Whole numbers that lie close together index a table of the values; others are searched by
//! halving, in as many steps for every element, without branches: elements go side by side in lanes.

use super::axes::store_as;
use super::util::{accept, bad, number};
use crate::base::attr::Attr;
use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::build::Builder;
use crate::loops::ir::{BufId, ExprId, Ty};
use crate::op::{BASE, Lower, OpDef, ReadCx, onnx_in};
use std::cmp::Ordering;

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&LABEL_ENCODER];

/// Numbers mapped to numbers. Of equal keys the first counts; NaN is equal to NaN.
pub static LABEL_ENCODER: OpDef = OpDef {
    name: "LabelEncoder",
    onnx: &[onnx_in("ai.onnx.ml", "LabelEncoder", 1, i64::MAX, read_labels)],
    infer: |cx| {
        accept(cx, 0, number)?;
        let s = cx.shape(0)?;
        let d = cx.attrs.tensor("values").map_or(DType::I64, |t| t.dtype);
        cx.out(0, d, s);
        Ok(())
    },
    lower: Lower::Loops(encode),
    tails: true,
    ..BASE
};

fn read_labels(cx: &mut ReadCx) -> Result<()> {
    for name in ["keys_strings", "values_strings", "classes_strings"] {
        if cx.strs(name)?.is_some_and(|s| !s.is_empty()) {
            return cx.unsupported("labels that are texts are not done");
        }
    }
    cx.ignore("default_string");
    let side = |cx: &mut ReadCx, of: &str| -> Result<Option<Tensor>> {
        if let Some(t) = cx.tensor(&format!("{of}_tensor"))? {
            return Ok(Some(t));
        }
        if let Some(v) = cx.ints(&format!("{of}_int64s"))? {
            return Ok(Some(Tensor::i64(&[v.len() as i64], &v)));
        }
        Ok(cx
            .floats(&format!("{of}_floats"))?
            .map(|v| Tensor::f32(&[v.len() as i64], &v)))
    };
    let (Some(keys), Some(values)) = (side(cx, "keys")?, side(cx, "values")?) else {
        return bad("LabelEncoder needs keys and values");
    };
    if keys.len() != values.len() || keys.dtype == DType::String || values.dtype == DType::String {
        return bad("keys and values must be as many numbers");
    }
    let (int, float) = (
        cx.int("default_int64", -1)?,
        cx.float("default_float", -0.0)?,
    );
    let default = match cx.tensor("default_tensor")? {
        Some(t) if !t.is_empty() => t.reshaped(vec![t.len() as i64]),
        _ if values.dtype.is_float() => Tensor::f32(&[1], &[float]),
        _ => Tensor::i64(&[1], &[int]),
    };
    cx.set("default", Attr::Tensor(of_type(&default, values.dtype)));
    cx.set("keys", Attr::Tensor(keys));
    cx.set("values", Attr::Tensor(values));
    Ok(())
}

/// The same numbers as a list of another type; whole numbers stay exact where they fit.
fn of_type(t: &Tensor, to: DType) -> Tensor {
    let n = [t.len() as i64];
    match t.to_i64s() {
        _ if t.dtype == to => t.reshaped(n.to_vec()),
        Some(v) if to == DType::I64 => Tensor::i64(&n, &v),
        _ => Tensor::from_f64s(to, &n, &t.to_f64s().unwrap_or_default()),
    }
}

/// Elements of `t` by their numbers.
fn picked(t: &Tensor, numbers: impl Iterator<Item = usize>) -> Result<Tensor> {
    let size = t.dtype.size();
    let data: Vec<u8> = numbers
        .flat_map(|i| &t.data[i * size..(i + 1) * size])
        .copied()
        .collect();
    Tensor::new(t.dtype, vec![(data.len() / size) as i64], data.into())
}

/// Keys in the order in which the loops compare them.
struct Keys {
    all: Tensor,
    /// Which of them, each value once; no NaN.
    sorted: Vec<usize>,
    nan: Option<usize>,
}

impl Keys {
    fn of(all: Tensor) -> Keys {
        let floats = all.to_f64s().unwrap_or_default();
        let ints = all.to_i64s();
        let order = |&a: &usize, &b: &usize| match &ints {
            Some(v) => v[a].cmp(&v[b]),
            None => floats[a].partial_cmp(&floats[b]).unwrap_or(Ordering::Equal),
        };
        let is_nan = |&i: &usize| floats[i].is_nan();
        let nan = (0..floats.len()).find(is_nan);
        let mut sorted: Vec<usize> = (0..floats.len()).filter(|i| !is_nan(i)).collect();
        // Equal ones keep their order, so the first of them stays.
        sorted.sort_by(order);
        sorted.dedup_by(|b, a| order(a, b) == Ordering::Equal);
        Keys { all, sorted, nan }
    }
    /// The least key, and for all numbers up to the largest which key each is, where a table of these is small.
    fn dense(&self) -> Option<(i64, Vec<Option<usize>>)> {
        let v = self.all.to_i64s()?;
        let (&first, &last) = (self.sorted.first()?, self.sorted.last()?);
        let span = v[last].checked_sub(v[first])?.checked_add(1)?;
        if span > DENSE_AT_LEAST.max(DENSE_SHARE * self.sorted.len() as i64) {
            return None;
        }
        let mut of = vec![None; span as usize];
        for &i in &self.sorted {
            of[(v[i] - v[first]) as usize] = Some(i);
        }
        Some((v[first], of))
    }
}

/// A table over all numbers between the keys is taken where it has so many entries at most,
const DENSE_AT_LEAST: i64 = 256;
/// or so many for each key: what the list of keys and values takes that it replaces.
const DENSE_SHARE: i64 = 2;

/// The number of the last of `n` sorted keys that is not above `v`, or 0.
fn search(b: &mut Builder, keys: BufId, n: i64, v: ExprId) -> ExprId {
    let mut at = b.i(0);
    let mut left = n;
    while left > 1 {
        let half = left / 2;
        let further = ex!(b; at + {b.i(half)});
        let key = b.load(keys, further);
        let up = b.le(key, v);
        at = b.select(up, further, at);
        at = b.let_(at);
        left -= half;
    }
    at
}

fn encode(cx: &mut LowerCx) -> Result<()> {
    let x = cx.in_shape(0)?;
    let d = cx.input(0)?.ty.dtype;
    let get = |cx: &LowerCx, name: &str| cx.attrs.tensor(name).cloned();
    let (Some(keys), Some(values), Some(default)) =
        (get(cx, "keys"), get(cx, "values"), get(cx, "default"))
    else {
        return bad("LabelEncoder needs keys and values");
    };
    let keys = Keys::of(of_type(&keys, d));
    // The default lies behind the values.
    let none = values.len();
    let both = [&values.data[..], &default.data[..]].concat();
    let values = Tensor::new(values.dtype, vec![none as i64 + 1], both.into())?;
    let ty = Ty::of(d);
    if let Some((low, of)) = keys.dense() {
        let span = of.len() as i64;
        let numbers = of.iter().map(|i| i.unwrap_or(none)).chain([none]);
        let table = picked(&values, numbers)?;
        let table = cx.constant("values", table);
        return cx.each_apart(&x, |cx, at| {
            let v = cx.load(0, at)?;
            let v = cx.b.let_(v);
            let (first, last) = (cx.b.int(ty, low), cx.b.int(ty, low + (span - 1)));
            let inside = ex!(cx.b; (first <= v) & (v <= last));
            let away = cx.b.sub(v, first);
            let away = cx.b.cast(Ty::I64, away);
            let i = cx.b.i(span);
            let i = cx.b.select(inside, away, i);
            let r = cx.b.load(table, i);
            store_as(cx, 0, at, r);
            Ok(())
        });
    }
    let n = keys.sorted.len() as i64;
    let sorted = picked(&keys.all, keys.sorted.iter().copied())?;
    // Behind the sorted ones the value of NaN, then the default.
    let nan = keys.nan.unwrap_or(none);
    let table = picked(&values, keys.sorted.iter().copied().chain([nan, none]))?;
    let (sorted, table) = (cx.constant("keys", sorted), cx.constant("values", table));
    cx.each_apart(&x, |cx, at| {
        let v = cx.load(0, at)?;
        let v = cx.b.let_(v);
        let other = cx.b.i(n + 1);
        let mut i = other;
        if n > 0 {
            let found = search(&mut cx.b, sorted, n, v);
            let key = cx.b.load(sorted, found);
            let hit = cx.b.eq(key, v);
            i = cx.b.select(hit, found, other);
        }
        if ty.is_float() {
            let is_nan = cx.b.ne(v, v);
            let nan = cx.b.i(n);
            i = cx.b.select(is_nan, nan, i);
        }
        let r = cx.b.load(table, i);
        store_as(cx, 0, at, r);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::*;

    fn ints(v: &[i64]) -> Attr {
        Attr::Ints(v.to_vec())
    }

    #[test]
    fn keys_close_together_and_far_apart() {
        for far in [1, 1 << 40] {
            let a = attrs([
                ("keys_int64s", ints(&[3 * far, -far, 3 * far, 0, 5 * far])),
                ("values_int64s", ints(&[10, i64::MAX - 1, 12, 13, 14])),
                ("default_int64", Attr::Int(-7)),
            ]);
            let x = [0, 3 * far, -far, 5 * far, 4 * far, i64::MIN, i64::MAX, 1 << 60];
            let y = run_op("LabelEncoder", 4, &a, vec![data(i64s(&[8], &x))], 1);
            let y = y.expect("labels")[0].to_i64s();
            // Of two equal keys the first counts; large numbers stay exact.
            let want = vec![13, 10, i64::MAX - 1, 14, -7, -7, -7, -7];
            assert_eq!(y, Some(want), "{far}");
        }
        // Their span does not fit a whole number.
        let a = attrs([
            ("keys_int64s", ints(&[i64::MAX, i64::MIN])),
            ("values_int64s", ints(&[1, 2])),
        ]);
        let x = data(i64s(&[3], &[i64::MIN, 0, i64::MAX]));
        assert_eq!(numbers("LabelEncoder", 4, &a, vec![x]), [2.0, -1.0, 1.0]);
    }

    #[test]
    fn every_place_among_the_keys() {
        for n in 0..70i64 {
            let keys: Vec<f32> = (0..n).map(|i| ((i * 31) % 71) as f32).collect();
            let values: Vec<i64> = (0..n).collect();
            let a = attrs([
                ("keys_floats", Attr::Floats(keys.clone())),
                ("values_int64s", ints(&values)),
            ]);
            let x: Vec<f32> = (-2..144).map(|i| i as f32 / 2.0).collect();
            let want: Vec<f64> = x
                .iter()
                .map(|v| keys.iter().position(|k| k == v).map_or(-1.0, |i| i as f64))
                .collect();
            let x = data(f32s(&[x.len() as i64], &x));
            assert_eq!(numbers("LabelEncoder", 4, &a, vec![x]), want, "{n}");
        }
    }

    #[test]
    fn numbers_that_are_none() {
        let x = || data(f32s(&[4], &[f32::NAN, -0.0, 9.0, 1.0]));
        let a = |keys: &[f32], values: &[f32]| {
            attrs([
                ("keys_floats", Attr::Floats(keys.to_vec())),
                ("values_floats", Attr::Floats(values.to_vec())),
                ("default_float", Attr::Float(4.5)),
            ])
        };
        let some = a(&[1.0, f32::NAN, 0.0, f32::NAN], &[5.0, 6.0, 7.0, 8.0]);
        assert_eq!(numbers("LabelEncoder", 4, &some, vec![x()]), [6.0, 7.0, 4.5, 5.0]);
        let only = a(&[f32::NAN], &[6.0]);
        assert_eq!(numbers("LabelEncoder", 4, &only, vec![x()]), [6.0, 4.5, 4.5, 4.5]);
        let without = a(&[1.0], &[6.0]);
        assert_eq!(numbers("LabelEncoder", 4, &without, vec![x()]), [4.5, 4.5, 4.5, 6.0]);
    }
}
