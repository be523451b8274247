//! `graph verify`: reads a graph and reports what the parser, the verifier or inference finds, each at its node.

use super::{Case, Command, Outcome, Problem, graph};
use onnxc_compiler::graph::verify::verify;

pub const COMMAND: Command = Command {
    name: "graph verify",
    blessed: true,
    run,
};

fn run(case: &Case) -> Outcome {
    let model = match graph::read(case) {
        Ok(m) => m,
        Err(o) => return o,
    };
    let mut out = Outcome::default();
    for (n, message) in verify(&model.graph, false) {
        let loc = n.map(|n| model.graph.describe(n)).unwrap_or_default();
        out.problems.push(Problem {
            line: graph::line(case, &loc),
            message,
        });
    }
    match out.problems.is_empty() {
        true => graph::typed(case).err().unwrap_or_default(),
        false => out,
    }
}
