//! Convolutions and matrix products.

use super::real::{Bounds, Real, Target};
use super::{Goal, Integers, Spot};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::base::tensor::Tensor;
use crate::graph::ir::{Graph, Loc, NodeId, ValueId};
use crate::ops::quantized::byte;

/// What becomes of a product behind its bias: LeakyRelu or PRelu, if there are slopes, then bounds, then numbers of a target.
pub(super) struct End<'a> {
    pub t: &'a Target,
    pub bounds: Bounds,
    /// What negative results are multiplied by: none, one number, or one for each channel.
    pub slopes: Vec<f64>,
}

impl<'a> End<'a> {
    /// Without slopes.
    pub fn straight(t: &'a Target, bounds: Bounds) -> End<'a> {
        let slopes = vec![];
        End { t, bounds, slopes }
    }
}

/// What is added to a sum.
pub(super) enum Bias {
    None,
    /// Real numbers: one, or one for each channel.
    Real(Vec<f64>),
    /// Whole ones of the sum's own scale, for each channel.
    Whole(ValueId),
}

/// Slopes of a LeakyRelu or PRelu that are known, finite, and one for all or one for each channel (axis 1), or column (the last axis).
pub fn slopes(g: &Graph, n: NodeId, channels: bool) -> Option<Vec<f64>> {
    let node = g.node(n);
    let out = g.ty(node.outs[0])?;
    let rank = out.shape.len();
    let all = match node.op.name {
        "LeakyRelu" => vec![f64::from(node.attrs.float("alpha", 0.01))],
        "PRelu" => {
            let t = g.konst((*node.ins.get(1)?)?)?;
            let axis = if channels { 1 } else { rank.checked_sub(1)? };
            let along = |(i, d): (usize, &i64)| *d == 1 || i + rank == axis + t.shape.len();
            if t.len() > 1 && !t.shape.iter().enumerate().all(along) {
                return None;
            }
            t.to_f64s()?
        }
        _ => return None,
    };
    (!all.is_empty() && all.iter().all(|s| s.is_finite())).then_some(all)
}

/// Inputs without the absent ones at the end.
fn present(ins: [Option<ValueId>; 4]) -> Vec<Option<ValueId>> {
    let last = ins.iter().rposition(Option::is_some).map_or(0, |i| i + 1);
    ins[..last].to_vec()
}

impl Integers<'_, '_, '_> {
    /// An operand in bytes.
    pub(super) fn bytes(&self, v: Option<ValueId>) -> Option<Real> {
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

    pub(super) fn conv(&mut self, n: NodeId, end: &End, spot: &Spot) -> Result<Option<ValueId>> {
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
        self.convolution(&attrs, &x, &w, bias, end, spot)
    }

    /// A convolution of numbers `x` with weights `w`.
    pub(super) fn convolution(
        &mut self,
        attrs: &Attrs,
        x: &Real,
        w: &Real,
        bias: Bias,
        end: &End,
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
        let m = self.multiplier(xs, w, &per_channel, end.t);
        self.with_bias(sum, most, m, bias, &per_channel, end, spot)
    }

    /// A MatMul or Gemm, with what is added to it (a constant value) where that stands behind it.
    pub(super) fn matmul(
        &mut self,
        n: NodeId,
        added: Option<ValueId>,
        end: &End,
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
        self.multiplication(&a, &b, bias, end, spot)
    }

    /// A product of matrices of numbers.
    fn multiplication(
        &mut self,
        a: &Real,
        b: &Real,
        bias: Bias,
        end: &End,
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
        let m = self.multiplier(scale, b, &[n], end.t);
        self.with_bias(sum, most, m, bias, &[n], end, spot)
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
        let end = End::straight(&t, Bounds::default());
        match conv {
            true => {
                let bias = input(8).map_or(Bias::None, Bias::Whole);
                self.convolution(&attrs, &x, &w, bias, &end, &spot)
            }
            false => self.multiplication(&x, &w, Bias::None, &end, &spot),
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
        end: &End,
        spot: &Spot,
    ) -> Result<Option<ValueId>> {
        let channels: i64 = shape.iter().product();
        let mut most = most as f64;
        let (sum, offset) = match bias {
            Bias::None => (sum, None),
            Bias::Real(values) => {
                let all: Vec<f64> = values.iter().map(|b| b / end.t.scale).collect();
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
        if !end.slopes.is_empty() {
            return self.bent(sum, most, [Some(m), offset], shape, end, spot);
        }
        let to = Goal {
            t: end.t,
            bounds: end.bounds,
            spot,
        };
        self.requantize(sum, 0, most, m, offset, &to).map(Some)
    }

    /// A sum, `most` at its largest, whose negative values have slopes. `line`: multiplier and offset of the others.
    fn bent(
        &mut self,
        sum: ValueId,
        most: f64,
        line: [Option<ValueId>; 2],
        shape: &[i64],
        end: &End,
        spot: &Spot,
    ) -> Result<Option<ValueId>> {
        let values = |l: &Self, v: Option<ValueId>| v.and_then(|v| l.g.konst(v)?.to_f64s());
        let channels = shape.iter().product::<i64>() as usize;
        if ![1, channels].contains(&end.slopes.len()) {
            return Ok(None);
        }
        let [m, offset] = line.map(|v| values(self, v));
        let Some(m) = m else { return Ok(None) };
        let sloped = |l: &mut Self, values: &[f64]| {
            let n = values.len().max(end.slopes.len());
            let all: Vec<f64> = (0..n)
                .map(|c| values[c % values.len()] * end.slopes[c % end.slopes.len()])
                .collect();
            l.reals(if n == 1 { &[] } else { shape }, &all)
        };
        let largest = |v: &[f64]| v.iter().fold(0.0, |a: f64, v| a.max(v.abs()));
        let steep = largest(&end.slopes).max(1.0);
        let bound = most * largest(&m) + offset.as_deref().map_or(0.0, largest);
        let mut attrs = self.finishing(end.t, end.bounds);
        super::promise(&mut attrs, bound * steep);
        let mut ins = vec![Some(sum), line[0], Some(sloped(self, &m))];
        if let Some(offset) = offset {
            ins.extend([line[1], Some(sloped(self, &offset))]);
        }
        self.make("RescaledPRelu", attrs, &ins, spot).map(Some)
    }

    /// A LeakyRelu or PRelu right behind a product with weights, which no scale of its own parts from it.
    pub(super) fn sloped(&mut self, n: NodeId, to: &Goal) -> Result<Option<ValueId>> {
        let Goal { t, bounds, spot } = *to;
        let node = self.g.node(n);
        let Some(Some(x)) = node.ins.first().copied() else {
            return Ok(None);
        };
        let (Some((m, 0)), true) = (self.g.maker(x), self.alone(node.outs[0])) else {
            return Ok(None);
        };
        let product = self.g.node(m).op.name;
        let channels = ["Conv", "ConvTranspose"].contains(&product);
        let Some(slopes) = slopes(self.g, n, channels) else {
            return Ok(None);
        };
        let end = End { t, bounds, slopes };
        let spot = Spot {
            loc: Loc::join([&self.g.node(m).loc, &spot.loc]),
            before: spot.before,
        };
        match product {
            "Conv" => self.conv(m, &end, &spot),
            "ConvTranspose" => self.conv_transpose(m, &end, &spot),
            "MatMul" | "Gemm" => self.matmul(m, None, &end, &spot),
            "Add" if self.alone(x) => self.biased(m, &end, &spot),
            _ => Ok(None),
        }
    }

    /// A matrix product and what an Add, whose operands are in either order, adds to its columns.
    pub(super) fn biased(&mut self, n: NodeId, end: &End, spot: &Spot) -> Result<Option<ValueId>> {
        let node = self.g.node(n);
        let [Some(a), Some(b)] = node.ins[..] else {
            return Ok(None);
        };
        let shape = |v: ValueId| self.g.ty(v).map(|t| &t.shape);
        for (x, bias) in [(a, b), (b, a)] {
            if self.known(bias).is_none() || shape(x) != shape(node.outs[0]) {
                continue;
            }
            if let Some((m, 0)) = self.g.maker(x)
                && ["MatMul", "Gemm"].contains(&self.g.node(m).op.name)
            {
                let spot = self.spot(spot.before, &[m, n, spot.before]);
                return self.matmul(m, Some(bias), end, &spot);
            }
        }
        Ok(None)
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
