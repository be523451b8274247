//! Weights for `gemm_strip_picked`: products of two bytes that a machine adds in 16 bits, limited, arranged so that no limit is ever met.
//!
//! A byte without sign is at most 255. So a pair of products fits a word whatever the bytes are, if in each column the positive weights of the pair add up
//! to no more than 128 and the negative ones to no less than -128: 255 * 128 = 32640. Weights of opposite signs never hurt, nor does a large one beside a
//! small one. A panel takes the elements of its rows in an order of its own: each has a partner with which all columns keep within the bound,
//! or none, in whose place a zero stands. A step of four comes from sixteen bytes that lie side by side, which is what one instruction can pick from.
//!
//! Nothing is assumed of the bytes, so sums are exact; [`fits`] says so of what was arranged, and is asked before it is used.

use super::strip_plan::{At, Panels};
use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{BufId, ExprId, Ty};

/// Bytes that a step picks from.
pub const REACH: i64 = 16;
/// What the weights of one sign in a pair may add up to: 255 times it is a word.
const MOST: i32 = 128;
/// In place of an element: a zero.
const NONE: u8 = 0x80;

/// Four elements of a row at once: two pairs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Step {
    /// Where its sixteen bytes begin, from the row's start.
    pub first: i64,
    /// Numbers of the elements.
    pub elements: [Option<usize>; 4],
}

/// The weights of an element of rows in the columns of a panel, and where it lies.
struct Element {
    number: usize,
    at: i64,
    weights: Vec<i32>,
}

/// The largest sum of weights of one sign of a pair in a column.
fn largest(a: &[i32], b: &[i32]) -> i32 {
    let sums = a.iter().zip(b).map(|(a, b)| {
        let (plus, minus) = (a.max(&0) + b.max(&0), a.min(&0) + b.min(&0));
        plus.max(-minus)
    });
    sums.max().unwrap_or(0)
}

/// The steps of a panel: `places` are those of the row's elements in bytes from its start, ascending; `weight` is that of an element in one of `columns`.
/// `None`: the row is shorter than a step picks from.
pub fn steps(
    places: &[i64],
    columns: i64,
    weight: impl Fn(usize, i64) -> i32,
) -> Option<Vec<Step>> {
    let last = places.last()? + 1 - REACH;
    if last < 0 {
        return None;
    }
    // Elements that no column multiplies take no part.
    let mut left: Vec<Element> = (places.iter().enumerate())
        .map(|(number, &at)| Element {
            number,
            at,
            weights: (0..columns).map(|j| weight(number, j)).collect(),
        })
        .filter(|e| e.weights.iter().any(|w| *w != 0))
        .collect();
    left.reverse();
    let mut steps = vec![];
    while let Some(first) = left.last().map(|e| e.at.min(last)) {
        let mut elements = [None; 4];
        for pair in elements.chunks_exact_mut(2) {
            let Some(one) = left.pop_if(|e| e.at < first + REACH) else {
                break;
            };
            pair[0] = Some(one.number);
            // The partner that leaves least room is the hardest to place elsewhere.
            let near = (left.iter().enumerate().rev()).take_while(|(_, e)| e.at < first + REACH);
            let sums = near.map(|(i, e)| (largest(&one.weights, &e.weights), i));
            let best = sums.filter(|s| s.0 <= MOST).max_by_key(|s| *s);
            pair[1] = best.map(|(_, i)| left.remove(i).number);
        }
        steps.push(Step { first, elements });
    }
    Some(steps)
}

/// Whether each pair of steps keeps within a word, each element with a weight has its place, and no step reaches outside of the row.
pub fn fits(
    steps: &[Step],
    places: &[i64],
    columns: i64,
    weight: impl Fn(usize, i64) -> i32,
) -> bool {
    let end = places.last().map_or(0, |p| p + 1);
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
        let of = |e: Option<usize>, j: i64| e.map_or(0, |e| weight(e, j));
        let pairs = s.elements.as_chunks::<2>().0;
        let pair = |p: &[Option<usize>; 2], j: i64| {
            let (a, b) = (of(p[0], j), of(p[1], j));
            largest(&[a], &[b]) <= MOST
        };
        if !(0..columns).all(|j| pairs.iter().all(|p| pair(p, j))) {
            return false;
        }
    }
    (seen.iter().enumerate())
        .all(|(e, &n)| n == 1 || n == 0 && (0..columns).all(|j| weight(e, j) == 0))
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
        let steps = steps(places, p.n, |e, j| weight(*matrix, e, first + j));
        done += p.padded * 4 * steps.map_or(0, |s| s.len() as i64);
        there += p.padded * places.len() as i64;
    }
    done as f64 / there.max(1) as f64
}

/// What the panels of a product are stored as.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Packed {
    /// Steps of a panel, for each group of panels: as many as the longest of the group has.
    pub steps: Vec<i64>,
    /// Steps of each panel.
    pub own: Vec<i32>,
    /// Weights: panel, step, column, four of them.
    pub weights: Vec<u8>,
    /// Order: panel, step, for each four bytes that say what is picked and how far the sixteen bytes lie behind those of the step before.
    pub order: Vec<u8>,
    /// Bytes of a step of the order: 5, or 6 where distances are too large for one.
    pub each: i64,
}

/// The largest distance of steps that so many bytes say.
fn farthest(each: i64) -> i64 {
    (1 << (8 * (each - 4))) - 1
}

/// Steps of which none lies farther behind the one before than `most`: some that multiply nothing are put between.
fn near(steps: Vec<Step>, most: i64) -> Vec<Step> {
    let (mut out, mut at) = (vec![], 0);
    for s in steps {
        while s.first - at > most {
            at += most;
            out.push(Step {
                first: at,
                elements: [None; 4],
            });
        }
        at = s.first;
        out.push(s);
    }
    out
}

/// Weights of `matrices` products one behind the other, whose rows have the same places. `weight`: matrix, element, column. `None`: they have no such form.
pub fn pack(
    panels: &[Panels],
    matrices: i64,
    places: &[i64],
    weight: impl Fn(i64, usize, i64) -> i32,
) -> Option<Packed> {
    i32::try_from(*places.last()?).ok()?;
    let mut all = vec![];
    for matrix in 0..matrices {
        for (group, p) in panels.iter().enumerate() {
            for t in 0..p.count {
                let first = p.first + t * p.n;
                let own = |e: usize, j: i64| weight(matrix, e, first + j);
                let steps = steps(places, p.n, own)?;
                if !fits(&steps, places, p.n, own) {
                    return None;
                }
                all.push((matrix, group, first, steps));
            }
        }
    }
    let far = |steps: &[Step]| {
        let first = steps.first().map_or(0, |s| s.first);
        let others = steps.windows(2).map(|s| s[1].first - s[0].first);
        others.fold(first, i64::max) > farthest(5)
    };
    let each = if all.iter().any(|a| far(&a.3)) { 6 } else { 5 };
    let mut most = vec![1; panels.len()];
    for (_, group, _, steps) in &mut all {
        *steps = near(std::mem::take(steps), farthest(each));
        most[*group] = steps.len().max(most[*group]);
    }
    let mut packed = Packed {
        steps: most.iter().map(|&n| n as i64).collect(),
        each,
        ..Packed::default()
    };
    for (matrix, group, first, steps) in all {
        packed.own.push(steps.len() as i32);
        let p = panels[group];
        // Those behind the last are never done.
        let nothing = Step {
            first: steps.last().map_or(0, |s| s.first),
            elements: [None; 4],
        };
        let mut before = 0;
        for s in steps
            .iter()
            .chain(std::iter::repeat(&nothing))
            .take(most[group])
        {
            let byte = |e: &Option<usize>| e.map_or(NONE, |e| (places[e] - s.first) as u8);
            packed.order.extend(s.elements.iter().map(byte));
            let distance = (s.first - before).to_le_bytes();
            packed.order.extend(&distance[..each as usize - 4]);
            before = s.first;
            for j in 0..p.padded {
                packed.weights.extend(s.elements.map(|e| match e {
                    Some(e) if j < p.n => weight(matrix, e, first + j) as i8 as u8,
                    _ => 0,
                }));
            }
        }
    }
    Some(packed)
}

/// Where the panels of one product or several lie.
pub struct Stored {
    /// Weights, panel after panel.
    pub buf: BufId,
    /// Of panels whose A is picked: their order, and the steps of each.
    order: Option<(BufId, BufId)>,
    /// Bytes of a step of the order; 0 where there is none.
    pub each: i64,
    /// Elements of a column of a panel, for each group of panels.
    columns: Vec<i64>,
}

impl Stored {
    /// Panels whose columns all have so many elements.
    pub fn plain(buf: BufId, panels: &[Panels], elements: i64) -> Stored {
        Stored {
            buf,
            order: None,
            each: 0,
            columns: vec![elements; panels.len()],
        }
    }
    /// Panels of picked elements as constants of the layer.
    pub fn picked(cx: &mut LowerCx, packed: Packed) -> Result<Stored> {
        let n = packed.weights.len() as i64;
        let weights = Tensor::new(DType::I8, vec![n], packed.weights.into())?;
        let n = packed.order.len() as i64;
        let order = Tensor::new(DType::U8, vec![n], packed.order.into())?;
        let n = packed.own.len() as i64;
        let own: Vec<u8> = packed.own.iter().flat_map(|o| o.to_le_bytes()).collect();
        let own = Tensor::new(DType::I32, vec![n], own.into())?;
        Ok(Stored {
            buf: cx.constant("panels", weights),
            order: Some((cx.constant("order", order), cx.constant("steps", own))),
            each: packed.each,
            columns: packed.steps.iter().map(|s| s * 4).collect(),
        })
    }
    /// Elements of a panel of group `at`.
    pub fn size(&self, panels: &[Panels], at: usize) -> i64 {
        panels[at].padded * self.columns[at]
    }
    /// Elements before the first panel of group `at`; `panels.len()`: those of a product.
    pub fn before(&self, panels: &[Panels], at: usize) -> i64 {
        let sizes = (0..at).map(|i| panels[i].count * self.size(panels, i));
        sizes.sum()
    }
    /// What picks the elements of panel `t` of group `at`, if they are; `matrix`: of which product.
    pub fn picks(
        &self,
        cx: &mut LowerCx,
        panels: &[Panels],
        at: usize,
        matrix: ExprId,
        t: ExprId,
    ) -> Option<Picks> {
        let (order, own) = self.order?;
        // Each step has four elements of a column.
        let of = |i: usize| self.columns[i] / 4 * self.each;
        let before = |to: usize| (0..to).map(|i| panels[i].count * of(i)).sum::<i64>();
        let count = |to: usize| panels[..to].iter().map(|p| p.count).sum::<i64>();
        let all = panels.len();
        let place = ex!(cx.b; (matrix * {cx.b.i(before(all))}) + (t * {cx.b.i(of(at))}));
        let place = ex!(cx.b; place + {cx.b.i(before(at))});
        let panel = ex!(cx.b; ((matrix * {cx.b.i(count(all))}) + t) + {cx.b.i(count(at))});
        let steps = cx.b.load(own, panel);
        let steps = cx.b.cast(Ty::I64, steps);
        // As it is, and a bound for who counts what is done.
        let most = cx.b.i(self.columns[at] / 4);
        let steps = cx.b.min(steps, most);
        Some(Picks {
            order: At {
                buf: order,
                at: cx.b.let_(place),
                row: cx.b.i(0),
            },
            steps: cx.b.let_(steps),
        })
    }
}

/// How the elements of a panel are picked.
#[derive(Clone, Copy)]
pub struct Picks {
    /// The order.
    pub order: At,
    /// Steps.
    pub steps: ExprId,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Weights from -127 to 127, large ones often.
    fn weight(e: usize, j: i64) -> i32 {
        let n = (e as i64 * 7919 + j * 104_729 + 31) % 1009;
        (n * n % 255 - 127) as i32
    }

    #[test]
    fn what_is_arranged_fits() {
        for (rows, columns) in [(16, 1), (17, 16), (64, 24), (100, 8), (27, 3)] {
            let places: Vec<i64> = (0..rows).map(|k| k + k / 9 * 5).collect();
            let steps = steps(&places, columns, weight).unwrap_or_default();
            assert!(fits(&steps, &places, columns, weight), "{rows} {columns}");
            // One column alone nearly always finds partners.
            assert!(columns > 1 || steps.len() as i64 * 4 <= rows + 4);
        }
    }

    #[test]
    fn what_does_not_fit_is_seen() {
        let places: Vec<i64> = (0..16).collect();
        let all = |w: i32| move |_: usize, _: i64| w;
        let half = steps(&places, 4, all(64)).unwrap_or_default();
        assert_eq!(half.len(), 4);
        assert!(fits(&half, &places, 4, all(64)));
        // One more in each, and the same pairs pass the bound.
        assert!(!fits(&half, &places, 4, all(65)));
        let full = steps(&places, 4, all(65)).unwrap_or_default();
        assert_eq!(full.len(), 8);
        assert!(fits(&full, &places, 4, all(65)));
        // -128 stands alone, and beside what is positive.
        let mixed = |e: usize, _: i64| if e.is_multiple_of(2) { -128 } else { 127 };
        assert_eq!(steps(&places, 4, mixed).map(|s| s.len()), Some(4));
        // An element that is left out, or told twice, or from outside of the row.
        assert!(!fits(&full[1..], &places, 4, all(65)));
        assert!(!fits(
            &[&full[..], &full[..1]].concat(),
            &places,
            4,
            all(65)
        ));
        let mut far = full.clone();
        far[0].first = 1;
        assert!(!fits(&far, &places, 4, all(65)));
        assert_eq!(steps(&places[..15], 4, all(1)), None);
    }

    #[test]
    fn steps_that_lie_far_apart_have_others_between() {
        let panel = Panels {
            first: 0,
            count: 1,
            n: 4,
            padded: 8,
            m: 4,
            split: 1,
        };
        for (apart, each, between) in [(200, 5, 0), (5000, 6, 0), (70_000, 6, 1)] {
            let places: Vec<i64> = (0..16).chain(apart..apart + 16).collect();
            let p = pack(&[panel], 1, &places, |_, _, _| 50).unwrap_or_default();
            assert_eq!((p.each, p.own), (each, vec![8 + between]));
            let distances = p.order.chunks(each as usize).map(|s| {
                let far = s.get(5).copied().unwrap_or(0);
                i64::from(s[4]) + 256 * i64::from(far)
            });
            assert_eq!(distances.sum::<i64>(), apart);
        }
    }

    #[test]
    fn zeros_cost_nothing() {
        let places: Vec<i64> = (0..64).collect();
        let sparse = |e: usize, _: i64| if e < 16 { 100 } else { 0 };
        assert_eq!(steps(&places, 8, sparse).map(|s| s.len()), Some(8));
        let panel = Panels {
            first: 0,
            count: 2,
            n: 5,
            padded: 8,
            m: 4,
            split: 1,
        };
        let p = pack(&[panel], 1, &places, |_, e, j| sparse(e, j)).unwrap_or_default();
        assert_eq!(
            (p.steps, p.order.len(), p.weights.len()),
            (vec![8], 2 * 8 * 5, 2 * 8 * 32)
        );
    }
}
