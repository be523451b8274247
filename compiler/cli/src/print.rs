//! `--print`: lists of targets, CPUs, features, operators, and the pipeline. Standard output, one item a line.

use onnxc_compiler::onnx::supported;
use onnxc_compiler::pass::Pass;
use onnxc_compiler::pipeline::{OFF, PIPELINE, Step};
use onnxc_targets::features::FEATURES;
use onnxc_targets::triple::{Target, WELL_KNOWN};
use onnxc_targets::{cpu, native};

use crate::args::flags::{Compile, Print};
use crate::failure::{Outcome, Status};
use crate::manual::{self, Shell};
use crate::table::{Align, Table};

/// Prints a list.
pub fn run(list: Print, flags: &Compile) -> Outcome {
    let text = match list {
        Print::TargetList => WELL_KNOWN.join("\n") + "\n",
        Print::TargetCpus => cpus(flags)?,
        Print::TargetFeatures => features(flags)?,
        Print::SupportedOps => operators(),
        Print::Pipeline => pipeline(),
        Print::Options => manual::options(),
        Print::CompletionsBash => manual::completions(Shell::Bash)?,
        Print::CompletionsZsh => manual::completions(Shell::Zsh)?,
        Print::CompletionsFish => manual::completions(Shell::Fish)?,
        Print::Man => match &flags.output {
            Some(folder) => return manual::write_pages(folder),
            None => manual::page()?,
        },
    };
    crate::outputs::print(&text)?;
    Ok(Status::Done)
}

fn target(flags: &Compile) -> Outcome<Target> {
    Ok(match &flags.target.target {
        Some(text) => Target::parse(text)?,
        None => Target::host()?,
    })
}

fn cpus(flags: &Compile) -> Outcome<String> {
    let arch = target(flags)?.arch;
    let mut table = Table::new(&[("CPU", Align::Left), ("features", Align::Left)]);
    if native::arch() == Some(arch)
        && let Ok(host) = native::host(arch)
    {
        let names = host.features.names().join(" ");
        table.row(vec!["native".into(), format!("(this machine) {names}")]);
    }
    for c in cpu::all(arch) {
        table.row(vec![c.name.into(), c.features.names().join(" ")]);
    }
    Ok(table.text(usize::MAX))
}

fn features(flags: &Compile) -> Outcome<String> {
    let arch = target(flags)?.arch;
    let mut table = Table::new(&[("feature", Align::Left), ("what it is", Align::Left)]);
    for f in FEATURES.iter().filter(|f| f.arch == arch) {
        table.row(vec![f.name.into(), f.about.into()]);
    }
    Ok(table.text(usize::MAX))
}

/// Every ONNX operator that can be imported, by domain and name, with its opsets.
pub fn operators() -> String {
    let mut table = Table::new(&[("operator", Align::Left), ("opsets", Align::Left)]);
    for s in supported() {
        let name = match s.domain {
            "" => s.name.to_string(),
            d => format!("{d}:{}", s.name),
        };
        table.row(vec![name, format!("{}..{}", s.since, s.until)]);
    }
    table.text(usize::MAX)
}

fn pipeline() -> String {
    let mut table = Table::new(&[
        ("pass", Align::Left),
        ("what it does, or why it stands here", Align::Left),
    ]);
    for step in PIPELINE {
        match step {
            Step::Once(pass, why) => {
                table.row(vec![pass.name.into(), format!("{}; {why}", about(pass))])
            }
            Step::Until(passes, _, why) => {
                table.row(vec!["until stable:".into(), (*why).into()]);
                for pass in *passes {
                    table.row(vec![format!("  {}", pass.name), about(pass)]);
                }
            }
        }
    }
    table.text(usize::MAX)
}

/// What a pass does, and how it is switched on where it is off.
fn about(pass: &Pass) -> String {
    match OFF.iter().any(|p| p.name == pass.name) {
        true => format!("{} (off by default: --enable-pass {})", pass.doc, pass.name),
        false => pass.doc.into(),
    }
}

/// Names of all passes and fusions.
pub fn passes() -> Vec<&'static str> {
    let mut names: Vec<&str> = Vec::new();
    for step in PIPELINE {
        match step {
            Step::Once(pass, _) => names.push(pass.name),
            Step::Until(passes, ..) => names.extend(passes.iter().map(|p| p.name)),
        }
    }
    names
}
