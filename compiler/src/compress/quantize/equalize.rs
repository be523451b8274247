//! Cross-layer equalization: channels between two layers are scaled so that their weights have like ranges on both sides (Nagel et al. 2019, "Data-free
//! quantization through weight equalization and bias correction", section 4.1). What the model computes stays the same but for rounding in f32.
//!
//! Between the layers may stand what lets a positive factor through: Relu, LeakyRelu, PRelu, pools, means over pictures, and what makes rows of pictures.
//! Clip (Relu6) does not: its bound would have to be another for each channel, so such pairs stay as they are.

use super::Recipe;
use super::bias::Place;
use super::smooth::put;
use super::weights::Weights;
use crate::base::diag::Result;
use crate::base::dim::fixed_shape;
use crate::graph::ir::{Graph, NodeId, ValueId};
use std::collections::BTreeMap;

/// Operators `f` with `f(s * x) = s * f(x)` for `s > 0`, element by element.
const POINTWISE: [&str; 4] = ["Relu", "LeakyRelu", "PRelu", "Identity"];
/// The same, channel by channel of axis 1.
const POOLS: [&str; 4] = [
    "MaxPool",
    "GlobalMaxPool",
    "AveragePool",
    "GlobalAveragePool",
];

/// Rounds over all pairs; each evens out what its neighbours moved.
const ROUNDS: usize = 40;
/// A factor so near to 1 moves nothing any more.
const STILL: f64 = 1e-3;

/// A layer's numbers while they are scaled.
struct Numbers {
    w: Weights,
    /// Where the bias stands, and its numbers.
    bias: Option<(NodeId, usize, Vec<f64>)>,
}

/// Equalizes all pairs of layers that a recipe wants. Gives how many there are.
pub fn equalize(g: &mut Graph, recipe: &Recipe) -> Result<usize> {
    let mut layers: BTreeMap<NodeId, Numbers> = BTreeMap::new();
    let mut pairs: Vec<(NodeId, Reader)> = vec![];
    for &n in g.order() {
        let wanted = |n: NodeId| recipe.wants(&g.node(n).loc.to_string());
        let Some(first) = layer(g, n)?.filter(|_| wanted(n)) else {
            continue;
        };
        let Some(m) = next(g, n).filter(|m| wanted(m.node)) else {
            continue;
        };
        let Some(second) = layer(g, m.node)? else {
            continue;
        };
        if first.w.rows * m.each == second.w.groups * (second.w.depth / second.w.taps()) {
            layers.entry(n).or_insert(first);
            layers.entry(m.node).or_insert(second);
            pairs.push((n, m));
        }
    }
    for _ in 0..ROUNDS {
        let mut most = 0.0f64;
        for (n, m) in &pairs {
            let (Some(a), Some(b)) = (layers.get(n), layers.get(&m.node)) else {
                continue;
            };
            let (out, into) = (out_ranges(&a.w), in_ranges(&b.w, m.each));
            let factors: Vec<f64> = out.iter().zip(&into).map(|(a, b)| factor(*a, *b)).collect();
            for f in &factors {
                most = most.max(libm::log(*f).abs());
            }
            if let Some(a) = layers.get_mut(n) {
                scale_out(a, &factors);
            }
            if let Some(b) = layers.get_mut(&m.node) {
                scale_in(&mut b.w, m.each, &factors);
            }
        }
        if most < STILL {
            break;
        }
    }
    for (n, l) in layers {
        put(g, n, 1, &l.w.shape, &l.w.values);
        if let Some((node, k, b)) = l.bias {
            put(g, node, k, &[b.len() as i64], &b);
        }
    }
    Ok(pairs.len())
}

/// A product whose weights and bias may be scaled: constants that nothing else reads.
fn layer(g: &Graph, n: NodeId) -> Result<Option<Numbers>> {
    let node = g.node(n);
    let plain = |name: &str| node.attrs.float(name, 1.0) == 1.0;
    let usual = ["Conv", "Gemm", "MatMul"].contains(&node.op.name)
        && plain("alpha")
        && plain("beta")
        && node.attrs.str("activation", "").is_empty()
        && node.ins.get(3).copied().flatten().is_none();
    if !usual || node.attrs.flag("trans_a") {
        return Ok(None);
    }
    let Some(w) = Weights::of(g, n)?.filter(|w| g.users(w.value).len() == 1 && w.rows > 1) else {
        return Ok(None);
    };
    let (at, k) = match Place::of(g, n, |_| false) {
        Place::Own => (n, 2),
        Place::Behind(add, k) => (add, k),
        Place::None if node.op.name == "MatMul" => (n, 2),
        Place::None => return Ok(None),
    };
    let Some(b) = g.node(at).ins.get(k).copied().flatten() else {
        return Ok(Some(Numbers { w, bias: None }));
    };
    let known = g.konst(b).and_then(|t| t.to_f64s());
    let Some(known) = known.filter(|_| g.users(b).len() == 1 || at == n) else {
        return Ok(None);
    };
    let all = (0..w.rows).map(|c| known[c % known.len().max(1)]).collect();
    let bias = Some((at, k, all)).filter(|_| !known.is_empty());
    Ok(Some(Numbers { w, bias }))
}

/// The layer that alone reads another's channels.
struct Reader {
    node: NodeId,
    /// So many inputs of it, one behind the other, are those of one channel: pictures that became rows.
    each: usize,
}

/// The reader of a layer's result, behind operators that let a factor through.
fn next(g: &Graph, n: NodeId) -> Option<Reader> {
    let mut v: ValueId = match Place::of(g, n, |_| false) {
        Place::Behind(add, _) => g.node(add).outs[0],
        _ => g.node(n).outs[0],
    };
    let rank = |v: ValueId| Some(g.ty(v)?.rank());
    let mut axis = match g.node(n).op.name {
        "Conv" => 1,
        _ => rank(v)?.checked_sub(1)?,
    };
    let mut each = 1;
    loop {
        let &[u] = g.users(v) else { return None };
        let node = g.node(u);
        // Of several results, indices of a MaxPool's largest are no numbers of channels.
        if g.is_output(v)
            || node.ins.first() != Some(&Some(v))
            || node.outs.get(1..)?.iter().any(|o| g.is_used(*o))
        {
            return None;
        }
        let out = *node.outs.first()?;
        match node.op.name {
            "Conv" => return (axis == 1).then_some(Reader { node: u, each }),
            "Gemm" | "MatMul" => {
                return (axis + 1 == rank(v)?).then_some(Reader { node: u, each });
            }
            name if POINTWISE.contains(&name) => {}
            name if POOLS.contains(&name) && axis == 1 => {}
            "ReduceMean" => axis = behind_mean(g, v, out, axis)?,
            "Flatten" | "Reshape" | "Squeeze" => each *= row_of(g, v, out, axis)?,
            _ => return None,
        }
        v = out;
    }
}

/// Where the channels of axis 1 are behind a mean over all axes behind them.
fn behind_mean(g: &Graph, v: ValueId, out: ValueId, axis: usize) -> Option<usize> {
    let (from, to) = (g.ty(v)?, g.ty(out)?);
    let kept = to.shape.get(..2)? == from.shape.get(..2)? && to.shape[2..].iter().all(|d| d.is(1));
    (axis == 1 && kept).then_some(1)
}

/// Elements of a channel in the row that a picture becomes: `[N, C, ...]` as `[N, C * each]`. N may be free.
fn row_of(g: &Graph, v: ValueId, out: ValueId, axis: usize) -> Option<usize> {
    let (from, to) = (&g.ty(v)?.shape, &g.ty(out)?.shape);
    let [n, sizes @ ..] = from.as_slice() else {
        return None;
    };
    let sizes = fixed_shape(sizes)?;
    let each: i64 = sizes.get(1..)?.iter().product();
    let row = axis == 1 && to.len() == 2 && to[0] == *n && to[1].is(sizes[0] * each);
    (row && each > 0).then_some(each as usize)
}

/// The largest weight of each output channel.
fn out_ranges(w: &Weights) -> Vec<f64> {
    let row = |r: usize| (0..w.depth).fold(0.0f64, |a, k| a.max(w.values[w.at(r, k)].abs()));
    (0..w.rows).map(row).collect()
}

/// The input channel that weight `k` of a row reads.
fn channel(w: &Weights, row: usize, k: usize) -> usize {
    row / (w.rows / w.groups).max(1) * (w.depth / w.taps()) + k / w.taps()
}

/// The largest weight that reads each channel, of which there are `each` inputs.
fn in_ranges(w: &Weights, each: usize) -> Vec<f64> {
    let mut out = vec![0.0f64; w.groups * (w.depth / w.taps()) / each];
    for r in 0..w.rows {
        for k in 0..w.depth {
            let own = &mut out[channel(w, r, k) / each];
            *own = own.max(w.values[w.at(r, k)].abs());
        }
    }
    out
}

/// What the first layer's channel is divided by and the second's is multiplied by. Channels without weights on a side stay.
fn factor(out: f64, into: f64) -> f64 {
    let s = libm::sqrt(out / into);
    match s.is_finite() && s > 1e-6 && s < 1e6 {
        true => s,
        false => 1.0,
    }
}

fn scale_out(l: &mut Numbers, factors: &[f64]) {
    for (r, f) in factors.iter().enumerate() {
        for k in 0..l.w.depth {
            let at = l.w.at(r, k);
            l.w.values[at] /= f;
        }
        if let Some((_, _, b)) = &mut l.bias {
            b[r] /= f;
        }
    }
}

fn scale_in(w: &mut Weights, each: usize, factors: &[f64]) {
    for r in 0..w.rows {
        for k in 0..w.depth {
            let at = w.at(r, k);
            w.values[at] *= factors[channel(w, r, k) / each];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::parse::parse;

    /// Weights of the node at a place in the order.
    fn weights(g: &Graph, at: usize) -> Vec<f64> {
        Weights::of(g, g.order()[at]).unwrap().unwrap().values
    }

    #[test]
    fn ranges_meet_in_the_middle() {
        let text = "graph @g(%x: f32[1,1,2,2]) -> (%y) {
  %w = lit f32[2,1,1,1] [8.0, 0.5]
  %b = lit f32[2] [4.0, 1.0]
  %c = Conv(%x, %w, %b) { group = 1 } : f32[1,2,2,2]
  %r = Relu(%c) : f32[1,2,2,2]
  %v = lit f32[2,1,1,1] [2.0, 0.5]
  %y = Conv(%r, %v) { group = 2 } : f32[1,2,2,2]
}";
        let mut m = parse(text, crate::ops::find).unwrap();
        assert_eq!(equalize(&mut m.graph, &Recipe::default()).unwrap(), 1);
        // sqrt(8 * 2) = 4 and sqrt(0.5 * 0.5) on both sides.
        assert_eq!(weights(&m.graph, 0), [4.0, 0.5]);
        assert_eq!(weights(&m.graph, 2), [4.0, 0.5]);
        let first = m.graph.node(m.graph.order()[0]);
        let b = m.graph.konst(first.ins[2].unwrap()).unwrap();
        assert_eq!(b.to_f64s().unwrap(), [2.0, 1.0]);
    }

    #[test]
    fn pictures_become_rows() {
        let text = "graph @g(%x: f32[1,1,2,2]) -> (%y) {
  %w = lit f32[2,1,1,1] [8.0, 0.5]
  %c = Conv(%x, %w) { group = 1 } : f32[1,2,2,2]
  %r = Flatten(%c) { axis = 1 } : f32[1,8]
  %v = lit f32[8,2] [1.0, 2.0, 0.5, 1.0, 0.25, 0.5, 0.125, 0.0, 0.5, 0.5, 0.25, 0.25, 0.5, 0.125, 0.0, 0.25]
  %y = MatMul(%r, %v) : f32[1,2]
}";
        let mut m = parse(text, crate::ops::find).unwrap();
        assert_eq!(equalize(&mut m.graph, &Recipe::default()).unwrap(), 1);
        assert_eq!(weights(&m.graph, 0), [4.0, 0.5]);
        // sqrt(8 * 2) = 4 for the four rows of the first channel; the second stays.
        let rows = [
            2.0, 4.0, 1.0, 2.0, 0.5, 1.0, 0.25, 0.0, 0.5, 0.5, 0.25, 0.25, 0.5, 0.125, 0.0, 0.25,
        ];
        assert_eq!(weights(&m.graph, 2), rows);
    }

    /// A MatMul sums over the last axis, which here is as long as there are channels.
    #[test]
    fn columns_are_no_channels() {
        let text = "graph @g(%x: f32[1,1,2,2]) -> (%y) {
  %w = lit f32[2,1,1,1] [8.0, 0.5]
  %c = Conv(%x, %w) { group = 1 } : f32[1,2,2,2]
  %v = lit f32[2,2] [1.0, 2.0, 3.0, 4.0]
  %y = MatMul(%c, %v) : f32[1,2,2,2]
}";
        let mut m = parse(text, crate::ops::find).unwrap();
        assert_eq!(equalize(&mut m.graph, &Recipe::default()).unwrap(), 0);
    }

    #[test]
    fn a_clip_is_left_alone() {
        let text = "graph @g(%x: f32[1,1,2,2]) -> (%y) {
  %w = lit f32[2,1,1,1] [8.0, 0.5]
  %c = Conv(%x, %w) { group = 1 } : f32[1,2,2,2]
  %lo = lit f32[] [0.0]
  %hi = lit f32[] [6.0]
  %r = Clip(%c, %lo, %hi) : f32[1,2,2,2]
  %v = lit f32[1,2,1,1] [2.0, 0.5]
  %y = Conv(%r, %v) { group = 1 } : f32[1,1,2,2]
}";
        let mut m = parse(text, crate::ops::find).unwrap();
        assert_eq!(equalize(&mut m.graph, &Recipe::default()).unwrap(), 0);
        assert_eq!(weights(&m.graph, 0), [8.0, 0.5]);
    }
}
