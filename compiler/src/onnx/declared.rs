//! What the file claims of the types of values: checked against what the operators say, never believed.

use super::import::{Importer, hint};
use super::proto::{Dimension, DimensionValue, GraphProto, TypeValue, ValueInfoProto};
use super::scope::Binding;
use crate::base::diag::{Diagnostic, Kind};
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::types::TensorType;

/// Contradictions that are told one by one.
const MAX_TOLD: usize = 10;

impl<'m> Importer<'m> {
    /// Warns where `value_info` and declared outputs contradict the inferred types.
    pub fn check_declared(&mut self, g: &'m GraphProto) {
        if self.halted || self.diags.has_errors() {
            return;
        }
        // Sizes that the user or the batch rule chose can differ from those that a tool once wrote down.
        let chosen = !self.options.dims.is_empty()
            || !self.options.inputs.is_empty()
            || self.diags.list.iter().any(|d| d.kind == Kind::Remark);
        let mut told = 0;
        for v in g.value_info.iter().chain(&g.output) {
            let Some(Binding::Tensor(id)) = self.scopes.resolve(&v.name) else {
                continue;
            };
            let Ok(ty) = self.type_of(id) else { continue };
            let Some(claim) = contradiction(v, &ty, chosen) else {
                continue;
            };
            told += 1;
            if told > MAX_TOLD {
                continue;
            }
            let made = ty.text(&self.symbols);
            self.diags.push(Diagnostic::warning(
                "ONNX010",
                format!(
                    "the file declares `{}` as {claim}, but its operator makes {made}; the declaration is ignored",
                    hint(&v.name)
                ),
            ));
        }
        if told > MAX_TOLD {
            self.diags.push(Diagnostic::warning(
                "ONNX010",
                format!(
                    "{} more declarations contradict the operators",
                    told - MAX_TOLD
                ),
            ));
        }
    }
}

/// The claim, where it can't be true.
fn contradiction(v: &ValueInfoProto, ty: &TensorType, only_kind: bool) -> Option<String> {
    let Some(TypeValue::Tensor(t)) = v.r#type.as_ref()?.value.as_ref() else {
        return None;
    };
    // Type 0 is a declaration left open.
    let claimed = DType::from_onnx(t.elem_type)?;
    let dims: Option<&[Dimension]> = t.shape.as_ref().map(|s| s.dim.as_slice());
    let number = |d: &Dimension| match d.value {
        Some(DimensionValue::DimValue(n)) if n >= 0 => Some(n),
        _ => None,
    };
    let differs = |(d, real): (&Dimension, &Dim)| {
        !only_kind && matches!((number(d), real.fixed()), (Some(a), Some(b)) if a != b)
    };
    let wrong = claimed != ty.dtype
        || dims.is_some_and(|d| d.len() != ty.rank() || d.iter().zip(&ty.shape).any(differs));
    wrong.then(|| {
        let shape = match dims {
            None => String::new(),
            Some(d) => {
                let text = |d| number(d).map_or("?".to_string(), |n| n.to_string());
                format!("[{}]", d.iter().map(text).collect::<Vec<_>>().join(","))
            }
        };
        format!("{claimed}{shape}")
    })
}
