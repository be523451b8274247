//! Graphs as text, and what passes and plans make of them, compared with the oracle.

use onnxc_compiler::base::dim::{Dim, SymId};
use onnxc_compiler::base::tensor::Tensor;
use onnxc_compiler::graph::ir::Model;
use onnxc_compiler::graph::parse::parse;
use onnxc_compiler::graph::print::print;
use onnxc_compiler::graph::verify::verify;
use onnxc_compiler::ops;
use onnxc_compiler::plan::build::{self, Options};
use onnxc_compiler::plan::check::check;
use onnxc_compiler::plan::oracle::evaluate;
use onnxc_compiler::plan::program::{Place, Step};
use onnxc_tests::graphs::*;
use std::time::{Duration, Instant};

/// Reads what is printed, as long as no literal is too large for that.
fn again(model: &Model, seed: u64) {
    let text = print(model);
    if text.contains(" sha256 ") {
        return;
    }
    let back = parse(&text, ops::find).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{text}"));
    assert_eq!(print(&back), text, "seed {seed}");
    let wrong = verify(&back.graph, true);
    assert!(wrong.is_empty(), "seed {seed}: {wrong:?}\n{text}");
}

#[test]
fn random_graphs_round_trip() {
    for seed in 0..150 {
        let text = random(seed);
        let model = read(&text).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{text}"));
        assert!(verify(&model.graph, true).is_empty());
        again(&model, seed);
        again(&optimised(&model).unwrap(), seed);
    }
}

// Texts that are almost right: the parser, the verifier and inference must take them all.
#[test]
fn no_text_makes_the_parser_panic() {
    let texts: Vec<String> = (0..30).map(|s| print(&read(&random(s)).unwrap())).collect();
    let bits: Vec<&str> = "graph @x %t1 %x ( ) { } [ ] , : = - + * -> _ lit f32 i64 sym $N 0 1 -1 9223372036854775807 1e400 \
        \"a\" defines as splat rand iota sha256 hex ? Split Reshape If Loop"
        .split_whitespace()
        .collect();
    let mut r = Rng::new(7);
    let end = Instant::now() + Duration::from_secs(1);
    while Instant::now() < end {
        let mut words: Vec<&str> = r
            .one(&texts)
            .split_inclusive([' ', ',', '(', ')'])
            .collect();
        for _ in 0..1 + r.below(4) {
            let at = r.below(words.len());
            match r.below(4) {
                0 => drop(words.remove(at)),
                1 => words.insert(at, r.one::<&str>(&bits)),
                2 => words[at] = r.one::<&str>(&bits),
                _ => {
                    let other = r.below(words.len());
                    words.swap(at, other);
                }
            }
            if words.is_empty() {
                break;
            }
        }
        let text = words.concat();
        if let Ok(model) = parse(&text, ops::find) {
            verify(&model.graph, false);
            let printed = print(&model);
            if !printed.contains("sha256") {
                assert!(parse(&printed, ops::find).is_ok(), "{text}\n{printed}");
            }
            let _ = read(&text);
        }
    }
}

/// The oracle against a plan of the model as it is and of the optimised one.
fn compare(model: &Model, inputs: &[Tensor], what: &str) {
    let want = done(evaluate(model, inputs)).unwrap_or_else(|e| panic!("{what}: {e}"));
    let plans = [
        (model.clone(), true, 0.0),
        (optimised(model).unwrap(), true, 2e-5),
        (optimised(model).unwrap(), false, 2e-5),
    ];
    for (model, plain, tolerance) in plans {
        let got = done(planned(
            &model,
            &machine(plain),
            &Options::default(),
            inputs,
        ));
        let got = got.unwrap_or_else(|e| panic!("{what}: {e}\n{}", print(&model)));
        if let Some(d) = difference(&want, &got, tolerance) {
            panic!("{what}, plain {plain}: {d}\n{}", print(&model));
        }
    }
}

#[test]
fn plans_do_what_the_oracle_does() {
    for seed in 0..60 {
        let text = random(seed);
        let model = read(&text).unwrap();
        let x = inputs(&model, &largest(&model), seed);
        compare(&model, &x, &format!("seed {seed}\n{text}"));
    }
}

/// The model with its free sizes fixed.
fn fixed(text: &str, n: i64) -> String {
    let body = text.split_once("graph").map(|t| t.1).unwrap_or_default();
    format!("graph{}", body.replace("$N", &n.to_string()))
}

#[test]
fn one_plan_serves_every_size() {
    for seed in (0..45).step_by(3) {
        let text = random(seed);
        let model = optimised(&read(&text).unwrap()).unwrap();
        let program = build::build(&model, &machine(false), &Options::default()).unwrap();
        for n in 1..=4 {
            let small = read(&fixed(&text, n)).unwrap();
            let x = inputs(&small, &[], seed);
            let want = done(evaluate(&small, &x)).unwrap();
            let got = done(onnxc_compiler::plan::run::run(&program, &x, &mut |_, _| {}));
            let got = got.unwrap_or_else(|e| panic!("seed {seed}, N = {n}: {e}\n{text}"));
            if let Some(d) = difference(&want, &got, 2e-5) {
                panic!("seed {seed}, N = {n}: {d}\n{text}");
            }
        }
    }
}

const CHAIN: &str = "graph @chain(%x: f32[8,8], %y: f32[8,8]) -> (%d) {
  %a = MatMul(%x, %y)
  %b = MatMul(%a, %y)
  %c = MatMul(%a, %b)
  %d = MatMul(%c, %b)
}
";

#[test]
fn broken_plans_are_refused() {
    let plan = || {
        let model = read(CHAIN).unwrap();
        build::planned(&model, &machine(true), &Options::default()).unwrap()
    };
    let good = plan();
    check(&good.program, &good.labels, &good.sizes, &good.regions).unwrap();
    let first_arena = |p: &build::Planned, layer: usize, nth: usize| -> usize {
        let id = p.program.layers.ids().nth(layer).unwrap();
        let args = &p.program.layers[id].args;
        let arena = args
            .iter()
            .enumerate()
            .filter(|(_, a)| matches!(a, Place::Arena(_)));
        arena.map(|(i, _)| i).nth(nth).unwrap()
    };
    type Break = fn(&mut Place);
    let moves: [(usize, Break); 3] = [
        // Past the end of the arena.
        (0, |p| *p = Place::Arena(1 << 40)),
        // Into the table of sizes.
        (0, |p| *p = Place::Arena(0)),
        // A few bytes aside.
        (1, |p| {
            if let Place::Arena(at) = p {
                *at += 4;
            }
        }),
    ];
    for (layer, change) in moves {
        let mut p = plan();
        let at = first_arena(&p, layer, 0);
        let id = p.program.layers.ids().nth(layer).unwrap();
        change(&mut p.program.layers[id].args[at]);
        assert!(check(&p.program, &p.labels, &p.sizes, &p.regions).is_err());
    }
    // Layers in another order, and one left out.
    let mut p = plan();
    p.program.steps.swap(0, 1);
    assert!(check(&p.program, &p.labels, &p.sizes, &p.regions).is_err());
    let mut p = plan();
    p.program.steps.remove(1);
    assert!(check(&p.program, &p.labels, &p.sizes, &p.regions).is_err());
    // A value that is written over while it is still needed: the third layer writes where the first one did.
    let mut p = plan();
    let ids: Vec<_> = p.program.layers.ids().collect();
    let from = p.program.layers[ids[0]].args[first_arena(&p, 0, 0)];
    let out = p.program.funcs[p.program.layers[ids[1]].func].bufs.len() - 1;
    p.program.layers[ids[1]].args[out] = from;
    assert!(check(&p.program, &p.labels, &p.sizes, &p.regions).is_err());
    // Weights and inputs are read only.
    let mut p = plan();
    p.program.layers[ids[0]].args[out] = Place::Input(0, 0);
    assert!(check(&p.program, &p.labels, &p.sizes, &p.regions).is_err());
    assert!(matches!(good.program.steps[0], Step::Layer(_)));
}

#[test]
fn sizes_of_results_follow_inputs() {
    let model = read(
        "sym N = 1..4 input 0 axis 0\ngraph @g(%x: f32[$N,3]) -> (%y) {\n  %y = Concat(%x, %x) { axis = 0 }\n}\n",
    )
    .unwrap();
    let y = model.graph.outputs()[0];
    assert_eq!(
        model.graph.ty(y).unwrap().shape[0],
        Dim::sym(SymId(0)) * Dim::Fixed(2)
    );
}
