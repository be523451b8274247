//! What numbers of a form take few bytes where a layer's constants are stored: multipliers that are one number over whole numbers of 24 bits
//! (`contracts/quotients.rs`), and sums that begin with words. Many forms give the same results; these are looked for first.

use super::large::{Multiplier, Wish};
use super::step::{Reals, Single};
use super::sums::zeros;
use crate::contracts::quotients::{self, FEW};
use crate::graph::ir::{Graph, NodeId};

type Channel = (Reals, (i64, i64));

/// Forms with one rounding of which most have numbers that take few bytes, wrong at no more sums than those that were found.
pub fn short(g: &Graph, n: NodeId, channels: &[Channel], found: Vec<Single>) -> Vec<Single> {
    let Some(like) = Short::of(g, n, channels) else {
        return found;
    };
    let bound = found.iter().map(|s| s.wrong.len()).max().unwrap_or(0);
    let (mut best, mut fewest) = (None, channels.len() / FEW + 1);
    for over in like.overs() {
        let of = |(c, (reals, domain)): (usize, &Channel)| {
            reals.large_like(*domain, bound, like.wish(c, over))
        };
        let forms: Vec<_> = channels.iter().enumerate().map(of).collect();
        let others = forms.iter().filter(|f| f.is_none()).count();
        if others < fewest {
            (best, fewest) = (Some(forms), others);
        }
        if fewest == 0 {
            break;
        }
    }
    let Some(best) = best else {
        return found;
    };
    best.into_iter()
        .zip(found)
        .map(|(s, f)| s.unwrap_or(f))
        .collect()
}

/// What numbers of a layer's channels are like that take few bytes.
pub struct Short {
    /// Multipliers, the smallest first, and how many channels there are.
    multipliers: Vec<f32>,
    channels: usize,
    /// What a product by the bytes as they are adds to the sums of each channel, or of all, where it takes no zero points off; none: nothing.
    zeros: Vec<i64>,
}

impl Short {
    /// Of a layer with so many channels that it counts.
    pub fn of(g: &Graph, n: NodeId, channels: &[Channel]) -> Option<Short> {
        const MANY: usize = 24;
        // A channel whose results are all the same, or nearly, may have any multiplier.
        let many = |(r, (least, most)): &&Channel| r.at(*most) - r.at(*least) > 1;
        let live = channels.iter().filter(many).map(|(r, _)| r.m as f32);
        let mut multipliers: Vec<f32> = live.collect();
        multipliers.sort_by(f32::total_cmp);
        let x = g.node(n).ins[0];
        let zeros = x.and_then(|x| zeros(g, x)).unwrap_or_default();
        let fits = zeros.len() <= 1 || zeros.len() == channels.len();
        (fits && channels.len() >= MANY).then_some(Short {
            multipliers,
            channels: channels.len(),
            zeros,
        })
    }
    /// What multipliers may be over whole numbers: such that all have one, or that some of the smallest have none, which leaves more bits for the others.
    pub fn overs(&self) -> impl Iterator<Item = f32> {
        let without = [0, self.channels / (4 * FEW), self.channels / (2 * FEW)].into_iter();
        let mut overs: Vec<f32> = without
            .filter_map(|n| quotients::over(*self.multipliers.get(n)?))
            .collect();
        overs.dedup();
        overs.into_iter()
    }
    /// Of a channel: what sums begin with is a word, if it can be.
    pub fn wish(&self, c: usize, over: f32) -> Wish {
        let own = match self.zeros.len() {
            0 => 0,
            n => self.zeros[c % n],
        };
        Wish {
            multiplier: Multiplier::Over(over),
            shifts: Some(words(own)),
        }
    }
}

/// The numbers that a word holds when one is taken off.
pub fn words(less: i64) -> (i64, i64) {
    let [first, last] = [i16::MIN, i16::MAX].map(|end| i64::from(end) + less);
    (first, last)
}
