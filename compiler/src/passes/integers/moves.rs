//! What only moves numbers about, or takes the largest, does so before they are dequantized.

use super::real::{Bounds, Real, Target};
use super::{Goal, Integers, Spot, less};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::base::rounding::Rounding;
use crate::fusions::engine::infer;
use crate::graph::ir::{NodeId, ValueId};
use crate::ops::quantized::{byte, byte_or_word};

/// Operators whose first input's elements are the output's. Scales are above 0, so the largest stays the largest.
const MOVES: [&str; 19] = [
    "Concat",
    "DepthToSpace",
    "Expand",
    "Flatten",
    "Gather",
    "GlobalMaxPool",
    "Identity",
    "MaxPool",
    "Pad",
    "ReduceMax",
    "ReduceMin",
    "Reshape",
    "Resize",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
];

/// Those of one result that give elements of their first input alone, whatever their attributes.
const PLAIN: [&str; 15] = [
    "DepthToSpace",
    "Expand",
    "Flatten",
    "Gather",
    "GlobalMaxPool",
    "Identity",
    "ReduceMax",
    "ReduceMin",
    "Reshape",
    "Slice",
    "SpaceToDepth",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
];

/// Those that look for the largest or least: no operator of ONNX does that among words.
const CHOOSING: [&str; 4] = ["GlobalMaxPool", "MaxPool", "ReduceMax", "ReduceMin"];

/// Whether an operator is of that kind.
pub fn moves(name: &str) -> bool {
    MOVES.contains(&name) || name == "Unsqueeze"
}

impl Integers<'_, '_, '_> {
    /// Makes such an operator over whole numbers and dequantizes what it gives.
    pub(super) fn moved(&mut self, n: NodeId) -> Result<bool> {
        let node = self.g.node(n);
        let (name, mut attrs) = (node.op.name, node.attrs.clone());
        let (mut ins, outs, loc) = (node.ins.clone(), node.outs.clone(), node.loc.clone());
        if !moves(name) || !node.bodies.is_empty() {
            return Ok(false);
        }
        if name == "Concat" {
            return self.concat(n);
        }
        let Some(Some(x)) = ins.first().copied() else {
            return Ok(false);
        };
        let Some(r) = Real::of(self.g, x).filter(|r| byte_or_word(r.dtype)) else {
            return Ok(false);
        };
        if CHOOSING.contains(&name) && !byte(r.dtype) {
            return Ok(false);
        }
        let mut axis = None;
        match r.single() {
            Some((_, zero)) => match name {
                "Pad" if !self.pads(&mut ins, &attrs, &r, zero) => return Ok(false),
                "Resize" if attrs.str("mode", "nearest") != "nearest" => return Ok(false),
                "MaxPool" if outs.get(1).is_some_and(|&v| self.g.is_used(v)) => return Ok(false),
                _ => {}
            },
            // Of many scales only their axis may move.
            None if name == "Transpose" => {
                let rank = self.g.ty(r.q).map_or(0, |t| t.rank());
                let perm: Vec<i64> = match attrs.ints("perm") {
                    Some(p) => p.to_vec(),
                    None => (0..rank as i64).rev().collect(),
                };
                axis = perm.iter().position(|&p| p as usize == r.axis);
            }
            None => return Ok(false),
        }
        ins[0] = Some(r.q);
        if name == "Pad" {
            attrs.set("mode", Attr::Str(attrs.str("mode", "constant").to_string()));
        }
        let made = self
            .g
            .add_before(n, self.g.node(n).op, attrs, ins, outs.len(), loc.clone());
        if infer(self.g, self.cx, made).is_err() {
            self.g.remove_node(made);
            return Ok(false);
        }
        let spot = Spot { before: n, loc };
        for (&old, new) in outs.iter().zip(self.g.node(made).outs.clone()) {
            if self.g.is_used(old) {
                let real = self.dequantized(new, &r, axis, &spot)?;
                self.g.replace_uses(old, real);
            }
        }
        Ok(true)
    }

    /// A linear or cubic Resize whose result has the scale of what it reads: weights add up to 1, so whole numbers give the result's, rounded once.
    pub(super) fn resized(&mut self, n: NodeId, to: &Goal) -> Result<Option<ValueId>> {
        let Goal { t, bounds, spot } = *to;
        let node = self.g.node(n);
        let (mut attrs, mut ins, out) = (node.attrs.clone(), node.ins.clone(), node.outs[0]);
        let Some(r) = Real::of_first(self.g, n) else {
            return Ok(None);
        };
        let alike = r.single() == Some((t.scale, t.zero)) && r.dtype == t.dtype;
        let open = t.limits(bounds, self.cx.rounding) == t.range();
        // What lies outside has a value of its own there.
        let mode = attrs.str("coordinate_transformation_mode", "half_pixel");
        let even = self.cx.rounding == Rounding::Even;
        if !alike || !open || !even || mode == "tf_crop_and_resize" || !self.alone(out) {
            return Ok(None);
        }
        ins[0] = Some(r.q);
        less(&mut attrs, "zero", t.zero);
        self.make("Resize", attrs, &ins, spot).map(Some)
    }

    /// A value whose elements are those of one that can be computed in whole numbers, moved: files quantize, say, behind the Reshape that follows a mean, or
    /// behind the Pad or MaxPool of the layer that comes next. Rounding never lets numbers pass each other: the largest stays the largest.
    pub(super) fn reshaped(
        &mut self,
        x: ValueId,
        t: &Target,
        n: NodeId,
    ) -> Result<Option<ValueId>> {
        let Some((m, 0)) = self.g.maker(x).filter(|_| self.alone(x)) else {
            return Ok(None);
        };
        let node = self.g.node(m);
        let (name, attrs, mut ins) = (node.op.name, node.attrs.clone(), node.ins.clone());
        let Some(inner) = ins.first().copied().flatten() else {
            return Ok(None);
        };
        let fits = match name {
            "MaxPool" => !node.outs.get(1).is_some_and(|&v| self.g.is_used(v)),
            "Resize" => {
                let inside = "coordinate_transformation_mode";
                attrs.str("mode", "nearest") == "nearest"
                    && attrs.str(inside, "half_pixel") != "tf_crop_and_resize"
            }
            "Pad" => {
                let like = Real {
                    q: inner,
                    dtype: t.dtype,
                    scale: vec![t.scale],
                    zero: vec![t.zero],
                    axis: 0,
                    node: n,
                };
                self.pads(&mut ins, &attrs, &like, t.zero)
            }
            _ => PLAIN.contains(&name),
        };
        let chosen = CHOOSING.contains(&name) && !byte(t.dtype);
        if !fits || chosen || !self.alone(inner) {
            return Ok(None);
        }
        let Some(whole) = self.computed(inner, t, n)? else {
            return Ok(None);
        };
        ins[0] = Some(whole);
        let spot = self.spot(n, &[m, n]);
        self.make(name, attrs, &ins, &spot).map(Some)
    }

    /// Real numbers again, by the scales of others.
    fn dequantized(
        &mut self,
        q: ValueId,
        r: &Real,
        axis: Option<usize>,
        spot: &Spot,
    ) -> Result<ValueId> {
        let node = self.g.node(r.node);
        let mut ins = node.ins.clone();
        let mut attrs = node.attrs.clone();
        ins[0] = Some(q);
        if let Some(axis) = axis {
            attrs.set("axis", Attr::Int(axis as i64));
        }
        self.make("DequantizeLinear", attrs, &ins, spot)
    }

    /// Makes what a Pad puts in a whole number: `false` where it is none.
    fn pads(&mut self, ins: &mut Vec<Option<ValueId>>, attrs: &Attrs, r: &Real, zero: i64) -> bool {
        if attrs.str("mode", "constant") != "constant" {
            return true;
        }
        let value = match ins.get(2).copied().flatten() {
            None => Some(f64::from(attrs.float("value", 0.0))),
            Some(v) => self.g.konst(v).and_then(|t| t.get_f64(0)),
        };
        let Some(value) = value else { return false };
        let q = value / r.scale[0] + zero as f64;
        let (lo, hi) = r.dtype.int_range().unwrap_or((0, 255));
        if q != libm::rint(q) || q < lo as f64 || q > hi as f64 {
            return false;
        }
        let v = self.whole(r.dtype, q as i64);
        ins.resize(ins.len().max(3), None);
        ins[2] = Some(v);
        true
    }

    /// Parts of one scale, or of the scale to which the whole is quantized next.
    fn concat(&mut self, n: NodeId) -> Result<bool> {
        let node = self.g.node(n);
        let (ins, out, loc) = (node.ins.clone(), node.outs[0], node.loc.clone());
        let attrs = node.attrs.clone();
        let parts: Option<Vec<Real>> = ins
            .iter()
            .map(|v| {
                Real::of(self.g, (*v)?).filter(|r| byte_or_word(r.dtype) && r.single().is_some())
            })
            .collect();
        let Some(parts) = parts.filter(|p| !p.is_empty()) else {
            return Ok(false);
        };
        let first = &parts[0];
        let alike =
            |r: &Real| r.dtype == first.dtype && r.scale == first.scale && r.zero == first.zero;
        let spot = Spot { before: n, loc };
        if parts.iter().all(alike) {
            let whole: Vec<_> = parts.iter().map(|r| Some(r.q)).collect();
            let q = self.make("Concat", attrs, &whole, &spot)?;
            let real = self.dequantized(q, first, None, &spot)?;
            self.g.replace_uses(out, real);
            return Ok(true);
        }
        let Some((t, quantize)) = self.destined(out) else {
            return Ok(false);
        };
        let mut whole = vec![];
        let to = Goal {
            t: &t,
            bounds: Bounds::default(),
            spot: &spot,
        };
        for r in &parts {
            whole.push(self.rescaled(r, &to)?);
        }
        let q = self.make("Concat", attrs, &whole, &spot)?;
        // The scales that the QuantizeLinear has, which stands further down, but they are constants.
        let mut own = self.g.node(quantize).ins.clone();
        own[0] = Some(q);
        let real = self.make("DequantizeLinear", Attrs::default(), &own, &spot)?;
        self.g.replace_uses(out, real);
        Ok(true)
    }

    /// How a value is quantized, if that is all that comes of it, however it is moved before.
    fn destined(&self, mut v: ValueId) -> Option<(Target, NodeId)> {
        loop {
            if self.g.is_output(v) {
                return None;
            }
            let users = self.g.users(v);
            let &n = users.first()?;
            if let Some(t) = Target::of(self.g, n) {
                let same = |&m: &NodeId| {
                    Target::of(self.g, m).is_some_and(|o| {
                        o.scale == t.scale && o.zero == t.zero && o.dtype == t.dtype
                    })
                };
                return users.iter().all(same).then_some((t, n));
            }
            let node = self.g.node(n);
            let first = node.ins.first() == Some(&Some(v)) && node.outs.len() == 1;
            if users.len() != 1 || !moves(node.op.name) || node.op.name == "Concat" || !first {
                return None;
            }
            v = node.outs[0];
        }
    }
}
