//! Which units go: the cheapest for what they save, or the same share everywhere, until enough multiply-accumulates are gone.

use super::macs::{Cost, total};
use super::relations::Axis;
use super::units::Units;
use std::collections::{BTreeMap, HashMap};

/// How much is to go.
#[derive(Clone, Debug)]
pub enum Want {
    /// Multiply-accumulates, a share of all: the cheapest units first.
    Global(f64),
    /// The same, with one share of every bundle of channels.
    Uniform(f64),
    /// A share of the channels of each bundle, by the number of its first unit; the others stay.
    Each(BTreeMap<usize, f64>),
}

/// How numbers of channels are rounded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RoundTo {
    /// 8 from 16 channels on.
    Auto,
    /// Multiples of this.
    Multiple(usize),
}

impl RoundTo {
    fn step(self, channels: usize) -> usize {
        match self {
            RoundTo::Auto if channels >= 16 => 8,
            RoundTo::Auto => 1,
            RoundTo::Multiple(n) if channels > n => n.max(1),
            RoundTo::Multiple(_) => 1,
        }
    }
}

/// Units that lie in the same axes.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// Numbers of units, the cheapest first.
    pub units: Vec<usize>,
    /// Numbers of axes, and how many indices of each a unit has.
    axes: Vec<(usize, usize)>,
    step: usize,
}

/// The bundles of units.
pub fn bundles(units: &Units, costs: &[f64], round: RoundTo) -> Vec<Bundle> {
    let mut by: BTreeMap<Vec<(usize, usize)>, Vec<usize>> = BTreeMap::new();
    for (k, u) in units.list.iter().enumerate() {
        let key = u.places.iter().map(|(a, l)| (*a, l.len())).collect();
        by.entry(key).or_default().push(k);
    }
    let mut out: Vec<Bundle> = (by.into_iter())
        .map(|(axes, mut list)| {
            list.sort_by(|a, b| costs[*a].total_cmp(&costs[*b]).then(a.cmp(b)));
            // Indices of one unit in an axis of many: that many channels go at once.
            let each = axes.iter().map(|a| a.1).min().unwrap_or(1).max(1);
            let step = round.step(list.len() * each).div_ceil(each);
            let step = if list.len() > step { step } else { 1 };
            Bundle {
                units: list,
                axes,
                step,
            }
        })
        .collect();
    out.sort_by_key(|b| b.units.iter().min().copied());
    out
}

/// Chooses; gives the numbers of the units that go. Where `auto` rounding leaves too little to go, numbers of channels are not rounded.
pub fn choose(
    units: &Units,
    costs: &[f64],
    macs: &[Cost],
    want: &Want,
    round: RoundTo,
) -> Vec<usize> {
    let gone = rounded(units, costs, macs, want, round);
    let asked = match want {
        Want::Global(part) | Want::Uniform(part) => *part,
        Want::Each(_) => 0.0,
    };
    match round {
        RoundTo::Auto if saved(units, &gone, macs) < asked - 1e-9 => {
            rounded(units, costs, macs, want, RoundTo::Multiple(1))
        }
        _ => gone,
    }
}

fn rounded(units: &Units, costs: &[f64], macs: &[Cost], want: &Want, round: RoundTo) -> Vec<usize> {
    let list = bundles(units, costs, round);
    match want {
        Want::Each(shares) => {
            let mut left = Left::new(units);
            let mut gone = vec![];
            for b in &list {
                let first = b.units.iter().min().copied().unwrap_or(0);
                let share = shares.get(&first).copied().unwrap_or(0.0);
                left.take_all(&b.units[..b.count(share)], &mut gone);
            }
            gone
        }
        Want::Uniform(part) => uniform(units, &list, macs, *part),
        Want::Global(part) => {
            let mut best = vec![];
            // Layers keep at least this share of their channels, as long as that does.
            for least in [0.3, 0.15, 0.05, 0.0] {
                let (gone, enough) = greedy(units, &list, costs, macs, *part, least);
                best = gone;
                if enough {
                    break;
                }
            }
            best
        }
    }
}

impl Bundle {
    /// How many units a share is: rounded so that what stays is a multiple of the step, at least one of them.
    fn count(&self, share: f64) -> usize {
        let n = self.units.len();
        let stay = n as f64 * (1.0 - share.clamp(0.0, 1.0));
        let step = self.step as f64;
        // A hair above a multiple is that multiple.
        let stay = (libm::round(stay / step - 1e-9) * step).max(step.min(n as f64)) as usize;
        n.saturating_sub(stay)
    }
}

/// What is left of every axis.
struct Left<'a> {
    units: &'a Units,
    gone: Vec<usize>,
    of: HashMap<Axis, usize>,
}

impl<'a> Left<'a> {
    fn new(units: &'a Units) -> Left<'a> {
        Left {
            units,
            gone: vec![0; units.axes.len()],
            of: (units.axes.iter().enumerate())
                .map(|(k, a)| (*a, k))
                .collect(),
        }
    }
    fn share(&self, a: &Axis) -> f64 {
        match self.of.get(a) {
            Some(&k) => 1.0 - self.gone[k] as f64 / self.units.sizes[k].max(1) as f64,
            None => 1.0,
        }
    }
    fn take(&mut self, unit: usize, back: bool) {
        for (a, l) in &self.units.list[unit].places {
            match back {
                true => self.gone[*a] -= l.len(),
                false => self.gone[*a] += l.len(),
            }
        }
    }
    /// Takes units, as long as no axis loses everything: bundles that share one must not empty it together.
    fn take_all(&mut self, taken: &[usize], gone: &mut Vec<usize>) {
        for u in taken {
            if self.allows(&[*u], 0.0) {
                self.take(*u, false);
                gone.push(*u);
            }
        }
    }
    /// Whether every axis of some units keeps a share, and something, without them.
    fn allows(&self, taken: &[usize], least: f64) -> bool {
        let mut more: HashMap<usize, usize> = HashMap::new();
        for u in taken {
            for (a, l) in &self.units.list[*u].places {
                *more.entry(*a).or_default() += l.len();
            }
        }
        more.iter().all(|(a, n)| {
            let size = self.units.sizes[*a];
            let stay = size - (self.gone[*a] + n).min(size);
            stay >= 1 && stay as f64 >= least * size as f64
        })
    }
}

/// The share of multiply-accumulates that is gone where some units are.
pub fn saved(units: &Units, gone: &[usize], macs: &[Cost]) -> f64 {
    let mut left = Left::new(units);
    gone.iter().for_each(|u| left.take(*u, false));
    let all = total(macs, &|_| 1.0);
    match all > 0.0 {
        true => 1.0 - total(macs, &|a| left.share(a)) / all,
        false => 0.0,
    }
}

fn uniform(units: &Units, list: &[Bundle], macs: &[Cost], part: f64) -> Vec<usize> {
    let at = |share: f64| -> Vec<usize> {
        let mut left = Left::new(units);
        let mut gone = vec![];
        for b in list {
            left.take_all(&b.units[..b.count(share)], &mut gone);
        }
        gone
    };
    let (mut lo, mut hi) = (0.0, 1.0);
    for _ in 0..20 {
        let mid = (lo + hi) / 2.0;
        match saved(units, &at(mid), macs) >= part {
            true => hi = mid,
            false => lo = mid,
        }
    }
    at(hi)
}

fn greedy(
    units: &Units,
    list: &[Bundle],
    costs: &[f64],
    macs: &[Cost],
    part: f64,
    least: f64,
) -> (Vec<usize>, bool) {
    let mut left = Left::new(units);
    let mut by_axis: HashMap<Axis, Vec<usize>> = HashMap::new();
    for (k, c) in macs.iter().enumerate() {
        for a in &c.axes {
            by_axis.entry(*a).or_default().push(k);
        }
    }
    // Costs that a bundle's axes take part in.
    let touched: Vec<Vec<usize>> = (list.iter())
        .map(|b| {
            let of = |a: &(usize, usize)| by_axis.get(&units.axes[a.0]);
            let mut all: Vec<usize> = b.axes.iter().filter_map(of).flatten().copied().collect();
            all.sort_unstable();
            all.dedup();
            all
        })
        .collect();
    let now = |left: &Left, ks: &[usize]| -> f64 {
        ks.iter()
            .map(|k| macs[*k].base * macs[*k].axes.iter().map(|a| left.share(a)).product::<f64>())
            .sum()
    };
    let all = total(macs, &|_| 1.0);
    let mut rest = all;
    let mut next = vec![0usize; list.len()];
    let mut closed = vec![false; list.len()];
    let mut gone = vec![];
    // Half a step may be left where the size is no multiple.
    let chunk = |b: &Bundle, at: usize| {
        let stay = b.units.len() - at;
        let n = match stay % b.step {
            0 => b.step,
            odd => odd,
        };
        at..(at + n).min(b.units.len())
    };
    while rest > (1.0 - part) * all * (1.0 + 1e-12) {
        let mut best: Option<(f64, usize, f64)> = None;
        for (k, b) in list.iter().enumerate() {
            if closed[k] {
                continue;
            }
            let taken = &b.units[chunk(b, next[k])];
            if taken.is_empty() || !left.allows(taken, least) {
                closed[k] = true;
                continue;
            }
            let before = now(&left, &touched[k]);
            taken.iter().for_each(|u| left.take(*u, false));
            let saves = before - now(&left, &touched[k]);
            taken.iter().for_each(|u| left.take(*u, true));
            let cost: f64 = taken.iter().map(|u| costs[*u].max(0.0)).sum();
            if saves <= 0.0 {
                closed[k] = true;
                continue;
            }
            let price = cost / saves;
            if best.is_none_or(|(p, ..)| price < p) {
                best = Some((price, k, saves));
            }
        }
        let Some((_, k, saves)) = best else {
            return (gone, false);
        };
        let taken = chunk(&list[k], next[k]);
        next[k] = taken.end;
        for u in &list[k].units[taken] {
            left.take(*u, false);
            gone.push(*u);
        }
        rest -= saves;
    }
    (gone, true)
}
