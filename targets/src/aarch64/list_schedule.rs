//! The order of instructions within a block without labels and branches: list scheduling for a core that issues in order.
//!
//! Contract: a permutation that keeps every dependence through registers, flags and memory, so that results do not change by a
//! bit; the same order each time. Two accesses of which one stores change places only where they provably do not overlap. Time
//! grows with the number of instructions and the little it takes to compare an access with the last few stores.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::effects::{Access, Effects, Regs, effects, is_frame, step};
use super::inst::Inst;

/// Instructions that a core issues in one cycle.
const WIDTH: u32 = 2;
/// Accesses that are remembered one by one; what is older is taken to touch everything.
const REMEMBERED: usize = 48;

/// An address: a value that a register held at some time, and bytes on top.
#[derive(Clone, Copy, PartialEq)]
struct Place {
    root: u32,
    at: i64,
}

#[derive(Clone, Copy)]
struct Seen {
    node: usize,
    access: Access,
    place: Option<Place>,
}

/// The dependences of a block: for each instruction, who waits for it and how many cycles.
struct Graph {
    after: Vec<Vec<(usize, u32)>>,
    waits: Vec<u32>,
}

impl Graph {
    fn edge(&mut self, from: usize, to: usize, cycles: u32) {
        if from != to {
            self.after[from].push((to, cycles));
            self.waits[to] += 1;
        }
    }
}

fn overlap(a: &Seen, b: &Seen) -> bool {
    match (a.place, b.place) {
        (Some(p), Some(q)) if p.root == q.root => {
            p.at < q.at + b.access.bytes && q.at < p.at + a.access.bytes
        }
        _ => is_frame(a.access.base) == is_frame(b.access.base),
    }
}

fn graph(list: &[(Inst, Effects)]) -> Graph {
    let mut g = Graph {
        after: vec![vec![]; list.len()],
        waits: vec![0; list.len()],
    };
    let mut writer = [None::<usize>; Regs::COUNT];
    let mut readers: Vec<Vec<usize>> = vec![vec![]; Regs::COUNT];
    // What each general register holds, as far as it is known.
    let mut held: Vec<Place> = (0..32).map(|root| Place { root, at: 0 }).collect();
    let mut roots = 32;
    let (mut loads, mut stores): (Vec<Seen>, Vec<Seen>) = (vec![], vec![]);
    // The last instruction that all accesses before it precede, and that precedes all after it.
    let mut barrier = None::<usize>;
    for (i, (inst, e)) in list.iter().enumerate() {
        for r in e.reads.numbers() {
            if let Some(w) = writer[r] {
                g.edge(w, i, list[w].1.latency);
            }
            readers[r].push(i);
        }
        for r in e.writes.numbers() {
            // Readers wait for the writer before; so does this one through them.
            for &reader in &readers[r] {
                g.edge(reader, i, 0);
            }
            if let Some(w) = writer[r]
                && readers[r].is_empty()
            {
                g.edge(w, i, 1);
            }
            readers[r].clear();
            writer[r] = Some(i);
        }
        if let Some(access) = e.access {
            let base = held[usize::from(access.base.0 & 31)];
            let seen = Seen {
                node: i,
                access,
                place: access.offset.map(|o| Place {
                    at: base.at + o,
                    ..base
                }),
            };
            if let Some(b) = barrier {
                g.edge(b, i, 0);
            }
            for s in stores.iter().filter(|s| overlap(s, &seen)) {
                g.edge(s.node, i, 1);
            }
            if access.store {
                for l in loads.iter().filter(|l| overlap(l, &seen)) {
                    g.edge(l.node, i, 0);
                }
                stores.push(seen);
            } else {
                loads.push(seen);
            }
            if stores.len() > REMEMBERED || !stores.is_empty() && loads.len() > 4 * REMEMBERED {
                for s in loads.drain(..).chain(stores.drain(..)) {
                    g.edge(s.node, i, 0);
                }
                barrier = Some(i);
            }
        }
        // After the access: it used the old value.
        if let Some((d, n, by)) = step(inst) {
            let from = held[usize::from(n.0 & 31)];
            held[usize::from(d.0 & 31)] = Place {
                at: from.at + by,
                ..from
            };
        } else {
            for r in e.writes.numbers().filter(|r| *r < 32) {
                held[r] = Place { root: roots, at: 0 };
                roots += 1;
            }
        }
    }
    g
}

/// The instructions of a block in a good order.
pub fn schedule(block: &[Inst]) -> Vec<Inst> {
    let list: Vec<(Inst, Effects)> = block.iter().map(|i| (*i, effects(i))).collect();
    let mut g = graph(&list);
    // Cycles from an instruction's issue to the end of the block.
    let mut height = vec![0u32; list.len()];
    for i in (0..list.len()).rev() {
        let own = list[i].1.latency;
        let behind = g.after[i].iter().map(|(to, c)| height[*to] + c).max();
        height[i] = own.max(behind.unwrap_or(0));
    }
    let mut out = Vec::with_capacity(list.len());
    let mut earliest = vec![0u32; list.len()];
    // Per unit, those that can start now; and those that can later.
    let mut ready: [BinaryHeap<(u32, Reverse<usize>)>; 3] = Default::default();
    let mut later: BinaryHeap<Reverse<(u32, usize)>> = BinaryHeap::new();
    let mut free_at = [0u32; 3];
    later.extend(
        (0..list.len())
            .filter(|i| g.waits[*i] == 0)
            .map(|i| Reverse((0, i))),
    );
    let mut now = 0u32;
    while out.len() < list.len() {
        let mut issued = 0;
        while issued < WIDTH {
            while let Some(&Reverse((at, i))) = later.peek() {
                if at > now {
                    break;
                }
                later.pop();
                ready[list[i].1.unit as usize].push((height[i], Reverse(i)));
            }
            let best = (0..ready.len())
                .filter(|u| free_at[*u] <= now)
                .filter_map(|u| ready[u].peek().map(|top| (*top, u)))
                .max();
            let Some(((_, Reverse(i)), unit)) = best else {
                break;
            };
            ready[unit].pop();
            out.push(list[i].0);
            issued += 1;
            free_at[unit] = now + list[i].1.busy;
            for (to, cycles) in std::mem::take(&mut g.after[i]) {
                earliest[to] = earliest[to].max(now + cycles);
                g.waits[to] -= 1;
                if g.waits[to] == 0 {
                    later.push(Reverse((earliest[to], to)));
                }
            }
        }
        // To the next cycle in which something can happen.
        let waiting = later.peek().map(|Reverse((at, _))| *at);
        let units = (0..ready.len())
            .filter(|u| !ready[*u].is_empty())
            .map(|u| free_at[u]);
        now = units.chain(waiting).min().unwrap_or(0).max(now + 1);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::inst::{V, Width, X};
    use super::super::simd::V3;
    use super::*;

    fn load(t: u8, n: u8, offset: u32) -> Inst {
        Inst::Ldr {
            w: Width::Q,
            t: V(t),
            n: X(n),
            offset,
        }
    }
    fn store(t: u8, n: u8, offset: u32) -> Inst {
        Inst::Str {
            w: Width::Q,
            t: V(t),
            n: X(n),
            offset,
        }
    }
    fn add(d: u8, n: u8, m: u8) -> Inst {
        Inst::V3 {
            op: V3::FAdd,
            d: V(d),
            n: V(n),
            m: V(m),
        }
    }
    fn place(list: &[Inst], i: Inst) -> usize {
        list.iter().position(|x| *x == i).unwrap()
    }

    #[test]
    fn loads_go_ahead_where_memory_allows() {
        // Two sums of two loads each, stored: the second's loads need not wait for the first's store.
        let block = |second: u32, base: u8| {
            vec![
                load(0, 0, 0),
                load(1, 0, 16),
                add(0, 0, 1),
                store(0, 1, 0),
                load(2, base, second),
                load(3, base, second + 16),
                add(2, 2, 3),
                store(2, 1, 4096),
            ]
        };
        let far = schedule(&block(64, 1));
        assert!(place(&far, load(2, 1, 64)) < place(&far, add(0, 0, 1)));
        // The same base and bytes that overlap, or another base: they wait.
        for (second, base) in [(0, 1), (64, 2)] {
            let near = schedule(&block(second, base));
            assert!(place(&near, load(2, base, second)) > place(&near, store(0, 1, 0)));
        }
    }

    #[test]
    fn long_blocks_take_no_longer_for_each_instruction() {
        // 2^15 stores and loads: with every pair compared this would take minutes.
        let mut block = vec![];
        for i in 0..1 << 14 {
            let at = i % 4096;
            block.push(load((i % 30) as u8, 0, at * 16));
            block.push(store((i % 30) as u8, 1, at * 16));
        }
        let out = schedule(&block);
        assert_eq!(out.len(), block.len());
        assert_eq!(out, schedule(&block));
    }
}
