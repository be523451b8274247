//! Tensors of the file as constants: every element type, every way of storing it.
//!
//! Contract: the result is exactly what the file says, or a diagnostic (`ONNX004`, `ONNX005`, `ONNX006`). Data that
//! already lies as we want it is shared with the file; nothing is allocated on the word of a shape alone.

use super::external::External;
use super::proto::{EXTERNAL, SparseTensorProto, TensorProto};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use bytes::Bytes;

/// Reads tensors under a limit of size.
pub struct TensorReader<'a> {
    /// Data beside the file.
    pub external: External<'a>,
    /// Most elements of one tensor.
    pub max_elements: i64,
    /// Bytes that may still be allocated: functions can repeat a literal many times.
    pub budget: u64,
}

impl TensorReader<'_> {
    /// The tensor.
    pub fn read(&mut self, t: &TensorProto) -> Result<Tensor> {
        let r = self.read_inner(t);
        if t.name.is_empty() {
            r
        } else {
            r.map_err(|d| d.at(format!("tensor \"{}\"", t.name)))
        }
    }

    fn read_inner(&mut self, t: &TensorProto) -> Result<Tensor> {
        let dtype = DType::from_onnx(t.data_type)
            .ok_or_else(|| broken(format!("element type {} is unknown", t.data_type)))?;
        let n = self.count(&t.dims)?;
        if t.segment.is_some() {
            return Err(Diagnostic::unsupported(
                "ONNX004",
                "tensors in segments are not supported",
            ));
        }
        if dtype == DType::String {
            self.pay(t.string_data.iter().map(|s| s.len() + 32).sum())?;
            return strings(t, n);
        }
        let bits = dtype.packed_bits();
        let packed = n
            .checked_mul(bits)
            .map(|b| b.div_ceil(8))
            .ok_or_else(|| self.too_large(&t.dims))?;
        let shared = bits >= 8 && dtype != DType::Bool;
        let data = if t.data_location == EXTERNAL {
            let raw = self.external.read(t, packed)?;
            self.pay(if shared { 0 } else { n })?;
            unpack(dtype, n, raw)
        } else if let Some(raw) = &t.raw_data
            && (!raw.is_empty() || typed_len(t) == 0)
        {
            if raw.len() != packed {
                return Err(broken(format!(
                    "{dtype}{:?} needs {packed} bytes, but the file holds {}",
                    t.dims,
                    raw.len()
                )));
            }
            self.pay(if shared { 0 } else { n })?;
            unpack(dtype, n, raw.clone())
        } else {
            self.pay(8 * typed_len(t))?;
            typed(dtype, n, packed, t)?
        };
        Tensor::new(dtype, t.dims.clone(), data)
    }

    /// The dense form of a tensor in coordinate form.
    pub fn read_sparse(&mut self, t: &SparseTensorProto) -> Result<Tensor> {
        let (Some(values), Some(indices)) = (&t.values, &t.indices) else {
            return Err(broken("a sparse tensor without values or indices"));
        };
        let loc = format!("sparse tensor \"{}\"", values.name);
        self.densify(values, indices, &t.dims)
            .map_err(|d| d.at(loc))
    }

    fn densify(
        &mut self,
        values: &TensorProto,
        indices: &TensorProto,
        dims: &[i64],
    ) -> Result<Tensor> {
        let values = self.read(values)?;
        let indices = self.read(indices)?;
        let n = self.count(dims)?;
        let size = values.dtype.size();
        let nnz = values.len();
        let rank = dims.len();
        let flat = match indices.shape.as_slice() {
            [k] if *k == nnz as i64 => true,
            [k, r] if *k == nnz as i64 && *r == rank as i64 => false,
            s => {
                return Err(broken(format!(
                    "indices of shape {s:?} do not fit {nnz} values of a tensor of {rank} axes"
                )));
            }
        };
        if size == 0 || values.shape.len() != 1 {
            return Err(broken(
                "the values of a sparse tensor must be a list of numbers",
            ));
        }
        // The dense size is decided by the shape alone, so the budget guards the allocation.
        let bytes = n.checked_mul(size).ok_or_else(|| self.too_large(dims))?;
        self.pay(bytes)?;
        let mut data = vec![0u8; bytes];
        for k in 0..nnz {
            let mut at = 0i64;
            if flat {
                at = indices.get_i64(k).unwrap_or(-1);
            } else {
                for (a, &d) in dims.iter().enumerate() {
                    let i = indices.get_i64(k * rank + a).unwrap_or(-1);
                    if !(0..d).contains(&i) {
                        return Err(broken(format!("index {i} of axis {a} is outside 0..{d}")));
                    }
                    // Bounded by the element count, which fits.
                    at = at * d + i;
                }
            }
            if !(0..n as i64).contains(&at) {
                return Err(broken(format!("index {at} is outside {n} elements")));
            }
            let at = at as usize * size;
            data[at..at + size].copy_from_slice(&values.data[k * size..(k + 1) * size]);
        }
        Tensor::new(values.dtype, dims.to_vec(), data.into())
    }

    fn pay(&mut self, bytes: usize) -> Result<()> {
        self.budget = self.budget.checked_sub(bytes as u64).ok_or_else(|| {
            Diagnostic::limit("ONNX006", "the constants of the model need too much memory")
                .help("--max-memory raises the limit")
        })?;
        Ok(())
    }

    fn count(&self, dims: &[i64]) -> Result<usize> {
        if let Some(d) = dims.iter().find(|d| **d < 0) {
            return Err(broken(format!("a constant can't have an axis of size {d}")));
        }
        // A zero anywhere makes the product 0 however large the rest is.
        if dims.contains(&0) {
            return Ok(0);
        }
        match dims.iter().try_fold(1i64, |a, &d| a.checked_mul(d)) {
            Some(n) if n <= self.max_elements => Ok(n as usize),
            _ => Err(self.too_large(dims)),
        }
    }

    fn too_large(&self, dims: &[i64]) -> Box<Diagnostic> {
        Diagnostic::limit(
            "ONNX006",
            format!(
                "a tensor of shape {dims:?} has more than {} elements",
                self.max_elements
            ),
        )
    }
}

fn broken(message: impl Into<String>) -> Box<Diagnostic> {
    Diagnostic::model("ONNX004", message)
}

fn typed_len(t: &TensorProto) -> usize {
    t.float_data.len()
        + t.int32_data.len()
        + t.int64_data.len()
        + t.double_data.len()
        + t.uint64_data.len()
}

fn strings(t: &TensorProto, n: usize) -> Result<Tensor> {
    if t.data_location == EXTERNAL || t.string_data.len() != n {
        return Err(broken(format!(
            "string{:?} needs {n} texts, but the file holds {}",
            t.dims,
            t.string_data.len()
        )));
    }
    let texts = t
        .string_data
        .iter()
        .map(|b| String::from_utf8_lossy(b).into_owned())
        .collect();
    Ok(Tensor::strings(t.dims.clone(), texts))
}

/// File form to memory form: sub-byte types take a byte each, bools are 0 or 1.
fn unpack(dtype: DType, n: usize, raw: Bytes) -> Bytes {
    let bits = dtype.packed_bits();
    match dtype {
        DType::Bool if raw.iter().any(|&b| b > 1) => raw.iter().map(|&b| (b != 0) as u8).collect(),
        _ if bits >= 8 => raw,
        _ => {
            let per = 8 / bits;
            let signed = dtype.is_signed_int();
            (0..n)
                .map(|i| {
                    // The first element is in the low bits.
                    let v = raw[i / per] >> (i % per * bits) << (8 - bits);
                    if signed {
                        ((v as i8) >> (8 - bits)) as u8
                    } else {
                        v >> (8 - bits)
                    }
                })
                .collect()
        }
    }
}

fn typed(dtype: DType, n: usize, packed: usize, t: &TensorProto) -> Result<Bytes> {
    use DType::*;
    let fits = |have: usize, want: usize| {
        if have == want {
            return Ok(());
        }
        Err(broken(format!(
            "{dtype}{:?} needs {want} entries, but the file holds {have}",
            t.dims
        )))
    };
    let mut out = Vec::new();
    match dtype {
        F32 | Complex64 => {
            fits(t.float_data.len(), packed / 4)?;
            out.extend(t.float_data.iter().flat_map(|v| v.to_le_bytes()));
        }
        F64 | Complex128 => {
            fits(t.double_data.len(), packed / 8)?;
            out.extend(t.double_data.iter().flat_map(|v| v.to_le_bytes()));
        }
        I64 => {
            fits(t.int64_data.len(), n)?;
            out.extend(t.int64_data.iter().flat_map(|v| v.to_le_bytes()));
        }
        U64 => {
            fits(t.uint64_data.len(), n)?;
            out.extend(t.uint64_data.iter().flat_map(|v| v.to_le_bytes()));
        }
        U32 => {
            fits(t.uint64_data.len(), n)?;
            for &v in &t.uint64_data {
                let v = u32::try_from(v).map_err(|_| broken(format!("{v} does not fit u32")))?;
                out.extend(v.to_le_bytes());
            }
        }
        I32 => {
            fits(t.int32_data.len(), n)?;
            out.extend(t.int32_data.iter().flat_map(|v| v.to_le_bytes()));
        }
        Bool => {
            fits(t.int32_data.len(), n)?;
            out.extend(t.int32_data.iter().map(|&v| (v != 0) as u8));
        }
        String => {}
        // One entry per element, or per byte of packed elements; floats as their bits.
        _ => {
            let width = dtype.size().min(2);
            fits(t.int32_data.len(), packed / width)?;
            let bits = 8 * width as u32;
            for &v in &t.int32_data {
                if i64::from(v) < -(1i64 << (bits - 1)) || i64::from(v) >= 1i64 << bits {
                    return Err(broken(format!("{v} does not fit {dtype}")));
                }
                out.extend(&v.to_le_bytes()[..width]);
            }
            return Ok(unpack(dtype, n, out.into()));
        }
    }
    Ok(out.into())
}
