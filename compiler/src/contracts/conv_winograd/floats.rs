//! `conv_f32_winograd_f4`, `_f2`: over floats, whose results have an error that is estimated beforehand.

use super::emit;
use super::weights::{Use, Weights, each_panel};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::contracts::conv::View;
use crate::contracts::form::Form;
use crate::contracts::strip_plan::{Panels, pack};
use crate::contracts::winograd_choice::{Held, accepts, work};
use crate::contracts::winograd_filters::{TAPS, scaled};
use crate::contracts::winograd_tiles::{Numbers as Input, matrices};
use crate::contracts::winograd_weights::transformed;
use crate::kernel::{Kernel, LowerCx};

/// The row for tiles of 4 x 4.
pub const F4: Kernel = Kernel {
    name: "conv_f32_winograd_f4",
    needs: &[],
    accepts: |q| accepts(q, 4),
    work: |q| work(q, 4, Held::Floats),
    tails: true,
    emit: |cx, q| emit(cx, q, 4, Form::floats(DType::F32), Input::Floats),
};

/// The row for tiles of 2 x 2.
pub const F2: Kernel = Kernel {
    name: "conv_f32_winograd_f2",
    needs: &[],
    accepts: |q| accepts(q, 2),
    work: |q| work(q, 2, Held::Floats),
    tails: true,
    emit: |cx, q| emit(cx, q, 2, Form::floats(DType::F32), Input::Floats),
};

/// Weights `[M, C, 3, 3]`: transformed in f64 and rounded once, or as the layer's transform takes them.
pub(super) fn weights(cx: &mut LowerCx, v: &View, u: &Use) -> Result<Weights> {
    let w = cx.input(1)?.konst.as_ref().and_then(|t| t.to_f32s());
    let w = w.ok_or_else(|| Diagnostic::internal("weights that are not known"))?;
    let filters = w.as_chunks::<9>().0;
    let packed = |p: &Panels, at: &dyn Fn(i64, i64) -> f32| {
        let floats = pack(&[*p], u.depth, at);
        floats.iter().flat_map(|v| v.to_le_bytes()).collect()
    };
    let Some(late) = u.late else {
        let (_, g, _) = matrices(u.m);
        let of = |k: &[f32; 9]| transformed(&g, k).iter().map(|u| *u as f32).collect();
        let planes = (u.m + 2) * (u.m + 2);
        let panels = each_panel(v, u, filters, planes, of, packed);
        let n = panels.iter().flatten().map(Vec::len).sum::<usize>() as i64 / 4;
        let all = Tensor::new(DType::F32, vec![n], panels.concat().concat().into())?;
        return Ok(Weights::ready(cx.constant("panels", all), u));
    };
    let of = |k: &[f32; 9]| scaled(u.m, k).to_vec();
    let panels = each_panel(v, u, filters, TAPS, of, packed);
    Weights::late(cx, panels, DType::F32, late, u)
}
