//! `conv_i16_winograd_f4`, `_f2`: the same over bytes, exact, by products of words.

use super::emit;
use super::weights::{Use, Weights, each_panel};
use crate::base::costs::Work;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dtype::DType;
use crate::contracts::conv::View;
use crate::contracts::form::Form;
use crate::contracts::strip::Numbers;
use crate::contracts::strip_plan::Panels;
use crate::contracts::winograd_choice::{self as choice, Held, suits};
use crate::contracts::winograd_exact::{fits, transformed};
use crate::contracts::winograd_filters::TAPS;
use crate::contracts::winograd_tiles::Numbers as Input;
use crate::kernel::{Kernel, LowerCx, Query};

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
    choice::work(q, m, Held::Words)
}

fn emit_whole(cx: &mut LowerCx, q: &Query, m: i64) -> Result<()> {
    let found = form(q, &View::of(q)?);
    let (form, x) = found.ok_or_else(|| Diagnostic::internal("operands without a form"))?;
    emit(cx, q, m, form, x)
}

/// Weights `[M, C, 3, 3]`, of which results are exact.
pub(super) fn weights(cx: &mut LowerCx, v: &View, form: &Form, u: &Use) -> Result<Weights> {
    let filters = form.weights.as_chunks::<9>().0;
    let pack = |form: &Form, p: &Panels, at: &dyn Fn(i64, i64) -> i32| {
        let mut bytes = vec![];
        form.pack_into(&mut bytes, &[*p], u.depth, at);
        bytes
    };
    let Some(late) = u.late else {
        let planes = (u.m + 2) * (u.m + 2);
        let of = |k: &[i32; 9]| transformed(u.m, k);
        let words = each_panel(v, u, filters, planes, of, |p, at| pack(form, p, at));
        let words = form.constant(cx, words.concat().concat(), None)?;
        return Ok(Weights::ready(words, u));
    };
    let narrow = form.weights.iter().all(|w| (-128..128).contains(w));
    let stored = if narrow { DType::I8 } else { DType::I16 };
    let as_stored = Form {
        b_type: stored,
        ..form.clone()
    };
    let of = |k: &[i32; 9]| k.to_vec();
    let panels = each_panel(v, u, filters, TAPS, of, |p, at| pack(&as_stored, p, at));
    Weights::late(cx, panels, stored, late, u)
}
