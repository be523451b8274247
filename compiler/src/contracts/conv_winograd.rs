//! `conv_f32_winograd_f4`, `_f2`: convolution with 3 x 3 windows over channels-last data by Winograd's F(4x4) and F(2x2).
//!
//! Tiles of all images are gone through in blocks. A block's input is transformed into 36 (16) planes; then, for some columns of
//! the output at a time, each plane is multiplied with its weights by `gemm_strip`, and the sums are transformed back. Weights are
//! transformed in f64 at compile time, rounded once, and lie as they are read: `[panel][plane][k][column]`. Only a block's
//! planes are in memory, and planes lie an odd number of cache lines apart, so that one element of all of them finds room
//! in a cache.

use super::conv::View;
use super::strip::Strip;
use super::strip_plan::{
    At, Call, Panels, call, from_afar, machine, packed_before, panels, row_blocks,
};
use super::tail::{Element, Found};
use super::winograd_choice::{accepts, grid, work};
use super::winograd_tiles::{In, Out};
use super::winograd_weights;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::{Dim, fixed_shape};
use crate::base::dtype::DType;
use crate::ex;
use crate::kernel::{Kernel, LowerCx, Query, Tile, Vector};
use crate::loops::ir::{Arg, BufId, ExprId, LoopKind};
use crate::loops::tail::{Node, Tail};

/// The row for tiles of 4 x 4.
pub const F4: Kernel = Kernel {
    name: "conv_f32_winograd_f4",
    needs: &[],
    accepts: |q| accepts(q, 4),
    work: |q| work(q, 4),
    tails: true,
    emit: |cx, q| emit(cx, q, 4),
};

/// The row for tiles of 2 x 2.
pub const F2: Kernel = Kernel {
    name: "conv_f32_winograd_f2",
    needs: &[],
    accepts: |q| accepts(q, 2),
    work: |q| work(q, 2),
    tails: true,
    emit: |cx, q| emit(cx, q, 2),
};

/// Channels of a call of the input transform: a patch of them stays in the first cache.
const CHUNK: i64 = 64;
/// Columns of sums that are transformed back at a time, about.
const COLUMNS: i64 = 64;
/// Elements of a panel's weights for one plane, up to which the next plane's are fetched meanwhile: longer ones push out what
/// is needed now.
const MOST_AHEAD: i64 = 3 << 10;
/// Operands of a tail that are more than one element, at most: each needs an address register.
const MOST_OPERANDS: usize = 5;

/// The distance of planes that hold `len` elements: an odd number of cache lines.
fn apart(len: i64) -> i64 {
    let lines = (len + 15) / 16;
    (lines | 1) * 16
}

/// Tiles of a block.
fn block(v: &View, cx: &LowerCx, m: i64, total: i64, panels: &[Panels]) -> i64 {
    let planes = (m + 2) * (m + 2);
    let l2 = i64::from(cx.machine.l2.max(256 << 10));
    let each = planes * 4 * (v.cin + COLUMNS.min(v.cout));
    let rows = panels.first().map_or(1, |p| p.m);
    let most = (l2 / 2 / each).clamp(24, 48);
    let blocks = (total + most - 1) / most;
    if by_blocks(cx, total) {
        let blocks = blocks + (cx.threads - blocks % cx.threads) % cx.threads;
        return (total + blocks - 1) / blocks;
    }
    let even = (total + blocks - 1) / blocks;
    // Whole tiles of the product.
    ((even + rows - 1) / rows * rows).min(total)
}

/// Whether threads share blocks of tiles; of few tiles they share the columns.
fn by_blocks(cx: &LowerCx, total: i64) -> bool {
    const LEAST: i64 = 6;
    cx.threads > 1 && total >= LEAST * cx.threads
}

struct Job<'a> {
    v: &'a View,
    m: i64,
    vector: Vector,
    strip: &'static Tile,
    tin: &'static Tile,
    tout: &'static Tile,
    panels: Vec<Panels>,
    weights: BufId,
    /// Weights are fetched ahead.
    ahead: bool,
    /// `None`: results go through loops.
    finish: Option<Found>,
    /// Threads that share the columns.
    sharers: i64,
    /// Rows and columns of tiles.
    grid: [i64; 2],
    input: [i64; 2],
    out: [i64; 2],
    /// Planes of the input: buffer, elements from one tile to the next, one plane to the next.
    planes: (BufId, i64, i64),
    /// Planes of sums, and room for all of them.
    sums: BufId,
    patch: BufId,
}

/// A block of tiles.
struct Block {
    /// The image of the first tile, its row and column.
    first: [ExprId; 3],
    tiles: i64,
}

fn emit(cx: &mut LowerCx, q: &Query, m: i64) -> Result<()> {
    let v = View::of(q)?;
    let (strip, vector) = machine(cx)?;
    let missing = || Diagnostic::internal("a Winograd convolution without its tiles");
    let tile = |name: &str| cx.machine.tile(name).ok_or_else(missing);
    let (tin, tout) = (tile("winograd_in")?, tile("winograd_out")?);
    let grid = grid(&v, m).ok_or_else(missing)?;
    let pair = |d: &[Dim]| -> Result<[i64; 2]> {
        let s = fixed_shape(d).ok_or_else(missing)?;
        Ok([s[0], s[1]])
    };
    let (input, out) = (pair(&v.input)?, pair(&v.window.out)?);
    let image = grid[0] * grid[1];
    // Tiles of all images are one list, where their number is known.
    let total = v.n.fixed().map_or(image, |n| n * image);
    let guess = panels(&vector, v.cout, None);
    let tiles = block(&v, cx, m, total, &guess);
    let panels = panels(&vector, v.cout, Some(tiles));
    let weights = winograd_weights::pack(cx, &v, m, &panels)?;
    let sizes: Vec<Option<i64>> = cx.out_shape()?.iter().map(Dim::fixed).collect();
    let mut element = Element::new(&mut cx.b, &sizes, 2);
    let (line, area) = (cx.b.i(out[1]), cx.b.i(out[0] * out[1]));
    element.over = vec![(0, area), (1, line)];
    let found = element.probe(cx, |cx, index, sum| v.store(cx, index, sum))?;
    let finish = found.filter(|f| {
        let placed = |n: &Node| !matches!(n, Node::Single(_));
        f.tail.operands().filter(placed).count() <= MOST_OPERANDS
    });
    let count = (m + 2) * (m + 2);
    let row = (v.cin + vector.lanes - 1) / vector.lanes * vector.lanes;
    let plane = apart(tiles * row);
    let planes = cx.scratch_per_thread("planes", DType::F32, Dim::Fixed(count * plane));
    let sharers = if by_blocks(cx, total) {
        1
    } else {
        cx.threads.max(1)
    };
    let widest = panels
        .iter()
        .map(|p| chunk(p, sharers) * p.padded)
        .max()
        .unwrap_or(1);
    let sums = cx.scratch_per_thread(
        "sums",
        DType::F32,
        Dim::Fixed(count * apart(tiles * widest)),
    );
    let patch = cx.scratch_per_thread("patch", DType::F32, Dim::Fixed(count * row.min(CHUNK)));
    let job = Job {
        v: &v,
        m,
        vector,
        strip,
        tin,
        tout,
        ahead: tiles >= 24
            && v.cin * panels.first().map_or(0, |p| p.padded) <= MOST_AHEAD
            && from_afar(cx, Some(total), count * v.cin * v.cout),
        panels,
        weights,
        finish,
        sharers,
        grid,
        input,
        out,
        planes: (planes, row, plane),
        sums,
        patch,
    };
    match v.n.fixed() {
        Some(_) => {
            let zero = cx.b.i(0);
            job.list(cx, zero, total, tiles)
        }
        None => {
            let n = cx.b.dim(&v.n);
            cx.for_(n, LoopKind::Seq, |cx, n| job.list(cx, n, image, tiles))
        }
    }
}

/// Panels that are transformed back at a time: no more than leaves some to each of `sharers` threads.
fn chunk(p: &Panels, sharers: i64) -> i64 {
    let most = (p.count + sharers - 1) / sharers;
    (COLUMNS / p.padded).clamp(1, most.max(1))
}

impl Job<'_> {
    fn planes_count(&self) -> i64 {
        (self.m + 2) * (self.m + 2)
    }

    /// `total` tiles from the first of an image on.
    fn list(&self, cx: &mut LowerCx, image: ExprId, total: i64, tiles: i64) -> Result<()> {
        let whole = cx.b.i(total / tiles);
        let place = |cx: &mut LowerCx, number: ExprId| {
            let (cols, all) = (cx.b.i(self.grid[1]), cx.b.i(self.grid[0] * self.grid[1]));
            let n = cx.b.div(number, all);
            let n = cx.b.add(image, n);
            let within = cx.b.rem(number, all);
            let y = cx.b.div(within, cols);
            let x = cx.b.rem(within, cols);
            [n, y, x].map(|e| cx.b.let_(e))
        };
        if total >= tiles {
            cx.for_(whole, LoopKind::Seq, |cx, t| {
                let number = ex!(cx.b; t * {cx.b.i(tiles)});
                let first = place(cx, number);
                self.block(cx, Block { first, tiles })
            })?;
        }
        if total % tiles > 0 {
            let number = cx.b.i(total - total % tiles);
            let first = place(cx, number);
            self.block(
                cx,
                Block {
                    first,
                    tiles: total % tiles,
                },
            )?;
        }
        Ok(())
    }

    fn block(&self, cx: &mut LowerCx, k: Block) -> Result<()> {
        for g in 0..self.v.group {
            self.transform(cx, &k, g)?;
            for at in 0..self.panels.len() {
                let p = self.panels[at];
                let per = chunk(&p, self.sharers);
                let whole = cx.b.i(p.count / per);
                let step = cx.b.i(per);
                cx.for_(whole, LoopKind::Seq, |cx, t| {
                    let first = cx.b.mul(t, step);
                    let first = cx.b.let_(first);
                    self.columns(cx, &k, g, at, first, per)
                })?;
                let rest = p.count % per;
                if rest > 0 {
                    let first = cx.b.i(p.count - rest);
                    self.columns(cx, &k, g, at, first, rest)?;
                }
            }
        }
        Ok(())
    }

    /// A block's input to planes.
    fn transform(&self, cx: &mut LowerCx, k: &Block, g: i64) -> Result<()> {
        let v = self.v;
        let all = v.cin * v.group;
        let [h, w] = self.input;
        let lanes = self.vector.lanes;
        let whole = v.cin - v.cin % lanes;
        let chunk = CHUNK / lanes * lanes;
        let image = cx.b.i(h * w * all);
        let base = ex!(cx.b; ({k.first[0]} * image) + {cx.b.i(g * v.cin)});
        let base = cx.b.let_(base);
        let run = |cx: &mut LowerCx, channel: ExprId, channels: i64, rest: i64| {
            let shape = In {
                m: self.m,
                lanes,
                rest,
            };
            let (planes, row, plane) = self.planes;
            let x = cx.b.add(base, channel);
            let zero = cx.b.i(0);
            let ptr = |buf, offset| Arg::Ptr { buf, offset };
            let mut args = vec![
                ptr(cx.input(0)?.buf, x),
                ptr(planes, channel),
                ptr(self.patch, zero),
            ];
            let numbers = [
                w * all,
                all,
                h * w * all,
                h,
                w,
                plane,
                row,
                channels,
                k.tiles,
            ];
            args.extend(numbers.map(|n| Arg::Int(cx.b.i(n))));
            args.extend([k.first[1], k.first[2]].map(Arg::Int));
            let numbers = [
                self.grid[0],
                self.grid[1],
                v.window.begin[0],
                v.window.begin[1],
            ];
            args.extend(numbers.map(|n| Arg::Int(cx.b.i(n))));
            cx.b.call(shape.callee(self.tin), args);
            Ok(())
        };
        let count = cx.b.i(whole / chunk);
        let step = cx.b.i(chunk);
        cx.for_(count, LoopKind::Seq, |cx, t| {
            let channel = cx.b.mul(t, step);
            let channel = cx.b.let_(channel);
            run(cx, channel, chunk, 0)
        })?;
        if whole % chunk > 0 {
            let channel = cx.b.i(whole - whole % chunk);
            run(cx, channel, whole % chunk, 0)?;
        }
        if whole < v.cin {
            let channel = cx.b.i(whole);
            run(cx, channel, v.cin - whole, v.cin - whole)?;
        }
        Ok(())
    }

    /// Some panels of a block: products of all planes, and the way back.
    fn columns(
        &self,
        cx: &mut LowerCx,
        k: &Block,
        g: i64,
        at: usize,
        first: ExprId,
        count: i64,
    ) -> Result<()> {
        let p = self.panels[at];
        let v = self.v;
        let (planes, row, plane) = self.planes;
        let width = count * p.padded;
        let sums_plane = apart(k.tiles * width);
        let number = self.planes_count();
        // Elements of a panel's weights for one plane.
        let size = p.padded * v.cin;
        let before = packed_before(&self.panels, at, v.cin * number)
            + g * packed_before(&self.panels, self.panels.len(), v.cin * number);
        let (count_e, number_e) = (cx.b.i(count), cx.b.i(number));
        cx.for_(count_e, LoopKind::Seq, |cx, t| {
            let panel = cx.b.add(first, t);
            let panel = ex!(cx.b; (panel * {cx.b.i(size * number)}) + {cx.b.i(before)});
            let panel = cx.b.let_(panel);
            let column = ex!(cx.b; t * {cx.b.i(p.padded)});
            let column = cx.b.let_(column);
            cx.for_(number_e, LoopKind::Seq, |cx, i| {
                let b_at = ex!(cx.b; panel + (i * {cx.b.i(size)}));
                let b_at = cx.b.let_(b_at);
                let a_at = ex!(cx.b; i * {cx.b.i(plane)});
                let c_at = ex!(cx.b; (i * {cx.b.i(sums_plane)}) + column);
                let rows = cx.b.i(k.tiles);
                row_blocks(
                    cx,
                    Some(k.tiles),
                    rows,
                    p.m,
                    i64::MAX / 4,
                    &mut |cx, first, tiles, m| {
                        let a_at = ex!(cx.b; a_at + (first * {cx.b.i(row)}));
                        let c_at = ex!(cx.b; c_at + (first * {cx.b.i(width)}));
                        let at = |cx: &mut LowerCx, buf, at, row| At {
                            buf,
                            at,
                            row: cx.b.i(row),
                        };
                        let (a, b, c) = (
                            at(cx, planes, a_at, row),
                            at(cx, self.weights, b_at, p.padded),
                            at(cx, self.sums, c_at, width),
                        );
                        let strip = Strip {
                            m,
                            n: p.n,
                            split: p.split,
                            b_row: p.padded,
                            ahead: self.ahead,
                            ..Strip::floats()
                        };
                        let (k, seg) = (cx.b.i(v.cin), cx.b.i(0));
                        let operands = Call {
                            a,
                            b,
                            c,
                            operands: vec![],
                            k,
                            seg,
                            tiles,
                        };
                        call(cx, self.strip, &strip, operands);
                        Ok(())
                    },
                )
            })
        })?;
        let channel = ex!(cx.b; (first * {cx.b.i(p.n)}) + {cx.b.i(g * v.cout + p.first)});
        let channel = cx.b.let_(channel);
        self.back(cx, k, channel, count * p.n, width, sums_plane)
    }

    /// Sums to results, from an output channel on.
    fn back(
        &self,
        cx: &mut LowerCx,
        k: &Block,
        channel: ExprId,
        columns: i64,
        row: i64,
        plane: i64,
    ) -> Result<()> {
        let Some(finish) = &self.finish else {
            return self.through_loops(cx, k, channel, columns, row, plane);
        };
        let zero = cx.b.i(0);
        let index = [k.first[0], zero, zero, channel];
        let (operands, out) = finish.block(cx, &index);
        let shape = Out {
            m: self.m,
            lanes: self.vector.lanes,
            rest: columns % self.vector.lanes,
            tail: finish.tail.clone(),
        };
        let [_, y, x] = k.first;
        let pixel = ex!(cx.b; ((y * {cx.b.i(self.m * self.out[1])}) + (x * {cx.b.i(self.m)})));
        let to = Target {
            first: [y, x],
            grid: self.grid,
            size: self.out,
            pixel,
            out,
        };
        self.call_out(cx, &shape, k.tiles, columns, [row, plane], operands, to);
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn call_out(
        &self,
        cx: &mut LowerCx,
        shape: &Out,
        tiles: i64,
        columns: i64,
        [row, plane]: [i64; 2],
        operands: Vec<At>,
        to: Target,
    ) {
        let ptr = |buf, offset| Arg::Ptr { buf, offset };
        let zero = cx.b.i(0);
        let mut args = vec![ptr(self.sums, zero), ptr(to.out.buf, to.out.at)];
        args.extend(operands.iter().map(|o| ptr(o.buf, o.at)));
        args.extend([plane, row, columns, tiles].map(|n| Arg::Int(cx.b.i(n))));
        args.extend(to.first.map(Arg::Int));
        let [gy, gx] = to.grid;
        let [h, w] = to.size;
        args.extend([gy, gx, h, w].map(|n| Arg::Int(cx.b.i(n))));
        args.extend([to.pixel, to.out.row, zero, zero].map(Arg::Int));
        args.extend(operands.iter().map(|o| Arg::Int(o.row)));
        cx.b.call(shape.callee(self.tout), args);
    }

    /// Results go to scratch, each tile as an image of its own, and from there through the row's stores.
    fn through_loops(
        &self,
        cx: &mut LowerCx,
        k: &Block,
        channel: ExprId,
        columns: i64,
        row: i64,
        plane: i64,
    ) -> Result<()> {
        let m = self.m;
        let len = k.tiles * m * m * columns;
        let results = cx.scratch_per_thread("results", DType::F32, Dim::Fixed(len));
        let shape = Out {
            m,
            lanes: self.vector.lanes,
            rest: columns % self.vector.lanes,
            tail: Tail::default(),
        };
        let zero = cx.b.i(0);
        let out = At {
            buf: results,
            at: zero,
            row: cx.b.i(columns),
        };
        let to = Target {
            first: [zero, zero],
            grid: [1, 1],
            size: [m, m],
            pixel: zero,
            out,
        };
        self.call_out(cx, &shape, k.tiles, columns, [row, plane], vec![], to);
        let sizes = [k.tiles, m, m].map(Dim::Fixed);
        let [n, y, x] = k.first;
        cx.each(&sizes, LoopKind::Seq, |cx, at| {
            let (tile, i, j) = (at[0], at[1], at[2]);
            let cols = cx.b.i(self.grid[1]);
            let rows = cx.b.i(self.grid[0]);
            let number = ex!(cx.b; ((y * cols) + x) + tile);
            let number = cx.b.let_(number);
            let (line, tx) = (cx.b.div(number, cols), cx.b.rem(number, cols));
            let (image, ty) = (cx.b.div(line, rows), cx.b.rem(line, rows));
            let oy = ex!(cx.b; (ty * {cx.b.i(m)}) + i);
            let ox = ex!(cx.b; (tx * {cx.b.i(m)}) + j);
            let (oy, ox) = (cx.b.let_(oy), cx.b.let_(ox));
            let image = cx.b.add(n, image);
            let image = cx.b.let_(image);
            let (h, w) = (cx.b.i(self.out[0]), cx.b.i(self.out[1]));
            let inside = (cx.b.lt(oy, h), cx.b.lt(ox, w));
            let inside = cx.b.and(inside.0, inside.1);
            let columns_e = cx.b.i(columns);
            cx.if_(
                inside,
                |cx| {
                    cx.for_(columns_e, LoopKind::Lanes, |cx, c| {
                        let from = ex!(cx.b; (((((tile * {cx.b.i(m)}) + i) * {cx.b.i(m)}) + j) * columns_e) + c);
                        let sum = cx.b.load(results, from);
                        let c = cx.b.add(channel, c);
                        self.v.store(cx, &[image, oy, ox, c], sum)
                    })
                },
                |_| Ok(()),
            )
        })
    }
}

/// Where results go.
struct Target {
    /// Row and column of the first tile.
    first: [ExprId; 2],
    /// Rows and columns of tiles.
    grid: [i64; 2],
    /// Pixels of an image.
    size: [i64; 2],
    /// Number of the first tile's first pixel.
    pixel: ExprId,
    out: At,
}
