//! Bands of the input with their border of zeros: what padded windows read.

use super::Job;
use super::rows::Source;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::build::Builder;
use crate::loops::ir::{BufId, ExprId, LoopKind};

/// A copy of some rows of the input with their border.
pub(super) struct Band {
    buf: BufId,
    /// Output rows (along the first axis) of a band.
    rows: i64,
    /// Input rows of a band.
    height: i64,
    /// Sizes of the other axes with their borders.
    sizes: Vec<Dim>,
}

impl Job<'_> {
    /// The scratch of a band: as many rows as fit into a quarter of the second cache.
    pub(super) fn band(&self, cx: &mut LowerCx) -> Band {
        let w = &self.v.window;
        let sizes = self.band_sizes();
        let row: Dim = sizes.iter().cloned().product::<Dim>() * Dim::Fixed(self.pitch);
        let a_type = self.form.a_type;
        if w.rank() == 1 {
            // One axis: the whole of it is the band.
            let height = self.v.input[0].clone() + Dim::Fixed(w.begin[0] + w.end[0]);
            let beyond = Dim::Fixed(self.form.beyond());
            let buf = cx.scratch_per_thread("band", a_type, height * row + beyond);
            return Band {
                buf,
                rows: 0,
                height: 0,
                sizes,
            };
        }
        let size = a_type.size() as i64;
        let bytes = row.bounds(cx.symbols).1.max(1).saturating_mul(size);
        let most = w.out[0].bounds(cx.symbols).1.max(1);
        let rows = self.band_rows(cx, bytes, most);
        self.band_of(cx, rows)
    }

    /// Output rows of a band whose rows take so many bytes, there being `most`: of equal height, as many bands for each thread. A band is its thread's own,
    /// so that nothing below it is shared.
    pub(super) fn band_rows(&self, cx: &LowerCx, bytes: i64, most: i64) -> i64 {
        let w = &self.v.window;
        let room = i64::from(cx.machine.l2.max(128 << 10)) / 4;
        let fit = ((room / bytes - w.extent(0)) / w.stride[0] + 1).clamp(1, most);
        let threads = cx.threads.clamp(1, most);
        let count = (most + fit - 1) / fit;
        let count = (count + threads - 1) / threads * threads;
        (most + count - 1) / count
    }

    /// The scratch of a band of so many output rows, where there are more axes than one.
    pub(super) fn band_of(&self, cx: &mut LowerCx, rows: i64) -> Band {
        let w = &self.v.window;
        let sizes = self.band_sizes();
        let row: Dim = sizes.iter().cloned().product::<Dim>() * Dim::Fixed(self.pitch);
        let height = (rows - 1) * w.stride[0] + w.extent(0);
        let len = Dim::Fixed(height) * row + Dim::Fixed(self.form.beyond());
        let buf = cx.scratch_per_thread("band", self.form.a_type, len);
        Band {
            buf,
            rows,
            height,
            sizes,
        }
    }

    /// Sizes of all axes but the first, with their borders.
    fn band_sizes(&self) -> Vec<Dim> {
        let w = &self.v.window;
        (1..w.rank())
            .map(|i| self.v.input[i].clone() + Dim::Fixed(w.begin[i] + w.end[i]))
            .collect()
    }

    /// Band after band: copied with its border, then computed.
    pub(super) fn bands(
        &self,
        cx: &mut LowerCx,
        n: ExprId,
        x: BufId,
        base: ExprId,
        strides: &[ExprId],
        band: &Band,
    ) -> Result<()> {
        let w = &self.v.window;
        if w.rank() == 1 {
            let (zero, one) = (cx.b.i(0), cx.b.i(1));
            let source = self.filled(cx, x, base, strides, band, zero)?;
            return self.rows(cx, n, &source, zero, one);
        }
        let rows = cx.b.i(band.rows);
        let all = cx.b.dim(&w.out[0]);
        let count = w.out[0]
            .ceil_div(&Dim::Fixed(band.rows))
            .ok_or_else(|| Diagnostic::internal("a band without rows"))?;
        let whole = w.out[0].fixed().is_some_and(|o| o % band.rows == 0);
        let count = cx.b.dim(&count);
        // Independent though sums may be read again: each is its own band's.
        cx.for_(count, LoopKind::Parallel, |cx, t| {
            let first = cx.b.mul(t, rows);
            let first = cx.b.let_(first);
            let here = if whole {
                rows
            } else {
                let left = cx.b.sub(all, first);
                let here = cx.b.min(left, rows);
                cx.b.let_(here)
            };
            let top = ex!(cx.b; first * {cx.b.i(w.stride[0])});
            let source = self.filled(cx, x, base, strides, band, top)?;
            self.rows(cx, n, &source, first, here)
        })
    }

    /// A band from row `top` of the bordered input on, to be read.
    pub(super) fn filled(
        &self,
        cx: &mut LowerCx,
        x: BufId,
        base: ExprId,
        strides: &[ExprId],
        band: &Band,
        top: ExprId,
    ) -> Result<Source> {
        let w = &self.v.window;
        let pitch = cx.b.i(self.pitch);
        let mut own = vec![pitch];
        for d in band.sizes.iter().rev() {
            let d = cx.b.dim(d);
            let s = cx.b.mul(own[0], d);
            own.insert(0, s);
        }
        let height = match w.rank() {
            1 => self.v.input[0].clone() + Dim::Fixed(w.begin[0] + w.end[0]),
            _ => Dim::Fixed(band.height),
        };
        let height = cx.b.dim(&height);
        self.fill(cx, x, base, strides, band, &own, top, height)?;
        Ok(Source {
            buf: band.buf,
            base: cx.b.i(0),
            strides: own,
            pitch: self.pitch,
            from: 0,
            width: w.out[w.rank() - 1].clone(),
        })
    }

    /// Copies `height` rows from row `top` of the bordered input on.
    #[allow(clippy::too_many_arguments)]
    fn fill(
        &self,
        cx: &mut LowerCx,
        x: BufId,
        base: ExprId,
        strides: &[ExprId],
        band: &Band,
        own: &[ExprId],
        top: ExprId,
        height: ExprId,
    ) -> Result<()> {
        let w = &self.v.window;
        let rank = w.rank();
        let c = cx.b.i(self.channels());
        cx.for_(height, LoopKind::Seq, |cx, r| {
            let b = &mut cx.b;
            let y = ex!(b; (r + top) - {b.i(w.begin[0])});
            let y = b.let_(y);
            let (zero, h) = (b.i(0), b.dim(&self.v.input[0]));
            let inside = b.in_range(y, zero, h);
            let to = b.mul(r, own[0]);
            let from = ex!(b; base + (y * {strides[0]}));
            if rank == 1 {
                // A pixel.
                b.if_(
                    inside,
                    |b| self.copy_pixel(b, x, from, band.buf, to),
                    |b| self.blank(b, band.buf, to, own[0]),
                );
                return Ok(());
            }
            // Lines of pixels: all axes between the first and the last.
            let middle: Vec<Dim> = band.sizes[..rank - 2].to_vec();
            cx.each(&middle, LoopKind::Seq, |cx, at| {
                let b = &mut cx.b;
                let (mut inside, mut from, mut to) = (inside, from, to);
                for (i, &z) in at.iter().enumerate() {
                    let axis = i + 1;
                    let from_z = ex!(b; z - {b.i(w.begin[axis])});
                    let n = b.dim(&self.v.input[axis]);
                    let ok = b.in_range(from_z, zero, n);
                    inside = b.and(inside, ok);
                    let by = b.mul(from_z, strides[axis]);
                    from = b.add(from, by);
                    let by = b.mul(z, own[axis]);
                    to = b.add(to, by);
                }
                let (from, to, inside) = (b.let_(from), b.let_(to), b.let_(inside));
                let last = rank - 1;
                let pixels = b.dim(&self.v.input[last]);
                let pitch = own[last];
                let line = b.mul(pixels, pitch);
                let (left, right) = (
                    b.i(w.begin[last] * self.pitch),
                    b.i(w.end[last] * self.pitch),
                );
                self.blank(b, band.buf, to, left);
                let to = b.add(to, left);
                b.if_(
                    inside,
                    |b| match self.pitch == self.channels() {
                        true => self.copy(b, x, from, band.buf, to, line),
                        false => b.for_(pixels, LoopKind::Seq, |b, p| {
                            let (from, to) = (ex!(b; from + (p * c)), ex!(b; to + (p * pitch)));
                            let (from, to) = (b.let_(from), b.let_(to));
                            self.copy_pixel(b, x, from, band.buf, to);
                        }),
                    },
                    |b| self.blank(b, band.buf, to, line),
                );
                let to = b.add(to, line);
                self.blank(b, band.buf, to, right);
                Ok(())
            })
        })
    }

    /// Copies so many elements.
    pub(super) fn copy(
        &self,
        b: &mut Builder,
        x: BufId,
        from: ExprId,
        buf: BufId,
        to: ExprId,
        count: ExprId,
    ) {
        b.for_(count, LoopKind::Lanes, |b, i| {
            let at = b.add(from, i);
            let v = b.load(x, at);
            let v = self.form.copied(b, v, self.zero_of_a);
            let at = b.add(to, i);
            b.store(buf, at, v);
        });
    }

    /// Puts nothing into so many elements.
    pub(super) fn blank(&self, b: &mut Builder, buf: BufId, to: ExprId, count: ExprId) {
        let none = self.form.nothing(b);
        b.for_(count, LoopKind::Lanes, |b, i| {
            let at = b.add(to, i);
            b.store(buf, at, none);
        });
    }
}
