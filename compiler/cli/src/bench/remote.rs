//! Measuring elsewhere: the model becomes a program that times its own runs, and a command runs that.

use std::path::Path;

use onnxc_compiler::codegen::exec::Drive;

use super::clock::Times;
use super::record::{self, Row};
use super::subject;
use crate::args::flags::Bench;
use crate::engine::{self, Engine, dims, in_order};
use crate::failure::{Outcome, Status};
use crate::machine::Machine;
use crate::outputs;
use crate::progress::Bar;
use crate::remote::Remote;
use crate::ui::Ui;

/// Measures a model through a command.
pub fn run(flags: &Bench, path: &Path, command: &str, machine: &Machine, ui: &Ui) -> Outcome {
    if flags.threads.iter().any(|t| *t != 1) {
        let why = "programs for --exec run on one thread";
        return Err(onnxc_compiler::base::diag::Diagnostic::usage("USE001", why).into());
    }
    subject::with(
        &flags.into(),
        path,
        &super::references(flags),
        machine,
        ui,
        |s| {
            let artifact = s.artifact;
            crate::devices::left_out(s.job, ui);
            let inputs = in_order(artifact, &s.named())?;
            let bar = Bar::new(ui);
            let mut wrong = Vec::new();
            if !s.expected.is_empty() {
                bar.say("checking");
                let engine = Engine::new(artifact, machine, Some(command))?;
                wrong = s.wrong(&engine.run(&inputs)?);
            }
            bar.say("measuring");
            let weights = engine::weights(artifact);
            let target = &machine.target;
            let remote = Remote::new(artifact, target, weights.as_deref(), command, Drive::Time)?;
            let samples = remote.time(&dims(artifact, &inputs)?, &inputs, flags.seconds)?;
            drop(bar);
            let times = Times::of(samples);
            let text = match flags.json {
                true => super::object(s, 1, &times, &wrong).to_string() + "\n",
                false => super::line(s, 1, &times) + &super::sizes(s),
            };
            record::append(flags.record.as_deref(), machine, &[Row::of(s, 1, &times)])?;
            outputs::print(&text)?;
            super::checked(&wrong)?;
            Ok(Status::Done)
        },
    )
}
