//! Quantized operators compute in whole numbers.
//!
//! A file says `quantize(operator(dequantize(a), dequantize(b)))`, or the same in one word (QLinearConv). Here the operator is made anew over the
//! whole numbers: exact sums, then one Requantize (`ops/requantize.rs`) which holds what all scales make together, in f64. What only moves numbers
//! about takes them before they are dequantized; what is a function of one 8-bit number becomes a table. Where an operator that the file quantizes
//! on both sides stays a float one, that is said: a remark, or an error with `--require-int8`.

mod islands;
mod moves;
mod points;
mod pools;
mod products;
mod quotients;
mod real;
mod spell;
mod tables;
mod transposed;
mod twins;

use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::base::rounding::Rounding;
use crate::base::tensor::Tensor;
use crate::fusions::engine::make;
use crate::graph::ir::{Graph, Loc, NodeId, ValueId};
use crate::pass::{Pass, PassCx};
pub use moves::moves;
use products::End;
pub use products::slopes;
use real::{Bounds, Real, Target};

/// The pass.
pub static PASS: Pass = Pass {
    name: "integers",
    doc: "quantized operators compute in whole numbers",
    run,
};

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<()> {
    spell::run(g, cx)?;
    twins::run(g, cx)?;
    let wanted = islands::wanted(g);
    let mut i = Integers { g, cx };
    for n in i.g.order().to_vec() {
        if i.g.node(n).outs.iter().all(|&v| !i.g.is_used(v)) || i.cx.edits >= i.cx.max_edits {
            continue;
        }
        match i.g.node(n).op.name {
            name @ ("QuantizeLinear" | "QLinearConv" | "QLinearMatMul") => {
                let v = match name {
                    "QuantizeLinear" => i.quantized(n)?,
                    _ => i.qlinear(n)?,
                };
                let Some(v) = v else { continue };
                let out = i.g.node(n).outs[0];
                i.cx.edit();
                i.g.replace_uses(out, v);
            }
            name => {
                if (name == "Gather" && i.looked_up(n)?) || i.moved(n)? {
                    i.cx.edit();
                }
            }
        }
    }
    super::dead::left_behind(g);
    islands::report(g, cx, &wanted);
    Ok(())
}

/// Whether a node only limits numbers, by constants: a Relu or a Clip.
pub fn bounds(g: &Graph, n: NodeId) -> bool {
    Bounds::of(g, g.node(n)).is_some()
}

/// The limits that a Relu, a Clip, or a Max or Min with one constant sets.
pub fn limits(g: &Graph, n: NodeId) -> Option<(f64, f64)> {
    Bounds::of(g, g.node(n)).map(Bounds::ends)
}

/// The pass under way.
struct Integers<'g, 'c, 'd> {
    g: &'g mut Graph,
    cx: &'c mut PassCx<'d>,
}

/// What a value becomes: numbers of a target within bounds, made by nodes at a spot.
#[derive(Clone, Copy)]
struct Goal<'a> {
    t: &'a Target,
    bounds: Bounds,
    spot: &'a Spot,
}

/// Where new nodes go: before a node, under the names of all that they stand for.
#[derive(Clone)]
struct Spot {
    before: NodeId,
    loc: Loc,
}

impl Integers<'_, '_, '_> {
    /// The whole numbers that a QuantizeLinear gives, computed from whole numbers. `None`: it stays.
    fn quantized(&mut self, n: NodeId) -> Result<Option<ValueId>> {
        let Some(t) = Target::of(self.g, n) else {
            return Ok(None);
        };
        let Some(Some(x)) = self.g.node(n).ins.first().copied() else {
            return Ok(None);
        };
        self.computed(x, &t, n)
    }

    /// A value in the numbers of a target, which QuantizeLinear `n` asks for, computed from whole numbers.
    fn computed(&mut self, x: ValueId, t: &Target, n: NodeId) -> Result<Option<ValueId>> {
        let (inner, bounds, mut names) = self.through_clamps(x);
        names.push(n);
        if let Some(r) = Real::of(self.g, inner) {
            let spot = &self.spot(n, &names);
            return self.rescaled(&r, &Goal { t, bounds, spot });
        }
        if let Some((m, 0)) = self.g.maker(inner) {
            names.insert(0, m);
            let spot = self.spot(n, &names);
            let (plain, spot) = (End::straight(t, bounds), &spot);
            let to = &Goal { t, bounds, spot };
            let made = match self.g.node(m).op.name {
                "Conv" => self.conv(m, &plain, spot)?,
                "ConvTranspose" => self.conv_transpose(m, &plain, spot)?,
                "MatMul" | "Gemm" => self.matmul(m, None, &plain, spot)?,
                "LeakyRelu" => self.sloped(m, to)?,
                "Add" | "Sub" => self.sum(m, to)?,
                "Mul" => self.product(m, to)?,
                "PRelu" => match self.sloped(m, to)? {
                    None => self.prelu(m, to)?,
                    made => made,
                },
                "BatchNormalization" => self.normalized(m, to)?,
                "LayerNormalization" | "InstanceNormalization" => self.row_normalized(m, to)?,
                "Div" => self.quotient(m, to)?,
                "ReduceL2" => self.length(m, to)?,
                "GlobalAveragePool" | "AveragePool" | "ReduceMean" | "ReduceSum" => {
                    self.mean(m, to)?
                }
                "Softmax" => self.softmax(m, to)?,
                "Resize" => self.resized(m, to)?,
                "Max" | "Min" | "Where" => self.chosen(m, to)?,
                _ => None,
            };
            if made.is_some() {
                return Ok(made);
            }
        }
        if let Some(v) = self.reshaped(x, t, n)? {
            return Ok(Some(v));
        }
        self.table(x, t, n)
    }

    fn spot(&self, before: NodeId, names: &[NodeId]) -> Spot {
        let loc = Loc::join(names.iter().map(|&n| &self.g.node(n).loc));
        Spot { before, loc }
    }

    /// The value behind which only Relu and Clip stand, what they allow, and they themselves, the first first.
    fn through_clamps(&self, x: ValueId) -> (ValueId, Bounds, Vec<NodeId>) {
        let (mut v, mut bounds, mut names) = (x, Bounds::default(), vec![]);
        while let Some((n, 0)) = self.g.maker(v) {
            let node = self.g.node(n);
            let Some(own) = Bounds::of(self.g, node) else {
                break;
            };
            let Some(Some(inner)) = node.ins.first().copied() else {
                break;
            };
            bounds = own.then(bounds);
            names.insert(0, n);
            v = inner;
        }
        (v, bounds, names)
    }

    /// Whether a value has one user and is no output: then what makes it need not be kept for others.
    fn alone(&self, v: ValueId) -> bool {
        self.g.users(v).len() == 1 && !self.g.is_output(v)
    }

    // Making nodes

    fn make(
        &mut self,
        op: &str,
        attrs: Attrs,
        ins: &[Option<ValueId>],
        spot: &Spot,
    ) -> Result<ValueId> {
        make(
            self.g,
            self.cx,
            spot.before,
            op,
            attrs,
            ins,
            spot.loc.clone(),
        )
    }
    fn reals(&mut self, shape: &[i64], values: &[f64]) -> ValueId {
        self.g
            .add_const("", Tensor::from_f64s(DType::F64, shape, values))
    }
    fn whole(&mut self, dtype: DType, value: i64) -> ValueId {
        self.g
            .add_const("", Tensor::from_f64s(dtype, &[], &[value as f64]))
    }
    /// The zero point as an operand; none where it is 0.
    fn zero(&mut self, dtype: DType, zero: i64) -> Option<ValueId> {
        (zero != 0).then(|| self.whole(dtype, zero))
    }
    /// `round((x - zero) * m + offset)` as the target's numbers; `most`: the largest that `x - zero` can be.
    fn requantize(
        &mut self,
        x: ValueId,
        zero: i64,
        most: f64,
        m: ValueId,
        offset: Option<ValueId>,
        to: &Goal,
    ) -> Result<ValueId> {
        let Goal { t, bounds, spot } = *to;
        let mut attrs = self.finishing(t, bounds);
        less(&mut attrs, "zero_x", zero);
        let largest = |v: Option<ValueId>| match v {
            None => 0.0,
            Some(v) => self
                .g
                .konst(v)
                .and_then(|t| t.to_f64s())
                .map_or(f64::INFINITY, |l| {
                    l.iter().fold(0.0, |a: f64, b| a.max(b.abs()))
                }),
        };
        promise(&mut attrs, most * largest(Some(m)) + largest(offset));
        let mut ins = vec![Some(x), Some(m)];
        ins.extend(offset.map(Some));
        self.make("Requantize", attrs, &ins, spot)
    }
    /// Attributes of what ends in the target's numbers.
    fn finishing(&self, t: &Target, bounds: Bounds) -> Attrs {
        let mut attrs = Attrs::default().with("to", Attr::Type(t.dtype));
        let (lo, hi) = t.limits(bounds, self.cx.rounding);
        let (least, most) = t.range();
        if lo > least {
            attrs.set("lo", Attr::Int(lo));
        }
        if hi < most {
            attrs.set("hi", Attr::Int(hi));
        }
        if t.zero != 0 {
            attrs.set("zero", Attr::Int(t.zero));
        }
        self.round(&mut attrs);
        attrs
    }
    fn round(&self, attrs: &mut Attrs) {
        if self.cx.rounding == Rounding::Up {
            attrs.set("rounding", Attr::Str(Rounding::Up.name().into()));
        }
    }
    /// Numbers of one scale as those of another.
    fn rescaled(&mut self, r: &Real, to: &Goal) -> Result<Option<ValueId>> {
        let Goal { t, bounds, spot } = *to;
        let Some((scale, zero)) = r.single() else {
            return Ok(None);
        };
        let open = t.limits(bounds, self.cx.rounding) == t.range();
        if scale == t.scale && zero == t.zero && r.dtype == t.dtype && open {
            return Ok(Some(r.q));
        }
        if scale == t.scale {
            let mut attrs = self.finishing(t, bounds);
            less(&mut attrs, "zero_x", zero);
            return self.make("Requantize", attrs, &[Some(r.q)], spot).map(Some);
        }
        let m = self.reals(&[], &[scale / t.scale]);
        self.requantize(r.q, zero, r.most(), m, None, to).map(Some)
    }
}

/// Promises that a result fits an i32 before it is limited, if it is no larger than `most`.
fn promise(attrs: &mut Attrs, most: f64) {
    if most < f64::from(1 << 30) {
        attrs.set("small", Attr::Int(1));
    }
}

/// Says what an operand has for 0.
fn less(attrs: &mut Attrs, name: &str, zero: i64) {
    if zero != 0 {
        attrs.set(name, Attr::Int(zero));
    }
}
