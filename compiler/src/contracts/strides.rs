//! `byte_strides`: every second, third or fourth byte, as slices of pictures into columns ask for.
//!
//! Arguments: pointers x, out; then `n` (bytes of out). Shape: `step`, 2 to [`MOST`]. `out[i] = x[step i]`; nothing of x behind the last of these is read.

use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::kernel::Contract;
use crate::loops::build::Builder;
use crate::loops::ir::{Access, Callee, Func, LoopKind};

/// The contract.
pub static BYTE_STRIDES: Contract = Contract {
    name: "byte_strides",
    doc: "Every second, third or fourth byte.",
    reference: Some(reference),
    rows: &[],
};

/// The name of how far bytes lie apart.
pub const STEP: &str = "step";
/// The largest distance.
pub const MOST: i64 = 4;

fn reference(callee: &Callee) -> Option<Func> {
    let step = callee.get(STEP)?;
    let mut b = Builder::new(BYTE_STRIDES.name);
    // A call says where its buffers begin, not where they end.
    let unknown = Dim::Fixed(i64::MAX);
    let x = b.buffer("x", DType::U8, unknown.clone(), Access::Read);
    let out = b.buffer("out", DType::U8, unknown, Access::Write);
    let n = b.int_param();
    b.for_(n, LoopKind::Seq, |b, i| {
        let by = b.i(step);
        let from = b.mul(i, by);
        let v = b.load(x, from);
        b.store(out, i, v);
    });
    Some(b.finish())
}
