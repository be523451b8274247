//! A ConvTranspose becomes Convs over its input, with channels for the positions modulo the stride ("phases"), and a Transpose that
//! brings these positions together: so it runs on the kernels of convolutions.
//!
//! Along one axis output `q * stride + r - begin` sums input `q - j` times window element `j * stride + r`: for each r a convolution
//! with `ceil((kernel - r) / stride)` elements. One convolution does all phases where they have as many elements, or nearly so: it has zeros where
//! a phase has no element. Else there is one for each run of phases that are alike, and a Concat. A phase without any element is the bias.

use super::engine::*;
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::base::types::TensorType;
use crate::contracts::conv_planes::few;
use crate::graph::ir::{Graph, Loc, NodeId, ValueId};
use crate::ops::conv_transpose::window;
use crate::ops::conv_transpose_planes::Planes;
use crate::ops::util::unravel;
use crate::pass::{Pass, PassCx};

/// The fusion.
pub static PASS: Pass = Pass {
    name: "conv_transpose",
    doc: "a ConvTranspose becomes Convs with channels for each position modulo the stride",
    run,
};

/// What one convolution for all phases may compute, in percent of what the window has: more where convolutions of few channels would leave lanes empty.
const MOST_WASTE: i64 = 125;
const MOST_WASTE_NARROW: i64 = 400;
/// Channels of a group below which that is so.
const NARROW: i64 = 16;
/// Convolutions that one may become.
const MOST_RUNS: usize = 64;
/// Sizes of a window or a stride beyond which nothing is gained, and tables would become large.
const LARGEST: i64 = 1 << 12;
/// Products with elements that a dilation leaves out, at most: this many times the window's own.
const MOST_SPREAD: i64 = 4;

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    let patterns = [op("ConvTranspose", [any("x"), konst("w")])];
    rewrite(g, cx, &patterns, split)
}

/// One spatial axis.
struct Axis {
    input: i64,
    /// Elements of the window as it is spread by the dilation, those between being zero; of a stride of 1 the dilation is the convolution's.
    kernel: i64,
    spread: i64,
    dilation: i64,
    stride: i64,
    /// Where the output begins and how far it reaches among the positions of all phases.
    begin: i64,
    out: i64,
    /// Positions of each phase, from which on.
    first: i64,
    positions: i64,
}

impl Axis {
    /// Elements that phase `r` has.
    fn taps(&self, r: i64) -> i64 {
        (self.kernel - r + self.stride - 1).max(0) / self.stride
    }
    /// Positions that a convolution with so many elements spans.
    fn span(&self, taps: i64) -> i64 {
        (taps - 1) * self.dilation + 1
    }
    fn find_positions(&mut self) {
        // A convolution that begins inside of its input, or ends there, would be a crop: then there are more positions than needed.
        let least = (0..self.stride)
            .map(|r| self.taps(r))
            .min()
            .unwrap_or(1)
            .max(1);
        self.first = (self.begin / self.stride).min(self.span(least) - 1);
        let end = (self.begin + self.out + self.stride - 1) / self.stride;
        self.positions = end.max(self.input) - self.first;
    }
    /// What is left of all positions, where they are in a row: from where to where.
    fn kept(&self) -> (i64, i64) {
        let from = self.begin - self.first * self.stride;
        (from, from + self.out)
    }
    fn is_cut(&self) -> bool {
        self.kept() != (0, self.positions * self.stride)
    }
}

/// A ConvTranspose with known weights.
pub struct Split {
    axes: Vec<Axis>,
    batch: i64,
    group: i64,
    /// Channels of a group.
    cin: i64,
    cout: i64,
    weights: Vec<f32>,
    /// Lanes of the machine's vectors; 0: not known.
    lanes: i64,
}

/// Phases from one to another, in order, that have as many elements.
pub struct Run {
    first: i64,
    count: i64,
    taps: Vec<i64>,
}

impl Run {
    /// Whether its phases have no element at all.
    pub fn is_empty(&self) -> bool {
        self.taps.is_empty()
    }
}

/// A size of an axis that is not known, where it is enough that all large ones are alike.
const SOME: i64 = 32;

/// Reads a ConvTranspose whose weights are `w`, or says why it stays.
pub fn read(g: &Graph, root: NodeId, w: &Tensor) -> std::result::Result<Split, &'static str> {
    read_with(g, root, w, None)
}

/// The same as if all sizes were known: what it would be if they were.
pub fn read_of_any_size(
    g: &Graph,
    root: NodeId,
    w: &Tensor,
) -> std::result::Result<Split, &'static str> {
    read_with(g, root, w, Some(SOME))
}

fn read_with(
    g: &Graph,
    root: NodeId,
    w: &Tensor,
    free: Option<i64>,
) -> std::result::Result<Split, &'static str> {
    let node = g.node(root);
    let (Some(xt), Some(ot)) = (node.ins[0].and_then(|x| g.ty(x)), g.ty(node.outs[0])) else {
        return Err("its types are not known");
    };
    let Some(values) = w.to_f64s().filter(|_| w.shape.len() == xt.rank()) else {
        return Err("its weights have another rank than what it reads");
    };
    let dims = TensorType::of(w).shape;
    let Ok(win) = window(&node.attrs, &xt.shape, &dims) else {
        return Err("its window is not known");
    };
    if win.rank() > 3 {
        return Err("it has more axes than kernels know");
    }
    let mut axes = vec![];
    for i in 0..win.rank() {
        let fixed = xt.shape[2 + i].fixed().zip(ot.shape[2 + i].fixed());
        let supposed = |n: i64| (n, (n - 1) * win.stride[i] + win.extent(i) - win.begin[i]);
        let Some((input, out)) = fixed.or(free.map(supposed)) else {
            return Err("sizes are not fixed");
        };
        if win.begin[i] < 0 || out < 1 || input < 1 {
            return Err("its output is cut or empty");
        }
        let (stride, dilation) = (win.stride[i], win.dilation[i]);
        if win.extent(i) > LARGEST || stride > LARGEST {
            return Err("its window or stride is very large");
        }
        let own = stride == 1;
        let mut a = Axis {
            input,
            kernel: if own { win.kernel[i] } else { win.extent(i) },
            spread: if own { 1 } else { dilation },
            dilation: if own { dilation } else { 1 },
            stride,
            begin: win.begin[i],
            out,
            first: 0,
            positions: 0,
        };
        a.find_positions();
        axes.push(a);
    }
    if w.is_empty() || axes.iter().map(|a| a.stride).product::<i64>() > LARGEST {
        return Err("it has no weights, or very many positions modulo the stride");
    }
    let taps = |a: &Axis| (a.kernel, (a.kernel - 1) / a.spread + 1);
    let (all, own): (Vec<i64>, Vec<i64>) = axes.iter().map(taps).unzip();
    if all.iter().product::<i64>() > MOST_SPREAD * own.iter().product::<i64>() {
        return Err("its stride and dilation do not go together");
    }
    let group = node.attrs.int("group", 1).max(1);
    Ok(Split {
        axes,
        // 0 is "as it is" in a Reshape.
        batch: xt.shape[0].fixed().unwrap_or(0),
        group,
        cin: w.shape[0] / group,
        cout: w.shape[1],
        weights: values.into_iter().map(|v| v as f32).collect(),
        lanes: 0,
    })
}

impl Split {
    fn phases(&self) -> i64 {
        self.axes.iter().map(|a| a.stride).product()
    }
    /// Where along each axis phase `p` begins.
    fn phase(&self, p: i64) -> Vec<i64> {
        let strides: Vec<i64> = self.axes.iter().map(|a| a.stride).collect();
        unravel(&strides, p)
    }
    /// The convolutions, and whether channels of a group stand together with those of its other phases. `None`: too many, or phases without elements
    /// of a batch that is not known.
    pub fn runs(&self) -> Option<(Vec<Run>, bool)> {
        let (runs, together) = self.convolutions();
        let empty = runs.iter().any(Run::is_empty);
        (runs.len() <= MOST_RUNS && !(empty && self.batch == 0)).then_some((runs, together))
    }
    fn convolutions(&self) -> (Vec<Run>, bool) {
        let most: Vec<i64> = self.axes.iter().map(|a| a.taps(0)).collect();
        let own: i64 = self.axes.iter().map(|a| a.kernel).product();
        let done = most.iter().product::<i64>() * self.phases();
        let depthwise = self.group > 1 && self.cin == 1 && self.cout == 1;
        // Lanes of pixels do as well with the channels of one phase, and leave its zeros out. Windows of three elements and more have better ways.
        let of = |channels: i64| few(self.lanes, self.cin, channels);
        let by_pixels = of(self.cout) && !of(self.cout * self.phases());
        let wide = self.axes.last().is_some_and(|a| a.positions >= self.lanes);
        let by_pixels = by_pixels && self.group == 1 && wide && most.iter().all(|&taps| taps < 3);
        let most_waste = if self.cout < NARROW && !by_pixels {
            MOST_WASTE_NARROW
        } else {
            MOST_WASTE
        };
        if done * 100 <= own * most_waste && !depthwise {
            let whole = Run {
                first: 0,
                count: self.phases(),
                taps: most,
            };
            return (vec![whole], true);
        }
        let mut runs: Vec<Run> = vec![];
        for p in 0..self.phases() {
            let phase = self.phase(p);
            let taps: Vec<i64> = self
                .axes
                .iter()
                .zip(&phase)
                .map(|(a, &r)| a.taps(r))
                .collect();
            let taps = if taps.contains(&0) { vec![] } else { taps };
            match runs
                .last_mut()
                .filter(|last| last.taps == taps && self.group == 1)
            {
                Some(last) => last.count += 1,
                None => runs.push(Run {
                    first: p,
                    count: 1,
                    taps,
                }),
            }
        }
        (runs, false)
    }
    /// `[group * cin, cout, kernel..]` as `[group, phase, cout, cin, taps..]`: shape and values. `blank`: what stands where the window has no such element,
    /// for each of `cout` channels or for all.
    pub fn weights(&self, run: &Run, blank: &[f32]) -> (Vec<i64>, Vec<f32>) {
        let taps: i64 = run.taps.iter().product();
        let mut shape = vec![self.group * run.count * self.cout, self.cin];
        shape.extend(&run.taps);
        let mut out = Vec::with_capacity(shape.iter().product::<i64>() as usize);
        for grp in 0..self.group {
            for p in run.first..run.first + run.count {
                let phase = self.phase(p);
                // Element numbers in the kernel, axis by axis.
                let places: Vec<Option<i64>> = (0..taps)
                    .map(|t| {
                        let t = unravel(&run.taps, t);
                        let mut at = 0;
                        for (i, a) in self.axes.iter().enumerate() {
                            let k = (run.taps[i] - 1 - t[i]) * a.stride + phase[i];
                            if k >= a.kernel || k % a.spread != 0 {
                                return None;
                            }
                            at = at * ((a.kernel - 1) / a.spread + 1) + k / a.spread;
                        }
                        Some(at)
                    })
                    .collect();
                let window: i64 = self
                    .axes
                    .iter()
                    .map(|a| (a.kernel - 1) / a.spread + 1)
                    .product();
                for m in 0..self.cout {
                    let blank = blank[m as usize % blank.len()];
                    for c in 0..self.cin {
                        let from = ((grp * self.cin + c) * self.cout + m) * window;
                        let value = |at: &Option<i64>| {
                            at.map_or(blank, |at| self.weights[(from + at) as usize])
                        };
                        out.extend(places.iter().map(value));
                    }
                }
            }
        }
        (shape, out)
    }
    /// One number for each of `group * cout` channels, or for each of the `cout` of every group, as numbers for a convolution's channels.
    pub fn arranged<T: Copy>(&self, run: &Run, each: &[T]) -> Vec<T> {
        let own = each.chunks(self.cout.max(1) as usize).cycle();
        own.take(self.group as usize)
            .flat_map(|b| b.repeat(run.count as usize))
            .collect()
    }
    /// Attributes of a convolution.
    pub fn attributes(&self, run: &Run) -> Attrs {
        let (mut begins, mut ends) = (vec![], vec![]);
        for (a, &taps) in self.axes.iter().zip(&run.taps) {
            begins.push(a.span(taps) - 1 - a.first);
            ends.push(a.positions + a.first - a.input);
        }
        let mut attrs = Attrs::default()
            .with("group", Attr::Int(self.group))
            .with("pads", Attr::Ints([begins, ends].concat()));
        if self.axes.iter().any(|a| a.dilation > 1) {
            let dilations = self.axes.iter().map(|a| a.dilation).collect();
            attrs.set("dilations", Attr::Ints(dilations));
        }
        attrs
    }
    /// Output channels.
    pub fn channels(&self) -> i64 {
        self.group * self.cout
    }
}

/// Whether vectors of columns do it, where the machine has such as are worth it.
fn by_columns(g: &Graph, root: NodeId, lanes: i64) -> bool {
    let node = g.node(root);
    let shape = |v: Option<ValueId>| Some(&g.ty(v?)?.shape[..]);
    let shapes = (
        shape(node.ins[0]),
        shape(node.ins[1]),
        shape(Some(node.outs[0])),
    );
    let (Some(x), Some(w), Some(out)) = shapes else {
        return false;
    };
    lanes >= 8 && Planes::of(&node.attrs, x, w, out, lanes).is_some()
}

fn split(g: &mut Graph, cx: &mut PassCx, m: &Match) -> Result<Outcome> {
    let (root, x, w) = (m.root(), m.value("x")?, m.value("w")?);
    let Some(weights) = g.konst(w).filter(|w| w.dtype == DType::F32) else {
        return Ok(Outcome::Skip("the weights are not f32".into()));
    };
    let s = match read(g, root, weights) {
        Ok(s) => Split {
            lanes: cx.lanes,
            ..s
        },
        Err(why) => return Ok(Outcome::Skip(why.to_string())),
    };
    if by_columns(g, root, cx.lanes) {
        return Ok(Outcome::Skip(
            "to few channels its own loops are faster".into(),
        ));
    }
    let bias = match g.node(root).ins.get(2).copied().flatten() {
        None => None,
        Some(b) => match g.konst(b).and_then(Tensor::to_f32s) {
            Some(b) => Some(b),
            None => return Ok(Outcome::Skip("the bias is not a constant".into())),
        },
    };
    let Some((runs, together)) = s.runs() else {
        return Ok(Outcome::Skip(
            "its window and stride do not go together".into(),
        ));
    };
    let (loc, name) = (place(g, m), g.value(w).name.clone());
    let mut b = Builder { g, cx, root, loc };
    let mut parts = vec![];
    for run in &runs {
        parts.push(b.convolution(&s, run, x, bias.as_deref(), &name)?);
    }
    Ok(Outcome::Replace(b.bring_together(&s, &parts, together)?))
}

/// Makes the nodes.
pub struct Builder<'a, 'b> {
    /// The graph.
    pub g: &'a mut Graph,
    #[allow(missing_docs)]
    pub cx: &'a mut PassCx<'b>,
    /// New nodes stand before it.
    pub root: NodeId,
    /// And have these names.
    pub loc: Loc,
}

impl Builder<'_, '_> {
    fn step(&mut self, op: &str, attrs: Attrs, ins: &[ValueId]) -> Result<ValueId> {
        let ins: Vec<_> = ins.iter().map(|v| Some(*v)).collect();
        make(
            self.g,
            self.cx,
            self.root,
            op,
            attrs,
            &ins,
            self.loc.clone(),
        )
    }
    fn numbers(&mut self, v: &[i64]) -> ValueId {
        self.g.add_const("", Tensor::i64(&[v.len() as i64], v))
    }
    /// Some phases at all positions: `[N, channels.., positions..]`. `name`: of the weights.
    fn convolution(
        &mut self,
        s: &Split,
        run: &Run,
        x: ValueId,
        bias: Option<&[f32]>,
        name: &str,
    ) -> Result<ValueId> {
        let bias = bias.map(|b| s.arranged(run, b));
        if run.is_empty() {
            let channels = s.channels() * run.count;
            let mut each = vec![1, channels];
            each.resize(2 + s.axes.len(), 1);
            let values = bias.unwrap_or_else(|| vec![0.0; channels as usize]);
            let bias = self.g.add_const("", Tensor::f32(&each, &values));
            let mut all = vec![s.batch, channels];
            all.extend(s.axes.iter().map(|a| a.positions));
            let all = self.numbers(&all);
            return self.step("Expand", Attrs::default(), &[bias, all]);
        }
        let (shape, weights) = s.weights(run, &[0.0]);
        let weights = self.g.add_const(name, Tensor::f32(&shape, &weights));
        let mut ins = vec![x, weights];
        if let Some(b) = bias {
            ins.push(self.g.add_const("", Tensor::f32(&[b.len() as i64], &b)));
        }
        self.step("Conv", s.attributes(run), &ins)
    }
    /// Phases beside each other, and what belongs to the output. The channels are `[phases, group * cout]`, or
    /// `[group, phases, cout]` where those of a group stand `together`. `parts`: what the convolutions gave.
    pub fn bring_together(
        &mut self,
        s: &Split,
        parts: &[ValueId],
        together: bool,
    ) -> Result<ValueId> {
        let n = s.axes.len() as i64;
        let channels = s.channels();
        let mut y = match parts {
            &[y] => y,
            _ => {
                let attrs = Attrs::default().with("axis", Attr::Int(1));
                self.step("Concat", attrs, parts)?
            }
        };
        if s.phases() > 1 {
            // [N, group, r.., C, q..] to [N, group, C, q, r ..].
            let apart = together && s.group > 1;
            let before = 1 + i64::from(apart);
            let mut sizes = vec![s.batch];
            if apart {
                sizes.push(s.group);
            }
            sizes.extend(s.axes.iter().map(|a| a.stride));
            sizes.push(if apart { s.cout } else { channels });
            sizes.extend(s.axes.iter().map(|a| a.positions));
            let sizes = self.numbers(&sizes);
            y = self.step("Reshape", Attrs::default(), &[y, sizes])?;
            let mut perm: Vec<i64> = (0..before).collect();
            perm.push(before + n);
            for i in 0..n {
                perm.extend([before + n + 1 + i, before + i]);
            }
            let attrs = Attrs::default().with("perm", Attr::Ints(perm));
            y = self.step("Transpose", attrs, &[y])?;
            let mut whole = vec![s.batch, channels];
            whole.extend(s.axes.iter().map(|a| a.positions * a.stride));
            let whole = self.numbers(&whole);
            y = self.step("Reshape", Attrs::default(), &[y, whole])?;
        }
        if !s.axes.iter().any(Axis::is_cut) {
            return Ok(y);
        }
        let (starts, ends): (Vec<i64>, Vec<i64>) = s.axes.iter().map(Axis::kept).unzip();
        let names: Vec<i64> = (2..2 + n).collect();
        let [starts, ends, names] = [starts, ends, names].map(|l| self.numbers(&l));
        self.step("Slice", Attrs::default(), &[y, starts, ends, names])
    }
}
