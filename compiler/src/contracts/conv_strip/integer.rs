//! The rows over whole numbers.

use super::emit_as;
use super::plan::{Plan, narrow, places};
use super::weights::place;
use crate::base::costs::Work;
use crate::base::diag::{Diagnostic, Result};
use crate::contracts::conv::{View, macs};
use crate::contracts::form::Form;
use crate::contracts::picked::{REACH, share};
use crate::contracts::strip::Numbers;
use crate::contracts::strip_plan::{eights, picked_panels, weight_bytes};
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

/// Products of matrices of bytes: elements of a pixel, or of a group's, that fill eights up cost as much as any.
pub const MATRICES: Kernel = Kernel {
    name: "conv_i8_matrices",
    needs: &[],
    accepts: |q| accepts(q, Numbers::Matrices),
    work: |q| {
        let filled = View::of(q).map_or(1.0, |v| eights(v.cin));
        Work::of(macs(q) * filled).with_weights(weight_bytes(q), q.machine.l2)
    },
    tails: true,
    emit: |cx, q| emit(cx, q, Numbers::Matrices),
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

/// Products of bytes that are picked and added in pairs.
pub const PICKED: Kernel = Kernel {
    name: "conv_i8_picked",
    needs: &[],
    accepts: |q| accepts(q, Numbers::Picked),
    work: |q| Work::of(macs(q) * picked_share(q)).with_weights(weight_bytes(q), q.machine.l2),
    tails: true,
    emit: |cx, q| emit(cx, q, Numbers::Picked),
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
        && (v.group == 1 || v.cout >= 4)
        && (numbers != Numbers::Picked
            || (v.group == 1 || v.cin % numbers.group() == 0) && picks(q))
        && form(q, &v, numbers).is_some()
}

/// What steps do over the products that there are.
fn picked_share(q: &Query) -> f64 {
    let of = || {
        let mut v = View::of(q).ok()?;
        narrow(&mut v);
        let form = form(q, &v, Numbers::Picked)?;
        let last = v.window.out.last()?.fixed();
        let panels = picked_panels(&q.machine.vector?, v.cout, last);
        let places = places(&v, v.cin * v.group)?;
        let plan = Plan::picked(&v);
        let weight = |g, k: usize, j| form.weights[place(&v, &plan, g, k as i64, j).unwrap_or(0)];
        Some(share(&panels, v.group, &places, weight))
    };
    of().unwrap_or(1.0)
}

/// Whether a window's elements can be picked.
fn picks(q: &Query) -> bool {
    let Ok(mut v) = View::of(q) else { return false };
    narrow(&mut v);
    let places = places(&v, v.cin * v.group);
    places.is_some_and(|p| p.last().is_some_and(|l| (REACH - 1..1 << 30).contains(l)))
}

fn emit(cx: &mut LowerCx, q: &Query, numbers: Numbers) -> Result<()> {
    let form = form(q, &View::of(q)?, numbers);
    let form = form.ok_or_else(|| Diagnostic::internal("operands without a form"))?;
    emit_as(cx, q, &form)
}
