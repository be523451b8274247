//! What went wrong, in the compiler's own words.

use std::fmt;

use serde_json::{Value, json};

/// One message of the compiler.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// `error`, `warning` or `remark`.
    pub level: String,
    /// A stable code, such as `ONNX007`; `docs/diagnostics.md` explains each.
    pub code: String,
    /// The node or file, or nothing.
    pub location: String,
    /// What is the matter.
    pub text: String,
    /// What to do about it, or nothing.
    pub help: String,
}

impl Message {
    /// Reads one line of `--message-format json`.
    pub(crate) fn of_json(v: &Value) -> Option<Message> {
        let text = |key: &str| v.get(key)?.as_str().map(str::to_string);
        Some(Message {
            level: text("level")?,
            code: text("code")?,
            location: text("location").unwrap_or_default(),
            text: text("message")?,
            help: text("help").unwrap_or_default(),
        })
    }

    /// As [`Message::of_json`] reads it.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "level": self.level, "code": self.code, "location": self.location,
            "message": self.text, "help": self.help,
        })
    }

    /// One of this crate's own.
    pub(crate) fn error(text: impl Into<String>, help: impl Into<String>) -> Message {
        Message {
            level: "error".into(),
            code: "USE001".into(),
            location: String::new(),
            text: text.into(),
            help: help.into(),
        }
    }

    /// Whether it stops a compilation.
    pub fn is_error(&self) -> bool {
        self.level == "error"
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]: ", self.level, self.code)?;
        if !self.location.is_empty() {
            write!(f, "{}: ", self.location)?;
        }
        f.write_str(&self.text)?;
        if !self.help.is_empty() {
            write!(f, "\n  help: {}", self.help)?;
        }
        Ok(())
    }
}

/// Why a model was not compiled. `Debug` shows the same as `Display`, since that is what a build script's `main` prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    model: String,
    messages: Vec<Message>,
}

impl Error {
    pub(crate) fn new(model: impl Into<String>, messages: Vec<Message>) -> Error {
        Error {
            model: model.into(),
            messages,
        }
    }

    /// All messages in order, warnings among them.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "onnxc can't compile `{}`", self.model)?;
        for m in self.messages.iter().filter(|m| m.is_error()) {
            write!(f, "\n{m}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}
