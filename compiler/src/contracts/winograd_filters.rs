//! `winograd_filters_words`: the weights of an exact Winograd convolution, transformed where a layer begins.
//!
//! 3 x 3 weights are (m+2)^2 words of their transform for nine bytes. An object stores the bytes, in the order in which products read the words:
//! for each vector of words nine vectors of weights, those of a window by rows, then the next vector's.
//!
//! Pointers filters (`[count][9][lanes]`), planes; then count (vectors of a plane) and plane (words from one plane to the next). Plane
//! i * (m+2) + j holds element (i, j) of GgG', as [`super::winograd_exact`] has it. `lanes` counts words.

use super::winograd_exact::weight_line;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::kernel::{Contract, Tile};
use crate::loops::build::Builder;
use crate::loops::ir::{Access, Callee, Func, LoopKind};

/// The contract.
pub static WINOGRAD_FILTERS_WORDS: Contract = Contract {
    name: "winograd_filters_words",
    doc: "The transform of the 8-bit weights of an exact Winograd convolution.",
    reference: Some(reference),
    rows: &[],
};

/// Weights of a window.
pub const TAPS: i64 = 9;

/// What a transform of weights is specialised to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Filters {
    /// Results of a tile along an axis: 2 or 4.
    pub m: i64,
    /// Words of a vector.
    pub lanes: i64,
    /// Elements of the filters: bytes with a sign, or words.
    pub stored: DType,
}

impl Filters {
    /// As the callee of a tile.
    pub fn callee(&self, tile: &Tile) -> Callee {
        let shape = [
            ("m", self.m),
            ("lanes", self.lanes),
            ("stored", i64::from(self.stored.onnx())),
        ];
        Callee {
            kernel: tile.name.to_string(),
            contract: tile.contract.to_string(),
            shape: shape.map(|(k, v)| (k.to_string(), v)).to_vec(),
        }
    }
    /// Reads a callee; `None` where it says nothing sensible.
    pub fn of(callee: &Callee) -> Option<Filters> {
        let stored = DType::from_onnx(callee.get("stored")? as i32)?;
        let m = callee.get("m")?;
        let lanes = callee.get("lanes")?;
        let sensible = [2, 4].contains(&m)
            && (1..1 << 10).contains(&lanes)
            && matches!(stored, DType::I8 | DType::I16);
        sensible.then_some(Filters { m, lanes, stored })
    }
}

fn reference(callee: &Callee) -> Option<Func> {
    let s = Filters::of(callee)?;
    let mut b = Builder::new("winograd_filters");
    // A call says where its buffers begin, not where they end.
    let unknown = Dim::Fixed(i64::MAX);
    let filters = b.buffer("filters", s.stored, unknown.clone(), Access::Read);
    let planes = b.buffer("planes", DType::I16, unknown, Access::Write);
    let [count, plane] = [(); 2].map(|()| b.int_param());
    b.for_(count, LoopKind::Seq, |b, vector| {
        let lanes = b.i(s.lanes);
        b.for_(lanes, LoopKind::Seq, |b, lane| {
            let taps = b.i(TAPS);
            let first = b.mul(vector, taps);
            let mut tap = |n: i64| {
                let n = b.i(n);
                let at = b.add(first, n);
                let at = b.mul(at, lanes);
                let at = b.add(at, lane);
                let v = b.load(filters, at);
                b.let_(v)
            };
            let window = [0, 3, 6].map(|row| [0, 1, 2].map(|column| tap(row + column)));
            // Columns of the window, then rows of what they give.
            let columns = [0, 1, 2].map(|j| weight_line(b, s.m, window.map(|row| row[j])));
            let at = b.mul(vector, lanes);
            let at = b.add(at, lane);
            for i in 0..s.m + 2 {
                let row = [0, 1, 2].map(|j: usize| columns[j][i as usize]);
                for (j, v) in weight_line(b, s.m, row).into_iter().enumerate() {
                    let k = b.i(i * (s.m + 2) + j as i64);
                    let before = b.mul(k, plane);
                    let at = b.add(before, at);
                    b.store(planes, at, v);
                }
            }
        });
    });
    Some(b.finish())
}
