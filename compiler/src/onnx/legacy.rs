//! Opset 6 in the words of opset 7: the last step before broadcasting was numpy's.
//!
//! Models of opset 6 are still about (converters of 2017 wrote them); what differs is little enough to say here.

use super::attrs::NodeAttrs;
use super::import::Importer;
use super::node::Call;
use super::scope::Binding;
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::{Diagnostic, Result};

/// The oldest opset, whose nodes are read as of the next.
pub const OLD: i64 = 6;

impl<'m> Importer<'m> {
    /// Imports a call of opset 6 as one of opset 7.
    pub fn modernized(&mut self, call: Call<'_, 'm>) -> Result<Option<Vec<Binding>>> {
        let mut plain = call.attrs.plain.clone();
        let mut ins = call.ins.clone();
        match call.op {
            "Add" | "Sub" | "Mul" | "Div" | "Pow" | "And" | "Or" | "Xor" | "Equal" | "Greater"
            | "Less" => {
                let axis = plain.opt_int("axis");
                let broadcast = plain.flag("broadcast");
                plain.0.remove("axis");
                plain.0.remove("broadcast");
                if let (Some(axis), true, false) = (axis, broadcast, call.broken()) {
                    self.align(&call, &mut ins, axis)?;
                }
            }
            "Gemm" => {
                plain.0.remove("broadcast");
            }
            "BatchNormalization" | "Dropout" => {
                if plain.0.remove("is_test") != Some(Attr::Int(1)) {
                    return Err(Diagnostic::unsupported(
                        "ONNX008",
                        "`is_test` = 0 is training, which is not supported",
                    ));
                }
                plain.0.remove("consumed_inputs");
            }
            // One slope per channel, where opset 7 has numpy's rules.
            "PRelu" if !call.broken() => self.align(&call, &mut ins, 1)?,
            _ => {}
        }
        let attrs = NodeAttrs {
            plain,
            graphs: call.attrs.graphs.clone(),
            types: call.attrs.types.clone(),
        };
        self.call(Call {
            attrs: &attrs,
            ins,
            opset: OLD + 1,
            ..call
        })
    }

    /// Gives input 1 axes of size 1 at its end, so that its first axis stands under `axis` of input 0.
    fn align(&mut self, call: &Call, ins: &mut [Option<Binding>], axis: i64) -> Result<()> {
        let (Some(a), Some(b)) = (call.tensor(0)?, call.tensor(1)?) else {
            return Ok(());
        };
        let (ta, tb) = (self.type_of(a)?, self.type_of(b)?);
        let axis = crate::op::resolve_axis(axis, ta.rank())?;
        let behind = (ta.rank() - axis).saturating_sub(tb.rank());
        // A single element broadcasts wherever it stands.
        if behind == 0 || tb.elements().is(1) {
            return Ok(());
        }
        let none = NodeAttrs {
            plain: Attrs::default(),
            ..NodeAttrs::default()
        };
        let at = Call {
            domain: "",
            op: call.op,
            opset: call.opset,
            attrs: &none,
            ins: vec![],
            outs: 1,
            loc: call.loc.clone(),
        };
        let mut cx = super::expand::ExpandCx::new(self, &at, vec![]);
        let axes: Vec<i64> = (0..behind).map(|k| (tb.rank() + k) as i64).collect();
        let axes = cx.list(&axes);
        ins[1] = Some(Binding::Tensor(cx.plain("Unsqueeze", &[b, axes])?));
        Ok(())
    }
}
