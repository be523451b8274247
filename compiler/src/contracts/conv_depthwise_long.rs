//! How `conv_i8_depthwise_last` uses products that are longer than their factors ([`super::depthwise_long`]), and which of its ways over bytes it takes.

use super::conv_axis::Axis;
use super::conv_depthwise_parts::{Plan as Rows, Weights};
use super::depthwise_long::{MOST_TAPS, Shape, flush};
use super::depthwise_parts;
use super::depthwise_tile::{Geometry, lane};
use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::kernel::{LowerCx, Machine, Tile, Vector};
use crate::loops::ir::{BufId, Callee};
use crate::loops::tail::Tail;

/// Columns of a tile at most: more is only code.
const MOST_COLUMNS: i64 = 8;

/// What was chosen for a layer.
pub enum Plan {
    /// Several rows of the image in a lane.
    Rows(Rows),
    /// Products longer than their factors.
    Long(Long),
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
        let out = axes.map(|a| a.out);
        if !machine.vector?.by_lane {
            return Rows::of(machine, w, at, axes, channels, threads).map(Plan::Rows);
        }
        let dots = dots(machine, w, at, out, channels);
        let long = Long::of(machine, w, at, out, channels);
        let cheaper = match (&dots, &long) {
            (Some((cost, _)), Some((other, _))) => cost < other,
            (dots, _) => dots.is_some(),
        };
        match cheaper {
            true => dots.map(|(_, rows)| Plan::Rows(rows)),
            false => long.map(|(_, long)| Plan::Long(long)),
        }
    }
    /// The largest tile's rows and columns.
    pub fn size(&self) -> (i64, i64) {
        match self {
            Plan::Rows(p) => (p.shape.at.rows, p.shape.at.cols),
            Plan::Long(p) => (p.shape.at.rows, p.shape.at.cols),
        }
    }
    /// Channels of a block.
    pub fn block(&self) -> i64 {
        match self {
            Plan::Rows(p) => p.block(),
            Plan::Long(p) => p.shape.block(),
        }
    }
    /// What a call's number `outside` is for a zero point.
    pub fn outside(&self, zero: i64) -> i64 {
        match self {
            Plan::Rows(p) => lane(zero, p.shape.parts),
            Plan::Long(p) => lane(zero, p.shape.parts()),
        }
    }
    /// Elements of the packed weights of a call for so many channels.
    pub fn packed(&self, channels: i64) -> i64 {
        match self {
            Plan::Rows(p) => p.packed(channels),
            Plan::Long(p) => (channels + self.block() - 1) / self.block() * p.shape.packed(),
        }
    }
    /// The weights of calls that begin with these channels and have so many, one after another; each is used for an image of so many pixels.
    pub fn pack(
        &self,
        cx: &mut LowerCx,
        w: &Weights,
        calls: &[(i64, i64)],
        pixels: i64,
    ) -> Result<BufId> {
        match self {
            Plan::Rows(p) => p.pack(cx, w, calls, pixels),
            Plan::Long(p) => p.pack(cx, w, calls),
        }
    }
    /// The callee of a tile with a tail.
    pub fn callee(&self, at: Geometry, tail: Tail, out_type: DType) -> Callee {
        match self {
            Plan::Rows(p) => depthwise_parts::Shape {
                tail,
                out_type,
                ..p.shape.placed(at)
            }
            .callee(p.tile),
            Plan::Long(p) => Shape {
                at,
                tail,
                out_type,
                ..p.shape.clone()
            }
            .callee(p.tile),
        }
    }
}

/// Registers in which four rows of a column become lanes.
const ZIPPED: i64 = 4;

/// Four rows in a lane where dot products take registers alone: weights are in such while columns pass. With what a pixel of all channels costs.
fn dots(
    machine: &Machine,
    w: &Weights,
    at: &Geometry,
    out: [i64; 2],
    channels: i64,
) -> Option<(f64, Rows)> {
    let (v, tile) = (machine.vector?, machine.tile("depthwise_bytes")?);
    if !w.weights.iter().all(|w| (-128..128).contains(w)) {
        return None;
    }
    let mut best: Option<(f64, depthwise_parts::Shape)> = None;
    for rows in 1..=2.min(out[0]) {
        // Rows of one window that others lie between have weights of their own for each height of a tile.
        if rows > 1 && at.dilation[0] > 1 {
            continue;
        }
        let more = match w.x_type {
            DType::U8 => -128,
            _ => 0,
        };
        let mut s = depthwise_parts::Shape {
            at: Geometry { rows, ..at.clone() },
            tail: Tail::default(),
            lanes: v.lanes,
            vectors: 2,
            parts: 4,
            packed_rows: rows,
            first: 0,
            x_type: w.x_type,
            more,
            clear: w.zero + more == 0,
            out_type: DType::I32,
        };
        let room = v.registers - rows * at.kernel[1] * s.vectors - ZIPPED;
        s.at.cols = (room / s.vectors / rows).min(out[1]).min(MOST_COLUMNS);
        let groups = s.touched(rows).chunks(4).count() as i64;
        if s.at.cols < 1 || s.block() > channels || groups > 3 {
            continue;
        }
        let read = (0..s.at.span(1)).filter(|ix| !s.at.meets(*ix).is_empty());
        let flips = if s.more != 0 { 2 } else { 0 };
        let zips = read.count() as i64 * groups * (4 + flips);
        let dots: i64 = (0..rows).map(|j| s.groups(j).len() as i64).sum();
        let dots = dots * at.kernel[1] * s.at.cols * s.vectors;
        let blocks = (channels + s.block() - 1) / s.block();
        let cost = ((zips + dots) * blocks) as f64 / (rows * s.at.cols) as f64;
        if best.as_ref().is_none_or(|b| cost < b.0) {
            best = Some((cost, s));
        }
    }
    best.map(|(cost, shape)| (cost, Rows { tile, shape }))
}

/// Tiles of products longer than their factors.
pub struct Long {
    tile: &'static Tile,
    /// The largest tile, without borders.
    shape: Shape,
}

impl Long {
    fn of(
        machine: &Machine,
        w: &Weights,
        at: &Geometry,
        out: [i64; 2],
        channels: i64,
    ) -> Option<(f64, Long)> {
        let (v, tile) = (machine.vector?, machine.tile("depthwise_long")?);
        let taps = at.kernel[0] * at.kernel[1];
        if taps > MOST_TAPS {
            return None;
        }
        let narrow = w.weights.iter().all(|w| (-128..128).contains(w));
        let more = match (narrow, w.x_type) {
            (true, DType::U8) => -128,
            _ => 0,
        };
        let shape = |vectors: i64| Shape {
            at: Geometry {
                rows: 1,
                ..at.clone()
            },
            tail: Tail::default(),
            lanes: v.lanes,
            vectors,
            w_type: if narrow { DType::I8 } else { DType::I16 },
            flush: match narrow {
                true => flush(w.weights, taps as usize),
                false => 1 << (taps - 1),
            },
            x_type: w.x_type,
            outside: w.zero + more != 0,
            more,
            out_type: DType::I32,
        };
        let mut best: Option<(f64, Shape)> = None;
        for vectors in [2, 4] {
            let mut s = shape(vectors);
            let cols = most_columns(&s, &v).min(out[1]).min(MOST_COLUMNS);
            if s.block() > channels || cols < 1 {
                continue;
            }
            s.at.cols = cols;
            let blocks = (channels + s.block() - 1) / s.block();
            let cost = instructions(&s) * blocks as f64 / cols as f64;
            if best.as_ref().is_none_or(|b| cost < b.0) {
                best = Some((cost, s));
            }
        }
        best.map(|(cost, shape)| (cost, Long { tile, shape }))
    }

    fn pack(&self, cx: &mut LowerCx, w: &Weights, calls: &[(i64, i64)]) -> Result<BufId> {
        let s = &self.shape;
        let (block, taps) = (s.block(), s.taps() as usize);
        let mut out: Vec<u8> = vec![];
        for &(first, channels) in calls {
            for b in 0..(channels + block - 1) / block {
                let from = (first + (b * block).min(channels - block)) as usize;
                let own = from..from + block as usize;
                for c in own.clone() {
                    let sum: i64 = w.weights[c * taps..][..taps].iter().sum();
                    let start = w.start[c % w.start.len()] - (w.zero + s.more) * sum;
                    // Sums wrap, and so does what they begin with.
                    out.extend((start as i32).to_le_bytes());
                }
                for tap in 0..taps {
                    for c in own.clone() {
                        let weight = w.weights[c * taps + tap];
                        match s.w_type {
                            DType::I8 => out.push(weight as u8),
                            _ => out.extend((weight as i16).to_le_bytes()),
                        }
                    }
                }
            }
        }
        let t = Tensor::new(DType::I32, vec![out.len() as i64 / 4], out.into())?;
        Ok(cx.constant("panels", t))
    }
}

/// Columns of a tile at most: beside its sums there are a row of weights, elements of the image, what turns their sign, and one to spare.
fn most_columns(s: &Shape, v: &Vector) -> i64 {
    let (sums, weights) = match s.w_type {
        // Lanes and words.
        DType::I8 => (s.vectors + s.vectors / 2, s.at.kernel[1]),
        _ => (s.vectors, s.at.kernel[1] * s.vectors / 2),
    };
    (v.registers - weights - 4) / sums
}

/// About the vector instructions of a tile for a block of channels.
fn instructions(s: &Shape) -> f64 {
    let halves = (s.vectors / 2) as f64;
    let read = (0..s.at.span(1)).filter(|ix| !s.at.meets(*ix).is_empty());
    let elements = (read.count() as i64 * s.at.kernel[0]) as f64;
    let products = (s.taps() * s.at.cols) as f64 * halves;
    match s.w_type {
        DType::I8 => {
            let flushes = f64::from(s.flush.count_ones()) * s.at.cols as f64;
            let flips = if s.more != 0 { elements } else { 0.0 };
            products + 2.0 * halves * flushes + flips
        }
        // Widening, and two products for each word's half.
        _ => elements * halves + 2.0 * products,
    }
}
