//! `conv_f32_gemm`: a convolution as a product of the weights, packed at compile time, with a strip of input columns.
//!
//! Output positions are taken in strips of whole rows (or parts of one long row). For each strip the window elements are
//! laid out in scratch as `[cin * taps][columns]`; a 1x1 window needs that too, since rows as far apart as whole planes would
//! cost a page each. Each row tile of the product is stored from scratch while it is in the first cache.

use super::conv::{View, macs};
use super::gemm_blocked::callee;
use super::pack::{RowTiles, row_panels};
use super::strip_plan::weight_bytes;
use crate::base::costs::Work;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::ex;
use crate::kernel::{Kernel, LowerCx, Query, Tile};
use crate::loops::build::Builder;
use crate::loops::ir::{Arg, BufId, ExprId, LoopKind};

/// The row.
pub const ROW: Kernel = Kernel {
    name: "conv_f32_gemm",
    needs: &[],
    accepts,
    work,
    tails: true,
    emit,
};

/// Columns of a strip, about.
const STRIP: i64 = 240;

fn accepts(q: &Query) -> bool {
    // Halves become f32 on their way into the strip; their weights must be known, to be packed as f32.
    let fits = match (q.inputs.first(), q.inputs.get(1)) {
        (Some(Some((x, _))), Some(Some((w, konst)))) => match x.dtype {
            DType::F32 => w.dtype == DType::F32 || konst.is_some(),
            DType::F16 | DType::BF16 => konst.is_some(),
            _ => false,
        },
        _ => false,
    };
    q.machine.tile("gemm_tile").is_some()
        && fits
        && View::of(q).is_ok_and(|v| v.window.rank() >= 1 && !v.channels_last)
}

fn work(q: &Query) -> Work {
    let rows = View::of(q).map_or(1, |v| v.cout).max(1) as f64;
    Work {
        // Every column is laid out.
        transforms: macs(q) / rows,
        ..Work::of(macs(q))
    }
    .with_weights(weight_bytes(q), q.machine.l2)
}

/// How output positions are cut into strips.
struct Strips {
    /// Rows of a strip, and of the whole.
    rows: i64,
    all_rows: Dim,
    /// Columns of a strip's row, and of a whole row.
    cols: i64,
    all_cols: Dim,
    /// Columns from one k to the next in scratch: an odd number of cache lines, so that they spread over the sets.
    ld: i64,
}

impl Strips {
    fn of(v: &View, nr: i64, k: i64, l2: u32) -> Strips {
        let rank = v.window.rank();
        let all_cols = v.window.out[rank - 1].clone();
        let all_rows: Dim = v.window.out[..rank - 1].iter().cloned().product();
        // Half of the second cache for the strip.
        let fit = i64::from(l2.max(128 << 10)) / 2 / 4 / k.max(1);
        let room = fit.clamp(2 * nr, STRIP.max(2 * nr));
        let cols = match all_cols.fixed() {
            Some(c) => {
                let parts = ((c + room - 1) / room).max(1);
                ((c + parts - 1) / parts).max(1)
            }
            None => room,
        };
        let rows = match (all_cols.fixed(), all_rows.fixed()) {
            (Some(c), r) if c <= cols => {
                let most = (room / cols).max(1);
                match r {
                    Some(r) => {
                        let parts = ((r + most - 1) / most).max(1);
                        ((r + parts - 1) / parts).max(1)
                    }
                    None => most,
                }
            }
            _ => 1,
        };
        let tiles = (rows * cols + nr - 1) / nr;
        let line = 16;
        let mut lines = (tiles * nr + line - 1) / line;
        if lines % 2 == 0 {
            lines += 1;
        }
        Strips {
            rows,
            all_rows,
            cols,
            all_cols,
            ld: lines * line,
        }
    }
}

/// One strip at run time.
struct Strip {
    /// First row and column.
    row: ExprId,
    col: ExprId,
    /// Rows and columns that exist.
    rows: ExprId,
    cols: ExprId,
}

fn emit(cx: &mut LowerCx, q: &Query) -> Result<()> {
    let tile = cx
        .machine
        .tile("gemm_tile")
        .ok_or_else(|| Diagnostic::internal("no gemm_tile"))?;
    let (mr, nr) = tile.tile;
    let v = View::of(q)?;
    let k = v.cin * v.taps();
    let strips = Strips::of(&v, nr, k, cx.machine.l2);
    let tiles = RowTiles::of(v.cout, mr);
    let packed = match &cx.input(1)?.konst {
        Some(t) => t.to_f32s().map(|w| {
            let mut p = vec![];
            for g in 0..v.group {
                let first = g * v.cout * k;
                p.extend(row_panels(tiles, k, |i, j| w[(first + i * k + j) as usize]));
            }
            Tensor::f32(&[p.len() as i64], &p)
        }),
        None => None,
    };
    let packed = packed.map(|t| cx.constant("w_panels", t));
    let w_buf = match packed {
        Some(p) => p,
        None => cx.input(1)?.buf,
    };
    let b_strip = cx.scratch_per_thread("columns", DType::F32, Dim::Fixed((k * strips.ld).max(1)));
    let c_block = cx.scratch_per_thread("c_block", DType::F32, Dim::Fixed(mr * strips.ld));
    let per = |all: &Dim, one: i64| {
        all.ceil_div(&Dim::Fixed(one))
            .ok_or_else(|| Diagnostic::internal("an empty strip"))
    };
    let outer = [
        v.n.clone(),
        Dim::Fixed(v.group),
        per(&strips.all_rows, strips.rows)?,
        per(&strips.all_cols, strips.cols)?,
    ];
    cx.each(&outer, LoopKind::Seq, |cx, at| {
        let (n, g) = (at[0], at[1]);
        let b = &mut cx.b;
        let (rs, cs) = (b.i(strips.rows), b.i(strips.cols));
        let (ra, ca) = (b.dim(&strips.all_rows), b.dim(&strips.all_cols));
        let row = ex!(b; {at[2]} * rs);
        let col = ex!(b; {at[3]} * cs);
        let whole = |d: &Dim, one: i64| d.fixed().is_some_and(|d| d % one == 0);
        let rows = if whole(&strips.all_rows, strips.rows) {
            rs
        } else {
            let r = ex!(b; min((ra - row), rs));
            b.let_(r)
        };
        let cols = if whole(&strips.all_cols, strips.cols) {
            cs
        } else {
            let c = ex!(b; min((ca - col), cs));
            b.let_(c)
        };
        let strip = Strip {
            row,
            col,
            rows,
            cols,
        };
        lay_out(cx, &v, &strips, &strip, n, g, b_strip, nr)?;
        for (first, count, size) in tiles.groups() {
            let count = cx.b.i(count);
            cx.for_(count, LoopKind::Seq, |cx, t| {
                let i = ex!(cx.b; (t * {cx.b.i(size)}) + {cx.b.i(first)});
                let i = cx.b.let_(i);
                let bufs = Bufs {
                    w: w_buf,
                    packed: packed.is_some(),
                    columns: b_strip,
                    c: c_block,
                };
                row_tile(cx, &v, &strips, &strip, tile, n, g, i, size, &bufs)
            })?;
        }
        Ok(())
    })
}

/// Index of every outer spatial axis from the number of a row.
fn row_index(b: &mut Builder, v: &View, row: ExprId) -> Vec<ExprId> {
    let outer = &v.window.out[..v.window.rank() - 1];
    b.unoffset(outer, row)
}

/// Fills `[cin * taps][columns]` for one strip, zeros where a window leaves the input and behind the last column.
#[allow(clippy::too_many_arguments)]
fn lay_out(
    cx: &mut LowerCx,
    v: &View,
    strips: &Strips,
    strip: &Strip,
    n: ExprId,
    g: ExprId,
    into: BufId,
    nr: i64,
) -> Result<()> {
    let w = &v.window;
    let last = w.rank() - 1;
    let x_buf = cx.input(0)?.buf;
    let x_shape = cx.in_shape(0)?;
    let mut taps = vec![v.cin];
    taps.extend(&w.kernel);
    super::conv::seq(cx, &taps, |cx, k| {
        let b = &mut cx.b;
        let mut line = k[0];
        for (i, &x) in k[1..].iter().enumerate() {
            line = ex!(b; (line * {b.i(w.kernel[i])}) + x);
        }
        let line = ex!(b; line * {b.i(strips.ld)});
        let line = b.let_(line);
        let c = ex!(b; (g * {b.i(v.cin)}) + {k[0]});
        // Along the row, input column = (col + j) * stride + shift; it is inside for j in lo..hi.
        let (s, width) = (w.stride[last], b.dim(&v.input[last]));
        let kx = *k.last().unwrap_or(&c);
        let shift = ex!(b; ((kx * {b.i(w.dilation[last])}) - {b.i(w.begin[last])}) + ({strip.col} * {b.i(s)}));
        let shift = b.let_(shift);
        let (lo, hi) = if super::conv::can_leave(w, last, &v.input[last]) {
            let (s1, se, zero) = (b.i(s - 1), b.i(s), b.i(0));
            let lo = ex!(b; (s1 - shift) / se);
            let lo = b.clamp(lo, zero, strip.cols);
            let lo = b.let_(lo);
            let hi = ex!(b; ((width - shift) + s1) / se);
            let hi = b.clamp(hi, lo, strip.cols);
            (lo, b.let_(hi))
        } else {
            (b.i(0), strip.cols)
        };
        cx.for_(strip.rows, LoopKind::Seq, |cx, r| {
            let b = &mut cx.b;
            let row = ex!(b; {strip.row} + r);
            let o = row_index(b, v, row);
            let to = ex!(b; line + (r * {strip.cols}));
            let to = b.let_(to);
            let zero = b.f(0.0);
            let mut ok = b.bool(true);
            let mut index = vec![n, c];
            for (i, &o) in o.iter().enumerate() {
                let y = super::conv::tap(b, w, i, o, k[1 + i]);
                let y = b.let_(y);
                if super::conv::can_leave(w, i, &v.input[i]) {
                    let (z, d) = (b.i(0), b.dim(&v.input[i]));
                    let c = b.in_range(y, z, d);
                    ok = b.and(ok, c);
                }
                index.push(y);
            }
            index.push(shift);
            let from = b.offset(&x_shape, &index);
            let fill = |b: &mut Builder, from: ExprId, until: ExprId| {
                let len = b.sub(until, from);
                b.for_(len, LoopKind::Lanes, |b, j| {
                    let at = ex!(b; (to + from) + j);
                    b.store(into, at, zero);
                });
            };
            let none = b.i(0);
            b.if_(
                ok,
                |b| {
                    let from = b.let_(from);
                    fill(b, none, lo);
                    let len = b.sub(hi, lo);
                    b.for_(len, LoopKind::Lanes, |b, j| {
                        let j = b.add(j, lo);
                        let at = ex!(b; from + (j * {b.i(s)}));
                        let x = b.load(x_buf, at);
                        let at = b.add(to, j);
                        b.store(into, at, x);
                    });
                    fill(b, hi, strip.cols);
                },
                |b| fill(b, none, strip.cols),
            );
            Ok(())
        })?;
        // Behind the last column up to the end of its tile.
        let b = &mut cx.b;
        let used = b.mul(strip.rows, strip.cols);
        let tiles = ex!(b; (used + {b.i(nr - 1)}) / {b.i(nr)});
        let rest = ex!(b; (tiles * {b.i(nr)}) - used);
        b.for_(rest, LoopKind::Lanes, |b, j| {
            let at = ex!(b; (line + used) + j);
            let zero = b.f(0.0);
            b.store(into, at, zero);
        });
        Ok(())
    })
}

/// The buffers of a product.
struct Bufs {
    w: BufId,
    packed: bool,
    columns: BufId,
    c: BufId,
}

#[allow(clippy::too_many_arguments)]
fn row_tile(
    cx: &mut LowerCx,
    v: &View,
    strips: &Strips,
    strip: &Strip,
    tile: &Tile,
    n: ExprId,
    g: ExprId,
    first: ExprId,
    count: i64,
    bufs: &Bufs,
) -> Result<()> {
    let nr = tile.tile.1;
    let k = v.cin * v.taps();
    let b = &mut cx.b;
    let row0 = ex!(b; (g * {b.i(v.cout)}) + first);
    let row0 = b.let_(row0);
    let a_at = ex!(b; row0 * {b.i(k)});
    let (ars, aks) = if bufs.packed {
        (b.i(1), b.i(count))
    } else {
        (b.i(k), b.i(1))
    };
    let (ke, ld) = (b.i(k), b.i(strips.ld));
    let used = b.mul(strip.rows, strip.cols);
    let tiles = ex!(b; (used + {b.i(nr - 1)}) / {b.i(nr)});
    b.for_(tiles, LoopKind::Seq, |b, t| {
        let at = ex!(b; t * {b.i(nr)});
        let args = vec![
            Arg::Ptr {
                buf: bufs.w,
                offset: a_at,
            },
            Arg::Int(ars),
            Arg::Int(aks),
            Arg::Ptr {
                buf: bufs.columns,
                offset: at,
            },
            Arg::Int(ld),
            Arg::Ptr {
                buf: bufs.c,
                offset: at,
            },
            Arg::Int(ld),
            Arg::Int(ke),
        ];
        b.call(callee(tile, count, nr, false), args);
    });
    for i in 0..count {
        let oc = ex!(cx.b; row0 + {cx.b.i(i)});
        cx.for_(strip.rows, LoopKind::Seq, |cx, r| {
            let row = ex!(cx.b; {strip.row} + r);
            let outer: Vec<ExprId> = row_index(&mut cx.b, v, row)
                .into_iter()
                .map(|o| cx.b.let_(o))
                .collect();
            let line = ex!(cx.b; (r * {strip.cols}) + {cx.b.i(i * strips.ld)});
            let line = cx.b.let_(line);
            cx.for_(strip.cols, LoopKind::Lanes, |cx, j| {
                let at = cx.b.add(line, j);
                let sum = cx.b.load(bufs.c, at);
                let mut index = vec![n, oc];
                index.extend(&outer);
                index.push(ex!(cx.b; {strip.col} + j));
                v.store(cx, &index, sum)
            })
        })?;
    }
    Ok(())
}
