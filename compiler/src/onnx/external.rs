//! Tensor data outside the model's file: where it may lie, and cutting it out.
//!
//! The compiler touches no files: the caller hands in [`Files`]. A location is a relative path below the model's
//! folder; whatever could leave that folder is refused here, before anybody opens anything. (Symbolic links are the
//! business of the caller, who knows the file system.)

use super::proto::TensorProto;
use crate::base::diag::{Diagnostic, Result};
use bytes::Bytes;
use std::collections::BTreeMap;

/// The files beside a model.
pub trait Files {
    /// The contents of the file `location`, a checked relative path with `/` between its parts.
    fn map(&self, location: &str) -> Result<Bytes>;
}

/// No files: models in memory.
pub struct NoFiles;

impl Files for NoFiles {
    fn map(&self, location: &str) -> Result<Bytes> {
        Err(Diagnostic::usage(
            "ONNX005",
            format!("external data `{location}` is not available for a model in memory"),
        ))
    }
}

/// Reads tensors' external data; every file is asked for once.
pub struct External<'a> {
    files: &'a dyn Files,
    open: BTreeMap<String, Bytes>,
}

impl<'a> External<'a> {
    /// Over the caller's files.
    pub fn new(files: &'a dyn Files) -> Self {
        External {
            files,
            open: BTreeMap::new(),
        }
    }

    /// The `need` bytes of `t`.
    pub fn read(&mut self, t: &TensorProto, need: usize) -> Result<Bytes> {
        let (mut location, mut offset, mut length) = (None, 0u64, None);
        for e in &t.external_data {
            let number = || {
                e.value.trim().parse::<u64>().map_err(|_| {
                    Diagnostic::model(
                        "ONNX005",
                        format!("external data: `{}` = {:?} is no size", e.key, e.value),
                    )
                })
            };
            match e.key.as_str() {
                "location" => location = Some(e.value.as_str()),
                "offset" => offset = number()?,
                "length" => length = Some(number()?),
                // `checksum` and what later versions may add don't change the data.
                _ => {}
            }
        }
        let location = location.ok_or_else(|| {
            Diagnostic::model("ONNX005", "external data without a `location`".to_string())
        })?;
        let path = confine(location)?;
        if length.is_some_and(|n| n != need as u64) {
            return Err(Diagnostic::model(
                "ONNX005",
                format!(
                    "external data of {} bytes in `{path}`, but the tensor needs {need}",
                    length.unwrap_or(0)
                ),
            ));
        }
        if need == 0 {
            return Ok(Bytes::new());
        }
        let file = match self.open.get(&path) {
            Some(f) => f.clone(),
            None => {
                let f = self.files.map(&path)?;
                self.open.insert(path.clone(), f.clone());
                f
            }
        };
        let start = usize::try_from(offset).ok();
        let end = start.and_then(|s| s.checked_add(need));
        match (start, end) {
            (Some(s), Some(e)) if e <= file.len() => Ok(file.slice(s..e)),
            _ => Err(Diagnostic::model(
                "ONNX005",
                format!(
                    "external data at {offset} + {need} bytes lies beyond the end of `{path}` ({} bytes)",
                    file.len()
                ),
            )),
        }
    }
}

/// The path with `/` between its parts, if it can't leave the folder it is relative to.
pub fn confine(location: &str) -> Result<String> {
    let bad = |why: &str| {
        Err(
            Diagnostic::model("ONNX005", format!("external data path {location:?} {why}"))
                .help("external data must lie in the model's folder or below"),
        )
    };
    if location.chars().any(|c| c.is_control()) {
        return bad("holds control characters");
    }
    // Both separators count on every host: a file must mean the same everywhere.
    if location.starts_with(['/', '\\']) {
        return bad("is absolute");
    }
    let mut parts = vec![];
    for p in location.split(['/', '\\']) {
        match p {
            "" | "." => {}
            ".." => return bad("leaves the model's folder"),
            // `C:x` is relative to another drive's folder, `x:stream` names no plain file.
            p if p.contains(':') => return bad("names a drive or stream"),
            p => parts.push(p),
        }
    }
    if parts.is_empty() {
        return bad("names no file");
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_confined() {
        for p in [
            "/etc/passwd",
            "\\x",
            "../x",
            "a/../../x",
            "a\\..\\x",
            "C:\\x",
            "c:x",
            "",
            ".",
            "a\0b",
        ] {
            assert_eq!(confine(p).unwrap_err().code, "ONNX005", "{p:?}");
        }
        assert_eq!(confine("./a//b\\c.bin").unwrap(), "a/b/c.bin");
        assert_eq!(confine("..a/b..").unwrap(), "..a/b..");
    }
}
