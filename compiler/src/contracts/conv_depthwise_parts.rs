//! How `conv_i8_depthwise_last` uses products of parts of lanes: tiles and blocks of channels by what they cost, and weights packed for them.

use super::conv_axis::{Axis, Run};
use super::depthwise_parts::Shape;
use super::depthwise_tile::Geometry;
use super::numbers::Numbers;
use super::widen::{Narrow, Parts};
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::ex;
use crate::kernel::{LowerCx, Machine, Tile, Vector};
use crate::loops::build::Builder;
use crate::loops::ir::{BinOp, BufId, ExprId, LoopKind, Ty};
use crate::loops::tail::Tail;

/// Images with fewer pixels use weights too seldom to write them out for more rows.
const LEAST_PIXELS: i64 = 32;
/// Images with fewer have weights stored as they are read, but for windows of many elements: these are of few layers, at the end of a network.
const FEW_PIXELS: i64 = 16;
const MANY_TAPS: i64 = 25;
/// Rows of the image that pointers of a tile reach.
const MOST_TOUCHED: usize = 12;
/// Rows of a tile at most; with AVX2 all of a picture that has few: their pairs serve all of them.
const MOST_ROWS: i64 = 2;
const FEW_ROWS: i64 = 4;
/// Columns of a tile at most: more is only code.
const MOST_COLUMNS: i64 = 6;

/// A convolution over bytes: weights less their zero points, by channel and tap.
pub struct Weights<'a> {
    /// How X is stored.
    pub x_type: DType,
    /// Zero point of X.
    pub zero: i64,
    /// `[channels][taps]`.
    pub weights: &'a [i64],
    /// What sums begin with: for each channel, or one number for all.
    pub start: &'a [i64],
}

/// What was chosen for a layer.
#[derive(Clone)]
pub struct Plan {
    /// The kernel.
    pub tile: &'static Tile,
    /// The largest tile, without borders.
    pub shape: Shape,
}

impl Plan {
    /// Tiles for an image of `out` pixels and so many channels, which so many threads share; `None`: the machine has none, or there are too few channels.
    pub fn of(
        machine: &Machine,
        w: &Weights,
        at: &Geometry,
        axes: &[Axis; 2],
        channels: i64,
        threads: i64,
    ) -> Option<Plan> {
        let v = machine.vector?;
        let narrow = w.weights.iter().all(|w| (-128..128).contains(w));
        let bytes = machine.tile("depthwise_bytes").filter(|_| narrow);
        let tile = bytes.or(machine.tile("depthwise_words"))?;
        let moves = match (bytes.is_some(), w.x_type) {
            (true, DType::I8) => vec![128],
            // Words without their zero point are 0 outside of the image, where products can be left out.
            (false, _) if w.zero != 0 => vec![0, -w.zero],
            _ => vec![0],
        };
        let out = axes.map(|a| a.out);
        let parts = if bytes.is_some() { 4 } else { 2 };
        let shape = |more, vectors, rows, cols| Shape {
            at: Geometry {
                rows,
                cols,
                ..at.clone()
            },
            tail: Tail::default(),
            lanes: v.lanes,
            vectors,
            parts,
            packed_rows: rows,
            first: 0,
            x_type: w.x_type,
            more,
            clear: w.zero + more == 0,
            out_type: DType::I32,
        };
        // Threads would have nothing to share.
        let flat = bytes.is_none() && v.lanes == 8 && threads == 1 && out[0] <= FEW_ROWS;
        let most_rows = if flat { FEW_ROWS } else { MOST_ROWS };
        let mut best: Option<(f64, Shape)> = None;
        for vectors in match (bytes.is_some(), v.lanes) {
            (true, _) => &[2, 4][..],
            // Rows are paired within halves of registers.
            (false, 8) => &[1, 2],
            _ => &[2],
        } {
            for rows in (1..=most_rows.min(out[0])).filter(|r| *r <= MOST_ROWS || *r == out[0]) {
                // Rows of one window that others lie between have weights of their own for each height of a tile.
                if rows > 1 && at.dilation[0] > 1 {
                    continue;
                }
                let room = v.registers - registers(*vectors, bytes.is_some());
                let cols = (room / vectors / rows).min(out[1]).min(MOST_COLUMNS);
                if cols < 1 {
                    continue;
                }
                for (more, packed_rows) in (moves.iter())
                    .flat_map(|&more| packed_rows(at, rows, out, parts).map(move |n| (more, n)))
                {
                    let s = Shape {
                        packed_rows,
                        ..shape(more, *vectors, rows, cols)
                    };
                    let aside = packed_rows > rows && !s.clear;
                    if aside || s.block() > channels || far(&s) {
                        continue;
                    }
                    if s.touched(rows).len() > MOST_TOUCHED {
                        continue;
                    }
                    let blocks = (channels + s.block() - 1) / s.block();
                    let cost = cycles(&s, &v, &axes[0]) + packing(&s, out);
                    let cost = cost * (blocks * s.block()) as f64;
                    if best.as_ref().is_none_or(|b| cost < b.0) {
                        best = Some((cost, s));
                    }
                }
            }
        }
        best.map(|(_, shape)| Plan { tile, shape })
    }

    /// Channels of a block.
    pub fn block(&self) -> i64 {
        self.shape.block()
    }

    /// Elements of the packed weights of a call for so many channels.
    pub fn packed(&self, channels: i64) -> i64 {
        let blocks = (channels + self.block() - 1) / self.block();
        blocks * self.shape.packed_vectors() * self.shape.lanes
    }

    /// The weights of calls that begin with these channels and have so many, one after another; each is used for an image of so many pixels.
    ///
    /// A tile takes each weight several times, once for every row: what is stored has it once where that is less, and the layer writes it out.
    pub fn pack(
        &self,
        cx: &mut LowerCx,
        w: &Weights,
        calls: &[(i64, i64)],
        pixels: i64,
    ) -> Result<BufId> {
        let size = self.block();
        let firsts = calls.iter().flat_map(|&(first, channels)| {
            (0..(channels + size - 1) / size).map(move |b| first + (b * size).min(channels - size))
        });
        let blocks: Vec<Vec<i64>> = firsts.map(|first| self.channels(first)).collect();
        let narrow = w.weights.iter().all(|w| (-128..128).contains(w));
        let less = self.taps() + 4 < self.shape.packed_vectors() / self.shape.vectors * 4;
        if narrow && less && (pixels >= FEW_PIXELS || self.taps() >= MANY_TAPS) {
            return self.spread(cx, w, &blocks);
        }
        let mut out: Vec<u8> = vec![];
        for channels in &blocks {
            self.pack_block(w, channels, &mut out);
        }
        let t = Tensor::new(DType::I32, vec![out.len() as i64 / 4], out.into())?;
        Ok(cx.constant("panels", t))
    }

    /// Elements of a window.
    fn taps(&self) -> i64 {
        self.shape.at.kernel[0] * self.shape.at.kernel[1]
    }

    /// The channels of a block in the order of its lanes.
    fn channels(&self, first: i64) -> Vec<i64> {
        let s = &self.shape;
        (0..s.vectors)
            .flat_map(|v| (0..s.lanes).map(move |l| (v, l)))
            .map(|(v, l)| first + s.channel(v, l))
            .collect()
    }

    /// What sums of a channel begin with.
    fn start(&self, w: &Weights, c: i64) -> i32 {
        let taps = self.taps() as usize;
        let sum: i64 = w.weights[c as usize * taps..][..taps].iter().sum();
        let start = w.start[c as usize % w.start.len()] - (w.zero + self.shape.more) * sum;
        // Sums wrap, and so does what they begin with.
        start as i32
    }

    fn pack_block(&self, w: &Weights, channels: &[i64], out: &mut Vec<u8>) {
        let s = &self.shape;
        let of = |c: i64, ky: i64, kx: i64| {
            w.weights[(c * self.taps() + ky * s.at.kernel[1] + kx) as usize]
        };
        for &c in channels {
            out.extend(self.start(w, c).to_le_bytes());
        }
        for j in 0..s.packed_rows {
            for (_, rows) in s.groups(j) {
                for kx in 0..s.at.kernel[1] {
                    for &c in channels {
                        for k in 0..s.parts as usize {
                            let ky = rows.get(k).copied().flatten();
                            let weight = ky.map_or(0, |ky| of(c, ky, kx));
                            match s.parts {
                                4 => out.push(weight as u8),
                                _ => out.extend((weight as i16).to_le_bytes()),
                            }
                        }
                    }
                }
            }
        }
    }

    /// Stores each weight once, as a byte; the layer begins with loops that make of them what [`Plan::pack_block`] does.
    fn spread(&self, cx: &mut LowerCx, w: &Weights, blocks: &[Vec<i64>]) -> Result<BufId> {
        let (s, taps) = (&self.shape, self.taps());
        let all = || blocks.iter().flatten();
        let starts: Vec<u8> = all()
            .flat_map(|&c| self.start(w, c).to_le_bytes())
            .collect();
        let mut bytes: Vec<u8> = vec![];
        for channels in blocks {
            for tap in 0..taps {
                let of = |c: &i64| w.weights[(c * taps + tap) as usize] as u8;
                bytes.extend(channels.iter().map(of));
            }
        }
        let count = all().count() as i64;
        let starts = Tensor::new(DType::I32, vec![count], starts.into())?;
        // A part that holds a byte needs no sign.
        let d = if s.parts == 4 { DType::U8 } else { DType::I8 };
        let bytes = Tensor::new(d, vec![bytes.len() as i64], bytes.into())?;
        let starts = Starts::of(cx, starts)?;
        let bytes = cx.constant("taps", bytes);
        let size = s.block();
        let packed = s.packed_vectors() * s.lanes;
        let len = Dim::Fixed(packed * blocks.len() as i64);
        let panels = cx.scratch_per_thread("panels", DType::I32, len);
        // Rows of the window in the parts of a lane, in the order in which they are packed.
        let groups = (0..s.packed_rows).flat_map(|j| s.groups(j));
        let groups: Vec<Vec<Option<i64>>> = groups.map(|g| g.1).collect();
        let (size_e, n) = (cx.b.i(size), cx.b.i(blocks.len() as i64));
        cx.for_(n, LoopKind::Seq, |cx, block| {
            let to = ex!(cx.b; block * {cx.b.i(packed)});
            let to = cx.b.let_(to);
            cx.for_(size_e, LoopKind::Lanes, |cx, lane| {
                let at = ex!(cx.b; (block * size_e) + lane);
                let start = starts.load(&mut cx.b, at);
                let at = cx.b.add(to, lane);
                cx.b.store(panels, at, start);
                Ok(())
            })?;
            let from = ex!(cx.b; block * {cx.b.i(size * taps)});
            let from = cx.b.let_(from);
            // Lanes of the columns of a window lie side by side in both.
            let row = s.at.kernel[1] * size;
            for (g, rows) in groups.iter().enumerate() {
                let to = ex!(cx.b; to + {cx.b.i(size + g as i64 * row)});
                let to = cx.b.let_(to);
                let lanes = cx.b.i(row);
                cx.for_(lanes, LoopKind::Lanes, |cx, lane| {
                    let value = self.parts_of_lane(cx, bytes, [from, lane], rows);
                    let at = cx.b.add(to, lane);
                    cx.b.store(panels, at, value);
                    Ok(())
                })?;
            }
            Ok(())
        })?;
        Ok(panels)
    }

    /// A lane of weights: those of `rows` of the window, one in each part. `at`: the block's weights, and which of a row's.
    fn parts_of_lane(
        &self,
        cx: &mut LowerCx,
        bytes: BufId,
        at: [ExprId; 2],
        rows: &[Option<i64>],
    ) -> ExprId {
        let s = &self.shape;
        let bits = 32 / s.parts;
        let mut all = None;
        for (k, ky) in rows.iter().enumerate() {
            let Some(ky) = ky else { continue };
            let b = &mut cx.b;
            let row = b.i(ky * s.at.kernel[1] * s.block());
            let from = b.add(at[0], row);
            let from = b.add(from, at[1]);
            let mut v = b.load(bytes, from);
            let (k, last) = (k as i64, k as i64 + 1 == s.parts);
            if !last && s.parts == 2 {
                let mask = b.int(Ty::I32, (1 << bits) - 1);
                v = b.and(v, mask);
            }
            if k > 0 {
                let by = b.int(Ty::I32, k * bits);
                v = b.bin(BinOp::Shl, v, by);
            }
            all = Some(match all {
                None => v,
                Some(before) => b.bin(BinOp::Or, before, v),
            });
        }
        all.unwrap_or_else(|| cx.b.int(Ty::I32, 0))
    }
}

/// What sums begin with, as it is stored.
enum Starts {
    Whole(BufId),
    Parts(Parts),
}

impl Starts {
    fn of(cx: &mut LowerCx, t: Tensor) -> Result<Starts> {
        if let Some(numbers) = Numbers::of(cx, &t, None) {
            return numbers.write(cx, "starts").map(Starts::Whole);
        }
        let parts = Narrow::parts(&t).and_then(|n| n.tables(cx));
        Ok(match parts {
            Some(parts) => Starts::Parts(parts),
            None => Starts::Whole(cx.constant("starts", t)),
        })
    }
    fn load(&self, b: &mut Builder, at: ExprId) -> ExprId {
        match self {
            Starts::Whole(buf) => b.load(*buf, at),
            Starts::Parts(parts) => parts.load(b, at),
        }
    }
}

/// Rows that weights can be packed for where tiles have `rows`. More of them let a tile at the top of an image begin with another one, so that the rows
/// of its windows that are there share lanes; images with few pixels use weights too seldom for that.
fn packed_rows(
    at: &Geometry,
    rows: i64,
    out: [i64; 2],
    parts: i64,
) -> std::ops::RangeInclusive<i64> {
    let moves = at.stride[0] == 1 && at.dilation[0] == 1 && at.kernel[0] > 2;
    let more = moves && out[0] * out[1] >= LEAST_PIXELS;
    rows..=if more { rows + parts - 1 } else { rows }
}

/// About the cycles for each pixel of a channel that writing out its weights takes.
fn packing(s: &Shape, out: [i64; 2]) -> f64 {
    /// Instructions for a vector of two parts: loads that widen, shifts, stores, on three ports.
    const VECTOR: f64 = 2.0;
    let vectors = s.packed_vectors() as f64;
    vectors * VECTOR / (out[0] * out[1] * s.block()) as f64
}

/// Registers beside sums while a tile is summed: rows that are brought together, and what products need.
fn registers(vectors: i64, bytes: bool) -> i64 {
    match (vectors, bytes) {
        (4, _) => 6,
        _ => 4,
    }
}

/// Whether rows lie too far apart for a few pointers.
fn far(s: &Shape) -> bool {
    s.at.dilation[0] > 1 && s.at.kernel[0] > 4
}

/// About the cycles of a channel for each pixel of an image with such rows: instructions on three ports, or two at 512 bits.
fn cycles(s: &Shape, v: &Vector, rows: &Axis) -> f64 {
    let runs = rows.runs(s.at.rows);
    let all: f64 = runs.iter().map(|r| r.count as f64 * of_tile(s, v, r)).sum();
    let ports = if v.lanes >= 16 { 2.0 } else { 3.0 };
    all / ports / (rows.out * s.at.cols * s.block()) as f64
}

/// The instructions of a tile for a block of channels; what lies left and right of the image counts as if it was there.
fn of_tile(s: &Shape, v: &Vector, run: &Run) -> f64 {
    let s = s.placed(Geometry {
        rows: run.size,
        cut_rows: run.cut,
        ..s.at.clone()
    });
    let there = |y: &&i64| s.at.exists(0, **y);
    let spans = s.spans();
    // Those of which nothing is there are left out where that is 0.
    let done = || (spans.iter().map(|(_, rows)| rows)).filter(|rows| s.multiplied(rows));
    let rows: usize = done().map(|g| g.iter().filter(there).count()).sum();
    let n = done().count() as f64;
    // Made of one byte; whole groups of them are one instruction.
    let some = done().filter(|g| g.iter().any(|y| there(&y)));
    let absent: usize = some.map(|g| g.iter().filter(|y| !there(y)).count()).sum();
    // Loads that widen, pairing, for all vectors of a block.
    let mixing = match (s.parts, s.vectors) {
        (4, 4) => 8.0 * n,
        (4, _) => 2.0 * rows as f64 + 2.0 * n,
        // Two loads, and for each vector two shuffles; a row alone is widened as it is loaded.
        _ if v.lanes == 8 => {
            let single = done().filter(|g| g.len() == 1).count() as f64;
            let (pair, alone) = if s.vectors == 1 {
                (4.0, 1.0)
            } else {
                (5.0, 2.0)
            };
            // A row whose partner counts as 0 is widened alone, too.
            let single = if s.clear {
                single + absent as f64
            } else {
                single
            };
            let absent = if s.clear { 0.0 } else { absent as f64 };
            pair * (n - single) + alone * single + 5.0 * absent
        }
        _ => rows as f64 + 2.0 * n,
    };
    let moved = match s.parts {
        2 if s.more != 0 => s.vectors as f64 * n,
        _ => 0.0,
    };
    let read: i64 = (0..s.at.span(1))
        .filter(|ix| !s.at.meets(*ix).is_empty())
        .count() as i64;
    let dots = s.products() as f64 * (s.at.kernel[1] * s.at.cols * s.vectors) as f64;
    let each_dot = if s.parts == 4 { 1.0 } else { 2.0 };
    let order = match v.lanes {
        16 => 2.0,
        _ if s.mixed() => 1.0,
        _ => 0.0,
    } * (run.size * s.at.cols * s.vectors) as f64;
    (mixing + moved) * read as f64 + dots * each_dot + order
}
