//! What the tool says: diagnostics on standard error, in colour or as JSON, and a summary.
//!
//! Contract: standard output belongs to the result that was asked for; everything else goes to standard error. In JSON
//! form every line there is one object.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};

use onnxc_compiler::base::diag::{Diagnostic, Kind};
use serde_json::json;

use crate::args::flags::{Color, Global, MessageFormat};

/// Where messages go.
pub struct Ui {
    json: bool,
    color: bool,
    verbose: bool,
    quiet: bool,
    errors: Cell<usize>,
    warnings: Cell<usize>,
    said: RefCell<BTreeSet<String>>,
    kept: Option<RefCell<Vec<Diagnostic>>>,
}

/// Whether messages have colour.
pub fn use_color(choice: Color) -> bool {
    match choice {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            std::io::stderr().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
                && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
        }
    }
}

impl Ui {
    /// As the flags say.
    pub fn new(flags: &Global) -> Ui {
        Ui {
            json: flags.message_format == MessageFormat::Json,
            color: flags.message_format == MessageFormat::Human && use_color(flags.color),
            verbose: flags.verbose,
            quiet: flags.quiet,
            errors: Cell::new(0),
            warnings: Cell::new(0),
            said: RefCell::default(),
            kept: None,
        }
    }

    /// One that keeps all messages for the caller of [`Ui::kept`], and prints none.
    pub fn keeping() -> Ui {
        let mut ui = Ui::early(false, false);
        ui.quiet = true;
        ui.kept = Some(RefCell::default());
        ui
    }

    /// What a keeping one was told, in order.
    pub fn kept(self) -> Vec<Diagnostic> {
        self.kept.map(RefCell::into_inner).unwrap_or_default()
    }

    /// For messages before the flags are read.
    pub fn early(json: bool, color: bool) -> Ui {
        Ui::new(&Global {
            message_format: if json {
                MessageFormat::Json
            } else {
                MessageFormat::Human
            },
            color: if color { Color::Always } else { Color::Never },
            verbose: false,
            quiet: false,
        })
    }

    /// One that says nothing, for work whose failures are told in another way.
    pub fn silent(&self) -> Ui {
        Ui::new(&Global {
            message_format: MessageFormat::Human,
            color: Color::Never,
            verbose: false,
            quiet: true,
        })
    }

    /// Whether long work may draw its progress.
    pub fn draws_progress(&self) -> bool {
        !self.json && !self.quiet && std::io::stderr().is_terminal()
    }

    /// Whether messages are JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Prints one message. What passes did is said only if asked for.
    pub fn diagnostic(&self, d: &Diagnostic) {
        if let Some(kept) = &self.kept {
            return kept.borrow_mut().push(d.clone());
        }
        if d.is_error() {
            self.errors.set(self.errors.get() + 1);
        } else if d.kind == Kind::Warning {
            self.warnings.set(self.warnings.get() + 1);
        }
        let hidden = match d.kind {
            Kind::Remark => self.quiet || (d.code == "PASS001" && !self.verbose),
            Kind::Warning => self.quiet,
            _ => false,
        };
        if !hidden {
            self.line(&self.render(d));
        }
    }

    /// Prints each of several messages.
    pub fn diagnostics<'a>(&self, list: impl IntoIterator<Item = &'a Diagnostic>) {
        for d in list {
            self.diagnostic(d);
        }
    }

    /// Says something once, however often it comes up.
    pub fn note(&self, d: &Diagnostic) {
        if self.said.borrow_mut().insert(d.message.clone()) {
            self.diagnostic(d);
        }
    }

    /// Says how many errors stopped the work.
    pub fn summary(&self, what: &str) {
        let (errors, warnings) = (self.errors.get(), self.warnings.get());
        if errors == 0 || self.json {
            return;
        }
        let count = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
        let mut text = count(errors, "error");
        if warnings > 0 {
            text += &format!(", {}", count(warnings, "warning"));
        }
        self.line(&format!("{}: {what}: {text}", self.paint("1;31", "error")));
    }

    /// One line to standard error; a closed pipe there is nobody's fault.
    fn line(&self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_string()
        }
    }

    fn render(&self, d: &Diagnostic) -> String {
        if self.json {
            return json_of(d).to_string();
        }
        let (word, color) = match d.kind {
            Kind::Remark => ("remark", "1;36"),
            Kind::Warning => ("warning", "1;33"),
            Kind::Model | Kind::Usage => ("error", "1;31"),
            Kind::Unsupported => ("unsupported", "1;31"),
            Kind::Limit => ("limit", "1;31"),
            Kind::Internal => ("internal error", "1;35"),
        };
        let mut text = self.paint(color, &format!("{word}[{}]", d.code));
        text += ": ";
        if !d.loc.is_empty() {
            text += &self.paint("1", &d.loc);
            text += ": ";
        }
        text += &d.message;
        for (i, line) in d.help.lines().enumerate() {
            let head = if i == 0 { "help:" } else { "     " };
            text += &format!("\n  {} {line}", self.paint("1;32", head));
        }
        text
    }
}

/// A message as JSON.
pub fn json_of(d: &Diagnostic) -> serde_json::Value {
    let (level, kind) = match d.kind {
        Kind::Remark => ("remark", "remark"),
        Kind::Warning => ("warning", "warning"),
        Kind::Model => ("error", "model"),
        Kind::Unsupported => ("error", "unsupported"),
        Kind::Limit => ("error", "limit"),
        Kind::Usage => ("error", "usage"),
        Kind::Internal => ("error", "internal"),
    };
    json!({
        "level": level, "kind": kind, "code": d.code,
        "location": d.loc, "message": d.message, "help": d.help,
    })
}
