//! Which ONNX operators can be imported, in whatever way: the list that users see.

use super::{expand, sequence};
use crate::op::LATEST;
use crate::ops;

/// How an operator is done.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum How {
    /// An operator of the roll.
    Direct,
    /// Spelled with other operators.
    Expanded,
    /// Gone after import: literals, lists of known length, optional values.
    Resolved,
}

/// A range of opsets of an operator.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Supported {
    /// Domain; empty for ai.onnx.
    pub domain: &'static str,
    /// Operator type.
    pub name: &'static str,
    /// First opset.
    pub since: i64,
    /// Last opset.
    pub until: i64,
    /// How it is done.
    pub how: How,
}

/// Everything, by domain and name; ranges that touch are one.
pub fn supported() -> Vec<Supported> {
    let row = |domain, name, since, until, how| Supported {
        domain,
        name,
        since,
        until,
        how,
    };
    let direct = ops::all()
        .flat_map(|op| op.onnx)
        .map(|r| row(r.domain, r.name, r.since, r.until, How::Direct));
    let expanded = expand::all().map(|e| row(e.domain, e.name, e.since, e.until, How::Expanded));
    let resolved = sequence::OPERATORS
        .iter()
        .map(|&(name, since)| row("", name, since, LATEST, How::Resolved));
    let maps = row("ai.onnx.ml", "ZipMap", 1, LATEST, How::Resolved);
    let mut all: Vec<Supported> = direct
        .chain(expanded)
        .chain(resolved)
        .chain([maps])
        .collect();
    all.sort();
    let mut out: Vec<Supported> = vec![];
    for s in all {
        match out.last_mut() {
            Some(l)
                if (l.domain, l.name, l.how) == (s.domain, s.name, s.how)
                    && s.since <= l.until.saturating_add(1) =>
            {
                l.until = l.until.max(s.until);
            }
            _ => out.push(s),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_operator_is_done_twice() {
        let all = supported();
        for w in all.windows(2) {
            let same = (w[0].domain, w[0].name) == (w[1].domain, w[1].name);
            assert!(!same || w[0].until < w[1].since, "{w:?}");
        }
        let find = |n: &str| all.iter().find(|s| s.name == n).map(|s| s.how);
        assert_eq!(find("Relu"), Some(How::Direct));
        assert_eq!(find("Attention"), Some(How::Expanded));
        assert_eq!(find("SequenceAt"), Some(How::Resolved));
    }
}
