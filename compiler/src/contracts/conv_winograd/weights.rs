//! Where products find transformed weights: in the object, or, of whole numbers, where the layer has just transformed them.
//!
//! Words of the transform are eight times the bytes that they are made of, those of F(2x2) four times. So an object holds the bytes. A layer that goes
//! through its weights few times transforms a panel when its turn comes, and multiplies it while it lies in the caches; one that goes through them for
//! many blocks transforms all of them first, unless that is a lot of memory.

use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::contracts::strip_plan::Panels;
use crate::contracts::winograd_filters::{Filters, TAPS};
use crate::ex;
use crate::kernel::{LowerCx, Tile};
use crate::loops::ir::{Arg, BufId, ExprId};

/// Bytes of transformed weights that a layer keeps, at most.
const MOST_KEPT: i64 = 2 << 20;

/// Pieces of a panel at most.
const PARTS: i64 = 8;

/// The weights of a convolution.
pub(super) struct Weights {
    /// As products read them: `[group][panel][plane][k][column]`, or one panel of that.
    pub buf: BufId,
    panels: Vec<Panels>,
    planes: i64,
    /// Elements of a column for one plane.
    depth: i64,
    late: Option<Late>,
}

/// Weights that are transformed by their layer.
struct Late {
    /// `[group][panel][vector][9][lane]`.
    filters: BufId,
    tile: &'static Tile,
    shape: Filters,
    /// All at once before the first block.
    kept: bool,
}

/// What a layer does with its weights.
pub(super) struct Use<'a> {
    pub m: i64,
    pub panels: &'a [Panels],
    pub groups: i64,
    /// Elements of a column for one plane.
    pub depth: i64,
    /// They are gone through for few blocks only.
    pub few_times: bool,
}

/// A panel.
#[derive(Clone, Copy)]
pub(super) struct Panel {
    /// Of which group of the convolution.
    pub g: i64,
    /// Of which of the widths.
    pub at: usize,
    /// Which of these.
    pub number: ExprId,
}

/// Vectors of a panel's plane.
struct Run {
    first: ExprId,
    count: i64,
}

/// Whether weights of so many panels can be transformed by vectors of `lanes` words.
pub(super) fn in_vectors(u: &Use, lanes: i64) -> bool {
    u.panels.iter().all(|p| p.padded * u.depth % lanes == 0)
}

impl Weights {
    /// Those that the object holds, `[group][panel][plane][k][column]`.
    pub(super) fn ready(buf: BufId, u: &Use) -> Weights {
        Weights {
            buf,
            panels: u.panels.to_vec(),
            planes: (u.m + 2) * (u.m + 2),
            depth: u.depth,
            late: None,
        }
    }
    /// Those that the layer transforms: `filters` are `[group][panel][vector][9][lane]`.
    pub(super) fn late(
        cx: &mut LowerCx,
        filters: BufId,
        tile: &'static Tile,
        shape: Filters,
        u: &Use,
    ) -> Weights {
        let late = Late {
            filters,
            tile,
            shape,
            kept: false,
        };
        let mut w = Weights {
            late: Some(late),
            ..Weights::ready(filters, u)
        };
        let each = w.panels.iter().map(|p| w.planes * w.plane(p));
        let all: i64 = each.clone().zip(&w.panels).map(|(e, p)| e * p.count).sum();
        let all = all * u.groups;
        let kept = !u.few_times && all * DType::I16.size() as i64 <= MOST_KEPT;
        w.buf = match kept {
            true => cx.scratch("transformed", DType::I16, Dim::Fixed(all)),
            false => {
                let widest = each.max().unwrap_or(1);
                cx.scratch_per_thread("transformed", DType::I16, Dim::Fixed(widest))
            }
        };
        if let Some(late) = &mut w.late {
            late.kept = kept;
        }
        w
    }
    /// Whether products read what was written just before.
    pub(super) fn is_near(&self) -> bool {
        self.late.as_ref().is_some_and(|l| !l.kept)
    }
    /// Elements from one plane of a panel to the next.
    pub(super) fn plane(&self, p: &Panels) -> i64 {
        let size = p.padded * self.depth;
        match self.late {
            None => size,
            Some(_) => super::apart(size, DType::I16),
        }
    }
    /// Transforms what is kept for all blocks.
    pub(super) fn prepare(&self, cx: &mut LowerCx, groups: i64) -> Result<()> {
        if !self.late.as_ref().is_some_and(|l| l.kept) {
            return Ok(());
        }
        for g in 0..groups {
            // In pieces of panels, so that threads have as much to do.
            let pieces = self.panels.iter().map(|p| p.count * self.parts(p)).sum();
            let pieces = cx.b.i(pieces);
            cx.parallel(pieces, |cx, piece| self.piece(cx, g, 0, piece))?;
        }
        Ok(())
    }
    /// Where products find a panel; it is transformed first, unless it was.
    pub(super) fn panel(&self, cx: &mut LowerCx, panel: Panel) -> ExprId {
        if self.is_near() {
            let start = cx.b.i(0);
            let run = Run {
                first: start,
                count: self.vectors(&self.panels[panel.at]),
            };
            self.transform(cx, panel, run, start);
            return start;
        }
        self.place(cx, panel)
    }
    /// Vectors of a panel's plane.
    fn vectors(&self, p: &Panels) -> i64 {
        let lanes = self.late.as_ref().map_or(1, |l| l.shape.lanes);
        p.padded * self.depth / lanes
    }
    /// Pieces of a panel.
    fn parts(&self, p: &Panels) -> i64 {
        let whole = |n: &i64| self.vectors(p) % n == 0;
        (1..=PARTS).rev().find(whole).unwrap_or(1)
    }
    /// Transforms a piece of the panels from those of width `at` on.
    fn piece(&self, cx: &mut LowerCx, g: i64, at: usize, piece: ExprId) -> Result<()> {
        let p = &self.panels[at];
        let parts = self.parts(p);
        let here = |cx: &mut LowerCx| {
            let parts_e = cx.b.i(parts);
            let (number, part) = (cx.b.div(piece, parts_e), cx.b.rem(piece, parts_e));
            let (number, part) = (cx.b.let_(number), cx.b.let_(part));
            let panel = Panel { g, at, number };
            let to = self.place(cx, panel);
            let count = self.vectors(p) / parts;
            let first = ex!(cx.b; part * {cx.b.i(count)});
            self.transform(cx, panel, Run { first, count }, to);
            Ok(())
        };
        if at + 1 == self.panels.len() {
            return here(cx);
        }
        let before = cx.b.i(p.count * parts);
        let is_here = cx.b.lt(piece, before);
        cx.if_(is_here, here, |cx| {
            let later = cx.b.sub(piece, before);
            let later = cx.b.let_(later);
            self.piece(cx, g, at + 1, later)
        })
    }
    /// Where a panel begins, if one has as many elements as `each` says.
    fn begin(&self, cx: &mut LowerCx, panel: Panel, each: impl Fn(&Panels) -> i64) -> ExprId {
        let Panel { g, at, number } = panel;
        let sum = |p: &[Panels]| -> i64 { p.iter().map(|p| p.count * each(p)).sum() };
        let before = sum(&self.panels[..at]) + g * sum(&self.panels);
        let begin = ex!(cx.b; (number * {cx.b.i(each(&self.panels[at]))}) + {cx.b.i(before)});
        cx.b.let_(begin)
    }
    fn place(&self, cx: &mut LowerCx, panel: Panel) -> ExprId {
        self.begin(cx, panel, |p| self.planes * self.plane(p))
    }
    /// Some vectors of a panel, which begins at `to`.
    fn transform(&self, cx: &mut LowerCx, panel: Panel, run: Run, to: ExprId) {
        let Some(late) = &self.late else { return };
        let lanes = late.shape.lanes;
        let from = self.begin(cx, panel, |p| TAPS * p.padded * self.depth);
        let from = ex!(cx.b; from + ({run.first} * {cx.b.i(TAPS * lanes)}));
        let to = ex!(cx.b; to + ({run.first} * {cx.b.i(lanes)}));
        let numbers = [run.count, self.plane(&self.panels[panel.at])];
        let ptr = |buf, offset| Arg::Ptr { buf, offset };
        let mut args = vec![ptr(late.filters, from), ptr(self.buf, to)];
        args.extend(numbers.map(|n| Arg::Int(cx.b.i(n))));
        cx.b.call(late.shape.callee(late.tile), args);
    }
}
