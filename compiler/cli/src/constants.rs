//! Inputs that become constants: those that `--const` names, and those on whose values shapes depend.

use std::path::Path;

use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::base::tensor::Tensor;
use onnxc_compiler::onnx::signature::Axis;
use onnxc_compiler::onnx::{Signature, read_tensor};

use crate::data::npy;
use crate::failure::file_error;

/// Reads the value of `--const`.
pub fn value(signature: &Signature, name: &str, value: &str) -> Result<Tensor> {
    let wrong = |why: &str| Diagnostic::usage("USE001", format!("--const {name}={value}: {why}"));
    let border = signature.inputs.iter().find(|b| b.name == name);
    let border = border.ok_or_else(|| wrong("the model has no such input"))?;
    let dtype = border.dtype.ok_or_else(|| wrong("it is no tensor"))?;
    let path = Path::new(value);
    if let Some(kind @ ("npy" | "pb")) = path.extension().and_then(|e| e.to_str()) {
        let data = std::fs::read(path).map_err(|e| file_error("read", path, e))?;
        return match kind {
            "npy" => npy::read(value, &data),
            _ => read_tensor(data.into()),
        };
    }
    let values: Vec<f64> = value
        .split(',')
        .map(|v| match v.trim() {
            "true" => Some(1.0),
            "false" => Some(0.0),
            v => v.parse::<f64>().ok(),
        })
        .collect::<Option<_>>()
        .ok_or_else(|| wrong("a value is numbers parted by commas, or a .npy or .pb file"))?;
    let numeric = dtype.is_float() || dtype.is_int() || dtype == DType::Bool;
    if !numeric || values.iter().any(|v| !dtype.is_float() && v.fract() != 0.0) {
        return Err(wrong(&format!("the input has elements of type {dtype}")));
    }
    let known = border.axes.as_ref().map(|axes| {
        let size = |a: &Axis| match a {
            Axis::Known(n) => *n,
            Axis::Free(_) => -1,
        };
        axes.iter().map(size).collect::<Vec<i64>>()
    });
    let n = values.len() as i64;
    let shape = match known {
        Some(shape) if shape.is_empty() && n == 1 => vec![],
        Some(shape)
            if !shape.contains(&-1)
                && shape.iter().try_fold(1i64, |a, d| a.checked_mul(*d)) == Some(n) =>
        {
            shape
        }
        Some(shape) if shape.len() == 1 && shape[0] == -1 => vec![n],
        None if n > 1 => vec![n],
        _ => return Err(wrong("so many numbers don't fit the input's shape")),
    };
    Ok(Tensor::from_f64s(dtype, &shape, &values))
}

/// Sets of inputs that may hold shapes and positions, likely ones first. At least one input stays.
pub fn candidates(data: &[Tensor]) -> Vec<Vec<usize>> {
    let small = |t: &Tensor| t.shape.len() <= 1 && t.len() <= 64 && t.strings.is_empty();
    let ints: Vec<usize> = (0..data.len())
        .filter(|k| small(&data[*k]) && data[*k].dtype.is_int())
        .collect();
    let all: Vec<usize> = (0..data.len()).filter(|k| small(&data[*k])).collect();
    let mut groups: Vec<Vec<usize>> = ints.iter().map(|k| vec![*k]).collect();
    groups.extend([ints, all.clone()]);
    groups.extend(all.iter().map(|k| vec![*k]));
    let mut out: Vec<Vec<usize>> = Vec::new();
    for g in groups {
        if !g.is_empty() && g.len() < data.len() && !out.contains(&g) {
            out.push(g);
        }
    }
    out
}
