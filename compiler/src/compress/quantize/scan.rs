//! One look at all numbers of a value: the smallest and the largest, sums of channels, and how many lie in which bin.
//!
//! Loops run over arrays of a fixed size, so that vectors do the work, and sums are taken in one order wherever channels lie: four of them over a channel's
//! numbers in turn, in f32, and then in f64.

use super::seen::Channels;
use std::borrow::Cow;

/// Bins of a histogram.
pub const BINS: usize = 2048;
/// Numbers that are looked at together.
const LANES: usize = 8;
/// Numbers that stay in the first cache while their columns are summed.
const TILE: usize = 8192;

/// A number of a value.
pub trait Number: Copy {
    /// It as a float.
    fn real(self) -> f32;
}

impl Number for f32 {
    #[inline(always)]
    fn real(self) -> f32 {
        self
    }
}

/// As it lies in memory.
impl Number for [u8; 4] {
    #[inline(always)]
    fn real(self) -> f32 {
        f32::from_le_bytes(self)
    }
}

#[inline(always)]
fn reals<T: Number, const N: usize>(from: &[T; N]) -> [f32; N] {
    let mut x = [0.0; N];
    for i in 0..N {
        x[i] = from[i].real();
    }
    x
}

#[inline(always)]
fn first<T: Number, const N: usize>(row: &[T]) -> Option<[f32; N]> {
    row.first_chunk::<N>().map(reals)
}

/// Four rows of so many numbers.
#[inline(always)]
fn halves<T>(quad: &[T], row: usize) -> ((&[T], &[T]), (&[T], &[T])) {
    let (left, right) = quad.split_at(2 * row);
    (left.split_at(row), right.split_at(row))
}

/// What a look finds.
pub struct Scan {
    /// The smallest, and the largest, where all are numbers.
    pub ends: (f32, f32),
    /// Whether something is not a number.
    pub odd: bool,
    /// The sum of each channel, with what was there.
    pub sums: Vec<f64>,
}

/// Looks at all numbers; `channels`: where those whose sums are wanted lie, which are added to `known`.
pub fn scan<T: Number>(values: &[T], channels: Option<Channels>, known: &[f64]) -> Scan {
    let Some(c) = channels.filter(|c| c.count > 0 && c.run > 0) else {
        let (ends, odd) = ends(values);
        return Scan {
            ends,
            odd,
            sums: vec![],
        };
    };
    let mut sums = known.to_vec();
    sums.resize(c.count, 0.0);
    if c.last && c.run > 1 {
        let mut ends = Ends::<LANES>::new();
        for block in values.chunks_exact(c.count * c.run) {
            add_columns(block, c.count, &mut ends, &mut sums);
        }
        // What is not a number leaves no sum; nor do infinities of both signs.
        let odd = sums.iter().any(|s| s.is_nan()) && values.iter().any(|v| v.real().is_nan());
        return Scan {
            ends: ends.both(),
            odd,
            sums,
        };
    }
    let (ends, odd) = ends(values);
    if c.run == 1 {
        for row in values.chunks_exact(c.count) {
            for (s, v) in sums.iter_mut().zip(row) {
                *s += f64::from(v.real());
            }
        }
    } else {
        for (at, part) in values.chunks_exact(c.run).enumerate() {
            let (quads, rest) = part.as_chunks::<4>();
            let mut four = [0.0f32; 4];
            for q in quads {
                for i in 0..4 {
                    four[i] += q[i].real();
                }
            }
            let rest = rest.iter().map(|v| v.real());
            sums[at % c.count] += f64::from(four.iter().sum::<f32>() + rest.sum::<f32>());
        }
    }
    Scan { ends, odd, sums }
}

/// The smaller one; what is not a number may get lost.
#[inline(always)]
fn less(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}
#[inline(always)]
fn more(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// The smallest and largest of several columns.
struct Ends<const N: usize> {
    lo: [f32; N],
    hi: [f32; N],
}

impl<const N: usize> Ends<N> {
    fn new() -> Self {
        Ends {
            lo: [f32::INFINITY; N],
            hi: [f32::NEG_INFINITY; N],
        }
    }
    #[inline(always)]
    fn all_of<T: Number>(&mut self, values: &[T]) {
        self.added::<T, false>(values);
    }
    /// The same, and sums of columns where they are wanted, in one look: numbers are loaded once.
    #[inline(always)]
    fn added<T: Number, const SUMS: bool>(&mut self, values: &[T]) -> [f32; N] {
        let (mut lo, mut hi) = (self.lo, self.hi);
        let mut sums = [0.0; N];
        let fours = values.chunks_exact(4 * N);
        let rest = fours.remainder();
        for part in fours {
            let ((a, b), (c, d)) = halves(part, N);
            let own = first::<T, N>;
            let (Some(a), Some(b), Some(c), Some(d)) = (own(a), own(b), own(c), own(d)) else {
                break;
            };
            for i in 0..N {
                // In pairs, so that few wait for each other.
                lo[i] = less(lo[i], less(less(a[i], b[i]), less(c[i], d[i])));
                hi[i] = more(hi[i], more(more(a[i], b[i]), more(c[i], d[i])));
                if SUMS {
                    sums[i] += (a[i] + b[i]) + (c[i] + d[i]);
                }
            }
        }
        // Into all columns: one that differs would come apart from the others.
        let (mut l, mut h) = (f32::INFINITY, f32::NEG_INFINITY);
        for v in rest {
            (l, h) = (less(l, v.real()), more(h, v.real()));
            sums[0] += v.real();
        }
        for i in 0..N {
            self.lo[i] = less(lo[i], l);
            self.hi[i] = more(hi[i], h);
        }
        sums
    }
    fn both(&self) -> (f32, f32) {
        let lo = self.lo.iter().fold(f32::INFINITY, |a, v| a.min(*v));
        (lo, self.hi.iter().fold(f32::NEG_INFINITY, |a, v| a.max(*v)))
    }
}

/// The smallest and the largest, and whether something is not a number: their sum is none then.
fn ends<T: Number>(values: &[T]) -> ((f32, f32), bool) {
    let mut ends = Ends::<LANES>::new();
    let sums = ends.added::<T, true>(values);
    let odd = sums.iter().any(|s| s.is_nan()) && values.iter().any(|v| v.real().is_nan());
    (ends.both(), odd)
}

/// Adds the sums of the columns of `[rows, count]`, whose rows are a channel's numbers in their order.
fn add_columns<T: Number>(block: &[T], count: usize, ends: &mut Ends<LANES>, sums: &mut [f64]) {
    let mut four = vec![0.0f32; 4 * count];
    let mut rest = vec![std::iter::empty::<f32>().sum::<f32>(); count];
    let (quads, odd_rows) = block.split_at(block.len() / (4 * count) * (4 * count));
    let tile = (TILE / (4 * count)).max(8) * 4 * count;
    for tile in quads.chunks(tile) {
        // One after the other, so that memory is read as it lies.
        ends.all_of(tile);
        let mut at = 0;
        while at + LANES <= count {
            columns::<T, LANES>(tile, (count, at), &mut four);
            at += LANES;
        }
        for at in at..count {
            columns::<T, 1>(tile, (count, at), &mut four);
        }
    }
    ends.all_of(odd_rows);
    for row in odd_rows.chunks_exact(count) {
        for (s, v) in rest.iter_mut().zip(row) {
            *s += v.real();
        }
    }
    for (c, sum) in sums.iter_mut().enumerate() {
        let own: [f32; 4] = std::array::from_fn(|j| four[j * count + c]);
        *sum += f64::from(own.iter().sum::<f32>() + rest[c]);
    }
}

/// Adds `N` columns from `at` on of a tile of fours of rows to `[4, count]` sums.
#[inline(always)]
fn columns<T: Number, const N: usize>(tile: &[T], (count, at): (usize, usize), four: &mut [f32]) {
    let mut sums = [[0.0f32; N]; 4];
    for (j, own) in sums.iter_mut().enumerate() {
        let known = four.get(j * count + at..).and_then(<[f32]>::first_chunk);
        *own = known.copied().unwrap_or(*own);
    }
    for quad in tile.chunks_exact(4 * count) {
        let ((a, b), (c, d)) = halves(quad, count);
        let own = |row: &[T]| first::<T, N>(row.get(at..)?);
        let (Some(a), Some(b), Some(c), Some(d)) = (own(a), own(b), own(c), own(d)) else {
            break;
        };
        for i in 0..N {
            sums[0][i] += a[i];
            sums[1][i] += b[i];
            sums[2][i] += c[i];
            sums[3][i] += d[i];
        }
    }
    for (j, own) in sums.iter().enumerate() {
        let to = four.get_mut(j * count + at..);
        if let Some(to) = to.and_then(<[f32]>::first_chunk_mut) {
            *to = *own;
        }
    }
}

/// Of so many numbers all are counted; of more, about this many.
const COUNTED: usize = 1 << 14;
/// One number in so many is counted, at the least.
const RAREST: usize = 32;

/// Numbers that stand for all of a value in its histogram: all of them, or blocks of neighbours from anywhere in it, one out of each few. Which one of
/// these has no period, since channels lie side by side; it is the same on every run.
pub fn picked<T: Number>(values: &[T]) -> Cow<'_, [T]> {
    let apart = (values.len() / COUNTED).min(RAREST);
    if apart < 2 {
        return Cow::Borrowed(values);
    }
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut out = Vec::with_capacity(values.len() / apart + LANES);
    for few in values.chunks_exact(apart * LANES) {
        // Knuth, "The Art of Computer Programming", volume 2, section 3.3.4: the multiplier of MMIX.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let at = ((state >> 32) as usize * apart) >> 32;
        out.extend_from_slice(&few[at * LANES..][..LANES]);
    }
    Cow::Owned(out)
}

/// Counts finite numbers into bins from `-reach` to `reach`.
pub fn count<T: Number>(values: &[T], reach: f64, bins: &mut [u64; BINS]) {
    let half = BINS as f64 / 2.0;
    let scale = half / reach;
    let place = |at: i32| (at as usize).min(BINS - 1);
    let bin = |v: T| place((f64::from(v.real()) * scale + half) as i32);
    let mut rest = values;
    if values.len() >= 4 * BINS {
        // Neighbours are often alike: what counts one of them does not wait for the other.
        let mut four = vec![[0u32; BINS]; 4];
        if let [a, b, c, d] = four.as_mut_slice() {
            let most = &values[..values.len().min(u32::MAX as usize)];
            let (parts, _) = most.as_chunks::<LANES>();
            for part in parts {
                let mut at = [0; LANES];
                for i in 0..LANES {
                    at[i] = (f64::from(part[i].real()) * scale + half) as i32;
                }
                for [i, j, k, l] in at.as_chunks::<4>().0 {
                    a[place(*i)] += 1;
                    b[place(*j)] += 1;
                    c[place(*k)] += 1;
                    d[place(*l)] += 1;
                }
            }
            rest = &values[parts.len() * LANES..];
        }
        for (k, n) in bins.iter_mut().enumerate() {
            *n += four.iter().map(|f| u64::from(f[k])).sum::<u64>();
        }
    }
    for &v in rest {
        bins[bin(v)] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize) -> Vec<f32> {
        let one = |i: usize| ((i * 7919 % 1009) as f32 - 500.0) / 37.0;
        (0..n).map(one).collect()
    }

    /// Channels last in memory, of what lies `[outer, count, run]` by the model.
    fn turned(x: &[f32], count: usize, run: usize) -> Vec<[u8; 4]> {
        let blocks = x.chunks_exact(count * run);
        let all = blocks.flat_map(|b| {
            (0..run).flat_map(move |r| (0..count).map(move |c| b[c * run + r].to_le_bytes()))
        });
        all.collect()
    }

    #[test]
    fn sums_are_the_same_wherever_channels_lie() {
        for (outer, count, run) in [(1, 24, 49), (2, 11, 6), (3, 8, 4), (1, 5, 3), (2, 1, 9)] {
            let x = numbers(outer * count * run);
            let first = Channels {
                count,
                run,
                last: false,
            };
            let a = scan(&x, Some(first), &[]);
            let last = Channels {
                last: true,
                ..first
            };
            let b = scan(&turned(&x, count, run), Some(last), &[]);
            let bits = |s: &Scan| s.sums.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&a), bits(&b), "{count} {run}");
            assert_eq!(a.ends, b.ends);
            let exact = |c: usize| -> f64 {
                let own = x.chunks_exact(run).skip(c).step_by(count).flatten();
                own.map(|v| f64::from(*v)).sum()
            };
            for (c, s) in a.sums.iter().enumerate() {
                assert!((s - exact(c)).abs() < 1e-3, "{c}: {s}");
            }
            let least = x.iter().fold(f32::MAX, |a, v| a.min(*v));
            assert_eq!(a.ends.0, least);
        }
    }

    #[test]
    fn what_is_no_number_is_found_anywhere() {
        let (count, run) = (10, 7);
        for at in 0..count * run {
            let mut x = numbers(count * run);
            x[at] = f32::NAN;
            for last in [false, true] {
                let c = Channels { count, run, last };
                assert!(
                    scan(&x, Some(c), &[]).odd && scan(&x, None, &[]).odd,
                    "{at}"
                );
            }
            x[at] = f32::INFINITY;
            x[(at + count) % (count * run)] = f32::NEG_INFINITY;
            let last = true;
            let s = scan(&x, Some(Channels { count, run, last }), &[]);
            assert!(!s.odd && s.ends == (f32::NEG_INFINITY, f32::INFINITY));
        }
    }

    #[test]
    fn what_is_picked_stands_for_all() {
        let few = numbers(COUNTED);
        assert_eq!(picked(&few).len(), COUNTED);
        // Channels side by side, each of numbers of its own: all have their share.
        for channels in [8usize, 64, 96, 1024] {
            let x: Vec<f32> = (0..1 << 20).map(|i| (i % channels) as f32).collect();
            let own = picked(&x);
            assert!(own.len() >= COUNTED && own.len() < x.len() / 8);
            let mean = own.iter().map(|v| f64::from(*v)).sum::<f64>() / own.len() as f64;
            let all = (channels - 1) as f64 / 2.0;
            assert!((mean / all - 1.0).abs() < 0.03, "{channels}: {mean}");
        }
    }

    #[test]
    fn bins_of_many_are_those_of_each() {
        let x = numbers(40_003);
        let mut all = [0u64; BINS];
        count(&x, 14.0, &mut all);
        let mut each = [0u64; BINS];
        for v in &x {
            count(&[*v], 14.0, &mut each);
        }
        assert!(all == each);
        assert_eq!(all.iter().sum::<u64>(), 40_003);
    }
}
