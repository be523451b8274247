//! Taps of a convolution's window that only ever meet padding are cut away: those of a dilated window that reaches past a small map from every position
//! (the side branches of atrous pyramids), or the outer rows of a window over a map of one row. Padding is zero (the zero point of whole numbers, which
//! is taken off), so such a tap adds nothing to any output; its weights are loaded and multiplied all the same.
//!
//! Along each axis the taps that meet the input at some output are kept, with those between them: all of them, or, where what is
//! kept is evenly spaced, the kept ones alone under a larger dilation.

use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::base::dim::fixed_shape;
use crate::base::tensor::Tensor;
use crate::fusions::engine::make;
use crate::graph::ir::{Graph, NodeId, ValueId};
use crate::ops::spatial::conv_window;
use crate::pass::{Pass, PassCx};

/// The pass.
pub static PASS: Pass = Pass {
    name: "taps",
    doc: "taps of a convolution that only ever meet padding are cut away",
    run,
};

/// Positions along an axis beyond which it is not looked at.
const MOST: i64 = 1 << 20;

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    for n in g.order().to_vec() {
        let Some(axes) = axes(g, n) else { continue };
        let nothing = nothing_left(g, n, &axes);
        if (nothing.is_none() && axes.iter().all(Axis::is_whole)) || !cx.edit() {
            continue;
        }
        match nothing {
            Some(sums) => constant(g, cx, n, sums)?,
            None => cut(g, cx, n, &axes)?,
        }
    }
    Ok(())
}

/// One spatial axis of a convolution, and what is kept of its window.
#[derive(Clone, Debug, PartialEq)]
struct Axis {
    /// Size of the input; none where it isn't known: then all is kept.
    input: Option<i64>,
    kernel: i64,
    stride: i64,
    dilation: i64,
    begin: i64,
    end: i64,
    out: i64,
    /// Whether any tap meets the input; where none does, the axis is left as it is.
    lives: bool,
    /// The first tap that is kept, and the number of taps from one that is kept to the next.
    first: i64,
    step: i64,
    /// Number of taps that are kept.
    taps: i64,
}

impl Axis {
    fn is_whole(&self) -> bool {
        self.taps == self.kernel
    }
    /// Finds what is kept.
    fn look(&mut self) {
        let Some(input) = self.input else { return };
        let live: Vec<i64> = (0..self.kernel).filter(|&k| self.meets(k, input)).collect();
        self.lives = !live.is_empty();
        let (Some(&first), Some(&last)) = (live.first(), live.last()) else {
            return;
        };
        let step = live.get(1).map_or(1, |second| second - first);
        let even = live.windows(2).all(|w| w[1] - w[0] == step);
        self.first = first;
        self.step = if even { step } else { 1 };
        self.taps = (last - first) / self.step + 1;
    }
    /// Whether tap `k` meets the input at some output.
    fn meets(&self, k: i64, input: i64) -> bool {
        // Output o looks at o * stride + at; the first o that is not before the input decides.
        let at = k * self.dilation - self.begin;
        let o = ((-at).max(0) + self.stride - 1) / self.stride;
        o < self.out && o * self.stride + at < input
    }
    /// The new window's dilation, its pads (negative where the input must be cut), over the same outputs.
    fn window(&self) -> (i64, i64, i64) {
        let input = self.input.unwrap_or(0);
        let dilation = match self.taps {
            1 => 1,
            _ => self.dilation * self.step,
        };
        let begin = self.begin - self.first * self.dilation;
        let last = (self.out - 1) * self.stride + (self.taps - 1) * dilation + 1;
        let end = last - input - begin;
        // What is left over is less than a step where the window's own end says so.
        let loose = end < 0 && end > -self.stride;
        (dilation, begin, if loose { 0 } else { end })
    }
}

/// The axes of a convolution whose weights are known and whose channels come first.
fn axes(g: &Graph, n: NodeId) -> Option<Vec<Axis>> {
    let node = g.node(n);
    let conv = matches!(node.op.name, "Conv" | "ConvInteger");
    if !conv || node.attrs.flag("channels_last") {
        return None;
    }
    let (x, w) = (node.ins[0]?, node.ins[1]?);
    let xs = &g.ty(x)?.shape;
    let window = conv_window(&node.attrs, xs, &g.ty(w)?.shape).ok()?;
    g.konst(w)?;
    let known = |i: usize| {
        let (input, out) = (xs[2 + i].fixed()?, window.out[i].fixed()?);
        let extent = window
            .extent(i)
            .saturating_add(window.begin[i].saturating_abs());
        (out >= 1 && [input, out, extent].iter().all(|&s| s < MOST)).then_some((input, out))
    };
    let axes = (0..window.rank()).map(|i| {
        let (input, out) = known(i).unzip();
        let mut a = Axis {
            input,
            kernel: window.kernel[i],
            stride: window.stride[i],
            dilation: window.dilation[i],
            begin: window.begin[i],
            end: window.end[i],
            out: out.unwrap_or(0),
            lives: true,
            first: 0,
            step: 1,
            taps: window.kernel[i],
        };
        a.look();
        a
    });
    Some(axes.collect())
}

/// What all sums are where no tap along some axis meets the input: the bias, or zero, of the output's shape, channels first.
/// None where the convolution has an activation or an added tensor, or sizes are not fixed.
fn nothing_left(
    g: &Graph,
    n: NodeId,
    axes: &[Axis],
) -> Option<(Option<ValueId>, Tensor, Vec<i64>)> {
    let node = g.node(n);
    let input = |k: usize| node.ins.get(k).copied().flatten();
    let conv = node.op.name == "Conv";
    if axes.iter().all(|a| a.lives) || node.attrs.get("activation").is_some() {
        return None;
    }
    // What a Conv adds is its fourth input; what a ConvInteger begins with its fifth.
    if input(if conv { 3 } else { 4 }).is_some() {
        return None;
    }
    let ty = g.ty(node.outs[0])?;
    let shape = fixed_shape(&ty.shape)?;
    let zero = Tensor::zeros(ty.dtype, vec![1; shape.len()]).ok()?;
    Some((input(2).filter(|_| conv), zero, shape))
}

/// Puts constant sums in a convolution's place.
fn constant(
    g: &mut Graph,
    cx: &mut PassCx,
    n: NodeId,
    (bias, zero, shape): (Option<ValueId>, Tensor, Vec<i64>),
) -> Result<()> {
    let loc = g.node(n).loc.clone();
    let list = |g: &mut Graph, v: &[i64]| Some(g.add_const("", Tensor::i64(&[v.len() as i64], v)));
    let each = match bias {
        Some(b) => {
            let mut channels = vec![1; shape.len()];
            channels[1] = shape[1];
            let sizes = list(g, &channels);
            make(
                g,
                cx,
                n,
                "Reshape",
                Attrs::default(),
                &[Some(b), sizes],
                loc.clone(),
            )?
        }
        None => g.add_const("", zero),
    };
    let sizes = list(g, &shape);
    let all = make(
        g,
        cx,
        n,
        "Expand",
        Attrs::default(),
        &[Some(each), sizes],
        loc,
    )?;
    let out = g.node(n).outs[0];
    g.replace_uses(out, all);
    g.remove_node(n);
    Ok(())
}

/// Cuts the weights, the window and, where the new window begins or ends inside of it, the input.
fn cut(g: &mut Graph, cx: &mut PassCx, n: NodeId, axes: &[Axis]) -> Result<()> {
    let (Some(x), Some(w)) = (g.node(n).ins[0], g.node(n).ins[1]) else {
        return Ok(());
    };
    let Some(weights) = g.konst(w).map(|t| kept(t, axes)) else {
        return Ok(());
    };
    let (mut dilations, mut begins, mut ends) = (vec![], vec![], vec![]);
    let (mut names, mut from, mut to) = (vec![], vec![], vec![]);
    for (i, a) in axes.iter().enumerate() {
        let (dilation, begin, end) = match a.is_whole() {
            true => (a.dilation, a.begin, a.end),
            false => a.window(),
        };
        if !a.is_whole() && begin.min(end) < 0 {
            names.push(2 + i as i64);
            from.push((-begin).max(0));
            to.push(a.input.unwrap_or(0) + end.min(0));
        }
        let pad = |p: i64| if a.is_whole() { p } else { p.max(0) };
        dilations.push(dilation);
        begins.push(pad(begin));
        ends.push(pad(end));
    }
    if !names.is_empty() {
        let lists =
            [from, to, names].map(|l| Some(g.add_const("", Tensor::i64(&[l.len() as i64], &l))));
        let loc = g.node(n).loc.clone();
        let ins = [Some(x), lists[0], lists[1], lists[2]];
        let part = make(g, cx, n, "Slice", Attrs::default(), &ins, loc)?;
        g.set_input(n, 0, Some(part));
    }
    let name = g.value(w).name.clone();
    let weights = g.add_const(&name, weights);
    g.set_input(n, 1, Some(weights));
    let attrs = &mut g.node_mut(n).attrs;
    attrs.remove("auto_pad");
    attrs.remove("kernel_shape");
    attrs.set("dilations", Attr::Ints(dilations));
    attrs.set("pads", Attr::Ints([begins, ends].concat()));
    Ok(())
}

/// The weights' taps that are kept.
fn kept(w: &Tensor, axes: &[Axis]) -> Tensor {
    let each = w.dtype.size();
    let mut shape = w.shape[..2].to_vec();
    shape.extend(axes.iter().map(|a| a.taps));
    // Places of taps inside a window.
    let mut places = vec![0i64];
    for a in axes {
        let along = |at: &i64| {
            let at = at * a.kernel + a.first;
            (0..a.taps).map(move |k| at + k * a.step)
        };
        places = places.iter().flat_map(along).collect();
    }
    let window: i64 = axes.iter().map(|a| a.kernel).product();
    let mut data = Vec::with_capacity(shape.iter().product::<i64>() as usize * each);
    for taps in w.data.chunks_exact((window as usize * each).max(1)) {
        for &p in &places {
            data.extend_from_slice(&taps[p as usize * each..][..each]);
        }
    }
    Tensor {
        dtype: w.dtype,
        shape,
        data: data.into(),
        strings: vec![],
    }
}
