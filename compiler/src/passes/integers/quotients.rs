//! Quotients and lengths of vectors of quantized numbers: exact whole numbers, then double precision, rounded once. Division and square root are rounded
//! alike on every machine, and no step is contracted with another.

use super::real::Real;
use super::{Goal, Integers, Spot};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::base::rounding::Rounding;
use crate::base::tensor::Tensor;
use crate::graph::ir::{NodeId, ValueId};
use crate::ops::quantized::byte;

/// Elements of a vector at most: the squares of so many bytes fit an i32.
const LONGEST: i64 = i32::MAX as i64 / (255 * 255);

impl Integers<'_, '_, '_> {
    /// Numbers less their zero point, as another type.
    fn centred(&mut self, r: &Real, to: DType, spot: &Spot) -> Result<ValueId> {
        let wide = self.cast(r.q, DType::I32, spot)?;
        let v = match r.zero[0] {
            0 => wide,
            z => {
                let z = self.whole(DType::I32, z);
                self.step("Sub", &[wide, z], spot)?
            }
        };
        if to == DType::I32 {
            Ok(v)
        } else {
            self.cast(v, to, spot)
        }
    }
    fn step(&mut self, op: &str, ins: &[ValueId], spot: &Spot) -> Result<ValueId> {
        let ins: Vec<_> = ins.iter().copied().map(Some).collect();
        self.make(op, Attrs::default(), &ins, spot)
    }
    fn cast(&mut self, v: ValueId, to: DType, spot: &Spot) -> Result<ValueId> {
        let attrs = Attrs::default()
            .with("to", Attr::Type(to))
            .with("saturate", Attr::Int(1))
            .with("round_mode", Attr::Str("up".into()));
        self.make("Cast", attrs, &[Some(v)], spot)
    }
    /// An f64 in steps of the target as the target's numbers.
    fn finished(&mut self, v: ValueId, to: &Goal) -> Result<ValueId> {
        let Goal { t, bounds, spot } = *to;
        let (lo, hi) = t.limits(bounds, self.cx.rounding);
        let [lo, hi] = [lo, hi].map(|b| self.reals(&[], &[(b - t.zero) as f64]));
        let v = self.make(
            "Clip",
            Attrs::default(),
            &[Some(v), Some(lo), Some(hi)],
            spot,
        )?;
        // The bounds are whole numbers: rounding stays within them.
        let v = match self.cx.rounding {
            Rounding::Even => self.step("Round", &[v], spot)?,
            Rounding::Up => {
                let half = self.reals(&[], &[0.5]);
                let v = self.step("Add", &[v, half], spot)?;
                self.step("Floor", &[v], spot)?
            }
        };
        let mut v = self.cast(v, DType::I32, spot)?;
        if t.zero != 0 {
            let z = self.whole(DType::I32, t.zero);
            v = self.step("Add", &[v, z], spot)?;
        }
        self.cast(v, t.dtype, spot)
    }

    /// Div of two quantized values. What is divided by 0 becomes the largest or least number, 0 itself stays 0.
    pub(super) fn quotient(&mut self, n: NodeId, to: &Goal) -> Result<Option<ValueId>> {
        let Goal { t, spot, .. } = *to;
        let node = self.g.node(n);
        let (&[Some(a), Some(b)], true) = (&node.ins[..], self.alone(node.outs[0])) else {
            return Ok(None);
        };
        let find = |l: &Self, v: ValueId| Real::of(l.g, v).filter(|r| byte(r.dtype));
        let (Some(x), Some(y)) = (find(self, a), find(self, b)) else {
            return Ok(None);
        };
        let (Some((sx, _)), Some((sy, _))) = (x.single(), y.single()) else {
            return Ok(None);
        };
        // By itself it is a function of one number, and by a constant a line.
        if x.q == y.q || self.g.konst(y.q).is_some() {
            return Ok(None);
        }
        let above = self.centred(&x, DType::F64, spot)?;
        let below = self.centred(&y, DType::F64, spot)?;
        let m = self.reals(&[], &[sx / (sy * t.scale)]);
        let scaled = self.step("Mul", &[above, m], spot)?;
        let quotient = self.step("Div", &[scaled, below], spot)?;
        let nought = self.reals(&[], &[0.0]);
        let none = self.step("Equal", &[above, nought], spot)?;
        let v = self.step("Where", &[none, nought, quotient], spot)?;
        self.finished(v, to).map(Some)
    }

    /// ReduceL2 of bytes.
    pub(super) fn length(&mut self, n: NodeId, to: &Goal) -> Result<Option<ValueId>> {
        let Goal { t, spot, .. } = *to;
        let node = self.g.node(n);
        let keep = node.attrs.int("keepdims", 1);
        let found = Real::of_first(self.g, n);
        let Some((r, scale)) = found.and_then(|r| r.single().map(|(s, _)| (r, s))) else {
            return Ok(None);
        };
        let Some(shape) = self.g.ty(r.q).and_then(|t| t.fixed_shape()) else {
            return Ok(None);
        };
        let Some(axes) = self.axes(n, shape.len())? else {
            return Ok(None);
        };
        let count: i64 = axes.iter().map(|&a| shape[a]).product();
        if !self.alone(self.g.node(n).outs[0]) || !(1..=LONGEST).contains(&count) {
            return Ok(None);
        }
        let x = self.centred(&r, DType::I32, spot)?;
        let squares = self.step("Mul", &[x, x], spot)?;
        let axes: Vec<i64> = axes.iter().map(|&a| a as i64).collect();
        let axes = self
            .g
            .add_const("", Tensor::i64(&[axes.len() as i64], &axes));
        let own = Attrs::default().with("keepdims", Attr::Int(keep));
        let sum = self.make("ReduceSum", own, &[Some(squares), Some(axes)], spot)?;
        let sum = self.cast(sum, DType::F64, spot)?;
        let root = self.step("Sqrt", &[sum], spot)?;
        let m = self.reals(&[], &[scale / t.scale]);
        let v = self.step("Mul", &[root, m], spot)?;
        self.finished(v, to).map(Some)
    }
}
