//! What whole numbers stand for, as DequantizeLinear and QuantizeLinear say it.

use crate::base::dtype::DType;
use crate::base::rounding::Rounding;
use crate::graph::ir::{Graph, Node, NodeId, ValueId};
use crate::op::resolve_axis;
use crate::ops::quantized::{byte, byte_or_word};

/// Real numbers as whole ones: `scale * (q - zero)`, of one scale or one for each index of an axis.
#[derive(Clone, Debug)]
pub struct Real {
    /// The whole numbers.
    pub q: ValueId,
    /// Their type.
    pub dtype: DType,
    /// Scales, in f64 what the file has.
    pub scale: Vec<f64>,
    /// As many zero points.
    pub zero: Vec<i64>,
    /// The axis, where there are several.
    pub axis: usize,
    /// The DequantizeLinear.
    pub node: NodeId,
}

impl Real {
    /// The numbers behind a value that a DequantizeLinear of constants makes; not blocked ones.
    pub fn of(g: &Graph, v: ValueId) -> Option<Real> {
        let (n, 0) = g.maker(v)? else { return None };
        let node = g.node(n);
        if node.op.name != "DequantizeLinear" {
            return None;
        }
        if node.attrs.int("block_size", 0) != 0 {
            return None;
        }
        let input = |i: usize| node.ins.get(i).copied().flatten();
        let rank = g.ty(input(0)?)?.rank();
        let axis = resolve_axis(node.attrs.int("axis", 1), rank).unwrap_or(0);
        Real::given(g, [input(0), input(1), input(2)], axis, n)
    }
    /// What the first operand of a node is, where that is bytes.
    pub fn of_first(g: &Graph, n: NodeId) -> Option<Real> {
        let x = g.node(n).ins.first().copied().flatten()?;
        Real::of(g, x).filter(|r| byte(r.dtype))
    }
    /// Numbers, their scales and zero points as inputs of node `n` say them.
    pub fn given(
        g: &Graph,
        [q, scale, zero]: [Option<ValueId>; 3],
        axis: usize,
        n: NodeId,
    ) -> Option<Real> {
        let q = q?;
        let ty = g.ty(q)?;
        if !byte_or_word(ty.dtype) && ty.dtype != DType::I32 {
            return None;
        }
        let (scale, zero) = numbers(g, scale?, zero)?;
        Some(Real {
            q,
            dtype: ty.dtype,
            axis: if scale.len() == 1 { 0 } else { axis },
            scale,
            zero,
            node: n,
        })
    }
    /// Scale and zero point where there is one of each.
    pub fn single(&self) -> Option<(f64, i64)> {
        (self.scale.len() == 1).then(|| (self.scale[0], self.zero[0]))
    }
    /// The largest that one less its zero point can be.
    pub fn most(&self) -> f64 {
        let (lo, hi) = self.dtype.int_range().unwrap_or((0, 255));
        (hi - lo) as f64
    }
    /// The numbers themselves, where they are constants.
    pub fn values(&self, g: &Graph) -> Option<Vec<f64>> {
        let t = g.konst(self.q)?;
        let inner: i64 = t.shape.get(self.axis + 1..).unwrap_or(&[]).iter().product();
        let all = t.to_i64s()?.into_iter().enumerate();
        let value = |(i, q): (usize, i64)| {
            let c = i / inner.max(1) as usize % self.scale.len();
            (q - self.zero[c]) as f64 * self.scale[c]
        };
        Some(all.map(value).collect())
    }
}

/// Scales and zero points, if they are constants, finite and above 0.
fn numbers(g: &Graph, scale: ValueId, zero: Option<ValueId>) -> Option<(Vec<f64>, Vec<i64>)> {
    let scale = g.konst(scale)?.to_f64s()?;
    let zero = match zero {
        None => vec![0; scale.len()],
        Some(z) => g.konst(z)?.to_i64s()?,
    };
    let usable = scale.iter().all(|s| s.is_finite() && *s > 0.0);
    (usable && !scale.is_empty() && scale.len() == zero.len()).then_some((scale, zero))
}

/// What a QuantizeLinear makes.
#[derive(Clone, Debug)]
pub struct Target {
    /// Scale, zero point and type of the numbers.
    pub scale: f64,
    #[allow(missing_docs)]
    pub zero: i64,
    #[allow(missing_docs)]
    pub dtype: DType,
}

impl Target {
    /// Of a node with one scale.
    pub fn of(g: &Graph, n: NodeId) -> Option<Target> {
        let node = g.node(n);
        let float = g.ty((*node.ins.first()?)?)?.dtype.is_float();
        let plain = node.attrs.int("block_size", 0) == 0 && node.attrs.dtype("precision").is_none();
        if node.op.name != "QuantizeLinear" || !float || !plain {
            return None;
        }
        let dtype = g.ty(*node.outs.first()?)?.dtype;
        Target::given(
            g,
            (*node.ins.get(1)?)?,
            node.ins.get(2).copied().flatten(),
            dtype,
        )
    }
    /// One scale and zero point as a node's inputs say them.
    pub fn given(g: &Graph, scale: ValueId, zero: Option<ValueId>, dtype: DType) -> Option<Target> {
        let (scale, zero) = numbers(g, scale, zero)?;
        (scale.len() == 1 && byte_or_word(dtype)).then(|| Target {
            scale: scale[0],
            zero: zero[0],
            dtype,
        })
    }
    /// Least and largest number of the type.
    pub fn range(&self) -> (i64, i64) {
        let (lo, hi) = self.dtype.int_range().unwrap_or((0, 255));
        (lo as i64, hi as i64)
    }
    /// The number that a real one becomes.
    pub fn number(&self, real: f64, rounding: Rounding) -> i64 {
        let v = rounding.whole(real / self.scale);
        let (lo, hi) = self.range();
        (v + self.zero as f64).clamp(lo as f64, hi as f64) as i64
    }
    /// What of the range real bounds leave.
    pub fn limits(&self, b: Bounds, rounding: Rounding) -> (i64, i64) {
        (self.number(b.lo, rounding), self.number(b.hi, rounding))
    }
}

/// Real bounds: what Relu and Clip allow. Rounding never lets numbers pass each other, so they can be kept after it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Bounds {
    lo: f64,
    hi: f64,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            lo: f64::NEG_INFINITY,
            hi: f64::INFINITY,
        }
    }
}

impl Bounds {
    /// The least and the largest.
    pub fn ends(self) -> (f64, f64) {
        (self.lo, self.hi)
    }
    /// Of a Relu, of a Clip with constant bounds, or of a Max or Min with one constant.
    pub fn of(g: &Graph, node: &Node) -> Option<Bounds> {
        let open = Bounds::default();
        match node.op.name {
            "Relu" => Some(Bounds { lo: 0.0, ..open }),
            "Clip" => {
                let bound = |i: usize, none: f64| match node.ins.get(i).copied().flatten() {
                    None => Some(none),
                    Some(v) => g.konst(v).filter(|t| t.len() == 1)?.get_f64(0),
                };
                let b = Bounds {
                    lo: bound(1, open.lo)?,
                    hi: bound(2, open.hi)?,
                };
                (b.lo <= b.hi).then_some(b)
            }
            // The constant stands behind: `through_clamps` goes on with the first input.
            "Max" | "Min" if node.ins.len() == 2 => {
                let limit = g.konst(node.ins[1]?).filter(|t| t.len() == 1)?;
                let rank = |v: ValueId| g.ty(v).map_or(0, |t| t.rank());
                let limit = limit.get_f64(0).filter(|v| {
                    !v.is_nan() && rank(node.ins[0].unwrap_or(node.outs[0])) == rank(node.outs[0])
                })?;
                Some(match node.op.name {
                    "Max" => Bounds { lo: limit, ..open },
                    _ => Bounds { hi: limit, ..open },
                })
            }
            _ => None,
        }
    }
    /// These first, then others.
    pub fn then(self, after: Bounds) -> Bounds {
        Bounds {
            lo: self.lo.clamp(after.lo, after.hi),
            hi: self.hi.clamp(after.lo, after.hi),
        }
    }
}
