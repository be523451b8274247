//! Which places of the old file the places of the new one come from.
//!
//! Weights files of two builds have the same layout, or nearly so: most bytes come from their own place, shifted by what was put in or taken out before.
//! So the file is gone through with one shift, and another one is looked for where few bytes are the same: shifts at which eight bytes agree, found
//! in a table of the old file's blocks, and those of both ends. The time is proportional to the sizes; memory is four to eight bytes for
//! each [`BLOCK`] of the old file.

use std::ops::Range;

/// Bytes between the places of the old file that are in the table.
const BLOCK: usize = 16;
/// Bytes that must be the same for a shift to be considered.
const SEED: usize = 8;
/// Bytes that two shifts are compared by.
const WINDOW: usize = 256;
/// How many more of them must be the same to change over: more than chance gives for numbers of one size.
const MARGIN: usize = 32;
/// The file is gone through in steps of so many bytes; numbers of up to this size keep their place in a step.
const STEP: usize = 64;
/// Shifts tried in one step at most.
const TRIES: usize = 8;

/// A part of the new file, and how far behind its place in the new file its place in the old one is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// Bytes of the new file.
    pub new: Range<usize>,
    /// What is added to a place to get that in the old file.
    pub shift: isize,
}

/// The new file's parts in order, all of it. The place in the old file may lie outside of that.
pub fn parts(old: &[u8], new: &[u8]) -> Vec<Part> {
    let seeds = Seeds::new(old);
    let tail = signed(old.len()) - signed(new.len());
    let same = |at: usize, shift: isize| equal(old, new, at..(at + WINDOW).min(new.len()), shift);
    let mut out = vec![Part {
        new: 0..0,
        shift: 0,
    }];
    let mut at = 0;
    while at < new.len() {
        let last = out.len() - 1;
        let step = at..(at + STEP).min(new.len());
        let (start, shift) = (out[last].new.start, out[last].shift);
        out[last].new.end = step.end;
        at = step.end;
        // Nearly all as it was: there is nothing to look for.
        if equal(old, new, step.clone(), shift) * 16 >= step.len() * 15 {
            continue;
        }
        let here = same(step.start, shift);
        let mut best = (here + MARGIN, shift);
        let mut tries = 0;
        let ends = [0, tail].into_iter();
        let found = step
            .clone()
            .filter_map(|k| Some(signed(seeds.find(old, new, k)?) - signed(k)));
        for other in ends.chain(found) {
            if other == best.1 || other == shift || tries == TRIES {
                continue;
            }
            tries += 1;
            let count = same(step.start, other);
            if count > best.0 {
                best = (count, other);
            }
        }
        if best.1 == shift {
            continue;
        }
        // It may have begun in the steps before.
        let mut from = step.start;
        while from >= start + STEP {
            let before = from - STEP..from;
            if equal(old, new, before.clone(), best.1) <= equal(old, new, before, shift) {
                break;
            }
            from -= STEP;
        }
        out[last].new.end = from;
        out.push(Part {
            new: from..step.end,
            shift: best.1,
        });
    }
    out.retain(|p| !p.new.is_empty());
    out
}

fn signed(n: usize) -> isize {
    isize::try_from(n).expect("sizes of memory are below half of what can be addressed")
}

/// The place in the old file, if all of it lies there.
pub fn place(part: &Range<usize>, shift: isize, old: usize) -> Option<Range<usize>> {
    let (start, end) = (
        part.start.checked_add_signed(shift)?,
        part.end.checked_add_signed(shift)?,
    );
    (end <= old).then_some(start..end)
}

// How many bytes of a range are the same at a shift.
fn equal(old: &[u8], new: &[u8], range: Range<usize>, shift: isize) -> usize {
    let Some(from) = place(&range, shift, old.len()) else {
        return 0;
    };
    let pairs = old[from].iter().zip(&new[range]);
    pairs.map(|(a, b)| usize::from(a == b)).sum()
}

// Places of the old file by what stands there.
struct Seeds {
    table: Vec<u32>,
    shift: u32,
}

impl Seeds {
    fn new(old: &[u8]) -> Seeds {
        let slots = (old.len() / BLOCK).max(1).next_power_of_two();
        let mut seeds = Seeds {
            table: vec![0; slots],
            shift: 64 - slots.trailing_zeros().max(1),
        };
        for (k, block) in old.chunks_exact(BLOCK).enumerate() {
            // What repeats itself is found everywhere.
            let Ok(number) = u32::try_from(k + 1) else {
                break;
            };
            let slot = slot(&block[..SEED], seeds.shift).filter(|s| *s < slots);
            if let Some(free) = slot.map(|s| &mut seeds.table[s]).filter(|n| **n == 0) {
                *free = number;
            }
        }
        seeds
    }

    // A place of the old file where the same bytes stand as at `at` in the new one.
    fn find(&self, old: &[u8], new: &[u8], at: usize) -> Option<usize> {
        let seed = new.get(at..at + SEED)?;
        let number = *self.table.get(slot(seed, self.shift)?)?;
        let place = (number as usize).checked_sub(1)? * BLOCK;
        (old.get(place..place + SEED)? == seed).then_some(place)
    }
}

fn slot(seed: &[u8], shift: u32) -> Option<usize> {
    let word = u64::from_le_bytes(seed.try_into().ok()?);
    if word == word.rotate_left(8) {
        return None;
    }
    usize::try_from(word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> shift).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(n: usize, mut x: u64) -> Vec<u8> {
        let mut next = || {
            x = x
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (x >> 33) as u8
        };
        (0..n).map(|_| next()).collect()
    }

    #[test]
    fn what_moved_is_found() {
        let old = noise(100_000, 1);
        let one = |new: &[u8]| {
            let parts = parts(&old, new);
            let mut end = 0;
            for p in &parts {
                assert_eq!(p.new.start, end);
                end = p.new.end;
            }
            assert_eq!(end, new.len());
            parts
        };
        assert_eq!(one(&old).len(), 1);
        assert_eq!(one(&[]), []);
        // Something put in, something taken out, and a block that moved to the end.
        let mut new = old.clone();
        new.splice(30_000..30_000, noise(1001, 2));
        new.splice(60_000..60_500, []);
        let moved: Vec<u8> = new.splice(10_000..12_000, []).collect();
        new.extend(&moved);
        let parts = one(&new);
        let near = |a: usize, b: usize| a.abs_diff(b) <= STEP;
        let shift = |at: usize| parts.iter().find(|p| p.new.contains(&at)).map(|p| p.shift);
        assert_eq!(shift(5_000), Some(0));
        assert_eq!(shift(20_000), Some(2_000));
        assert_eq!(shift(40_000), Some(999));
        assert_eq!(shift(70_000), Some(1_499));
        let last = parts.last().unwrap();
        assert!(near(last.new.start, new.len() - 2_000), "{last:?}");
        assert_eq!(last.shift, 10_000 - signed(new.len() - 2_000));
        // Nothing is the same: no shift is better.
        assert_eq!(one(&noise(50_000, 9)).len(), 1);
        assert_eq!(one(&[7; 1000]).len(), 1);
    }

    #[test]
    fn places_outside_are_none() {
        assert_eq!(place(&(4..8), -4, 4), Some(0..4));
        assert_eq!(place(&(4..8), -5, 9), None);
        assert_eq!(place(&(4..8), 1, 8), None);
        assert_eq!(place(&(4..8), isize::MAX, 8), None);
    }
}
