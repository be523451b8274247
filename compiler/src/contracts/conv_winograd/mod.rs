//! `conv_f32_winograd_f4`, `_f2`: convolution with 3 x 3 windows over channels-last data by Winograd's F(4x4) and F(2x2).
//!
//! Tiles of all images are gone through in blocks. A block's input is transformed into 36 (16) planes; then, for some columns of
//! the output at a time, each plane is multiplied with its weights by `gemm_strip`, and the sums are transformed back. Transformed weights
//! lie as they are read, `[panel][plane][k][column]`: in the object, or where the layer has just written them (`weights.rs`). Only a block's
//! planes are in memory, and planes lie an odd number of cache lines apart, so that one element of all of them finds room
//! in a cache.

mod back;
mod cut;
mod floats;
mod weights;
mod whole;

pub use floats::{F2, F4};
pub use whole::{WHOLE_F2, WHOLE_F4};

use super::conv::View;
use super::conv_integer::begun;
use super::form::Form;
use super::row_blocks::row_blocks;
use super::strip::{Numbers, Start, Strip};
use super::strip_plan::{At, Call, Panels, call, from_afar, machine_for, panels, panels_up_to};
use super::tail::{Element, Found};
use super::winograd_choice::grid;
use super::winograd_tiles::{In, Numbers as Input};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::{Dim, fixed_shape};
use crate::base::dtype::DType;
use crate::ex;
use crate::kernel::{LowerCx, Query, Tile, Vector};
use crate::loops::ir::{Arg, BufId, ExprId, LoopKind};
use crate::loops::tail::Node;
use cut::{Cut, few_times, near};
use weights::{Late, Panel, Use, Weights};

/// Bytes of a pixel that a call of the input transform takes: a patch of them stays in the first cache.
const CHUNK: i64 = 256;
/// Bytes of a panel's weights for one plane, up to which the next plane's are fetched meanwhile: longer ones push out what
/// is needed now.
const MOST_AHEAD: i64 = 12 << 10;
/// Operands of a tail that are more than one element, at most: each needs an address register.
const MOST_OPERANDS: usize = 5;

/// The distance of planes that hold `len` elements: an odd number of cache lines.
fn apart(len: i64, d: DType) -> i64 {
    let line = 64 / d.size() as i64;
    let lines = (len + line - 1) / line;
    (lines | 1) * line
}

/// Some channels of a panel.
struct Part {
    number: ExprId,
    /// What their sums are added to.
    start: Start,
    /// Another one follows.
    more: bool,
}

struct Job<'a> {
    v: &'a View,
    m: i64,
    cut: Cut,
    /// How the operands of products are held, and what is transformed.
    form: Form,
    x: Input,
    vector: Vector,
    strip: &'static Tile,
    tin: &'static Tile,
    tout: &'static Tile,
    panels: Vec<Panels>,
    weights: Weights,
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

/// Stores a sum: floats with what `conv` does to them, whole numbers as they are.
fn store(cx: &mut LowerCx, v: &View, index: &[ExprId], sum: ExprId) -> Result<()> {
    if cx.b.ty(sum).is_float() {
        return v.store(cx, index, sum);
    }
    let sum = match index.last() {
        Some(&channel) => begun(cx, sum, channel)?,
        None => sum,
    };
    cx.store(0, index, sum);
    Ok(())
}

fn emit(cx: &mut LowerCx, q: &Query, m: i64, form: Form, x: Input) -> Result<()> {
    let v = View::of(q)?;
    let (strip, vector) = machine_for(cx, &form)?;
    let of_floats = x == Input::Floats;
    let missing = || Diagnostic::internal("a Winograd convolution without its tiles");
    let tile = |name: &str| cx.machine.tile(name).ok_or_else(missing);
    let (tin, tout) = match of_floats {
        true => (tile("winograd_in")?, tile("winograd_out")?),
        false => (tile("winograd_in_words")?, tile("winograd_out_words")?),
    };
    let grid = grid(&v, m).ok_or_else(missing)?;
    let pair = |d: &[Dim]| -> Result<[i64; 2]> {
        let s = fixed_shape(d).ok_or_else(missing)?;
        Ok([s[0], s[1]])
    };
    let (input, out) = (pair(&v.input)?, pair(&v.window.out)?);
    let image = grid[0] * grid[1];
    // Tiles of all images are one list, where their number is known.
    let total = v.n.fixed().map_or(image, |n| n * image);
    let late = Late::of(cx, x.plane_type());
    let cut = Cut {
        m,
        planes: x.plane_type(),
        late: late.is_some(),
    };
    let guess = panels(&vector, v.cout, None);
    let shared = cut.by_blocks(cx, total, &guess);
    let rows = guess.first().map_or(1, |p| p.m);
    let tiles = cut.block(&v, cx, total, rows, shared);
    let panels = match x {
        // Two products of words are one instruction, and wait for loads more often: panels that stay in the first caches.
        Input::Bytes { .. } if late.is_some() => {
            let most = cut.widest(cx, form.whole(v.cin), &vector);
            panels_up_to(&vector, v.cout, Some(tiles), most)
        }
        _ => panels(&vector, v.cout, Some(tiles)),
    };
    let uses = Use {
        m,
        panels: &panels,
        groups: v.group,
        depth: form.whole(v.cin),
        near: near(cx),
        few_times: v.n.fixed().is_some() && few_times(cx, (total + tiles - 1) / tiles),
        late,
    };
    let weights = match of_floats {
        true => floats::weights(cx, &v, &uses)?,
        false => whole::weights(cx, &v, &form, &uses)?,
    };
    let sizes: Vec<Option<i64>> = cx.out_shape()?.iter().map(Dim::fixed).collect();
    let mut element = match of_floats {
        true => Element::new(&mut cx.b, &sizes, 2),
        false => Element::whole(&mut cx.b, &sizes, 2),
    };
    let (line, area) = (cx.b.i(out[1]), cx.b.i(out[0] * out[1]));
    element.over = vec![(0, area), (1, line)];
    let found = element.probe(cx, |cx, index, sum| store(cx, &v, index, sum))?;
    let finish = found.filter(|f| {
        let placed = |n: &Node| !matches!(n, Node::Single(_));
        f.tail.operands().filter(placed).count() <= MOST_OPERANDS
    });
    let count = (m + 2) * (m + 2);
    // Whole vectors of the input transform.
    let lanes = vector.lanes * form.group();
    let row = (v.cin + lanes - 1) / lanes * lanes;
    let plane = apart(tiles * row, x.plane_type());
    let planes = cx.scratch_per_thread("planes", x.plane_type(), Dim::Fixed(count * plane));
    let sharers = if shared { 1 } else { cx.threads.max(1) };
    let widest = panels
        .iter()
        .map(|p| cut.chunk(p, sharers) * p.padded)
        .max()
        .unwrap_or(1);
    let sums = cx.scratch_per_thread(
        "sums",
        form.numbers.sums(),
        Dim::Fixed(count * apart(tiles * widest, form.numbers.sums())),
    );
    let patch = count * row.min(CHUNK / x.x_type().size() as i64);
    let patch = cx.scratch_per_thread("patch", x.x_type(), Dim::Fixed(patch));
    let size = form.b_type.size() as i64;
    let job = Job {
        v: &v,
        m,
        cut,
        form,
        x,
        vector,
        strip,
        tin,
        tout,
        ahead: tiles >= 24
            && !weights.is_near()
            && size * v.cin * panels.first().map_or(0, |p| p.padded) <= MOST_AHEAD
            && from_afar(cx, Some(total), count * v.cin * v.cout * size / 4),
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
    job.weights.prepare(cx, v.group)?;
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

impl Job<'_> {
    fn planes_count(&self) -> i64 {
        (self.m + 2) * (self.m + 2)
    }
    /// What an output transform says of results of a type.
    fn whole(&self, results: DType) -> Option<DType> {
        (self.form.numbers == Numbers::Words).then_some(results)
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
            let tiles = total % tiles;
            cx.left_over(|cx| self.block(cx, Block { first, tiles }))?;
        }
        Ok(())
    }

    fn block(&self, cx: &mut LowerCx, k: Block) -> Result<()> {
        for g in 0..self.v.group {
            self.transform(cx, &k, g)?;
            for at in 0..self.panels.len() {
                let p = self.panels[at];
                let per = self.cut.chunk(&p, self.sharers);
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
        let lanes = self.vector.lanes * self.form.group();
        let whole = v.cin - v.cin % lanes;
        let chunk = CHUNK / self.x.x_type().size() as i64 / lanes * lanes;
        let image = cx.b.i(h * w * all);
        let base = ex!(cx.b; ({k.first[0]} * image) + {cx.b.i(g * v.cin)});
        let base = cx.b.let_(base);
        let run = |cx: &mut LowerCx, channel: ExprId, channels: i64, rest: i64| {
            let shape = In {
                m: self.m,
                lanes,
                rest,
                x: self.x,
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
        let width = count * p.padded;
        let sums_plane = apart(k.tiles * width, self.form.numbers.sums());
        let count_e = cx.b.i(count);
        cx.for_(count_e, LoopKind::Seq, |cx, t| {
            let number = cx.b.add(first, t);
            let number = cx.b.let_(number);
            let column = ex!(cx.b; t * {cx.b.i(p.padded)});
            let column = cx.b.let_(column);
            let panel = Panel { g, at, number };
            let sums = [column, cx.b.i(width), cx.b.i(sums_plane)];
            let parts = self.weights.first(cx, panel);
            let part = |cx: &mut LowerCx, number: ExprId, start: Start, more: bool| {
                let part = Part {
                    number,
                    start,
                    more,
                };
                self.products(cx, k, panel, part, sums)
            };
            let (zero, one, last) = (cx.b.i(0), cx.b.i(1), cx.b.i(parts - 1));
            part(cx, zero, Start::Zero, parts > 1)?;
            if parts > 2 {
                let between = cx.b.i(parts - 2);
                cx.for_(between, LoopKind::Seq, |cx, t| {
                    let number = cx.b.add(t, one);
                    let number = cx.b.let_(number);
                    part(cx, number, Start::Sum, true)
                })?;
            }
            match parts > 1 {
                true => part(cx, last, Start::Sum, false),
                false => Ok(()),
            }
        })?;
        let channel = ex!(cx.b; (first * {cx.b.i(p.n)}) + {cx.b.i(g * v.cout + p.first)});
        let channel = cx.b.let_(channel);
        self.back(cx, k, channel, count * p.n, width, sums_plane)
    }

    /// Products of a part of a panel's channels, of all planes; `sums`: first column, elements from one tile to the next, from one plane to the next.
    fn products(
        &self,
        cx: &mut LowerCx,
        k: &Block,
        panel: Panel,
        part: Part,
        [column, width, sums_plane]: [ExprId; 3],
    ) -> Result<()> {
        let p = self.panels[panel.at];
        let (planes, row, plane) = self.planes;
        let (weights, weights_plane) = self.weights.part(cx, panel, part.number);
        let depth = self.weights.channels(panel.at);
        let channel = ex!(cx.b; {part.number} * {cx.b.i(depth)});
        let channel = cx.b.let_(channel);
        let planes_e = cx.b.i(self.planes_count());
        cx.for_(planes_e, LoopKind::Seq, |cx, i| {
            let b_at = ex!(cx.b; weights + (i * {cx.b.i(weights_plane)}));
            let b_at = cx.b.let_(b_at);
            let a_at = ex!(cx.b; (i * {cx.b.i(plane)}) + channel);
            let c_at = ex!(cx.b; (i * sums_plane) + column);
            let rows = cx.b.i(k.tiles);
            let mut tiles = |cx: &mut LowerCx, first, tiles, m| {
                let a = At {
                    buf: planes,
                    at: ex!(cx.b; a_at + (first * {cx.b.i(row)})),
                    row: cx.b.i(row),
                };
                let b = At {
                    buf: self.weights.buf,
                    at: b_at,
                    row: cx.b.i(p.padded),
                };
                let c = At {
                    buf: self.sums,
                    at: ex!(cx.b; c_at + (first * width)),
                    row: width,
                };
                let strip = Strip {
                    m,
                    n: p.n,
                    split: p.split,
                    b_row: p.padded,
                    numbers: self.form.numbers,
                    a_type: self.form.a_type,
                    b_type: self.form.b_type,
                    c_type: self.form.numbers.sums(),
                    apart: self.form.apart,
                    ahead: self.ahead,
                    start: part.start,
                    ..Strip::floats()
                };
                let operands = Call {
                    a,
                    b,
                    c,
                    scales: vec![],
                    operands: vec![],
                    k: cx.b.i(depth / self.form.group()),
                    seg: cx.b.i(0),
                    tiles,
                };
                call(cx, self.strip, &strip, operands);
                Ok(())
            };
            row_blocks(cx, Some(k.tiles), rows, p.m, i64::MAX / 4, &mut tiles)?;
            match part.more {
                true => self.weights.meanwhile(cx, panel, part.number, i),
                false => Ok(()),
            }
        })
    }
}
