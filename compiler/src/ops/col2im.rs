//! Col2Im: columns of blocks summed back into an image.

use super::axes::{fold, origin};
use super::util::{accept, bad, number, since};
use crate::base::attr::Attr;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::{Dim, fixed_shape};
use crate::contracts::window::Window;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{ExprId, LoopKind};
use crate::op::{BASE, InferCx, Lower, OpDef};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&COL2IM];

/// Inputs: `[N, C * block, L]`, image shape, block shape.
pub static COL2IM: OpDef = OpDef {
    name: "Col2Im",
    onnx: &[since("Col2Im", 18, |cx| {
        for name in ["strides", "dilations", "pads"] {
            cx.keep_ints(name)?;
        }
        Ok(())
    })],
    inputs: (3, 3),
    infer,
    lower: Lower::Loops(lower),
    tails: true,
    ..BASE
};

fn infer(cx: &mut InferCx) -> Result<()> {
    let d = accept(cx, 0, number)?;
    let x = cx.shape(0)?;
    let (image, block) = (
        cx.const_ints(1, "image_shape")?,
        cx.const_ints(2, "block_shape")?,
    );
    let size = |v: &[i64]| {
        v.iter()
            .try_fold(1i64, |a, &d| if d < 1 { None } else { a.checked_mul(d) })
    };
    let (Some(_), Some(taps)) = (size(&image), size(&block)) else {
        return bad("image and block must have positive sizes");
    };
    if x.len() != 3 || image.len() != block.len() {
        return bad("the columns must be [N, C * block, L]");
    }
    let dims: Vec<Dim> = image.iter().map(|&d| Dim::Fixed(d)).collect();
    let w = Window::of(cx.attrs, &block, &dims)?;
    let positions: Dim = w.out.iter().cloned().product();
    if x[2].fixed().is_some_and(|l| Some(l) != positions.fixed()) {
        return bad("the number of columns does not fit the image");
    }
    let Some(c) = x[1].exact_div(&Dim::Fixed(taps)) else {
        return bad("the columns do not hold whole blocks");
    };
    let mut out = vec![x[0].clone(), c];
    out.extend(dims);
    cx.out(0, d, out);
    Ok(())
}

fn lower(cx: &mut LowerCx) -> Result<()> {
    let out = cx.out_shape()?;
    let block = cx
        .opt(2)
        .and_then(|o| o.konst.as_ref())
        .and_then(|t| t.to_i64s())
        .ok_or_else(|| Diagnostic::unsupported("ONNX012", "`block_shape` is not a constant"))?;
    let attrs = cx
        .attrs
        .clone()
        .with("auto_pad", Attr::Str("NOTSET".into()));
    let w = Window::of(&attrs, &block, &out[2..])?;
    let n = w.rank();
    let places =
        fixed_shape(&w.out).ok_or_else(|| Diagnostic::internal("an image of unknown size"))?;
    let taps: i64 = block.iter().product();
    let ty = cx.in_ty(0)?;
    let sizes: Vec<Dim> = block.iter().map(|&k| Dim::Fixed(k)).collect();
    let axes: Vec<usize> = (0..n).collect();
    // Neighbours along a row lie side by side in the columns too unless blocks leave some out, which takes a division each.
    let kind = match w.stride.last() {
        Some(1) => LoopKind::Lanes,
        _ => LoopKind::Seq,
    };
    cx.each(&out, kind, |cx, o| {
        let start = origin(cx, n);
        let zero = cx.b.num(ty, 0.0);
        let sum = fold(cx, &sizes, &axes, &start, zero, |cx, k, sum| {
            let b = &mut cx.b;
            let mut ok = b.bool(true);
            let (mut tap, mut at): (ExprId, ExprId) = (b.i(0), b.i(0));
            for i in 0..n {
                // The block at position p covers this pixel with element k where p * stride + k * dilation - begin is it.
                let from =
                    ex!(b; ({o[2 + i]} + {b.i(w.begin[i])}) - ({k[i]} * {b.i(w.dilation[i])}));
                let mut p = from;
                if w.stride[i] > 1 {
                    let s = b.i(w.stride[i]);
                    p = b.div(from, s);
                    let whole = ex!(b; (from % s) == 0);
                    ok = b.and(ok, whole);
                }
                let inside = ex!(b; (0 <= from) & (p < {b.i(places[i])}));
                ok = b.and(ok, inside);
                tap = ex!(b; (tap * {b.i(block[i])}) + {k[i]});
                at = ex!(b; (at * {b.i(places[i])}) + p);
            }
            let row = ex!(b; ({o[1]} * {b.i(taps)}) + tap);
            let v = cx.load_if(0, ok, &[o[0], row, at], zero)?;
            Ok(cx.b.add(sum, v))
        })?;
        cx.store(0, o, sum);
        Ok(())
    })
}
