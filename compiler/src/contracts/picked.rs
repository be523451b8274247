//! Weights for `gemm_strip_picked`: products of two bytes that a machine adds in 16 bits, limited, arranged so that no limit is ever met.
//!
//! A byte without sign is at most 255. So a pair of products fits a word whatever the bytes are, if in each column the positive weights of the pair add up
//! to no more than 128 and the negative ones to no less than -128: 255 * 128 = 32640. Weights of opposite signs never hurt, nor does a large one beside a
//! small one. A panel takes the elements of its rows in an order of its own: each has a partner with which all columns keep within the bound,
//! or none, in whose place a zero stands. A step of four comes from sixteen bytes that lie side by side, which is what one instruction can pick from.
//!
//! Nothing is assumed of the bytes, so sums are exact; [`fits`] says so of what was arranged, and is asked before it is used.

use super::picked_order::{Pairs, Step, fits, weights};
pub use super::picked_order::{REACH, share};
use super::strip_plan::{At, Panels};
use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{BufId, ExprId, Ty};

/// In place of an element: a zero.
const NONE: u8 = 0x80;

/// What the panels of a product are stored as.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Packed {
    /// Steps of the longest panel.
    pub longest: i64,
    /// For each panel its steps, where its weights begin, in fours, and where its order does.
    pub own: Vec<[i32; 3]>,
    /// Weights: panel, step, column, four of them.
    pub weights: Vec<u8>,
    /// Order: panel or several that share it, step, for each four bytes that say what is picked and how far the sixteen bytes lie behind those of the step before.
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

/// Panels side by side that share an order.
struct Run {
    first: i64,
    panels: i64,
    pairs: Pairs,
    steps: Vec<Step>,
}

impl Run {
    /// Steps that are done.
    fn done(&self) -> i64 {
        self.steps.len() as i64 * self.panels
    }
    /// What is stored, where a panel takes so many bytes a step.
    fn bytes(&self, panel: i64, each: i64) -> i64 {
        self.done() * panel + self.steps.len() as i64 * each
    }
}

/// One of so many steps may be one that panels would not take with an order of their own each.
const DEARER: i64 = 200;

/// Panels in runs, for as few bytes as can be found: an order that holds for the columns of several panels takes more steps, but is there once. `panel`: bytes
/// of a panel's step.
fn runs(pairs: Vec<Pairs>, places: &[i64], panel: i64) -> Option<Vec<Run>> {
    let run = |first: i64, panels: i64, pairs: Pairs| {
        let steps = pairs.steps(places)?;
        Some(Run {
            first,
            panels,
            pairs,
            steps,
        })
    };
    let own = pairs.into_iter().zip(0..);
    let mut all = own.map(|(p, t)| run(t, 1, p)).collect::<Option<Vec<_>>>()?;
    let mut panels = 1;
    loop {
        let (mut merged, before) = (vec![], all.len());
        let mut rest = all.into_iter().peekable();
        while let Some(a) = rest.next() {
            let Some(b) = rest.next_if(|b| a.panels == panels && b.panels == panels) else {
                merged.push(a);
                continue;
            };
            let both = run(a.first, 2 * panels, a.pairs.and(&b.pairs))?;
            let own = a.done() + b.done();
            let less = both.bytes(panel, 5) < a.bytes(panel, 5) + b.bytes(panel, 5);
            if less && (both.done() - own) * DEARER <= own {
                merged.push(both);
            } else {
                merged.extend([a, b]);
            }
        }
        panels *= 2;
        all = merged;
        if all.len() == before {
            return Some(all);
        }
    }
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
        for p in panels {
            let own = |t: i64| {
                let first = p.first + t * p.n;
                weights(places, p.n, |e, j| weight(matrix, e, first + j))
            };
            let own: Vec<Vec<i32>> = (0..p.count).map(own).collect();
            let pairs = own.iter().map(|w| Pairs::of(places, w)).collect();
            for run in runs(pairs, places, 4 * p.padded)? {
                let of = &own[run.first as usize..][..run.panels as usize];
                if !of.iter().all(|w| fits(&run.steps, places, w)) {
                    return None;
                }
                all.push((matrix, p, run));
            }
        }
    }
    let far = |steps: &[Step]| {
        let first = steps.first().map_or(0, |s| s.first);
        let others = steps.windows(2).map(|s| s[1].first - s[0].first);
        others.fold(first, i64::max) > farthest(5)
    };
    let each = if all.iter().any(|a| far(&a.2.steps)) {
        6
    } else {
        5
    };
    let mut packed = Packed {
        each,
        ..Packed::default()
    };
    for (matrix, p, run) in all {
        let steps = near(run.steps, farthest(each));
        packed.longest = packed.longest.max(steps.len() as i64);
        let order = packed.order.len();
        let mut before = 0;
        for s in &steps {
            let byte = |e: &Option<usize>| e.map_or(NONE, |e| (places[e] - s.first) as u8);
            packed.order.extend(s.elements.iter().map(byte));
            let distance = (s.first - before).to_le_bytes();
            packed.order.extend(&distance[..each as usize - 4]);
            before = s.first;
        }
        for t in run.first..run.first + run.panels {
            let begins = [steps.len(), packed.weights.len() / 4, order].map(i32::try_from);
            let [count, weights, order] = begins;
            packed.own.push([count.ok()?, weights.ok()?, order.ok()?]);
            for s in &steps {
                for j in 0..p.padded {
                    packed.weights.extend(s.elements.map(|e| match e {
                        Some(e) if j < p.n => weight(matrix, e, p.first + t * p.n + j) as i8 as u8,
                        _ => 0,
                    }));
                }
            }
        }
    }
    Some(packed)
}

/// Where the panels of one product or several lie.
pub struct Stored {
    /// Weights, panel after panel.
    pub buf: BufId,
    /// Bytes of a step of the order; 0 where there is none.
    pub each: i64,
    /// Elements of a column of a panel; of picked ones of the longest.
    column: i64,
    /// Of panels whose A is picked: their order, and three numbers for each of them.
    order: Option<(BufId, BufId)>,
}

/// A panel.
#[derive(Clone, Copy)]
pub struct Panel {
    /// Where its weights begin.
    pub at: ExprId,
    /// How its elements are picked, if they are.
    pub picks: Option<Picks>,
}

/// How the elements of a panel are picked.
#[derive(Clone, Copy)]
pub struct Picks {
    /// The order.
    pub order: At,
    /// Steps.
    pub steps: ExprId,
}

impl Stored {
    /// Panels whose columns all have so many elements.
    pub fn plain(buf: BufId, elements: i64) -> Stored {
        Stored {
            buf,
            each: 0,
            column: elements,
            order: None,
        }
    }
    /// Panels of picked elements as constants of the layer.
    pub fn picked(cx: &mut LowerCx, packed: Packed) -> Result<Stored> {
        let n = packed.weights.len() as i64;
        let weights = Tensor::new(DType::I8, vec![n], packed.weights.into())?;
        let n = packed.order.len() as i64;
        let order = Tensor::new(DType::U8, vec![n], packed.order.into())?;
        let own = packed.own.as_flattened();
        let bytes: Vec<u8> = own.iter().flat_map(|o| o.to_le_bytes()).collect();
        let own = Tensor::new(DType::I32, vec![own.len() as i64], bytes.into())?;
        Ok(Stored {
            buf: cx.constant("panels", weights),
            each: packed.each,
            column: packed.longest * 4,
            order: Some((cx.constant("order", order), cx.constant("steps", own))),
        })
    }
    /// Elements from a panel of group `at` to the next, or about so many.
    pub fn size(&self, panels: &[Panels], at: usize) -> i64 {
        panels[at].padded * self.column
    }
    /// Panel `t` of group `at`; `matrix`: of which product.
    pub fn panel(
        &self,
        cx: &mut LowerCx,
        panels: &[Panels],
        at: usize,
        matrix: ExprId,
        t: ExprId,
    ) -> Panel {
        let before = |to: usize, of: &dyn Fn(usize) -> i64| -> i64 {
            (0..to).map(|i| panels[i].count * of(i)).sum()
        };
        let Some((order, own)) = self.order else {
            let size = |i: usize| self.size(panels, i);
            let (all, before, own) = (before(panels.len(), &size), before(at, &size), size(at));
            let at = ex!(cx.b; ((matrix * {cx.b.i(all)}) + {cx.b.i(before)}) + (t * {cx.b.i(own)}));
            return Panel {
                at: cx.b.let_(at),
                picks: None,
            };
        };
        let (all, before) = (before(panels.len(), &|_| 1), before(at, &|_| 1));
        let panel = ex!(cx.b; ((matrix * {cx.b.i(all)}) + t) + {cx.b.i(before)});
        let first = ex!(cx.b; panel * {cx.b.i(3)});
        let first = cx.b.let_(first);
        let mut number = |k: i64| {
            let at = ex!(cx.b; first + {cx.b.i(k)});
            let v = cx.b.load(own, at);
            let v = cx.b.cast(Ty::I64, v);
            cx.b.let_(v)
        };
        let [steps, fours, begin] = [0, 1, 2].map(&mut number);
        let at = ex!(cx.b; fours * {cx.b.i(4)});
        // As it is, and a bound for who counts what is done.
        let most = cx.b.i(self.column / 4);
        let steps = cx.b.min(steps, most);
        Panel {
            at: cx.b.let_(at),
            picks: Some(Picks {
                order: At {
                    buf: order,
                    at: begin,
                    row: cx.b.i(0),
                },
                steps: cx.b.let_(steps),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!((p.each, p.own), (each, vec![[8 + between, 0, 0]]));
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
        let own = weights(&places, 8, sparse);
        let steps = Pairs::of(&places, &own).steps(&places);
        assert_eq!(steps.map(|s| s.len()), Some(8));
        let panel = Panels {
            first: 0,
            count: 2,
            n: 5,
            padded: 8,
            m: 4,
            split: 1,
        };
        // Both panels by one order.
        let p = pack(&[panel], 1, &places, |_, e, j| sparse(e, j)).unwrap_or_default();
        assert_eq!(
            (p.longest, p.order.len(), p.weights.len()),
            (8, 8 * 5, 2 * 8 * 32)
        );
        assert_eq!(p.own, [[8, 0, 0], [8, 64, 0]]);
        // Panels are as long as their own steps, and these share none.
        let uneven = |_, e: usize, j: i64| if j < 5 && e > 15 { 0 } else { 100 };
        let p = pack(&[panel], 1, &places, uneven).unwrap_or_default();
        assert_eq!((p.longest, p.own), (32, vec![[8, 0, 0], [32, 64, 40]]));
    }
}
