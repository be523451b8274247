//! `conv_f32_strip`, `conv_i8_strip`, `conv_i16_strip`: convolution over channels-last data as strips of matrix products, without laying windows out.
//!
//! The elements of one row of a window lie side by side in memory, so a row of results is one product whose sums run over as
//! many segments as the window has rows. A window of one element needs no padding and is a product over all pixels; other windows
//! read a copy of the input with its border of zeros, a band of rows at a time. Whole numbers are copied too where their form asks for it
//! ([`super::form`]). Dilated or grouped windows take a segment per element and
//! add up row by row in the output.

mod band;
mod copied;
mod edges;
mod integer;
mod pixels;
mod plan;
mod rows;
mod weights;

use super::conv::{View, macs};
use super::strip::{Numbers, Start, Strip};
pub use integer::{BYTES, MATRICES, PICKED, WORDS};

use super::form::Form;
use super::picked::{Panel as Packed, Picks, Stored};
use super::row_blocks::row_blocks;
use super::strip_plan::{
    At, Call, Panels, Way, call_before, from_afar, half_for, machine_for, panels_of, weight_bytes,
    weight_type,
};
use super::tail::{Element, Found};
use crate::base::costs::Work;
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::ex;
use crate::kernel::{Kernel, LowerCx, Query};
use crate::loops::ir::{BufId, ExprId, LoopKind};
use crate::loops::tail::{Node, Tail};
use edges::{Edges, Picture};
use plan::{Plan, narrow};
use rows::{Rows, Source};

/// The row.
pub const ROW: Kernel = Kernel {
    name: "conv_f32_strip",
    needs: &[],
    accepts,
    work: |q| Work::of(macs(q)).with_weights(weight_bytes(q), q.machine.l2),
    tails: true,
    emit,
};

fn accepts(q: &Query) -> bool {
    let float = |i: usize| match q.inputs.get(i) {
        // Weights may be halves.
        Some(Some((t, _))) if i == 1 => {
            matches!(t.dtype, DType::F32 | DType::F16 | DType::BF16)
        }
        Some(Some((t, _))) => t.dtype == DType::F32,
        _ => true,
    };
    let known = matches!(q.inputs.get(1), Some(Some((_, Some(_)))));
    let Ok(v) = View::of(q) else { return false };
    let crops = v.window.begin.iter().chain(&v.window.end).any(|&p| p < 0);
    q.machine.tile("gemm_strip").is_some()
        && q.machine.vector.is_some()
        && v.channels_last
        && known
        && !crops
        && (0..4).all(float)
        && (1..=3).contains(&v.window.rank())
        && v.cin * v.cout > 0
        // One column after the other is what a depthwise kernel is for.
        && !(v.group > 1 && v.cout < 4)
}

fn emit(cx: &mut LowerCx, q: &Query) -> Result<()> {
    let form = Form::floats(weight_type(cx, cx.input(1)?.ty.dtype));
    emit_as(cx, q, &form)
}

/// Writes the convolution of operands in a form.
fn emit_as(cx: &mut LowerCx, q: &Query, form: &Form) -> Result<()> {
    let mut v = View::of(q)?;
    let gone = narrow(&mut v);
    let (_, vector) = machine_for(cx, form)?;
    let w = &v.window;
    let rank = w.rank();
    let plain =
        w.is_unpadded() && w.kernel.iter().all(|&k| k == 1) && w.stride.iter().all(|&s| s == 1);
    let channels = v.cin * v.group;
    // A is read where it lies, or copied.
    let fits = form.in_place() && channels % form.group() == 0 && v.cin % form.group() == 0;
    let in_place = fits && w.is_unpadded();
    let picked = form.numbers == Numbers::Picked;
    // The order of picked elements tells of lines with a border, and small code of one way for all windows.
    let edges = match !fits || in_place || picked || cx.effort.optimize_for_size() {
        true => None,
        false => Edges::of(&v),
    };
    let plan = match picked {
        true => Plan::picked(&v),
        false => Plan::of(&v, form),
    };
    let pitch = plan.pitch;
    // Pixels of a product: all of an image, or a row.
    let pixels: Dim = if plain {
        w.out.iter().cloned().product()
    } else {
        match &edges {
            Some(e) => Dim::Fixed(e.width()),
            None => w.out[rank - 1].clone(),
        }
    };
    let halves = half_for(cx, form).is_some();
    let per_window = plan.k * plan.segs * plan.outer.iter().map(|&a| w.kernel[a]).product::<i64>();
    let way = Way::of(cx, per_window, form.b_type);
    let panels = panels_of(&vector, form.numbers, v.cout, pixels.fixed(), halves, way);
    let weights = weights::pack(cx, &v, form, &panels, &plan, per_window)?;
    let correction = weights::correction(cx, &v, form)?;
    let sizes: Vec<Option<i64>> = cx.out_shape()?.iter().map(Dim::fixed).collect();
    let element_along = |cx: &mut LowerCx, axis: usize| match form.numbers {
        Numbers::Floats => Element::new(&mut cx.b, &sizes, axis),
        _ => Element::whole(&mut cx.b, &sizes, axis),
    };
    let mut element = element_along(cx, rank);
    if plain {
        // Rows run on over the axes before the last.
        let mut rows = Dim::Fixed(1);
        for axis in (1..rank).rev() {
            rows = rows * w.out[axis].clone();
            let rows = cx.b.dim(&rows);
            element.over.insert(0, (axis, rows));
        }
    }
    let calls = plan.outer.iter().map(|&a| w.kernel[a]).product::<i64>();
    let probe = |cx: &mut LowerCx, e: Element| {
        e.probe(cx, |cx, index, sum| finish(cx, &v, correction, index, sum))
    };
    let found = probe(cx, element)?;
    let found_down = match &edges {
        None => None,
        Some(_) => {
            let element = element_along(cx, 1);
            probe(cx, element)?
        }
    };
    // Several calls can't add up in the output where sums of whole numbers lie elsewhere than what becomes of them, or where the tail reads a tensor
    // like the output: it may lie in the same place.
    let tiles = |f: &Found| f.tail.operands().any(|n| matches!(n, Node::Tile(_)));
    let adds_up = |f: &Found| form.numbers == Numbers::Floats && !tiles(f);
    let zero_of_a = form.zero_of_a(cx)?;
    let j = Job {
        v: &v,
        form,
        plan: &plan,
        panels: &panels,
        per_window,
        weights,
        correction,
        zero_of_a,
        finish: found.filter(|f| calls == 1 || adds_up(f)),
        finish_down: found_down.filter(|f| calls == 1 || adds_up(f)),
        flat: plain,
        gone,
        ahead: from_afar(
            cx,
            w.out.iter().cloned().product::<Dim>().fixed(),
            per_window * v.cout,
        ),
        pitch,
    };
    let n = cx.b.dim(&v.n);
    let x = cx.input(0)?.buf;
    let channels = cx.b.i(channels);
    let mut strides = vec![channels];
    for d in v.input[1..].iter().rev() {
        let d = cx.b.dim(d);
        let s = cx.b.mul(strides[0], d);
        strides.insert(0, s);
    }
    let first = cx.b.dim(&v.input[0]);
    let image = cx.b.mul(strides[0], first);
    if plain {
        let all = cx.b.dim(&pixels);
        return cx.for_(n, LoopKind::Seq, |cx, n| {
            let base = cx.b.mul(n, image);
            let base = cx.b.let_(base);
            match in_place {
                true => j.pixels(cx, n, x, base, pixels.fixed(), all),
                false => j.copied_pixels(cx, n, x, base, pixels.fixed(), all),
            }
        });
    }
    if let Some(e) = &edges {
        return cx.for_(n, LoopKind::Seq, |cx, n| {
            let base = cx.b.mul(n, image);
            let picture = Picture {
                buf: x,
                base: cx.b.let_(base),
                strides: &strides,
            };
            j.edged(cx, n, picture, e)
        });
    }
    let pad = (!in_place).then(|| j.band(cx));
    cx.for_(n, LoopKind::Seq, |cx, n| {
        let base = cx.b.mul(n, image);
        let base = cx.b.let_(base);
        match &pad {
            None => {
                let source = Source {
                    buf: x,
                    base,
                    strides: strides.clone(),
                    pitch,
                    from: 0,
                    width: w.out[rank - 1].clone(),
                };
                let (zero, rows) = (cx.b.i(0), cx.b.dim(&w.out[0]));
                j.rows(cx, n, &source, zero, rows)
            }
            Some(band) => j.bands(cx, n, x, base, &strides, band),
        }
    })
}

/// What becomes of a sum at an index of the output.
fn finish(
    cx: &mut LowerCx,
    v: &View,
    correction: Option<BufId>,
    index: &[ExprId],
    sum: ExprId,
) -> Result<()> {
    if cx.b.ty(sum).is_float() {
        return v.store(cx, index, sum);
    }
    let mut sum = sum;
    if let (Some(buf), Some(&channel)) = (correction, index.last()) {
        let c = cx.b.load(buf, channel);
        sum = cx.b.add(sum, c);
    }
    cx.store(0, index, sum);
    Ok(())
}

struct Job<'a> {
    v: &'a View,
    plan: &'a Plan,
    panels: &'a [Panels],
    per_window: i64,
    weights: Stored,
    /// `None`: results go through loops.
    finish: Option<Found>,
    /// The same where rows of results lie along the first spatial axis.
    finish_down: Option<Found>,
    /// Pixels of an image are numbered along the last spatial axis.
    flat: bool,
    /// Axes of size 1 between the last that is gone through and the channels.
    gone: usize,
    /// How operands are held.
    form: &'a Form,
    /// What comes off the sums of each channel.
    correction: Option<BufId>,
    /// What comes off each element as it is copied.
    zero_of_a: Option<ExprId>,
    /// Weights are fetched ahead.
    ahead: bool,
    /// Elements from one pixel of the source to the next.
    pitch: i64,
}

impl Job<'_> {
    fn channels(&self) -> i64 {
        self.v.cin * self.v.group
    }

    /// A block of rows under one panel: number `t` of its group.
    fn panel(&self, cx: &mut LowerCx, g: i64, at: usize, t: ExprId, rows: &Rows) -> Result<()> {
        let p = self.panels[at];
        let group = cx.b.i(g);
        let panel = Panel {
            at,
            b: self.weights.panel(cx, self.panels, at, group, t),
        };
        let channel = ex!(cx.b; (t * {cx.b.i(p.n)}) + {cx.b.i(g * self.v.cout + p.first)});
        let channel = cx.b.let_(channel);
        let mut index = rows.index.clone();
        index.extend((0..self.gone).map(|_| cx.b.i(0)));
        index.push(channel);
        let finish = match rows.axis == self.v.window.rank() {
            true => &self.finish,
            false => &self.finish_down,
        };
        let Some(finish) = finish else {
            return self.through_loops(cx, &panel, &index, rows);
        };
        let (operands, c) = finish.block(cx, &index);
        let last = rows.calls.len() - 1;
        for (number, &a) in rows.calls.iter().enumerate() {
            let mut strip = self.strip(p, rows.m);
            strip.start = match number {
                0 => Start::Zero,
                _ => Start::Sum,
            };
            if number == last {
                strip.tail = finish.tail.clone();
                strip.c_type = cx.b.func().bufs[c.buf].dtype;
            }
            let operands = if number == last {
                operands.clone()
            } else {
                vec![]
            };
            self.call(cx, &strip, &panel, a, number, c, operands, rows.tiles, rows)?;
        }
        Ok(())
    }

    fn strip(&self, p: Panels, m: i64) -> Strip {
        Strip {
            m,
            n: p.n,
            segs: self.plan.segs,
            split: p.split,
            b_row: p.padded,
            numbers: self.form.numbers,
            a_type: self.form.a_type,
            b_type: self.form.b_type,
            c_type: self.form.numbers.sums(),
            order: self.weights.each,
            apart: self.form.apart,
            ahead: self.ahead,
            narrow: None,
            start: Start::Zero,
            tail: Tail::default(),
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn call(
        &self,
        cx: &mut LowerCx,
        strip: &Strip,
        panel: &Panel,
        a: ExprId,
        number: usize,
        c: At,
        operands: Vec<At>,
        tiles: ExprId,
        rows: &Rows,
    ) -> Result<()> {
        let (tile, vector) = machine_for(cx, self.form)?;
        let p = self.panels[panel.at];
        // Half a vector of columns.
        let half = half_for(cx, self.form).filter(|_| p.padded % vector.lanes != 0);
        let tile = half.unwrap_or(tile);
        let skip = number as i64 * self.plan.k * self.plan.segs * p.padded;
        let b = At {
            buf: self.weights.buf,
            at: ex!(cx.b; {panel.b.at} + {cx.b.i(skip)}),
            row: cx.b.i(p.padded),
        };
        let a = At {
            buf: rows.buf,
            at: a,
            row: rows.row,
        };
        let k = match panel.b.picks {
            Some(p) => p.steps,
            None => cx.b.i(self.plan.k / self.form.group()),
        };
        let next = self.weights.size(self.panels, panel.at) / self.form.numbers.group();
        call_before(
            cx,
            tile,
            strip,
            Call {
                a,
                b,
                c,
                scales: panel.b.picks.iter().flat_map(Picks::tables).collect(),
                operands,
                k,
                seg: rows.seg,
                tiles,
            },
            next,
        );
        Ok(())
    }

    /// Sums go to scratch, a tile at a time, and from there through the row's stores.
    fn through_loops(
        &self,
        cx: &mut LowerCx,
        panel: &Panel,
        index: &[ExprId],
        rows: &Rows,
    ) -> Result<()> {
        let p = self.panels[panel.at];
        let sums =
            cx.scratch_per_thread("sums", self.form.numbers.sums(), Dim::Fixed(rows.m * p.n));
        let axis = rows.axis;
        let (n_e, m_e) = (cx.b.i(p.n), cx.b.i(rows.m));
        cx.for_(rows.tiles, LoopKind::Seq, |cx, t| {
            let row = cx.b.mul(t, m_e);
            let row = cx.b.let_(row);
            let by = cx.b.mul(row, rows.row);
            let (one, zero) = (cx.b.i(1), cx.b.i(0));
            let c = At {
                buf: sums,
                at: zero,
                row: n_e,
            };
            for (number, &a) in rows.calls.iter().enumerate() {
                let mut strip = self.strip(p, rows.m);
                if number > 0 {
                    strip.start = Start::Sum;
                }
                let a = cx.b.add(a, by);
                self.call(cx, &strip, panel, a, number, c, vec![], one, rows)?;
            }
            cx.for_(m_e, LoopKind::Seq, |cx, i| {
                cx.for_(n_e, LoopKind::Lanes, |cx, j| {
                    let at = ex!(cx.b; (i * n_e) + j);
                    let sum = cx.b.load(sums, at);
                    let mut full = index.to_vec();
                    full[axis] = ex!(cx.b; ({full[axis]} + row) + i);
                    let last = full.len() - 1;
                    full[last] = cx.b.add(full[last], j);
                    self.store(cx, &full, sum)
                })
            })
        })
    }

    /// Stores a sum. Pixels may be numbered along the last spatial axis alone: then they are told apart here.
    fn store(&self, cx: &mut LowerCx, index: &[ExprId], sum: ExprId) -> Result<()> {
        if !self.flat {
            return finish(cx, self.v, self.correction, index, sum);
        }
        let rank = self.v.window.rank();
        let spatial = cx.b.unoffset(&self.v.window.out, index[rank]);
        let mut full = vec![index[0]];
        full.extend(spatial);
        full.extend(&index[rank + 1..]);
        finish(cx, self.v, self.correction, &full, sum)
    }
}

/// A panel of weights.
struct Panel {
    /// Its group.
    at: usize,
    /// Where its weights lie, and how elements are picked.
    b: Packed,
}
