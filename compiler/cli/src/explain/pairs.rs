//! Which values of a quantized model stand for which of the float one.
//!
//! What a QuantizeLinear reads has the float value's name, in files of ours as in those of other tools; where such a value is an output, its
//! name went to the DequantizeLinear behind. QLinear operators give values called after the float ones.

use onnxc_compiler::base::tensor::Tensor;
use onnxc_compiler::graph::ir::{Graph, NodeId, ValueId};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What other tools put behind the name of a float value, or of its whole numbers.
const ENDINGS: [&str; 4] = [
    "_QuantizeLinear_Input",
    "_QuantizeLinear_Output",
    "_DequantizeLinear_Output",
    "_quantized",
];

/// How whole numbers stand for real ones: `(q - zero) * scale`, one pair for all or for each place along an axis.
#[derive(Clone, Debug)]
pub struct Affine {
    scale: Vec<f64>,
    zero: Vec<f64>,
    axis: usize,
    /// Places along the axis that share a pair.
    block: usize,
}

impl Affine {
    /// Reads scale and zero point of a node; `None` if they are no constants or contradict each other.
    fn of(g: &Graph, n: NodeId, scale: usize, zero: usize, rank: usize) -> Option<Affine> {
        let node = g.node(n);
        let konst = |k: usize| node.ins.get(k).copied().flatten().map(|v| g.konst(v));
        let scale = konst(scale)??.to_f64s()?;
        let zero = match konst(zero) {
            None => vec![0.0; scale.len()],
            Some(t) => t?.to_f64s()?,
        };
        let block = node.attrs.int("block_size", 0).max(0) as usize;
        // Convolutions have their scales along the output channels.
        let axis = if node.op.name.starts_with("QLinear") {
            0
        } else {
            node.attrs.int("axis", 1)
        };
        let axis = if axis < 0 { axis + rank as i64 } else { axis };
        let axis = usize::try_from(axis).ok()?;
        (scale.len() == zero.len() && !scale.is_empty()).then_some(Affine {
            scale,
            zero,
            axis,
            block: block.max(1),
        })
    }
    /// The only scale and zero point.
    pub fn single(&self) -> Option<(f64, f64)> {
        match (&self.scale[..], &self.zero[..]) {
            ([s], [z]) => Some((*s, *z)),
            _ => None,
        }
    }
    /// The real numbers; `None` where scales don't fit the shape.
    pub fn real(&self, t: &Tensor) -> Option<Vec<f64>> {
        let q = t.to_f64s()?;
        if let Some((s, z)) = self.single() {
            return Some(q.iter().map(|q| (q - z) * s).collect());
        }
        let size = |a: usize| usize::try_from(*t.shape.get(a)?).ok();
        let long = size(self.axis)?;
        let inner: usize = t.shape[self.axis + 1..].iter().product::<i64>().max(1) as usize;
        let blocks = long.div_ceil(self.block);
        // One for each channel, or with blocks for each place of the other axes too.
        let place = |i: usize| {
            let along = i / inner % long.max(1) / self.block;
            match self.block {
                1 => along,
                _ => (i / inner / long.max(1) * blocks + along) * inner + i % inner,
            }
        };
        let one = |(i, q): (usize, &f64)| {
            let k = place(i);
            Some((q - self.zero.get(k)?) * self.scale.get(k)?)
        };
        q.iter().enumerate().map(one).collect()
    }
}

/// A value of both models.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Its name in the float model.
    pub name: String,
    /// What makes it there: the node's name; the value's own for an input.
    pub layer: String,
    /// The operator; `input` for one.
    pub op: &'static str,
    /// In the float graph.
    pub float: ValueId,
    /// The whole numbers in the quantized graph.
    pub codes: ValueId,
    /// Scale and zero point.
    pub scale: f64,
    /// What stands for 0.
    pub zero: f64,
    /// The smallest and the largest real number that there is a whole number for.
    pub range: (f64, f64),
}

/// Weights of a layer in both models.
#[derive(Clone, Debug)]
pub struct Weights {
    /// The layer's name.
    pub layer: String,
    /// Its operator.
    pub op: &'static str,
    /// In floats.
    pub float: Vec<f64>,
    /// What the whole numbers stand for.
    pub real: Vec<f64>,
    /// Output channels, and how many numbers of one lie side by side.
    pub channels: (usize, usize),
}

/// What was found.
#[derive(Default)]
pub struct Pairs {
    /// Values, in the quantized graph's order.
    pub values: Vec<Pair>,
    /// Weights, in the same.
    pub weights: Vec<Weights>,
    /// Names of quantized values and layers that the float model has nothing for.
    pub unmatched: Vec<String>,
}

/// Names of the values that a graph computes.
fn named(g: &Graph) -> HashMap<String, ValueId> {
    let mut all = HashMap::new();
    let made = g.order().iter().flat_map(|&n| g.node(n).outs.clone());
    for v in g.inputs.iter().copied().chain(made) {
        let name = &g.value(v).name;
        if !name.is_empty() {
            all.entry(name.clone()).or_insert(v);
        }
    }
    for (name, &v) in g.output_names.iter().zip(g.outputs()) {
        if !name.is_empty() && g.konst(v).is_none() {
            all.insert(name.clone(), v);
        }
    }
    all
}

fn bare(name: &str) -> &str {
    let ends = ENDINGS.iter().find_map(|e| name.strip_suffix(e));
    ends.unwrap_or(name)
}

/// Matches a quantized graph with a float one. `written`: the quantized one before constants were folded, which says what weights were made of.
pub fn pairs(float: &Graph, quantized: &Graph, written: &Graph) -> Pairs {
    let mut found = values(float, quantized);
    for &n in written.order() {
        let Some(w) = weights(written, n) else {
            continue;
        };
        match beside(float, written, n, &w) {
            Some(w) => found.weights.push(w),
            None => found.unmatched.push(written.node(n).loc.to_string()),
        }
    }
    found
}

fn values(float: &Graph, quantized: &Graph) -> Pairs {
    let names = named(float);
    let outputs: BTreeMap<ValueId, &String> = (quantized.outputs().iter().copied())
        .zip(&quantized.output_names)
        .collect();
    let mut found = Pairs::default();
    let mut seen = BTreeSet::new();
    for &n in quantized.order() {
        let node = quantized.node(n);
        let (x, scale, zero) = match node.op.name {
            "QuantizeLinear" => (node.ins.first().copied().flatten(), 1, 2),
            "QLinearConv" | "QLinearMatMul" => (None, 6, 7),
            _ => continue,
        };
        let codes = node.outs[0];
        if x.is_some_and(|v| quantized.konst(v).is_some()) {
            continue;
        }
        // Names by which the float model may know it.
        let own = |v: ValueId| quantized.value(v).name.clone();
        let real = quantized.users(codes).iter().flat_map(|&u| {
            let back = quantized.node(u).op.name == "DequantizeLinear";
            back.then(|| quantized.node(u).outs[0])
        });
        let mut words: Vec<String> = real
            .clone()
            .filter_map(|v| outputs.get(&v).map(|n| n.to_string()))
            .collect();
        words.extend(x.map(own));
        words.push(own(codes));
        words.extend(real.map(own));
        let at = words.iter().find_map(|w| {
            let v = names.get(w).or_else(|| names.get(bare(w)))?;
            Some(*v)
        });
        let rank = quantized.ty(codes).map_or(0, |t| t.rank());
        let affine = Affine::of(quantized, n, scale, zero, rank);
        let pair = at.and_then(|v| pair(float, v, quantized, codes, affine?.single()?));
        let pair = pair.map(|p| match x {
            None => behind_limits(float, p),
            Some(_) => p,
        });
        match pair {
            Some(p) if seen.insert(p.float) => found.values.push(p),
            // A value that is quantized twice, for two readers.
            Some(_) => {}
            None => found
                .unmatched
                .push(words.first().cloned().unwrap_or_default()),
        }
    }
    found
}

fn pair(
    float: &Graph,
    v: ValueId,
    quantized: &Graph,
    codes: ValueId,
    (scale, zero): (f64, f64),
) -> Option<Pair> {
    if !float.ty(v)?.dtype.is_float() {
        return None;
    }
    let (least, most) = quantized.ty(codes)?.dtype.int_range()?;
    let real = |q: f64| (q - zero) * scale;
    let maker = float.maker(v).map(|m| float.node(m.0));
    let name = float.value(v).name.clone();
    Some(Pair {
        layer: maker.map_or_else(|| name.clone(), |n| n.loc.to_string()),
        op: maker.map_or("input", |n| n.op.name),
        name,
        float: v,
        codes,
        scale,
        zero,
        range: (real(least as f64), real(most as f64)),
    })
}

/// A QLinear operator does what a Relu or Clip behind it did too: its whole numbers end where that did, but have the name of what it limited.
fn behind_limits(float: &Graph, p: Pair) -> Pair {
    let (&[user], least) = (float.users(p.float), p.range.0) else {
        return p;
    };
    let node = float.node(user);
    let limits = ["Relu", "Clip"].contains(&node.op.name) && !float.is_output(p.float);
    if !limits || least < -p.scale.abs() / 2.0 {
        return p;
    }
    Pair {
        name: float.value(node.outs[0]).name.clone(),
        layer: node.loc.to_string(),
        op: node.op.name,
        float: node.outs[0],
        ..p
    }
}

/// Weights of a product: their name, the numbers in the file, and the real numbers.
fn weights(g: &Graph, n: NodeId) -> Option<(String, Tensor, Vec<f64>)> {
    let node = g.node(n);
    let (at, maker) = match node.op.name {
        "Conv" | "ConvTranspose" | "Gemm" | "MatMul" => {
            let w = node.ins.get(1).copied().flatten()?;
            let (d, _) = g.maker(w)?;
            if g.node(d).op.name != "DequantizeLinear" {
                return None;
            }
            (0, d)
        }
        "QLinearConv" | "QLinearMatMul" => (3, n),
        _ => return None,
    };
    let w = g.node(maker).ins.get(at).copied().flatten()?;
    let t = g.konst(w)?.clone();
    let affine = Affine::of(g, maker, at + 1, at + 2, t.shape.len())?;
    let real = affine.real(&t)?;
    Some((g.value(w).name.clone(), t, real))
}

/// The float weights of the layer of the same name, or of the same name themselves.
fn beside(
    float: &Graph,
    quantized: &Graph,
    n: NodeId,
    (name, t, real): &(String, Tensor, Vec<f64>),
) -> Option<Weights> {
    let node = quantized.node(n);
    let loc = node.loc.to_string();
    let constant = |m: NodeId| {
        let w = float.node(m).ins.get(1).copied().flatten()?;
        let w = (w, float.konst(w)?);
        (w.1.shape == t.shape).then_some(w)
    };
    let product = |m: &&NodeId| {
        let op = float.node(**m).op.name;
        ["Conv", "ConvTranspose", "Gemm", "MatMul"].contains(&op)
    };
    let mut all = float.order().iter().filter(product);
    let same = all.clone().find(|m| {
        let own = float.node(**m).loc.to_string();
        (own == loc || format!("{own}_quant") == loc) && constant(**m).is_some()
    });
    let found = same.or_else(|| {
        all.find(|m| constant(**m).is_some_and(|w| float.value(w.0).name == bare(name)))
    })?;
    let f = float.node(*found);
    let values = constant(*found)?.1.to_f64s()?;
    let axis = match (f.op.name, f.attrs.flag("trans_b")) {
        ("Conv", _) | ("Gemm", true) => 0,
        ("ConvTranspose", _) => 1,
        _ => t.shape.len().checked_sub(1)?,
    };
    let count = usize::try_from(*t.shape.get(axis)?).ok()?;
    let inner: i64 = t.shape[axis + 1..].iter().product();
    Some(Weights {
        layer: f.loc.to_string(),
        op: f.op.name,
        float: values,
        real: real.clone(),
        channels: (count.max(1), inner.max(1) as usize),
    })
}
