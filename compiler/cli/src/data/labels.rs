//! What is right for each case of `eval`: a class, or as many numbers as the output has.

use std::collections::HashMap;
use std::path::Path;

use onnxc_compiler::base::diag::Result;
use onnxc_compiler::base::tensor::Tensor;

use super::npz::Npz;
use super::samples::Samples;
use super::{bad_data, npy};
use crate::failure::file_error;

/// The name of the array in an .npz.
const ARRAY: &str = "labels";

/// Labels of all cases.
pub struct Labels {
    each: usize,
    values: Vec<f64>,
}

impl Labels {
    /// Reads them: from their own file, or from the array `labels` of the data.
    pub fn open(path: Option<&Path>, data: &Path, samples: &Samples) -> Result<Labels> {
        let ending = |p: &Path, e: &str| p.extension().is_some_and(|x| x.eq_ignore_ascii_case(e));
        let found = match path {
            Some(p) if ending(p, "npy") => {
                let bytes = std::fs::read(p).map_err(|e| file_error("read", p, e))?;
                array(&npy::read(&p.to_string_lossy(), &bytes)?, p)?
            }
            Some(p) if ending(p, "npz") => in_archive(p)?,
            Some(p) => text(p, samples)?,
            None if data.is_file() && Npz::open(data)?.has(ARRAY) => in_archive(data)?,
            None => {
                return Err(bad_data(
                    format!("`{}`", data.display()),
                    "it holds no labels: name them with --labels",
                ));
            }
        };
        match found.count() {
            n if n == samples.len() => Ok(found),
            n => Err(bad_data(
                "labels",
                format!("there are {n} of them for {} cases", samples.len()),
            )),
        }
    }
    fn count(&self) -> usize {
        self.values.len().checked_div(self.each).unwrap_or(0)
    }
    /// Those of case `k`.
    pub fn get(&self, k: usize) -> &[f64] {
        self.values
            .get(k * self.each..(k + 1) * self.each)
            .unwrap_or(&[])
    }
}

fn in_archive(path: &Path) -> Result<Labels> {
    array(&Npz::open(path)?.get(ARRAY)?, path)
}

fn array(t: &Tensor, path: &Path) -> Result<Labels> {
    let values = t.to_f64s();
    let values =
        values.ok_or_else(|| bad_data(format!("`{}`", path.display()), "labels are numbers"))?;
    let count = t.shape.first().copied().unwrap_or(0).max(0) as usize;
    Ok(Labels {
        each: values.len().checked_div(count).unwrap_or(0),
        values,
    })
}

/// A class on each line, or a file's name and its class, apart by a comma, a tab or a space.
fn text(path: &Path, samples: &Samples) -> Result<Labels> {
    let text = std::fs::read_to_string(path).map_err(|e| file_error("read", path, e))?;
    let wrong = |why: String| bad_data(format!("`{}`", path.display()), why);
    let mut plain: Vec<f64> = vec![];
    let mut named: HashMap<&str, f64> = HashMap::new();
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, class) = match line.rsplit_once([',', '\t', ' ']) {
            Some((name, class)) => (Some(name.trim()), class.trim()),
            None => (None, line),
        };
        let Ok(class) = class.parse::<i64>() else {
            // The heading of a table.
            if n == 0 && name.is_some() {
                continue;
            }
            return Err(wrong(format!("line {} ends in no class: {class:?}", n + 1)));
        };
        match name {
            Some(name) => {
                named.insert(name, class as f64);
            }
            None => plain.push(class as f64),
        }
    }
    if !named.is_empty() && !plain.is_empty() {
        return Err(wrong("some lines have a name, others have none".into()));
    }
    if !named.is_empty() {
        for name in samples.names() {
            match named.get(name.as_str()) {
                Some(c) => plain.push(*c),
                None => return Err(wrong(format!("it has no line for `{name}`"))),
            }
        }
    }
    Ok(Labels {
        each: 1,
        values: plain,
    })
}
