//! `depthwise_words`, `depthwise_bytes`: tiles of a depthwise convolution of bytes, several rows of the image in each 32-bit lane.
//!
//! Machines multiply two words or four bytes of a lane by as many weights and add the products: here they are elements of the same column and
//! channel in two or four rows of the image. A tile is what it is in [`super::depthwise_tile`], and so are the arguments of a call; rows and columns
//! outside of the image count as what the number `outside` of a call says, whose products what sums begin with makes up for.
//!
//! The rows that a tile's windows touch are taken in groups of so many. Channels are done in blocks of `vectors` vectors; the last block
//! of a call ends with the last channel, and so overlaps the one before where channels are no whole blocks. A call has a block at least.
//!
//! W is i32: for each block the numbers that sums begin with, then weights for each row of the tile, group of rows that it touches, and column of
//! the window, every one `vectors` vectors of lanes. Within a block, lane `l` of vector `v` is channel `4 * vectors * (l / 4) + 4 * v + l % 4`, which
//! is the order in which rows of bytes interleave within quarters of registers; of words in up to eight lanes, which are paired before they are
//! words, channel `lanes * v + l`.

use super::depthwise_tile::{Call, Geometry};
use crate::base::dtype::DType;
use crate::kernel::{Contract, Tile};
use crate::loops::build::Builder;
use crate::loops::ir::{BinOp, Callee, ExprId, Func, Ty};
use crate::loops::tail::Tail;

/// Two words in a lane.
pub static DEPTHWISE_WORDS: Contract = Contract {
    name: "depthwise_words",
    doc: "Tiles of a depthwise convolution of bytes, two rows in a lane, with a pointwise tail.",
    reference: Some(reference),
    rows: &[],
};

/// Four bytes in a lane.
pub static DEPTHWISE_BYTES: Contract = Contract {
    name: "depthwise_bytes",
    doc: "Tiles of a depthwise convolution of bytes, four rows in a lane, with a pointwise tail.",
    reference: Some(reference),
    rows: &[],
};

/// What a tile is specialised to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Shape {
    /// Pixels, window and border.
    pub at: Geometry,
    /// What is done with a sum.
    pub tail: Tail,
    /// Lanes of a vector.
    pub lanes: i64,
    /// Vectors of a block of channels.
    pub vectors: i64,
    /// Rows of a lane: 2 or 4.
    pub parts: i64,
    /// Rows of a tile that weights are packed for.
    pub packed_rows: i64,
    /// Which of these the tile's first row is: from some, the rows of its windows that are in the image fill fewer lanes than from others.
    pub first: i64,
    /// How X is stored: U8 or I8.
    pub x_type: DType,
    /// What is added to every element before it is multiplied: 128 makes bytes with a sign such without, words may lose their zero point.
    pub more: i64,
    /// Whether what lies outside of the image is multiplied as 0: such products are left out.
    pub clear: bool,
    /// How results are stored.
    pub out_type: DType,
}

impl Shape {
    /// Channels of a block.
    pub fn block(&self) -> i64 {
        self.vectors * self.lanes
    }
    /// Whether lanes of a block are mixed.
    pub fn mixed(&self) -> bool {
        self.parts == 4 || self.lanes > 8
    }
    /// Which channel of a block lane `l` of vector `v` is.
    pub fn channel(&self, v: i64, l: i64) -> i64 {
        match self.mixed() {
            true => 4 * self.vectors * (l / 4) + 4 * v + l % 4,
            false => self.lanes * v + l,
        }
    }
    /// Rows of the span that windows of the first `rows` rows of a tile touch, in order.
    pub fn touched(&self, rows: i64) -> Vec<i64> {
        let g = &self.at;
        let all = (0..rows)
            .flat_map(|j| (0..g.kernel[0]).map(move |ky| j * g.stride[0] + ky * g.dilation[0]));
        let set: std::collections::BTreeSet<i64> = all.collect();
        set.into_iter().collect()
    }
    /// The groups of rows that windows of the tile touch, each with its number: rows of the tile's span, and negative ones, that belong to packed rows
    /// before its first and have no weights.
    pub fn spans(&self) -> Vec<(usize, Vec<i64>)> {
        let (before, end) = (self.first * self.at.stride[0], self.at.span(0));
        let packed = self.touched(self.packed_rows);
        let moved: Vec<i64> = packed.iter().map(|y| y - before).collect();
        (moved.chunks(self.parts as usize).enumerate())
            .map(|(q, rows)| (q, rows.iter().copied().filter(|y| *y < end).collect()))
            .filter(|(_, rows): &(_, Vec<i64>)| rows.iter().any(|y| *y >= 0))
            .collect()
    }
    /// Whether a group of rows is multiplied: not where nothing of it is there and that counts as 0.
    pub fn multiplied(&self, rows: &[i64]) -> bool {
        !self.clear || rows.iter().any(|y| self.at.exists(0, *y))
    }
    /// Groups multiplied for all rows of the tile.
    pub fn products(&self) -> usize {
        let spans = self.spans();
        let done = |q: usize| (spans.iter()).any(|(n, rows)| *n == q && self.multiplied(rows));
        (self.first..self.first + self.at.rows)
            .map(|j| self.groups(j).iter().filter(|(q, _)| done(*q)).count())
            .sum()
    }
    /// The same for another tile, from the packed row that leaves fewest products.
    pub fn placed(&self, at: Geometry) -> Shape {
        let last = self.packed_rows - at.rows;
        let from = |first| Shape {
            at: at.clone(),
            first,
            ..self.clone()
        };
        let all = (0..=last).map(from);
        all.min_by_key(Shape::products).unwrap_or_else(|| from(0))
    }
    /// For packed row `j`, the groups that it touches with the row of the window of each part.
    pub fn groups(&self, j: i64) -> Vec<(usize, Vec<Option<i64>>)> {
        let g = &self.at;
        let touched = self.touched(self.packed_rows);
        let groups = touched.chunks(self.parts as usize).enumerate();
        let of = |y: i64| {
            let down = y - j * g.stride[0];
            let ky = down / g.dilation[0];
            let fits = down >= 0 && down % g.dilation[0] == 0 && ky < g.kernel[0];
            fits.then_some(ky)
        };
        groups
            .map(|(q, rows)| (q, rows.iter().map(|&y| of(y)).collect::<Vec<_>>()))
            .filter(|(_, parts)| parts.iter().any(Option::is_some))
            .collect()
    }
    /// Where the weights of packed row `j`, its group number `q` (counted over those it touches) and column `kx` begin, in vectors of a block.
    pub fn weight_at(&self, j: i64, q: usize, kx: i64) -> i64 {
        let before: i64 = (0..j).map(|j| self.groups(j).len() as i64).sum();
        self.vectors * (1 + (before + q as i64) * self.at.kernel[1] + kx)
    }
    /// Vectors of a block's weights.
    pub fn packed_vectors(&self) -> i64 {
        self.weight_at(self.packed_rows, 0, 0)
    }
    /// As the callee of a tile.
    pub fn callee(&self, tile: &Tile) -> Callee {
        let own = [
            ("lanes", self.lanes),
            ("vectors", self.vectors),
            ("parts", self.parts),
            ("packed_rows", self.packed_rows),
            ("first", self.first),
            ("x_type", i64::from(self.x_type.onnx())),
            ("more", self.more),
            // Tiles inside of an image are the same either way.
            ("clear", i64::from(self.clear && self.at.cut())),
            ("out_type", i64::from(self.out_type.onnx())),
        ];
        tile.callee(self.at.to_shape(&own, &self.tail))
    }
    /// Reads a callee; `None` where it says nothing sensible.
    pub fn of(callee: &Callee) -> Option<Shape> {
        let find = |name: &str| callee.get(name);
        let get = |name: &str| find(name).filter(|v| (1..1 << 10).contains(v));
        let dtype = |name: &str| DType::from_onnx(i32::try_from(find(name)?).ok()?);
        let s = Shape {
            at: Geometry::of(callee)?,
            tail: Tail::of_shape(&callee.shape)?,
            lanes: get("lanes")?,
            vectors: get("vectors")?,
            parts: get("parts")?,
            packed_rows: get("packed_rows")?,
            first: find("first")?,
            x_type: dtype("x_type")?,
            more: find("more")?,
            clear: find("clear")? != 0,
            out_type: dtype("out_type")?,
        };
        let sane = matches!(s.parts, 2 | 4)
            && matches!(s.vectors, 1 | 2 | 4)
            && s.lanes % 4 == 0
            && (0..=s.packed_rows - s.at.rows).contains(&s.first)
            && matches!(s.x_type, DType::U8 | DType::I8)
            && matches!(s.out_type, DType::F32 | DType::I32 | DType::U8 | DType::I8);
        sane.then_some(s)
    }
}

fn reference(callee: &Callee) -> Option<Func> {
    let s = Shape::of(callee)?;
    let mut b = Builder::new("depthwise_parts");
    let call = Call::of(&mut b, &s.at, &s.tail, [s.x_type, DType::I32, s.out_type]);
    call.each(&mut b, |b, of| {
        let lane = lane_of(b, &s, of.channel, call.channels);
        let vector = |b: &mut Builder, n: i64| {
            let n = b.i(n * s.lanes);
            let at = b.add(lane, n);
            b.load(call.w, at)
        };
        let start = vector(b, 0);
        let sum = b.var(start);
        let row = s.first + of.row;
        for (q, (_, parts)) in s.groups(row).iter().enumerate() {
            for (k, ky) in parts.iter().enumerate() {
                let Some(ky) = *ky else { continue };
                for kx in 0..s.at.kernel[1] {
                    let packed = vector(b, s.weight_at(row, q, kx));
                    let w = part(b, packed, k as i64, s.parts);
                    let x = call.element(b, of, ky, kx);
                    let x = x.unwrap_or_else(|| call.zero(b, s.parts, s.x_type));
                    let more = b.int(Ty::I32, s.more);
                    let x = b.add(x, more);
                    let product = b.mul(x, w);
                    let old = b.get(sum);
                    let new = b.add(old, product);
                    b.set(sum, new);
                }
            }
        }
        b.get(sum)
    });
    Some(b.finish())
}

/// The element of W that holds what sums of a channel begin with: those that follow lie whole vectors further.
fn lane_of(b: &mut Builder, s: &Shape, c: ExprId, channels: ExprId) -> ExprId {
    let size = b.i(s.block());
    let block = b.div(c, size);
    // The last block begins so that it ends with the last channel.
    let last = b.sub(channels, size);
    let first = b.mul(block, size);
    let first = b.bin(BinOp::Min, first, last);
    let within = b.sub(c, first);
    let packed = b.i(s.packed_vectors() * s.lanes);
    let at = b.mul(block, packed);
    if !s.mixed() {
        return b.add(at, within);
    }
    let (quad, four) = (b.i(4 * s.vectors), b.i(4));
    let (quarter, rest) = (b.div(within, quad), b.rem(within, quad));
    let (vector, lane) = (b.div(rest, four), b.rem(rest, four));
    let lanes = b.i(s.lanes);
    let vector = b.mul(vector, lanes);
    let at = b.add(at, vector);
    let quarter = b.mul(quarter, four);
    let at = b.add(at, quarter);
    b.add(at, lane)
}

/// A part of a lane, with its sign.
fn part(b: &mut Builder, lane: ExprId, k: i64, parts: i64) -> ExprId {
    let bits = 32 / parts;
    let (left, right) = (
        b.int(Ty::I32, 32 - bits * (k + 1)),
        b.int(Ty::I32, 32 - bits),
    );
    let up = b.bin(BinOp::Shl, lane, left);
    b.bin(BinOp::Shr, up, right)
}
