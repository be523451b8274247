//! Many cases for a model: a folder with a file for each, or an archive with cases (`c0_in0`, ..) or with arrays whose first axis counts them. An
//! array of bytes `[cases, rows, columns, 1 or 3]` that does not fit the input as it is holds pictures.

use std::path::{Path, PathBuf};

use ::image::RgbImage;
use onnxc_compiler::base::diag::Result;
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::base::tensor::Tensor;

use super::bad_data;
use super::bind::{self, ReadProto};
use super::image;
use super::made_up;
use super::npz::Npz;
use super::preprocess::{Array, Preprocess};
use super::wanted::Wanted;
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
    /// For each input an array of all cases, and what becomes of its numbers.
    Arrays(Vec<Tensor>, usize, Option<Array>),
    /// Pixels `[cases, rows, columns, channels]`.
    Pictures(Tensor, Preprocess),
    /// So many that are made up, of a mean and a standard deviation.
    MadeUp(usize, f64, f64),
}

impl Samples {
    /// Looks what there is. `preprocess`: how pictures and sound become tensors.
    pub fn open(path: &Path, wanted: Vec<Wanted>, preprocess: Preprocess) -> Result<Samples> {
        let from = if path.is_dir() {
            folder(path, &wanted, preprocess)?
        } else {
            archive(path, &wanted, preprocess)?
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
    /// Cases that are made up: see `made_up`.
    pub fn made_up(
        wanted: Vec<Wanted>,
        count: usize,
        mean: f64,
        deviation: f64,
    ) -> Result<Samples> {
        // What can't be made up is said before anything else is done.
        for (i, w) in wanted.iter().enumerate() {
            made_up::tensor(w, i, 0, mean, deviation)?;
        }
        let from = From::MadeUp(count, mean, deviation);
        Ok(Samples { wanted, from })
    }
    /// How many.
    pub fn len(&self) -> usize {
        match &self.from {
            From::Files(list, _) => list.len(),
            From::Cases(_, list) => list.len(),
            From::Arrays(_, n, _) => *n,
            From::Pictures(all, _) => all.shape.first().map_or(0, |n| *n as usize),
            From::MadeUp(n, ..) => *n,
        }
    }
    /// Whether they are made up.
    pub fn are_made_up(&self) -> bool {
        matches!(self.from, From::MadeUp(..))
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// A name for each: a file's, or its number.
    pub fn names(&self) -> Vec<String> {
        match &self.from {
            From::Files(list, _) => (list.iter())
                .map(|p| {
                    p.file_name()
                        .unwrap_or_default()
                        .to_string_lossy()
                        .into_owned()
                })
                .collect(),
            _ => (0..self.len()).map(|k| k.to_string()).collect(),
        }
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
            From::Arrays(arrays, count, how) => {
                let own = self.wanted.iter().zip(arrays);
                own.map(|(w, all)| slice(all, k, *count, w, *how)).collect()
            }
            From::MadeUp(_, mean, deviation) => {
                let own = self.wanted.iter().enumerate();
                own.map(|(i, w)| made_up::tensor(w, i, k, *mean, *deviation))
                    .collect()
            }
            From::Pictures(all, how) => {
                let w = &self.wanted[0];
                Ok(vec![image::of_pixels(
                    &format!("picture {k}"),
                    &picture(all, k)?,
                    &how.image,
                    w,
                )?])
            }
        }
    }
}

/// Kinds of files that an input is read from; others, such as a list of labels, may lie beside them.
fn is_data(path: &Path) -> bool {
    let kinds = ["npy", "npz", "png", "jpg", "jpeg", "wav", "pb"];
    let own = path.extension().unwrap_or_default().to_string_lossy();
    kinds.contains(&own.to_lowercase().as_str())
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
        .filter(|p| p.is_file() && is_data(p))
        .collect();
    // The same order on every machine.
    list.sort();
    Ok(From::Files(list, preprocess))
}

fn archive(path: &Path, wanted: &[Wanted], preprocess: Preprocess) -> Result<From> {
    let mut npz = Npz::open(path)?;
    let names: Vec<String> = npz.names().into_iter().collect();
    let numbered = |n: &String| n.starts_with('c') && n.contains("_in");
    if names.iter().any(numbered) {
        let cases = Cases::open(&[path.to_path_buf()])?;
        let numbers = cases.numbers();
        return Ok(From::Cases(cases, numbers));
    }
    if let [w] = wanted
        && let Some(pixels) = pixels(&mut npz, &names, w)?
    {
        return Ok(From::Pictures(pixels, preprocess));
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
    let count = usize::try_from(count).unwrap_or(0);
    Ok(From::Arrays(arrays, count, preprocess.array))
}

/// The only array of pictures, where no array is the input's.
fn pixels(npz: &mut Npz, names: &[String], w: &Wanted) -> Result<Option<Tensor>> {
    let mut found = vec![];
    for n in names {
        let t = npz.get(n)?;
        if *n == w.name || case_shape(&t, w).is_some() {
            return Ok(None);
        }
        if t.dtype == DType::U8 && t.shape.len() == 4 && [1, 3].contains(&t.shape[3]) {
            found.push(t);
        }
    }
    Ok(if found.len() == 1 { found.pop() } else { None })
}

fn picture(all: &Tensor, k: usize) -> Result<RgbImage> {
    let size = |a: usize| all.shape[a] as usize;
    let (h, w, c) = (size(1), size(2), size(3));
    let each = h * w * c;
    let bytes = all.data.get(k * each..(k + 1) * each).unwrap_or(&[]);
    let rgb: Vec<u8> = match c {
        1 => bytes.iter().flat_map(|v| [*v; 3]).collect(),
        _ => bytes.to_vec(),
    };
    RgbImage::from_raw(w as u32, h as u32, rgb)
        .ok_or_else(|| bad_data(format!("picture {k}"), "it has no pixels"))
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
    if fits(own) {
        return Some(own.to_vec());
    }
    // The same but for axes of one.
    let wide = |s: &[i64]| s.iter().copied().filter(|d| *d != 1).collect::<Vec<i64>>();
    let want: Vec<i64> = w.shape.as_ref()?.iter().copied().collect::<Option<_>>()?;
    (wide(&want) == wide(own)).then_some(want)
}

fn slice(all: &Tensor, k: usize, count: usize, w: &Wanted, how: Option<Array>) -> Result<Tensor> {
    let Some(shape) = case_shape(all, w) else {
        return Err(bad_data(
            format!("input `{}`", w.name),
            format!("cases of an array of shape {:?} don't fit it", all.shape),
        ));
    };
    let each = all.data.len() / count.max(1);
    let t = Tensor::new(all.dtype, shape, all.data.slice(k * each..(k + 1) * each))?;
    Ok(bind::changed(t, w.dtype, how))
}
