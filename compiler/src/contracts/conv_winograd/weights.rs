//! Where products find transformed weights: in the object, or where the layer has just transformed them.
//!
//! Transforms are four times the floats that they are made of; in models with few of these they stay in the caches from run to run, and the object holds
//! them. Words are eight times their bytes. So an object holds bytes, and the floats of large models, as they are. A layer that goes through these few times transforms a panel when its turn comes, and multiplies it while it lies in the caches; one that goes through them for
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
    /// Else: channels at a time, of panels of each width.
    channels: Vec<i64>,
}

/// Channels of a part: as many as divide all evenly, up to `most` or so.
fn even(all: i64, most: i64) -> i64 {
    /// Sums that are interrupted more often take longer.
    const LEAST: i64 = 12;
    let mut sizes = (1..=all)
        .filter(|parts| all % (2 * parts) == 0)
        .map(|parts| all / parts);
    let found = sizes.find(|each| *each <= most.max(LEAST));
    found.filter(|each| *each >= LEAST).unwrap_or(all)
}

/// What a layer does with its weights.
pub(super) struct Use<'a> {
    pub m: i64,
    pub panels: &'a [Panels],
    pub groups: i64,
    /// Elements of a column for one plane.
    pub depth: i64,
    /// Bytes of transformed ones that stay near until they are multiplied.
    pub near: i64,
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
    /// Of a layer with planes of `made`; `None` where the object holds transformed weights: the model has few floats, or the machine can't.
    pub(super) fn of(cx: &LowerCx, made: DType) -> Option<Late> {
        let (contract, per_lane) = match made {
            DType::F32 => (&WINOGRAD_FILTERS, 1),
            _ => (&WINOGRAD_FILTERS_WORDS, 2),
        };
        let lanes = per_lane * cx.machine.vector?.lanes;
        let tile = cx.machine.tile(contract.name)?;
        let large = cx.weights.transformed > cx.machine.winograd.stored;
        (large || made != DType::F32).then_some(Late { tile, lanes })
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
            channels: vec![],
        };
        let mut w = Weights::ready(filters, u);
        let all: i64 = u
            .panels
            .iter()
            .map(|p| p.count * w.planes * super::apart(p.padded * u.depth, made))
            .sum();
        let all = all * u.groups;
        own.kept = !u.few_times && all * made.size() as i64 <= MOST_KEPT;
        if own.kept {
            w.buf = cx.scratch("transformed", made, Dim::Fixed(all));
        } else {
            let each = |p: &Panels| w.planes * p.padded * made.size() as i64;
            let channels = u.panels.iter().map(|p| even(u.depth, u.near / 2 / each(p)));
            own.channels = channels.collect();
            let sizes = u.panels.iter().zip(&own.channels);
            let sizes = sizes.map(|(p, c)| {
                let one = w.planes * super::apart(p.padded * c, made);
                if *c < u.depth { 2 * one } else { one }
            });
            let widest = Dim::Fixed(sizes.max().unwrap_or(1));
            w.buf = cx.scratch_per_thread("transformed", made, widest);
        }
        w.own = Some(own);
        Ok(w)
    }
    /// Whether products read what was written just before.
    pub(super) fn is_near(&self) -> bool {
        self.own.as_ref().is_some_and(|l| !l.kept)
    }
    /// Elements from one plane of a panel to the next; `at`: the panel's width.
    fn plane(&self, at: usize) -> i64 {
        let size = self.panels[at].padded * self.channels(at);
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
            let each = self.panels.iter().enumerate();
            let pieces = each.map(|(at, p)| p.count * self.pieces(at)).sum();
            let pieces = cx.b.i(pieces);
            cx.parallel(pieces, |cx, piece| self.piece(cx, g, 0, piece))?;
        }
        Ok(())
    }
    /// Channels that products take at a time, of panels of a width.
    pub(super) fn channels(&self, at: usize) -> i64 {
        let own = self.own.as_ref().and_then(|own| own.channels.get(at));
        own.copied().unwrap_or(self.depth)
    }
    /// Parts of a panel's channels; of weights that are transformed on the way, the first part is.
    pub(super) fn first(&self, cx: &mut LowerCx, panel: Panel) -> i64 {
        if self.is_near() {
            let first = cx.b.i(0);
            let count = cx.b.i(self.vectors(panel.at));
            self.transform(cx, panel, first, count, first);
        }
        self.depth / self.channels(panel.at).max(1)
    }
    /// Where products find a part, and elements from one plane to the next.
    pub(super) fn part(&self, cx: &mut LowerCx, panel: Panel, number: ExprId) -> (ExprId, i64) {
        let plane = self.plane(panel.at);
        match self.is_near() {
            true => (self.near(cx, panel.at, number), plane),
            false => (self.place(cx, panel), plane),
        }
    }
    /// Transforms of the part behind this one what is done beside products of plane `plane`: so weights come from memory, and words go to the second cache,
    /// while others are multiplied.
    pub(super) fn meanwhile(
        &self,
        cx: &mut LowerCx,
        panel: Panel,
        number: ExprId,
        plane: ExprId,
    ) -> Result<()> {
        let vectors = self.vectors(panel.at);
        let turns = (1..=self.planes)
            .rev()
            .find(|n| vectors % n == 0)
            .unwrap_or(1);
        let each = vectors / turns;
        let turns = cx.b.i(turns);
        let now = cx.b.lt(plane, turns);
        let next = ex!(cx.b; number + 1);
        let to = self.near(cx, panel.at, next);
        let within = ex!(cx.b; plane * {cx.b.i(each)});
        let within = cx.b.let_(within);
        cx.if_(
            now,
            |cx| {
                let first = ex!(cx.b; (next * {cx.b.i(vectors)}) + within);
                let to = ex!(cx.b; to + (within * {cx.b.i(self.lanes())}));
                let count = cx.b.i(each);
                self.transform(cx, panel, first, count, to);
                Ok(())
            },
            |_| Ok(()),
        )
    }
    /// Where a part lies once it is transformed: two of them take turns.
    fn near(&self, cx: &mut LowerCx, at: usize, number: ExprId) -> ExprId {
        let two = cx.b.i(2);
        let turn = cx.b.rem(number, two);
        let begin = ex!(cx.b; turn * {cx.b.i(self.planes * self.plane(at))});
        cx.b.let_(begin)
    }
    fn lanes(&self) -> i64 {
        self.own.as_ref().map_or(1, |own| own.shape.lanes)
    }
    /// Vectors of a plane of a part.
    fn vectors(&self, at: usize) -> i64 {
        self.panels[at].padded * self.channels(at) / self.lanes()
    }
    /// Pieces of a panel.
    fn pieces(&self, at: usize) -> i64 {
        let whole = |n: &i64| self.vectors(at) % n == 0;
        (1..=PARTS).rev().find(whole).unwrap_or(1)
    }
    /// Transforms a piece of the panels from those of width `at` on.
    fn piece(&self, cx: &mut LowerCx, g: i64, at: usize, piece: ExprId) -> Result<()> {
        let pieces = self.pieces(at);
        let here = |cx: &mut LowerCx| {
            let pieces_e = cx.b.i(pieces);
            let (number, part) = (cx.b.div(piece, pieces_e), cx.b.rem(piece, pieces_e));
            let (number, part) = (cx.b.let_(number), cx.b.let_(part));
            let panel = Panel { g, at, number };
            let to = self.place(cx, panel);
            let count = cx.b.i(self.vectors(at) / pieces);
            let first = cx.b.mul(part, count);
            let first = cx.b.let_(first);
            let to = ex!(cx.b; to + (first * {cx.b.i(self.lanes())}));
            self.transform(cx, panel, first, count, to);
            Ok(())
        };
        if at + 1 == self.panels.len() {
            return here(cx);
        }
        let before = cx.b.i(self.panels[at].count * pieces);
        let is_here = cx.b.lt(piece, before);
        cx.if_(is_here, here, |cx| {
            let later = cx.b.sub(piece, before);
            let later = cx.b.let_(later);
            self.piece(cx, g, at + 1, later)
        })
    }
    /// Where a panel begins, if one of a width has as many elements as `each` says.
    fn begin(&self, cx: &mut LowerCx, panel: Panel, each: impl Fn(usize) -> i64) -> ExprId {
        let Panel { g, at, number } = panel;
        let sum = |to: usize| -> i64 { (0..to).map(|i| self.panels[i].count * each(i)).sum() };
        let before = sum(at) + g * sum(self.panels.len());
        let begin = ex!(cx.b; (number * {cx.b.i(each(at))}) + {cx.b.i(before)});
        cx.b.let_(begin)
    }
    fn place(&self, cx: &mut LowerCx, panel: Panel) -> ExprId {
        self.begin(cx, panel, |at| self.planes * self.plane(at))
    }
    /// Some vectors of a panel, which are written to `to`.
    fn transform(&self, cx: &mut LowerCx, panel: Panel, first: ExprId, count: ExprId, to: ExprId) {
        let Some(own) = &self.own else { return };
        let lanes = self.lanes();
        let from = self.begin(cx, panel, |at| TAPS * self.panels[at].padded * self.depth);
        let from = ex!(cx.b; from + (first * {cx.b.i(TAPS * lanes)}));
        let ptr = |buf, offset| Arg::Ptr { buf, offset };
        let mut args = vec![ptr(own.filters, from), ptr(self.buf, to)];
        args.extend([count, cx.b.i(self.plane(panel.at))].map(Arg::Int));
        cx.b.call(own.shape.callee(own.tile), args);
    }
}
