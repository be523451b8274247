//! How the rows of a product are gone through: parts for threads, blocks that stay near, tiles.

use super::pack::RowTiles;
use crate::base::diag::Result;
use crate::kernel::LowerCx;
use crate::loops::ir::{ExprId, LoopKind};

/// Calls `f` with (first row, rows, rows at run time) for a part of the rows for each thread, if there are enough: whole rows of the result, which
/// the next layer reads, stay with who made them. Else once for all of them.
pub fn row_parts(
    cx: &mut LowerCx,
    rows: Option<i64>,
    rows_at_run_time: ExprId,
    m: i64,
    f: &mut dyn FnMut(&mut LowerCx, ExprId, Option<i64>, ExprId) -> Result<()>,
) -> Result<()> {
    let threads = cx.threads;
    let Some(all) = rows.filter(|r| threads > 1 && *r >= 4 * threads * m) else {
        let zero = cx.b.i(0);
        return f(cx, zero, rows, rows_at_run_time);
    };
    let part = (all + threads - 1) / threads;
    let (count, rest) = (all / part, all % part);
    let (part_e, count_e) = (cx.b.i(part), cx.b.i(count));
    cx.for_(count_e, LoopKind::Parallel, |cx, p| {
        let first = cx.b.mul(p, part_e);
        let first = cx.b.let_(first);
        f(cx, first, Some(part), part_e)
    })?;
    if rest == 0 {
        return Ok(());
    }
    let (first, here) = (cx.b.i(count * part), cx.b.i(rest));
    f(cx, first, Some(rest), here)
}

/// Cuts rows into tiles and these into blocks: calls `f` with (first row, tiles, rows of a tile) for each block. `rows` of
/// unknown number are cut into whole tiles and single rows.
pub fn row_blocks(
    cx: &mut LowerCx,
    rows: Option<i64>,
    rows_at_run_time: ExprId,
    m: i64,
    block: i64,
    f: &mut dyn FnMut(&mut LowerCx, ExprId, ExprId, i64) -> Result<()>,
) -> Result<()> {
    let per = (block / m).max(1);
    let mut region = |cx: &mut LowerCx, first: ExprId, tiles: ExprId, size: i64| -> Result<()> {
        let known = cx.b.as_i64(tiles);
        // Blocks of equal size.
        let per = match known {
            Some(t) if t > per => {
                let blocks = (t + per - 1) / per;
                (t + blocks - 1) / blocks
            }
            _ => per,
        };
        let (per_e, size_e) = (cx.b.i(per), cx.b.i(size));
        if known.is_some_and(|t| t <= per) {
            return f(cx, first, tiles, size);
        }
        let more = cx.b.i(per - 1);
        let blocks = cx.b.add(tiles, more);
        let blocks = cx.b.div(blocks, per_e);
        cx.for_(blocks, LoopKind::Seq, |cx, t| {
            let done = cx.b.mul(t, per_e);
            let left = cx.b.sub(tiles, done);
            let here = match known {
                Some(t) if t % per == 0 => per_e,
                _ => cx.b.min(left, per_e),
            };
            let at = cx.b.mul(done, size_e);
            let at = cx.b.add(first, at);
            let at = cx.b.let_(at);
            f(cx, at, here, size)
        })
    };
    match rows {
        Some(rows) => {
            for (first, count, size) in RowTiles::of(rows, m).groups() {
                let (first, count) = (cx.b.i(first), cx.b.i(count));
                region(cx, first, count, size)?;
            }
            Ok(())
        }
        None => {
            let m_e = cx.b.i(m);
            let tiles = cx.b.div(rows_at_run_time, m_e);
            let tiles = cx.b.let_(tiles);
            let zero = cx.b.i(0);
            region(cx, zero, tiles, m)?;
            if m == 1 {
                return Ok(());
            }
            let done = cx.b.mul(tiles, m_e);
            let done = cx.b.let_(done);
            let rest = cx.b.sub(rows_at_run_time, done);
            let rest = cx.b.let_(rest);
            region(cx, done, rest, 1)
        }
    }
}
