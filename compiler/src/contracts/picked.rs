//! Weights for `gemm_strip_picked`: products of two bytes that a machine adds in 16 bits, limited, arranged so that no limit is ever met.
//!
//! A byte without sign is at most 255. So a pair of products fits a word whatever the bytes are, if in each column the positive weights of the pair add up
//! to no more than 128 and the negative ones to no less than -128: 255 * 128 = 32640. Weights of opposite signs never hurt, nor does a large one beside a
//! small one. A panel takes the elements of its rows in an order of its own: each has a partner with which all columns keep within the bound,
//! or none, in whose place a zero stands. A step of four comes from sixteen bytes that lie side by side, which is what one instruction can pick from.
//!
//! Nothing is assumed of the bytes, so sums are exact; [`fits`] says so of what was arranged, and is asked before it is used.

use super::picked_masks::{self as masks, BITS, number};
use super::picked_order::{Pairs, Step, fits, weights};
pub use super::picked_order::{REACH, share};
use super::strip_plan::{At, Panels};
use crate::base::diag::Result;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{BufId, ExprId, Ty};

/// Bytes of a vector of weights, of which panels have whole ones.
const VECTOR: usize = 32;
/// In place of an element: a zero.
const NONE: u8 = 0x80;

/// What the panels of a product are stored as.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Packed {
    /// Steps of the longest panel.
    pub longest: i64,
    /// For each panel its steps, where its weights begin, in vectors of [`VECTOR`], and where its order does.
    pub own: Vec<[i32; 3]>,
    /// Weights: panel, step, column, four of them.
    pub weights: Vec<u8>,
    /// Order: panel or several that share it, step, and what [`Order`] says.
    pub order: Vec<u8>,
    /// How it says so.
    pub each: Order,
}

/// What a step of an order is stored as: what is picked, and how far the sixteen bytes lie behind those of the step before.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Order {
    /// Four bytes: which of the sixteen each is, 128 for none; and the distance, one byte.
    #[default]
    Bytes,
    /// The same with a distance of two bytes.
    BytesFar,
    /// Two bytes: the number of a mask in their list, and the distance in the bits that are left.
    Named,
    /// The same with a distance of two bytes of its own behind.
    NamedFar,
}

impl Order {
    /// All of them.
    const ALL: [Order; 4] = [Order::Bytes, Order::BytesFar, Order::Named, Order::NamedFar];
    /// Bytes of a step, by which it is known.
    pub fn bytes(self) -> i64 {
        match self {
            Order::Bytes => 5,
            Order::BytesFar => 6,
            Order::Named => 2,
            Order::NamedFar => 4,
        }
    }
    /// The one of so many bytes a step.
    pub fn of(bytes: i64) -> Option<Order> {
        Order::ALL.into_iter().find(|o| o.bytes() == bytes)
    }
    /// Whether masks are named by their numbers.
    pub fn named(self) -> bool {
        matches!(self, Order::Named | Order::NamedFar)
    }
    /// The largest distance that can be said.
    fn farthest(self) -> i64 {
        match self {
            Order::Bytes => 0xff,
            Order::Named => (1 << (16 - BITS)) - 1,
            Order::BytesFar | Order::NamedFar => 0xffff,
        }
    }
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
fn runs(pairs: Vec<Pairs>, places: &[i64], panel: i64, named: bool) -> Option<Vec<Run>> {
    let each = if named { Order::Named } else { Order::Bytes }.bytes();
    let run = |first: i64, panels: i64, pairs: Pairs| {
        let steps = pairs.steps(places, named)?;
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
            let less = both.bytes(panel, each) < a.bytes(panel, each) + b.bytes(panel, each);
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

/// Steps of an order that names masks may be so many more, of so many.
const MORE: (usize, usize) = (1, 100);

/// Weights of `matrices` products one behind the other, whose rows have the same places. `weight`: matrix, element, column; `named`: whether orders may name
/// masks by their numbers, where that is less by so many bytes. `None`: they have no such form.
pub fn pack(
    panels: &[Panels],
    matrices: i64,
    places: &[i64],
    named: Option<usize>,
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
            let pairs: Vec<Pairs> = own.iter().map(|w| Pairs::of(places, w)).collect();
            all.push(Group {
                matrix,
                p,
                own,
                pairs,
            });
        }
    }
    let plain = arranged(&all, places, false, &weight)?;
    let Some(less) = named else {
        return Some(plain);
    };
    let bytes = |p: &Packed| p.weights.len() + p.order.len();
    let other = arranged(&all, places, true, &weight).filter(|o| {
        let (more, of) = MORE;
        bytes(o) + less < bytes(&plain) && o.weights.len() <= plain.weights.len() / of * (of + more)
    });
    Some(other.unwrap_or(plain))
}

/// Panels of one width, and which of their elements may be partners.
struct Group<'a> {
    matrix: i64,
    p: &'a Panels,
    own: Vec<Vec<i32>>,
    pairs: Vec<Pairs>,
}

fn arranged(
    groups: &[Group],
    places: &[i64],
    named: bool,
    weight: &impl Fn(i64, usize, i64) -> i32,
) -> Option<Packed> {
    let mut all = vec![];
    for g in groups {
        for run in runs(g.pairs.clone(), places, 4 * g.p.padded, named)? {
            let of = &g.own[run.first as usize..][..run.panels as usize];
            if !of.iter().all(|w| fits(&run.steps, places, w)) {
                return None;
            }
            all.push((g.matrix, g.p, run));
        }
    }
    let far = |steps: &[Step]| {
        let first = steps.first().map_or(0, |s| s.first);
        let others = steps.windows(2).map(|s| s[1].first - s[0].first);
        others.fold(first, i64::max)
    };
    let far = all.iter().map(|a| far(&a.2.steps)).max().unwrap_or(0);
    let each = match named {
        true => [Order::Named, Order::NamedFar],
        false => [Order::Bytes, Order::BytesFar],
    };
    let each = each[usize::from(far > each[0].farthest())];
    let mut packed = Packed {
        each,
        ..Packed::default()
    };
    for (matrix, p, run) in all {
        let mut steps = near(run.steps, each.farthest());
        packed.longest = packed.longest.max(steps.len() as i64);
        let order = packed.order.len();
        let mut before = 0;
        for s in &mut steps {
            let distance = s.first - before;
            before = s.first;
            if named {
                let (mask, elements) = number(s, places)?;
                s.elements = elements;
                let (first, behind) = match each {
                    Order::Named => (mask | (distance as u16) << BITS, None),
                    _ => (mask, Some(distance as u16)),
                };
                let words = std::iter::once(first).chain(behind);
                packed.order.extend(words.flat_map(u16::to_le_bytes));
                continue;
            }
            let byte = |e: &Option<usize>| e.map_or(NONE, |e| (places[e] - s.first) as u8);
            packed.order.extend(s.elements.iter().map(byte));
            let distance = distance.to_le_bytes();
            packed.order.extend(&distance[..each.bytes() as usize - 4]);
        }
        for t in run.first..run.first + run.panels {
            let begins = [steps.len(), packed.weights.len() / VECTOR, order].map(i32::try_from);
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
    /// How a step of the order is stored, if there is one.
    pub each: Option<Order>,
    /// Elements of a column of a panel; of picked ones of the longest.
    column: i64,
    /// Of panels whose A is picked: their order, and three numbers for each of them.
    order: Option<(BufId, BufId)>,
    /// The list of masks, where the order names them.
    masks: Option<BufId>,
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
    /// The list of masks, where the order names them.
    pub masks: Option<At>,
    /// Steps.
    pub steps: ExprId,
}

impl Stored {
    /// Panels whose columns all have so many elements.
    pub fn plain(buf: BufId, elements: i64) -> Stored {
        Stored {
            buf,
            each: None,
            column: elements,
            order: None,
            masks: None,
        }
    }
    /// Panels of picked elements as constants of the layer.
    pub fn picked(cx: &mut LowerCx, packed: Packed) -> Result<Stored> {
        let n = packed.weights.len() as i64;
        let weights = Tensor::new(DType::I8, vec![n], packed.weights.into())?;
        let n = packed.order.len() as i64;
        let order = Tensor::new(DType::U8, vec![n], packed.order.into())?;
        let own = packed.own.as_flattened();
        // As words, if these hold them: layers with the same loops share them.
        let words = own.iter().all(|o| i16::try_from(*o).is_ok());
        let dtype = if words { DType::I16 } else { DType::I32 };
        let values: Vec<f64> = own.iter().map(|o| f64::from(*o)).collect();
        let own = Tensor::from_f64s(dtype, &[own.len() as i64], &values);
        let masks = packed.each.named().then(masks::all);
        let masks = masks.map(|m| Tensor::new(DType::U8, vec![m.len() as i64], m.into()));
        Ok(Stored {
            buf: cx.constant("panels", weights),
            each: Some(packed.each),
            column: packed.longest * 4,
            order: Some((cx.constant("order", order), cx.constant("steps", own))),
            masks: masks.transpose()?.map(|m| cx.constant("masks", m)),
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
        let [steps, vectors, begin] = [0, 1, 2].map(&mut number);
        let at = ex!(cx.b; vectors * {cx.b.i(VECTOR as i64)});
        // As it is, and a bound for who counts what is done.
        let most = cx.b.i(self.column / 4);
        let steps = cx.b.min(steps, most);
        let masks = self.masks.map(|buf| At {
            buf,
            at: cx.b.i(0),
            row: cx.b.i(0),
        });
        Panel {
            at: cx.b.let_(at),
            picks: Some(Picks {
                order: At {
                    buf: order,
                    at: begin,
                    row: cx.b.i(0),
                },
                masks,
                steps: cx.b.let_(steps),
            }),
        }
    }
}

impl Picks {
    /// What a call reads beside its operands.
    pub fn tables(&self) -> Vec<At> {
        std::iter::once(self.order).chain(self.masks).collect()
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
            let p = pack(&[panel], 1, &places, None, |_, _, _| 50).unwrap_or_default();
            assert_eq!((p.each.bytes(), p.own), (each, vec![[8 + between, 0, 0]]));
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
        let steps = Pairs::of(&places, &own).steps(&places, false);
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
        let p = pack(&[panel], 1, &places, None, |_, e, j| sparse(e, j)).unwrap_or_default();
        assert_eq!(
            (p.longest, p.order.len(), p.weights.len()),
            (8, 8 * 5, 2 * 8 * 32)
        );
        assert_eq!(p.own, [[8, 0, 0], [8, 8, 0]]);
        // Panels are as long as their own steps, and these share none.
        let uneven = |_, e: usize, j: i64| if j < 5 && e > 15 { 0 } else { 100 };
        let p = pack(&[panel], 1, &places, None, uneven).unwrap_or_default();
        assert_eq!((p.longest, p.own), (32, vec![[8, 0, 0], [32, 8, 40]]));
    }
}
