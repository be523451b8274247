//! A depthwise Conv over three spatial axes becomes depthwise Convs over two, for which there are kernels: the planes of the volume are a batch, and the sum
//! over the planes of the window a chain of Convs, each of which adds the one before. A window of one plane needs no sum; one that is a column of planes is a
//! Conv over depth and pixels.
//!
//! One over a single axis with a long window (the convolution modules of Conformers) becomes one over that axis and another of one pixel: kernels keep the columns
//! of a window in registers, and take many rows.

use super::engine::*;
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::base::dim::fixed_shape;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::contracts::window::Window;
use crate::graph::ir::{Graph, Loc, NodeId, ValueId};
use crate::ops::spatial::conv_window;
use crate::pass::{Pass, PassCx};

/// The fusion.
pub static PASS: Pass = Pass {
    name: "depthwise_volume",
    doc: "a depthwise Conv over three axes, or by a long window over one, becomes Convs over two",
    run,
};

/// Windows along one axis that kernels take as they are, and those that they take as columns.
const SHORT: i64 = 9;
const LONG: i64 = 81;
/// Planes of a window, at most.
const MOST_PLANES: i64 = 16;

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    let patterns = [op("Conv", [any("x"), konst("w")])];
    rewrite(g, cx, &patterns, flatten)
}

fn flatten(g: &mut Graph, cx: &mut PassCx, m: &Match) -> Result<Outcome> {
    let skip = |why: &str| Ok(Outcome::Skip(why.to_string()));
    let (root, x) = (m.root(), m.value("x")?);
    let node = g.node(root);
    let long = |w: &Tensor| w.shape.len() == 3 && (SHORT + 1..=LONG).contains(&w.shape[2]);
    let Some(w) = g
        .konst(m.value("w")?)
        .cloned()
        .filter(|w| w.shape.len() == 5 || long(w))
    else {
        return Ok(Outcome::Other);
    };
    let group = node.attrs.int("group", 1);
    let own =
        node.attrs.get("activation").is_some() || node.ins.iter().skip(3).any(Option::is_some);
    if group < 2 || w.shape[0] != group || w.shape[1] != 1 || w.dtype != DType::F32 || own {
        return Ok(Outcome::Other);
    }
    let Some(xt) = g.ty(x) else {
        return skip("its type is not known");
    };
    let window = conv_window(
        &node.attrs,
        &xt.shape,
        &crate::base::types::TensorType::of(&w).shape,
    );
    let (Some(xs), Ok(win)) = (fixed_shape(&xt.shape), window) else {
        return skip("sizes are not fixed");
    };
    let Some(out) = fixed_shape(&win.out) else {
        return skip("sizes are not fixed");
    };
    let crops = win.begin.iter().chain(&win.end).any(|&p| p < 0);
    if crops
        || win.rank() == 3 && win.kernel[0] > MOST_PLANES
        || out.iter().chain(&xs).any(|&s| s < 1)
    {
        return skip("its window does not fit");
    }
    let bias = node.ins.get(2).copied().flatten();
    let name = g.value(m.value("w")?).name.clone();
    let loc = place(g, m);
    let mut v = Volume {
        g,
        cx,
        root,
        loc,
        name,
        win,
        xs,
        out,
        w,
        bias,
    };
    let y = if v.win.rank() == 1 {
        Some(v.line(x)?)
    } else if v.is_column() {
        Some(v.column(x)?)
    } else {
        v.planes(x)?
    };
    match y {
        Some(y) => Ok(Outcome::Replace(y)),
        None => skip("its window meets nothing but padding"),
    }
}

/// Makes the nodes.
struct Volume<'a, 'b> {
    g: &'a mut Graph,
    cx: &'a mut PassCx<'b>,
    root: NodeId,
    loc: Loc,
    /// Of the weights.
    name: String,
    win: Window,
    /// Shape of the input.
    xs: Vec<i64>,
    /// Spatial sizes of the output.
    out: Vec<i64>,
    w: Tensor,
    bias: Option<ValueId>,
}

impl Volume<'_, '_> {
    fn step(&mut self, op: &str, attrs: Attrs, ins: &[Option<ValueId>]) -> Result<ValueId> {
        make(self.g, self.cx, self.root, op, attrs, ins, self.loc.clone())
    }
    fn list(&mut self, v: &[i64]) -> Option<ValueId> {
        Some(self.g.add_const("", Tensor::i64(&[v.len() as i64], v)))
    }
    fn reshape(&mut self, v: ValueId, shape: &[i64]) -> Result<ValueId> {
        let shape = self.list(shape);
        self.step("Reshape", Attrs::default(), &[Some(v), shape])
    }
    /// Depth changes places with the channels, either way.
    fn turn(&mut self, v: ValueId) -> Result<ValueId> {
        let perm = Attr::Ints(vec![0, 2, 1, 3, 4]);
        self.step("Transpose", Attrs::default().with("perm", perm), &[Some(v)])
    }
    /// A depthwise Conv over the axes `along` of the window, with the weights' elements from `first` on.
    fn conv(
        &mut self,
        x: ValueId,
        along: [usize; 2],
        first: usize,
        bias: Option<ValueId>,
        before: Option<ValueId>,
    ) -> Result<ValueId> {
        let win = &self.win;
        let pick = |v: &[i64]| along.map(|a| v.get(a).copied());
        // An axis that the window does not have: a single element.
        let all = |v: &[i64], none: i64| Attr::Ints(pick(v).map(|p| p.unwrap_or(none)).to_vec());
        let pads = [pick(&win.begin), pick(&win.end)].concat();
        let attrs = Attrs::default()
            .with("group", Attr::Int(self.w.shape[0]))
            .with("strides", all(&win.stride, 1))
            .with("dilations", all(&win.dilation, 1))
            .with(
                "pads",
                Attr::Ints(pads.into_iter().map(|p| p.unwrap_or(0)).collect()),
            );
        let kernel = pick(&win.kernel).map(|k| k.unwrap_or(1));
        let taps = kernel.iter().product::<i64>() as usize;
        let per = win.kernel.iter().product::<i64>() as usize;
        let values = self.w.to_f32s().unwrap_or_default();
        let part: Vec<f32> = values
            .chunks(per.max(1))
            .flat_map(|c| c[first..first + taps].to_vec())
            .collect();
        let shape = [self.w.shape[0], 1, kernel[0], kernel[1]];
        let weights = self
            .g
            .add_const(&self.name.clone(), Tensor::f32(&shape, &part));
        self.step("Conv", attrs, &[Some(x), Some(weights), bias, before])
    }
    /// Whether the window is one pixel wide, and all pixels are looked at.
    fn is_column(&self) -> bool {
        let w = &self.win;
        (1..3).all(|i| w.kernel[i] == 1 && w.stride[i] == 1 && w.begin[i] == 0 && w.end[i] == 0)
    }
    /// One Conv over a line and a second axis of one pixel.
    fn line(&mut self, x: ValueId) -> Result<ValueId> {
        let (n, c) = (self.xs[0], self.xs[1]);
        let x = self.reshape(x, &[n, c, self.xs[2], 1])?;
        let y = self.conv(x, [0, 3], 0, self.bias, None)?;
        self.reshape(y, &[n, c, self.out[0]])
    }
    /// One Conv over depth and pixels.
    fn column(&mut self, x: ValueId) -> Result<ValueId> {
        let (n, c, pixels) = (self.xs[0], self.xs[1], self.xs[3] * self.xs[4]);
        let x = self.reshape(x, &[n, c, self.xs[2], pixels])?;
        // The second axis is none of the window's.
        let y = self.conv(x, [0, 3], 0, self.bias, None)?;
        let shape = [n, c, self.out[0], self.xs[3], self.xs[4]];
        self.reshape(y, &shape)
    }
    /// Whether plane `k` of the window meets the volume at some output.
    fn meets(&self, k: i64) -> bool {
        let (stride, at) = (
            self.win.stride[0],
            k * self.win.dilation[0] - self.win.begin[0],
        );
        // The first output that does not look before the volume decides.
        let o = ((-at).max(0) + stride - 1) / stride;
        o < self.out[0] && o * stride + at < self.xs[2]
    }
    /// A Conv over planes for each plane of the window.
    fn planes(&mut self, x: ValueId) -> Result<Option<ValueId>> {
        let (n, c) = (self.xs[0], self.xs[1]);
        let kernel = self.win.kernel.clone();
        let live: Vec<i64> = (0..kernel[0]).filter(|&k| self.meets(k)).collect();
        let (stride, dilation) = (self.win.stride[0], self.win.dilation[0]);
        let (begin, reach) = (self.win.begin[0], (self.out[0] - 1) * stride + 1);
        // Where planes are read from, before and behind the volume.
        let Some((&first, &last)) = live.first().zip(live.last()) else {
            return Ok(None);
        };
        let before = (begin - first * dilation).max(0);
        let behind = (last * dilation - begin + reach - self.xs[2]).max(0);
        let mut x = x;
        if before + behind > 0 {
            let pads = self.list(&[0, 0, before, 0, 0, 0, 0, behind, 0, 0]);
            let attrs = Attrs::default().with("mode", Attr::Str("constant".into()));
            x = self.step("Pad", attrs, &[Some(x), pads])?;
        }
        let mut sum = None;
        for k in live {
            let from = k * dilation - begin + before;
            let lists = [from, from + reach, 2, stride].map(|v| self.list(&[v]));
            let ins = [&[Some(x)], &lists[..]].concat();
            let part = self.step("Slice", Attrs::default(), &ins)?;
            let part = self.turn(part)?;
            let part = self.reshape(part, &[n * self.out[0], c, self.xs[3], self.xs[4]])?;
            let bias = self.bias.filter(|_| sum.is_none());
            let taps = (k * kernel[1] * kernel[2]) as usize;
            sum = Some(self.conv(part, [1, 2], taps, bias, sum)?);
        }
        let Some(sum) = sum else { return Ok(None) };
        let shape = [n, self.out[0], c, self.out[1], self.out[2]];
        let y = self.reshape(sum, &shape)?;
        self.turn(y).map(Some)
    }
}
