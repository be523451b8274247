//! Branch and bound: intervals are placed from the bottom up, each directly on what lies below it.
//!
//! Some best placement can be pushed down until everything rests on the ground or on something, so trying intervals in the
//! order of their offsets, each at the lowest free place, misses nothing. A branch ends where some section can't hold what
//! is still to come, or where an interval would leave a gap that another one fits into (that one comes first, in another
//! branch). Where what is still to come falls apart into pieces that never live together, each is solved by itself. The
//! bound is a number of steps, so that equal problems end alike on every machine.

use super::fit::Problem;

/// Larger problems are left to the greedy orders: the first dive alone would be quadratic.
const MOST: usize = 500;

struct Search<'a> {
    p: &'a Problem,
    /// Total that must not be exceeded.
    target: u64,
    steps: u64,
    height: Vec<u64>,
    remaining: Vec<u64>,
    offsets: Vec<u64>,
    /// Of each interval, its place in the order of preference.
    rank: Vec<u32>,
}

enum End {
    Found,
    None,
    Tired,
}

/// Looks for a placement below `above`: the total, the offsets, and whether no better one exists. `None`: nothing was found or proved.
pub fn search(p: &Problem, above: u64, align: u64, steps: u64) -> Option<(u64, Vec<u64>, bool)> {
    if p.len() > MOST || above <= p.peak {
        return None;
    }
    // The bound itself first: where it can be met, the tight limit finds it soonest.
    let mut found: Option<Vec<u64>> = None;
    let mut low = p.peak; // no placement is smaller
    let mut high = above; // one of this size is known
    let preferences: [fn(&Problem, u32) -> u64; 3] = [
        |p, i| p.list[i as usize].bytes * width(p, i),
        |p, i| p.list[i as usize].bytes,
        |p, i| width(p, i),
    ];
    let share = steps / 12;
    let mut tries = 0;
    while low < high && tries < 4 {
        // The lower bound, then halfway.
        let target = match tries {
            0 => low,
            _ => low + (high - low - 1) / 2 / align * align,
        };
        let mut proved = false;
        let mut hit = false;
        for prefer in preferences {
            let mut s = Search::new(p, target, share, prefer);
            let open = s.preferred();
            match s.dive(open, (0, 0)) {
                End::Found => {
                    high = total(p, &s.offsets);
                    found = Some(s.offsets);
                    hit = true;
                    break;
                }
                End::None => {
                    proved = true;
                    break;
                }
                End::Tired => {}
            }
        }
        match (hit, proved) {
            (true, _) => {}
            // Offsets are multiples of the alignment.
            (_, true) => low = target + align,
            _ => {
                // Nobody knows: what lies between stays open.
                if tries > 0 {
                    break;
                }
            }
        }
        tries += 1;
    }
    let whole = low >= high;
    match found {
        Some(offsets) => Some((high, offsets, whole)),
        None => whole.then(|| (above, vec![], true)),
    }
}

fn width(p: &Problem, i: u32) -> u64 {
    let (from, to) = p.spans[i as usize];
    (to - from) as u64
}

fn total(p: &Problem, offsets: &[u64]) -> u64 {
    let ends = p.list.iter().zip(offsets).map(|(i, at)| at + i.bytes);
    ends.max().unwrap_or(0)
}

impl Search<'_> {
    fn new<'a>(
        p: &'a Problem,
        target: u64,
        steps: u64,
        prefer: fn(&Problem, u32) -> u64,
    ) -> Search<'a> {
        let mut order: Vec<u32> = (0..p.len() as u32).collect();
        order.sort_by_key(|&i| (u64::MAX - prefer(p, i), i));
        let mut rank = vec![0; p.len()];
        for (k, &i) in order.iter().enumerate() {
            rank[i as usize] = k as u32;
        }
        Search {
            p,
            target,
            steps,
            height: vec![0; p.loads.len()],
            remaining: p.loads.clone(),
            offsets: vec![0; p.len()],
            rank,
        }
    }

    /// All intervals by preference.
    fn preferred(&self) -> Vec<u32> {
        let mut open: Vec<u32> = (0..self.p.len() as u32).collect();
        open.sort_by_key(|&i| self.rank[i as usize]);
        open
    }

    fn span(&self, i: u32) -> std::ops::Range<usize> {
        let (from, to) = self.p.spans[i as usize];
        from as usize..to as usize
    }

    /// Places the intervals `open` (by preference), none before `last` (an offset and a rank). Where that is impossible,
    /// or the steps are spent, everything is as it was.
    fn dive(&mut self, open: Vec<u32>, last: (u64, u32)) -> End {
        if open.is_empty() {
            return End::Found;
        }
        let parts = self.parts(open);
        if let [open] = parts.as_slice() {
            return self.place(open, last);
        }
        let (height, remaining) = (self.height.clone(), self.remaining.clone());
        for part in parts {
            match self.place(&part, last) {
                End::Found => {}
                other => {
                    (self.height, self.remaining) = (height, remaining);
                    return other;
                }
            }
        }
        End::Found
    }

    /// Pieces that have no section in common, small ones first: they fail sooner.
    fn parts(&self, open: Vec<u32>) -> Vec<Vec<u32>> {
        let mut by_time = open.clone();
        by_time.sort_by_key(|&i| self.p.spans[i as usize]);
        let mut piece = vec![0usize; self.p.len()];
        let (mut count, mut end) = (0, 0);
        for &i in &by_time {
            let (from, to) = self.p.spans[i as usize];
            if from >= end {
                count += 1;
            }
            end = end.max(to);
            piece[i as usize] = count - 1;
        }
        let mut parts = vec![vec![]; count];
        for i in open {
            parts[piece[i as usize]].push(i);
        }
        parts.sort_by_key(Vec::len);
        parts
    }

    fn place(&mut self, open: &[u32], last: (u64, u32)) -> End {
        if self.steps == 0 {
            return End::Tired;
        }
        let mut floors: Vec<(u64, u32)> = Vec::with_capacity(open.len());
        // Whatever begins at or above the lowest possible end leaves a gap for the one that ends there.
        let mut least = u64::MAX;
        for &i in open {
            let span = self.span(i);
            self.steps = self.steps.saturating_sub(span.len() as u64 + 2);
            let at = self.height[span].iter().copied().max().unwrap_or(0);
            least = least.min(at + self.p.list[i as usize].bytes);
            floors.push((at, i));
        }
        floors.retain(|&(at, i)| (at, self.rank[i as usize]) >= last && at < least);
        floors.sort_by_key(|&(at, _)| at); // stable: preference decides among equals
        for (at, i) in floors {
            let span = self.span(i);
            let bytes = self.p.list[i as usize].bytes;
            let old: Vec<u64> = self.height[span.clone()].to_vec();
            for s in span.clone() {
                self.height[s] = at + bytes;
                self.remaining[s] -= bytes;
            }
            self.offsets[i as usize] = at;
            let rest: Vec<u32> = open.iter().copied().filter(|&o| o != i).collect();
            if self.holds(&rest, at, span.clone()) {
                match self.dive(rest, (at, self.rank[i as usize])) {
                    End::None => {}
                    End::Found => return End::Found,
                    End::Tired => return self.undo(span, &old, bytes, End::Tired),
                }
            }
            self.undo(span, &old, bytes, End::None);
        }
        End::None
    }

    fn undo(&mut self, span: std::ops::Range<usize>, old: &[u64], bytes: u64, end: End) -> End {
        self.height[span.clone()].copy_from_slice(old);
        for s in span {
            self.remaining[s] += bytes;
        }
        end
    }

    /// Whether every section that changed or waits can still hold what is to come, none of it below `at`.
    fn holds(&mut self, rest: &[u32], at: u64, changed: std::ops::Range<usize>) -> bool {
        let from = rest
            .iter()
            .map(|&i| self.p.spans[i as usize].0 as usize)
            .min();
        let to = rest
            .iter()
            .map(|&i| self.p.spans[i as usize].1 as usize)
            .max();
        let from = from.unwrap_or(changed.start).min(changed.start);
        let to = to.unwrap_or(changed.end).max(changed.end);
        self.steps = self.steps.saturating_sub((to - from) as u64);
        (from..to).all(|s| {
            let (h, r) = (self.height[s], self.remaining[s]);
            match r {
                0 => h <= self.target,
                r => h.max(at) + r <= self.target,
            }
        })
    }
}
