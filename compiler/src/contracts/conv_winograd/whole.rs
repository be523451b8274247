//! `conv_i16_winograd_f4`, `_f2`: the same over bytes, exact, by products of words.

use super::emit;
use crate::base::costs::Work;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dtype::DType;
use crate::contracts::conv::View;
use crate::contracts::form::Form;
use crate::contracts::strip::Numbers;
use crate::contracts::strip_plan::Panels;
use crate::contracts::winograd_choice::{suits, work_of};
use crate::contracts::winograd_exact::{fits, transformed};
use crate::contracts::winograd_tiles::Numbers as Input;
use crate::kernel::{Kernel, LowerCx, Query};
use crate::loops::ir::BufId;

/// The row for tiles of 4 x 4.
pub const WHOLE_F4: Kernel = Kernel {
    name: "conv_i16_winograd_f4",
    needs: &[],
    accepts: |q| accepts(q, 4),
    work: |q| work(q, 4),
    tails: true,
    emit: |cx, q| emit_whole(cx, q, 4),
};

/// The row for tiles of 2 x 2.
pub const WHOLE_F2: Kernel = Kernel {
    name: "conv_i16_winograd_f2",
    needs: &[],
    accepts: |q| accepts(q, 2),
    work: |q| work(q, 2),
    tails: true,
    emit: |cx, q| emit_whole(cx, q, 2),
};

const TILES: [&str; 3] = [
    "gemm_strip_words",
    "winograd_in_words",
    "winograd_out_words",
];

/// How operands are held, and what is transformed; weights are those of the model less their zero points.
fn form(q: &Query, v: &View) -> Option<(Form, Input)> {
    let each = (v.cin * v.taps()).max(1) as usize;
    let mut form = Form::of(q, Numbers::Words, |at| at / each)?;
    form.b_type = DType::I16;
    let zero = match q.inputs.get(2).and_then(Option::as_ref) {
        None => 0,
        Some((_, t)) => match t.as_ref()?.to_i64s()?[..] {
            [zero] => zero,
            _ => return None,
        },
    };
    let signed = q.inputs.first()?.as_ref()?.0.dtype == DType::I8;
    Some((form, Input::Bytes { signed, zero }))
}

fn accepts(q: &Query, m: i64) -> bool {
    // Where lanes are factors, one instruction multiplies 16 bytes or four words: a fourth of the products gains nothing.
    let bytes = q.machine.tile("gemm_strip_bytes").is_some();
    if bytes && q.machine.vector.is_none_or(|v| v.by_lane) {
        return false;
    }
    let Ok(v) = View::of(q) else { return false };
    suits(q, &v, m, TILES)
        && form(q, &v).is_some_and(|(form, x)| {
            let Input::Bytes { signed, zero } = x else {
                return false;
            };
            let least = if signed { -128 } else { 0 };
            let range = [least - zero, least + 255 - zero];
            fits(m, &form.weights, (v.cin * 9) as usize, range)
        })
}

fn work(q: &Query, m: i64) -> Work {
    work_of(q, m, 2, 2)
}

fn emit_whole(cx: &mut LowerCx, q: &Query, m: i64) -> Result<()> {
    let found = form(q, &View::of(q)?);
    let (form, x) = found.ok_or_else(|| Diagnostic::internal("operands without a form"))?;
    emit(cx, q, m, form, x)
}

/// Weights `[M, C, 3, 3]`, transformed, as `[group][panel][plane]` and there as the form has them.
pub(super) fn pack(
    cx: &mut LowerCx,
    v: &View,
    form: &Form,
    m: i64,
    panels: &[Panels],
) -> Result<BufId> {
    let filters = form.weights.as_chunks::<9>().0;
    let planes = ((m + 2) * (m + 2)) as usize;
    let cin = v.cin as usize;
    let mut out = vec![];
    for group in 0..v.group {
        for (p, number) in panels
            .iter()
            .flat_map(|p| (0..p.count).map(move |i| (p, i)))
        {
            let one = Panels {
                first: p.first + number * p.n,
                count: 1,
                ..*p
            };
            let first = (group * v.cout + one.first) as usize * cin;
            let wanted = filters.iter().skip(first).take(p.n as usize * cin);
            let panel: Vec<Vec<i32>> = wanted.map(|k| transformed(m, k)).collect();
            for plane in 0..planes {
                form.pack_into(&mut out, &[one], form.whole(v.cin), &|c, column| {
                    let at = (column - one.first) as usize * cin + c as usize;
                    match c < v.cin {
                        true => panel.get(at).map_or(0, |u| u[plane]),
                        false => 0,
                    }
                });
            }
        }
    }
    form.constant(cx, out, None)
}
