//! The walk of LSTM, GRU and RNN over directions, samples and steps.
//!
//! Each direction of each sample is a sequence of its own. Sequences of one direction are walked in blocks, a step of all at once, so that
//! the weights that a step reads serve several rows. Threads share the blocks: their states are private to a thread. One sequence alone has
//! its steps shared instead, by columns, where they are large. No sum depends on either.

use super::recurrent::Sizes;
use super::recurrent_weights::{Matrix, Weights, strips};
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::contracts::finish::Activation;
use crate::contracts::pack::RowTiles;
use crate::contracts::strip::Start;
use crate::contracts::strip_plan::At;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{BufId, ExprId, LoopKind, Ty};

/// Elements of projected inputs at most: longer sequences are multiplied step by step.
const MOST_PROJECTED: i64 = 1 << 24;
/// Multiply-adds of a step from which on threads share those of one sequence: each step waits for them anew.
const LARGE_STEP: i64 = 1 << 17;
/// Samples of a block at most.
const MOST_SAMPLES: i64 = 8;
/// Samples of a block from which on the weights of the input are read in each step: so many rows hide what that costs.
const MANY_SAMPLES: i64 = 4;

/// A walk over directions, samples and steps.
pub struct Walk {
    /// Sizes.
    pub s: Sizes,
    /// Computing type.
    pub ty: Ty,
    /// The states of a block's samples.
    pub h: BufId,
    /// Rows of W and R of one direction.
    rows: i64,
    blocks: Blocks,
    /// Products of the input of all steps with W, where they are made at once.
    projected: Option<Projected>,
    /// W, where its products are made step by step.
    w: Option<Weights>,
    r: Weights,
    /// Largest magnitude of what enters an activation.
    clip: Option<f32>,
}

/// How the samples of a direction are cut into blocks.
struct Blocks {
    /// Of equal blocks: the first sample, how many blocks, samples of each.
    groups: Vec<(i64, Dim, i64)>,
    /// Samples of the largest.
    most: i64,
    /// Samples of the largest with one thread. Panels are cut for so many rows, and products ordered, so that results are the same for
    /// any number of threads.
    alone: i64,
    /// Whether threads share the products of a step: there is one sequence, and a step is large.
    shared_steps: bool,
}

impl Blocks {
    fn of(cx: &LowerCx, s: &Sizes, rows: i64) -> Blocks {
        let sequences = s.sequences(cx);
        let shared_steps = sequences <= 1 && rows.saturating_mul(s.hidden) >= LARGE_STEP;
        // Samples of a length of their own are walked alone.
        let together = cx.opt(4).is_none() && strips(cx, 1) && strips(cx, 2);
        let threads = cx.threads.max(1);
        let each = sequences.saturating_add(threads - 1) / threads;
        match s.batch.fixed() {
            Some(batch) if together && batch > 1 => {
                let tiles = RowTiles::of(batch, each.clamp(1, MOST_SAMPLES));
                let group = |(first, count, size)| (first, Dim::Fixed(count), size);
                Blocks {
                    groups: tiles.groups().into_iter().map(group).collect(),
                    most: tiles.rows,
                    alone: RowTiles::of(batch, MOST_SAMPLES).rows,
                    shared_steps,
                }
            }
            _ => Blocks {
                groups: vec![(0, s.batch.clone(), 1)],
                most: 1,
                alone: 1,
                shared_steps,
            },
        }
    }
    /// A vector of the computing type for each sample of a block, of which each thread has its own; there is one for all where they share a
    /// step.
    fn scratch(&self, cx: &mut LowerCx, name: &str, len: i64) -> Result<BufId> {
        let dtype = if cx.in_ty(0)? == Ty::F64 {
            DType::F64
        } else {
            DType::F32
        };
        let len = Dim::Fixed(self.most * len);
        Ok(match self.shared_steps {
            true => cx.scratch(name, dtype, len),
            false => cx.scratch_per_thread(name, dtype, len),
        })
    }
}

/// Products of the inputs of a block's sequences with W: `[sample][step][row]`.
struct Projected {
    buf: BufId,
    matrix: Matrix,
    /// Those of all sequences stand in the buffer, one behind the other: there are more threads than sequences, which then share
    /// the products of each.
    all: bool,
}

/// Some samples of a direction.
#[derive(Clone, Copy)]
pub struct Block {
    /// Direction.
    pub dir: ExprId,
    /// First sample.
    b: ExprId,
    samples: i64,
}

/// A sample of a block.
#[derive(Clone, Copy)]
pub struct Sample {
    /// Of the batch.
    b: ExprId,
    /// Of the block.
    s: ExprId,
}

impl Sample {
    /// Where element `j` of this sample's vector of `len` lies in scratch.
    pub fn at(&self, cx: &mut LowerCx, len: i64, j: ExprId) -> ExprId {
        ex!(cx.b; ({self.s} * {cx.b.i(len)}) + j)
    }
}

/// One step of a block.
#[derive(Clone, Copy)]
pub struct Step {
    /// Its samples.
    pub of: Block,
    /// Position in the sequence.
    t: ExprId,
}

impl Walk {
    /// Begins. `gates`: rows of state size in W and R; `parts`: rows that are multiplied at once in a step.
    pub fn new(cx: &mut LowerCx, gates: i64, parts: &[(i64, i64)]) -> Result<Walk> {
        let s = Sizes::of_cx(cx, gates)?;
        let rows = gates * s.hidden;
        let blocks = Blocks::of(cx, &s, rows);
        let h = blocks.scratch(cx, "state", s.hidden)?;
        let projected = Projected::of(cx, &s, &blocks, rows)?;
        let left = blocks.alone;
        let w = match projected {
            Some(_) => None,
            None => Some(Weights::of(cx, 1, (rows, s.input), parts, left)?),
        };
        Ok(Walk {
            ty: cx.in_ty(0)?,
            h,
            rows,
            projected,
            w,
            r: Weights::of(cx, 2, (rows, s.hidden), parts, left)?,
            clip: cx.attrs.opt_float("clip"),
            blocks,
            s,
        })
    }
    /// State of `len` elements of the computing type for each sample of a block.
    pub fn state(&self, cx: &mut LowerCx, name: &str, len: i64) -> Result<BufId> {
        self.blocks.scratch(cx, name, len)
    }
    /// Elements `0..n` of a vector of each sample of a block.
    pub fn each(
        &self,
        cx: &mut LowerCx,
        of: Block,
        n: i64,
        f: impl FnOnce(&mut LowerCx, Sample, ExprId) -> Result<()>,
    ) -> Result<()> {
        let n = cx.b.i(n);
        if of.samples == 1 {
            let only = Sample {
                b: of.b,
                s: cx.b.i(0),
            };
            return cx.for_(n, LoopKind::Lanes, |cx, j| f(cx, only, j));
        }
        let samples = cx.b.i(of.samples);
        cx.for_(samples, LoopKind::Seq, |cx, s| {
            let b = cx.b.add(of.b, s);
            cx.for_(n, LoopKind::Lanes, |cx, j| f(cx, Sample { b, s }, j))
        })
    }
    /// Activates: element `d` of `each` are the activations of direction `d`, of which number `which` is applied.
    pub fn activate(
        &self,
        cx: &mut LowerCx,
        each: &[Vec<Activation>],
        which: usize,
        dir: ExprId,
        v: ExprId,
    ) -> ExprId {
        let first = each[0][which].apply(&mut cx.b, v);
        match each.get(1) {
            Some(other) if other[which] != each[0][which] => {
                let second = other[which].apply(&mut cx.b, v);
                let zero = cx.b.i(0);
                let forward = cx.b.eq(dir, zero);
                cx.b.select(forward, first, second)
            }
            _ => first,
        }
    }
    /// Clips what enters an activation.
    pub fn clip(&self, cx: &mut LowerCx, v: ExprId) -> ExprId {
        match self.clip {
            Some(c) if c > 0.0 => {
                let (lo, hi) = (
                    cx.b.num(self.ty, f64::from(-c)),
                    cx.b.num(self.ty, f64::from(c)),
                );
                cx.b.clamp(v, lo, hi)
            }
            _ => v,
        }
    }
    /// Bias `part` (0 is the first) of gate row `j`; 0 where there is none.
    pub fn bias(&self, cx: &mut LowerCx, dir: ExprId, j: ExprId, part: i64) -> Result<ExprId> {
        if cx.opt(3).is_none() {
            return Ok(cx.b.num(self.ty, 0.0));
        }
        let at = ex!(cx.b; j + {cx.b.i(part * self.rows)});
        cx.load(3, &[dir, at])
    }
    /// Rows `from..to` of the gates: W x + its bias, and, where `state` is asked for, R h + its bias, into the same elements of `into`,
    /// a vector of all gates.
    pub fn products(
        &self,
        cx: &mut LowerCx,
        st: Step,
        (from, to): (i64, i64),
        state: bool,
        into: BufId,
    ) -> Result<()> {
        let dir = st.of.dir;
        self.each(cx, st.of, to - from, |cx, one, j| {
            let j = ex!(cx.b; j + {cx.b.i(from)});
            let mut sum = self.bias(cx, dir, j, 0)?;
            if state {
                let more = self.bias(cx, dir, j, 1)?;
                sum = cx.b.add(sum, more);
            }
            if let Some(p) = &self.projected {
                let at = self.projected_at(cx, p, dir, one, st.t);
                let at = cx.b.add(at, j);
                let x = cx.b.load(p.buf, at);
                sum = cx.b.add(sum, x);
            }
            let at = one.at(cx, self.rows, j);
            cx.b.store(into, at, sum);
            Ok(())
        })?;
        let c = (into, self.rows, from);
        if let Some(w) = &self.w {
            let zero = cx.b.i(0);
            let at = self.x_at(cx, st.of.b, st.t, zero)?;
            let a = At {
                buf: cx.input(0)?.buf,
                at,
                row: self.x_step(cx, !self.s.batch_first),
            };
            w.add_product(cx, dir, (from, to), st.of.samples, a, c)?;
        }
        match state {
            true => self.state_product(cx, st, (from, to), self.h, c),
            false => Ok(()),
        }
    }
    /// Adds rows `from..to` of R times a vector of state size to as many elements of `into`: a buffer, elements of its vectors, and the first
    /// of those that are meant.
    pub fn state_product(
        &self,
        cx: &mut LowerCx,
        st: Step,
        rows: (i64, i64),
        x: BufId,
        into: (BufId, i64, i64),
    ) -> Result<()> {
        let a = At {
            buf: x,
            at: cx.b.i(0),
            row: cx.b.i(self.s.hidden),
        };
        (self.r).add_product(cx, st.of.dir, rows, st.of.samples, a, into)
    }
    /// Where feature `k` of the input of a step lies.
    fn x_at(&self, cx: &mut LowerCx, b: ExprId, t: ExprId, k: ExprId) -> Result<ExprId> {
        let index = match self.s.batch_first {
            true => [b, t, k],
            false => [t, b, k],
        };
        let shape = cx.in_shape(0)?;
        Ok(cx.b.offset(&shape, &index))
    }
    /// From an input to that of the next sample, or of the next step: `close` says whether these are what lies side by side.
    fn x_step(&self, cx: &mut LowerCx, close: bool) -> ExprId {
        let input = cx.b.i(self.s.input);
        let between = match (close, self.s.batch_first) {
            (true, _) => return input,
            (false, true) => cx.b.dim(&self.s.seq),
            (false, false) => cx.b.dim(&self.s.batch),
        };
        cx.b.mul(between, input)
    }
    /// Where the products of a step's input begin.
    fn projected_at(
        &self,
        cx: &mut LowerCx,
        p: &Projected,
        dir: ExprId,
        one: Sample,
        t: ExprId,
    ) -> ExprId {
        let (rows, seq) = (Dim::Fixed(self.rows), self.s.seq.clone());
        let zero = cx.b.i(0);
        match p.all {
            true => {
                let shape = [Dim::Fixed(self.s.dirs), self.s.batch.clone(), seq, rows];
                cx.b.offset(&shape, &[dir, one.b, t, zero])
            }
            false => {
                let shape = [Dim::Fixed(self.blocks.most), seq, rows];
                cx.b.offset(&shape, &[one.s, t, zero])
            }
        }
    }
    /// W times the inputs of all steps of a block.
    fn project(&self, cx: &mut LowerCx, p: &Projected, of: Block) -> Result<()> {
        let samples = cx.b.i(of.samples);
        let one = |cx: &mut LowerCx, s: ExprId| {
            let b = cx.b.add(of.b, s);
            let zero = cx.b.i(0);
            let a = At {
                buf: cx.input(0)?.buf,
                at: self.x_at(cx, b, zero, zero)?,
                row: self.x_step(cx, self.s.batch_first),
            };
            let c = At {
                buf: p.buf,
                at: self.projected_at(cx, p, of.dir, Sample { b, s }, zero),
                row: cx.b.i(self.rows),
            };
            (p.matrix).multiply(cx, of.dir, &self.s.seq, a, c, Start::Zero)
        };
        match of.samples {
            1 => {
                let only = cx.b.i(0);
                one(cx, only)
            }
            _ => cx.for_(samples, LoopKind::Seq, one),
        }
    }
    /// Sets state vectors from input `i`, or to 0.
    pub fn begin(&self, cx: &mut LowerCx, i: usize, buf: BufId, of: Block) -> Result<()> {
        self.each(cx, of, self.s.hidden, |cx, one, j| {
            let v = match cx.opt(i) {
                Some(_) => {
                    let at = self.s.last_at(of.dir, one.b, j);
                    cx.load(i, &at)?
                }
                None => cx.b.num(self.ty, 0.0),
            };
            let at = one.at(cx, self.s.hidden, j);
            cx.b.store(buf, at, v);
            Ok(())
        })
    }
    /// Stores state vectors as last states in output `o`.
    pub fn end(&self, cx: &mut LowerCx, o: usize, buf: BufId, of: Block) -> Result<()> {
        self.each(cx, of, self.s.hidden, |cx, one, j| {
            let at = one.at(cx, self.s.hidden, j);
            let v = cx.b.load(buf, at);
            let at = self.s.last_at(of.dir, one.b, j);
            cx.store(o, &at, v);
            Ok(())
        })
    }
    /// Calls `f` with each block of each direction, which threads may share.
    fn sequences(
        &self,
        cx: &mut LowerCx,
        f: &mut dyn FnMut(&mut LowerCx, Block) -> Result<()>,
    ) -> Result<()> {
        for (first, count, samples) in &self.blocks.groups {
            let mut blocks = |cx: &mut LowerCx, dir: ExprId| {
                let count = cx.b.dim(count);
                cx.parallel(count, |cx, i| {
                    let samples = *samples;
                    let b = ex!(cx.b; (i * {cx.b.i(samples)}) + {cx.b.i(*first)});
                    f(cx, Block { dir, b, samples })
                })
            };
            if self.s.dirs == 1 {
                let only = cx.b.i(0);
                blocks(cx, only)?;
            } else {
                let dirs = cx.b.i(self.s.dirs);
                cx.parallel(dirs, blocks)?;
            }
        }
        Ok(())
    }
    /// Runs `begin`, every step and `end` for each direction and sample. After a step the states stand in `h`.
    pub fn run(
        &self,
        cx: &mut LowerCx,
        begin: &mut dyn FnMut(&mut LowerCx, Block) -> Result<()>,
        step: &mut dyn FnMut(&mut LowerCx, Step) -> Result<()>,
        end: &mut dyn FnMut(&mut LowerCx, Block) -> Result<()>,
    ) -> Result<()> {
        if let Some(p) = self.projected.as_ref().filter(|p| p.all) {
            self.sequences(cx, &mut |cx, of| self.project(cx, p, of))?;
        }
        self.sequences(cx, &mut |cx, of| {
            let seq = cx.b.dim(&self.s.seq);
            let len = match cx.opt(4) {
                Some(_) => {
                    let l = cx.load(4, &[of.b])?;
                    let l = cx.b.cast(Ty::I64, l);
                    let zero = cx.b.i(0);
                    let l = cx.b.clamp(l, zero, seq);
                    cx.b.let_(l)
                }
                None => seq,
            };
            begin(cx, of)?;
            if let Some(p) = self.projected.as_ref().filter(|p| !p.all) {
                self.project(cx, p, of)?;
            }
            self.begin(cx, 5, self.h, of)?;
            cx.for_(len, LoopKind::Seq, |cx, i| {
                let t = self.position(cx, of.dir, len, i);
                step(cx, Step { of, t })?;
                self.each(cx, of, self.s.hidden, |cx, one, j| {
                    let at = one.at(cx, self.s.hidden, j);
                    let v = cx.b.load(self.h, at);
                    let at = self.s.all_at(of.dir, one.b, t, j);
                    cx.store(0, &at, v);
                    Ok(())
                })
            })?;
            let rest = cx.b.sub(seq, len);
            cx.for_(rest, LoopKind::Seq, |cx, i| {
                let t = cx.b.add(len, i);
                self.each(cx, of, self.s.hidden, |cx, one, j| {
                    let zero = cx.b.num(self.ty, 0.0);
                    let at = self.s.all_at(of.dir, one.b, t, j);
                    cx.store(0, &at, zero);
                    Ok(())
                })
            })?;
            self.end(cx, 1, self.h, of)?;
            end(cx, of)
        })
    }
    /// Where step `i` of a sequence of so many lies.
    fn position(&self, cx: &mut LowerCx, dir: ExprId, len: ExprId, i: ExprId) -> ExprId {
        let back = ex!(cx.b; (len - 1) - i);
        match cx.attrs.str("direction", "forward") {
            "bidirectional" => {
                let zero = cx.b.i(0);
                let forward = cx.b.eq(dir, zero);
                let t = cx.b.select(forward, i, back);
                cx.b.let_(t)
            }
            "reverse" => back,
            _ => i,
        }
    }
}

impl Projected {
    /// `None`: the products of W are made step by step.
    fn of(cx: &mut LowerCx, s: &Sizes, blocks: &Blocks, rows: i64) -> Result<Option<Projected>> {
        let of = |samples: i64| Dim::Fixed(samples * rows) * s.seq.clone();
        let most = |cx: &LowerCx, n: &Dim| n.bounds(cx.symbols).1;
        let near = rows.saturating_mul(s.input).saturating_mul(4) <= i64::from(cx.machine.l2);
        let by_step = blocks.alone >= MANY_SAMPLES && near;
        if !strips(cx, 1) || by_step || most(cx, &of(blocks.alone)) > MOST_PROJECTED {
            return Ok(None);
        }
        let every = Dim::Fixed(s.dirs * rows) * s.batch.clone() * s.seq.clone();
        let few = s.sequences(cx) < cx.threads;
        let all = few && most(cx, &every) <= MOST_PROJECTED;
        let buf = match all {
            true => cx.scratch("projected", DType::F32, every),
            false => cx.scratch_per_thread("projected", DType::F32, of(blocks.most)),
        };
        let matrix = Matrix::of(cx, 1, (0, rows), s.seq.fixed())?;
        Ok(Some(Projected { buf, matrix, all }))
    }
}
