//! Reshape and its kin: which axes of the input and of the result hold the same elements.

use super::relations::{Axis, Cx, Relation, size};
use crate::base::dim::Dim;
use crate::graph::ir::{Graph, NodeId, ValueId};

/// Writes down what a Reshape, Flatten, Squeeze or Unsqueeze ties.
pub(super) fn regroup(cx: &mut Cx, n: NodeId, x: ValueId) {
    let g = cx.g;
    let node = g.node(n);
    let out = node.outs[0];
    let text = format!("{} regroups it", g.describe(n));
    if node.op.name == "Reshape" && target(g, n).is_none() {
        let text = format!("the sizes of {} can't be written anew", g.describe(n));
        cx.fix_all(x, &text);
        return cx.fix_all(out, &text);
    }
    for (ins, outs) in segments(cx.shape(x), cx.shape(out)) {
        let longer = |v: ValueId, r: std::ops::Range<usize>| -> Vec<Axis> {
            let one = |a: &Axis| size(g, *a) != Some(1);
            r.map(|a| (v, a)).filter(one).collect()
        };
        let (ins, outs) = (longer(x, ins), longer(out, outs));
        let known = |list: &[Axis]| list.iter().all(|a| size(g, *a).is_some_and(|n| n > 0));
        match (&ins[..], &outs[..]) {
            ([], []) => {}
            (&[a], &[b]) => cx.same(a, b),
            (&[one], many) | (many, &[one]) if known(many) && known(&[one]) => {
                let many = many.to_vec();
                cx.out.list.push(Relation::Regroup { one, many });
            }
            _ => {
                for a in ins.iter().chain(&outs) {
                    cx.fix(*a, &text);
                }
            }
        }
    }
}

/// Parts of two shapes of as many elements, in order.
fn segments(a: &[Dim], b: &[Dim]) -> Vec<(std::ops::Range<usize>, std::ops::Range<usize>)> {
    let mut out = vec![];
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        let (from, to) = (i, j);
        let (mut p, mut q) = (a[i].clone(), b[j].clone());
        (i, j) = (i + 1, j + 1);
        while p != q {
            let zero = p.is(0) || q.is(0);
            if !zero && q.exact_div(&p).is_some() && i < a.len() {
                p = p * a[i].clone();
                i += 1;
            } else if !zero && p.exact_div(&q).is_some() && j < b.len() {
                q = q * b[j].clone();
                j += 1;
            } else if let (Some(m), Some(n), false) = (p.fixed(), q.fixed(), zero) {
                // Neither holds the other: both go on until they meet.
                if m < n && i < a.len() {
                    p = p * a[i].clone();
                    i += 1;
                } else if n < m && j < b.len() {
                    q = q * b[j].clone();
                    j += 1;
                } else {
                    out.push((from..a.len(), to..b.len()));
                    return out;
                }
            } else {
                out.push((from..a.len(), to..b.len()));
                return out;
            }
        }
        // A single axis that meets another as long must not swallow ones behind it.
        out.push((from..i, to..j));
    }
    out.push((i..a.len(), j..b.len()));
    out
}

/// The shape that a Reshape is told, written by what its types say now: sizes, 0 for an axis that stays, -1 once. `None` if that does not do.
pub(super) fn target(g: &Graph, n: NodeId) -> Option<Vec<i64>> {
    let node = g.node(n);
    let from = &g.ty(node.ins.first().copied().flatten()?)?.shape;
    let to = &g.ty(node.outs[0])?.shape;
    let keeps = !node.attrs.flag("allowzero");
    let mut rest = false;
    let mut out = vec![];
    for (k, d) in to.iter().enumerate() {
        out.push(match d.fixed() {
            Some(n) if n > 0 => n,
            None if keeps && from.get(k) == Some(d) => 0,
            None if !rest => {
                rest = true;
                -1
            }
            _ => return None,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_meet() {
        let d = |l: &[i64]| l.iter().map(|n| Dim::Fixed(*n)).collect::<Vec<_>>();
        let s = |a: &[i64], b: &[i64]| segments(&d(a), &d(b));
        assert_eq!(
            s(&[2, 6, 5], &[2, 2, 3, 5]),
            [(0..1, 0..1), (1..2, 1..3), (2..3, 3..4), (3..3, 4..4)]
        );
        assert_eq!(
            s(&[2, 4, 3, 3], &[2, 36]),
            [(0..1, 0..1), (1..4, 1..2), (4..4, 2..2)]
        );
        // 4 and 6 meet at 12.
        assert_eq!(s(&[4, 3], &[6, 2]), [(0..2, 0..2), (2..2, 2..2)]);
        assert_eq!(
            s(&[3, 8, 1, 1], &[3, 8]),
            [(0..1, 0..1), (1..2, 1..2), (2..4, 2..2)]
        );
    }
}
