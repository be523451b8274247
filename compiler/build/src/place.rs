//! Putting files where they belong: only what differs is written, so that nothing later is built anew.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::Message;

/// A folder in which a compilation leaves its files, and which goes when it is dropped.
pub struct Stage(PathBuf);

impl Stage {
    /// An empty folder in `dir`.
    pub fn new(dir: &Path, name: &str) -> Result<Stage, Message> {
        let stage = Stage(dir.join(format!(".{name}.onnxc-{}", std::process::id())));
        let _ = fs::remove_dir_all(&stage.0);
        fs::create_dir_all(&stage.0).map_err(|e| failed("make", &stage.0, e))?;
        Ok(stage)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What can't be removed lies in cargo's own folder and harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Moves a file to its name, unless it has these contents already.
pub fn place(from: &Path, to: &Path) -> Result<(), Message> {
    let new = fs::read(from).map_err(|e| failed("read", from, e))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    if fs::rename(from, to).is_ok() {
        return Ok(());
    }
    // On another file system: written beside it first, so that the name never has half of it.
    let mut temporary = to.as_os_str().to_owned();
    temporary.push(format!(".onnxc-{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let written = fs::write(&temporary, &new).and_then(|()| fs::rename(&temporary, to));
    written.map_err(|e| {
        let _ = fs::remove_file(&temporary);
        failed("write", to, e)
    })
}

/// What a file operation failed by.
pub fn failed(doing: &str, path: &Path, e: io::Error) -> Message {
    Message {
        code: "USE002".into(),
        ..Message::error(format!("can't {doing} `{}`: {e}", path.display()), "")
    }
}

/// The files that a rule of make depends on.
pub fn prerequisites(rule: &str) -> Vec<String> {
    let mut out = vec![];
    let mut word = String::new();
    let mut chars = rule.chars();
    let mut dollar = false;
    // The name in front of the colon is one that was given, without blanks.
    for c in chars.by_ref() {
        if c == ':' {
            break;
        }
    }
    let mut slashes = 0;
    for c in chars {
        match c {
            '\\' => {
                slashes += 1;
                continue;
            }
            // Before a blank the last one escapes it, and the others are doubled; before a line's end it continues the line.
            ' ' | '\t' if slashes % 2 == 1 => {
                word.extend(std::iter::repeat_n('\\', slashes / 2));
                word.push(c);
            }
            '#' => {
                word.extend(std::iter::repeat_n('\\', slashes.saturating_sub(1)));
                word.push(c);
            }
            ' ' | '\t' | '\n' => {
                out.extend(Some(std::mem::take(&mut word)).filter(|w| !w.is_empty()));
            }
            '$' if word.ends_with('$') && dollar => {
                dollar = false;
                slashes = 0;
                continue;
            }
            _ => {
                word.extend(std::iter::repeat_n('\\', slashes));
                word.push(c);
            }
        }
        dollar = c == '$';
        slashes = 0;
    }
    out.extend(Some(word).filter(|w| !w.is_empty()));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let stage = Stage::new(dir.path(), "m").unwrap();
        let to = dir.path().join("m.rs");
        let put = |text: &str| {
            fs::write(stage.file("m"), text).unwrap();
            place(&stage.file("m"), &to).unwrap();
            fs::metadata(&to).unwrap().modified().unwrap()
        };
        let first = put("one");
        let old = first - std::time::Duration::from_secs(100);
        fs::File::open(&to).unwrap().set_modified(old).unwrap();
        assert_eq!(put("one"), old);
        assert_ne!(put("two"), old);
        assert_eq!(fs::read_to_string(&to).unwrap(), "two");
        drop(stage);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(place(&dir.path().join("none"), &to).is_err());
    }

    #[test]
    fn rules_are_read_as_they_are_written() {
        assert_eq!(
            prerequisites("m: \\\n  a/m.onnx \\\n  b\\ c.bin \\\n  d$$e\\#f \\\n  a\\b\n"),
            ["a/m.onnx", "b c.bin", "d$e#f", "a\\b"]
        );
        assert!(prerequisites("m:\n").is_empty());
    }
}
