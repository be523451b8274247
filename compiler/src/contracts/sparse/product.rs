//! The loops around the tiles of a sparse product: pixels by runs, output channels by chunks.

use super::line::{Line, SPARSE_LINE};
use super::numbers::{Near, Numbers, gathered, place};
use super::pattern::{self, Chunk, Encoded, Rows};
use super::tiles::{In, Out, SPARSE_OUT_ACROSS, Strip};
use crate::base::costs::Work;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::contracts::pack::RowTiles;
use crate::contracts::tail::Found;
use crate::ex;
use crate::kernel::{LowerCx, Machine, Tile, Vector};
use crate::loops::ir::{Arg, BufId, ExprId, LoopKind, Ty};
use crate::loops::tail::Node;

/// Sums that wait for each other as little as possible.
const CHAINS: i64 = 8;
/// Vectors of a run at most.
const MOST: i64 = 8;

/// How a product over so many pixels is cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cut {
    /// Pixels of a vector of a row of channels.
    pub unit: i64,
    /// Such vectors of a run at most.
    pub units: i64,
    /// Chains of a sum.
    pub chains: i64,
}

impl Cut {
    /// For a machine, `k` input channels and `rows` pixels.
    pub fn of(m: &Machine, v: &Vector, numbers: Numbers, block: i64, k: i64, rows: i64) -> Cut {
        // Vectors of sums to one of channels.
        let per = numbers.group();
        let unit = v.lanes * per;
        let registers = |units: i64| match numbers {
            Numbers::Floats if block == 1 => units + 2,
            Numbers::Floats => block * units + units + 1 + i64::from(!v.fused),
            Numbers::Words(_) => block * units * per + 5,
            // Products of words that are added by a second instruction need a register between.
            Numbers::Near(_) if block == 1 => units + 3,
            Numbers::Near(near) => block * units + units + 1 + i64::from(near == Near::Pairs),
        };
        let near = i64::from(m.l1d.max(16 << 10)) * 3 / 4;
        let bytes = |units: i64| k * units * unit * numbers.rows().size() as i64;
        let least = if block == 1 {
            MOST / 2 / per
        } else {
            1 + 1 / per
        };
        let fits = |units: &i64| {
            registers(*units) <= v.registers && (*units <= least.max(1) || bytes(*units) <= near)
        };
        let most = (1..=MOST / per).rev().find(fits).unwrap_or(1);
        let total = (rows + unit - 1) / unit;
        let tiles = RowTiles::of(total, most);
        let units = tiles.rows.max(1);
        let mut chains = 1;
        let sums = block * units * per;
        while chains < 4 && chains * 2 * sums <= CHAINS {
            chains *= 2;
        }
        // Five to seven sums wait for each other: two chains of them do not.
        let two = 2 * sums + 2 + i64::from(!v.fused) <= v.registers;
        if numbers == Numbers::Floats && block == 1 && chains == 1 && sums < CHAINS && two {
            chains = 2;
        }
        Cut {
            unit,
            units,
            chains,
        }
    }
    /// Pixels that are computed for `rows`.
    pub fn padded(&self, rows: i64) -> i64 {
        (rows + self.unit - 1) / self.unit * self.unit
    }
}

/// Which kernel a row is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind {
    /// Output channels of a block: 4 or 1.
    pub block: i64,
    /// Whether places are part of the code.
    pub line: bool,
}

impl Kind {
    /// What the entries of a block are filled up to: straight-line code needs no whole number of chains.
    pub fn whole(self, cut: &Cut) -> i64 {
        match self.line {
            true => 1,
            false => cut.chains,
        }
    }
}

/// How much longer an entry takes for each product where one vector of pixels stands alone: its row, its place and its weights are read for
/// that one. Measured with 1280 inputs and one pixel, AVX2: 1.1 to 1.3 and 1.8 to 2.
fn of_one_vector(block: i64) -> f64 {
    match block {
        1 => 2.0,
        _ => 1.25,
    }
}

/// How much longer weights from far away take there: no products hide their way. 2.2 MB of them, in the midst of a model: 250 us, near: 114; 1.5 MB: 182.
const OF_ONE_VECTOR: f64 = 5.0;

/// The same of single weights whose rows, so many bytes, lie in the second cache: each is read for one product. Measured with 384, 576 and 960
/// inputs and 14x14 and 7x7 pixels, AVX2: 1, 1.5 and 1.8.
fn from_second_cache(m: &Machine, bytes: i64) -> f64 {
    let most = f64::from(m.l1d.max(16 << 10)) * 1.5;
    match bytes as f64 / most {
        over if over > 1.0 => 1.25 + 0.2 * over,
        _ => 1.0,
    }
}

/// What a sparse product has to do; `None`: it can't be, or its code would be too long.
pub fn work(
    m: &Machine,
    numbers: Numbers,
    kind: Kind,
    blocks: &[Vec<i64>],
    [k, n, rows]: [i64; 3],
    times: f64,
) -> Option<Work> {
    let v = m.vector?;
    let block = kind.block;
    let cut = Cut::of(m, &v, numbers, block, rows_of(numbers, k), rows);
    let group = numbers.group();
    let entries = pattern::entries(blocks, Rows::Even, group, kind.whole(&cut));
    let mut bytes = entries * (group + block * group * numbers.rows().size() as i64);
    if kind.line {
        let code = code(&v, &cut, block, entries, blocks.len() as i64, rows);
        if code > m.sparse.code {
            return None;
        }
        bytes += code;
    }
    let mut products = (entries * block * group * numbers.width() * cut.padded(rows)) as f64;
    let alone = numbers == Numbers::Floats && cut.units == 1;
    if alone {
        products *= of_one_vector(block);
    } else if numbers == Numbers::Floats && block == 1 {
        products *= from_second_cache(m, k * cut.units * cut.unit * 4);
    }
    let work = Work {
        // Results are written where others lie between them.
        transforms: times * (rows * (k + 2 * n)) as f64,
        ..Work::of(times * products)
    };
    let mut work = work.with_weights(bytes as f64, m.l2);
    if alone {
        work.far *= OF_ONE_VECTOR;
    }
    // Few products hide no way to memory.
    let moved = rows * (k + n) * 4;
    if numbers == Numbers::Floats && moved > i64::from(m.l2.max(128 << 10)) {
        work.far += times * moved as f64;
    }
    Some(work)
}

/// Rows of channels of `k` inputs.
pub fn rows_of(numbers: Numbers, k: i64) -> i64 {
    (k + numbers.width() - 1) / numbers.width()
}

/// Whether so many bytes come from beyond the second cache: what is small is there still.
fn far(m: &Machine, bytes: i64) -> bool {
    bytes > i64::from(m.l2.max(128 << 10)) / 4
}

/// Bytes of straight-line code, about.
fn code(v: &Vector, cut: &Cut, block: i64, entries: i64, blocks: i64, rows: i64) -> i64 {
    let total = cut.padded(rows) / cut.unit;
    let groups = RowTiles::of(total, cut.units).groups();
    let of = |cols: i64| {
        let (load, multiply) = match (v.by_lane, v.lanes) {
            (true, _) => (4, 4),
            (_, 16) => (10, 6),
            _ => (9, 5),
        };
        let entry = match block {
            // Products read memory.
            1 if !v.by_lane => load + cols * (load + 1),
            1 => load + cols * (load + multiply),
            _ => (cols + if v.by_lane { 1 } else { block }) * load + cols * block * multiply,
        };
        entries * entry + blocks * block * cols * cut.chains * (load + multiply)
    };
    groups.iter().map(|g| of(g.2)).sum()
}

/// The tiles that a sparse product needs.
pub fn tiles(m: &Machine, numbers: Numbers) -> Option<[&'static Tile; 3]> {
    let one = In {
        pixels: 1,
        pitch: 1,
        a_type: DType::F32,
        ahead: false,
        numbers,
    };
    let strip = Strip {
        pitch: 1,
        block: 1,
        chains: 1,
        step: 1,
        wide: false,
        numbers,
    };
    let out = Out {
        pixels: 1,
        pitch: 1,
        n: 1,
        ahead: false,
        c_type: DType::F32,
        numbers,
        tail: Default::default(),
        across: false,
    };
    Some([
        m.tile(one.contract())?,
        m.tile(strip.contract())?,
        m.tile(out.contract())?,
    ])
}

/// The index of a result: (pixel, output channel).
pub type Index<'f> = &'f dyn Fn(&mut LowerCx, ExprId, ExprId) -> Vec<ExprId>;
/// Stores a sum: (pixel, output channel, sum).
pub type Store<'f> = &'f dyn Fn(&mut LowerCx, ExprId, ExprId, ExprId) -> Result<()>;

/// One product.
pub struct Product<'a> {
    /// Input channels.
    pub k: i64,
    /// Output channels.
    pub n: i64,
    /// Pixels.
    pub rows: i64,
    /// Elements from one pixel of A to the next.
    pub a_row: i64,
    /// What is multiplied.
    pub numbers: Numbers,
    /// How A is stored.
    pub a_type: DType,
    /// How it is cut.
    pub cut: Cut,
    /// The weights.
    pub encoded: &'a Encoded,
    /// Their values.
    pub values: BufId,
    /// Their stream; `None`: places are part of the code.
    pub stream: Option<BufId>,
    /// `None`: results go through loops.
    pub found: Option<&'a Found>,
    /// For `found`.
    pub index: Index<'a>,
    /// For what goes through loops.
    pub store: Store<'a>,
}

/// Scratch of a product.
pub struct Scratch {
    /// Rows of channels.
    pub channels: BufId,
    /// Rows of sums.
    pub sums: BufId,
}

/// Address registers that a tile has for the operands of a tail.
pub const ADDRESSES: usize = 9;

/// Address registers that a tail takes.
pub fn addresses(found: &Found) -> usize {
    let registers = |n: Node| match n {
        Node::Tile(_) => 2,
        _ => 1,
    };
    found.tail.operands().map(registers).sum()
}

impl Product<'_> {
    /// The tail, if a tile has address registers for its operands.
    fn found(&self) -> Option<&Found> {
        self.found.filter(|f| addresses(f) <= ADDRESSES)
    }

    /// Writes it for the pixels of A from element `base` on.
    pub fn emit(&self, cx: &mut LowerCx, a: BufId, base: ExprId) -> Result<()> {
        let rows = rows_of(self.numbers, self.k);
        let s = self.scratch(cx, rows * self.cut.units * self.cut.unit);
        self.runs(cx, self.rows, &mut |cx, at, pixels, pitch| {
            self.run(cx, &s, a, base, at, pixels, pitch)
        })
    }

    /// Scratch with room for so many elements of rows of channels.
    pub fn scratch(&self, cx: &mut LowerCx, channels: i64) -> Scratch {
        let pitch = self.cut.units * self.cut.unit;
        let chunk = self.encoded.chunks.iter().map(|c| c.channels).max();
        // Up to a whole vector of columns.
        let room = (chunk.unwrap_or(1) + 15) / 16 * 16 * pitch;
        let rows = self.numbers.rows();
        Scratch {
            channels: cx.scratch_per_thread("channels", rows, Dim::Fixed(channels)),
            sums: cx.scratch_per_thread("sums", self.numbers.sums(), Dim::Fixed(room)),
        }
    }

    /// Cuts `rows` pixels into runs: calls `f` with (first pixel, pixels, the same up to whole vectors).
    pub fn runs(
        &self,
        cx: &mut LowerCx,
        rows: i64,
        f: &mut dyn FnMut(&mut LowerCx, ExprId, i64, i64) -> Result<()>,
    ) -> Result<()> {
        let cut = self.cut;
        let total = cut.padded(rows) / cut.unit;
        for (first, count, units) in RowTiles::of(total, cut.units).groups() {
            let pixels = units * cut.unit;
            let end = (first + count * units) * cut.unit;
            // The last run may lack pixels.
            let whole = if end > rows { count - 1 } else { count };
            if whole > 0 {
                let (count, run) = (cx.b.i(whole), cx.b.i(pixels));
                cx.for_(count, LoopKind::Seq, |cx, t| {
                    let at = ex!(cx.b; (t * run) + {cx.b.i(first * cut.unit)});
                    let at = cx.b.let_(at);
                    f(cx, at, pixels, pixels)
                })?;
            }
            if whole < count {
                let at = end - pixels;
                let here = rows - at;
                let at = cx.b.i(at);
                f(cx, at, here, pixels)?;
            }
        }
        Ok(())
    }

    /// `pixels` pixels from number `at` on.
    #[allow(clippy::too_many_arguments)]
    fn run(
        &self,
        cx: &mut LowerCx,
        s: &Scratch,
        a: BufId,
        base: ExprId,
        at: ExprId,
        pixels: i64,
        pitch: i64,
    ) -> Result<()> {
        let a_row = cx.b.i(self.a_row);
        let from = ex!(cx.b; base + (at * a_row));
        let from = cx.b.let_(from);
        self.line_of_channels(cx, s, a, from, 0, pixels, pitch)?;
        self.chunks(cx, s, at, Rows::Even, pixels, pitch)
    }

    /// Turns `pixels` pixels of A from element `from` on into rows of channels, `pitch` elements apart, from place `to` on.
    #[allow(clippy::too_many_arguments)]
    pub fn line_of_channels(
        &self,
        cx: &mut LowerCx,
        s: &Scratch,
        a: BufId,
        from: ExprId,
        to: i64,
        pixels: i64,
        pitch: i64,
    ) -> Result<()> {
        let [tile, ..] = self.tiles(cx)?;
        let input = In {
            pixels,
            pitch,
            a_type: self.a_type,
            ahead: far(cx.machine, self.rows * self.k * self.a_type.size() as i64),
            numbers: self.numbers,
        };
        let four = 4 * self.numbers.width();
        if self.k >= four {
            let (quads, a_row, to) = (cx.b.i(self.k / four), cx.b.i(self.a_row), cx.b.i(to));
            let ptr = |buf, offset| Arg::Ptr { buf, offset };
            let args = vec![
                ptr(a, from),
                ptr(s.channels, to),
                Arg::Int(a_row),
                Arg::Int(quads),
            ];
            cx.b.call(input.callee(tile), args);
            if self.overlaps() {
                let rows = rows_of(self.numbers, self.k);
                let back = cx.b.i(self.k - four);
                let (from, to) = (cx.b.add(from, back), cx.b.i((rows - 4) * pitch));
                let one = cx.b.i(1);
                let args = vec![
                    ptr(a, from),
                    ptr(s.channels, to),
                    Arg::Int(a_row),
                    Arg::Int(one),
                ];
                cx.b.call(input.callee(tile), args);
                return Ok(());
            }
        }
        self.last_channels(cx, s, a, from, to, pixels, pitch);
        Ok(())
    }
    /// Whether the last four rows of channels are turned around together, those among them that have been before once more.
    fn overlaps(&self) -> bool {
        let width = self.numbers.width();
        width > 1 && self.k >= 4 * width && self.k % width == 0 && self.k % (4 * width) != 0
    }
    fn tiles(&self, cx: &LowerCx) -> Result<[&'static Tile; 3]> {
        tiles(cx.machine, self.numbers)
            .ok_or_else(|| Diagnostic::internal("the target has no sparse tiles"))
    }

    /// All output channels of `pixels` pixels from number `at` on.
    pub fn chunks(
        &self,
        cx: &mut LowerCx,
        s: &Scratch,
        at: ExprId,
        lie: Rows,
        pixels: i64,
        pitch: i64,
    ) -> Result<()> {
        let [_, tile_strip, tile_out] = self.tiles(cx)?;
        let zero = cx.b.i(0);
        let ptr = |buf, offset| Arg::Ptr { buf, offset };
        let strip = Strip {
            pitch,
            block: self.encoded.block,
            chains: self.cut.chains,
            step: if lie == Rows::Even { pitch } else { 1 },
            wide: lie != Rows::Even,
            numbers: self.numbers,
        };
        for c in &self.encoded.chunks {
            let (value, blocks, entries) = (cx.b.i(c.value), cx.b.i(c.blocks), cx.b.i(c.entries));
            let (channels, values) = (ptr(s.channels, zero), ptr(self.values, value));
            let sums = ptr(s.sums, zero);
            match self.stream {
                Some(buf) => {
                    let offset = cx.b.i(c.stream);
                    let stream = Arg::Ptr { buf, offset };
                    let counts = [blocks, entries].map(Arg::Int);
                    let args = [vec![channels, values, stream, sums], counts.to_vec()].concat();
                    cx.b.call(strip.callee(tile_strip), args);
                }
                None => {
                    let tile = cx.machine.tile(SPARSE_LINE.name);
                    let tile = tile.ok_or_else(|| Diagnostic::internal("no tile"))?;
                    let line = Line {
                        strip,
                        stream: self.encoded.part(c).to_vec(),
                    };
                    cx.b.call(line.callee(tile), vec![channels, values, sums]);
                }
            }
            if let Some(found) = self.found() {
                let first = cx.b.i(c.first);
                let index = (self.index)(cx, at, first);
                let (operands, to) = found.block(cx, &index);
                let mut out = Out {
                    pixels,
                    pitch,
                    n: c.channels,
                    ahead: far(cx.machine, self.rows * self.n * 4),
                    c_type: cx.b.func().bufs[to.buf].dtype,
                    numbers: self.numbers,
                    tail: found.tail.clone(),
                    across: false,
                };
                let tile_across = cx.machine.tile(SPARSE_OUT_ACROSS.name);
                out.across = tile_across.is_some() && out.may_cross();
                let tile_out = match tile_across.filter(|_| out.across) {
                    Some(tile) => tile,
                    None => tile_out,
                };
                let mut args = vec![ptr(s.sums, zero), ptr(to.buf, to.at)];
                args.extend(operands.iter().map(|o| ptr(o.buf, o.at)));
                args.push(Arg::Int(to.row));
                args.extend(operands.iter().map(|o| Arg::Int(o.row)));
                cx.b.call(out.callee(tile_out), args);
            } else {
                self.through_loops(cx, s, at, c, pixels, pitch)?;
            }
        }
        Ok(())
    }

    /// Input channels behind the last whole four.
    #[allow(clippy::too_many_arguments)]
    fn last_channels(
        &self,
        cx: &mut LowerCx,
        s: &Scratch,
        a: BufId,
        from: ExprId,
        to: i64,
        pixels: i64,
        pitch: i64,
    ) {
        let width = self.numbers.width();
        let b = &mut cx.b;
        for row in self.k / (4 * width) * 4..rows_of(self.numbers, self.k) {
            let k = row * width;
            let (here, a_row) = (b.i(pixels), b.i(self.a_row));
            b.for_(here, LoopKind::Seq, |b, i| {
                let at = ex!(b; (from + (i * a_row)) + {b.i(k)});
                let x = match self.numbers {
                    Numbers::Near(near) => {
                        gathered(b, near, self.a_type, a, at, width.min(self.k - k))
                    }
                    _ => b.load(a, at),
                };
                let at = ex!(b; i + {b.i(to + row * pitch)});
                b.store(s.channels, at, x);
            });
            let whole = (pixels + self.cut.unit - 1) / self.cut.unit * self.cut.unit;
            if pixels < whole {
                let rest = b.i(whole - pixels);
                let nothing = b.num(Ty::of(self.numbers.rows()), 0.0);
                b.for_(rest, LoopKind::Seq, |b, i| {
                    let at = ex!(b; i + {b.i(to + row * pitch + pixels)});
                    b.store(s.channels, at, nothing);
                });
            }
        }
    }

    /// A chunk through the row's stores.
    fn through_loops(
        &self,
        cx: &mut LowerCx,
        s: &Scratch,
        at: ExprId,
        chunk: &Chunk,
        pixels: i64,
        pitch: i64,
    ) -> Result<()> {
        // Where a pixel's sum stands is a number for each quarter of a vector.
        let quarter = match self.numbers {
            Numbers::Floats | Numbers::Near(_) => pixels,
            Numbers::Words(_) => 4.min(pixels),
        };
        for start in (0..pixels).step_by(quarter as usize) {
            let here = cx.b.i(quarter.min(pixels - start));
            let there = place(self.numbers, start);
            cx.for_(here, LoopKind::Seq, |cx, i| {
                let columns = cx.b.i(chunk.channels);
                cx.for_(columns, LoopKind::Seq, |cx, j| {
                    let place = ex!(cx.b; ((j * {cx.b.i(pitch)}) + {cx.b.i(there)}) + i);
                    let sum = cx.b.load(s.sums, place);
                    let row = ex!(cx.b; (at + {cx.b.i(start)}) + i);
                    let column = ex!(cx.b; j + {cx.b.i(chunk.first)});
                    (self.store)(cx, row, column, sum)
                })
            })?;
        }
        Ok(())
    }
}
