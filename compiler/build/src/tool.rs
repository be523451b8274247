//! The compiler: the one in this crate, or a tool beside it. Both take the words of the command line.

use std::ffi::OsString;
use std::process::Command;

use serde_json::Value;

use crate::environment::Environment;
use crate::error::Message;
use crate::stamp;

/// Runs `onnxc compile` on `words`. Gives all messages; one is an error where it failed.
pub fn compile(words: Vec<OsString>, env: &Environment) -> Vec<Message> {
    match env.user("ONNXC") {
        Some(tool) => call(&tool, words),
        #[cfg(feature = "compiler")]
        None => onnxc::inside::compile(words)
            .iter()
            .filter_map(|d| Message::of_json(&onnxc::ui::json_of(d)))
            .collect(),
        #[cfg(not(feature = "compiler"))]
        None => call("onnxc", words),
    }
}

/// What tells the compiler that [`compile`] runs from another one. The one in this crate goes by its version and sources, not by the program
/// that it is linked into: that changes with the build script, and the compiler does not.
pub fn identity(env: &Environment) -> String {
    match env.user("ONNXC") {
        Some(tool) => installed(&tool),
        #[cfg(feature = "compiler")]
        None => concat!(env!("CARGO_PKG_VERSION"), " ", env!("ONNXC_BUILD_SOURCES")).into(),
        #[cfg(not(feature = "compiler"))]
        None => installed("onnxc"),
    }
}

// A tool by its contents: packages are installed with any date.
fn installed(tool: &str) -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = match tool.contains('/') {
        true => Some(tool.into()),
        false => std::env::split_paths(&path)
            .map(|folder| folder.join(tool))
            .find(|file| file.is_file()),
    };
    let digest =
        found.and_then(|file| Some(format!("{file:?} {}", stamp::digest(&file, None).ok()?)));
    digest.unwrap_or_else(|| tool.to_string())
}

fn call(tool: &str, words: Vec<OsString>) -> Vec<Message> {
    let out = Command::new(tool)
        .args(["compile", "--message-format", "json"])
        .args(words)
        .output();
    let out = match out {
        Ok(out) => out,
        Err(e) => {
            return vec![Message::error(
                format!("can't run the compiler `{tool}`: {e}"),
                "install it (cargo install onnxc), name it by ONNXC=/path/to/onnxc, or leave the feature `compiler` of onnxc-build on",
            )];
        }
    };
    let text = String::from_utf8_lossy(&out.stderr);
    let lines = text.lines().map(serde_json::from_str::<Value>);
    let mut all: Vec<Message> = lines.filter_map(|v| Message::of_json(&v.ok()?)).collect();
    if !out.status.success() && !all.iter().any(Message::is_error) {
        let text = format!("`{tool}` ended with {}: {}", out.status, text.trim());
        all.push(Message::error(text, ""));
    }
    all
}

#[cfg(all(test, feature = "compiler"))]
mod tests {
    use super::*;
    use std::hash::{DefaultHasher, Hasher};

    #[test]
    fn the_compiler_inside_goes_by_its_sources() {
        let inside = identity(&Environment::of([("X", "y")]));
        let (version, sources) = inside.split_once(' ').unwrap();
        assert_eq!(version, env!("CARGO_PKG_VERSION"));
        // These tests lie in a checkout.
        let nothing = format!("{:016x}", DefaultHasher::new().finish());
        assert_ne!(sources, nothing);
        let tool = identity(&Environment::of([("ONNXC", "/no/such/onnxc")]));
        assert_ne!(tool, inside);
    }
}
