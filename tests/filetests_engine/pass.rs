//! `pass NAME` and `fuse NAME`: print the graph after inference and that pass; behind `fuse`, after `dead` too, with the
//! remarks that the fusion left. The graph must give the same numbers before and after, on inputs from a seed.

use super::{Case, Command, Outcome, graph};
use onnxc_compiler::base::diag::Diagnostics;
use onnxc_compiler::graph::print::print;
use onnxc_compiler::graph::verify::verify;
use onnxc_compiler::passes::dead;
use onnxc_compiler::pipeline;
use onnxc_compiler::plan::oracle::evaluate;
use onnxc_tests::graphs::{difference, done, inputs, largest};

pub const PASS: Command = Command {
    name: "pass",
    blessed: true,
    run: |case| run(case, false),
};

pub const FUSE: Command = Command {
    name: "fuse",
    blessed: true,
    run: |case| run(case, true),
};

fn run(case: &Case, fuse: bool) -> Outcome {
    let before = match graph::typed(case) {
        Ok(m) => m,
        Err(o) => return o,
    };
    let name = case.args.first().map_or("", String::as_str);
    let Some(pass) = pipeline::passes().into_iter().find(|p| p.name == name) else {
        return Outcome::problem(1, format!("there is no pass `{name}`"));
    };
    let mut model = before.clone();
    let mut diags = Diagnostics::default();
    let mut r = pipeline::single(&mut model, pass, &mut diags);
    if fuse {
        r = r.and_then(|()| pipeline::single(&mut model, &dead::PASS, &mut diags));
    }
    if let Err(d) = r {
        diags.push(d);
    }
    if diags.has_errors() {
        return graph::problems(case, &diags);
    }
    if let Some((_, what)) = verify(&model.graph, true).first() {
        return Outcome::problem(0, what.clone());
    }
    let x = inputs(&before, &largest(&before), 1);
    let (a, b) = (done(evaluate(&before, &x)), done(evaluate(&model, &x)));
    let wrong = match (&a, &b) {
        (Ok(a), Ok(b)) => difference(a, b, 1e-5),
        (a, b) if a == b => None,
        (a, b) => Some(format!("before {a:?}, after {b:?}")),
    };
    if let Some(wrong) = wrong {
        return Outcome::problem(0, format!("the numbers change: {wrong}\n{}", print(&model)));
    }
    let mut text = print(&model);
    if fuse {
        text.push_str(&graph::remarks(&diags));
    }
    Outcome {
        text: Some(text),
        problems: vec![],
    }
}
