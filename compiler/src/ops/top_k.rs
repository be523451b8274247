//! TopK: the best so far are kept in order where they are few; where they are more, what is better than the last of them is gathered and sorted from time to
//! time; where they are a good part of the axis, all of it is sorted. Each way takes about as long at its worst as sorting all of it.

use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::kernel::LowerCx;
use crate::loops::ir::{BufId, ExprId, LoopKind, Stmt, Ty, UnOp};
use crate::op::{BASE, InferCx, Lower, OpDef, onnx};
use crate::ops::sort::{rises, sort_indices};
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
/// Elements that are gathered before they are sorted, for each that is kept.
const GATHERED: i64 = 4;
/// Elements of the axis for each that is kept, from which on it pays to gather.
const SPARSE: i64 = 16;

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
    /// The same, true at times where it isn't so: of NaN on either side. A single comparison, for the many elements that are looked at.
    fn may_be_before(&self, cx: &mut LowerCx, x: ExprId, y: ExprId) -> ExprId {
        if !self.d.is_float() {
            return self.before(cx, x, y);
        }
        let behind = match self.falling {
            true => cx.b.le(x, y),
            false => cx.b.le(y, x),
        };
        cx.b.un(UnOp::Not, behind)
    }
    /// Does something with an element that stands before y.
    fn if_before(
        &self,
        cx: &mut LowerCx,
        x: ExprId,
        y: ExprId,
        f: impl FnOnce(&mut LowerCx) -> Result<()>,
    ) -> Result<()> {
        let maybe = self.may_be_before(cx, x, y);
        cx.b.open_block();
        let surely = self.before(cx, x, y);
        cx.b.open_block();
        let done = f(cx);
        let then = cx.b.close_block();
        cx.b.stmt(Stmt::If { cond: surely, then, els: vec![] });
        let then = cx.b.close_block();
        cx.b.stmt(Stmt::If { cond: maybe, then, els: vec![] });
        done
    }
    fn store(&self, cx: &mut LowerCx, i: ExprId, v: ExprId, from: ExprId) {
        cx.store(0, &self.place(i), v);
        cx.store(1, &self.place(i), from);
    }
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
    let way = match (out[axis].fixed(), shape[axis].fixed()) {
        (Some(k @ 1..=FEW), _) => Way::InOrder(Kept::new(cx, d, k)),
        (Some(k), Some(n)) if k > FEW && k.saturating_mul(SPARSE) <= n => Way::Gathered {
            all: Kept::new(cx, d, k * GATHERED),
            first: Kept::new(cx, d, k),
            order: cx.scratch("order", DType::I64, Dim::Fixed(k * GATHERED)),
            spare: cx.scratch("spare", DType::I64, Dim::Fixed(k * GATHERED)),
            most: k * GATHERED,
        },
        _ => Way::Sorted {
            order: cx.scratch("order", DType::I64, shape[axis].clone()),
            spare: cx.scratch("spare", DType::I64, shape[axis].clone()),
        },
    };
    let mut others = shape.clone();
    others.remove(axis);
    cx.each(&others, LoopKind::Seq, |cx, at| {
        let row = Row { d, falling, axis, at, n, k };
        match &way {
            Way::InOrder(best) => in_order(cx, &row, best),
            Way::Gathered { all, first, order, spare, most } => {
                gathered(cx, &row, (all, first), (*order, *spare), *most)
            }
            Way::Sorted { order, spare } => sorted(cx, &row, *order, *spare),
        }
    })
}

enum Way {
    InOrder(Kept),
    Gathered {
        all: Kept,
        first: Kept,
        order: BufId,
        spare: BufId,
        most: i64,
    },
    Sorted {
        order: BufId,
        spare: BufId,
    },
}

/// Elements with their places in the row.
struct Kept {
    values: BufId,
    places: BufId,
}

impl Kept {
    fn new(cx: &mut LowerCx, d: DType, len: i64) -> Kept {
        // Half floats are computed with as f32.
        let d = if d.is_float() && Ty::of(d) == Ty::F32 { DType::F32 } else { d };
        Kept {
            values: cx.scratch("values", d, Dim::Fixed(len)),
            places: cx.scratch("places", DType::I64, Dim::Fixed(len)),
        }
    }
    fn get(&self, cx: &mut LowerCx, i: ExprId) -> (ExprId, ExprId) {
        let (v, p) = (cx.b.load(self.values, i), cx.b.load(self.places, i));
        (cx.b.let_(v), cx.b.let_(p))
    }
    fn put(&self, cx: &mut LowerCx, i: ExprId, (v, p): (ExprId, ExprId)) {
        cx.b.store(self.values, i, v);
        cx.b.store(self.places, i, p);
    }
}

/// Each element that is better than the last of the best is put among them.
fn in_order(cx: &mut LowerCx, row: &Row, best: &Kept) -> Result<()> {
    let (zero, one) = (cx.b.i(0), cx.b.i(1));
    let last = cx.b.sub(row.k, one);
    // The first k come in as they are.
    let insert = |cx: &mut LowerCx, i: ExprId, x: ExprId, from: ExprId| {
        let hole = cx.b.var(from);
        let p = cx.b.get(hole);
        let above = cx.b.sub(p, one);
        let inside = cx.b.lt(zero, p);
        // While this stands before the one above.
        let other = cx.b.load_if(best.values, inside, above, x);
        let jumps = row.before(cx, x, other);
        let cond = cx.b.and(inside, jumps);
        cx.b.open_block();
        let up = best.get(cx, above);
        best.put(cx, p, up);
        cx.b.set(hole, above);
        let body = cx.b.close_block();
        cx.b.stmt(Stmt::While { cond, body });
        best.put(cx, p, (x, i));
    };
    cx.for_(row.k, LoopKind::Seq, |cx, i| {
        let x = row.load(cx, i)?;
        let x = cx.b.let_(x);
        insert(cx, i, x, i);
        Ok(())
    })?;
    let least = cx.b.load(best.values, last);
    let least = cx.b.var(least);
    let rest = cx.b.sub(row.n, row.k);
    cx.for_(rest, LoopKind::Seq, |cx, i| {
        let i = cx.b.add(i, row.k);
        let x = row.load(cx, i)?;
        let x = cx.b.let_(x);
        let worst = cx.b.get(least);
        row.if_before(cx, x, worst, |cx| {
            insert(cx, i, x, last);
            let now = cx.b.load(best.values, last);
            cx.b.set(least, now);
            Ok(())
        })
    })?;
    cx.for_(row.k, LoopKind::Seq, |cx, i| {
        let (v, from) = best.get(cx, i);
        row.store(cx, i, v, from);
        Ok(())
    })
}

/// What is better than the last of the best is gathered behind them, and all sorted when there is no more room.
fn gathered(
    cx: &mut LowerCx,
    row: &Row,
    (all, first): (&Kept, &Kept),
    (order, spare): (BufId, BufId),
    most: i64,
) -> Result<()> {
    let (one, most) = (cx.b.i(1), cx.b.i(most));
    let last = cx.b.sub(row.k, one);
    let count = cx.b.var(most);
    let held = cx.b.get(count);
    // Equals stay in the order in which they came: those kept before, then later ones.
    let settle = |cx: &mut LowerCx| -> Result<()> {
        let len = cx.b.let_(held);
        sort_indices(cx, len, order, spare, &|cx, i, j| {
            let (x, y) = (cx.b.load(all.values, i), cx.b.load(all.values, j));
            Ok(row.before(cx, x, y))
        })?;
        cx.for_(row.k, LoopKind::Seq, |cx, i| {
            let from = cx.b.load(order, i);
            let from = cx.b.let_(from);
            let one = all.get(cx, from);
            first.put(cx, i, one);
            Ok(())
        })?;
        cx.for_(row.k, LoopKind::Seq, |cx, i| {
            let one = first.get(cx, i);
            all.put(cx, i, one);
            Ok(())
        })?;
        cx.b.set(count, row.k);
        Ok(())
    };
    // The row has more elements than there is room for.
    cx.for_(most, LoopKind::Seq, |cx, i| {
        let x = row.load(cx, i)?;
        let x = cx.b.let_(x);
        all.put(cx, i, (x, i));
        Ok(())
    })?;
    settle(cx)?;
    let worst = cx.b.load(all.values, last);
    let least = cx.b.var(worst);
    let rest = cx.b.sub(row.n, most);
    cx.for_(rest, LoopKind::Seq, |cx, i| {
        let i = cx.b.add(i, most);
        let i = cx.b.let_(i);
        let x = row.load(cx, i)?;
        let x = cx.b.let_(x);
        let worst = cx.b.get(least);
        row.if_before(cx, x, worst, |cx| {
            all.put(cx, held, (x, i));
            let next = cx.b.add(held, one);
            cx.b.set(count, next);
            let no_room = cx.b.le(most, held);
            cx.b.open_block();
            let done = settle(cx);
            let now = cx.b.load(all.values, last);
            cx.b.set(least, now);
            let then = cx.b.close_block();
            cx.b.stmt(Stmt::If { cond: no_room, then, els: vec![] });
            done
        })
    })?;
    settle(cx)?;
    cx.for_(row.k, LoopKind::Seq, |cx, i| {
        let (v, from) = all.get(cx, i);
        row.store(cx, i, v, from);
        Ok(())
    })
}

/// All of the row is sorted.
fn sorted(cx: &mut LowerCx, row: &Row, order: BufId, spare: BufId) -> Result<()> {
    sort_indices(cx, row.n, order, spare, &|cx, i, j| {
        let (x, y) = (row.load(cx, i)?, row.load(cx, j)?);
        Ok(row.before(cx, x, y))
    })?;
    cx.for_(row.k, LoopKind::Seq, |cx, i| {
        let from = cx.b.load(order, i);
        let from = cx.b.let_(from);
        let v = row.load(cx, from)?;
        row.store(cx, i, v, from);
        Ok(())
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

    /// What a stable sort says, for each way: few, gathered, sorted, with many equals and in the worst order.
    #[test]
    fn as_a_stable_sort_says() {
        let mut seed = 1u32;
        let mut random = || {
            seed = seed.wrapping_mul(1664525).wrapping_add(1013904223);
            ((seed >> 24) % 50) as f32 - 25.0
        };
        let rows: [Vec<f32>; 3] = [
            (0..1200).map(|_| random()).collect(),
            (0..1200).map(|i| i as f32).collect(),
            (0..1200).map(|i| -((i / 3) as f32)).collect(),
        ];
        for values in &rows {
            for k in [1, 20, 40, 75, 700] {
                for largest in [1, 0] {
                    let ins = vec![data(f32s(&[1200], values)), konst(i64s(&[1], &[k]))];
                    let how = attrs([("largest", Attr::Int(largest))]);
                    let r = run_op("TopK", 11, &how, ins, 2).expect("it runs");
                    let mut order: Vec<i64> = (0..1200).collect();
                    order.sort_by(|&a, &b| {
                        let by = values[a as usize].total_cmp(&values[b as usize]);
                        if largest == 1 { by.reverse() } else { by }
                    });
                    assert_eq!(r[1].to_i64s().expect("indices"), order[..k as usize]);
                }
            }
        }
    }
}
