//! Shapes that are taken apart and put together: what of it can be done on stored values.

use super::Layout;
use crate::base::diag::Result;
use crate::base::dim::fixed_shape;
use crate::graph::ir::{NodeId, ValueId};

/// Axes of the old and the new shape that hold the same elements.
#[derive(Debug, PartialEq)]
struct Group {
    old: Vec<usize>,
    new: Vec<usize>,
}

/// Cuts two shapes of as many elements into the smallest groups of axes with equal products.
fn groups(old: &[i64], new: &[i64]) -> Vec<Group> {
    let (mut i, mut j) = (0, 0);
    let mut out = vec![];
    while i < old.len() || j < new.len() {
        let mut g = Group {
            old: vec![],
            new: vec![],
        };
        let (mut a, mut b) = (1i64, 1i64);
        loop {
            if a <= b && i < old.len() && (a < b || g.old.is_empty()) {
                a = a.saturating_mul(old[i]);
                g.old.push(i);
                i += 1;
            } else if b <= a && j < new.len() && (b < a || g.new.is_empty()) {
                b = b.saturating_mul(new[j]);
                g.new.push(j);
                j += 1;
            } else {
                break;
            }
        }
        out.push(g);
    }
    out
}

impl Layout<'_, '_, '_> {
    /// Reshape, Flatten, Squeeze, Unsqueeze of known sizes.
    pub(super) fn reshape(&mut self, n: NodeId, x: ValueId) -> Result<bool> {
        let Some(l) = self.laid.get(&x).cloned() else {
            return Ok(false);
        };
        let out = self.g.node(n).outs[0];
        let (Some(old), Some(new)) = (
            self.shape(x).and_then(|s| fixed_shape(&s)),
            self.shape(out).and_then(|s| fixed_shape(&s)),
        ) else {
            return Ok(false);
        };
        if old.contains(&0) || old.iter().product::<i64>() != new.iter().product::<i64>() {
            return Ok(false);
        }
        // Groups stay in the order in which the largest of their axes is stored; within a group axes stand in their own order.
        let mut groups = groups(&old, &new);
        groups.sort_by_key(|g| {
            let largest = g.old.iter().max_by_key(|&&a| (old[a], a));
            largest.map_or(usize::MAX, |&a| l.at(a))
        });
        let order: Vec<usize> = groups.iter().flat_map(|g| g.old.clone()).collect();
        let stored = self.ordered(x, &order)?;
        let perm: Vec<usize> = groups.iter().flat_map(|g| g.new.clone()).collect();
        let shape: Vec<i64> = perm.iter().map(|&a| new[a]).collect();
        let stored = self.reshaped(stored, &shape)?;
        self.lay(n, 0, stored, perm)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_fall_apart() {
        let of = |old: &[i64], new: &[i64]| -> Vec<(Vec<usize>, Vec<usize>)> {
            groups(old, new)
                .into_iter()
                .map(|g| (g.old, g.new))
                .collect()
        };
        // The shuffle of channels: the channel axis in two.
        assert_eq!(
            of(&[1, 6, 5, 4], &[1, 2, 3, 5, 4]),
            [
                (vec![0], vec![0]),
                (vec![1], vec![1, 2]),
                (vec![2], vec![3]),
                (vec![3], vec![4])
            ]
        );
        assert_eq!(
            of(&[2, 3, 1, 1], &[2, 3]),
            [
                (vec![0], vec![0]),
                (vec![1], vec![1]),
                (vec![2], vec![]),
                (vec![3], vec![])
            ]
        );
        assert_eq!(of(&[2, 3, 4], &[6, 4]).len(), 2);
    }
}
