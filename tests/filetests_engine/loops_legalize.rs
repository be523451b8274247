//! `loops legalize`: prints every function with its mathematical functions written out.

use super::{Case, Command, Outcome};
use onnxc_compiler::loops::legalize::legalize;
use onnxc_compiler::loops::parse::parse_module;
use onnxc_compiler::loops::print::print;

pub const COMMAND: Command = Command {
    name: "loops legalize",
    blessed: true,
    run,
};

fn run(case: &Case) -> Outcome {
    match parse_module(&case.source) {
        Ok((symbols, funcs)) => Outcome {
            text: Some(
                funcs
                    .iter()
                    .map(|f| print(&legalize(&f.func), &symbols))
                    .collect(),
            ),
            problems: vec![],
        },
        Err(e) => Outcome::problem(e.line, e.message),
    }
}
