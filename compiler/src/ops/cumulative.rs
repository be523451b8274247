//! CumSum and CumProd: running sums and products along an axis.

use crate::base::diag::Result;
use crate::base::dim::strides;
use crate::kernel::{LowerCx, wrap};
use crate::loops::ir::{ExprId, LoopKind};
use crate::op::{BASE, InferCx, Lower, OpDef, ReadCx};
use crate::ops::util::*;

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&CUM_SUM, &CUM_PROD];

macro_rules! rows {
    ($($id:ident $name:literal $from:literal $product:literal;)*) => {$(
        #[doc = concat!($name, ": `exclusive` leaves the element itself out, `reverse` runs from the end.")]
        pub static $id: OpDef = OpDef {
            name: $name,
            onnx: &[since($name, $from, read)],
            inputs: (2, 2),
            infer,
            lower: Lower::Loops(|cx| lower(cx, $product)),
            tails: true,
            ..BASE
        };
    )*};
}

rows! {
    CUM_SUM "CumSum" 11 false;
    CUM_PROD "CumProd" 26 true;
}

fn read(cx: &mut ReadCx) -> Result<()> {
    cx.keep_int("exclusive", 0)?;
    cx.keep_int("reverse", 0)
}

fn infer(cx: &mut InferCx) -> Result<()> {
    accept(cx, 0, number)?;
    accept(cx, 1, index)?;
    if !cx.input(1)?.ty.elements().is(1) {
        return bad("the axis must be one number");
    }
    let rank = cx.shape(0)?.len();
    if let Some(axis) = const_scalar(cx.input(1)?.konst.as_ref()) {
        cx.axis(axis as i64, rank)?;
    }
    crate::op::same_as_first(cx)
}

fn lower(cx: &mut LowerCx, product: bool) -> Result<()> {
    let shape = cx.in_shape(0)?;
    if shape.is_empty() {
        return bad("an input of at least one axis is needed");
    }
    if let Some(axis) = const_scalar(cx.input(1)?.konst.as_ref()) {
        let axis = crate::op::resolve_axis(axis as i64, shape.len())?;
        let mut kept = shape.clone();
        kept.remove(axis);
        // Lines that lie side by side go on together.
        let kind = match axis + 1 == shape.len() {
            true => LoopKind::Seq,
            false => LoopKind::Lanes,
        };
        return cx.each(&kept, kind, |cx, at| {
            let n = cx.b.dim(&shape[axis]);
            run(cx, product, n, &|_, i| {
                let mut p = at.to_vec();
                p.insert(axis, i);
                p
            })
        });
    }
    // The axis is data: every line along it is found by its first element.
    let zero = cx.b.i(0);
    let axis = cx.load_flat(1, zero)?;
    let axis = cx.b.cast(crate::loops::ir::Ty::I64, axis);
    let rank = cx.b.i(shape.len() as i64);
    let (axis, outside) = wrap_index(&mut cx.b, axis, rank);
    cx.b.fail_if(outside, DATA_OUT_OF_RANGE);
    let axis = cx.b.let_(axis);
    let (mut n, mut stride) = (cx.b.dim(&shape[0]), cx.b.dim(&strides(&shape)[0]));
    for (k, (d, s)) in shape.iter().zip(strides(&shape)).enumerate().skip(1) {
        let (k, d, s) = (cx.b.i(k as i64), cx.b.dim(d), cx.b.dim(&s));
        let this = cx.b.eq(axis, k);
        n = cx.b.select(this, d, n);
        stride = cx.b.select(this, s, stride);
    }
    let (n, stride) = (cx.b.let_(n), cx.b.let_(stride));
    let total = cx.b.dim(&crate::base::dim::elements(&shape));
    cx.for_(total, LoopKind::Seq, |cx, start| {
        let line = cx.b.div(start, stride);
        let first = cx.b.rem(line, n);
        let is_first = cx.b.eq(first, zero);
        cx.if_(
            is_first,
            |cx| {
                run(cx, product, n, &|cx, i| {
                    let t = cx.b.mul(i, stride);
                    let at = cx.b.add(start, t);
                    cx.b.unoffset(&shape, at)
                })
            },
            |_| Ok(()),
        )
    })
}

/// One line of `n` elements.
fn run(
    cx: &mut LowerCx,
    product: bool,
    n: ExprId,
    place: &dyn Fn(&mut LowerCx, ExprId) -> Vec<ExprId>,
) -> Result<()> {
    let d = cx.input(0)?.ty.dtype;
    let (exclusive, reverse) = (cx.attrs.flag("exclusive"), cx.attrs.flag("reverse"));
    let ty = cx.in_ty(0)?;
    let start = cx.b.int(ty, product as i64);
    let acc = cx.b.var(start);
    cx.for_(n, LoopKind::Seq, |cx, i| {
        let i = if reverse {
            let one = cx.b.i(1);
            let last = cx.b.sub(n, one);
            cx.b.sub(last, i)
        } else {
            i
        };
        let at = place(cx, i);
        let x = cx.load(0, &at)?;
        let a = cx.b.get(acc);
        let next = if product {
            cx.b.mul(a, x)
        } else {
            cx.b.add(a, x)
        };
        let next = wrap(&mut cx.b, d, next);
        let next = cx.b.let_(next);
        let v = if exclusive { a } else { next };
        cx.store(0, &at, v);
        cx.b.set(acc, next);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use crate::base::attr::Attr;
    use crate::ops::testing::*;

    #[test]
    fn all_forms_with_known_and_unknown_axis() {
        for known in [true, false] {
            let axis = || {
                if known {
                    konst(i64s(&[], &[-1]))
                } else {
                    data(i64s(&[], &[-1]))
                }
            };
            let run = |exclusive, reverse| {
                let a = attrs([("exclusive", Attr::Int(exclusive)), ("reverse", Attr::Int(reverse))]);
                numbers("CumSum", 14, &a, vec![data(f32s(&[1, 3], &[1.0, 2.0, 3.0])), axis()])
            };
            assert_eq!(run(0, 0), [1.0, 3.0, 6.0]);
            assert_eq!(run(1, 0), [0.0, 1.0, 3.0]);
            assert_eq!(run(0, 1), [6.0, 5.0, 3.0]);
            assert_eq!(run(1, 1), [5.0, 3.0, 0.0]);
        }
    }
}
