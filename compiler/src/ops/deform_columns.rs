//! DeformConv over an image of known size: what a piece of the output reads is gathered, a row for each channel and element of the window, and
//! products are made of these rows. Where a position looks is found once for all channels that share its offsets.

use super::util::in_pieces;
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::contracts::window::Window;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::build::Builder;
use crate::loops::ir::{BufId, ExprId, LoopKind, Ty, UnOp};

/// Positions of the output in a piece.
const PIECE: i64 = 64;
/// Channels of the output that are made side by side.
const TOGETHER: i64 = 4;

/// What is convolved.
pub struct Sizes {
    pub images: i64,
    /// Rows and columns of an image.
    pub image: (i64, i64),
    /// Channels that share their offsets, and how many groups of such there are.
    pub channels: i64,
    pub offset_groups: i64,
    pub groups: i64,
    /// Channels of a group: of the output, and of the input.
    pub outs: i64,
    pub ins: i64,
    pub window: (i64, i64),
    /// Rows and columns of the output.
    pub out: (i64, i64),
}

impl Sizes {
    fn taps(&self) -> i64 {
        self.window.0 * self.window.1
    }
}

/// Where the positions of a piece look, for one element of the window.
struct Looks {
    /// The upper left of four neighbours in its plane. Beyond the image it says nothing.
    places: BufId,
    /// Weights of the neighbours, and whether each of them is there.
    weights: [BufId; 4],
    there: [BufId; 4],
    /// Whether all of them are.
    inside: BufId,
}

/// Writes the loops. Tails are taken where something else follows.
pub fn lower(cx: &mut LowerCx, s: &Sizes, window: &Window) -> Result<()> {
    let ty = cx.in_ty(0)?;
    let dtype = if ty == Ty::F64 {
        DType::F64
    } else {
        DType::F32
    };
    let piece = |n: i64| Dim::Fixed(n * PIECE);
    let rows = cx.scratch_per_thread(
        "columns",
        dtype,
        piece(s.channels * s.offset_groups * s.taps()),
    );
    let looks = Looks {
        places: cx.scratch_per_thread("places", DType::I64, piece(1)),
        weights: [(); 4].map(|()| cx.scratch_per_thread("weights", dtype, piece(1))),
        there: [(); 4].map(|()| cx.scratch_per_thread("there", DType::Bool, piece(1))),
        inside: cx.scratch_per_thread("inside", DType::Bool, piece(1)),
    };
    let sums = cx
        .store_hook
        .is_some()
        .then(|| cx.scratch_per_thread("sums", dtype, piece(1)));
    let images = cx.b.i(s.images);
    cx.for_(images, LoopKind::Seq, |cx, image| {
        let mut done = Ok(());
        in_pieces(
            cx,
            &Dim::Fixed(s.out.0 * s.out.1),
            PIECE,
            |cx, first, count| {
                if done.is_ok() {
                    let at = At {
                        image,
                        first,
                        count,
                    };
                    done = gather(cx, s, window, &looks, rows, at)
                        .and_then(|()| multiply(cx, s, rows, sums, at));
                }
            },
        )?;
        done
    })
}

/// A piece: the image, its first position, and how many it has.
#[derive(Clone, Copy)]
struct At {
    image: ExprId,
    first: ExprId,
    count: ExprId,
}

/// Fills the rows.
fn gather(
    cx: &mut LowerCx,
    s: &Sizes,
    window: &Window,
    looks: &Looks,
    rows: BufId,
    at: At,
) -> Result<()> {
    let ty = cx.in_ty(0)?;
    let sizes = [s.offset_groups, s.window.0, s.window.1].map(Dim::Fixed);
    cx.each(&sizes, LoopKind::Seq, |cx, k| {
        let tap = ex!(cx.b; ({k[1]} * {cx.b.i(s.window.1)}) + {k[2]});
        let tap = cx.b.let_(tap);
        find(cx, s, window, looks, (k[0], [k[1], k[2]], tap), at)?;
        let channels = cx.b.i(s.channels);
        cx.for_(channels, LoopKind::Seq, |cx, c| {
            let b = &mut cx.b;
            let c = ex!(b; ({k[0]} * channels) + c);
            let all = b.i(s.channels * s.offset_groups);
            let plane = ex!(b; ((({at.image} * all) + c) * {b.i(s.image.0 * s.image.1)}));
            let plane = b.let_(plane);
            let row = ex!(b; ((c * {b.i(s.taps())}) + tap) * {b.i(PIECE)});
            let row = b.let_(row);
            let x = cx.input(0)?.buf;
            let zero = cx.b.num(ty, 0.0);
            cx.for_(at.count, LoopKind::Seq, |cx, p| {
                let v = read(&mut cx.b, s, looks, (x, plane), p, zero);
                let to = cx.b.add(row, p);
                cx.b.store(rows, to, v);
                Ok(())
            })
        })
    })
}

/// Where each position of a piece looks for one element of the window.
fn find(
    cx: &mut LowerCx,
    s: &Sizes,
    window: &Window,
    looks: &Looks,
    (group, k, tap): (ExprId, [ExprId; 2], ExprId),
    at: At,
) -> Result<()> {
    let ty = cx.in_ty(0)?;
    cx.for_(at.count, LoopKind::Seq, |cx, p| {
        let position = cx.b.add(at.first, p);
        let width = cx.b.i(s.out.1);
        let (y, x) = (cx.b.div(position, width), cx.b.rem(position, width));
        let o = [cx.b.let_(y), cx.b.let_(x)];
        let number = ex!(cx.b; (group * {cx.b.i(s.taps())}) + tap);
        let number = cx.b.let_(number);
        let mut sides = vec![];
        for (i, size) in [s.image.0, s.image.1].into_iter().enumerate() {
            let row = ex!(cx.b; (number * 2) + {cx.b.i(i as i64)});
            let offset = cx.load(2, &[at.image, row, o[0], o[1]])?;
            let base = crate::contracts::conv::tap(&mut cx.b, window, i, o[i], k[i]);
            let base = cx.b.cast(ty, base);
            let b = &mut cx.b;
            let p = b.add(base, offset);
            let p = b.let_(p);
            let low = b.un(UnOp::Floor, p);
            let low = b.let_(low);
            let far = b.sub(p, low);
            let far = b.let_(far);
            let near = ex!(b; 1.0 - far);
            let first = b.cast(Ty::I64, low);
            // What lies further outside is outside, too, and nothing wraps.
            let (least, most) = (b.i(-2), b.i(size));
            let first = b.clamp(first, least, most);
            let first = b.let_(first);
            let second = ex!(b; first + 1);
            let (none, size) = (b.i(0), b.i(size));
            let there = [first, second].map(|i| {
                let there = b.in_range(i, none, size);
                b.let_(there)
            });
            sides.push((first, [near, far], there));
        }
        let mask = match cx.opt(4).is_some() {
            true => Some(cx.load(4, &[at.image, number, o[0], o[1]])?),
            false => None,
        };
        let b = &mut cx.b;
        let (y, x) = (&sides[0], &sides[1]);
        let place = ex!(b; ({y.0} * {b.i(s.image.1)}) + {x.0});
        b.store(looks.places, p, place);
        let mut inside = b.bool(true);
        for n in 0..4 {
            let (i, j) = (n / 2, n % 2);
            let mut weight = b.mul(y.1[i], x.1[j]);
            if let Some(mask) = mask {
                weight = b.mul(weight, mask);
            }
            b.store(looks.weights[n], p, weight);
            let there = b.and(y.2[i], x.2[j]);
            b.store(looks.there[n], p, there);
            inside = b.and(inside, there);
        }
        b.store(looks.inside, p, inside);
        Ok(())
    })
}

/// The image between its pixels, where position `p` looks; 0 outside.
fn read(
    b: &mut Builder,
    s: &Sizes,
    looks: &Looks,
    (x, plane): (BufId, ExprId),
    p: ExprId,
    zero: ExprId,
) -> ExprId {
    let place = b.load(looks.places, p);
    let place = b.add(plane, place);
    let place = b.let_(place);
    let sum = b.var(zero);
    let all = |b: &mut Builder, checked: bool| {
        let mut total = zero;
        for n in 0..4 {
            let on = (n as i64 / 2) * s.image.1 + n as i64 % 2;
            let at = ex!(b; place + {b.i(on)});
            let v = if checked {
                let there = b.load(looks.there[n], p);
                b.load_if(x, there, at, zero)
            } else {
                b.load(x, at)
            };
            let w = b.load(looks.weights[n], p);
            total = b.fma(v, w, total);
        }
        b.set(sum, total);
    };
    // Few positions look across the border.
    let inside = b.load(looks.inside, p);
    b.if_(inside, |b| all(b, false), |b| all(b, true));
    b.get(sum)
}

/// Products of the weights and the rows.
fn multiply(cx: &mut LowerCx, s: &Sizes, rows: BufId, sums: Option<BufId>, at: At) -> Result<()> {
    let k = s.ins * s.taps();
    let blocks = [
        (0, s.outs / TOGETHER, TOGETHER),
        (s.outs / TOGETHER * TOGETHER, s.outs % TOGETHER, 1),
    ];
    let groups = cx.b.i(s.groups);
    cx.for_(groups, LoopKind::Seq, |cx, g| {
        for (from, count, together) in blocks {
            let count = cx.b.i(count);
            cx.for_(count, LoopKind::Seq, |cx, block| {
                let b = &mut cx.b;
                let first = ex!(b; ((g * {b.i(s.outs)}) + {b.i(from)}) + (block * {b.i(together)}));
                let first = b.let_(first);
                let outs: Vec<ExprId> = (0..together)
                    .map(|j| {
                        let m = ex!(b; first + {b.i(j)});
                        b.let_(m)
                    })
                    .collect();
                let base = ex!(b; g * {b.i(k)});
                let base = b.let_(base);
                products(cx, s, (rows, base, k), sums, &outs, at)
            })?;
        }
        Ok(())
    })
}

/// Some channels of the output over a piece. `rows`: those of the group begin with row `base`, and are `k`.
fn products(
    cx: &mut LowerCx,
    s: &Sizes,
    (rows, base, k): (BufId, ExprId, i64),
    sums: Option<BufId>,
    outs: &[ExprId],
    at: At,
) -> Result<()> {
    let ty = cx.in_ty(0)?;
    let weights = cx.input(1)?.buf;
    let bias = cx.opt(3).map(|o| o.buf);
    let zero = cx.b.num(ty, 0.0);
    let places = s.out.0 * s.out.1;
    let lone = outs.len() == 1;
    // With a tail, one channel after another.
    if !lone && sums.is_some() {
        return outs
            .iter()
            .try_for_each(|&m| products(cx, s, (rows, base, k), sums, &[m], at));
    }
    let out = cx.output(0).map(|o| o.buf);
    cx.for_(at.count, LoopKind::Lanes, |cx, p| {
        let all: Vec<_> = outs.iter().map(|_| cx.b.var(zero)).collect();
        let n = cx.b.i(k);
        cx.for_(n, LoopKind::Seq, |cx, i| {
            let b = &mut cx.b;
            let from = ex!(b; ((base + i) * {b.i(PIECE)}) + p);
            let x = b.load(rows, from);
            let x = b.let_(x);
            for (&sum, &m) in all.iter().zip(outs) {
                let w = ex!(b; (m * {b.i(k)}) + i);
                let w = b.load(weights, w);
                let old = b.get(sum);
                let new = b.fma(w, x, old);
                b.set(sum, new);
            }
            Ok(())
        })?;
        let b = &mut cx.b;
        for (&sum, &m) in all.iter().zip(outs) {
            let mut v = b.get(sum);
            if let Some(bias) = bias {
                let own = b.load(bias, m);
                v = b.add(v, own);
            }
            match (sums, out) {
                (Some(sums), _) => b.store(sums, p, v),
                (None, Some(out)) => {
                    let channels = b.i(s.groups * s.outs);
                    let plane = ex!(b; ((({at.image} * channels) + m) * {b.i(places)}));
                    let to = ex!(b; (plane + {at.first}) + p);
                    b.store(out, to, v);
                }
                _ => {}
            }
        }
        Ok(())
    })?;
    let (Some(sums), [m]) = (sums, outs) else {
        return Ok(());
    };
    cx.for_(at.count, LoopKind::Seq, |cx, p| {
        let position = cx.b.add(at.first, p);
        let width = cx.b.i(s.out.1);
        let (y, x) = (cx.b.div(position, width), cx.b.rem(position, width));
        let v = cx.b.load(sums, p);
        cx.store(0, &[at.image, *m, y, x], v);
        Ok(())
    })
}
