//! Where products find transformed weights: in the object, or where the layer has just transformed them.
//!
//! Transforms are four times the weights that they are made of, words eight times their bytes. In models with few weights they stay in the caches from
//! run to run, and the object holds them. Of others it holds the weights as they are. A layer that goes
//! through these few times transforms a panel when its turn comes, and multiplies it while it lies in the caches; one that goes through them for
//! many blocks transforms all of them first, unless that is a lot of memory.

use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::contracts::conv::View;
use crate::contracts::strip_plan::Panels;
use crate::contracts::winograd_filters::{Filters, TAPS, WINOGRAD_FILTERS, WINOGRAD_FILTERS_WORDS};
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
    own: Option<Own>,
}

/// Weights that their layer transforms.
struct Own {
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
    /// How the layer transforms them; `None`: the object holds transformed ones.
    pub late: Option<Late>,
}

/// How a layer transforms its weights.
#[derive(Clone, Copy)]
pub(super) struct Late {
    tile: &'static Tile,
    /// Elements of a vector of them.
    lanes: i64,
}

impl Late {
    /// Of a layer with planes of `made`; `None` where the object holds transformed weights: the model has few, or the machine can't.
    pub(super) fn of(cx: &LowerCx, made: DType) -> Option<Late> {
        let (contract, per_lane) = match made {
            DType::F32 => (&WINOGRAD_FILTERS, 1),
            _ => (&WINOGRAD_FILTERS_WORDS, 2),
        };
        let lanes = per_lane * cx.machine.vector?.lanes;
        let tile = cx.machine.tile(contract.name)?;
        let large = cx.weights.transformed > cx.machine.winograd.stored;
        (large || (made != DType::F32 && cx.counts_bytes())).then_some(Late { tile, lanes })
    }
}

/// Bytes of the weights of windows: of each panel, `planes` planes of what `of` makes of a window, packed by `pack`, which asks for (channel, column).
pub(super) fn each_panel<X, T: Copy + Default>(
    v: &View,
    u: &Use,
    filters: &[[X; 9]],
    planes: i64,
    of: impl Fn(&[X; 9]) -> Vec<T>,
    pack: impl Fn(&Panels, &dyn Fn(i64, i64) -> T) -> Vec<u8>,
) -> Vec<Vec<Vec<u8>>> {
    let cin = v.cin as usize;
    let numbered = |p: &Panels| (0..p.count).map(|i| (*p, i)).collect::<Vec<_>>();
    let mut out = vec![];
    for group in 0..v.group {
        for (p, number) in u.panels.iter().flat_map(numbered) {
            let one = Panels {
                first: p.first + number * p.n,
                count: 1,
                ..p
            };
            let first = (group * v.cout + one.first) as usize * cin;
            let wanted = filters.iter().skip(first).take(p.n as usize * cin);
            let panel: Vec<Vec<T>> = wanted.map(&of).collect();
            let packed = (0..planes as usize).map(|plane| {
                pack(&one, &|c, column| {
                    let at = (column - one.first) as usize * cin + c as usize;
                    let window = panel.get(at).filter(|_| c < v.cin);
                    window.map_or(T::default(), |u| u[plane])
                })
            });
            out.push(packed.collect());
        }
    }
    out
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

impl Weights {
    /// Those that the object holds, `[group][panel][plane][k][column]`.
    pub(super) fn ready(buf: BufId, u: &Use) -> Weights {
        Weights {
            buf,
            panels: u.panels.to_vec(),
            planes: (u.m + 2) * (u.m + 2),
            depth: u.depth,
            own: None,
        }
    }
    /// Those that the layer transforms: of each panel the nine weights of windows, elements of `stored`.
    pub(super) fn late(
        cx: &mut LowerCx,
        panels: Vec<Vec<Vec<u8>>>,
        stored: DType,
        late: Late,
        u: &Use,
    ) -> Result<Weights> {
        // Nine vectors side by side.
        let vector = late.lanes as usize * stored.size();
        let mut bytes = vec![];
        for taps in panels {
            let len = taps.first().map_or(0, Vec::len);
            for at in (0..len).step_by(vector) {
                for t in &taps {
                    bytes.extend(&t[at..at + vector]);
                }
            }
        }
        let n = (bytes.len() / stored.size()) as i64;
        let filters = cx.constant("filters", Tensor::new(stored, vec![n], bytes.into())?);
        let shape = Filters {
            m: u.m,
            lanes: late.lanes,
            stored,
        };
        let made = shape.made();
        let mut own = Own {
            filters,
            tile: late.tile,
            shape,
            kept: false,
        };
        let mut w = Weights::ready(filters, u);
        let each: Vec<i64> = u
            .panels
            .iter()
            .map(|p| w.planes * super::apart(p.padded * u.depth, made))
            .collect();
        let all: i64 = each.iter().zip(u.panels).map(|(e, p)| e * p.count).sum();
        let all = all * u.groups;
        own.kept = !u.few_times && all * made.size() as i64 <= MOST_KEPT;
        w.buf = match own.kept {
            true => cx.scratch("transformed", made, Dim::Fixed(all)),
            false => {
                let widest = each.iter().copied().max().unwrap_or(1);
                cx.scratch_per_thread("transformed", made, Dim::Fixed(widest))
            }
        };
        w.own = Some(own);
        Ok(w)
    }
    /// Whether products read what was written just before.
    pub(super) fn is_near(&self) -> bool {
        self.own.as_ref().is_some_and(|l| !l.kept)
    }
    /// Elements from one plane of a panel to the next.
    pub(super) fn plane(&self, p: &Panels) -> i64 {
        let size = p.padded * self.depth;
        match &self.own {
            None => size,
            Some(own) => super::apart(size, own.shape.made()),
        }
    }
    /// Transforms what is kept for all blocks.
    pub(super) fn prepare(&self, cx: &mut LowerCx, groups: i64) -> Result<()> {
        if !self.own.as_ref().is_some_and(|l| l.kept) {
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
        let lanes = self.own.as_ref().map_or(1, |l| l.shape.lanes);
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
        let Some(own) = &self.own else { return };
        let lanes = own.shape.lanes;
        let from = self.begin(cx, panel, |p| TAPS * p.padded * self.depth);
        let from = ex!(cx.b; from + ({run.first} * {cx.b.i(TAPS * lanes)}));
        let to = ex!(cx.b; to + ({run.first} * {cx.b.i(lanes)}));
        let numbers = [run.count, self.plane(&self.panels[panel.at])];
        let ptr = |buf, offset| Arg::Ptr { buf, offset };
        let mut args = vec![ptr(own.filters, from), ptr(self.buf, to)];
        args.extend(numbers.map(|n| Arg::Int(cx.b.i(n))));
        cx.b.call(own.shape.callee(own.tile), args);
    }
}
