//! How a Winograd convolution is cut: tiles to a block, columns to a panel, and what threads share.

use crate::base::dtype::DType;
use crate::contracts::conv::View;
use crate::contracts::strip_plan::Panels;
use crate::kernel::{LowerCx, Vector};

/// Columns of sums that are transformed back at a time, about; fewer leave room for words that were just transformed.
const COLUMNS: i64 = 64;
const COLUMNS_OF_LATE: i64 = 16;

/// Bytes of planes that a block may have at least where its layer transforms weights, and of a panel of these: caches behind the second one give them soon enough.
const LEAST_PLANES: i64 = 576 << 10;
const LEAST_NEAR: i64 = 512 << 10;
const LEAST_PANEL: i64 = 160 << 10;

/// Bytes of the second cache.
fn second_cache(cx: &LowerCx) -> i64 {
    i64::from(cx.machine.l2.max(256 << 10))
}

/// Bytes of transformed weights that lie between their transform and their products, in two parts.
pub(super) fn near(cx: &LowerCx) -> i64 {
    (second_cache(cx) / 2).max(LEAST_NEAR)
}

/// What decides how a layer is cut.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    /// Results of a tile along an axis.
    pub m: i64,
    /// Elements of planes and of their weights.
    pub planes: DType,
    /// The layer transforms its weights.
    pub late: bool,
}

impl Cut {
    /// Columns of sums at a time.
    fn columns(&self) -> i64 {
        match self.late {
            false => COLUMNS,
            true => COLUMNS_OF_LATE,
        }
    }

    /// Tiles of a block, of which threads take several (`shared`) or not.
    pub(super) fn block(&self, v: &View, cx: &LowerCx, total: i64, rows: i64, shared: bool) -> i64 {
        let planes = (self.m + 2) * (self.m + 2);
        let l2 = second_cache(cx);
        let sums = 4 * self.columns().min(v.cout);
        let each = planes * (self.planes.size() as i64 * v.cin + sums);
        let most = match self.late {
            false => (l2 / 2 / each).clamp(24, 48),
            // The more tiles, the less it matters that weights are transformed for each block.
            true => ((l2 / 8 * 5).max(LEAST_PLANES) / each).clamp(24, 56),
        };
        let blocks = (total + most - 1) / most;
        if shared {
            let blocks = blocks + (cx.threads - blocks % cx.threads) % cx.threads;
            return (total + blocks - 1) / blocks;
        }
        let even = (total + blocks - 1) / blocks;
        // Whole tiles of the product.
        ((even + rows - 1) / rows * rows).min(total)
    }

    /// Whether threads share blocks of tiles; of few tiles they share the columns. So they do where the layer transforms its weights and a block has
    /// all tiles: then each transforms its own.
    pub(super) fn by_blocks(&self, cx: &LowerCx, total: i64, panels: &[Panels]) -> bool {
        const LEAST: i64 = 6;
        const FEW: i64 = 24;
        let parts: i64 = panels.iter().map(|p| p.count).sum();
        let columns = self.late && total <= FEW && parts >= 2 * cx.threads;
        cx.threads > 1 && total >= LEAST * cx.threads && !columns
    }

    /// Vectors of a panel at most, whose weights take a quarter of the second cache: as many as divide most numbers of columns.
    pub(super) fn widest(&self, cx: &LowerCx, depth: i64, vector: &Vector) -> i64 {
        let planes = (self.m + 2) * (self.m + 2);
        let each = planes * depth * vector.lanes * self.planes.size() as i64;
        let most = (second_cache(cx) / 4).max(LEAST_PANEL) / each.max(1);
        // With a single vector, loads would be what takes longest.
        1 << most.max(2).ilog2()
    }

    /// Panels that are transformed back at a time: no more than leaves some to each of `sharers` threads.
    pub(super) fn chunk(&self, p: &Panels, sharers: i64) -> i64 {
        let most = (p.count + sharers - 1) / sharers;
        (self.columns() / p.padded).clamp(1, most.max(1))
    }
}

/// Whether a thread goes through the weights for so few blocks that it transforms them for each. To write all words to memory, or to have them from the
/// cache of the thread that did, takes as long as to make them some times.
pub(super) fn few_times(cx: &LowerCx, blocks: i64) -> bool {
    const TIMES: i64 = 3;
    blocks <= TIMES * cx.threads.max(1)
}
