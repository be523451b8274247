//! Malformed, hostile and absurd files: a diagnostic each, never a panic, a long run, or a huge allocation.

use super::build::*;
use super::*;
use crate::onnx::proto::{AttributeProto, GraphProto, NodeProto, attribute_type};
use bytes::Bytes;

fn bytes(b: Vec<u8>) -> Diagnostics {
    let mut d = Diagnostics::default();
    import(Bytes::from(b), &NoFiles, &ImportOptions::default(), &mut d);
    d
}

#[test]
fn everything_is_told_in_one_go() {
    let g = graph(
        vec![
            node("Nonsense", "x", "a"),
            node("Relu", "a", "b"),
            with(node("Relu", "x", "c"), int("what", 1)),
            node("Relu", "nowhere", "d"),
            node("Relu", "x", "x"),
            node("Add", "x", "e"),
        ],
        "x",
        "b missing",
    );
    let (_, d) = run(&model(g));
    assert_eq!(
        errors(&d),
        [
            "ONNX007", "ONNX008", "ONNX003", "ONNX003", "ONNX009", "ONNX003"
        ]
    );
    assert_eq!(d.list[0].loc, "node \"Nonsense_0\" (Nonsense, opset 17)");
}

#[test]
fn versions_are_checked() {
    for (ir, set) in [(2, 17), (99, 17), (8, 0), (8, 99)] {
        let mut m = model(graph(vec![node("Relu", "x", "y")], "x", "y"));
        m.ir_version = ir;
        m.opset_import = vec![opset("ai.onnx", set)];
        assert!(errors(&run(&m).1).contains(&"ONNX002"), "{ir} {set}");
    }
    let mut m = model(graph(vec![node("Relu", "x", "y")], "x", "y"));
    m.opset_import.clear();
    assert_eq!(errors(&run(&m).1), ["ONNX002"]);
}

#[test]
fn order_and_cycles() {
    let g = graph(
        vec![node("Neg", "a", "y"), node("Relu", "x", "a")],
        "x",
        "y",
    );
    assert_eq!(ops(&good(&model(g)).graph), ["Relu", "Neg"]);
    let g = graph(
        vec![
            node("Add", "x b", "a"),
            node("Neg", "a", "b"),
            node("Relu", "b", "y"),
        ],
        "x",
        "y",
    );
    let (_, d) = run(&model(g));
    assert_eq!(errors(&d), ["ONNX003"]);
    assert!(
        d.list[0]
            .message
            .contains("\"Add_0\" (Add) -> \"Neg_1\" (Neg)"),
        "{:?}",
        d.list
    );
    // Through a body.
    let b = graph(vec![node("Neg", "y", "t")], "", "t");
    let n = with(
        with(node("If", "p", "y"), body("then_branch", b.clone())),
        body("else_branch", b),
    );
    let mut g = graph(vec![n], "", "y");
    g.input.push(value("p", 9, ""));
    assert_eq!(errors(&run(&model(g)).1), ["ONNX003"]);
}

#[test]
fn bytes_that_are_no_model() {
    assert_eq!(errors(&bytes(vec![])), ["ONNX001"]);
    assert_eq!(errors(&bytes(b"\x89PNG\r\n\x1a\n".to_vec())), ["ONNX001"]);
    assert_eq!(errors(&bytes(vec![0xff; 100])), ["ONNX001"]);
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n";
    let said = bytes(pointer.as_bytes().to_vec()).list;
    assert!(said[0].help.contains("git lfs pull"), "{said:?}");
    let whole = everything().encode_to_vec();
    for n in 0..whole.len() {
        // A cut can fall between two fields of the model; then it is no broken message but a broken graph.
        bytes(whole[..n].to_vec());
    }
}

/// Messages `path` (field numbers) nested `depth` times.
fn nested(path: &[u8], depth: usize) -> Vec<u8> {
    let mut out: Vec<u8> = vec![];
    for _ in 0..depth {
        for &field in path.iter().rev() {
            let mut next = vec![field << 3 | 2];
            prost::encoding::encode_varint(out.len() as u64, &mut next);
            next.append(&mut out);
            out = next;
        }
    }
    out
}

#[test]
fn deep_nesting_ends() {
    // Model.graph holds node.attribute.g 3,000 times: made by hand, since the encoder would recurse.
    let mut b = vec![7 << 3 | 2];
    let inner = nested(&[1, 5, 6], 3000);
    prost::encoding::encode_varint(inner.len() as u64, &mut b);
    b.extend(inner);
    assert_eq!(errors(&bytes(b)), ["ONNX006"]);
    // As deep as the decoder allows: the limit of bodies answers, or nothing is wrong.
    let mut g = graph(vec![node("Relu", "x", "y")], "", "y");
    for _ in 0..30 {
        g = graph(
            vec![with(
                with(node("If", "p", "y"), body("then_branch", g.clone())),
                body("else_branch", graph(vec![node("Relu", "x", "y")], "", "y")),
            )],
            "",
            "y",
        );
    }
    g.input = vec![value("x", 1, "2 3"), value("p", 9, "")];
    let mut o = ImportOptions::default();
    o.limits.max_depth = 20;
    assert_eq!(errors(&run_with(&model(g), &o).1), ["ONNX006"]);
}

#[test]
fn absurd_sizes() {
    let mut g = graph(vec![node("Relu", "x", "y")], "", "y");
    g.input = vec![value("x", 1, "4611686018427387904 4")];
    assert_eq!(errors(&run(&model(g)).1), ["ONNX006"]);
    // Empty messages cost two bytes in the file and hundreds in memory.
    let mut b = vec![];
    for _ in 0..200_000 {
        b.extend([5 << 3 | 2, 0]);
    }
    let mut file = vec![7 << 3 | 2];
    prost::encoding::encode_varint(b.len() as u64, &mut file);
    file.extend(b);
    let mut o = ImportOptions::default();
    o.limits.max_memory = 10 << 20;
    let mut d = Diagnostics::default();
    import(file.into(), &NoFiles, &o, &mut d);
    assert_eq!(errors(&d), ["ONNX006"]);
}

#[test]
fn limits_of_size_and_nodes() {
    let mut o = ImportOptions::default();
    o.limits.max_model_size = 10;
    assert_eq!(errors(&run_with(&everything(), &o).1), ["ONNX006"]);
    let mut o = ImportOptions::default();
    o.limits.max_nodes = 3;
    assert_eq!(errors(&run_with(&everything(), &o).1), ["ONNX006"]);
}

#[test]
fn attributes_that_contradict() {
    let twice = with(
        with(node("Flatten", "x", "y"), int("axis", 1)),
        int("axis", 1),
    );
    let kind = with(
        node("Flatten", "x", "y"),
        AttributeProto {
            r#type: attribute_type::STRING,
            ..int("axis", 1)
        },
    );
    let unknown = with(
        node("Flatten", "x", "y"),
        AttributeProto {
            r#type: 77,
            ..int("axis", 1)
        },
    );
    for n in [twice, kind, unknown] {
        assert_eq!(
            errors(&run(&model(graph(vec![n], "x", "y"))).1),
            ["ONNX009"]
        );
    }
}

#[test]
fn a_body_that_holds_itself_by_reference_ends() {
    // A function's attribute is a graph whose node refers to that attribute again.
    let again = AttributeProto {
        r#type: attribute_type::GRAPH,
        ..reference("then_branch", "b")
    };
    let other = AttributeProto {
        name: "else_branch".into(),
        ..again.clone()
    };
    let inner = GraphProto {
        node: vec![with(
            with(node("If", "p", "y"), again.clone()),
            other.clone(),
        )],
        output: vec![bare("y")],
        ..Default::default()
    };
    let mut m = model(graph(
        vec![NodeProto {
            domain: "f".into(),
            ..with(node("F", "p", "y"), body("b", inner))
        }],
        "",
        "y",
    ));
    m.graph.as_mut().unwrap().input.push(value("p", 9, ""));
    m.opset_import.push(opset("f", 1));
    m.functions.push(crate::onnx::proto::FunctionProto {
        name: "F".into(),
        domain: "f".into(),
        input: vec!["p".into()],
        output: vec!["y".into()],
        attribute: vec!["b".into()],
        node: vec![with(with(node("If", "p", "y"), again), other)],
        opset_import: vec![opset("", 17)],
        ..Default::default()
    });
    let mut o = ImportOptions::default();
    o.limits.max_nodes = 500;
    assert!(errors(&run_with(&m, &o).1).contains(&"ONNX006"));
}

/// SplitMix64.
struct Rng(u64);
impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

#[test]
fn mutated_files_never_panic() {
    let whole = everything().encode_to_vec();
    let mut rng = Rng(1);
    let mut o = ImportOptions::default();
    o.limits.max_memory = 64 << 20;
    let mut fine = 0;
    for _ in 0..3000 {
        let mut b = whole.clone();
        for _ in 0..=rng.below(4) {
            let at = rng.below(b.len());
            match rng.below(5) {
                0 => b[at] ^= 1 << rng.below(8),
                1 => b[at] = rng.next() as u8,
                2 => b.truncate(at.max(1)),
                3 => {
                    let end = (at + rng.below(40)).min(b.len());
                    let piece = b[at..end].to_vec();
                    let to = rng.below(b.len());
                    b.splice(to..to, piece);
                }
                _ => {
                    let end = (at + rng.below(20)).min(b.len() - 1);
                    b.drain(at.min(end)..end);
                }
            }
        }
        let mut d = Diagnostics::default();
        let m = import(b.into(), &NoFiles, &o, &mut d);
        assert_eq!(m.is_none(), d.has_errors());
        fine += usize::from(m.is_some());
        assert!(d.list.iter().all(|d| d.code != "INT001"), "{:?}", d.list);
    }
    // Some changes hit names and hints only: the test would prove little if nothing ever came through.
    assert!(fine > 20, "{fine}");
}
