//! Offsets for buffers whose lifetimes are known: the arena.
//!
//! Buffers that live at the same time must not overlap. Several greedy orders are tried and the smallest arena wins; the
//! largest live set is the lower bound, and where it is met the search ends.

/// A buffer to place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Size in bytes.
    pub bytes: u64,
    /// First moment at which it holds something.
    pub first: u32,
    /// Last moment at which it is needed.
    pub last: u32,
}

/// The result: an offset per interval, the bytes used, and the largest live set.
pub struct Placement {
    /// Offsets in the order of the intervals.
    pub offsets: Vec<u64>,
    /// Bytes in all.
    pub total: u64,
    /// Largest sum of sizes that live at one moment: no plan can be smaller.
    pub peak: u64,
}

/// Places intervals at multiples of `align`; without `search` in the first order.
pub fn place(intervals: &[Interval], align: u64, search: bool) -> Placement {
    let sized: Vec<Interval> = intervals
        .iter()
        .map(|i| Interval {
            bytes: i.bytes.next_multiple_of(align),
            ..*i
        })
        .collect();
    let peak = peak(&sized);
    let mut best: Option<(u64, Vec<u64>)> = None;
    type Key = fn(&Interval) -> (u64, u64);
    let orders: [Key; 5] = [
        |i| (u64::MAX - i.bytes, i.first as u64),
        |i| (i.first as u64, u64::MAX - i.bytes),
        |i| (u64::MAX - i.last as u64, u64::MAX - i.bytes),
        |i| {
            (
                u64::MAX - i.bytes.saturating_mul((i.last - i.first + 1) as u64),
                i.first as u64,
            )
        },
        |i| (u64::MAX - (i.last - i.first) as u64, u64::MAX - i.bytes),
    ];
    for key in orders {
        let mut order: Vec<usize> = (0..sized.len()).collect();
        order.sort_by_key(|&i| (key(&sized[i]), i));
        let (total, offsets) = first_fit(&sized, &order);
        if best.as_ref().is_none_or(|(t, _)| total < *t) {
            best = Some((total, offsets));
        }
        if total <= peak || !search {
            break;
        }
    }
    let (total, offsets) = best.unwrap_or_default();
    Placement {
        offsets,
        total,
        peak,
    }
}

/// Puts each interval, in the given order, at the lowest offset that is free during its life.
fn first_fit(intervals: &[Interval], order: &[usize]) -> (u64, Vec<u64>) {
    let mut offsets = vec![0; intervals.len()];
    let mut placed: Vec<usize> = vec![]; // by offset
    let mut total = 0;
    for &i in order {
        let me = intervals[i];
        let mut at = 0;
        for &p in &placed {
            let other = intervals[p];
            if other.first > me.last || me.first > other.last || me.bytes == 0 || other.bytes == 0 {
                continue;
            }
            if at + me.bytes <= offsets[p] {
                break;
            }
            at = at.max(offsets[p] + other.bytes);
        }
        offsets[i] = at;
        total = total.max(at + me.bytes);
        let here = placed.partition_point(|&p| (offsets[p], p) < (at, i));
        placed.insert(here, i);
    }
    (total, offsets)
}

fn peak(intervals: &[Interval]) -> u64 {
    let mut events: Vec<(u32, bool, u64)> = vec![];
    for i in intervals {
        events.push((i.first, true, i.bytes));
        events.push((i.last + 1, false, i.bytes));
    }
    // At one moment ends come before beginnings.
    events.sort_by_key(|&(t, begin, _)| (t, begin));
    let (mut live, mut most) = (0u64, 0);
    for (_, begin, bytes) in events {
        if begin {
            live += bytes;
            most = most.max(live);
        } else {
            live -= bytes;
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    fn iv(bytes: u64, first: u32, last: u32) -> Interval {
        Interval { bytes, first, last }
    }

    #[test]
    fn reuses_what_is_dead() {
        let p = place(&[iv(100, 0, 1), iv(100, 1, 2), iv(100, 2, 3)], 64, true);
        assert_eq!((p.total, p.peak), (256, 256));
        assert_eq!(p.offsets[0], p.offsets[2]);
    }

    #[test]
    fn never_overlaps_what_lives() {
        // A seeded mixture; every pair that lives together must be apart.
        let mut seed = 7u64;
        let mut next = |n: u64| {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (seed >> 33) % n
        };
        for _ in 0..200 {
            let list: Vec<Interval> = (0..40)
                .map(|_| {
                    let first = next(50) as u32;
                    iv(next(1000), first, first + next(10) as u32)
                })
                .collect();
            let p = place(&list, 64, true);
            assert!(p.total >= p.peak);
            for a in 0..list.len() {
                for b in 0..a {
                    let together = list[a].first <= list[b].last && list[b].first <= list[a].last;
                    let apart = p.offsets[a] + list[a].bytes <= p.offsets[b]
                        || p.offsets[b] + list[b].bytes <= p.offsets[a];
                    assert!(!together || apart || list[a].bytes == 0 || list[b].bytes == 0);
                }
            }
        }
    }
}
