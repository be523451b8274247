//! `loops verify`: reads functions and reports what the parser or the verifier finds, each at its statement.

use super::{Case, Command, Outcome, Problem};
use onnxc_compiler::loops::parse::parse_module;
use onnxc_compiler::loops::verify::verify;

pub const COMMAND: Command = Command {
    name: "loops verify",
    blessed: true,
    run,
};

fn run(case: &Case) -> Outcome {
    let (symbols, funcs) = match parse_module(&case.source) {
        Ok(m) => m,
        Err(e) => return Outcome::problem(e.line, e.message),
    };
    let mut out = Outcome::default();
    for f in &funcs {
        for p in verify(&f.func, &symbols) {
            let line = p
                .stmt
                .and_then(|s| f.lines.get(s))
                .copied()
                .unwrap_or(f.line);
            out.problems.push(Problem {
                line,
                message: p.message,
            });
        }
    }
    out
}
