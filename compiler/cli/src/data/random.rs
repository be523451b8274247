//! `random:SEED`: inputs made from a number, the same on every machine.
//!
//! Element `i` of input `k` comes from one draw of SplitMix64 (Steele, Lea, Flood 2014) whose state is
//! `mix(SEED * 2^32 + k) + i * 0x9E3779B97F4A7C15`, `mix` being its output function. Of the 64 bits drawn the upper 24 make:
//! - floats: `u / 2^23 - 1`, evenly in [-1, 1);
//! - 8-bit integers: the whole range (the topmost 8 bits); other integers: `u mod 10`, small enough to be an index; bool: the
//!   topmost bit. Integers that a model takes rows of a table by are taken modulo their number, and those that it divides by are not 0.

use onnxc_compiler::base::diag::Result;
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::base::tensor::Tensor;

use super::bad_data;

/// Most elements that are made up.
const MOST: i64 = 1 << 30;
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Input number `k` of a run with `seed`.
pub fn tensor(seed: u64, k: usize, dtype: DType, shape: &[i64]) -> Result<Tensor> {
    let count = shape
        .iter()
        .try_fold(1i64, |n, d| n.checked_mul(*d))
        .filter(|n| (0..=MOST).contains(n))
        .ok_or_else(|| {
            bad_data(
                format!("input {k}"),
                format!("{shape:?} is too large to make up"),
            )
        })?;
    if dtype.size() == 0 || !(dtype.is_float() || dtype.is_int() || dtype == DType::Bool) {
        return Err(bad_data(
            format!("input {k}"),
            format!("no random values are made for elements of type {dtype}"),
        ));
    }
    let start = mix((seed << 32).wrapping_add(k as u64));
    let values: Vec<f64> = (0..count as u64)
        .map(|i| {
            let bits = mix(start.wrapping_add(i.wrapping_add(1).wrapping_mul(STEP)));
            let u = bits >> 40;
            match dtype {
                _ if dtype.is_float() => u as f64 / 8_388_608.0 - 1.0,
                DType::Bool => (bits >> 63) as f64,
                DType::U8 => (bits >> 56) as f64,
                DType::I8 => (bits >> 56) as f64 - 128.0,
                DType::U4 | DType::I4 => (u % 8) as f64,
                DType::U2 | DType::I2 => (u % 2) as f64,
                _ => (u % 10) as f64,
            }
        })
        .collect();
    Ok(Tensor::from_f64s(dtype, shape, &values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        // The first outputs of SplitMix64 for the state 0, from its reference implementation.
        assert_eq!(mix(STEP), 0xE220_A839_7B1D_CDAF);
        assert_eq!(mix(STEP.wrapping_mul(2)), 0x6E78_9E6A_A1B9_65F4);
        // mix(0) = 0, so seed 0 of input 0 is that sequence.
        let t = tensor(0, 0, DType::U8, &[2]).unwrap();
        assert_eq!(t.data[..], [0xE2, 0x6E]);
        let f = tensor(1, 0, DType::F32, &[1000])
            .unwrap()
            .to_f32s()
            .unwrap();
        assert!(f.iter().all(|v| (-1.0..1.0).contains(v)));
        assert_ne!(
            f,
            tensor(1, 1, DType::F32, &[1000])
                .unwrap()
                .to_f32s()
                .unwrap()
        );
        assert!(tensor(0, 0, DType::String, &[2]).is_err());
        assert!(tensor(0, 0, DType::F32, &[i64::MAX, 4]).is_err());
    }
}
