//! `run`: the oracle, and the optimised and planned model, on given inputs.
//!
//! ```text
//! ; run:                            begins a run
//! ; in: f32[2] [1.0, 2.0]           the inputs in order
//! ; out: f32[2] [2.0, 4.0]          the outputs in order; `out ~1e-5:` allows that difference
//! ; status: 7                       or how the run must end
//! ```
//! The numbers are written by hand or come from another program; `BLESS=1` does not touch them.

use super::{Case, Command, Outcome, Problem, graph};
use onnxc_compiler::base::tensor::Tensor;
use onnxc_compiler::base::text::Cursor;
use onnxc_compiler::graph::ir::Model;
use onnxc_compiler::graph::literal::tensor;
use onnxc_compiler::plan::build::Options;
use onnxc_compiler::plan::oracle::evaluate;
use onnxc_tests::graphs::{difference, done, machine, optimised, planned};

pub const COMMAND: Command = Command {
    name: "run",
    blessed: false,
    run,
};

#[derive(Default)]
struct Run {
    line: usize,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    tolerance: f64,
    status: Option<String>,
}

fn run(case: &Case) -> Outcome {
    let model = match graph::typed(case) {
        Ok(m) => m,
        Err(o) => return o,
    };
    let mut runs: Vec<Run> = vec![];
    let mut out = Outcome::default();
    for (line, key, value) in case.directives() {
        if key == "run" {
            runs.push(Run {
                line,
                ..Run::default()
            });
            continue;
        }
        let Some(r) = runs.last_mut() else { continue };
        let done = match key.split_whitespace().next() {
            Some("in") => literal(&value).map(|t| r.inputs.push(t)),
            Some("out") => {
                let word = key.split_once('~').map_or("0", |k| k.1);
                r.tolerance = word.parse().unwrap_or(0.0);
                literal(&value).map(|t| r.outputs.push(t))
            }
            Some("status") => {
                r.status = Some(value);
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(message) = done {
            out.problems.push(Problem { line, message });
        }
    }
    for r in &runs {
        if let Err(message) = one(&model, r) {
            out.problems.push(Problem {
                line: r.line,
                message,
            });
        }
    }
    out
}

fn literal(text: &str) -> Result<Tensor, String> {
    let mut c = Cursor::new(text).map_err(|e| e.to_string())?;
    tensor(&mut c).map_err(|e| e.to_string())
}

fn one(model: &Model, r: &Run) -> Result<(), String> {
    let best = optimised(model).map_err(|d| d.to_string())?;
    let ends = [
        ("the oracle", done(evaluate(model, &r.inputs))),
        (
            "the plan",
            done(planned(
                &best,
                &machine(false),
                &Options::default(),
                &r.inputs,
            )),
        ),
    ];
    for (who, end) in ends {
        match (&r.status, end) {
            (None, Ok(got)) => {
                if let Some(d) = difference(&r.outputs, &got, r.tolerance) {
                    return Err(format!("{who}: expected and got: {d}"));
                }
            }
            (Some(s), Err(e)) if e == format!("it ended with status {s}") => {}
            (_, end) => return Err(format!("{who}: {end:?}")),
        }
    }
    Ok(())
}
