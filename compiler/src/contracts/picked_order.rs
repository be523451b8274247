//! In which order the bytes of a row are picked: pairs whose products a machine may add in 16 bits, and steps of two pairs.
//!
//! Elements are vertices, and two of them that lie within reach of one instruction and keep within the bound in all columns of a panel have an edge. Partners are
//! a matching: who has fewest others chooses first, among these the one with fewest others, and what is left over takes a partner away
//! where that one finds another, over several pairs if need be.

use super::picked_masks::{NEAR, number};
use super::strip_plan::Panels;

/// Bytes that a step picks from.
pub const REACH: i64 = 16;
/// Pairs behind one that may stand beside it.
const CLOSE: usize = 12;
/// What the weights of one sign in a pair may add up to: 255 times it is a word.
const MOST: i32 = 128;

/// Four elements of a row at once: two pairs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Step {
    /// Where its sixteen bytes begin, from the row's start.
    pub first: i64,
    /// Numbers of the elements.
    pub elements: [Option<usize>; 4],
}

/// Whether two weights may be multiplied by bytes and added.
fn bound(a: i32, b: i32) -> bool {
    let (plus, minus) = (a.max(0) + b.max(0), a.min(0) + b.min(0));
    plus <= MOST && -minus <= MOST
}

/// Which elements may be partners in all columns of a panel, or of several.
#[derive(Clone)]
pub struct Pairs {
    /// For each element, bit `d`: the one `d + 1` behind it may be its partner.
    behind: Vec<u16>,
    /// Whether a column multiplies it.
    live: Vec<bool>,
}

impl Pairs {
    /// `places`: those of a row's elements in bytes from its start, ascending; `weights`: of the first element in each column, of the second, ..
    pub fn of(places: &[i64], weights: &[i32]) -> Pairs {
        let columns = weights.len() / places.len().max(1);
        let of = |e: usize| &weights[e * columns..(e + 1) * columns];
        let fit = |a: &[i32], b: &[i32]| a.iter().zip(b).all(|(a, b)| bound(*a, *b));
        let behind = |(e, at): (usize, &i64)| {
            let near = places[e + 1..].iter().take_while(|p| **p < at + REACH);
            (0..near.count()).fold(0, |bits, d| {
                bits | u16::from(fit(of(e), of(e + 1 + d))) << d
            })
        };
        Pairs {
            behind: places.iter().enumerate().map(behind).collect(),
            live: (0..places.len())
                .map(|e| of(e).iter().any(|w| *w != 0))
                .collect(),
        }
    }
    /// Those of all columns of both.
    pub fn and(&self, other: &Pairs) -> Pairs {
        let both = self.behind.iter().zip(&other.behind).map(|(a, b)| a & b);
        let live = self.live.iter().zip(&other.live).map(|(a, b)| *a || *b);
        Pairs {
            behind: both.collect(),
            live: live.collect(),
        }
    }
    /// For each element those that may be its partner, if it takes part. `named`: steps have masks of the list.
    fn edges(&self, places: &[i64], named: bool) -> Vec<Vec<usize>> {
        let mut edges = vec![vec![]; self.live.len()];
        let last = places.last().map_or(0, |l| l + 1 - REACH);
        let close = |e: usize, other: usize| {
            !named || places[e] <= last || places[other] - places[e] <= NEAR
        };
        for (e, bits) in self.behind.iter().enumerate() {
            let near = (0..REACH as usize).filter(|d| bits >> d & 1 != 0);
            for other in near.map(|d| e + 1 + d) {
                if self.live[e] && self.live[other] && close(e, other) {
                    edges[e].push(other);
                    edges[other].push(e);
                }
            }
        }
        edges
    }
    /// The steps of a panel. `None`: the row is shorter than a step picks from. `named`: what each picks is in the list of masks.
    pub fn steps(&self, places: &[i64], named: bool) -> Option<Vec<Step>> {
        let last = places.last()? + 1 - REACH;
        if last < 0 {
            return None;
        }
        let partner = partners(&self.edges(places, named));
        // Pairs by their first elements; those alone stand beside nothing.
        let first = |e: &usize| self.live[*e] && partner[*e].is_none_or(|p| p > *e);
        let firsts = (0..places.len()).filter(first);
        let pairs: Vec<[Option<usize>; 2]> = firsts.map(|e| [Some(e), partner[e]]).collect();
        let step = |i: usize, beside: [Option<usize>; 2]| Step {
            first: pairs[i][0].map_or(0, |e| places[e]).min(last),
            elements: [pairs[i][0], pairs[i][1], beside[0], beside[1]],
        };
        // Whether a later pair may stand beside one.
        let beside = |i: usize, j: usize| {
            let s = step(i, pairs[j]);
            let mut elements = s.elements.iter().flatten();
            let inside = elements.all(|e| places[*e] < s.first + REACH);
            inside && (!named || number(&s, places).is_some())
        };
        // Each takes the next that may, and what is left over takes one away where that one finds another.
        let near = |i: usize| (i + 1..pairs.len()).take(CLOSE);
        let mut next: Vec<Option<usize>> = vec![None; pairs.len()];
        for i in 0..pairs.len() {
            let free = |j: &usize| next[*j].is_none() && beside(i, *j);
            if next[i].is_none()
                && let Some(j) = near(i).find(free)
            {
                (next[i], next[j]) = (Some(j), Some(i));
            }
        }
        if next.iter().filter(|n| n.is_none()).count() > 1 {
            let mut edges = vec![vec![]; pairs.len()];
            for i in 0..pairs.len() {
                for j in near(i).filter(|j| beside(i, *j)) {
                    edges[i].push(j);
                    edges[j].push(i);
                }
            }
            augment(&edges, &mut next);
        }
        let own = (0..pairs.len()).filter(|i| next[*i].is_none_or(|j| j > *i));
        let steps = own.map(|i| step(i, next[i].map_or([None; 2], |j| pairs[j])));
        Some(steps.collect())
    }
}

/// A partner for each element that finds one.
fn partners(edges: &[Vec<usize>]) -> Vec<Option<usize>> {
    let mut partner = vec![None; edges.len()];
    let mut free: Vec<usize> = edges.iter().map(Vec::len).collect();
    // Elements by how many others are free, each where it last belonged and where it did before.
    let most = free.iter().max().copied().unwrap_or(0);
    let mut left: Vec<Vec<usize>> = vec![vec![]; most + 1];
    for (e, &n) in free.iter().enumerate().rev() {
        left[n].push(e);
    }
    let mut taken = vec![false; edges.len()];
    let mut fewest = 0;
    while fewest <= most {
        let Some(one) = left[fewest].pop() else {
            fewest += 1;
            continue;
        };
        if taken[one] || free[one] != fewest {
            continue;
        }
        let others = edges[one].iter().copied().filter(|&e| !taken[e]);
        let best = others.min_by_key(|&e| (free[e], e.abs_diff(one)));
        if let Some(other) = best {
            (partner[one], partner[other]) = (Some(other), Some(one));
        }
        for e in [Some(one), best].into_iter().flatten() {
            taken[e] = true;
            for &e in &edges[e] {
                if !taken[e] {
                    free[e] -= 1;
                    left[free[e]].push(e);
                    fewest = fewest.min(free[e]);
                }
            }
        }
    }
    augment(edges, &mut partner);
    partner
}

/// Finds partners for those who have none.
fn augment(edges: &[Vec<usize>], partner: &mut [Option<usize>]) {
    for one in 0..edges.len() {
        if partner[one].is_none() {
            let mut seen = vec![false; edges.len()];
            seen[one] = true;
            found(edges, partner, &mut seen, one, DEPTH);
        }
    }
}

/// Pairs that may change for one more.
const DEPTH: usize = 24;

/// Finds a partner for an element that has none: one that is free, or one whose own partner finds another.
fn found(
    edges: &[Vec<usize>],
    partner: &mut [Option<usize>],
    seen: &mut [bool],
    one: usize,
    depth: usize,
) -> bool {
    for &near in &edges[one] {
        if std::mem::replace(&mut seen[near], true) {
            continue;
        }
        let done = match partner[near] {
            None => true,
            Some(far) => {
                let new = depth > 0 && !std::mem::replace(&mut seen[far], true);
                new && found(edges, partner, seen, far, depth - 1)
            }
        };
        if done {
            (partner[one], partner[near]) = (Some(near), Some(one));
            return true;
        }
    }
    false
}

/// The weights of a panel's elements: column by column, element after element.
pub fn weights(places: &[i64], columns: i64, weight: impl Fn(usize, i64) -> i32) -> Vec<i32> {
    let weight = &weight;
    let of = |e: usize| (0..columns).map(move |j| weight(e, j));
    (0..places.len()).flat_map(of).collect()
}

/// Whether each pair of steps keeps within a word, each element with a weight has its place, and no step reaches outside of the row. `weights`: see
/// [`weights`].
pub fn fits(steps: &[Step], places: &[i64], weights: &[i32]) -> bool {
    let columns = weights.len() / places.len().max(1);
    let end = places.last().map_or(0, |p| p + 1);
    let alone = vec![0; columns];
    let of = |e: Option<usize>| match e {
        Some(e) => &weights[e * columns..(e + 1) * columns],
        None => &alone[..],
    };
    let mut seen = vec![0; places.len()];
    for s in steps {
        if s.first < 0 || s.first + REACH > end {
            return false;
        }
        for e in s.elements.into_iter().flatten() {
            let near = |p: &i64| (s.first..s.first + REACH).contains(p);
            if !places.get(e).is_some_and(near) {
                return false;
            }
            seen[e] += 1;
        }
        let pair = |p: &[Option<usize>; 2]| {
            let mut both = of(p[0]).iter().zip(of(p[1]));
            both.all(|(a, b)| bound(*a, *b))
        };
        if !s.elements.as_chunks::<2>().0.iter().all(pair) {
            return false;
        }
    }
    (seen.iter().enumerate()).all(|(e, &n)| n == 1 || n == 0 && of(Some(e)).iter().all(|w| *w == 0))
}

/// Panels that [`share`] looks at.
const SOME: usize = 12;

/// Products that steps do over those that there are, by some of the panels: elements without a partner take the room of two.
pub fn share(
    panels: &[Panels],
    matrices: i64,
    places: &[i64],
    weight: impl Fn(i64, usize, i64) -> i32,
) -> f64 {
    let of_panel = |matrix: i64| {
        let firsts = move |p: &Panels| {
            let p = *p;
            (0..p.count).map(move |t| (matrix, p, p.first + t * p.n))
        };
        panels.iter().flat_map(firsts)
    };
    let all: Vec<_> = (0..matrices).flat_map(of_panel).collect();
    let (mut done, mut there) = (0, 0);
    for (matrix, p, first) in all.iter().step_by(all.len().div_ceil(SOME).max(1)) {
        let own = weights(places, p.n, |e, j| weight(*matrix, e, first + j));
        let steps = Pairs::of(places, &own).steps(places, false);
        done += p.padded * 4 * steps.map_or(0, |s| s.len() as i64);
        there += p.padded * places.len() as i64;
    }
    done as f64 / there.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Weights from -127 to 127, large ones often.
    fn weight(e: usize, j: i64) -> i32 {
        let n = (e as i64 * 7919 + j * 104_729 + 31) % 1009;
        (n * n % 255 - 127) as i32
    }

    /// Steps of some columns of such weights, and whether they fit.
    fn arranged(places: &[i64], columns: i64, weight: impl Fn(usize, i64) -> i32) -> Vec<Step> {
        let own = weights(places, columns, weight);
        let steps = Pairs::of(places, &own)
            .steps(places, false)
            .unwrap_or_default();
        assert!(fits(&steps, places, &own), "{places:?} {columns}");
        steps
    }

    #[test]
    fn what_is_arranged_fits() {
        for (rows, columns) in [(16, 1), (17, 16), (64, 24), (100, 8), (27, 3)] {
            let places: Vec<i64> = (0..rows).map(|k| k + k / 9 * 5).collect();
            let steps = arranged(&places, columns, weight);
            // One column alone nearly always finds partners.
            assert!(columns > 1 || steps.len() as i64 * 4 <= rows + 4);
        }
    }

    #[test]
    fn what_does_not_fit_is_seen() {
        let places: Vec<i64> = (0..16).collect();
        let all = |w: i32| move |_: usize, _: i64| w;
        let fits = |s: &[Step], w: i32| fits(s, &places, &weights(&places, 4, all(w)));
        let half = arranged(&places, 4, all(64));
        assert_eq!(half.len(), 4);
        // One more in each, and the same pairs pass the bound.
        assert!(!fits(&half, 65));
        let full = arranged(&places, 4, all(65));
        assert_eq!(full.len(), 8);
        // -128 stands alone, and beside what is positive.
        let mixed = |e: usize, _: i64| if e.is_multiple_of(2) { -128 } else { 127 };
        assert_eq!(arranged(&places, 4, mixed).len(), 4);
        // An element that is left out, or told twice, or from outside of the row.
        assert!(!fits(&full[1..], 65));
        assert!(!fits(&[&full[..], &full[..1]].concat(), 65));
        let mut far = full.clone();
        far[0].first = 1;
        assert!(!fits(&far, 65));
        let short = &places[..15];
        assert_eq!(Pairs::of(short, &[1; 15]).steps(short, false), None);
    }

    #[test]
    fn who_has_no_choice_chooses_first() {
        // Elements 0 to 3 fit among themselves, 4 to 7 with one of these each alone: one after the other would leave four alone.
        let weight = |e: usize, j: i64| match (e, j) {
            (0..4, _) => 20 * i32::from(e as i64 == j),
            (_, j) => 120 - 100 * i32::from(e as i64 - 4 == j),
        };
        let mut places: Vec<i64> = (0..8).collect();
        places.push(15);
        let steps = arranged(&places, 4, |e, j| if e < 8 { weight(e, j) } else { 0 });
        assert_eq!(steps.len(), 2);
    }

    #[test]
    fn one_order_for_two_panels() {
        let places: Vec<i64> = (0..40).collect();
        let own = |first: i64| weights(&places, 6, |e, j| weight(e, first + j) / 2);
        let both = weights(&places, 12, |e, j| weight(e, j) / 2);
        let joined = Pairs::of(&places, &own(0)).and(&Pairs::of(&places, &own(6)));
        let steps = joined.steps(&places, false).unwrap_or_default();
        assert_eq!(
            Some(&steps),
            Pairs::of(&places, &both).steps(&places, false).as_ref()
        );
        assert!(fits(&steps, &places, &both));
    }
}
