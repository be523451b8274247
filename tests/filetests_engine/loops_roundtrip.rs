//! `loops roundtrip`: what is read and printed must be the source again, comments left out; what is printed and read
//! must be the same function.

use super::{Case, Command, Outcome};
use onnxc_compiler::base::text::symbols_text;
use onnxc_compiler::loops::compact::compact;
use onnxc_compiler::loops::parse::{parse, parse_module};
use onnxc_compiler::loops::print::print;

pub const COMMAND: Command = Command {
    name: "loops roundtrip",
    blessed: true,
    run,
};

fn run(case: &Case) -> Outcome {
    let (symbols, funcs) = match parse_module(&case.source) {
        Ok(m) => m,
        Err(e) => return Outcome::problem(e.line, e.message),
    };
    let mut printed = symbols_text(&symbols);
    for f in &funcs {
        let text = print(&f.func, &symbols);
        match parse(&text, &symbols) {
            Ok(back) if compact(&back) == compact(&f.func) => printed.push_str(&text),
            Ok(_) => return Outcome::problem(0, format!("read back as another function:\n{text}")),
            Err(e) => return Outcome::problem(0, format!("can't be read back: {e}\n{text}")),
        }
    }
    let code = |l: &str| l.split(';').next().unwrap_or(l).trim_end().to_string();
    let plain = |t: &str| {
        t.lines()
            .map(code)
            .filter(|l| !l.is_empty())
            .collect::<Vec<_>>()
    };
    let same = plain(&case.source) == plain(&printed);
    Outcome {
        // A source in another form says in its expected text how it is printed.
        text: (!same).then_some(printed),
        problems: vec![],
    }
}
