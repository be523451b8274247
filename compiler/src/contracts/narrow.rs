//! Strips over narrow weights: floats times whole numbers that stay as the file stores them.
//!
//! B holds a byte for each weight, or four bits: eight k of a column in four bytes, the first in the lowest bits. A call computes for row i and column j
//!
//! `tail(start + sum over blocks b of scale[b, j] * (sum over k in b of a[i, k] * q[k, j] - zero[b, j] * sum over k in b of a[i, k]))`
//!
//! Each block's sum starts from 0, in as many chains as the strip has, and meets the sum so far in one fused multiply-add with its scale. The
//! sum of A in a block goes in four chains over whole fours of k (eights, where weights have four bits), the rest being in the first; they are
//! added as 0 + 2 and 1 + 3.
//! Scales lie as `[block][b_row]` floats, zeros, where there are several, as as many bytes.

use super::strip::{GEMM_STRIP, Start, Strip};
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::ex;
use crate::loops::build::Builder;
use crate::loops::ir::{Access, ExprId, Func, LoopKind, Ty, VarId};

/// How the numbers of B become floats.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Narrow {
    /// Elements of a sum that share scales; 0: all of them. A multiple of 8 where weights have four bits.
    pub block: i64,
    /// What stands for 0.
    pub zero: Zero,
}

/// What stands for 0 in weights.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Zero {
    /// 0 itself.
    None,
    /// One number, from 1 to 255.
    All(i64),
    /// One for each block and column.
    Each,
}

/// How a shape says [`Zero::Each`].
const EACH: i64 = 256;

impl Narrow {
    /// As part of a callee's shape.
    pub fn to_shape(&self) -> [(String, i64); 2] {
        let zero = match self.zero {
            Zero::None => 0,
            Zero::All(z) => z,
            Zero::Each => EACH,
        };
        [("block".into(), self.block), ("zero".into(), zero)]
    }
    /// Reads it; `None` where it says nothing sensible.
    pub fn of_shape(shape: &[(String, i64)]) -> Option<Narrow> {
        let get = |name: &str| shape.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
        Some(Narrow {
            block: get("block").filter(|b| (0..1 << 16).contains(b))?,
            zero: match get("zero")? {
                0 => Zero::None,
                z @ 1..=255 => Zero::All(z),
                EACH => Zero::Each,
                _ => return None,
            },
        })
    }
}

/// Numbers of four bits that lie together.
pub const TOGETHER: i64 = 8;

/// Bytes of a column of `k` numbers.
pub fn column(b_type: DType, k: i64) -> i64 {
    match b_type {
        DType::U4 => (k + TOGETHER - 1) / TOGETHER * 4,
        _ => k,
    }
}

/// The plain meaning.
pub(super) fn reference(s: &Strip, narrow: Narrow) -> Option<Func> {
    let mut b = Builder::new(GEMM_STRIP.name);
    // A call says where its buffers begin, not where they end.
    let unknown = Dim::Fixed(i64::MAX);
    let stored = match s.b_type {
        DType::U4 => DType::U8,
        d => d,
    };
    let pa = b.buffer("a", DType::F32, unknown.clone(), Access::Read);
    let pb = b.buffer("b", stored, unknown.clone(), Access::Read);
    let pc = match s.start {
        Start::Sum => b.buffer("c", DType::F32, unknown.clone(), Access::ReadWrite),
        Start::Zero => b.buffer("c", DType::F32, unknown.clone(), Access::Write),
    };
    let scales = b.buffer("scales", DType::F32, unknown.clone(), Access::Read);
    let zeros = match narrow.zero {
        Zero::Each => Some(b.buffer("zeros", DType::U8, unknown.clone(), Access::Read)),
        _ => None,
    };
    let kinds: Vec<DType> = s.tail.operands().filter_map(|n| n.element()).collect();
    let operands: Vec<_> = kinds
        .into_iter()
        .map(|d| b.buffer("operand", d, unknown.clone(), Access::Read))
        .collect();
    let [a_row, c_row, k, _seg, _b_row, tiles, _ahead] = [(); 7].map(|()| b.int_param());
    let rows: Vec<_> = operands.iter().map(|_| b.int_param()).collect();
    let (m, n, b_row) = (b.i(s.m), b.i(s.n), b.i(s.b_row));
    let block = match narrow.block {
        0 => k,
        block => b.i(block),
    };
    let blocks = match narrow.block {
        0 => b.i(1),
        _ => ex!(b; ((k + block) - 1) / block),
    };
    let all = b.mul(tiles, m);
    b.for_(all, LoopKind::Seq, |b, i| {
        b.for_(n, LoopKind::Seq, |b, j| {
            let c_at = ex!(b; (i * c_row) + j);
            let zero = b.f(0.0);
            let start = match s.start {
                Start::Sum => b.load(pc, c_at),
                Start::Zero => zero,
            };
            let total = b.var(start);
            let chains: Vec<VarId> = (0..s.split).map(|_| b.var(zero)).collect();
            let of_a: Vec<VarId> = (0..4).map(|_| b.var(zero)).collect();
            b.for_(blocks, LoopKind::Seq, |b, g| {
                for &v in chains.iter().chain(&of_a) {
                    b.set(v, zero);
                }
                let first = b.mul(g, block);
                let left = b.sub(k, first);
                let here = b.min(left, block);
                let unit = b.i(if s.b_type == DType::U4 { TOGETHER } else { 4 });
                let whole = ex!(b; (here / unit) * unit);
                b.for_(here, LoopKind::Seq, |b, p| {
                    let row = b.add(first, p);
                    let a_at = ex!(b; (i * a_row) + row);
                    let (x, w) = (b.load(pa, a_at), weight(b, s, pb, row, b_row, j));
                    let next =
                        |b: &mut Builder, v: VarId, which: ExprId, c: usize, fresh: ExprId| {
                            let (so_far, c) = (b.get(v), b.i(c as i64));
                            let own = b.eq(which, c);
                            let value = b.select(own, fresh, so_far);
                            b.set(v, value);
                        };
                    let which = ex!(b; p % {b.i(s.split)});
                    for (c, &v) in chains.iter().enumerate() {
                        let so_far = b.get(v);
                        let fresh = b.fma(x, w, so_far);
                        next(b, v, which, c, fresh);
                    }
                    let (lane, none) = (ex!(b; p % {b.i(4)}), b.i(0));
                    let inside = b.lt(p, whole);
                    let lane = b.select(inside, lane, none);
                    for (c, &v) in of_a.iter().enumerate() {
                        let so_far = b.get(v);
                        let fresh = b.add(so_far, x);
                        next(b, v, lane, c, fresh);
                    }
                });
                let mut sum = b.get(chains[0]);
                for &more in &chains[1..] {
                    let x = b.get(more);
                    sum = b.add(sum, x);
                }
                let at = ex!(b; (g * b_row) + j);
                let z = match (narrow.zero, zeros) {
                    (Zero::All(z), _) => Some(b.f(z as f32)),
                    (Zero::Each, Some(zeros)) => {
                        let z = b.load(zeros, at);
                        Some(b.cast(Ty::F32, z))
                    }
                    _ => None,
                };
                if let Some(z) = z {
                    let [x0, x1, x2, x3] = [0, 1, 2, 3].map(|c: usize| b.get(of_a[c]));
                    let all = ex!(b; (x0 + x2) + (x1 + x3));
                    let less = ex!(b; zero - all);
                    sum = b.fma(z, less, sum);
                }
                let (scale, so_far) = (b.load(scales, at), b.get(total));
                let next = b.fma(sum, scale, so_far);
                b.set(total, next);
            });
            let value = b.get(total);
            let value = b.let_(value);
            let loaded = s.tail.load(b, &operands, &rows, i, j);
            let value = s.tail.apply(b, value, &loaded);
            b.store(pc, c_at, value);
        });
    });
    Some(b.finish())
}

/// The number of row `k`, column `j`, as a float.
fn weight(
    b: &mut Builder,
    s: &Strip,
    buf: crate::loops::ir::BufId,
    k: ExprId,
    b_row: ExprId,
    j: ExprId,
) -> ExprId {
    if s.b_type != DType::U4 {
        let at = ex!(b; (k * b_row) + j);
        let byte = b.load(buf, at);
        return b.cast(Ty::F32, byte);
    }
    let together = b.i(TOGETHER);
    let inside = b.rem(k, together);
    let at = ex!(b; ((((k / together) * b_row) + j) * 4) + (inside / 2));
    let byte = b.load(buf, at);
    let odd = ex!(b; (inside % 2) * 4);
    let by = b.cast(Ty::I32, odd);
    let shifted = b.shr(byte, by);
    let mask = b.int(Ty::I32, 15);
    let number = b.and(shifted, mask);
    b.cast(Ty::F32, number)
}
