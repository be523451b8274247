//! The rows over whole numbers.

use super::emit_as;
use crate::base::costs::Work;
use crate::base::diag::{Diagnostic, Result};
use crate::contracts::conv::{View, macs};
use crate::contracts::form::Form;
use crate::contracts::strip::Numbers;
use crate::contracts::strip_plan::weight_bytes;
use crate::kernel::{Kernel, LowerCx, Query};

/// Products of bytes.
pub const BYTES: Kernel = Kernel {
    name: "conv_i8_strip",
    needs: &[],
    accepts: |q| accepts(q, Numbers::Bytes),
    work: |q| Work::of(macs(q)).with_weights(weight_bytes(q), q.machine.l2),
    tails: true,
    emit: |cx, q| emit(cx, q, Numbers::Bytes),
};

/// Products of words.
pub const WORDS: Kernel = Kernel {
    name: "conv_i16_strip",
    needs: &[],
    accepts: |q| accepts(q, Numbers::Words),
    work: |q| Work::of(macs(q)).with_weights(weight_bytes(q), q.machine.l2),
    tails: true,
    emit: |cx, q| emit(cx, q, Numbers::Words),
};

fn form(q: &Query, v: &View, numbers: Numbers) -> Option<Form> {
    let each = (v.cin * v.taps()).max(1) as usize;
    Form::of(q, numbers, |at| at / each)
}

fn accepts(q: &Query, numbers: Numbers) -> bool {
    let Ok(v) = View::of(q) else { return false };
    let crops = v.window.begin.iter().chain(&v.window.end).any(|&p| p < 0);
    v.channels_last
        && !crops
        && (1..=3).contains(&v.window.rank())
        && v.cin * v.cout > 0
        && (v.group == 1 || (v.cin % numbers.group() == 0 && v.cout >= 4))
        && form(q, &v, numbers).is_some()
}

fn emit(cx: &mut LowerCx, q: &Query, numbers: Numbers) -> Result<()> {
    let form = form(q, &View::of(q)?, numbers);
    let form = form.ok_or_else(|| Diagnostic::internal("operands without a form"))?;
    emit_as(cx, q, &form)
}
