//! Short ways to write messages.

use crate::onnx::proto::*;

/// A node `op` of ai.onnx; names separated by spaces, `_` for absent ones.
pub fn node(op: &str, ins: &str, outs: &str) -> NodeProto {
    let list = |s: &str| {
        s.split_whitespace()
            .map(|n| {
                if n == "_" {
                    String::new()
                } else {
                    n.to_string()
                }
            })
            .collect()
    };
    NodeProto {
        op_type: op.into(),
        input: list(ins),
        output: list(outs),
        ..Default::default()
    }
}

/// With an attribute.
pub fn with(mut n: NodeProto, a: AttributeProto) -> NodeProto {
    n.attribute.push(a);
    n
}

/// A whole number.
pub fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: attribute_type::INT,
        i: Some(i),
        ..Default::default()
    }
}

/// A graph.
pub fn body(name: &str, g: GraphProto) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: attribute_type::GRAPH,
        g: Some(Box::new(g)),
        ..Default::default()
    }
}

/// A reference to an attribute of the function around.
pub fn reference(name: &str, to: &str) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: attribute_type::INT,
        ref_attr_name: to.into(),
        ..Default::default()
    }
}

/// `name` with element type and dimensions: numbers, names, or `?`.
pub fn value(name: &str, dtype: i32, dims: &str) -> ValueInfoProto {
    let dim = dims
        .split_whitespace()
        .map(|d| Dimension {
            value: match d.parse() {
                Ok(n) => Some(DimensionValue::DimValue(n)),
                Err(_) if d == "?" => None,
                Err(_) => Some(DimensionValue::DimParam(d.into())),
            },
        })
        .collect();
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            value: Some(TypeValue::Tensor(TensorTypeProto {
                elem_type: dtype,
                shape: Some(TensorShapeProto { dim }),
            })),
        }),
    }
}

/// A value without a type.
pub fn bare(name: &str) -> ValueInfoProto {
    ValueInfoProto {
        name: name.into(),
        r#type: None,
    }
}

/// f32 data in the typed field.
pub fn floats(name: &str, dims: &[i64], data: &[f32]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: 1,
        float_data: data.to_vec(),
        ..Default::default()
    }
}

/// i64 data in the typed field.
pub fn ints(name: &str, dims: &[i64], data: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: 7,
        int64_data: data.to_vec(),
        ..Default::default()
    }
}

/// A graph of nodes with f32 inputs `[2, 3]`.
pub fn graph(nodes: Vec<NodeProto>, ins: &str, outs: &str) -> GraphProto {
    GraphProto {
        name: "g".into(),
        node: nodes,
        input: ins.split_whitespace().map(|i| value(i, 1, "2 3")).collect(),
        output: outs.split_whitespace().map(bare).collect(),
        ..Default::default()
    }
}

/// A model at opset 17.
pub fn model(graph: GraphProto) -> ModelProto {
    ModelProto {
        ir_version: 8,
        opset_import: vec![opset("", 17)],
        graph: Some(graph),
        ..Default::default()
    }
}

/// An operator set.
pub fn opset(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto {
        domain: domain.into(),
        version,
    }
}

/// A model with If, Loop, a function and constants: what the mutation test starts from.
pub fn everything() -> ModelProto {
    let then = graph(vec![node("Relu", "x", "t")], "", "t");
    let other = graph(vec![node("Neg", "h", "e")], "", "e");
    let looped = GraphProto {
        input: vec![bare("i"), bare("c"), bare("s")],
        output: vec![bare("c2"), bare("s2"), bare("scan")],
        node: vec![
            node("Identity", "c", "c2"),
            node("Add", "s y", "s2"),
            node("Mul", "s2 w", "scan"),
        ],
        ..Default::default()
    };
    let mut g = graph(
        vec![
            NodeProto {
                domain: "local".into(),
                ..with(node("Twice", "x", "h"), int("alpha", 2))
            },
            with(
                with(node("If", "cond", "y"), body("then_branch", then)),
                body("else_branch", other),
            ),
            with(node("Loop", "trips _ y", "z scans"), body("body", looped)),
            with(node("Cast", "z", "out"), int("to", 11)),
        ],
        "x",
        "out scans",
    );
    g.input.push(value("cond", 9, ""));
    g.initializer = vec![
        ints("trips", &[], &[4]),
        floats("w", &[3], &[1.0, 2.0, 3.0]),
    ];
    let mut m = model(g);
    m.opset_import.push(opset("local", 1));
    m.functions.push(FunctionProto {
        name: "Twice".into(),
        domain: "local".into(),
        input: vec!["a".into()],
        output: vec!["b".into()],
        attribute: vec!["alpha".into()],
        node: vec![
            node("Add", "a a", "m"),
            with(node("Flatten", "m", "b"), reference("axis", "alpha")),
        ],
        opset_import: vec![opset("", 17)],
        ..Default::default()
    });
    m
}
