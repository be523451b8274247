//! In which order the layers of a graph run: any order is right in which makers come before users, but live memory and
//! distances in time differ.
//!
//! Candidates are the order that is given, the one that runs what was enabled last (a consumer next to its producer), and
//! the one of lowest peak that a search finds (`search`). The goal decides: lowest peak for memory and size; for latency
//! the least traffic behind the second cache, at no higher peak than that of the given order. Equal ones leave the given
//! order as it is. No clock and no chance.

mod search;

use crate::base::goal::Goal;
use std::collections::BTreeSet;

/// What a layer does to memory. Tasks are numbered in the given order, which is right.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Task {
    /// Tasks that must run before, ascending, each once.
    pub after: Vec<u32>,
    /// Buffers that it reads, ascending, each once.
    pub reads: Vec<u32>,
    /// Buffers that it writes (parts of), ascending, each once.
    pub writes: Vec<u32>,
    /// Where it may write `.0` over one of `.1`, if that is not needed afterwards.
    pub takes: Option<(u32, Vec<u32>)>,
    /// Bytes that it needs while it runs.
    pub scratch: u64,
}

/// Memory that tasks share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Buffer {
    /// Size in bytes.
    pub bytes: u64,
    /// Whether it is needed after the last task.
    pub kept: bool,
}

/// Tasks over buffers.
pub struct Work {
    /// In the given order.
    pub tasks: Vec<Task>,
    /// What they read and write.
    pub buffers: Vec<Buffer>,
    /// Bytes of the second cache.
    pub cache: u64,
    /// Of each buffer, how many tasks read or write it (one more if it is kept).
    uses: Vec<u32>,
    /// Of each task, those that wait for it.
    next: Vec<Vec<u32>>,
}

impl Work {
    /// Tasks over buffers.
    pub fn new(tasks: Vec<Task>, buffers: Vec<Buffer>, cache: u64) -> Work {
        let mut uses: Vec<u32> = buffers.iter().map(|b| u32::from(b.kept)).collect();
        let mut next = vec![vec![]; tasks.len()];
        for (at, t) in tasks.iter().enumerate() {
            for b in touched(t) {
                uses[b as usize] += 1;
            }
            for &a in &t.after {
                next[a as usize].push(at as u32);
            }
        }
        Work {
            tasks,
            buffers,
            cache,
            uses,
            next,
        }
    }

    /// The order to take for a goal, as numbers of tasks.
    pub fn order(&self, goal: Goal) -> Vec<u32> {
        let given: Vec<u32> = (0..self.tasks.len() as u32).collect();
        let mut list = vec![given];
        let floor = self.floor();
        let lowest = |list: &[Vec<u32>]| list.iter().map(|o| self.peak(o)).min().unwrap_or(0);
        list.push(self.next_to_producer());
        if lowest(&list) > floor {
            list.push(search::search(self, floor));
        }
        let given = self.peak(&list[0]);
        let rank = |o: &Vec<u32>| {
            let (peak, traffic) = (self.peak(o), self.traffic(o));
            match goal {
                Goal::Latency => (u64::from(peak > given), traffic, peak),
                Goal::Memory | Goal::Size => (peak, traffic, 0),
            }
        };
        let mut best = 0;
        for k in 1..list.len() {
            if rank(&list[k]) < rank(&list[best]) {
                best = k;
            }
        }
        list.swap_remove(best)
    }

    /// Live bytes at the largest moment of an order.
    pub fn peak(&self, order: &[u32]) -> u64 {
        let mut left = self.uses.clone();
        let mut here = vec![false; self.buffers.len()];
        let (mut live, mut peak) = (0u64, 0);
        for &t in order {
            let task = &self.tasks[t as usize];
            let taken = self.taken(task, |b| here[b as usize], |b| left[b as usize]);
            for &w in &task.writes {
                if !std::mem::replace(&mut here[w as usize], true) {
                    live += self.bytes(w);
                }
            }
            if let Some(old) = taken {
                live -= self.bytes(old);
            }
            peak = peak.max(live + task.scratch);
            for b in touched(task) {
                left[b as usize] -= 1;
                if left[b as usize] == 0 && here[b as usize] && taken != Some(b) {
                    live -= self.bytes(b);
                }
            }
        }
        peak
    }

    /// The buffer whose memory a task's output takes over, when `here` says what is live and `left` how often it is still used.
    fn taken(
        &self,
        task: &Task,
        here: impl Fn(u32) -> bool,
        left: impl Fn(u32) -> u32,
    ) -> Option<u32> {
        let (out, from) = task.takes.as_ref()?;
        (from.iter().copied()).find(|&b| here(b) && left(b) == 1 && !here(*out))
    }

    /// What no order can be below: some task's own operands, results and scratch.
    fn floor(&self) -> u64 {
        let need = |t: &Task| {
            let all: u64 = touched(t).map(|b| self.bytes(b)).sum();
            let taken = match &t.takes {
                Some((out, from)) if !from.is_empty() => self.bytes(*out),
                _ => 0,
            };
            all - taken + t.scratch
        };
        self.tasks.iter().map(need).max().unwrap_or(0)
    }

    /// Bytes that come from behind the cache: what is read after more than the cache holds went by.
    pub fn traffic(&self, order: &[u32]) -> u64 {
        let mut seen: Vec<Option<u64>> = vec![None; self.buffers.len()];
        let (mut gone, mut traffic) = (0u64, 0u64);
        for &t in order {
            let task = &self.tasks[t as usize];
            for &b in &task.reads {
                if seen[b as usize].is_none_or(|at| gone - at > self.cache) {
                    traffic += self.bytes(b);
                }
            }
            for b in touched(task) {
                gone += self.bytes(b);
            }
            gone += task.scratch;
            for b in touched(task) {
                seen[b as usize] = Some(gone);
            }
        }
        traffic
    }

    /// Runs what was enabled last first.
    fn next_to_producer(&self) -> Vec<u32> {
        let mut missing: Vec<usize> = self.tasks.iter().map(|t| t.after.len()).collect();
        let mut ready: BTreeSet<(u32, u32)> = (0..self.tasks.len() as u32)
            .filter(|&t| missing[t as usize] == 0)
            .map(|t| (u32::MAX, t))
            .collect();
        let mut order = Vec::with_capacity(self.tasks.len());
        while let Some((_, t)) = ready.pop_first() {
            order.push(t);
            for &n in &self.next[t as usize] {
                missing[n as usize] -= 1;
                if missing[n as usize] == 0 {
                    ready.insert((u32::MAX - order.len() as u32, n));
                }
            }
        }
        order
    }

    fn bytes(&self, b: u32) -> u64 {
        self.buffers[b as usize].bytes
    }
}

/// Buffers that a task reads or writes, each once.
fn touched(t: &Task) -> impl Iterator<Item = u32> + '_ {
    let more = t
        .writes
        .iter()
        .filter(|w| t.reads.binary_search(w).is_err());
    t.reads.iter().chain(more).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(after: &[u32], reads: &[u32], writes: &[u32]) -> Task {
        Task {
            after: after.to_vec(),
            reads: reads.to_vec(),
            writes: writes.to_vec(),
            ..Task::default()
        }
    }

    fn buffers(sizes: &[u64]) -> Vec<Buffer> {
        let of = |&bytes| Buffer { bytes, kept: false };
        sizes.iter().map(of).collect()
    }

    /// Two branches that blow up and shrink again, given side by side.
    fn branches() -> Work {
        let tasks = vec![
            task(&[], &[], &[0]),
            task(&[0], &[0], &[1]),
            task(&[0], &[0], &[2]),
            task(&[1], &[1], &[3]),
            task(&[2], &[2], &[4]),
            task(&[3, 4], &[3, 4], &[5]),
        ];
        Work::new(tasks, buffers(&[10, 100, 100, 1, 1, 1]), 0)
    }

    #[test]
    fn one_branch_after_the_other() {
        let w = branches();
        assert_eq!(w.peak(&[0, 1, 2, 3, 4, 5]), 210);
        let order = w.order(Goal::Memory);
        assert_eq!(order, [0, 1, 3, 2, 4, 5]);
        assert_eq!(w.peak(&order), 111);
    }

    #[test]
    fn what_does_not_help_changes_nothing() {
        let tasks = vec![
            task(&[], &[], &[0]),
            task(&[], &[], &[1]),
            task(&[0, 1], &[0, 1], &[2]),
        ];
        let w = Work::new(tasks, buffers(&[8, 8, 8]), 1 << 20);
        for goal in Goal::ALL {
            assert_eq!(w.order(goal), [0, 1, 2]);
        }
    }

    #[test]
    fn taking_over_costs_nothing() {
        let mut last = task(&[0], &[0], &[1]);
        last.takes = Some((1, vec![0]));
        let w = Work::new(vec![task(&[], &[], &[0]), last], buffers(&[64, 64]), 0);
        assert_eq!(w.peak(&[0, 1]), 64);
        assert_eq!(w.floor(), 64);
    }

    /// Every order of small graphs from a seed: the search finds the best peak.
    #[test]
    fn search_is_exact_where_small() {
        let mut seed = 5u64;
        let mut next = |n: u64| {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (seed >> 33) % n
        };
        for _ in 0..40 {
            let n = 7u32;
            let tasks: Vec<Task> = (0..n)
                .map(|t| {
                    let mut after: Vec<u32> = (0..t).filter(|_| next(3) == 0).collect();
                    after.dedup();
                    task(&after, &after, &[t])
                })
                .collect();
            let sizes: Vec<u64> = (0..n).map(|_| 1 + next(100)).collect();
            let w = Work::new(tasks, buffers(&sizes), 0);
            let found = w.peak(&w.order(Goal::Memory));
            assert_eq!(found, best(&w, &mut vec![], u64::MAX));
        }
    }

    fn best(w: &Work, order: &mut Vec<u32>, mut least: u64) -> u64 {
        if order.len() == w.tasks.len() {
            return least.min(w.peak(order));
        }
        for t in 0..w.tasks.len() as u32 {
            if order.contains(&t) || w.tasks[t as usize].after.iter().any(|a| !order.contains(a)) {
                continue;
            }
            order.push(t);
            least = best(w, order, least);
            order.pop();
        }
        least
    }

    #[test]
    fn long_chains_and_wide_fans_are_quick() {
        let chain: Vec<Task> = (0..20_000u32)
            .map(|t| match t {
                0 => task(&[], &[], &[0]),
                t => task(&[t - 1], &[t - 1], &[t]),
            })
            .collect();
        let sizes: Vec<u64> = (0..20_000).map(|t| 1 + t % 7).collect();
        let w = Work::new(chain, buffers(&sizes), 0);
        assert_eq!(w.order(Goal::Memory).len(), 20_000);
        let mut fan: Vec<Task> = (0..4000u32)
            .map(|t| match t {
                0 => task(&[], &[], &[0]),
                t => task(&[0], &[0], &[t]),
            })
            .collect();
        let all: Vec<u32> = (1..4000).collect();
        fan.push(task(&all, &all, &[4000]));
        let w = Work::new(fan, buffers(&vec![3; 4001]), 0);
        assert_eq!(w.order(Goal::Memory).len(), 4001);
    }
}
