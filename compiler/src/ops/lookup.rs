//! Lookup: a function of 8-bit numbers by a table. Not an operator of ONNX: the pass `integers` makes it.

use super::quantized::byte;
use super::util::{accept, bad};
use crate::base::attr::Attrs;
use crate::base::dim::Dim;
use crate::contracts::lookup as contract;
use crate::op::{BASE, Lower, OpDef};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&LOOKUP];

/// Inputs: x (8 bits), a table of 256. Output: the table's entry number `x - least value of its type`.
pub static LOOKUP: OpDef = OpDef {
    name: "Lookup",
    inputs: (2, 2),
    infer: |cx| {
        accept(cx, 0, byte)?;
        let d = cx.dtype(1)?;
        if !cx.shape(1)?.iter().map(Dim::fixed).eq([Some(256)]) {
            return bad("a table has 256 entries");
        }
        let shape = cx.shape(0)?;
        cx.out(0, d, shape);
        Ok(())
    },
    lower: Lower::Contract(&contract::LOOKUP, |_| Ok(Attrs::default())),
    in_range: true,
    ..BASE
};
