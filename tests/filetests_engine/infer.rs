//! `infer`: prints the graph with every type inferred and what shapes hang on folded.

use super::{Case, Command, Outcome, graph};
use onnxc_compiler::graph::print::print;

pub const COMMAND: Command = Command {
    name: "infer",
    blessed: true,
    run,
};

fn run(case: &Case) -> Outcome {
    match graph::typed(case) {
        Ok(model) => Outcome {
            text: Some(print(&model)),
            problems: vec![],
        },
        Err(o) => o,
    }
}
