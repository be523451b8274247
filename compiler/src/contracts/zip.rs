//! `byte_zip`: two rows of bytes become one in which they take turns, as a shuffle of two groups of channels asks for.
//!
//! Arguments: pointers x, out; then `n` (bytes of a row) and `count` (pairs of rows, which lie behind one another in both). For each pair,
//! `out[2 i] = x[i]` and `out[2 i + 1] = x[n + i]`.

use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::kernel::Contract;
use crate::loops::build::Builder;
use crate::loops::ir::{Access, Callee, Func, LoopKind};

/// The contract.
pub static BYTE_ZIP: Contract = Contract {
    name: "byte_zip",
    doc: "Pairs of rows of bytes, each pair as one row in which they take turns.",
    reference: Some(reference),
    rows: &[],
};

fn reference(_: &Callee) -> Option<Func> {
    let mut b = Builder::new("byte_zip");
    // A call says where its buffers begin, not where they end.
    let unknown = Dim::Fixed(i64::MAX);
    let x = b.buffer("x", DType::U8, unknown.clone(), Access::Read);
    let out = b.buffer("out", DType::U8, unknown, Access::Write);
    let (n, count) = (b.int_param(), b.int_param());
    b.for_(count, LoopKind::Seq, |b, pair| {
        b.for_(n, LoopKind::Seq, |b, i| {
            let two = b.i(2);
            let row = b.mul(pair, n);
            let row = b.mul(row, two);
            let to = b.mul(i, two);
            let to = b.add(row, to);
            let from = b.add(row, i);
            let v = b.load(x, from);
            b.store(out, to, v);
            let (one, from) = (b.i(1), b.add(from, n));
            let to = b.add(to, one);
            let v = b.load(x, from);
            b.store(out, to, v);
        });
    });
    Some(b.finish())
}
