//! `conv_f32_sparse4_window`, `conv_f32_sparse1_window`: convolutions of stride 1 with wider windows and sparse weights.
//!
//! For a run of pixels of a line of results, each line under the window becomes rows of channels that are as long as the run and the
//! window's width. An element of the window is then one of those rows, some places further: nothing is laid out for it.

use super::conv::{apart, bytes, flat, run_on, sparse_weights};
use super::numbers::Numbers;
use super::pattern::{self, Rows, blocks};
use super::product::{Cut, Product, tiles};
use crate::base::costs::Work;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::contracts::conv::View;
use crate::contracts::tail::Element;
use crate::ex;
use crate::kernel::{Kernel, LowerCx, Machine, Query, Vector};
use crate::loops::ir::{BufId, ExprId, LoopKind, Ty};

macro_rules! row {
    ($name:ident, $text:literal, $block:literal, $doc:literal) => {
        #[doc = $doc]
        pub const $name: Kernel = Kernel {
            name: $text,
            needs: &[],
            accepts: |q| Window::of(q).is_some() && work_of(q, $block).is_some(),
            work: |q| work_of(q, $block).unwrap_or(Work::of(f64::INFINITY)),
            tails: true,
            emit: |cx, q| emit(cx, q, $block),
        };
    };
}

row!(
    FOUR,
    "conv_f32_sparse4_window",
    4,
    "Blocks of four output channels."
);
row!(ONE, "conv_f32_sparse1_window", 1, "Single weights.");

/// Most elements of a line of rows of channels; a tile counts no further.
const MOST: i64 = 4096;

/// A convolution over two axes, its sizes as numbers.
struct Window {
    v: View,
    k: i64,
    n: i64,
    /// Height and width of the results, and of the input with its border.
    out: [i64; 2],
    padded: [i64; 2],
    input: [i64; 2],
    kernel: [i64; 2],
    dilation: [i64; 2],
    begin: [i64; 2],
}

impl Window {
    fn of(q: &Query) -> Option<Window> {
        let float = |i: usize| match q.inputs.get(i) {
            Some(Some((t, _))) => t.dtype == DType::F32,
            _ => true,
        };
        let v = View::of(q).ok()?;
        let w = &v.window;
        let good = (0..4).all(float) && v.channels_last && v.group == 1 && w.rank() == 2;
        let even = w.stride.iter().all(|&s| s == 1);
        let border = w.begin.iter().chain(&w.end).all(|p| (0..64).contains(p));
        let wide = w.kernel.iter().any(|&k| k > 1) && w.kernel.iter().all(|&k| k <= 16);
        let close = w.dilation.iter().all(|&d| (1..=32).contains(&d));
        if !(good && even && border && wide && close) {
            return None;
        }
        let fixed = |d: &[Dim]| {
            let size = |d: &Dim| d.fixed().filter(|n| (1..1 << 14).contains(n));
            Some([size(&d[0])?, size(&d[1])?])
        };
        let (out, input) = (fixed(&w.out)?, fixed(&v.input)?);
        let padded = [0, 1].map(|i| input[i] + w.begin[i] + w.end[i]);
        sparse_weights(q)?;
        tiles(q.machine, Numbers::Floats)?;
        let window = Window {
            k: v.cin,
            n: v.cout,
            out,
            padded,
            input,
            kernel: [w.kernel[0], w.kernel[1]],
            dilation: [w.dilation[0], w.dilation[1]],
            begin: [w.begin[0], w.begin[1]],
            v,
        };
        let size = |n: i64| (1..=1 << 13).contains(&n);
        let vector = q.machine.vector?;
        let longest = window.height() * window.pitch(&window.cut(q.machine, &vector, 1));
        (size(window.k) && size(window.n) && longest <= MOST).then_some(window)
    }
    fn height(&self) -> i64 {
        self.kernel[0]
    }
    /// Elements of the window.
    fn taps(&self) -> i64 {
        self.kernel[0] * self.kernel[1]
    }
    fn cut(&self, m: &Machine, v: &Vector, block: i64) -> Cut {
        let rows = self.k * self.height();
        Cut::of(m, v, Numbers::Floats, block, rows, self.out[1])
    }
    /// Places that a run needs beside its own.
    fn reach(&self) -> i64 {
        (self.kernel[1] - 1) * self.dilation[1]
    }
    /// Places of a line of a channel.
    fn pitch(&self, cut: &Cut) -> i64 {
        let all = cut.units * cut.unit + self.reach();
        (all + cut.unit - 1) / cut.unit * cut.unit
    }
    fn lie(&self, cut: &Cut) -> Rows {
        Rows::Window {
            width: self.kernel[1],
            dilation: self.dilation[1],
            pitch: self.pitch(cut),
        }
    }
    /// Whether windows leave the input.
    fn is_padded(&self) -> bool {
        self.padded != self.input
    }
}

/// An entry is read and found in the time of so many products, however few pixels it meets (a weight alone over lines of eight takes 1.16 cycles, AVX2).
const LEAST_PRODUCTS: i64 = 11;

fn work_of(q: &Query, block: i64) -> Option<Work> {
    let (w, f) = (Window::of(q)?, sparse_weights(q)?.to_f32s()?);
    let vector = q.machine.vector?;
    let cut = w.cut(q.machine, &vector, block);
    let rows = w.k * w.taps();
    let kept = blocks(rows, w.n, block, |p, c| f[(c * rows + p) as usize] == 0.0);
    let entries = pattern::entries(&kept, w.lie(&cut), 1, cut.chains);
    let images = w.v.n.fixed().unwrap_or(1) as f64;
    // Products of an entry with a line of pixels.
    let products = (block * cut.padded(w.out[1])).max(LEAST_PRODUCTS);
    let turned = w.out[0] * (w.out[1] * 2 * w.n + w.height() * w.k * (w.out[1] + w.reach()));
    let work = Work {
        transforms: images * turned as f64,
        ..Work::of(images * (entries * products * w.out[0]) as f64)
    };
    Some(work.with_weights((entries * (2 + 4 * block)) as f64, q.machine.l2))
}

fn emit(cx: &mut LowerCx, q: &Query, block: i64) -> Result<()> {
    let missing = || Diagnostic::internal("sparse weights that are none");
    let w = Window::of(q).ok_or_else(missing)?;
    let f = sparse_weights(q).and_then(Tensor::to_f32s);
    let f = f.ok_or_else(missing)?;
    let vector = cx.machine.vector.ok_or_else(missing)?;
    let (k, n, rows) = (w.k, w.n, w.k * w.taps());
    let at = |p: i64, c: i64| f[(c * rows + p) as usize];
    let cut = w.cut(cx.machine, &vector, block);
    let lie = w.lie(&cut);
    let kept = blocks(rows, n, block, |p, c| at(p, c) == 0.0);
    let encoded = pattern::encode(&kept, lie, n, block, Numbers::Floats, cut.chains);
    let values = encoded.values(n, 1, 0.0, at);
    let values = cx.constant("values", Tensor::f32(&[values.len() as i64], &values));
    let stream = bytes(cx, &encoded.stream)?;
    let sizes: Vec<Option<i64>> = cx.out_shape()?.iter().map(Dim::fixed).collect();
    let mut element = Element::new(&mut cx.b, &sizes, 2);
    run_on(cx, &w.v, &mut element);
    let found = element.probe(cx, |cx, index, sum| w.v.store(cx, index, sum))?;
    let images = cx.b.dim(&w.v.n);
    let x = cx.input(0)?.buf;
    let border = w.is_padded().then(|| {
        let size = w.padded[0] * w.padded[1] * k;
        cx.scratch_per_thread("padded", DType::F32, Dim::Fixed(size))
    });
    cx.for_(images, LoopKind::Seq, |cx, image| {
        let base = cx.b.i(w.input[0] * w.input[1] * k);
        let base = cx.b.mul(image, base);
        let base = cx.b.let_(base);
        let index =
            |cx: &mut LowerCx, pixel: ExprId, channel: ExprId| flat(cx, image, 2, pixel, channel);
        let store = |cx: &mut LowerCx, pixel: ExprId, channel: ExprId, sum: ExprId| {
            let full = apart(cx, &w.v, image, pixel, channel);
            w.v.store(cx, &full, sum)
        };
        let product = Product {
            k,
            n,
            rows: w.out[0] * w.out[1],
            a_row: k,
            numbers: Numbers::Floats,
            a_type: DType::F32,
            cut,
            encoded: &encoded,
            values,
            stream: Some(stream),
            found: found.as_ref(),
            index: &index,
            store: &store,
        };
        let (from, first) = match border {
            Some(to) => {
                w.pad(cx, x, base, to);
                (to, cx.b.i(0))
            }
            None => (x, base),
        };
        w.lines(cx, &product, from, first, lie)
    })
}

impl Window {
    /// All lines of results of an image.
    fn lines(
        &self,
        cx: &mut LowerCx,
        p: &Product,
        from: BufId,
        base: ExprId,
        lie: Rows,
    ) -> Result<()> {
        let pitch = self.height() * self.pitch(&p.cut);
        let s = p.scratch(cx, self.k * pitch);
        let count = cx.b.i(self.out[0]);
        cx.for_(count, LoopKind::Seq, |cx, y| {
            p.runs(cx, self.out[1], &mut |cx, x, pixels, run| {
                for ky in 0..self.height() {
                    let line = self.padded[1] * self.k;
                    let b = &mut cx.b;
                    let skip = b.i(ky * self.dilation[0] * line);
                    let at = ex!(b; ((base + (y * {b.i(line)})) + skip) + (x * {b.i(self.k)}));
                    let at = b.let_(at);
                    let to = ky * self.pitch(&p.cut);
                    p.line_of_channels(cx, &s, from, at, to, pixels + self.reach(), pitch)?;
                }
                let at = ex!(cx.b; (y * {cx.b.i(self.out[1])}) + x);
                let at = cx.b.let_(at);
                p.chunks(cx, &s, at, lie, pixels, run)
            })
        })
    }

    /// Copies an image into one with a border of zeros.
    fn pad(&self, cx: &mut LowerCx, from: BufId, base: ExprId, to: BufId) {
        let [h, w] = self.input;
        let [top, left] = self.begin;
        let line = self.padded[1] * self.k;
        let b = &mut cx.b;
        let zeros = |b: &mut crate::loops::build::Builder, first: ExprId, count: i64| {
            if count > 0 {
                let (count, nothing) = (b.i(count), b.num(Ty::F32, 0.0));
                b.for_(count, LoopKind::Lanes, |b, i| {
                    let at = b.add(first, i);
                    b.store(to, at, nothing);
                });
            }
        };
        let first = b.i(0);
        zeros(b, first, top * line);
        let last = b.i((top + h) * line);
        zeros(b, last, (self.padded[0] - top - h) * line);
        let rows = b.i(h);
        b.for_(rows, LoopKind::Seq, |b, y| {
            let at = ex!(b; (y * {b.i(line)}) + {b.i(top * line)});
            let at = b.let_(at);
            zeros(b, at, left * self.k);
            let inner = ex!(b; at + {b.i(left * self.k)});
            let inner = b.let_(inner);
            let source = ex!(b; base + (y * {b.i(w * self.k)}));
            let source = b.let_(source);
            let count = b.i(w * self.k);
            b.for_(count, LoopKind::Lanes, |b, i| {
                let from_at = b.add(source, i);
                let x = b.load(from, from_at);
                let to_at = b.add(inner, i);
                b.store(to, to_at, x);
            });
            let end = ex!(b; inner + {b.i(w * self.k)});
            let end = b.let_(end);
            zeros(b, end, (self.padded[1] - left - w) * self.k);
        });
    }
}
