//! The weights of a Winograd convolution: transformed in f64, and packed as its products read them.

use super::conv::View;
use super::strip_plan::{Panels, constant};
use super::winograd_tiles::matrices;
use crate::base::diag::{Diagnostic, Result};
use crate::kernel::LowerCx;
use crate::loops::ir::BufId;

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

/// Weights `[M, C, 3, 3]` as `[group][panel][plane][C][column]`, each rounded once.
pub fn pack(cx: &mut LowerCx, v: &View, m: i64, panels: &[Panels]) -> Result<BufId> {
    let w = cx.input(1)?.konst.as_ref().and_then(|t| t.to_f32s());
    let w = w.ok_or_else(|| Diagnostic::internal("weights that are not known"))?;
    let filters = w.as_chunks::<9>().0;
    let (_, g, _) = matrices(m);
    let planes = g.len() * g.len();
    let cin = v.cin as usize;
    let mut out = vec![];
    for group in 0..v.group as usize {
        for (p, number) in panels
            .iter()
            .flat_map(|p| (0..p.count).map(move |i| (p, i)))
        {
            let (n, padded) = (p.n as usize, p.padded as usize);
            let first = group * v.cout as usize + (p.first + number * p.n) as usize;
            let at = out.len();
            out.resize(at + planes * cin * padded, 0.0f32);
            for (c, j) in (0..cin).flat_map(|c| (0..n).map(move |j| (c, j))) {
                let Some(k) = filters.get((first + j) * cin + c) else {
                    continue;
                };
                for (plane, u) in transformed(&g, k).into_iter().enumerate() {
                    out[at + (plane * cin + c) * padded + j] = u as f32;
                }
            }
        }
    }
    Ok(constant(cx, out))
}
