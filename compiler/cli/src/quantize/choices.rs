//! Files of choices: which layers compute in 8 bits and which in floats. A line for each, made to be read, compared and committed.

use onnxc_compiler::base::diag::{Diagnostic, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use super::groups::Group;
use crate::failure::file_error;

/// Lines behind which unknown names are only counted.
const NAMED: usize = 8;

/// What a layer computes in.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 8 bits.
    Int8,
    /// Single precision.
    Float,
}

impl Precision {
    /// As files spell it.
    pub fn word(self) -> &'static str {
        match self {
            Precision::Int8 => "int8",
            Precision::Float => "float",
        }
    }
}

/// What was chosen for a layer.
#[derive(Clone, PartialEq, Debug)]
pub struct Choice {
    /// The layer.
    pub name: String,
    /// What it computes in.
    pub precision: Precision,
    /// SQNR in decibels of the worst output where this layer alone is in 8 bits; `None`: not measured.
    pub sqnr: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    layers: BTreeMap<String, Line>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    precision: Precision,
    sqnr_db: Option<f64>,
}

/// The file's text.
pub fn text(choices: &[Choice]) -> String {
    let mut out = String::from(
        "# What each layer computes in, as `onnxc quantize --choices` reads it; lines may be changed by hand.\n\
         # sqnr_db: of the worst output, where this layer alone is in 8 bits.\n\
         version = 1\n\n[layers]\n",
    );
    for c in choices {
        let name = quoted(&c.name);
        // Writing to a String can't fail.
        let _ = write!(out, "{name} = {{ precision = \"{}\"", c.precision.word());
        if let Some(v) = c.sqnr.filter(|v| v.is_finite()) {
            let _ = write!(out, ", sqnr_db = {v:.2}");
        }
        out += " }\n";
    }
    out
}

/// A name between quotes, on one line. JSON's escapes are TOML's, but for one letter that it leaves alone.
fn quoted(name: &str) -> String {
    let text = serde_json::Value::from(name).to_string();
    text.replace('\u{7f}', "\\u007F")
}

/// Reads a file for the layers of a model, in their order. Layers that it does not name are in 8 bits. `other`: names that the model has, but are not
/// to be quantized by other flags.
pub fn read(path: &Path, groups: &[Group], other: &[Group]) -> Result<Vec<Choice>> {
    let text = std::fs::read_to_string(path).map_err(|e| file_error("read", path, e))?;
    let bad = |why: String| Diagnostic::usage("USE010", format!("`{}`: {why}", path.display()));
    let mut file: File = toml::from_str(&text).map_err(|e| bad(e.to_string().trim().into()))?;
    if file.version != 1 {
        return Err(bad(format!("version {} is not known; 1 is", file.version)));
    }
    let choices = groups.iter().map(|g| {
        let line = file.layers.remove(&g.name);
        Choice {
            name: g.name.clone(),
            precision: line.as_ref().map_or(Precision::Int8, |l| l.precision),
            sqnr: line.and_then(|l| l.sqnr_db),
        }
    });
    let choices = choices.collect();
    let known = |name: &String| other.iter().any(|g| g.name == *name);
    let unknown: Vec<String> = (file.layers.into_keys())
        .filter(|n| !known(n))
        .map(|n| format!("`{n}`"))
        .collect();
    if unknown.is_empty() {
        return Ok(choices);
    }
    let mut list = unknown[..unknown.len().min(NAMED)].join(", ");
    if unknown.len() > NAMED {
        list += &format!(" and {} more", unknown.len() - NAMED);
    }
    Err(bad(format!(
        "the model has no layer {list} that can be quantized"
    ))
    .help("`onnxc quantize --write-choices` names all that there are"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str) -> Group {
        Group {
            name: name.into(),
            op: "Conv",
            nodes: vec![],
            macs: 0.0,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let choice = |name: &str, precision, sqnr| Choice {
            name: name.into(),
            precision,
            sqnr,
        };
        let all = [
            choice("a/b.0", Precision::Float, Some(7.25)),
            choice(
                "quote \" and \\ \n \u{7f} \u{1} é",
                Precision::Int8,
                Some(31.5),
            ),
            choice("c", Precision::Int8, None),
        ];
        let groups: Vec<Group> = all.iter().map(|c| group(&c.name)).collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(&path, text(&all)).unwrap();
        assert_eq!(read(&path, &groups, &[]).unwrap(), all);
        // A layer that is not named is in 8 bits; one that is gone is said, unless other flags leave it out.
        let e = read(&path, &groups[1..], &[]).unwrap_err();
        assert!(
            e.code == "USE010" && e.message.contains("`a/b.0`"),
            "{}",
            e.message
        );
        assert_eq!(
            read(&path, &groups[1..], &groups[..1]).unwrap().len(),
            all.len() - 1
        );
        for wrong in [
            "",
            "version = 2\n[layers]\n",
            "version = 1\n[layers]\nc = { precision = \"int3\" }\n",
            "version = 1\n[layers]\nc = { precision = \"int8\", more = 1 }\n",
        ] {
            std::fs::write(&path, wrong).unwrap();
            assert_eq!(read(&path, &groups, &[]).unwrap_err().code, "USE010");
        }
    }
}
