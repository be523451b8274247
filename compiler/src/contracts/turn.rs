//! `turn`: matrices of elements become their transposes, whatever the elements are.
//!
//! Shape: `size`, bytes of an element (1, 2 or 4); `rows` and `cols`, how many these are where they are fewer than [`BLOCK`], else 0. Arguments: pointers
//! x, out; then `rows`, `cols`, `x_row` (elements from one row of x to the next), `out_row` (the same of out, whose rows are columns of x), `count`
//! (matrices), `x_next` and `out_next` (elements from one matrix to the next). `out[k out_next + j out_row + i] = x[k x_next + i x_row + j]`. Where `rows` of the
//! shape is not 0, `out_row` is that; where `cols` is not, `x_row` is.

use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::ex;
use crate::kernel::{Contract, Tile};
use crate::loops::build::Builder;
use crate::loops::ir::{Access, Callee, Func, LoopKind};

/// The contract.
pub static TURN: Contract = Contract {
    name: "turn",
    doc: "Matrices become their transposes.",
    reference: Some(reference),
    rows: &[],
};

/// Rows and columns that machine code turns at once.
pub const BLOCK: i64 = 8;

/// What a tile is specialised to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of an element.
    pub size: i64,
    /// Rows of x, 0: [`BLOCK`] and more, or not known.
    pub rows: i64,
    /// Columns of x, the same.
    pub cols: i64,
}

impl Shape {
    /// The tile's call.
    pub fn callee(self, tile: &Tile) -> Callee {
        let shape = [
            ("size", self.size),
            ("rows", self.rows),
            ("cols", self.cols),
        ];
        tile.callee(shape.map(|(n, v)| (n.to_string(), v)).to_vec())
    }
    /// Read back; `None`: no such shape.
    pub fn of(callee: &Callee) -> Option<Shape> {
        let s = Shape {
            size: callee.get("size")?,
            rows: callee.get("rows")?,
            cols: callee.get("cols")?,
        };
        let few = |n: i64| n == 0 || (2..BLOCK).contains(&n);
        let both = s.rows > 0 && s.cols > 0;
        (matches!(s.size, 1 | 2 | 4) && few(s.rows) && few(s.cols) && !both).then_some(s)
    }
}

fn reference(callee: &Callee) -> Option<Func> {
    let shape = Shape::of(callee)?;
    let dtype = match shape.size {
        1 => DType::U8,
        2 => DType::U16,
        _ => DType::U32,
    };
    let mut b = Builder::new(TURN.name);
    // A call says where its buffers begin, not where they end.
    let unknown = Dim::Fixed(i64::MAX);
    let x = b.buffer("x", dtype, unknown.clone(), Access::Read);
    let out = b.buffer("out", dtype, unknown, Access::Write);
    let [rows, cols, x_row, out_row, count, x_next, out_next] = [(); 7].map(|()| b.int_param());
    b.for_(count, LoopKind::Seq, |b, k| {
        b.for_(cols, LoopKind::Seq, |b, j| {
            b.for_(rows, LoopKind::Seq, |b, i| {
                let from = ex!(b; ((k * x_next) + (i * x_row)) + j);
                let to = ex!(b; ((k * out_next) + (j * out_row)) + i);
                let v = b.load(x, from);
                b.store(out, to, v);
            });
        });
    });
    Some(b.finish())
}
