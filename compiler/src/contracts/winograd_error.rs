//! What a Winograd convolution costs in accuracy, estimated before it is chosen.
//!
//! The estimate takes the elements of the input as independent, with variance 1, and every rounding as independent of all
//! others. An element (i, j) of B'dB then has variance |B_i|^2 |B_j|^2, and its product with the transformed weight u the
//! variance v = u^2 |B_i|^2 |B_j|^2. It carries the roundings of both transforms and of its weight, and those of the sum over C channels, in
//! which each of C additions rounds a sum so far: about (TRANSFORMS + C/2) v u0^2 in all, where u0 is the usual error
//! of one rounding. An output collects these over i and j, weighted by the squares of A. Its own variance is the sum of its squared
//! weights. The estimate is the largest deviation over the largest output deviation: the error relative to the largest output.

use super::winograd_tiles::matrices;
use super::winograd_weights::transformed;

/// The usual relative error of one rounding to float32: 2^-24 at most, evenly spread, over a mantissa between 1 and 2.
const ROUNDING: f64 = 0.6 / (1 << 24) as f64;
/// Output channels that are looked at, at most, evenly taken: the rest would cost more time than they say.
const FILTERS: usize = 64;
/// Roundings of an element on its way through the transforms.
const TRANSFORMS: f64 = 8.0;

/// The error to expect of F(m x m, 3 x 3) with weights `[cout][cin][3][3]`, relative to the largest output.
pub fn estimate(m: i64, weights: &[f32], cin: i64) -> f64 {
    let (bt, g, at) = matrices(m);
    let t = bt.len();
    let square = |r: &[f64]| -> f64 { r.iter().map(|x| x * x).sum() };
    let b2: Vec<f64> = bt.iter().map(|r| square(r)).collect();
    // The mean over outputs of a tile: of squares of a column of A'.
    let a2: Vec<f64> = (0..t)
        .map(|i| at.iter().map(|r| r[i] * r[i]).sum::<f64>() / m as f64)
        .collect();
    let weight: Vec<f64> = (0..t).map(|i| a2[i] * b2[i]).collect();
    let (mut worst, mut largest) = (0.0f64, 0.0f64);
    let filters = weights.chunks((cin * 9).max(1) as usize);
    let step = filters.len().div_ceil(FILTERS).max(1);
    for filter in filters.step_by(step) {
        let (mut error, mut output) = (0.0, 0.0);
        for k in filter.as_chunks::<9>().0 {
            for (at, u) in transformed(&g, k).into_iter().enumerate() {
                error += u * u * weight[at / t] * weight[at % t];
            }
            output += k.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
        }
        worst = worst.max(error);
        largest = largest.max(output);
    }
    if largest <= 0.0 || !worst.is_finite() {
        // Nothing but zeros is exact; what is not finite stays so whichever way it goes.
        return 0.0;
    }
    ROUNDING * libm::sqrt((TRANSFORMS + cin as f64 / 2.0) * worst / largest)
}
