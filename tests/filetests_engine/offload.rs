//! `offload`: the graph after inference and the pass `offload`, with a toy accelerator whose answers the first line has, and then what became of
//! each node. Words: `work=A,B` and `move=A,B` are the operators that it claims, `refuse=A` is one that its encoder refuses, `apart=TYPE` a type
//! that can't cross its borders, `last` asks for channels-last, `gain=X` and `most=N` set the request, `require=PATTERN` names nodes. The graph must give
//! the same numbers before and after, on inputs from a seed.

use super::{Case, Command, Outcome, graph};
use onnxc_compiler::base::diag::Diagnostics;
use onnxc_compiler::base::offload::{Layout, Place};
use onnxc_compiler::base::rounding::Rounding;
use onnxc_compiler::base::types::TensorType;
use onnxc_compiler::graph::ir::{Graph, NodeId};
use onnxc_compiler::graph::print::print;
use onnxc_compiler::npu::{Accelerator, Claim, Encoded, Refusal, Request, Speed};
use onnxc_compiler::passes::offload;
use onnxc_compiler::pipeline::{self, Options};
use onnxc_compiler::plan::oracle::evaluate;
use onnxc_tests::graphs::{difference, done, inputs, largest};
use std::fmt::Write;
use std::sync::Arc;

pub const COMMAND: Command = Command {
    name: "offload",
    blessed: true,
    run,
};

#[derive(Debug)]
struct Toy {
    args: Vec<String>,
}

impl Toy {
    fn word(&self, key: &str) -> Option<&str> {
        let mut found = self
            .args
            .iter()
            .filter_map(|a| a.strip_prefix(key)?.strip_prefix('='));
        found.next()
    }
    fn lists(&self, key: &str, op: &str) -> bool {
        self.word(key)
            .is_some_and(|l| l.split(',').any(|o| o == op))
    }
}

impl Accelerator for Toy {
    fn name(&self) -> &str {
        "toy"
    }
    fn target(&self) -> String {
        "toy-1".into()
    }
    fn options(&self) -> String {
        "toy".into()
    }
    fn rounding(&self) -> Option<Rounding> {
        None
    }
    fn border(&self, ty: &TensorType) -> Result<(), String> {
        match self.lists("apart", ty.dtype.name()) {
            true => Err(format!("{} can't cross the border", ty.dtype)),
            false => Ok(()),
        }
    }
    fn layout(&self, ty: &TensorType) -> Layout {
        match ty.rank() == 4 && self.args.iter().any(|a| a == "last") {
            true => Layout::ChannelsLast,
            false => Layout::Plain,
        }
    }
    fn claim(&self, g: &Graph, n: NodeId) -> Claim {
        let op = g.node(n).op.name;
        match (self.lists("work", op), self.lists("move", op)) {
            (true, _) => Claim::Work,
            (_, true) => Claim::Move,
            _ => Claim::No(format!("a toy has no {op}")),
        }
    }
    fn encode(&self, body: &Graph) -> Result<Encoded, Refusal> {
        let names: Vec<&str> = body.order().iter().map(|&n| body.node(n).op.name).collect();
        let refused = body
            .order()
            .iter()
            .find(|&&n| self.lists("refuse", body.node(n).op.name));
        match refused {
            Some(&n) => Err(Refusal {
                node: Some(n),
                why: "not today".into(),
            }),
            None => Ok(Encoded {
                blob: names.join(" ").into_bytes().into(),
                cycles: 1000,
                ..Encoded::default()
            }),
        }
    }
    fn speed(&self) -> Speed {
        Speed {
            hertz: 1_000_000_000,
            bytes_per_second: 1_000_000_000,
            overhead_ns: 1000,
            least_macs_per_second: 1_000_000,
        }
    }
}

fn run(case: &Case) -> Outcome {
    let before = match graph::typed(case) {
        Ok(m) => m,
        Err(o) => return o,
    };
    let toy = Toy {
        args: case.args.clone(),
    };
    let gain = toy.word("gain").and_then(|g| g.parse().ok());
    let most = toy.word("most").and_then(|g| g.parse().ok());
    let required = toy.word("require").map(str::to_string);
    let options = Options {
        npu: Request {
            min_gain: gain.unwrap_or(0.0),
            max_regions: most.unwrap_or(8),
            required: required.into_iter().collect(),
            accelerators: vec![Arc::new(toy)],
            ..Request::default()
        },
        ..Options::default()
    };
    let mut model = before.clone();
    let mut diags = Diagnostics::default();
    if let Err(d) = pipeline::single_with(&mut model, &offload::PASS, &options, &mut diags) {
        diags.push(d);
    }
    if diags.has_errors() {
        return graph::problems(case, &diags);
    }
    let x = inputs(&before, &largest(&before), 1);
    let (a, b) = (done(evaluate(&before, &x)), done(evaluate(&model, &x)));
    let wrong = match (&a, &b) {
        (Ok(a), Ok(b)) => difference(a, b, 1e-6),
        (a, b) => Some(format!("before {a:?}, after {b:?}")),
    };
    if let Some(wrong) = wrong {
        return Outcome::problem(0, format!("the numbers change: {wrong}\n{}", print(&model)));
    }
    let mut text = print(&model);
    for f in &model.offload.fates {
        let _ = match &f.place {
            Place::Device(slot) => writeln!(text, "{} {}: region {slot}", f.op, f.node),
            Place::Cpu(why) => {
                let why: Vec<&str> = why.iter().map(|(_, w)| w.as_str()).collect();
                writeln!(text, "{} {}: CPU, {}", f.op, f.node, why.join("; "))
            }
        };
    }
    for r in &model.offload.regions {
        let _ = writeln!(
            text,
            "region {}: {}",
            r.slot,
            String::from_utf8_lossy(&r.blob)
        );
    }
    Outcome {
        text: Some(text),
        problems: vec![],
    }
}
