//! Weights of products as whole numbers: which of them share a step, how large it is, and which number each becomes.

use super::gptq::{Factor, cost};
use super::moments::{MOST_DEPTH, Moments, Reads};
use super::range::Scale;
use super::{Recipe, WeightRounding, adaround};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::fixed_shape;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::contracts::window::Window;
use crate::fusions::engine::make;
use crate::graph::ir::{Graph, NodeId, ValueId};
use crate::pass::PassCx;

/// The constant weights of a Conv, ConvTranspose, Gemm or MatMul: for each output channel (a row) those of its sum.
#[derive(Clone, PartialEq, Debug)]
pub struct Weights {
    /// Input 1 of the node.
    pub value: ValueId,
    /// Shape of the tensor.
    pub shape: Vec<i64>,
    /// Axis of output channels.
    pub axis: usize,
    /// Output channels; 1 where all weights are treated alike.
    pub rows: usize,
    /// Weights of one.
    pub depth: usize,
    /// Groups of channels, each of which reads inputs of its own.
    pub groups: usize,
    /// Elements behind one index of the axis.
    inner: usize,
    convolution: bool,
    /// Of a ConvTranspose its stride, all axes together: a result meets so many times fewer elements of the window.
    phases: Option<usize>,
    /// Of a convolution over sizes that are known, for each element of its window: the share of results for which it lies on the input, and not on padding.
    shares: Vec<f64>,
    pub(super) values: Vec<f64>,
}

impl Weights {
    /// Those of a Conv, ConvTranspose, Gemm or MatMul. `None` if it has no constant ones in real numbers; an error if one of them is not finite.
    pub fn of(g: &Graph, n: NodeId) -> Result<Option<Weights>> {
        let node = g.node(n);
        let transposed = node.op.name == "ConvTranspose";
        let convolution = transposed || node.op.name == "Conv";
        let rank = node.ins.get(1).copied().flatten().and_then(|v| g.konst(v));
        let rank = rank.map_or(0, |t| t.shape.len());
        let axis = match convolution || node.attrs.flag("trans_b") {
            true => usize::from(transposed),
            false => rank.saturating_sub(1),
        };
        // Stacks of matrices have one step for all.
        let axis = (convolution || rank == 2).then_some(axis);
        // Groups of a ConvTranspose share the scales of their channels: all are treated alike.
        let groups = match convolution && !transposed {
            true => node.attrs.int("group", 1).max(1) as usize,
            false => 1,
        };
        let Some(mut w) = Weights::along(g, n, 1, axis)? else {
            return Ok(None);
        };
        (w.groups, w.convolution) = (groups, convolution);
        if transposed {
            let strides = node.attrs.ints("strides").unwrap_or(&[]);
            w.phases = Some(strides.iter().product::<i64>().max(1) as usize);
        } else if convolution {
            w.shares = shares(g, n, &w.shape).unwrap_or_default();
        }
        Ok((w.rows % groups == 0 && (!convolution || rank > 2)).then_some(w))
    }
    /// Input `k` of any node, a row for each index of an axis, or one in all. `None` if it is no constant of real numbers; an error if one of them is
    /// not finite.
    pub fn along(g: &Graph, n: NodeId, k: usize, axis: Option<usize>) -> Result<Option<Weights>> {
        let Some(value) = g.node(n).ins.get(k).copied().flatten() else {
            return Ok(None);
        };
        let Some(t) = g
            .konst(value)
            .filter(|t| t.dtype == DType::F32 && !t.is_empty())
        else {
            return Ok(None);
        };
        let Some(values) = t.to_f64s() else {
            return Ok(None);
        };
        if values.iter().any(|v| !v.is_finite()) {
            let text = "weights that are not finite";
            return Err(Diagnostic::model("ONNX004", text).at(g.describe(n)));
        }
        let all = values.len();
        let rows = match axis.map(|a| t.shape.get(a)) {
            None => 1,
            Some(Some(n)) => *n as usize,
            Some(None) => return Ok(None),
        };
        let inner = match axis {
            None => all,
            Some(a) => t.shape[a + 1..].iter().product::<i64>() as usize,
        };
        Ok(Some(Weights {
            value,
            shape: t.shape.clone(),
            axis: axis.unwrap_or(0),
            rows,
            depth: all / rows,
            groups: 1,
            inner,
            convolution: false,
            phases: None,
            shares: vec![],
            values,
        }))
    }
    /// How the node reads what it multiplies; `None` for stacks of matrices, and where results differ in what they read.
    pub fn reads(&self, attrs: &Attrs) -> Option<Reads> {
        match self.convolution {
            true if self.phases.is_some() => None,
            true => Some(Reads::Windows {
                attrs: attrs.clone(),
                kernel: self.shape.get(2..)?.to_vec(),
                group: self.groups,
            }),
            false => (self.shape.len() == 2).then_some(Reads::Rows),
        }
    }
    /// Where weight `k` of a row stands in the tensor.
    pub fn at(&self, row: usize, k: usize) -> usize {
        (k / self.inner * self.rows + row) * self.inner + k % self.inner
    }
    fn row(&self, row: usize) -> Vec<f64> {
        (0..self.depth)
            .map(|k| self.values[self.at(row, k)])
            .collect()
    }
    /// Elements of one output channel's spatial window.
    pub fn taps(&self) -> usize {
        match self.convolution {
            true => self.shape[2..].iter().product::<i64>().max(1) as usize,
            false => 1,
        }
    }
    /// Weights that share a step along a row: all of them, or those of a block.
    fn block(&self, recipe: &Recipe) -> usize {
        let blocked = !self.convolution && self.shape.len() == 2 && recipe.per_channel;
        match recipe.block {
            Some(b) if blocked && b < self.depth => b.max(1),
            _ => self.depth,
        }
    }
}

/// For each element of a convolution's window the share of results for which it lies on the input. `None` where sizes are not known.
fn shares(g: &Graph, n: NodeId, weights: &[i64]) -> Option<Vec<f64>> {
    let node = g.node(n);
    let sizes = g.ty(node.ins.first().copied().flatten()?)?.shape.get(2..)?;
    let window = Window::of(&node.attrs, weights.get(2..)?, sizes).ok()?;
    let mut all = vec![1.0];
    for (a, size) in fixed_shape(sizes)?.into_iter().enumerate() {
        let results = window.out.get(a)?.fixed()?;
        let on_input = |tap: i64| {
            let first = tap * window.dilation[a] - window.begin[a];
            let at = |o: &i64| (0..size).contains(&(first + o * window.stride[a]));
            (0..results).filter(at).count() as f64 / results.max(1) as f64
        };
        let own: Vec<f64> = (0..window.kernel[a]).map(on_input).collect();
        all = (all.iter().flat_map(|s| own.iter().map(move |o| s * o))).collect();
    }
    Some(all)
}

/// Weights that were rounded.
#[derive(Clone, PartialEq, Debug)]
pub struct Rounded {
    /// The numbers, in the tensor's order.
    pub numbers: Vec<f64>,
    /// `[rows, blocks]`, or one for all.
    pub steps: Vec<f32>,
    /// Weights that share a step along a row.
    pub block: usize,
    /// What rounding changed, `[rows, depth]`.
    pub errors: Vec<f64>,
    /// Mean square of the weights over that of the errors, in decibels.
    pub sqnr: f64,
    /// Whether another rounding was asked for than to the nearest, for which moments were missing.
    fell_back: bool,
}

impl Rounded {
    /// Whether blocks of a row have steps of their own.
    pub fn is_blocked(&self, w: &Weights) -> bool {
        self.block < w.depth
    }
    /// What is to be said of a layer whose weights were not rounded as they were to be.
    pub fn remark(&self, w: &Weights, loc: &str) -> Option<Box<Diagnostic>> {
        let text = match w.depth > MOST_DEPTH {
            true => format!(
                "weights are rounded to the nearest: sums over {} inputs are longer than the {MOST_DEPTH} whose moments are kept",
                w.depth
            ),
            false => "weights are rounded to the nearest: nothing is known of what they multiply"
                .to_string(),
        };
        self.fell_back
            .then(|| Diagnostic::remark("ONNX016", text).at(loc))
    }
}

/// The least and largest number of so many bits: symmetric for 8 bits; fewer use the last number too.
fn limits(bits: u32) -> (f64, f64) {
    match bits {
        2..8 => {
            let half = f64::from(1u32 << (bits - 1));
            (-half, half - 1.0)
        }
        _ => (-127.0, 127.0),
    }
}

/// Rounds weights by a recipe. `moments`: those of what the layer reads, for the methods that need them; `centred`: whether a bias takes up what is
/// added to the mean.
pub fn rounded(w: &Weights, recipe: &Recipe, moments: Option<&Moments>, centred: bool) -> Rounded {
    let (least, most) = limits(recipe.weight_bits);
    let block = w.block(recipe);
    let blocks = w.depth.div_ceil(block);
    let fits = |m: &&Moments| m.depth() == w.depth && m.groups() == w.groups && !m.is_empty();
    let moments = moments.filter(fits);
    let group_of = |row: usize| row / (w.rows / w.groups).max(1);
    // What an error of a weight alone costs, for the choice of steps.
    let mut numbers = vec![0.0; w.values.len()];
    let mut errors = vec![0.0; w.values.len()];
    let mut steps = vec![];
    if !recipe.per_channel {
        let largest = w.values.iter().fold(0.0f64, |a, v| a.max(v.abs()));
        let ones = vec![1.0; w.values.len()];
        steps.push(step(&w.values, &ones, largest, recipe.weight_bits));
    }
    let mut known: Option<(usize, Vec<f64>, Option<Factor>)> = None;
    for row in 0..w.rows {
        let values = w.row(row);
        let group = group_of(row);
        if let Some(m) = moments
            && known.as_ref().is_none_or(|k| k.0 != group)
        {
            let h = m.matrix(group, centred);
            let factor = Factor::of(&h, w.depth);
            known = Some((group, h, factor));
        }
        let h = known.as_ref().filter(|k| k.2.is_some()).map(|k| &k.1);
        let weight: Vec<f64> = (0..w.depth)
            .map(|k| h.map_or(1.0, |h| h[k * w.depth + k].max(0.0)))
            .collect();
        if recipe.per_channel {
            for (part, weight) in values.chunks(block).zip(weight.chunks(block)) {
                let largest = part.iter().fold(0.0f64, |a, v| a.max(v.abs()));
                steps.push(step(part, weight, largest, recipe.weight_bits));
            }
        }
        let own: Vec<f64> = (0..w.depth)
            .map(|k| match recipe.per_channel {
                true => f64::from(steps[row * blocks + k / block]),
                false => f64::from(steps[0]),
            })
            .collect();
        let nearest = || -> Vec<f64> {
            let number = |(v, s): (&f64, &f64)| libm::rint(v / s).clamp(least, most);
            values.iter().zip(&own).map(number).collect()
        };
        let q = match (recipe.weight_rounding, &known) {
            (WeightRounding::Gptq, Some((_, h, Some(f)))) => {
                let both = [f.round(&values, &own, least, most), nearest()];
                cheaper(h, &values, &own, both)
            }
            (WeightRounding::AdaRound, Some((_, h, Some(_)))) => {
                let found = adaround::round(h, &values, &own, least, most);
                cheaper(h, &values, &own, [found, nearest()])
            }
            _ => nearest(),
        };
        for (k, q) in q.iter().enumerate() {
            numbers[w.at(row, k)] = *q;
            errors[row * w.depth + k] = q * own[k] - values[k];
        }
    }
    let square = |l: &[f64]| l.iter().map(|v| v * v).sum::<f64>();
    let noise = square(&errors);
    let sqnr = match noise > 0.0 {
        true => 10.0 * libm::log10(square(&w.values) / noise),
        false => f64::INFINITY,
    };
    Rounded {
        numbers,
        steps,
        block,
        errors,
        sqnr,
        fell_back: recipe.weight_rounding != WeightRounding::Nearest && moments.is_none(),
    }
}

/// Of several roundings that which changes the result least; the first of equals.
fn cheaper(h: &[f64], values: &[f64], steps: &[f64], found: [Vec<f64>; 2]) -> Vec<f64> {
    let of = |q: &[f64]| {
        let own = values.iter().zip(steps).zip(q);
        let e: Vec<f64> = own.map(|((w, s), q)| w - q * s).collect();
        cost(h, &e)
    };
    let [a, b] = found;
    if of(&b) < of(&a) { b } else { a }
}

/// The step for some weights. With 8 bits the largest of them is the largest number; with fewer, it may pay to limit it: the step with the least
/// mean square error, each error counted as `counts` says (Nagel et al. 2021, "A white paper on neural network quantization", section 2.3.1).
fn step(values: &[f64], counts: &[f64], largest: f64, bits: u32) -> f32 {
    let (least, most) = limits(bits);
    if bits >= 8 {
        return Scale::of_weights(largest);
    }
    let full = largest / most;
    let cost = |s: f64| -> f64 {
        let one = |(v, c): (&f64, &f64)| {
            let e = v - libm::rint(v / s).clamp(least, most) * s;
            c * e * e
        };
        values.iter().zip(counts).map(one).sum()
    };
    let mut best = (f64::INFINITY, full);
    for k in 0..=60 {
        let s = f64::from((full * (1.0 - f64::from(k) / 100.0)) as f32);
        if s < f64::from(f32::MIN_POSITIVE) {
            break;
        }
        let c = cost(s);
        if c < best.0 {
            best = (c, s);
        }
    }
    match best.1 as f32 {
        s if s >= f32::MIN_POSITIVE => s,
        _ => 1.0,
    }
}

/// What rounding adds to the mean of each row, by the means of what the layer reads: of every input of a sum, or of its channels. `None` where these
/// are not known.
pub fn shift(
    w: &Weights,
    r: &Rounded,
    moments: Option<&Moments>,
    channels: &[f64],
) -> Option<Vec<f64>> {
    let each = w.rows / w.groups;
    let taps = w.taps();
    let means = |group: usize| -> Option<Vec<f64>> {
        match moments {
            Some(m) if m.depth() == w.depth && m.groups() == w.groups && !m.is_empty() => {
                Some(m.means(group))
            }
            _ => {
                let first = group * (w.depth / taps);
                // Padding adds nothing to a mean.
                let share = |k: usize| w.shares.get(k % taps).unwrap_or(&1.0);
                (0..w.depth)
                    .map(|k| Some(channels.get(first + k / taps)? * share(k)))
                    .collect()
            }
        }
    };
    let mut out = Vec::with_capacity(w.rows);
    for group in 0..w.groups {
        let means = means(group)?;
        for row in group * each..(group + 1) * each {
            let errors = &r.errors[row * w.depth..][..w.depth];
            let all: f64 = errors.iter().zip(&means).map(|(e, m)| e * m).sum();
            out.push(all / w.phases.unwrap_or(1) as f64);
        }
    }
    Some(out)
}

/// Puts the numbers into the graph, and a DequantizeLinear before node `n`. Gives the real weights.
pub fn store(
    g: &mut Graph,
    cx: &mut PassCx,
    n: NodeId,
    w: &Weights,
    r: &Rounded,
    d: DType,
) -> Result<ValueId> {
    let name = format!("{}_quantized", g.value(w.value).name);
    let q = g.add_const(&name, Tensor::from_f64s(d, &w.shape, &r.numbers));
    let mut attrs = Attrs::default();
    let (shape, steps) = if r.is_blocked(w) {
        let blocks = w.depth.div_ceil(r.block);
        let along = 1 - w.axis as i64;
        attrs.set("axis", Attr::Int(along));
        attrs.set("block_size", Attr::Int(r.block as i64));
        let count = [w.rows as i64, blocks as i64];
        match w.axis {
            0 => (count.to_vec(), r.steps.clone()),
            _ => {
                let at = |i: usize| r.steps[i % w.rows * blocks + i / w.rows];
                let turned = (0..r.steps.len()).map(at).collect();
                (vec![count[1], count[0]], turned)
            }
        }
    } else {
        attrs.set("axis", Attr::Int(w.axis as i64));
        attrs.set("block_size", Attr::Int(0));
        let shape = match r.steps.len() {
            1 => vec![],
            n => vec![n as i64],
        };
        (shape, r.steps.clone())
    };
    let zeros = vec![0.0; steps.len()];
    let scale = g.add_const("", Tensor::f32(&shape, &steps));
    let zero = g.add_const("", Tensor::from_f64s(d, &shape, &zeros));
    let loc = g.node(n).loc.clone();
    let ins = [Some(q), Some(scale), Some(zero)];
    make(g, cx, n, "DequantizeLinear", attrs, &ins, loc)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::parse::parse;

    #[test]
    fn padding_adds_nothing_to_a_mean() {
        let text = "graph @g(%x: f32[1,1,2,2]) -> (%y) {
  %w = lit f32[1,1,3,3] [127.0, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4]
  %y = Conv(%x, %w) { group = 1, pads = [1, 1, 1, 1] } : f32[1,1,2,2]
}";
        let m = parse(text, crate::ops::find).unwrap();
        let w = Weights::of(&m.graph, m.graph.order()[0]).unwrap().unwrap();
        let corner = [0.25, 0.5, 0.25, 0.5, 1.0, 0.5, 0.25, 0.5, 0.25];
        assert_eq!(w.shares, corner);
        // By hand: all but the first weight become 0; for a mean of 10 that takes 0.4 * 10 * (1 + 4 * 0.5 + 3 * 0.25).
        let r = rounded(&w, &Recipe::default(), None, true);
        let s = shift(&w, &r, None, &[10.0]).unwrap();
        assert!((s[0] + 15.0).abs() < 1e-5, "{s:?}");
    }
}
