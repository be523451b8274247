//! Unique, over a stable merge sort of indices written in loops.

use crate::base::attr::Attr;
use crate::base::diag::Result;
use crate::base::dim::{Dim, elements};
use crate::base::dtype::DType;
use crate::kernel::LowerCx;
use crate::loops::build::Builder;
use crate::loops::ir::{BufId, ExprId, LoopKind, UnOp};
use crate::op::{BASE, InferCx, Lower, OpDef, ReadCx};
use crate::ops::util::*;

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&UNIQUE];

/// Whether element `x` stands before `y` in rising order; NaN is the largest.
pub fn rises(b: &mut Builder, d: DType, x: ExprId, y: ExprId) -> ExprId {
    let lt = less(b, d, x, y);
    if !d.is_float() {
        return lt;
    }
    let (xn, yn) = (b.ne(x, x), b.ne(y, y));
    let x_ok = b.un(UnOp::Not, xn);
    let by_nan = b.and(x_ok, yn);
    b.or(lt, by_nan)
}

/// Sorts the numbers 0..n into `order` so that none stands after one that it is `before`; equals keep their order.
/// `spare` is as long as `order`. `before` may write statements.
pub fn sort_indices(
    cx: &mut LowerCx,
    n: ExprId,
    order: BufId,
    spare: BufId,
    before: &dyn Fn(&mut LowerCx, ExprId, ExprId) -> Result<ExprId>,
) -> Result<()> {
    cx.for_(n, LoopKind::Lanes, |cx, i| {
        cx.b.store(order, i, i);
        Ok(())
    })?;
    sort_values(cx, n, order, spare, before)
}

/// The same with what the first n elements of `order` (i64) are.
pub fn sort_values(
    cx: &mut LowerCx,
    n: ExprId,
    order: BufId,
    spare: BufId,
    before: &dyn Fn(&mut LowerCx, ExprId, ExprId) -> Result<ExprId>,
) -> Result<()> {
    let (zero, one, two) = (cx.b.i(0), cx.b.i(1), cx.b.i(2));
    let width = cx.b.var(one);
    let w = cx.b.get(width);
    let more = cx.b.lt(w, n);
    cx.b.open_block();
    let both = cx.b.mul(w, two);
    let both = cx.b.let_(both);
    let up = cx.b.add(n, both);
    let up = cx.b.sub(up, one);
    let runs = cx.b.div(up, both);
    cx.for_(runs, LoopKind::Seq, |cx, run| {
        let lo = cx.b.mul(run, both);
        let lo = cx.b.let_(lo);
        let mid = cx.b.add(lo, w);
        let mid = cx.b.min(mid, n);
        let mid = cx.b.let_(mid);
        let hi = cx.b.add(lo, both);
        let hi = cx.b.min(hi, n);
        let hi = cx.b.let_(hi);
        let (left, right) = (cx.b.var(lo), cx.b.var(mid));
        let len = cx.b.sub(hi, lo);
        cx.for_(len, LoopKind::Seq, |cx, k| {
            let (i, j) = (cx.b.get(left), cx.b.get(right));
            let (has_i, has_j) = (cx.b.lt(i, mid), cx.b.lt(j, hi));
            let a = cx.b.load_if(order, has_i, i, zero);
            let a = cx.b.let_(a);
            let c = cx.b.load_if(order, has_j, j, zero);
            let c = cx.b.let_(c);
            let jumps = before(cx, c, a)?;
            let b = &mut cx.b;
            let stays = b.un(UnOp::Not, jumps);
            let no_j = b.un(UnOp::Not, has_j);
            let take = b.or(no_j, stays);
            let take = b.and(has_i, take);
            let take = b.let_(take);
            let v = b.select(take, a, c);
            let to = b.add(lo, k);
            b.store(spare, to, v);
            let (i1, j1) = (b.add(i, one), b.add(j, one));
            let (i2, j2) = (b.select(take, i1, i), b.select(take, j, j1));
            b.set(left, i2);
            b.set(right, j2);
            Ok(())
        })
    })?;
    cx.for_(n, LoopKind::Lanes, |cx, i| {
        let v = cx.b.load(spare, i);
        cx.b.store(order, i, v);
        Ok(())
    })?;
    cx.b.set(width, both);
    let body = cx.b.close_block();
    cx.b.stmt(crate::loops::ir::Stmt::While { cond: more, body });
    Ok(())
}

/// The different elements, or slices along `axis`: sorted, or in the order in which they first stand.
pub static UNIQUE: OpDef = OpDef {
    name: "Unique",
    onnx: &[since("Unique", 11, read_unique)],
    outputs: (1, 4),
    infer: infer_unique,
    lower: Lower::Loops(lower_unique),
    ..BASE
};

fn read_unique(cx: &mut ReadCx) -> Result<()> {
    if let Some(axis) = cx.opt_int("axis")? {
        cx.set("axis", Attr::Int(axis));
    }
    cx.keep_int("sorted", 1)
}

fn infer_unique(cx: &mut InferCx) -> Result<()> {
    let d = accept(cx, 0, number_or_bool)?;
    let shape = cx.shape(0)?;
    let (all, out) = match cx.attrs.opt_int("axis") {
        None => {
            let all = elements(&shape);
            let hi = cx.max(&all).max(0);
            (all, vec![cx.data_size("unique", 0, hi)])
        }
        Some(axis) => {
            let axis = cx.axis(axis, shape.len())?;
            let hi = cx.max(&shape[axis]).max(0);
            let mut out = shape.clone();
            out[axis] = cx.data_size("unique", 0, hi);
            (shape[axis].clone(), out)
        }
    };
    let k = match cx.attrs.opt_int("axis") {
        None => out[0].clone(),
        Some(axis) => out[cx.axis(axis, shape.len())?].clone(),
    };
    cx.out(0, d, out);
    cx.out(1, DType::I64, vec![k.clone()]);
    cx.out(2, DType::I64, vec![all]);
    cx.out(3, DType::I64, vec![k]);
    Ok(())
}

/// How Unique sees its input: `count` slices of the shape `rest`.
struct Slices {
    shape: Vec<Dim>,
    axis: Option<usize>,
    rest: Vec<Dim>,
    d: DType,
}

impl Slices {
    /// Element `r` (one index per axis of `rest`) of slice `i`.
    fn load(&self, cx: &mut LowerCx, i: ExprId, r: &[ExprId]) -> Result<ExprId> {
        match self.axis {
            None => cx.load_flat(0, i),
            Some(axis) => {
                let mut p = r.to_vec();
                p.insert(axis, i);
                cx.load(0, &p)
            }
        }
    }
    /// -1, 0 or 1: how slice `i` compares with slice `j`. Elements compare in row-major order, the first difference decides.
    fn compare(&self, cx: &mut LowerCx, i: ExprId, j: ExprId) -> Result<ExprId> {
        let zero = cx.b.i(0);
        let state = cx.b.var(zero);
        let s = cx.b.get(state);
        let one_element = elements(&self.rest).is(1);
        let step = |cx: &mut LowerCx, r: &[ExprId]| -> Result<()> {
            let (x, y) = (self.load(cx, i, r)?, self.load(cx, j, r)?);
            let (x, y) = (self.number(cx, x), self.number(cx, y));
            let (lt, gt) = (
                rises(&mut cx.b, self.d, x, y),
                rises(&mut cx.b, self.d, y, x),
            );
            let b = &mut cx.b;
            let (minus, plus) = (b.i(-1), b.i(1));
            let c = b.select(gt, plus, zero);
            let c = b.select(lt, minus, c);
            let open = b.eq(s, zero);
            let next = b.select(open, c, s);
            b.set(state, next);
            Ok(())
        };
        if one_element {
            let r = vec![zero; self.rest.len()];
            step(cx, &r)?;
        } else {
            cx.each(&self.rest, LoopKind::Seq, step)?;
        }
        Ok(cx.b.let_(s))
    }
    /// Truth values compare as numbers.
    fn number(&self, cx: &mut LowerCx, v: ExprId) -> ExprId {
        if self.d == DType::Bool {
            cx.b.cast(crate::loops::ir::Ty::I32, v)
        } else {
            v
        }
    }
}

fn lower_unique(cx: &mut LowerCx) -> Result<()> {
    let shape = cx.in_shape(0)?;
    let d = cx.input(0)?.ty.dtype;
    let axis = match cx.attrs.opt_int("axis") {
        Some(a) => Some(crate::op::resolve_axis(a, shape.len())?),
        None => None,
    };
    let (all, rest) = match axis {
        None => (elements(&shape), vec![]),
        Some(a) => {
            let mut rest = shape.clone();
            let all = rest.remove(a);
            (all, rest)
        }
    };
    let slices = Slices {
        shape,
        axis,
        rest,
        d,
    };
    let scratch = |cx: &mut LowerCx, name: &str| cx.scratch(name, DType::I64, all.clone());
    let (order, spare) = (scratch(cx, "order"), scratch(cx, "spare"));
    let (first, count) = (scratch(cx, "first"), scratch(cx, "count"));
    let (group, rank, place) = (
        scratch(cx, "group"),
        scratch(cx, "rank"),
        scratch(cx, "place"),
    );
    let n = cx.b.dim(&all);
    let (zero, one) = (cx.b.i(0), cx.b.i(1));
    sort_indices(cx, n, order, spare, &|cx, i, j| {
        let c = slices.compare(cx, i, j)?;
        let zero = cx.b.i(0);
        Ok(cx.b.lt(c, zero))
    })?;
    // Equal slices stand together now, the earliest first.
    let groups = cx.b.var(zero);
    cx.for_(n, LoopKind::Seq, |cx, p| {
        let here = cx.b.load(order, p);
        let here = cx.b.let_(here);
        let prev = cx.b.sub(p, one);
        let has_prev = cx.b.lt(zero, p);
        let before = cx.b.load_if(order, has_prev, prev, here);
        let before = cx.b.let_(before);
        let c = slices.compare(cx, before, here)?;
        let differ = cx.b.ne(c, zero);
        let is_first = cx.b.eq(p, zero);
        let opens = cx.b.or(is_first, differ);
        let g = cx.b.get(groups);
        cx.b.if_(
            opens,
            |b| {
                b.store(first, g, here);
                b.store(count, g, zero);
                let next = b.add(g, one);
                b.set(groups, next);
            },
            |_| {},
        );
        let own = cx.b.sub(g, one);
        let own = cx.b.let_(own);
        cx.b.store(group, here, own);
        let c = cx.b.load(count, own);
        let c = cx.b.add(c, one);
        cx.b.store(count, own, c);
        Ok(())
    })?;
    let k = cx.b.get(groups);
    let k = cx.b.let_(k);
    if let Some(&sym) = cx.syms.first() {
        cx.b.set_sym(sym, k);
    }
    // `rank[r]` is the group that is r-th in the output, `place` the other way round.
    if cx.attrs.int("sorted", 1) != 0 {
        cx.for_(k, LoopKind::Lanes, |cx, r| {
            cx.b.store(rank, r, r);
            cx.b.store(place, r, r);
            Ok(())
        })?;
    } else {
        let next = cx.b.var(zero);
        cx.for_(n, LoopKind::Seq, |cx, i| {
            let g = cx.b.load(group, i);
            let g = cx.b.let_(g);
            let f = cx.b.load(first, g);
            let opens = cx.b.eq(f, i);
            let r = cx.b.get(next);
            cx.b.if_(
                opens,
                |b| {
                    b.store(rank, r, g);
                    b.store(place, g, r);
                    let up = b.add(r, one);
                    b.set(next, up);
                },
                |_| {},
            );
            Ok(())
        })?;
    }
    cx.for_(k, LoopKind::Seq, |cx, r| {
        let g = cx.b.load(rank, r);
        let g = cx.b.let_(g);
        let from = cx.b.load(first, g);
        let from = cx.b.let_(from);
        let c = cx.b.load(count, g);
        cx.store(1, &[r], from);
        cx.store(3, &[r], c);
        if cx.output(0).is_none() {
            return Ok(());
        }
        cx.each(&slices.rest, LoopKind::Seq, |cx, at| {
            let v = slices.load(cx, from, at)?;
            match slices.axis {
                None => cx.store(0, &[r], v),
                Some(axis) => {
                    let mut to = at.to_vec();
                    to.insert(axis, r);
                    cx.store(0, &to, v);
                }
            }
            Ok(())
        })
    })?;
    debug_assert!(slices.shape.len() >= slices.rest.len());
    cx.for_(n, LoopKind::Lanes, |cx, i| {
        let g = cx.b.load(group, i);
        let g = cx.b.let_(g);
        let r = cx.b.load(place, g);
        cx.store(2, &[i], r);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::attr::Attrs;
    use crate::base::tensor::Tensor;
    use crate::ops::testing::*;

    #[test]
    fn unique_elements_in_both_orders() {
        let x = || data(f32s(&[6], &[2.0, 1.0, 1.0, 3.0, 4.0, 3.0]));
        let ints = |t: &Tensor| t.to_f64s().expect("numbers");
        let r = run_op("Unique", 11, &attrs([("sorted", Attr::Int(0))]), vec![x()], 4).expect("it runs");
        assert_eq!(ints(&r[0]), [2.0, 1.0, 3.0, 4.0]);
        assert_eq!(ints(&r[1]), [0.0, 1.0, 3.0, 4.0]);
        assert_eq!(ints(&r[2]), [0.0, 1.0, 1.0, 2.0, 3.0, 2.0]);
        assert_eq!(ints(&r[3]), [1.0, 2.0, 2.0, 1.0]);
        let r = run_op("Unique", 11, &Attrs::default(), vec![x()], 4).expect("it runs");
        assert_eq!(ints(&r[0]), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(ints(&r[1]), [1.0, 0.0, 3.0, 4.0]);
    }
}
