//! One node: whose operator it is, its inputs, its attributes, and where its outputs go.

use super::attrs::NodeAttrs;
use super::expand;
use super::import::{Importer, hint, plain_domain};
use super::proto::NodeProto;
use super::scope::Binding;
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::graph::ir::{Graph, Loc, NodeId, ValueId};
use crate::op::{Lower, OnnxRow, OpDef, ReadCx};
use crate::ops::{self, Found};

/// A node on its way into the graph.
pub struct Call<'a, 'm> {
    /// Domain, `ai.onnx` being empty.
    pub domain: &'a str,
    /// Operator type.
    pub op: &'a str,
    /// Version of the domain's operator set.
    pub opset: i64,
    /// Attributes.
    pub attrs: &'a NodeAttrs<'m>,
    /// Inputs without trailing absent ones.
    pub ins: Vec<Option<Binding>>,
    /// Number of outputs without trailing unnamed ones.
    pub outs: usize,
    /// Where it is.
    pub loc: Loc,
}

impl Call<'_, '_> {
    /// Whether an input comes from a node that was refused.
    pub fn broken(&self) -> bool {
        self.ins
            .iter()
            .flatten()
            .any(|b| matches!(b, Binding::Broken))
    }
    /// Input `i` as a tensor, if given.
    pub fn tensor(&self, i: usize) -> Result<Option<ValueId>> {
        match self.ins.get(i).and_then(Option::as_ref) {
            None | Some(Binding::Nothing) => Ok(None),
            Some(Binding::Tensor(v)) => Ok(Some(*v)),
            Some(b) => {
                let what = match b {
                    Binding::Texts(_) => "holds texts",
                    Binding::Maps(_) => "holds maps",
                    _ => "is a sequence or optional value",
                };
                Err(Diagnostic::unsupported(
                    "ONNX008",
                    format!("input {i} {what}; {} takes tensors here", self.op),
                ))
            }
        }
    }
    /// All inputs as tensors, without trailing absent ones.
    pub fn tensors(&self) -> Result<Vec<Option<ValueId>>> {
        let mut ins = (0..self.ins.len())
            .map(|i| self.tensor(i))
            .collect::<Result<_>>()?;
        trim(&mut ins, Option::is_none);
        Ok(ins)
    }
    /// Which inputs are given.
    pub fn given(&self) -> Vec<bool> {
        let mut given = self
            .ins
            .iter()
            .map(|b| !matches!(b, None | Some(Binding::Nothing)))
            .collect();
        trim(&mut given, |g| !g);
        given
    }
}

impl<'m> Importer<'m> {
    /// Imports one node of a list; problems go to the diagnostics.
    pub fn node(&mut self, node: &'m NodeProto, index: usize) {
        let name = self.unique_name(node, index);
        let domain = plain_domain(&node.domain);
        let opset = self.scopes.top().opsets.get(domain).copied();
        let shown = match domain {
            "" => hint(&node.op_type),
            d => format!("{}::{}", hint(d), hint(&node.op_type)),
        };
        let loc = match opset {
            Some(o) => format!("node \"{name}\" ({shown}, opset {o})"),
            None => format!("node \"{name}\" ({shown})"),
        };
        let results = self
            .node_results(node, domain, opset, name)
            .unwrap_or_else(|d| {
                self.diags.push(d.at(&loc));
                None
            });
        for (k, o) in node.output.iter().enumerate().filter(|o| !o.1.is_empty()) {
            let b = match &results {
                Some(r) => r.get(k).cloned().unwrap_or(Binding::Broken),
                None => Binding::Broken,
            };
            if let Binding::Tensor(v) = b {
                let value = self.scopes.graph().value_mut(v);
                if value.name.is_empty() {
                    value.name = hint(o);
                }
            }
            self.define(o, b, &loc);
        }
    }

    /// What the node's outputs stand for; `None` if an input is broken.
    fn node_results(
        &mut self,
        node: &'m NodeProto,
        domain: &'m str,
        opset: Option<i64>,
        name: String,
    ) -> Result<Option<Vec<Binding>>> {
        self.count_node()?;
        self.spend(node.input.len() + node.output.len() + node.attribute.len())?;
        let mut ins = vec![];
        let mut missing = vec![];
        for i in &node.input {
            if i.is_empty() {
                ins.push(None);
                continue;
            }
            ins.push(Some(self.scopes.resolve(i).unwrap_or_else(|| {
                missing.push(format!("`{}`", hint(i)));
                Binding::Broken
            })));
        }
        if !missing.is_empty() && !self.halted {
            return Err(Diagnostic::model(
                "ONNX003",
                format!("{} is used but never made", missing.join(", ")),
            ));
        }
        trim(&mut ins, |i| i.is_none());
        let outs = node
            .output
            .iter()
            .rposition(|o| !o.is_empty())
            .map_or(0, |i| i + 1);
        let attrs = self.attributes(node)?;
        if let Some(f) = self.find_function(domain, &node.op_type, &node.overload) {
            return self.inline(f, node, ins, name);
        }
        let Some(opset) = opset else {
            return Err(match domain {
                "" | "ai.onnx.ml" | "com.microsoft" => Diagnostic::model(
                    "ONNX002",
                    format!(
                        "the model does not import the operator set `{}`",
                        if domain.is_empty() { "ai.onnx" } else { domain }
                    ),
                ),
                _ => unknown(domain, &node.op_type),
            });
        };
        let call = Call {
            domain,
            op: &node.op_type,
            opset,
            attrs: &attrs,
            ins,
            outs,
            loc: Loc::one(&name),
        };
        self.call(call).map(|r| match r {
            None => None,
            Some(mut r) => {
                r.truncate(node.output.len());
                Some(r)
            }
        })
    }

    /// Imports an operator that is no function of the model.
    pub fn call(&mut self, call: Call<'_, 'm>) -> Result<Option<Vec<Binding>>> {
        if call.domain.is_empty() && call.opset == super::legacy::OLD {
            return self.modernized(call);
        }
        if call.domain.is_empty() {
            if call.op == "Constant" {
                return constant(&call).map(|t| {
                    let v = self.scopes.graph().add_const("", t);
                    Some(vec![Binding::Tensor(v)])
                });
            }
            if let Some(r) = self.sequence(&call)? {
                return Ok(Some(r));
            }
            if let Some(r) = self.padded_by_size(&call)? {
                return Ok(Some(r));
            }
        }
        if call.domain == "ai.onnx.ml" && call.op == "ZipMap" {
            // What classifiers of scikit-learn end with: it names the columns, and computes nothing.
            return Ok(match call.broken() {
                true => None,
                false => call.tensor(0)?.map(|v| vec![Binding::Maps(v)]),
            });
        }
        match ops::find_onnx(call.domain, call.op, call.opset) {
            Found::Row(op, row) => match op.lower {
                Lower::Control(kind) => self.control(op, row, kind, call),
                _ => {
                    let texts = names_classes(&call);
                    let mut made = self.operator(op, row, call)?;
                    if let Some([first @ Binding::Tensor(_), ..]) = made.as_deref_mut()
                        && texts
                        && let Binding::Tensor(v) = *first
                    {
                        *first = Binding::Texts(v);
                    }
                    Ok(made)
                }
            },
            _ if expand::find(call.domain, call.op, call.opset).is_some() => self.expand(call),
            Found::OtherOpset => Err(Diagnostic::unsupported(
                "ONNX007",
                format!("{} is not supported as of opset {}", call.op, call.opset),
            )),
            Found::Unknown => Err(unknown(call.domain, call.op)),
        }
    }

    /// Imports an operator of the roll.
    fn operator(
        &mut self,
        op: &'static OpDef,
        row: &OnnxRow,
        call: Call<'_, 'm>,
    ) -> Result<Option<Vec<Binding>>> {
        if let Some(g) = call.attrs.graphs.first() {
            return Err(Diagnostic::model(
                "ONNX009",
                format!("{} takes no body `{}`", call.op, g.0),
            ));
        }
        let ins = if call.broken() {
            None
        } else {
            Some(call.tensors()?)
        };
        let (attrs, extra) = read(row, &call, call.outs)?;
        let Some(mut ins) = ins else { return Ok(None) };
        self.place_constants(&mut ins, extra);
        check_arity(op, call.op, &ins, call.outs)?;
        self.check_strings(&ins)?;
        let outs = call.outs.max(op.outputs.0);
        let n = self.scopes.graph().add_node(op, attrs, ins, outs, call.loc);
        Ok(Some(results(self.scopes.graph(), n)))
    }

    /// Adds constants that stand for attributes of older opsets.
    pub fn place_constants(
        &mut self,
        ins: &mut Vec<Option<ValueId>>,
        constants: Vec<(usize, Tensor)>,
    ) {
        for (at, t) in constants {
            if ins.len() <= at {
                ins.resize(at + 1, None);
            }
            ins[at] = Some(self.scopes.graph().add_const("", t));
        }
        trim(ins, |i| i.is_none());
    }

    /// Texts and complex numbers exist in files, but not in graphs.
    fn check_strings(&mut self, ins: &[Option<ValueId>]) -> Result<()> {
        for (i, v) in ins.iter().enumerate() {
            if let Some(v) = v
                && let Some(t) = self.scopes.graph().konst(*v)
                && matches!(
                    t.dtype,
                    DType::String | DType::Complex64 | DType::Complex128
                )
            {
                return Err(Diagnostic::unsupported(
                    "ONNX014",
                    format!("input {i} has elements of type {}", t.dtype),
                ));
            }
        }
        Ok(())
    }
}

/// Whether a classifier gives texts, in place of which it gives their places.
fn names_classes(call: &Call) -> bool {
    let names = call.attrs.plain.0.get("classlabels_strings");
    call.domain == "ai.onnx.ml" && matches!(names, Some(Attr::Strs(s)) if !s.is_empty())
}

/// Drops what is absent at the end.
pub fn trim<T>(list: &mut Vec<T>, absent: impl Fn(&T) -> bool) {
    while list.last().is_some_and(&absent) {
        list.pop();
    }
}

/// Reads the attributes of a call by its row.
pub fn read(row: &OnnxRow, call: &Call, outs: usize) -> Result<(Attrs, Vec<(usize, Tensor)>)> {
    let mut cx = ReadCx::new(call.op, call.opset, &call.attrs.plain, call.given(), outs);
    (row.read)(&mut cx)?;
    if let Some(t) = call.attrs.types.first() {
        return cx.unsupported(format!("attribute `{}` is a type", t.0));
    }
    cx.finish()
}

/// Checks numbers of inputs and outputs.
pub fn check_arity(op: &OpDef, name: &str, ins: &[Option<ValueId>], outs: usize) -> Result<()> {
    let bad = |what: &str, n: usize, (lo, hi): (usize, usize)| {
        let range = match hi {
            usize::MAX => format!("at least {lo}"),
            _ if lo == hi => lo.to_string(),
            _ => format!("{lo} to {hi}"),
        };
        Err(Diagnostic::model(
            "ONNX009",
            format!("{name} takes {range} {what}, not {n}"),
        ))
    };
    if !(op.inputs.0..=op.inputs.1).contains(&ins.len()) {
        return bad("inputs", ins.len(), op.inputs);
    }
    if let Some(i) = ins.iter().take(op.inputs.0).position(Option::is_none) {
        return Err(Diagnostic::model(
            "ONNX009",
            format!("{name} needs input {i}"),
        ));
    }
    if outs > op.outputs.1 {
        return bad("outputs", outs, op.outputs);
    }
    Ok(())
}

/// The outputs of a node as bindings.
pub fn results(graph: &Graph, n: NodeId) -> Vec<Binding> {
    graph
        .node(n)
        .outs
        .iter()
        .map(|&v| Binding::Tensor(v))
        .collect()
}

/// The value of a `Constant` node.
fn constant(call: &Call) -> Result<Tensor> {
    let attrs = &call.attrs.plain.0;
    let mut it = attrs.iter();
    let (Some((name, value)), None) = (it.next(), it.next()) else {
        return Err(Diagnostic::model(
            "ONNX009",
            "Constant takes exactly one attribute",
        ));
    };
    let t = match (name.as_str(), value) {
        ("value" | "sparse_value", Attr::Tensor(t)) => t.clone(),
        ("value_int", Attr::Int(v)) => Tensor::i64(&[], &[*v]),
        ("value_ints", Attr::Ints(v)) => Tensor::i64(&[v.len() as i64], v),
        ("value_float", Attr::Float(v)) => Tensor::f32(&[], &[*v]),
        ("value_floats", Attr::Floats(v)) => Tensor::f32(&[v.len() as i64], v),
        ("value_string", Attr::Str(v)) => Tensor::strings(vec![], vec![v.clone()]),
        ("value_strings", Attr::Strs(v)) => Tensor::strings(vec![v.len() as i64], v.clone()),
        _ => {
            return Err(Diagnostic::model(
                "ONNX009",
                format!("Constant has no attribute `{name}` of this kind"),
            ));
        }
    };
    Ok(t)
}

/// An operator that nobody knows.
pub fn unknown(domain: &str, op: &str) -> Box<Diagnostic> {
    let shown = match domain {
        "" => hint(op),
        d => format!("{}::{}", hint(d), hint(op)),
    };
    Diagnostic::unsupported("ONNX007", format!("operator {shown} is not supported"))
        .help("`onnxc --print supported-ops` lists those that are")
}
