//! A tile of a matrix product in f32: the inner loop of dense work, called by loop nests and written as machine code.
//!
//! `c[i][j] = (accumulate ? c[i][j] : 0) + sum over k of a[i][k] * b[k][j]` for i below m and j below n. Every element is one chain of
//! fused multiply-adds, k ascending, so the result is the same whatever the size of the tile. Only elements of the tile are
//! read or written.
//!
//! Shape: `m`, `n` (from 1 to what the row offers), `accumulate` (0 or 1).
//! Arguments: `a`, `a_row`, `a_k`, `b`, `b_k`, `c`, `c_row`, `k`; strides count elements, and B's columns lie next to each other.
//! As C: `void tile(const float *a, int64_t a_row, int64_t a_k, const float *b, int64_t b_k, float *c, int64_t c_row, int64_t k)`.

use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::kernel::Contract;
use crate::loops::build::Builder;
use crate::loops::ir::{Access, Callee, Func, LoopKind};

/// The contract.
pub static GEMM_TILE: Contract = Contract {
    name: "gemm_tile",
    doc: "A tile of a float32 matrix product, each element one chain of fused multiply-adds.",
    reference: Some(reference),
    rows: &[],
};

/// The plain meaning: buffers a, b, c from where the call points, ints a_row, a_k, b_k, c_row, k.
fn reference(callee: &Callee) -> Option<Func> {
    let get = |name: &str| callee.get(name).filter(|v| *v >= 0);
    let (m, n, accumulate) = (get("m")?, get("n")?, get("accumulate")? != 0);
    let mut b = Builder::new("gemm_tile");
    // A call says where its buffers begin, not where they end.
    let unknown = Dim::Fixed(i64::MAX);
    let pa = b.buffer("a", DType::F32, unknown.clone(), Access::Read);
    let pb = b.buffer("b", DType::F32, unknown.clone(), Access::Read);
    let access = if accumulate {
        Access::ReadWrite
    } else {
        Access::Write
    };
    let pc = b.buffer("c", DType::F32, unknown, access);
    let [a_row, a_k, b_k, c_row, k] = [(); 5].map(|()| b.int_param());
    let (m, n) = (b.i(m), b.i(n));
    b.for_(m, LoopKind::Seq, |b, i| {
        b.for_(n, LoopKind::Seq, |b, j| {
            let c_start = b.mul(i, c_row);
            let c_at = b.add(c_start, j);
            let start = if accumulate {
                b.load(pc, c_at)
            } else {
                b.f(0.0)
            };
            let sum = b.var(start);
            b.for_(k, LoopKind::Seq, |b, k| {
                let (a_start, a_step, b_start) = (b.mul(i, a_row), b.mul(k, a_k), b.mul(k, b_k));
                let (a_at, b_at) = (b.add(a_start, a_step), b.add(b_start, j));
                let (x, y) = (b.load(pa, a_at), b.load(pb, b_at));
                let so_far = b.get(sum);
                let next = b.fma(x, y, so_far);
                b.set(sum, next);
            });
            let value = b.get(sum);
            b.store(pc, c_at, value);
        });
    });
    Some(b.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(shape: &[(&str, i64)]) -> Callee {
        Callee {
            kernel: "any".to_string(),
            contract: GEMM_TILE.name.to_string(),
            shape: shape.iter().map(|(n, v)| (n.to_string(), *v)).collect(),
        }
    }

    #[test]
    fn the_reference_has_the_parameters_of_the_call() {
        let f = reference(&call(&[("m", 2), ("n", 3), ("accumulate", 1)])).unwrap();
        assert_eq!((f.bufs.iter().count(), f.ints.len()), (3, 5));
        assert!(reference(&call(&[("m", 2)])).is_none());
    }
}
