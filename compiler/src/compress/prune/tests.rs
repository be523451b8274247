use super::choose::{RoundTo, Want, choose, saved};
use super::cut::{apply, kept};
use super::macs::costs;
use super::relations::{Axis, relations};
use super::units::{Units, units};
use super::{Criterion, Layer, Pattern};
use crate::base::diag::Diagnostics;
use crate::graph::ir::{Graph, Model, ValueId};
use crate::pass::PassCx;
use std::collections::{BTreeMap, BTreeSet};

fn model(text: &str) -> Model {
    let mut m =
        crate::graph::parse::parse(text, crate::ops::find).unwrap_or_else(|d| panic!("{d}"));
    let mut diags = Diagnostics::default();
    let off = BTreeSet::new();
    let cx = &mut PassCx::outside("prune", &mut m.symbols, &mut diags, &off);
    (crate::passes::resolve::PASS.run)(&mut m.graph, cx).unwrap();
    assert!(!diags.has_errors(), "{:?}", diags.list);
    super::plain(&mut m, &mut diags).unwrap();
    m
}

fn found(m: &Model, pattern: Pattern) -> Units {
    let g = &m.graph;
    let layers = Layer::all(g).unwrap();
    let made: BTreeSet<Axis> = layers.iter().map(|l| (l.value, l.out_axis)).collect();
    let mut heads: BTreeSet<Axis> = BTreeSet::new();
    for &n in g.order() {
        let node = g.node(n);
        if node.op.name == "MatMul" && g.konst(node.ins[1].unwrap()).is_none() {
            heads.insert((node.ins[0].unwrap(), 1));
        }
    }
    let r = relations(g, &|_| false);
    units(g, &r, pattern, &made, &heads).unwrap()
}

fn value(g: &Graph, name: &str) -> ValueId {
    let named = g.values().find(|(_, v)| v.name == name);
    named.unwrap_or_else(|| panic!("no value {name}")).0
}

/// For each unit the indices that it has of some axes, by names of values.
fn at(m: &Model, u: &Units, axes: &[(&str, usize)]) -> Vec<Vec<Vec<usize>>> {
    let wanted: Vec<Axis> = axes.iter().map(|(n, a)| (value(&m.graph, n), *a)).collect();
    let one = |a: &Axis, u: &super::units::Unit, all: &Units| {
        let own = u.places.iter().find(|p| all.axes[p.0] == *a);
        own.map(|p| p.1.clone()).unwrap_or_default()
    };
    (u.list.iter())
        .map(|x| wanted.iter().map(|a| one(a, x, u)).collect())
        .collect()
}

/// Removes some units; the shapes of values by their names.
fn without(m: &mut Model, u: &Units, gone: &[usize], names: &[&str]) -> Vec<Vec<i64>> {
    let mut diags = Diagnostics::default();
    apply(m, &kept(u, gone), &mut diags).unwrap_or_else(|d| panic!("{d}"));
    let shape = |n: &&str| {
        m.graph
            .ty(value(&m.graph, n))
            .unwrap()
            .fixed_shape()
            .unwrap()
    };
    names.iter().map(shape).collect()
}

#[test]
fn residual_partners_go_together() {
    let mut m = model(
        "graph @g(%x: f32[1,3,4,4]) -> (%y) {
  %w1 = lit f32[4,3,1,1] rand(1) %b1 = lit f32[4] rand(2)
  %a = Conv(%x, %w1, %b1) { group = 1 } @\"first\"
  %w2 = lit f32[4,4,3,3] rand(3)
  %c = Conv(%a, %w2) { group = 1, pads = [1, 1, 1, 1] } @\"second\"
  %s = lit f32[4] rand(4) %t = lit f32[4] rand(5) %u = lit f32[4] rand(6) %v = lit f32[4] splat 1.0
  %n = BatchNormalization(%c, %s, %t, %u, %v) { epsilon = 0.001 } @\"norm\"
  %d = Add(%a, %n) @\"add\"
  %e = Relu(%d) @\"relu\"
  %w3 = lit f32[2,4,1,1] rand(7)
  %y = Conv(%e, %w3) { group = 1 } @\"last\"
}",
    );
    let u = found(&m, Pattern::Channels);
    let axes = [
        ("w1", 0),
        ("b1", 0),
        ("w2", 0),
        ("w2", 1),
        ("s", 0),
        ("w3", 1),
    ];
    let all = at(&m, &u, &axes);
    assert_eq!(all.len(), 4);
    for (k, unit) in all.iter().enumerate() {
        assert!(unit.iter().all(|i| *i == [k]), "{unit:?}");
    }
    let why = &u.fixed[&(value(&m.graph, "w3"), 0)];
    assert!(why.contains("output of the model"), "{why}");
    let shapes = without(
        &mut m,
        &u,
        &[1, 3],
        &["w1", "b1", "w2", "v", "w3", "e", "y"],
    );
    assert_eq!(
        shapes,
        [
            vec![2, 3, 1, 1],
            vec![2],
            vec![2, 2, 3, 3],
            vec![2],
            vec![2, 2, 1, 1],
            vec![1, 2, 4, 4],
            vec![1, 2, 4, 4]
        ]
    );
}

#[test]
fn concat_moves_channels_and_flatten_spreads_them() {
    let mut m = model(
        "graph @g(%x: f32[1,3,2,2]) -> (%y) {
  %w1 = lit f32[2,3,1,1] rand(1)
  %a = Conv(%x, %w1) { group = 1 } @\"a\"
  %w2 = lit f32[3,3,1,1] rand(2)
  %b = Conv(%x, %w2) { group = 1 } @\"b\"
  %c = Concat(%a, %b) { axis = 1 } @\"concat\"
  %shape = lit i64[2] [0, -1]
  %f = Reshape(%c, %shape) @\"flat\"
  %k = lit f32[20,5] rand(3)
  %y = MatMul(%f, %k) @\"gemm\"
}",
    );
    let u = found(&m, Pattern::Channels);
    let all = at(&m, &u, &[("c", 1), ("k", 0)]);
    assert_eq!(all.len(), 5);
    // Of each channel the flat axis has four places.
    assert!(
        all.contains(&vec![vec![3], vec![12, 13, 14, 15]]),
        "{all:?}"
    );
    let gone: Vec<usize> = (0..5)
        .filter(|k| all[*k][0] == [0] || all[*k][0] == [4])
        .collect();
    let shapes = without(&mut m, &u, &gone, &["w1", "w2", "c", "f", "k"]);
    assert_eq!(
        shapes,
        [
            vec![1, 3, 1, 1],
            vec![2, 3, 1, 1],
            vec![1, 3, 2, 2],
            vec![1, 12],
            vec![12, 5]
        ]
    );
}

#[test]
fn depthwise_grouped_and_shuffled() {
    let mut m = model(
        "graph @g(%x: f32[1,3,2,2]) -> (%y) {
  %w1 = lit f32[8,3,1,1] rand(1)
  %a = Conv(%x, %w1) { group = 1 } @\"a\"
  %w2 = lit f32[8,1,3,3] rand(2)
  %b = Conv(%a, %w2) { group = 8, pads = [1, 1, 1, 1] } @\"depthwise\"
  %s1 = lit i64[5] [1, 2, 4, 2, 2]
  %r = Reshape(%b, %s1) @\"apart\"
  %t = Transpose(%r) { perm = [0, 2, 1, 3, 4] } @\"turn\"
  %s2 = lit i64[4] [1, 8, 2, 2]
  %c = Reshape(%t, %s2) @\"together\"
  %w3 = lit f32[6,4,1,1] rand(3)
  %d = Conv(%c, %w3) { group = 2 } @\"grouped\"
  %w4 = lit f32[5,6,1,1] rand(4)
  %y = Conv(%d, %w4) { group = 1 } @\"last\"
}",
    );
    let u = found(&m, Pattern::Channels);
    let all = at(
        &m,
        &u,
        &[
            ("w1", 0),
            ("w2", 0),
            ("t", 1),
            ("w3", 1),
            ("w3", 0),
            ("w4", 1),
        ],
    );
    // The shuffle ties i and i + 4; what it makes lies side by side at 2i and 2i + 1; groups of 4 tie j and j + 4.
    assert!(
        all.contains(&vec![
            vec![0, 2, 4, 6],
            vec![0, 2, 4, 6],
            vec![0, 2],
            vec![0, 1],
            vec![],
            vec![]
        ]),
        "{all:?}"
    );
    // Groups lose the same output channels.
    assert!(
        all.contains(&vec![
            vec![],
            vec![],
            vec![],
            vec![],
            vec![1, 4],
            vec![1, 4]
        ]),
        "{all:?}"
    );
    let gone: Vec<usize> = (0..all.len())
        .filter(|k| all[*k][0] == [0, 2, 4, 6] || all[*k][4] == [1, 4])
        .collect();
    let shapes = without(&mut m, &u, &gone, &["w1", "w2", "r", "c", "w3", "w4"]);
    assert_eq!(
        shapes,
        [
            vec![4, 3, 1, 1],
            vec![4, 1, 3, 3],
            vec![1, 2, 2, 2, 2],
            vec![1, 4, 2, 2],
            vec![4, 2, 1, 1],
            vec![5, 4, 1, 1]
        ]
    );
    let depthwise = m
        .graph
        .order()
        .iter()
        .find(|n| m.graph.node(**n).loc.to_string() == "depthwise");
    assert_eq!(m.graph.node(*depthwise.unwrap()).attrs.int("group", 1), 4);
}

#[test]
fn squeeze_excite_slopes_split_slice_and_pad() {
    let mut m = model(
        "graph @g(%x: f32[1,3,2,2]) -> (%y) {
  %w1 = lit f32[4,3,1,1] rand(1)
  %a = Conv(%x, %w1) { group = 1 } @\"a\"
  %p = lit f32[4,1,1] rand(2)
  %b = PRelu(%a, %p) @\"slopes\"
  %g = GlobalAveragePool(%b) @\"pool\"
  %w2 = lit f32[2,4,1,1] rand(3)
  %h = Conv(%g, %w2) { group = 1 } @\"squeeze\"
  %w3 = lit f32[4,2,1,1] rand(4)
  %i = Conv(%h, %w3) { group = 1 } @\"excite\"
  %j = Mul(%b, %i) @\"scale\"
  %parts = lit i64[2] [1, 3]
  %k, %l = Split(%j, %parts) { axis = 1 } @\"split\"
  %from = lit i64[1] [1] %to = lit i64[1] [3] %ax = lit i64[1] [1]
  %m = Slice(%j, %from, %to, %ax) @\"slice\"
  %pads = lit i64[8] [0, 1, 0, 0, 0, 0, 0, 0]
  %n = Pad(%m, %pads) { mode = \"constant\" } @\"pad\"
  %o = Add(%l, %n) @\"add\"
  %q = Concat(%k, %o) { axis = 1 } @\"concat\"
  %w4 = lit f32[1,4,1,1] rand(5)
  %y = Conv(%q, %w4) { group = 1 } @\"last\"
}",
    );
    let u = found(&m, Pattern::Channels);
    let all = at(
        &m,
        &u,
        &[
            ("w1", 0),
            ("p", 0),
            ("w3", 0),
            ("w2", 0),
            ("n", 1),
            ("w4", 1),
        ],
    );
    // Channel 0 goes alone; 1, 2 and 3 are tied by the shift of one that slice and pad make.
    assert!(
        all.contains(&vec![vec![0], vec![0], vec![0], vec![], vec![], vec![0]]),
        "{all:?}"
    );
    assert!(all.contains(&vec![vec![], vec![], vec![], vec![1], vec![], vec![]]));
    let gone: Vec<usize> = (0..all.len())
        .filter(|k| all[*k][0] == [0] || all[*k][3] == [1])
        .collect();
    assert_eq!(gone.len(), 2);
    // The first part of the split would be empty, which nothing is to be.
    let left = kept(&u, &gone);
    assert!(left.values().any(Vec::is_empty));
    let gone: Vec<usize> = gone.into_iter().filter(|k| all[*k][3] == [1]).collect();
    let shapes = without(&mut m, &u, &gone, &["w2", "w3", "h", "q"]);
    assert_eq!(
        shapes,
        [
            vec![1, 4, 1, 1],
            vec![4, 1, 1, 1],
            vec![1, 1, 1, 1],
            vec![1, 4, 2, 2]
        ]
    );
}

const ATTENTION: &str = "graph @g(%x: f32[1,3,8]) -> (%y) {
  %wq = lit f32[8,8] rand(1) %wk = lit f32[8,8] rand(2) %wv = lit f32[8,8] rand(3) %wo = lit f32[8,8] rand(4)
  %s = lit i64[4] [0, 0, 4, 2]
  %q1 = MatMul(%x, %wq) @\"q\"  %q2 = Reshape(%q1, %s) @\"qs\"  %q = Transpose(%q2) { perm = [0, 2, 1, 3] } @\"qt\"
  %k1 = MatMul(%x, %wk) @\"k\"  %k2 = Reshape(%k1, %s) @\"ks\"  %k = Transpose(%k2) { perm = [0, 2, 3, 1] } @\"kt\"
  %v1 = MatMul(%x, %wv) @\"v\"  %v2 = Reshape(%v1, %s) @\"vs\"  %v = Transpose(%v2) { perm = [0, 2, 1, 3] } @\"vt\"
  %a = MatMul(%q, %k) @\"scores\"
  %b = Softmax(%a) { axis = -1 } @\"softmax\"
  %c = MatMul(%b, %v) @\"values\"
  %d = Transpose(%c) { perm = [0, 2, 1, 3] } @\"back\"
  %t = lit i64[3] [0, 0, 8]
  %e = Reshape(%d, %t) @\"join\"
  %y = MatMul(%e, %wo) @\"o\"
}";

#[test]
fn heads_of_attention() {
    let mut m = model(ATTENTION);
    let u = found(&m, Pattern::Heads);
    let all = at(
        &m,
        &u,
        &[("wq", 1), ("wk", 1), ("wv", 1), ("wo", 0), ("b", 1)],
    );
    assert_eq!(all.len(), 4);
    for (k, unit) in all.iter().enumerate() {
        let both = vec![2 * k, 2 * k + 1];
        assert_eq!(unit[..4], [both.clone(), both.clone(), both.clone(), both]);
        assert_eq!(unit[4], [k]);
    }
    let shapes = without(&mut m, &u, &[2], &["wq", "wo", "q2", "e", "y"]);
    assert_eq!(
        shapes,
        [
            vec![8, 6],
            vec![6, 8],
            vec![1, 3, 3, 2],
            vec![1, 3, 6],
            vec![1, 3, 8]
        ]
    );
    // Channels go the other way: the same of every head, of queries and keys together, of values apart.
    let m = model(ATTENTION);
    let u = found(&m, Pattern::Channels);
    let all = at(&m, &u, &[("wq", 1), ("wk", 1), ("wv", 1), ("wo", 0)]);
    assert_eq!(all.len(), 4, "{all:?}");
    assert!(all.contains(&vec![vec![0, 2, 4, 6], vec![0, 2, 4, 6], vec![], vec![]]));
    assert!(all.contains(&vec![vec![], vec![], vec![1, 3, 5, 7], vec![1, 3, 5, 7]]));
}

#[test]
fn what_is_not_known_says_so() {
    let m = model(
        "graph @g(%x: f32[1,3,4,4]) -> (%y) {
  %w1 = lit f32[4,3,1,1] rand(1)
  %a = Conv(%x, %w1) { group = 1 } @\"a\"
  %b = Softmax(%a) { axis = 1 } @\"softmax\"
  %w2 = lit f32[4,4,1,1] rand(2)
  %c = Conv(%b, %w2) { group = 1 } @\"c\"
  %k = lit i64[1] [2]
  %d, %i = TopK(%c, %k) { axis = 1, largest = 1, sorted = 1 } @\"best\"
  %w3 = lit f32[4,2,1,1] rand(3)
  %y = Conv(%d, %w3) { group = 1 } @\"e\"
}",
    );
    let u = found(&m, Pattern::Channels);
    assert!(u.list.is_empty());
    let why = |name: &str| &u.fixed[&(value(&m.graph, name), 0)];
    assert!(
        why("w1").contains("node \"softmax\" (Softmax)"),
        "{}",
        why("w1")
    );
    assert!(why("w2").contains("node \"best\" (TopK)"), "{}", why("w2"));
}

#[test]
fn the_cheapest_go_first_and_enough_of_them() {
    let m = model(
        "graph @g(%x: f32[1,3,8,8]) -> (%y) {
  %w1 = lit f32[8,3,3,3] rand(1)
  %a = Conv(%x, %w1) { group = 1 } @\"a\"
  %w2 = lit f32[16,8,3,3] rand(2)
  %b = Conv(%a, %w2) { group = 1 } @\"b\"
  %w3 = lit f32[4,16,3,3] rand(3)
  %y = Conv(%b, %w3) { group = 1 } @\"c\"
}",
    );
    let u = found(&m, Pattern::Channels);
    assert_eq!(u.list.len(), 24);
    let layers = Layer::all(&m.graph).unwrap();
    let macs = costs(&m.graph, &m.symbols);
    let all: f64 = macs.iter().map(|c| c.base).sum();
    assert_eq!(all, (36 * 8 * 27 + 16 * 16 * 72 + 4 * 4 * 144) as f64);
    let prices = super::costs::costs(&m.graph, &u, &layers, Criterion::L2, &BTreeMap::new());
    for part in [0.25, 0.5, 0.8] {
        for want in [Want::Global(part), Want::Uniform(part)] {
            for round in [RoundTo::Auto, RoundTo::Multiple(1), RoundTo::Multiple(4)] {
                let gone = choose(&u, &prices, &macs, &want, round);
                let share = saved(&u, &gone, &macs);
                // No more goes than leaves four channels everywhere.
                let most = if round == RoundTo::Multiple(4) {
                    0.76
                } else {
                    1.0
                };
                assert!(share >= part.min(most) - 1e-9, "{want:?} {round:?} {share}");
                let left = kept(&u, &gone);
                assert!(left.values().all(|l| !l.is_empty()));
                if round == RoundTo::Multiple(4) {
                    assert!(left.values().all(|l| l.len() % 4 == 0), "{left:?}");
                }
                let mut less = m.clone();
                apply(&mut less, &left, &mut Diagnostics::default()).unwrap();
                let now: f64 = costs(&less.graph, &less.symbols)
                    .iter()
                    .map(|c| c.base)
                    .sum();
                assert!((1.0 - now / all - share).abs() < 1e-9);
            }
        }
    }
}

#[test]
fn a_sum_by_its_number_of_terms_is_a_mean() {
    let text = |by: &str| {
        format!(
            "graph @g(%x: f32[2,3]) -> (%y) {{
  %w = lit f32[3,4] rand(1)
  %a = MatMul(%x, %w) @\"a\"
  %ax = lit i64[1] [1]
  %s = ReduceSum(%a, %ax) {{ keepdims = 1 }} @\"sum\"
  %c = lit f32[] [{by}]
  %m = Mul(%s, %c) @\"mean\"
  %d = Sub(%a, %m) @\"centred\"
  %v = lit f32[4,5] rand(2)
  %y = MatMul(%d, %v) @\"last\"
}}"
        )
    };
    let m = model(&text("0.25"));
    assert!(
        m.graph
            .order()
            .iter()
            .any(|n| m.graph.node(*n).op.name == "ReduceMean")
    );
    assert_eq!(found(&m, Pattern::Channels).list.len(), 4);
    let m = model(&text("0.3"));
    let u = found(&m, Pattern::Channels);
    assert!(u.list.is_empty());
    let why = &u.fixed[&(value(&m.graph, "w"), 1)];
    assert!(why.contains("node \"sum\" (ReduceSum)"), "{why}");
}

#[test]
fn parts_of_a_graph_stand_alone() {
    let m = model(
        "graph @g(%x: f32[1,4]) -> (%y) {
  %w1 = lit f32[4,4] rand(1)
  %a = MatMul(%x, %w1) @\"a\"
  %b = Relu(%a) @\"b\"
  %w2 = lit f32[4,4] rand(2)
  %c = MatMul(%b, %w2) @\"c\"
  %w3 = lit f32[4,4] rand(3)
  %d = MatMul(%x, %w3) @\"d\"
  %e = Add(%c, %d) @\"e\"
  %w4 = lit f32[4,4] rand(4)
  %y = MatMul(%e, %w4) @\"f\"
}",
    );
    let g = &m.graph;
    let layers = Layer::all(g).unwrap();
    let names = |w: &Vec<usize>| {
        w.iter()
            .map(|k| layers[*k].name.clone())
            .collect::<Vec<_>>()
    };
    let waves: Vec<_> = super::segment::waves(g, &layers)
        .iter()
        .map(names)
        .collect();
    assert_eq!(waves, [vec!["a", "d"], vec!["c"], vec!["f"]]);
    let known = BTreeSet::from([value(g, "x"), value(g, "b")]);
    let (nodes, reads) = super::segment::between(g, &known, &[value(g, "e")]);
    assert_eq!(nodes.len(), 3);
    assert_eq!(reads, known);
    let inputs = known
        .iter()
        .map(|v| (*v, g.ty(*v).unwrap().clone()))
        .collect();
    let part = super::segment::segment(&m, &inputs, &[value(g, "e"), value(g, "c")]);
    assert_eq!(
        (part.graph.inputs.len(), part.graph.outputs().len()),
        (2, 2)
    );
    assert!(crate::graph::verify::verify(&part.graph, true).is_empty());
}
