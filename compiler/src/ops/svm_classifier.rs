//! SVMClassifier of ai.onnx.ml: machines that tell each pair of classes apart vote.
//!
//! The machine of classes i < j sums coefficient x kernel(x, support vector) over the support vectors of both: row j - 1 of the
//! coefficients has those of class i, row i those of class j. Where `prob_a` and `prob_b` are given, the scores are probabilities of
//! classes that fit the pairs best (Wu, Lin and Weng, "Probability estimates for multi-class classification by pairwise coupling",
//! algorithm 2). Without support vectors the coefficients are rows of a linear model. What the specification leaves open is as in onnxruntime.

use super::axes::{fold_n, store_plain};
use super::ml_linear::{best, class_labels, samples};
use super::ml_post;
use super::svm_kernel::{self, Kernel};
use super::util::{accept, bad, number};
use crate::base::attr::{Attr, Attrs};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::build::Builder;
use crate::loops::ir::{BufId, ExprId, LoopKind, Ty, UnOp};
use crate::op::{BASE, InferCx, Lower, OpDef, ReadCx, onnx_in};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&SVM_CLASSIFIER];

/// Outputs: labels of the samples, i64; scores of each sample, f32: of classes, or of pairs where there are no probabilities.
pub static SVM_CLASSIFIER: OpDef = OpDef {
    name: "SVMClassifier",
    onnx: &[onnx_in("ai.onnx.ml", "SVMClassifier", 1, i64::MAX, read)],
    outputs: (2, 2),
    infer,
    lower: Lower::Loops(lower),
    ..BASE
};

/// Most classes: their pairs are constants.
const MAX_CLASSES: i64 = 4096;
/// Rounds of fitting probabilities.
const ROUNDS: i64 = 100;

fn read(cx: &mut ReadCx) -> Result<()> {
    ml_post::read(cx)?;
    let names = class_labels(cx, "classlabels_ints", "classlabels_strings")?;
    cx.set("labels", Attr::Ints(names));
    let counts = cx.ints("vectors_per_class")?.unwrap_or_default();
    cx.set("vectors_per_class", Attr::Ints(counts));
    svm_kernel::read(cx, &["coefficients", "rho", "support_vectors", "prob_a", "prob_b"])
}

/// The sizes that attributes give.
struct Sizes {
    classes: i64,
    /// Support vectors of each class; none: a linear model.
    counts: Vec<i64>,
    supports: i64,
    probable: bool,
}

impl Sizes {
    fn of(attrs: &Attrs) -> Sizes {
        let counts = attrs.ints("vectors_per_class").unwrap_or(&[]).to_vec();
        Sizes {
            classes: attrs.ints("labels").unwrap_or(&[]).len() as i64,
            supports: counts.iter().fold(0, |a, &c| c.saturating_add(a)),
            counts,
            probable: !attrs.floats("prob_a").unwrap_or(&[]).is_empty(),
        }
    }
    fn linear(&self) -> bool {
        self.supports == 0
    }
    fn pairs(&self) -> i64 {
        self.classes * (self.classes - 1) / 2
    }
    /// One score of two classes becomes two.
    fn doubled(&self) -> bool {
        !self.linear() && !self.probable && self.classes == 2
    }
    fn scores(&self) -> i64 {
        match self.linear() || self.probable || self.doubled() {
            true => self.classes,
            false => self.pairs(),
        }
    }
}

fn infer(cx: &mut InferCx) -> Result<()> {
    accept(cx, 0, number)?;
    let (n, features) = samples(&cx.shape(0)?)?;
    let s = Sizes::of(cx.attrs);
    let len = |name| cx.attrs.floats(name).unwrap_or(&[]).len() as i64;
    if !(2..=MAX_CLASSES).contains(&s.classes) {
        return bad(format!("{} classes are not 2 to {MAX_CLASSES}", s.classes));
    }
    let (rows, columns) = match s.linear() {
        true => (s.classes, features),
        false => (s.classes - 1, s.supports),
    };
    let fits = s.linear()
        || (s.counts.len() as i64 == s.classes
            && s.counts.iter().all(|&c| c >= 0)
            && s.supports.checked_mul(features) == Some(len("support_vectors"))
            && len("rho") >= s.pairs());
    if !fits || rows.checked_mul(columns) != Some(len("coefficients")) || len("rho") == 0 {
        return bad("coefficients, support vectors and `rho` do not fit the classes and features");
    }
    if len("prob_a") != len("prob_b") || (s.probable && len("prob_a") < s.pairs()) {
        return bad("`prob_a` and `prob_b` do not fit the pairs of classes");
    }
    if s.doubled() && cx.attrs.str("post_transform", "NONE") != "NONE" {
        return Err(Diagnostic::unsupported(
            "ONNX008",
            "a `post_transform` of one score of two classes",
        ));
    }
    svm_kernel::check(cx.attrs)?;
    cx.out(0, DType::I64, vec![n.clone()]);
    cx.out(1, DType::F32, vec![n, Dim::Fixed(s.scores())]);
    Ok(())
}

fn lower(cx: &mut LowerCx) -> Result<()> {
    let (rows, features) = samples(&cx.in_shape(0)?)?;
    let s = Sizes::of(cx.attrs);
    let names = cx.attrs.ints("labels").unwrap_or(&[]).to_vec();
    let names = cx.constant("labels", Tensor::i64(&[s.classes], &names));
    let scores = cx.scratch("scores", DType::F32, Dim::Fixed(s.scores().max(s.pairs())));
    let extent = cx.b.dim(&rows);
    if s.linear() {
        let weights = floats(cx, "coefficients");
        return cx.for_(extent, LoopKind::Seq, |cx, row| {
            linear(cx, &s, row, weights, features, scores)?;
            let which = chosen(cx, &s, scores)?;
            let label = cx.b.load(names, which);
            store_plain(cx, 0, &[row], label);
            ml_post::store(cx, 1, row, scores, s.scores())
        });
    }
    let machines = Machines::new(cx, &s, features);
    let votes = cx.scratch("votes", DType::F32, Dim::Fixed(s.classes));
    let coupling = s.probable.then(|| Coupling::new(cx, &s));
    cx.for_(extent, LoopKind::Seq, |cx, row| {
        machines.score(cx, &s, row, scores, votes)?;
        let which = best(cx, votes, s.classes)?;
        let label = cx.b.load(names, which);
        store_plain(cx, 0, &[row], label);
        let of_classes = match &coupling {
            Some(c) => c.fit(&mut cx.b, &s, &machines, scores),
            None if s.doubled() => {
                let (zero, one) = (cx.b.i(0), cx.b.i(1));
                let v = cx.b.load(scores, zero);
                let v = cx.b.let_(v);
                let other = cx.b.un(UnOp::Neg, v);
                cx.b.store(scores, one, v);
                cx.b.store(scores, zero, other);
                scores
            }
            None => scores,
        };
        ml_post::store(cx, 1, row, of_classes, s.scores())
    })
}

/// A list of floats of the attributes as a constant.
fn floats(cx: &mut LowerCx, name: &str) -> BufId {
    let v = cx.attrs.floats(name).unwrap_or(&[]).to_vec();
    cx.constant(name, Tensor::f32(&[v.len() as i64], &v))
}

/// Scores of a linear model; one `rho` is for all.
fn linear(
    cx: &mut LowerCx,
    s: &Sizes,
    row: ExprId,
    weights: BufId,
    features: i64,
    scores: BufId,
) -> Result<()> {
    let kernel = Kernel::of(cx.attrs, true);
    let rho = cx.attrs.floats("rho").unwrap_or(&[])[0];
    let (count, f, rho) = (cx.b.i(s.classes), cx.b.i(features), cx.b.f(rho));
    cx.for_(count, LoopKind::Seq, |cx, c| {
        let v = kernel.value(cx, row, weights, c, f)?;
        let v = cx.b.add(v, rho);
        cx.b.store(scores, c, v);
        Ok(())
    })
}

/// The class that a linear model chooses: the best; of two the second, where the best score is large enough.
fn chosen(cx: &mut LowerCx, s: &Sizes, scores: BufId) -> Result<ExprId> {
    let which = best(cx, scores, s.classes)?;
    if s.classes != 2 || s.probable {
        return Ok(which);
    }
    let weights = cx.attrs.floats("coefficients").unwrap_or(&[]);
    let positive = weights.iter().all(|&w| w >= 0.0);
    let (top, one) = (cx.b.load(scores, which), cx.b.i(1));
    let limit = cx.b.f(if positive { 0.5 } else { 0.0 });
    let enough = if positive { cx.b.le(limit, top) } else { cx.b.lt(limit, top) };
    Ok(cx.b.select(enough, one, which))
}

/// The machines of all pairs of classes.
struct Machines {
    kernel: Kernel,
    features: i64,
    vectors: BufId,
    coefficients: BufId,
    rho: BufId,
    /// Kernel values of a sample.
    near: BufId,
    /// First and second class of each pair.
    classes: [BufId; 2],
    /// Where the support vectors of each class start, and how many there are.
    starts: BufId,
    counts: BufId,
}

impl Machines {
    fn new(cx: &mut LowerCx, s: &Sizes, features: i64) -> Machines {
        let pairs: Vec<(i64, i64)> =
            (0..s.classes).flat_map(|i| (i + 1..s.classes).map(move |j| (i, j))).collect();
        let mut start = 0;
        let starts: Vec<i64> = s
            .counts
            .iter()
            .map(|c| {
                start += c;
                start - c
            })
            .collect();
        let list = |v: &[i64]| Tensor::i64(&[v.len() as i64], v);
        let firsts: Vec<i64> = pairs.iter().map(|p| p.0).collect();
        let seconds: Vec<i64> = pairs.iter().map(|p| p.1).collect();
        Machines {
            kernel: Kernel::of(cx.attrs, false),
            features,
            vectors: floats(cx, "support_vectors"),
            coefficients: floats(cx, "coefficients"),
            rho: floats(cx, "rho"),
            near: cx.scratch("near", DType::F32, Dim::Fixed(s.supports)),
            classes: [
                cx.constant("first", list(&firsts)),
                cx.constant("second", list(&seconds)),
            ],
            starts: cx.constant("starts", list(&starts)),
            counts: cx.constant("counts", list(&s.counts)),
        }
    }

    /// Scores of all pairs, and how many of them each class won.
    fn score(
        &self,
        cx: &mut LowerCx,
        s: &Sizes,
        row: ExprId,
        scores: BufId,
        votes: BufId,
    ) -> Result<()> {
        let (supports, features) = (cx.b.i(s.supports), cx.b.i(self.features));
        cx.for_(supports, LoopKind::Seq, |cx, v| {
            let k = self.kernel.value(cx, row, self.vectors, v, features)?;
            cx.b.store(self.near, v, k);
            Ok(())
        })?;
        let classes = cx.b.i(s.classes);
        let (zero, one) = (cx.b.f(0.0), cx.b.f(1.0));
        cx.b.for_(classes, LoopKind::Seq, |b, c| b.store(votes, c, zero));
        let pairs = cx.b.i(s.pairs());
        cx.for_(pairs, LoopKind::Seq, |cx, p| {
            let (i, j) = (cx.b.load(self.classes[0], p), cx.b.load(self.classes[1], p));
            let (i, j) = (cx.b.let_(i), cx.b.let_(j));
            let before = ex!(cx.b; j - 1);
            // Large coefficients of both classes leave little: sums are made in f64.
            let init = cx.b.load(self.rho, p);
            let init = cx.b.cast(Ty::F64, init);
            let sum = self.part(cx, i, before, supports, init)?;
            let sum = self.part(cx, j, i, supports, sum)?;
            let score = cx.b.cast(Ty::F32, sum);
            cx.b.store(scores, p, score);
            let none = cx.b.num(Ty::F64, 0.0);
            let won = cx.b.lt(none, sum);
            let winner = cx.b.select(won, i, j);
            let winner = cx.b.let_(winner);
            let v = cx.b.load(votes, winner);
            let v = cx.b.add(v, one);
            cx.b.store(votes, winner, v);
            Ok(())
        })
    }

    /// Adds the support vectors of a class, with a row of the coefficients.
    fn part(
        &self,
        cx: &mut LowerCx,
        class: ExprId,
        row: ExprId,
        supports: ExprId,
        init: ExprId,
    ) -> Result<ExprId> {
        let (start, count) = (cx.b.load(self.starts, class), cx.b.load(self.counts, class));
        let (start, count) = (cx.b.let_(start), cx.b.let_(count));
        let at = ex!(cx.b; (row * supports) + start);
        let at = cx.b.let_(at);
        fold_n(cx, count, init, |cx, k, sum| {
            let c = ex!(cx.b; at + k);
            let c = cx.b.load(self.coefficients, c);
            let n = ex!(cx.b; start + k);
            let n = cx.b.load(self.near, n);
            let (c, n) = (cx.b.cast(Ty::F64, c), cx.b.cast(Ty::F64, n));
            Ok(cx.b.fma(c, n, sum))
        })
    }
}

/// Probabilities of classes from those of pairs.
struct Coupling {
    a: BufId,
    b: BufId,
    /// How likely the class of the row is where it or that of the column is right.
    pairs: BufId,
    /// The quadratic form whose least value is looked for.
    form: BufId,
    /// It times the probabilities.
    product: BufId,
    probabilities: BufId,
}

/// The sum of `count` values.
fn sum(b: &mut Builder, count: ExprId, f: impl FnOnce(&mut Builder, ExprId) -> ExprId) -> ExprId {
    let zero = b.f(0.0);
    let acc = b.var(zero);
    b.for_(count, LoopKind::Seq, |b, i| {
        let v = f(b, i);
        let old = b.get(acc);
        let new = b.add(old, v);
        b.set(acc, new);
    });
    let v = b.get(acc);
    b.let_(v)
}

impl Coupling {
    fn new(cx: &mut LowerCx, s: &Sizes) -> Coupling {
        let (vector, square) = (Dim::Fixed(s.classes), Dim::Fixed(s.classes * s.classes));
        Coupling {
            a: floats(cx, "prob_a"),
            b: floats(cx, "prob_b"),
            pairs: cx.scratch("pairs", DType::F32, square.clone()),
            form: cx.scratch("form", DType::F32, square),
            product: cx.scratch("product", DType::F32, vector.clone()),
            probabilities: cx.scratch("probabilities", DType::F32, vector),
        }
    }

    /// Probabilities of the classes.
    fn fit(&self, b: &mut Builder, s: &Sizes, machines: &Machines, scores: BufId) -> BufId {
        let n = b.i(s.classes);
        self.of_pairs(b, s, machines, scores);
        self.set_form(b, n);
        let even = b.f(1.0 / s.classes as f32);
        b.for_(n, LoopKind::Seq, |b, i| b.store(self.probabilities, i, even));
        let none = b.i(0);
        let round = b.var(none);
        let (now, rounds) = (b.get(round), b.i(ROUNDS));
        let more = b.lt(now, rounds);
        let near = b.f(0.005 / s.classes as f32);
        b.while_(more, |b| {
            let (form, error) = self.multiply(b, n);
            let far = b.le(near, error);
            let next = ex!(b; now + 1);
            let next = b.select(far, next, rounds);
            let next = b.let_(next);
            b.if_(far, |b| self.step(b, n, form), |_| {});
            b.set(round, next);
        });
        self.probabilities
    }

    /// Sigmoids of the scores, not quite 0 or 1.
    fn of_pairs(&self, b: &mut Builder, s: &Sizes, machines: &Machines, scores: BufId) {
        let (n, pairs) = (b.i(s.classes), b.i(s.pairs()));
        b.for_(pairs, LoopKind::Seq, |b, p| {
            let (v, a, c) = (b.load(scores, p), b.load(self.a, p), b.load(self.b, p));
            let x = b.fma(v, a, c);
            let x = b.un(UnOp::Neg, x);
            let x = b.un(UnOp::Sigmoid, x);
            let (lo, hi) = (b.f(1e-7), b.f(1.0 - 1e-7));
            let x = b.clamp(x, lo, hi);
            let x = b.let_(x);
            let (i, j) = (b.load(machines.classes[0], p), b.load(machines.classes[1], p));
            let (there, back) = (ex!(b; (i * n) + j), ex!(b; (j * n) + i));
            let rest = ex!(b; 1.0 - x);
            b.store(self.pairs, there, x);
            b.store(self.pairs, back, rest);
        });
    }

    fn set_form(&self, b: &mut Builder, n: ExprId) {
        b.for_(n, LoopKind::Seq, |b, i| {
            let squares = sum(b, n, |b, j| {
                let back = ex!(b; (j * n) + i);
                let r = b.load(self.pairs, back);
                let square = b.mul(r, r);
                let (same, zero) = (b.eq(i, j), b.f(0.0));
                b.select(same, zero, square)
            });
            b.for_(n, LoopKind::Seq, |b, j| {
                let (there, back) = (ex!(b; (i * n) + j), ex!(b; (j * n) + i));
                let (r, q) = (b.load(self.pairs, there), b.load(self.pairs, back));
                let v = b.mul(r, q);
                let v = b.un(UnOp::Neg, v);
                let same = b.eq(i, j);
                let v = b.select(same, squares, v);
                b.store(self.form, there, v);
            });
        });
    }

    /// The form times the probabilities, its value, and the largest difference of an element from the value: 0 where it is least.
    fn multiply(&self, b: &mut Builder, n: ExprId) -> (ExprId, ExprId) {
        b.for_(n, LoopKind::Seq, |b, i| {
            let v = sum(b, n, |b, j| {
                let at = ex!(b; (i * n) + j);
                let (q, p) = (b.load(self.form, at), b.load(self.probabilities, j));
                b.mul(q, p)
            });
            b.store(self.product, i, v);
        });
        let form = sum(b, n, |b, i| {
            let (p, q) = (b.load(self.probabilities, i), b.load(self.product, i));
            b.mul(p, q)
        });
        let zero = b.f(0.0);
        let worst = b.var(zero);
        b.for_(n, LoopKind::Seq, |b, i| {
            let q = b.load(self.product, i);
            let d = b.sub(q, form);
            let d = b.un(UnOp::Abs, d);
            let old = b.get(worst);
            let new = b.max(d, old);
            b.set(worst, new);
        });
        let error = b.get(worst);
        (form, b.let_(error))
    }

    /// Changes one probability after the other.
    fn step(&self, b: &mut Builder, n: ExprId, form: ExprId) {
        let value = b.var(form);
        b.for_(n, LoopKind::Seq, |b, i| {
            let now = b.get(value);
            let now = b.let_(now);
            let diagonal = ex!(b; (i * n) + i);
            let q = b.load(self.form, diagonal);
            let q = b.let_(q);
            let product = b.load(self.product, i);
            let product = b.let_(product);
            let change = ex!(b; (now - product) / q);
            let change = b.let_(change);
            let p = b.load(self.probabilities, i);
            let p = b.add(p, change);
            b.store(self.probabilities, i, p);
            let all = ex!(b; change + 1.0);
            let all = b.let_(all);
            let new = ex!(b; (now + (change * ((change * q) + (product * 2.0)))) / (all * all));
            b.set(value, new);
            b.for_(n, LoopKind::Seq, |b, j| {
                let at = ex!(b; (i * n) + j);
                let (r, q) = (b.load(self.product, j), b.load(self.form, at));
                let r = ex!(b; (r + (change * q)) / all);
                b.store(self.product, j, r);
                let p = b.load(self.probabilities, j);
                let p = b.div(p, all);
                b.store(self.probabilities, j, p);
            });
        });
    }
}
