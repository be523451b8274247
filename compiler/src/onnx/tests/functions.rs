//! Functions of the model, and lists that dissolve.

use super::build::*;
use super::*;
use crate::base::attr::Attr;
use crate::onnx::proto::{FunctionProto, NodeProto};

fn function(name: &str, nodes: Vec<NodeProto>) -> FunctionProto {
    FunctionProto {
        name: name.into(),
        domain: "f".into(),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: nodes,
        opset_import: vec![opset("", 13), opset("f", 1)],
        ..Default::default()
    }
}

fn call(name: &str, ins: &str, outs: &str) -> NodeProto {
    NodeProto {
        domain: "f".into(),
        ..node(name, ins, outs)
    }
}

fn with_functions(nodes: Vec<NodeProto>, functions: Vec<FunctionProto>) -> ModelProto {
    let mut m = model(graph(nodes, "x", "y"));
    m.opset_import.push(opset("f", 1));
    m.functions = functions;
    m
}

#[test]
fn calls_are_inlined_with_their_attributes_and_opsets() {
    let mut f = function(
        "F",
        vec![with(node("Softmax", "a", "b"), reference("axis", "k"))],
    );
    f.attribute_proto = vec![int("k", 0)];
    let given = with(call("F", "x", "h"), int("k", 1));
    let m = good(&with_functions(vec![given, call("F", "h", "y")], vec![f]));
    assert_eq!(ops(&m.graph), ["Softmax", "Softmax"]);
    let axis = |k: usize| m.graph.node(m.graph.order()[k]).attrs.get("axis").cloned();
    assert_eq!((axis(0), axis(1)), (Some(Attr::Int(1)), Some(Attr::Int(0))));
    let loc = m.graph.node(m.graph.order()[1]).loc.to_string();
    assert_eq!(loc, "F_1/Softmax_0");
    assert_eq!(m.graph.value(m.graph.outputs()[0]).name, "y");
}

#[test]
fn recursion_and_expansion_end() {
    let f = function("F", vec![call("F", "a", "b")]);
    let (_, d) = run(&with_functions(vec![call("F", "x", "y")], vec![f]));
    assert_eq!(errors(&d), ["ONNX003"]);
    // Each calls the next twice: 2^40 nodes.
    let fs = (0..40)
        .map(|k| {
            let next = format!("F{}", k + 1);
            let nodes = if k == 39 {
                vec![node("Relu", "a", "b")]
            } else {
                vec![call(&next, "a", "h"), call(&next, "h", "b")]
            };
            function(&format!("F{k}"), nodes)
        })
        .collect();
    let mut o = ImportOptions::default();
    o.limits.max_nodes = 2000;
    let (_, d) = run_with(&with_functions(vec![call("F0", "x", "y")], fs), &o);
    assert_eq!(errors(&d), ["ONNX006"]);
}

#[test]
fn functions_are_closed() {
    let f = function("F", vec![node("Add", "a x", "b")]);
    let (_, d) = run(&with_functions(vec![call("F", "x", "y")], vec![f]));
    assert_eq!(errors(&d), ["ONNX003"]);
    let (_, d) = run(&with_functions(vec![call("G", "x", "y")], vec![]));
    assert_eq!(errors(&d), ["ONNX007"]);
}

#[test]
fn lists_dissolve() {
    let nodes = vec![
        node("SequenceConstruct", "x x2", "s"),
        node("SequenceInsert", "s x one", "s2"),
        node("SequenceAt", "s2 last", "y0"),
        with(node("ConcatFromSequence", "s2", "y"), int("axis", 0)),
        node("SequenceLength", "s2", "n"),
        with(node("SplitToSequence", "x", "parts"), int("axis", 1)),
        node("SequenceAt", "parts one", "p"),
    ];
    let mut g = graph(nodes, "x x2", "y y0 n p");
    g.initializer = vec![ints("one", &[], &[1]), ints("last", &[], &[-1])];
    let m = good(&model(g));
    assert_eq!(
        m.graph
            .konst(m.graph.outputs()[2])
            .unwrap()
            .to_i64s()
            .unwrap(),
        [3]
    );
    let concat = m.graph.maker(m.graph.outputs()[0]).unwrap().0;
    let names: Vec<String> = m
        .graph
        .node(concat)
        .ins
        .iter()
        .map(|v| m.graph.value(v.unwrap()).name.clone())
        .collect();
    assert_eq!(names, ["x", "x", "x2"]);
}

#[test]
fn lists_that_stay_are_told() {
    let g = graph(
        vec![
            node("SequenceConstruct", "x x", "s"),
            node("Relu", "s", "y"),
        ],
        "x",
        "y",
    );
    assert_eq!(errors(&run(&model(g)).1), ["ONNX008"]);
    let g = graph(vec![node("SequenceConstruct", "x x", "s")], "x", "s");
    assert_eq!(errors(&run(&model(g)).1), ["ONNX014"]);
}
