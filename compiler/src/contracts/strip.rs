//! `gemm_strip`: strips of matrix products, the heart of dense convolutions and matrix products.
//!
//! A call computes `tiles * m` rows of `n` columns. The sum of a row runs over `segs` segments of `k` elements of A each, which lie
//! `seg` elements apart: a product of matrices has one segment, a convolution over channels-last data one for each row of
//! its window. B lies `b_row` elements apart from one k to the next, through all segments. Each sum starts from zero (or what C
//! holds) and is one chain of fused multiply-adds, k ascending; with `split` > 1 it is that many
//! chains over k = 0, split, 2 split ... and k = 1, split + 1 ..., added up in order, what C holds being in the first.
//! B may be stored in half precision. The tail is applied to each sum before it is stored.
//!
//! A bias is part of the tail: added first, it would cost accuracy where it is large.
//!
//! Arguments: pointers a, b, c, the tail's operands; then the numbers a_row, c_row, k, seg, b_row,
//! tiles, ahead, and for each tail operand its row distance.

use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::kernel::{Contract, Tile};
use crate::loops::build::Builder;
use crate::loops::ir::{Access, Callee, Func, LoopKind};
use crate::loops::tail::Tail;

/// The contract.
pub static GEMM_STRIP: Contract = Contract {
    name: "gemm_strip",
    doc: "Strips of a float32 matrix product or of a convolution over channels-last data, with a pointwise tail.",
    reference: Some(reference),
    rows: &[],
};

/// What a strip is specialised to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Strip {
    /// Rows of a tile.
    pub m: i64,
    /// Columns.
    pub n: i64,
    /// Segments of a sum.
    pub segs: i64,
    /// Chains of a sum.
    pub split: i64,
    /// Elements of B from one k to the next, where they are known (packed panels); 0: `b_row` says.
    pub b_row: i64,
    /// How B is stored.
    pub b_type: DType,
    /// Whether what lies `ahead` elements behind B is fetched meanwhile: the next panel, where weights come from far away.
    pub ahead: bool,
    /// Where sums start.
    pub start: Start,
    /// What is done with a sum.
    pub tail: Tail,
}

/// Where sums start.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Start {
    Zero = 0,
    /// With what C holds.
    Sum = 1,
}

impl Strip {
    /// As the callee of a tile.
    pub fn callee(&self, tile: &Tile) -> Callee {
        let mut shape = vec![
            ("m".to_string(), self.m),
            ("n".to_string(), self.n),
            ("segs".to_string(), self.segs),
            ("split".to_string(), self.split),
            ("b_row".to_string(), self.b_row),
            ("b_type".to_string(), i64::from(self.b_type.onnx())),
            ("ahead".to_string(), i64::from(self.ahead)),
            ("start".to_string(), self.start as i64),
        ];
        shape.extend(self.tail.to_shape());
        Callee {
            kernel: tile.name.to_string(),
            contract: tile.contract.to_string(),
            shape,
        }
    }
    /// Reads a callee; `None` where it says nothing sensible.
    pub fn of(callee: &Callee) -> Option<Strip> {
        let get = |name: &str, least: i64| {
            let found = callee.shape.iter().find(|(n, _)| n == name);
            found
                .map(|(_, v)| *v)
                .filter(|v| (least..1 << 16).contains(v))
        };
        Some(Strip {
            m: get("m", 1)?,
            n: get("n", 1)?,
            segs: get("segs", 1)?,
            split: get("split", 1)?,
            b_row: get("b_row", 0)?,
            b_type: match DType::from_onnx(get("b_type", 0)? as i32)? {
                d @ (DType::F32 | DType::F16 | DType::BF16) => d,
                _ => return None,
            },
            ahead: get("ahead", 0)? == 1,
            start: match get("start", 0)? {
                0 => Start::Zero,
                1 => Start::Sum,
                _ => return None,
            },
            tail: Tail::of_shape(&callee.shape)?,
        })
    }
}

fn reference(callee: &Callee) -> Option<Func> {
    let s = Strip::of(callee)?;
    let mut b = Builder::new("gemm_strip");
    // A call says where its buffers begin, not where they end.
    let unknown = Dim::Fixed(i64::MAX);
    let pa = b.buffer("a", DType::F32, unknown.clone(), Access::Read);
    let pb = b.buffer("b", s.b_type, unknown.clone(), Access::Read);
    let mut buffer = |name: &str, access| b.buffer(name, DType::F32, unknown.clone(), access);
    let pc = buffer(
        "c",
        if s.start == Start::Sum {
            Access::ReadWrite
        } else {
            Access::Write
        },
    );
    let operands: Vec<_> = s
        .tail
        .operands()
        .map(|_| buffer("operand", Access::Read))
        .collect();
    let [a_row, c_row, k, seg, b_row, tiles, _ahead] = [(); 7].map(|()| b.int_param());
    let rows: Vec<_> = operands.iter().map(|_| b.int_param()).collect();
    let b_row = match s.b_row {
        0 => b_row,
        known => b.i(known),
    };
    let (m, n, segs) = (b.i(s.m), b.i(s.n), b.i(s.segs));
    let all = b.mul(tiles, m);
    b.for_(all, LoopKind::Seq, |b, i| {
        b.for_(n, LoopKind::Seq, |b, j| {
            let c_at = b.mul(i, c_row);
            let c_at = b.add(c_at, j);
            let zero = b.f(0.0);
            let start = match s.start {
                Start::Sum => b.load(pc, c_at),
                Start::Zero => zero,
            };
            let sums: Vec<_> = (0..s.split)
                .map(|p| b.var(if p == 0 { start } else { zero }))
                .collect();
            b.for_(segs, LoopKind::Seq, |b, g| {
                b.for_(k, LoopKind::Seq, |b, p| {
                    let a_start = b.mul(i, a_row);
                    let a_seg = b.mul(g, seg);
                    let a_at = b.add(a_start, a_seg);
                    let a_at = b.add(a_at, p);
                    let row = b.mul(g, k);
                    let row = b.add(row, p);
                    let b_at = b.mul(row, b_row);
                    let b_at = b.add(b_at, j);
                    let (x, y) = (b.load(pa, a_at), b.load(pb, b_at));
                    let split = b.i(s.split);
                    let which = b.rem(p, split);
                    for (c, &sum) in sums.iter().enumerate() {
                        let so_far = b.get(sum);
                        let next = b.fma(x, y, so_far);
                        let c = b.i(c as i64);
                        let here = b.eq(which, c);
                        let next = b.select(here, next, so_far);
                        b.set(sum, next);
                    }
                });
            });
            let mut total = b.get(sums[0]);
            for &more in &sums[1..] {
                let x = b.get(more);
                total = b.add(total, x);
            }
            let total = b.let_(total);
            let loaded = s.tail.load(b, &operands, &rows, i, j);
            let value = s.tail.apply(b, total, &loaded);
            b.store(pc, c_at, value);
        });
    });
    Some(b.finish())
}
