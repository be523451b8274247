//! The order of lowest peak: dynamic programming over sets of finished tasks, breadth first, the best few of each size
//! kept. Two ways to the same set differ only in their peak, so it is exact as long as nothing is dropped; between the
//! branches of a graph there are few sets, and where a graph is narrow there is one.

use super::{Work, touched};
use std::collections::HashMap;

/// Sets kept of each size, at most.
const WIDTH: usize = 96;
/// Tasks tried from a set, at most: the first ones by the bytes they leave live.
const TRIED: usize = 24;
/// Steps after which only one set is kept, in elements looked at.
const STEPS: u64 = 12_000_000;

/// A set of finished tasks, and the best way to it.
#[derive(Clone)]
struct State {
    peak: u64,
    live: u64,
    /// Tasks that ran although an earlier one was ready.
    jumps: u32,
    /// Stands for the set.
    hash: u64,
    /// Tasks that can run, ascending.
    ready: Vec<u32>,
    /// Tasks of which some but not all makers ran, with the number that did.
    begun: Vec<(u32, u32)>,
    /// Live buffers with the number of uses to come.
    left: Vec<(u32, u32)>,
    /// The step that led here.
    way: usize,
}

/// An order whose peak is as low as the search finds; it ends early where `floor` is met.
pub fn search(w: &Work, floor: u64) -> Vec<u32> {
    let ready: Vec<u32> = (0..w.tasks.len() as u32)
        .filter(|&t| w.tasks[t as usize].after.is_empty())
        .collect();
    let mut states = vec![State {
        peak: 0,
        live: 0,
        jumps: 0,
        hash: 0,
        ready,
        begun: vec![],
        left: vec![],
        way: usize::MAX,
    }];
    // Steps as a tree: (task, step before).
    let mut ways: Vec<(u32, usize)> = vec![];
    let mut steps = 0u64;
    for _ in 0..w.tasks.len() {
        let width = if steps < STEPS { WIDTH } else { 1 };
        let mut found: HashMap<u64, usize> = HashMap::new();
        let mut list: Vec<(Effect, usize)> = vec![];
        for (from, s) in states.iter().enumerate().take(width) {
            let mut tries: Vec<Effect> = s.ready.iter().map(|&t| effect(w, s, t, floor)).collect();
            steps += (s.ready.len() * 8 + s.left.len() + s.begun.len()) as u64;
            if tries.len() > TRIED {
                tries.sort_by_key(|e| (e.peak, e.live, e.task));
                tries.truncate(TRIED);
            }
            for e in tries {
                let rank = (e.peak, e.live, e.jumps);
                match found.get(&e.hash) {
                    Some(&at) => {
                        let old = &list[at].0;
                        if rank < (old.peak, old.live, old.jumps) {
                            list[at] = (e, from);
                        }
                    }
                    None => {
                        found.insert(e.hash, list.len());
                        list.push((e, from));
                    }
                }
            }
        }
        list.sort_by_key(|(e, from)| (e.peak, e.live, e.jumps, *from, e.task));
        list.truncate(width);
        let next: Vec<State> = (list.iter())
            .map(|(e, from)| {
                let s = &states[*from];
                steps += (s.ready.len() + s.left.len() + s.begun.len()) as u64;
                ways.push((e.task, s.way));
                run(w, s, e, ways.len() - 1)
            })
            .collect();
        states = next;
    }
    let mut order = vec![];
    let mut at = states.first().map_or(usize::MAX, |s| s.way);
    while let Some(&(t, before)) = ways.get(at) {
        order.push(t);
        at = before;
    }
    order.reverse();
    order
}

/// What running a task does.
struct Effect {
    task: u32,
    peak: u64,
    live: u64,
    jumps: u32,
    hash: u64,
}

fn left(s: &State, b: u32) -> Option<u32> {
    let at = s.left.binary_search_by_key(&b, |x| x.0).ok()?;
    Some(s.left[at].1)
}

fn effect(w: &Work, s: &State, t: u32, floor: u64) -> Effect {
    let task = &w.tasks[t as usize];
    let taken = w.taken(task, |b| left(s, b).is_some(), |b| left(s, b).unwrap_or(0));
    let mut live = s.live;
    for &b in task.writes.iter().filter(|&&b| left(s, b).is_none()) {
        live += w.bytes(b);
    }
    live -= taken.map_or(0, |b| w.bytes(b));
    // Peaks below what no order can be below are alike.
    let peak = s.peak.max(live + task.scratch).max(floor);
    for b in touched(task) {
        let uses = left(s, b).unwrap_or(w.uses[b as usize]);
        let held = left(s, b).is_some() || task.writes.binary_search(&b).is_ok();
        if uses == 1 && held && taken != Some(b) {
            live -= w.bytes(b);
        }
    }
    Effect {
        task: t,
        peak,
        live,
        jumps: s.jumps + u32::from(s.ready.first() != Some(&t)),
        hash: s.hash ^ mix(t as u64),
    }
}

/// A number for each task whose exclusive or stands for a set.
fn mix(t: u64) -> u64 {
    let mut x = (t + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn run(w: &Work, s: &State, e: &Effect, way: usize) -> State {
    let mut n = s.clone();
    let task = &w.tasks[e.task as usize];
    (n.peak, n.live, n.jumps, n.hash, n.way) = (e.peak, e.live, e.jumps, e.hash, way);
    n.ready.retain(|&t| t != e.task);
    for b in touched(task) {
        match n.left.binary_search_by_key(&b, |x| x.0) {
            Ok(at) => {
                n.left[at].1 -= 1;
                if n.left[at].1 == 0 {
                    n.left.remove(at);
                }
            }
            Err(at) => {
                let uses = w.uses[b as usize] - 1;
                if uses > 0 {
                    n.left.insert(at, (b, uses));
                }
            }
        }
    }
    for &t in &w.next[e.task as usize] {
        let all = w.tasks[t as usize].after.len() as u32;
        let done = match n.begun.binary_search_by_key(&t, |x| x.0) {
            Ok(at) => {
                n.begun[at].1 += 1;
                let done = n.begun[at].1;
                if done == all {
                    n.begun.remove(at);
                }
                done
            }
            Err(at) => {
                if all > 1 {
                    n.begun.insert(at, (t, 1));
                }
                1
            }
        };
        if done == all {
            let at = n.ready.partition_point(|&r| r < t);
            n.ready.insert(at, t);
        }
    }
    n
}
