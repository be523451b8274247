//! ArgMax and ArgMin: where the largest or smallest element of an axis stands.
//!
//! Of equal elements the first counts, or the last with `select_last_index`. NaN counts as the extreme, as in numpy.

use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::kernel::LowerCx;
use crate::loops::ir::{ExprId, LoopKind, Ty, UnOp};
use crate::op::{BASE, InferCx, Lower, OpDef, ReadCx};
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
    let d = cx.input(0)?.ty.dtype;
    let axis = crate::op::resolve_axis(cx.attrs.int("axis", 0), shape.len())?;
    let last = cx.attrs.flag("select_last_index");
    let keep = cx.attrs.int("keepdims", 1) != 0;
    let mut kept = shape.clone();
    kept.remove(axis);
    // Positions are counted in 32 bits where they fit: then several are looked for at once.
    let narrow = shape[axis].bounds(cx.symbols).1 <= i64::from(i32::MAX);
    let count = if narrow { Ty::I32 } else { Ty::I64 };
    cx.each(&kept, LoopKind::Lanes, |cx, at| {
        let place = |i: ExprId| {
            let mut p = at.to_vec();
            p.insert(axis, i);
            p
        };
        let n = cx.b.dim(&shape[axis]);
        let zero = cx.b.i(0);
        let nothing = cx.b.int(cx.in_ty(0)?, 0);
        let some = cx.b.lt(zero, n);
        let first = cx.load_if(0, some, &place(zero), nothing)?;
        let start = cx.b.int(count, 0);
        let (best, where_) = (cx.b.var(first), cx.b.var(start));
        cx.for_(n, LoopKind::Seq, |cx, i| {
            let x = cx.load(0, &place(i))?;
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
        let v = cx.b.cast(Ty::I64, v);
        let mut to = at.to_vec();
        if keep {
            to.insert(axis, zero);
        }
        cx.store(0, &to, v);
        Ok(())
    })
}

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
