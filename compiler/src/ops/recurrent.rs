//! What LSTM, GRU and RNN share: attributes, activations, shapes.

use super::util::{accept, bad, float};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::Result;
use crate::base::dim::{Dim, fixed_shape};
use crate::base::dtype::DType;
use crate::contracts::finish::Activation;
use crate::kernel::LowerCx;
use crate::loops::ir::ExprId;
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

/// The activations of each direction, `per` each.
pub fn activations(attrs: &Attrs, per: usize) -> Result<Vec<Vec<Activation>>> {
    let names = attrs.strs("activations").unwrap_or(&[]);
    let params = attrs.floats("activation_params").unwrap_or(&[]);
    let one = |(i, name): (usize, &String)| -> Result<Activation> {
        let mut a = Activation::of(name)?;
        a.alpha = params.get(2 * i).copied().unwrap_or(a.alpha);
        a.beta = params.get(2 * i + 1).copied().unwrap_or(a.beta);
        Ok(a)
    };
    let all: Vec<Activation> = names.iter().enumerate().map(one).collect::<Result<_>>()?;
    let each: Vec<_> = all.chunks_exact(per).map(<[_]>::to_vec).collect();
    match each.is_empty() {
        true => bad("there are no activations"),
        false => Ok(each),
    }
}

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
    /// Sequences at most: directions of samples.
    pub fn sequences(&self, cx: &LowerCx) -> i64 {
        self.batch.bounds(cx.symbols).1.saturating_mul(self.dirs)
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
