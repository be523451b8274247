//! TreeEnsembleClassifier, TreeEnsembleRegressor, TreeEnsemble: every tree is walked from its root to a leaf, whose weights
//! are gathered into scores.

use super::axes::store_plain;
use super::ml_linear::{best, samples};
use super::ml_post;
use super::ml_tree::LEAF;
use super::ml_tree_read::{read_classifier, read_ensemble, read_regressor};
use super::util::{accept, bad, number};
use crate::base::attr::Attrs;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{BufId, ExprId, LoopKind, Ty, UnOp};
use crate::op::{BASE, InferCx, Lower, OpDef, onnx_in};
use std::collections::BTreeMap;

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&CLASSIFIER, &REGRESSOR];

/// Outputs: label, scores.
pub static CLASSIFIER: OpDef = OpDef {
    name: "TreeEnsembleClassifier",
    onnx: &[onnx_in(
        "ai.onnx.ml",
        "TreeEnsembleClassifier",
        1,
        i64::MAX,
        read_classifier,
    )],
    outputs: (2, 2),
    infer: infer_classifier,
    lower: Lower::Loops(classifier),
    ..BASE
};

/// Output: scores.
pub static REGRESSOR: OpDef = OpDef {
    name: "TreeEnsemble",
    onnx: &[
        onnx_in(
            "ai.onnx.ml",
            "TreeEnsembleRegressor",
            1,
            i64::MAX,
            read_regressor,
        ),
        onnx_in("ai.onnx.ml", "TreeEnsemble", 5, i64::MAX, read_ensemble),
    ],
    infer: infer_regressor,
    lower: Lower::Loops(regressor),
    ..BASE
};

/// Checks features and targets against the input.
fn check(attrs: &Attrs, features: i64, targets: i64) -> Result<()> {
    let range = |name: &str, n: i64| {
        attrs
            .ints(name)
            .unwrap_or(&[])
            .iter()
            .all(|v| (0..n).contains(v))
    };
    // Leaves have a feature number too, which nobody reads.
    let used = attrs
        .ints("features")
        .unwrap_or(&[])
        .iter()
        .zip(attrs.ints("modes").unwrap_or(&[]));
    if used
        .into_iter()
        .any(|(f, m)| *m != LEAF && !(0..features).contains(f))
    {
        return bad(format!("a tree looks at a feature beyond {features}"));
    }
    if !range("leaf_targets", targets) {
        return bad(format!("a leaf has a target beyond {targets}"));
    }
    let base = attrs.tensor("base_values").map_or(0, Tensor::len) as i64;
    if base != 0 && base != targets && !(base == 1 && targets <= 2) {
        return bad(format!("{base} base values for {targets} targets"));
    }
    Ok(())
}

fn infer_classifier(cx: &mut InferCx) -> Result<()> {
    accept(cx, 0, number)?;
    let (n, f) = samples(&cx.shape(0)?)?;
    let labels = cx.attrs.ints("labels").unwrap_or(&[]).len() as i64;
    if labels == 0 {
        return bad("a classifier without labels");
    }
    check(cx.attrs, f, labels.max(2))?;
    cx.out(0, DType::I64, vec![n.clone()]);
    cx.out(1, DType::F32, vec![n, Dim::Fixed(labels)]);
    Ok(())
}

fn infer_regressor(cx: &mut InferCx) -> Result<()> {
    let d = accept(cx, 0, number)?;
    let (n, f) = samples(&cx.shape(0)?)?;
    let targets = cx.attrs.int("n_targets", 1);
    if !(1..1 << 24).contains(&targets) {
        return bad("`n_targets` must be positive");
    }
    check(cx.attrs, f, targets)?;
    let modern = cx
        .attrs
        .tensor("values")
        .is_some_and(|t| t.dtype == DType::F64)
        && d == DType::F64;
    cx.out(
        0,
        if modern { d } else { DType::F32 },
        vec![n, Dim::Fixed(targets)],
    );
    Ok(())
}

/// The constant tables of the trees, and the scores of a sample.
struct Walk {
    roots: i64,
    tables: BTreeMap<&'static str, BufId>,
    ty: Ty,
    modes: Vec<i64>,
    scores: BufId,
    any_missing: bool,
}

impl Walk {
    fn new(cx: &mut LowerCx, targets: i64) -> Walk {
        let attrs = cx.attrs;
        let mut tables = BTreeMap::new();
        for name in [
            "roots",
            "modes",
            "features",
            "yes",
            "no",
            "missing",
            "leaf_targets",
            "member_first",
            "member_end",
        ] {
            let v: Vec<f64> = attrs
                .ints(name)
                .unwrap_or(&[])
                .iter()
                .map(|&x| x as f64)
                .collect();
            let t = Tensor::from_f64s(DType::I32, &[v.len() as i64], &v);
            tables.insert(name, cx.constant(name, t));
        }
        let mut dtype = DType::F32;
        for name in ["values", "leaf_weights", "members"] {
            if let Some(t) = attrs.tensor(name) {
                dtype = t.dtype;
                tables.insert(name, cx.constant(name, t.clone()));
            }
        }
        let mut modes = attrs.ints("modes").unwrap_or(&[]).to_vec();
        modes.sort_unstable();
        modes.dedup();
        Walk {
            roots: attrs.ints("roots").unwrap_or(&[]).len() as i64,
            tables,
            ty: Ty::of(dtype),
            modes,
            scores: cx.scratch("scores", dtype, Dim::Fixed(targets)),
            any_missing: attrs.ints("missing").unwrap_or(&[]).contains(&1),
        }
    }
    fn int(&self, cx: &mut LowerCx, name: &str, at: ExprId) -> ExprId {
        let v = cx.b.load(self.tables[name], at);
        cx.b.cast(Ty::I64, v)
    }
    /// The leaf that a sample reaches from a root.
    fn leaf(&self, cx: &mut LowerCx, root: ExprId, row: ExprId, features: i64) -> Result<ExprId> {
        let node = cx.b.var(root);
        let at = cx.b.get(node);
        let mode = self.int(cx, "modes", at);
        let going = ex!(cx.b; mode != {cx.b.i(LEAF)});
        cx.b.open_block();
        let feature = self.int(cx, "features", at);
        let from = ex!(cx.b; (row * {cx.b.i(features)}) + feature);
        let x = cx.load_flat(0, from)?;
        let x = cx.b.cast(self.ty, x);
        let x = cx.b.let_(x);
        let v = cx.b.load(self.tables["values"], at);
        let v = cx.b.let_(v);
        let mut holds = cx.b.bool(false);
        for &m in &self.modes {
            let c = match m {
                0 => cx.b.le(x, v),
                1 => cx.b.lt(x, v),
                2 => cx.b.le(v, x),
                3 => cx.b.lt(v, x),
                4 => cx.b.eq(x, v),
                5 => cx.b.ne(x, v),
                6 => self.member(cx, at, x)?,
                _ => continue,
            };
            let this = ex!(cx.b; mode == {cx.b.i(m)});
            holds = cx.b.select(this, c, holds);
        }
        if self.any_missing {
            let nan = cx.b.ne(x, x);
            let m = self.int(cx, "missing", at);
            let tracks = ex!(cx.b; m != 0);
            let missing = cx.b.and(nan, tracks);
            holds = cx.b.or(holds, missing);
        }
        let (yes, no) = (self.int(cx, "yes", at), self.int(cx, "no", at));
        let next = cx.b.select(holds, yes, no);
        cx.b.set(node, next);
        let body = cx.b.close_block();
        cx.b.stmt(crate::loops::ir::Stmt::While { cond: going, body });
        Ok(cx.b.let_(at))
    }
    fn member(&self, cx: &mut LowerCx, at: ExprId, x: ExprId) -> Result<ExprId> {
        let (first, end) = (
            self.int(cx, "member_first", at),
            self.int(cx, "member_end", at),
        );
        let count = cx.b.sub(end, first);
        let none = cx.b.bool(false);
        super::axes::fold_n(cx, count, none, |cx, i, any| {
            let k = cx.b.add(first, i);
            let v = cx.b.load(self.tables["members"], k);
            let hit = cx.b.eq(v, x);
            Ok(cx.b.or(any, hit))
        })
    }
    /// Sets the scores to `init` and gathers the weights of every tree.
    fn gather(
        &self,
        cx: &mut LowerCx,
        row: ExprId,
        features: i64,
        targets: i64,
        init: f64,
        how: &str,
    ) -> Result<()> {
        let n = cx.b.i(targets);
        let start = cx.b.num(self.ty, init);
        cx.b.for_(n, LoopKind::Seq, |b, i| b.store(self.scores, i, start));
        let roots = cx.b.i(self.roots);
        cx.for_(roots, LoopKind::Seq, |cx, t| {
            let root = self.int(cx, "roots", t);
            let leaf = self.leaf(cx, root, row, features)?;
            let (first, end) = (self.int(cx, "yes", leaf), self.int(cx, "no", leaf));
            let first = cx.b.let_(first);
            let count = cx.b.sub(end, first);
            cx.for_(count, LoopKind::Seq, |cx, i| {
                let k = cx.b.add(first, i);
                let target = self.int(cx, "leaf_targets", k);
                let target = cx.b.let_(target);
                let w = cx.b.load(self.tables["leaf_weights"], k);
                let old = cx.b.load(self.scores, target);
                let new = match how {
                    "MIN" => cx.b.min(w, old),
                    "MAX" => cx.b.max(w, old),
                    _ => cx.b.add(old, w),
                };
                cx.b.store(self.scores, target, new);
                Ok(())
            })
        })
    }
    fn add_base(&self, cx: &mut LowerCx, targets: i64) {
        let base = cx
            .attrs
            .tensor("base_values")
            .and_then(Tensor::to_f64s)
            .unwrap_or_default();
        for (i, v) in base.iter().enumerate().take(targets as usize) {
            let i = cx.b.i(i as i64);
            let old = cx.b.load(self.scores, i);
            let v = cx.b.num(self.ty, *v);
            let new = cx.b.add(old, v);
            cx.b.store(self.scores, i, new);
        }
    }
}

fn regressor(cx: &mut LowerCx) -> Result<()> {
    let (n, features) = samples(&cx.in_shape(0)?)?;
    let targets = cx.attrs.int("n_targets", 1);
    let how = cx.attrs.str("aggregate_function", "SUM").to_string();
    let walk = Walk::new(cx, targets);
    let init = match how.as_str() {
        "MIN" => f64::INFINITY,
        "MAX" => f64::NEG_INFINITY,
        "SUM" | "AVERAGE" => 0.0,
        h => {
            return Err(Diagnostic::unsupported(
                "ONNX008",
                format!("`aggregate_function` = {h}"),
            ));
        }
    };
    let count = cx.b.dim(&n);
    cx.for_(count, LoopKind::Seq, |cx, row| {
        walk.gather(cx, row, features, targets, init, &how)?;
        let each = cx.b.i(targets);
        cx.for_(each, LoopKind::Seq, |cx, i| {
            let v = cx.b.load(walk.scores, i);
            let v = match how.as_str() {
                "AVERAGE" => ex!(cx.b; v / {cx.b.num(walk.ty, walk.roots as f64)}),
                // A target that no leaf names is 0.
                "MIN" | "MAX" => {
                    let start = cx.b.num(walk.ty, init);
                    let zero = cx.b.num(walk.ty, 0.0);
                    ex!(cx.b; select((v == start), zero, v))
                }
                _ => v,
            };
            cx.b.store(walk.scores, i, v);
            Ok(())
        })?;
        walk.add_base(cx, targets);
        ml_post::store(cx, 0, row, walk.scores, targets)
    })
}

fn classifier(cx: &mut LowerCx) -> Result<()> {
    let (n, features) = samples(&cx.in_shape(0)?)?;
    let labels = cx.attrs.ints("labels").unwrap_or(&[]).to_vec();
    let classes = labels.len() as i64;
    let walk = Walk::new(cx, classes.max(2));
    let names = cx.constant("labels", Tensor::i64(&[classes], &labels));
    let mut used = cx.attrs.ints("leaf_targets").unwrap_or(&[]).to_vec();
    used.sort_unstable();
    used.dedup();
    // One score for two labels.
    let single = classes <= 2 && used.len() <= 1;
    let positive = cx
        .attrs
        .tensor("leaf_weights")
        .and_then(Tensor::to_f64s)
        .is_some_and(|w| w.iter().all(|v| *v >= 0.0));
    let count = cx.b.dim(&n);
    cx.for_(count, LoopKind::Seq, |cx, row| {
        walk.gather(cx, row, features, classes.max(2), 0.0, "SUM")?;
        if single {
            let which = used.first().copied().unwrap_or(0);
            return two_labels(cx, &walk, row, names, which, classes, positive);
        }
        walk.add_base(cx, classes);
        let which = best(cx, walk.scores, classes)?;
        let label = cx.b.load(names, which);
        store_plain(cx, 0, &[row], label);
        ml_post::store(cx, 1, row, walk.scores, classes)
    })
}

fn two_labels(
    cx: &mut LowerCx,
    walk: &Walk,
    row: ExprId,
    names: BufId,
    which: i64,
    classes: i64,
    positive: bool,
) -> Result<()> {
    let base = cx
        .attrs
        .tensor("base_values")
        .and_then(Tensor::to_f64s)
        .unwrap_or_default();
    let at = cx.b.i(which);
    let s = cx.b.load(walk.scores, at);
    let base = base.get(1).or(base.first()).copied().unwrap_or(0.0);
    let base = cx.b.num(walk.ty, base);
    let s = cx.b.add(s, base);
    let s = cx.b.let_(s);
    let (zero, one) = (cx.b.i(0), cx.b.i(1));
    let limit = cx.b.num(walk.ty, if positive { 0.5 } else { 0.0 });
    let second = cx.b.lt(limit, s);
    let last = cx.b.i(classes - 1);
    let label_at = cx.b.select(second, last, zero);
    let label = cx.b.load(names, label_at);
    store_plain(cx, 0, &[row], label);
    let post = cx.attrs.str("post_transform", "NONE").to_string();
    let neg = cx.b.un(UnOp::Neg, s);
    let (first, other) = match (post.as_str(), positive) {
        ("PROBIT", _) => {
            let p = ml_post::probit(&mut cx.b, s);
            (cx.b.un(UnOp::Neg, p), p)
        }
        (_, true) => (ex!(cx.b; 1.0 - s), s),
        ("LOGISTIC", _) => (
            ml_post::logistic(&mut cx.b, neg),
            ml_post::logistic(&mut cx.b, s),
        ),
        _ => (neg, s),
    };
    if classes == 1 {
        store_plain(cx, 1, &[row, zero], other);
        return Ok(());
    }
    store_plain(cx, 1, &[row, zero], first);
    store_plain(cx, 1, &[row, one], other);
    Ok(())
}
