//! What support vector machines of ai.onnx.ml share: how near a sample is to a support vector.
//!
//! Kernels, with gamma, coef0 and degree from `kernel_params`: LINEAR x.s, POLY (gamma x.s + coef0)^degree,
//! RBF exp(-gamma |x - s|^2), SIGMOID tanh(gamma x.s + coef0).

use super::axes::fold_n;
use super::util::bad;
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::build::Builder;
use crate::loops::ir::{BinOp, BufId, ExprId, Ty, UnOp};
use crate::op::ReadCx;

const KERNELS: &[&str] = &["LINEAR", "POLY", "RBF", "SIGMOID"];

/// Reads the kernel, and lists of floats that are empty where they are absent.
pub fn read(cx: &mut ReadCx, lists: &[&str]) -> Result<()> {
    cx.keep_str("kernel_type", "LINEAR")?;
    for name in ["kernel_params"].iter().chain(lists) {
        let v = cx.floats(name)?.unwrap_or_default();
        cx.set(name, Attr::Floats(v));
    }
    Ok(())
}

/// Refuses kernels that there are not.
pub fn check(attrs: &Attrs) -> Result<()> {
    if !KERNELS.contains(&attrs.str("kernel_type", "LINEAR")) {
        return bad("`kernel_type` is none of LINEAR, POLY, RBF, SIGMOID");
    }
    Ok(())
}

/// A kernel with its numbers.
pub struct Kernel {
    kind: String,
    /// gamma, coef0, degree.
    params: Vec<f32>,
}

impl Kernel {
    /// Of an operator; `linear`: whatever the attributes say.
    pub fn of(attrs: &Attrs, linear: bool) -> Kernel {
        let mut params = attrs.floats("kernel_params").unwrap_or(&[]).to_vec();
        params.resize(3, 0.0);
        let kind = attrs.str("kernel_type", "LINEAR");
        Kernel {
            kind: if linear { "LINEAR" } else { kind }.to_string(),
            params,
        }
    }

    /// Of sample `row` of input 0 and row `s` of `vectors`, both of `f` features.
    pub fn value(
        &self,
        cx: &mut LowerCx,
        row: ExprId,
        vectors: BufId,
        s: ExprId,
        f: ExprId,
    ) -> Result<ExprId> {
        let zero = cx.b.f(0.0);
        let inner = fold_n(cx, f, zero, |cx, k, sum| {
            let at = ex!(cx.b; (row * f) + k);
            let x = cx.load_flat(0, at)?;
            let x = cx.b.cast(Ty::F32, x);
            let at = ex!(cx.b; (s * f) + k);
            let v = cx.b.load(vectors, at);
            if self.kind == "RBF" {
                let d = cx.b.sub(x, v);
                return Ok(cx.b.fma(d, d, sum));
            }
            Ok(cx.b.fma(x, v, sum))
        })?;
        Ok(self.apply(&mut cx.b, inner))
    }

    /// The value from x.s, or for RBF from |x - s|^2.
    fn apply(&self, b: &mut Builder, inner: ExprId) -> ExprId {
        let p = &self.params;
        let (gamma, coef0, degree) = (b.f(p[0]), b.f(p[1]), b.f(p[2]));
        match self.kind.as_str() {
            "LINEAR" => inner,
            "RBF" => {
                let e = b.mul(gamma, inner);
                let e = b.un(UnOp::Neg, e);
                b.un(UnOp::Exp, e)
            }
            "SIGMOID" => {
                let e = b.fma(gamma, inner, coef0);
                b.un(UnOp::Tanh, e)
            }
            _ => {
                let e = b.fma(gamma, inner, coef0);
                b.bin(BinOp::Pow, e, degree)
            }
        }
    }
}
