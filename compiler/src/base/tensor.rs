//! Constant tensors: literals of a graph, inputs and outputs of a run.

use super::diag::{Diagnostic, Result};
use super::dtype::DType;
use bytes::Bytes;
use half::{bf16, f16};

/// A dense row-major tensor. Little-endian, every element in whole bytes (types below a byte take one byte,
/// sign-extended). Cloning is cheap: the bytes are shared, and may be a slice of a mapped file.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor {
    /// Element type.
    pub dtype: DType,
    /// Size of every axis.
    pub shape: Vec<i64>,
    /// The elements.
    pub data: Bytes,
    /// Elements of a string tensor (`data` is empty then).
    pub strings: Vec<String>,
}

impl Tensor {
    /// A tensor over bytes; their number must fit.
    pub fn new(dtype: DType, shape: Vec<i64>, data: Bytes) -> Result<Tensor> {
        let n = shape
            .iter()
            .try_fold(1i64, |a, &d| if d < 0 { None } else { a.checked_mul(d) });
        let want = n.and_then(|n| n.checked_mul(dtype.size() as i64));
        if want != Some(data.len() as i64) {
            return Err(Diagnostic::model(
                "ONNX004",
                format!(
                    "a tensor {dtype}{shape:?} can't have {} bytes of data",
                    data.len()
                ),
            ));
        }
        Ok(Tensor {
            dtype,
            shape,
            data,
            strings: vec![],
        })
    }
    /// A string tensor.
    pub fn strings(shape: Vec<i64>, strings: Vec<String>) -> Tensor {
        Tensor {
            dtype: DType::String,
            shape,
            data: Bytes::new(),
            strings,
        }
    }
    /// A tensor of zero bytes.
    pub fn zeros(dtype: DType, shape: Vec<i64>) -> Result<Tensor> {
        let n = shape.iter().try_fold(dtype.size() as i64, |a, &d| {
            if d < 0 { None } else { a.checked_mul(d) }
        });
        match n {
            Some(n) if n <= 1 << 40 => Tensor::new(dtype, shape, vec![0u8; n as usize].into()),
            _ => Err(Diagnostic::limit(
                "ONNX006",
                format!("a tensor {dtype}{shape:?} is too large"),
            )),
        }
    }
    /// From f32 values.
    pub fn f32(shape: &[i64], values: &[f32]) -> Tensor {
        debug_assert_eq!(shape.iter().product::<i64>() as usize, values.len());
        let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Tensor {
            dtype: DType::F32,
            shape: shape.to_vec(),
            data: data.into(),
            strings: vec![],
        }
    }
    /// From i64 values.
    pub fn i64(shape: &[i64], values: &[i64]) -> Tensor {
        debug_assert_eq!(shape.iter().product::<i64>() as usize, values.len());
        let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Tensor {
            dtype: DType::I64,
            shape: shape.to_vec(),
            data: data.into(),
            strings: vec![],
        }
    }
    /// A scalar or tensor of `dtype` with every element converted from f64 (rounded; ints truncate and clamp).
    pub fn from_f64s(dtype: DType, shape: &[i64], values: &[f64]) -> Tensor {
        let mut data = Vec::with_capacity(values.len() * dtype.size());
        for &v in values {
            match dtype {
                DType::F32 => data.extend((v as f32).to_le_bytes()),
                DType::F64 => data.extend(v.to_le_bytes()),
                DType::F16 => data.extend(f16::from_f64(v).to_le_bytes()),
                DType::BF16 => data.extend(bf16::from_f64(v).to_le_bytes()),
                DType::U64 => data.extend((v as u64).to_le_bytes()),
                DType::I64 => data.extend((v as i64).to_le_bytes()),
                _ => {
                    let (lo, hi) = dtype.int_range().unwrap_or((0, 255));
                    let n = (v as i128).clamp(lo, hi) as i64;
                    data.extend(&n.to_le_bytes()[..dtype.size()]);
                }
            }
        }
        Tensor {
            dtype,
            shape: shape.to_vec(),
            data: data.into(),
            strings: vec![],
        }
    }
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product::<i64>() as usize
    }
    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// All elements as f64 (u64 and i64 may round); small floats and complex types are refused.
    pub fn to_f64s(&self) -> Option<Vec<f64>> {
        (0..self.len()).map(|i| self.get_f64(i)).collect()
    }
    /// Element `i` as f64.
    pub fn get_f64(&self, i: usize) -> Option<f64> {
        let s = self.dtype.size();
        let b = self.data.get(i * s..i * s + s)?;
        Some(match self.dtype {
            DType::F32 => f32::from_le_bytes(b.try_into().ok()?) as f64,
            DType::F64 => f64::from_le_bytes(b.try_into().ok()?),
            DType::F16 => f16::from_le_bytes(b.try_into().ok()?).to_f64(),
            DType::BF16 => bf16::from_le_bytes(b.try_into().ok()?).to_f64(),
            DType::U64 => u64::from_le_bytes(b.try_into().ok()?) as f64,
            _ => self.get_i64(i)? as f64,
        })
    }
    /// Element `i` of an integer or bool tensor (u64 wraps).
    pub fn get_i64(&self, i: usize) -> Option<i64> {
        let s = self.dtype.size();
        let b = self.data.get(i * s..i * s + s)?;
        Some(match self.dtype {
            DType::Bool | DType::U8 | DType::U4 | DType::U2 => b[0] as i64,
            DType::I8 | DType::I4 | DType::I2 => b[0] as i8 as i64,
            DType::I16 => i16::from_le_bytes(b.try_into().ok()?) as i64,
            DType::U16 => u16::from_le_bytes(b.try_into().ok()?) as i64,
            DType::I32 => i32::from_le_bytes(b.try_into().ok()?) as i64,
            DType::U32 => u32::from_le_bytes(b.try_into().ok()?) as i64,
            DType::I64 => i64::from_le_bytes(b.try_into().ok()?),
            DType::U64 => u64::from_le_bytes(b.try_into().ok()?) as i64,
            _ => return None,
        })
    }
    /// All elements of an integer or bool tensor.
    pub fn to_i64s(&self) -> Option<Vec<i64>> {
        (0..self.len()).map(|i| self.get_i64(i)).collect()
    }
    /// All elements of an f32, f16 or bf16 tensor as f32.
    pub fn to_f32s(&self) -> Option<Vec<f32>> {
        match self.dtype {
            DType::F32 => Some(
                self.data
                    .chunks_exact(4)
                    .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                    .collect(),
            ),
            DType::F16 | DType::BF16 => {
                Some(self.to_f64s()?.into_iter().map(|v| v as f32).collect())
            }
            _ => None,
        }
    }
    /// The same elements under another shape of equal size.
    pub fn reshaped(&self, shape: Vec<i64>) -> Tensor {
        debug_assert_eq!(
            shape.iter().product::<i64>(),
            self.shape.iter().product::<i64>()
        );
        Tensor {
            shape,
            ..self.clone()
        }
    }
}
