//! Pools over planes (channels first), axis by axis: what a window has along the outer axes is folded row by row into lines, which lie beside each other in
//! scratch; where the window steps by several elements along the last axis, the tile `turn` parts the lines into one for each element modulo the step;
//! then windows are folded along the lines. All three read and write neighbours, so vectors do the work whatever the step.

use crate::base::diag::Result;
use crate::base::dim::{Dim, fixed_shape};
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::contracts::conv::can_leave;
use crate::contracts::turn::{BLOCK, Shape};
use crate::contracts::window::Window;
use crate::ex;
use crate::kernel::{LowerCx, Tile};
use crate::loops::ir::{Arg, BufId, ExprId, LoopKind};

/// Elements that the lines of one piece of work have, roughly: they stay near.
const PIECE: i64 = 1 << 13;
/// Elements of the lines of one plane at most, since they take memory.
const LARGEST: i64 = 1 << 20;
/// Elements of a window from which on folding it axis by axis saves something where no step and no border is in the way.
const LARGE: i64 = 9;
/// Elements of a window along an axis, at most (those along the last are written out), and loops over the outer axes, each border having its own.
const MOST_COLUMNS: i64 = 64;
const MOST_RUNS: usize = 64;

/// What is done with the elements of a window.
pub struct Fold<'f> {
    /// What changes nothing; also what padding counts as.
    pub init: ExprId,
    /// Takes an element in.
    pub join: &'f dyn Fn(&mut LowerCx, ExprId, ExprId) -> ExprId,
    /// Makes the result: all elements, and where it is stored, as the number of the output element in its plane.
    pub finish: &'f dyn Fn(&mut LowerCx, ExprId, ExprId) -> ExprId,
}

/// Output elements in a row along an outer axis whose windows have the same elements: the first, how many, the window's first and last but one.
struct Run {
    first: i64,
    count: i64,
    from: i64,
    until: i64,
}

/// Sizes of a pool over planes.
pub struct Planes<'w> {
    w: &'w Window,
    n: i64,
    channels: i64,
    input: Vec<i64>,
    out: Vec<i64>,
    /// Elements of a line: a multiple of the last step.
    line: i64,
    /// Planes of a piece.
    group: i64,
    /// The loops along each outer axis.
    outer: Vec<Vec<Run>>,
    /// What parts lines, where the machine has it.
    tile: Option<&'static Tile>,
    /// Of the input, and of lines.
    dtype: DType,
}

impl<'w> Planes<'w> {
    /// Of a pool over planes of known size and one of these types, channels first, where folding it axis by axis is of use. A line has the type of the input:
    /// what is folded must not grow.
    pub fn of(cx: &LowerCx, w: &'w Window, types: &[DType]) -> Result<Option<Planes<'w>>> {
        let x = &cx.input(0)?.ty;
        let last = w.rank() - 1;
        let (step, taps) = (w.stride[last], w.kernel.iter().product::<i64>());
        let Some((shape, out)) = fixed_shape(&x.shape).zip(fixed_shape(&w.out)) else {
            return Ok(None);
        };
        let leaves = (0..w.rank()).any(|i| can_leave(w, i, &x.shape[2 + i]));
        let tile = cx.machine.tile("turn").filter(|_| step > 1);
        let useful = step > 1 || leaves || taps >= LARGE;
        let mut pads = w.begin.iter().chain(&w.end);
        if !types.contains(&x.dtype)
            || cx.attrs.flag("channels_last")
            || cx.effort.optimize_for_size()
            || !useful
            || shape.iter().chain(&out).any(|&d| d < 1)
            || w.kernel.iter().any(|k| *k > MOST_COLUMNS)
            || pads.any(|p| *p < 0)
        {
            return Ok(None);
        }
        let reach = (out[last] - 1).checked_mul(step);
        let Some(line) = reach.and_then(|r| r.checked_add(w.extent(last) + step - 1)) else {
            return Ok(None);
        };
        let mut p = Planes {
            w,
            n: shape[0],
            channels: shape[1],
            input: shape[2..].to_vec(),
            out,
            line: line / step * step,
            group: 1,
            outer: vec![],
            tile,
            dtype: x.dtype,
        };
        let size = p.rows().saturating_mul(p.line);
        if size > LARGEST {
            return Ok(None);
        }
        p.outer = (0..last).map(|i| p.runs(i)).collect();
        let fits = |g: &i64| p.channels % g == 0 && g * size <= PIECE;
        p.group = (1..=p.channels.min(PIECE)).filter(fits).max().unwrap_or(1);
        let runs = p.outer.iter().map(Vec::len).product::<usize>();
        Ok((runs <= MOST_RUNS).then_some(p))
    }

    /// Writes the loops.
    pub fn fold(&self, cx: &mut LowerCx, fold: &Fold) -> Result<()> {
        let p = self;
        let size = p.group * p.rows() * p.line;
        // Several loops write parts of them, so threads share them.
        let lines = cx.scratch("lines", p.dtype, Dim::Fixed(size));
        let parted = (p.step() > 1).then(|| cx.scratch("parted", p.dtype, Dim::Fixed(size)));
        let pieces = [p.n, p.channels / p.group].map(Dim::Fixed);
        cx.each(&pieces, LoopKind::Seq, |cx, at| {
            let first = ex!(cx.b; {at[1]} * {cx.b.i(p.group)});
            let first = cx.b.let_(first);
            p.fill_ends(cx, lines, fold)?;
            let plane = ex!(cx.b; ({at[0]} * {cx.b.i(p.channels)}) + first);
            p.fold_outer(cx, lines, plane, fold)?;
            if let Some(parted) = parted {
                p.part(cx, lines, parted);
            }
            p.fold_last(cx, parted.unwrap_or(lines), [at[0], first], fold)
        })
    }

    fn last(&self) -> usize {
        self.input.len() - 1
    }
    fn step(&self) -> i64 {
        self.w.stride[self.last()]
    }
    /// Output elements of a plane along the outer axes.
    fn rows(&self) -> i64 {
        self.out[..self.last()].iter().product()
    }
    /// The runs along outer axis `i`.
    fn runs(&self, i: usize) -> Vec<Run> {
        let (w, mut runs) = (self.w, Vec::<Run>::new());
        for o in 0..self.out[i] {
            let start = o * w.stride[i] - w.begin[i];
            let exists = |k: &i64| (0..self.input[i]).contains(&(start + k * w.dilation[i]));
            let from = (0..w.kernel[i]).find(exists).unwrap_or(0);
            let until = (0..w.kernel[i]).rfind(exists).map_or(0, |k| k + 1);
            match runs.last_mut() {
                Some(r) if (r.from, r.until) == (from, until) => r.count += 1,
                _ => runs.push(Run {
                    first: o,
                    count: 1,
                    from,
                    until,
                }),
            }
        }
        runs
    }

    /// What lies before and behind the image in each line.
    fn fill_ends(&self, cx: &mut LowerCx, lines: BufId, fold: &Fold) -> Result<()> {
        let before = self.w.begin[self.last()].min(self.line);
        let behind = (before + self.input[self.last()]).min(self.line);
        for (from, until) in [(0, before), (behind, self.line)] {
            let shape = [self.group * self.rows(), until - from].map(Dim::Fixed);
            if from == until {
                continue;
            }
            cx.each(&shape, LoopKind::Lanes, |cx, at| {
                let to = ex!(cx.b; (({at[0]} * {cx.b.i(self.line)}) + {at[1]}) + {cx.b.i(from)});
                cx.b.store(lines, to, fold.init);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Lines of planes from number `plane` on: what windows have along the outer axes.
    fn fold_outer(&self, cx: &mut LowerCx, lines: BufId, plane: ExprId, fold: &Fold) -> Result<()> {
        let (w, last) = (self.w, self.last());
        let mut all: Vec<Vec<&Run>> = vec![vec![]];
        for runs in &self.outer {
            all = (all.iter())
                .flat_map(|done| runs.iter().map(|r| [&done[..], &[r]].concat()))
                .collect();
        }
        let dims = |v: &[i64]| v.iter().map(|&d| Dim::Fixed(d)).collect::<Vec<_>>();
        let (image, rows) = (dims(&self.input), dims(&self.out[..last]));
        let size: i64 = self.input.iter().product();
        let width = self.input[last].min(self.line - w.begin[last]);
        for runs in all.iter().filter(|_| width > 0) {
            let counts: Vec<i64> = runs.iter().map(|r| r.count).collect();
            let shape = dims(&[&[self.group], &counts[..], &[width]].concat());
            cx.each(&shape, LoopKind::Lanes, |cx, at| {
                let x = at[last + 1];
                let sum = cx.b.var(fold.init);
                let taps: Vec<i64> = runs.iter().map(|r| r.until - r.from).collect();
                crate::contracts::conv::seq(cx, &taps, |cx, k| {
                    let mut from = vec![];
                    for (i, r) in runs.iter().enumerate() {
                        let start = r.first * w.stride[i] + r.from * w.dilation[i] - w.begin[i];
                        let (s, d) = (cx.b.i(w.stride[i]), cx.b.i(w.dilation[i]));
                        let (o, k) = (at[1 + i], k[i]);
                        from.push(ex!(cx.b; ((o * s) + (k * d)) + {cx.b.i(start)}));
                    }
                    from.push(x);
                    let inside = cx.b.offset(&image, &from);
                    let from = ex!(cx.b; ((plane + {at[0]}) * {cx.b.i(size)}) + inside);
                    let v = cx.load_flat(0, from)?;
                    let old = cx.b.get(sum);
                    let new = (fold.join)(cx, old, v);
                    cx.b.set(sum, new);
                    Ok(())
                })?;
                let mut to = vec![];
                for (i, r) in runs.iter().enumerate() {
                    to.push(ex!(cx.b; {at[1 + i]} + {cx.b.i(r.first)}));
                }
                let row = cx.b.offset(&rows, &to);
                let row = ex!(cx.b; ({at[0]} * {cx.b.i(self.rows())}) + row);
                let to = ex!(cx.b; ((row * {cx.b.i(self.line)}) + x) + {cx.b.i(w.begin[last])});
                let v = cx.b.get(sum);
                cx.b.store(lines, to, v);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Lines parted by the element's place modulo the step: `[step, group, rows.., line / step]`.
    fn part(&self, cx: &mut LowerCx, lines: BufId, parted: BufId) {
        let (step, rows) = (
            self.step(),
            self.group * self.rows() * self.line / self.step(),
        );
        let Some(tile) = self.tile else {
            let shape = [rows, step].map(Dim::Fixed);
            return cx.b.nest(&shape, LoopKind::Seq, |b, at| {
                let from = ex!(b; ({at[0]} * {b.i(step)}) + {at[1]});
                let to = ex!(b; ({at[1]} * {b.i(rows)}) + {at[0]});
                let v = b.load(lines, from);
                b.store(parted, to, v);
            });
        };
        let shape = Shape {
            size: self.dtype.size() as i64,
            rows: if rows > 1 && rows < BLOCK && step >= BLOCK {
                rows
            } else {
                0
            },
            cols: if step < BLOCK { step } else { 0 },
        };
        let zero = cx.b.i(0);
        let ptr = |buf| Arg::Ptr { buf, offset: zero };
        let ints = [rows, step, step, rows, 1, 0, 0].map(|n| Arg::Int(cx.b.i(n)));
        let mut args = vec![ptr(lines), ptr(parted)];
        args.extend(ints);
        cx.b.call(shape.callee(tile), args);
    }

    /// Windows along the lines of the planes from `first` on.
    fn fold_last(
        &self,
        cx: &mut LowerCx,
        lines: BufId,
        [n, first]: [ExprId; 2],
        fold: &Fold,
    ) -> Result<()> {
        let (w, last, step) = (self.w, self.last(), self.step());
        let all = self.group * self.rows() * self.line;
        let sizes = [&[self.group], &self.out[..]].concat();
        let shape: Vec<Dim> = sizes.iter().map(|&d| Dim::Fixed(d)).collect();
        cx.each(&shape, LoopKind::Lanes, |cx, at| {
            let row = cx.b.offset(&shape[..=last], &at[..=last]);
            let from = ex!(cx.b; (row * {cx.b.i(self.line / step)}) + {at[last + 1]});
            let mut sum = None;
            for k in 0..w.kernel[last] {
                let place = k * w.dilation[last];
                let begin = place % step * (all / step) + place / step;
                let at = ex!(cx.b; from + {cx.b.i(begin)});
                let v = cx.b.load(lines, at);
                sum = Some(match sum {
                    None => v,
                    Some(old) => (fold.join)(cx, old, v),
                });
            }
            let place = cx.b.offset(&shape[1..], &at[1..]);
            let v = (fold.finish)(cx, sum.unwrap_or(fold.init), place);
            let channel = cx.b.add(first, at[0]);
            let index = [&[n, channel], &at[1..]].concat();
            cx.store(0, &index, v);
            Ok(())
        })
    }

    /// How many elements each window of a plane has, as a table of f32 over the output's elements: those inside, or with `padding` those that are not
    /// behind its end.
    pub fn counts(&self, cx: &mut LowerCx, padding: bool) -> BufId {
        let (w, mut table) = (self.w, vec![1i64]);
        for (i, &input) in self.input.iter().enumerate() {
            let (least, most) = match padding {
                true => (i64::MIN, input + w.end[i]),
                false => (0, input),
            };
            let along = |o: i64| {
                let at = |k| o * w.stride[i] - w.begin[i] + k * w.dilation[i];
                (0..w.kernel[i])
                    .filter(|&k| (least..most).contains(&at(k)))
                    .count() as i64
            };
            let along: Vec<i64> = (0..self.out[i]).map(along).collect();
            let each = |t: &i64| along.iter().map(|n| t * n).collect::<Vec<_>>();
            table = table.iter().flat_map(each).collect();
        }
        let table: Vec<f32> = table.into_iter().map(|n| n as f32).collect();
        cx.constant("counts", Tensor::f32(&[table.len() as i64], &table))
    }
}
