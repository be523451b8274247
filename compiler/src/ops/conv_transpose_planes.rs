//! ConvTranspose over two axes to few channels: lanes are neighbouring columns, and all outputs that one input position has part in grow side by side.
//!
//! Output `q * stride + r - begin` sums input `q - j` times window element `j * stride + r`: a vector of inputs meets the elements of all phases r. Convolutions
//! with channels for the phases would leave lanes empty and need their input channels-last.

use super::conv_transpose::window;
use crate::base::attr::Attrs;
use crate::base::diag::Result;
use crate::base::dim::{Dim, fixed_shape};
use crate::base::dtype::DType;
use crate::contracts::turn::{BLOCK, Shape};
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{Arg, BufId, ExprId, LoopKind, Ty};

/// Channels of the output, at most.
const MOST_CHANNELS: i64 = 4;
/// Channels of the input from which on it is worth it.
const LEAST: i64 = 8;
/// Sizes, at most.
const LARGEST: i64 = 1 << 15;
/// Window elements of a body, at most.
const MOST_PRODUCTS: i64 = 288;

/// One axis.
#[derive(Clone, Copy)]
struct Axis {
    input: i64,
    out: i64,
    kernel: i64,
    stride: i64,
    begin: i64,
}

impl Axis {
    /// Elements of a phase at most.
    fn taps(self) -> i64 {
        (self.kernel + self.stride - 1) / self.stride
    }
    /// The first q, and how many there are.
    fn first(self) -> i64 {
        self.begin / self.stride
    }
    fn positions(self) -> i64 {
        (self.out - 1 + self.begin) / self.stride - self.first() + 1
    }
    /// The first input position that is met, outside of the input where negative, and how many are.
    fn from(self) -> i64 {
        self.first() - (self.taps() - 1)
    }
    fn met(self) -> i64 {
        self.positions() + self.taps() - 1
    }
    /// The part of these that there is: from which on, and how many.
    fn there(self) -> (i64, i64) {
        let lo = (-self.from()).clamp(0, self.met());
        let hi = (self.input - self.from()).clamp(lo, self.met());
        (lo, hi - lo)
    }
    fn is_whole(self) -> bool {
        self.from() == 0 && self.met() == self.input
    }
}

/// What is computed.
pub struct Planes {
    images: i64,
    ins: i64,
    outs: i64,
    rows: Axis,
    columns: Axis,
    /// Sums that grow side by side, at most.
    most_sums: i64,
}

impl Planes {
    /// Reads an operator that is computed so; `lanes`: of the machine's vectors, which a row must fill.
    pub fn of(attrs: &Attrs, x: &[Dim], w: &[Dim], out: &[Dim], lanes: i64) -> Option<Planes> {
        let win = window(attrs, x, w).ok().filter(|w| w.rank() == 2)?;
        let (x, w, out) = (fixed_shape(x)?, fixed_shape(w)?, fixed_shape(out)?);
        let mut sizes = [&x, &w, &out].into_iter().flatten();
        if !sizes.all(|d| (1..=LARGEST).contains(d)) {
            return None;
        }
        let axis = |i: usize| Axis {
            input: x[2 + i],
            out: out[2 + i],
            kernel: win.kernel[i],
            stride: win.stride[i],
            begin: win.begin[i],
        };
        let p = Planes {
            images: x[0],
            ins: w[0],
            outs: w[1],
            rows: axis(0),
            columns: axis(1),
            // Of two vectors, so that both use a weight once it is in a register: of 16 or of 32 of these.
            most_sums: if lanes >= 16 { 14 } else { 6 },
        };
        let plain = attrs.int("group", 1) == 1 && win.dilation.iter().all(|&d| d == 1);
        let known = [p.rows, p.columns].iter().all(|a| {
            (0..a.kernel).contains(&a.begin) && (2..=8).contains(&a.stride) && a.kernel >= a.stride
        });
        let fits = (1..=MOST_CHANNELS).contains(&p.outs) && p.ins >= LEAST && plain && known;
        // Windows of several elements over one channel have kernels of their own.
        let lone = p.outs == 1 && p.columns.taps() > 2;
        (fits
            && !lone
            && p.outs * p.columns.stride <= p.most_sums
            && p.columns.positions() >= lanes
            && p.outs * p.columns.kernel * p.rows.taps() * p.together() <= MOST_PRODUCTS)
            .then_some(p)
    }
    /// Phases of rows whose sums grow side by side.
    fn together(&self) -> i64 {
        (self.most_sums / (self.outs * self.columns.stride)).clamp(1, self.rows.stride)
    }
    /// Writes the loops.
    pub fn lower(&self, cx: &mut LowerCx) -> Result<()> {
        let dtype = cx.input(0)?.ty.dtype;
        let float = if Ty::of(dtype) == Ty::F64 {
            DType::F64
        } else {
            DType::F32
        };
        let (rows, columns) = (self.rows, self.columns);
        let plane = rows.met() * columns.met();
        let whole = rows.is_whole() && columns.is_whole();
        let padded =
            (!whole).then(|| cx.scratch_per_thread("padded", dtype, Dim::Fixed(self.ins * plane)));
        let wide = columns.positions();
        let phases = self.outs * self.together() * columns.stride;
        let sums = cx.scratch_per_thread("sums", float, Dim::Fixed(phases * wide));
        let row = cx.scratch_per_thread("row", float, Dim::Fixed(columns.stride * wide));
        let images = cx.b.i(self.images);
        cx.for_(images, LoopKind::Seq, |cx, image| {
            let x = cx.input(0)?.buf;
            let start = ex!(cx.b; image * {cx.b.i(self.ins * rows.input * columns.input)});
            let start = cx.b.let_(start);
            let from = match padded {
                Some(to) => {
                    self.pad(cx, (x, start), to)?;
                    (to, cx.b.i(0))
                }
                None => (x, start),
            };
            let mut first = 0;
            while first < rows.stride {
                let some = self.together().min(rows.stride - first);
                let positions = cx.b.i(rows.positions());
                cx.for_(positions, LoopKind::Seq, |cx, q| {
                    self.sum(cx, from, sums, q, (first, some))?;
                    for oc in 0..self.outs {
                        for r in 0..some {
                            self.store(cx, (sums, row), (image, q, oc), (first, r, some))?;
                        }
                    }
                    Ok(())
                })?;
                first += some;
            }
            Ok(())
        })
    }
    /// The input with zeros around it, as far as positions outside are met.
    fn pad(&self, cx: &mut LowerCx, (x, start): (BufId, ExprId), to: BufId) -> Result<()> {
        let (rows, columns) = (self.rows, self.columns);
        let ty = cx.in_ty(0)?;
        let zero = cx.b.num(ty, 0.0);
        let fill = |cx: &mut LowerCx, base: ExprId, n: i64| {
            let n = cx.b.i(n);
            cx.for_(n, LoopKind::Lanes, |cx, i| {
                let at = cx.b.add(base, i);
                cx.b.store(to, at, zero);
                Ok(())
            })
        };
        let ((top, height), (left, width)) = (rows.there(), columns.there());
        let pitch = columns.met();
        let ins = cx.b.i(self.ins);
        cx.for_(ins, LoopKind::Seq, |cx, c| {
            let base = ex!(cx.b; c * {cx.b.i(rows.met() * pitch)});
            let base = cx.b.let_(base);
            let from = ex!(cx.b; start + (c * {cx.b.i(rows.input * columns.input)}));
            let from = cx.b.let_(from);
            fill(cx, base, top * pitch)?;
            let count = cx.b.i(height);
            cx.for_(count, LoopKind::Seq, |cx, y| {
                let row = ex!(cx.b; base + ((y + {cx.b.i(top)}) * {cx.b.i(pitch)}));
                let row = cx.b.let_(row);
                let first = (rows.from() + top) * columns.input + columns.from() + left;
                let own = ex!(cx.b; (from + (y * {cx.b.i(columns.input)})) + {cx.b.i(first)});
                let own = cx.b.let_(own);
                fill(cx, row, left)?;
                let inner = ex!(cx.b; row + {cx.b.i(left)});
                let n = cx.b.i(width);
                cx.for_(n, LoopKind::Lanes, |cx, i| {
                    let (at, to_at) = (cx.b.add(own, i), cx.b.add(inner, i));
                    let v = cx.b.load(x, at);
                    cx.b.store(to, to_at, v);
                    Ok(())
                })?;
                let behind = ex!(cx.b; row + {cx.b.i(left + width)});
                fill(cx, behind, pitch - left - width)
            })?;
            let below = ex!(cx.b; base + {cx.b.i((top + height) * pitch)});
            fill(cx, below, (rows.met() - top - height) * pitch)
        })
    }
    /// The sums of some phases at the positions of a row.
    fn sum(
        &self,
        cx: &mut LowerCx,
        (x, start): (BufId, ExprId),
        sums: BufId,
        q: ExprId,
        (first, some): (i64, i64),
    ) -> Result<()> {
        let (rows, columns) = (self.rows, self.columns);
        let (kh, kw) = (rows.kernel, columns.kernel);
        let weights = cx.input(1)?.buf;
        let bias = cx.opt(2).map(|o| o.buf);
        let ty = cx.in_ty(0)?;
        let pitch = columns.met();
        let corner = ex!(cx.b; start + (q * {cx.b.i(pitch)}));
        let corner = cx.b.let_(corner);
        let wide = cx.b.i(columns.positions());
        cx.for_(wide, LoopKind::Lanes, |cx, p| {
            let mut all = vec![];
            for oc in 0..self.outs {
                let init = match bias {
                    Some(bias) => {
                        let oc = cx.b.i(oc);
                        cx.b.load(bias, oc)
                    }
                    None => cx.b.num(ty, 0.0),
                };
                for _ in 0..some * columns.stride {
                    all.push(cx.b.var(init));
                }
            }
            let ins = cx.b.i(self.ins);
            cx.for_(ins, LoopKind::Seq, |cx, c| {
                let b = &mut cx.b;
                let own = ex!(b; c * {b.i(self.outs * kh * kw)});
                let plane = ex!(b; (corner + (c * {b.i(rows.met() * pitch)})) + p);
                for (jy, jx) in
                    (0..rows.taps()).flat_map(|y| (0..columns.taps()).map(move |x| (y, x)))
                {
                    let on = (rows.taps() - 1 - jy) * pitch + columns.taps() - 1 - jx;
                    let at = ex!(b; plane + {b.i(on)});
                    let v = b.load(x, at);
                    let v = b.let_(v);
                    for (k, &sum) in all.iter().enumerate() {
                        let k = k as i64;
                        let (oc, r) = (k / (some * columns.stride), k % (some * columns.stride));
                        let ky = jy * rows.stride + first + r / columns.stride;
                        let kx = jx * columns.stride + r % columns.stride;
                        if ky >= kh || kx >= kw {
                            continue;
                        }
                        let w = ex!(b; own + {b.i((oc * kh + ky) * kw + kx)});
                        let w = b.load(weights, w);
                        let old = b.get(sum);
                        let new = b.fma(w, v, old);
                        b.set(sum, new);
                    }
                }
                Ok(())
            })?;
            for (k, &sum) in all.iter().enumerate() {
                let b = &mut cx.b;
                let v = b.get(sum);
                let to = ex!(b; p + {b.i(k as i64 * columns.positions())});
                b.store(sums, to, v);
            }
            Ok(())
        })
    }
    /// A row of the output: the phases of its columns take turns.
    fn store(
        &self,
        cx: &mut LowerCx,
        (sums, row): (BufId, BufId),
        (image, q, oc): (ExprId, ExprId, i64),
        (first, r, some): (i64, i64, i64),
    ) -> Result<()> {
        let (rows, columns) = (self.rows, self.columns);
        let wide = columns.positions();
        let b = &mut cx.b;
        let y = ex!(b; (q * {b.i(rows.stride)}) + {b.i(rows.first() * rows.stride + first + r - rows.begin)});
        let y = b.let_(y);
        let (none, height) = (b.i(0), b.i(rows.out));
        let inside = b.in_range(y, none, height);
        let stride = columns.stride;
        cx.if_(
            inside,
            |cx| {
                let start = cx.b.i((oc * some + r) * stride * wide);
                let tile = cx
                    .machine
                    .tile("turn")
                    .filter(|_| stride < BLOCK && cx.b.func().bufs[row].dtype.size() == 4);
                match tile {
                    Some(tile) => {
                        let shape = Shape {
                            size: 4,
                            rows: stride,
                            cols: 0,
                        };
                        let b = &mut cx.b;
                        let ptr = |buf, offset| Arg::Ptr { buf, offset };
                        let mut args = vec![ptr(sums, start), ptr(row, none)];
                        args.extend(
                            [stride, wide, wide, stride, 1, 0, 0].map(|n| Arg::Int(b.i(n))),
                        );
                        b.call(shape.callee(tile), args);
                    }
                    None => {
                        let n = cx.b.i(wide);
                        cx.for_(n, LoopKind::Seq, |cx, p| {
                            for k in 0..stride {
                                let b = &mut cx.b;
                                let from = ex!(b; (start + p) + {b.i(k * wide)});
                                let v = b.load(sums, from);
                                let to = ex!(b; (p * {b.i(stride)}) + {b.i(k)});
                                b.store(row, to, v);
                            }
                            Ok(())
                        })?;
                    }
                }
                let n = cx.b.i(columns.out);
                cx.for_(n, LoopKind::Lanes, |cx, o| {
                    let b = &mut cx.b;
                    let from = ex!(b; o + {b.i(columns.begin - columns.first() * stride)});
                    let v = b.load(row, from);
                    let oc = b.i(oc);
                    cx.store(0, &[image, oc, y, o], v);
                    Ok(())
                })
            },
            |_| Ok(()),
        )
    }
}
