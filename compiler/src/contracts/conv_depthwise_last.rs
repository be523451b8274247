//! `conv_f32_depthwise_last`, `conv_i8_depthwise_last`: depthwise convolution over channels-last data, by tiles of pixels with all channels inside.
//!
//! No border is copied: tiles at the edges of the image have code of their own that leaves out what lies outside. Tiles are
//! shared by all sizes of images and channels. Where the machine multiplies parts of lanes, bytes of several rows share a lane
//! ([`super::conv_depthwise_parts`]), or its products are longer than their factors ([`super::conv_depthwise_long`]); else bytes are multiplied as
//! floats, which hold their sums exactly.

use super::conv::{View, macs};
use super::conv_axis::{Axis, Run};
use super::conv_depthwise_long::Plan;
use super::conv_depthwise_parts::Weights;
use super::conv_integer::begun;
use super::depthwise_tile::{Geometry, Shape};
use super::strip_plan::constant;
use super::tail::{Element, Found};
use crate::base::costs::Work;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::{Dim, fixed_shape};
use crate::base::dtype::DType;
use crate::ex;
use crate::kernel::{Kernel, LowerCx, Machine, Query, Vector};
use crate::loops::ir::{Arg, BufId, Callee, ExprId, LoopKind};
use crate::loops::tail::{Node, Tail};

/// The row.
pub const ROW: Kernel = Kernel {
    name: "conv_f32_depthwise_last",
    needs: &[],
    accepts,
    work: |q| Work::of(macs(q)),
    tails: true,
    emit,
};

/// The row over bytes.
pub const BYTES: Kernel = Kernel {
    name: "conv_i8_depthwise_last",
    needs: &[],
    accepts: |q| shape_fits(q) && Bytes::of(q).is_some(),
    work: |q| Work::of(macs(q)),
    tails: true,
    emit,
};

/// Sums of whole numbers up to this are exact in f32.
const EXACT: i64 = 1 << 24;

/// A convolution over bytes.
struct Bytes {
    x_type: DType,
    /// Zero point of X.
    zero: i64,
    /// Weights less their zero points.
    weights: Vec<i64>,
    /// What sums begin with: for each channel, or one number for all.
    start: Vec<i64>,
    /// Whether that is too much for f32: it is added to the whole number that a sum becomes.
    late: bool,
}

impl Bytes {
    /// Of a query of `conv_integer` whose sums are small enough.
    fn of(q: &Query) -> Option<Bytes> {
        let given = |i: usize| q.inputs.get(i).and_then(Option::as_ref);
        let known = |i: usize| -> Option<Vec<i64>> {
            match given(i) {
                None => Some(vec![0]),
                Some((_, t)) => t.as_ref()?.to_i64s().filter(|z| !z.is_empty()),
            }
        };
        let byte = |d: DType| matches!(d, DType::U8 | DType::I8);
        let x_type = given(0)?.0.dtype;
        if q.contract.name != "conv_integer" || !byte(x_type) || !byte(given(1)?.0.dtype) {
            return None;
        }
        let (xz, wz, start) = (known(2)?, known(3)?, known(4)?);
        let first = start.iter().map(|s| s.abs()).max().unwrap_or(0);
        let w = given(1)?.1.as_ref()?.to_i64s()?;
        let taps = View::of(q).ok()?.taps().max(1) as usize;
        let w: Vec<i64> = (w.iter().enumerate())
            .map(|(i, w)| w - wz[i / taps % wz.len()])
            .collect();
        let most = w
            .chunks(taps)
            .map(|w| w.iter().map(|w| w.abs()).sum::<i64>());
        let most = most.max().unwrap_or(0) * 255;
        let (fits, late) = (most < EXACT, most + first >= EXACT);
        (fits && xz.len() == 1 && q.machine.vector?.bytes).then(|| Bytes {
            x_type,
            zero: xz[0],
            weights: w,
            start,
            late,
        })
    }
}

/// Windows with more columns don't keep a row of weights in registers.
const MOST_COLUMNS: i64 = 9;
/// Windows with more elements are loops elsewhere.
const MOST_TAPS: i64 = 81;
/// Channels that are done at a time on small maps, so that the rows of a tile stay in the first cache.
const BLOCK: i64 = 48;
/// The same of bytes.
const BYTE_BLOCK: i64 = 4 * BLOCK;
/// Images of more than so many second caches come from afar: levels of CPUs name the smallest of theirs.
const FAR: i64 = 4;
/// Maps of up to so many pixels are small.
const SMALL_MAP: i64 = 14 * 14;

fn accepts(q: &Query) -> bool {
    let f32s = |i: usize| match q.inputs.get(i) {
        // Weights may be halves: they are known, and packed as f32.
        Some(Some((t, _))) if i == 1 => {
            matches!(t.dtype, DType::F32 | DType::F16 | DType::BF16)
        }
        Some(Some((t, _))) => t.dtype == DType::F32,
        _ => true,
    };
    (0..4).all(f32s) && shape_fits(q)
}

fn shape_fits(q: &Query) -> bool {
    let known = matches!(q.inputs.get(1), Some(Some((_, Some(_)))));
    let Ok(v) = View::of(q) else { return false };
    let w = &v.window;
    q.machine.tile("depthwise_tile").is_some()
        && q.machine.vector.is_some()
        && v.channels_last
        && known
        && v.group > 1
        && v.cin == 1
        && v.cout == 1
        && (1..=2).contains(&w.rank())
        && w.kernel[w.rank() - 1] <= MOST_COLUMNS
        && v.taps() <= MOST_TAPS
        && w.begin.iter().chain(&w.end).all(|&p| p >= 0)
        && fixed_shape(&v.input).is_some()
        && fixed_shape(&w.out).is_some_and(|o| o.iter().all(|&d| d > 0))
        // Every window sees something of the image.
        && (0..w.rank()).all(|i| w.begin[i] < w.extent(i) && w.end[i] < w.extent(i))
}

/// Pixels of a tile: rows, columns. `far`: the image comes from afar.
fn tile_size(v: &Vector, y: &Axis, x: &Axis, far: bool) -> (i64, i64) {
    // Beside the sums: a row of weights, one or two elements of the image.
    let room = (v.registers - x.kernel - 2).max(1);
    let most = |cols: i64| (room / cols).max(1);
    // Wide windows read each row once for many columns; low ones share input between rows.
    let cols = if y.kernel == 1 || x.kernel >= 5 {
        room.min(8)
    } else if v.registers >= 32 {
        7
    } else if y.stride > 1 && far {
        // Squares read least.
        2
    } else {
        4
    };
    let cols = cols.min(x.out).min(room);
    let rows = if x.out == 1 && y.stride == 1 {
        // A line: rows alone share what is read.
        most(cols).min(8)
    } else if x.kernel >= 5 {
        most(cols).min(if v.registers >= 32 { 2 } else { 1 })
    } else {
        most(cols).min(2)
    };
    (rows.min(y.out), cols)
}

fn emit(cx: &mut LowerCx, q: &Query) -> Result<()> {
    let v = View::of(q)?;
    let missing = || Diagnostic::internal("no depthwise_tile");
    let tile = cx.machine.tile("depthwise_tile").ok_or_else(missing)?;
    let vector = cx.machine.vector.ok_or_else(missing)?;
    let rank = v.window.rank();
    let x_axis = Axis::of(&v, rank - 1).ok_or_else(missing)?;
    let y_axis = match rank {
        1 => Axis::ONE,
        _ => Axis::of(&v, 0).ok_or_else(missing)?,
    };
    let bytes = Bytes::of(q);
    let size = bytes.as_ref().map_or(DType::F32, |b| b.x_type).size() as i64;
    let far = y_axis.input * x_axis.input * v.group * size > FAR * i64::from(cx.machine.l2);
    let sizes: Vec<Option<i64>> = cx.out_shape()?.iter().map(Dim::fixed).collect();
    let mut element = match bytes {
        Some(_) => Element::whole(&mut cx.b, &sizes, rank),
        None => Element::new(&mut cx.b, &sizes, rank),
    };
    if rank == 2 {
        let line = cx.b.i(x_axis.out);
        element.over.push((1, line));
    }
    let late = bytes.as_ref().is_some_and(|b| b.late);
    let found = element.probe(cx, |cx, index, sum| finish(cx, &v, index, sum, late))?;
    let c = v.group;
    let mut job = Job {
        v: &v,
        tile,
        vector,
        y: y_axis,
        x: x_axis,
        weights: cx.input(1)?.buf,
        parts: None,
        bytes,
        finish: found,
    };
    job.parts = job.plan(cx.machine, cx.threads);
    let ((rows, cols), small, least) = match &job.parts {
        Some(p) => (p.size(), BYTE_BLOCK, p.block()),
        None => (
            tile_size(&vector, &y_axis, &x_axis, far),
            BLOCK,
            vector.lanes,
        ),
    };
    let (row_runs, col_runs) = (y_axis.runs(rows), x_axis.runs(cols));
    let small = (small + least - 1) / least * least;
    let block = match y_axis.out * x_axis.out <= SMALL_MAP && c > small {
        true => small,
        false => c,
    };
    // What remains, which overlaps the last block where it would be smaller than the kernel can do.
    let rest = (c % block > 0).then(|| match &job.parts {
        Some(_) => (c % block).max(least),
        None => c % block,
    });
    let each = job.pack(cx, block, rest)?;
    let n = cx.b.dim(&v.n);
    cx.for_(n, LoopKind::Seq, |cx, n| {
        let whole = cx.b.i(c / block);
        cx.for_(whole, LoopKind::Seq, |cx, t| {
            let first = ex!(cx.b; t * {cx.b.i(block)});
            let first = cx.b.let_(first);
            let w_at = ex!(cx.b; t * {cx.b.i(each)});
            job.channels(cx, [n, first, w_at], block, &row_runs, &col_runs)
        })?;
        if let Some(rest) = rest {
            let (first, w_at) = (cx.b.i(c - rest), cx.b.i(c / block * each));
            job.channels(cx, [n, first, w_at], rest, &row_runs, &col_runs)?;
        }
        Ok(())
    })
}

struct Job<'a> {
    v: &'a View,
    tile: &'static crate::kernel::Tile,
    vector: Vector,
    y: Axis,
    x: Axis,
    weights: BufId,
    /// Where parts of lanes are multiplied.
    parts: Option<Plan>,
    /// What there is to know of bytes.
    bytes: Option<Bytes>,
    /// `None`: sums go through loops.
    finish: Option<Found>,
}

/// What becomes of a sum at an index of the output; `late`: what it begins with is still to be added.
fn finish(cx: &mut LowerCx, v: &View, index: &[ExprId], sum: ExprId, late: bool) -> Result<()> {
    if cx.b.ty(sum).is_float() {
        return v.store(cx, index, sum);
    }
    let sum = match index.last() {
        Some(channel) if late => begun(cx, sum, *channel)?,
        _ => sum,
    };
    cx.store(0, index, sum);
    Ok(())
}

impl Job<'_> {
    /// Bytes as what multiplies parts of lanes takes them.
    fn bytes(&self) -> Option<Weights<'_>> {
        let b = self.bytes.as_ref()?;
        Some(Weights {
            x_type: b.x_type,
            zero: b.zero,
            weights: &b.weights,
            start: if b.late { &[0] } else { &b.start },
        })
    }

    /// How parts of lanes are multiplied, where the machine does that and the tail allows it.
    fn plan(&self, machine: &Machine, threads: i64) -> Option<Plan> {
        let tail = &self.finish.as_ref()?.tail;
        let at = self.geometry(&[1, 1].map(|size| Run {
            first: 0,
            count: 1,
            size,
            cut: [0, 0],
        }));
        let (axes, channels) = ([self.y, self.x], self.v.group);
        let plan = Plan::of(machine, &self.bytes()?, &at, &axes, channels, threads)?;
        // Blocks that overlap store some results twice: an operand may lie where they are stored.
        let tiles = tail.operands().any(|n| matches!(n, Node::Tile(_)));
        (!tiles || channels % plan.block() == 0).then_some(plan)
    }

    /// Packs the weights of blocks of channels and of what remains; elements of a whole block's.
    fn pack(&mut self, cx: &mut LowerCx, block: i64, rest: Option<i64>) -> Result<i64> {
        let c = self.v.group;
        if let (Some(plan), Some(w)) = (&self.parts, self.bytes()) {
            let mut calls: Vec<_> = (0..c / block).map(|t| (t * block, block)).collect();
            calls.extend(rest.map(|rest| (c - rest, rest)));
            let each = plan.packed(block);
            self.weights = plan.pack(cx, &w, &calls, self.y.out * self.x.out)?;
            return Ok(each);
        }
        let (weights, start) = match self.bytes() {
            Some(w) => (
                w.weights.iter().map(|w| *w as f32).collect(),
                w.start.iter().map(|s| *s as f32).collect(),
            ),
            None => {
                let w = cx.input(1)?.konst.as_ref().and_then(|t| t.to_f32s());
                let missing = || Diagnostic::internal("weights that are not known");
                (w.ok_or_else(missing)?, vec![])
            }
        };
        self.weights = pack(cx, self.v, self.vector.lanes, &weights, &start);
        Ok(block * (self.v.taps() + i64::from(self.bytes.is_some())))
    }

    /// A tile of these rows and columns.
    fn geometry(&self, [rows, cols]: &[Run; 2]) -> Geometry {
        Geometry {
            rows: rows.size,
            cols: cols.size,
            kernel: [self.y.kernel, self.x.kernel],
            stride: [self.y.stride, self.x.stride],
            dilation: [self.y.dilation, self.x.dilation],
            cut_rows: rows.cut,
            cut_cols: cols.cut,
        }
    }

    /// The callee of a tile with a tail for so many channels.
    fn callee(&self, at: Geometry, tail: Tail, channels: i64, out_type: DType) -> Callee {
        if let Some(p) = &self.parts {
            return p.callee(at, tail, out_type);
        }
        let shape = Shape {
            at,
            tail,
            lanes: self.vector.lanes,
            rest: channels % self.vector.lanes,
            x_type: self.bytes.as_ref().map_or(DType::F32, |b| b.x_type),
            zero: self.bytes.as_ref().map_or(0, |b| b.zero),
            out_type,
        };
        shape.callee(self.tile)
    }

    /// What sums are.
    fn sums(&self) -> DType {
        match self.bytes {
            Some(_) => DType::I32,
            None => DType::F32,
        }
    }

    /// A block of channels of an image. `at`: image, first channel, first element of the block's weights.
    fn channels(
        &self,
        cx: &mut LowerCx,
        [n, first, w_at]: [ExprId; 3],
        channels: i64,
        row_runs: &[Run],
        col_runs: &[Run],
    ) -> Result<()> {
        let c = self.v.group;
        let (y, x) = (&self.y, &self.x);
        let image = ex!(cx.b; (n * {cx.b.i(y.input * x.input * c)}) + first);
        let image = cx.b.let_(image);
        for rows in row_runs {
            let count = cx.b.i(rows.count);
            cx.for_(count, LoopKind::Seq, |cx, t| {
                let oy = ex!(cx.b; (t * {cx.b.i(rows.size)}) + {cx.b.i(rows.first)});
                let oy = cx.b.let_(oy);
                let iy = ex!(cx.b; (t * {cx.b.i(rows.size * y.stride)}) + {cx.b.i(y.start(rows))});
                let line = ex!(cx.b; image + (iy * {cx.b.i(x.input * c)}));
                let line = cx.b.let_(line);
                for cols in col_runs {
                    let at = ex!(cx.b; line + {cx.b.i(x.start(cols) * c)});
                    self.tiles(cx, [n, oy, first], [at, w_at], channels, rows, cols)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// A run of tiles of a row of tiles. `at`: image, output row, first channel; then where the image and the weights are.
    fn tiles(
        &self,
        cx: &mut LowerCx,
        at: [ExprId; 3],
        [x_at, w_at]: [ExprId; 2],
        channels: i64,
        rows: &Run,
        cols: &Run,
    ) -> Result<()> {
        let v = self.v;
        let [n, oy, first] = at;
        let index = |cx: &mut LowerCx, x: i64| {
            let x = cx.b.i(x);
            match v.window.rank() {
                1 => vec![n, x, first],
                _ => vec![n, oy, x, first],
            }
        };
        let full = index(cx, cols.first);
        let (tail, operands, out) = match &self.finish {
            Some(f) => {
                let (operands, out) = f.block(cx, &full);
                (f.tail.clone(), operands, out)
            }
            None => {
                let sums = cx.scratch_per_thread(
                    "sums",
                    self.sums(),
                    Dim::Fixed(rows.size * cols.size * cols.count * channels),
                );
                let out = super::strip_plan::At {
                    buf: sums,
                    at: cx.b.i(0),
                    row: cx.b.i(channels),
                };
                (Tail::default(), vec![], out)
            }
        };
        let out_type = cx.b.func().bufs[out.buf].dtype;
        let line = match &self.finish {
            Some(_) => self.x.out,
            None => cols.size * cols.count,
        };
        let ptr = |buf, offset| Arg::Ptr { buf, offset };
        let x_buf = cx.input(0)?.buf;
        let mut args = vec![
            ptr(x_buf, x_at),
            ptr(self.weights, w_at),
            ptr(out.buf, out.at),
        ];
        args.extend(operands.iter().map(|o| ptr(o.buf, o.at)));
        let c = v.group;
        let outside = match (&self.parts, &self.bytes) {
            (Some(plan), Some(bytes)) => plan.outside(bytes.zero),
            _ => 0,
        };
        let numbers = [
            cx.b.i(self.x.input * c),
            cx.b.i(c),
            out.row,
            cx.b.i(line),
            cx.b.i(channels),
            cx.b.i(cols.count),
            cx.b.i(cols.size * self.x.stride * c),
            cx.b.i(cols.size),
            cx.b.i(outside),
        ];
        args.extend(numbers.map(Arg::Int));
        args.extend(operands.iter().map(|o| Arg::Int(o.row)));
        let at = self.geometry(&[*rows, *cols]);
        cx.b.call(self.callee(at, tail, channels, out_type), args);
        if self.finish.is_some() {
            return Ok(());
        }
        let (r, p, ch) = (cx.b.i(rows.size), cx.b.i(line), cx.b.i(channels));
        cx.for_(r, LoopKind::Seq, |cx, r| {
            cx.for_(p, LoopKind::Seq, |cx, p| {
                cx.for_(ch, LoopKind::Lanes, |cx, j| {
                    let at = ex!(cx.b; (((r * {cx.b.i(line)}) + p) * {cx.b.i(channels)}) + j);
                    let sum = cx.b.load(out.buf, at);
                    let mut full = full.clone();
                    let last = full.len() - 1;
                    full[last] = cx.b.add(full[last], j);
                    full[last - 1] = cx.b.add(full[last - 1], p);
                    if last == 3 {
                        full[1] = cx.b.add(full[1], r);
                    }
                    let late = self.bytes.as_ref().is_some_and(|b| b.late);
                    finish(cx, v, &full, sum, late)
                })
            })
        })
    }
}

/// Weights `[C, 1, k..]` in blocks of lanes: `[block][tap][lanes]`; `start`, if any, behind each block's.
fn pack(cx: &mut LowerCx, v: &View, lanes: i64, w: &[f32], start: &[f32]) -> BufId {
    let (taps, c) = (v.taps(), v.group);
    let mut out = vec![];
    for block in 0..(c + lanes - 1) / lanes {
        for tap in 0..taps {
            out.extend((0..lanes).map(|l| {
                let channel = block * lanes + l;
                if channel < c {
                    w[(channel * taps + tap) as usize]
                } else {
                    0.0
                }
            }));
        }
        if !start.is_empty() {
            let of = |l: i64| start[(block * lanes + l) as usize % start.len()];
            out.extend((0..lanes).map(of));
        }
    }
    constant(cx, out)
}
