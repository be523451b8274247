//! The command line: from the words of `argv` to typed flags.
//!
//! Two steps. [`words`] reads what clap can't (`@file`, gcc's `-m...`, `-MD -MF`, bare `-O`, the default verb); what
//! leaves it is plain long options, which [`flags`] declares. Nothing here touches a model.

pub mod bench;
pub mod budget;
pub mod choices;
pub mod eval;
pub mod explain;
pub mod flags;
pub mod npu;
mod parse;
pub mod prune;
pub mod quantize;
pub mod reports;
pub mod tune;
pub mod updates;
pub mod weights;
pub mod words;

use std::ffi::OsString;

use clap::CommandFactory;
use onnxc_compiler::base::diag::Diagnostic;

use flags::{Cli, Verb};

/// `bench --device npu:NAME` is `bench --npu NAME`; without a name it is the simulated one.
pub fn settle(cli: &mut Cli) {
    if let Verb::Bench(bench) = &mut cli.verb
        && let Some(name) = bench.device.as_deref().and_then(|d| d.strip_prefix("npu"))
    {
        let name = name
            .strip_prefix(':')
            .filter(|n| !n.is_empty())
            .unwrap_or("sim");
        bench.code.npu.npu.push(name.to_string());
    }
}

/// What the command line asks for.
pub enum Parsed {
    /// A verb with its flags.
    Run(Box<Cli>),
    /// Text that was asked for: help or version.
    Text(String),
    /// A mistake in the words; `text` is for a terminal, `diagnostic` for machines.
    Mistake {
        /// What a person reads.
        text: String,
        /// The same as a diagnostic.
        diagnostic: Box<Diagnostic>,
    },
}

/// Reads the words behind the program's name.
pub fn parse(argv: Vec<OsString>, color: bool) -> Parsed {
    let argv = match words::prepare(argv, &Cli::command()) {
        Ok(argv) => argv,
        Err(diagnostic) => {
            return Parsed::Mistake {
                text: String::new(),
                diagnostic,
            };
        }
    };
    let argv = std::iter::once(OsString::from("onnxc")).chain(argv);
    let choice = if color {
        clap::ColorChoice::Always
    } else {
        clap::ColorChoice::Never
    };
    let matches = Cli::command().color(choice).try_get_matches_from(argv);
    let cli = matches.and_then(|m| <Cli as clap::FromArgMatches>::from_arg_matches(&m));
    match cli {
        Ok(cli) => Parsed::Run(Box::new(cli)),
        Err(e) => {
            let text = if color {
                e.render().ansi().to_string()
            } else {
                e.render().to_string()
            };
            if !e.use_stderr() {
                return Parsed::Text(text);
            }
            let plain = e.render().to_string();
            let mut lines = plain.lines();
            let first = lines.next().unwrap_or_default();
            let message = first.strip_prefix("error: ").unwrap_or(first);
            let rest: Vec<&str> = lines.map(str::trim).filter(|l| !l.is_empty()).collect();
            Parsed::Mistake {
                text,
                diagnostic: Diagnostic::usage("USE001", message).help(rest.join("; ")),
            }
        }
    }
}

/// Whether the flags declared are consistent; clap checks what a parse can't.
#[cfg(test)]
#[test]
fn declared_flags_are_consistent() {
    Cli::command().debug_assert();
    use clap::Parser;
    assert!(Cli::try_parse_from(["onnxc", "compile", "m.onnx"]).is_ok());
}
