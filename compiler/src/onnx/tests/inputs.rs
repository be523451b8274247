//! Inputs: free dimensions, initializers, and what the user says of them.

use super::build::*;
use super::*;
use crate::base::dim::{Dim, Origin};
use crate::base::dtype::DType;
use crate::onnx::DimSpec;
use crate::onnx::proto::{NodeProto, TensorProto};

fn two_inputs() -> ModelProto {
    let mut g = graph(
        vec![node("Relu", "a", "y"), node("Neg", "b", "z")],
        "",
        "y z",
    );
    g.input = vec![value("a", 1, "batch seq 4"), value("b", 1, "? seq ?")];
    model(g)
}

fn shape(m: &Model, k: usize) -> Vec<Dim> {
    m.graph.ty(m.graph.inputs[k]).unwrap().shape.clone()
}

#[test]
fn free_dimensions_are_told_with_their_flag() {
    let (_, d) = run(&two_inputs());
    assert_eq!(errors(&d), ["ONNX011", "ONNX011"]);
    let text: Vec<String> = d.list.iter().map(|d| d.to_string()).collect();
    assert!(text[0].contains("`batch` of input `a`"), "{text:?}");
    assert!(text[1].contains("`b:0` of input `b`"), "{text:?}");
    assert!(text[2].contains("--dim seq=N"), "{text:?}");
    assert!(text[3].contains("--dim b:2=N"), "{text:?}");
}

#[test]
fn dimensions_by_name_place_and_shape() {
    let o = ImportOptions {
        dims: vec![
            ("seq".into(), DimSpec::Range(1, 512)),
            ("b:2".into(), DimSpec::Fixed(7)),
        ],
        ..Default::default()
    };
    let (m, _) = run_with(&two_inputs(), &o);
    let m = m.unwrap();
    assert_eq!(m.symbols.len(), 1);
    let s = m.symbols.ids().next().unwrap();
    assert_eq!(m.symbols[s].origin, Origin::Input { input: 0, axis: 1 });
    assert_eq!((m.symbols[s].lo, m.symbols[s].hi), (1, 512));
    assert_eq!(shape(&m, 0), [Dim::Fixed(1), Dim::sym(s), Dim::Fixed(4)]);
    assert_eq!(shape(&m, 1), [Dim::Fixed(1), Dim::sym(s), Dim::Fixed(7)]);

    let o = ImportOptions {
        inputs: vec![("a".into(), vec![2, 5, 4]), ("b".into(), vec![-1, -1, 3])],
        ..Default::default()
    };
    let (m, _) = run_with(&two_inputs(), &o);
    let m = m.unwrap();
    assert_eq!(shape(&m, 0), [2, 5, 4].map(Dim::Fixed));
    assert_eq!(shape(&m, 1), [1, 5, 3].map(Dim::Fixed));
}

#[test]
fn wrong_flags_are_told() {
    let dims = |d: &[(&str, DimSpec)]| ImportOptions {
        dims: d.iter().map(|(n, s)| ((*n).to_string(), *s)).collect(),
        inputs: vec![("b".into(), vec![1, 2, 3])],
        ..Default::default()
    };
    for o in [
        dims(&[("nothing", DimSpec::Fixed(1))]),
        dims(&[("seq", DimSpec::Fixed(9))]),
        dims(&[("seq", DimSpec::Range(5, 2))]),
        ImportOptions {
            inputs: vec![("a".into(), vec![1, 2, 5]), ("b".into(), vec![1, 2, 3])],
            ..Default::default()
        },
        ImportOptions {
            inputs: vec![("a".into(), vec![1, 2]), ("b".into(), vec![1, 2, 3])],
            ..Default::default()
        },
        ImportOptions {
            inputs: vec![("c".into(), vec![1]), ("b".into(), vec![1, 2, 3])],
            ..Default::default()
        },
    ] {
        let (_, d) = run_with(&two_inputs(), &o);
        assert!(errors(&d).contains(&"USE001"), "{o:?} {:?}", d.list);
    }
}

#[test]
fn initializers_are_constants_even_as_inputs() {
    let mut g = graph(vec![node("Add", "x w", "y")], "x w", "y");
    g.initializer = vec![floats("w", &[3], &[1.0, 2.0, 3.0])];
    let m = good(&model(g));
    assert_eq!(m.graph.inputs.len(), 1);
    let add = m.graph.node(m.graph.order()[0]);
    assert!(m.graph.konst(add.ins[1].unwrap()).is_some());
}

#[test]
fn only_tensors_of_numbers_come_in() {
    let mut g = graph(vec![], "", "x");
    g.input = vec![value("x", 8, "2")];
    assert_eq!(errors(&run(&model(g.clone())).1), ["ONNX014"]);
    let tensor = value("x", 1, "2").r#type.unwrap();
    g.input[0].r#type = Some(crate::onnx::proto::TypeProto {
        value: Some(crate::onnx::proto::TypeValue::Sequence(Box::new(
            crate::onnx::proto::ElementTypeProto {
                elem_type: Some(Box::new(tensor)),
            },
        ))),
    });
    let (_, d) = run(&model(g.clone()));
    assert_eq!(errors(&d), ["ONNX014"]);
    assert!(d.list[0].message.contains("a sequence"));
    g.input[0].r#type = None;
    assert_eq!(errors(&run(&model(g)).1), ["ONNX014"]);
}

#[test]
fn outputs_keep_their_names() {
    // One value under two names, a constant, and an input.
    let mut g = graph(vec![node("Relu", "x", "y")], "x", "y x c");
    g.initializer = vec![floats("c", &[1], &[1.0])];
    let m = good(&model(g));
    let names: Vec<&str> = m
        .graph
        .outputs()
        .iter()
        .map(|&v| m.graph.value(v).name.as_str())
        .collect();
    assert_eq!(names, ["y", "x", "c"]);
}

#[test]
fn false_declarations_are_warnings() {
    let mut g = graph(vec![node("Relu", "x", "h"), node("Neg", "h", "y")], "x", "");
    g.value_info = vec![value("h", 7, "2 3")];
    g.output = vec![value("y", 1, "2 4")];
    let (m, d) = run(&model(g.clone()));
    assert!(m.is_some());
    let text: Vec<&str> = d.list.iter().map(|d| d.message.as_str()).collect();
    assert!(
        text[0].contains("declares `h` as i64[2,3], but its operator makes f32[2,3]"),
        "{text:?}"
    );
    assert!(text[1].contains("declares `y` as f32[2,4]"), "{text:?}");
    g.value_info = vec![value("h", 1, "a ?")];
    g.output = vec![value("y", 1, "2 3")];
    assert!(run(&model(g)).1.list.is_empty());
}

/// Before opset 21, onnxruntime spells types of 4 and 16 bits with operators of its own domain.
#[test]
fn quantized_types_of_another_domain() {
    let own = |op: &str, ins: &str, outs: &str| NodeProto {
        domain: "com.microsoft".into(),
        ..node(op, ins, outs)
    };
    let nodes = vec![
        own("QuantizeLinear", "x s z", "q"),
        own("DequantizeLinear", "q s z", "y"),
    ];
    let mut g = graph(nodes, "x", "y");
    g.initializer = vec![
        floats("s", &[], &[0.5]),
        TensorProto {
            name: "z".into(),
            data_type: 5,
            raw_data: Some(vec![0u8, 0].into()),
            ..Default::default()
        },
    ];
    let mut m = model(g);
    m.opset_import.push(opset("com.microsoft", 1));
    let m = good(&m);
    assert_eq!(ops(&m.graph), ["QuantizeLinear", "DequantizeLinear"]);
    let q = m.graph.node(m.graph.order()[0]).outs[0];
    assert_eq!(m.graph.ty(q).unwrap().dtype, DType::I16);
}
