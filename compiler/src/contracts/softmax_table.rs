//! `softmax_table`: what each byte of a row becomes by softmax.
//!
//! Shape: `signed`, whether bytes of x are; `to_signed`, the same of results. Arguments: pointers x, rising (f64, 512: powers of e, that of distance d at
//! 255 - d, then zeros), numbers (f64: a multiplier, the zero point), table (256 bytes); then `n`, bytes of x, at least [`LEAST`]. With `p(v)` = `rising[255 - most + v]`
//! and `most` the largest byte: entry v is `near(p(v) * (multiplier / sum of all p(x)))` + zero point within the results' type. Entries follow the bits of v.

use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::ex;
use crate::kernel::{Contract, Tile};
use crate::loops::build::Builder;
use crate::loops::ir::{Access, Callee, Func, LoopKind, Ty, UnOp};

/// The contract.
pub static SOFTMAX_TABLE: Contract = Contract {
    name: "softmax_table",
    doc: "What each byte of a row becomes by softmax.",
    reference: Some(reference),
    rows: &[],
};

/// Bytes that a row has at least.
pub const LEAST: i64 = 32;

/// The call of a tile, for bytes with signs or without.
pub fn callee(tile: &Tile, signed: bool, to_signed: bool) -> Callee {
    let shape = [("signed", signed), ("to_signed", to_signed)];
    tile.callee(shape.map(|(n, v)| (n.to_string(), i64::from(v))).to_vec())
}

/// Whether bytes of x and of results have signs.
pub fn signs(callee: &Callee) -> Option<[bool; 2]> {
    Some([callee.get("signed")? != 0, callee.get("to_signed")? != 0])
}

fn reference(callee: &Callee) -> Option<Func> {
    let [signed, to_signed] = signs(callee)?;
    let byte = |signed| if signed { DType::I8 } else { DType::U8 };
    let mut b = Builder::new(SOFTMAX_TABLE.name);
    // A call says where its buffers begin, not where they end.
    let x = b.buffer("x", byte(signed), Dim::Fixed(i64::MAX), Access::Read);
    let rising = b.buffer("rising", DType::F64, Dim::Fixed(512), Access::Read);
    let numbers = b.buffer("numbers", DType::F64, Dim::Fixed(2), Access::Read);
    let table = b.buffer("table", byte(to_signed), Dim::Fixed(256), Access::Write);
    let n = b.int_param();
    let least = b.int(Ty::I32, -128);
    let most = b.var(least);
    b.for_(n, LoopKind::Seq, |b, i| {
        let v = b.load(x, i);
        let old = b.get(most);
        let v = b.max(old, v);
        b.set(most, v);
    });
    let most = b.get(most);
    let most = b.cast(Ty::I64, most);
    let start = ex!(b; {b.i(255)} - most);
    let start = b.let_(start);
    let zero = b.num(Ty::F64, 0.0);
    let sum = b.var(zero);
    b.for_(n, LoopKind::Seq, |b, i| {
        let v = b.load(x, i);
        let v = b.cast(Ty::I64, v);
        let at = b.add(start, v);
        let p = b.load(rising, at);
        let old = b.get(sum);
        let new = b.add(old, p);
        b.set(sum, new);
    });
    let (none, one) = (b.i(0), b.i(1));
    let (m, zero, sum) = (b.load(numbers, none), b.load(numbers, one), b.get(sum));
    let by = b.div(m, sum);
    let (by, zero) = (b.let_(by), b.let_(zero));
    let (lo, hi) = byte(to_signed).int_range()?;
    let (lo, hi) = (b.num(Ty::F64, lo as f64), b.num(Ty::F64, hi as f64));
    let half = b.i(128);
    for (k, first) in [0, if signed { -128 } else { 128 }].into_iter().enumerate() {
        b.for_(half, LoopKind::Seq, |b, i| {
            let from = ex!(b; (start + {b.i(first)}) + i);
            let p = b.load(rising, from);
            let v = b.mul(p, by);
            let v = b.un(UnOp::Round, v);
            let v = b.add(v, zero);
            let v = b.clamp(v, lo, hi);
            let v = b.cast(Ty::I32, v);
            let to = ex!(b; i + {b.i(128 * k as i64)});
            b.store(table, to, v);
        });
    }
    Some(b.finish())
}
