//! Weights as panels.

use super::plan::{Plan, places};
use crate::base::diag::{Diagnostic, Result};
use crate::contracts::conv::View;
use crate::contracts::form::Form;
use crate::contracts::picked::{Stored, pack as pack_picked};
use crate::contracts::strip::Numbers;
use crate::contracts::strip_plan::{Panels, constant_of, pack as pack_floats};
use crate::contracts::widen::results;
use crate::kernel::LowerCx;
use crate::loops::ir::BufId;

/// Where the weight of element `k` of a window of group `g` for its channel `j` lies; `None`: nowhere.
pub(super) fn place(v: &View, plan: &Plan, g: i64, k: i64, j: i64) -> Option<usize> {
    let (seg, inside) = (k / plan.k, k % plan.k);
    let (tap, c) = (inside / plan.pixel, inside % plan.pixel);
    let tap = (tap < plan.taps).then_some(seg * plan.taps + tap)?;
    (c < v.cin).then(|| ((((g * v.cout + j) * v.cin + c) * v.taps()) + tap) as usize)
}

/// Weights `[M, C/g, k..]` as panels for each group: window elements row-major, channels innermost and in whole groups of numbers, `per_window`
/// of them for each window.
pub(super) fn pack(
    cx: &mut LowerCx,
    v: &View,
    form: &Form,
    panels: &[Panels],
    plan: &Plan,
    per_window: i64,
) -> Result<Stored> {
    let place = |g: i64, k: i64, j: i64| place(v, plan, g, k, j);
    if form.numbers == Numbers::Floats {
        let w = cx.input(1)?.konst.as_ref().and_then(|t| t.to_f32s());
        let w = w.ok_or_else(|| Diagnostic::internal("weights that are not known"))?;
        let mut out = vec![];
        for g in 0..v.group {
            out.extend(pack_floats(panels, per_window, |k, j| {
                place(g, k, j).map_or(0.0, |at| w[at])
            }));
        }
        let buf = constant_of(cx, form.b_type, out)?;
        return Ok(Stored::plain(buf, per_window));
    }
    if form.numbers == Numbers::Picked {
        let weight =
            |g: i64, k: usize, j: i64| place(g, k as i64, j).map_or(0, |at| form.weights[at]);
        let named = cx.names_masks().then_some(0);
        let packed = places(v, v.cin * v.group)
            .and_then(|p| pack_picked(panels, v.group, &p, named, weight));
        let packed = packed.ok_or_else(|| Diagnostic::internal("weights without an order"))?;
        return Stored::picked(cx, packed);
    }
    let mut out = vec![];
    for g in 0..v.group {
        form.pack_into(&mut out, panels, per_window, &|k, j| {
            place(g, k, j).map_or(0, |at| form.weights[at])
        });
    }
    let rows = results(cx)?.map(|r| r / (v.cout * v.group).max(1));
    let buf = form.constant(cx, out, rows)?;
    Ok(Stored::plain(buf, per_window))
}

/// What is added to the sums of each channel.
pub(super) fn correction(cx: &mut LowerCx, v: &View, form: &Form) -> Result<Option<BufId>> {
    let each = (v.cin * v.taps()).max(1) as usize;
    let sums: Vec<i64> = (form.weights.chunks_exact(each))
        .map(|w| w.iter().map(|&w| i64::from(w)).sum())
        .collect();
    form.correction(cx, &sums)
}
