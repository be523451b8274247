//! Which four of sixteen bytes a step picks, as a number: an order that names masks by their numbers takes two bytes a step, where masks themselves take four
//! and the distance to the step before one more.
//!
//! Nearly all steps begin with their first element: what they pick is 0, its partner, and the pair beside it. At the end of a row sixteen bytes begin at the
//! last place that they can, and a step picks what lies close together. These masks are known to all layers, which share the list of them.

use super::picked_order::{REACH, Step};
use std::collections::HashMap;
use std::sync::OnceLock;

/// Bits of a mask's number.
pub const BITS: u32 = 11;
/// How far the elements of a step lie apart at most that does not begin with its first.
pub const NEAR: i64 = 6;

/// What a step picks: two pairs, the first of which has the least of all four.
type Mask = [u8; 4];

/// All masks, and their numbers.
struct List {
    masks: Vec<Mask>,
    numbers: HashMap<Mask, u16>,
}

fn list() -> &'static List {
    static LIST: OnceLock<List> = OnceLock::new();
    LIST.get_or_init(|| {
        let mut masks = vec![];
        for a in 0..REACH {
            let last = if a == 0 { REACH - 1 } else { a + NEAR };
            let more = || a + 1..=last.min(REACH - 1);
            for (b, c) in more().flat_map(|b| more().map(move |c| (b, c))) {
                let others = more().filter(|d| b != c && b != *d && c < *d);
                masks.extend(others.map(|d| [a, b, c, d].map(|i| i as u8)));
            }
        }
        let numbers = (0u16..).zip(&masks).map(|(n, m)| (*m, n)).collect();
        List { masks, numbers }
    })
}

/// All masks in the order of their numbers, four bytes each.
pub fn all() -> Vec<u8> {
    list().masks.as_flattened().to_vec()
}

/// The number of a mask that picks what a step does, and the elements in its order; `None`: there is none. What has no element may be any byte: its weights
/// are 0.
pub fn number(step: &Step, places: &[i64]) -> Option<(u16, [Option<usize>; 4])> {
    let list = list();
    let of = |order: [Option<usize>; 4]| order.map(|e| e.map(|e| (places[e] - step.first) as u8));
    let [a, b, c, d] = step.elements;
    if let [Some(w), Some(x), Some(y), Some(z)] = of(step.elements) {
        return Some((*list.numbers.get(&[w, x, y, z])?, step.elements));
    }
    // Elements of a pair may change places, and pairs may.
    let orders = [[a, b, c, d], [c, d, a, b]].into_iter();
    let orders = orders.flat_map(|[a, b, c, d]| {
        [[a, b, c, d], [a, b, d, c], [b, a, c, d], [b, a, d, c]].into_iter()
    });
    let mut orders = orders;
    orders.find_map(|order| {
        let picked = of(order);
        let fits = |m: &Mask| picked.iter().zip(m).all(|(p, m)| p.is_none_or(|p| p == *m));
        Some((list.masks.iter().position(fits)? as u16, order))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pair_has_a_mask() {
        assert!(list().masks.len() <= 1 << BITS);
        let places: Vec<i64> = (0..REACH).collect();
        let number = |elements: [Option<usize>; 4]| {
            let (n, order) = number(&Step { first: 0, elements }, &places)?;
            let mask = list().masks[usize::from(n)];
            for (m, e) in mask.iter().zip(order) {
                assert!(e.is_none_or(|e| e == usize::from(*m)));
            }
            Some(n)
        };
        for a in 0..REACH as usize {
            assert!(number([Some(a), None, None, None]).is_some());
            let last = if a == 0 { REACH } else { a as i64 + NEAR + 1 };
            for b in a + 1..last.min(REACH) as usize {
                assert!(number([Some(a), Some(b), None, None]).is_some());
            }
        }
        assert!(number([Some(0), Some(9), Some(3), Some(15)]).is_some());
        assert!(number([Some(4), Some(10), Some(5), Some(6)]).is_some());
        assert!(number([Some(4), Some(11), Some(5), Some(6)]).is_none());
    }
}
