//! `codegen ARCH [CPU]`: Cranelift's IR of the functions of a file.
//!
//! ```text
//! ; check: v8 = fadd      this must appear, after what earlier `check` lines found
//! ; not: call             this must not appear anywhere
//! ```
//!
//! Only fragments are checked: the text as a whole belongs to Cranelift.

use super::{Case, Command, Outcome, Problem};
use onnxc_compiler::codegen::func::compile;
use onnxc_compiler::codegen::isa::Isa;
use onnxc_compiler::loops::parse::parse_module;
use onnxc_compiler::target::Arch;
use onnxc_tests::run::target;

pub const COMMAND: Command = Command {
    name: "codegen",
    blessed: false,
    run,
};

fn run(case: &Case) -> Outcome {
    let arch = match case.args.first().map(String::as_str) {
        Some("x86_64") => Arch::X86_64,
        Some("aarch64") => Arch::Aarch64,
        other => return Outcome::problem(1, format!("unknown architecture {other:?}")),
    };
    let target = target(arch, case.args.get(1).map_or("", String::as_str));
    let (symbols, funcs) = match parse_module(&case.source) {
        Ok(m) => m,
        Err(e) => return Outcome::problem(e.line, e.message),
    };
    let isa = match Isa::new(&target, Default::default()) {
        Ok(i) => i,
        Err(e) => return Outcome::problem(0, e.to_string()),
    };
    let mut text = String::new();
    for f in funcs {
        match compile(&f.func, &symbols, &isa, true) {
            Ok(m) => text.push_str(&m.clif),
            Err(e) => return Outcome::problem(0, e.to_string()),
        }
    }
    let mut out = Outcome::default();
    let mut at = 0;
    for (line, key, value) in case.directives() {
        let message = match key.as_str() {
            "check" => match text[at..].find(&value) {
                Some(n) => {
                    at += n + value.len();
                    continue;
                }
                None => format!("`{value}` is not in\n{}", &text[at..]),
            },
            "not" if text.contains(&value) => format!("`{value}` is in\n{text}"),
            _ => continue,
        };
        out.problems.push(Problem { line, message });
    }
    out
}
