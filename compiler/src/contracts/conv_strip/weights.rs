//! Weights as panels.

use crate::base::diag::{Diagnostic, Result};
use crate::contracts::conv::View;
use crate::contracts::form::Form;
use crate::contracts::strip::Numbers;
use crate::contracts::strip_plan::{Panels, constant_of, pack as pack_floats};
use crate::kernel::LowerCx;
use crate::loops::ir::BufId;

/// Weights `[M, C/g, k..]` as panels for each group: window elements row-major, channels innermost and in whole groups of numbers, `per_window`
/// of them for each window.
pub(super) fn pack(
    cx: &mut LowerCx,
    v: &View,
    form: &Form,
    panels: &[Panels],
    per_window: i64,
) -> Result<BufId> {
    let taps = v.taps();
    let pixel = per_window / taps;
    let place = |g: i64, k: i64, j: i64| {
        let (tap, c) = (k / pixel, k % pixel);
        (c < v.cin).then(|| ((((g * v.cout + j) * v.cin + c) * taps) + tap) as usize)
    };
    if form.numbers == Numbers::Floats {
        let w = cx.input(1)?.konst.as_ref().and_then(|t| t.to_f32s());
        let w = w.ok_or_else(|| Diagnostic::internal("weights that are not known"))?;
        let mut out = vec![];
        for g in 0..v.group {
            out.extend(pack_floats(panels, per_window, |k, j| {
                place(g, k, j).map_or(0.0, |at| w[at])
            }));
        }
        return constant_of(cx, form.b_type, out);
    }
    let mut out = vec![];
    for g in 0..v.group {
        form.pack_into(&mut out, panels, per_window, &|k, j| {
            place(g, k, j).map_or(0, |at| form.weights[at])
        });
    }
    form.constant(cx, out)
}

/// What comes off the sums of each channel.
pub(super) fn correction(cx: &mut LowerCx, v: &View, form: &Form) -> Option<BufId> {
    let each = (v.cin * v.taps()).max(1) as usize;
    let sums: Vec<i64> = (form.weights.chunks_exact(each))
        .map(|w| w.iter().map(|&w| i64::from(w)).sum())
        .collect();
    form.correction(cx, &sums)
}
