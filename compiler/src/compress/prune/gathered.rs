//! Some indices of an axis of a constant.

use crate::base::diag::{Diagnostic, Result};
use crate::base::tensor::Tensor;

/// The tensor with these indices of an axis alone.
pub(super) fn gathered(t: &Tensor, axis: usize, left: &[usize]) -> Result<Tensor> {
    let Some(size) = t.shape.get(axis).map(|n| *n as usize) else {
        return Err(Diagnostic::internal("an axis that a constant has not"));
    };
    let inner = t.shape[axis + 1..].iter().product::<i64>() as usize * t.dtype.size();
    let outer = t.shape[..axis].iter().product::<i64>() as usize;
    let mut data = Vec::with_capacity(outer * left.len() * inner);
    for o in 0..outer {
        for i in left {
            let at = (o * size + i) * inner;
            let part = t.data.get(at..at + inner);
            data.extend_from_slice(
                part.ok_or_else(|| Diagnostic::internal("an index that a constant has not"))?,
            );
        }
    }
    let mut shape = t.shape.clone();
    shape[axis] = left.len() as i64;
    Tensor::new(t.dtype, shape, data.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn middle_axis() {
        let t = Tensor::i64(&[2, 3, 1], &[0, 1, 2, 3, 4, 5]);
        let g = gathered(&t, 1, &[0, 2]).unwrap();
        assert_eq!(
            (g.shape.as_slice(), g.to_i64s()),
            (&[2, 2, 1][..], Some(vec![0, 2, 3, 5]))
        );
        assert!(gathered(&t, 1, &[3]).is_err());
    }
}
