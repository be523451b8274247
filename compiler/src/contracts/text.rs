//! A query in one line: what tables of measured times, reports and benches call it.
//!
//! `conv 1x24x56x56 144x24x3x3 stride=2 pad=1 group=1 last=1` (input and weights, always spelled channels first; lists such as `pad=0,0,1,1`
//! where axes differ) and `gemm 128x384 384x1536 tb=1`. Queries with free sizes, with unknown weights, or with weights that may stay narrow have
//! no text. `zeros=80`: so many in a hundred weights are zero, said from 30 on; `block=4` where output channels are zero four at a time.

use super::conv;
use super::sparse::{self, conv::DENSEST};
use crate::base::dim::{Dim, fixed_shape};
use crate::kernel::Query;
use std::fmt::Write;

/// The text of a query.
pub fn of(q: &Query) -> Option<String> {
    let shape = |k: usize| -> Option<Vec<i64>> {
        let (t, _) = q.inputs.get(k)?.as_ref()?;
        fixed_shape(&t.shape)
    };
    let (weights, known) = q.inputs.get(1)?.as_ref()?;
    known.as_ref()?;
    if weights.quant.is_some() {
        return None;
    }
    let mut text = match q.contract.name {
        "conv" => conv_text(q, &shape(0)?, &shape(1)?),
        "gemm" => gemm_text(q, &shape(0)?, &shape(1)?),
        _ => None,
    }?;
    zeros(q, &mut text);
    Some(text)
}

/// How many weights are zero, where they are many.
fn zeros(q: &Query, text: &mut String) {
    let Some(Some((_, Some(w)))) = q.inputs.get(1) else {
        return;
    };
    let density = sparse::conv::density(w);
    if density > DENSEST || w.is_empty() {
        return;
    }
    list(
        text,
        "zeros",
        &[((1.0 - density) * 100.0).round() as i64],
        0,
    );
    let by_four = sparse::pattern::density_by_four(q).is_some_and(|d| d <= density * 1.1);
    list(text, "block", &[if by_four { 4 } else { 1 }], 1);
}

fn sizes(list: &[i64]) -> String {
    let list: Vec<String> = list.iter().map(i64::to_string).collect();
    list.join("x")
}

// A number where all are the same; nothing where all are the default.
fn list(out: &mut String, name: &str, values: &[i64], default: i64) {
    if values.iter().all(|v| *v == default) {
        return;
    }
    let first = values.first().copied().unwrap_or(default);
    // Writing to a String can't fail.
    let _ = match values.iter().all(|v| *v == first) {
        true => write!(out, " {name}={first}"),
        false => {
            let all: Vec<String> = values.iter().map(i64::to_string).collect();
            write!(out, " {name}={}", all.join(","))
        }
    };
}

fn conv_text(q: &Query, x: &[i64], w: &[i64]) -> Option<String> {
    let v = conv::View::of(q).ok()?;
    let axes = v.input.len();
    let mut first = vec![x[0], v.cin * v.group];
    first.extend(v.input.iter().filter_map(Dim::fixed));
    let mut out = format!("conv {} {}", sizes(&first), sizes(w));
    let win = &v.window;
    list(&mut out, "stride", &win.stride, 1);
    let pads: Vec<i64> = win.begin.iter().chain(&win.end).copied().collect();
    list(&mut out, "pad", &pads, 0);
    list(&mut out, "dilation", &win.dilation, 1);
    list(&mut out, "group", &[v.group], 1);
    list(&mut out, "last", &[i64::from(v.channels_last)], 0);
    (first.len() == axes + 2).then_some(out)
}

fn gemm_text(q: &Query, a: &[i64], b: &[i64]) -> Option<String> {
    if a.len() < 2 || b.len() != 2 {
        return None;
    }
    let mut out = format!("gemm {} {}", sizes(a), sizes(b));
    for (name, attr) in [("ta", "trans_a"), ("tb", "trans_b")] {
        list(&mut out, name, &[i64::from(q.attrs.flag(attr))], 0);
    }
    Some(out)
}
