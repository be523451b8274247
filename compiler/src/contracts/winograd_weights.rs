//! The weights of a Winograd convolution of floats, transformed in f64.

/// GgG' of one channel's 3 x 3 weights, by rows: `g` has 4 or 6 rows.
pub fn transformed(g: &[Vec<f64>], k: &[f32; 9]) -> Vec<f64> {
    let half: Vec<[f64; 3]> = g
        .iter()
        .map(|g| [0, 1, 2].map(|x| (0..3).map(|r| g[r] * f64::from(k[r * 3 + x])).sum()))
        .collect();
    let full = half
        .iter()
        .flat_map(|h| g.iter().map(move |g| (0..3).map(|r| h[r] * g[r]).sum()));
    full.collect()
}
