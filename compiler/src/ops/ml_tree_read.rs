//! Reading tree ensembles: the lists of the first versions and those of version 5, brought to [`Trees`] and kept as
//! attributes.

use super::ml_linear::class_labels;
use super::ml_post;
use super::ml_tree::{MODES, Raw, Trees};
use super::util::bad;
use crate::base::attr::Attr;
use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::op::ReadCx;
use std::collections::BTreeMap;

/// Floats of attribute `name`, or of its twin that is a tensor; says whether they are doubles.
fn numbers(cx: &mut ReadCx, name: &str, double: &mut bool) -> Result<Vec<f64>> {
    if let Some(t) = cx.tensor(&format!("{name}_as_tensor"))?
        && !t.is_empty()
    {
        *double |= t.dtype == DType::F64;
        return t
            .to_f64s()
            .map_or_else(|| bad(format!("`{name}` must be floats")), Ok);
    }
    Ok(cx
        .floats(name)?
        .unwrap_or_default()
        .into_iter()
        .map(f64::from)
        .collect())
}

/// Keeps the trees as attributes.
fn keep(cx: &mut ReadCx, t: Trees, double: bool) {
    let dtype = if double { DType::F64 } else { DType::F32 };
    let n = |v: &[f64]| Tensor::from_f64s(dtype, &[v.len() as i64], v);
    let (firsts, ends) = t.member_range.iter().copied().unzip();
    for (name, v) in [
        ("roots", t.roots),
        ("modes", t.modes),
        ("features", t.features),
        ("yes", t.yes),
        ("no", t.no),
        ("missing", t.missing),
        ("leaf_targets", t.targets),
        ("member_first", firsts),
        ("member_end", ends),
    ] {
        cx.set(name, Attr::Ints(v));
    }
    cx.set("values", Attr::Tensor(n(&t.values)));
    cx.set("leaf_weights", Attr::Tensor(n(&t.weights)));
    cx.set("members", Attr::Tensor(n(&t.members)));
}

/// Reads the form of the first versions; `kind` is `class` or `target`.
fn read_old(cx: &mut ReadCx, kind: &str) -> Result<()> {
    ml_post::read(cx)?;
    let mut double = false;
    let ints = |cx: &mut ReadCx, name: &str| -> Result<Vec<i64>> {
        Ok(cx.ints(name)?.unwrap_or_default())
    };
    let trees = ints(cx, "nodes_treeids")?;
    let ids = ints(cx, "nodes_nodeids")?;
    let features = ints(cx, "nodes_featureids")?;
    let (yes, no) = (
        ints(cx, "nodes_truenodeids")?,
        ints(cx, "nodes_falsenodeids")?,
    );
    let missing = ints(cx, "nodes_missing_value_tracks_true")?;
    let modes = cx.strs("nodes_modes")?.unwrap_or_default();
    let values = numbers(cx, "nodes_values", &mut double)?;
    cx.ignore("nodes_hitrates");
    cx.ignore("nodes_hitrates_as_tensor");
    let leaf_trees = ints(cx, &format!("{kind}_treeids"))?;
    let leaf_ids = ints(cx, &format!("{kind}_nodeids"))?;
    let leaf_targets = ints(cx, &format!("{kind}_ids"))?;
    let leaf_weights = numbers(cx, &format!("{kind}_weights"), &mut double)?;
    let base = numbers(cx, "base_values", &mut double)?;
    let n = ids.len();
    let same = [
        trees.len(),
        features.len(),
        yes.len(),
        no.len(),
        modes.len(),
        values.len(),
    ];
    if same.iter().any(|&l| l != n) || !(missing.is_empty() || missing.len() == n) {
        return bad("the lists of the nodes have different lengths");
    }
    let l = leaf_ids.len();
    if leaf_trees.len() != l || leaf_targets.len() != l || leaf_weights.len() != l {
        return bad("the lists of the leaves have different lengths");
    }
    let mut places = BTreeMap::new();
    for i in 0..n {
        if places.insert((trees[i], ids[i]), i).is_some() {
            return bad(format!("node {} of tree {} stands twice", ids[i], trees[i]));
        }
    }
    let find = |tree: i64, id: i64| places.get(&(tree, id)).copied().unwrap_or(usize::MAX);
    let mut raw = vec![];
    for i in 0..n {
        let mode = match modes[i].as_str() {
            "LEAF" => None,
            m => match MODES.iter().position(|x| *x == m) {
                Some(p) => Some(p),
                None => return bad(format!("`nodes_modes` has {m}")),
            },
        };
        raw.push(Raw {
            mode,
            feature: features[i],
            value: values[i],
            children: (find(trees[i], yes[i]), find(trees[i], no[i])),
            missing: missing.get(i).is_some_and(|&m| m != 0),
            ..Raw::default()
        });
    }
    for i in 0..l {
        match raw.get_mut(find(leaf_trees[i], leaf_ids[i])) {
            Some(r) => r.leaf.push((leaf_targets[i], leaf_weights[i])),
            None => return bad("a weight belongs to no node"),
        }
    }
    // The first node of a tree in the file is its root.
    let mut roots = vec![];
    let mut known = std::collections::BTreeSet::new();
    for (i, t) in trees.iter().enumerate() {
        if known.insert(*t) {
            roots.push(i);
        }
    }
    let built = Trees::build(&raw, &roots)?;
    cx.set(
        "base_values",
        Attr::Tensor(Tensor::from_f64s(DType::F64, &[base.len() as i64], &base)),
    );
    keep(cx, built, double);
    Ok(())
}

/// Reads TreeEnsembleClassifier.
pub fn read_classifier(cx: &mut ReadCx) -> Result<()> {
    let labels = class_labels(cx, "classlabels_int64s", "classlabels_strings")?;
    cx.set("labels", Attr::Ints(labels));
    read_old(cx, "class")
}

/// Reads TreeEnsembleRegressor.
pub fn read_regressor(cx: &mut ReadCx) -> Result<()> {
    cx.keep_str("aggregate_function", "SUM")?;
    cx.keep_int("n_targets", 1)?;
    read_old(cx, "target")
}

/// Reads TreeEnsemble of version 5.
pub fn read_ensemble(cx: &mut ReadCx) -> Result<()> {
    let pick = |names: &[&str], i: i64, what: &str| match names.get(i as usize) {
        Some(n) => Ok(n.to_string()),
        None => bad(format!("`{what}` = {i} is not known")),
    };
    let aggregate = cx.int("aggregate_function", 1)?;
    let aggregate = pick(
        &["AVERAGE", "SUM", "MIN", "MAX"],
        aggregate,
        "aggregate_function",
    )?;
    cx.set("aggregate_function", Attr::Str(aggregate));
    let post = cx.int("post_transform", 0)?;
    let post = pick(
        &["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"],
        post,
        "post_transform",
    )?;
    cx.set("post_transform", Attr::Str(post));
    cx.keep_int("n_targets", 1)?;
    cx.ignore("nodes_hitrates");
    let ints = |cx: &mut ReadCx, name: &str| -> Result<Vec<i64>> {
        Ok(cx.ints(name)?.unwrap_or_default())
    };
    let mut double = false;
    let mut floats = |cx: &mut ReadCx, name: &str| -> Result<Vec<f64>> {
        let Some(t) = cx.tensor(name)? else {
            return Ok(vec![]);
        };
        double |= t.dtype == DType::F64;
        t.to_f64s()
            .map_or_else(|| bad(format!("`{name}` must be numbers")), Ok)
    };
    let (modes, splits) = (floats(cx, "nodes_modes")?, floats(cx, "nodes_splits")?);
    let (weights, members) = (
        floats(cx, "leaf_weights")?,
        floats(cx, "membership_values")?,
    );
    let features = ints(cx, "nodes_featureids")?;
    let (yes, no) = (
        ints(cx, "nodes_truenodeids")?,
        ints(cx, "nodes_falsenodeids")?,
    );
    let (yes_leaf, no_leaf) = (ints(cx, "nodes_trueleafs")?, ints(cx, "nodes_falseleafs")?);
    let (targets, roots) = (ints(cx, "leaf_targetids")?, ints(cx, "tree_roots")?);
    let missing = ints(cx, "nodes_missing_value_tracks_true")?;
    let n = modes.len();
    let same = [
        splits.len(),
        features.len(),
        yes.len(),
        no.len(),
        yes_leaf.len(),
        no_leaf.len(),
    ];
    if same.iter().any(|&l| l != n) || weights.len() != targets.len() {
        return bad("the lists of the nodes have different lengths");
    }
    let mut sets = members.split(|v| v.is_nan());
    let place = |id: i64, leaf: i64| {
        let id = usize::try_from(id).unwrap_or(usize::MAX);
        if leaf != 0 { id.saturating_add(n) } else { id }
    };
    let mut raw = vec![];
    for i in 0..n {
        let mode = modes[i] as usize;
        if mode >= MODES.len() {
            return bad(format!("`nodes_modes` has {mode}"));
        }
        let set = if mode == 6 {
            sets.next().unwrap_or(&[])
        } else {
            &[]
        };
        raw.push(Raw {
            mode: Some(mode),
            feature: features[i],
            value: splits[i],
            children: (place(yes[i], yes_leaf[i]), place(no[i], no_leaf[i])),
            missing: missing.get(i).is_some_and(|&m| m != 0),
            members: set.to_vec(),
            ..Raw::default()
        });
    }
    for (&t, &w) in targets.iter().zip(&weights) {
        raw.push(Raw {
            leaf: vec![(t, w)],
            ..Raw::default()
        });
    }
    // A tree that is one leaf has a root whose children are the same leaf.
    for i in 0..n {
        if raw[i].children.0 == raw[i].children.1 && raw[i].children.0 >= n {
            raw[i] = raw.get(raw[i].children.0).cloned().unwrap_or_default();
        }
    }
    let roots: Vec<usize> = roots
        .iter()
        .map(|&r| usize::try_from(r).unwrap_or(usize::MAX))
        .collect();
    let built = Trees::build(&raw, &roots)?;
    cx.set(
        "base_values",
        Attr::Tensor(Tensor::from_f64s(DType::F64, &[0], &[])),
    );
    keep(cx, built, double);
    Ok(())
}
