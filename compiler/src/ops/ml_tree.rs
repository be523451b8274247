//! Tree ensembles brought to one form: nodes of all trees in one list, children behind their parent, leaves with a range of
//! (target, weight) pairs. That every walk ends is checked here: no node has two parents.

use super::util::bad;
use crate::base::diag::Result;

/// How a node compares the feature with its value.
pub const MODES: &[&str] = &[
    "BRANCH_LEQ",
    "BRANCH_LT",
    "BRANCH_GTE",
    "BRANCH_GT",
    "BRANCH_EQ",
    "BRANCH_NEQ",
    "BRANCH_MEMBER",
];

/// A node as a file has it.
#[derive(Clone, Debug, Default)]
pub struct Raw {
    /// Index into [`MODES`]; `None` for a leaf.
    pub mode: Option<usize>,
    /// The feature that is compared.
    pub feature: i64,
    /// The value it is compared with.
    pub value: f64,
    /// Where it goes if the comparison holds, and if not.
    pub children: (usize, usize),
    /// A missing feature (NaN) counts as true.
    pub missing: bool,
    /// Pairs of a leaf.
    pub leaf: Vec<(i64, f64)>,
    /// Values of a membership test.
    pub members: Vec<f64>,
}

/// All trees.
#[derive(Clone, Debug, Default)]
pub struct Trees {
    /// First node of every tree.
    pub roots: Vec<i64>,
    /// Mode (7 for a leaf), feature, children or range of pairs, missing.
    pub modes: Vec<i64>,
    /// Feature numbers.
    pub features: Vec<i64>,
    /// Compared values.
    pub values: Vec<f64>,
    /// True child, or first pair.
    pub yes: Vec<i64>,
    /// False child, or end of pairs.
    pub no: Vec<i64>,
    /// Whether NaN counts as true.
    pub missing: Vec<i64>,
    /// Pairs.
    pub targets: Vec<i64>,
    /// Their weights.
    pub weights: Vec<f64>,
    /// Ranges of `members` per node.
    pub member_range: Vec<(i64, i64)>,
    /// Values of all membership tests.
    pub members: Vec<f64>,
}

/// The mode of a leaf in [`Trees::modes`].
pub const LEAF: i64 = 7;

impl Trees {
    /// From nodes and roots of a file.
    pub fn build(raw: &[Raw], roots: &[usize]) -> Result<Trees> {
        let mut t = Trees::default();
        let mut seen = vec![false; raw.len()];
        for &root in roots {
            t.roots.push(t.modes.len() as i64);
            // (raw node, who points to it: position and side).
            let mut open = vec![(root, None)];
            while let Some((at, from)) = open.pop() {
                let Some(node) = raw.get(at) else {
                    return bad("a tree points to a node that is not there");
                };
                if std::mem::replace(&mut seen[at], true) {
                    return bad("a node of a tree has two parents");
                }
                let here = t.modes.len();
                match from {
                    Some((parent, true)) => t.yes[parent] = here as i64,
                    Some((parent, false)) => t.no[parent] = here as i64,
                    None => {}
                }
                t.features.push(node.feature);
                t.values.push(node.value);
                t.missing.push(i64::from(node.missing));
                let first = t.members.len() as i64;
                t.members.extend(&node.members);
                t.member_range.push((first, t.members.len() as i64));
                if let Some(mode) = node.mode {
                    t.modes.push(mode as i64);
                    t.yes.push(0);
                    t.no.push(0);
                    open.push((node.children.1, Some((here, false))));
                    open.push((node.children.0, Some((here, true))));
                } else {
                    t.modes.push(LEAF);
                    t.yes.push(t.targets.len() as i64);
                    for &(target, weight) in &node.leaf {
                        t.targets.push(target);
                        t.weights.push(weight);
                    }
                    t.no.push(t.targets.len() as i64);
                }
            }
        }
        Ok(t)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn branch(yes: usize, no: usize) -> Raw {
        Raw {
            mode: Some(0),
            children: (yes, no),
            ..Raw::default()
        }
    }
    #[test]
    fn a_cycle_is_refused() {
        assert!(Trees::build(&[branch(0, 0)], &[0]).is_err());
        assert!(Trees::build(&[branch(1, 2), Raw::default(), branch(0, 1)], &[0]).is_err());
    }
    #[test]
    fn leaves_keep_their_pairs() {
        let leaf = |w| Raw {
            leaf: vec![(0, w)],
            ..Raw::default()
        };
        let t = Trees::build(&[branch(2, 1), leaf(1.0), leaf(2.0)], &[0]).unwrap_or_default();
        assert_eq!(t.modes, [0, LEAF, LEAF]);
        assert_eq!((t.yes[0], t.no[0]), (1, 2));
        assert_eq!(t.weights, [2.0, 1.0]);
    }
}
