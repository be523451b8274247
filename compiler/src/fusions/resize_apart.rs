//! A Resize whose elements are weighted sums of many becomes one for each axis: along two axes of n and m elements n + m products an element are made
//! instead of n * m.

use super::engine::*;
use crate::base::diag::Result;
use crate::base::dim::fixed_shape;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::graph::ir::Graph;
use crate::ops::resize::taps_along;
use crate::pass::{Pass, PassCx};

/// The fusion.
pub static PASS: Pass = Pass {
    name: "resize_apart",
    doc: "a Resize by sums of many elements becomes one for each axis",
    run,
};

/// Elements of a sum from which on it pays.
const LEAST: i64 = 16;

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    rewrite(g, cx, &[op("Resize", [any("x")])], apart)
}

/// A resized axis.
struct Axis {
    axis: usize,
    from: i64,
    to: i64,
    /// Where scales are given.
    scale: f64,
    taps: i64,
}

fn apart(g: &mut Graph, cx: &mut PassCx, m: &Match) -> Result<Outcome> {
    let skip = |why: &str| Ok(Outcome::Skip(why.to_string()));
    let (root, mut v) = (m.root(), m.value("x")?);
    let node = g.node(root);
    let attrs = node.attrs.clone();
    let plain = attrs.str("keep_aspect_ratio_policy", "stretch") == "stretch"
        && attrs.str("coordinate_transformation_mode", "half_pixel") != "tf_crop_and_resize"
        && attrs.ints("axes").is_none_or(|a| a.is_empty());
    if attrs.str("mode", "nearest") == "nearest" || !plain {
        return skip("it does not resize each axis by a sum of its own");
    }
    let place_of_scales = attrs.int("scales_at", 2) as usize;
    let list = |k: usize| {
        let t = node.ins.get(k).copied().flatten().and_then(|v| g.konst(v));
        t.filter(|t| !t.is_empty()).and_then(Tensor::to_f64s)
    };
    let scales = list(place_of_scales);
    let (Some(xt), Some(ot)) = (g.ty(v), g.ty(node.outs[0])) else {
        return skip("its types are not known");
    };
    let (Some(xs), Some(os)) = (fixed_shape(&xt.shape), fixed_shape(&ot.shape)) else {
        return skip("sizes are not fixed");
    };
    let rank = xs.len();
    if xt.dtype != DType::F32 || scales.as_ref().is_some_and(|s| s.len() != rank) {
        return skip("its numbers are rounded");
    }
    let mut axes = vec![];
    for axis in 0..rank {
        let (from, to) = (xs[axis], os[axis]);
        let scale = scales
            .as_ref()
            .map_or(to as f64 / from.max(1) as f64, |s| s[axis]);
        if from == to && scale == 1.0 {
            continue;
        }
        let Some(taps) = taps_along(&attrs, from, to, scale) else {
            return skip("an axis is empty");
        };
        axes.push(Axis {
            axis,
            from,
            to,
            scale,
            taps,
        });
    }
    if axes.len() < 2 || axes.iter().map(|a| a.taps).product::<i64>() < LEAST {
        return skip("few elements are summed");
    }
    // What shrinks most comes first: there is less to do for the others.
    axes.sort_by(|a, b| (a.to as f64 / a.from as f64).total_cmp(&(b.to as f64 / b.from as f64)));
    let loc = place(g, m);
    let mut sizes = xs.clone();
    for a in &axes {
        sizes[a.axis] = a.to;
        let mut ins = vec![Some(v)];
        if scales.is_some() {
            let mut all = vec![1.0; rank];
            all[a.axis] = a.scale;
            ins.resize(place_of_scales, None);
            ins.push(Some(g.add_const(
                "",
                Tensor::from_f64s(DType::F32, &[rank as i64], &all),
            )));
        } else {
            ins.resize(3, None);
            ins.push(Some(g.add_const("", Tensor::i64(&[rank as i64], &sizes))));
        }
        v = make(g, cx, root, "Resize", attrs.clone(), &ins, loc.clone())?;
    }
    Ok(Outcome::Replace(v))
}
