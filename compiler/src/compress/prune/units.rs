//! What can be removed: sets of indices that go together, none of which is fixed.
//!
//! First whole axes are looked at, to decide along which of its parts a regrouped axis is cut; then every index.

use super::Pattern;
use super::relations::{Axis, Relation, Relations, size};
use crate::base::diag::{Diagnostic, Result};
use crate::graph::ir::Graph;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Indices that are looked at, at most.
const MOST: usize = 1 << 26;

/// A set of indices that goes as a whole.
#[derive(Clone, PartialEq, Debug)]
pub struct Unit {
    /// Numbers of axes in [`Units::axes`], each with the indices that go.
    pub places: Vec<(usize, Vec<usize>)>,
}

/// All that can be removed.
#[derive(Clone, Default, Debug)]
pub struct Units {
    /// Axes in which something can be removed.
    pub axes: Vec<Axis>,
    /// Their sizes.
    pub sizes: Vec<usize>,
    /// What can be removed.
    pub list: Vec<Unit>,
    /// Of each axis of which nothing can be removed, why.
    pub fixed: HashMap<Axis, String>,
}

/// Sets that are joined.
#[derive(Default)]
struct Sets {
    parent: Vec<u32>,
    /// Number of a reason plus 1, at the root.
    why: Vec<u32>,
}

impl Sets {
    fn with(n: usize) -> Sets {
        Sets {
            parent: (0..n as u32).collect(),
            why: vec![0; n],
        }
    }
    fn root(&mut self, mut i: usize) -> usize {
        while self.parent[i] as usize != i {
            let above = self.parent[self.parent[i] as usize];
            self.parent[i] = above;
            i = above as usize;
        }
        i
    }
    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        if a == b {
            return;
        }
        let (low, high) = (a.min(b), a.max(b));
        self.parent[high] = low as u32;
        if self.why[low] == 0 {
            self.why[low] = self.why[high];
        }
    }
    fn fix(&mut self, i: usize, why: usize) -> bool {
        let r = self.root(i);
        let new = self.why[r] == 0;
        if new {
            self.why[r] = why as u32 + 1;
        }
        new
    }
    fn reason(&mut self, i: usize) -> Option<usize> {
        let r = self.root(i);
        (self.why[r] as usize).checked_sub(1)
    }
}

/// The axes that relations name, numbered.
fn axes_of(g: &Graph, r: &Relations) -> BTreeMap<Axis, usize> {
    let mut all = BTreeSet::new();
    for x in &r.list {
        match x {
            Relation::Same { long, short, .. } => all.extend([*long, *short]),
            Relation::Part { part, whole, .. } => all.extend([*part, *whole]),
            Relation::Picked { from, to, .. } => all.extend([*from, *to]),
            Relation::Modular { axis, .. } | Relation::Fixed { axis, .. } => {
                all.insert(*axis);
            }
            Relation::Regroup { one, many } => {
                all.insert(*one);
                all.extend(many);
            }
        }
    }
    let known = all.into_iter().filter(|a| size(g, *a).is_some());
    known.enumerate().map(|(k, a)| (a, k)).collect()
}

/// For each regrouped axis the part along which it is cut; `None`: none.
fn decide(r: &Relations, of: &BTreeMap<Axis, usize>, pattern: Pattern) -> Vec<Option<usize>> {
    let mut sets = Sets::with(of.len());
    let mut fixed = vec![];
    for x in &r.list {
        match x {
            Relation::Same { long, short, .. } => sets.join(of[long], of[short]),
            Relation::Picked { from, to, .. } => sets.join(of[from], of[to]),
            Relation::Fixed { axis, why } => fixed.push((of[axis], *why)),
            _ => {}
        }
    }
    for (a, why) in fixed {
        sets.fix(a, why);
    }
    // What is fixed spreads: from a whole to its parts, between an axis and those it holds.
    let spread = |sets: &mut Sets| loop {
        let mut more = false;
        for x in &r.list {
            match x {
                Relation::Part { part, whole, .. } => {
                    if let Some(why) = sets.reason(of[whole]) {
                        more |= sets.fix(of[part], why);
                    }
                }
                Relation::Regroup { one, many } => {
                    if let Some(why) = sets.reason(of[one]) {
                        for m in many {
                            more |= sets.fix(of[m], why);
                        }
                    }
                    let all: Option<Vec<usize>> = many.iter().map(|m| sets.reason(of[m])).collect();
                    if let Some(&why) = all.as_ref().and_then(|a| a.first()) {
                        more |= sets.fix(of[one], why);
                    }
                }
                _ => {}
            }
        }
        if !more {
            break;
        }
    };
    spread(&mut sets);
    let mut out = vec![];
    for x in &r.list {
        let Relation::Regroup { many, .. } = x else {
            continue;
        };
        let free: Vec<usize> = (0..many.len())
            .filter(|k| sets.reason(of[&many[*k]]).is_none())
            .collect();
        let chosen = match pattern {
            Pattern::Heads => free.first(),
            _ => free.last(),
        };
        for k in &free {
            if Some(k) != chosen {
                sets.fix(of[&many[*k]], 0);
            }
        }
        if free.len() > 1 {
            spread(&mut sets);
        }
        out.push(chosen.copied());
    }
    out
}

/// What can be removed from a graph by its relations. `made`: axes of weights along output channels, in one of which a unit must have an index; `heads`: axes
/// that count heads, one of which it must have where heads are to go.
pub fn units(
    g: &Graph,
    r: &Relations,
    pattern: Pattern,
    made: &BTreeSet<Axis>,
    heads: &BTreeSet<Axis>,
) -> Result<Units> {
    let of = axes_of(g, r);
    let cuts = decide(r, &of, pattern);
    let names: Vec<Axis> = of.keys().copied().collect();
    let sizes: Vec<usize> = names.iter().map(|a| size(g, *a).unwrap_or(0)).collect();
    let mut starts = vec![0];
    for s in &sizes {
        starts.push(starts[starts.len() - 1] + s);
    }
    let all = starts[starts.len() - 1];
    if all > MOST {
        let text = format!("the values of the model have {all} indices, pruning looks at {MOST}");
        return Err(Diagnostic::limit("ONNX006", text));
    }
    let mut sets = Sets::with(all);
    let span = |a: &Axis| (starts[of[a]], sizes[of[a]]);
    let mut fixed = vec![];
    let mut cuts = cuts.into_iter();
    for x in &r.list {
        match x {
            Relation::Same { long, short, inner } => {
                let ((l, n), (s, m)) = (span(long), span(short));
                for i in 0..n {
                    sets.join(l + i, s + i / (*inner).max(1) % m.max(1));
                }
            }
            Relation::Part { part, whole, at } => {
                let ((p, n), (w, m)) = (span(part), span(whole));
                for i in 0..n.min(m.saturating_sub(*at)) {
                    sets.join(p + i, w + at + i);
                }
            }
            Relation::Picked { from, to, indices } => {
                let ((f, n), (t, m)) = (span(from), span(to));
                for (j, i) in indices.iter().take(m).enumerate().filter(|x| *x.1 < n) {
                    sets.join(f + i, t + j);
                }
            }
            Relation::Modular { axis, by } => {
                let (a, n) = span(axis);
                for i in *by..n {
                    sets.join(a + i, a + i % (*by).max(1));
                }
            }
            Relation::Regroup { one, many } => {
                let (o, n) = span(one);
                let cut = cuts.next().flatten();
                for (k, m) in many.iter().enumerate() {
                    let (start, len) = span(m);
                    let inner: usize = many[k + 1..].iter().map(|a| span(a).1).product();
                    if Some(k) == cut {
                        for i in 0..n {
                            sets.join(o + i, start + i / inner.max(1) % len.max(1));
                        }
                    } else {
                        // The other parts stay whole.
                        fixed.extend((start..start + len).map(|i| (i, usize::MAX)));
                    }
                }
                if cut.is_none() {
                    fixed.extend((o..o + n).map(|i| (i, usize::MAX)));
                }
            }
            Relation::Fixed { axis, why } => {
                let (a, n) = span(axis);
                fixed.extend((a..a + n).map(|i| (i, *why)));
            }
        }
    }
    // Named reasons come first: those that follow from others say less.
    fixed.sort_by_key(|f| f.1 == usize::MAX);
    let other = r.reasons.len();
    for (i, why) in fixed {
        sets.fix(i, if why == usize::MAX { other } else { why });
    }
    let mut out = Units::default();
    // Only what a layer makes counts; what comes from elsewhere is data.
    let mut classes: BTreeMap<usize, Unit> = BTreeMap::new();
    for (k, a) in names.iter().enumerate() {
        if !made.contains(a) {
            continue;
        }
        for i in starts[k]..starts[k + 1] {
            if sets.reason(i).is_none() {
                let root = sets.root(i);
                classes.entry(root).or_insert(Unit { places: vec![] });
            }
        }
    }
    let mut number: HashMap<usize, usize> = HashMap::new();
    let mut counted: BTreeSet<usize> = BTreeSet::new();
    for (k, a) in names.iter().enumerate() {
        let mut why: Option<usize> = None;
        let mut free = false;
        for i in 0..sizes[k] {
            let at = starts[k] + i;
            match sets.reason(at) {
                Some(w) => why = why.or(Some(w)),
                None => {
                    let root = sets.root(at);
                    free = true;
                    if let Some(u) = classes.get_mut(&root) {
                        let next = number.len();
                        let own = *number.entry(k).or_insert(next);
                        if heads.contains(a) {
                            counted.insert(root);
                        }
                        match u.places.last_mut() {
                            Some((last, list)) if *last == own => list.push(i),
                            _ => u.places.push((own, vec![i])),
                        }
                    }
                }
            }
        }
        if let (false, Some(w)) = (free, why) {
            let text = r.reasons.get(w).cloned();
            let text =
                text.unwrap_or_else(|| "it holds several axes, one of which is fixed".into());
            out.fixed.insert(*a, text);
        }
    }
    let mut order: Vec<(usize, usize)> = number.iter().map(|(k, n)| (*n, *k)).collect();
    order.sort_unstable();
    out.axes = order.iter().map(|(_, k)| names[*k]).collect();
    out.sizes = order.iter().map(|(_, k)| sizes[*k]).collect();
    out.list = (classes.into_iter())
        .filter(|(root, _)| pattern != Pattern::Heads || counted.contains(root))
        .map(|(_, u)| u)
        .collect();
    Ok(out)
}
