//! Attributes of the file as plain data; graphs apart.

use super::import::Importer;
use super::proto::{AttributeProto, GraphProto, NodeProto, TypeProto, attribute_type as ty};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::{Diagnostic, Result};
use bytes::Bytes;

/// A node's attributes.
#[derive(Default)]
pub struct NodeAttrs<'m> {
    /// Plain ones.
    pub plain: Attrs,
    /// Bodies.
    pub graphs: Vec<(&'m str, &'m GraphProto)>,
    /// Types.
    pub types: Vec<(&'m str, &'m TypeProto)>,
}

impl<'m> NodeAttrs<'m> {
    /// The body of that name.
    pub fn graph(&self, name: &str) -> Result<&'m GraphProto> {
        self.graphs
            .iter()
            .find(|g| g.0 == name)
            .map(|g| g.1)
            .ok_or_else(|| Diagnostic::model("ONNX009", format!("the body `{name}` is missing")))
    }
}

impl<'m> Importer<'m> {
    /// The attributes of a node, references to attributes of the function around it resolved.
    pub fn attributes(&mut self, node: &'m NodeProto) -> Result<NodeAttrs<'m>> {
        let mut out = NodeAttrs::default();
        for a in &node.attribute {
            let name = a.name.as_str();
            let source = if a.ref_attr_name.is_empty() {
                a
            } else {
                match self.function_attr(&a.ref_attr_name) {
                    Some(s) => s,
                    // Neither given by the caller nor with a default: the operator's own default counts.
                    None => continue,
                }
            };
            let known = out.plain.get(name).is_some()
                || out.graphs.iter().any(|g| g.0 == name)
                || out.types.iter().any(|t| t.0 == name);
            if known {
                return Err(bad(name, "stands twice"));
            }
            self.attribute(name, source, &mut out)?;
        }
        Ok(out)
    }

    fn function_attr(&self, name: &str) -> Option<&'m AttributeProto> {
        self.scopes
            .0
            .iter()
            .rev()
            .find(|s| s.function.is_some())
            .and_then(|s| s.attrs.get(name).copied())
    }

    fn attribute(
        &mut self,
        name: &'m str,
        a: &'m AttributeProto,
        out: &mut NodeAttrs<'m>,
    ) -> Result<()> {
        let missing = || bad(name, "has no value");
        self.spend(a.floats.len() + a.ints.len() + a.strings.len())?;
        let value = match kind(a) {
            ty::FLOAT => Attr::Float(a.f.unwrap_or(0.0)),
            ty::INT => Attr::Int(a.i.unwrap_or(0)),
            ty::STRING => Attr::Str(text(name, a.s.as_ref().unwrap_or(&Bytes::new()))?),
            ty::FLOATS => Attr::Floats(a.floats.clone()),
            ty::INTS => Attr::Ints(a.ints.clone()),
            ty::STRINGS => Attr::Strs(
                a.strings
                    .iter()
                    .map(|s| text(name, s))
                    .collect::<Result<_>>()?,
            ),
            ty::TENSOR => Attr::Tensor(self.reader.read(a.t.as_ref().ok_or_else(missing)?)?),
            ty::SPARSE_TENSOR => {
                let t = a.sparse_tensor.as_ref().ok_or_else(missing)?;
                Attr::Tensor(self.reader.read_sparse(t)?)
            }
            ty::GRAPH => {
                out.graphs.push((name, a.g.as_ref().ok_or_else(missing)?));
                return Ok(());
            }
            ty::TYPE_PROTO => {
                out.types.push((name, a.tp.as_ref().ok_or_else(missing)?));
                return Ok(());
            }
            k @ (ty::TENSORS | ty::GRAPHS | ty::SPARSE_TENSORS | ty::TYPE_PROTOS) => {
                return Err(Diagnostic::unsupported(
                    "ONNX008",
                    format!("attribute `{name}` is of a kind ({k}) that no operator uses"),
                ));
            }
            k => return Err(bad(name, &format!("is of the unknown kind {k}"))),
        };
        out.plain.set(name, value);
        Ok(())
    }
}

/// The stated kind; where none is stated, the one whose field is filled.
fn kind(a: &AttributeProto) -> i32 {
    if a.r#type != ty::UNDEFINED {
        return a.r#type;
    }
    let filled = [
        (a.f.is_some(), ty::FLOAT),
        (a.i.is_some(), ty::INT),
        (a.s.is_some(), ty::STRING),
        (a.t.is_some(), ty::TENSOR),
        (a.g.is_some(), ty::GRAPH),
        (!a.floats.is_empty(), ty::FLOATS),
        (!a.ints.is_empty(), ty::INTS),
        (!a.strings.is_empty(), ty::STRINGS),
    ];
    filled.iter().find(|f| f.0).map_or(ty::UNDEFINED, |f| f.1)
}

fn text(name: &str, s: &Bytes) -> Result<String> {
    String::from_utf8(s.to_vec()).map_err(|_| bad(name, "is no UTF-8 text"))
}

fn bad(name: &str, what: &str) -> Box<Diagnostic> {
    Diagnostic::model("ONNX009", format!("attribute `{name}` {what}"))
}
