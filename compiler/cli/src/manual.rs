//! What packages ship beside the tool: completions, manual pages, and the list of all options. All of it is made from the declared flags.

use std::fmt::Write;
use std::path::Path;

use clap::{Arg, Command, CommandFactory};
pub use clap_complete::Shell;
use clap_mangen::Man;
use onnxc_compiler::base::diag::{Diagnostic, Result};

use crate::args::flags::Cli;
use crate::failure::{Outcome, Status};
use crate::outputs::Outputs;

/// The commands, with all that clap adds.
fn commands() -> Command {
    let mut all = Cli::command().disable_help_subcommand(true);
    all.build();
    all
}

/// A script for a shell.
pub fn completions(shell: Shell) -> Result<String> {
    let mut out = vec![];
    clap_complete::generate(shell, &mut commands(), "onnxc", &mut out);
    text(out)
}

/// The manual page of the tool.
pub fn page() -> Result<String> {
    render(commands())
}

/// Writes `onnxc.1` and a page for each command, such as `onnxc-verify.1`.
pub fn write_pages(folder: &Path) -> Outcome {
    let all = commands();
    let mut outputs = Outputs::default();
    for verb in all.get_subcommands().filter(|c| !c.is_hide_set()) {
        let name = verb.get_display_name().unwrap_or(verb.get_name());
        let page = render(verb.clone().version(env!("CARGO_PKG_VERSION")))?;
        outputs.add(&folder.join(format!("{name}.1")), page.as_bytes())?;
    }
    outputs.add(&folder.join("onnxc.1"), render(all)?.as_bytes())?;
    outputs.commit()?;
    Ok(Status::Done)
}

fn render(command: Command) -> Result<String> {
    let mut out = vec![];
    Man::new(command)
        .manual("onnxc")
        .render(&mut out)
        .map_err(|e| Diagnostic::internal(format!("a manual page: {e}")))?;
    text(out)
}

fn text(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|e| Diagnostic::internal(e.to_string()))
}

/// Every command and option, in Markdown. Options that all commands have come first, and are not repeated.
pub fn options() -> String {
    let all = commands();
    let mut out = String::from(
        "# Every option\n\nThis page is what `onnxc --print options` prints. A test compares the two.\n\n\
         Words of a C compiler work too: `-mcpu=`, `-march=` and `-m..`, `-O`, `-MD`, `-MMD`, `-MF`, `-MT`, `-MQ`, `-MP`. \
         `@file` reads further words from a file.\n\n## All commands\n\n",
    );
    list(&mut out, all.get_arguments());
    for verb in all.get_subcommands().filter(|c| !c.is_hide_set()) {
        let about = verb.get_about().map(ToString::to_string);
        // Writing to a String can't fail.
        let _ = write!(
            out,
            "\n## onnxc {}\n\n{}.\n\n",
            verb.get_name(),
            about.unwrap_or_default()
        );
        list(
            &mut out,
            verb.get_arguments().filter(|a| !a.is_global_set()),
        );
    }
    out
}

fn list<'a>(out: &mut String, args: impl Iterator<Item = &'a Arg>) {
    out.push_str("| option | |\n|---|---|\n");
    for a in args.filter(|a| !a.is_hide_set() && a.get_id() != "help" && a.get_id() != "version") {
        let mut words = vec![];
        words.extend(a.get_short().map(|c| format!("-{c}")));
        words.extend(a.get_long().map(|l| format!("--{l}")));
        let names = a.get_value_names().unwrap_or_default();
        let names: Vec<&str> = names.iter().map(|n| n.as_str()).collect();
        let mut option = match words.is_empty() {
            true => names.join(" "),
            false => words.join(", "),
        };
        if a.get_action().takes_values() && !words.is_empty() {
            option = format!("{option} {}", names.join(" "));
        }
        let mut help = a.get_help().map(ToString::to_string).unwrap_or_default();
        let values: Vec<String> = a
            .get_possible_values()
            .iter()
            .filter(|v| !v.is_hide_set() && a.get_action().takes_values())
            .map(|v| format!("`{}`", v.get_name()))
            .collect();
        if !values.is_empty() {
            let _ = write!(help, ": {}", values.join(", "));
        }
        let defaults: Vec<String> = a
            .get_default_values()
            .iter()
            .filter(|_| a.get_action().takes_values())
            .map(|v| v.to_string_lossy().into_owned())
            .collect();
        if !defaults.is_empty() {
            let _ = write!(help, " (default: {})", defaults.join(","));
        }
        // A bar would end the cell; angle brackets would be HTML, but not in code.
        let (option, help) = (option.replace('|', "\\|"), help.replace('|', "\\|"));
        let _ = writeln!(out, "| `{option}` | {} |", help.replace('<', "&lt;"));
    }
}
