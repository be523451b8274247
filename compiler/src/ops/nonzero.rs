//! NonZero and Compress: as many results as the data holds.

use crate::base::attr::Attr;
use crate::base::diag::Result;
use crate::base::dim::{Dim, elements};
use crate::base::dtype::DType;
use crate::kernel::LowerCx;
use crate::loops::ir::{ExprId, LoopKind, Ty};
use crate::op::{BASE, Lower, OpDef, read_none};
use crate::ops::cast::to_ty;
use crate::ops::util::*;

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&NON_ZERO, &COMPRESS];

/// Where the elements that are not 0 stand: a row per axis, a column per element.
pub static NON_ZERO: OpDef = OpDef {
    name: "NonZero",
    onnx: &[since("NonZero", 9, read_none)],
    infer: |cx| {
        accept(cx, 0, number_or_bool)?;
        let shape = cx.shape(0)?;
        let hi = cx.max(&elements(&shape)).max(0);
        let n = cx.data_size("nonzero", 0, hi);
        cx.out(0, DType::I64, vec![Dim::Fixed(shape.len() as i64), n]);
        Ok(())
    },
    lower: Lower::Loops(lower_non_zero),
    ..BASE
};

fn lower_non_zero(cx: &mut LowerCx) -> Result<()> {
    let shape = cx.in_shape(0)?;
    let d = cx.input(0)?.ty.dtype;
    let (zero, one) = (cx.b.i(0), cx.b.i(1));
    let total = cx.b.var(zero);
    let n = cx.b.dim(&elements(&shape));
    let is_set = |cx: &mut LowerCx, v: ExprId| to_ty(&mut cx.b, d, Ty::Bool, v);
    cx.for_(n, LoopKind::Seq, |cx, i| {
        let v = cx.load_flat(0, i)?;
        let set = is_set(cx, v);
        let t = cx.b.get(total);
        let up = cx.b.add(t, one);
        let t = cx.b.select(set, up, t);
        cx.b.set(total, t);
        Ok(())
    })?;
    let t = cx.b.get(total);
    let t = cx.b.let_(t);
    if let Some(&sym) = cx.syms.first() {
        cx.b.set_sym(sym, t);
    }
    let next = cx.b.var(zero);
    cx.each(&shape, LoopKind::Seq, |cx, at| {
        let v = cx.load(0, at)?;
        let set = is_set(cx, v);
        cx.if_(
            set,
            |cx| {
                let k = cx.b.get(next);
                for (axis, &i) in at.iter().enumerate() {
                    let axis = cx.b.i(axis as i64);
                    cx.store(0, &[axis, k], i);
                }
                let up = cx.b.add(k, one);
                cx.b.set(next, up);
                Ok(())
            },
            |_| Ok(()),
        )
    })
}

/// The slices along `axis` (or the elements, without one) for which the condition holds.
pub static COMPRESS: OpDef = OpDef {
    name: "Compress",
    onnx: &[since("Compress", 9, |cx| {
        if let Some(axis) = cx.opt_int("axis")? {
            cx.set("axis", Attr::Int(axis));
        }
        Ok(())
    })],
    inputs: (2, 2),
    infer: |cx| {
        let d = accept(cx, 0, any)?;
        accept(cx, 1, boolean)?;
        let mut shape = cx.shape(0)?;
        let c = cx.shape(1)?;
        if c.len() != 1 {
            return bad("the condition of Compress must be a list");
        }
        let axis = match cx.attrs.opt_int("axis") {
            Some(a) => cx.axis(a, shape.len())?,
            None => {
                shape = vec![elements(&shape)];
                0
            }
        };
        let hi = cx.max(&shape[axis]).min(cx.max(&c[0])).max(0);
        shape[axis] = cx.data_size("compress", 0, hi);
        cx.out(0, d, shape);
        Ok(())
    },
    lower: Lower::Loops(lower_compress),
    ..BASE
};

fn lower_compress(cx: &mut LowerCx) -> Result<()> {
    let (shape, cond) = (cx.in_shape(0)?, cx.in_shape(1)?);
    let axis = match cx.attrs.opt_int("axis") {
        Some(a) => Some(crate::op::resolve_axis(a, shape.len())?),
        None => None,
    };
    let size = match axis {
        Some(a) => shape[a].clone(),
        None => elements(&shape),
    };
    let (zero, one) = (cx.b.i(0), cx.b.i(1));
    let (n, len) = (cx.b.dim(&size), cx.b.dim(&cond[0]));
    // A condition that is longer than the axis may only be false beyond it.
    let total = cx.b.var(zero);
    cx.for_(len, LoopKind::Seq, |cx, i| {
        let set = cx.load_flat(1, i)?;
        let beyond = cx.b.le(n, i);
        let wrong = cx.b.and(set, beyond);
        cx.b.fail_if(wrong, DATA_OUT_OF_RANGE);
        let t = cx.b.get(total);
        let up = cx.b.add(t, one);
        let t = cx.b.select(set, up, t);
        cx.b.set(total, t);
        Ok(())
    })?;
    let t = cx.b.get(total);
    let t = cx.b.let_(t);
    if let Some(&sym) = cx.syms.first() {
        cx.b.set_sym(sym, t);
    }
    let next = cx.b.var(zero);
    let (before, after) = match axis {
        Some(a) => (shape[..a].to_vec(), shape[a + 1..].to_vec()),
        None => (vec![], vec![]),
    };
    let many = cx.b.min(n, len);
    cx.for_(many, LoopKind::Seq, |cx, i| {
        let set = cx.load_flat(1, i)?;
        cx.if_(
            set,
            |cx| {
                let k = cx.b.get(next);
                let k = cx.b.let_(k);
                match axis {
                    None => {
                        let v = cx.load_flat(0, i)?;
                        cx.store_flat(0, k, v);
                    }
                    Some(_) => cx.each(&before, LoopKind::Seq, |cx, lead| {
                        cx.each(&after, LoopKind::Lanes, |cx, rest| {
                            let v = cx.load(0, &[lead, &[i], rest].concat())?;
                            cx.store(0, &[lead, &[k], rest].concat(), v);
                            Ok(())
                        })
                    })?,
                }
                let up = cx.b.add(k, one);
                cx.b.set(next, up);
                Ok(())
            },
            |_| Ok(()),
        )
    })
}

#[cfg(test)]
mod tests {
    use crate::base::attr::Attrs;
    use crate::ops::testing::*;

    #[test]
    fn places_of_what_is_not_zero() {
        let x = data(f32s(&[2, 2], &[1.0, 0.0, 1.0, 1.0]));
        let r = run_op("NonZero", 13, &Attrs::default(), vec![x], 1).expect("it runs");
        assert_eq!(r[0].shape, [2, 3]);
        assert_eq!(r[0].to_i64s().expect("indices"), [0, 1, 1, 0, 0, 1]);
    }
}
