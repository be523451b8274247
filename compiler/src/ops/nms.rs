//! NonMaxSuppression: boxes in the order of their scores, without those that overlap a better one.

use super::util::{accept, bad, since};
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::build::Builder;
use crate::loops::ir::{BufId, ExprId, LoopKind, Stmt, Ty, UnOp, VarId};
use crate::ops::ranks::{float_rank, heap_of, place_of, pop, with_place};
use crate::op::{BASE, InferCx, Lower, OpDef};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&NMS];

/// Inputs: boxes `[batch, n, 4]`, scores `[batch, classes, n]`, most boxes per class, overlap and score thresholds.
pub static NMS: OpDef = OpDef {
    name: "NonMaxSuppression",
    onnx: &[since("NonMaxSuppression", 10, |cx| {
        cx.keep_int("center_point_box", 0)
    })],
    inputs: (2, 5),
    infer,
    lower: Lower::Loops(lower),
    ..BASE
};

fn infer(cx: &mut InferCx) -> Result<()> {
    accept(cx, 0, |d| d == DType::F32)?;
    accept(cx, 1, |d| d == DType::F32)?;
    let (boxes, scores) = (cx.shape(0)?, cx.shape(1)?);
    if boxes.len() != 3 || scores.len() != 3 || !boxes[2].is(4) {
        return bad("boxes must be [batch, n, 4] and scores [batch, classes, n]");
    }
    for (i, d) in [(2, DType::I64), (3, DType::F32), (4, DType::F32)] {
        if cx
            .opt(i)
            .is_some_and(|v| v.ty.dtype != d || !(v.ty.rank() == 0 || v.ty.elements().is(1)))
        {
            return bad(format!("input {i} must be one number of type {d}"));
        }
    }
    let most = match cx.opt(2) {
        None => 0,
        Some(v) => match v.konst.as_ref().and_then(|t| t.get_i64(0)) {
            Some(n) => n.max(0),
            None => i64::MAX,
        },
    };
    let n = cx.max(&boxes[1]).max(0).min(most);
    let hi = cx
        .max(&scores[0])
        .max(0)
        .saturating_mul(cx.max(&scores[1]).max(0))
        .saturating_mul(n);
    let count = cx.data_size("boxes", 0, hi);
    cx.out(0, DType::I64, vec![count, Dim::Fixed(3)]);
    Ok(())
}

/// Corners (low y, low x, high y, high x) of box `i`.
fn corners(cx: &mut LowerCx, batch: ExprId, i: ExprId, center: bool) -> Result<[ExprId; 4]> {
    let mut v = vec![];
    for k in 0..4 {
        let k = cx.b.i(k);
        let x = cx.load(0, &[batch, i, k])?;
        v.push(cx.b.let_(x));
    }
    let b = &mut cx.b;
    Ok(if center {
        let (x, y, w, h) = (v[0], v[1], ex!(b; {v[2]} * 0.5), ex!(b; {v[3]} * 0.5));
        [b.sub(y, h), b.sub(x, w), b.add(y, h), b.add(x, w)]
    } else {
        [
            b.min(v[0], v[2]),
            b.min(v[1], v[3]),
            b.max(v[0], v[2]),
            b.max(v[1], v[3]),
        ]
    })
}

/// Whether two boxes overlap by more than the threshold.
fn overlap(b: &mut Builder, p: [ExprId; 4], q: [ExprId; 4], limit: ExprId) -> ExprId {
    let zero = b.f(0.0);
    let area = |b: &mut Builder, c: [ExprId; 4]| ex!(b; ({c[2]} - {c[0]}) * ({c[3]} - {c[1]}));
    let (top, left) = (b.max(p[0], q[0]), b.max(p[1], q[1]));
    let (bottom, right) = (b.min(p[2], q[2]), b.min(p[3], q[3]));
    let (h, w) = (
        ex!(b; max(zero, (bottom - top))),
        ex!(b; max(zero, (right - left))),
    );
    let both = b.mul(h, w);
    let both = b.let_(both);
    let (ap, aq) = (area(b, p), area(b, q));
    let (ap, aq) = (b.let_(ap), b.let_(aq));
    let all = ex!(b; (ap + aq) - both);
    let ratio = b.div(both, all);
    let real = ex!(b; ((zero < ap) & (zero < aq)) & (zero < both));
    let more = b.lt(limit, ratio);
    b.and(real, more)
}

fn scalar(cx: &mut LowerCx, i: usize) -> Result<Option<ExprId>> {
    if cx.opt(i).is_none() {
        return Ok(None);
    }
    let zero = cx.b.i(0);
    let v = cx.load_flat(i, zero)?;
    Ok(Some(cx.b.let_(v)))
}

fn lower(cx: &mut LowerCx) -> Result<()> {
    let (boxes, scores) = (cx.in_shape(0)?, cx.in_shape(1)?);
    let center = cx.attrs.flag("center_point_box");
    let sym = cx
        .syms
        .first()
        .copied()
        .ok_or_else(|| crate::base::diag::Diagnostic::internal("a size is missing"))?;
    let n = boxes[1].clone();
    // As many of a class as are kept at most.
    let most_kept = cx
        .opt(2)
        .and_then(|o| o.konst.as_ref())
        .and_then(|t| t.get_i64(0));
    let room = match (n.fixed(), most_kept) {
        (Some(n), Some(most)) => Dim::Fixed(most.clamp(1, n.max(1))),
        _ => n.clone(),
    };
    let heap = cx.scratch("heap", DType::I64, n.clone());
    let kept = cx.scratch("kept", DType::F32, room * Dim::Fixed(4));
    let zero = cx.b.i(0);
    let total = cx.b.var(zero);
    let most = match scalar(cx, 2)? {
        Some(m) => {
            let n = cx.b.dim(&n);
            let m = cx.b.clamp(m, zero, n);
            cx.b.let_(m)
        }
        None => zero,
    };
    let none = cx.b.f(0.0);
    let limit = scalar(cx, 3)?.unwrap_or(none);
    let least = scalar(cx, 4)?;
    let outer = [scores[0].clone(), scores[1].clone()];
    cx.each(&outer, LoopKind::Seq, |cx, at| {
        let (batch, class) = (at[0], at[1]);
        let size = cx.b.dim(&n);
        let one = cx.b.i(1);
        let count = cx.b.var(zero);
        let so_far = cx.b.get(count);
        // Without branches: what is not good enough is written over.
        cx.for_(size, LoopKind::Seq, |cx, i| {
            let s = cx.load(1, &[batch, class, i])?;
            let s = cx.b.let_(s);
            let rank = float_rank(&mut cx.b, s);
            let whole = with_place(&mut cx.b, rank, i, size);
            cx.b.store(heap, so_far, whole);
            let ok = match least {
                Some(t) => cx.b.lt(t, s),
                None => cx.b.bool(true),
            };
            let more = cx.b.add(so_far, one);
            let next = cx.b.select(ok, more, so_far);
            cx.b.set(count, next);
            Ok(())
        })?;
        let all = cx.b.let_(so_far);
        heap_of(cx, heap, all)?;
        let taken = cx.b.var(zero);
        let (left, has) = (cx.b.get(count), cx.b.get(taken));
        let going = ex!(cx.b; (zero < left) & (has < most));
        cx.b.open_block();
        let round = round(
            cx,
            &Round { batch, class, size, heap, count, kept, center, limit, taken, total },
        );
        let body = cx.b.close_block();
        cx.b.stmt(Stmt::While { cond: going, body });
        round
    })?;
    let count = cx.b.get(total);
    cx.b.set_sym(sym, count);
    Ok(())
}

struct Round {
    batch: ExprId,
    class: ExprId,
    /// How many boxes there are.
    size: ExprId,
    /// Scores with places of boxes that were not looked at yet, and how many.
    heap: BufId,
    count: VarId,
    /// Corners of the boxes of this class that were kept, and how many.
    kept: BufId,
    taken: VarId,
    center: bool,
    limit: ExprId,
    total: VarId,
}

/// Takes the best box that is left, and keeps it unless it overlaps one that was kept. A box leaves in every round, so
/// the rounds end.
fn round(cx: &mut LowerCx, r: &Round) -> Result<()> {
    let left = cx.b.get(r.count);
    let left = cx.b.let_(left);
    let whole = pop(cx, r.heap, left);
    let (one, four) = (cx.b.i(1), cx.b.i(4));
    let less = cx.b.sub(left, one);
    cx.b.set(r.count, less);
    let best = place_of(&mut cx.b, whole, r.size);
    let best = cx.b.let_(best);
    let own = corners(cx, r.batch, best, r.center)?;
    let own = own.map(|c| cx.b.let_(c));
    let taken = cx.b.get(r.taken);
    let taken = cx.b.let_(taken);
    let b = &mut cx.b;
    let (none, no) = (b.i(0), b.bool(false));
    let (next, hit) = (b.var(none), b.var(no));
    let (k, hits) = (b.get(next), b.get(hit));
    let clear = b.un(UnOp::Not, hits);
    let open = ex!(b; clear & (k < taken));
    b.while_(open, |b| {
        let first = b.mul(k, four);
        let other = [0, 1, 2, 3].map(|c| {
            let at = ex!(b; first + {b.i(c)});
            let v = b.load(r.kept, at);
            b.let_(v)
        });
        let o = overlap(b, own, other, r.limit);
        b.set(hit, o);
        let after = b.add(k, one);
        b.set(next, after);
    });
    let keep = cx.b.un(UnOp::Not, hits);
    cx.if_(
        keep,
        |cx| {
            let first = cx.b.mul(taken, four);
            for (c, v) in own.into_iter().enumerate() {
                let at = ex!(cx.b; first + {cx.b.i(c as i64)});
                cx.b.store(r.kept, at, v);
            }
            let total = cx.b.get(r.total);
            let total = cx.b.let_(total);
            for (k, v) in [r.batch, r.class, best].into_iter().enumerate() {
                let to = ex!(cx.b; (total * 3) + {cx.b.i(k as i64)});
                let v = cx.b.cast(Ty::I64, v);
                cx.store_flat(0, to, v);
            }
            let (t, n) = (ex!(cx.b; total + 1), ex!(cx.b; taken + 1));
            cx.b.set(r.total, t);
            cx.b.set(r.taken, n);
            Ok(())
        },
        |_| Ok(()),
    )
}
