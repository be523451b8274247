//! What an expansion writes with.

use crate::base::attr::{Attr, Attrs};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::base::types::TensorType;
use crate::graph::ir::{Loc, ValueId};
use crate::onnx::attrs::NodeAttrs;
use crate::onnx::import::Importer;
use crate::onnx::node::Call;
use crate::onnx::scope::Binding;
use crate::op::{LATEST, ReadCx};

/// One call being spelled out.
pub struct ExpandCx<'a, 'm> {
    /// Reads the attributes.
    pub attrs: ReadCx<'a>,
    /// Inputs; trailing absent ones are left out.
    pub ins: Vec<Option<ValueId>>,
    /// Number of outputs.
    pub num_outputs: usize,
    im: &'a mut Importer<'m>,
    loc: Loc,
    outs: Vec<Option<ValueId>>,
}

impl<'a, 'm> ExpandCx<'a, 'm> {
    /// For one call.
    pub fn new(
        im: &'a mut Importer<'m>,
        call: &'a Call<'a, 'm>,
        ins: Vec<Option<ValueId>>,
    ) -> Self {
        ExpandCx {
            attrs: ReadCx::new(
                call.op,
                call.opset,
                &call.attrs.plain,
                call.given(),
                call.outs,
            ),
            ins,
            num_outputs: call.outs,
            im,
            loc: call.loc.clone(),
            outs: vec![None; call.outs],
        }
    }

    /// Input `i`, if given.
    pub fn opt(&self, i: usize) -> Option<ValueId> {
        self.ins.get(i).copied().flatten()
    }
    /// Input `i`, which must be given.
    pub fn input(&self, i: usize) -> Result<ValueId> {
        self.opt(i)
            .ok_or_else(|| Diagnostic::model("ONNX009", format!("input {i} is missing")))
    }
    /// Whether output `k` is wanted.
    pub fn wants(&self, k: usize) -> bool {
        k < self.num_outputs
    }
    /// Sets output `k`.
    pub fn set(&mut self, k: usize, v: ValueId) {
        if let Some(o) = self.outs.get_mut(k) {
            *o = Some(v);
        }
    }
    /// Type of a value.
    pub fn ty(&mut self, v: ValueId) -> Result<TensorType> {
        self.im.type_of(v)
    }
    /// Known whole numbers of a value.
    pub fn ints(&mut self, v: ValueId, what: &str) -> Result<Vec<i64>> {
        self.im.ints_of(v).ok_or_else(|| {
            Diagnostic::unsupported("ONNX012", format!("`{what}` must be known at compile time"))
        })
    }
    /// A value that is a constant of the file.
    pub fn constant(&mut self, v: ValueId, what: &str) -> Result<Tensor> {
        let known = self.im.scopes.graph().konst(v).cloned();
        known.ok_or_else(|| {
            Diagnostic::unsupported("ONNX012", format!("`{what}` must be a constant"))
        })
    }
    /// Dimension `axis` of a value as a number.
    pub fn fixed(&mut self, v: ValueId, axis: usize) -> Result<i64> {
        let ty = self.ty(v)?;
        ty.shape.get(axis).and_then(Dim::fixed).ok_or_else(|| {
            Diagnostic::unsupported(
                "ONNX012",
                format!("axis {axis} of a value must be fixed at compile time"),
            )
        })
    }

    /// An operator of ai.onnx with one output.
    pub fn op(&mut self, name: &str, ins: &[ValueId], attrs: Attrs) -> Result<ValueId> {
        let ins: Vec<Option<ValueId>> = ins.iter().copied().map(Some).collect();
        Ok(self.many(name, &ins, attrs, 1)?[0])
    }
    /// The same without attributes.
    pub fn plain(&mut self, name: &str, ins: &[ValueId]) -> Result<ValueId> {
        self.op(name, ins, Attrs::default())
    }
    /// An operator of ai.onnx.
    pub fn many(
        &mut self,
        name: &str,
        ins: &[Option<ValueId>],
        attrs: Attrs,
        outs: usize,
    ) -> Result<Vec<ValueId>> {
        self.im.count_node()?;
        let attrs = NodeAttrs {
            plain: attrs,
            ..NodeAttrs::default()
        };
        let call = Call {
            domain: "",
            op: name,
            opset: LATEST,
            attrs: &attrs,
            ins: ins.iter().map(|v| v.map(Binding::Tensor)).collect(),
            outs,
            loc: self.loc.clone(),
        };
        let made = self.im.call(call).map_err(|mut d| {
            d.message = format!(
                "this operator is spelled with {name}, and there: {}",
                d.message
            );
            d
        })?;
        let made: Vec<ValueId> = made
            .into_iter()
            .flatten()
            .filter_map(|b| match b {
                Binding::Tensor(v) => Some(v),
                _ => None,
            })
            .collect();
        if made.len() < outs {
            return Err(Diagnostic::internal(format!("{name} gave too few outputs")));
        }
        Ok(made)
    }

    /// A literal.
    pub fn konst(&mut self, t: Tensor) -> ValueId {
        self.im.scopes.graph().add_const("", t)
    }
    /// A scalar of a type.
    pub fn scalar(&mut self, dtype: DType, v: f64) -> ValueId {
        self.konst(Tensor::from_f64s(dtype, &[], &[v]))
    }
    /// A list of whole numbers: axes, sizes.
    pub fn list(&mut self, v: &[i64]) -> ValueId {
        self.konst(Tensor::i64(&[v.len() as i64], v))
    }
    /// Reshape to numbers; 0 keeps an axis, -1 is what is left.
    pub fn reshape(&mut self, x: ValueId, shape: &[i64]) -> Result<ValueId> {
        let s = self.list(shape);
        self.plain("Reshape", &[x, s])
    }
    /// Transpose.
    pub fn transpose(&mut self, x: ValueId, perm: &[i64]) -> Result<ValueId> {
        let a = Attrs::default().with("perm", Attr::Ints(perm.to_vec()));
        self.op("Transpose", &[x], a)
    }
    /// Concat along an axis.
    pub fn concat(&mut self, xs: &[ValueId], axis: i64) -> Result<ValueId> {
        self.op("Concat", xs, Attrs::default().with("axis", Attr::Int(axis)))
    }
    /// Elements `start..end` along an axis.
    pub fn slice(&mut self, x: ValueId, axis: i64, start: i64, end: i64) -> Result<ValueId> {
        let (s, e, a) = (self.list(&[start]), self.list(&[end]), self.list(&[axis]));
        self.plain("Slice", &[x, s, e, a])
    }
    /// Cast.
    pub fn cast(&mut self, x: ValueId, to: DType) -> Result<ValueId> {
        let a = Attrs::default().with("to", Attr::Int(i64::from(to.onnx())));
        self.op("Cast", &[x], a)
    }
    /// The sizes of a value as a list of i64: known sizes fold, others are computed.
    pub fn shape_of(&mut self, x: ValueId) -> Result<ValueId> {
        self.plain("Shape", &[x])
    }
    /// Size of one axis as a list of one.
    pub fn size_of(&mut self, x: ValueId, axis: i64) -> Result<ValueId> {
        let a = Attrs::default()
            .with("start", Attr::Int(axis))
            .with("end", Attr::Int(axis + 1));
        self.op("Shape", &[x], a)
    }

    /// Ends: unknown attributes and missing outputs are errors.
    pub fn finish(self) -> Result<Vec<Binding>> {
        self.attrs.finish()?;
        self.outs
            .into_iter()
            .enumerate()
            .map(|(k, v)| {
                v.map(Binding::Tensor).ok_or_else(|| {
                    Diagnostic::unsupported("ONNX008", format!("output {k} is not supported"))
                })
            })
            .collect()
    }
}
