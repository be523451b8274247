//! `conv_f32_planes`: convolution over planes (channels first) whose groups have few output channels, lanes along the output row.
//!
//! Kernels with lanes of output channels leave most of a vector empty where there are few. Here an element of the image that was loaded meets the weights of up
//! to [`SUMS`] outputs, each of which is one number for all lanes. Windows that leave the image read a copy with its border of zeros, a band of rows at a
//! time.

use super::conv::{View, macs, seq};
use super::conv_axis::Axis;
use crate::base::costs::Work;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::{Dim, fixed_shape};
use crate::base::dtype::DType;
use crate::ex;
use crate::kernel::{Kernel, LowerCx, Query};
use crate::loops::ir::{BufId, ExprId, LoopKind};

/// The row.
pub const ROW: Kernel = Kernel {
    name: "conv_f32_planes",
    needs: &[],
    accepts,
    work: |q| Work::of(macs(q)),
    tails: true,
    emit,
};

/// Sums that grow side by side, of as many outputs.
const SUMS: i64 = 2;
/// Elements of a band of all channels of a group, roughly: they stay in the second cache.
const BAND: i64 = 1 << 15;

/// Elements of a row of windows of all channels of a group, at most.
const LARGEST: i64 = 1 << 20;

/// Whether groups have so few output channels that lanes of them are worse than lanes of pixels, for vectors of so many lanes. Sums of few products
/// leave kernels with lanes of channels little to do between loading and storing, so that there may be more channels then.
pub fn few(lanes: i64, cin: i64, cout: i64) -> bool {
    // Sixteen lanes have halves.
    let lanes = lanes.min(8);
    cout <= lanes / 4 || cout.max(cin) <= lanes / 2
}

fn accepts(q: &Query) -> bool {
    let f32s = |i: usize| match q.inputs.get(i) {
        Some(Some((t, _))) => t.dtype == DType::F32,
        _ => true,
    };
    let Ok(v) = View::of(q) else { return false };
    let lanes = q.machine.vector.map_or(0, |v| v.lanes);
    (0..4).all(f32s) && !v.channels_last && fits(lanes, &v)
}

/// Whether a convolution's sizes are known, its last step is 1, its output channels are few, and a row of its windows fills vectors and is of moderate
/// size.
pub fn fits(lanes: i64, v: &View) -> bool {
    let w = &v.window;
    let Some((input, out)) = fixed_shape(&v.input).zip(fixed_shape(&w.out)) else {
        return false;
    };
    let rank = w.rank();
    let mut sizes = input.iter().chain(&out).chain([&v.cin, &v.cout]);
    let small = |n: &i64| (1..=LARGEST).contains(n);
    let pads = w.begin.iter().chain(&w.end);
    let spans = (0..rank).map(|i| w.extent(i)).chain(pads.copied());
    if !(1..=2).contains(&rank)
        || !sizes.all(small)
        || !spans.into_iter().all(|n| (0..=LARGEST).contains(&n))
    {
        return false;
    }
    let rows = if rank == 2 { w.extent(0) } else { 1 };
    // One input channel has kernels of its own where it makes a group.
    few(lanes, v.cin, v.cout)
        && (v.group == 1 || v.cin > 1)
        && out[rank - 1] >= lanes
        && w.stride[rank - 1] == 1
        && v.cin.saturating_mul(rows) <= LARGEST
        && v.cin * rows * (out[rank - 1] + w.extent(rank - 1)) <= LARGEST
}

/// Where windows read: an element of channel `c`, row `y` and column `x` is at `base + c * plane + y * row + x`.
struct Source {
    buf: BufId,
    base: ExprId,
    plane: i64,
    row: i64,
}

struct Job<'a> {
    v: &'a View,
    y: Axis,
    x: Axis,
    /// Output rows of a band.
    band: i64,
    /// Where bands are copied to, with their border.
    copy: Option<BufId>,
}

fn emit(cx: &mut LowerCx, q: &Query) -> Result<()> {
    let v = View::of(q)?;
    let w = &v.window;
    let missing = || Diagnostic::internal("sizes that are not known");
    let last = w.rank() - 1;
    let x = Axis::of(&v, last).ok_or_else(missing)?;
    let y = match last {
        0 => Axis::ONE,
        _ => Axis::of(&v, 0).ok_or_else(missing)?,
    };
    let (mut band, mut copy) = (y.out, None);
    if !w.is_unpadded() {
        let of_row = v.cin * x.span(x.out);
        while band > 1 && y.span(band) * of_row > BAND {
            band = (band + 1) / 2;
        }
        let len = Dim::Fixed(y.span(band) * of_row);
        // Border and image are written by loops of their own, so threads share it.
        copy = Some(cx.scratch("band", DType::F32, len));
    }
    let j = Job {
        v: &v,
        y,
        x,
        band,
        copy,
    };
    let outer = [v.n.clone(), Dim::Fixed(v.group)];
    cx.each(&outer, LoopKind::Seq, |cx, at| {
        let (n, g) = (at[0], at[1]);
        let channels = cx.b.i(v.cin);
        let first = ex!(cx.b; ((n * {cx.b.i(v.group)}) + g) * channels);
        let image = ex!(cx.b; first * {cx.b.i(y.input * x.input)});
        let image = cx.b.let_(image);
        let whole = cx.b.i(y.out / j.band);
        cx.for_(whole, LoopKind::Seq, |cx, t| {
            let oy = ex!(cx.b; t * {cx.b.i(j.band)});
            let oy = cx.b.let_(oy);
            j.rows(cx, [n, g, oy], image, j.band)
        })?;
        match y.out % j.band {
            0 => Ok(()),
            rest => {
                let oy = cx.b.i(y.out - rest);
                j.rows(cx, [n, g, oy], image, rest)
            }
        }
    })
}

impl Job<'_> {
    /// So many rows of all outputs of a group. `at`: image, group, first row.
    fn rows(&self, cx: &mut LowerCx, at: [ExprId; 3], image: ExprId, rows: i64) -> Result<()> {
        let (y, x) = (&self.y, &self.x);
        let from = ex!(cx.b; ({at[2]} * {cx.b.i(y.stride)}) - {cx.b.i(y.begin)});
        let from = cx.b.let_(from);
        let source = match self.copy {
            None => Source {
                buf: cx.input(0)?.buf,
                base: ex!(cx.b; image + (from * {cx.b.i(x.input)})),
                plane: y.input * x.input,
                row: x.input,
            },
            Some(buf) => self.copied(cx, buf, image, from, rows)?,
        };
        let (whole, rest) = (self.v.cout / SUMS, self.v.cout % SUMS);
        let count = cx.b.i(whole);
        cx.for_(count, LoopKind::Seq, |cx, t| {
            let first = ex!(cx.b; t * {cx.b.i(SUMS)});
            self.outputs(cx, at, first, SUMS, &source, rows)
        })?;
        if rest > 0 {
            let first = cx.b.i(self.v.cout - rest);
            self.outputs(cx, at, first, rest, &source, rows)?;
        }
        Ok(())
    }

    /// What the windows of so many rows span, from input row `from` on, which may lie outside.
    fn copied(
        &self,
        cx: &mut LowerCx,
        buf: BufId,
        image: ExprId,
        from: ExprId,
        rows: i64,
    ) -> Result<Source> {
        let (y, x) = (&self.y, &self.x);
        let (height, width) = (y.span(rows), x.span(x.out));
        let (zero, none) = (cx.b.f(0.0), cx.b.i(0));
        let all = cx.b.i(self.v.cin * height * width);
        cx.b.for_(all, LoopKind::Lanes, |b, i| b.store(buf, i, zero));
        // Rows of the span that exist: the first, and how many.
        let h = cx.b.i(height);
        let before = cx.b.sub(none, from);
        let before = cx.b.clamp(before, none, h);
        let before = cx.b.let_(before);
        let until = ex!(cx.b; {cx.b.i(y.input)} - from);
        let until = cx.b.clamp(until, before, h);
        let count = cx.b.sub(until, before);
        let count = cx.b.let_(count);
        let x_buf = cx.input(0)?.buf;
        let (channels, cols) = (
            cx.b.i(self.v.cin),
            cx.b.i(x.input.min(width - x.begin).max(0)),
        );
        cx.b.for_(channels, LoopKind::Seq, |b, c| {
            b.for_(count, LoopKind::Seq, |b, r| {
                b.for_(cols, LoopKind::Lanes, |b, i| {
                    let row = ex!(b; (from + before) + r);
                    let at = ex!(b; (((c * {b.i(y.input)}) + row) * {b.i(x.input)}) + i);
                    let v = ex!(b; image + at);
                    let v = b.load(x_buf, v);
                    let to = ex!(b; ((c * {b.i(height)}) + before) + r);
                    let to = ex!(b; ((to * {b.i(width)}) + i) + {b.i(x.begin)});
                    b.store(buf, to, v);
                });
            });
        });
        Ok(Source {
            buf,
            base: none,
            plane: height * width,
            row: width,
        })
    }

    /// Outputs `first..first + count` of a group.
    fn outputs(
        &self,
        cx: &mut LowerCx,
        [n, g, oy]: [ExprId; 3],
        first: ExprId,
        count: i64,
        s: &Source,
        rows: i64,
    ) -> Result<()> {
        let (v, y, x) = (self.v, &self.y, &self.x);
        let taps = v.taps();
        let weights = cx.input(1)?.buf;
        let channel = ex!(cx.b; (g * {cx.b.i(v.cout)}) + first);
        let channel = cx.b.let_(channel);
        let shape = [rows, x.out].map(Dim::Fixed);
        cx.each(&shape, LoopKind::Lanes, |cx, at| {
            let zero = cx.b.f(0.0);
            let sums: Vec<_> = (0..count).map(|_| cx.b.var(zero)).collect();
            seq(cx, &[v.cin, y.kernel, x.kernel], |cx, k| {
                let row =
                    ex!(cx.b; ({at[0]} * {cx.b.i(y.stride)}) + ({k[1]} * {cx.b.i(y.dilation)}));
                let col = ex!(cx.b; {at[1]} + ({k[2]} * {cx.b.i(x.dilation)}));
                let from = ex!(cx.b; ({k[0]} * {cx.b.i(s.plane)}) + (row * {cx.b.i(s.row)}));
                let from = ex!(cx.b; ({s.base} + from) + col);
                let value = cx.b.load(s.buf, from);
                let value = cx.b.let_(value);
                let place =
                    ex!(cx.b; (({k[0]} * {cx.b.i(y.kernel)}) + {k[1]}) * {cx.b.i(x.kernel)});
                let place = ex!(cx.b; place + {k[2]});
                for (i, &sum) in sums.iter().enumerate() {
                    // What is the same for all sums first, so that they share an address.
                    let of = ex!(cx.b; (channel * {cx.b.i(v.cin * taps)}) + place);
                    let of = ex!(cx.b; of + {cx.b.i(i as i64 * v.cin * taps)});
                    let weight = cx.b.load(weights, of);
                    let old = cx.b.get(sum);
                    let new = cx.b.fma(value, weight, old);
                    cx.b.set(sum, new);
                }
                Ok(())
            })?;
            for (i, &sum) in sums.iter().enumerate() {
                let of = ex!(cx.b; channel + {cx.b.i(i as i64)});
                let sum = cx.b.get(sum);
                let row = cx.b.add(oy, at[0]);
                let index = match v.window.rank() {
                    1 => vec![n, of, at[1]],
                    _ => vec![n, of, row, at[1]],
                };
                v.store(cx, &index, sum)?;
            }
            Ok(())
        })
    }
}
