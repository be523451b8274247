//! Inputs for measuring ranges where there is no data: normally distributed floats, the same on every machine. Inputs that may be pictures get noise of all
//! sizes, as pictures have it: noise of single pixels alone would average out in the first layer.

use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::base::tensor::Tensor;

use super::random;
use super::wanted::Wanted;

/// Sizes of noise in pictures: each twice as coarse as the one before.
const SIZES: u32 = 5;

/// Case number `k` of an input, of a mean and a standard deviation. Whole numbers are those of `random:k`. A free first axis is 1; other free axes are an error.
pub fn tensor(w: &Wanted, input: usize, k: usize, mean: f64, deviation: f64) -> Result<Tensor> {
    let shape = shape(w)?;
    let even = random::tensor(k as u64, input, w.dtype, &shape)?;
    if !w.dtype.is_float() {
        return Ok(even);
    }
    let normal = |i: u64, size: u32| {
        let mut state = (k as u64) << 40 ^ (input as u64) << 32 ^ u64::from(size) << 60 ^ i;
        let mut uniform = || {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
        };
        // Box and Muller 1958.
        let (a, b) = (1.0 - uniform(), uniform());
        libm::sqrt(-2.0 * libm::log(a)) * libm::cos(std::f64::consts::TAU * b)
    };
    let size = |a: usize| shape[a].max(1) as u64;
    // Channels stand where the fewer are.
    let last = shape.len() == 4 && shape[3] < shape[1];
    let value = |i: u64| {
        if shape.len() != 4 {
            return mean + deviation * normal(i, 0);
        }
        let (a, b, c) = (
            i / (size(2) * size(3)) % size(1),
            i / size(3) % size(2),
            i % size(3),
        );
        let (channel, row, column) = if last { (c, a, b) } else { (a, b, c) };
        let own = |s: u32| {
            let place = (channel << 40) ^ ((row >> s) << 20) ^ (column >> s);
            normal(place.wrapping_mul(0x2545_F491_4F6C_DD1D), s + 1)
        };
        let sum: f64 = (0..SIZES).map(own).sum();
        mean + deviation * sum / libm::sqrt(f64::from(SIZES))
    };
    let values: Vec<f64> = (0..even.len() as u64).map(value).collect();
    Ok(Tensor::from_f64s(w.dtype, &shape, &values))
}

fn shape(w: &Wanted) -> Result<Vec<i64>> {
    let free = || {
        let text = format!(
            "input `{}` has free sizes, so nothing can be made up for it",
            w.name
        );
        Diagnostic::usage("USE004", text).help("fix them with --dim or --input")
    };
    let sizes = w.shape.as_ref().ok_or_else(free)?;
    let size = |(a, n): (usize, &Option<i64>)| match n {
        Some(n) => Ok(*n),
        None if a == 0 => Ok(1),
        None => Err(free()),
    };
    sizes.iter().enumerate().map(size).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use onnxc_compiler::base::dtype::DType;

    fn wanted(dtype: DType, shape: &[Option<i64>]) -> Wanted {
        Wanted {
            name: "x".into(),
            dtype,
            shape: Some(shape.to_vec()),
            divisor: false,
            places: None,
        }
    }

    #[test]
    fn mean_and_deviation_are_those_asked_for() {
        for shape in [
            &[None, Some(5000)][..],
            &[Some(1), Some(64), Some(64), Some(3)],
            &[None, Some(2), Some(50), Some(60)],
        ] {
            let (mut sum, mut square, mut count) = (0.0, 0.0, 0.0);
            for k in 0..10 {
                let t = tensor(&wanted(DType::F32, shape), 0, k, 100.0, 20.0).unwrap();
                for v in t.to_f64s().unwrap() {
                    (sum, square, count) = (sum + v, square + v * v, count + 1.0);
                }
            }
            let mean = sum / count;
            let deviation = libm::sqrt(square / count - mean * mean);
            assert!((mean - 100.0).abs() < 2.5, "{shape:?}: {mean}");
            assert!((deviation - 20.0).abs() < 1.5, "{shape:?}: {deviation}");
        }
    }

    #[test]
    fn the_same_every_time_and_never_two_alike() {
        let w = wanted(DType::F32, &[None, Some(7)]);
        let made = |k| tensor(&w, 0, k, 0.0, 1.0).unwrap();
        assert_eq!(made(3), made(3));
        assert_ne!(made(3), made(4));
        assert!(tensor(&wanted(DType::F32, &[None, None]), 0, 0, 0.0, 1.0).is_err());
        let bytes = tensor(&wanted(DType::U8, &[Some(4)]), 0, 0, 0.0, 1.0).unwrap();
        assert_eq!(bytes.dtype, DType::U8);
    }
}
