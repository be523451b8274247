//! What the commands over graphs share: reading, finding the line of a message, remarks.

use super::{Case, Outcome, Problem};
use onnxc_compiler::base::diag::{Diagnostic, Diagnostics, Kind};
use onnxc_compiler::graph::ir::Model;
use onnxc_compiler::graph::parse::parse;
use onnxc_compiler::kernel::Machine;
use onnxc_compiler::ops;
use onnxc_compiler::passes::resolve;
use onnxc_compiler::pipeline;

/// The graph of a file.
pub fn read(case: &Case) -> Result<Model, Outcome> {
    parse(&case.source, ops::find).map_err(|e| Outcome::problem(e.line, e.message))
}

/// The graph with its types inferred.
pub fn typed(case: &Case) -> Result<Model, Outcome> {
    let mut model = read(case)?;
    let mut diags = Diagnostics::default();
    if let Err(d) = pipeline::single(&mut model, &resolve::PASS, &mut diags) {
        diags.push(d);
    }
    match diags.has_errors() {
        true => Err(problems(case, &diags)),
        false => Ok(model),
    }
}

/// Errors, each at the line of its node.
pub fn problems(case: &Case, diags: &Diagnostics) -> Outcome {
    let errors = diags.list.iter().filter(|d| d.is_error());
    Outcome {
        text: None,
        problems: errors
            .map(|d| Problem {
                line: line(case, &d.loc),
                message: d.message.clone(),
            })
            .collect(),
    }
}

/// The line where the node stands that a message calls `node "name" (Operator)`: the first with that name and operator.
pub fn line(case: &Case, loc: &str) -> usize {
    let Some((name, op)) = loc
        .strip_prefix("node \"")
        .and_then(|l| l.rsplit_once("\" ("))
    else {
        return 0;
    };
    let op = format!("= {}(", op.trim_end_matches(')'));
    let found = case.source.lines().position(|l| {
        let named = name.split('+').all(|n| l.contains(&format!("\"{n}\"")));
        l.contains(&op) && (name.is_empty() || named)
    });
    found.map_or(0, |i| i + 1)
}

/// Remarks as lines `remark PLACE: TEXT`.
pub fn remarks(diags: &Diagnostics) -> String {
    let remarks = diags
        .list
        .iter()
        .filter(|d: &&Diagnostic| matches!(d.kind, Kind::Remark));
    remarks
        .map(|d| format!("remark {}: {}\n", d.loc, d.message))
        .collect()
}

/// The machine that a file asks for: with vectors and tiles after the word `tiles`, else a plain one.
pub fn machine(case: &Case) -> Machine {
    onnxc_tests::graphs::machine(!case.args.iter().any(|a| a == "tiles"))
}
