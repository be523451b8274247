//! `winograd_filters` and `winograd_filters_words`: the weights of a Winograd convolution, transformed where a layer begins.
//!
//! 3 x 3 weights are (m+2)^2 numbers of their transform for nine. An object stores the nine, in the order in which products read the others:
//! for each vector of these nine vectors of weights, those of a window by rows, then the next vector's.
//!
//! Pointers filters (`[count][9][lanes]`), planes; then count (vectors of a plane) and plane (elements from one plane to the next). Plane
//! i * (m+2) + j holds element (i, j) of GgG', of words as [`super::winograd_exact`] has it. `lanes` counts elements of planes.
//!
//! Floats are stored times what their row and their column have in common ([`scaled`]): then G has whole numbers and one more factor, and
//! transforms take additions. F(4x4) evaluates at points of which the second is twice the first, so that both have this in common.

use super::winograd_exact::weight_line;
use super::winograd_tiles::POINTS;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::kernel::{Contract, Tile};
use crate::loops::build::Builder;
use crate::loops::ir::{Access, Callee, ExprId, Func, LoopKind};

/// The contract of floats.
pub static WINOGRAD_FILTERS: Contract = Contract {
    name: "winograd_filters",
    doc: "The transform of the float32 weights of a Winograd convolution.",
    reference: Some(reference),
    rows: &[],
};

/// The contract of words.
pub static WINOGRAD_FILTERS_WORDS: Contract = Contract {
    name: "winograd_filters_words",
    doc: "The transform of the 8-bit weights of an exact Winograd convolution.",
    reference: Some(reference),
    rows: &[],
};

/// What lines of floats of F(4x4) are multiplied by: the first and the second element are 6 and -4 times the first weight (the latter with others),
/// the last is so many times the last.
pub const FACTORS: [f32; 3] = [6.0, -4.0, (6.0 * POINTS[0] * POINTS[0]) as f32];

/// What the weights of a row, and those of a column, are stored times. Of points p and 2 p, G times 24 p^4 has rows (6, 0, 0), -4 (1, p, p^2), (1, 2p, 4p^2): all is
/// whole where the weights carry 1, 2p and 4p^2.
fn scale(m: i64) -> [f64; 3] {
    if m == 2 {
        return [0.5; 3];
    }
    let [p, twice] = POINTS;
    let all = 24.0 * p * p * p * p;
    [1.0 / all, twice / all, twice * twice / all]
}

/// Weights of a window as they are stored.
pub fn scaled(m: i64, k: &[f32; 9]) -> [f32; 9] {
    let s = scale(m);
    let mut all = *k;
    for (at, w) in all.iter_mut().enumerate() {
        *w = (f64::from(*w) * (s[at / 3] * s[at % 3])) as f32;
    }
    all
}

/// One line of the transform of floats, three elements to m + 2.
fn float_line(b: &mut Builder, m: i64, k: [ExprId; 3]) -> Vec<ExprId> {
    if m == 2 {
        return weight_line(b, m, k);
    }
    let [x, y, z] = k;
    let [first, second, last] = FACTORS.map(|f| b.f(f));
    let (start, end) = (b.mul(x, first), b.mul(z, last));
    let even = b.mul(x, second);
    let even = b.sub(even, z);
    let odd = b.add(y, y);
    let ends = b.add(x, z);
    vec![
        start,
        b.sub(even, odd),
        b.add(even, odd),
        b.add(ends, y),
        b.sub(ends, y),
        end,
    ]
}

/// Weights of a window.
pub const TAPS: i64 = 9;

/// What a transform of weights is specialised to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Filters {
    /// Results of a tile along an axis: 2 or 4.
    pub m: i64,
    /// Elements of a vector of planes.
    pub lanes: i64,
    /// Elements of the filters: bytes with a sign or words, or f32.
    pub stored: DType,
}

impl Filters {
    /// Elements of the planes.
    pub fn made(&self) -> DType {
        match self.stored {
            DType::F32 => DType::F32,
            _ => DType::I16,
        }
    }
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
            && matches!(stored, DType::I8 | DType::I16 | DType::F32);
        sensible.then_some(Filters { m, lanes, stored })
    }
}

fn reference(callee: &Callee) -> Option<Func> {
    let s = Filters::of(callee)?;
    let mut b = Builder::new("winograd_filters");
    // A call says where its buffers begin, not where they end.
    let unknown = Dim::Fixed(i64::MAX);
    let filters = b.buffer("filters", s.stored, unknown.clone(), Access::Read);
    let planes = b.buffer("planes", s.made(), unknown, Access::Write);
    let line = match s.stored {
        DType::F32 => float_line,
        _ => weight_line,
    };
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
            let columns = [0, 1, 2].map(|j| line(b, s.m, window.map(|row| row[j])));
            let at = b.mul(vector, lanes);
            let at = b.add(at, lane);
            for i in 0..s.m + 2 {
                let row = [0, 1, 2].map(|j: usize| columns[j][i as usize]);
                for (j, v) in line(b, s.m, row).into_iter().enumerate() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contracts::winograd_tiles::matrices;

    #[test]
    fn stored_weights_carry_what_transforms_leave_out() {
        let [x, y, z] = [0.7, -0.4, 1.9];
        for m in [2, 4] {
            let s = scale(m);
            let [x0, y0, z0] = [x * s[0], y * s[1], z * s[2]];
            let [first, second, last] = FACTORS.map(f64::from);
            let got = match m {
                2 => vec![x0 + x0, x0 + z0 + y0, x0 + z0 - y0, z0 + z0],
                _ => vec![
                    first * x0,
                    second * x0 - z0 - 2.0 * y0,
                    second * x0 - z0 + 2.0 * y0,
                    x0 + z0 + y0,
                    x0 + z0 - y0,
                    last * z0,
                ],
            };
            let (_, g, _) = matrices(m);
            for (got, row) in got.iter().zip(&g) {
                let want = row[0] * x + row[1] * y + row[2] * z;
                assert!((got - want).abs() < 1e-12, "F({m}): {got} {want}");
            }
        }
        assert_eq!(f64::from(FACTORS[2]), 6.0 * POINTS[0] * POINTS[0]);
    }
}
