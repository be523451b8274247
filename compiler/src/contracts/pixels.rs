//! `byte_pixels`: a picture of three channels of bytes, one behind the other, becomes pixels.
//!
//! Arguments: pointers x, out; then `plane` (bytes from one channel to the next in x) and `n` (pixels). `out[3 i + c] = x[plane c + i]`.

use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::ex;
use crate::kernel::Contract;
use crate::loops::build::Builder;
use crate::loops::ir::{Access, Callee, Func, LoopKind};

/// The contract.
pub static BYTE_PIXELS: Contract = Contract {
    name: "byte_pixels",
    doc: "Three channels of bytes as pixels.",
    reference: Some(reference),
    rows: &[],
};

/// Channels of a pixel.
pub const CHANNELS: i64 = 3;

fn reference(_: &Callee) -> Option<Func> {
    let mut b = Builder::new(BYTE_PIXELS.name);
    // A call says where its buffers begin, not where they end.
    let unknown = Dim::Fixed(i64::MAX);
    let x = b.buffer("x", DType::U8, unknown.clone(), Access::Read);
    let out = b.buffer("out", DType::U8, unknown, Access::Write);
    let (plane, n) = (b.int_param(), b.int_param());
    b.for_(n, LoopKind::Seq, |b, i| {
        for c in 0..CHANNELS {
            let c = b.i(c);
            let from = ex!(b; (plane * c) + i);
            let to = ex!(b; (i * {b.i(CHANNELS)}) + c);
            let v = b.load(x, from);
            b.store(out, to, v);
        }
    });
    Some(b.finish())
}
