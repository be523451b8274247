//! `palette`: numbers of four bits become the values of a table of sixteen, 32 at a time.
//!
//! Sixteen bytes stand for 32 values: their low halves for the first sixteen, their high ones for the others, in order.

use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::kernel::Contract;
use crate::loops::build::Builder;
use crate::loops::ir::{Access, BufId, Callee, ExprId, Func, LoopKind, Ty};

/// The tile's contract. Arguments: pointers to the bytes, the table (16 floats) and the values; then how many times sixteen bytes.
pub static PALETTE: Contract = Contract {
    name: "palette",
    doc: "A float of a table of sixteen for each half of a byte.",
    reference: Some(reference),
    rows: &[],
};

/// Values that sixteen bytes stand for.
pub const TOGETHER: usize = 32;

/// Writes `count` of the values that the sixteen bytes from `from` on stand for, from `to` on. `bufs`: bytes, table, values.
pub fn run(
    b: &mut Builder,
    (codes, table, out): (BufId, BufId, BufId),
    from: ExprId,
    to: ExprId,
    count: usize,
) {
    for (half, shift) in [(0, 0), (16, 4)] {
        let n = count.saturating_sub(half).min(16);
        if n == 0 {
            continue;
        }
        let n = b.i(n as i64);
        b.for_(n, LoopKind::Seq, |b, i| {
            let place = b.add(from, i);
            let byte = b.load(codes, place);
            let (by, mask) = (b.int(Ty::I32, shift), b.int(Ty::I32, 15));
            let byte = b.shr_u(byte, by);
            let code = b.and(byte, mask);
            let code = b.cast(Ty::I64, code);
            let v = b.load(table, code);
            let half = b.i(half as i64);
            let at = b.add(to, half);
            let at = b.add(at, i);
            b.store(out, at, v);
        });
    }
}

fn reference(_: &Callee) -> Option<Func> {
    let mut b = Builder::new(PALETTE.name);
    // A call says where its buffers begin, not where they end.
    let unknown = Dim::Fixed(i64::MAX);
    let codes = b.buffer("codes", DType::U8, unknown.clone(), Access::Read);
    let table = b.buffer("table", DType::F32, Dim::Fixed(16), Access::Read);
    let out = b.buffer("out", DType::F32, unknown, Access::Write);
    let n = b.int_param();
    b.for_(n, LoopKind::Seq, |b, i| {
        let (bytes, values) = (b.i(16), b.i(TOGETHER as i64));
        let (from, to) = (b.mul(i, bytes), b.mul(i, values));
        run(b, (codes, table, out), from, to, TOGETHER);
    });
    Some(b.finish())
}
