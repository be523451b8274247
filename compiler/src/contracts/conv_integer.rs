//! `conv_integer`: convolution of 8-bit numbers, summed exactly in i32.
//!
//! Inputs X `[N, C, spatial..]`, W `[M, C/group, kernel..]`, optional zero points of X (one) and W (one, or one for each output channel), optional numbers that
//! the sums of each output channel begin with (i32 `[M]`); output i32 `start + sum((X - xz) * (W - wz))`, elements outside X counting nothing. Attributes as those of `conv`; there is no activation.

use super::conv::{self, View, macs};
use super::{conv_depthwise_last, conv_strip, conv_winograd, sparse};
use crate::base::costs::Work;
use crate::base::diag::Result;
use crate::ex;
use crate::kernel::{Contract, Kernel, LowerCx, Query};
use crate::loops::ir::{ExprId, Ty};

/// The contract.
pub static CONV_INTEGER: Contract = Contract {
    name: "conv_integer",
    doc: "Convolution of 8-bit numbers with zero points, summed exactly",
    reference: None,
    rows: &[
        conv_depthwise_last::BYTES,
        conv_winograd::WHOLE_F4,
        conv_winograd::WHOLE_F2,
        conv_strip::MATRICES,
        conv_strip::BYTES,
        conv_strip::PICKED,
        conv_strip::WORDS,
        sparse::integer::CONV_FOUR,
        sparse::integer::CONV_ONE,
        sparse::integer::CONV_FOUR_NEAR,
        sparse::integer::CONV_ONE_NEAR,
        LOOPS,
    ],
};

/// Plain loops, for every type, rank and group.
pub const LOOPS: Kernel = Kernel {
    name: "conv_integer_loops",
    needs: &[],
    accepts: |_| true,
    work: |q| Work::of(macs(q)),
    tails: true,
    emit,
};

fn emit(cx: &mut LowerCx, q: &Query) -> Result<()> {
    let v = View::of(q)?;
    let xz = zero(cx, 2, None)?;
    let xz = cx.b.let_(xz);
    conv::sums(
        cx,
        &v,
        Ty::I32,
        // Padding stands for the real number 0.
        &|cx, at, ok| {
            let x = cx.load_if(0, ok, at, xz)?;
            Ok(cx.b.sub(x, xz))
        },
        &|cx, at| {
            let w = cx.load(1, at)?;
            let z = zero(cx, 3, Some(at[0]))?;
            Ok(ex!(cx.b; w - z))
        },
        &|cx, at, sum| {
            let channel = if v.channels_last { at.len() - 1 } else { 1 };
            let sum = begun(cx, sum, at[channel])?;
            cx.store(0, at, sum);
            Ok(())
        },
    )
}

/// A sum of a channel and what it begins with: input 4.
pub fn begun(cx: &mut LowerCx, sum: ExprId, channel: ExprId) -> Result<ExprId> {
    if cx.opt(4).is_none() {
        return Ok(sum);
    }
    let start = cx.load_flat(4, channel)?;
    Ok(cx.b.add(sum, start))
}

/// The zero point that input `i` holds, or that of a channel; 0 where it is absent.
pub fn zero(cx: &mut LowerCx, i: usize, channel: Option<ExprId>) -> Result<ExprId> {
    let Some(o) = cx.opt(i) else {
        return Ok(cx.b.int(Ty::I32, 0));
    };
    let single = o.ty.elements().is(1) || o.ty.rank() == 0;
    let at = match (single, channel) {
        (false, Some(c)) => c,
        _ => cx.b.i(0),
    };
    cx.load_flat(i, at)
}
