//! Writing back: a graph as an ONNX file that any reader loads.
//!
//! The graph must be as importing leaves it, whatever opset it came from, with no more than folding and the fusions that stay within ONNX
//! done to it: operators are spelled at opset 21. What has no spelling there is a diagnostic that names the node.

mod bodies;

use super::proto::*;
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::{Diagnostic, Diagnostics, Result};
use crate::base::dim::{Dim, Symbols};
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::base::types::TensorType;
use crate::graph::ir::{Def, Graph, Model, NodeId, ValueId};
use bytes::Bytes;
use prost::Message;
use std::collections::{HashMap, HashSet};

/// The opset that is written.
pub const OPSET: i64 = 21;
/// The file format that goes with it.
const IR: i64 = 10;

/// A model's file. `None` if `diags` holds an error: every node without a spelling is named.
pub fn write(model: &Model, diags: &mut Diagnostics) -> Option<Vec<u8>> {
    let before = diags.list.len();
    let mut w = Writer {
        g: &model.graph,
        symbols: &model.symbols,
        names: HashMap::new(),
        taken: HashSet::new(),
        written: HashSet::new(),
        out: GraphProto::default(),
        domains: HashSet::new(),
    };
    w.name_ports();
    w.nodes(diags);
    for &v in model.graph.inputs.iter().chain(model.graph.outputs()) {
        if model.graph.ty(v).is_none() {
            let text = "type and shape depend on the values of an input, so they can't be written";
            let name = format!("value \"{}\"", model.graph.value(v).name);
            diags.push(Diagnostic::unsupported("ONNX012", text).at(name));
        }
    }
    w.ports();
    if diags.list[before..].iter().any(Diagnostic::is_error) {
        return None;
    }
    let opset = |domain: &str, version| OperatorSetIdProto {
        domain: domain.into(),
        version,
    };
    let mut opset_import = vec![opset("", OPSET)];
    let mut more: Vec<&str> = w.domains.iter().copied().collect();
    more.sort_unstable();
    opset_import.extend(more.into_iter().map(|d| opset(d, 1)));
    let file = ModelProto {
        ir_version: IR,
        opset_import,
        producer_name: "onnxc".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(w.out),
        ..ModelProto::default()
    };
    Some(file.encode_to_vec())
}

struct Writer<'g> {
    g: &'g Graph,
    symbols: &'g Symbols,
    names: HashMap<ValueId, String>,
    taken: HashSet<String>,
    /// Constants that are in the file.
    written: HashSet<ValueId>,
    out: GraphProto,
    /// Domains beside ONNX's own.
    domains: HashSet<&'static str>,
}

/// A node as it will stand in the file.
struct Spelled {
    domain: &'static str,
    name: &'static str,
    attrs: Attrs,
    /// Names of the inputs; empty where one is absent.
    ins: Vec<String>,
    /// An activation behind it: operator, attributes, numbers as further inputs.
    then: Option<(&'static str, Attrs, Vec<f32>)>,
}

impl Writer<'_> {
    /// All nodes; what can't be written is named.
    fn nodes(&mut self, diags: &mut Diagnostics) {
        for &n in self.g.order() {
            // All of what it makes is known: nobody has taken it out yet.
            let outs = &self.g.node(n).outs;
            if !outs.is_empty() && outs.iter().all(|&v| self.g.konst(v).is_some()) {
                continue;
            }
            let done = match self.g.node(n).bodies.is_empty() {
                true => self.node(n),
                false => self.control(n, diags),
            };
            if let Err(d) = done {
                diags.push(d.at(self.g.describe(n)));
            }
        }
    }
    fn identity(&mut self, from: String, to: String) {
        self.out.node.push(NodeProto {
            op_type: "Identity".into(),
            input: vec![from],
            output: vec![to],
            ..NodeProto::default()
        });
    }
    /// A name that nothing else has.
    fn fresh(&mut self, hint: &str) -> String {
        let hint = if hint.is_empty() { "value" } else { hint };
        let mut name = hint.to_string();
        let mut k = 0;
        while !self.taken.insert(name.clone()) {
            k += 1;
            name = format!("{hint}_{k}");
        }
        name
    }
    /// Inputs and outputs keep their names; a value that is an output twice, or an input too, goes out through an Identity.
    fn name_ports(&mut self) {
        let outputs: Vec<String> = (0..self.g.outputs().len())
            .map(|k| self.output_name(k))
            .collect();
        self.taken.extend(outputs.iter().cloned());
        for &v in &self.g.inputs {
            let hint = self.g.value(v).name.clone();
            let name = self.fresh(&hint);
            self.names.insert(v, name);
        }
        for (&v, name) in self.g.outputs().iter().zip(outputs) {
            self.names.entry(v).or_insert(name);
        }
    }
    fn output_name(&self, k: usize) -> String {
        match self.g.output_names.get(k) {
            Some(n) if !n.is_empty() => n.clone(),
            _ => match self.g.value(self.g.outputs()[k]).name.as_str() {
                "" => format!("output_{k}"),
                name => name.to_string(),
            },
        }
    }
    fn ports(&mut self) {
        let symbols = self.symbols;
        for (k, &v) in self.g.outputs().iter().enumerate() {
            let wanted = self.output_name(k);
            let own = self.name(v);
            if own != wanted {
                self.identity(own, wanted.clone());
            }
            let port = port(wanted, self.g.ty(v), symbols);
            self.out.output.push(port);
        }
        for &v in &self.g.inputs {
            let port = port(self.name(v), self.g.ty(v), symbols);
            self.out.input.push(port);
        }
        self.out.name = match self.g.name.as_str() {
            "" => "graph".into(),
            name => name.into(),
        };
    }
    /// The name of a value; a constant is written where it is named first.
    fn name(&mut self, v: ValueId) -> String {
        let name = match self.names.get(&v) {
            Some(known) => known.clone(),
            None => {
                let hint = self.g.value(v).name.clone();
                let name = self.fresh(&hint);
                self.names.insert(v, name.clone());
                name
            }
        };
        if let Def::Const(t) = &self.g.value(v).def
            && self.written.insert(v)
        {
            self.out.initializer.push(tensor(t, &name));
        }
        name
    }

    fn node(&mut self, n: NodeId) -> Result<()> {
        let node = self.g.node(n);
        let s = self.spell(n)?;
        if !s.domain.is_empty() {
            self.domains.insert(s.domain);
        }
        let mut input = s.ins;
        while input.last().is_some_and(String::is_empty) {
            input.pop();
        }
        // Parts of a Split are told by their number.
        let all = node.op.name == "Split";
        let last = match node.outs.iter().rposition(|&v| self.g.is_used(v)) {
            _ if all => node.outs.len(),
            last => last.map_or(1, |k| k + 1),
        };
        let mut output: Vec<String> = vec![];
        for &v in &node.outs[..last] {
            output.push(match all || self.g.is_used(v) || v == node.outs[0] {
                true => self.name(v),
                false => String::new(),
            });
        }
        let loc = node.loc.to_string();
        let name = self.fresh(if loc.is_empty() { s.name } else { &loc });
        let mut behind = None;
        if let Some((op, attrs, numbers)) = s.then {
            let inner = self.fresh(&format!("{name}_sum"));
            let mut input = vec![inner.clone()];
            for v in numbers {
                input.push(self.single(n, v));
            }
            behind = Some(NodeProto {
                op_type: op.into(),
                name: self.fresh(&format!("{name}_{op}")),
                input,
                output: vec![std::mem::replace(&mut output[0], inner)],
                attribute: attributes(&attrs),
                ..NodeProto::default()
            });
        }
        self.out.node.push(NodeProto {
            op_type: s.name.into(),
            domain: s.domain.into(),
            name,
            input,
            output,
            attribute: attributes(&s.attrs),
            ..NodeProto::default()
        });
        self.out.node.extend(behind);
        Ok(())
    }

    /// A node in the words of the opset: attributes that have other names here, or stand for inputs there.
    fn spell(&mut self, n: NodeId) -> Result<Spelled> {
        let node = self.g.node(n);
        let rows = node.op.onnx;
        let newest = |domain: &str, own: bool| {
            let fits = move |r: &&crate::op::OnnxRow| {
                r.domain == domain
                    && (r.since..=r.until).contains(&OPSET)
                    && (r.name == node.op.name) == own
            };
            rows.iter().find(fits)
        };
        // By the operator's own name, if ONNX has it; else by that of another domain, or of a relative.
        let row = newest("", true).or(newest("com.microsoft", true));
        let Some(row) = row.or(newest("com.microsoft", false)).or(newest("", false)) else {
            return Err(Diagnostic::unsupported(
                "ONNX008",
                format!("{} has no spelling in opset {OPSET}", node.op.name),
            ));
        };
        let ins = node.ins.clone();
        let ins = ins
            .into_iter()
            .map(|v| v.map_or_else(String::new, |v| self.name(v)));
        let mut s = Spelled {
            domain: row.domain,
            name: row.name,
            attrs: node.attrs.clone(),
            ins: ins.collect(),
            then: None,
        };
        let unsupported = |what: &str| Err(Diagnostic::unsupported("ONNX008", what.to_string()));
        match node.op.name {
            "Conv" => {
                s.name = "Conv";
                s.domain = "";
                if s.ins.get(3).is_some_and(|i| !i.is_empty()) {
                    return unsupported("a Conv that adds a tensor is not written to a file");
                }
                s.then = activation(&mut s.attrs)?;
            }
            "Gemm" | "MatMul" => {
                for (from, to) in [("trans_a", "transA"), ("trans_b", "transB")] {
                    if let Some(Attr::Int(v)) = s.attrs.0.remove(from)
                        && v != 0
                    {
                        s.attrs.set(to, Attr::Int(v));
                    }
                }
                s.then = activation(&mut s.attrs)?;
                let plain = |a: &Attrs, name| a.float(name, 1.0) == 1.0;
                let fused =
                    s.attrs.flag("transA") || s.attrs.flag("transB") || !plain(&s.attrs, "alpha");
                if node.op.name == "MatMul" && fused {
                    s.name = "FusedMatMul";
                    s.domain = "com.microsoft";
                } else {
                    s.name = node.op.name;
                    s.domain = "";
                    if s.name == "MatMul" {
                        s.attrs.0.remove("alpha");
                    }
                }
            }
            "Clip" => {
                for (name, at) in [("min", 1), ("max", 2)] {
                    if let Some(Attr::Float(v)) = s.attrs.0.remove(name) {
                        s.ins.resize(s.ins.len().max(at + 1), String::new());
                        s.ins[at] = self.single(n, v);
                    }
                }
            }
            "Softmax" | "LogSoftmax" if s.attrs.flag("flat") => {
                s.attrs.0.remove("flat");
                let shape = node.ins[0]
                    .and_then(|x| self.g.ty(x))
                    .map(|t| t.shape.clone());
                let shape = shape.unwrap_or_default();
                let axis = crate::op::resolve_axis(s.attrs.int("axis", 1), shape.len().max(1))?;
                let long: Vec<usize> = (axis..shape.len()).filter(|&a| !shape[a].is(1)).collect();
                match long[..] {
                    [] => {}
                    [one] => {
                        s.attrs.set("axis", Attr::Int(one as i64));
                    }
                    _ => {
                        return unsupported("a Softmax over several axes is not written to a file");
                    }
                }
            }
            "Split" => {
                let count = node.outs.len() as i64;
                s.attrs.0.remove("uneven");
                if s.ins.get(1).is_none_or(String::is_empty) {
                    s.attrs.set("num_outputs", Attr::Int(count));
                }
            }
            "Resize" => {
                let at = s.attrs.int("scales_at", 2);
                s.attrs.0.remove("scales_at");
                if at == 1 {
                    // Old spellings had no region of interest.
                    s.ins.insert(1, String::new());
                }
                if s.attrs.str("coordinate_transformation_mode", "") == "simple" {
                    let mode = Attr::Str("asymmetric".into());
                    s.attrs.set("coordinate_transformation_mode", mode);
                    s.attrs.set("nearest_mode", Attr::Str("floor".into()));
                }
            }
            "Cast" => {
                // A later opset's; it has a meaning for e8m0 alone, which this opset has not.
                s.attrs.0.remove("round_mode");
            }
            "DequantizeLinear" | "QuantizeLinear" => {
                s.attrs.0.remove("per_tensor");
                if node.op.name == "DequantizeLinear" {
                    s.attrs.0.remove("saturate");
                }
            }
            "LSTM" | "GRU" | "RNN" => {
                let plain = |f: &String| ["Sigmoid", "Tanh", "Relu"].contains(&f.as_str());
                let named = match s.attrs.get("activations") {
                    Some(Attr::Strs(list)) => list.iter().all(plain),
                    _ => true,
                };
                if !named {
                    return unsupported(
                        "activations with numbers of their own are not written to a file",
                    );
                }
                s.attrs.0.remove("activation_params");
            }
            "GroupNormalization" => {
                if s.attrs.flag("per_group") {
                    return unsupported("scales of whole groups are not written to a file");
                }
                s.attrs.0.remove("per_group");
            }
            "LayerNormalization" if s.attrs.flag("rms") => {
                return unsupported("RMSNormalization is not written to a file");
            }
            _ => {}
        }
        Ok(s)
    }

    /// A number of the type of the node's first input, as a constant.
    fn single(&mut self, n: NodeId, v: f32) -> String {
        let d = self.g.node(n).ins[0]
            .and_then(|x| self.g.ty(x))
            .map_or(DType::F32, |t| t.dtype);
        let name = self.fresh("bound");
        let t = Tensor::from_f64s(d, &[], &[f64::from(v)]);
        self.out.initializer.push(tensor(&t, &name));
        name
    }
}

/// What a fused operator does to its result, as an operator of its own.
fn activation(attrs: &mut Attrs) -> Result<Option<(&'static str, Attrs, Vec<f32>)>> {
    let Some(Attr::Str(name)) = attrs.0.remove("activation") else {
        return Ok(None);
    };
    let params = match attrs.0.remove("activation_params") {
        Some(Attr::Floats(p)) => p,
        _ => vec![],
    };
    let number = |k: usize, default: f32| params.get(k).copied().unwrap_or(default);
    let plain = |op| Ok(Some((op, Attrs::default(), vec![])));
    match name.as_str() {
        "" => Ok(None),
        "Relu" => plain("Relu"),
        "Sigmoid" => plain("Sigmoid"),
        "Tanh" => plain("Tanh"),
        "Clip" => {
            let bounds = vec![number(0, f32::MIN), number(1, f32::MAX)];
            Ok(Some(("Clip", Attrs::default(), bounds)))
        }
        "LeakyRelu" => {
            let alpha = Attrs::default().with("alpha", Attr::Float(number(0, 0.01)));
            Ok(Some(("LeakyRelu", alpha, vec![])))
        }
        other => Err(Diagnostic::unsupported(
            "ONNX008",
            format!("the fused activation {other} is not written to a file"),
        )),
    }
}

fn attributes(attrs: &Attrs) -> Vec<AttributeProto> {
    let bytes = |s: &String| Bytes::from(s.clone().into_bytes());
    let one = |(name, value): (&String, &Attr)| {
        let mut a = AttributeProto {
            name: name.clone(),
            ..AttributeProto::default()
        };
        match value {
            Attr::Int(v) => (a.r#type, a.i) = (attribute_type::INT, Some(*v)),
            Attr::Float(v) => (a.r#type, a.f) = (attribute_type::FLOAT, Some(*v)),
            Attr::Str(v) => (a.r#type, a.s) = (attribute_type::STRING, Some(bytes(v))),
            Attr::Ints(v) => (a.r#type, a.ints) = (attribute_type::INTS, v.clone()),
            Attr::Floats(v) => (a.r#type, a.floats) = (attribute_type::FLOATS, v.clone()),
            Attr::Strs(v) => {
                a.r#type = attribute_type::STRINGS;
                a.strings = v.iter().map(bytes).collect();
            }
            Attr::Tensor(t) => {
                a.r#type = attribute_type::TENSOR;
                a.t = Some(Box::new(tensor(t, "")));
            }
            Attr::Type(d) => (a.r#type, a.i) = (attribute_type::INT, Some(i64::from(d.onnx()))),
        }
        a
    };
    attrs.0.iter().map(one).collect()
}

fn tensor(t: &Tensor, name: &str) -> TensorProto {
    TensorProto {
        dims: t.shape.clone(),
        data_type: t.dtype.onnx(),
        name: name.into(),
        raw_data: Some(packed(t)),
        ..TensorProto::default()
    }
}

/// The bytes of a tensor as files have them: elements below a byte share one, the first in its lowest bits.
fn packed(t: &Tensor) -> Bytes {
    let bits = t.dtype.packed_bits();
    if t.dtype.size() != 1 || bits == 8 {
        return t.data.clone();
    }
    let mask = (1u8 << bits) - 1;
    let one = |part: &[u8]| {
        let all = part.iter().enumerate();
        all.fold(0, |byte, (i, v)| byte | (v & mask) << (i * bits))
    };
    let bytes: Vec<u8> = t.data.chunks(8 / bits).map(one).collect();
    bytes.into()
}

fn port(name: String, ty: Option<&TensorType>, symbols: &Symbols) -> ValueInfoProto {
    let dimension = |d: &Dim| Dimension {
        value: Some(match d.fixed() {
            Some(n) => DimensionValue::DimValue(n),
            None => DimensionValue::DimParam(d.text(symbols)),
        }),
    };
    let r#type = ty.map(|t| TypeProto {
        value: Some(TypeValue::Tensor(TensorTypeProto {
            elem_type: t.dtype.onnx(),
            shape: Some(TensorShapeProto {
                dim: t.shape.iter().map(dimension).collect(),
            }),
        })),
    });
    ValueInfoProto { name, r#type }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_numbers_share_bytes() {
        // onnx.helper.make_tensor("t", TensorProto.INT4, [5], [1, -2, 7, -8, 3]).int32_data: [225, 135, 3]
        let t = Tensor::from_f64s(DType::I4, &[5], &[1.0, -2.0, 7.0, -8.0, 3.0]);
        assert_eq!(packed(&t)[..], [225, 135, 3]);
        let t = Tensor::from_f64s(DType::U2, &[5], &[1.0, 2.0, 3.0, 0.0, 2.0]);
        assert_eq!(packed(&t)[..], [0b00_11_10_01, 2]);
        let t = Tensor::from_f64s(DType::I8, &[2], &[1.0, -1.0]);
        assert_eq!(packed(&t)[..], [1, 255]);
    }
}
