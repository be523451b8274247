//! What convolution and matrix product do to a sum before they store it: the activation of the fused operators.

use crate::base::attr::Attrs;
use crate::base::diag::{Diagnostic, Result};
use crate::ex;
use crate::loops::build::Builder;
use crate::loops::ir::{BinOp, ExprId, UnOp};

/// Activations that [`activate`] knows, with the defaults of `alpha` and `beta`.
pub const ACTIVATIONS: &[(&str, f32, f32)] = &[
    ("Relu", 0.0, 0.0),
    ("LeakyRelu", 0.01, 0.0),
    ("Clip", f32::MIN, f32::MAX),
    ("Tanh", 0.0, 0.0),
    ("Sigmoid", 0.0, 0.0),
    ("HardSigmoid", 0.2, 0.5),
    ("Elu", 1.0, 0.0),
    ("Affine", 1.0, 0.0),
    ("ThresholdedRelu", 1.0, 0.0),
    ("ScaledTanh", 1.0, 1.0),
    ("Softsign", 0.0, 0.0),
    ("Softplus", 0.0, 0.0),
];

/// One activation with its numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Activation {
    /// A name of [`ACTIVATIONS`].
    pub name: &'static str,
    /// First number.
    pub alpha: f32,
    /// Second number.
    pub beta: f32,
}

impl Activation {
    /// By ONNX name (any case), with its defaults.
    pub fn of(name: &str) -> Result<Activation> {
        ACTIVATIONS
            .iter()
            .find(|a| a.0.eq_ignore_ascii_case(name))
            .map(|&(name, alpha, beta)| Activation { name, alpha, beta })
            .ok_or_else(|| {
                Diagnostic::unsupported("ONNX008", format!("the activation {name} is not known"))
            })
    }
    /// Of a contract's attributes `activation`, `activation_params`, if there.
    pub fn of_attrs(attrs: &Attrs) -> Result<Option<Activation>> {
        let name = attrs.str("activation", "");
        if name.is_empty() {
            return Ok(None);
        }
        let mut a = Activation::of(name)?;
        let p = attrs.floats("activation_params").unwrap_or(&[]);
        if let Some(v) = p.first() {
            a.alpha = *v;
        }
        if let Some(v) = p.get(1) {
            a.beta = *v;
        }
        Ok(Some(a))
    }
    /// The activated value.
    pub fn apply(&self, b: &mut Builder, x: ExprId) -> ExprId {
        let ty = b.ty(x);
        let alpha = b.num(ty, f64::from(self.alpha));
        let beta = b.num(ty, f64::from(self.beta));
        let zero = b.num(ty, 0.0);
        match self.name {
            "Relu" => b.max(zero, x),
            "LeakyRelu" => ex!(b; select((x < zero), (x * alpha), x)),
            "Clip" => {
                let v = b.max(alpha, x);
                b.min(beta, v)
            }
            "Tanh" => b.un(UnOp::Tanh, x),
            "Sigmoid" => b.un(UnOp::Sigmoid, x),
            "HardSigmoid" => {
                let v = ex!(b; (x * alpha) + beta);
                let one = b.num(ty, 1.0);
                let v = b.max(zero, v);
                b.min(one, v)
            }
            "Elu" => {
                let e = b.un(UnOp::Expm1, x);
                ex!(b; select((x < zero), (e * alpha), x))
            }
            "Affine" => ex!(b; (x * alpha) + beta),
            "ThresholdedRelu" => ex!(b; select((alpha < x), x, zero)),
            "ScaledTanh" => {
                let t = ex!(b; x * beta);
                let t = b.un(UnOp::Tanh, t);
                b.mul(t, alpha)
            }
            "Softsign" => {
                let a = b.un(UnOp::Abs, x);
                ex!(b; x / (a + 1.0))
            }
            "Softplus" => softplus(b, x),
            _ => x,
        }
    }
}

/// ln(1 + e^x) without overflow: max(x, 0) + log1p(exp(-|x|)).
pub fn softplus(b: &mut Builder, x: ExprId) -> ExprId {
    let ty = b.ty(x);
    let zero = b.num(ty, 0.0);
    let a = b.un(UnOp::Abs, x);
    let n = b.un(UnOp::Neg, a);
    let e = b.un(UnOp::Exp, n);
    let l = b.un(UnOp::Log1p, e);
    let m = b.bin(BinOp::Max, zero, x);
    b.add(m, l)
}
