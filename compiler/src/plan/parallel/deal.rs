//! Dealing work out to threads.

use super::Part;

/// What is dealt out of one statement.
pub(super) struct Leaf {
    /// Of all of it.
    pub cycles: f64,
    /// Loops of the nest that are taken as one; `None`: it stays whole.
    pub depth: Option<usize>,
    /// How many parts there are; `None`: not known.
    pub units: Option<i64>,
    /// Where in the output parts begin to write, as a share of it, ascending: of all parts or of some at even distances.
    pub places: Option<Vec<f64>>,
}

impl Leaf {
    /// First and last place; an empty range where they are not known.
    pub fn ends(&self) -> (f64, f64) {
        let ends = self.places.as_ref().and_then(|p| p.first().zip(p.last()));
        ends.map_or((1.0, 0.0), |(a, b)| (*a, *b))
    }
    /// Share of the output between the first and the last place; all of it where they are not known.
    pub fn span(&self) -> f64 {
        let (first, last) = self.ends();
        if first > last { 1.0 } else { last - first }
    }
    fn one(&self) -> f64 {
        self.cycles / self.units.unwrap_or(1).max(1) as f64
    }
    // Parts that begin before a place.
    fn before(&self, x: f64) -> i64 {
        let (Some(places), Some(units)) = (&self.places, self.units) else {
            return 0;
        };
        let (n, all) = (
            places.partition_point(|p| *p < x) as i64,
            places.len() as i64,
        );
        (n * units + all - 1) / all.max(1)
    }
    fn part(&self, counts: Vec<i64>) -> Part {
        match (self.depth, self.units) {
            (Some(depth), Some(n)) if n > 1 => Part::Shared(depth, Some(counts)),
            _ => Part::Whole(counts.iter().position(|n| *n > 0).unwrap_or(0) as i64),
        }
    }
}

/// How much longer than need be the slowest thread may take for the sake of places.
pub(super) const NEAR: f64 = 1.04;

/// What each statement becomes, and the cycles until the last thread is done.
pub(super) fn deal(leaves: &[Leaf], threads: usize) -> (Vec<Part>, f64) {
    let evenly = by_load(leaves, threads);
    match by_place(leaves, threads) {
        Some(near) if near.1 <= evenly.1 * NEAR => near,
        _ => evenly,
    }
}

// All statements are cut at the same places of the output.
fn by_place(leaves: &[Leaf], threads: usize) -> Option<(Vec<Part>, f64)> {
    if leaves.iter().any(|l| l.places.is_none()) {
        return None;
    }
    let load = |x: f64| -> f64 { leaves.iter().map(|l| l.before(x) as f64 * l.one()).sum() };
    let mut all: Vec<f64> = (leaves.iter().flat_map(|l| &l.places).flatten().copied()).collect();
    all.sort_by(f64::total_cmp);
    all.dedup();
    all.push(f64::INFINITY);
    let total = load(f64::INFINITY);
    let mut bounds = vec![f64::NEG_INFINITY];
    for k in 1..threads {
        let wanted = total * k as f64 / threads as f64;
        // The place behind which it is too much, or the one before.
        let high = all
            .partition_point(|x| load(*x) < wanted)
            .min(all.len() - 1);
        let low = high.saturating_sub(1);
        let nearer = wanted - load(all[low]) < load(all[high]) - wanted;
        bounds.push(all[if nearer { low } else { high }]);
    }
    bounds.push(f64::INFINITY);
    let mut loads = vec![0.0; threads];
    let parts = leaves.iter().map(|l| {
        let counts: Vec<i64> = (bounds.windows(2))
            .map(|b| (l.before(b[1]) - l.before(b[0])).max(0))
            .collect();
        let each = loads.iter_mut().zip(&counts);
        each.for_each(|(load, n)| *load += *n as f64 * l.one());
        l.part(counts)
    });
    let parts = parts.collect();
    Some((parts, most(&loads)))
}

// The largest parts first, the next always to the least loaded: what does not come out even in one statement is made up for by another.
fn by_load(leaves: &[Leaf], threads: usize) -> (Vec<Part>, f64) {
    let mut order: Vec<usize> = (0..leaves.len()).collect();
    // What stays whole comes before what can make up for it.
    let size = |k: &usize| (leaves[*k].one(), leaves[*k].units == Some(1));
    order.sort_by(|a, b| {
        let (a, b) = (size(a), size(b));
        b.0.total_cmp(&a.0).then(b.1.cmp(&a.1))
    });
    let mut loads = vec![0.0; threads];
    let mut parts = vec![Part::Whole(0); leaves.len()];
    for k in order {
        let leaf = &leaves[k];
        parts[k] = match (leaf.units, leaf.depth) {
            (None, Some(depth)) => {
                let each = leaf.cycles / threads as f64;
                loads.iter_mut().for_each(|l| *l += each);
                Part::Shared(depth, None)
            }
            (units, _) => leaf.part(level(&mut loads, units.unwrap_or(1), leaf.one())),
        };
    }
    (parts, most(&loads))
}

// How many of `units` that take `one` each go to each thread.
fn level(loads: &mut [f64], units: i64, one: f64) -> Vec<i64> {
    let all = loads.len() as i64;
    // What comes to all alike needs no looking.
    let apart = most(loads) - loads[least(loads)];
    let uneven = (apart / one.max(1e-9)).ceil().min(1e9) as i64 + 1;
    let each = (units / all - uneven).max(0);
    let mut counts = vec![each; loads.len()];
    loads.iter_mut().for_each(|l| *l += each as f64 * one);
    for _ in each * all..units {
        let next = least(loads);
        loads[next] += one;
        counts[next] += 1;
    }
    counts
}

fn least(loads: &[f64]) -> usize {
    let by = |a: &usize, b: &usize| loads[*a].total_cmp(&loads[*b]);
    (0..loads.len()).min_by(by).unwrap_or(0)
}

fn most(loads: &[f64]) -> f64 {
    loads.iter().copied().fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(cycles: f64, first: i64, units: i64, each: i64, all: f64) -> Leaf {
        let places = (0..units).map(|u| (first + u * each) as f64 / all);
        Leaf {
            cycles,
            depth: Some(1),
            units: Some(units),
            places: Some(places.collect()),
        }
    }

    #[test]
    fn what_is_left_of_one_loop_is_made_up_for_by_the_next() {
        let mut loads = vec![0.0; 2];
        assert_eq!(level(&mut loads, 23, 30.0), [12, 11]);
        assert_eq!(level(&mut loads, 7, 10.0), [2, 5]);
        assert_eq!(loads, [380.0, 380.0]);
    }

    #[test]
    fn many_units_are_dealt_at_once() {
        let mut loads = vec![100.0, 0.0, 0.0];
        let counts = level(&mut loads, 1_000_000, 1.0);
        assert_eq!(counts.iter().sum::<i64>(), 1_000_000);
        assert!((loads[0] - loads[2]).abs() <= 1.0);
    }

    #[test]
    fn loops_over_the_same_rows_are_cut_at_the_same_row() {
        // Rows 0..60 and 60..100 of wide channels, 0..100 of the last few.
        let leaves = [
            rows(600.0, 0, 10, 6, 100.0),
            rows(400.0, 60, 8, 5, 100.0),
            rows(100.0, 0, 50, 2, 100.0),
        ];
        let (parts, cycles) = deal(&leaves, 2);
        let counts = |k: usize| match &parts[k] {
            Part::Shared(1, Some(c)) => c.clone(),
            p => panic!("{p:?}"),
        };
        assert_eq!([counts(0), counts(1)], [vec![8, 2], vec![0, 8]]);
        assert!(counts(2)[0] >= 24 && counts(2)[0] <= 27, "{parts:?}");
        assert!(cycles < 575.0, "{cycles}");
    }
}
