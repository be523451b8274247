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
    pub panels: &'a [Panels],
    pub groups: i64,
    /// Elements of a column for one plane.
    pub depth: i64,
    /// They are gone through for few blocks only.
    pub few_times: bool,
}

/// Vectors of a panel's plane.
struct Run {
    first: ExprId,
    count: i64,
}

/// Whether weights of so many panels can be transformed by vectors of `lanes` words.
pub(super) fn in_vectors(panels: &[Panels], depth: i64, lanes: i64) -> bool {
    panels.iter().all(|p| p.padded * depth % lanes == 0)
}

impl Weights {
    /// Those that the object holds, `[group][panel][plane][k][column]`.
    pub(super) fn ready(buf: BufId, m: i64, depth: i64) -> Weights {
        Weights {
            buf,
            planes: (m + 2) * (m + 2),
            depth,
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
        let planes = (shape.m + 2) * (shape.m + 2);
        let sizes = u.panels.iter().map(|p| p.padded * u.depth);
        let each = sizes.map(|size| planes * apart(size));
        let all: i64 = each.clone().zip(u.panels).map(|(e, p)| e * p.count).sum();
        let all = all * u.groups;
        let kept = !u.few_times && all * DType::I16.size() as i64 <= MOST_KEPT;
        let buf = match kept {
            true => cx.scratch("transformed", DType::I16, Dim::Fixed(all)),
            false => {
                let widest = each.max().unwrap_or(1);
                cx.scratch_per_thread("transformed", DType::I16, Dim::Fixed(widest))
            }
        };
        let late = Late {
            filters,
            tile,
            shape,
            kept,
        };
        Weights {
            buf,
            planes,
            depth: u.depth,
            late: Some(late),
        }
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
            Some(_) => apart(size),
        }
    }
    /// Elements before the panels `at` of a group, where a panel has as many as `each` says.
    fn before(panels: &[Panels], at: usize, g: i64, each: impl Fn(&Panels) -> i64) -> i64 {
        let sum = |p: &[Panels]| -> i64 { p.iter().map(|p| p.count * each(p)).sum() };
        sum(&panels[..at]) + g * sum(panels)
    }
    /// Transforms what is kept for all blocks.
    pub(super) fn prepare(&self, cx: &mut LowerCx, panels: &[Panels], groups: i64) -> Result<()> {
        if !self.late.as_ref().is_some_and(|l| l.kept) {
            return Ok(());
        }
        for g in 0..groups {
            // In pieces of panels, so that threads have as much to do.
            let pieces = panels.iter().map(|p| p.count * self.parts(p)).sum();
            let pieces = cx.b.i(pieces);
            cx.parallel(pieces, |cx, piece| self.piece(cx, panels, 0, g, piece))?;
        }
        Ok(())
    }
    /// Pieces of a panel.
    fn parts(&self, p: &Panels) -> i64 {
        let whole = |n: &i64| self.vectors(p) % n == 0;
        (1..=PARTS).rev().find(whole).unwrap_or(1)
    }
    /// Transforms a piece of the panels from `at` on.
    fn piece(
        &self,
        cx: &mut LowerCx,
        panels: &[Panels],
        at: usize,
        g: i64,
        piece: ExprId,
    ) -> Result<()> {
        let p = &panels[at];
        let parts = self.parts(p);
        let here = |cx: &mut LowerCx| {
            let parts_e = cx.b.i(parts);
            let (number, part) = (cx.b.div(piece, parts_e), cx.b.rem(piece, parts_e));
            let (number, part) = (cx.b.let_(number), cx.b.let_(part));
            let to = self.place(cx, panels, at, g, number);
            let count = self.vectors(p) / parts;
            let first = ex!(cx.b; part * {cx.b.i(count)});
            self.transform(cx, panels, at, g, number, Run { first, count }, to);
            Ok(())
        };
        if at + 1 == panels.len() {
            return here(cx);
        }
        let before = cx.b.i(p.count * parts);
        let is_here = cx.b.lt(piece, before);
        cx.if_(is_here, here, |cx| {
            let later = cx.b.sub(piece, before);
            let later = cx.b.let_(later);
            self.piece(cx, panels, at + 1, g, later)
        })
    }
    /// Where products find panel `number` of `panels[at]`; it is transformed first, unless it was.
    pub(super) fn panel(
        &self,
        cx: &mut LowerCx,
        panels: &[Panels],
        at: usize,
        g: i64,
        number: ExprId,
    ) -> ExprId {
        if self.is_near() {
            let start = cx.b.i(0);
            let run = Run {
                first: start,
                count: self.vectors(&panels[at]),
            };
            self.transform(cx, panels, at, g, number, run, start);
            return start;
        }
        self.place(cx, panels, at, g, number)
    }
    fn place(
        &self,
        cx: &mut LowerCx,
        panels: &[Panels],
        at: usize,
        g: i64,
        number: ExprId,
    ) -> ExprId {
        let each = |p: &Panels| self.planes * self.plane(p);
        let before = Self::before(panels, at, g, each);
        let place = ex!(cx.b; (number * {cx.b.i(each(&panels[at]))}) + {cx.b.i(before)});
        cx.b.let_(place)
    }
    /// Vectors of a panel's plane.
    fn vectors(&self, p: &Panels) -> i64 {
        let lanes = self.late.as_ref().map_or(1, |l| l.shape.lanes);
        p.padded * self.depth / lanes
    }
    /// Some vectors of a panel.
    #[allow(clippy::too_many_arguments)]
    fn transform(
        &self,
        cx: &mut LowerCx,
        panels: &[Panels],
        at: usize,
        g: i64,
        number: ExprId,
        run: Run,
        to: ExprId,
    ) {
        let Some(late) = &self.late else { return };
        let lanes = late.shape.lanes;
        let each = |p: &Panels| TAPS * p.padded * self.depth;
        let before = Self::before(panels, at, g, each);
        let from = ex!(cx.b; (number * {cx.b.i(each(&panels[at]))}) + {cx.b.i(before)});
        let from = ex!(cx.b; from + ({run.first} * {cx.b.i(TAPS * lanes)}));
        let to = ex!(cx.b; to + ({run.first} * {cx.b.i(lanes)}));
        let numbers = [run.count, self.plane(&panels[at])];
        let ptr = |buf, offset| Arg::Ptr { buf, offset };
        let mut args = vec![ptr(late.filters, from), ptr(self.buf, to)];
        args.extend(numbers.map(|n| Arg::Int(cx.b.i(n))));
        cx.b.call(late.shape.callee(late.tile), args);
    }
}

/// The distance of planes of words.
fn apart(words: i64) -> i64 {
    super::apart(words, DType::I16)
}
