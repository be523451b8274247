//! Padded windows over a picture that is read where it lies: those that stay inside read the input itself, rows of results above and below them a band of
//! its rows with their border, columns left and right of them a band of its columns.

use super::rows::{Rows, Source};
use super::{Job, row_blocks};
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::contracts::conv::View;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{BufId, ExprId, LoopKind};
use std::ops::Range;

/// Results whose windows stay inside, along both axes.
pub(super) struct Edges {
    rows: Range<i64>,
    columns: Range<i64>,
    /// Pixels of a line of the input.
    width: i64,
}

/// Where the input lies: its buffer, the first element of the image, and the distances along its axes.
#[derive(Clone, Copy)]
pub(super) struct Picture<'s> {
    pub buf: BufId,
    pub base: ExprId,
    pub strides: &'s [ExprId],
}

impl Edges {
    /// `None`: sizes are not known, or what is copied is most of the input.
    pub fn of(v: &View) -> Option<Edges> {
        let w = &v.window;
        if w.rank() != 2 || w.begin.iter().chain(&w.end).any(|&p| p < 0) {
            return None;
        }
        let (height, width) = (v.input[0].fixed()?, v.input[1].fixed()?);
        let e = Edges {
            rows: inside(v, 0, height)?,
            columns: inside(v, 1, width)?,
            width,
        };
        let line = width + w.begin[1] + w.end[1];
        let area = |height: i64, width: i64| height as f64 * width as f64;
        let above = e.borders(v, 0).map(|r| area(reach(v, 0, &r), line));
        let beside = e
            .borders(v, 1)
            .map(|r| area(reach(v, 0, &e.rows), reach(v, 1, &r)));
        let copied: f64 = above.chain(beside).sum();
        (copied * 2.0 <= area(height + w.begin[0] + w.end[0], line)).then_some(e)
    }
    /// Results along the last axis whose windows stay inside.
    pub fn width(&self) -> i64 {
        self.columns.end - self.columns.start
    }
    /// Results before and behind those whose windows stay inside.
    fn borders(&self, v: &View, axis: usize) -> impl Iterator<Item = Range<i64>> + use<> {
        let inside = [&self.rows, &self.columns][axis];
        let all = v.window.out[axis].fixed().unwrap_or(inside.end);
        let both = [0..inside.start, inside.end..all];
        both.into_iter().filter(|r| !r.is_empty())
    }
}

/// Results whose windows stay inside along an axis of so many elements; `None`: there are none.
fn inside(v: &View, axis: usize, n: i64) -> Option<Range<i64>> {
    let w = &v.window;
    let (begin, stride) = (w.begin[axis], w.stride[axis]);
    let first = (begin + stride - 1) / stride;
    let end = (n + begin - w.extent(axis)).div_euclid(stride) + 1;
    let end = end.min(w.out[axis].fixed()?);
    (first < end).then_some(first..end)
}

/// Elements of the bordered input that some results read along an axis.
fn reach(v: &View, axis: usize, results: &Range<i64>) -> i64 {
    (results.end - results.start - 1) * v.window.stride[axis] + v.window.extent(axis)
}

impl Job<'_> {
    /// All results of an image.
    pub(super) fn edged(&self, cx: &mut LowerCx, n: ExprId, x: Picture, e: &Edges) -> Result<()> {
        let w = &self.v.window;
        self.in_the_middle(cx, n, x, e)?;
        for rows in e.borders(self.v, 0) {
            cx.left_over(|cx| {
                let band = self.band_of(cx, rows.end - rows.start);
                let first = cx.b.i(rows.start);
                let top = cx.b.i(rows.start * w.stride[0]);
                let source = self.filled(cx, x.buf, x.base, x.strides, &band, top)?;
                let count = cx.b.i(rows.end - rows.start);
                self.rows(cx, n, &source, first, count)
            })?;
        }
        for columns in e.borders(self.v, 1) {
            cx.left_over(|cx| self.columns(cx, n, x, e, columns))?;
        }
        Ok(())
    }

    /// What reads the input itself, as many rows at a time as stay in a cache.
    fn in_the_middle(&self, cx: &mut LowerCx, n: ExprId, x: Picture, e: &Edges) -> Result<()> {
        let w = &self.v.window;
        let all = e.rows.end - e.rows.start;
        let pixel = self.pitch.saturating_mul(self.form.a_type.size() as i64);
        let bytes = e.width.saturating_mul(pixel);
        let rows = self.band_rows(cx, bytes, all);
        let left = (e.columns.start * w.stride[1] - w.begin[1]) * self.pitch;
        let (rows_e, end) = (cx.b.i(rows), cx.b.i(e.rows.end));
        let count = cx.b.i((all + rows - 1) / rows);
        // Independent though sums may be read again: each row has its own.
        cx.for_(count, LoopKind::Parallel, |cx, t| {
            let first = ex!(cx.b; (t * rows_e) + {cx.b.i(e.rows.start)});
            let first = cx.b.let_(first);
            let here = match all % rows {
                0 => rows_e,
                _ => {
                    let left = cx.b.sub(end, first);
                    let here = cx.b.min(left, rows_e);
                    cx.b.let_(here)
                }
            };
            let y = ex!(cx.b; (first * {cx.b.i(w.stride[0])}) - {cx.b.i(w.begin[0])});
            let base = ex!(cx.b; {x.base} + ((y * {x.strides[0]}) + {cx.b.i(left)}));
            let source = Source {
                buf: x.buf,
                base: cx.b.let_(base),
                strides: x.strides.to_vec(),
                pitch: self.pitch,
                from: e.columns.start,
                width: Dim::Fixed(e.width()),
            };
            self.rows(cx, n, &source, first, here)
        })
    }

    /// Columns at an edge, between the rows above and below: a copy of what they read, whose strips run down.
    fn columns(
        &self,
        cx: &mut LowerCx,
        n: ExprId,
        x: Picture,
        e: &Edges,
        columns: Range<i64>,
    ) -> Result<()> {
        let w = &self.v.window;
        let (width, height) = (reach(self.v, 1, &columns), reach(self.v, 0, &e.rows));
        let line = width * self.pitch;
        let len = Dim::Fixed(height * line + self.form.beyond());
        let buf = cx.scratch_per_thread("columns", self.form.a_type, len);
        // Pixels of a line that lie in the input.
        let first = columns.start * w.stride[1] - w.begin[1];
        let before = (-first).clamp(0, width);
        let behind = (first + width - e.width).clamp(0, width - before);
        let top = e.rows.start * w.stride[0] - w.begin[0];
        let (height, line_e) = (cx.b.i(height), cx.b.i(line));
        cx.for_(height, LoopKind::Seq, |cx, r| {
            let b = &mut cx.b;
            let to = b.mul(r, line_e);
            let y = ex!(b; r + {b.i(top)});
            let from =
                ex!(b; {x.base} + ((y * {x.strides[0]}) + {b.i((first + before) * self.pitch)}));
            let from = b.let_(from);
            let parts = [before, width - before - behind, behind];
            let mut at = 0;
            for (part, pixels) in parts.into_iter().enumerate() {
                let to = ex!(b; to + {b.i(at * self.pitch)});
                let to = b.let_(to);
                let count = b.i(pixels * self.pitch);
                at += pixels;
                match part {
                    _ if pixels == 0 => {}
                    1 => self.copy(b, x.buf, from, buf, to, count),
                    _ => self.blank(b, buf, to, count),
                }
            }
            Ok(())
        })?;
        let strides = vec![line_e, cx.b.i(self.pitch)];
        let seg =
            ex!(cx.b; {strides[self.plan.seg_axis]} * {cx.b.i(w.dilation[self.plan.seg_axis])});
        let rows = e.rows.end - e.rows.start;
        let rows_e = cx.b.i(rows);
        let source = Source {
            buf,
            base: cx.b.i(0),
            strides,
            pitch: self.pitch,
            from: columns.start,
            width: Dim::Fixed(columns.end - columns.start),
        };
        for g in 0..self.v.group {
            for (at, p) in self.panels.iter().enumerate() {
                let (count, wide) = (cx.b.i(p.count), cx.b.i(columns.end - columns.start));
                cx.for_(count, LoopKind::Parallel, |cx, t| {
                    cx.for_(wide, LoopKind::Seq, |cx, column| {
                        let left = ex!(cx.b; (column * {cx.b.i(w.stride[1] * self.pitch)}) + {cx.b.i(g * self.v.cin)});
                        let left = cx.b.let_(left);
                        let most = i64::MAX / 4;
                        row_blocks(cx, Some(rows), rows_e, p.m, most, &mut |cx, y, tiles, m| {
                            let row = cx.b.i(w.stride[0] * line);
                            let a = ex!(cx.b; left + (y * row));
                            let a = cx.b.let_(a);
                            let index = vec![
                                n,
                                ex!(cx.b; y + {cx.b.i(e.rows.start)}),
                                ex!(cx.b; column + {cx.b.i(columns.start)}),
                            ];
                            let rows = Rows {
                                buf,
                                calls: self.calls(cx, &source, a),
                                row,
                                seg,
                                index,
                                axis: 1,
                                tiles,
                                m,
                            };
                            self.panel(cx, g, at, t, &rows)
                        })
                    })
                })?;
            }
        }
        Ok(())
    }
}
