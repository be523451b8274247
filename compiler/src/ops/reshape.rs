//! Operators that give the same bytes another shape: Reshape, Flatten, Squeeze, Unsqueeze.

use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::{Dim, elements};
use crate::base::tensor::Tensor;
use crate::base::types::TensorType;
use crate::op::{BASE, InferCx, Lower, OpDef, ReadCx, onnx, read_none};
use crate::ops::util::*;

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&RESHAPE, &FLATTEN, &SQUEEZE, &UNSQUEEZE];

/// The shape is an input; 0 keeps an axis (unless `allowzero`), -1 takes what is left.
pub static RESHAPE: OpDef = OpDef {
    name: "Reshape",
    onnx: &[
        onnx("Reshape", 5, 13, read_none),
        since("Reshape", 14, |cx| cx.keep_int("allowzero", 0)),
    ],
    inputs: (2, 2),
    infer: infer_reshape,
    lower: Lower::View,
    ..BASE
};

/// Output 0 is input 0 under another shape, contents included.
fn reshaped(cx: &mut InferCx, shape: Vec<Dim>) -> Result<()> {
    let d = accept(cx, 0, any)?;
    let (old, new) = (elements(&cx.shape(0)?), elements(&shape));
    // Where the sizes are symbolic they may still be equal; but a view must never be larger than what it looks at.
    let (from, to) = (
        cx.input(0)?.ty.max_bytes(cx.symbols),
        TensorType::new(d, shape.clone()).max_bytes(cx.symbols),
    );
    if dim_eq(cx, &old, &new) == Some(false) || (old != new && to > from) {
        return Err(Diagnostic::model(
            "ONNX010",
            format!(
                "a tensor of {} elements can't have the shape [{}]",
                old.text(cx.symbols),
                shape
                    .iter()
                    .map(|d| d.text(cx.symbols))
                    .collect::<Vec<_>>()
                    .join(",")
            ),
        ));
    }
    let dims = contents(cx, 0);
    cx.out(0, d, shape);
    cx.set_dims(0, dims);
    Ok(())
}

fn infer_reshape(cx: &mut InferCx) -> Result<()> {
    let old = cx.shape(0)?;
    let target = known_dims(cx, 1, "shape")?;
    let keep_zero = cx.attrs.flag("allowzero");
    let copied = |i: usize| !keep_zero && target[i].is(0);
    if target.iter().any(|d| d.bounds(cx.symbols).1 < -1) {
        return bad("a size below -1 in the shape of Reshape");
    }
    let mut shape = Vec::with_capacity(target.len());
    let mut rest = None;
    for (i, d) in target.iter().enumerate() {
        if d.is(-1) {
            if rest.replace(i).is_some() {
                return bad("more than one -1 in the shape of Reshape");
            }
            shape.push(Dim::Fixed(1));
        } else if copied(i) {
            match old.get(i) {
                Some(d) => shape.push(d.clone()),
                None => return bad("a 0 in the shape of Reshape beyond the input's axes"),
            }
        } else {
            shape.push(d.clone());
        }
    }
    if let Some(at) = rest {
        // Axes that are kept stand on both sides: left out, the division works for empty tensors too.
        let left: Dim = (0..old.len())
            .filter(|&i| i >= target.len() || !copied(i))
            .map(|i| old[i].clone())
            .product();
        let given: Dim = (0..target.len())
            .filter(|&i| i != at && !copied(i))
            .map(|i| shape[i].clone())
            .product();
        shape[at] = if left == given {
            Dim::Fixed(1)
        } else {
            match left.exact_div(&given).or_else(|| left.floor_div(&given)) {
                Some(d) => d,
                None => return bad("the -1 in the shape of Reshape can't be told"),
            }
        };
    }
    reshaped(cx, shape)
}

/// Two axes: those before `axis`, and the rest.
pub static FLATTEN: OpDef = OpDef {
    name: "Flatten",
    onnx: &[since("Flatten", 1, |cx| cx.keep_int("axis", 1))],
    infer: |cx| {
        let old = cx.shape(0)?;
        let axis = cx.attrs.int("axis", 1);
        let r = old.len() as i64;
        if axis < -r || axis > r {
            return bad(format!("axis {axis} is outside a tensor of {r} axes"));
        }
        let at = if axis < 0 { axis + r } else { axis } as usize;
        reshaped(cx, vec![elements(&old[..at]), elements(&old[at..])])
    },
    lower: Lower::View,
    ..BASE
};

/// Until opset 12 the axes are an attribute, then an input.
fn read_axes(cx: &mut ReadCx) -> Result<()> {
    if let Some(axes) = cx.ints("axes")? {
        cx.input(1, Tensor::i64(&[axes.len() as i64], &axes));
    }
    Ok(())
}

/// Takes axes of size 1 away.
pub static SQUEEZE: OpDef = OpDef {
    name: "Squeeze",
    onnx: &[
        onnx("Squeeze", 1, 12, read_axes),
        since("Squeeze", 13, read_none),
    ],
    inputs: (1, 2),
    infer: infer_squeeze,
    lower: Lower::View,
    ..BASE
};

fn infer_squeeze(cx: &mut InferCx) -> Result<()> {
    let old = cx.shape(0)?;
    let gone: Vec<usize> = match cx.opt(1) {
        Some(_) => resolve_axes(&cx.const_ints(1, "axes")?, old.len())?,
        None => (0..old.len()).filter(|&i| old[i].is(1)).collect(),
    };
    if let Some(&i) = gone
        .iter()
        .find(|&&i| dim_eq(cx, &old[i], &Dim::Fixed(1)) == Some(false))
    {
        return bad(format!(
            "axis {i} has size {} and can't be squeezed",
            old[i].text(cx.symbols)
        ));
    }
    let shape = (0..old.len())
        .filter(|i| !gone.contains(i))
        .map(|i| old[i].clone())
        .collect();
    reshaped(cx, shape)
}

/// Adds axes of size 1.
pub static UNSQUEEZE: OpDef = OpDef {
    name: "Unsqueeze",
    onnx: &[
        onnx("Unsqueeze", 1, 12, read_axes),
        since("Unsqueeze", 13, read_none),
    ],
    inputs: (2, 2),
    infer: |cx| {
        let old = cx.shape(0)?;
        let axes = cx.const_ints(1, "axes")?;
        let rank = old.len() + axes.len();
        let new = resolve_axes(&axes, rank)?;
        let mut rest = old.into_iter();
        let shape = (0..rank)
            .map(|i| match new.contains(&i) {
                true => Dim::Fixed(1),
                false => rest.next().unwrap_or(Dim::Fixed(1)),
            })
            .collect();
        reshaped(cx, shape)
    },
    lower: Lower::View,
    ..BASE
};

#[cfg(test)]
mod tests {
    use crate::base::attr::{Attr, Attrs};
    use crate::base::dim::Dim;
    use crate::base::dtype::DType::F32;
    use crate::ops::testing::*;

    fn shape_of(opset: i64, a: &Attrs, old: &[i64], to: &[i64]) -> Option<Vec<i64>> {
        let n = old.iter().product::<i64>() as usize;
        let x = data(f32s(old, &vec![0.0; n]));
        let to = konst(i64s(&[to.len() as i64], to));
        run_op("Reshape", opset, a, vec![x, to], 1).ok().map(|v| v[0].shape.clone())
    }

    #[test]
    fn zeros_and_rests() {
        let none = Attrs::default();
        assert_eq!(shape_of(13, &none, &[2, 3, 4], &[0, -1]), Some(vec![2, 12]));
        assert_eq!(shape_of(13, &none, &[0, 3], &[0, -1]), Some(vec![0, 3]));
        assert_eq!(shape_of(13, &none, &[2, 3], &[4, -1]), None);
        assert_eq!(shape_of(13, &none, &[2, 3], &[-1, -1]), None);
        let zero = attrs([("allowzero", Attr::Int(1))]);
        assert_eq!(shape_of(14, &zero, &[0, 3], &[3, 0]), Some(vec![3, 0]));
    }

    #[test]
    fn symbols_pass_through() {
        let none = Attrs::default();
        let r = symbolic_shape("Reshape", 13, &none, |n, _| {
            vec![
                typed(F32, vec![n.clone(), Dim::Fixed(6)]),
                sizes(vec![n, Dim::Fixed(2), Dim::Fixed(-1)]),
            ]
        });
        assert_eq!(r.expect("a shape"), "f32[N,2,3]");
        let r = symbolic_shape("Reshape", 13, &none, |n, _| {
            vec![typed(F32, vec![n]), sizes(vec![Dim::Fixed(64)])]
        });
        assert!(r.is_err());
    }
}
