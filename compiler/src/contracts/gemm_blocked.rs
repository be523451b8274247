//! `gemm_f32_tile`: matrix products by a machine-code tile. Constant B is packed into panels at compile time; other B is
//! read where it lies, or copied once per matrix where it is transposed or its width is not known.
//!
//! A block of rows is computed into scratch and stored from there element by element while it is in the first cache.

use super::gemm::{View, copy_rows, macs};
use super::pack::{RowTiles, column_panels};
use super::strip_plan::weight_bytes;
use crate::base::costs::Work;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::ex;
use crate::kernel::{Kernel, LowerCx, Query, Tile};
use crate::loops::ir::{Arg, BufId, Callee, ExprId, LoopKind};

/// The row.
pub const ROW: Kernel = Kernel {
    name: "gemm_f32_tile",
    needs: &[],
    accepts,
    work: |q| Work::of(macs(q)).with_weights(weight_bytes(q), q.machine.l2),
    tails: true,
    emit,
};

/// Columns of one block: a row block of the result stays in the first cache.
const BLOCK_COLUMNS: i64 = 256;

fn accepts(q: &Query) -> bool {
    let f32s = |i: usize| matches!(q.inputs.get(i), Some(Some((t, _))) if t.dtype == DType::F32);
    // Without a sum there are no operands to point at.
    q.machine.tile("gemm_tile").is_some() && f32s(0) && f32s(1) && macs(q) > 0.0
}

/// A call of a `gemm_tile` of fixed size.
pub fn callee(tile: &Tile, m: i64, n: i64, accumulate: bool) -> Callee {
    Callee {
        kernel: tile.name.to_string(),
        contract: tile.contract.to_string(),
        shape: vec![
            ("m".into(), m),
            ("n".into(), n),
            ("accumulate".into(), i64::from(accumulate)),
        ],
    }
}

/// How B is read by the tile.
struct Columns {
    buf: BufId,
    base: ExprId,
    /// From one k to the next.
    k_stride: ExprId,
    /// From one column tile to the next.
    tile_stride: ExprId,
    /// Whether the last tile may be read in full width.
    padded: bool,
}

fn emit(cx: &mut LowerCx, q: &Query) -> Result<()> {
    let tile = cx
        .machine
        .tile("gemm_tile")
        .ok_or_else(|| Diagnostic::internal("no gemm_tile"))?;
    let (mr, nr) = tile.tile;
    let v = View::of_cx(cx, q)?;
    let b_in = cx.input(1)?.clone();
    let tiles =
        v.n.ceil_div(&Dim::Fixed(nr))
            .ok_or_else(|| Diagnostic::internal("a tile without columns"))?;
    let packed = match (&b_in.konst, v.k.fixed(), v.n.fixed()) {
        (Some(t), Some(k), Some(n)) => {
            pack_b(t, k, n, nr, v.tb).map(|t| cx.constant("b_panels", t))
        }
        _ => None,
    };
    let copied = (packed.is_none() && (v.tb || v.n.fixed().is_none())).then(|| {
        let len = tiles.clone() * Dim::Fixed(nr) * v.k.clone();
        cx.scratch_per_thread("b_rows", DType::F32, len)
    });
    let c = cx.scratch_per_thread(
        "c_block",
        DType::F32,
        Dim::Fixed(mr * BLOCK_COLUMNS.max(nr)),
    );
    let batch = v.batch.clone();
    cx.each(&batch, LoopKind::Seq, |cx, bi| {
        let a_base = v.a_base(&mut cx.b, bi);
        let a_base = cx.b.let_(a_base);
        let b_base = v.b_base(&mut cx.b, bi);
        let b_base = cx.b.let_(b_base);
        let (n, k, t) = (cx.b.dim(&v.n), cx.b.dim(&v.k), cx.b.dim(&tiles));
        let nr_e = cx.b.i(nr);
        let cols = if let Some(buf) = packed {
            // The panels of a matrix take tiles * nr * k elements where the matrix takes n * k.
            let matrix = ex!(cx.b; max((n * k), 1));
            let base = ex!(cx.b; (b_base / matrix) * ((t * nr_e) * k));
            Columns {
                buf,
                base: cx.b.let_(base),
                k_stride: nr_e,
                tile_stride: ex!(cx.b; nr_e * k),
                padded: true,
            }
        } else if let Some(buf) = copied {
            let ld = ex!(cx.b; t * nr_e);
            let ld = cx.b.let_(ld);
            copy_rows(cx, &v, b_base, buf, ld)?;
            Columns {
                buf,
                base: cx.b.i(0),
                k_stride: ld,
                tile_stride: nr_e,
                padded: true,
            }
        } else {
            Columns {
                buf: b_in.buf,
                base: b_base,
                k_stride: n,
                tile_stride: nr_e,
                padded: false,
            }
        };
        column_blocks(cx, &v, tile, bi, a_base, &cols, c)
    })
}

fn pack_b(t: &Tensor, k: i64, n: i64, nr: i64, tb: bool) -> Option<Tensor> {
    let w = t.to_f32s()?;
    let matrix = (k * n) as usize;
    let mut out = vec![];
    for m in w.chunks_exact(matrix.max(1)) {
        out.extend(column_panels(k, n, nr, |p, j| {
            m[if tb { j * k + p } else { p * n + j } as usize]
        }));
    }
    Some(Tensor::f32(&[out.len() as i64], &out))
}

fn column_blocks(
    cx: &mut LowerCx,
    v: &View,
    tile: &Tile,
    bi: &[ExprId],
    a_base: ExprId,
    cols: &Columns,
    c: BufId,
) -> Result<()> {
    let (mr, nr) = tile.tile;
    let per_block = (BLOCK_COLUMNS / nr).max(1);
    let width = per_block * nr;
    let n = cx.b.dim(&v.n);
    let blocks =
        v.n.ceil_div(&Dim::Fixed(width))
            .ok_or_else(|| Diagnostic::internal("a block without columns"))?;
    let blocks = cx.b.dim(&blocks);
    cx.for_(blocks, LoopKind::Seq, |cx, jb| {
        let width_e = cx.b.i(width);
        let j0 = ex!(cx.b; jb * width_e);
        let here = ex!(cx.b; n - j0);
        let here = cx.b.min(here, width_e);
        let here = cx.b.let_(here);
        let rows = |cx: &mut LowerCx, first: ExprId, count: i64| {
            row_tile(
                cx,
                v,
                tile,
                bi,
                a_base,
                cols,
                c,
                Block {
                    first,
                    count,
                    j0,
                    jb,
                    per_block,
                    here,
                },
            )
        };
        match v.m.fixed() {
            Some(m) => {
                for (first, count, size) in RowTiles::of(m, mr).groups() {
                    let count = cx.b.i(count);
                    cx.for_(count, LoopKind::Seq, |cx, t| {
                        let i = ex!(cx.b; (t * {cx.b.i(size)}) + {cx.b.i(first)});
                        rows(cx, i, size)
                    })?;
                }
                Ok(())
            }
            None => {
                let m = cx.b.dim(&v.m);
                let mr_e = cx.b.i(mr);
                let full = ex!(cx.b; m / mr_e);
                cx.for_(full, LoopKind::Seq, |cx, t| {
                    let i = cx.b.mul(t, mr_e);
                    rows(cx, i, mr)
                })?;
                let done = ex!(cx.b; full * mr_e);
                let rest = cx.b.sub(m, done);
                cx.for_(rest, LoopKind::Seq, |cx, t| {
                    let i = cx.b.add(done, t);
                    rows(cx, i, 1)
                })
            }
        }
    })
}

/// One block of the result.
struct Block {
    first: ExprId,
    count: i64,
    j0: ExprId,
    jb: ExprId,
    per_block: i64,
    here: ExprId,
}

#[allow(clippy::too_many_arguments)]
fn row_tile(
    cx: &mut LowerCx,
    v: &View,
    tile: &Tile,
    bi: &[ExprId],
    a_base: ExprId,
    cols: &Columns,
    c: BufId,
    block: Block,
) -> Result<()> {
    let nr = tile.tile.1;
    let a_buf = cx.input(0)?.buf;
    let (ars, aks) = v.a_strides();
    let (ars, aks, k) = (cx.b.dim(&ars), cx.b.dim(&aks), cx.b.dim(&v.k));
    // A sum whose length turns out to be 0 has no operands to point at either.
    let some = ex!(cx.b; 0 < k);
    let none = cx.b.i(0);
    let a_at = ex!(cx.b; a_base + ({block.first} * ars));
    let a_at = cx.b.select(some, a_at, none);
    let ld = cx.b.i(block.per_block * nr);
    let first_tile = ex!(cx.b; {block.jb} * {cx.b.i(block.per_block)});
    let call = |cx: &mut LowerCx, t: ExprId, n: i64| {
        let b_at = ex!(cx.b; {cols.base} + ((first_tile + t) * {cols.tile_stride}));
        let b_at = cx.b.select(some, b_at, none);
        let c_at = ex!(cx.b; t * {cx.b.i(nr)});
        let args = vec![
            Arg::Ptr {
                buf: a_buf,
                offset: a_at,
            },
            Arg::Int(ars),
            Arg::Int(aks),
            Arg::Ptr {
                buf: cols.buf,
                offset: b_at,
            },
            Arg::Int(cols.k_stride),
            Arg::Ptr {
                buf: c,
                offset: c_at,
            },
            Arg::Int(ld),
            Arg::Int(k),
        ];
        cx.b.call(callee(tile, block.count, n, false), args);
    };
    let nr_e = cx.b.i(nr);
    let here = block.here;
    if cols.padded {
        let tiles = ex!(cx.b; (here + {cx.b.i(nr - 1)}) / nr_e);
        cx.for_(tiles, LoopKind::Seq, |cx, t| {
            call(cx, t, nr);
            Ok(())
        })?;
    } else {
        let tiles = ex!(cx.b; here / nr_e);
        let tiles = cx.b.let_(tiles);
        cx.for_(tiles, LoopKind::Seq, |cx, t| {
            call(cx, t, nr);
            Ok(())
        })?;
        let rest = v.n.fixed().unwrap_or(0) % nr;
        if rest > 0 {
            let done = cx.b.mul(tiles, nr_e);
            let more = cx.b.lt(done, here);
            cx.if_(
                more,
                |cx| {
                    call(cx, tiles, rest);
                    Ok(())
                },
                |_| Ok(()),
            )?;
        }
    }
    for r in 0..block.count {
        let i = ex!(cx.b; {block.first} + {cx.b.i(r)});
        cx.for_(here, LoopKind::Lanes, |cx, x| {
            let at = ex!(cx.b; x + {cx.b.i(r * block.per_block * nr)});
            let sum = cx.b.load(c, at);
            let j = cx.b.add(block.j0, x);
            v.store(cx, bi, i, j, sum)
        })?;
    }
    Ok(())
}
