//! How a verb ends: done, a check that failed, or diagnostics; and the exit code of each.

use onnxc_compiler::base::diag::{Diagnostic, Diagnostics, Kind};

/// The exit code of a verb that ran.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// All is well: 0.
    Done,
    /// A check failed and has been reported: 1.
    Failed,
}

/// What stopped a verb.
#[derive(Debug)]
pub struct Failure(pub Vec<Diagnostic>);

/// What a verb gives back.
pub type Outcome<T = Status> = Result<T, Failure>;

impl From<Box<Diagnostic>> for Failure {
    fn from(d: Box<Diagnostic>) -> Failure {
        Failure(vec![*d])
    }
}

impl From<Diagnostics> for Failure {
    fn from(d: Diagnostics) -> Failure {
        Failure(d.list)
    }
}

impl Failure {
    /// 3 if we are at fault, 1 if the model or a file is, 2 if only the command line is.
    pub fn exit_code(&self) -> u8 {
        let mut errors = self.0.iter().filter(|d| d.is_error()).peekable();
        if errors.peek().is_none() {
            // A failure that says nothing is our fault.
            return 3;
        }
        if errors.clone().any(|d| d.kind == Kind::Internal) {
            3
        } else if errors.all(|d| matches!(d.code, "USE001" | "USE003")) {
            2
        } else {
            1
        }
    }
}

/// A file that can't be read or written.
pub fn file_error(
    doing: &str,
    path: &std::path::Path,
    e: impl std::fmt::Display,
) -> Box<Diagnostic> {
    Diagnostic::usage("USE002", format!("can't {doing} `{}`: {e}", path.display()))
}
