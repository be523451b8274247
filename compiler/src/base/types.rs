//! The type of a tensor value.

use super::dim::{Dim, Shape, Symbols, elements};
use super::dtype::DType;
use super::tensor::Tensor;

/// How integer elements stand for real numbers: `real = scale * (q - zero_point)`. A constant of floats that has it was made so from
/// whole numbers.
#[derive(Clone, PartialEq, Debug)]
pub struct Quant {
    /// One scale, one per channel of `axis`, or one per block.
    pub scale: Tensor,
    /// As many zero points; absent means 0.
    pub zero_point: Option<Tensor>,
    /// The axis of per-channel or blocked numbers.
    pub axis: Option<usize>,
    /// Elements per block along `axis`; 0 where not blocked.
    pub block: i64,
}

/// Element type, shape, and what the elements stand for.
#[derive(Clone, PartialEq, Debug)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Size of every axis.
    pub shape: Shape,
    /// Quantization, if the numbers are scaled integers.
    pub quant: Option<Quant>,
}

impl TensorType {
    /// A plain type.
    pub fn new(dtype: DType, shape: impl Into<Shape>) -> TensorType {
        TensorType {
            dtype,
            shape: shape.into(),
            quant: None,
        }
    }
    /// From numbers.
    pub fn fixed(dtype: DType, shape: &[i64]) -> TensorType {
        TensorType::new(
            dtype,
            shape.iter().map(|&d| Dim::Fixed(d)).collect::<Vec<_>>(),
        )
    }
    /// The type of a constant.
    pub fn of(t: &Tensor) -> TensorType {
        TensorType::fixed(t.dtype, &t.shape)
    }
    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }
    /// Number of elements.
    pub fn elements(&self) -> Dim {
        elements(&self.shape)
    }
    /// The shape as numbers, if all are.
    pub fn fixed_shape(&self) -> Option<Vec<i64>> {
        super::dim::fixed_shape(&self.shape)
    }
    /// Most bytes it can take.
    pub fn max_bytes(&self, symbols: &Symbols) -> i64 {
        // Each axis is bounded apart: the bound of a product of bounds is what memory is planned for.
        self.shape
            .iter()
            .map(|d| d.bounds(symbols).1.max(0))
            .fold(self.dtype.size() as i64, |a, d| a.saturating_mul(d))
    }
    /// `f32[1,3,N]`.
    pub fn text(&self, symbols: &Symbols) -> String {
        let dims: Vec<String> = self.shape.iter().map(|d| d.text(symbols)).collect();
        format!("{}[{}]", self.dtype, dims.join(","))
    }
}
