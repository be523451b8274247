//! Many cases for a model: a folder with a file for each, or an archive with cases (`c0_in0`, ..) or with arrays whose first axis counts them.

use std::path::{Path, PathBuf};

use onnxc_compiler::base::diag::Result;
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::base::tensor::Tensor;

use super::bad_data;
use super::bind::{self, ReadProto, Wanted};
use super::npz::Npz;
use super::preprocess::Preprocess;
use crate::cases::Cases;

/// Where cases come from.
pub struct Samples {
    wanted: Vec<Wanted>,
    from: From,
}

enum From {
    /// A file for each.
    Files(Vec<PathBuf>, Preprocess),
    /// Numbered inputs of an archive.
    Cases(Cases, Vec<usize>),
    /// For each input an array of all cases.
    Arrays(Vec<Tensor>, usize),
}

impl Samples {
    /// Looks what there is. `preprocess`: how pictures and sound become tensors.
    pub fn open(path: &Path, wanted: Vec<Wanted>, preprocess: Preprocess) -> Result<Samples> {
        let from = if path.is_dir() {
            folder(path, &wanted, preprocess)?
        } else {
            archive(path, &wanted)?
        };
        let samples = Samples { wanted, from };
        if samples.is_empty() {
            return Err(bad_data(
                format!("`{}`", path.display()),
                "there is no data in it",
            ));
        }
        Ok(samples)
    }
    /// How many.
    pub fn len(&self) -> usize {
        match &self.from {
            From::Files(list, _) => list.len(),
            From::Cases(_, list) => list.len(),
            From::Arrays(_, n) => *n,
        }
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Case number `k`: a tensor for each input.
    pub fn get(&mut self, k: usize, proto: ReadProto) -> Result<Vec<Tensor>> {
        match &mut self.from {
            From::Files(list, preprocess) => {
                let word = list[k].to_string_lossy().into_owned();
                bind::inputs(&[word], &self.wanted, preprocess, proto)
            }
            From::Cases(cases, numbers) => {
                // Outputs may be in the archive too; they are not asked for.
                let case = cases.get(numbers[k], self.wanted.len(), usize::MAX)?;
                for (w, t) in self.wanted.iter().zip(&case.inputs) {
                    bind::check(w, t)?;
                }
                Ok(case.inputs)
            }
            From::Arrays(arrays, count) => {
                let own = self.wanted.iter().zip(arrays);
                own.map(|(w, all)| slice(all, k, *count, w)).collect()
            }
        }
    }
}

fn folder(path: &Path, wanted: &[Wanted], preprocess: Preprocess) -> Result<From> {
    if wanted.len() != 1 {
        return Err(bad_data(
            format!("`{}`", path.display()),
            format!(
                "a file holds one input, but the model has {}; an .npz holds several",
                wanted.len()
            ),
        ));
    }
    let entries =
        std::fs::read_dir(path).map_err(|e| crate::failure::file_error("read", path, e))?;
    let mut list: Vec<PathBuf> = entries
        .filter_map(|e| e.ok().map(|e| e.path()))
        .filter(|p| p.is_file())
        .collect();
    // The same order on every machine.
    list.sort();
    Ok(From::Files(list, preprocess))
}

fn archive(path: &Path, wanted: &[Wanted]) -> Result<From> {
    let mut npz = Npz::open(path)?;
    let names: Vec<String> = npz.names().into_iter().collect();
    let numbered = |n: &String| n.starts_with('c') && n.contains("_in");
    if names.iter().any(numbered) {
        let cases = Cases::open(&[path.to_path_buf()])?;
        let numbers = cases.numbers();
        return Ok(From::Cases(cases, numbers));
    }
    let mut arrays: Vec<Tensor> = vec![];
    for w in wanted {
        let array = match names.iter().find(|n| **n == w.name) {
            Some(n) => npz.get(n)?,
            None => only_fit(&mut npz, &names, w, path)?,
        };
        arrays.push(array);
    }
    let counts: Vec<i64> = arrays
        .iter()
        .map(|a| a.shape.first().copied().unwrap_or(0))
        .collect();
    let count = counts.first().copied().unwrap_or(0);
    if counts.iter().any(|c| *c != count) {
        return Err(bad_data(
            format!("`{}`", path.display()),
            "its arrays have different numbers of cases",
        ));
    }
    Ok(From::Arrays(arrays, usize::try_from(count).unwrap_or(0)))
}

/// The only array of an archive whose cases have the shape of an input.
fn only_fit(npz: &mut Npz, names: &[String], w: &Wanted, path: &Path) -> Result<Tensor> {
    let mut found = vec![];
    for n in names {
        let t = npz.get(n)?;
        if case_shape(&t, w).is_some() {
            found.push(t);
        }
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        n => Err(bad_data(
            format!("`{}`", path.display()),
            format!(
                "{n} arrays fit input `{}`: one must, or have its name",
                w.name
            ),
        )),
    }
}

/// The shape of one case: the first axis counts them, or is the batch of one.
fn case_shape(all: &Tensor, w: &Wanted) -> Option<Vec<i64>> {
    let own = all.shape.get(1..)?;
    let fits = |s: &[i64]| match &w.shape {
        None => true,
        Some(want) => {
            want.len() == s.len() && want.iter().zip(s).all(|(w, s)| w.is_none_or(|w| w == *s))
        }
    };
    let batch = [&[1], own].concat();
    if fits(&batch) {
        return Some(batch);
    }
    fits(own).then(|| own.to_vec())
}

fn slice(all: &Tensor, k: usize, count: usize, w: &Wanted) -> Result<Tensor> {
    let Some(shape) = case_shape(all, w) else {
        return Err(bad_data(
            format!("input `{}`", w.name),
            format!("cases of an array of shape {:?} don't fit it", all.shape),
        ));
    };
    let each = all.data.len() / count.max(1);
    let t = Tensor::new(all.dtype, shape, all.data.slice(k * each..(k + 1) * each))?;
    Ok(as_type(t, w.dtype))
}

/// Whole numbers as floats, and the other way where nothing is lost.
fn as_type(t: Tensor, d: DType) -> Tensor {
    if t.dtype == d {
        return t;
    }
    match t.to_f64s() {
        Some(values) => Tensor::from_f64s(d, &t.shape, &values),
        None => t,
    }
}
