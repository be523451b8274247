//! Compiling inside another program, such as a build script: the words of the command line in, messages out.
//!
//! Nothing is printed, and the process keeps its panic hook. Files are written as the tool writes them.

use std::ffi::OsString;

use onnxc_compiler::base::diag::Diagnostic;

use crate::args::flags::Verb;
use crate::args::{self, Parsed};
use crate::ui::Ui;
use crate::{STACK, compile};

/// Runs the verb `compile` on the words behind it. Gives all messages in order; files are written unless one is an error.
pub fn compile(words: Vec<OsString>) -> Vec<Diagnostic> {
    let worker = std::thread::Builder::new().stack_size(STACK);
    let failed = |text: String| vec![*Diagnostic::internal(text)];
    match worker.spawn(move || on_this_thread(words)) {
        Ok(thread) => thread.join().unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(|s| s.to_string());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            failed(text.unwrap_or_else(|| "unknown".into()))
        }),
        Err(e) => failed(format!("can't start a thread: {e}")),
    }
}

fn on_this_thread(words: Vec<OsString>) -> Vec<Diagnostic> {
    let argv = std::iter::once(OsString::from("compile")).chain(words);
    let flags = match args::parse(argv.collect(), false) {
        Parsed::Run(cli) => match cli.verb {
            Verb::Compile(flags) => flags,
            _ => return vec![*Diagnostic::internal("another verb than compile")],
        },
        Parsed::Mistake { diagnostic, .. } => return vec![*diagnostic],
        Parsed::Text(text) => return vec![*Diagnostic::usage("USE001", text)],
    };
    let ui = Ui::keeping();
    let outcome = compile::run(&flags, &ui);
    let mut all = ui.kept();
    if let Err(failure) = outcome {
        if failure.0.iter().all(|d| !d.is_error()) {
            all.push(*Diagnostic::internal("the work stopped without a reason"));
        }
        all.extend(failure.0);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back() {
        let words = |list: &[&str]| list.iter().map(OsString::from).collect::<Vec<_>>();
        let said = compile(words(&["no/such/model.onnx"]));
        assert!(said.last().is_some_and(|d| d.code == "USE002"), "{said:?}");
        let said = compile(words(&["m.onnx", "--no-such-flag"]));
        assert!(said.last().is_some_and(|d| d.code == "USE001"), "{said:?}");
    }
}
