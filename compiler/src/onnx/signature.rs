//! What a model file says of its border, without importing it: names, types and axes of inputs and outputs.
//!
//! For callers that choose free dimensions from data before they import, and that judge outputs by what made them. It reads
//! declarations only; whether the rest of the file makes sense is for [`super::import()`].

use super::external::{External, NoFiles};
use super::import::decode;
use super::inputs::kind_name;
use super::options::ImportOptions;
use super::proto::{DimensionValue, GraphProto, NodeProto, TensorProto, TypeValue, ValueInfoProto};
use super::tensor::TensorReader;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use bytes::Bytes;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};

/// An axis of a declared shape.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Axis {
    /// A number in the file.
    Known(i64),
    /// Free; what `--dim` calls it.
    Free(String),
}

/// A declared input or output.
#[derive(Clone, PartialEq, Debug)]
pub struct Border {
    /// Its name.
    pub name: String,
    /// "a tensor", "a sequence", ...
    pub kind: &'static str,
    /// Element type of a tensor.
    pub dtype: Option<DType>,
    /// Shape, if the file gives one.
    pub axes: Option<Vec<Axis>>,
    /// Whether an initializer gives its value where the caller does not.
    pub default: bool,
    /// For outputs: its integers stand for quantized numbers.
    pub quantized: bool,
    /// Something is divided by it as it is: where it is an integer, runtimes refuse 0.
    pub divisor: bool,
    /// It says which rows of a table of that many are taken: numbers from there on end the run.
    pub places: Option<i64>,
}

/// The border of a model.
#[derive(Clone, PartialEq, Debug)]
pub struct Signature {
    /// Inputs in order, those with defaults included.
    pub inputs: Vec<Border>,
    /// Outputs in order.
    pub outputs: Vec<Border>,
    /// Whether numbers of 16-bit float type occur anywhere in the main graph.
    pub half: bool,
}

/// Reads the border of the model in `bytes`.
pub fn signature(bytes: Bytes, options: &ImportOptions) -> Result<Signature> {
    let model = decode(bytes, options)?;
    let Some(g) = &model.graph else {
        return Err(Diagnostic::model("ONNX001", "the file holds no graph"));
    };
    let defaults: BTreeSet<&str> = (g.initializer.iter().map(|t| t.name.as_str()))
        .chain(
            g.sparse_initializer
                .iter()
                .filter_map(|s| Some(s.values.as_ref()?.name.as_str())),
        )
        .collect();
    let quantized = quantized(g);
    let divisors: BTreeSet<&str> = (g.node.iter())
        .filter(|n| matches!(n.domain.as_str(), "" | "ai.onnx"))
        .filter(|n| matches!(n.op_type.as_str(), "Div" | "Mod"))
        .filter_map(|n| n.input.get(1))
        .map(String::as_str)
        .collect();
    let places = places(g);
    let border = |v: &ValueInfoProto| Border {
        name: v.name.clone(),
        kind: kind_name(v.r#type.as_ref()),
        dtype: tensor_type(v).and_then(|t| DType::from_onnx(t.elem_type)),
        axes: axes(v),
        default: defaults.contains(v.name.as_str()),
        quantized: quantized.contains(v.name.as_str()),
        divisor: divisors.contains(v.name.as_str()),
        places: places.get(v.name.as_str()).copied(),
    };
    Ok(Signature {
        inputs: g.input.iter().map(border).collect(),
        outputs: g.output.iter().map(border).collect(),
        half: half(g),
    })
}

/// Reads a file that holds one `TensorProto`, such as the inputs and outputs of ONNX's own tests.
pub fn read_tensor(bytes: Bytes) -> Result<Tensor> {
    let options = ImportOptions::default();
    let proto = TensorProto::decode(bytes)
        .map_err(|e| Diagnostic::model("ONNX004", format!("not a TensorProto: {e}")))?;
    let mut reader = TensorReader {
        external: External::new(&NoFiles),
        max_elements: options.limits.max_tensor_elements,
        budget: options.limits.max_memory,
    };
    reader.read(&proto)
}

fn tensor_type(v: &ValueInfoProto) -> Option<&super::proto::TensorTypeProto> {
    match v.r#type.as_ref()?.value.as_ref()? {
        TypeValue::Tensor(t) => Some(t),
        _ => None,
    }
}

fn axes(v: &ValueInfoProto) -> Option<Vec<Axis>> {
    let shape = tensor_type(v)?.shape.as_ref()?;
    let axis = |(k, d): (usize, &super::proto::Dimension)| match &d.value {
        Some(DimensionValue::DimValue(n)) if *n >= 0 => Axis::Known(*n),
        Some(DimensionValue::DimParam(p)) if !p.is_empty() && p != "?" && p != "-1" => {
            Axis::Free(p.clone())
        }
        _ => Axis::Free(format!("{}:{k}", v.name)),
    };
    Some(shape.dim.iter().enumerate().map(axis).collect())
}

/// Values that Gather takes from constants by, as they are or in another shape or type, with the size of the axis; the smallest where there are several.
fn places(g: &GraphProto) -> BTreeMap<&str, i64> {
    let of = |n: &'_ NodeProto, ops: &[&str]| {
        matches!(n.domain.as_str(), "" | "ai.onnx") && ops.contains(&n.op_type.as_str())
    };
    // What a value is made of, where it is the same numbers.
    let moves = |ops: &'static [&'static str]| -> BTreeMap<&str, &str> {
        let nodes = g.node.iter().filter(|n| of(n, ops));
        let both = nodes.filter_map(|n| Some((n.output.first()?, n.input.first()?)));
        both.map(|(to, from)| (to.as_str(), from.as_str()))
            .collect()
    };
    let numbers = moves(&[
        "Cast",
        "Flatten",
        "Identity",
        "Reshape",
        "Squeeze",
        "Unsqueeze",
    ]);
    let tables = moves(&["Cast", "DequantizeLinear", "Identity"]);
    let first = |by: &BTreeMap<&'_ str, &'_ str>, name: &'_ str| -> String {
        let mut at = name;
        // A file may be a circle.
        for _ in 0..=by.len() {
            at = by.get(at).copied().unwrap_or(at);
        }
        at.to_string()
    };
    let dims: BTreeMap<&str, &[i64]> = (g.initializer.iter())
        .map(|t| (t.name.as_str(), t.dims.as_slice()))
        .collect();
    let mut out = BTreeMap::new();
    for n in g.node.iter().filter(|n| of(n, &["Gather"])) {
        let [table, index, ..] = n.input.as_slice() else {
            continue;
        };
        let Some(dims) = dims.get(first(&tables, table).as_str()) else {
            continue;
        };
        let axis = n.attribute.iter().find(|a| a.name == "axis");
        let axis = axis.and_then(|a| a.i).unwrap_or(0);
        let axis = if axis < 0 {
            axis + dims.len() as i64
        } else {
            axis
        };
        let size = usize::try_from(axis).ok().and_then(|a| dims.get(a));
        let index = first(&numbers, index);
        let input = g.input.iter().find(|v| v.name == index);
        if let (Some(&size), Some(input)) = (size, input) {
            let least = out.entry(input.name.as_str()).or_insert(size);
            *least = size.min(*least);
        }
    }
    out
}

/// Values whose integers stand for quantized numbers: what QuantizeLinear and the QLinear operators make, also moved
/// around or clipped.
fn quantized(g: &GraphProto) -> BTreeSet<&str> {
    const MOVES: &[&str] = &[
        "Clip",
        "Concat",
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "MaxPool",
        "Pad",
        "Relu",
        "Reshape",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    ];
    let mut known = BTreeSet::new();
    // Files list nodes in an order that can be evaluated; where one does not, an output may be missed, which only makes
    // the judgement of it stricter.
    for n in &g.node {
        let op = n.op_type.as_str();
        let made = op == "QuantizeLinear"
            || op == "DynamicQuantizeLinear"
            || (op.starts_with("QLinear") && op != "QLinearSoftmax");
        let moved =
            MOVES.contains(&op) && n.input.first().is_some_and(|i| known.contains(i.as_str()));
        if made || moved {
            let outputs = if op == "DynamicQuantizeLinear" {
                1
            } else {
                n.output.len()
            };
            known.extend(n.output.iter().take(outputs).map(String::as_str));
        }
    }
    known
}

/// Whether any declared value, constant or cast has 16-bit floats.
fn half(g: &GraphProto) -> bool {
    let numbers = [DType::F16.onnx(), DType::BF16.onnx()];
    let types: BTreeMap<&str, i32> = (g.input.iter().chain(&g.output).chain(&g.value_info))
        .filter_map(|v| Some((v.name.as_str(), tensor_type(v)?.elem_type)))
        .collect();
    types.values().any(|t| numbers.contains(t))
        || g.initializer.iter().any(|t| numbers.contains(&t.data_type))
        || (g.node.iter())
            .filter(|n| n.op_type == "Cast")
            .flat_map(|n| &n.attribute)
            .any(|a| {
                a.name == "to"
                    && a.i
                        .is_some_and(|i| numbers.iter().any(|n| i64::from(*n) == i))
            })
}
