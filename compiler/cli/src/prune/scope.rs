//! How shares are spread over layers: by the whole model, evenly, or by a file.

use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::compress::quantize::matches;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

use super::float::Float;
use crate::failure::file_error;

/// Where shares come from.
#[derive(Clone, PartialEq, Debug)]
pub enum Scope {
    /// What is least important in the whole model.
    Global,
    /// The same of each layer.
    Uniform,
    /// Patterns of names and their shares: the first that fits counts.
    Each(Vec<(String, f64)>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    layers: BTreeMap<String, f64>,
}

impl Scope {
    /// By its word, or of a file.
    pub fn open(word: &str, float: &Float) -> Result<Scope> {
        match word {
            "global" => return Ok(Scope::Global),
            "uniform" => return Ok(Scope::Uniform),
            _ => {}
        }
        let path = Path::new(word);
        let help =
            "--scope is `global`, `uniform`, or a file with a table `[layers]` of names and shares";
        let text =
            std::fs::read_to_string(path).map_err(|e| file_error("read", path, e).help(help))?;
        let bad = |why: String| Diagnostic::usage("USE010", format!("`{word}`: {why}")).help(help);
        let file: File = toml::from_str(&text).map_err(|e| bad(e.to_string().trim().into()))?;
        for (name, share) in &file.layers {
            if !(0.0..1.0).contains(share) {
                return Err(bad(format!(
                    "the share of `{name}` is not from 0 to below 1"
                )));
            }
            let inner = float.inner.iter().map(|i| &i.layer);
            if !float
                .layers
                .iter()
                .chain(inner)
                .any(|l| matches(name, &l.name))
            {
                return Err(bad(format!("no layer is called `{name}`")));
            }
        }
        Ok(Scope::Each(file.layers.into_iter().collect()))
    }

    /// The share that a file gives a layer.
    pub fn share(&self, name: &str) -> Option<f64> {
        match self {
            Scope::Each(list) => list.iter().find(|p| matches(&p.0, name)).map(|p| p.1),
            _ => None,
        }
    }
}
