//! What LSTM, GRU and RNN share: attributes, shapes, walking over directions, samples and steps.

use super::recurrent_weights::{Matrix, strips};
use super::util::{accept, bad, float};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::base::dim::{Dim, fixed_shape};
use crate::base::dtype::DType;
use crate::contracts::finish::Activation;
use crate::contracts::strip::Start;
use crate::contracts::strip_plan::At;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{BufId, ExprId, LoopKind, Ty};
use crate::op::{InferCx, ReadCx};

/// Reads what all three have. `each` are the default activations of one direction.
pub fn read(cx: &mut ReadCx, each: &[&str]) -> Result<()> {
    let direction = cx.str("direction", "forward")?;
    let dirs = match direction.as_str() {
        "forward" | "reverse" => 1,
        "bidirectional" => 2,
        d => return bad(format!("`direction` = {d} is none of the known ways")),
    };
    cx.set("direction", Attr::Str(direction));
    cx.keep_int("layout", 0)?;
    cx.keep_int("hidden_size", 0)?;
    cx.ignore("output_sequence");
    if let Some(c) = cx.opt_float("clip")? {
        cx.set("clip", Attr::Float(c));
    }
    let names = cx.strs("activations")?.filter(|v| !v.is_empty());
    let names = names.unwrap_or_else(|| each.repeat(dirs).iter().map(|s| s.to_string()).collect());
    if names.len() != each.len() * dirs {
        return bad(format!("{} activations for {dirs} directions", names.len()));
    }
    let mut alphas = cx
        .floats("activation_alpha")?
        .unwrap_or_default()
        .into_iter();
    let mut betas = cx
        .floats("activation_beta")?
        .unwrap_or_default()
        .into_iter();
    let mut params = vec![];
    for n in &names {
        let mut a = Activation::of(n)?;
        // The lists hold numbers for those activations only that have any.
        if !matches!(
            a.name,
            "Relu" | "Tanh" | "Sigmoid" | "Softsign" | "Softplus"
        ) {
            a.alpha = alphas.next().unwrap_or(a.alpha);
        }
        if matches!(a.name, "Affine" | "HardSigmoid" | "ScaledTanh") {
            a.beta = betas.next().unwrap_or(a.beta);
        }
        params.extend([a.alpha, a.beta]);
    }
    cx.set("activations", Attr::Strs(names));
    cx.set("activation_params", Attr::Floats(params));
    Ok(())
}

/// The activations of one direction, `per` each.
pub fn activations(attrs: &Attrs, direction: usize, per: usize) -> Result<Vec<Activation>> {
    let names = attrs.strs("activations").unwrap_or(&[]);
    let params = attrs.floats("activation_params").unwrap_or(&[]);
    (direction * per..(direction + 1) * per)
        .map(|i| {
            let mut a = Activation::of(names.get(i).map_or("", |s| s))?;
            a.alpha = params.get(2 * i).copied().unwrap_or(a.alpha);
            a.beta = params.get(2 * i + 1).copied().unwrap_or(a.beta);
            Ok(a)
        })
        .collect()
}

/// Elements of projected inputs at most: longer sequences are multiplied step by step.
const MOST_PROJECTED: i64 = 1 << 24;

/// Sizes of a recurrent operator.
#[derive(Clone)]
pub struct Sizes {
    /// Steps.
    pub seq: Dim,
    /// Samples.
    pub batch: Dim,
    /// Input features.
    pub input: i64,
    /// State features.
    pub hidden: i64,
    /// 1 or 2.
    pub dirs: i64,
    /// Batch first.
    pub batch_first: bool,
}

impl Sizes {
    /// From the shapes of X and R; `gates` rows of state size in R.
    pub fn of(attrs: &Attrs, x: &[Dim], w: &[Dim], r: &[Dim], gates: i64) -> Result<Sizes> {
        let batch_first = attrs.flag("layout");
        let (Some(w), Some(r)) = (fixed_shape(w), fixed_shape(r)) else {
            return bad("the weights must have fixed sizes");
        };
        let dirs = if attrs.str("direction", "forward") == "bidirectional" {
            2
        } else {
            1
        };
        let ok = x.len() == 3
            && w.len() == 3
            && r.len() == 3
            && w[0] == dirs
            && r[0] == dirs
            && w[1] == r[1]
            && r[2].checked_mul(gates) == Some(r[1])
            && x[2].fixed().is_none_or(|i| i == w[2]);
        if !ok {
            return bad("the shapes of input and weights do not fit");
        }
        Ok(Sizes {
            seq: x[usize::from(batch_first)].clone(),
            batch: x[usize::from(!batch_first)].clone(),
            input: w[2],
            hidden: r[2],
            dirs,
            batch_first,
        })
    }
    /// For a lowering.
    pub fn of_cx(cx: &LowerCx, gates: i64) -> Result<Sizes> {
        Sizes::of(
            cx.attrs,
            &cx.in_shape(0)?,
            &cx.in_shape(1)?,
            &cx.in_shape(2)?,
            gates,
        )
    }
    /// Shape of all states.
    pub fn all(&self) -> Vec<Dim> {
        let (d, h) = (Dim::Fixed(self.dirs), Dim::Fixed(self.hidden));
        if self.batch_first {
            vec![self.batch.clone(), self.seq.clone(), d, h]
        } else {
            vec![self.seq.clone(), d, self.batch.clone(), h]
        }
    }
    /// Shape of the last states.
    pub fn last(&self) -> Vec<Dim> {
        let (d, h) = (Dim::Fixed(self.dirs), Dim::Fixed(self.hidden));
        if self.batch_first {
            vec![self.batch.clone(), d, h]
        } else {
            vec![d, self.batch.clone(), h]
        }
    }
    /// Index of a state of all steps.
    pub fn all_at(&self, dir: ExprId, b: ExprId, t: ExprId, j: ExprId) -> Vec<ExprId> {
        if self.batch_first {
            vec![b, t, dir, j]
        } else {
            vec![t, dir, b, j]
        }
    }
    /// Index of a last or first state.
    pub fn last_at(&self, dir: ExprId, b: ExprId, j: ExprId) -> Vec<ExprId> {
        if self.batch_first {
            vec![b, dir, j]
        } else {
            vec![dir, b, j]
        }
    }
}

/// Types of the outputs: all states, last state, and `extra` more like the last.
pub fn infer(cx: &mut InferCx, gates: i64, biases: i64, extra: usize) -> Result<()> {
    let d = accept(cx, 0, float)?;
    let s = Sizes::of(cx.attrs, &cx.shape(0)?, &cx.shape(1)?, &cx.shape(2)?, gates)?;
    for i in [1, 2, 3, 5, 6, 7] {
        if cx.opt(i).is_some() && cx.dtype(i)? != d {
            return Err(super::util::mismatch(d, cx.dtype(i)?));
        }
    }
    let fits = |cx: &InferCx, i: usize, want: &[Dim]| -> Result<()> {
        match cx.opt(i) {
            Some(v)
                if v.ty.rank() != want.len()
                    || v.ty.shape.iter().zip(want).any(
                        |(a, b)| matches!((a, b), (Dim::Fixed(a), Dim::Fixed(b)) if a != b),
                    ) =>
            {
                bad(format!("input {i} does not have the shape {want:?}"))
            }
            _ => Ok(()),
        }
    };
    fits(cx, 3, &[Dim::Fixed(s.dirs), Dim::Fixed(biases * s.hidden)])?;
    fits(cx, 4, std::slice::from_ref(&s.batch))?;
    if cx.opt(4).is_some() {
        accept(cx, 4, |d| d == DType::I32)?;
    }
    fits(cx, 5, &s.last())?;
    fits(cx, 6, &s.last())?;
    fits(cx, 7, &[Dim::Fixed(s.dirs), Dim::Fixed(3 * s.hidden)])?;
    cx.out(0, d, s.all());
    for o in 1..2 + extra {
        cx.out(o, d, s.last());
    }
    Ok(())
}

/// A walk over directions, samples and steps.
pub struct Walk {
    /// Sizes.
    pub s: Sizes,
    /// Computing type.
    pub ty: Ty,
    /// The state of one sample.
    pub h: BufId,
    /// Products of the input of all steps of a sample with W, where they are made at once: `[steps, rows]`.
    pub projected: Option<BufId>,
    /// Largest magnitude of what enters an activation.
    clip: Option<f32>,
}

/// One step of one sample.
#[derive(Clone, Copy)]
pub struct Step {
    /// Direction.
    pub dir: ExprId,
    /// Sample.
    pub b: ExprId,
    /// Position in the sequence.
    pub t: ExprId,
}

impl Walk {
    /// Begins. `gates`: rows of state size in W and R.
    pub fn new(cx: &mut LowerCx, gates: i64) -> Result<Walk> {
        let s = Sizes::of_cx(cx, gates)?;
        let h = scratch(cx, "state", s.hidden)?;
        let rows = gates * s.hidden;
        let all = s.seq.clone() * Dim::Fixed(rows);
        let once = strips(cx, 1) && all.bounds(cx.symbols).1 <= MOST_PROJECTED;
        let projected = once.then(|| cx.scratch("projected", DType::F32, all));
        Ok(Walk {
            ty: cx.in_ty(0)?,
            h,
            projected,
            clip: cx.attrs.opt_float("clip"),
            s,
        })
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
    pub fn bias(
        &self,
        cx: &mut LowerCx,
        dir: ExprId,
        j: ExprId,
        part: i64,
        rows: i64,
    ) -> Result<ExprId> {
        if cx.opt(3).is_none() {
            return Ok(cx.b.num(self.ty, 0.0));
        }
        let at = ex!(cx.b; j + {cx.b.i(part * rows)});
        cx.load(3, &[dir, at])
    }
    /// Feature `k` of the input of a step.
    pub fn x(&self, cx: &mut LowerCx, st: Step, k: ExprId) -> Result<ExprId> {
        let index = if self.s.batch_first {
            [st.b, st.t, k]
        } else {
            [st.t, st.b, k]
        };
        cx.load(0, &index)
    }
    /// The first feature of the input of a step.
    pub fn x_at(&self, cx: &mut LowerCx, b: ExprId, t: ExprId) -> Result<ExprId> {
        let zero = cx.b.i(0);
        let index = if self.s.batch_first {
            [b, t, zero]
        } else {
            [t, b, zero]
        };
        let shape = cx.in_shape(0)?;
        Ok(cx.b.offset(&shape, &index))
    }
    /// W times the input of all steps of a sample.
    fn project(&self, cx: &mut LowerCx, d: i64, b: ExprId) -> Result<()> {
        let Some(into) = self.projected else {
            return Ok(());
        };
        let zero = cx.b.i(0);
        let at = self.x_at(cx, b, zero)?;
        let step = match self.s.batch_first {
            true => cx.b.i(self.s.input),
            false => {
                let batch = cx.b.dim(&self.s.batch);
                let input = cx.b.i(self.s.input);
                cx.b.mul(batch, input)
            }
        };
        let rows = cx.in_shape(1)?[1].fixed().unwrap_or(0);
        let a = At {
            buf: cx.input(0)?.buf,
            at,
            row: step,
        };
        let c = At {
            buf: into,
            at: zero,
            row: cx.b.i(rows),
        };
        let matrix = Matrix::of(cx, 1, d, (0, rows), self.s.seq.fixed())?;
        matrix.multiply(cx, &self.s.seq, a, c, Start::Zero)
    }
    /// Sets a state vector from input `i`, or to 0.
    pub fn begin(
        &self,
        cx: &mut LowerCx,
        i: usize,
        buf: BufId,
        dir: ExprId,
        b: ExprId,
    ) -> Result<()> {
        let h = cx.b.i(self.s.hidden);
        cx.for_(h, LoopKind::Lanes, |cx, j| {
            let v = match cx.opt(i) {
                Some(_) => {
                    let at = self.s.last_at(dir, b, j);
                    cx.load(i, &at)?
                }
                None => cx.b.num(self.ty, 0.0),
            };
            cx.b.store(buf, j, v);
            Ok(())
        })
    }
    /// Stores a state vector as last state in output `o`.
    pub fn end(
        &self,
        cx: &mut LowerCx,
        o: usize,
        buf: BufId,
        dir: ExprId,
        b: ExprId,
    ) -> Result<()> {
        let h = cx.b.i(self.s.hidden);
        cx.for_(h, LoopKind::Lanes, |cx, j| {
            let v = cx.b.load(buf, j);
            let at = self.s.last_at(dir, b, j);
            cx.store(o, &at, v);
            Ok(())
        })
    }
    /// Runs `begin`, every step and `end` for each direction and sample. After a step the state stands in `h`.
    pub fn run(
        &self,
        cx: &mut LowerCx,
        begin: &mut dyn FnMut(&mut LowerCx, ExprId, ExprId) -> Result<()>,
        step: &mut dyn FnMut(&mut LowerCx, usize, Step) -> Result<()>,
        end: &mut dyn FnMut(&mut LowerCx, ExprId, ExprId) -> Result<()>,
    ) -> Result<()> {
        let direction = cx.attrs.str("direction", "forward").to_string();
        for d in 0..self.s.dirs {
            let reverse = direction == "reverse" || d == 1;
            let dir = cx.b.i(d);
            let (batch, seq) = (cx.b.dim(&self.s.batch), cx.b.dim(&self.s.seq));
            cx.for_(batch, LoopKind::Seq, |cx, b| {
                let len = match cx.opt(4) {
                    Some(_) => {
                        let l = cx.load(4, &[b])?;
                        let l = cx.b.cast(Ty::I64, l);
                        let zero = cx.b.i(0);
                        let l = cx.b.clamp(l, zero, seq);
                        cx.b.let_(l)
                    }
                    None => seq,
                };
                begin(cx, dir, b)?;
                self.project(cx, d, b)?;
                self.begin(cx, 5, self.h, dir, b)?;
                let hidden = cx.b.i(self.s.hidden);
                cx.for_(len, LoopKind::Seq, |cx, i| {
                    let t = if reverse { ex!(cx.b; (len - 1) - i) } else { i };
                    step(cx, d as usize, Step { dir, b, t })?;
                    cx.for_(hidden, LoopKind::Lanes, |cx, j| {
                        let v = cx.b.load(self.h, j);
                        let at = self.s.all_at(dir, b, t, j);
                        cx.store(0, &at, v);
                        Ok(())
                    })
                })?;
                let rest = cx.b.sub(seq, len);
                cx.for_(rest, LoopKind::Seq, |cx, i| {
                    let t = cx.b.add(len, i);
                    cx.for_(hidden, LoopKind::Lanes, |cx, j| {
                        let zero = cx.b.num(self.ty, 0.0);
                        let at = self.s.all_at(dir, b, t, j);
                        cx.store(0, &at, zero);
                        Ok(())
                    })
                })?;
                self.end(cx, 1, self.h, dir, b)?;
                end(cx, dir, b)
            })?;
        }
        Ok(())
    }
}

/// A vector of the computing type.
pub fn scratch(cx: &mut LowerCx, name: &str, len: i64) -> Result<BufId> {
    let dtype = if cx.in_ty(0)? == Ty::F64 {
        DType::F64
    } else {
        DType::F32
    };
    Ok(cx.scratch(name, dtype, Dim::Fixed(len)))
}
