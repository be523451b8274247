//! `depthwise_tile`: tiles of a depthwise convolution over channels-last data, for all channels of a block.
//!
//! A call computes `count` tiles that lie side by side, each of `rows` x `cols` pixels. The window of a tile's first pixel begins at
//! `x`, but for the input rows and columns that lie outside: the first `top` rows, the first `left` columns, the last `bottom` rows and
//! the last `right` columns of what the tile's windows span don't exist, are not read, and count as zero; `x` points at the
//! first that exists. Sums start from zero and run over the window row-major, one fused multiply-add each.
//!
//! Weights lie in blocks of `lanes` channels, `[block][tap][lanes]`, zeros behind the last channel.
//!
//! X may be bytes: less their zero point `zero` they become floats, in which sums of whole numbers below 2^24 are exact (whoever calls makes sure
//! that they are), and the sum becomes an i32 before the tail. Their sums start from what lies behind the weights of a block:
//! `[block][taps + 1][lanes]`.
//!
//! Arguments: pointers x, w, out, the tail's operands; then x_row, x_pixel, out_pixel (elements from one to the
//! next), line (pixels from one output row to the next), channels, count, x_step (elements), out_step (pixels) from one tile to the
//! next, outside ([`lane`]; of tiles over bytes that multiply parts of lanes), and for each tail operand its pixel distance.

use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::kernel::{Contract, Tile};
use crate::loops::build::Builder;
use crate::loops::ir::{Access, BinOp, BufId, Callee, ExprId, Func, LoopKind, Ty};
use crate::loops::tail::Tail;

/// The contract.
pub static DEPTHWISE_TILE: Contract = Contract {
    name: "depthwise_tile",
    doc: "Tiles of a float32 depthwise convolution over channels-last data, with a pointwise tail.",
    reference: Some(reference),
    rows: &[],
};

/// Where a tile and its windows lie.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Geometry {
    /// Output pixels.
    pub rows: i64,
    /// Output pixels of a row.
    pub cols: i64,
    /// The window: rows and columns.
    pub kernel: [i64; 2],
    /// Its steps.
    pub stride: [i64; 2],
    /// Its elements' steps.
    pub dilation: [i64; 2],
    /// Input rows outside: before, behind.
    pub cut_rows: [i64; 2],
    /// Input columns outside: before, behind.
    pub cut_cols: [i64; 2],
}

/// What a tile is specialised to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Shape {
    /// Pixels, window and border.
    pub at: Geometry,
    /// What is done with a sum.
    pub tail: Tail,
    /// Channels of a block of weights.
    pub lanes: i64,
    /// Channels of a call that are no whole block.
    pub rest: i64,
    /// How X is stored: f32, or bytes.
    pub x_type: DType,
    /// What bytes have for 0.
    pub zero: i64,
    /// How results are stored.
    pub out_type: DType,
}

/// What [`Geometry`] is called in the shape of a callee.
const NAMES: [&str; 12] = [
    "rows", "cols", "kh", "kw", "sh", "sw", "dh", "dw", "top", "bottom", "left", "right",
];

impl Geometry {
    /// Input rows or columns (axis 0 or 1) that the windows of a tile span.
    pub fn span(&self, axis: usize) -> i64 {
        let n = [self.rows, self.cols][axis];
        (n - 1) * self.stride[axis] + (self.kernel[axis] - 1) * self.dilation[axis] + 1
    }
    /// Whether input row or column `i` of the span exists.
    pub fn exists(&self, axis: usize, i: i64) -> bool {
        let cut = [self.cut_rows, self.cut_cols][axis];
        i >= cut[0] && i < self.span(axis) - cut[1]
    }
    /// Whether something of the span lies outside of the image.
    pub fn cut(&self) -> bool {
        self.cut_rows.iter().chain(&self.cut_cols).any(|&n| n > 0)
    }
    /// Columns of the tile that input column `ix` of the span meets, each with the column of the window.
    pub fn meets(&self, ix: i64) -> Vec<(usize, i64)> {
        let of = |col: i64| {
            let d = ix - col * self.stride[1];
            let kx = d / self.dilation[1];
            let fits = d >= 0 && d % self.dilation[1] == 0 && kx < self.kernel[1];
            fits.then_some((col as usize, kx))
        };
        (0..self.cols).filter_map(of).collect()
    }
    /// As part of a callee's shape: itself, a contract's own numbers, the tail.
    pub fn to_shape(&self, own: &[(&str, i64)], tail: &Tail) -> Vec<(String, i64)> {
        let named = NAMES.into_iter().zip(self.values());
        let all = named.chain(own.iter().copied());
        let mut shape: Vec<_> = all.map(|(n, v)| (n.to_string(), v)).collect();
        shape.extend(tail.to_shape());
        shape
    }
    /// What goes with [`NAMES`].
    pub fn values(&self) -> [i64; 12] {
        [
            self.rows,
            self.cols,
            self.kernel[0],
            self.kernel[1],
            self.stride[0],
            self.stride[1],
            self.dilation[0],
            self.dilation[1],
            self.cut_rows[0],
            self.cut_rows[1],
            self.cut_cols[0],
            self.cut_cols[1],
        ]
    }
    /// Reads a callee; `None` where it says nothing sensible.
    pub fn of(callee: &Callee) -> Option<Geometry> {
        let get =
            |name: &str, least: i64| callee.get(name).filter(|v| (least..1 << 10).contains(v));
        let pair = |a: &str, b: &str, least| Some([get(a, least)?, get(b, least)?]);
        Some(Geometry {
            rows: get("rows", 1)?,
            cols: get("cols", 1)?,
            kernel: pair("kh", "kw", 1)?,
            stride: pair("sh", "sw", 1)?,
            dilation: pair("dh", "dw", 1)?,
            cut_rows: pair("top", "bottom", 0)?,
            cut_cols: pair("left", "right", 0)?,
        })
    }
}

impl Shape {
    /// Whether numbers are whole.
    pub fn whole(&self) -> bool {
        self.x_type != DType::F32
    }
    /// Vectors of a block of weights.
    pub fn vectors(&self) -> i64 {
        self.at.kernel[0] * self.at.kernel[1] + i64::from(self.whole())
    }
    /// As the callee of a tile.
    pub fn callee(&self, tile: &Tile) -> Callee {
        let mut own = vec![("lanes", self.lanes), ("rest", self.rest)];
        if self.whole() {
            own.push(("x_type", i64::from(self.x_type.onnx())));
            own.push(("zero", self.zero));
            own.push(("out_type", i64::from(self.out_type.onnx())));
        }
        tile.callee(self.at.to_shape(&own, &self.tail))
    }
    /// Reads a callee; `None` where it says nothing sensible.
    pub fn of(callee: &Callee) -> Option<Shape> {
        let find = |name: &str| callee.get(name);
        let get = |name: &str, least: i64| find(name).filter(|v| (least..1 << 10).contains(v));
        let dtype = |name: &str| match find(name) {
            None => Some(DType::F32),
            Some(v) => DType::from_onnx(i32::try_from(v).ok()?),
        };
        Some(Shape {
            at: Geometry::of(callee)?,
            tail: Tail::of_shape(&callee.shape)?,
            lanes: get("lanes", 1)?,
            rest: get("rest", 0)?,
            x_type: match dtype("x_type")? {
                d @ (DType::F32 | DType::U8 | DType::I8) => d,
                _ => return None,
            },
            zero: find("zero").unwrap_or(0),
            out_type: match dtype("out_type")? {
                d @ (DType::F32 | DType::I32 | DType::U8 | DType::I8) => d,
                _ => return None,
            },
        })
    }
}

/// A call of a tile in the loops IR: its arguments, and what is the same for each result.
pub struct Call<'a> {
    at: &'a Geometry,
    tail: &'a Tail,
    x: BufId,
    /// The packed weights.
    pub w: BufId,
    out: BufId,
    operands: Vec<BufId>,
    x_row: ExprId,
    x_pixel: ExprId,
    out_pixel: ExprId,
    line: ExprId,
    /// Channels.
    pub channels: ExprId,
    count: ExprId,
    x_step: ExprId,
    out_step: ExprId,
    outside: ExprId,
    strides: Vec<ExprId>,
}

/// What stands for elements outside of the image, in each of 2 or 4 parts of a lane: a number of a call, so that layers of any zero point share a tile.
pub fn lane(zero: i64, parts: i64) -> i64 {
    let bits = match parts {
        4 => u32::from(zero as u8) * 0x101_0101,
        _ => u32::from(zero as u16) * 0x1_0001,
    };
    i64::from(bits as i32)
}

/// Which result: tile of the call, channel, row and column of the tile.
#[derive(Clone, Copy)]
pub struct Which {
    /// Tile.
    pub tile: ExprId,
    /// Channel.
    pub channel: ExprId,
    /// Row.
    pub row: i64,
    /// Column.
    pub col: i64,
}

impl<'a> Call<'a> {
    /// Its buffers and numbers; `types`: of X, W, and what is stored.
    pub fn of(b: &mut Builder, at: &'a Geometry, tail: &'a Tail, types: [DType; 3]) -> Call<'a> {
        // A call says where its buffers begin, not where they end.
        let unknown = Dim::Fixed(i64::MAX);
        let mut buffer = |name: &str, d, access| b.buffer(name, d, unknown.clone(), access);
        let x = buffer("x", types[0], Access::Read);
        let w = buffer("w", types[1], Access::Read);
        let out = buffer("out", types[2], Access::Write);
        let elements = tail.operands().filter_map(|n| n.element());
        let operands: Vec<_> = elements
            .map(|d| buffer("operand", d, Access::Read))
            .collect();
        let mut number = || b.int_param();
        Call {
            at,
            tail,
            x,
            w,
            out,
            x_row: number(),
            x_pixel: number(),
            out_pixel: number(),
            line: number(),
            channels: number(),
            count: number(),
            x_step: number(),
            out_step: number(),
            outside: number(),
            strides: operands.iter().map(|_| number()).collect(),
            operands,
        }
    }
    /// Stores what the tail makes of `sum` for every result.
    pub fn each(&self, b: &mut Builder, sum: impl Fn(&mut Builder, Which) -> ExprId) {
        b.for_(self.count, LoopKind::Seq, |b, tile| {
            b.for_(self.channels, LoopKind::Seq, |b, channel| {
                let pixels = (0..self.at.rows).flat_map(|r| (0..self.at.cols).map(move |c| (r, c)));
                for (row, col) in pixels {
                    let which = Which {
                        tile,
                        channel,
                        row,
                        col,
                    };
                    let total = sum(b, which);
                    let total = b.let_(total);
                    let pixel = b.mul(tile, self.out_step);
                    let (row, col) = (b.i(row), b.i(col));
                    let down = b.mul(row, self.line);
                    let pixel = b.add(pixel, down);
                    let pixel = b.add(pixel, col);
                    let (operands, strides) = (&self.operands, &self.strides);
                    let loaded = self.tail.load(b, operands, strides, pixel, channel);
                    let value = self.tail.apply(b, total, &loaded);
                    let at = b.mul(pixel, self.out_pixel);
                    let at = b.add(at, channel);
                    b.store(self.out, at, value);
                }
            });
        });
    }
    /// The number that stands for an element outside of the image: what one of 2 or 4 parts of a lane of `outside` is.
    pub fn zero(&self, b: &mut Builder, parts: i64, x_type: DType) -> ExprId {
        let more = b.int(Ty::I32, 32 - 32 / parts);
        let lane = b.cast(Ty::I32, self.outside);
        let up = b.bin(BinOp::Shl, lane, more);
        match (parts, x_type) {
            (4, DType::U8) => b.bin(BinOp::ShrU, up, more),
            _ => b.bin(BinOp::Shr, up, more),
        }
    }
    /// The element of X that an element of the window meets; `None`: it lies outside of the image.
    pub fn element(&self, b: &mut Builder, of: Which, ky: i64, kx: i64) -> Option<ExprId> {
        let g = self.at;
        let y = of.row * g.stride[0] + ky * g.dilation[0];
        let x = of.col * g.stride[1] + kx * g.dilation[1];
        if !g.exists(0, y) || !g.exists(1, x) {
            return None;
        }
        let (y, x) = (b.i(y - g.cut_rows[0]), b.i(x - g.cut_cols[0]));
        let (y, x) = (b.mul(y, self.x_row), b.mul(x, self.x_pixel));
        let at = b.mul(of.tile, self.x_step);
        let at = b.add(at, y);
        let at = b.add(at, x);
        let at = b.add(at, of.channel);
        Some(b.load(self.x, at))
    }
}

fn reference(callee: &Callee) -> Option<Func> {
    let s = Shape::of(callee)?;
    let mut b = Builder::new("depthwise_tile");
    let call = Call::of(&mut b, &s.at, &s.tail, [s.x_type, DType::F32, s.out_type]);
    call.each(&mut b, |b, of| {
        let weight = |b: &mut Builder, vector: i64| {
            let (l, n, vector) = (b.i(s.lanes), b.i(s.vectors()), b.i(vector));
            let block = b.div(of.channel, l);
            let at = b.mul(block, n);
            let at = b.add(at, vector);
            let at = b.mul(at, l);
            let lane = b.rem(of.channel, l);
            let at = b.add(at, lane);
            b.load(call.w, at)
        };
        let start = match s.whole() {
            true => weight(b, s.vectors() - 1),
            false => b.f(0.0),
        };
        let sum = b.var(start);
        let [kh, kw] = s.at.kernel;
        for (ky, kx) in (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx))) {
            let Some(mut x) = call.element(b, of, ky, kx) else {
                continue;
            };
            let w = weight(b, ky * kw + kx);
            if s.whole() {
                let zero = b.int(Ty::I32, s.zero);
                x = b.sub(x, zero);
                x = b.cast(Ty::F32, x);
            }
            let old = b.get(sum);
            let new = b.fma(x, w, old);
            b.set(sum, new);
        }
        let total = b.get(sum);
        match s.whole() {
            true => b.cast(Ty::I32, total),
            false => total,
        }
    });
    Some(b.finish())
}
