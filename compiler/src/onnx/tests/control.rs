//! Bodies: captures become inputs, in the order that `op::Control` states.

use super::build::*;
use super::*;
use crate::base::attr::Attr;
use crate::onnx::proto::{GraphProto, NodeProto};

#[test]
fn branches_share_their_captures() {
    let then = graph(vec![node("Add", "a b", "t")], "", "t");
    let other = graph(vec![node("Sub", "c b", "e")], "", "e");
    let mut g = graph(
        vec![with(
            with(node("If", "p", "y"), body("then_branch", then)),
            body("else_branch", other),
        )],
        "a b c",
        "y",
    );
    g.input.push(value("p", 9, ""));
    let m = good(&model(g));
    let n = m.graph.node(m.graph.order()[0]);
    let name = |v| m.graph.value(v).name.clone();
    let ins: Vec<String> = n.ins.iter().map(|v| name(v.unwrap())).collect();
    assert_eq!(ins, ["p", "a", "b", "c"]);
    for b in &n.bodies {
        assert_eq!(b.inputs.len(), 3);
    }
    // Sub takes the last capture and the middle one.
    let e = &n.bodies[1];
    let sub = e.node(e.order()[0]);
    assert_eq!(sub.ins, [Some(e.inputs[2]), Some(e.inputs[1])]);
}

#[test]
fn literals_are_copied_into_bodies() {
    let then = graph(vec![node("Add", "x w", "t")], "", "t");
    let other = graph(vec![node("Identity", "w", "e")], "", "e");
    let mut g = graph(
        vec![with(
            with(node("If", "p", "y"), body("then_branch", then)),
            body("else_branch", other),
        )],
        "x",
        "y",
    );
    g.input.push(value("p", 9, ""));
    g.initializer = vec![floats("w", &[3], &[1.0, 2.0, 3.0])];
    let m = good(&model(g));
    assert_eq!(m.graph.node(m.graph.order()[0]).ins.len(), 2);
}

#[test]
fn loops_state_what_they_carry() {
    let m = good(&everything());
    assert_eq!(ops(&m.graph), ["Add", "Flatten", "If", "Loop", "Cast"]);
    let n = m.graph.node(m.graph.order()[3]);
    assert_eq!(n.attrs.get("states"), Some(&Attr::Int(1)));
    // Trip count, no condition, the carried y, the captured y.
    assert_eq!(n.ins.len(), 4);
    assert!(n.ins[1].is_none());
    assert_eq!(n.ins[2], n.ins[3]);
    assert_eq!(n.outs.len(), 2);
    assert_eq!(n.bodies[0].inputs.len(), 4);
    assert_eq!(n.loc.to_string(), "Loop_2");
}

#[test]
fn captures_pass_through_levels() {
    // The innermost body uses x of the outermost graph.
    let inner = graph(vec![node("Neg", "x", "n")], "", "n");
    let inner2 = graph(vec![node("Relu", "x", "r")], "", "r");
    let deep = with(
        with(node("If", "p", "d"), body("then_branch", inner)),
        body("else_branch", inner2),
    );
    let middle = graph(vec![deep], "", "d");
    let flat = graph(vec![node("Identity", "x", "f")], "", "f");
    let mut g = graph(
        vec![with(
            with(node("If", "p", "y"), body("then_branch", middle)),
            body("else_branch", flat),
        )],
        "x",
        "y",
    );
    g.input.push(value("p", 9, ""));
    let m = good(&model(g));
    let n = m.graph.node(m.graph.order()[0]);
    let names: Vec<_> = n
        .ins
        .iter()
        .map(|v| m.graph.value(v.unwrap()).name.clone())
        .collect();
    assert_eq!(names, ["p", "p", "x"]);
}

#[test]
fn scan_attributes_are_given_in_full() {
    let b = GraphProto {
        input: vec![bare("s"), bare("e")],
        output: vec![bare("s2"), bare("o")],
        node: vec![node("Add", "s e", "s2"), node("Mul", "s2 k", "o")],
        ..Default::default()
    };
    let scan = with(
        with(node("Scan", "s0 x", "last all"), body("body", b)),
        int("num_scan_inputs", 1),
    );
    let mut g = graph(vec![scan], "x k", "last all");
    g.input.push(value("s0", 1, "3"));
    let m = good(&model(g));
    let n = m.graph.node(m.graph.order()[0]);
    assert_eq!(n.attrs.get("captures"), Some(&Attr::Int(1)));
    assert_eq!(n.attrs.get("scan_output_axes"), Some(&Attr::Ints(vec![0])));
    assert_eq!(n.ins.len(), 3);
}

#[test]
fn wrong_bodies_are_told() {
    let b = |ins: &[&str], outs: &[&str]| GraphProto {
        input: ins.iter().map(|n| bare(n)).collect(),
        output: outs.iter().map(|n| bare(n)).collect(),
        ..Default::default()
    };
    for body_graph in [
        b(&["i", "c"], &["c"]),
        b(&["i", "c", "s"], &["c"]),
        b(&["i", "c", "s"], &["c", "zz"]),
    ] {
        let g = graph(
            vec![with(node("Loop", "_ _ x", "y"), body("body", body_graph))],
            "x",
            "y",
        );
        assert!(!errors(&run(&model(g)).1).is_empty());
    }
    let g = graph(vec![node("Loop", "_ _ x", "y")], "x", "y");
    assert_eq!(errors(&run(&model(g)).1), ["ONNX009"]);
}

#[test]
fn lists_that_loops_carry_may_only_grow() {
    let told = |round: Vec<NodeProto>, first: &str| {
        let mut inner = graph(round, "", "go_on longer");
        inner.input = vec![value("i", 7, ""), value("go", 9, ""), bare("list")];
        let nodes = vec![
            node("SequenceEmpty", "", "none"),
            node("SequenceConstruct", "x", "some"),
            with(
                node("Loop", &format!("n go0 {first}"), "all"),
                body("body", inner),
            ),
            with(node("ConcatFromSequence", "all", "y"), int("axis", 0)),
        ];
        let mut g = graph(nodes, "x", "y");
        g.initializer = vec![ints("n", &[], &[3])];
        g.input.push(value("go0", 9, ""));
        let found: Vec<String> = errors(&run(&model(g)).1)
            .iter()
            .map(|e| e.to_string())
            .collect();
        found
    };
    let again = || node("Identity", "go", "go_on");
    let grow = || vec![again(), node("SequenceInsert", "list x", "longer")];
    assert!(told(grow(), "none").is_empty());
    // What a round reads of it would be what earlier ones left, which is not there yet.
    let read = vec![
        again(),
        node("SequenceLength", "list", "count"),
        node("SequenceInsert", "list x", "longer"),
    ];
    let front = vec![again(), node("SequenceInsert", "list x i", "longer")];
    let twice = vec![
        again(),
        node("SequenceInsert", "list x", "more"),
        node("SequenceInsert", "more x", "longer"),
    ];
    let other = vec![again(), node("SequenceConstruct", "x", "longer")];
    for (round, first) in [
        (read, "none"),
        (front, "none"),
        (twice, "none"),
        (other, "none"),
        (grow(), "some"),
    ] {
        let errors = told(round, first);
        assert!(errors.iter().any(|e| e == "ONNX008"), "{errors:?}");
    }
}
