//! `byte_repeat`: each element several times, one behind the other: bytes, as a depthwise convolution with several outputs for each channel asks for, or
//! floats, as an image asks for that grows by whole times: there each row stands several times as well, one below the other.
//!
//! Arguments: pointers x, out; then `n` (elements of a row of x) and `rows` (of x). Shape: `times` and `lines`, how often elements and rows are repeated, 2
//! to [`MOST`] and 1 to [`MOST`] (1 where it is not said); `size`, bytes of an element: 1 (where it is not said) or 4.
//! `out[((lines r + l) n + i) times + k] = x[r n + i]`.

use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::ex;
use crate::kernel::Contract;
use crate::loops::build::Builder;
use crate::loops::ir::{Access, Callee, Func, LoopKind};

/// The contract.
pub static BYTE_REPEAT: Contract = Contract {
    name: "byte_repeat",
    doc: "Each byte or float several times, one behind the other.",
    reference: Some(reference),
    rows: &[],
};

/// The name of how often a byte is repeated.
pub const TIMES: &str = "times";
/// The name of how often a row is.
pub const LINES: &str = "lines";
/// The name of the bytes of an element.
pub const SIZE: &str = "size";
/// The most repetitions of an element.
pub const MOST: i64 = 16;

fn reference(callee: &Callee) -> Option<Func> {
    let (times, lines) = (callee.get(TIMES)?, callee.get(LINES).unwrap_or(1));
    let dtype = match callee.get(SIZE) {
        None | Some(1) => DType::U8,
        Some(4) => DType::F32,
        Some(_) => return None,
    };
    let mut b = Builder::new(BYTE_REPEAT.name);
    // A call says where its buffers begin, not where they end.
    let unknown = Dim::Fixed(i64::MAX);
    let x = b.buffer("x", dtype, unknown.clone(), Access::Read);
    let out = b.buffer("out", dtype, unknown, Access::Write);
    let (n, rows) = (b.int_param(), b.int_param());
    b.for_(rows, LoopKind::Seq, |b, r| {
        b.for_(n, LoopKind::Seq, |b, i| {
            let from = ex!(b; (r * n) + i);
            let v = b.load(x, from);
            for l in 0..lines {
                let line = ex!(b; (r * {b.i(lines)}) + {b.i(l)});
                for k in 0..times {
                    let to = ex!(b; (((line * n) + i) * {b.i(times)}) + {b.i(k)});
                    b.store(out, to, v);
                }
            }
        });
    });
    Some(b.finish())
}
