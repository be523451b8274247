//! TopK: each element is a whole number, its key, so that larger ones come first; keys together with places are never equal. The best so far are kept
//! in order where they are few. Where they are more, a histogram of the keys says from where on there are enough of them, and these are sorted.
//! Types without a key of 32 bits are kept in order by themselves where they are few, and sorted whole where they are more.

use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::kernel::LowerCx;
use crate::loops::build::Builder;
use crate::loops::ir::{BinOp, BufId, ExprId, LoopKind, Stmt, Ty};
use crate::op::{BASE, InferCx, Lower, OpDef, onnx};
use crate::ops::axes::fold_in_parts;
use crate::ops::ranks::{float_rank, place_of, with_place};
use crate::ops::sort::{rises, sort_indices, sort_values};
use crate::ops::util::*;

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&TOP_K];

/// The `k` largest or smallest elements of an axis and where they stand; of equals the first.
pub static TOP_K: OpDef = OpDef {
    name: "TopK",
    onnx: &[
        onnx("TopK", 1, 9, |cx| {
            let Some(k) = cx.opt_int("k")? else {
                return bad("TopK without `k`");
            };
            cx.input(1, Tensor::i64(&[1], &[k]));
            cx.keep_int("axis", -1)
        }),
        onnx("TopK", 10, 10, read_axis_last),
        since("TopK", 11, |cx| {
            cx.keep_int("axis", -1)?;
            cx.keep_int("largest", 1)?;
            // Sorted output is an answer to `sorted` = 0 as well.
            cx.ignore("sorted");
            Ok(())
        }),
    ],
    inputs: (2, 2),
    outputs: (2, 2),
    infer: infer_top_k,
    lower: Lower::Loops(lower_top_k),
    ..BASE
};

fn infer_top_k(cx: &mut InferCx) -> Result<()> {
    let d = accept(cx, 0, number)?;
    accept(cx, 1, |d| d.is_int())?;
    if !cx.input(1)?.ty.elements().is(1) {
        return bad("`k` of TopK must be one number");
    }
    let mut shape = cx.shape(0)?;
    let axis = cx.axis(cx.attrs.int("axis", -1), shape.len())?;
    let k = match contents(cx, 1).as_deref() {
        Some([k]) => k.clone(),
        _ => {
            let hi = cx.max(&shape[axis]).max(0);
            cx.data_size("topk", 0, hi)
        }
    };
    check_size(cx, &k, "`k`")?;
    if dim_lt(cx, &shape[axis], &k) == Some(true) {
        return bad(format!(
            "`k` = {} of an axis of {} elements",
            k.text(cx.symbols),
            shape[axis].text(cx.symbols)
        ));
    }
    shape[axis] = k;
    cx.out(0, d, shape.clone());
    cx.out(1, DType::I64, shape);
    Ok(())
}

/// Elements that are kept in order, at most.
const FEW: i64 = 32;
/// Bins of the histogram: by the upper bits of keys.
const BIN_BITS: i64 = 12;

/// Where the elements of one row lie, and what is asked of them.
struct Row<'a> {
    d: DType,
    falling: bool,
    axis: usize,
    at: &'a [ExprId],
    /// Elements of the row, and those that are kept.
    n: ExprId,
    k: ExprId,
}

impl Row<'_> {
    fn place(&self, i: ExprId) -> Vec<ExprId> {
        let mut p = self.at.to_vec();
        p.insert(self.axis, i);
        p
    }
    fn load(&self, cx: &mut LowerCx, i: ExprId) -> Result<ExprId> {
        cx.load(0, &self.place(i))
    }
    /// Whether x stands before y; of equals the first does, which is not for this to say.
    fn before(&self, cx: &mut LowerCx, x: ExprId, y: ExprId) -> ExprId {
        match self.falling {
            true => rises(&mut cx.b, self.d, y, x),
            false => rises(&mut cx.b, self.d, x, y),
        }
    }
    /// Element `i` of the output: that of the row at `from`.
    fn store(&self, cx: &mut LowerCx, i: ExprId, from: ExprId) -> Result<()> {
        let from = cx.b.let_(from);
        let v = self.load(cx, from)?;
        cx.store(0, &self.place(i), v);
        cx.store(1, &self.place(i), from);
        Ok(())
    }
    /// Whole numbers of 32 bits, larger where an element stands before: NaN is the largest number, zeros are equal.
    fn key(&self, cx: &mut LowerCx, x: ExprId) -> ExprId {
        let mut key = x;
        if self.d.is_float() {
            key = float_rank(&mut cx.b, x);
        }
        if self.falling {
            return key;
        }
        let all = cx.b.int(Ty::I32, -1);
        cx.b.bin(BinOp::Xor, key, all)
    }
    /// A key with its place below it, so that of equal keys the first is larger.
    fn whole(&self, cx: &mut LowerCx, key: ExprId, i: ExprId) -> ExprId {
        with_place(&mut cx.b, key, i, self.n)
    }
    /// The first k of numbers with places.
    fn store_first(&self, cx: &mut LowerCx, wholes: BufId) -> Result<()> {
        cx.for_(self.k, LoopKind::Seq, |cx, i| {
            let whole = cx.b.load(wholes, i);
            let from = place_of(&mut cx.b, whole, self.n);
            self.store(cx, i, from)
        })
    }
}

enum Way {
    /// Keys of the row, the best so far.
    InOrder { keys: BufId, best: BufId },
    /// Keys of the row, those found with their places, spare room for sorting them, how many keys there are of each kind.
    Counted {
        keys: BufId,
        found: BufId,
        spare: BufId,
        counts: BufId,
        /// The largest key of each group, and how many groups there are.
        heads: Option<(BufId, i64)>,
    },
    /// The best so far and where they stand.
    ByThemselves { best: BufId, places: BufId },
    Sorted { order: BufId, spare: BufId },
}

fn lower_top_k(cx: &mut LowerCx) -> Result<()> {
    let (shape, out) = (cx.in_shape(0)?, cx.out_shape()?);
    let d = cx.input(0)?.ty.dtype;
    let axis = crate::op::resolve_axis(cx.attrs.int("axis", -1), shape.len())?;
    let falling = cx.attrs.int("largest", 1) != 0;
    if let Some(&sym) = cx.syms.first() {
        let zero = cx.b.i(0);
        let k = load_index_flat(cx, 1, zero)?;
        cx.b.set_sym(sym, k);
    }
    let (n, k) = (cx.b.dim(&shape[axis]), cx.b.dim(&out[axis]));
    let wrong = cx.b.lt(n, k);
    cx.b.fail_if(wrong, DATA_OUT_OF_RANGE);
    let all = |cx: &mut LowerCx, name: &str, d| cx.scratch(name, d, shape[axis].clone());
    // A place has 32 bits.
    let narrow = matches!(Ty::of(d), Ty::F32 | Ty::I32)
        && shape[axis].fixed().is_none_or(|n| n <= i64::from(u32::MAX));
    let way = match out[axis].fixed() {
        Some(k @ 1..=FEW) if narrow => Way::InOrder {
            keys: all(cx, "keys", DType::I32),
            best: cx.scratch("best", DType::I64, Dim::Fixed(k)),
        },
        _ if narrow => Way::Counted {
            keys: all(cx, "keys", DType::I32),
            found: all(cx, "found", DType::I64),
            spare: all(cx, "spare", DType::I64),
            counts: cx.scratch("counts", DType::I32, Dim::Fixed(1 << BIN_BITS)),
            heads: groups(&shape[axis], &out[axis])
                .map(|g| (cx.scratch("heads", DType::I32, Dim::Fixed(g)), g)),
        },
        Some(k @ 1..=FEW) => Way::ByThemselves {
            best: cx.scratch("best", d, Dim::Fixed(k)),
            places: cx.scratch("places", DType::I64, Dim::Fixed(k)),
        },
        _ => Way::Sorted {
            order: all(cx, "order", DType::I64),
            spare: all(cx, "spare", DType::I64),
        },
    };
    let mut others = shape.clone();
    others.remove(axis);
    cx.each(&others, LoopKind::Seq, |cx, at| {
        let row = Row { d, falling, axis, at, n, k };
        if let Way::InOrder { keys, .. } | Way::Counted { keys, .. } = way {
            cx.for_(n, LoopKind::Lanes, |cx, i| {
                let x = row.load(cx, i)?;
                let key = row.key(cx, x);
                cx.b.store(keys, i, key);
                Ok(())
            })?;
        }
        match way {
            Way::InOrder { keys, best } => in_order(cx, &row, keys, best),
            Way::Counted { keys, found, spare, counts, heads } => {
                let counted_keys = match heads {
                    Some((heads, groups)) => {
                        find_heads(cx, &row, keys, heads, groups)?;
                        (heads, Dim::Fixed(groups))
                    }
                    None => (keys, shape[axis].clone()),
                };
                counted(cx, &row, keys, counted_keys, (found, spare), counts)
            }
            Way::ByThemselves { best, places } => by_themselves(cx, &row, best, places),
            Way::Sorted { order, spare } => sorted(cx, &row, order, spare),
        }
    })
}

/// Each element that is better than the last of the best is put among them.
fn in_order(cx: &mut LowerCx, row: &Row, keys: BufId, best: BufId) -> Result<()> {
    let (zero, one) = (cx.b.i(0), cx.b.i(1));
    let last = cx.b.sub(row.k, one);
    let insert = |cx: &mut LowerCx, key: ExprId, i: ExprId, from: ExprId| {
        let new = row.whole(cx, key, i);
        let new = cx.b.let_(new);
        let hole = cx.b.var(from);
        let p = cx.b.get(hole);
        let above = cx.b.sub(p, one);
        let inside = cx.b.lt(zero, p);
        let other = cx.b.load_if(best, inside, above, new);
        let jumps = cx.b.lt(other, new);
        let cond = cx.b.and(inside, jumps);
        cx.b.open_block();
        let up = cx.b.load(best, above);
        cx.b.store(best, p, up);
        cx.b.set(hole, above);
        let body = cx.b.close_block();
        cx.b.stmt(Stmt::While { cond, body });
        cx.b.store(best, p, new);
    };
    // The first k come in as they are.
    cx.for_(row.k, LoopKind::Seq, |cx, i| {
        let key = cx.b.load(keys, i);
        insert(cx, key, i, i);
        Ok(())
    })?;
    let worst = |cx: &mut LowerCx| {
        let (whole, by) = (cx.b.load(best, last), cx.b.i(32));
        let key = cx.b.bin(BinOp::Shr, whole, by);
        cx.b.cast(Ty::I32, key)
    };
    let least = worst(cx);
    let least = cx.b.var(least);
    let rest = cx.b.sub(row.n, row.k);
    cx.for_(rest, LoopKind::Seq, |cx, i| {
        let i = cx.b.add(i, row.k);
        let key = cx.b.load(keys, i);
        let key = cx.b.let_(key);
        let now = cx.b.get(least);
        let better = cx.b.lt(now, key);
        cx.b.open_block();
        insert(cx, key, i, last);
        let now = worst(cx);
        cx.b.set(least, now);
        let then = cx.b.close_block();
        cx.b.stmt(Stmt::If { cond: better, then, els: vec![] });
        Ok(())
    })?;
    row.store_first(cx, best)
}

/// The same without keys.
fn by_themselves(cx: &mut LowerCx, row: &Row, best: BufId, places: BufId) -> Result<()> {
    let (zero, one) = (cx.b.i(0), cx.b.i(1));
    let last = cx.b.sub(row.k, one);
    let insert = |cx: &mut LowerCx, x: ExprId, i: ExprId, from: ExprId| {
        let hole = cx.b.var(from);
        let p = cx.b.get(hole);
        let above = cx.b.sub(p, one);
        let inside = cx.b.lt(zero, p);
        let other = cx.b.load_if(best, inside, above, x);
        let jumps = row.before(cx, x, other);
        let cond = cx.b.and(inside, jumps);
        cx.b.open_block();
        for buf in [best, places] {
            let up = cx.b.load(buf, above);
            cx.b.store(buf, p, up);
        }
        cx.b.set(hole, above);
        let body = cx.b.close_block();
        cx.b.stmt(Stmt::While { cond, body });
        cx.b.store(best, p, x);
        cx.b.store(places, p, i);
    };
    cx.for_(row.k, LoopKind::Seq, |cx, i| {
        let x = row.load(cx, i)?;
        let x = cx.b.let_(x);
        insert(cx, x, i, i);
        Ok(())
    })?;
    let rest = cx.b.sub(row.n, row.k);
    cx.for_(rest, LoopKind::Seq, |cx, i| {
        let i = cx.b.add(i, row.k);
        let x = row.load(cx, i)?;
        let x = cx.b.let_(x);
        let worst = cx.b.load(best, last);
        let better = row.before(cx, x, worst);
        cx.if_(
            better,
            |cx| {
                insert(cx, x, i, last);
                Ok(())
            },
            |_| Ok(()),
        )
    })?;
    cx.for_(row.k, LoopKind::Seq, |cx, i| {
        let from = cx.b.load(places, i);
        row.store(cx, i, from)
    })
}

/// Groups of a row whose largest keys are counted in place of all keys: where k groups have one that is large enough, there are k such elements. `None`
/// where that would let in many more than k.
fn groups(n: &Dim, k: &Dim) -> Option<i64> {
    let (n, k) = (n.fixed()?, k.fixed()?);
    // An odd number of vectors: rows of groups then lie in different places of a cache.
    let groups = ((k.checked_mul(2)?.max(512) / 16) | 1).checked_mul(16)?;
    (n / groups >= 4).then_some(groups)
}

/// The largest key of each group: element i is of group i modulo their number.
fn find_heads(cx: &mut LowerCx, row: &Row, keys: BufId, heads: BufId, groups: i64) -> Result<()> {
    let g = cx.b.i(groups);
    let (rounds, rest) = (cx.b.floor_div(row.n, g), cx.b.floor_mod(row.n, g));
    let whole = cx.b.mul(rounds, g);
    cx.for_(g, LoopKind::Lanes, |cx, j| {
        let least = cx.b.int(Ty::I32, i64::from(i32::MIN));
        let head = cx.b.var(least);
        cx.for_(rounds, LoopKind::Seq, |cx, r| {
            let at = cx.b.mul(r, g);
            let at = cx.b.add(at, j);
            let key = cx.b.load(keys, at);
            let old = cx.b.get(head);
            let new = cx.b.max(old, key);
            cx.b.set(head, new);
            Ok(())
        })?;
        let head = cx.b.get(head);
        cx.b.store(heads, j, head);
        Ok(())
    })?;
    cx.for_(rest, LoopKind::Lanes, |cx, j| {
        let at = cx.b.add(whole, j);
        let (key, old) = (cx.b.load(keys, at), cx.b.load(heads, j));
        let head = cx.b.max(old, key);
        cx.b.store(heads, j, head);
        Ok(())
    })
}

/// Keys (all of them, or the largest of groups) are counted in bins between the smallest and the largest; those from the bin on where k are together are
/// sorted.
fn counted(
    cx: &mut LowerCx,
    row: &Row,
    keys: BufId,
    (heads, groups): (BufId, Dim),
    (found, spare): (BufId, BufId),
    counts: BufId,
) -> Result<()> {
    let (zero, one) = (cx.b.i(0), cx.b.i(1));
    let (none, unit) = (cx.b.int(Ty::I32, 0), cx.b.int(Ty::I32, 1));
    let bins = cx.b.i(1 << BIN_BITS);
    // The ends, and by how many bits keys are shifted so that there are bins enough.
    let end = |cx: &mut LowerCx, init: i32, join: &dyn Fn(&mut Builder, ExprId, ExprId) -> ExprId| {
        let (init, zero) = (cx.b.int(Ty::I32, i64::from(init)), cx.b.i(0));
        let step = |cx: &mut LowerCx, at: &[ExprId], old: ExprId| {
            let key = cx.b.load(heads, at[0]);
            Ok(join(&mut cx.b, old, key))
        };
        let all = std::slice::from_ref(&groups);
        let v = fold_in_parts(cx, all, &[0], &[zero], init, join, &step)?;
        let v = cx.b.cast(Ty::I64, v);
        Ok::<_, Box<Diagnostic>>(cx.b.let_(v))
    };
    let lowest = end(cx, i32::MAX, &Builder::min)?;
    let highest = end(cx, i32::MIN, &Builder::max)?;
    let range = cx.b.sub(highest, lowest);
    let (range, by) = (cx.b.var(range), cx.b.var(zero));
    let (left, shift) = (cx.b.get(range), cx.b.get(by));
    let wide = cx.b.le(bins, left);
    cx.b.while_(wide, |b| {
        let half = b.bin(BinOp::Shr, left, one);
        b.set(range, half);
        let next = b.add(shift, one);
        b.set(by, next);
    });
    let by = cx.b.let_(shift);
    let groups = cx.b.dim(&groups);
    cx.for_(bins, LoopKind::Lanes, |cx, i| {
        cx.b.store(counts, i, none);
        Ok(())
    })?;
    cx.for_(groups, LoopKind::Seq, |cx, i| {
        let key = cx.b.load(heads, i);
        let key = cx.b.cast(Ty::I64, key);
        let above = cx.b.sub(key, lowest);
        let bin = cx.b.bin(BinOp::Shr, above, by);
        let bin = cx.b.let_(bin);
        let old = cx.b.load(counts, bin);
        let new = cx.b.add(old, unit);
        cx.b.store(counts, bin, new);
        Ok(())
    })?;
    // Bins from this one on are taken; so many elements are still missing.
    let (bin, missing) = (cx.b.var(bins), cx.b.var(row.k));
    let (b, m) = (cx.b.get(bin), cx.b.get(missing));
    let (more, left) = (cx.b.lt(zero, m), cx.b.lt(zero, b));
    let cond = cx.b.and(more, left);
    cx.b.open_block();
    let next = cx.b.sub(b, one);
    cx.b.set(bin, next);
    let here = cx.b.load(counts, b);
    let here = cx.b.cast(Ty::I64, here);
    let still = cx.b.sub(m, here);
    cx.b.set(missing, still);
    let body = cx.b.close_block();
    cx.b.stmt(Stmt::While { cond, body });
    let least = cx.b.bin(BinOp::Shl, b, by);
    let least = cx.b.add(lowest, least);
    let count = cx.b.var(zero);
    let c = cx.b.get(count);
    let least = cx.b.cast(Ty::I32, least);
    let least = cx.b.let_(least);
    // Without branches: what is not taken is written over.
    let look = |cx: &mut LowerCx, i: ExprId| {
        let key = cx.b.load(keys, i);
        let key = cx.b.let_(key);
        let taken = cx.b.le(least, key);
        let whole = row.whole(cx, key, i);
        cx.b.store(found, c, whole);
        let more = cx.b.add(c, one);
        let next = cx.b.select(taken, more, c);
        cx.b.set(count, next);
    };
    if heads == keys {
        cx.for_(row.n, LoopKind::Seq, |cx, i| {
            look(cx, i);
            Ok(())
        })?;
    } else {
        // Few groups have an element that is taken.
        cx.for_(groups, LoopKind::Seq, |cx, j| {
            let head = cx.b.load(heads, j);
            let taken = cx.b.le(least, head);
            let left = cx.b.sub(row.n, j);
            let up = cx.b.add(left, groups);
            let up = cx.b.sub(up, one);
            let rounds = cx.b.floor_div(up, groups);
            cx.if_(
                taken,
                |cx| {
                    cx.for_(rounds, LoopKind::Seq, |cx, r| {
                        let i = cx.b.mul(r, groups);
                        let i = cx.b.add(i, j);
                        look(cx, i);
                        Ok(())
                    })
                },
                |_| Ok(()),
            )
        })?;
    }
    let len = cx.b.let_(c);
    sort_values(cx, len, found, spare, &|cx, x, y| Ok(cx.b.lt(y, x)))?;
    row.store_first(cx, found)
}

/// All of the row is sorted.
fn sorted(cx: &mut LowerCx, row: &Row, order: BufId, spare: BufId) -> Result<()> {
    sort_indices(cx, row.n, order, spare, &|cx, i, j| {
        let (x, y) = (row.load(cx, i)?, row.load(cx, j)?);
        Ok(row.before(cx, x, y))
    })?;
    cx.for_(row.k, LoopKind::Seq, |cx, i| {
        let from = cx.b.load(order, i);
        row.store(cx, i, from)
    })
}

fn load_index_flat(cx: &mut LowerCx, i: usize, at: ExprId) -> Result<ExprId> {
    let v = cx.load_flat(i, at)?;
    Ok(cx.b.cast(Ty::I64, v))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::attr::{Attr, Attrs};
    use crate::ops::testing::*;

    #[test]
    fn ties_by_lowest_index_and_nan_as_largest() {
        let x = || data(f32s(&[5], &[2.0, 7.0, 2.0, f32::NAN, 7.0]));
        let k = |known| if known { konst(i64s(&[1], &[3])) } else { data(i64s(&[1], &[3])) };
        for known in [true, false] {
            let r = run_op("TopK", 11, &Attrs::default(), vec![x(), k(known)], 2).expect("it runs");
            assert_eq!(r[1].to_i64s().expect("indices"), [3, 1, 4]);
            let low = attrs([("largest", Attr::Int(0))]);
            let r = run_op("TopK", 11, &low, vec![x(), k(known)], 2).expect("it runs");
            assert_eq!(r[1].to_i64s().expect("indices"), [0, 2, 1]);
        }
    }

    /// What a stable sort says: few, counted, types that are sorted whole; with many equals and in the worst order.
    #[test]
    fn as_a_stable_sort_says() {
        let mut seed = 1u32;
        let mut random = || {
            seed = seed.wrapping_mul(1664525).wrapping_add(1013904223);
            f64::from((seed >> 24) % 50) - 25.0
        };
        let mut odd: Vec<f64> = (0..1200).map(|_| random()).collect();
        for (i, v) in [f64::NAN, 0.0, -0.0, f64::INFINITY, -f64::NAN, f64::NEG_INFINITY].iter().enumerate() {
            odd[100 + 7 * i] = *v;
        }
        let rows: [Vec<f64>; 4] = [
            odd,
            (0..4000).map(|i| f64::from(i * 7919 % 4001 - 2000)).collect(),
            (0..1200).map(f64::from).collect(),
            (0..1200).map(|i| f64::from(-(i / 3))).collect(),
        ];
        for (values, d) in rows.iter().flat_map(|r| {
            let types = [DType::F32, DType::F64, DType::I8, DType::F16, DType::I64, DType::U32];
            types.map(|d| (r, d))
        }) {
            let x = Tensor::from_f64s(d, &[values.len() as i64], values);
            // As the type has them.
            let own = x.to_f64s().expect("numbers");
            for (k, largest) in [1, 20, 40, 75, 700].into_iter().flat_map(|k| [(k, 1), (k, 0)]) {
                let mut order: Vec<i64> = (0..values.len() as i64).collect();
                order.sort_by(|&a, &b| {
                    let (a, b) = (own[a as usize], own[b as usize]);
                    let by = a.partial_cmp(&b).unwrap_or(a.is_nan().cmp(&b.is_nan()));
                    if largest == 1 { by.reverse() } else { by }
                });
                let how = attrs([("largest", Attr::Int(largest))]);
                let ins = vec![data(x.clone()), konst(i64s(&[1], &[k]))];
                let r = run_op("TopK", 11, &how, ins, 2).expect("it runs");
                let got = r[1].to_i64s().expect("indices");
                assert_eq!(got, order[..k as usize], "{d} {k} {largest}");
            }
        }
    }
}
