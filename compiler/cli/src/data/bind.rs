//! From the words on the command line to one tensor for each input.
//!
//! `FILE` goes to the first input that has none yet, `NAME=FILE` to the one of that name, `random:SEED` to all that have
//! none. A `.npz` gives several: by the names of the inputs, by `in0, in1, ..`, by `c0_in0, ..`, or in order where the
//! numbers agree.

use std::path::Path;

use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::base::tensor::Tensor;

use super::npz::Npz;
use super::preprocess::{Array, Preprocess};
use super::wanted::Wanted;
use super::{bad_data, image, npy, random, sound};
use crate::failure::file_error;

/// Reads a `TensorProto` file; the caller knows how.
pub type ReadProto<'a> = &'a dyn Fn(&[u8]) -> Result<Tensor>;

/// One tensor for each input, in order.
pub fn inputs(
    words: &[String],
    wanted: &[Wanted],
    preprocess: &Preprocess,
    proto: ReadProto,
) -> Result<Vec<Tensor>> {
    let mut bound: Vec<Option<Tensor>> = vec![None; wanted.len()];
    let mut seed = None;
    for word in words {
        if let Some(s) = word.strip_prefix("random:") {
            seed = Some(s.parse::<u64>().map_err(|_| {
                Diagnostic::usage(
                    "USE001",
                    format!("`{word}`: the seed is a number, as in `random:1`"),
                )
            })?);
            continue;
        }
        let named = word
            .split_once('=')
            .and_then(|(n, f)| Some((wanted.iter().position(|w| w.name == n)?, f)));
        let (slot, file) = match named {
            Some((k, file)) => (Some(k), file),
            None if word.contains('=') && !Path::new(word).exists() => {
                let name = word.split('=').next().unwrap_or_default();
                return Err(unknown_input(name, wanted));
            }
            None => (None, word.as_str()),
        };
        let path = Path::new(file);
        let kind = path
            .extension()
            .map(|e| e.to_string_lossy().to_ascii_lowercase())
            .unwrap_or_default();
        if kind == "npz" && slot.is_none() {
            archive(&mut Npz::open(path)?, wanted, &mut bound, file)?;
            continue;
        }
        let slot = match slot.or_else(|| bound.iter().position(Option::is_none)) {
            Some(k) => k,
            None => {
                return Err(bad_data(
                    format!("`{file}`"),
                    format!("all {} inputs have their data already", wanted.len()),
                ));
            }
        };
        let tensor = if kind == "npz" {
            let mut npz = Npz::open(path)?;
            match npz.names().as_slice() {
                [one] => npz.get(one)?,
                names if names.contains(&wanted[slot].name) => npz.get(&wanted[slot].name)?,
                _ => {
                    return Err(bad_data(
                        format!("`{file}`"),
                        format!("it has several arrays, none named `{}`", wanted[slot].name),
                    ));
                }
            }
        } else {
            let data = std::fs::read(path).map_err(|e| file_error("read", path, e))?;
            match kind.as_str() {
                "npy" => {
                    let t = npy::read(file, &data)?;
                    match preprocess.array {
                        None => t,
                        how => changed(t, wanted[slot].dtype, how),
                    }
                }
                "png" | "jpg" | "jpeg" => {
                    image::read(file, &data, &preprocess.image, &wanted[slot])?
                }
                "wav" => sound::read(file, &data, &preprocess.audio, &wanted[slot])?,
                "pb" => proto(&data).map_err(|d| bad_data(format!("`{file}`"), d.message))?,
                _ => {
                    return Err(
                        bad_data(format!("`{file}`"), "this kind of file is not known").help(
                            "inputs are .npy, .npz, .png, .jpg, .wav or .pb files, or random:SEED",
                        ),
                    );
                }
            }
        };
        bound[slot] = Some(tensor);
    }
    let mut out = Vec::with_capacity(wanted.len());
    let mut missing = Vec::new();
    for (k, (tensor, want)) in bound.into_iter().zip(wanted).enumerate() {
        let tensor = match (tensor, seed) {
            (Some(t), _) => t,
            (None, Some(seed)) => made(seed, k, want)?,
            (None, None) => {
                missing.push(want.name.clone());
                continue;
            }
        };
        check(want, &tensor)?;
        out.push(tensor);
    }
    if !missing.is_empty() {
        return Err(bad_data("inputs without data", missing.join(", "))
            .help("give each a file as NAME=FILE, or all of them made-up values by random:0"));
    }
    Ok(out)
}

fn unknown_input(name: &str, wanted: &[Wanted]) -> Box<Diagnostic> {
    onnxc_targets::suggest::unknown(
        "input",
        name,
        wanted.iter().map(|w| w.name.as_str()),
        &format!(
            "inputs: {}",
            wanted
                .iter()
                .map(|w| w.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        ),
    )
}

/// A made-up tensor; what is free is 1.
fn made(seed: u64, k: usize, want: &Wanted) -> Result<Tensor> {
    let Some(shape) = &want.shape else {
        return Err(bad_data(
            format!("input `{}`", want.name),
            "the model does not say its shape",
        )
        .help(format!("give it with --input {}:1,3,224,224", want.name)));
    };
    let shape: Vec<i64> = shape.iter().map(|d| d.unwrap_or(1)).collect();
    let mut t = random::tensor(seed, k, want.dtype, &shape)?;
    if !want.dtype.is_int() {
        return Ok(t);
    }
    if let Some(n) = want.places {
        t = mapped(&t, |v| v.rem_euclid(n.max(1) as f64));
    }
    if want.divisor {
        // What whole numbers can be divided by.
        t = mapped(&t, |v| if v == 0.0 { 1.0 } else { v });
    }
    Ok(t)
}

fn mapped(t: &Tensor, f: impl Fn(f64) -> f64) -> Tensor {
    let all: Vec<f64> = (t.to_f64s().unwrap_or_default().into_iter())
        .map(f)
        .collect();
    Tensor::from_f64s(t.dtype, &t.shape, &all)
}

fn archive(
    npz: &mut Npz,
    wanted: &[Wanted],
    bound: &mut [Option<Tensor>],
    file: &str,
) -> Result<()> {
    let names = npz.names();
    let spellings: [&dyn Fn(usize) -> String; 4] = [
        &|k| wanted[k].name.clone(),
        &|k| format!("in{k}"),
        &|k| format!("c0_in{k}"),
        &|k| format!("arr_{k}"),
    ];
    for spell in spellings {
        let found: Vec<usize> = (0..wanted.len()).filter(|k| npz.has(&spell(*k))).collect();
        if !found.is_empty() {
            for k in found {
                bound[k] = Some(npz.get(&spell(k))?);
            }
            return Ok(());
        }
    }
    let free: Vec<usize> = (0..bound.len()).filter(|k| bound[*k].is_none()).collect();
    if names.len() != free.len() {
        return Err(bad_data(
            format!("`{file}`"),
            format!(
                "its {} arrays have not the names of inputs, nor their number",
                names.len()
            ),
        ));
    }
    for (k, name) in free.into_iter().zip(&names) {
        bound[k] = Some(npz.get(name)?);
    }
    Ok(())
}

/// Numbers of another type, and by what `--preprocess` says of them; whole ones are rounded.
pub fn changed(t: Tensor, d: DType, how: Option<Array>) -> Tensor {
    if t.dtype == d && how.is_none() {
        return t;
    }
    let Some(mut values) = t.to_f64s() else {
        return t;
    };
    if let Some(how) = how {
        let whole = |v: f64| if d.is_float() { v } else { v.round_ties_even() };
        values.iter_mut().for_each(|v| *v = whole(how.value(*v)));
    }
    Tensor::from_f64s(d, &t.shape, &values)
}

/// Whether data fits what the model declares.
pub fn check(want: &Wanted, t: &Tensor) -> Result<()> {
    let place = || format!("input `{}`", want.name);
    if t.dtype != want.dtype {
        return Err(bad_data(
            place(),
            format!(
                "the data is {}, but the model takes {}",
                t.dtype, want.dtype
            ),
        ));
    }
    let Some(shape) = &want.shape else {
        return Ok(());
    };
    let fits = shape.len() == t.shape.len()
        && shape
            .iter()
            .zip(&t.shape)
            .all(|(w, d)| w.is_none_or(|w| w == *d));
    if fits {
        return Ok(());
    }
    let text: Vec<String> = shape
        .iter()
        .map(|d| d.map_or("?".to_string(), |d| d.to_string()))
        .collect();
    Err(bad_data(
        place(),
        format!(
            "the data has shape {:?}, but the model takes [{}]",
            t.shape,
            text.join(", ")
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(name: &str, shape: &[Option<i64>]) -> Wanted {
        Wanted {
            name: name.into(),
            dtype: DType::F32,
            shape: Some(shape.to_vec()),
            divisor: false,
            places: None,
        }
    }

    fn read(words: &[&str], wanted: &[Wanted]) -> Result<Vec<Tensor>> {
        let words: Vec<String> = words.iter().map(|w| w.to_string()).collect();
        inputs(&words, wanted, &Preprocess::default(), &|_| {
            Err(bad_data("x", "y"))
        })
    }

    #[test]
    fn what_is_divided_by_is_not_zero() {
        let zeros = |divisor| {
            let wanted = [Wanted {
                dtype: DType::I64,
                divisor,
                ..want("b", &[Some(1000)])
            }];
            let made = read(&["random:0"], &wanted).unwrap();
            let all = made[0].to_i64s().unwrap();
            all.iter().filter(|v| **v == 0).count()
        };
        assert!(zeros(false) > 0);
        assert_eq!(zeros(true), 0);
    }

    #[test]
    fn what_chooses_rows_stays_below_their_number() {
        let wanted = [Wanted {
            dtype: DType::I64,
            places: Some(2),
            ..want("types", &[Some(1000)])
        }];
        let made = read(&["random:0"], &wanted).unwrap();
        let all = made[0].to_i64s().unwrap();
        assert!(all.iter().all(|v| (0..2).contains(v)) && all.contains(&1));
    }

    #[test]
    fn files_and_names() {
        let dir = tempfile::tempdir().unwrap();
        let p = |n: &str| dir.path().join(n).display().to_string();
        let a = Tensor::f32(&[2], &[1., 2.]);
        let b = Tensor::f32(&[3], &[3., 4., 5.]);
        std::fs::write(p("a.npy"), npy::write(&a)).unwrap();
        let npz =
            super::super::npz::write(&[("b".into(), b.clone()), ("a".into(), a.clone())]).unwrap();
        std::fs::write(p("x.npz"), npz).unwrap();
        let wanted = [want("a", &[Some(2)]), want("b", &[None])];
        assert_eq!(read(&[&p("x.npz")], &wanted).unwrap(), [a.clone(), b]);
        let got = read(&[&format!("b={}", p("a.npy")), &p("a.npy")], &wanted).unwrap();
        assert_eq!(got, [a.clone(), a.clone()]);
        let got = read(&[&p("a.npy"), "random:3"], &wanted).unwrap();
        assert_eq!((&got[0], &got[1].shape[..]), (&a, &[1i64][..]));
        for bad in [
            &["c=nothing.npy"][..],
            &[&p("a.npy")],
            &["random:x"],
            &["x.gif"],
            &["no.npy"],
            &[],
        ] {
            assert!(read(bad, &wanted).is_err(), "{bad:?}");
        }
    }
}
