//! The problem of placing, and greedy placing in a given order.

use super::Interval;

/// Which gap is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The lowest that is large enough.
    First,
    /// The smallest that is large enough; above everything where there is none.
    Best,
}

/// Intervals with what is asked of them again and again.
pub struct Problem {
    /// None is empty.
    pub list: Vec<Interval>,
    /// For each interval the sections (pieces of time at whose beginning something is born) that it lives in: from, to
    /// (exclusive).
    pub spans: Vec<(u32, u32)>,
    /// Live bytes of every section.
    pub loads: Vec<u64>,
    /// The largest of them.
    pub peak: u64,
    /// Whoever lives together with an interval, ends of the lists in `ends`; empty where these would be too many.
    near: Vec<u32>,
    ends: Vec<usize>,
}

/// Beyond this many pairs, neighbours are found by looking at everybody.
const MOST_PAIRS: u64 = 4_000_000;

impl Problem {
    /// The problem of these intervals, none of them empty.
    pub fn new(list: Vec<Interval>) -> Problem {
        let mut times: Vec<u32> = list.iter().map(|i| i.first).collect();
        times.sort_unstable();
        times.dedup();
        let spans: Vec<(u32, u32)> = list
            .iter()
            .map(|i| {
                let from = times.partition_point(|&t| t < i.first);
                let to = times.partition_point(|&t| t <= i.last);
                (from as u32, to as u32)
            })
            .collect();
        // Load by differences at borders.
        let mut changes = vec![(0u64, 0u64); times.len() + 1];
        for (i, &(from, to)) in list.iter().zip(&spans) {
            changes[from as usize].0 += i.bytes;
            changes[to as usize].1 += i.bytes;
        }
        let mut live = 0u64;
        let loads: Vec<u64> = changes[..times.len()]
            .iter()
            .map(|&(born, dead)| {
                live = live - dead + born;
                live
            })
            .collect();
        let mut p = Problem {
            peak: loads.iter().copied().max().unwrap_or(0),
            list,
            spans,
            loads,
            near: vec![],
            ends: vec![],
        };
        p.neighbours();
        p
    }

    /// Number of intervals.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    fn neighbours(&mut self) {
        let n = self.len();
        let mut by_first: Vec<u32> = (0..n as u32).collect();
        by_first.sort_by_key(|&i| (self.spans[i as usize].0, i));
        let mut active: Vec<u32> = vec![];
        let mut pairs: Vec<(u32, u32)> = vec![];
        for &i in &by_first {
            let from = self.spans[i as usize].0;
            active.retain(|&a| self.spans[a as usize].1 > from);
            if (pairs.len() + active.len()) as u64 > MOST_PAIRS {
                return;
            }
            pairs.extend(active.iter().map(|&a| (a, i)));
            active.push(i);
        }
        let mut count = vec![0usize; n + 1];
        for &(a, b) in &pairs {
            count[a as usize + 1] += 1;
            count[b as usize + 1] += 1;
        }
        for k in 0..n {
            count[k + 1] += count[k];
        }
        let mut near = vec![0u32; pairs.len() * 2];
        let mut at = count.clone();
        for &(a, b) in &pairs {
            for (x, y) in [(a, b), (b, a)] {
                near[at[x as usize]] = y;
                at[x as usize] += 1;
            }
        }
        self.near = near;
        self.ends = count;
    }

    /// Whoever lives together with interval `i`.
    pub fn near(&self, i: u32) -> Option<&[u32]> {
        let at = i as usize;
        (!self.ends.is_empty()).then(|| &self.near[self.ends[at]..self.ends[at + 1]])
    }

    /// Pairs that live together, at least one, or `None` for very many.
    pub fn pairs(&self) -> Option<u64> {
        (!self.ends.is_empty()).then_some((self.near.len() as u64 / 2).max(1))
    }

    /// Places each interval, in the given order, in a gap that is free during its life. The total and the offsets.
    pub fn fit(&self, order: &[u32], rule: Rule) -> (u64, Vec<u64>) {
        const NOWHERE: u64 = u64::MAX;
        let mut offsets = vec![NOWHERE; self.len()];
        let mut total = 0;
        let mut taken: Vec<(u64, u64)> = vec![];
        let mut placed: Vec<u32> = vec![];
        for &i in order {
            let (from, to) = self.spans[i as usize];
            taken.clear();
            let mut note = |p: u32| {
                let at = offsets[p as usize];
                if at != NOWHERE {
                    taken.push((at, at + self.list[p as usize].bytes));
                }
            };
            match self.near(i) {
                Some(list) => list.iter().for_each(|&p| note(p)),
                None => placed
                    .iter()
                    .filter(|&&p| self.spans[p as usize].0 < to && from < self.spans[p as usize].1)
                    .for_each(|&p| note(p)),
            }
            taken.sort_unstable();
            let at = gap(&taken, self.list[i as usize].bytes, rule);
            offsets[i as usize] = at;
            total = total.max(at + self.list[i as usize].bytes);
            placed.push(i);
        }
        (total, offsets)
    }
}

/// Where `bytes` fit between what is taken (sorted by beginning).
fn gap(taken: &[(u64, u64)], bytes: u64, rule: Rule) -> u64 {
    let (mut floor, mut best) = (0, None::<(u64, u64)>);
    for &(from, to) in taken {
        if from >= floor + bytes {
            let room = from - floor;
            if rule == Rule::First {
                return floor;
            }
            if best.is_none_or(|(r, _)| room < r) {
                best = Some((room, floor));
            }
        }
        floor = floor.max(to);
    }
    best.map_or(floor, |(_, at)| at)
}
