//! `graph roundtrip`: what is read and printed must be the source again, comments left out; a source in another form
//! says in its expected text how it is printed. What is printed must print itself.

use super::{Case, Command, Outcome, graph};
use onnxc_compiler::graph::parse::parse;
use onnxc_compiler::graph::print::print;
use onnxc_compiler::ops;

pub const COMMAND: Command = Command {
    name: "graph roundtrip",
    blessed: true,
    run,
};

fn run(case: &Case) -> Outcome {
    let model = match graph::read(case) {
        Ok(m) => m,
        Err(o) => return o,
    };
    let printed = print(&model);
    if !printed.contains(" sha256 ") {
        match parse(&printed, ops::find) {
            Ok(back) if print(&back) == printed => {}
            Ok(_) => return Outcome::problem(0, "what is printed prints otherwise"),
            Err(e) => return Outcome::problem(0, format!("can't be read back: {e}\n{printed}")),
        }
    }
    let code = |l: &str| l.split(';').next().unwrap_or(l).trim_end().to_string();
    let source: Vec<String> = case
        .source
        .lines()
        .map(code)
        .filter(|l| !l.is_empty())
        .collect();
    let same = source.iter().map(String::as_str).eq(printed.lines());
    Outcome {
        text: (!same).then_some(printed),
        problems: vec![],
    }
}
