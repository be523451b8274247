//! `plan` and `lower`: the program that is made of a graph, after inference alone. `plan` prints its layers and where
//! everything lies, `lower` the loops of every layer. Words: `tiles` plans for a machine with vectors and tiles, `whole`
//! runs the whole pipeline first, `threads` cuts loops for two threads, `memory` and `size` plan for another goal than latency.
//! The program must do what the oracle does, on inputs from a seed.

use super::{Case, Command, Outcome, graph};
use onnxc_compiler::base::goal::Goal;
use onnxc_compiler::loops;
use onnxc_compiler::plan::build::{Options, build};
use onnxc_compiler::plan::oracle::evaluate;
use onnxc_compiler::plan::print::print;
use onnxc_compiler::plan::run;
use onnxc_tests::graphs::{difference, done, inputs, largest, optimised, optimised_for};

pub const PLAN: Command = Command {
    name: "plan",
    blessed: true,
    run: |case| go(case, false),
};

pub const LOWER: Command = Command {
    name: "lower",
    blessed: true,
    run: |case| go(case, true),
};

fn go(case: &Case, lower: bool) -> Outcome {
    let model = match graph::typed(case) {
        Ok(m) => m,
        Err(o) => return o,
    };
    let x = inputs(&model, &largest(&model), 1);
    let want = done(evaluate(&model, &x));
    let whole = case.args.iter().any(|a| a == "whole");
    let tiles = case.args.iter().any(|a| a == "tiles");
    let best = |model| match tiles {
        true => optimised_for(model, &graph::machine(case)),
        false => optimised(model),
    };
    let model = match whole {
        true => match best(&model) {
            Ok(m) => m,
            Err(d) => return Outcome::problem(0, d.to_string()),
        },
        false => model,
    };
    let threads = case.args.iter().any(|a| a == "threads");
    let goal = Goal::ALL
        .into_iter()
        .find(|g| case.args.iter().any(|a| a == g.name()));
    let options = Options {
        threads: 1 + u32::from(threads),
        goal: goal.unwrap_or_default(),
        ..Options::default()
    };
    let program = match build(&model, &graph::machine(case), &options) {
        Ok(p) => p,
        Err(diags) => return graph::problems(case, &diags),
    };
    let got = done(run::run(&program, &x, &mut |_, _| {}));
    let wrong = match (&want, &got) {
        (Ok(a), Ok(b)) => difference(a, b, 1e-5),
        (a, b) if a == b => None,
        (a, b) => Some(format!("the oracle gives {a:?}, the program {b:?}")),
    };
    if let Some(wrong) = wrong {
        return Outcome::problem(0, format!("{wrong}\n{}", print(&program)));
    }
    let text = match lower {
        false => print(&program),
        true => program
            .layers
            .iter()
            .map(|(_, l)| {
                let f = &program.funcs[l.func];
                format!("; {}\n{}", l.name, loops::print::print(f, &program.symbols))
            })
            .collect(),
    };
    Outcome {
        text: Some(text),
        problems: vec![],
    }
}
