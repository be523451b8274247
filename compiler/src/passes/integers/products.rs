//! Convolutions and matrix products.

use super::real::{Bounds, Real, Target};
use super::{Integers, Spot};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::base::tensor::Tensor;
use crate::graph::ir::{NodeId, ValueId};
use crate::ops::quantized::byte;

/// What is added to a sum.
enum Bias {
    None,
    /// Real numbers: one, or one for each channel.
    Real(Vec<f64>),
    /// Whole ones of the sum's own scale, for each channel.
    Whole(ValueId),
}

/// Inputs without the absent ones at the end.
fn present(ins: [Option<ValueId>; 4]) -> Vec<Option<ValueId>> {
    let last = ins.iter().rposition(Option::is_some).map_or(0, |i| i + 1);
    ins[..last].to_vec()
}

impl Integers<'_, '_, '_> {
    /// An operand in bytes.
    fn bytes(&self, v: Option<ValueId>) -> Option<Real> {
        Real::of(self.g, v?).filter(|r| byte(r.dtype))
    }

    /// The largest sum over `k` products, whatever the order; `None`: it may leave an i32. Each factor is a byte less its zero point.
    fn largest(&self, w: &Real, k: i64) -> Option<i64> {
        let least = w.zero.iter().min().copied().unwrap_or(0);
        let most = w.zero.iter().max().copied().unwrap_or(0);
        let weight = match self.g.konst(w.q).and_then(Tensor::to_i64s) {
            Some(w) => (w.iter())
                .map(|w| (w - least).abs().max((w - most).abs()))
                .max()
                .unwrap_or(0),
            None => 255,
        };
        let sum = k.saturating_mul(weight).saturating_mul(255);
        (sum <= i64::from(i32::MAX)).then_some(sum)
    }

    pub(super) fn conv(
        &mut self,
        n: NodeId,
        t: &Target,
        bounds: Bounds,
        spot: &Spot,
    ) -> Result<Option<ValueId>> {
        let node = self.g.node(n);
        let (ins, attrs) = (node.ins.clone(), node.attrs.clone());
        let input = |i: usize| ins.get(i).copied().flatten();
        let plain = attrs.str("activation", "").is_empty() && input(3).is_none();
        let (Some(x), Some(w)) = (self.bytes(input(0)), self.bytes(input(1))) else {
            return Ok(None);
        };
        let bias = match input(2) {
            None => Bias::None,
            Some(v) => match self.known(v) {
                Some(values) => Bias::Real(values),
                None => return Ok(None),
            },
        };
        if !plain || !self.alone(node.outs[0]) {
            return Ok(None);
        }
        self.convolution(&attrs, &x, &w, bias, t, bounds, spot)
    }

    /// A convolution of numbers `x` with weights `w`.
    #[allow(clippy::too_many_arguments)]
    fn convolution(
        &mut self,
        attrs: &Attrs,
        x: &Real,
        w: &Real,
        bias: Bias,
        t: &Target,
        bounds: Bounds,
        spot: &Spot,
    ) -> Result<Option<ValueId>> {
        let shape = self.g.ty(w.q).and_then(|t| t.fixed_shape());
        let (Some(shape), Some((xs, xz))) = (shape.filter(|s| s.len() > 1), x.single()) else {
            return Ok(None);
        };
        let k: i64 = shape[1..].iter().product();
        let Some(most) = self
            .largest(w, k)
            .filter(|_| w.scale.len() == 1 || w.axis == 0)
        else {
            return Ok(None);
        };
        let mut per_channel = vec![1; shape.len() - 1];
        per_channel[0] = shape[0];
        let mut own = Attrs::default();
        for name in [
            "strides",
            "pads",
            "dilations",
            "group",
            "auto_pad",
            "kernel_shape",
        ] {
            if let Some(a) = attrs.get(name) {
                own.set(name, a.clone());
            }
        }
        let xz = self.zero(x.dtype, xz);
        let ins = present([Some(x.q), Some(w.q), xz, self.zeros(w)]);
        let sum = self.make("ConvInteger", own, &ins, spot)?;
        let m = self.multiplier(xs, w, &per_channel, t);
        self.with_bias(sum, most, m, bias, &per_channel, t, bounds, spot)
    }

    /// A MatMul or Gemm, with what is added to it (a constant value) where that stands behind it.
    pub(super) fn matmul(
        &mut self,
        n: NodeId,
        added: Option<ValueId>,
        t: &Target,
        bounds: Bounds,
        spot: &Spot,
    ) -> Result<Option<ValueId>> {
        let node = self.g.node(n);
        let (ins, attrs) = (node.ins.clone(), node.attrs.clone());
        let input = |i: usize| ins.get(i).copied().flatten();
        let gemm = node.op.name == "Gemm";
        let scaled = gemm
            && (attrs.float("alpha", 1.0) != 1.0
                || (attrs.float("beta", 1.0) != 1.0 && input(2).is_some()));
        let flag = |a: &str, b: &str| gemm && (attrs.flag(a) || attrs.flag(b));
        let (ta, tb) = (flag("transA", "trans_a"), flag("transB", "trans_b"));
        let (Some(a), Some(mut b)) = (self.bytes(input(0)), self.bytes(input(1))) else {
            return Ok(None);
        };
        if scaled || ta || !self.alone(node.outs[0]) {
            return Ok(None);
        }
        let bias = match (added, input(2).filter(|_| gemm)) {
            (None, None) => Bias::None,
            (Some(v), None) | (None, Some(v)) => match self.known(v) {
                Some(values) => Bias::Real(values),
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        if tb {
            if b.scale.len() > 1 {
                b.axis = 1 - b.axis.min(1);
            }
            let perm = Attrs::default().with("perm", Attr::Ints(vec![1, 0]));
            b.q = self.make("Transpose", perm, &[Some(b.q)], spot)?;
        }
        self.multiplication(&a, &b, bias, t, bounds, spot)
    }

    /// A product of matrices of numbers.
    fn multiplication(
        &mut self,
        a: &Real,
        b: &Real,
        bias: Bias,
        t: &Target,
        bounds: Bounds,
        spot: &Spot,
    ) -> Result<Option<ValueId>> {
        let shape = |l: &Self, r: &Real| l.g.ty(r.q).map(|t| t.shape.clone()).unwrap_or_default();
        let (sa, sb) = (shape(self, a), shape(self, b));
        let Some((scale, za)) = a.single().filter(|_| sa.len() >= 2 && sb.len() >= 2) else {
            return Ok(None);
        };
        let columns = sb.len() - 1;
        let (Some(k), Some(n)) = (sb[columns - 1].fixed(), sb[columns].fixed()) else {
            return Ok(None);
        };
        let along = b.scale.len() == 1 || (b.axis == columns && sb.len() == 2);
        let Some(most) = self.largest(b, k).filter(|_| along) else {
            return Ok(None);
        };
        let za = self.zero(a.dtype, za);
        let ins = present([Some(a.q), Some(b.q), za, self.zeros(b)]);
        let sum = self.make("MatMulInteger", Attrs::default(), &ins, spot)?;
        let m = self.multiplier(scale, b, &[n], t);
        self.with_bias(sum, most, m, bias, &[n], t, bounds, spot)
    }

    /// QLinearConv and QLinearMatMul, whose bias is in whole numbers.
    pub(super) fn qlinear(&mut self, n: NodeId) -> Result<Option<ValueId>> {
        let node = self.g.node(n);
        let (ins, attrs, name) = (node.ins.clone(), node.attrs.clone(), node.op.name);
        let input = |i: usize| ins.get(i).copied().flatten();
        let Some(dtype) = self.g.ty(node.outs[0]).map(|t| t.dtype) else {
            return Ok(None);
        };
        let conv = name == "QLinearConv";
        let rank = |l: &Self, i: usize| input(i).and_then(|v| l.g.ty(v)).map_or(0, |t| t.rank());
        // Scales of weights lie along output channels, those of a product along rows and columns.
        let axes = match conv {
            true => (0, 0),
            false => (
                rank(self, 0).saturating_sub(2),
                rank(self, 3).saturating_sub(1),
            ),
        };
        let x = Real::given(self.g, [input(0), input(1), input(2)], axes.0, n);
        let w = Real::given(self.g, [input(3), input(4), input(5)], axes.1, n);
        let t = input(6).and_then(|s| Target::given(self.g, s, input(7), dtype));
        let (Some(x), Some(w), Some(t)) = (x, w, t) else {
            return Ok(None);
        };
        let spot = self.spot(n, &[n]);
        let open = Bounds::default();
        match conv {
            true => {
                let bias = input(8).map_or(Bias::None, Bias::Whole);
                self.convolution(&attrs, &x, &w, bias, &t, open, &spot)
            }
            false => self.multiplication(&x, &w, Bias::None, &t, open, &spot),
        }
    }

    /// A sum, `most` at its largest, and its bias as the target's numbers. `shape`: that of one number for each channel.
    #[allow(clippy::too_many_arguments)]
    fn with_bias(
        &mut self,
        sum: ValueId,
        most: i64,
        m: ValueId,
        bias: Bias,
        shape: &[i64],
        t: &Target,
        bounds: Bounds,
        spot: &Spot,
    ) -> Result<Option<ValueId>> {
        let channels: i64 = shape.iter().product();
        let mut most = most as f64;
        let (sum, offset) = match bias {
            Bias::None => (sum, None),
            Bias::Real(values) => {
                let all: Vec<f64> = values.iter().map(|b| b / t.scale).collect();
                let shape: &[i64] = match all.len() {
                    1 => &[],
                    n if n as i64 == channels => shape,
                    _ => return Ok(None),
                };
                (sum, Some(self.reals(shape, &all)))
            }
            Bias::Whole(v) => {
                let own = self.g.konst(v).and_then(|t| t.to_f64s());
                most += own.map_or(f64::INFINITY, |b| {
                    b.iter().fold(0.0, |a: f64, b| a.max(b.abs()))
                });
                let list = self
                    .g
                    .add_const("", Tensor::i64(&[shape.len() as i64], shape));
                let v = self.make("Reshape", Attrs::default(), &[Some(v), Some(list)], spot)?;
                (
                    self.make("Add", Attrs::default(), &[Some(sum), Some(v)], spot)?,
                    None,
                )
            }
        };
        self.requantize(sum, 0, most, m, offset, t, bounds, spot)
            .map(Some)
    }

    /// Zero points of weights; none where all are 0.
    fn zeros(&mut self, w: &Real) -> Option<ValueId> {
        w.zero.iter().any(|&z| z != 0).then(|| {
            let all: Vec<f64> = w.zero.iter().map(|&z| z as f64).collect();
            let shape: &[i64] = match all.len() {
                1 => &[],
                n => &[n as i64],
            };
            self.g
                .add_const("", Tensor::from_f64s(w.dtype, shape, &all))
        })
    }

    /// What a sum of products is worth in steps of the target, for each channel (their axis in `shape`) or for all.
    fn multiplier(&mut self, x: f64, w: &Real, shape: &[i64], t: &Target) -> ValueId {
        let all: Vec<f64> = w.scale.iter().map(|w| x * w / t.scale).collect();
        match all.len() {
            1 => self.reals(&[], &all),
            _ => self.reals(shape, &all),
        }
    }

    /// Real numbers of a constant, dequantized or not.
    pub(super) fn known(&self, v: ValueId) -> Option<Vec<f64>> {
        if let Some(r) = Real::of(self.g, v) {
            return r.values(self.g);
        }
        let t = self.g.konst(v)?;
        (t.dtype.is_float()).then(|| t.to_f64s()).flatten()
    }
}
